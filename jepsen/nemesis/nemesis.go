// SPDX-License-Identifier: Apache-2.0

// Package nemesis plans faults from a seed and does them to a cluster, one period after the other. Each family is one
// file: it chooses who suffers, does it, and undoes it. A family's first period always hits the leader.
package nemesis

import (
	"context"
	"fmt"
	"math/rand"
	"sort"
	"strings"
	"time"

	"conclave/jepsen/edn"
	"conclave/jepsen/history"
)

// Cluster is what the nemesis may do. Masters are numbered from 1.
type Cluster interface {
	Size() int
	Leader() int // 0: not known
	ElectionTimeout() time.Duration
	Kill(id int) error
	Start(id int) error
	Pause(id int) error
	Resume(id int) error
	Cut(pairs [][2]int) error // replaces all cuts; directed
}

// Period is one planned fault.
type Period struct {
	Family string
	Kind   string // leader, one, minority, majority, all, any; halves, one, leader
	Gap    time.Duration
	Length time.Duration
	Factor float64 // F-03: pause in election timeouts
	Delay  time.Duration
	At     int // F-15: which log write fails
}

type family struct {
	kinds []string // weighted by repetition; the first is the family's first period
	run   func(n *Nemesis, p Period) error
}

var families = map[string]family{
	"F-01": {[]string{"leader", "leader", "one", "minority", "majority", "all"}, (*Nemesis).crash},
	"F-02": {[]string{"leader", "leader", "one", "minority", "majority", "all"}, (*Nemesis).polite},
	"F-03": {[]string{"leader", "leader", "any", "cut-off", "succession"}, (*Nemesis).pause},
	"F-04": {[]string{"leader", "leader", "halves", "one"}, (*Nemesis).partition},
	"F-05": {[]string{"bridge", "ring"}, (*Nemesis).intransitive},
	"F-06": {[]string{"deaf-leader", "mute-leader", "deaf-follower"}, (*Nemesis).oneWay},
	"F-07": {[]string{"leader"}, (*Nemesis).island},
	"F-08": {[]string{"raft", "http", "agents"}, (*Nemesis).port},
	"F-13": {[]string{"leader", "one", "majority", "all"}, (*Nemesis).power},
	"F-14": {[]string{"leader", "one", "majority", "all"}, (*Nemesis).full},
	"F-16": {[]string{"bit-flip", "torn-tail", "zeroed-sector", "lost-file", "old-copy"}, (*Nemesis).damage},
	"F-17": {[]string{"lost-disk"}, (*Nemesis).damage},
	"F-15": {[]string{"leader", "one"}, (*Nemesis).ioError},
	"F-18": {[]string{"replace-leader", "ghosts", "grow", "unreachable", "demote", "stranger", "replace"}, (*Nemesis).members},
	"F-19": {[]string{"any", "named"}, (*Nemesis).transfer},
}

// Families that exist, for messages.
func Families() string {
	var out []string
	for name := range families {
		out = append(out, name)
	}
	sort.Strings(out)
	return strings.Join(out, ",")
}

// NeedsDisks tells whether the family wants every master on a disk of its own.
func NeedsDisks(name string) bool {
	name, _ = splitName(name)
	return name == "F-13" || name == "F-14" || name == "F-15"
}

// ChangesMembers tells whether the family adds masters.
func ChangesMembers(name string) bool {
	name, _ = splitName(name)
	return name == "F-18"
}

// split reads FAMILY or FAMILY/KIND, which allows that kind alone.
func splitName(name string) (string, string) {
	if cut := strings.IndexByte(name, '/'); cut >= 0 {
		return name[:cut], name[cut+1:]
	}
	return name, ""
}

// Known tells whether the family, and the kind if one is named, exists.
func Known(name string) bool {
	name, kind := splitName(name)
	f, ok := families[name]
	if kind == "" {
		return ok
	}
	for _, k := range f.kinds {
		if k == kind {
			return true
		}
	}
	return false
}

