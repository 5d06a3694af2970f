#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench.py commit|failover|snapshot|catchup|soak|handover: measures Conclave beside etcd on this machine's disk; see docs/TESTING.md.

Exit 0: measured (aims are judged by the reader). Exit 1: could not run, or a correctness counter is not 0.
"""
import argparse
import contextlib
import math
import os
import signal
import sys

import commit
import failover
from etcd import Etcd
from figures import Printer, talk
from machine import TOP, CannotMeasure, file_system, revision

PEERS = ("conclave", "etcd")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.split("\n", 1)[0])
    parser.add_argument("bench", choices=("commit", "failover", "snapshot", "catchup", "soak", "handover"))
    parser.add_argument("--json", action="store_true", help="JSON Lines on stdout")
    parser.add_argument("--rounds", type=int, help="failover: kills (100); commit: turns (3); handover: hand-overs (50)")
    parser.add_argument("--freezes", type=int, help="failover: SIGSTOPs (20)")
    parser.add_argument("--seconds", type=int, help="commit: length of one load (10); snapshot: of each of two (30)")
    parser.add_argument("--tasks", type=int, help="snapshot: in the state (1,000,000); soak: in all (10,000,000)")
    parser.add_argument("--mib", type=int, help="catchup: of log that a master has missed (1,024)")
    parser.add_argument("--rate", type=int, help="snapshot: reports a second (20,000); catchup: the same (5,000)")
    parser.add_argument("--snapshot-mb", type=int, help="snapshot: log between two snapshots (64)")
    parser.add_argument("--standing", type=int, default=commit.STANDING_TASKS, help="commit: tasks standing in the state")
    parser.add_argument("--only", choices=PEERS, help="measure one cluster alone")
    parser.add_argument("--dir", type=os.path.abspath, default=str(TOP / "build" / "bench"), help="where the data goes: a folder on a disk")
    parser.add_argument("--tls", action="store_true", help="commit, failover: our links and the load's with TLS; the figures say so")
    parser.add_argument("--rehearsal", action="store_true", help="allow a tree with changes; the figures say so")
    options = parser.parse_args()
    for name, least in (("rounds", 1), ("freezes", 0), ("seconds", 1), ("tasks", 1), ("rate", 1), ("mib", 1), ("snapshot_mb", 1)):
        if getattr(options, name) is not None and getattr(options, name) < least:
            parser.error(f"--{name} is at least {least}")
    return options


# Snapshots have a bench of their own: the commit bench measures commits between two of them, and says so in its figures.
COMMIT_SNAPSHOT_MB = 16384


def make_peer(name: str, where: str, **options):
    if name == "etcd":
        return Etcd(where)
    try:
        from conclave import Conclave
    except ModuleNotFoundError as error:
        raise CannotMeasure("tests/bench/conclave.py is missing: only --only etcd can run") from error
    return Conclave(where, **options)


def run_failover(options: argparse.Namespace, names: list, printer: Printer) -> int:
    kills = options.rounds or 100
    freezes = options.freezes if options.freezes is not None else max(1, kills // 5)
    wrong = 0
    for name in names:
        ours = name == "conclave"
        with make_peer(name, options.dir, tls=options.tls) as peer:
            for sig, count, metric in ((signal.SIGKILL, kills, "kill9"), (signal.SIGSTOP, freezes, "sigstop")):
                if count == 0:
                    continue
                for what, series in failover.rounds(peer, count, sig, ours and metric == "kill9").items():
                    printer.figure(f"{metric}_to_{what}_ms" if ours else f"{name}_{metric}_ms", "ms", series.values,
                                   peer=peer.name, timers=peer.timers, invalid=series.invalid,
                                   other_cpu=sum(series.other_cpu) / max(len(series.other_cpu), 1), lost=series.lost,
                                   doubled=series.doubled, restarted=series.restarted)
                    # An answer that never came is no slow answer: the cluster, or the question, is broken.
                    unanswered = sum(1 for value in series.values if not math.isfinite(value))
                    wrong += series.lost + series.doubled + series.restarted + unanswered + (len(series.values) < count)
    return 1 if wrong else 0


def run_commit(options: argparse.Namespace, names: list, printer: Printer) -> int:
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(make_peer(name, options.dir, snapshot_mb=COMMIT_SNAPSHOT_MB, tls=options.tls)) for name in names]
        for peer in peers:
            talk(f"{peer.name}: filling {options.standing} standing tasks")
            peer.fill(options.standing)
        commit.report(printer, peers, commit.measure(peers, options.rounds or 3, options.seconds or 10))
    return 0


def run_snapshot(options: argparse.Namespace, _names: list, printer: Printer) -> int:
    import snapshot     # needs our own cluster
    return snapshot.run(options, printer)


def run_endurance(options: argparse.Namespace, _names: list, printer: Printer) -> int:
    import endurance     # needs our own cluster
    return {"catchup": endurance.catchup, "soak": endurance.soak}[options.bench](options, printer)


def run_handover(options: argparse.Namespace, _names: list, printer: Printer) -> int:
    import handover     # of our own cluster
    with make_peer("conclave", options.dir) as peer:
        return handover.report(printer, peer, options.rounds or 50)


def main() -> int:
    # So that the clusters are ended when the bench is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = arguments()
    try:
        os.makedirs(options.dir, exist_ok=True)
        printer = Printer(options.json, bench=options.bench, rev=revision(options.rehearsal), file_system=file_system(options.dir))
        names = [options.only] if options.only else list(PEERS)
        return {"failover": run_failover, "commit": run_commit, "snapshot": run_snapshot, "catchup": run_endurance,
                "soak": run_endurance, "handover": run_handover}[options.bench](options, names, printer)
    except (CannotMeasure, TimeoutError) as error:
        talk(f"./dev bench: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
