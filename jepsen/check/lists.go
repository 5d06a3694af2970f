// SPDX-License-Identifier: Apache-2.0
package check

import (
	"fmt"
	"sort"

	"conclave/jepsen/history"
)

// transaction of W-09: a launch, which appends its tasks to its framework's list, or a read of the list.
type transaction struct {
	begin, end *history.Op // end: nil while the outcome is not known
	list       []string    // of a read
	read       bool
	outcome    string
}

func (t *transaction) op() *history.Op {
	if t.end != nil {
		return t.end
	}
	return t.begin
}

func (t *transaction) text() string {
	what := "launch"
	if t.read {
		what = "read"
	}
	return fmt.Sprintf("%s at line %d", what, t.op().Line())
}

// lists is W-09 under I-20: a framework's tasks are a list to which launches append. All reads must be prefixes of one list;
// a launch is in it as a whole, once, and not at all when it was refused; and there is an order of all launches and reads that
// explains what was read and keeps to real time, which is so if the graph of who must come before whom has no cycle.
func lists(r *Run, at *report) {
	reads, appends := map[string][]*transaction{}, map[string]*transaction{}
	launches := map[string][]*transaction{}
	open := map[int]*transaction{}
	for _, op := range r.Ops {
		switch {
		case op.F == "launch" && op.Type == history.Invoke:
			t := &transaction{begin: op, outcome: history.Info}
			launches[op.Text("framework")] = append(launches[op.Text("framework")], t)
			for _, id := range op.Texts("tasks") {
				appends[id] = t
			}
		case op.F == "launch":
			for _, id := range op.Texts("tasks") {
				if t := appends[id]; t != nil && op.Type != history.Info {
					t.end, t.outcome = op, op.Type
				}
			}
		case op.F == "list-read" && op.Type == history.Invoke:
			open[op.Process] = &transaction{begin: op, read: true}
		case op.F == "list-read" && op.Type == history.OK:
			if t := open[op.Process]; t != nil {
				t.end, t.list, t.outcome = op, op.Texts("list"), history.OK
				reads[op.Text("framework")] = append(reads[op.Text("framework")], t)
			}
		}
	}
	var names []string
	for name := range reads {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		longest := judgeReads(r, reads[name], appends, at)
		if longest != nil {
			judgeOrder(longest, reads[name], launches[name], appends, at)
		}
	}
}

// judgeReads looks at each read alone; the longest list, or nil when there is no such thing.
func judgeReads(r *Run, reads []*transaction, appends map[string]*transaction, at *report) []string {
	best := reads[0]
	for _, t := range reads {
		if len(t.list) > len(best.list) {
			best = t
		}
	}
	place := map[string]int{}
	good := true
	for i, id := range best.list {
		t := appends[id]
		switch _, twice := place[id]; {
		case twice:
			at.op(best.op(), "task %s is in the list twice", id)
			good = false
		case t == nil:
			at.op(best.op(), "task %s is in the list and nobody has launched it", id)
			good = false
		case t.outcome == history.Fail:
			at.op(best.op(), "task %s is in the list and its launch was refused (line %d)", id, t.op().Line())
		}
		place[id] = i
	}
	for _, t := range reads {
		for i, id := range t.list {
			if id != best.list[i] {
				at.op(t.op(), "task %d of the list is %s here and %s at line %d", i+1, id, best.list[i], best.op().Line())
				good = false
				break
			}
		}
	}
	if !good {
		return nil
	}
	// An acknowledged launch is in every list that was asked for afterwards, unless the master told that it came to nothing. Where it
	// is in some list, but not yet in this one, there is a cycle.
	last := reads[0]
	for _, t := range reads {
		if t.begin.Time > last.begin.Time {
			last = t
		}
	}
	for _, t := range r.order {
		a := appends[t.id]
		if a == nil || a.begin.Text("framework") != last.begin.Text("framework") || a.outcome != history.OK || a.end.Time >= last.begin.Time {
			continue
		}
		if _, there := place[t.id]; there {
			continue
		}
		nothing := false
		for _, told := range t.told {
			nothing = nothing || refused(told.op)
		}
		if !nothing {
			at.op(last.op(), "task %s, whose launch was acknowledged (line %d), is not in the list", t.id, a.end.Line())
		}
	}
	return best.list
}

