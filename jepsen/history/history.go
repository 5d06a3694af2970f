// SPDX-License-Identifier: Apache-2.0

// Package history is the record of a run: operations in Jepsen's form, one a line of history.edn, and the ledgers that
// the tasks themselves write. Both are read back by the checkers, from a run's folder or from testdata.
package history

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"conclave/jepsen/edn"
)

// How an operation ended. Invoke opens one; Fail surely had no effect; Info is unknown, or an event that nobody invoked.
const (
	Invoke = "invoke"
	OK     = "ok"
	Fail   = "fail"
	Info   = "info"
)

// FileName of the operations in a run's folder.
const FileName = "history.edn"

// Op is one line of the history. Process is a number for clients (which changes after Info) and -1 with Actor set for
// those who only report: nemesis, stream, monitor, run.
type Op struct {
	Index   int
	Time    int64 // nanoseconds since the run began
	Process int
	Actor   string
	Type    string
	F       string
	Value   edn.Map
}

// Line of the operation in history.edn, from 1.
func (op *Op) Line() int { return op.Index + 1 }

// Text and Number read one field of the value; absent or of another kind is "" or 0.
func (op *Op) Text(key edn.Keyword) string {
	switch v := op.Value[key].(type) {
	case string:
		return v
	case edn.Keyword:
		return string(v)
	}
	return ""
}

func (op *Op) Number(key edn.Keyword) int64 {
	switch v := op.Value[key].(type) {
	case int64:
		return v
	case int:
		return int64(v)
	}
	return 0
}

// Texts reads a vector of strings.
func (op *Op) Texts(key edn.Keyword) []string {
	var out []string
	switch v := op.Value[key].(type) {
	case []string:
		return v
	case []any:
		for _, item := range v {
			if s, ok := item.(string); ok {
				out = append(out, s)
			}
		}
	}
	return out
}

// String is the operation's line.
func (op *Op) String() string {
	b := append([]byte("{:index "), strconv.Itoa(op.Index)...)
	b = strconv.AppendInt(append(b, ", :time "...), op.Time, 10)
	if op.Actor != "" {
		b = append(append(b, ", :process :"...), op.Actor...)
	} else {
		b = strconv.AppendInt(append(b, ", :process "...), int64(op.Process), 10)
	}
	b = append(append(b, ", :type :"...), op.Type...)
	b = append(append(b, ", :f :"...), op.F...)
	b = append(b, ", :value "...)
	return string(append(edn.Append(b, op.Value), '}'))
}

// ParseOp reads a line.
func ParseOp(line string) (*Op, error) {
	v, err := edn.Read(line)
	if err != nil {
		return nil, err
	}
	m, ok := v.(edn.Map)
	if !ok {
		return nil, fmt.Errorf("not a map")
	}
	op := &Op{Process: -1}
	index, _ := m["index"].(int64)
	op.Index = int(index)
	op.Time, _ = m["time"].(int64)
	switch p := m["process"].(type) {
	case int64:
		op.Process = int(p)
	case edn.Keyword:
		op.Actor = string(p)
	default:
		return nil, fmt.Errorf("no :process")
	}
	kind, _ := m["type"].(edn.Keyword)
	f, _ := m["f"].(edn.Keyword)
	op.Type, op.F = string(kind), string(f)
	if op.Type == "" || op.F == "" {
		return nil, fmt.Errorf("no :type or no :f")
	}
	op.Value, _ = m["value"].(edn.Map)
	return op, nil
}

// Recorder appends operations to a file and keeps them. Safe for many goroutines.
type Recorder struct {
	mu    sync.Mutex
	begun time.Time
	file  *os.File
	out   *bufio.Writer
	ops   []*Op
	next  int // next free process number
	err   error
}

// NewRecorder makes dir/history.edn. The clock of the run starts here.
func NewRecorder(dir string) (*Recorder, error) {
	file, err := os.Create(filepath.Join(dir, FileName))
	if err != nil {
		return nil, err
	}
	r := &Recorder{begun: time.Now(), file: file, out: bufio.NewWriterSize(file, 1<<16)}
	r.Event("run", "begin", edn.Map{"wall-ns": r.begun.UnixNano()})
	return r, nil
}

