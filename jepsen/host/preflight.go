// SPDX-License-Identifier: Apache-2.0
package host

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"time"
)

// Probe is one line of the preflight's table.
type Probe struct {
	Name string // of what may be missing where only some faults need it; "": nothing works without
	Need string
	Use  string
	Err  error
}

// Preflight tries on this machine what the faults need, in a site of its own, and cleans up after itself.
func Preflight(dir string) []Probe {
	probes := []Probe{{Need: "superuser", Use: "namespaces, bridge, nft", Err: superuser()}}
	for _, tool := range []string{"ip", "nft", "nsenter"} {
		_, err := exec.LookPath(tool)
		probes = append(probes, Probe{Need: "tool", Use: tool, Err: err})
	}
	for _, p := range probes {
		if p.Err != nil {
			return probes
		}
	}
	site, err := Open(dir, []Host{{Name: "x1", Addr: "10.86.0.1"}, {Name: "x2", Addr: "10.86.0.2"}})
	probes = append(probes, Probe{Need: "hosts", Use: "network namespaces, veth, bridge, nft bridge table", Err: err})
	if err != nil {
		return probes
	}
	defer site.Close()
	probes = append(probes,
		Probe{Need: "link", Use: "connect from one host to another", Err: site.connect(true)},
		Probe{Need: "cut link", Use: "nft set of directed pairs", Err: site.tryCut()})
	probes = append(probes, site.diskProbes()...)
	group := Probe{Need: "control group", Use: "cgroup.kill for teardown: " + site.cgroup}
	if site.cgroup == "" {
		group.Use = "not here: teardown goes by namespace alone"
	}
	return append(probes, group)
}

// diskProbes: the faults of disks, each tool by what it is meant to do. A file system that is not here is an error like any
// other: nothing is left out silently.
func (s *Site) diskProbes() []Probe {
	var out []Probe
	for _, kind := range []string{"ext4", "xfs"} {
		out = append(out, Probe{Name: kind, Need: "power cut", Use: kind + " on a loop device, shutdown ioctl, balloon", Err: s.tryDisk(kind)})
	}
	return append(out, Probe{Name: "strace", Need: "I/O error", Use: "strace injects EIO at the n-th write", Err: tryFailWrites()})
}

// Print writes the table and tells whether all is there.
func Print(out io.Writer, probes []Probe) bool {
	ok := true
	for _, p := range probes {
		verdict := "ok"
		if p.Err != nil {
			verdict, ok = p.Err.Error(), false
		}
		fmt.Fprintf(out, "%-14s %-52s %s\n", p.Need, p.Use, verdict)
	}
	return ok
}

func superuser() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN): run it as root")
	}
	return nil
}

// connect dials x2 from x1. Nobody listens there: a refusal proves that the packets went both ways.
func (s *Site) connect(want bool) error {
	err := s.connectOnce(want)
	for i := 0; i < 5 && want && err != nil; i++ { // a bridge that was made this moment may not forward yet
		err = s.connectOnce(want)
	}
	return err
}

func (s *Site) connectOnce(want bool) error {
	conn, err := s.Dialer("x1", 300*time.Millisecond)(context.Background(), "tcp4", "10.86.0.2:9")
	if err == nil {
		_ = conn.Close()
	}
	timeout := false
	if ne, ok := err.(net.Error); ok {
		timeout = ne.Timeout()
	}
	if want == timeout {
		return fmt.Errorf("connection from x1 to x2: %v", err)
	}
	return nil
}

func (s *Site) tryCut() error {
	if err := s.Cut([]Pair{{"x2", "x1"}}); err != nil {
		return err
	}
	if err := s.connect(false); err != nil {
		return fmt.Errorf("cut, but %w", err)
	}
	if err := s.Cut(nil); err != nil {
		return err
	}
	if err := s.CutPort("x2", 9); err != nil {
		return err
	}
	if err := s.connect(false); err != nil {
		return fmt.Errorf("port cut, but %w", err)
	}
	if err := s.CutPort("", 0); err != nil {
		return err
	}
	return s.connect(true)
}
