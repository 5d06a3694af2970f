// SPDX-License-Identifier: Apache-2.0
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand"
	"os"
	"os/signal"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	"conclave/jepsen/check"
	"conclave/jepsen/edn"
	"conclave/jepsen/nemesis"
)

// A campaign is one kind of fault, many times. Its rounds are numbered from 1; what round N does follows from the campaign
// and N alone. Several rounds share one life of a cluster, which is judged at its end; then each of its rounds becomes a
// line of DIR/NAME.jsonl. Lines of the same revision are not repeated: a campaign that was stopped goes on where it was.
type campaign struct {
	name   string
	family string
	count  int // rounds by default
	life   int // rounds a life
	plan   func(rng *rand.Rand, round int, o *campaignOptions) nemesis.Period
}

type campaignOptions struct {
	options
	count, life int
	pauseMax    time.Duration
	rev         string
	fresh       bool
}

var campaigns = []campaign{
	{"power", "F-13", 200, 20, func(rng *rand.Rand, round int, _ *campaignOptions) nemesis.Period {
		kind := []string{"leader", "majority", "all", "one"}[round%4]
		return nemesis.Period{Kind: kind, Delay: delay(rng, 500*time.Millisecond), Length: 700 * time.Millisecond}
	}},
	{"blackout", "F-01", 50, 25, func(rng *rand.Rand, _ int, _ *campaignOptions) nemesis.Period {
		return nemesis.Period{Kind: "all", Delay: delay(rng, time.Second), Length: time.Second}
	}},
	{"full", "F-14", 100, 10, func(rng *rand.Rand, round int, _ *campaignOptions) nemesis.Period {
		kind := []string{"leader", "one", "majority", "all"}[round%4]
		return nemesis.Period{Kind: kind, Length: 3*time.Second + delay(rng, 3*time.Second)}
	}},
	{"pause", "F-03", 200, 20, func(rng *rand.Rand, _ int, o *campaignOptions) nemesis.Period {
		// Evenly over the logarithm: 0.5 s as often as 15 to 30 s.
		low, high := 0.5, o.pauseMax.Seconds()
		length := time.Duration(low * math.Pow(high/low, rng.Float64()) * float64(time.Second))
		return nemesis.Period{Kind: "leader", Length: length, Factor: float64(length) / float64(electionTimeout)}
	}},
	{"eio", "F-15", 30, 10, func(_ *rand.Rand, round int, _ *campaignOptions) nemesis.Period {
		// Every 10th of the first 300, far from each other in turn.
		return nemesis.Period{Kind: []string{"one", "leader"}[round%2], At: 10 * (1 + (round-1)*11%30)}
	}},
}

// delay is 0 in a third of the cases, else up to max.
func delay(rng *rand.Rand, max time.Duration) time.Duration {
	if rng.Intn(3) == 0 {
		return 0
	}
	return time.Duration(rng.Int63n(int64(max)))
}

// roundLine is a line of DIR/NAME.jsonl.
type roundLine struct {
	Campaign   string            `json:"campaign"`
	Rev        string            `json:"rev"`
	Round      int               `json:"round"`
	Fault      string            `json:"fault"`
	Kind       string            `json:"kind"`
	Detail     string            `json:"detail"`
	Targets    []int             `json:"targets"`
	RecoverMs  int64             `json:"recover_ms"` // -1: it did not
	Verdict    string            `json:"verdict"`
	Violations []check.Violation `json:"violations,omitempty"`
	Run        string            `json:"run"`
}

// campaignLine is the summary, with --json.
type campaignLine struct {
	Campaign    string         `json:"campaign"`
	Rev         string         `json:"rev"`
	Wanted      int            `json:"wanted"`
	Rounds      int            `json:"rounds"`
	Passed      int            `json:"passed"`
	Failed      int            `json:"failed"`
	Kinds       map[string]int `json:"kinds"`
	RecoverP50  int64          `json:"recover_p50_ms"`
	RecoverP99  int64          `json:"recover_p99_ms"`
	RecoverMax  int64          `json:"recover_max_ms"`
	InvalidRuns int            `json:"invalid_runs"` // lives of this call that proved nothing
	Violations  map[string]int `json:"violations"`
	Verdict     string         `json:"verdict"`
}

func campaignNames() string {
	var names []string
	for _, c := range campaigns {
		names = append(names, c.name)
	}
	return strings.Join(names, ", ")
}

