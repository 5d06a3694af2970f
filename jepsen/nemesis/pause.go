// SPDX-License-Identifier: Apache-2.0
package nemesis

import (
	"time"

	"conclave/jepsen/edn"
)

// pause is F-03: SIGSTOP for a part or a multiple of the election timeout, then SIGCONT, again and again in the period.
// The one who wakes up still believes what it believed: after a long pause of the leader it must do nothing.
func (n *Nemesis) pause(p Period) error {
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
