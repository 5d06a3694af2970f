// SPDX-License-Identifier: Apache-2.0
package nemesis

import (
	"time"

	"conclave/jepsen/edn"
)

// pause is F-03: SIGSTOP for a part or a multiple of the election timeout, then SIGCONT, again and again in the period.
// The one who wakes up still believes what it believed: after a long pause of the leader it must do nothing.
func (n *Nemesis) pause(p Period) error {
	if p.Kind == "succession" || p.Kind == "cut-off" {
		return n.asleep(p)
	}
	length := time.Duration(p.Factor * float64(n.cluster.ElectionTimeout()))
	for left := p.Length; left > 0 && n.ctx.Err() == nil; {
		targets := n.choose(p.Kind)
		what := edn.Map{"pause-ms": length.Milliseconds()}
		if left == p.Length {
			n.note("start", p, targets, what)
		} else {
			n.note("again", p, targets, what)
		}
		for _, id := range targets {
			if err := n.cluster.Pause(id); err != nil {
				return err
			}
		}
		n.sleep(length)
		for _, id := range targets {
			if err := n.cluster.Resume(id); err != nil {
				return err
			}
		}
		rest := time.Second
		n.note("resumed", p, targets, nil)
		n.sleep(rest)
		left -= length + rest
	}
	n.note("stop", p, nil, nil)
	return nil
}

// asleep is a pause whose end nobody tells the sleeper about: the leader is stopped and then cut off from the other masters,
// another one leads and serves, and the first one wakes up, still cut off. All that it has are its own clock and what
// frameworks and agents have sent it meanwhile. Succession asks even more of the fence: the second leader is killed a moment
// before, so that the agents look for a leader just then and reach nobody else.
func (n *Nemesis) asleep(p Period) error {
	timeout := n.cluster.ElectionTimeout()
	n.note("start", p, nil, nil)
	for end := time.Now().Add(p.Length); time.Now().Before(end) && n.ctx.Err() == nil; {
		first := n.leader()
		if err := n.cluster.Pause(first); err != nil {
			return err
		}
		if err := n.cluster.Cut(split([]int{first}, n.cluster.Size())); err != nil {
			return err
		}
		next := n.successor(first, 10*timeout)
		n.sleep(2 * timeout) // time for frameworks to write there, and for agents to say hello
		killed := p.Kind == "succession" && next != 0
		if killed {
			if err := n.strand(first, next); err != nil {
				return err
			}
			n.sleep(3*timeout + time.Duration(n.rng.Int63n(int64(3*timeout))))
		}
		n.note("woken", p, []int{first}, edn.Map{"successor": next})
		if err := n.cluster.Resume(first); err != nil {
			return err
		}
		n.sleep(2 * timeout)
		if killed {
			if err := n.agentsBack(next); err != nil {
				return err
			}
		}
		if err := n.cluster.Cut(nil); err != nil {
			return err
		}
		n.sleep(2 * timeout)
	}
	n.note("stop", p, nil, nil)
	return nil
}

// Agents is what the nemesis may do to the links of all agents.
type Agents interface {
	CutAgents(masters []int) error // from these masters; replaces what was cut before
}

func (n *Nemesis) strand(first, next int) error {
	var others []int
	for id := 1; id <= n.cluster.Size(); id++ {
		if id != first && id != next {
			others = append(others, id)
		}
	}
	if agents, ok := n.cluster.(Agents); ok {
		if err := agents.CutAgents(others); err != nil {
			return err
		}
	}
	return n.cluster.Kill(next)
}

func (n *Nemesis) agentsBack(next int) error {
	if agents, ok := n.cluster.(Agents); ok {
		if err := agents.CutAgents(nil); err != nil {
			return err
		}
	}
	return n.cluster.Start(next)
}

// successor waits until somebody else leads; 0: nobody did in time.
func (n *Nemesis) successor(of int, limit time.Duration) int {
	for end := time.Now().Add(limit); time.Now().Before(end); {
		if id := n.cluster.Leader(); id != 0 && id != of {
			return id
		}
		if !n.sleep(20 * time.Millisecond) {
			break
		}
	}
	return 0
}
