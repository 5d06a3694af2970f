// SPDX-License-Identifier: Apache-2.0
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"conclave/jepsen/nemesis"
)

// matrixCommand is one run a family, one after the other; the last line says what each was worth.
func matrixCommand(args []string) int {
	o := options{workloads: []string{"W-01", "W-02", "W-08"}}
	flags := flag.NewFlagSet("matrix", flag.ContinueOnError)
	faults := flags.String("faults", nemesis.Families(), "families, by comma")
	seconds := flags.Int("seconds", 60, "warm-up and faults of each run")
	seed := flags.Int64("seed", time.Now().UnixNano()%1000000, "of the first run; the next ones count up")
	flags.BoolVar(&o.json, "json", false, "a line of JSON a run on stdout")
	flags.StringVar(&o.bin, "bin", os.Getenv("CONCLAVE_BIN"), "the conclave binary (CONCLAVE_BIN)")
	flags.StringVar(&o.dir, "dir", "build/jepsen", "where runs are kept")
	flags.IntVar(&o.agents, "agents", 3, "1 to 9")
	if err := flags.Parse(args); err != nil {
		return exitUsage
	}
	families := list(*faults)
	for _, f := range families {
		if !nemesis.Known(f) {
			return usageError("unknown fault %q; there are %s", f, nemesis.Families())
		}
	}
	if o.bin == "" || flags.NArg() > 0 || *seconds < 30 || len(families) == 0 {
		return usageError("matrix wants a binary, at least 30 seconds a run, and no operands")
	}
	o.seconds = time.Duration(*seconds) * time.Second
	worst, words := exitPass, []string{}
	for i, f := range families {
		one := o
		one.faults, one.seed, one.masters = []string{f}, *seed+int64(i), 3
		if f == "F-05" {
			one.masters = 5 // a ring needs five
		}
		if nemesis.NeedsDisks(f) {
			one.disks = diskKinds
		}
		code := run(one)
		words = append(words, fmt.Sprintf("%s %s", f, map[int]string{exitPass: "pass", exitFail: "FAIL", exitInvalid: "invalid"}[code]))
		if code == exitFail || worst == exitPass {
			worst = code
		}
		if interrupted.Load() {
			break
		}
	}
	say("matrix: %s", strings.Join(words, ", "))
	return worst
}
