// SPDX-License-Identifier: Apache-2.0
package nemesis

import (
	"fmt"
	"time"

	"conclave/jepsen/edn"
)

// Folders is what the nemesis may do to the data of a master that is down.
type Folders interface {
	Backup(id int) error                        // keeps what is there now
	Restore(id int) error                       // puts it back
	KeepVote(id int) error                      // an old copy of the vote file, for damage of kind old-copy
	Damage(id int, kind string) (string, error) // what was done; "" when there was nothing to damage
	// StartDamaged starts it for as long as it lives, at most limit, and ends it; how it ended: "exit status 4", "runs".
	StartDamaged(id int, limit time.Duration) (string, error)
}

// damagedLimit is how long a damaged master is watched. A wiped one ends when it has met those who know it.
const damagedLimit = 6 * time.Second

// refusals: what must not start again, and what is repaired. A damaged master that runs all the same would answer from what
// it does not have.
var refusals = map[string]bool{
	"torn-tail": false, "bit-flip": true, "zeroed-sector": true, "lost-file": true, "old-copy": true, "lost-disk": true,
}

// damage is F-16 and F-17: the data of one master is torn, rotten, old or gone while it is down. It must be repaired, or
// refused; then its data is put back, for nothing but the harness has touched it.
func (n *Nemesis) damage(p Period) error {
	folders, ok := n.cluster.(Folders)
	if !ok {
		return fmt.Errorf("data cannot be damaged here")
	}
	target := n.choose("one")
	id := target[0]
	n.note("start", p, target, nil)
	if err := n.cluster.Kill(id); err != nil {
		return err
	}
	if p.Kind == "old-copy" {
		if err := n.age(folders, id); err != nil {
			return err
		}
	}
	if err := folders.Backup(id); err != nil {
		return err
	}
	what, err := folders.Damage(id, p.Kind)
	if err != nil {
		return err
	}
	how := ""
	if what != "" {
		if how, err = folders.StartDamaged(id, damagedLimit); err != nil {
			return err
		}
	}
	n.note("damaged", p, target, edn.Map{"what": what, "how": how, "must-refuse": refusals[p.Kind]})
	if how != "runs" || refusals[p.Kind] {
		if err := folders.Restore(id); err != nil {
			return err
		}
	}
	if err := n.cluster.Start(id); err != nil {
		return err
	}
	n.note("stop", p, target, nil)
	return nil
}

// age lets a master live on after its vote was copied, until its term has gone up.
func (n *Nemesis) age(folders Folders, id int) error {
	if err := folders.KeepVote(id); err != nil {
		return err
	}
	if err := n.cluster.Start(id); err != nil {
		return err
	}
	n.sleep(3 * n.cluster.ElectionTimeout())
	leader := n.leader()
	if err := n.cluster.Kill(leader); err != nil {
		return err
	}
	n.sleep(3 * n.cluster.ElectionTimeout())
	if err := n.cluster.Start(leader); err != nil {
		return err
	}
	n.sleep(2 * n.cluster.ElectionTimeout())
	return n.cluster.Kill(id)
}
