// SPDX-License-Identifier: Apache-2.0
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"conclave/jepsen/edn"
	"conclave/jepsen/history"
	"conclave/jepsen/host"
	"conclave/jepsen/mesos"
)

const (
	clusterID       = "6a657073656e00000000000000000001"
	electionTimeout = 300 * time.Millisecond
	clientHost      = "client"
	clientAddr      = "10.86.0.200"
)

// cluster is the system under test: masters m1.., agents a1.., and who looks at them.
type cluster struct {
	site     *host.Site
	recorder *history.Recorder
	masters  []*host.Process
	agents   []*host.Process
	disks    []*host.Disk // one a master; empty: the run's folder will do
	http     []string
	data     []string // data folder of each master
	monitor  *mesos.Client
	reader   *mesos.Client // for the final readings: more patient

	cutMasters, cutAgents []host.Pair // the nemesis' and heal's, who take turns

	certificates *certificates

	commits chan struct{} // one place: something was committed

	mu      sync.Mutex
	seen    map[int]status
	damaged map[int]bool // masters that run on damaged data

	members members
}

// status is what a master says of itself, as far as it is read here.
type status struct {
	Term    int64 `json:"term"`
	Commit  int64 `json:"commit"`
	Applied int64 `json:"applied"`
	Leader  *struct {
		ID int `json:"id"`
	} `json:"leader"`
	Agents struct {
		Active int `json:"active"`
	} `json:"agents"`
	AgentsBack int `json:"agents_back"`
	at         time.Time
	node       int // its id
	pid        int // that ran when it was asked
}

func masterAddr(i int) string { return fmt.Sprintf("10.86.0.%d", i) }
func agentAddr(i int) string  { return fmt.Sprintf("10.86.0.%d", 100+i) }

func openCluster(o options, dir string, recorder *history.Recorder) (*cluster, error) {
	hosts := []host.Host{{Name: clientHost, Addr: clientAddr}}
	var peers, links []string
	c := &cluster{recorder: recorder, seen: map[int]status{}, damaged: map[int]bool{}, commits: make(chan struct{}, 1)}
	for i := 1; i <= o.masters; i++ {
		hosts = append(hosts, host.Host{Name: fmt.Sprintf("m%d", i), Addr: masterAddr(i)})
		peers = append(peers, fmt.Sprintf("%d=%s:5060", i, masterAddr(i)))
		links = append(links, masterAddr(i)+":5061")
		c.http = append(c.http, masterAddr(i)+":5050")
	}
	hosts = append(hosts, c.spareHosts(o)...)
	for i := 1; i <= o.agents; i++ {
		hosts = append(hosts, host.Host{Name: fmt.Sprintf("a%d", i), Addr: agentAddr(i)})
	}
	var err error
	if c.site, err = host.Open(dir, hosts); err != nil {
		return nil, err
	}
	if o.mutant != "" {
		c.site.Env = []string{"CONCLAVE_MUTANT=" + o.mutant}
	}
	c.monitor = mesos.NewClient(c.site.Dialer(clientHost, 300*time.Millisecond), 500*time.Millisecond)
	c.reader = mesos.NewClient(c.site.Dialer(clientHost, time.Second), 10*time.Second)
	exited := func(p *host.Process, state string) {
		if c.leaving(p.Name) {
			return
		}
		recorder.Event("run", "exited", edn.Map{"name": p.Name, "state": state})
	}
	c.certificates, err = makeCertificates(o.bin, filepath.Join(dir, "tls"))
	for i := 1; i <= o.masters && err == nil; i++ {
		err = c.addMaster(o, dir, i, strings.Join(peers, ","), exited)
	}
	if err == nil {
		err = c.addSpares(o, dir, exited)
	}
	for i := 1; i <= o.agents && err == nil; i++ {
		name := fmt.Sprintf("a%d", i)
		var p *host.Process
		tls, failed := c.certificates.agent(name)
		if err = failed; err != nil {
			break
		}
		p, err = c.site.NewProcess(name, name, append([]string{o.bin, "agent", "--masters", strings.Join(links, ","),
			"--work-dir", filepath.Join(dir, name), "--listen", agentAddr(i), "--advertise", agentAddr(i),
			"--resources", "cpus:32;mem:16384;disk:10000"}, tls...), exited)
		c.agents = append(c.agents, p)
	}
	for _, p := range append(append([]*host.Process{}, c.masters[:o.masters]...), c.agents...) {
		if err == nil {
			err = p.Start()
		}
	}
	if err != nil {
		_ = c.site.Close()
		return nil, err
	}
	return c, nil
}

