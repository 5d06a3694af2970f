// SPDX-License-Identifier: Apache-2.0
package main

import (
	"context"
	"fmt"
	"math/rand"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"conclave/jepsen/check"
	"conclave/jepsen/edn"
	"conclave/jepsen/history"
	"conclave/jepsen/host"
	"conclave/jepsen/mesos"
	"conclave/jepsen/nemesis"
	"conclave/jepsen/workload"
)

const (
	warmUp     = 6 * time.Second
	quietTime  = 5 * time.Second
	readyLimit = 20 * time.Second
	drainLimit = 15 * time.Second
	killLimit  = 20 * time.Second
)

type options struct {
	workloads, faults []string
	seconds           time.Duration
	seed              int64
	json              bool
	bin, dir          string
	masters, agents   int
	snapshotMB        int    // of log between the masters' snapshots; 0: so many that a run sees none
	mutant            string // planted bug of a binary that has some
	disks             string // file systems of the masters, by comma and in turn; "": the run's folder
}

// diskKind is the file system of master i; "" when it needs none of its own.
func (o *options) diskKind(i int) string {
	kinds := list(o.disks)
	if len(kinds) == 0 {
		return ""
	}
	return kinds[(i-1)%len(kinds)]
}

// taskScript is what every task runs. It writes to the ledger of the agent whose work folder it stands in, and nobody else
// knows of that file.
const taskScript = `# usage: task.sh TASK LAUNCH SECONDS
base='%s'
agent=$(pwd -P)
agent=${agent#"$base"/}
agent=${agent%%%%/*}
ledger=$base/ledger/$agent
ended() { echo "end $task $launch $agent $$ $(date +%%s%%N) $1" >>"$ledger"; }
task=$1 launch=$2
trap 'ended TERM; kill "$sleeper"; exit 143' TERM
echo "start $task $launch $agent $$ $(date +%%s%%N)" >>"$ledger"
sleep "$3" &
sleeper=$!
wait "$sleeper"
trap '' TERM
ended done
`

// test is one run under way.
type test struct {
	options
	label        string // before the name of the run's folder
	path         string // of the run's folder
	script       string
	recorder     *history.Recorder
	cluster      *cluster
	frameworks   []*workload.Framework
	stopRegister func()
	stopLists    func()
	archive      *archive         // nil where the log stays whole
	plan         []nemesis.Period // nil: drawn from the seed
	warmUp       time.Duration
	recovering   bool // wait after each period until everything is back
	quiet        time.Duration
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "jepsen: "+format+"\n", args...) }

// prepare makes the run's folder: DIR/TIME-SEED, in a campaign DIR/NAME-TIME-SEED. It must be new.
func (t *test) prepare() error {
	dir, err := filepath.Abs(t.dir)
	if err != nil {
		return err
	}
	if t.bin, err = filepath.Abs(t.bin); err != nil {
		return err
	}
	if info, err := os.Stat(t.bin); err != nil || info.Mode()&0o111 == 0 {
		return fmt.Errorf("%s is no program: build it first", t.bin)
	}
	t.path = filepath.Join(dir, fmt.Sprintf("%s%s-%d", t.label, time.Now().UTC().Format("20060102T150405"), t.seed))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(t.path, 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(t.path, "ledger"), 0o755); err != nil {
		return err
	}
	if t.path, err = filepath.EvalSymlinks(t.path); err != nil {
		return err
	}
	t.script = filepath.Join(t.path, "task.sh")
	return os.WriteFile(t.script, []byte(fmt.Sprintf(taskScript, strings.ReplaceAll(t.path, "'", `'\''`))), 0o644)
}

func run(o options) int {
	t := &test{options: o, warmUp: warmUp, quiet: quietTime}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if ready, skip := readyMachine(o); skip {
		return exitPass
	} else if !ready {
		return exitInvalid
	}
	if err := t.prepare(); err != nil {
		say("%v", err)
		return exitInvalid
	}
	err := t.execute(ctx)
	if ctx.Err() != nil {
		interrupted.Store(true)
	}
	return t.judge(err)
}

// interrupted: a signal asked this program to end.
var interrupted atomic.Bool