func (r *Recorder) add(op *Op) *Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	op.Index, op.Time = len(r.ops), int64(time.Since(r.begun))
	r.ops = append(r.ops, op)
	if _, err := r.out.WriteString(op.String() + "\n"); err != nil && r.err == nil {
		r.err = err
	}
	return op
}

// Event records what nobody invoked.
func (r *Recorder) Event(actor, f string, value edn.Map) *Op {
	return r.add(&Op{Process: -1, Actor: actor, Type: Info, F: f, Value: value})
}

// NewProcess gives a process number that was never used.
func (r *Recorder) NewProcess() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	return r.next - 1
}

// Call opens an operation of a process; End closes it.
func (r *Recorder) Call(process int, f string, value edn.Map) *Op {
	return r.add(&Op{Process: process, Type: Invoke, F: f, Value: value})
}

// End closes op with its outcome; extra fields are added to the value that was invoked.
func (r *Recorder) End(op *Op, outcome string, extra edn.Map) *Op {
	value := edn.Map{}
	for k, v := range op.Value {
		value[k] = v
	}
	for k, v := range extra {
		value[k] = v
	}
	return r.add(&Op{Process: op.Process, Type: outcome, F: op.F, Value: value})
}

// Close flushes; the first error of any write is returned.
func (r *Recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.out.Flush(); err != nil && r.err == nil {
		r.err = err
	}
	if err := r.file.Close(); err != nil && r.err == nil {
		r.err = err
	}
	return r.err
}

// Read reads dir/history.edn. A fault names file and line.
func Read(dir string) ([]*Op, error) {
	path := filepath.Join(dir, FileName)
	var ops []*Op
	err := eachLine(path, func(n int, line string) error {
		op, err := ParseOp(line)
		if err != nil {
			return err
		}
		if op.Index != n-1 {
			return fmt.Errorf("index %d stands on line %d", op.Index, n)
		}
		ops = append(ops, op)
		return nil
	})
	return ops, err
}

func eachLine(path string, do func(n int, line string) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	scanner := bufio.NewScanner(file)
	scanner.Buffer(make([]byte, 1<<16), 4<<20)
	for n := 1; scanner.Scan(); n++ {
		if line := scanner.Text(); strings.TrimSpace(line) != "" {
			if err := do(n, line); err != nil {
				return fmt.Errorf("%s:%d: %w", path, n, err)
			}
		}
	}
	return scanner.Err()
}

// Entry is one line of a ledger: `start TASK LAUNCH AGENT PID NANOSECONDS` or `end TASK LAUNCH AGENT PID NANOSECONDS HOW`,
// where HOW is `done` or the name of the signal that ended the task. A task's own words; the system never sees them.
type Entry struct {
	Start  bool
	Task   string
	Launch int64
	Agent  string
	Pid    int
	Wall   int64
	How    string
	File   string // relative to the run's folder
	Line   int
}

// ReadLedgers reads dir/ledger/*, in order of file and line. A torn last line is a fault of ours: lines are appended whole.
func ReadLedgers(dir string) ([]Entry, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "ledger", "*"))
	if err != nil {
		return nil, err
	}
	sort.Strings(paths)
	var out []Entry
	for _, path := range paths {
		file := filepath.Join("ledger", filepath.Base(path))
		err := eachLine(path, func(n int, line string) error {
			e, err := parseEntry(line)
			e.File, e.Line = file, n
			out = append(out, e)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func parseEntry(line string) (Entry, error) {
	words := strings.Fields(line)
	if len(words) == 6 && words[0] == "start" || len(words) == 7 && words[0] == "end" {
		launch, err1 := strconv.ParseInt(words[2], 10, 64)
		pid, err2 := strconv.Atoi(words[4])
		wall, err3 := strconv.ParseInt(words[5], 10, 64)
		if err1 == nil && err2 == nil && err3 == nil {
			e := Entry{Start: words[0] == "start", Task: words[1], Launch: launch, Agent: words[3], Pid: pid, Wall: wall}
			if !e.Start {
				e.How = words[6]
			}
			return e, nil
		}
	}
	return Entry{}, fmt.Errorf("not a ledger's line: %.80q", line)
}
