// SPDX-License-Identifier: Apache-2.0
package host

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const netnsDir = "/run/netns"

// setns(2) has no name in the standard library; its number is part of the kernel's ABI.
var setnsNumber = map[string]uintptr{"amd64": 308, "arm64": 268}[runtime.GOARCH]

func setns(file *os.File) error {
	if setnsNumber == 0 {
		return fmt.Errorf("setns(2): number not known on %s", runtime.GOARCH)
	}
	if _, _, errno := syscall.RawSyscall(setnsNumber, file.Fd(), syscall.CLONE_NEWNET, 0); errno != 0 {
		return os.NewSyscallError("setns", errno)
	}
	return nil
}

// inNamespace runs do on a thread that stands in the namespace at path. do must not start goroutines that need it.
func inNamespace(path string, do func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	away, err := os.Open(path)
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer away.Close()
	if err := setns(away); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = do()
	if back := setns(home); back != nil {
		// The thread is lost to us: leaving it locked makes the runtime end it with this goroutine.
		return fmt.Errorf("%w (and no way back to our own namespace: %v)", back, err)
	}
	runtime.UnlockOSThread()
	return err
}

// DialFunc has the form that http.Transport wants.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// dialer makes sockets in a namespace. Addresses are literals: a resolver's goroutines would stand elsewhere.
func dialer(path string, timeout time.Duration) DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		if net.ParseIP(host) == nil {
			return nil, fmt.Errorf("dial %s: not a literal address", address)
		}
		var conn net.Conn
		err = inNamespace(path, func() error {
			var err error
			conn, err = (&net.Dialer{Timeout: timeout, KeepAlive: -1}).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
}

// pidsIn lists the processes that stand in the namespace at path, ourselves left out.
func pidsIn(path string) []int {
	want, err := os.Stat(path)
	if err != nil {
		return nil
	}
	var out []int
	links, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, link := range links {
		pid, err := strconv.Atoi(strings.Split(link, "/")[2])
		if err != nil || pid == os.Getpid() {
			continue
		}
		if have, err := os.Stat(link); err == nil && os.SameFile(want, have) {
			out = append(out, pid)
		}
	}
	return out
}

// endAll kills what stands in the namespaces until nothing does, or the time is over. Every process in there was started
// by us or by what we started: nobody else knows these namespaces.
func endAll(paths []string, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for {
		left := 0
		for _, path := range paths {
			for _, pid := range pidsIn(path) {
				left++
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if left == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes outlived SIGKILL for %v", left, limit)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
