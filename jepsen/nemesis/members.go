// SPDX-License-Identifier: Apache-2.0
package nemesis

import (
	"fmt"
	"time"

	"conclave/jepsen/edn"
)

// Membership is what the nemesis may do to who the masters are. Masters that may be added have numbers beyond those of the
// first ones, and each number is used once.
type Membership interface {
	Members() []int // who runs as a master now
	Fresh() int     // a number that nobody had; 0: there is none left
	Add(id int) error
	// Begin starts the process of an added master; Stranger that of one that nobody added.
	Begin(id int) error
	Stranger(id int) error
	// Change asks for promote, demote, remove or transfer (id 0: to whom the leader likes). False: it was refused.
	Change(verb string, id int) (bool, error)
	// Left waits until a removed master's process has ended, and ends it if need be; how it ended.
	Left(id int) string
	// Ghost starts a removed master again, on its old folder.
	Ghost(id int) error
}

// changeLimit is how long a change may be refused before the run says that it cannot be done: a learner catches up
// meanwhile.
const changeLimit = 15 * time.Second

func (n *Nemesis) membership() (Membership, error) {
	if m, ok := n.cluster.(Membership); ok {
		return m, nil
	}
	return nil, fmt.Errorf("members cannot be changed here")
}

// transfer is F-19: the leader is told to hand over, every two seconds; to somebody named or to whom it likes.
func (n *Nemesis) transfer(p Period) error {
	m, err := n.membership()
	if err != nil {
		return err
	}
	n.note("start", p, nil, nil)
	for end := time.Now().Add(p.Length); n.ctx.Err() == nil; {
		began := time.Now()
		leader, to := n.leader(), 0
		if p.Kind == "named" {
			for to == 0 || to == leader {
				to = n.pick(m.Members())
			}
		}
		done, err := m.Change("transfer", to)
		if err != nil {
			return err
		}
		n.note("transfer", p, []int{leader}, edn.Map{"to": to, "done": done, "ms": time.Since(began).Milliseconds()})
		if !time.Now().Before(end) {
			break
		}
		n.sleep(2*time.Second - time.Since(began))
	}
	n.note("stop", p, nil, nil)
	return nil
}

func (n *Nemesis) pick(ids []int) int { return ids[n.rng.Intn(len(ids))] }

// must repeats a change until it is done.
func (n *Nemesis) must(m Membership, verb string, id int) error {
	for end := time.Now().Add(changeLimit); n.ctx.Err() == nil; {
		if done, err := m.Change(verb, id); err != nil || done {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s of m%d is refused for %v", verb, id, changeLimit)
		}
		n.sleep(100 * time.Millisecond)
	}
	return n.ctx.Err()
}

// join makes a fresh master a voter.
func (n *Nemesis) join(m Membership, id int) error {
	if err := m.Add(id); err != nil {
		return err
	}
	if err := m.Begin(id); err != nil {
		return err
	}
	return n.must(m, "promote", id)
}

// leave removes a master and sees it off.
func (n *Nemesis) leave(m Membership, p Period, id int) error {
	if err := n.must(m, "remove", id); err != nil {
		return err
	}
	n.note("left", p, []int{id}, edn.Map{"how": m.Left(id)})
	return nil
}

// members is F-18: masters come and go while the load goes on. As many voters as before are there when a period ends.
func (n *Nemesis) members(p Period) error {
	m, err := n.membership()
	if err != nil {
		return err
	}
	fresh := 0
	if p.Kind != "demote" {
		if fresh = m.Fresh(); fresh == 0 {
			p.Kind = "demote"
		}
	}
	target := n.leader()
	if p.Kind != "replace-leader" {
		target = n.pick(m.Members())
	}
	n.note("start", p, []int{target}, edn.Map{"fresh": fresh})
	began := time.Now()
	switch p.Kind {
	case "replace-leader", "replace":
		if err = n.join(m, fresh); err == nil {
			err = n.leave(m, p, target)
		}
	case "grow":
		err = n.grow(m, p, fresh)
	case "demote":
		if err = n.must(m, "demote", target); err == nil {
			n.sleep(n.cluster.ElectionTimeout())
			err = n.must(m, "promote", target)
		}
	case "unreachable":
		err = n.unreachable(m, p, fresh)
	case "stranger":
		if err = m.Stranger(fresh); err == nil {
			n.sleep(10 * n.cluster.ElectionTimeout())
			n.note("left", p, []int{fresh}, edn.Map{"stranger": true, "how": m.Left(fresh)})
		}
	case "ghosts":
		if err = n.join(m, fresh); err == nil {
			err = n.ghosts(m, p, target)
		}
	}
	if err != nil {
		return err
	}
	n.sleep(p.Length - time.Since(began))
	n.note("stop", p, []int{target}, nil)
	return nil
}

// grow goes from three voters to five and back; who leaves may be anybody, the leader and the new ones too.
func (n *Nemesis) grow(m Membership, p Period, fresh int) error {
	for i := 0; i < 2 && fresh != 0; i++ {
		if err := n.join(m, fresh); err != nil {
			return err
		}
		if i == 0 {
			fresh = m.Fresh()
		}
	}
	n.sleep(2 * n.cluster.ElectionTimeout())
	for len(m.Members()) > n.voters {
		if err := n.leave(m, p, n.pick(m.Members())); err != nil {
			return err
		}
	}
	return nil
}

// unreachable adds a master that nobody starts. It cannot be promoted, it does no harm, and it can be removed.
func (n *Nemesis) unreachable(m Membership, p Period, fresh int) error {
	if err := m.Add(fresh); err != nil {
		return err
	}
	n.sleep(2 * n.cluster.ElectionTimeout())
	done, err := m.Change("promote", fresh)
	if err != nil {
		return err
	}
	n.note("promote-unreachable", p, []int{fresh}, edn.Map{"done": done})
	return n.must(m, "remove", fresh)
}

// ghosts: a master is removed and started again on its old folder, in which it is a voter, while only a minority of the voters
// lives. With its vote there would be a majority: nobody may win as long as the others are down.
func (n *Nemesis) ghosts(m Membership, p Period, target int) error {
	if err := n.leave(m, p, target); err != nil {
		return err
	}
	members := m.Members()
	var dead []int
	for _, i := range n.rng.Perm(len(members))[:len(members)/2+1] {
		dead = append(dead, members[i])
	}
	for _, id := range dead {
		if err := n.cluster.Kill(id); err != nil {
			return err
		}
	}
	n.sleep(2 * n.cluster.ElectionTimeout()) // what was won before is known now
	n.note("minority", p, dead, edn.Map{"ghost": target})
	if err := m.Ghost(target); err != nil {
		return err
	}
	n.sleep(8 * n.cluster.ElectionTimeout())
	n.note("minority-over", p, dead, nil)
	if err := n.startAll(dead); err != nil {
		return err
	}
	n.sleep(3 * n.cluster.ElectionTimeout()) // the ghost meets them all
	n.note("left", p, []int{target}, edn.Map{"ghost": true, "how": m.Left(target)})
	return nil
}
