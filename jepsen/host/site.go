// SPDX-License-Identifier: Apache-2.0

// Package host makes hosts out of one machine: a network namespace a node, all joined by a bridge in a namespace of its
// own, and processes started inside. What it makes carries the run's id, which names the owner, so that leftovers of a
// run that was killed are told from those of one that still runs. It ends only what it started.
package host

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	prefix      = "cj" // of every namespace and control group made here
	switchName  = "switch"
	cgroupRoot  = "/sys/fs/cgroup/unified"
	commandTime = 10 * time.Second
)

// Host is one node: a name of at most 8 letters and an IPv4 address in 10.86.0.0/24.
type Host struct {
	Name string
	Addr string
}

// Site is the set of hosts of one run.
type Site struct {
	ID     string
	Dir    string
	Env    []string // of every process, beside PATH, HOME and LC_ALL
	hosts  map[string]Host
	cgroup string // "" where the machine permits none

	mu        sync.Mutex
	closed    bool
	processes []*Process
	disks     []*Disk
	logs      []*os.File
}

// runID names this process so that nobody else can be meant: pid and start time.
func runID() (string, error) {
	ticks, err := startTicks(os.Getpid())
	return fmt.Sprintf("%d.%d", os.Getpid(), ticks), err
}

func startTicks(pid int) (uint64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name in parentheses may hold anything; what follows it does not.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 20 {
		return 0, fmt.Errorf("/proc/%d/stat is short", pid)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// command runs a tool with a limit on its time; the error holds what it said.
func command(stdin string, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return err
	}
	timer := time.AfterFunc(commandTime, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return nil
}

func (s *Site) namespace(name string) string { return prefix + s.ID + "-" + name }

// path of a namespace as a file.
func (s *Site) path(name string) string { return filepath.Join(netnsDir, s.namespace(name)) }

// Open makes the namespaces. On an error nothing is left behind.
func Open(dir string, hosts []Host) (*Site, error) {
	id, err := runID()
	if err != nil {
		return nil, err
	}
	s := &Site{ID: id, Dir: dir, hosts: map[string]Host{}}
	for _, h := range hosts {
		s.hosts[h.Name] = h
	}
	if err := s.build(hosts); err != nil {
		_ = s.Close()
		return nil, err
	}
	s.openCgroup()
	return s, nil
}

func (s *Site) build(hosts []Host) error {
	sw := s.namespace(switchName)
	var batch strings.Builder
	if err := command("", "ip", "netns", "add", sw); err != nil {
		return err
	}
	for _, h := range hosts {
		if err := command("", "ip", "netns", "add", s.namespace(h.Name)); err != nil {
			return err
		}
		fmt.Fprintf(&batch, "link add v-%s type veth peer name eth0 netns %s\n", h.Name, s.namespace(h.Name))
		fmt.Fprintf(&batch, "link set v-%s master br0 up\n", h.Name)
	}
	if err := command("link set lo up\nlink add br0 type bridge\nlink set br0 up\n"+batch.String(), "ip", "-n", sw, "-batch", "-"); err != nil {
		return err
	}
	for _, h := range hosts {
		lines := fmt.Sprintf("link set lo up\naddr add %s/24 dev eth0\nlink set eth0 up\n", h.Addr)
		if err := command(lines, "ip", "-n", s.namespace(h.Name), "-batch", "-"); err != nil {
			return err
		}
	}
	// A service is cut where it is dialled, whoever dials: what goes to its port at its host, and what its host sends to
	// that port elsewhere.
	return s.nft("table bridge jepsen {\n set pairs { type ipv4_addr . ipv4_addr; }\n set ports { type ipv4_addr . inet_service; }\n" +
		" chain cut { type filter hook forward priority 0; policy accept;\n ip saddr . ip daddr @pairs drop\n" +
		" ip daddr . tcp dport @ports drop\n ip saddr . tcp dport @ports drop\n }\n}\n")
}

func (s *Site) nft(text string) error {
	return command(text, "nsenter", "--net="+s.path(switchName), "nft", "-f", "-")
}

// Pair is a direction that is cut: what From sends does not reach To.
type Pair struct{ From, To string }

// Cut replaces what is cut by these pairs of host names, all at once; no pair heals everything.
func (s *Site) Cut(pairs []Pair) error {
	text := "flush set bridge jepsen pairs\n"
	if len(pairs) > 0 {
		var list []string
		for _, p := range pairs {
			from, ok1 := s.hosts[p.From]
			to, ok2 := s.hosts[p.To]
			if !ok1 || !ok2 {
				return fmt.Errorf("cut: no host %q or %q", p.From, p.To)
			}
			list = append(list, from.Addr+" . "+to.Addr)
		}
		text += "add element bridge jepsen pairs { " + strings.Join(list, ", ") + " }\n"
	}
	return s.nft(text)
}

// CutPort cuts a TCP port of one host; port 0 heals every port of every host.
func (s *Site) CutPort(name string, port int) error {
	text := "flush set bridge jepsen ports\n"
	if port != 0 {
		have, ok := s.hosts[name]
		if !ok {
			return fmt.Errorf("cut: no host %q", name)
		}
		text += fmt.Sprintf("add element bridge jepsen ports { %s . %d }\n", have.Addr, port)
	}
	return s.nft(text)
}

// Dialer connects from one of the hosts.
func (s *Site) Dialer(name string, timeout time.Duration) DialFunc {
	return dialer(s.path(name), timeout)
}

// Command describes a program on a host that is not one of the processes: a tool, whose end its caller waits for. Whatever of it
// is left when the site is closed is ended.
func (s *Site) Command(ctx context.Context, name string, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + s.path(name), "--"}, argv...)...)
	cmd.Dir = s.Dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C"}, s.Env...)
	return cmd
}

