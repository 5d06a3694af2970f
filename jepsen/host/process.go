// SPDX-License-Identifier: Apache-2.0
package host

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Process is a program on a host. It may be killed and started again; its output is appended to one file.
type Process struct {
	Host string
	Name string
	Log  string // absolute path
	argv []string
	site *Site
	// Exited is told, on a goroutine of its own, when the process ended and nobody had asked for it.
	exited func(p *Process, state string)

	mu       sync.Mutex
	cmd      *exec.Cmd
	done     chan struct{} // closed when the present process was waited for
	expected bool
}

// NewProcess describes a program; Start starts it.
func (s *Site) NewProcess(hostName, name string, argv []string, exited func(p *Process, state string)) (*Process, error) {
	if _, ok := s.hosts[hostName]; !ok {
		return nil, fmt.Errorf("no host %q", hostName)
	}
	p := &Process{Host: hostName, Name: name, Log: filepath.Join(s.Dir, "logs", name+".log"), argv: argv, site: s, exited: exited}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("the site is closed")
	}
	s.processes = append(s.processes, p)
	return p, nil
}

// SetArgv changes what the next Start runs.
func (p *Process) SetArgv(argv []string) {
	p.mu.Lock()
	p.argv = argv
	p.mu.Unlock()
}

// Start starts the process; one that runs already is an error. nsenter replaces itself, so the pid is the program's.
func (p *Process) Start() error { return p.StartUnder(nil) }

// StartUnder is Start with words before the program's: a tracer that lets it keep the pid.
func (p *Process) StartUnder(prefix []string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done != nil {
		select {
		case <-p.done:
		default:
			return fmt.Errorf("%s runs already", p.Name)
		}
	}
	if err := os.MkdirAll(filepath.Dir(p.Log), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	args := append(append([]string{"--net=" + p.site.path(p.Host), "--"}, prefix...), p.argv...)
	cmd := exec.Command("nsenter", args...)
	cmd.Dir = p.site.Dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C"}, p.site.Env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// The site's lock orders this against Close: a process started after it would never be ended.
	p.site.mu.Lock()
	defer p.site.mu.Unlock()
	if p.site.closed {
		return fmt.Errorf("the site is closed")
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if p.site.cgroup != "" {
		procs := filepath.Join(p.site.cgroup, "cgroup.procs")
		_ = os.WriteFile(procs, []byte(strconv.Itoa(cmd.Process.Pid)), 0)
	}
	p.cmd, p.done, p.expected = cmd, make(chan struct{}), false
	go p.wait(cmd, p.done)
	return nil
}

func (p *Process) wait(cmd *exec.Cmd, done chan struct{}) {
	_ = cmd.Wait()
	p.mu.Lock()
	expected := p.expected
	p.mu.Unlock()
	close(done)
	if !expected && p.exited != nil {
		p.exited(p, cmd.ProcessState.String())
	}
}

// ExpectEnd: the present process may end by itself, which is then told to nobody.
func (p *Process) ExpectEnd() {
	p.mu.Lock()
	p.expected = true
	p.mu.Unlock()
}

// Ended waits for the present process to end by itself; false: it still runs.
func (p *Process) Ended(limit time.Duration) bool {
	p.mu.Lock()
	done := p.done
	p.mu.Unlock()
	if done == nil {
		return true
	}
	select {
	case <-done:
		return true
	case <-time.After(limit):
		return false
	}
}

// State is how the last process ended, "exit status 4" say; "" while one runs or none has.
func (p *Process) State() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done == nil {
		return ""
	}
	select {
	case <-p.done:
		return p.cmd.ProcessState.String()
	default:
		return ""
	}
}

// Pid of the present process; 0 when none runs.
func (p *Process) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done == nil {
		return 0
	}
	select {
	case <-p.done:
		return 0
	default:
		return p.cmd.Process.Pid
	}
}

// End sends a signal that is meant to end the process, and waits until it did. True: it ran and is gone.
func (p *Process) End(signal syscall.Signal, limit time.Duration) bool {
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	p.expected = true
	p.mu.Unlock()
	if cmd == nil {
		return false
	}
	// Wait has not been told to us yet, so the pid cannot be another's.
	select {
	case <-done:
		return false
	default:
		_ = cmd.Process.Signal(signal)
	}
	select {
	case <-done:
		return true
	case <-time.After(limit):
		return false
	}
}

// Pause and Resume are SIGSTOP and SIGCONT. Pausing what does not run is an error.
func (p *Process) Pause() error  { return p.pass(syscall.SIGSTOP) }
func (p *Process) Resume() error { return p.pass(syscall.SIGCONT) }

func (p *Process) pass(signal syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return fmt.Errorf("%s does not run", p.Name)
	}
	if err := p.cmd.Process.Signal(signal); err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	return nil
}
