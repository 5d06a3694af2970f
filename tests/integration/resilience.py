#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""resilience.py --binary CONCLAVE [--kills N] [--blackouts N] [--first-commit-max S]: whole clusters of real processes under load.

Claims:
  a framework with failover_timeout 0 keeps every task through kills of the leader
  when all masters are killed at once, everything acknowledged is there afterwards: the state hashes agree, the tasks run on
  under the same processes, and the first commit comes soon after the restart (the aim is 2 s; a loaded machine gets more)

The load is that of the failover bench (tests/bench/w01.py). Judged on the ledgers that the tasks write, on what the frameworks
were told, and on the masters' state hashes. Prints a line a claim and 'N passed, N failed, N skipped'.
"""
import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / "tests" / "bench"))

from conclave import Conclave  # noqa: E402
from peer import MEMBERS  # noqa: E402

ALIVE_MIN = 100


class Broken(Exception):
    """A claim does not hold; the text says how it showed."""


def expect(true: bool, what: str) -> None:
    if not true:
        raise Broken(what)


def wait_for_load(cluster: Conclave, alive: int, timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while cluster.seen().get("alive", 0) < alive:
        expect(time.monotonic() < end, f"the load never stood: {cluster.seen()}")
        time.sleep(0.05)


def expect_unharmed(cluster: Conclave) -> None:
    seen = cluster.seen()
    for key in ("lost", "doubled", "restarted", "killed"):
        expect(seen[key] == 0, f"{key}: {seen}")


def task_processes(cluster: Conclave) -> dict:
    """Task id -> process id of every task that has started and not ended, from the ledgers."""
    running = {}
    for path in sorted(pathlib.Path(cluster.members.dir, "ledgers").glob("*")):
        for line in path.read_text(encoding="ascii").splitlines():
            what, task_id, pid = line.split()
            if what == "start":
                running[task_id] = int(pid)
            else:
                running.pop(task_id, None)
    return running


def hashes_agree(cluster: Conclave, binary: str) -> None:
    masters = ",".join(cluster.master_addresses())
    for _ in range(20):
        done = subprocess.run([binary, "hash", "--master", masters, "-o", "json"], capture_output=True, text=True, timeout=30, check=False)
        report = json.loads(done.stdout)
        if report["verdict"] == "AGREE":
            return
        expect(report["verdict"] != "DIVERGED", f"state hashes differ: {report}")
        time.sleep(0.1)
    raise Broken(f"no common position: {report}")


def leader_kills(where: str, binary: str, kills: int) -> str:
    with Conclave(where, binary, w01=["--failover-timeout", "0"]) as cluster:
        cluster.start_load()
        for number in range(kills):
            wait_for_load(cluster, ALIVE_MIN)
            leader = cluster.leader()
            cluster.kill(leader, signal.SIGKILL)
            cluster.restart(leader)
            expect_unharmed(cluster)
            before = cluster.seen()["finished"]
            end = time.monotonic() + 20
            while cluster.seen()["finished"] <= before:
                expect(time.monotonic() < end, f"no task finishes after kill {number + 1}: {cluster.seen()}")
                time.sleep(0.05)
        hashes_agree(cluster, binary)
        expect_unharmed(cluster)
        return f"{kills} kills of the leader, {cluster.seen()['starts']} tasks started, 0 killed, lost or started again"


def blackouts(where: str, binary: str, count: int, first_commit_max_s: float) -> str:
    slowest = 0.0
    with Conclave(where, binary) as cluster:
        cluster.start_load()
        for _ in range(count):
            wait_for_load(cluster, ALIVE_MIN)
            before = task_processes(cluster)
            for index in range(MEMBERS):
                cluster.kill(index, signal.SIGKILL)
            for index in range(MEMBERS):
                cluster.members.reap(str(index))
            expect(all(os.path.exists(f"/proc/{pid}") or task_id not in task_processes(cluster) for task_id, pid in before.items()),
                   "a task ended with the masters")
            began = time.monotonic()
            for index in range(MEMBERS):
                cluster.start(index)
            while not any(attempt(cluster, index) for index in range(MEMBERS)):
                expect(time.monotonic() < began + 30, "no commit within 30 s of the restart")
            slowest = max(slowest, time.monotonic() - began)
            cluster.settle()
            hashes_agree(cluster, binary)
            now = task_processes(cluster)
            moved = [task_id for task_id, pid in before.items() if now.get(task_id, pid) != pid]
            expect(not moved, f"tasks run under other processes: {moved[:5]}")
            expect_unharmed(cluster)
        time.sleep(2)
        expect_unharmed(cluster)
    expect(slowest <= first_commit_max_s, f"the first commit took {slowest:.2f} s")
    return f"{count} times all masters killed; slowest first commit {slowest:.2f} s after the restart"


def attempt(cluster: Conclave, index: int) -> bool:
    try:
        return cluster.commit_once(index)
    except OSError:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--binary", required=True, type=os.path.abspath)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--blackouts", type=int, default=1)
    parser.add_argument("--first-commit-max", type=float, default=15, help="seconds")
    parser.add_argument("--dir", default=None, help="a folder on a disk")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    failed = 0
    with tempfile.TemporaryDirectory(dir=options.dir or TOP / "build") as where:
        for claim, run in (("a framework with failover_timeout 0 loses no task to kills of the leader",
                            lambda: leader_kills(where, options.binary, options.kills)),
                           ("everything acknowledged survives the death of all masters at once",
                            lambda: blackouts(where, options.binary, options.blackouts, options.first_commit_max))):
            try:
                print(f"ok      {claim}: {run()}", flush=True)
            except (Broken, TimeoutError) as error:
                failed += 1
                print(f"FAILED  {claim}: {error}", flush=True)
    print(f"{2 - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
