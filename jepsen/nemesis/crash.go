// SPDX-License-Identifier: Apache-2.0
package nemesis

import "conclave/jepsen/edn"

// crash is F-01: SIGKILL, and a start 0 to 10 s later. The rest of the period passes with everybody back.
func (n *Nemesis) crash(p Period) error {
	targets := n.choose(p.Kind)
	n.note("start", p, targets, edn.Map{"delay-ms": p.Delay.Milliseconds()})
	for _, id := range targets {
		if err := n.cluster.Kill(id); err != nil {
			return err
		}
	}
	n.sleep(p.Delay)
	for _, id := range targets {
		if err := n.cluster.Start(id); err != nil {
			return err
		}
	}
	n.note("restarted", p, targets, nil)
	n.sleep(p.Length - p.Delay)
	n.note("stop", p, targets, nil)
	return nil
}