func campaignCommand(args []string) int {
	if len(args) == 0 {
		return usageError("campaign wants a name: %s", campaignNames())
	}
	var c *campaign
	for i := range campaigns {
		if campaigns[i].name == args[0] {
			c = &campaigns[i]
		}
	}
	if c == nil {
		return usageError("no campaign %q; there are %s", args[0], campaignNames())
	}
	o := campaignOptions{options: options{workloads: []string{"W-01", "W-02", "W-08"}, faults: []string{c.family}}}
	flags := flag.NewFlagSet("campaign "+c.name, flag.ContinueOnError)
	flags.IntVar(&o.count, "count", c.count, "rounds in all")
	flags.IntVar(&o.life, "life", c.life, "rounds in one life of a cluster")
	flags.DurationVar(&o.pauseMax, "pause-max", 30*time.Second, "longest pause")
	flags.BoolVar(&o.json, "json", false, "a line of JSON on stdout")
	flags.BoolVar(&o.fresh, "fresh", false, "forget the rounds of earlier calls")
	flags.StringVar(&o.bin, "bin", os.Getenv("CONCLAVE_BIN"), "the conclave binary (CONCLAVE_BIN)")
	flags.StringVar(&o.dir, "dir", "build/jepsen", "where runs and NAME.jsonl are kept")
	flags.StringVar(&o.rev, "rev", os.Getenv("JEPSEN_REV"), "what the binary was built from (JEPSEN_REV)")
	flags.IntVar(&o.masters, "masters", 3, "3 or 5")
	flags.IntVar(&o.agents, "agents", 2, "1 to 9")
	flags.StringVar(&o.disks, "disks", "", "file systems of the masters, in turn; default ext4 and xfs where the fault needs them")
	if err := flags.Parse(args[1:]); err != nil {
		return exitUsage
	}
	switch {
	case flags.NArg() > 0:
		return usageError("%q: no operands are taken", flags.Arg(0))
	case o.bin == "":
		return usageError("no binary: --bin, or CONCLAVE_BIN")
	case o.masters != 3 && o.masters != 5 || o.agents < 1 || o.agents > 9 || o.count < 1 || o.life < 1 || o.pauseMax <= 500*time.Millisecond:
		return usageError("wants 3 or 5 masters, 1 to 9 agents, and at least one round")
	}
	if o.disks == "" && nemesis.NeedsDisks(c.family) {
		o.disks = diskKinds
	}
	return c.run(&o)
}

func (c *campaign) path(o *campaignOptions) string { return filepath.Join(o.dir, c.name+".jsonl") }

// done reads the rounds of this revision that were judged already.
func (c *campaign) done(o *campaignOptions) (map[int]roundLine, error) {
	out := map[int]roundLine{}
	file, err := os.Open(c.path(o))
	if os.IsNotExist(err) {
		return out, nil
	} else if err != nil {
		return nil, err
	}
	defer file.Close()
	scanner := bufio.NewScanner(file)
	scanner.Buffer(make([]byte, 1<<16), 4<<20)
	for n := 1; scanner.Scan(); n++ {
		var line roundLine
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", c.path(o), n, err)
		}
		if line.Rev == o.rev && line.Round <= o.count {
			out[line.Round] = line
		}
	}
	return out, scanner.Err()
}

// invalidMax is how many lives in a row may prove nothing before the campaign gives up.
const invalidMax = 3

func (c *campaign) run(o *campaignOptions) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		say("%v", err)
		return exitInvalid
	}
	if o.fresh {
		_ = os.Remove(c.path(o))
	}
	done, err := c.done(o)
	if err != nil {
		say("%v", err)
		return exitInvalid
	}
	if len(done) < o.count {
		if ready, skip := readyMachine(o.options); skip {
			return exitPass
		} else if !ready {
			return exitInvalid
		}
	}
	invalid, inRow := 0, 0
	for len(done) < o.count && ctx.Err() == nil && inRow < invalidMax {
		var rounds []int
		for round := 1; round <= o.count && len(rounds) < o.life; round++ {
			if _, have := done[round]; !have {
				rounds = append(rounds, round)
			}
		}
		lines, err := c.live(ctx, o, rounds, int64(rounds[0]*1000+invalid))
		inRow++
		if err != nil {
			invalid++
			say("%s, rounds %d to %d: invalid: %v", c.name, rounds[0], rounds[len(rounds)-1], err)
		}
		if len(lines) > 0 {
			inRow = 0
			if err := c.append(o, lines); err != nil {
				say("%v", err)
				return exitInvalid
			}
		}
		for _, line := range lines {
			done[line.Round] = line
		}
	}
	return c.summary(o, done, invalid)
}

