// SPDX-License-Identifier: Apache-2.0
package check

import (
	"strings"
	"time"

	"conclave/jepsen/history"
)

// noProcessEnded is the part of I-27 that is seen from outside: no master or agent ends unless the nemesis ended it. A master that
// is no member any more is told so and ends with status 0; a stranger may be refused with another.
func noProcessEnded(r *Run, at *report) {
	for _, op := range r.Ops {
		if how := op.Text("how"); op.F == "left" && op.Value["stranger"] != true && how != "exit status 0" && how != "signal: killed" &&
			how != "runs" {
			at.op(op, "a removed master ended in another way than with status 0: %s", how)
		}
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

// recoverMax is the time that may pass from the end of a fault until nothing is missing any more (I-25).
const recoverMax = 10 * time.Second

// recovery: after each fault that was undone a leader is there, all masters have caught up, agents are back, and a call that
// was sent afterwards is committed, within recoverMax.
func recovery(r *Run, at *report) {
	for _, op := range r.Ops {
		took := time.Duration(op.Number("ms")) * time.Millisecond
		switch {
		case op.F == "not-recovered":
			at.op(op, "period %d: %v after the fault there was still missing: %s", op.Number("period"), took, op.Text("missing"))
		case op.F == "recovered" && took > recoverMax:
			at.op(op, "period %d: it took %v to recover, more than %v", op.Number("period"), took, recoverMax)
		}
	}
}

// failStop is I-24: a master whose log or vote could not be written ends, for it does not know what its disk holds (files
// that are only being prepared may fail without that). One whose data was damaged while it was down is refused with exit
// status 4, or repaired where nothing is lost by it; while it runs on such data it neither leads nor commits.
func failStop(r *Run, at *report) {
	for _, op := range r.Ops {
		if how := op.Text("how"); op.F == "damaged" && how != "" {
			switch {
			case op.Value["must-refuse"] == true && how != "exit status 4":
				at.op(op, "data was damaged (%s) and the master was not refused: %s", op.Text("what"), how)
			case op.Value["must-refuse"] == false && how != "runs":
				at.op(op, "data was damaged (%s), which is to be repaired, and the master ended: %s", op.Text("what"), how)
			}
		}
		file := op.Text("file")
		if op.F == "io-error" && op.Value["ended"] == false && (strings.HasPrefix(file, "log-") || file == "vote") {
			at.op(op, "a write to %s failed and the master went on", file)
		}
	}
}
