// SPDX-License-Identifier: Apache-2.0
package check

// noTaskKilled is I-17: faults of masters end no running task, and no framework, which would end its tasks. A task ends by
// itself or because its framework said so.
func noTaskKilled(r *Run, at *report) {
	for _, op := range r.Ops {
		if op.F == "error" && op.Actor == "stream" && (r.teardown == nil || op.Time < r.teardown.Time) {
			at.op(op, "framework %s is told: %s", op.Text("framework"), op.Text("message"))
			break // it will be told again and again
		}
	}
	for _, t := range r.order {
		if t.kill != nil {
			continue
		}
		if broken := killed(r, t, at); broken {
			continue
		}
		if end := t.terminal(); end != nil && (end.state == "TASK_FAILED" || end.state == "TASK_KILLED") {
			at.op(end.op, "task %s is told %s (%s) and nobody killed it", t.id, end.state, end.op.Text("reason"))
		}
	}
}

func killed(r *Run, t *task, at *report) bool {
	for _, e := range t.ends {
		late := r.teardown != nil && e.Wall-r.wall > r.teardown.Time
		if e.How != "done" && !late {
			at.entry(e, "task %s was ended by %s and nobody killed it", t.id, e.How)
			return true
		}
	}
	if len(t.starts) > 0 && len(t.ends) == 0 && t.alive != nil && t.alive.Value["alive"] == false {
		at.entry(t.starts[0], "task %s was started, wrote no end, and its process %d is gone", t.id, t.starts[0].Pid)
		return true
	}
	return false
}
