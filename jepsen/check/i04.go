// SPDX-License-Identifier: Apache-2.0
package check

import (
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"

	"conclave/jepsen/history"
	"conclave/jepsen/raftlog"
)

// durable is I-04: a call that was answered ok is in the final log, and an ACCEPT not twice; one that was refused is not
// there. The log must be whole for this: runs are shorter than what a snapshot cuts off.
func durable(r *Run, at *report) {
	d := longest(r.Dumps)
	if d == nil {
		return
	}
	if d.First != 1 {
		at.line(d.File, 1, "the log begins at %d: calls before that cannot be judged", d.First)
		return
	}
	accepts, rest := map[string][]raftlog.Entry{}, map[string]int{}
	for _, e := range d.Entries {
		for _, c := range e.Commands {
			if tasks := strings.TrimPrefix(c, "accept:"); tasks != c {
				for _, task := range strings.Split(tasks, ",") {
					accepts[task] = append(accepts[task], e)
				}
			} else {
				rest[c]++
			}
		}
	}
	for _, op := range r.Ops {
		switch {
		case op.F == "launch" && op.Type != history.Invoke:
			launchInLog(op, accepts, d, at)
		case op.F == "kill" && op.Type == history.OK && rest["kill:"+op.Text("task")] == 0:
			at.op(op, "the kill of task %s was acknowledged and is not in %s", op.Text("task"), d.File)
		case (op.F == "register-write" || op.F == "register-cas") && op.Type != history.Invoke:
			writeInLog(op, rest["config:"+strconv.FormatInt(op.Number("value"), 10)], d, at)
		case op.F == "acknowledge" && op.Type == history.OK && op.Text("uuid") != "":
			if rest["acknowledge:"+op.Text("task")+":"+uuidHex(op.Text("uuid"))] == 0 {
				at.op(op, "the acknowledgement of %s of task %s was answered ok and is not in %s", op.Text("uuid"), op.Text("task"), d.File)
			}
		}
	}
}

func launchInLog(op *history.Op, accepts map[string][]raftlog.Entry, d *raftlog.Dump, at *report) {
	for _, task := range op.Texts("tasks") {
		found := accepts[task]
		switch {
		case len(found) == 0 && op.Type == history.OK:
			at.op(op, "the launch of task %s was acknowledged and is not in %s", task, d.File)
		case len(found) > 1:
			at.line(d.File, found[1].Line, "the launch of task %s is in the log %d times, first at line %d", task, len(found), found[0].Line)
		case len(found) > 0 && op.Type == history.Fail:
			at.line(d.File, found[0].Line, "the launch of task %s was refused (line %d) and is in the log", task, op.Line())
		}
	}
}

// writeInLog judges a change of the register; n is how often its value is in the log. A swap that found another value is
// refused by apply, so it is in the log too.
func writeInLog(op *history.Op, n int, d *raftlog.Dump, at *report) {
	refused := op.Type == history.Fail && op.Number("code") != 412
	switch {
	case n == 0 && op.Type == history.OK:
		at.op(op, "the write of %d was acknowledged and is not in %s", op.Number("value"), d.File)
	case n > 1:
		at.op(op, "the write of %d is in %s %d times", op.Number("value"), d.File, n)
	case n > 0 && refused:
		at.op(op, "the write of %d was refused and is in %s", op.Number("value"), d.File)
	}
}

func longest(dumps []*raftlog.Dump) *raftlog.Dump {
	var out *raftlog.Dump
	for _, d := range dumps {
		if out == nil || len(d.Entries) > len(out.Entries) {
			out = d
		}
	}
	return out
}

// uuidHex: the wire has base64, the dumps have hexadecimal digits.
func uuidHex(text string) string {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return text
	}
	return hex.EncodeToString(data)
}