// openCgroup makes a control group of the run, where that is possible: it only makes the teardown quicker.
func (s *Site) openCgroup() {
	path := filepath.Join(cgroupRoot, s.namespace("run"))
	if err := os.Mkdir(path, 0o755); err != nil {
		return
	}
	if _, err := os.Stat(filepath.Join(path, "cgroup.kill")); err != nil {
		_ = os.Remove(path)
		return
	}
	s.cgroup = path
}

func removeCgroup(path string) {
	_ = os.WriteFile(filepath.Join(path, "cgroup.kill"), []byte("1"), 0)
	for i := 0; i < 100; i++ {
		// Groups that nodes made inside come first; they are empty once everything is dead.
		inner, _ := filepath.Glob(filepath.Join(path, "*", "cgroup.procs"))
		for _, procs := range inner {
			_ = os.Remove(filepath.Dir(procs))
		}
		if err := os.Remove(path); err == nil || os.IsNotExist(err) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Close ends every process of the run and removes what Open made. It may be called again, and from a signal's goroutine.
func (s *Site) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	for _, p := range s.processes {
		p.ExpectEnd()
	}
	s.mu.Unlock()
	if s.cgroup != "" {
		removeCgroup(s.cgroup)
	}
	var paths []string
	for name := range s.hosts {
		paths = append(paths, s.path(name))
	}
	paths = append(paths, s.path(switchName))
	err := endAll(paths, 10*time.Second)
	for _, d := range s.disks {
		if gone := d.Unmount(); gone != nil && err == nil {
			err = gone
		}
	}
	for _, path := range paths {
		if _, stat := os.Stat(path); stat != nil {
			continue
		}
		if gone := command("", "ip", "netns", "del", filepath.Base(path)); gone != nil && err == nil {
			err = gone
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, file := range s.logs {
		_ = file.Close()
	}
	return err
}

// ownerAlive tells whether the run that made a name still runs.
func ownerAlive(name string) bool {
	id := strings.TrimPrefix(name, prefix)
	if dash := strings.IndexByte(id, '-'); dash >= 0 {
		id = id[:dash]
	}
	var pid int
	var ticks uint64
	if n, _ := fmt.Sscanf(id, "%d.%d", &pid, &ticks); n != 2 {
		return true // not a name of ours: hands off
	}
	have, err := startTicks(pid)
	return err == nil && have == ticks
}

// CleanStale removes what runs that are no more have left: their processes, mounts, namespaces and control groups. It
// returns what it removed.
func CleanStale() ([]string, error) {
	var removed []string
	groups, _ := filepath.Glob(filepath.Join(cgroupRoot, prefix+"*-run"))
	for _, path := range groups {
		if !ownerAlive(filepath.Base(path)) {
			removeCgroup(path)
			removed = append(removed, path)
		}
	}
	spaces, _ := filepath.Glob(filepath.Join(netnsDir, prefix+"[0-9]*-*"))
	for _, path := range spaces {
		if ownerAlive(filepath.Base(path)) {
			continue
		}
		if err := endAll([]string{path}, 10*time.Second); err != nil {
			return removed, err
		}
		if err := command("", "ip", "netns", "del", filepath.Base(path)); err != nil {
			return removed, err
		}
		removed = append(removed, path)
	}
	unmounted, err := cleanMounts()
	return append(removed, unmounted...), err
}
