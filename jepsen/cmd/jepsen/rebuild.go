// SPDX-License-Identifier: Apache-2.0
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"conclave/jepsen/edn"
	"conclave/jepsen/raftlog"
)

// archiveEvery is how often the log is read during a run that cuts it: much more often than it is cut.
const archiveEvery = 250 * time.Millisecond

// padding of each task's command in such a run, so that the log grows by some MiB.
const padding = 4096

// archive is all of the committed log, read while it grows, where snapshots cut it off.
type archive struct {
	dump raftlog.Dump
	err  error
	end  func()

	snapshots int // in the folders that states were made of
	done      sync.WaitGroup
}

// startArchive begins to read; nothing where the log stays whole.
func (t *test) startArchive(ctx context.Context) {
	if t.snapshotMB == 0 {
		return
	}
	ctx, end := context.WithCancel(ctx)
	a := &archive{dump: raftlog.Dump{Name: "archive", First: 1}, end: end}
	t.archive = a
	a.done.Add(1)
	go func() {
		defer a.done.Done()
		for at := 0; a.err == nil; at++ {
			members := t.cluster.Members()
			if leader := t.cluster.Leader(); leader != 0 {
				members = []int{leader}
			}
			a.take(ctx, t, members[at%len(members)]-1)
			if !sleep(ctx, archiveEvery) {
				return
			}
		}
	}()
}

func (a *archive) next() int64 { return int64(len(a.dump.Entries)) + 1 }

// take reads what a master has more. One that does not answer, or not so far, is asked another time.
func (a *archive) take(ctx context.Context, t *test, i int) {
	for ctx.Err() == nil {
		var page logPage
		if t.cluster.reader.Get(ctx, t.cluster.http[i], fmt.Sprintf("/conclave/v1/log?count=1000&from=%d", a.next()), &page) != nil ||
			len(page.Entries) == 0 {
			return
		}
		if page.Entries[0].Index != a.next() {
			a.err = fmt.Errorf("the log was cut before it was read: wanted %d, there is %d", a.next(), page.Entries[0].Index)
			return
		}
		if a.err = page.to(&a.dump); a.err != nil {
			return
		}
	}
}

// stopArchive writes what was read, up to the target that all masters have come to.
func (t *test) stopArchive(ctx context.Context, target int64) error {
	a := t.archive
	if a == nil {
		return nil
	}
	a.end()
	a.done.Wait()
	for _, id := range t.cluster.Members() {
		if a.err == nil && a.next() <= target {
			a.take(ctx, t, id-1)
		}
	}
	if a.err == nil && a.next() <= target {
		a.err = fmt.Errorf("the log was read up to %d, wanted %d", a.next()-1, target)
	}
	if a.err == nil && a.snapshots == 0 {
		a.err = fmt.Errorf("no master has made a snapshot")
	}
	if a.err != nil {
		return a.err
	}
	return raftlog.Write(t.path, &a.dump)
}

// rebuild has the binary make the state from a master's folder, from its newest snapshot and the log behind it, while the master
// runs; the file is verified, which decodes all of it. The master is asked for the hash that it had there itself.
func (t *test) rebuild(ctx context.Context, i int, d *raftlog.Dump) error {
	file := filepath.Join(t.path, d.Name+".rebuilt")
	defer os.Remove(file)
	out, err := t.binary(ctx, "snapshot", "save", file, "--data-dir", t.cluster.data[i], "-o", "json")
	if err != nil {
		return err
	}
	var info struct {
		Index number `json:"index"`
		Hash  string `json:"hash"`
	}
	if err := json.Unmarshal(out, &info); err != nil || info.Hash == "" || info.Index == 0 {
		return fmt.Errorf("snapshot save says %.200s", out)
	}
	if _, err := t.binary(ctx, "snapshot", "verify", file); err != nil {
		return err
	}
	told, err := t.hash(ctx, i, int64(info.Index), true)
	if err != nil {
		return err
	}
	snapshots, err := filepath.Glob(filepath.Join(t.cluster.data[i], "snapshot-????????????????-????????????????"))
	if err != nil {
		return err
	}
	if t.archive != nil {
		t.archive.snapshots += len(snapshots)
	}
	d.Hashes = append(d.Hashes, raftlog.Hash{Index: int64(info.Index), Hash: told})
	d.Rebuilt = append(d.Rebuilt, raftlog.Hash{Index: int64(info.Index), Hash: info.Hash})
	t.recorder.Event("run", "rebuilt", edn.Map{"master": d.Name, "index": int(info.Index), "hash": info.Hash, "snapshots": len(snapshots)})
	return nil
}

func (t *test) binary(ctx context.Context, words ...string) ([]byte, error) {
	out, err := exec.CommandContext(ctx, t.bin, words...).Output()
	if ended, ok := err.(*exec.ExitError); ok {
		return nil, fmt.Errorf("conclave %s %s: %w: %.300s", words[0], words[1], err, ended.Stderr)
	}
	return out, err
}
