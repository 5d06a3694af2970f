#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The operator's tools on a real cluster and on its folders: log, state, task history, back-up and restore, recovery.

Reading changes nothing: the bytes of identity, vote, log and snapshots are compared around every offline read, and the
masters' hashes and terms around the live ones."""
import hashlib
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from claims import check, run  # noqa: E402
from cluster import BINARY, TOP, Cluster, Node, wait_until  # noqa: E402
from framework import Framework  # noqa: E402

WHERE = TOP / "build" / "cli-log-run" / str(os.getpid())
MASTER_FLAGS = ("--segment-mb", "1", "--snapshot-mb", "1")
OK, ERROR, CORRUPT, USAGE = 0, 1, 4, 64
BLOCK = 4096


def jsonl(done: subprocess.CompletedProcess) -> list:
    check(done.returncode == OK, f"{done.args[1:]}: exit {done.returncode}, {done.stderr!r}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def content(folder: pathlib.Path) -> dict:
    """Name to checksum of every file that holds data."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())
            if file.is_file() and file.name != "LOCK"}


def offline(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False)


class Keeper(Framework):
    """Keeps the offers that pass by, and gives up after a while instead of reading heartbeats for ever."""

    def __init__(self, host: str, name: str, own_id: str = None):
        self.offers, self.end, self.own_id = [], time.monotonic() + 60, own_id
        super().__init__(host, name, own_id)

    def event(self) -> dict:
        check(time.monotonic() < self.end, "the framework waits too long")
        event = json.loads(self.stream.read(int(self.stream.readline())))
        if event["type"] == "OFFERS":
            self.offers += event["offers"]["offers"]
        return event

    def next(self, kind: str) -> dict:
        while True:
            event = self.event()
            if event["type"] == kind:
                return event.get(kind.lower())

    def launch(self, task_id: str, command: str) -> dict:
        """Starts a task on an offer; its RUNNING update, acknowledged."""
        self.end = time.monotonic() + 60
        while not self.offers:
            self.event()
        offer = self.offers.pop(0)
        task = {"name": task_id, "task_id": {"value": task_id}, "agent_id": offer["agent_id"], "command": {"value": command},
                "resources": [{"name": name, "type": "SCALAR", "scalar": {"value": value}} for name, value in (("cpus", 0.1), ("mem", 32))]}
        accept = {"offer_ids": [offer["id"]], "operations": [{"type": "LAUNCH", "launch": {"task_infos": [task]}}],
                  "filters": {"refuse_seconds": 0}}
        check(self.call("ACCEPT", accept=accept) == 202, f"ACCEPT of {task_id}")
        return self.told(task_id, "TASK_RUNNING")

    def told(self, task_id: str, state: str) -> dict:
        self.end = time.monotonic() + 60
        while True:
            status = self.next("UPDATE")["status"]
            self.acknowledge(status)
            if status["task_id"]["value"] == task_id and status["state"] == state:
                return status


class World:
    """One cluster with a history; its stopped copy; and what is restored from it."""

    def __init__(self):
        self.cluster = Cluster(WHERE / "c", masters=3, agents=2, master_flags=MASTER_FLAGS)
        self.cluster.start()
        self.cluster.ready()
        self.framework = Keeper(self.cluster.leading().host, "keeper")
        self.ledger = WHERE / "ledger"
        for number in range(2):
            self.framework.launch(f"keep-{number}", f"echo start $$ >> {shlex.quote(str(self.ledger))}; exec sleep 1000")
        self.framework.launch("short", "true")
        self.framework.told("short", "TASK_FINISHED")
        self.copies = 0

    def fill(self) -> None:
        """Log for some segments and at least two snapshots."""
        blob = "x" * 30_000
        for number in range(400):
            Filler(self.cluster.leading().host, f"filler-{number}", blob)
            if number % 10 == 9 and all(len(list(master.dir.glob("snapshot-*"))) >= 2 for master in self.cluster.masters):
                return
        raise AssertionError("no second snapshot on every master")

    def copy(self, master: int = 0) -> pathlib.Path:
        self.copies += 1
        target = WHERE / f"copy-{self.copies}"
        shutil.copytree(self.cluster.masters[master].dir, target)
        return target


class Filler(Framework):
    """Subscribes with a large FrameworkInfo and goes away at once."""

    def __init__(self, host: str, name: str, blob: str):     # pylint: disable=super-init-not-called
        import http.client
        connection = http.client.HTTPConnection(host, 5050, timeout=15)
        info = {"user": "root", "name": name, "labels": {"labels": [{"key": "k", "value": blob}]}}
        connection.request("POST", "/api/v1/scheduler", json.dumps({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}}),
                           {"Content-Type": "application/json"})
        answer = connection.getresponse()
        check(answer.status == 200, f"SUBSCRIBE was answered {answer.status}")
        answer.readline()
        connection.close()


# ---- the claims ----

def log_verbs_agree_live_and_offline(w: World) -> None:
    c = w.cluster
    status = c.status()
    live = jsonl(c.conclave("log", "ls", "-o", "jsonl", "--limit", "100000", "--to", str(status["commit"])))
    check(live[0]["position"] == "1.0" and live[0]["type"] == "configuration", live[0])
    wait_until("every master has applied all", 10, c.same_applied)
    before = content(c.masters[1].dir)
    folder = jsonl(offline("log", "ls", "-o", "jsonl", "--limit", "100000", "--to", str(status["commit"]), "--data-dir",
                           str(c.masters[1].dir)))
    check(live == folder, "a running master's folder shows another log than the masters tell")
    check(content(c.masters[1].dir) == before, "reading a folder changed it")
    by_task = jsonl(c.conclave("log", "ls", "-o", "jsonl", "--task", "short"))
    types = [row["type"] for row in by_task]
    check(types[0] == "accept" and types.count("task_report") >= 1 and "task_acknowledge" in types, types)
    framework = jsonl(c.conclave("log", "ls", "-o", "jsonl", "--framework", w.framework.id, "--type", "accept,task_report"))
    check(len(framework) >= 6 and {row["type"] for row in framework} == {"accept", "task_report"}, framework)
    at = by_task[0]["position"]
    one = jsonl(c.conclave("log", "ls", "-o", "jsonl", "--from", at, "--to", at))
    check(one == by_task[:1], f"{one} at {at}")
    found = jsonl(c.conclave("log", "grep", '"task_id":"short"', "-o", "jsonl"))
    check([row["position"] for row in found] == [row["position"] for row in by_task], "grep and --task differ")
    check(found[0]["command"]["accept"]["tasks"][0]["task_id"] == "short", found[0])
    regex = jsonl(c.conclave("log", "grep", "keep-[01]\"", "--regex", "--type", "accept", "-o", "jsonl"))
    check(len(regex) == 2, f"{len(regex)} rows for two launches")
    check(c.conclave("log", "grep", "no such text anywhere").returncode == ERROR, "grep that finds nothing")
    own = Keeper(c.leading().host, "brings its id", own_id="spark-77-own")
    check(own.call("SUPPRESS") == 202 and own.call("TEARDOWN") == 202, "calls of a framework")
    rows = jsonl(c.conclave("log", "ls", "-o", "jsonl", "--framework", "spark-77-own"))
    check([row["type"] for row in rows] == ["framework_subscribe", "framework_suppress", "framework_teardown"], rows)
    stat = json.loads(c.conclave("log", "stat", "-o", "json").stdout)
    counts = {row["name"]: row["count"] for row in stat["types"]}
    check(counts["accept"] == 3 and stat["commands"] == sum(counts.values()), stat)
    check(sum(row["bytes"] for row in stat["types"]) == stat["bytes"] and len(stat["largest"]) == 5, stat)


def tail_follows(w: World) -> None:
    c = w.cluster
    last = jsonl(c.conclave("log", "tail", "-n", "3", "-o", "jsonl"))
    check(len(last) == 3, last)
    for extra in ((), ("--data-dir", str(c.masters[0].dir))):
        tail = subprocess.Popen([BINARY, "log", "tail", "-n", "1", "-f", "-o", "jsonl", "--type", "framework_subscribe", *extra],
                                stdout=subprocess.PIPE, text=True, env={**os.environ, "CONCLAVE_MASTERS": c.http})
        try:
            first = json.loads(tail.stdout.readline())
            name = f"followed-{len(extra)}"
            Filler(c.leading().host, name, "y")
            row = json.loads(tail.stdout.readline())
            check(int(row["position"].split(".")[0]) > int(first["position"].split(".")[0]), row)
            tail.send_signal(signal.SIGINT)
            check(tail.wait(timeout=15) == 0, f"tail -f ended with {tail.returncode}")
        finally:
            tail.kill()
            tail.wait()


def an_export_is_enough_to_replay(w: World) -> None:
    c, file = w.cluster, WHERE / "export.jsonl"
    done = c.conclave("log", "export", str(file))
    check(done.returncode == OK, done.stderr)
    end = json.loads(file.read_text().splitlines()[0])["last"]
    shown = offline("state", "show", "globals", "-o", "jsonl", "--export", str(file))
    check(json.loads(shown.stdout)["record"]["applied_index"] <= end, shown.stdout)
    told_by_master = agreed(c)
    table = offline("state", "show", "--export", str(file), "--index", str(min(end, told_by_master["position"])))
    if told_by_master["position"] <= end:
        check(told_by_master["members"][0]["hash"] in table.stdout, table.stdout[:300])
    live = jsonl(c.conclave("log", "ls", "-o", "jsonl", "--to", str(end)))
    check(jsonl(offline("log", "ls", "-o", "jsonl", "--export", str(file))) == live, "the export lists otherwise")
    text = file.read_bytes()
    for bad in (text[:-1], text[:len(text) // 2], text.replace(b'"type":1', b'"type":2', 1), b"", b"{}\n"):
        file.write_bytes(bad)
        check(offline("log", "stat", "--export", str(file)).returncode == CORRUPT, "a damaged export is read")
    check(c.conclave("log", "export", str(WHERE / "no" / "folder")).returncode == ERROR, "export into nowhere")


def states_are_rebuilt(w: World) -> None:
    c = w.cluster
    told_by_master = agreed(c)
    position, digest = told_by_master["position"], told_by_master["members"][0]["hash"]
    live = c.conclave("state", "show", "--index", str(position))
    check(digest in live.stdout, f"the state rebuilt at {position} has another hash: {live.stdout[:200]} {live.stderr}")
    wait_until("the folder has the position", 10, lambda: json.loads(
        offline("log", "verify", "--data-dir", str(c.masters[2].dir), "-o", "json").stdout)["last"] >= position)
    folder = offline("state", "show", "--index", str(position), "--data-dir", str(c.masters[2].dir))
    check(folder.stdout == live.stdout, "a folder and the masters disagree")
    accept = jsonl(c.conclave("log", "ls", "-o", "jsonl", "--task", "short", "--type", "accept"))[0]["position"]
    index = int(accept.split(".")[0])
    before = c.conclave("state", "show", "task", "short", "--index", str(index - 1))
    check(before.returncode == ERROR and "no task short" in before.stderr, before.stderr)
    one = jsonl(c.conclave("state", "show", "task", "short", "--index", accept, "-o", "jsonl"))[0]
    check(one["record"]["state"] == 6 and one["info"]["task_id"]["value"] == "short", one)
    changes = jsonl(c.conclave("state", "diff", str(index - 1), str(index), "-o", "jsonl"))
    added = [change for change in changes if change["change"] == "added"]
    check([change["id"] for change in added] == ["short"], changes)
    later = jsonl(c.conclave("state", "diff", "--index", str(index), "--index", str(position), "-o", "jsonl"))
    fields = {field["field"]: field for change in later if change.get("id") == "short" for field in change["fields"]}
    check(fields["state"] == {"field": "state", "before": "TASK_STAGING", "after": "TASK_FINISHED"}, fields)
    beyond = c.conclave("state", "show", "--index", str(position + 10**6))
    check(beyond.returncode == ERROR and "can" in beyond.stderr and str(position) in beyond.stderr or "1 to" in beyond.stderr,
          beyond.stderr)
    for wrong in (("state", "show", "nosuch"), ("state", "show", "--index", "x"), ("state", "diff", "5"), ("state", "diff", "5", "4")):
        check(c.conclave(*wrong).returncode == USAGE, f"{wrong}")


def a_task_has_a_history(w: World) -> None:
    c = w.cluster
    leader = c.status()["leader"]["id"]
    events = jsonl(c.conclave("task", "history", "short", "-o", "jsonl"))
    types = [event["type"] for event in events]
    check(types[0] == "accept" and types[-1] == "task_acknowledge", types)
    check(all(event["leader"] == leader and event["term"] > 0 and event["wall"] for event in events), events)
    states = [(change["before"] if "before" in change else None, change["after"]) for event in events for change in event.get("changes", [])
              if change["field"] == "state"]
    check(states[0] == (None, "TASK_STAGING") and states[-1][1] == "TASK_FINISHED", states)
    check(jsonl(c.conclave("task", "history", "short", "-o", "jsonl", "--framework", w.framework.id)) == events, "--framework")
    wait_until("the folder has it", 10, lambda: jsonl(
        offline("task", "history", "short", "-o", "jsonl", "--data-dir", str(c.masters[1].dir))) == events)
    none = c.conclave("task", "history", "nosuch")
    check(none.returncode == ERROR and "nothing about" in none.stderr, none.stderr)
    check(c.conclave("task", "history", "short", "--framework", "#77").returncode == ERROR, "another framework's task")
    table = c.conclave("task", "history", "short").stdout
    check("TASK_RUNNING -> TASK_FINISHED" in table or "TASK_STAGING -> TASK_FINISHED" in table, table)


def live_reading_moves_nothing(w: World) -> None:
    c = w.cluster
    wait_until("every master has applied all", 10, c.same_applied)
    before = (c.same_applied(), c.status()["term"], {master.name: content(master.dir)["vote"] for master in c.masters})
    for verb in (("log", "ls"), ("log", "stat"), ("log", "tail"), ("state", "show"), ("task", "history", "short"), ("snapshot", "ls")):
        check(c.conclave(*verb).returncode == OK, f"{verb}")
    after = (c.same_applied(), c.status()["term"], {master.name: content(master.dir)["vote"] for master in c.masters})
    check(before == after, f"{before} became {after}")


def a_torn_tail_is_told_and_left_out(w: World) -> None:
    folder = w.copy()
    log = sorted(folder.glob("log-*"))
    used = [file for file in log if file.read_bytes()[:8] == b"CNCLVSG1"][-1]
    data = used.read_bytes()
    at, last = BLOCK, None
    while data[at:at + 4] == b"CGRP" and data[at + 8:at + 16] == data[40:48]:     # groups of this life of the file
        length, size = int.from_bytes(data[at + 32:at + 36], "little"), 0
        size = (64 + length + BLOCK - 1) // BLOCK * BLOCK
        if length:
            last = (at, length)
        at += size
    rows = jsonl(offline("log", "ls", "-o", "jsonl", "--limit", "100000", "--data-dir", str(folder)))
    place, length = last
    with open(used, "r+b") as file:      # the last group with entries is torn, what came behind it was never written
        file.seek(place + 64 + length // 2)
        file.write(b"\xff" * (length - length // 2))
        file.seek(place + (64 + length + BLOCK - 1) // BLOCK * BLOCK)
        file.write(b"\0" * (at - place))
    before = content(folder)
    torn = offline("log", "ls", "-o", "jsonl", "--limit", "100000", "--data-dir", str(folder))
    check(torn.returncode == OK and "unfinished write" in torn.stderr, torn.stderr)
    left = [json.loads(line) for line in torn.stdout.splitlines()]
    check(0 < len(left) < len(rows) and left == rows[:len(left)], f"{len(left)} of {len(rows)} rows")
    check(offline("state", "show", "--data-dir", str(folder)).returncode == OK, "no state of a torn log")
    check(content(folder) == before, "reading changed the folder")


def a_flipped_bit_ends_the_reading_with_its_place(w: World) -> None:
    folder = w.copy()
    used = [file for file in sorted(folder.glob("log-*")) if file.read_bytes()[:8] == b"CNCLVSG1"][-1]
    with open(used, "r+b") as file:
        file.seek(BLOCK + 80)
        byte = file.read(1)
        file.seek(BLOCK + 80)
        file.write(bytes([byte[0] ^ 1]))
    for verb in (("log", "ls"), ("log", "stat"), ("log", "export", "-"), ("task", "history", "short"), ("state", "show")):
        got = offline(*verb, "--data-dir", str(folder))
        check(got.returncode == CORRUPT and used.name in got.stderr and "4096" in got.stderr, f"{verb}: {got.returncode} {got.stderr}")
    file = WHERE / "before-damage"
    got = offline("snapshot", "save", str(file), "--data-dir", str(folder))
    check(got.returncode == CORRUPT and used.name in got.stderr and not file.exists(), f"half a back-up is made: {got}")
    got = offline("snapshot", "save", str(file), "--data-dir", str(folder), "--before-damage")
    check(got.returncode == CORRUPT and not file.exists(), f"nothing at all is a back-up: {got}")
    folder = w.copy()
    data = bytearray((folder / used.name).read_bytes())
    data[len(bytes(data).rstrip(b"\0")) // 2] ^= 1
    (folder / used.name).write_bytes(data)
    got = offline("snapshot", "save", str(file), "--data-dir", str(folder), "--before-damage", "-o", "json")
    check(got.returncode == OK and "is not in the back-up" in got.stderr and used.name in got.stderr, f"--before-damage: {got}")
    check(offline("snapshot", "verify", str(file)).returncode == OK, "what is before the damage is no back-up")


def a_backup_is_whole_or_refused(w: World) -> None:
    c, file = w.cluster, WHERE / "backup"
    saved = json.loads(c.conclave("snapshot", "save", str(file), "-o", "json").stdout)
    check(saved["index"] >= c.status()["commit"] - 5 and len(saved["members"]) == 3, saved)
    again = c.conclave("snapshot", "save", str(file))
    check(again.returncode == ERROR and "already" in again.stderr, "a back-up was written over")
    info = json.loads(offline("snapshot", "inspect", str(file), "-o", "json").stdout)
    check(info["hash"] == saved["hash"] and {row["name"]: row["count"] for row in info["kinds"]}["agent"] == 2, info)
    verdict = json.loads(offline("snapshot", "verify", str(file), "-o", "json").stdout)
    check(verdict["ok"] and verdict["info"]["hash"] == saved["hash"], verdict)
    good = file.read_bytes()
    bad = WHERE / "backup-bad"
    for at in (0, 20, 50, 200, len(good) // 2, len(good) - 30, len(good) - 1):
        bad.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1:])
        got = offline("snapshot", "verify", str(bad), "-o", "json")
        told_bad = json.loads(got.stdout)
        check(got.returncode == CORRUPT and not told_bad["ok"] and told_bad["remedy"] and "offset" in told_bad, f"byte {at}: {got}")
        check(offline("snapshot", "restore", str(bad), "--peers", "1=127.0.0.1", f"1={WHERE}/never").returncode == CORRUPT, "restored")
    bad.write_bytes(good[:len(good) // 2])
    check(offline("snapshot", "verify", str(bad)).returncode == CORRUPT, "half a back-up")
    check(offline("snapshot", "verify", "/nowhere").returncode == ERROR, "no back-up")
    check(not (WHERE / "never").exists(), "a folder of a damaged back-up")
    for wrong in ((), ("--peers", "1=h"), ("--peers", "1=h,1=h", f"1={WHERE}/never"), ("--peers", "1=h", f"2={WHERE}/never"),
                  ("--peers", "1=h", "1"), ("--peers", "1=h", "--node", "1"), ("--peers", "1=h", f"1={WHERE}/never", "--cluster-id", "0" * 32)):
        check(offline("snapshot", "restore", str(file), *wrong).returncode == USAGE, f"{wrong}")
    full = offline("snapshot", "restore", str(file), "--peers", "1=h", f"1={c.masters[0].dir}")
    check(full.returncode == ERROR and "not empty" in full.stderr, full.stderr)


def damaged_snapshots(folder: pathlib.Path) -> None:
    """The newest one, then both: the older one serves, and then there is no state, which is damage and nothing else."""
    older, newest = sorted(folder.glob("snapshot-*"))
    newest.write_bytes(newest.read_bytes()[:-100])
    got = offline("state", "show", "--data-dir", str(folder))
    check(got.returncode == OK and newest.name in got.stderr and "left out" in got.stderr and "--reinstall" not in got.stderr, got.stderr)
    older.unlink()
    newest.unlink()
    for verb in (("state", "show"), ("task", "history", "keep-0"), ("snapshot", "save", str(WHERE / "of-nothing"))):
        got = offline(*verb, "--data-dir", str(folder))
        check(got.returncode == CORRUPT and "no snapshot reaches it" in got.stderr, f"{verb}: {got.returncode} {got.stderr}")


def snapshots_and_history_reach_back(w: World) -> None:
    """With snapshots and a log that was cut: the oldest position that can be rebuilt is told, and the history says so."""
    c = w.cluster
    w.fill()
    wait_until("every master has applied all", 10, c.same_applied)
    rows = jsonl(c.conclave("snapshot", "ls", "-o", "jsonl"))
    check(len(rows) >= 2 and rows[0]["index"] > rows[1]["index"], rows)
    folder = jsonl(offline("snapshot", "ls", "-o", "jsonl", "--data-dir", str(c.masters[0].dir)))
    check(len(folder) >= 2, folder)
    wait_until("the log is cut", 20, lambda: json.loads(
        offline("log", "verify", "--data-dir", str(c.masters[0].dir), "-o", "json").stdout)["first"] > 1)
    damaged_snapshots(w.copy())
    short = jsonl(offline("log", "export", "-", "--data-dir", str(c.masters[0].dir)))
    cut = WHERE / "cut.jsonl"
    check(c.conclave("log", "export", str(cut)).returncode == OK and short[0]["first"] > 1, "export of a log that was cut")
    got = offline("state", "show", "--export", str(cut))
    check(got.returncode == ERROR and "no state can be rebuilt here" in got.stderr, f"an export without a state: {got}")
    none = offline("log", "ls", "--to", "3", "--data-dir", str(c.masters[0].dir))
    check(none.returncode == OK and "the log begins at entry" in none.stderr, f"what was cut away is not told: {none}")
    folder = jsonl(offline("snapshot", "ls", "-o", "jsonl", "--data-dir", str(c.masters[0].dir)))
    old = offline("state", "show", "--index", "3", "--data-dir", str(c.masters[0].dir))
    check(old.returncode == ERROR and f"{folder[-1]['index']} to" in old.stderr, old.stderr)
    told_by_master = agreed(c)
    live = c.conclave("state", "show", "--index", str(told_by_master["position"]))
    check(told_by_master["members"][0]["hash"] in live.stdout, live.stdout[:200] + live.stderr)
    events = jsonl(offline("task", "history", "keep-0", "-o", "jsonl", "--data-dir", str(c.masters[0].dir)))
    check(events[0]["type"] == "snapshot" and events[0]["position"] == str(folder[-1]["index"]), events[0])
    live = c.conclave("task", "history", "keep-0", "-o", "jsonl")
    check(jsonl(live)[0]["type"] == "snapshot" and "no longer in the log" in jsonl(live)[0]["reason"], live.stdout[:300])
    saved = json.loads(c.conclave("snapshot", "save", str(WHERE / "backup-2"), "-o", "json").stdout)
    check(json.loads(offline("snapshot", "verify", str(WHERE / "backup-2"), "-o", "json").stdout)["info"]["hash"] == saved["hash"], saved)


def agreed(c: Cluster) -> dict:
    """What conclave hash says once every master answers for one position; never DIVERGED."""
    def ask():
        report = json.loads(c.conclave("hash", "-o", "json").stdout)
        check(report["verdict"] != "DIVERGED", report)
        return report["verdict"] == "AGREE" and report
    return wait_until("the hashes agree", 20, ask)


def running(ledger: pathlib.Path) -> dict:
    """Pid to how often it was started, of everything the ledger names."""
    lines = ledger.read_text().split() if ledger.exists() else []
    return {int(pid): lines.count(pid) for pid in lines if pid.isdigit()}


def a_cluster_comes_back_from_a_backup(w: World) -> None:
    """Save, more life, all masters destroyed, restore: what is in the back-up runs on, what is newer is killed."""
    c, file = w.cluster, WHERE / "backup-3"
    before = wait_until("the tasks have begun", 10, lambda: len(running(w.ledger)) == 2 and running(w.ledger))
    saved = json.loads(c.conclave("snapshot", "save", str(file), "-o", "json").stdout)
    newer_ledger = WHERE / "ledger-newer"
    w.framework.launch("newer", f"echo start $$ >> {shlex.quote(str(newer_ledger))}; exec sleep 1000")
    young = Keeper(c.leading().host, "newer than the back-up").id
    newer = wait_until("the newer task has begun", 10, lambda: list(running(newer_ledger)))[0]
    for master in c.masters:
        master.kill()
    for master in c.masters:
        master.reap()
        shutil.rmtree(master.dir)
    peers = ",".join(f"{number + 1}={master.host}" for number, master in enumerate(c.masters))
    for number, master in enumerate(c.masters):
        got = offline("snapshot", "restore", str(file), "--peers", peers, "--node", str(number + 1), "--data-dir", str(master.dir),
                      "-o", "json")
        check(got.returncode == OK, got.stderr)
        report = json.loads(got.stdout)
        check(report["incarnation"] == saved["incarnation"] + 1 and report["index"] > saved["index"] + 10**8, report)
    for master in c.masters:
        master.start()
    c.ready()
    status = wait_until("the agents are back", 30, lambda: (s := c.status()).get("agents_back") == 2 and s)
    check(status["incarnation"] == report["incarnation"], status)
    wait_until("the newer task is killed", 30, lambda: not os.path.exists(f"/proc/{newer}"))
    check(running(w.ledger) == before and all(os.path.exists(f"/proc/{pid}") for pid in before), f"a kept task did not run on: {before}, {running(w.ledger)}")
    tasks = {row["id"]: row["state"] for row in jsonl(c.conclave("task", "ls", "-o", "jsonl"))}
    check(tasks.get("keep-0") == "TASK_RUNNING" and tasks.get("keep-1") == "TASK_RUNNING" and "newer" not in tasks, tasks)
    kept, w.framework = w.framework.id, Keeper(c.leading().host, "after")
    w.framework.launch("after", "exec sleep 1000")
    agreed(c)
    check(w.framework.id.split("-")[1] == str(report["incarnation"]), w.framework.id)
    returned = Keeper(c.leading().host, "newer than the back-up", own_id=young)
    check(returned.id == young, f"{young} came back as {returned.id}")
    check(Keeper(c.leading().host, "keeper", own_id=kept).id == kept, "the framework of the back-up")
    history = jsonl(c.conclave("task", "history", "keep-0", "-o", "jsonl"))
    check(history[0]["type"] == "snapshot", history)


def recovery_refuses_what_it_should(w: World) -> None:
    c = w.cluster
    plan = str(WHERE / "plan-refused")
    got = offline("recover", "plan", "--data-dir", str(c.masters[0].dir), "--out", plan)
    check(got.returncode == ERROR and "runs on" in got.stderr, got.stderr)
    folders = [w.copy(number) for number in range(3)]
    got = offline("recover", "plan", "--data-dir", str(folders[0]), "--data-dir", str(folders[1]), "--out", plan)
    check(got.returncode == ERROR and "majority" in got.stderr, got.stderr)
    got = offline("recover", "plan", "--data-dir", str(folders[0]), "--data-dir", str(folders[0]), "--out", plan)
    check(got.returncode == USAGE and "same node" in got.stderr, got.stderr)
    damaged = w.copy(1)
    with open(damaged / "identity", "r+b") as file:
        file.seek(20)
        file.write(b"\x55\x55")
    got = offline("recover", "plan", "--data-dir", str(damaged), "--out", plan)
    check(got.returncode == CORRUPT and "identity" in got.stderr, got.stderr)
    check(not os.path.exists(plan), "a refused plan was written")
    before = content(folders[0])
    check(offline("recover", "plan", "--data-dir", str(folders[0]), "--out", plan).returncode == OK, "plan")
    check(content(folders[0]) == before, "planning changed the folder")
    text = pathlib.Path(plan).read_text()
    for bad in (text.replace('"last":', '"last":1', 1), text[:-2], text.splitlines()[0], ""):
        pathlib.Path(plan + "-bad").write_text(bad)
        got = offline("recover", "apply", plan + "-bad")
        check(got.returncode == CORRUPT, f"an edited plan: {got.returncode} {got.stderr}")
    check(content(folders[0]) == before, "a refused plan changed the folder")
    with open(folders[0] / "vote", "ab") as file:
        file.write(b"x")
    got = offline("recover", "apply", plan)
    check(got.returncode == ERROR and "changed since" in got.stderr, got.stderr)


def a_lost_majority_is_recovered(w: World) -> None:
    """Five masters, three die for good. What the survivors had is there, tasks run on, the cluster serves."""
    w.cluster.stop()
    ledger = WHERE / "ledger-five"
    c = Cluster(WHERE / "five", masters=5, agents=2, master_flags=MASTER_FLAGS)
    w.cluster = c
    c.start()
    c.ready()
    framework = Keeper(c.leading().host, "five")
    for number in range(3):
        framework.launch(f"five-{number}", f"echo start $$ >> {shlex.quote(str(ledger))}; exec sleep 1000")
    before = wait_until("the tasks have begun", 10, lambda: len(running(ledger)) == 3 and running(ledger))
    wait_until("every master has applied all", 10, c.same_applied)
    leader, hosts = c.leader(), [master.host for master in c.masters]
    survivors = [master for master in c.masters if master is not leader][:2]
    for master in c.masters:
        master.kill()
    for master in c.masters:
        master.reap()
        if master not in survivors:
            shutil.rmtree(master.dir)
    arguments = [word for master in survivors for word in ("--data-dir", str(master.dir))]
    plan = str(WHERE / "plan-five")
    got = offline("recover", "plan", *arguments, "--out", plan, "-o", "json")
    check(got.returncode == OK, got.stderr)
    report = json.loads(got.stdout)["plan"]
    check(len(report["members"]) == 2 and len(report["before"]) == 5 and report["incarnation"] == 1, report)
    running_beside = Node("lock", survivors[0].host, WHERE, survivors[0].arguments)
    running_beside.start()      # without a majority it only waits, but it holds the folder
    wait_until("the master holds its folder", 20,
               lambda: (survivors[0].dir / "LOCK").read_text().strip() == str(running_beside.pid))
    held = offline("recover", "apply", plan)
    check(held.returncode == ERROR and "in use" in held.stderr, held.stderr)
    running_beside.kill()
    running_beside.reap()
    got = offline("recover", "apply", plan)
    if got.returncode != OK:        # starting it has written a new term: as it should be, the plan is void
        check("changed since" in got.stderr, got.stderr)
        os.unlink(plan)
        check(offline("recover", "plan", *arguments, "--out", plan).returncode == OK, "second plan")
        got = offline("recover", "apply", plan)
    check(got.returncode == OK, got.stderr)
    check(offline("recover", "apply", plan).returncode == OK, "applying twice")
    check((survivors[0].dir / "before-recovery-1" / "identity").exists(), "the old files are gone")
    for master in survivors:
        check(offline("log", "verify", "--data-dir", str(master.dir)).returncode == OK, "verify after recovery")
        master.start()
    c.masters = survivors
    c.ready()
    status = wait_until("the agents are back", 30, lambda: (s := c.status()).get("agents_back") == 2 and s)
    check(status["incarnation"] == 1 and len(status["members"]) == 2, status)
    check(running(ledger) == before and all(os.path.exists(f"/proc/{pid}") for pid in before), f"a task did not run on: {before}, {running(ledger)}")
    tasks = {row["id"]: row["state"] for row in jsonl(c.conclave("task", "ls", "-o", "jsonl"))}
    check(all(tasks.get(f"five-{number}") == "TASK_RUNNING" for number in range(3)), tasks)
    again = Keeper(c.leading().host, "again")
    again.launch("again", "exec sleep 1000")
    agreed(c)
    third_master(c, next(host for host in hosts if host not in [master.host for master in survivors]))


def third_master(c: Cluster, host: str) -> None:
    """Two voters are what is left: another one is added, and catches up from the snapshot of the new life."""
    added = json.loads(c.conclave("members", "add", "--peer", host, "-o", "json").stdout)
    check(added["id"] > 1000, f"an id that the lost life may have given: {added}")
    node = Node("third", host, c.where, [BINARY, "master", "--join", "--node", str(added["id"]), "--cluster-id", c.cluster_id, "--peers",
                                         f"{added['id']}={host}", "--data-dir", str(c.where / "third")])
    c.masters.append(node)
    node.start()
    wait_until("the third master is promoted", 60,
               lambda: c.conclave("members", "promote", str(added["id"])).returncode == OK, pause=0.2)
    wait_until("all masters have applied all", 20, c.same_applied)
    check(len(c.status()["members"]) == 3 and all(member["role"] == "voter" for member in c.status()["members"]), c.status())
    agreed(c)


def an_interrupted_exchange_goes_on(w: World) -> None:
    """recover apply is ended between its steps: no master starts on the half, and a second run finishes."""
    folder = WHERE / "half-source"
    w.cluster.stop()
    shutil.copytree(w.cluster.masters[0].dir, folder)
    for name in ("before-recovery-1",):
        shutil.rmtree(folder / name)
    for moment in ("prepared", "aside", "ready"):
        target = WHERE / f"half-{moment}"
        shutil.copytree(folder, target)
        plan = f"{target}.plan"
        # one of the two voters that are left, and so no majority
        got = offline("recover", "plan", "--data-dir", str(target), "--out", plan, "-o", "json")
        check(got.returncode == OK, got.stderr)
        number = json.loads(got.stdout)["plan"]["incarnation"]
        whole = WHERE / f"whole-{moment}"
        shutil.copytree(target, whole)
        os.rename(target, f"{target}.keep")     # the plan names the folder: its copy is exchanged in its place
        shutil.copytree(f"{target}.keep", target)
        check(offline("recover", "apply", plan).returncode == OK, "apply")
        done = {file.name: file.read_bytes() for file in target.iterdir() if file.is_file()}
        shutil.rmtree(target)
        shutil.copytree(f"{target}.keep", target)
        part = target / f"recovery-{number}.{'ready' if moment == 'ready' else 'new'}"
        part.mkdir()
        for name, data in done.items():
            (part / name).write_bytes(data)
        if moment != "prepared":
            aside = target / f"before-recovery-{number}"
            aside.mkdir()
            names = [file.name for file in target.iterdir() if file.is_file() and file.name != "LOCK"]
            names.sort(key=lambda name: name != "identity")
            for name in names if moment == "ready" else names[:2]:
                os.rename(target / name, aside / name)
            if moment == "aside":
                started = subprocess.run([*[word if word != str(w.cluster.masters[0].dir) else str(target)
                                            for word in w.cluster.masters[0].arguments]], capture_output=True, text=True, timeout=20,
                                         check=False)
                check(started.returncode == CORRUPT, f"a master started on a half: {started.returncode} {started.stderr[-300:]}")
        got = offline("recover", "apply", plan)
        check(got.returncode == OK, f"{moment}: {got.stderr}")
        after = {file.name: file.read_bytes() for file in target.iterdir() if file.is_file()}
        check({**after, "LOCK": b""} == {**done, "LOCK": b""}, f"{moment}: {sorted(after)} instead of {sorted(done)}")
        check((target / f"before-recovery-{number}" / "identity").exists() and not part.exists(), moment)


def help_is_enough(_w: World) -> None:
    for verb in ("log tail", "log grep", "log stat", "log export", "log ls", "log show", "state show", "state diff", "task history",
                 "snapshot save", "snapshot ls", "snapshot inspect", "snapshot verify", "snapshot restore", "recover plan", "recover apply"):
        got = offline(*verb.split(), "--help")
        check(got.returncode == OK and f"usage: conclave {verb}" in got.stdout and got.stdout.count("\n") >= 3, verb)
        check(verb.split()[1] in offline("--help").stdout, verb)
        check(offline(*verb.split(), "--nosuch").returncode == USAGE, f"{verb} --nosuch")


def main() -> int:
    WHERE.mkdir(parents=True)
    world = World()
    try:
        claims = [log_verbs_agree_live_and_offline, tail_follows, an_export_is_enough_to_replay, states_are_rebuilt, a_task_has_a_history,
                  live_reading_moves_nothing, a_torn_tail_is_told_and_left_out, a_flipped_bit_ends_the_reading_with_its_place,
                  a_backup_is_whole_or_refused, snapshots_and_history_reach_back, a_cluster_comes_back_from_a_backup,
                  recovery_refuses_what_it_should, a_lost_majority_is_recovered, an_interrupted_exchange_goes_on, help_is_enough]
        status = run([(claim.__name__, lambda claim=claim: claim(world)) for claim in claims])
        if status:
            print(world.cluster.tails())
        return status
    finally:
        world.cluster.stop()
        if "--keep" not in sys.argv:
            shutil.rmtree(WHERE, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
