# SPDX-License-Identifier: Apache-2.0
"""The snapshot bench: what snapshots cost a loaded cluster with many tasks, and how long a start and an install take.

Two clusters, one after the other, get the same load: `tasks` tasks, then reports at a fixed rate, each a transition of a
task that has not been reported yet. The control takes no snapshots. Latency is counted from when a report was due. What
the state thread did is told by the masters themselves: slice_cpu_us of a snapshot_taken line is the most CPU time that
the thread used from one turn of its loop to the next while that snapshot was being taken.
"""
import json
import os
import pathlib
import re
import signal
import statistics
import time
from datetime import datetime, timezone

from conclave import Conclave
from figures import percentile, talk
from machine import CannotMeasure, Meter, wait_for_quiet
from peer import MEMBERS

TASKS, RATE, SECONDS = 1_000_000, 20_000, 30
CONTROL_MB, SNAPSHOT_MB = 65536, 64
CONNECTIONS, DEPTH = 10, 2000
LINE = re.compile(r"^(\S+) info (?:\S+ )?(snapshot_taken|snapshot_restored|snapshot_received|replica_open) (.*)$")


def events(log: pathlib.Path) -> list:
    """[(seconds since 1970, event, {key: number})] of the lines that matter here."""
    found = []
    for line in log.read_text(errors="replace").splitlines():
        match = LINE.match(line)
        if match:
            at = datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc).timestamp()
            found.append((at, match[2], {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)\b", match[3])}))
    return found


class Measured(Conclave):
    def __init__(self, where: str, snapshot_mb: int):
        super().__init__(where, snapshot_mb=snapshot_mb)
        self.flags = {}

    def log(self, index: int) -> pathlib.Path:
        return pathlib.Path(self.members.dir) / f"{index}.log"

    def pressed(self, tasks: int, rate: int, seconds: int) -> dict:
        """The load's figures, with the wall clock of its beginning."""
        begun = time.time() - time.monotonic()
        figures = json.loads(self._run_load(["--connections", str(CONNECTIONS), "--depth", str(DEPTH), "--seconds", str(seconds),
                                             "--tasks", str(tasks), "--rate", str(rate), "--keep",
                                             "--pids", ",".join(str(pid) for pid in self.members.pids())], 1800))
        figures["begun"] = begun + figures["begun_us"] / 1e6
        return figures

    def applied(self, index: int) -> int:
        return int(self._status(index)["applied"])


def taken_in(peer: Measured, begun: float, ended: float) -> list:
    """[(master, from, to, {..})] of the snapshots taken while the load ran."""
    return [(index, at - numbers["us"] / 1e6, at, numbers)
            for index in range(MEMBERS) for at, event, numbers in events(peer.log(index))
            if event == "snapshot_taken" and begun <= at <= ended]


def within(figures: dict, spans: list) -> list:
    """Latencies in ms of the reports answered in one of the spans."""
    return [us / 1e3 for us, at in zip(figures["latency_us"], figures["at_ms"])
            if any(since <= figures["begun"] + at / 1e3 <= until for since, until in spans)]


def wait_applied(peer: Measured, index: int, least: int, begun: float, timeout_s: float) -> float:
    """Milliseconds from `begun` until the master has applied that much."""
    while time.monotonic() - begun < timeout_s:
        try:
            if peer.applied(index) >= least:
                return (time.monotonic() - begun) * 1e3
        except (OSError, ValueError, KeyError):
            pass
        time.sleep(0.005)
    raise CannotMeasure(f"master {index + 1} did not come back in {timeout_s} s: see {peer.log(index)}")


def spoil(folder: str) -> None:
    """Damages every log and snapshot, so that --reinstall sets them aside."""
    for name in os.listdir(folder):
        if name.startswith(("log-", "snapshot-")):
            with open(f"{folder}/{name}", "r+b") as file:
                file.write(b"spoilt" * 16)


def restart_and_install(peer: Measured, printer, facts: dict) -> None:
    leader = peer.leader()
    index = next(number for number in range(MEMBERS) if number != leader)
    applied = peer.applied(index)
    peer.kill(index, signal.SIGKILL)
    peer.members.reap(str(index))
    begun = time.monotonic()
    peer.start(index)
    printer.figure("restart_ms", "ms", [wait_applied(peer, index, applied, begun, 120)], **facts)
    peer.settle()
    applied = peer.applied(peer.leader())
    peer.kill(index, signal.SIGKILL)
    peer.members.reap(str(index))
    spoil(f"{peer.members.dir}/m{index}")
    begun, wall = time.monotonic(), time.time()
    peer.reinstall(index)
    took = wait_applied(peer, index, applied, begun, 300)
    received = [numbers for at, event, numbers in events(peer.log(index)) if event == "snapshot_received" and at >= wall - 1]
    if not received:
        raise CannotMeasure("the follower needed no snapshot")
    printer.figure("install_ms", "ms", [took], file_mb=round(received[-1]["bytes"] / 2**20, 1), **facts)


def run(options, printer) -> int:
    tasks, rate, seconds = options.tasks or TASKS, options.rate or RATE, options.seconds or SECONDS
    snapshot_mb = options.snapshot_mb or SNAPSHOT_MB
    facts = {"peer": "conclave", "timers": Conclave.timers, "tasks": tasks, "rate": rate, "seconds": seconds}
    p99 = {}
    for what, megabytes in (("control", CONTROL_MB), ("snapshots", snapshot_mb)):
        with Measured(options.dir, megabytes) as peer:
            talk(f"{what}: launching {tasks} tasks, then {rate} reports a second for {seconds} s")
            wait_for_quiet(peer.pids())
            meter = Meter(peer.pids())
            figures = peer.pressed(tasks, rate, seconds)
            facts["other_cpu"] = meter.stop()
            ended = figures["begun"] + figures["elapsed_s"]
            taken = taken_in(peer, figures["begun"], ended)
            if figures["per_s"] < rate * 0.95:
                talk(f"{what}: only {figures['per_s']:.0f} of {rate} a second were answered: the machine is too slow for this rate")
            latency = [us / 1e3 for us in figures["latency_us"]]
            p99[what] = percentile(latency, 99)
            printer.figure(f"commit_ms_{what}", "ms", latency, per_s=figures["per_s"], snapshots=len(taken), **facts)
            if what == "control":
                continue
            if not taken:
                raise CannotMeasure("no snapshot was taken while the load ran: more --seconds, or fewer --snapshot-mb")
            during = within(figures, [(since, until) for _, since, until, _ in taken])
            printer.figure("commit_ms_while_a_snapshot_is_taken", "ms", during, ratio=percentile(during, 99) / p99["control"], **facts)
            printer.figure("commit_p99_vs_control", "ratio", [p99[what] / p99["control"]], ratio=p99[what] / p99["control"], **facts)
            printer.figure("slice_cpu_ms", "ms", [numbers["slice_cpu_us"] / 1e3 for *_, numbers in taken], **facts)
            printer.figure("snapshot_ms", "ms", [numbers["us"] / 1e3 for *_, numbers in taken],
                           busy_ms=statistics.median(numbers["busy_us"] for *_, numbers in taken) / 1e3,
                           state_mb=round(max(numbers["bytes"] for *_, numbers in taken) / 2**20, 1), **facts)
            restart_and_install(peer, printer, facts)
    return 0