// addMaster describes master i, on a disk of its own where faults of disks are wanted.
func (c *cluster) addMaster(o options, dir string, i int, peers string, exited func(*host.Process, string)) error {
	name, segment := fmt.Sprintf("m%d", i), "8"
	data := filepath.Join(dir, name)
	if kind := o.diskKind(i); kind != "" {
		d, err := c.site.NewDisk(name, kind)
		if err != nil {
			return err
		}
		// Short segments: the log asks for space every few seconds.
		data, segment = filepath.Join(d.Path, "data"), "1"
		c.disks = append(c.disks, d)
	}
	tls, err := c.certificates.master(i)
	if err != nil {
		return err
	}
	p, err := c.site.NewProcess(name, name, append([]string{o.bin, "master", "--data-dir", data, "--cluster-id", clusterID,
		"--node", fmt.Sprint(i), "--peers", peers, "--segment-mb", segment}, append(o.snapshots(), tls...)...), exited)
	c.masters, c.data = append(c.masters, p), append(c.data, data)
	return err
}

// snapshots are the flags of masters that make some during a run.
func (o *options) snapshots() []string {
	if o.snapshotMB == 0 {
		return nil
	}
	return []string{"--snapshot-mb", fmt.Sprint(o.snapshotMB)}
}

// watch asks every master for its status, and notes each change of what it says.
func (c *cluster) watch(ctx context.Context) {
	c.members.watching = ctx
	for _, id := range c.Members() {
		go c.watchOne(ctx, id)
	}
}

func (c *cluster) watchOne(ctx context.Context, id int) {
	for ctx.Err() == nil {
		s := status{pid: c.masters[id-1].Pid(), node: c.nodeOf(id)}
		if err := c.monitor.Get(ctx, c.http[id-1], "/conclave/v1/status", &s); err == nil {
			c.heard(id, s)
		}
		sleep(ctx, 100*time.Millisecond)
	}
}

// leads: it says so of itself.
func (s *status) leads() bool { return s.Leader != nil && s.Leader.ID == s.node }

func (c *cluster) heard(id int, s status) {
	s.at = time.Now()
	c.mu.Lock()
	if c.damaged[id] {
		c.mu.Unlock()
		c.recorder.Event("monitor", "damaged-status", edn.Map{"node": id, "term": s.Term, "leads": s.leads(), "commit": s.Commit})
		return
	}
	before := c.seen[id]
	c.seen[id] = s
	c.mu.Unlock()
	c.back(id, before, s)
	if s.leads() && (!before.leads() || before.Term != s.Term) {
		c.recorder.Event("monitor", "leader", edn.Map{"node": id, "term": s.Term})
	}
}

