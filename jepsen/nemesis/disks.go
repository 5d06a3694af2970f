// SPDX-License-Identifier: Apache-2.0
package nemesis

import (
	"fmt"
	"time"

	"conclave/jepsen/edn"
)

// Disks is what the nemesis may do when masters stand on disks of their own.
type Disks interface {
	CutPower(ids []int) error // what was not durable is gone; they are down afterwards
	Fill(id int) error
	Free(id int) error
	StartFailing(id, n int) error // starts a stopped master whose n-th log write fails
	Ended(id int, limit time.Duration) bool
	FailedWrite(id int) string // file whose write failed; "" when none did
}

// ioErrorLimit is how long the n-th write may be away; the load writes some hundred a second.
const ioErrorLimit = 20 * time.Second

func (n *Nemesis) disks() (Disks, error) {
	if d, ok := n.cluster.(Disks); ok {
		return d, nil
	}
	return nil, fmt.Errorf("the masters have no disks of their own")
}

func (n *Nemesis) startAll(ids []int) error {
	for _, id := range ids {
		if err := n.cluster.Start(id); err != nil {
			return err
		}
	}
	return nil
}

// power is F-13: the power of one, some or all masters is cut at one moment; a start 0 to 10 s later.
func (n *Nemesis) power(p Period) error {
	disks, err := n.disks()
	if err != nil {
		return err
	}
	targets := n.choose(p.Kind)
	n.note("start", p, targets, edn.Map{"delay-ms": p.Delay.Milliseconds()})
	if err := disks.CutPower(targets); err != nil {
		return err
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

// full is F-14: a disk without a free byte for a while. Whoever ended by itself meanwhile is started again, which is not
// forgiven: its end stands in the history.
func (n *Nemesis) full(p Period) error {
	disks, err := n.disks()
	if err != nil {
		return err
	}
	targets := n.choose(p.Kind)
	n.note("start", p, targets, nil)
	for _, id := range targets {
		if err := disks.Fill(id); err != nil {
			return err
		}
	}
	n.sleep(p.Length)
	for _, id := range targets {
		if err := disks.Free(id); err != nil {
			return err
		}
	}
	n.note("freed", p, targets, nil)
	if err := n.startAll(targets); err != nil {
		return err
	}
	n.note("stop", p, targets, nil)
	return nil
}

// ioError is F-15: a master is started again so that its n-th log write fails. It must end by itself, for it cannot know
// what its disk holds; then it is started without the fault. Kind leader: the others are killed for a moment, one after
// the other, so that the failing master often leads when it fails.
func (n *Nemesis) ioError(p Period) error {
	disks, err := n.disks()
	if err != nil {
		return err
	}
	target := n.choose("one")
	id := target[0]
	n.note("start", p, target, edn.Map{"write": p.At})
	if err := n.cluster.Kill(id); err != nil {
		return err
	}
	if err := disks.StartFailing(id, p.At); err != nil {
		return err
	}
	ended := false
	if p.Kind == "leader" {
		ended, err = n.promote(disks, id)
		if err != nil {
			return err
		}
	}
	leader := n.cluster.Leader()
	ended = ended || disks.Ended(id, ioErrorLimit)
	file := disks.FailedWrite(id)
	n.note("io-error", p, target, edn.Map{"write": p.At, "file": file, "ended": ended, "leader-before": leader})
	if !ended {
		if err := n.cluster.Kill(id); err != nil {
			return err
		}
	}
	if err := n.cluster.Start(id); err != nil {
		return err
	}
	n.note("stop", p, target, nil)
	if file == "" {
		return fmt.Errorf("write %d did not fail within %v", p.At, ioErrorLimit)
	}
	return nil
}

// promote kills who leads until the wanted one does, at most three times. True: it has ended meanwhile.
func (n *Nemesis) promote(disks Disks, id int) (bool, error) {
	for try := 0; try < 3; try++ {
		if disks.Ended(id, 300*time.Millisecond) {
			return true, nil
		}
		other := n.cluster.Leader()
		if other == id {
			return false, nil
		}
		if other == 0 {
			continue
		}
		if err := n.cluster.Kill(other); err != nil {
			return false, err
		}
		ended := disks.Ended(id, 500*time.Millisecond)
		if err := n.cluster.Start(other); err != nil || ended {
			return ended, err
		}
	}
	return false, nil
}
