# SPDX-License-Identifier: Apache-2.0
"""What a figure depends on besides the program: the disk, the revision, and what else the machine was doing."""
import os
import pathlib
import subprocess
import time

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
MEMORY_FILE_SYSTEMS = {"tmpfs", "ramfs", "devtmpfs"}


class CannotMeasure(Exception):
    """The bench cannot give a figure that means something; the text says why."""


def revision(rehearsal: bool) -> str:
    """The commit measured. A tree with changes has no revision: refused, but in a rehearsal named so."""
    def git(*args):
        return subprocess.run(["git", *args], cwd=TOP, capture_output=True, text=True, check=True).stdout.strip()
    rev = git("rev-parse", "--short=12", "HEAD")
    if git("status", "--porcelain"):
        if not rehearsal:
            raise CannotMeasure("the tree has changes that are not committed: a figure needs a revision (or --rehearsal)")
        rev += "+changes"
    return rev


def file_system(where: str) -> str:
    """The file system under `where`, as 'ext4 on /dev/vda'; one in memory is refused."""
    kind, source = subprocess.run(["findmnt", "-n", "-o", "FSTYPE,SOURCE", "-T", where], capture_output=True, text=True,
                                  check=True).stdout.split(maxsplit=1)
    if kind in MEMORY_FILE_SYSTEMS:
        raise CannotMeasure(f"{where} is on {kind}: syncs cost nothing there; name a folder on a disk with --dir")
    return f"{kind} on {source.strip()}"


def cpu_seconds(pids: list) -> float:
    """CPU time used so far by living processes; one that has ended counts nothing."""
    total = 0.0
    for pid in pids:
        try:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def _busy_seconds() -> float:
    fields = [int(field) for field in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class Meter:
    """From its making to stop(): how many CPUs work used that is neither the cluster's nor this bench's."""

    def __init__(self, pids: list = ()):
        self._pids = list(pids)
        self._begin = (time.monotonic(), _busy_seconds(), _own_seconds(), cpu_seconds(self._pids))

    def stop(self) -> float:
        now = (time.monotonic(), _busy_seconds(), _own_seconds(), cpu_seconds(self._pids))
        elapsed, busy, own, cluster = (after - before for after, before in zip(now, self._begin))
        # A member that ended takes its CPU time out of sight; that never makes other work negative.
        return max(0.0, busy - own - max(0.0, cluster)) / max(elapsed, 1e-3)


def wait_for_quiet(pids: list, limit_cpus: float = 0.2, timeout_s: float = 20) -> None:
    """Waits for a second in which other work used less than `limit_cpus`; after `timeout_s` measures all the same, and
    the figure's other_cpu tells."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        meter = Meter(pids)
        time.sleep(1)
        if meter.stop() < limit_cpus:
            return