// diskKinds are the file systems of masters whose disks are broken, in turn.
const diskKinds = "ext4,xfs,ext4,xfs,ext4"

// readyMachine removes what killed runs have left and tries what the faults need. Not ready, and a skip: what is missing is
// named by tests/allowed-skips, as jepsen/NAME.
func readyMachine(o options) (ready, skip bool) {
	if removed, err := host.CleanStale(); err != nil {
		say("leftovers of an earlier run: %v", err)
		return false, false
	} else if len(removed) > 0 {
		say("removed %d leftovers of killed runs", len(removed))
	}
	dir, err := os.MkdirTemp("", "jepsen-preflight-")
	if err != nil {
		say("%v", err)
		return false, false
	}
	defer os.RemoveAll(dir)
	probes := host.Preflight(dir)
	host.Print(os.Stderr, probes)
	return judgeProbes(o, probes, allowedSkips("tests/allowed-skips"))
}

func judgeProbes(o options, probes []host.Probe, allowed map[string]bool) (ready, skip bool) {
	ready, skip = true, true
	for _, p := range probes {
		if p.Err == nil || p.Name != "" && !o.needs(p.Name) {
			continue
		}
		ready = false
		if p.Name != "" && allowed["jepsen/"+p.Name] {
			fmt.Fprintf(os.Stderr, "SKIP jepsen/%s\n", p.Name)
			continue
		}
		skip = false
		say("%s is missing (%v): this machine does not permit what the faults need", or(p.Name, p.Need), p.Err)
	}
	return ready, !ready && skip
}

// needs tells whether the faults of the run want a thing that the preflight has a name for.
func (o *options) needs(name string) bool {
	if name == "strace" {
		for _, f := range o.faults {
			if f == "F-15" {
				return true
			}
		}
		return false
	}
	for _, kind := range list(o.disks) {
		if kind == name {
			return true
		}
	}
	return false
}

// allowedSkips reads the names of a file of excuses; none where there is no file.
func allowedSkips(path string) map[string]bool {
	out := map[string]bool{}
	data, _ := os.ReadFile(path)
	for _, line := range strings.Split(string(data), "\n") {
		if words := strings.Fields(line); len(words) > 0 && !strings.HasPrefix(words[0], "#") {
			out[words[0]] = true
		}
	}
	return out
}

// execute records one life of a cluster in the run's folder. An error makes it invalid; nothing is left behind.
func (t *test) execute(ctx context.Context) error {
	var err error
	if t.recorder, err = history.NewRecorder(t.path); err != nil {
		return err
	}
	err = t.play(ctx)
	if t.cluster != nil {
		if closed := t.cluster.site.Close(); closed != nil && err == nil {
			err = closed
		}
		removeAgentGroups(t.path)
	}
	if closed := t.recorder.Close(); closed != nil && err == nil {
		err = closed
	}
	return err
}

// play is the run from the first process to the last. An error makes the run invalid.
func (t *test) play(ctx context.Context) error {
	t.recorder.Event("run", "options", edn.Map{"seed": t.seed, "workload": t.workloads, "faults": t.faults,
		"seconds": int(t.seconds / time.Second), "masters": t.masters, "agents": t.agents, "bin": t.bin})
	var err error
	if t.cluster, err = openCluster(t.options, t.path, t.recorder); err != nil {
		return err
	}
	watching, unwatch := context.WithCancel(ctx)
	defer unwatch()
	t.cluster.watch(watching)
	if err := t.cluster.ready(ctx, readyLimit); err != nil {
		return err
	}
	running, end := context.WithCancel(ctx)
	defer end()
	var all sync.WaitGroup
	t.makeFrameworks()
	t.startArchive(ctx)
	t.startRegister(ctx)
	defer t.stopRegister()
	t.startLists(ctx)
	defer t.stopLists()
	for _, f := range t.frameworks {
		all.Add(1)
		go func(f *workload.Framework) {
			defer all.Done()
			f.Run(running)
		}(f)
	}
	if err := t.phases(ctx); err != nil {
		return err
	}
	end()
	all.Wait()
	unwatch()
	t.cluster.stop()
	return nil
}

