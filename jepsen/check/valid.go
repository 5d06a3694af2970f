// SPDX-License-Identifier: Apache-2.0
package check

import (
	"fmt"

	"conclave/jepsen/history"
)

// What a run must have been to count. The catalogue's rules hold for a run of any length.
const (
	callsPerSecondMin = 50
	launchesMin       = 100
	periodsMin        = 3
	listReadsMin      = 20 // of W-09, where it was wanted
)

// Counts of a run.
type Counts struct {
	Ops, OK, Fail, Info int // calls by clients, and how they ended
	Launches            int // tasks asked for
	Started             int // tasks with a start in a ledger
	Leaders             int // terms that served somebody
	Periods             int // of faults that ended
	ListCalls, ListRead int // reads of lists, and how many were answered with something in them
	CallsPerSecond      float64
}

// Count reads them off the history.
func (r *Run) Count() Counts {
	var c Counts
	terms := map[int64]bool{}
	var load, faults *history.Op
	before := 0
	for _, op := range r.Ops {
		switch {
		case op.F == "load":
			load = op
		case op.F == "faults":
			faults = op
		case op.F == "subscribed" || op.F == "leader":
			if term := op.Number("term"); term > 0 {
				terms[term] = true
			}
		case op.Actor == "nemesis" && op.F == "stop":
			c.Periods++
		}
		if op.F == "list-read" && op.Type == history.Invoke {
			c.ListCalls++
		} else if op.F == "list-read" && op.Type == history.OK && len(op.Texts("list")) > 0 {
			c.ListRead++
		}
		if op.Actor != "" {
			continue
		}
		switch op.Type {
		case history.Invoke:
			c.Ops++
			if load != nil && faults == nil {
				before++
			}
		case history.OK:
			c.OK++
		case history.Fail:
			c.Fail++
		case history.Info:
			c.Info++
		}
	}
	for _, t := range r.order {
		if t.launch != nil {
			c.Launches++
		}
		if len(t.starts) > 0 {
			c.Started++
		}
	}
	c.Leaders = len(terms)
	if load != nil && faults != nil && faults.Time > load.Time {
		c.CallsPerSecond = float64(before) * 1e9 / float64(faults.Time-load.Time)
	}
	return c
}

// Invalid says why the run does not count; "" when it does.
func (r *Run) Invalid(c Counts, faults bool) string {
	switch {
	case r.final == nil:
		return "it did not reach the final readings"
	case r.undecided != "":
		return r.undecided
	case c.CallsPerSecond < callsPerSecondMin:
		return fmt.Sprintf("%.0f calls a second before the faults, fewer than %d", c.CallsPerSecond, callsPerSecondMin)
	case c.Started < launchesMin:
		return fmt.Sprintf("%d launches, fewer than %d", c.Started, launchesMin)
	case c.ListCalls > 0 && c.ListRead < listReadsMin:
		return fmt.Sprintf("%d lists read, fewer than %d", c.ListRead, listReadsMin)
	case faults && c.Periods < periodsMin:
		return fmt.Sprintf("%d periods of faults, fewer than %d", c.Periods, periodsMin)
	case faults && c.Leaders < 2:
		return "no change of leader"
	}
	return ""
}
