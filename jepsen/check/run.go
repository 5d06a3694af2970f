// SPDX-License-Identifier: Apache-2.0
package check

import (
	"conclave/jepsen/history"
)

// noProcessEnded is the part of I-27 that is seen from outside: no master or agent ends unless the nemesis ended it.
func noProcessEnded(r *Run, at *report) {
	for _, op := range r.Ops {
		if op.F == "exited" {
			at.op(op, "%s ended by itself: %s", op.Text("name"), op.Text("state"))
		}
	}
}

// progress is the part of I-25 that the quiet time shows: after everything was healed, launches are taken and finish.
func progress(r *Run, at *report) {
	var quiet, over *history.Op
	for _, op := range r.Ops {
		switch {
		case op.F == "quiet":
			quiet = op
		case op.F == "quiet-over":
			over = op
		case quiet != nil && over == nil && op.F == "update" && op.Text("state") == "TASK_FINISHED":
			if t := r.tasks[op.Text("task")]; t.launch != nil && t.launch.Index > quiet.Index {
				return
			}
		}
	}
	if over != nil {
		at.op(over, "no task was launched and finished between healing and here")
	}
}
