// SPDX-License-Identifier: Apache-2.0
package check

import (
	"strconv"
	"strings"

	"conclave/jepsen/raftlog"
)

// configuration is an entry of the log that says who the members are.
type configuration struct {
	raftlog.Entry
	roles map[int64]string // voter, learner, spare
}

func configurations(d *raftlog.Dump) []configuration {
	var out []configuration
	for _, e := range d.Entries {
		if e.Type != 3 || len(e.Commands) == 0 {
			continue
		}
		c := configuration{e, map[int64]string{}}
		for _, word := range e.Commands {
			if role, id, ok := strings.Cut(word, ":"); ok {
				n, _ := strconv.ParseInt(id, 10, 64)
				c.roles[n] = role
			}
		}
		out = append(out, c)
	}
	return out
}

// onlyMembers is I-23: who was removed or never added does not win, does not append and does not vote. Terms are won, and entries
// made, by voters of the configuration that the log has before the term's first entry; ids that were removed stay
// away; while only a minority of the voters lives, beside it a removed master on its old data, nobody comes to lead; and who never
// answered is not made a voter.
func onlyMembers(r *Run, at *report) {
	nodes := r.nodes()
	if d := longest(r.Dumps); d != nil {
		all := configurations(d)
		idsStayAway(all, d, at)
		begun := map[int64]bool{} // terms that have an entry
		for _, e := range d.Entries {
			begun[e.Term] = true
		}
		judge := func(name string, term int64, complain func(format string, args ...any)) {
			id, c := nodes[name], (*configuration)(nil)
			for i := range all {
				if all[i].Term < term {
					c = &all[i]
				}
			}
			if c == nil {
				return
			}
			switch role := c.roles[id]; {
			case role == "":
				complain("%s (id %d) leads in term %d and is no member by entry %d (%s:%d)", name, id, term, c.Index, d.File, c.Line)
			case role != "voter" && begun[term]:
				complain("%s (id %d) leads in term %d and is a %s by entry %d (%s:%d)", name, id, term, role, c.Index, d.File, c.Line)
			}
		}
		for _, l := range r.roles {
			if l.what == "leader" {
				judge(l.node, l.term, func(format string, args ...any) { at.line(l.file, l.line, format, args...) })
			}
		}
		for _, op := range r.Ops {
			if op.F == "leader" {
				judge("m"+strconv.FormatInt(op.Number("node"), 10), op.Number("term"), func(format string, args ...any) { at.op(op, format, args...) })
			}
		}
	}
	minority(r, at)
}

// nodes are the ids of the masters, by name: their number unless the cluster gave another.
func (r *Run) nodes() map[string]int64 {
	out := map[string]int64{}
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(strings.TrimPrefix(name, "m"), 10, 64)
		return n
	}
	for _, l := range r.roles {
		out[l.node] = number(l.node)
	}
	for _, op := range r.Ops {
		if op.F == "leader" {
			out["m"+strconv.FormatInt(op.Number("node"), 10)] = op.Number("node")
		}
	}
	for _, op := range r.Ops {
		if op.F == "added" || op.F == "stranger" {
			out["m"+strconv.FormatInt(op.Number("master"), 10)] = op.Number("node")
		}
	}
	return out
}

func idsStayAway(all []configuration, d *raftlog.Dump, at *report) {
	gone := map[int64]int64{}
	for i := 1; i < len(all); i++ {
		for id := range all[i-1].roles {
			if all[i].roles[id] == "" {
				gone[id] = all[i].Index
			}
		}
		for id := range all[i].roles {
			if index := gone[id]; index != 0 {
				at.line(d.File, all[i].Line, "id %d is a member by entry %d and was removed by entry %d", id, all[i].Index, index)
				delete(gone, id)
			}
		}
	}
}

// minority judges the times in which most voters were dead, and promotions of who was not there.
func minority(r *Run, at *report) {
	alone := false
	highest := int64(0)
	for _, op := range r.Ops {
		switch op.F {
		case "minority", "minority-over":
			alone = op.F == "minority"
		case "leader":
			if alone && op.Number("term") > highest {
				at.op(op, "master %d has won term %d while a majority of the voters was dead", op.Number("node"), op.Number("term"))
			}
			if op.Number("term") > highest {
				highest = op.Number("term")
			}
		case "promote-unreachable":
			if op.Value["done"] == true {
				at.op(op, "a master that was never started was made a voter")
			}
		}
	}
}
