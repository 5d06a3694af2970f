# SPDX-License-Identifier: Apache-2.0
"""The long benches, of Conclave alone, with the loads of soak_load.c.

catchup: a master is killed, the others write --mib MiB of log that only its entries can bring (snapshots are kept away), and
then it is started again under a steady load. How long until it has applied what its leader has, and what the load felt.

soak: --tasks tasks live their whole lives. Memory and disk of the masters, looked at twice a second: the most in the second half
of the first tenth beside the most in the second half of the last tenth. More than a tenth more is a leak: exit 1.
"""
import json
import os
import pathlib
import signal
import subprocess
import threading
import time

from conclave import Conclave
from figures import talk
from machine import CannotMeasure, Meter

CATCHUP_MIB = 1024
CATCHUP_RATE = 5000         # reports a second meanwhile
CATCHUP_LIMIT_S = 900
CLOSE_ENTRIES = 50          # so far behind is caught up, while others write
CONTROL_S = 10
LOG_KEPT_MB = 65536         # of log between snapshots: none
SOAK_TASKS = 10_000_000
SAMPLE_S = 0.5
GROWTH_MAX = 1.10
NO_SNAPSHOT_STATUS = 16384  # bytes of a report that only fills the log


class SoakLoad:
    """soak_load against the leader; its lines are read as they come."""

    def __init__(self, peer: Conclave, leader: int, *arguments):
        program = pathlib.Path(os.environ.get("CONCLAVE_SOAK_LOAD") or peer.load_program().parent / "soak_load")
        host = peer.master_addresses()[leader].split(":")[0]
        self.lines = []
        self._process = subprocess.Popen([str(program), "--http", f"{host}:5050", "--link", f"{host}:5061", *map(str, arguments)],
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self.lines.append((time.monotonic(), json.loads(line)))

    def done(self) -> int:
        return self.lines[-1][1]["done"] if self.lines else 0

    def running(self) -> bool:
        code = self._process.poll()
        if code:
            raise CannotMeasure(f"the load failed: {self._process.stderr.read().strip()}")
        return code is None

    def wait(self) -> dict:
        while self.running():
            time.sleep(0.1)
        time.sleep(0.1)     # the last line
        return self.lines[-1][1]

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)

    def felt(self, begin: float, end: float) -> dict:
        """Of the whole seconds from `begin` to `end`: reports a second, and the worst second's p99 and maximum."""
        inside = [line for at, line in self.lines if begin <= at <= end]
        if len(inside) < 2:
            return {"per_s": 0, "p99_ms": None, "max_ms": None}
        span = inside[-1]["elapsed_s"] - inside[0]["elapsed_s"]
        return {"per_s": round((inside[-1]["done"] - inside[0]["done"]) / max(span, 1e-3)),
                "p99_ms": max(line["latency_us"][1] for line in inside) / 1e3,
                "max_ms": max(line["latency_us"][2] for line in inside) / 1e3}


def rss_mib(pids: list) -> float:
    """The largest resident set of these processes."""
    return max(int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids) * os.sysconf("SC_PAGE_SIZE") / 2**20


def disk_mib(where: pathlib.Path) -> float:
    """The largest data folder of the masters."""
    def one(folder: pathlib.Path) -> int:
        total = 0
        for entry in folder.iterdir():
            try:
                total += entry.stat().st_blocks * 512
            except FileNotFoundError:       # it was recycled meanwhile
                continue
        return total
    return max(one(folder) for folder in where.glob("m[0-9]")) / 2**20


