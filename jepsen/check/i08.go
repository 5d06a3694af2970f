// SPDX-License-Identifier: Apache-2.0
package check

// noTaskTwice is I-08: all ledgers together hold at most one start of a task id.
func noTaskTwice(r *Run, at *report) {
	for _, t := range r.order {
		if len(t.starts) > 1 {
			first := t.starts[0]
			at.entry(t.starts[1], "task %s was started %d times, first at %s:%d", t.id, len(t.starts), first.File, first.Line)
		}
	}
}
