// SPDX-License-Identifier: Apache-2.0
package nemesis

import (
	"context"
	"fmt"
	"math/rand"
	"testing"
	"time"

	"conclave/jepsen/history"
)

// fakeMembers is a cluster whose members change; it refuses what makes no sense.
type fakeMembers struct {
	fake
	roles     map[int]string // voter, learner
	running   map[int]bool
	next      int
	transfers int
	refusals  int // of promotions
}

func newFakeMembers() *fakeMembers {
	return &fakeMembers{fake: fake{down: map[int]bool{}}, next: 3,
		roles: map[int]string{1: "voter", 2: "voter", 3: "voter"}, running: map[int]bool{1: true, 2: true, 3: true}}
}

func (f *fakeMembers) Leader() int { return f.Members()[0] }

func (f *fakeMembers) Members() []int {
	var out []int
	for id := 1; id <= f.next; id++ {
		if f.roles[id] != "" && f.running[id] {
			out = append(out, id)
		}
	}
	return out
}

func (f *fakeMembers) Fresh() int {
	f.next++
	return f.next
}

func (f *fakeMembers) Add(id int) error {
	if f.roles[id] != "" || f.running[id] {
		return fmt.Errorf("m%d is there", id)
	}
	f.roles[id] = "learner"
	return nil
}

func (f *fakeMembers) Begin(id int) error    { return flip(f.running, id, true) }
func (f *fakeMembers) Stranger(id int) error { return flip(f.running, id, true) }

func (f *fakeMembers) Change(verb string, id int) (bool, error) {
	switch {
	case verb == "transfer":
		f.transfers++
	case f.roles[id] == "":
		return false, fmt.Errorf("%s of m%d, which is no member", verb, id)
	case verb == "promote" && !f.running[id]:
		f.refusals++
		return false, nil
	case verb == "promote":
		f.roles[id] = "voter"
	case verb == "demote":
		f.roles[id] = "learner"
	case verb == "remove":
		f.roles[id] = ""
	}
	return true, nil
}

func (f *fakeMembers) Left(id int) string {
	f.running[id] = false
	return "exit status 0"
}

func (f *fakeMembers) Ghost(id int) error {
	if len(f.Members())-f.dead() > len(f.Members())/2 {
		return fmt.Errorf("a majority lives")
	}
	return flip(f.running, id, true)
}

func (f *fakeMembers) dead() int {
	n := 0
	for _, down := range f.down {
		if down {
			n++
		}
	}
	return n
}

func TestChangesOfMembersEndWithAsManyVotersAsBefore(t *testing.T) {
	recorder, err := history.NewRecorder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer recorder.Close()
	f := newFakeMembers()
	n := New(f, recorder, rand.New(rand.NewSource(1)))
	n.After = func(number int, p Period) error {
		voters, strays := 0, 0
		for id := 1; id <= f.next; id++ {
			if f.roles[id] == "voter" && f.running[id] {
				voters++
			} else if f.roles[id] != "" || f.running[id] {
				strays++
			}
		}
		if voters != 3 || strays != 0 || f.dead() != 0 {
			t.Errorf("%s %s: %d voters, %d others, %d dead: %+v", p.Family, p.Kind, voters, strays, f.dead(), f)
		}
		return nil
	}
	var plan []Period
	for _, name := range []string{"F-18", "F-19"} {
		for _, kind := range families[name].kinds {
			plan = append(plan, Period{Family: name, Kind: kind, Length: 3 * time.Millisecond})
		}
	}
	if err := n.Run(context.Background(), plan); err != nil {
		t.Fatal(err)
	}
	if n.Done != len(plan) || f.transfers < 2 || f.refusals != 1 || f.next < 9 {
		t.Fatalf("%d of %d periods, %+v", n.Done, len(plan), f)
	}
}