func (t *test) makeFrameworks() {
	pad := 0
	if t.snapshotMB > 0 {
		pad = padding
	}
	dial := t.cluster.site.Dialer(clientHost, time.Second)
	add := func(name string, policy workload.Policy, failover float64) {
		t.frameworks = append(t.frameworks, workload.New(workload.Options{Name: name, Policy: policy, Masters: t.cluster.http, Now: t.cluster.served,
			Calls: mesos.NewClient(dial, 5*time.Second), Streams: mesos.NewClient(dial, 2*time.Second), Recorder: t.recorder,
			Seed: t.seed + int64(len(t.frameworks)), Script: t.script, Failover: failover, Pad: pad,
			Commit: t.cluster.committed}))
	}
	for _, w := range t.workloads {
		switch w {
		case "W-01":
			add("w01-a", &workload.Loop{Rate: 8, LiveMax: 40}, 600)
			add("w01-b", &workload.Loop{Rate: 8, LiveMax: 40}, 600)
		case "W-02":
			// No failover_timeout: a change of leader must not be taken for a framework that went away.
			add("w02-a", &workload.Long{First: 12, Every: 3 * time.Second}, 0)
		}
	}
}

// startRegister is W-08: two clients that follow the leader, one pinned to each master, and one local reader of each.
// stopRegister ends them before the logs are read, so that all they did is in there.
func (t *test) startRegister(ctx context.Context) {
	t.stopRegister = func() {}
	if !t.wants("W-08") {
		return
	}
	ctx, end := context.WithCancel(ctx)
	var all sync.WaitGroup
	t.stopRegister = func() {
		end()
		all.Wait()
	}
	clients := int64(0)
	next := &atomic.Int64{}
	next.Store(workload.RegisterFirst)
	add := func(pinned int, local bool, pause time.Duration) {
		dials := &atomic.Int64{}
		dial := t.cluster.site.Dialer(clientHost, time.Second)
		counted := func(ctx context.Context, network, address string) (net.Conn, error) {
			dials.Add(1)
			return dial(ctx, network, address)
		}
		c := &workload.RegisterClient{Masters: t.cluster.http, Pinned: pinned, Local: local, Client: mesos.NewClient(counted, 2*time.Second),
			Recorder: t.recorder, Seed: t.seed*100 + clients, Pause: pause, Next: next, Dials: dials.Load, Commit: t.cluster.committed}
		clients++
		all.Add(1)
		go func() {
			defer all.Done()
			c.Run(ctx)
		}()
	}
	for i := 0; i < 2; i++ {
		add(-1, false, 30*time.Millisecond)
	}
	for i := range t.cluster.http {
		if i >= t.masters+sparesPinned {
			break
		}
		add(i, false, 40*time.Millisecond)
		add(i, true, 200*time.Millisecond)
	}
}

func (t *test) wants(workload string) bool {
	for _, w := range t.workloads {
		if w == workload {
			return true
		}
	}
	return false
}

// startLists is W-09: one reader at each master, of the lists that W-01's frameworks append to.
func (t *test) startLists(ctx context.Context) {
	t.stopLists = func() {}
	if !t.wants("W-09") {
		return
	}
	ctx, end := context.WithCancel(ctx)
	var all sync.WaitGroup
	t.stopLists = func() {
		end()
		all.Wait()
	}
	for i := range t.cluster.http {
		if i >= t.masters+sparesPinned {
			break
		}
		dial, dials := t.cluster.site.Dialer(clientHost, time.Second), &atomic.Int64{}
		counted := func(ctx context.Context, network, address string) (net.Conn, error) {
			dials.Add(1)
			return dial(ctx, network, address)
		}
		l := &workload.ListReader{Masters: t.cluster.http, At: i, Frameworks: t.frameworks, Client: mesos.NewClient(counted, 2*time.Second),
			Recorder: t.recorder, Seed: t.seed*1000 + int64(i), Pause: 500 * time.Millisecond, Dials: dials.Load}
		all.Add(1)
		go func() {
			defer all.Done()
			l.Run(ctx)
		}()
	}
}

// each does something for all frameworks at once.
func (t *test) each(do func(f *workload.Framework)) {
	var all sync.WaitGroup
	for _, f := range t.frameworks {
		all.Add(1)
		go func(f *workload.Framework) {
			defer all.Done()
			do(f)
		}(f)
	}
	all.Wait()
}

