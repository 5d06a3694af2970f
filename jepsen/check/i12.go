// SPDX-License-Identifier: Apache-2.0
package check

import (
	"conclave/jepsen/history"
	"conclave/jepsen/mesos"
)

// noDeposedLeader is I-12: a leader that was deposed or slept through its deposition has no effect. Two things show one:
// an agent that obeys a lower term after a higher one, and a task that runs from an offer of a term when somebody had
// already been served by a later term before the offer was accepted.
func noDeposedLeader(r *Run, at *report) {
	for _, list := range r.welcomes {
		highest := int64(0)
		for _, w := range list {
			if w.term < highest {
				at.line(w.file, w.line, "the agent obeys term %d after term %d", w.term, highest)
				break
			}
			highest = w.term
		}
	}
	served := int64(0) // highest term that has served anybody so far
	var by *history.Op
	for _, op := range r.Ops {
		if term := op.Number("term"); op.F == "subscribed" && term > served {
			served, by = term, op
		}
		if op.F != "launch" || op.Type != history.Invoke {
			continue
		}
		for _, offer := range op.Texts("offers") {
			if term := mesos.Term(offer); term >= served {
				continue
			}
			for _, id := range op.Texts("tasks") {
				if t := r.tasks[id]; len(t.starts) > 0 {
					at.entry(t.starts[0], "task %s runs from offer %s (line %d), made before term %d served anybody (line %d)",
						id, offer, op.Line(), served, by.Line())
				}
			}
		}
	}
}
