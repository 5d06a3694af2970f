// SPDX-License-Identifier: Apache-2.0
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"conclave/jepsen/host"
)

// What the nemesis may do to the disks of masters (nemesis.Disks).

func (c *cluster) disk(id int) (*host.Disk, error) {
	if len(c.disks) < id {
		return nil, fmt.Errorf("m%d has no disk of its own", id)
	}
	return c.disks[id-1], nil
}

// CutPower of several hosts at one moment: first no disk takes anything any more, then the processes are gone.
func (c *cluster) CutPower(ids []int) error {
	for _, id := range ids {
		d, err := c.disk(id)
		if err != nil {
			return err
		}
		c.masters[id-1].ExpectEnd() // it may notice its disk before the signal
		if err := d.CutPower(); err != nil {
			return err
		}
	}
	for _, id := range ids {
		_ = c.masters[id-1].End(syscall.SIGKILL, 10*time.Second)
		if c.masters[id-1].Pid() != 0 {
			return fmt.Errorf("m%d outlived SIGKILL", id)
		}
	}
	for _, id := range ids {
		if err := c.disks[id-1].Unmount(); err != nil {
			return err
		}
		if err := c.disks[id-1].Mount(); err != nil {
			return err
		}
	}
	return nil
}

// Fill and Free: the balloon on a master's disk.
func (c *cluster) Fill(id int) error {
	d, err := c.disk(id)
	if err != nil {
		return err
	}
	return d.Fill()
}

func (c *cluster) Free(id int) error {
	d, err := c.disk(id)
	if err != nil {
		return err
	}
	return d.Free()
}

// StartFailing starts a stopped master whose n-th log write will fail.
func (c *cluster) StartFailing(id, n int) error {
	p := c.masters[id-1]
	trace := filepath.Join(c.site.Dir, "logs", p.Name+".strace")
	if err := p.StartUnder(host.FailWrites(n, trace)); err != nil {
		return err
	}
	p.ExpectEnd()
	return nil
}

// Ended waits for a master that is expected to end by itself.
func (c *cluster) Ended(id int, limit time.Duration) bool { return c.masters[id-1].Ended(limit) }

// FailedWrite is the file whose write failed in the last life of a master that StartFailing began; "" when none did.
func (c *cluster) FailedWrite(id int) string {
	line := lastInjected(filepath.Join(c.site.Dir, "logs", c.masters[id-1].Name+".strace"))
	if from := strings.Index(line, "<"); from >= 0 {
		if to := strings.Index(line[from:], ">"); to > 0 {
			return filepath.Base(line[from+1 : from+to])
		}
	}
	return ""
}

// lastInjected is the last line of a trace that tells of a failed write.
func lastInjected(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := strings.Split(string(data), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.HasSuffix(lines[i], "(INJECTED)") {
			return lines[i]
		}
	}
	return ""
}
