#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""./dev sim: the face of conclave_sim.

  --seeds A..B --voters N --mode a|b|c|all   a range, in pieces, on --jobs processes; what the results file has already
                                             for this build is not run again
  --seed N ...                               one seed; --trace, --keep LIST, --shrink go to conclave_sim
  --mutants                                  every planted bug until its first red seed, at most --seeds of them
  gate                                       10,000 valid seeds a size over the three modes; with --off: how red the core
                                             is with all corrections off
Exit 0 green, 1 red (or a kind of fault that struck fewer than 1 % of the seeds, a mutant not found, a core without
corrections that is not red enough), 2 more than 5 % invalid, 64 wrong usage."""
import argparse
import concurrent.futures
import datetime
import hashlib
import json
import os
import subprocess
import sys

TOP = os.environ.get("CONCLAVE_TOP") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SIM = os.environ.get("CONCLAVE_SIM") or os.path.join(TOP, "build/dev/conclave_sim")
MODES = {"a": "islands", "b": "mix", "c": "hammer"}
SHARE_MIN, SHARE_SEEDS = 0.01, 200  # a kind of fault must strike so many, judged from so many seeds on
INVALID_MAX = 0.05
GATE_VALID = 10000
OFF_SEEDS, OFF_MIN = 2000, {"a": 0.005, "c": 0.10}
# How a mutant is looked for: (mode, voters, share of the seeds). All must be red within --seeds in all.
HUNT = [("b", 3, 3), ("a", 3, 1), ("c", 5, 1), ("b", 5, 1)]
# Corrections of the guard that a seed finds soon; the others have their directed test (tests/sim/test_directed.c).
CORRECTIONS = ["guard-a", "guard-b", "guard-d", "guard-k", "guard-l", "guard-n"]


def talk(text):
    print(text, file=sys.stderr, flush=True)


def git(*args):
    out = subprocess.run(["git", "-C", TOP, *args], capture_output=True, text=True, check=False)
    return out.stdout.strip() if out.returncode == 0 else ""


def this_rev():
    rev = git("rev-parse", "--short", "HEAD") or "unknown"
    return rev + ("-changed" if git("status", "--porcelain", "--untracked-files=no") else "")


def this_build():
    with open(SIM, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()[:12]


def simulate(seeds, voters, mode, mutant=None, *more):
    """Runs conclave_sim over 'A..B'; returns its last JSON line and the red seeds."""
    command = [SIM, "--seeds", seeds, "--voters", str(voters), "--mode", mode, *more]
    if mutant:
        command += ["--mutant", mutant]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode not in (0, 1, 2) or not lines or "range" not in lines[-1]:
        raise RuntimeError(f"{' '.join(command)}: status {done.returncode}\n{done.stderr[-2000:]}")
    return lines[-1], [line for line in lines[:-1] if line.get("red")]


class Results:
    """The results file: one line a piece. A piece is run once for a build; `fresh`: once more."""

    def __init__(self, path, build, rev, fresh):
        self.path, self.build, self.rev, self.known = path, build, rev, {}
        if os.path.exists(path) and not fresh:
            with open(path) as f:
                for line in f:
                    try:
                        piece = json.loads(line)
                        self.known[self.key(piece)] = piece
                    except (ValueError, KeyError):
                        talk(f"{path}: a line that is none of ours is passed over")

    @staticmethod
    def key(piece):
        return (piece["build"], piece["voters"], piece["mode"], piece["mutant"], piece["range"])

    def have(self, voters, mode, mutant, seeds):
        return self.known.get((self.build, voters, mode, mutant, seeds))

    def add(self, piece, red):
        piece.update(rev=self.rev, commit=self.rev, build=self.build, red_seeds=[r["seed"] for r in red],
                     invariants=[r["invariant"] for r in red],
                     date=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"))
        os.makedirs(os.path.dirname(os.path.abspath(self.path)), exist_ok=True)
        with open(self.path, "a") as f:
            f.write(json.dumps(piece) + "\n")
        self.known[self.key(piece)] = piece
        return piece


def pieces_of(first, last, size):
    at = first
    while at <= last:
        end = min(last, (at - 1) // size * size + size)  # aligned, so that ranges that overlap share pieces
        yield f"{at}..{end}"
        at = end + 1


def total(pieces):
    """Adds pieces of one mode and size up."""
    seeds = sum(p["valid"] + p["invalid"] for p in pieces)
    faults = {}
    for p in pieces:
        for kind, share in p["faults"].items():
            faults[kind] = faults.get(kind, 0) + share * (p["valid"] + p["invalid"])
    red = sum(p["red"] for p in pieces)
    first = min(int(p["range"].split("..")[0]) for p in pieces)
    last = max(int(p["range"].split("..")[1]) for p in pieces)
    return {"rev": pieces[0]["rev"], "build": pieces[0]["build"], "range": f"{first}..{last}", "voters": pieces[0]["voters"],
            "mode": pieces[0]["mode"], "mutant": pieces[0]["mutant"], "valid": sum(p["valid"] for p in pieces),
            "invalid": sum(p["invalid"] for p in pieces), "red": red, "ratio": round(red / seeds, 5) if seeds else 0,
            "sim_s": sum(p["sim_s"] for p in pieces), "acked": sum(p["acked"] for p in pieces),
            "reads": sum(p["reads"] for p in pieces), "seconds": round(sum(p["seconds"] for p in pieces), 1),
            "settle_max_ms": max(p["settle_max_ms"] for p in pieces),
            "red_seeds": [s for p in pieces for s in p.get("red_seeds", [])],
            "faults": {kind: round(n / seeds, 4) for kind, n in faults.items()} if seeds else {}}


class Runner:
    def __init__(self, args):
        self.args = args
        self.results = Results(args.results, this_build(), this_rev(), args.fresh)

    def run(self, wanted):
        """wanted: (voters, mode, mutant, range) each; yields pieces as they end."""
        todo = []
        for voters, mode, mutant, seeds in wanted:
            piece = self.results.have(voters, mode, mutant, seeds)
            if piece:
                yield piece
            else:
                todo.append((voters, mode, mutant, seeds))
        with concurrent.futures.ThreadPoolExecutor(self.args.jobs) as pool:
            futures = {pool.submit(simulate, seeds, voters, mode, mutant): mutant for voters, mode, mutant, seeds in todo}
            try:
                for future in concurrent.futures.as_completed(futures):
                    piece, red = future.result()
                    piece = self.results.add(piece, red)
                    if red and not futures[future]:
                        talk(f"RED voters {piece['voters']} mode {piece['mode']}: " +
                             ", ".join(f"seed {r['seed']} {r['invariant']}" for r in red))
                    yield piece
            except BaseException:
                for future in futures:
                    future.cancel()
                raise

    def mode_range(self, voters, mode, first, last, mutant=None):
        wanted = [(voters, mode, mutant, r) for r in pieces_of(first, last, self.args.piece)]
        return total(list(self.run(wanted)))


def judge(sums):
    """What is wrong with these sums, as (exit code, text)."""
    found = []
    for s in sums:
        seeds = s["valid"] + s["invalid"]
        what = f"voters {s['voters']}, {MODES[s['mode']]}"
        if s["red"]:
            found.append((1, f"{what}: {s['red']} red: seeds {s['red_seeds'][:10]}"))
        if s["invalid"] > INVALID_MAX * seeds:
            found.append((2, f"{what}: {s['invalid']} of {seeds} seeds did too little to count"))
        for kind, share in s["faults"].items():
            if seeds >= SHARE_SEEDS and share < SHARE_MIN:
                found.append((1, f"{what}: {kind} struck {share:.2%} of the seeds only"))
    return found


def say_sums(sums):
    for s in sums:
        talk(f"voters {s['voters']} {MODES[s['mode']]:8s} seeds {s['range']:>12s}: {s['valid']} valid, {s['invalid']} invalid, "
             f"{s['red']} red; {s['sim_s']} simulated s, {s['acked']} acknowledged, {s['reads']} reads, settled in at most "
             f"{s['settle_max_ms']} ms")
        talk("    " + ", ".join(f"{k} {v:.1%}" for k, v in s["faults"].items()))


def shrink_some(sums):
    for s in sums:
        for seed in s["red_seeds"][:2]:
            subprocess.run([SIM, "--seed", str(seed), "--voters", str(s["voters"]), "--mode", s["mode"], "--shrink"] +
                           (["--mutant", s["mutant"]] if s["mutant"] else []), stdout=subprocess.DEVNULL, check=False)


def finish(sums, extra=()):
    found = judge(sums) + list(extra)
    for s in sums:
        print(json.dumps(s), flush=True)
    for _, text in found:
        talk("NOT MET " + text)
    codes = [code for code, _ in found]
    return 1 if 1 in codes else 2 if 2 in codes else 0


def do_range(args):
    first, last = (int(n) for n in args.seeds.split(".."))
    modes = MODES if args.mode == "all" else [args.mode]
    runner = Runner(args)
    sums = [runner.mode_range(args.voters, mode, first, last, args.mutant) for mode in modes]
    say_sums(sums)
    if not args.mutant:
        shrink_some(sums)
    elif args.mutant:  # what a planted bug leaves of the faults says nothing
        for s in sums:
            print(json.dumps(s))
        return 1 if any(s["red"] for s in sums) else 0
    return finish(sums)


def do_gate(args):
    """Goes on until each size has its valid seeds, a third of them in each mode."""
    runner = Runner(args)
    sums = []
    for voters in (3, 5):
        for mode in MODES:
            need = -(-args.valid // 3)
            last = need
            while True:
                s = runner.mode_range(voters, mode, 1, last)
                if s["valid"] >= need or last > 2 * need:
                    break
                last += -(-(need - s["valid"]) // args.piece) * args.piece
            sums.append(s)
            say_sums([s])
    extra = []
    for voters in (3, 5):
        valid = sum(s["valid"] for s in sums if s["voters"] == voters)
        if valid < args.valid:
            extra.append((2, f"voters {voters}: {valid} valid seeds of {args.valid}"))
    shrink_some(sums)
    talk(f"gate: {sum(s['valid'] for s in sums)} valid, {sum(s['red'] for s in sums)} red")
    return finish(sums, extra)


def do_off(args):
    runner = Runner(args)
    sums = [runner.mode_range(voters, mode, 1, args.off_seeds, "guard-all") for voters in (3, 5) for mode in ("a", "c")]
    bad = 0
    for s in sums:
        ok = s["ratio"] >= OFF_MIN[s["mode"]]
        bad += not ok
        talk(f"all corrections off, voters {s['voters']}, {MODES[s['mode']]}: {s['red']} of {s['valid'] + s['invalid']} red = "
             f"{s['ratio']:.2%}, wanted at least {OFF_MIN[s['mode']]:.1%}: {'met' if ok else 'NOT MET'}")
        print(json.dumps(s))
    return 1 if bad else 0


def hunt(mutant, seeds):
    """The first red seed within so many, or None: (how many were run, mode, voters, verdict)."""
    run, parts = 0, sum(share for _, _, share in HUNT)
    for mode, voters, share in HUNT:
        part = seeds * share // parts
        piece, red = simulate(f"1..{part}", voters, mode, mutant, "--stop")
        if red:
            return run + red[0]["seed"], mode, voters, red[0]
        run += piece["valid"] + piece["invalid"]
    return run, None, None, None


def do_mutants(args):
    listed = subprocess.run([SIM, "--list-mutants"], capture_output=True, text=True, check=True).stdout.splitlines()
    bugs = {m["mutant"]: m["bug"] for m in map(json.loads, listed)}
    bugs.update({c: "correction off, see src/consensus/guard.h" for c in CORRECTIONS})
    if args.mutant:
        bugs = {args.mutant: bugs.get(args.mutant, "")}
    seeds = int(args.seeds.split("..")[1]) if args.seeds else 200
    missed = 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for mutant, (run, mode, voters, red) in zip(bugs, pool.map(lambda m: hunt(m, seeds), bugs)):
            missed += red is None
            if red is None:
                talk(f"{mutant:24s} NOT FOUND in {run} seeds")
            else:
                talk(f"{mutant:24s} seed {red['seed']:4d} of {MODES[mode]}, {voters} voters ({run:3d} run)  {red['invariant']:16s}"
                     f" {red['why'][:90]}")
            print(json.dumps({"mutant": mutant, "bug": bugs[mutant], "seeds": run, "mode": mode, "voters": voters,
                              "seed": red and red["seed"], "invariant": red and red["invariant"]}), flush=True)
    talk(f"{len(bugs) - missed} of {len(bugs)} found")
    return 1 if missed else 0


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(64, f"{self.prog}: {message}\n")


def main():
    parser = Parser(prog="./dev sim", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["gate"])
    parser.add_argument("--seeds")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--voters", type=int, default=3)
    parser.add_argument("--mode", choices=[*MODES, "all"], default=None)
    parser.add_argument("--mutant")
    parser.add_argument("--mutants", action="store_true")
    parser.add_argument("--off", action="store_true", help="with gate: all corrections off")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--piece", type=int, default=100)
    parser.add_argument("--valid", type=int, default=GATE_VALID, help="with gate: valid seeds a size")
    parser.add_argument("--off-seeds", type=int, default=OFF_SEEDS)
    parser.add_argument("--results", default=os.path.join(TOP, "build/sim-results.jsonl"))
    parser.add_argument("--fresh", action="store_true", help="run again what the results file has")
    parser.add_argument("--json", action="store_true", help="accepted; stdout is always JSON lines")
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("--shrink", action="store_true")
    parser.add_argument("--keep")
    args = parser.parse_args()
    if args.seeds and (args.seeds.count("..") != 1 or not all(n.isdigit() for n in args.seeds.split(".."))):
        parser.error("--seeds A..B")
    if args.what == "gate":
        return do_off(args) if args.off else do_gate(args)
    if args.mutants:
        return do_mutants(args)
    if args.seed is not None:
        command = [SIM, "--seed", str(args.seed), "--voters", str(args.voters), "--mode", args.mode or "b"]
        for name in ("trace", "shrink"):
            command += ["--" + name] if getattr(args, name) else []
        for name in ("keep", "mutant"):
            command += ["--" + name, getattr(args, name)] if getattr(args, name) is not None else []
        return subprocess.run(command, check=False).returncode
    if not args.seeds:
        parser.error("--seeds A..B, --seed N, --mutants or gate")
    args.mode = args.mode or "all"
    return do_range(args)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RuntimeError as e:
        talk(str(e))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