// back notes what must never go back: the term, and in one life of a process the commit index.
func (c *cluster) back(id int, before, now status) {
	note := func(what string, from, to int64) {
		c.recorder.Event("monitor", "went-back", edn.Map{"node": id, "what": what, "from": from, "to": to})
	}
	if now.Term < before.Term {
		note("term", before.Term, now.Term)
	}
	// The same process was there before and after the question.
	if now.Commit < before.Commit && now.pid == before.pid && now.pid == c.masters[id-1].Pid() {
		note("commit index", before.Commit, now.Commit)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// leading is the status of the one who says so with the highest term, if it said so of late.
func (c *cluster) leading() (int, status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	best, of := 0, status{}
	for id, s := range c.seen {
		if s.leads() && time.Since(s.at) < time.Second && s.Term >= of.Term {
			best, of = id, s
		}
	}
	return best, of
}

func (c *cluster) Size() int                      { return len(c.masters) }
func (c *cluster) ElectionTimeout() time.Duration { return electionTimeout }

func (c *cluster) Leader() int {
	id, _ := c.leading()
	return id
}

func (c *cluster) Kill(id int) error {
	if !c.masters[id-1].End(syscall.SIGKILL, 10*time.Second) && c.masters[id-1].Pid() != 0 {
		return fmt.Errorf("m%d outlived SIGKILL", id)
	}
	return nil
}

func (c *cluster) Start(id int) error {
	if c.masters[id-1].Pid() != 0 {
		return nil
	}
	return c.masters[id-1].Start()
}

// Pause of what has ended by itself is no fault of the harness: its end is in the history.
func (c *cluster) Pause(id int) error {
	_ = c.masters[id-1].Pause()
	return nil
}

func (c *cluster) Resume(id int) error {
	_ = c.masters[id-1].Resume()
	return nil
}

// Cut and CutAgents replace each other's cuts of their own kind only.
func (c *cluster) Cut(pairs [][2]int) error {
	c.cutMasters = nil
	for _, p := range pairs {
		c.cutMasters = append(c.cutMasters, host.Pair{From: fmt.Sprintf("m%d", p[0]), To: fmt.Sprintf("m%d", p[1])})
	}
	return c.site.Cut(append(append([]host.Pair{}, c.cutMasters...), c.cutAgents...))
}

func (c *cluster) CutAgents(masters []int) error {
	c.cutAgents = nil
	for _, id := range masters {
		for _, agent := range c.agents {
			master := fmt.Sprintf("m%d", id)
			c.cutAgents = append(c.cutAgents, host.Pair{From: agent.Host, To: master}, host.Pair{From: master, To: agent.Host})
		}
	}
	return c.site.Cut(append(append([]host.Pair{}, c.cutMasters...), c.cutAgents...))
}

// Terminate is SIGTERM; false: the master runs on.
func (c *cluster) Terminate(id int, limit time.Duration) bool {
	c.masters[id-1].End(syscall.SIGTERM, limit)
	return c.masters[id-1].Pid() == 0
}

func (c *cluster) CutPort(id, port int) error { return c.site.CutPort(fmt.Sprintf("m%d", id), port) }
func (c *cluster) HealPorts() error           { return c.site.CutPort("", 0) }

// committed is told by frameworks; AwaitCommit waits for the next time.
func (c *cluster) committed() {
	select {
	case c.commits <- struct{}{}:
	default:
	}
}

func (c *cluster) AwaitCommit(limit time.Duration) bool {
	select {
	case <-c.commits: // an old one
	default:
	}
	select {
	case <-c.commits:
		return true
	case <-time.After(limit):
		return false
	}
}

// heal undoes whatever the nemesis may have left.
func (c *cluster) heal() error {
	if err := c.Cut(nil); err != nil {
		return err
	}
	if err := c.CutAgents(nil); err != nil {
		return err
	}
	if err := c.HealPorts(); err != nil {
		return err
	}
	for _, id := range c.Members() {
		_ = c.Resume(id)
		if len(c.disks) > 0 {
			if err := c.Free(id); err != nil {
				return err
			}
		}
		if err := c.Start(id); err != nil {
			return err
		}
	}
	return nil
}

// ready waits until a leader serves and has heard from all agents.
func (c *cluster) ready(ctx context.Context, limit time.Duration) error {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		if id, s := c.leading(); id != 0 && s.AgentsBack >= len(c.agents) {
			return nil
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return ctx.Err()
		}
	}
	id, s := c.leading()
	return fmt.Errorf("not ready after %v: leader %d, %d of %d agents", limit, id, s.AgentsBack, len(c.agents))
}

// stop ends agents and masters politely.
func (c *cluster) stop() {
	for _, p := range append(append([]*host.Process{}, c.agents...), c.masters...) {
		p.End(syscall.SIGTERM, 5*time.Second)
	}
}

// removeAgentGroups removes the control groups that the run's agents have made: an agent leaves its own behind because its
// tasks may run on without it. They are empty by now; one that is not stays, as rmdir has it.
func removeAgentGroups(dir string) {
	names := map[string]bool{}
	files, _ := filepath.Glob(filepath.Join(dir, "a*", "meta", "agent.uuid"))
	for _, file := range files {
		if uuid, err := os.ReadFile(file); err == nil && len(uuid) >= 8 {
			names["conclave-"+string(uuid[:8])] = true
		}
	}
	for pattern := "/sys/fs/cgroup/*"; len(names) > 0 && strings.Count(pattern, "*") <= 5; pattern += "/*" {
		found, _ := filepath.Glob(pattern)
		for _, path := range found {
			if !names[filepath.Base(path)] {
				continue
			}
			inner, _ := filepath.Glob(filepath.Join(path, "*", "cgroup.procs"))
			for _, procs := range inner {
				_ = os.Remove(filepath.Dir(procs))
			}
			_ = os.Remove(path)
		}
	}
}

// aliveTasks finds the processes that run our task's program, by task id.
func aliveTasks(script string) map[string]bool {
	out := map[string]bool{}
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		words := strings.Split(string(data), "\x00")
		if len(words) > 2 && words[1] == script {
			out[words[2]] = true
		}
	}
	return out
}