def catchup(options, printer) -> int:
    mib, rate = options.mib or CATCHUP_MIB, options.rate or CATCHUP_RATE
    with Conclave(options.dir, snapshot_mb=LOG_KEPT_MB) as peer:
        leader = peer.leader()
        behind = (leader + 1) % 3
        load = SoakLoad(peer, leader, "--reports", 1 << 60, "--rate", rate)
        try:
            begin = time.monotonic()
            while time.monotonic() < begin + CONTROL_S:
                load.running()
                time.sleep(0.1)
            control = load.felt(begin + 1, time.monotonic())
        finally:
            load.end()
        term = peer.status(leader)["term"]
        peer.kill(behind, signal.SIGKILL)
        peer.members.reap(str(behind))
        talk(f"master {behind + 1} is gone; writing {mib} MiB")
        filler = SoakLoad(peer, leader, "--reports", mib << 20, "--status-bytes", NO_SNAPSHOT_STATUS, "--agents", 4, "--depth", 16)
        written = filler.wait()
        before = rss_mib([peer.members.processes[str(leader)].pid])
        load = SoakLoad(peer, leader, "--reports", 1 << 60, "--rate", rate)
        try:
            time.sleep(3)
            meter = Meter(peer.pids())
            began = time.monotonic()
            peer.start(behind)
            lag, peak = None, before
            while lag is None or lag > CLOSE_ENTRIES:
                if time.monotonic() > began + CATCHUP_LIMIT_S or not load.running():
                    raise CannotMeasure(f"it did not catch up within {CATCHUP_LIMIT_S} s; {lag} entries are left")
                try:
                    now = int(peer.status(leader)["applied"]) - int(peer.status(behind)["applied"])
                except OSError:
                    now = None
                if now is not None and (lag is None or now // 1000 != lag // 1000):
                    talk(f"{time.monotonic() - began:.1f} s: {now} entries behind")
                lag = now
                peak = max(peak, rss_mib([peer.members.processes[str(leader)].pid]))
                time.sleep(0.05)
            took = time.monotonic() - began
            other = meter.stop()
            felt = load.felt(began, time.monotonic())
        finally:
            load.end()
        changes = int(peer.status(peer.leader())["term"]) - int(term)
        printer.figure("catchup_s", "s", [took], peer=peer.name, timers=peer.timers, other_cpu=other, mib=mib,
                       mib_per_s=round(mib / took, 1), fill_s=written["elapsed_s"], leader_changes=changes,
                       leader_rss_growth_mib=round(peak - before, 1), control=control, meanwhile=felt)
        return 1 if changes else 0


def soak(options, printer) -> int:
    tasks = options.tasks or SOAK_TASKS
    tenth = tasks // 10
    with Conclave(options.dir) as peer:
        leader = peer.leader()
        term = peer.status(leader)["term"]
        where, pids = pathlib.Path(peer.members.dir), peer.pids()
        meter = Meter(pids)
        load = SoakLoad(peer, leader, "--tasks", tasks)
        samples, said = [], 0
        try:
            while load.running():
                samples.append((load.done(), rss_mib(pids), disk_mib(where)))
                if samples[-1][0] >= said + tenth:
                    said = samples[-1][0]
                    talk(f"{said} tasks: {samples[-1][1]:.0f} MiB of memory, {samples[-1][2]:.0f} MiB of disk")
                time.sleep(SAMPLE_S)
            end = load.wait()
        finally:
            load.end()
        other = meter.stop()
        changes = int(peer.status(peer.leader())["term"]) - int(term)
        first = [one for one in samples if tenth // 2 <= one[0] <= tenth]
        last = [one for one in samples if one[0] >= tasks - tenth // 2]
        if not first or not last:
            raise CannotMeasure(f"--tasks {tasks} are over too soon to look at: use more")
        common = {"peer": peer.name, "timers": peer.timers, "other_cpu": other, "tasks": tasks, "leader_changes": changes}
        printer.figure("soak_tasks_per_s", "1/s", [tasks / end["elapsed_s"]], **common)
        grown = 0
        for place, metric in ((1, "soak_memory_mib"), (2, "soak_disk_mib")):
            values = [max(one[place] for one in window) for window in (first, last)]
            ratio = values[1] / values[0]
            printer.figure(metric, "MiB", values, ratio=ratio, first=round(values[0], 1), last=round(values[1], 1), **common)
            grown += ratio > GROWTH_MAX
        return 1 if grown or changes else 0