// phases: warm-up, faults, heal, quiet, final readings, clearing up.
func (t *test) phases(ctx context.Context) error {
	if err := t.warm(ctx); err != nil {
		return err
	}
	t.recorder.Event("run", "faults", edn.Map{})
	rng := rand.New(rand.NewSource(t.seed))
	if t.plan == nil {
		t.plan = nemesis.Plan(rng, t.faults, t.seconds-t.warmUp)
		say("%d periods of faults in %v", len(t.plan), t.seconds-t.warmUp)
	}
	n := nemesis.New(t.cluster, t.recorder, rng)
	if t.recovering {
		n.After = func(number int, p nemesis.Period) error { return t.recovered(ctx, number, p) }
	}
	began := time.Now()
	broken := n.Run(ctx, t.plan)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !sleep(ctx, t.seconds-t.warmUp-time.Since(began)) {
		return ctx.Err()
	}
	if err := t.cluster.heal(); err != nil {
		return err
	}
	t.recorder.Event("run", "heal", edn.Map{})
	if err := t.cluster.ready(ctx, readyLimit); err != nil {
		t.recorder.Event("run", "not-ready", edn.Map{"why": err.Error()})
		say("after healing: %v", err)
	}
	t.recorder.Event("run", "quiet", edn.Map{})
	if !sleep(ctx, t.quiet) {
		return ctx.Err()
	}
	t.recorder.Event("run", "quiet-over", edn.Map{})
	if err := t.finish(ctx); err != nil {
		return err
	}
	return broken // judged all the same: what was broken may say why
}

// warm waits until every framework has tasks, then lets the load run for a while.
func (t *test) warm(ctx context.Context) error {
	for deadline := time.Now().Add(readyLimit); ; {
		waiting := ""
		for _, f := range t.frameworks {
			if f.Heard("TASK_RUNNING")+f.Heard("TASK_FINISHED") == 0 {
				waiting = f.Name
			}
		}
		if waiting == "" {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("framework %s has no running task after %v", waiting, readyLimit)
		}
		if !sleep(ctx, 20*time.Millisecond) {
			return ctx.Err()
		}
	}
	t.recorder.Event("run", "load", edn.Map{})
	if !sleep(ctx, t.warmUp) {
		return ctx.Err()
	}
	return nil
}

func (t *test) finish(ctx context.Context) error {
	for _, f := range t.frameworks {
		f.StopLaunching()
	}
	t.each(func(f *workload.Framework) {
		if _, long := f.Policy.(*workload.Long); !long {
			f.Drain(ctx, drainLimit)
		}
	})
	t.stopRegister()
	t.stopLists()
	t.recorder.Event("run", "final", edn.Map{})
	t.each(func(f *workload.Framework) { f.FinalRead(ctx, 10*time.Second) })
	if err := t.readProcesses(); err != nil {
		return err
	}
	t.each(func(f *workload.Framework) { f.KillAll(ctx, killLimit) })
	t.each(func(f *workload.Framework) { f.Teardown(ctx) })
	if err := t.dump(ctx); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	t.recorder.Event("run", "end", edn.Map{})
	return nil
}

// readProcesses notes of each task without an end in its ledger whether its process is there.
func (t *test) readProcesses() error {
	alive := aliveTasks(t.script)
	time.Sleep(300 * time.Millisecond) // an end that was being written is in the ledger now
	entries, err := history.ReadLedgers(t.path)
	if err != nil {
		return err
	}
	ended := map[string]bool{}
	for _, e := range entries {
		ended[e.Task] = ended[e.Task] || !e.Start
	}
	for _, e := range entries {
		if e.Start && !ended[e.Task] {
			t.recorder.Event("final", "task-alive", edn.Map{"task": e.Task, "agent": e.Agent, "pid": e.Pid, "alive": alive[e.Task]})
		}
	}
	return nil
}

// judge reads the run back and prints the verdict.
func (t *test) judge(failed error) int {
	r, err := check.Load(t.path)
	if err != nil {
		say("%v", err)
		return exitInvalid
	}
	return t.report(r, failed)
}
