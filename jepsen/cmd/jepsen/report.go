// SPDX-License-Identifier: Apache-2.0
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"conclave/jepsen/check"
	"conclave/jepsen/history"
)

// violationsMax is how many are printed; the folder holds what it takes to find them all again.
const violationsMax = 50

// result is the line of --json; its keys are pinned.
type result struct {
	Run        string            `json:"run"`
	Workload   string            `json:"workload"`
	Faults     string            `json:"faults"`
	Seconds    int               `json:"seconds"`
	Ops        int               `json:"ops"`
	OK         int               `json:"ok"`
	Fail       int               `json:"fail"`
	Info       int               `json:"info"`
	Launches   int               `json:"launches"`
	Started    int               `json:"started"`
	Leaders    int               `json:"leaders"`
	Periods    int               `json:"periods"`
	CallsPerS  float64           `json:"calls_per_s"`
	Seed       int64             `json:"seed"`
	Verdict    string            `json:"verdict"`
	Invalid    string            `json:"invalid,omitempty"`
	Violations []check.Violation `json:"violations"`
	Dir        string            `json:"dir"`
}

// report: violations are a failure whatever else the run was; without one, a run that proves nothing is invalid.
func (t *test) report(r *check.Run, failed error) int {
	counts := r.Count()
	violations := r.Check()
	out := result{Run: filepath.Base(t.path), Workload: strings.Join(t.workloads, ","), Faults: strings.Join(t.faults, ","),
		Seconds: int(t.seconds / time.Second), Ops: counts.Ops, OK: counts.OK, Fail: counts.Fail, Info: counts.Info,
		Launches: counts.Launches, Started: counts.Started, Leaders: counts.Leaders, Periods: counts.Periods,
		CallsPerS: float64(int(counts.CallsPerSecond*10)) / 10, Seed: t.seed, Verdict: "pass", Violations: violations, Dir: t.path}
	if len(violations) > violationsMax {
		out.Violations = violations[:violationsMax]
	}
	if out.Violations == nil {
		out.Violations = []check.Violation{}
	}
	code := exitPass
	switch {
	case len(violations) > 0:
		out.Verdict, code = "fail", exitFail
	case failed != nil:
		out.Verdict, out.Invalid, code = "invalid", failed.Error(), exitInvalid
	default:
		if out.Invalid = r.Invalid(counts, len(t.faults) > 0); out.Invalid != "" {
			out.Verdict, code = "invalid", exitInvalid
		}
	}
	if failed != nil {
		say("%v", failed)
	}
	explain(os.Stderr, r, violations)
	line, _ := json.Marshal(out)
	if t.json {
		fmt.Println(string(line))
	}
	say("%s: %d calls (%d ok, %d fail, %d info), %d launches, %d started, %d leaders, %d fault periods, %.0f calls/s before them%s",
		out.Verdict, out.Ops, out.OK, out.Fail, out.Info, out.Launches, out.Started, out.Leaders, out.Periods, counts.CallsPerSecond,
		because(out.Invalid))
	if code == exitPass {
		t.removeData()
		return code
	}
	snapshots := ""
	if t.snapshotMB > 0 {
		snapshots = fmt.Sprintf(" --snapshot-mb %d", t.snapshotMB)
	}
	say("kept in %s; to repeat: CONCLAVE_BIN=%s jepsen/run run --workload %s --faults %s --seconds %d --seed %d%s", t.path, t.bin,
		out.Workload, or(out.Faults, "none"), out.Seconds, t.seed, snapshots)
	return code
}

// removeData: logs, ledgers and the history stay; the nodes' data is only of use when something went wrong.
func (t *test) removeData() {
	_ = os.RemoveAll(filepath.Join(t.path, "disk"))
	masters, _ := filepath.Glob(filepath.Join(t.path, "m[0-9]*"))
	for _, path := range masters {
		_ = os.RemoveAll(path)
	}
	for i := 1; i <= t.agents; i++ {
		_ = os.RemoveAll(filepath.Join(t.path, fmt.Sprintf("a%d", i)))
	}
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

func or(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// explain prints the first violation with the fault that was active and the operations around it.
func explain(out io.Writer, r *check.Run, violations []check.Violation) {
	if len(violations) == 0 {
		return
	}
	for i, v := range violations {
		if i == 10 {
			fmt.Fprintf(out, "... and %d more\n", len(violations)-i)
			break
		}
		fmt.Fprintf(out, "%s %s:%d %s\n", v.ID, filepath.Join(r.Dir, v.File), v.Line, v.Text)
	}
	first := violations[0]
	at := 0
	var fault *history.Op
	for i, op := range r.Ops {
		if op.Time > first.Time {
			break
		}
		at = i
		if op.Actor == "nemesis" {
			fault = op
		}
	}
	if fault != nil {
		fmt.Fprintf(out, "the nemesis' last word before it: %s\n", fault)
	}
	from, to := at-10, at+10
	if from < 0 {
		from = 0
	}
	if to >= len(r.Ops) {
		to = len(r.Ops) - 1
	}
	fmt.Fprintln(out, "operations around it:")
	for _, op := range r.Ops[from : to+1] {
		fmt.Fprintf(out, "  %s\n", op)
	}
}
