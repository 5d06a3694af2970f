// SPDX-License-Identifier: Apache-2.0
package check

import (
	"fmt"
	"math"
	"sort"
	"strconv"
	"time"

	"github.com/anishathalye/porcupine"

	"conclave/jepsen/history"
)

// porcupineTime bounds one decision; what is not decided by then is said, and makes the run invalid.
const porcupineTime = 60 * time.Second

// registerFirst is the value before anybody wrote.
const registerFirst = 600000

// registerInput is a call of W-08. Values are written once each, so a value stands for the position that had it.
type registerInput struct {
	f        string // read, write, cas
	from, to int64
}

// registerOutput: what a read saw; whether a swap happened. A call without an answer may have happened or not.
type registerOutput struct {
	known   bool
	value   int64
	swapped bool
}

var registerModel = porcupine.Model{
	Init: func() interface{} { return int64(registerFirst) },
	Step: func(state, input, output interface{}) (bool, interface{}) {
		have, in, out := state.(int64), input.(registerInput), output.(registerOutput)
		switch {
		case in.f == "read":
			return out.value == have, have
		case in.f == "write":
			return true, in.to
		case have == in.from:
			return !out.known || out.swapped, in.to
		}
		return !out.known || !out.swapped, have
	},
}

// call of the register with its line in the history.
type call struct {
	porcupine.Operation
	op *history.Op // its end, or its begin when it has none
}

// linearizable is I-20: there is one order of all calls of the register, in keeping with real time, that explains every
// answer; and what one master tells on one connection without being asked for more does not go back.
func linearizable(r *Run, at *report) {
	calls := registerCalls(r)
	switch decide(calls) {
	case porcupine.Illegal:
		// The first moment at which no order is left: answers that came later are taken for unknown.
		ends := make([]int64, 0, len(calls))
		for _, c := range calls {
			ends = append(ends, c.Return)
		}
		sort.Slice(ends, func(i, j int) bool { return ends[i] < ends[j] })
		first := sort.Search(len(ends), func(i int) bool { return decide(until(calls, ends[i])) == porcupine.Illegal })
		for _, c := range calls {
			if first < len(ends) && c.Return == ends[first] {
				at.op(c.op, "no order of the calls explains this answer")
				break
			}
		}
	case porcupine.Unknown:
		r.undecided = fmt.Sprintf("Porcupine did not decide %d calls within %v", len(calls), porcupineTime)
	}
	localReads(r, at)
}

func decide(calls []call) porcupine.CheckResult {
	ops := make([]porcupine.Operation, len(calls))
	for i, c := range calls {
		ops[i] = c.Operation
	}
	return porcupine.CheckOperationsTimeout(registerModel, ops, porcupineTime)
}

// until is what was known at a moment.
func until(calls []call, moment int64) []call {
	var out []call
	for _, c := range calls {
		in, answered := c.Input.(registerInput), c.Return <= moment
		if c.Call > moment || !answered && in.f == "read" {
			continue
		}
		if !answered {
			c.Return, c.Output = math.MaxInt64, registerOutput{}
		}
		out = append(out, c)
	}
	return out
}

// registerCalls pairs begins and ends. A call of unknown outcome that is not in the final log did not happen, which I-02 and
// I-04 guard; it is left out, for each such call doubles what there is to search.
func registerCalls(r *Run) []call {
	logged := loggedValues(r)
	open := map[int]*history.Op{}
	var out []call
	add := func(begin, end *history.Op) {
		c := call{op: begin}
		in := registerInput{f: begin.F[len("register-"):], from: begin.Number("from"), to: begin.Number("value")}
		known := registerOutput{known: true}
		c.ClientId, c.Call, c.Return = begin.Process, begin.Time, math.MaxInt64
		switch {
		case end != nil && end.Type == history.OK:
			known.value, known.swapped = end.Number("value"), true
			c.Return, c.Output, c.op = end.Time, known, end
		case end != nil && end.Type == history.Fail && in.f == "cas" && end.Number("code") == 412:
			c.Return, c.Output, c.op = end.Time, known, end
		case end != nil && end.Type == history.Fail || in.f == "read" || logged != nil && !logged[in.to]:
			return
		default:
			c.Output = registerOutput{}
		}
		c.Input = in
		out = append(out, c)
	}
	for _, op := range r.Ops {
		if op.Actor != "" || len(op.F) < 9 || op.F[:9] != "register-" {
			continue
		}
		if op.Type == history.Invoke {
			open[op.Process] = op
		} else if begin := open[op.Process]; begin != nil {
			delete(open, op.Process)
			add(begin, op)
		}
	}
	for _, begin := range open {
		add(begin, nil)
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Call < out[j].Call })
	return out
}

// loggedValues are the values of the changes in the log; nil when the log is not whole.
func loggedValues(r *Run) map[int64]bool {
	d := longest(r.Dumps)
	if d == nil || d.First != 1 {
		return nil
	}
	out := map[int64]bool{}
	for _, e := range d.Entries {
		for _, c := range e.Commands {
			if len(c) > 7 && c[:7] == "config:" {
				if v, err := strconv.ParseInt(c[7:], 10, 64); err == nil {
					out[v] = true
				}
			}
		}
	}
	return out
}

func localReads(r *Run, at *report) {
	type place struct{ node, connection int64 }
	highest := map[place]int64{}
	for _, op := range r.Ops {
		if op.F != "local-read" {
			continue
		}
		p := place{op.Number("node"), op.Number("connection")}
		if applied := op.Number("applied"); applied < highest[p] {
			at.op(op, "master %d answers from position %d after %d on the same connection", p.node, applied, highest[p])
		} else {
			highest[p] = applied
		}
	}
}
