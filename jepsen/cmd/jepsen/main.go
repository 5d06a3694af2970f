// SPDX-License-Identifier: Apache-2.0

// Command jepsen runs a cluster of real processes on hosts made of namespaces, breaks it, and judges what was recorded.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"conclave/jepsen/check"
	"conclave/jepsen/host"
	"conclave/jepsen/nemesis"
)

// Exit codes.
const (
	exitPass    = 0
	exitFail    = 1
	exitInvalid = 2
	exitUsage   = 64
)

const usage = `usage: jepsen run [--workload W-01,W-02] [--faults F-01,F-03,F-04] [--seconds 60] [--seed N] [--json]
       jepsen campaign NAME [--count N] [--json]   one fault many times: power, blackout, full, pause, eio; goes on where it stopped
       jepsen matrix [--seconds 60] [--json]       one run a family of faults
       jepsen mutants [--json]       programs with planted bugs, each of which must be caught within 3 runs
       jepsen check DIR [--json]     judge a run's folder again
       jepsen preflight              what the faults need of this machine
       jepsen clean                  remove what killed runs have left
exit: 0 pass, 1 fail, 2 invalid (it proves nothing), 64 wrong usage
`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(exitUsage)
	}
	command, args := os.Args[1], os.Args[2:]
	if strings.HasPrefix(command, "-") && command != "-h" && command != "--help" {
		command, args = "run", os.Args[1:] // `./dev jepsen --faults F-04` is a run
	}
	switch command {
	case "run":
		os.Exit(runCommand(args))
	case "campaign":
		os.Exit(campaignCommand(args))
	case "matrix":
		os.Exit(matrixCommand(args))
	case "mutants":
		os.Exit(mutantsCommand(args))
	case "check":
		os.Exit(checkCommand(args))
	case "preflight":
		os.Exit(preflightCommand())
	case "clean":
		os.Exit(cleanCommand())
	case "help", "-h", "--help":
		fmt.Print(usage)
	default:
		fmt.Fprintf(os.Stderr, "jepsen: unknown command %q\n%s", command, usage)
		os.Exit(exitUsage)
	}
}

func usageError(format string, args ...any) int {
	fmt.Fprintf(os.Stderr, "jepsen: "+format+"\n", args...)
	return exitUsage
}

func runCommand(args []string) int {
	o := options{}
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	workloads := flags.String("workload", "W-01,W-02,W-08", "workloads, by comma")
	faults := flags.String("faults", "F-01,F-03,F-04", "families of faults, by comma; none: no fault")
	seconds := flags.Int("seconds", 60, "warm-up and faults; about 30 s more for start and final readings")
	flags.Int64Var(&o.seed, "seed", time.Now().UnixNano()%1000000, "of the plan and of the frameworks")
	flags.BoolVar(&o.json, "json", false, "one line of JSON on stdout")
	flags.StringVar(&o.bin, "bin", os.Getenv("CONCLAVE_BIN"), "the conclave binary (CONCLAVE_BIN)")
	flags.StringVar(&o.dir, "dir", "build/jepsen", "where runs are kept")
	flags.IntVar(&o.snapshotMB, "snapshot-mb", 0, "of log between the masters' snapshots, 1 to 1024; without it there are none")
	flags.StringVar(&o.mutant, "mutant", "", "planted bug, of a binary that has some (see mutants)")
	flags.IntVar(&o.masters, "masters", 3, "3 or 5")
	flags.IntVar(&o.agents, "agents", 3, "1 to 9")
	if err := flags.Parse(args); err != nil {
		return exitUsage
	}
	o.workloads, o.faults, o.seconds = list(*workloads), list(*faults), time.Duration(*seconds)*time.Second
	launching := false
	for _, w := range o.workloads {
		if w != "W-01" && w != "W-02" && w != "W-08" && w != "W-09" {
			return usageError("unknown workload %q; there are W-01,W-02,W-08,W-09", w)
		}
		launching = launching || w == "W-01" || w == "W-02"
	}
	for _, f := range o.faults {
		if !nemesis.Known(f) {
			return usageError("unknown fault %q; there are %s", f, nemesis.Families())
		}
	}
	for _, f := range o.faults {
		if nemesis.NeedsDisks(f) {
			o.disks = diskKinds
		}
	}
	switch {
	case flags.NArg() > 0:
		return usageError("%q: no operands are taken", flags.Arg(0))
	case !launching:
		return usageError("no workload launches tasks: W-01 or W-02 must be among them")
	case o.snapshotMB < 0 || o.snapshotMB > 1024:
		return usageError("--snapshot-mb wants 1 to 1024")
	case o.bin == "":
		return usageError("no binary: --bin, or CONCLAVE_BIN")
	case o.masters != 3 && o.masters != 5 || o.agents < 1 || o.agents > 9 || *seconds < 20 || *seconds > 86400 || len(o.workloads) == 0:
		return usageError("wants 3 or 5 masters, 1 to 9 agents, 20 to 86400 seconds and a workload")
	}
	return run(o)
}

// list splits by comma; "none" is empty.
func list(text string) []string {
	var out []string
	for _, part := range strings.Split(text, ",") {
		if part = strings.TrimSpace(part); part != "" && part != "none" {
			out = append(out, part)
		}
	}
	return out
}

func checkCommand(args []string) int {
	asJSON := false
	var dirs []string
	for _, a := range args {
		if a == "--json" {
			asJSON = true
		} else {
			dirs = append(dirs, a)
		}
	}
	if len(dirs) != 1 || strings.HasPrefix(dirs[0], "-") {
		return usageError("check wants one folder of a run")
	}
	r, err := check.Load(dirs[0])
	if err != nil {
		fmt.Fprintf(os.Stderr, "jepsen: %v\n", err)
		return exitInvalid
	}
	violations := r.Check()
	if asJSON {
		for _, v := range violations {
			line, _ := json.Marshal(v)
			fmt.Println(string(line))
		}
	}
	explain(os.Stderr, r, violations)
	if len(violations) > 0 {
		return exitFail
	}
	return exitPass
}

func preflightCommand() int {
	dir, err := os.MkdirTemp("", "jepsen-preflight-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitInvalid
	}
	defer os.RemoveAll(dir)
	if !host.Print(os.Stdout, host.Preflight(dir)) {
		return exitInvalid
	}
	return exitPass
}

func cleanCommand() int {
	removed, err := host.CleanStale()
	for _, name := range removed {
		fmt.Println("removed", name)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "jepsen: %v\n", err)
		return exitInvalid
	}
	return exitPass
}
