// SPDX-License-Identifier: Apache-2.0
package main

import (
	"context"
	"fmt"
	"time"

	"conclave/jepsen/edn"
	"conclave/jepsen/raftlog"
)

// dumpLimit is for reading the logs of all masters at the end of a run.
const dumpLimit = 60 * time.Second

// dump reads log and state hash of every master into the run's folder. Nothing is launched any more, so all of them come to
// one index; hashes are taken there and at a few places before it, as far as they are remembered.
func (t *test) dump(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dumpLimit)
	defer cancel()
	target := int64(0)
	for _, id := range t.cluster.Members() {
		i := id - 1
		var s status
		if err := t.ask(ctx, i, "/conclave/v1/status", &s); err != nil {
			return err
		}
		if s.Commit > target {
			target = s.Commit
		}
	}
	for _, id := range t.cluster.Members() {
		i := id - 1
		d := &raftlog.Dump{Name: fmt.Sprintf("m%d", i+1)}
		for back := int64(0); back <= 2000; back += 500 {
			h, err := t.hash(ctx, i, target-back, back == 0)
			if err != nil {
				return err
			}
			if h != "" {
				d.Hashes = append(d.Hashes, raftlog.Hash{Index: target - back, Hash: h})
			}
		}
		if err := t.readLog(ctx, i, d, target); err != nil {
			return fmt.Errorf("log of %s: %w", d.Name, err)
		}
		if err := t.rebuild(ctx, i, d); err != nil {
			return fmt.Errorf("state of %s's folder: %w", d.Name, err)
		}
		if err := raftlog.Write(t.path, d); err != nil {
			return err
		}
	}
	if err := t.stopArchive(ctx, target); err != nil {
		return err
	}
	t.recorder.Event("run", "dumped", edn.Map{"index": target})
	return nil
}

// ask repeats a GET until it is answered: it changes nothing.
func (t *test) ask(ctx context.Context, i int, page string, out any) error {
	for {
		err := t.cluster.reader.Get(ctx, t.cluster.http[i], page, out)
		if err == nil {
			return nil
		}
		if !sleep(ctx, 100*time.Millisecond) {
			return fmt.Errorf("m%d does not answer %s: %w", i+1, page, err)
		}
	}
}

// hash at an index; "" when it is not remembered. A wanted one is waited for: the master may not have come so far.
func (t *test) hash(ctx context.Context, i int, index int64, wanted bool) (string, error) {
	var out struct {
		Hash string `json:"hash"`
	}
	page := fmt.Sprintf("/conclave/v1/hash?index=%d", index)
	if wanted {
		err := t.ask(ctx, i, page, &out)
		return out.Hash, err
	}
	if index > 0 && t.cluster.reader.Get(ctx, t.cluster.http[i], page, &out) == nil {
		return out.Hash, nil
	}
	return "", ctx.Err()
}

// logPage is an answer of /conclave/v1/log.
type logPage struct {
	First   int64 `json:"first"`
	Entries []struct {
		Index int64  `json:"index"`
		Term  int64  `json:"term"`
		Type  int    `json:"type"`
		Data  []byte `json:"data"`
	} `json:"entries"`
}

// to appends the entries to a dump.
func (p *logPage) to(d *raftlog.Dump) error {
	for _, e := range p.Entries {
		entry := raftlog.Entry{Index: e.Index, Term: e.Term, Type: e.Type, Digest: raftlog.Digest(e.Data)}
		var err error
		switch e.Type {
		case 1:
			entry.Commands, err = raftlog.Commands(e.Data)
		case 3:
			entry.Commands, err = raftlog.Members(e.Data)
		}
		if err != nil {
			return fmt.Errorf("entry %d: %w", e.Index, err)
		}
		d.Entries = append(d.Entries, entry)
	}
	return nil
}

func (t *test) readLog(ctx context.Context, i int, d *raftlog.Dump, target int64) error {
	for next := int64(0); next <= target; {
		var page logPage
		path := "/conclave/v1/log?count=1000"
		if next > 0 {
			path += fmt.Sprintf("&from=%d", next)
		}
		if err := t.ask(ctx, i, path, &page); err != nil {
			return err
		}
		if next == 0 {
			d.First = page.First
		}
		if len(page.Entries) == 0 {
			return fmt.Errorf("nothing at %d, wanted up to %d", next, target)
		}
		if err := page.to(d); err != nil {
			return err
		}
		next = page.Entries[len(page.Entries)-1].Index + 1
	}
	return nil
}
