// SPDX-License-Identifier: Apache-2.0
package main

import (
	"errors"
	"math/rand"
	"path/filepath"
	"testing"
	"time"

	"conclave/jepsen/check"
	"conclave/jepsen/edn"
	"conclave/jepsen/history"
	"conclave/jepsen/host"
	"conclave/jepsen/nemesis"
)

func TestWhatIsMissingIsAnExcuseOnlyWhereItIsNeededAndNamed(t *testing.T) {
	broken := errors.New("not here")
	probes := []host.Probe{{Need: "hosts"}, {Name: "xfs", Need: "power cut", Err: broken}, {Name: "strace", Need: "I/O error"}}
	for _, c := range []struct {
		o           options
		allowed     map[string]bool
		ready, skip bool
	}{
		{options{faults: []string{"F-01"}}, nil, true, false},
		{options{faults: []string{"F-13"}, disks: "ext4,xfs"}, nil, false, false},
		{options{faults: []string{"F-13"}, disks: "ext4,xfs"}, map[string]bool{"jepsen/strace": true}, false, false},
		{options{faults: []string{"F-13"}, disks: "ext4,xfs"}, map[string]bool{"jepsen/xfs": true}, false, true},
		{options{faults: []string{"F-13"}, disks: "ext4"}, nil, true, false},
	} {
		if ready, skip := judgeProbes(c.o, probes, c.allowed); ready != c.ready || skip != c.skip {
			t.Errorf("%+v: ready %v, skip %v", c, ready, skip)
		}
	}
	if ready, skip := judgeProbes(options{}, []host.Probe{{Need: "hosts", Err: broken}}, map[string]bool{"jepsen/": true}); ready || skip {
		t.Error("without hosts there is no run")
	}
}

func TestEveryTenthOfTheFirst300WritesFailsOnce(t *testing.T) {
	seen := map[int]bool{}
	for _, c := range campaigns {
		for round := 1; round <= c.count; round++ {
			p := c.plan(rand.New(rand.NewSource(int64(round))), round, &campaignOptions{pauseMax: 30 * time.Second})
			switch {
			case c.name == "eio":
				seen[p.At] = true
			case c.name == "pause" && (p.Length < 500*time.Millisecond || p.Length > 30*time.Second):
				t.Errorf("pause of %v", p.Length)
			}
		}
	}
	for at := 10; at <= 300; at += 10 {
		if !seen[at] {
			t.Errorf("write %d never fails", at)
		}
	}
	if len(seen) != 30 {
		t.Errorf("%d points", len(seen))
	}
}

// A life of two rounds, of which the second breaks an invariant: only it is red, and the campaign goes on behind both.
func TestACampaignGoesOnWhereItStoppedAndBlamesTheRightRound(t *testing.T) {
	o := &campaignOptions{options: options{dir: t.TempDir()}, count: 4, rev: "r1"}
	c := &campaign{name: "power", family: "F-13"}
	run := &test{path: filepath.Join(o.dir, "life"), plan: []nemesis.Period{{Kind: "one"}, {Kind: "all"}}}
	event := func(at int64, actor, f string, period int) *history.Op {
		return &history.Op{Time: at, Process: -1, Actor: actor, F: f, Value: edn.Map{"period": int64(period), "ms": int64(7)}}
	}
	r := &check.Run{Ops: []*history.Op{event(10, "nemesis", "start", 1), event(20, "run", "recovered", 1),
		event(30, "nemesis", "start", 2), event(40, "run", "recovered", 2)}}
	lines := c.lines(o, run, r, []int{1, 2}, []check.Violation{{ID: "I-08", Time: 35}}, true)
	if len(lines) != 2 || lines[0].Verdict != "pass" || lines[1].Verdict != "fail" || lines[1].RecoverMs != 7 {
		t.Fatalf("%+v", lines)
	}
	if got := c.lines(o, run, r, []int{1, 2}, nil, false); len(got) != 0 {
		t.Fatalf("a life that proves nothing counts: %+v", got)
	}
	if err := c.append(o, lines); err != nil {
		t.Fatal(err)
	}
	done, err := c.done(o)
	if err != nil || len(done) != 2 || done[2].Verdict != "fail" {
		t.Fatal(done, err)
	}
	if code := c.summary(o, done, 0); code != exitFail {
		t.Errorf("exit %d", code)
	}
	if code := c.summary(o, map[int]roundLine{1: lines[0]}, 1); code != exitInvalid {
		t.Errorf("exit %d of a campaign that is not over", code)
	}
	o.rev = "r2"
	if done, err := c.done(o); err != nil || len(done) != 0 {
		t.Fatal("rounds of another revision count", done, err)
	}
}
