// SPDX-License-Identifier: Apache-2.0
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"conclave/jepsen/check"
)

// A planted bug, the faults under which somebody would meet it, and the invariants that may tell of it.
type mutant struct {
	name, bug string
	faults    []string
	by        []string
}

// mutantRuns is how many runs a mutant may survive.
const mutantRuns = 3

var mutants = []mutant{
	{"vote-unsynced", "term and vote are written and not made durable", []string{"F-13"}, []string{"I-01", "I-24", "I-25", "I-27"}},
	{"fence-off", "an agent obeys whoever speaks, and tells nobody whom it obeyed", []string{"F-03/succession"}, []string{"I-12"}},
	{"read-local", "a linearizable read is answered from what the master has applied", []string{"F-03/cut-off"}, []string{"I-20"}},
}

type mutantLine struct {
	Mutant  string   `json:"mutant"`
	Bug     string   `json:"bug"`
	Faults  []string `json:"faults"`
	Runs    int      `json:"runs"`
	Caught  bool     `json:"caught"`
	By      string   `json:"by"`
	Text    string   `json:"text"`
	Dir     string   `json:"dir"`
	Verdict string   `json:"verdict"`
}

// mutantsCommand: each mutant must be caught within mutantRuns runs, and the same program without one must pass under all
// of their faults: what is caught is the bug.
func mutantsCommand(args []string) int {
	o := options{workloads: []string{"W-01", "W-02", "W-08"}, seconds: 30 * time.Second, masters: 3, agents: 3}
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	flags.BoolVar(&o.json, "json", false, "a line of JSON a mutant on stdout")
	flags.StringVar(&o.bin, "bin", os.Getenv("CONCLAVE_MUTANT_BIN"), "the program with planted bugs (CONCLAVE_MUTANT_BIN)")
	flags.StringVar(&o.dir, "dir", "build/jepsen", "where runs are kept")
	flags.Int64Var(&o.seed, "seed", time.Now().UnixNano()%1000000, "of the first run")
	if err := flags.Parse(args); err != nil {
		return exitUsage
	}
	if o.bin == "" || flags.NArg() > 0 {
		return usageError("mutants wants --bin, or CONCLAVE_MUTANT_BIN, and no operands")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	o.disks = "ext4,xfs,ext4"
	if ready, skip := readyMachine(o); skip {
		return exitPass
	} else if !ready {
		return exitInvalid
	}
	none := mutant{name: "none", bug: "no planted bug"}
	for _, m := range mutants {
		none.faults = append(none.faults, m.faults...)
	}
	code := exitPass
	for _, m := range append([]mutant{none}, mutants...) {
		line, err := m.hunt(ctx, o)
		if err != nil {
			say("%s: %v", m.name, err)
			return exitInvalid
		}
		if o.json {
			data, _ := json.Marshal(line)
			fmt.Println(string(data))
		}
		say("%-14s %-66s %-7s runs %d  %s %s", line.Mutant, line.Bug, line.Verdict, line.Runs, line.By, line.Text)
		if line.Verdict != "pass" {
			code = exitFail
		}
	}
	return code
}

// hunt runs the mutant until it is caught. "none" has one run, in which nothing may be caught.
func (m *mutant) hunt(ctx context.Context, o options) (mutantLine, error) {
	out := mutantLine{Mutant: m.name, Bug: m.bug, Faults: m.faults, Verdict: "fail"}
	runs := mutantRuns
	o.faults = m.faults
	if o.mutant = m.name; m.name == "none" {
		o.mutant, runs, o.seconds = "", 1, 60*time.Second
	}
	for out.Runs < runs && !out.Caught {
		t := &test{options: o, label: "mutant-" + m.name + "-", warmUp: warmUp, quiet: quietTime}
		t.seed += int64(out.Runs)
		if err := t.prepare(); err != nil {
			return out, err
		}
		failed := t.execute(ctx)
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		r, err := check.Load(t.path)
		if err != nil {
			return out, err
		}
		out.Runs++
		out.Dir = t.path
		violations := r.Check()
		for _, v := range violations {
			if m.tells(v.ID) || m.name == "none" {
				out.Caught, out.By, out.Text = true, v.ID, fmt.Sprintf("%s:%d %s", v.File, v.Line, v.Text)
				break
			}
		}
		if m.name == "none" {
			if failed != nil {
				return out, failed
			}
			if why := r.Invalid(r.Count(), true); why != "" {
				return out, fmt.Errorf("the run without a planted bug proves nothing: %s", why)
			}
		}
		if !out.Caught {
			t.removeData()
		}
	}
	if out.Caught == (m.name != "none") {
		out.Verdict = "pass"
	}
	return out, nil
}

func (m *mutant) tells(id string) bool {
	for _, by := range m.by {
		if by == id {
			return true
		}
	}
	return false
}