func (c *campaign) append(o *campaignOptions, lines []roundLine) error {
	file, err := os.OpenFile(c.path(o), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	var text []byte
	for _, line := range lines {
		data, err := json.Marshal(line)
		if err != nil {
			return err
		}
		text = append(append(text, data...), '\n')
	}
	_, err = file.Write(text)
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}

// live plays one life and returns a line for each round of it that was judged. An error: the life did not reach its end or
// proves nothing, and only rounds with a violation count.
func (c *campaign) live(ctx context.Context, o *campaignOptions, rounds []int, seed int64) ([]roundLine, error) {
	t := &test{options: o.options, label: c.name + "-", warmUp: 2 * time.Second, quiet: 6 * time.Second, recovering: true}
	t.seed = seed
	for _, round := range rounds {
		rng := rand.New(rand.NewSource(int64(round)))
		p := c.plan(rng, round, o)
		p.Family, p.Gap = c.family, time.Duration(200+rng.Intn(800))*time.Millisecond
		t.plan = append(t.plan, p)
	}
	if err := t.prepare(); err != nil {
		return nil, err
	}
	failed := t.execute(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	r, err := check.Load(t.path)
	if err != nil {
		return nil, err
	}
	violations := r.Check()
	counts := r.Count()
	if failed == nil && len(violations) == 0 {
		if why := r.Invalid(counts, false); why != "" {
			failed = fmt.Errorf("%s", why)
		}
	}
	explain(os.Stderr, r, violations)
	lines := c.lines(o, t, r, rounds, violations, failed == nil)
	say("%s, rounds %d to %d: %d calls (%d ok, %d fail, %d info), %d started, %d leaders, %d violations", c.name, rounds[0],
		rounds[len(rounds)-1], counts.Ops, counts.OK, counts.Fail, counts.Info, counts.Started, counts.Leaders, len(violations))
	if len(violations) == 0 && failed == nil {
		t.removeData()
	} else {
		say("kept in %s", t.path)
	}
	return lines, failed
}

// lines makes the rounds' lines. A violation belongs to the last round that began before it.
func (c *campaign) lines(o *campaignOptions, t *test, r *check.Run, rounds []int, violations []check.Violation, whole bool) []roundLine {
	all := make([]roundLine, len(rounds))
	begun := make([]int64, len(rounds))
	over := make([]bool, len(rounds))
	for i, round := range rounds {
		all[i] = roundLine{Campaign: c.name, Rev: o.rev, Round: round, Fault: c.family, Kind: t.plan[i].Kind, RecoverMs: -1,
			Verdict: "pass", Run: filepath.Base(t.path)}
	}
	for _, op := range r.Ops {
		i := int(op.Number("period")) - 1
		if i < 0 || i >= len(all) {
			continue
		}
		switch {
		case op.Actor == "nemesis" && op.F == "start":
			begun[i], all[i].Targets = op.Time, numbers(op.Value["targets"])
			all[i].Detail = detail(op.Value)
		case op.F == "io-error":
			all[i].Detail += " file=" + op.Text("file")
			if all[i].Kind == "leader" && op.Number("leader-before") != int64(all[i].Targets[0]) {
				all[i].Kind = "follower"
			}
		case op.F == "recovered":
			all[i].RecoverMs, over[i] = op.Number("ms"), true
		}
	}
	for _, v := range violations {
		i := 0
		for j := range begun {
			if begun[j] > 0 && begun[j] <= v.Time {
				i = j
			}
		}
		all[i].Verdict = "fail"
		all[i].Violations = append(all[i].Violations, v)
	}
	var out []roundLine
	for i := range all {
		if all[i].Verdict == "fail" || whole && over[i] {
			if len(all[i].Violations) > violationsMax {
				all[i].Violations = all[i].Violations[:violationsMax]
			}
			out = append(out, all[i])
		}
	}
	return out
}

func numbers(v any) []int {
	var out []int
	if list, ok := v.([]any); ok {
		for _, item := range list {
			if n, ok := item.(int64); ok {
				out = append(out, int(n))
			}
		}
	}
	return out
}

// detail is what a fault's start says beside whom it hits.
func detail(value edn.Map) string {
	var out []string
	for _, key := range []edn.Keyword{"delay-ms", "pause-ms", "write"} {
		if v, ok := value[key]; ok {
			out = append(out, fmt.Sprintf("%s=%v", key, v))
		}
	}
	return strings.Join(out, " ")
}

func (c *campaign) summary(o *campaignOptions, done map[int]roundLine, invalid int) int {
	out := campaignLine{Campaign: c.name, Rev: o.rev, Wanted: o.count, Rounds: len(done), Kinds: map[string]int{},
		InvalidRuns: invalid, Violations: map[string]int{}, Verdict: "pass", RecoverMax: -1}
	var times []int64
	for _, line := range done {
		out.Kinds[line.Kind]++
		if line.Verdict == "pass" {
			out.Passed++
		} else {
			out.Failed++
		}
		if line.RecoverMs >= 0 {
			times = append(times, line.RecoverMs)
		}
		for _, v := range line.Violations {
			out.Violations[v.ID]++
		}
	}
	sort.Slice(times, func(i, j int) bool { return times[i] < times[j] })
	if n := len(times); n > 0 {
		out.RecoverP50, out.RecoverP99, out.RecoverMax = times[n/2], times[(n*99)/100], times[n-1]
	}
	code := exitPass
	switch {
	case out.Failed > 0:
		out.Verdict, code = "fail", exitFail
	case out.Rounds < o.count:
		out.Verdict, code = "invalid", exitInvalid
	}
	if o.json {
		line, _ := json.Marshal(out)
		fmt.Println(string(line))
	}
	say("campaign %s: %s: %d of %d rounds, %d passed, %d failed; recovery p50 %d ms, p99 %d, max %d; %d runs proved nothing", c.name,
		out.Verdict, out.Rounds, o.count, out.Passed, out.Failed, out.RecoverP50, out.RecoverP99, out.RecoverMax, invalid)
	return code
}
