// SPDX-License-Identifier: Apache-2.0
package host

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// The file system's own power switch: FS_IOC_SHUTDOWN, and the flag that leaves what stands in the journal's memory there.
const (
	ioctlShutdown = 0x8004587D
	noLogFlush    = 2
	balloonName   = "balloon"
	diskPart      = "disk" // folder of a run that holds its mount points
)

// sizes of images: sparse files. xfs takes no less than 300 MB.
var diskMegabytes = map[string]int{"ext4": 128, "xfs": 320}

// Disk is a file system of a host's own, in a file behind a loop device. Its power can be cut, and it can be full. The loop
// device belongs to the mount and goes with it; the mount point carries the run's id.
type Disk struct {
	Kind  string // ext4 or xfs
	Path  string // where it is mounted
	image string
}

// NewDisk makes and mounts a file system; Close of the site unmounts it.
func (s *Site) NewDisk(name, kind string) (*Disk, error) {
	size, known := diskMegabytes[kind]
	if !known {
		return nil, fmt.Errorf("disk %s: no file system %q", name, kind)
	}
	d := &Disk{Kind: kind, Path: filepath.Join(s.Dir, diskPart, s.namespace(name)), image: filepath.Join(s.Dir, diskPart, name+".img")}
	if err := os.MkdirAll(d.Path, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		return nil, err
	}
	if err := os.Truncate(d.image, int64(size)<<20); err != nil {
		return nil, err
	}
	format := []string{"mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,nodiscard", d.image}
	if kind == "xfs" {
		format = []string{"mkfs.xfs", "-q", "-f", "-K", d.image}
	}
	if err := command("", format[0], format[1:]...); err != nil {
		return nil, err
	}
	// The site's lock orders this against Close: a disk mounted after it would never be unmounted.
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("the site is closed")
	}
	s.disks = append(s.disks, d)
	return d, d.Mount()
}

// Mount attaches the image; the journal is replayed by this.
func (d *Disk) Mount() error {
	return command("", "mount", "-t", d.Kind, "-o", "loop", d.image, d.Path)
}

// CutPower loses what was not made durable: nothing more is written from here on, not even the journal, and every later
// call on the file system is an error. Kill what runs on it, Unmount, and Mount.
func (d *Disk) CutPower() error {
	dir, err := os.Open(d.Path)
	if err != nil {
		return err
	}
	defer dir.Close()
	flags := uint32(noLogFlush)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, dir.Fd(), ioctlShutdown, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		return fmt.Errorf("shutdown of %s: %w", d.Path, errno)
	}
	return nil
}

func mounted(path string) bool {
	for _, have := range mounts() {
		if have == path {
			return true
		}
	}
	return false
}

// mounts lists the mount points of this machine.
func mounts() []string {
	file, err := os.Open("/proc/self/mounts")
	if err != nil {
		return nil
	}
	defer file.Close()
	var out []string
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		if fields := strings.Fields(scanner.Text()); len(fields) > 2 {
			out = append(out, strings.NewReplacer(`\040`, " ", `\011`, "\t", `\134`, `\`).Replace(fields[1]))
		}
	}
	return out
}

// Unmount waits for the last user to be gone, for a killed process is not gone at once.
func (d *Disk) Unmount() error { return unmount(d.Path) }

func unmount(path string) error {
	deadline := time.Now().Add(5 * time.Second)
	for mounted(path) {
		err := syscall.Unmount(path, 0)
		if err == nil || errors.Is(err, syscall.EINVAL) {
			continue
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("umount %s: %w", path, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// Fill takes what space there is. A second balloon is an error.
func (d *Disk) Fill() error {
	file, err := os.OpenFile(filepath.Join(d.Path, balloonName), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	at := int64(0)
	for step := int64(64 << 20); step >= 4096; {
		err := syscall.Fallocate(int(file.Fd()), 0, at, step)
		switch {
		case err == nil:
			at += step
		case errors.Is(err, syscall.ENOSPC):
			step /= 2
		case !errors.Is(err, syscall.EINTR):
			return fmt.Errorf("balloon: %w", err)
		}
	}
	return nil
}

// Free gives it back; without a balloon nothing happens.
func (d *Disk) Free() error {
	if err := os.Remove(filepath.Join(d.Path, balloonName)); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

// FreeBytes is the space that is left.
func (d *Disk) FreeBytes() (int64, error) {
	var st syscall.Statfs_t
	err := syscall.Statfs(d.Path, &st)
	return int64(st.Bavail) * st.Bsize, err
}

// FailWrites is what to put before a program's words so that the n-th durable write of any of its threads is EIO. The
// program keeps its pid: strace watches from a process of its own.
func FailWrites(n int, log string) []string {
	return []string{"strace", "-D", "-f", "-qq", "-s", "0", "--seccomp-bpf", "-y", "-o", log, "-e", "trace=pwrite64",
		"-e", fmt.Sprintf("inject=pwrite64:error=EIO:when=%d", n), "--"}
}

// tryDisk is the preflight of one file system: what was synced survives a power cut, what was not does not.
func (s *Site) tryDisk(kind string) error {
	d, err := s.NewDisk("probe-"+kind, kind)
	if err != nil {
		return err
	}
	defer func() { _ = d.Unmount() }()
	kept, lost := filepath.Join(d.Path, "kept"), filepath.Join(d.Path, "lost")
	file, err := os.Create(kept)
	if err != nil {
		return err
	}
	_, err = file.WriteString("synced")
	if err == nil {
		err = file.Sync()
	}
	_ = file.Close()
	if err == nil {
		err = os.WriteFile(lost, []byte("not synced"), 0o600)
	}
	for _, step := range []func() error{d.CutPower, d.Unmount, d.Mount} {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		return err
	}
	if data, err := os.ReadFile(kept); err != nil || string(data) != "synced" {
		return fmt.Errorf("what was synced is gone after a power cut: %q, %v", data, err)
	}
	if data, err := os.ReadFile(lost); err == nil && len(data) > 0 {
		return fmt.Errorf("what was not synced survived the power cut: the fault breaks nothing")
	}
	if err := d.Fill(); err != nil {
		return err
	}
	if left, err := d.FreeBytes(); err != nil || left >= 64<<10 {
		return fmt.Errorf("%d bytes free beside the balloon, %v", left, err)
	}
	return d.Free()
}

// tryFailWrites: the second write of a program fails, the first does not.
func tryFailWrites() error {
	cmd := exec.Command("strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=write",
		"-e", "inject=write:error=EIO:when=2", "--", "sh", "-c", "echo one && ! echo two")
	cmd.Stderr = nil
	if out, err := cmd.Output(); err != nil || string(out) != "one\n" {
		return fmt.Errorf("strace injects nothing here: %q, %v", out, err)
	}
	return nil
}

// cleanMounts unmounts what runs that are no more have left.
func cleanMounts() ([]string, error) {
	var removed []string
	for _, path := range mounts() {
		if filepath.Base(filepath.Dir(path)) != diskPart || ownerAlive(filepath.Base(path)) {
			continue
		}
		if err := unmount(path); err != nil {
			return removed, err
		}
		removed = append(removed, path)
	}
	return removed, nil
}