// graph of transactions and moments; an edge says who must come first.
type graph struct {
	next    [][]int
	waiting []int // edges that come in
}

func (g *graph) node() int {
	g.next, g.waiting = append(g.next, nil), append(g.waiting, 0)
	return len(g.next) - 1
}

func (g *graph) edge(from, to int) {
	if from != to {
		g.next[from] = append(g.next[from], to)
		g.waiting[to]++
	}
}

// cycle finds one, as nodes in turn; nil when there is none.
func (g *graph) cycle() []int {
	waiting := append([]int{}, g.waiting...)
	var ready []int
	for n, w := range waiting {
		if w == 0 {
			ready = append(ready, n)
		}
	}
	for len(ready) > 0 {
		n := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		for _, m := range g.next[n] {
			if waiting[m]--; waiting[m] == 0 {
				ready = append(ready, m)
			}
		}
	}
	before := map[int]int{} // among those that are left: each has one of them before it
	start := -1
	for n := range g.next {
		if waiting[n] == 0 {
			continue
		}
		for _, m := range g.next[n] {
			if waiting[m] > 0 {
				before[m], start = n, m
			}
		}
	}
	if start < 0 {
		return nil
	}
	seen := map[int]bool{}
	for !seen[start] {
		seen[start] = true
		start = before[start]
	}
	out := []int{start}
	for n := before[start]; n != start; n = before[n] {
		out = append([]int{n}, out...)
	}
	return out
}

// judgeOrder builds the graph: launches in the order of the list, each read behind the launch of its last task and before that of the
// next one, and what ended before what began later, by way of a chain of moments.
func judgeOrder(list []string, reads, launches []*transaction, appends map[string]*transaction, at *report) {
	g := &graph{}
	node, of := map[*transaction]int{}, map[int]*transaction{}
	add := func(t *transaction) {
		node[t] = g.node()
		of[node[t]] = t
	}
	in := map[*transaction]bool{}
	for _, id := range list {
		in[appends[id]] = true
	}
	var all []*transaction
	for _, t := range launches {
		if in[t] {
			all = append(all, t)
		}
	}
	all = append(all, reads...)
	for _, t := range all {
		add(t)
	}
	for i := 1; i < len(list); i++ {
		g.edge(node[appends[list[i-1]]], node[appends[list[i]]])
	}
	for _, t := range reads {
		n := len(t.list)
		if n > 0 {
			g.edge(node[appends[list[n-1]]], node[t])
		}
		if n < len(list) {
			g.edge(node[t], node[appends[list[n]]])
		}
	}
	realTime(g, all, node)
	cycle := g.cycle()
	if cycle == nil {
		return
	}
	text, last := "", (*transaction)(nil)
	for _, n := range cycle {
		if t := of[n]; t != nil {
			if text != "" {
				text += ", "
			}
			text += t.text()
			if last == nil || t.op().Time > last.op().Time {
				last = t
			}
		}
	}
	at.op(last.op(), "each of these must come before the next, and the last before the first: %s", text)
}

// realTime: a chain of moments, one an end; who ended comes before its moment, and the last moment before who begins.
func realTime(g *graph, all []*transaction, node map[*transaction]int) {
	type event struct {
		op   *history.Op
		t    *transaction
		ends bool
	}
	var events []event
	for _, t := range all {
		events = append(events, event{t.begin, t, false})
		if t.end != nil {
			events = append(events, event{t.end, t, true})
		}
	}
	sort.Slice(events, func(i, j int) bool { return events[i].op.Index < events[j].op.Index })
	moment := -1
	for _, e := range events {
		switch {
		case e.ends:
			n := g.node()
			g.edge(node[e.t], n)
			if moment >= 0 {
				g.edge(moment, n)
			}
			moment = n
		case moment >= 0:
			g.edge(moment, node[e.t])
		}
	}
}
