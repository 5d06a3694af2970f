// SPDX-License-Identifier: Apache-2.0
package check

import (
	"bufio"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"

	"conclave/jepsen/history"
)

var roleLine = regexp.MustCompile(`\srole role=(\w+) term=(\d+)`)

// role is a line of a master's log that says what it is in which term.
type role struct {
	node, file, what string
	line             int
	term             int64
}

// readMasters reads the roles that masters wrote to their logs.
func (r *Run) readMasters() error {
	paths, err := filepath.Glob(filepath.Join(r.Dir, "logs", "m*.log"))
	if err != nil {
		return err
	}
	sort.Strings(paths)
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		base := filepath.Base(path)
		scanner := bufio.NewScanner(file)
		scanner.Buffer(make([]byte, 1<<16), 1<<20)
		for n := 1; scanner.Scan(); n++ {
			if m := roleLine.FindStringSubmatch(scanner.Text()); m != nil {
				term, _ := strconv.ParseInt(m[2], 10, 64)
				r.roles = append(r.roles, role{base[:len(base)-len(".log")], filepath.Join("logs", base), m[1], n, term})
			}
		}
		err = scanner.Err()
		_ = file.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// oneLeaderATerm is I-01: no two masters lead in one term, by their own logs and by what the monitor and the frameworks were
// told; terms never go back on a master, not even across its restarts, and commit indexes not in one life of its process.
func oneLeaderATerm(r *Run, at *report) {
	leader := map[int64]role{}
	highest := map[string]int64{}
	for _, l := range r.roles {
		if l.term < highest[l.node] {
			at.line(l.file, l.line, "%s is in term %d after term %d", l.node, l.term, highest[l.node])
		}
		highest[l.node] = l.term
		if l.what != "leader" {
			continue
		}
		if first, known := leader[l.term]; known && first.node != l.node {
			at.line(l.file, l.line, "%s leads in term %d, and so does %s (%s:%d)", l.node, l.term, first.node, first.file, first.line)
		} else if !known {
			leader[l.term] = l
		}
	}
	told := map[int64]*history.Op{}
	for _, op := range r.Ops {
		switch op.F {
		case "leader":
			first := told[op.Number("term")]
			if first != nil && first.Number("node") != op.Number("node") {
				at.op(op, "master %d says that it leads in term %d; so did master %d (line %d)", op.Number("node"), op.Number("term"),
					first.Number("node"), first.Line())
			} else if first == nil {
				told[op.Number("term")] = op
			}
		case "went-back":
			at.op(op, "master %d: its %s goes back from %d to %d", op.Number("node"), op.Text("what"), op.Number("from"), op.Number("to"))
		}
	}
}
