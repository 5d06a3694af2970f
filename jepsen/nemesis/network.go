// SPDX-License-Identifier: Apache-2.0
package nemesis

import (
	"fmt"
	"time"

	"conclave/jepsen/edn"
)

// Ports is what the nemesis may do to single services of a master.
type Ports interface {
	CutPort(id, port int) error // nothing gets to or from the port, whoever dials; replaces what was cut before
	HealPorts() error
}

// Commits tells when the cluster has just committed something.
type Commits interface {
	AwaitCommit(limit time.Duration) bool
}

// held cuts these pairs for the length of the period.
func (n *Nemesis) held(p Period, targets []int, pairs [][2]int) error {
	n.note("start", p, targets, nil)
	if err := n.cluster.Cut(pairs); err != nil {
		return err
	}
	n.sleep(p.Length)
	if err := n.cluster.Cut(nil); err != nil {
		return err
	}
	n.note("stop", p, targets, nil)
	return nil
}

// except cuts every pair, both ways, that see does not want.
func except(size int, see func(a, b int) bool) [][2]int {
	var out [][2]int
	for a := 1; a <= size; a++ {
		for b := 1; b <= size; b++ {
			if a != b && !see(a, b) && !see(b, a) {
				out = append(out, [2]int{a, b})
			}
		}
	}
	return out
}

// intransitive is F-05. Ring: each master sees the next and the one before, so that everyone sees a majority of five and
// no two see the same one. Bridge: two sides that only one master joins. A ring of three is no fault: it becomes a bridge.
func (n *Nemesis) intransitive(p Period) error {
	size := n.cluster.Size()
	order := n.rng.Perm(size)
	place := make([]int, size+1)
	for i, id := range order {
		place[id+1] = i
	}
	if p.Kind == "ring" && size > 3 {
		return n.held(p, nil, except(size, func(a, b int) bool {
			gap := (place[a] - place[b] + size) % size
			return gap == 1 || gap == size-1
		}))
	}
	p.Kind = "bridge"
	middle := size / 2
	return n.held(p, []int{order[middle] + 1}, except(size, func(a, b int) bool {
		return place[a] == middle || place[b] == middle || (place[a] < middle) == (place[b] < middle)
	}))
}

// oneWay is F-06: a master that hears nobody, or that nobody hears.
func (n *Nemesis) oneWay(p Period) error {
	leader := n.leader()
	target := leader
	if p.Kind == "deaf-follower" {
		for target == leader {
			target = n.pick(n.ids())
		}
	}
	var pairs [][2]int
	for id := 1; id <= n.cluster.Size(); id++ {
		switch {
		case id == target:
		case p.Kind == "mute-leader":
			pairs = append(pairs, [2]int{target, id})
		default:
			pairs = append(pairs, [2]int{id, target})
		}
	}
	return n.held(p, []int{target}, pairs)
}

// island is F-07: in the moment of a commit the leader is alone with fewer followers than make a majority; the next
// moment somebody else is. Entries that only an island has meet those of the next leader again and again.
func (n *Nemesis) island(p Period) error {
	n.note("start", p, nil, nil)
	size := n.cluster.Size()
	commits, _ := n.cluster.(Commits)
	timeout := n.cluster.ElectionTimeout()
	for end := time.Now().Add(p.Length); time.Now().Before(end) && n.ctx.Err() == nil; {
		if commits != nil {
			commits.AwaitCommit(500 * time.Millisecond)
		}
		inside := n.targets(1+n.rng.Intn((size+1)/2), true)
		if len(inside) > size/2 {
			inside = inside[:size/2]
		}
		n.note("island", p, inside, nil)
		if err := n.cluster.Cut(split(inside, size)); err != nil {
			return err
		}
		// From a part of an election timeout, when nobody has noticed, to two, when another leads.
		n.sleep(timeout/10 + time.Duration(n.rng.Int63n(int64(2*timeout))))
		if n.rng.Intn(3) > 0 {
			if err := n.cluster.Cut(nil); err != nil {
				return err
			}
			n.sleep(time.Duration(n.rng.Int63n(int64(timeout))))
		}
	}
	if err := n.cluster.Cut(nil); err != nil {
		return err
	}
	n.note("stop", p, nil, nil)
	return nil
}

var ports = map[string]int{"raft": 5060, "http": 5050, "agents": 5061}

// port is F-08: one service of the leader is out of reach, the others are not.
func (n *Nemesis) port(p Period) error {
	cluster, ok := n.cluster.(Ports)
	if !ok {
		return fmt.Errorf("single ports cannot be cut here")
	}
	targets := n.choose("leader")
	n.note("start", p, targets, edn.Map{"port": ports[p.Kind]})
	if err := cluster.CutPort(targets[0], ports[p.Kind]); err != nil {
		return err
	}
	n.sleep(p.Length)
	if err := cluster.HealPorts(); err != nil {
		return err
	}
	n.note("stop", p, targets, nil)
	return nil
}

// polite is F-02: SIGTERM, and a start 0 to 10 s later. A master that does not end within politeMax is killed, which the
// history tells.
func (n *Nemesis) polite(p Period) error {
	cluster, ok := n.cluster.(interface {
		Terminate(id int, limit time.Duration) bool
	})
	if !ok {
		return fmt.Errorf("masters cannot be terminated here")
	}
	targets := n.choose(p.Kind)
	n.note("start", p, targets, edn.Map{"delay-ms": p.Delay.Milliseconds()})
	for _, id := range targets {
		began := time.Now()
		if !cluster.Terminate(id, politeMax) {
			n.note("not-ended", p, []int{id}, edn.Map{"ms": time.Since(began).Milliseconds()})
			if err := n.cluster.Kill(id); err != nil {
				return err
			}
		}
	}
	n.sleep(p.Delay)
	if err := n.startAll(targets); err != nil {
		return err
	}
	n.note("restarted", p, targets, nil)
	n.sleep(p.Length - p.Delay)
	n.note("stop", p, targets, nil)
	return nil
}

const politeMax = 5 * time.Second