// Plan fills total with periods. Runs of two minutes and more use the catalogue's lengths (5 to 20 s, gaps 5 to 10 s);
// shorter ones use a third of them, so that every family has several turns.
func Plan(rng *rand.Rand, names []string, total time.Duration) []Period {
	lengthMin, lengthMax, gapMin, gapMax := 5*time.Second, 20*time.Second, 5*time.Second, 10*time.Second
	if total < 120*time.Second {
		lengthMin, lengthMax, gapMin, gapMax = 1700*time.Millisecond, 5*time.Second, 1500*time.Millisecond, 3*time.Second
	}
	between := func(low, high time.Duration) time.Duration { return low + time.Duration(rng.Int63n(int64(high-low))) }
	var out []Period
	turns := map[string]int{}
	for used := time.Duration(0); len(names) > 0; {
		name, only := splitName(names[len(out)%len(names)])
		kinds := families[name].kinds
		if only != "" {
			kinds = []string{only}
		}
		kind := kinds[0]
		if turns[name] > 0 {
			kind = kinds[rng.Intn(len(kinds))]
		}
		turns[name]++
		p := Period{Family: name, Kind: kind, Gap: between(gapMin, gapMax), Length: between(lengthMin, lengthMax),
			Factor: []float64{3, 0.5, 1, 3}[rng.Intn(4)], At: 1 + rng.Intn(300)}
		if turns[name] == 1 {
			p.Factor = 3
		}
		// Restart at once in a third of the crashes, else within 10 s and within the period.
		if rng.Intn(3) > 0 {
			p.Delay = between(0, minDuration(10*time.Second, p.Length))
		}
		if used += p.Gap + p.Length; used > total {
			return out
		}
		out = append(out, p)
	}
	return out
}

func minDuration(a, b time.Duration) time.Duration {
	if a < b {
		return a
	}
	return b
}

// Nemesis runs a plan. What happened goes to the history as :start and :stop of each period.
type Nemesis struct {
	cluster  Cluster
	recorder *history.Recorder
	rng      *rand.Rand
	ctx      context.Context
	period   int
	voters   int // as many as there were in the beginning
	Done     int // periods that ran to their end

	// After is called when a period is over; an error ends the plan. May be nil.
	After func(number int, p Period) error
}

// New makes a nemesis; rng is its own from here on.
func New(cluster Cluster, recorder *history.Recorder, rng *rand.Rand) *Nemesis {
	return &Nemesis{cluster: cluster, recorder: recorder, rng: rng}
}

// Run does the periods in order until ctx ends. An error is a fault of the harness, not of the system.
func (n *Nemesis) Run(ctx context.Context, plan []Period) error {
	n.ctx, n.voters = ctx, len(n.ids())
	for i, p := range plan {
		n.period = i + 1
		if !n.sleep(p.Gap) {
			return ctx.Err()
		}
		if err := families[p.Family].run(n, p); err != nil {
			return fmt.Errorf("%s %s: %w", p.Family, p.Kind, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		n.Done++
		if n.After != nil {
			if err := n.After(n.period, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *Nemesis) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-n.ctx.Done():
		return false
	}
}

func (n *Nemesis) note(what string, p Period, targets []int, extra edn.Map) {
	value := edn.Map{"family": p.Family, "kind": p.Kind, "period": n.period, "targets": vector(targets)}
	for k, v := range extra {
		value[k] = v
	}
	n.recorder.Event("nemesis", what, value)
}

func vector(ids []int) []any {
	out := []any{}
	for _, id := range ids {
		out = append(out, id)
	}
	return out
}

// leader of the moment; somebody when none is known.
func (n *Nemesis) leader() int {
	for i := 0; i < 20; i++ {
		if id := n.cluster.Leader(); id != 0 {
			return id
		}
		if !n.sleep(100 * time.Millisecond) {
			break
		}
	}
	return n.pick(n.ids())
}

// ids of the masters that are there.
func (n *Nemesis) ids() []int {
	if m, ok := n.cluster.(Membership); ok {
		return m.Members()
	}
	out := []int{}
	for id := 1; id <= n.cluster.Size(); id++ {
		out = append(out, id)
	}
	return out
}

// targets chooses k masters, the leader first when wanted.
func (n *Nemesis) targets(k int, withLeader bool) []int {
	ids := n.ids()
	order := n.rng.Perm(len(ids))
	out := make([]int, 0, k)
	if withLeader {
		out = append(out, n.leader())
	}
	for _, i := range order {
		if id := ids[i]; len(out) < k && (len(out) == 0 || id != out[0]) {
			out = append(out, id)
		}
	}
	return out
}

// choose turns a kind into masters.
func (n *Nemesis) choose(kind string) []int {
	size := len(n.ids())
	switch kind {
	case "leader":
		return n.targets(1, true)
	case "minority":
		return n.targets((size-1)/2, n.rng.Intn(2) == 0)
	case "majority":
		return n.targets(size/2+1, n.rng.Intn(2) == 0)
	case "all":
		return n.targets(size, false)
	}
	return n.targets(1, false)
}
