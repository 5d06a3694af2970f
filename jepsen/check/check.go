// SPDX-License-Identifier: Apache-2.0

// Package check judges a run from its folder: history.edn (what clients asked and were told, what the nemesis did),
// ledger/* (what the tasks themselves wrote) and logs/a*.log (whom the agents obeyed). One file an invariant; each names
// the first line that breaks it.
package check

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"

	"conclave/jepsen/history"
	"conclave/jepsen/mesos"
	"conclave/jepsen/raftlog"
)

// Violation of an invariant, at a line of a file of the run's folder.
type Violation struct {
	ID   string `json:"id"`
	File string `json:"file"`
	Line int    `json:"line"`
	Text string `json:"text"`
	Time int64  `json:"-"` // nanoseconds of the run; what stands around it in the history is worth a look
}

// told is a state of a task as a framework or the final reading heard it.
type told struct {
	op    *history.Op
	state string
	final bool
}

// task is everything that is known of one task id.
type task struct {
	id      string
	launch  *history.Op // as invoked; nil: nobody asked for it
	outcome string      // of that call; "info" when it has no end
	kill    *history.Op // first
	told    []told
	starts  []history.Entry
	ends    []history.Entry
	alive   *history.Op // final reading of the process
}

// welcome is an agent's word that it obeys a leader.
type welcome struct {
	file string
	line int
	term int64
}

// Run is a run read back.
type Run struct {
	Dir      string
	Ops      []*history.Op
	Entries  []history.Entry
	Dumps    []*raftlog.Dump      // of the masters, when the run got there
	welcomes map[string][]welcome // by file
	roles    []role
	tasks    map[string]*task
	order    []*task
	wall     int64
	final    *history.Op // begin of the final readings; nil: the run did not get there
	teardown *history.Op // first

	undecided string // why a checker could not say
}

// Load reads a run's folder.
func Load(dir string) (*Run, error) {
	r := &Run{Dir: dir, tasks: map[string]*task{}, welcomes: map[string][]welcome{}}
	var err error
	if r.Ops, err = history.Read(dir); err != nil {
		return nil, err
	}
	if r.Entries, err = history.ReadLedgers(dir); err != nil {
		return nil, err
	}
	if r.Dumps, err = raftlog.Read(dir); err != nil {
		return nil, err
	}
	if err := r.readAgents(); err != nil {
		return nil, err
	}
	if err := r.readMasters(); err != nil {
		return nil, err
	}
	r.gather()
	return r, nil
}

var welcomeLine = regexp.MustCompile(`\bwelcome\b.*\bterm=(\d+)`)

func (r *Run) readAgents() error {
	paths, err := filepath.Glob(filepath.Join(r.Dir, "logs", "a*.log"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		name := filepath.Join("logs", filepath.Base(path))
		scanner := bufio.NewScanner(file)
		scanner.Buffer(make([]byte, 1<<16), 1<<20)
		for n := 1; scanner.Scan(); n++ {
			if m := welcomeLine.FindStringSubmatch(scanner.Text()); m != nil {
				term, err := strconv.ParseInt(m[1], 10, 64)
				if err != nil {
					_ = file.Close()
					return fmt.Errorf("%s:%d: %w", path, n, err)
				}
				r.welcomes[name] = append(r.welcomes[name], welcome{name, n, term})
			}
		}
		err = scanner.Err()
		_ = file.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func (r *Run) task(id string) *task {
	t := r.tasks[id]
	if t == nil {
		t = &task{id: id, outcome: history.Info}
		r.tasks[id] = t
		r.order = append(r.order, t)
	}
	return t
}

func (r *Run) gather() {
	for _, op := range r.Ops {
		switch op.F {
		case "begin":
			r.wall = op.Number("wall-ns")
		case "launch":
			for _, id := range op.Texts("tasks") {
				t := r.task(id)
				if op.Type == history.Invoke {
					t.launch = op
				} else {
					t.outcome = op.Type
				}
			}
		case "kill":
			if t := r.task(op.Text("task")); op.Type == history.Invoke && t.kill == nil {
				t.kill = op
			}
		case "teardown":
			if op.Type == history.Invoke && r.teardown == nil {
				r.teardown = op
			}
		case "update", "task-state":
			t := r.task(op.Text("task"))
			t.told = append(t.told, told{op, op.Text("state"), op.F == "task-state"})
		case "task-alive":
			r.task(op.Text("task")).alive = op
		case "final":
			r.final = op
		}
	}
	for _, e := range r.Entries {
		t := r.task(e.Task)
		if e.Start {
			t.starts = append(t.starts, e)
		} else {
			t.ends = append(t.ends, e)
		}
	}
	for _, t := range r.order {
		sort.SliceStable(t.starts, func(i, j int) bool { return t.starts[i].Wall < t.starts[j].Wall })
		sort.SliceStable(t.ends, func(i, j int) bool { return t.ends[i].Wall < t.ends[j].Wall })
	}
}

// IDs of the invariants that are judged, in order.
func IDs() []string {
	var out []string
	for _, c := range checkers {
		out = append(out, c.id)
	}
	return out
}

var checkers = []struct {
	id    string
	judge func(r *Run, at *report)
}{
	{"I-01", oneLeaderATerm},
	{"I-02", logsAgree},
	{"I-03", statesAgree},
	{"I-04", durable},
	{"I-05", replayAgrees},
	{"I-07", noTaskLost},
	{"I-08", noTaskTwice},
	{"I-12", noDeposedLeader},
	{"I-17", noTaskKilled},
	{"I-20", linearizable},
	{"I-20", lists},
	{"I-23", onlyMembers},
	{"I-24", failStop},
	{"I-25", progress},
	{"I-25", recovery},
	{"I-27", noProcessEnded},
}

// report collects what one checker finds.
type report struct {
	id  string
	run *Run
	out []Violation
}

func (p *report) op(op *history.Op, format string, args ...any) {
	p.out = append(p.out, Violation{p.id, history.FileName, op.Line(), fmt.Sprintf(format, args...), op.Time})
}

func (p *report) entry(e history.Entry, format string, args ...any) {
	p.out = append(p.out, Violation{p.id, e.File, e.Line, fmt.Sprintf(format, args...), e.Wall - p.run.wall})
}

func (p *report) line(file string, line int, format string, args ...any) {
	p.out = append(p.out, Violation{p.id, file, line, fmt.Sprintf(format, args...), 0})
}

// Check applies every checker; the earliest violation comes first.
func (r *Run) Check() []Violation {
	var out []Violation
	for _, c := range checkers {
		p := &report{id: c.id, run: r}
		c.judge(r, p)
		out = append(out, p.out...)
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Time < out[j].Time })
	return out
}

// refused: the master turned the launch down before it was anything, which is allowed when offers are no more.
func refused(op *history.Op) bool {
	switch op.Text("reason") {
	case "REASON_INVALID_OFFERS", "REASON_AGENT_REMOVED", "REASON_AGENT_DISCONNECTED":
	default:
		return false
	}
	state := op.Text("state")
	return op.Text("uuid") == "" && op.Text("source") == "SOURCE_MASTER" && (state == "TASK_LOST" || state == "TASK_DROPPED")
}

// terminal is the first terminal state that was told; nil when none was.
func (t *task) terminal() *told {
	for i := range t.told {
		if mesos.Terminal(t.told[i].state) {
			return &t.told[i]
		}
	}
	return nil
}

// done: the ledger holds an end by the task itself.
func (t *task) done() bool {
	for _, e := range t.ends {
		if e.How == "done" {
			return true
		}
	}
	return false
}
