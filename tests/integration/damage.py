#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Wrong flags, foreign and shared folders, and damaged files: a clear error, the documented exit status, nothing changed.

One cluster of three masters writes a log of some segments, two snapshots and votes, then stops. Every case below damages a
copy of one master's folder; a master that was started on it while it is damaged must refuse with exit 4 and name file, offset
and remedy, unless the damage can be repaired from what is there, and `conclave log verify` must find it in every case."""
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from claims import check, run  # noqa: E402
from cluster import BINARY, HTTP, TOP, Cluster, Node, request, wait_until  # noqa: E402

WHERE = TOP / "build" / "damage-run" / str(os.getpid())
CORRUPT, USAGE = 4, 64
BLOCK = 4096


def conclave(*arguments, timeout: float = 20, env: dict = None) -> subprocess.CompletedProcess:
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
                          env=env, check=False)


class Folders:
    """A stopped master's folder with everything in it, and its copies."""

    def __init__(self):
        self.cluster = Cluster(WHERE, agents=0, master_flags=("--segment-mb", "1", "--snapshot-mb", "1"))
        self.cluster.start()
        self.cluster.ready()
        self.node = self.cluster.masters[0]
        self.copies = 0
        try:
            self.fill()
        except BaseException:
            self.stop()
            raise

    def names(self, prefix: str) -> list:
        return sorted(file.name for file in self.node.dir.iterdir() if file.name.startswith(prefix))

    def fill(self) -> None:
        """Frameworks with large labels until the first master has two snapshots; each ends with its stream."""
        labels = {"labels": [{"key": "k", "value": "v" * 30_000}]}
        for number in range(400):
            info = {"user": "root", "name": f"filler-{number}", "labels": labels}
            self.subscribe_once(json.dumps({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}}))
            if number % 10 == 9 and len(self.names("snapshot")) >= 2:
                break
        wait_until("two snapshots", 20, lambda: len(self.names("snapshot")) >= 2)
        # The log must go on behind the newest snapshot, or the loss of its last segment is no loss.
        for number in range(3):
            self.subscribe_once(json.dumps({"type": "SUBSCRIBE", "subscribe": {"framework_info": {"user": "root", "name": f"last-{number}"}}}))

    def subscribe_once(self, body: str) -> None:
        """The leader may change between the question who leads and the call: then it is another's."""
        status = wait_until("SUBSCRIBE is answered by a leader", 20, lambda: self.subscribe_at(self.cluster.leading().host, body))
        check(status == 200, f"SUBSCRIBE was answered {status}")

    def subscribe_at(self, host: str, body: str) -> int:
        """The status; 0 of a master that does not lead."""
        connection = http.client.HTTPConnection(host, HTTP, timeout=10)
        try:
            connection.request("POST", "/api/v1/scheduler", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            if answer.status == 200:
                answer.readline()
            return 0 if answer.status == 307 else answer.status
        finally:
            connection.close()

    def stop(self) -> None:
        for node in self.cluster.masters:
            node.kill(signal.SIGTERM)
        for node in self.cluster.masters:
            node.reap()

    def copy(self) -> pathlib.Path:
        self.copies += 1
        target = WHERE / f"copy-{self.copies}"
        shutil.copytree(self.node.dir, target)
        return target

    def start(self, folder: pathlib.Path, **changed) -> subprocess.CompletedProcess:
        """The first master on another folder; it is to end by itself."""
        arguments = list(self.node.arguments[1:])
        arguments[arguments.index("--data-dir") + 1] = str(folder)
        for name, value in changed.items():
            arguments[arguments.index("--" + name.replace("_", "-")) + 1] = value
        return conclave(*arguments)


def flip(file: pathlib.Path, *offsets: int) -> None:
    with open(file, "r+b") as opened:
        for offset in offsets:
            opened.seek(offset)
            byte = opened.read(1)[0]
            opened.seek(offset)
            opened.write(bytes([byte ^ 0x10]))


def written(file: pathlib.Path) -> int:
    """Bytes of the file up to the last that is not zero."""
    return len(file.read_bytes().rstrip(b"\0"))


def begun(file: pathlib.Path) -> bool:
    """Whether the segment has begun its life under this name. One that is only prepared may hold what it held under an earlier one, and
    nothing is lost with it."""
    return written(file) > BLOCK and int.from_bytes(file.read_bytes()[48:56], "little") == int(file.name.split("-")[1], 16)


def wrong_flags() -> None:
    good = ["--data-dir", str(WHERE / "never"), "--cluster-id", "0" * 32, "--node", "1", "--peers", "1=127.0.0.1"]
    for arguments in (["master"], ["master", "--nosuch", "1"], ["master", *good, "--node", "x"], ["master", *good, "--node", "7"],
                      ["master", *good, "--cluster-id", "xyz"], ["master", *good, "--cluster-id", "0" * 31],
                      ["master", *good, "--peers", "1"], ["master", *good, "--peers", "1=a,1=b"], ["master", *good, "--peers", "0=127.0.0.1"],
                      ["master", *good, "--http-port", "70000"], ["master", *good, "--http-port", "-1"], ["master", *good, "--listen", "nowhere at all"],
                      ["master", *good, "--election-ms", "60", "--heartbeat-ms", "50"], ["master", *good, "operand"], ["master", *good, "--chaos=maybe"],
                      ["master", *good, "--data-dir"], ["agent"], ["agent", "--masters", "127.0.0.1:x", "--work-dir", str(WHERE / "never")],
                      ["agent", "--masters", "127.0.0.1", "--work-dir", str(WHERE / "never"), "--resources", "cpus:-1"],
                      ["agent", "--masters", "127.0.0.1", "--work-dir", str(WHERE / "never"), "--resources", "cpus:NaN"],
                      ["agent", "--masters", "127.0.0.1", "--work-dir", str(WHERE / "never"), "--resources", "ports:[9-1]"],
                      ["agent", "--masters", "127.0.0.1", "--work-dir", str(WHERE / "never"), "--tasks-max", "0"],
                      ["status", "--nosuch"], ["status", "-o", "xml"], ["log", "show", "x", "--data-dir", "/nowhere"], ["log", "verify"],
                      ["nosuch"], ["dev", "kill"], []):
        got = conclave(*arguments)
        said = got.stderr.strip()
        check(got.returncode == USAGE, f"{arguments}: exit {got.returncode}, {said!r}")
        check(said, f"{arguments}: no text")
    check(not (WHERE / "never").exists(), "a refused start made a folder")


def shared_folder(f: Folders) -> None:
    arguments = list(f.node.arguments[1:]) + ["--http-port", "5150", "--link-port", "5161"]
    arguments[arguments.index("--peers") + 1] = arguments[arguments.index("--peers") + 1].replace(f.node.host, f.node.host + ":5160")
    got = conclave(*arguments)
    check(got.returncode not in (0, USAGE), f"a second master on the folder exited {got.returncode}")
    check("another process" in got.stderr or "locked" in got.stderr.lower() or "in use" in got.stderr, f"it said {got.stderr[-300:]!r}")
    check(f.node.alive() and request(f.node.host, "GET", "/health")[0] == 200, "the first master is not well")


def foreign_folder(f: Folders) -> None:
    for changed, what in (({"cluster_id": "f" * 32}, "cluster"), ({"node": "2"}, "node")):
        folder = f.copy()
        before = {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "LOCK"}
        got = f.start(folder, **changed)
        check(got.returncode == USAGE, f"another {what}: exit {got.returncode}: {got.stderr[-300:]!r}")
        check(what in got.stderr, f"another {what}: it said {got.stderr[-300:]!r}")
        after = {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "LOCK"}
        check(before == after, f"another {what}: the folder was changed")


def verify(folder: pathlib.Path) -> tuple:
    got = conclave("log", "verify", "--data-dir", str(folder), "-o", "json")
    check(got.returncode in (0, CORRUPT), f"log verify exited {got.returncode}: {got.stderr!r}")
    return got.returncode, json.loads(got.stdout)


def sound(f: Folders) -> None:
    status, report = verify(f.copy())
    check(status == 0 and report["ok"] and not report.get("faults"), f"a sound folder: exit {status}, {report}")
    check(report["groups"] > 10 and int(report["last"]) > 10, f"there is too little to verify: {report}")


def damaged(f: Folders, name: str, offsets: list, refuses: bool) -> None:
    """One damage: the verifier finds it; a start refuses and names file, offset and remedy, or repairs it."""
    folder = f.copy()
    flip(folder / name, *offsets)
    status, report = verify(folder)
    check(status == CORRUPT and not report["ok"], f"{name} at {offsets}: the verifier says exit {status}, {report}")
    faults = [fault for fault in report["faults"] if fault["file"] == name]
    check(faults, f"{name} at {offsets}: the verifier names {report['faults']}")
    check(all(fault["remedy"] and fault["kind"] and "offset" in fault for fault in faults), f"{name}: {faults}")
    check(abs(int(faults[0]["offset"]) - offsets[0]) <= 1 << 20, f"{name}: damaged at {offsets}, told {faults}")
    if not refuses:
        return
    got = f.start(folder)
    check(got.returncode == CORRUPT, f"{name} at {offsets}: the master exited {got.returncode}: {got.stderr[-300:]!r}")
    said = got.stderr
    check(name in said and "offset" in said, f"{name} at {offsets}: it said {said[-300:]!r}")
    check(faults[0]["remedy"] in said, f"{name} at {offsets}: without its remedy: {said[-300:]!r}")


def damages(f: Folders) -> list:
    segment = next(name for name in f.names("log-") if written(f.node.dir / name) > 100_000)
    middle = written(f.node.dir / segment) // 2
    newest = f.names("snapshot")[-1]
    snapshot_end = (f.node.dir / newest).stat().st_size
    rows = [("the identity", "identity", [20], True), ("both slots of the vote", "vote", [8, BLOCK + 8], True),
            ("one slot of the vote, which the other repairs", "vote", [8], False),
            ("both slots of the pins", "pins", [8, BLOCK + 8], True), ("one slot of the pins", "pins", [8], False),
            ("a segment's header", segment, [10], True), ("a group in the middle of the log", segment, [middle], True),
            ("a snapshot's header", newest, [20], False), ("a snapshot's middle", newest, [snapshot_end // 2], False),
            ("a snapshot's end", newest, [snapshot_end - 4], False)]
    return [(f"a flipped bit in {what} is found", lambda row=row: damaged(f, *row)) for what, *row in rows]


def swept(f: Folders) -> None:
    """Bits all over each kind of file, one at a time in one copy; the verifier finds every one."""
    folder, rng = f.copy(), random.Random(7)
    segment = next(name for name in f.names("log-") if written(f.node.dir / name) > 100_000)
    snapshot = f.names("snapshot")[0]
    for name, size in (("identity", 64), ("vote", 64), ("pins", 64), (segment, written(folder / segment)), (snapshot, (folder / snapshot).stat().st_size)):
        for offset in [0, size - 1] + [rng.randrange(size) for _ in range(10)]:
            flip(folder / name, offset)
            status, report = verify(folder)
            check(status == CORRUPT and any(fault["file"] == name for fault in report["faults"]), f"{name} at {offset}: {report}")
            flip(folder / name, offset)
    check(verify(folder)[0] == 0, "the copy is not as it was")


def shared_agent_folder(f: Folders) -> None:
    host = f.node.host.rsplit(".", 1)[0]
    arguments = ["agent", "--masters", f.node.host, "--work-dir", str(WHERE / "agent"), "--resources", "cpus:1;mem:64"]
    first = Node("agent", f"{host}.21", WHERE, [BINARY, *arguments, "--listen", f"{host}.21", "--advertise", f"{host}.21"])
    first.start()
    try:
        wait_until("the agent answers", 10, lambda: first.log.read_text().count("agent_started"))
        got = conclave(*arguments, "--listen", f"{host}.22", "--advertise", f"{host}.22")
        check(got.returncode not in (0, USAGE), f"a second agent on the folder exited {got.returncode}")
        check(str(WHERE / "agent") in got.stderr or "another" in got.stderr, f"it said {got.stderr[-300:]!r}")
        check(first.alive(), "the first agent ended")
    finally:
        first.kill()
        first.reap()


def both_snapshots(f: Folders) -> None:
    folder = f.copy()
    for name in f.names("snapshot"):
        flip(folder / name, 40)
    got = f.start(folder)
    check(got.returncode == CORRUPT and "snapshot" in got.stderr, f"exit {got.returncode}: {got.stderr[-300:]!r}")


def lost_files(f: Folders) -> None:
    segment = [name for name in f.names("log-") if begun(f.node.dir / name)][-1]      # no snapshot covers it all
    for name in ("identity", "vote", segment):
        folder = f.copy()
        (folder / name).unlink()
        got = f.start(folder)
        check(got.returncode == CORRUPT, f"without {name}: exit {got.returncode}: {got.stderr[-300:]!r}")
        check(verify(folder)[0] == CORRUPT, f"without {name}: the verifier found nothing")


def main() -> int:
    shutil.rmtree(WHERE, ignore_errors=True)
    f = Folders()
    try:
        status = run([("wrong flags exit 64 with a text and make no folder", wrong_flags),
                      ("a second master on a folder is refused and the first runs on", lambda: shared_folder(f)),
                      ("a second agent on a folder is refused and the first runs on", lambda: shared_agent_folder(f))])
        f.stop()
        status |= run([("another cluster's and another node's folder are refused unchanged", lambda: foreign_folder(f)),
                       ("the verifier finds nothing in a sound folder", lambda: sound(f)),
                       *damages(f), ("a flipped bit anywhere in a file is found", lambda: swept(f)),
                       ("a master without a whole snapshot refuses to start", lambda: both_snapshots(f)),
                       ("a lost file is noticed", lambda: lost_files(f))])
    finally:
        f.cluster.stop()
    if status == 0:
        shutil.rmtree(WHERE)
    return status


if __name__ == "__main__":
    sys.exit(main())
