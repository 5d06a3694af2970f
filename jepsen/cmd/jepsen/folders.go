// SPDX-License-Identifier: Apache-2.0
package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"syscall"
	"time"
)

// What the nemesis may do to the data of a master that is down (nemesis.Folders). Files are as docs/FORMATS.md says.

const (
	block     = 4096
	groupHead = 64
)

func (c *cluster) aside(id int) string {
	return filepath.Join(c.site.Dir, fmt.Sprintf("aside-m%d", id))
}

func copyFolder(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	out, err := exec.Command("cp", "-a", "--sparse=always", from, to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cp %s %s: %w: %s", from, to, err, out)
	}
	return nil
}

// Backup keeps the folder as it is.
func (c *cluster) Backup(id int) error { return copyFolder(c.data[id-1], c.aside(id)) }

// Restore puts it back.
func (c *cluster) Restore(id int) error { return copyFolder(c.aside(id), c.data[id-1]) }

func (c *cluster) votePath(id int) string {
	return filepath.Join(c.site.Dir, fmt.Sprintf("vote-m%d", id))
}

// KeepVote keeps a copy of the vote file.
func (c *cluster) KeepVote(id int) error {
	data, err := os.ReadFile(filepath.Join(c.data[id-1], "vote"))
	if err != nil {
		return err
	}
	return os.WriteFile(c.votePath(id), data, 0o600)
}

// group is a place in a segment.
type group struct{ at, size, used int }

// groupsOf finds the groups of a segment, and the segment's bytes.
func groupsOf(path string) ([]group, []byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	var out []group
	for at := block; at+groupHead <= len(data) && bytes.Equal(data[at:at+4], []byte("CGRP")); {
		// The segment's nonce: what stands there from an earlier life of the file is none of it.
		if !bytes.Equal(data[at+8:at+16], data[40:48]) {
			break
		}
		used := groupHead + int(binary.LittleEndian.Uint32(data[at+32:]))
		size := (used + block - 1) / block * block
		if at+size > len(data) {
			break
		}
		out = append(out, group{at, size, used})
		at += size
	}
	return out, data, nil
}

// begun is the newest segment that holds groups, and its groups.
func (c *cluster) begun(id int) (string, []group, []byte, error) {
	paths, err := filepath.Glob(filepath.Join(c.data[id-1], "log-*"))
	if err != nil {
		return "", nil, nil, err
	}
	sort.Sort(sort.Reverse(sort.StringSlice(paths)))
	for _, path := range paths {
		groups, data, err := groupsOf(path)
		if err != nil || len(groups) > 0 {
			return path, groups, data, err
		}
	}
	return "", nil, nil, fmt.Errorf("m%d has no log", id)
}

// Damage does one of the kinds to a stopped master's data, and says what.
func (c *cluster) Damage(id int, kind string) (string, error) {
	dir := c.data[id-1]
	switch kind {
	case "lost-disk":
		return "an empty folder", os.RemoveAll(dir)
	case "old-copy":
		old, err := os.ReadFile(c.votePath(id))
		if err != nil {
			return "", err
		}
		now, err := os.ReadFile(filepath.Join(dir, "vote"))
		if err != nil || bytes.Equal(old, now) {
			return "", err // nothing has changed meanwhile: it is no old copy
		}
		return "an old copy of vote", os.WriteFile(filepath.Join(dir, "vote"), old, 0o600)
	case "lost-file":
		name := []string{"vote", "identity"}[rand.Intn(2)]
		return "without " + name, os.Remove(filepath.Join(dir, name))
	}
	path, groups, data, err := c.begun(id)
	if err != nil {
		return "", err
	}
	return damageLog(kind, path, groups, data)
}

// damageLog writes over the log: behind the last group, or inside one that has another behind it.
func damageLog(kind, path string, groups []group, data []byte) (string, error) {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return "", err
	}
	defer file.Close()
	last := groups[len(groups)-1]
	if kind == "torn-tail" {
		// What a write leaves that the power was cut under: the first sector landed, the rest did not.
		at := last.at + last.size
		if at+block > len(data) {
			return "", nil
		}
		sector := append([]byte{}, data[last.at:last.at+512]...)
		binary.LittleEndian.PutUint64(sector[16:], binary.LittleEndian.Uint64(sector[16:])+1)
		_, err := file.WriteAt(sector, int64(at))
		return fmt.Sprintf("%s: a torn group at %d", filepath.Base(path), at), err
	}
	if len(groups) < 2 {
		return "", nil
	}
	g := groups[rand.Intn(len(groups)-1)]
	if kind == "zeroed-sector" {
		_, err := file.WriteAt(make([]byte, 512), int64(g.at))
		return fmt.Sprintf("%s: zeros at %d", filepath.Base(path), g.at), err
	}
	at := g.at + rand.Intn(g.used)
	_, err = file.WriteAt([]byte{data[at] ^ 1<<rand.Intn(8)}, int64(at))
	return fmt.Sprintf("%s: a bit of %d", filepath.Base(path), at), err
}

// StartDamaged lets a master with damaged data live, at most limit. It writes a log of its own (mN-damaged), for its terms
// are not those of the master that it pretends to be, and the monitor does not compare what it says.
func (c *cluster) StartDamaged(id int, limit time.Duration) (string, error) {
	p := c.masters[id-1]
	c.mu.Lock()
	c.damaged[id] = true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.damaged, id)
		delete(c.seen, id)
		c.mu.Unlock()
	}()
	log := p.Log
	p.Log = filepath.Join(filepath.Dir(log), p.Name+"-damaged.log")
	defer func() { p.Log = log }()
	if err := p.Start(); err != nil {
		return "", err
	}
	p.ExpectEnd()
	if p.Ended(limit) {
		return p.State(), nil
	}
	if !p.End(syscall.SIGKILL, 10*time.Second) && p.Pid() != 0 {
		return "", fmt.Errorf("%s outlived SIGKILL", p.Name)
	}
	return "runs", nil
}
