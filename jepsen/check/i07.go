// SPDX-License-Identifier: Apache-2.0
package check

import (
	"time"

	"conclave/jepsen/history"
	"conclave/jepsen/mesos"
)

// endKnown is how long the end of a task may take to be known to the masters when nothing is broken.
const endKnown = 2 * time.Second

// noTaskLost is I-07: every launch that was accepted ends in exactly one terminal state or is alive, and masters, agents
// and ledgers say the same of it after the quiet time. A call of unknown outcome may have had no effect, but not half of one.
func noTaskLost(r *Run, at *report) {
	for _, t := range r.order {
		if t.launch == nil {
			if len(t.starts) > 0 {
				at.entry(t.starts[0], "task %s was started and never asked for", t.id)
			}
			continue
		}
		if t.outcome == history.Fail {
			if len(t.starts) > 0 {
				at.entry(t.starts[0], "task %s was started by a call that was refused", t.id)
			}
			continue
		}
		end := t.terminal()
		// What the clearing up killed is judged by what it was before.
		cleared := end != nil && r.final != nil && t.kill != nil && t.kill.Index > r.final.Index && end.op.Index > t.kill.Index
		if end != nil && !cleared {
			oneEnd(t, end, at)
		} else if r.final != nil {
			stillAlive(r, t, at)
		}
	}
}

// oneEnd judges a task that was told to be over.
func oneEnd(t *task, end *told, at *report) {
	for _, other := range t.told {
		if mesos.Terminal(other.state) && other.state != end.state {
			at.op(other.op, "task %s is told %s after %s", t.id, other.state, end.state)
			return
		}
	}
	if t.alive != nil && t.alive.Value["alive"] == true && end.op.Index < t.alive.Index {
		at.op(t.alive, "task %s is told %s and its process is alive", t.id, end.state)
		return
	}
	switch end.state {
	case "TASK_FINISHED":
		if len(t.starts) == 0 || !t.done() {
			at.op(end.op, "task %s is told TASK_FINISHED, the ledger holds %d starts and no end by itself", t.id, len(t.starts))
		}
	case "TASK_FAILED", "TASK_KILLED": // I-17 says whether that was wanted
	default:
		if len(t.starts) > 0 {
			at.op(end.op, "task %s is told %s (%s) and the ledger holds its start", t.id, end.state, end.op.Text("reason"))
		} else if t.outcome == history.OK && !refused(end.op) {
			at.op(end.op, "task %s was accepted and is told %s (%s)", t.id, end.state, end.op.Text("reason"))
		}
	}
}

// stillAlive judges a task without an end, after the quiet time.
func stillAlive(r *Run, t *task, at *report) {
	var last *told
	for i := range t.told {
		if t.told[i].final {
			last = &t.told[i]
		}
	}
	if last == nil {
		if len(t.starts) > 0 {
			at.entry(t.starts[0], "task %s was started and no master knows it", t.id)
			at.out[len(at.out)-1].Time = r.final.Time
		} else if t.outcome == history.OK {
			at.op(t.launch, "task %s was accepted and no master knows it", t.id)
		}
		return
	}
	switch {
	case last.state == "TASK_UNREACHABLE" || last.state == "TASK_UNKNOWN":
		if t.outcome == history.OK || len(t.starts) > 0 {
			at.op(last.op, "task %s is told %s after the quiet time", t.id, last.state)
		}
	case len(t.starts) == 0:
		at.op(last.op, "task %s is told %s and was never started", t.id, last.state)
	case len(t.ends) > 0 && t.ends[0].Wall-r.wall < last.op.Time-int64(endKnown):
		at.op(last.op, "task %s is told %s and has ended by the ledger", t.id, last.state)
	case len(t.ends) == 0 && (t.alive == nil || t.alive.Value["alive"] != true):
		at.op(last.op, "task %s is told %s and its process is gone", t.id, last.state)
	}
}
