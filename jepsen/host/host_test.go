// SPDX-License-Identifier: Apache-2.0
package host

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// needsRoot leaves a test out on machines where namespaces are not permitted; ./dev test runs as root and leaves none out.
func needsRoot(t *testing.T) {
	if superuser() != nil {
		t.Skip("needs root")
	}
}

func openSite(t *testing.T) *Site {
	needsRoot(t)
	s, err := Open(t.TempDir(), []Host{{"x1", "10.86.0.1"}, {"x2", "10.86.0.2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestACutDirectionIsSilentAndHealsAtOnce(t *testing.T) {
	s := openSite(t)
	if err := s.connect(true); err != nil {
		t.Fatal(err)
	}
	if err := s.tryCut(); err != nil {
		t.Fatal(err)
	}
}

func TestCloseEndsEveryProcessAndNamespaceAndMayBeRepeated(t *testing.T) {
	s := openSite(t)
	p, err := s.NewProcess("x1", "sleeper", []string{"sh", "-c", "setsid sleep 1000 & exec sleep 1000"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < 100 && len(pidsIn(s.path("x1"))) < 2; i++ {
		time.Sleep(10 * time.Millisecond)
	}
	pids := pidsIn(s.path("x1"))
	if len(pids) != 2 {
		t.Fatalf("pids %v in the namespace", pids)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		// A zombie of another parent may linger for a moment; it runs nothing.
		data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if err == nil && !strings.Contains(string(data), ") Z ") {
			t.Errorf("%d lives on", pid)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(netnsDir, prefix+s.ID+"-*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err == nil {
		t.Error("a process was started on a closed site")
	}
}

func TestOnlyAnUnexpectedEndIsTold(t *testing.T) {
	s := openSite(t)
	told := make(chan string, 4)
	p, err := s.NewProcess("x2", "short", []string{"sh", "-c", "sleep 0.3; exit 7"}, func(p *Process, state string) { told <- state })
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if !p.End(syscall.SIGKILL, 5*time.Second) || p.Pid() != 0 {
		t.Fatal("SIGKILL did not end it")
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case state := <-told:
		if state != "exit status 7" {
			t.Fatal(state)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("nobody was told")
	}
}

func TestANameOfALivingOrForeignOwnerIsLeftAlone(t *testing.T) {
	id, err := runID()
	if err != nil {
		t.Fatal(err)
	}
	if !ownerAlive(prefix+id+"-m1") || !ownerAlive("something") {
		t.Error("a living owner is taken for dead")
	}
	if ownerAlive(prefix + "1.999999999999-m1") {
		t.Error("a dead owner is taken for living")
	}
}

func TestADiskForgetsWhatWasNotSyncedAndCanBeFull(t *testing.T) {
	s := openSite(t)
	for _, kind := range []string{"ext4", "xfs"} {
		if err := s.tryDisk(kind); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	d, err := s.NewDisk("x1", "ext4")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if mounted(d.Path) {
		t.Error("the disk outlived its site")
	}
	if _, err := s.NewDisk("x2", "ext4"); err == nil {
		t.Error("a closed site made a disk")
	}
}

func TestTheWriteThatIsMeantFails(t *testing.T) {
	needsRoot(t)
	if err := tryFailWrites(); err != nil {
		t.Fatal(err)
	}
}
