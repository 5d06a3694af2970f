// SPDX-License-Identifier: Apache-2.0
package nemesis

import (
	"context"
	"fmt"
	"math/rand"
	"reflect"
	"sort"
	"testing"
	"time"

	"conclave/jepsen/history"
)

// fake counts what is done to it and refuses what makes no sense.
type fake struct {
	down, paused map[int]bool
	filled       map[int]bool
	failing      int
	port         int
	spoiled      bool // data that was damaged and not put back
	cuts, kills  int
	cut          bool
}

func (f *fake) Size() int                      { return 3 }
func (f *fake) Leader() int                    { return 2 }
func (f *fake) ElectionTimeout() time.Duration { return 2 * time.Millisecond }
func (f *fake) Kill(id int) error {
	f.kills++
	return flip(f.down, id, true)
}

// Start of one that runs does nothing, as in the real cluster.
func (f *fake) Start(id int) error {
	f.down[id] = false
	return nil
}
func (f *fake) Pause(id int) error  { return flip(f.paused, id, true) }
func (f *fake) Resume(id int) error { return flip(f.paused, id, false) }
func (f *fake) Cut(pairs [][2]int) error {
	f.cuts++
	f.cut = len(pairs) > 0
	return nil
}

func (f *fake) CutPower(ids []int) error {
	for _, id := range ids {
		if err := f.Kill(id); err != nil {
			return err
		}
	}
	return nil
}
func (f *fake) Fill(id int) error { return flip(f.filled, id, true) }
func (f *fake) Free(id int) error { return flip(f.filled, id, false) }
func (f *fake) StartFailing(id, n int) error {
	f.failing = id
	return flip(f.down, id, false)
}

// Ended: the failing master ends when it is asked for the second time.
func (f *fake) Ended(id int, limit time.Duration) bool {
	if f.failing != -id {
		f.failing = -id
		return false
	}
	f.down[id] = true
	return true
}
func (f *fake) FailedWrite(id int) string { return "log-0000000000000001" }

func (f *fake) CutPort(id, port int) error {
	f.port = port
	return nil
}
func (f *fake) HealPorts() error { return f.CutPort(0, 0) }
func (f *fake) Terminate(id int, limit time.Duration) bool {
	f.down[id] = true
	return true
}

func (f *fake) Backup(id int) error   { return nil }
func (f *fake) Restore(id int) error  { f.spoiled = false; return nil }
func (f *fake) KeepVote(id int) error { return nil }
func (f *fake) Damage(id int, kind string) (string, error) {
	if !f.down[id] {
		return "", fmt.Errorf("master %d runs", id)
	}
	f.spoiled = refusals[kind]
	return kind, nil
}
func (f *fake) StartDamaged(id int, limit time.Duration) (string, error) { return "exit status 4", nil }

func flip(m map[int]bool, id int, to bool) error {
	if m[id] == to {
		return fmt.Errorf("master %d is %v already", id, to)
	}
	m[id] = to
	return nil
}

func TestASeedGivesOnePlanAndEachFamilyBeginsWithTheLeader(t *testing.T) {
	names := []string{"F-01", "F-03", "F-04"}
	for seed := int64(0); seed < 200; seed++ {
		a := Plan(rand.New(rand.NewSource(seed)), names, 55*time.Second)
		b := Plan(rand.New(rand.NewSource(seed)), names, 55*time.Second)
		if !reflect.DeepEqual(a, b) || len(a) < 6 {
			t.Fatalf("seed %d: %d periods", seed, len(a))
		}
		for i, name := range names {
			if a[i].Family != name || a[i].Kind != "leader" {
				t.Fatalf("seed %d: period %d is %+v", seed, i, a[i])
			}
		}
	}
}

func TestEveryFaultIsUndone(t *testing.T) {
	recorder, err := history.NewRecorder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer recorder.Close()
	var plan []Period
	for name, f := range families {
		if name == "F-18" || name == "F-19" {
			continue // members_test.go
		}
		for _, kind := range f.kinds {
			plan = append(plan, Period{Family: name, Kind: kind, Length: 3 * time.Millisecond, Delay: time.Millisecond, Factor: 1, At: 7})
		}
	}
	f := &fake{down: map[int]bool{}, paused: map[int]bool{}, filled: map[int]bool{}}
	n := New(f, recorder, rand.New(rand.NewSource(1)))
	if err := n.Run(context.Background(), plan); err != nil {
		t.Fatal(err)
	}
	for id := 1; id <= 3; id++ {
		if f.down[id] || f.paused[id] || f.cut || f.filled[id] || f.port != 0 || f.spoiled {
			t.Fatalf("left behind: %+v", f)
		}
	}
	if n.Done != len(plan) || f.kills < 8 || f.cuts < 18 {
		t.Fatalf("%d of %d periods, %+v", n.Done, len(plan), f)
	}
}

func TestASplitCutsBothDirectionsAndNothingInside(t *testing.T) {
	want := [][2]int{{1, 2}, {2, 1}, {2, 3}, {3, 2}}
	if got := split([]int{2}, 3); !reflect.DeepEqual(got, want) {
		t.Fatal(got)
	}
}

func TestShapesThatAreNotTransitive(t *testing.T) {
	see := func(pairs [][2]int, size int) map[int][]int {
		out := map[int][]int{}
		cut := map[[2]int]bool{}
		for _, p := range pairs {
			cut[p] = true
		}
		for a := 1; a <= size; a++ {
			for b := 1; b <= size; b++ {
				if a != b && !cut[[2]int{a, b}] {
					if cut[[2]int{b, a}] {
						t.Fatalf("%d and %d are cut one way", a, b)
					}
					out[a] = append(out[a], b)
				}
			}
		}
		return out
	}
	for kind, want := range map[string][]int{"ring": {2, 2, 2, 2, 2}, "bridge": {2, 2, 2, 2, 4}} {
		f := &shapes{fake: fake{}}
		recorder, err := history.NewRecorder(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		n := New(f, recorder, rand.New(rand.NewSource(3)))
		if err := n.Run(context.Background(), []Period{{Family: "F-05", Kind: kind}}); err != nil {
			t.Fatal(err)
		}
		var degrees []int
		for _, others := range see(f.first, 5) {
			degrees = append(degrees, len(others))
		}
		sort.Ints(degrees)
		if !reflect.DeepEqual(degrees, want) {
			t.Errorf("%s: %v see how many: %v", kind, f.first, degrees)
		}
		_ = recorder.Close()
	}
}

// shapes has five masters and keeps the first cut.
type shapes struct {
	fake
	first [][2]int
}

func (s *shapes) Size() int { return 5 }
func (s *shapes) Cut(pairs [][2]int) error {
	if s.first == nil {
		s.first = pairs
	}
	return nil
}
