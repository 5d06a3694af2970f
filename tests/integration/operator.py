#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an operator meets at three in the morning: mistyped commands, a folder that is the wrong one, a cluster without a majority. Each
claim is a mistake that was made by hand once, and either did harm or was answered by a text that was not true."""
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

WHERE = TOP / "build" / "operator-run" / str(os.getpid())
OK, ERROR, NO_QUORUM, USAGE, INTERRUPTED = 0, 1, 3, 64, 130

# Pinned for whoever parses them: keys may be added, none renamed or left out.
STATUS = ("health", "tolerance", "cluster_id", "incarnation", "term", "leader", "commit", "applied", "level", "members", "agents", "tasks",
          "alarms")
MEMBER = ("id", "http", "peer", "role", "state", "version", "lag_entries", "lag_ms", "contact_ms", "fsync_p99_us", "snapshot_index")
VERIFY = ("ok", "first", "last", "groups", "torn_bytes", "faults")


def keys(found: dict, wanted: tuple, what: str) -> None:
    missing = [key for key in wanted if key not in found]
    check(not missing, f"{what} lacks {missing}: {found}")


def members(c: Cluster) -> dict:
    rows = json.loads(c.conclave("members", "ls", "-o", "json").stdout)["members"]
    return {row["id"]: (row["peer"], row["role"]) for row in rows}


def outputs_have_their_keys(c: Cluster) -> None:
    def status() -> dict:
        got = json.loads(c.conclave("status", "-o", "json").stdout)
        return got if got["health"] == "healthy" else {}
    told = wait_until("a healthy cluster", 20, status)
    keys(told, STATUS, "status")
    check(told["alarms"] == [], f"alarms of a healthy cluster: {told['alarms']}")
    keys(told["leader"], ("id", "http", "since_ms"), "its leader")
    for row in told["members"]:
        keys(row, MEMBER, f"member {row['id']}")
    keys(json.loads(c.conclave("log", "verify", "--data-dir", str(c.masters[0].dir), "-o", "json").stdout), VERIFY, "log verify")
    check(c.conclave("cert", "ca", "--dir", str(WHERE / "pki")).returncode == OK, "cert ca")
    keys(json.loads(c.conclave("cert", "show", str(WHERE / "pki" / "ca.pem"), "-o", "json").stdout), ("identity", "ca", "until"), "cert show")
    states = {row["state"] for row in json.loads(c.conclave("members", "ls", "-o", "json").stdout)["members"]}
    check(states == {"leader", "follower"}, f"members ls: {states}")


def a_noun_tells_its_verbs(c: Cluster) -> None:
    bare = c.conclave("members")
    check(bare.returncode == USAGE and "members promote" in bare.stderr and "snapshot" not in bare.stderr, bare.stderr)
    helped = c.conclave("members", "--help")
    check(helped.returncode == OK and "members promote" in helped.stdout, helped.stderr)
    wrong = c.conclave("members", "promoted", "1")
    check(wrong.returncode == USAGE and "no such command: members promoted" in wrong.stderr, wrong.stderr)


def a_mistyped_replace_does_not_shrink_the_cluster(c: Cluster) -> None:
    """The address of another voter is no new master, and its presence no sign that all has been done but the removal."""
    before = members(c)
    for old, other in ((1, 2), (2, 1), (1, 3)):
        got = c.conclave("members", "replace", str(old), "--peer", before[other][0])
        check(got.returncode == USAGE and "has a vote already" in got.stderr, f"replace {old} by {other}: {got}")
        check(members(c) == before, f"replace {old} by {other} made {members(c)} of {before}")
    got = c.conclave("members", "replace", "99", "--peer", before[1][0])
    check(got.returncode == ERROR and "no master 99" in got.stderr, f"{got}")


def a_transfer_says_who_leads(c: Cluster) -> None:
    before = c.leading()
    got = c.conclave("members", "transfer", "-o", "json")
    check(got.returncode == OK, got.stderr)
    wait_until("the leader moved", 20, lambda: c.leader() not in (None, before))
    named = json.loads(got.stdout)["id"]
    check(named in (1, 2, 3) and f"m{named}" != before.name, f"{before.name} handed over to {named}")
    check("18446744073709551616" in c.conclave("members", "promote", "18446744073709551616").stderr, "an id that is too large became another")


def a_wrong_cluster_id_is_told_to_who_gave_it(c: Cluster) -> None:
    host = c.masters[0].host.rsplit(".", 1)[0] + ".77"
    peers = ",".join(f"{number + 1}={node.host if number < 2 else host}" for number, node in enumerate(c.masters))
    stranger = Node("stranger", host, WHERE, [BINARY, "master", "--data-dir", str(WHERE / "stranger"), "--cluster-id", "1" * 32,
                                              "--node", "3", "--peers", peers])
    stranger.start()
    try:
        wait_until("the stranger hears why nobody talks to it", 10, lambda: "another cluster" in stranger.log.read_text())
    finally:
        stranger.kill()
        stranger.reap()


def the_wrong_folder_is_not_intact(c: Cluster) -> None:
    folder = WHERE / "wrong"
    folder.mkdir()
    (folder / "notes.txt").write_text("not a log")
    for verb in ("log verify", "log ls", "snapshot ls", "state show"):
        got = c.conclave(*verb.split(), "--data-dir", str(folder))
        check(got.returncode == ERROR and "no data of a master" in got.stderr, f"{verb}: {got}")
    missing = c.conclave("agent", "--masters", c.masters[0].host)
    check(missing.returncode == USAGE and "--work-dir is required" in missing.stderr, f"{missing}")
    nowhere = subprocess.run([*c.masters[0].arguments[:3], str(WHERE / "no" / "parent"), *c.masters[0].arguments[4:]],
                             capture_output=True, text=True, timeout=20, check=False)
    check(nowhere.returncode == ERROR and "No such file or directory" in nowhere.stderr, f"{nowhere}")


def output_that_is_lost_is_an_error(c: Cluster) -> None:
    """A list that was cut off by a full disk must not end like a whole one."""
    for verb in ("status", "status -o json", "log ls", "log ls -o jsonl", "log export -", "members ls", "hash", "state show", "--help"):
        with open("/dev/full", "wb") as full:
            got = subprocess.run([BINARY, *verb.split()], stdout=full, stderr=subprocess.PIPE, text=True, timeout=30, check=False,
                                 env={**os.environ, "CONCLAVE_MASTERS": c.http})
        check(got.returncode == ERROR and "could not be written" in got.stderr, f"{verb}: {got}")


def a_lost_disk_comes_back_on_its_host(c: Cluster) -> None:
    """As OPERATING.md says it, with the words that the program gives."""
    follower = next(node for node in c.masters if node is not c.leading())
    number, peer = follower.name[1:], f"{follower.host}:5060"
    follower.kill()
    follower.reap()
    shutil.rmtree(follower.dir)
    follower.start()
    check(follower.reap(20) == 4 and "knows another folder" in follower.log.read_text(), "a wiped folder took part")
    got = c.conclave("members", "replace", number, "--peer", follower.host)
    check(got.returncode == USAGE and f"members remove {number}" in got.stderr and f"add --peer {peer}" in got.stderr, f"{got}")
    check(c.conclave("members", "remove", number).returncode == OK, "remove")
    added = json.loads(c.conclave("members", "add", "--peer", follower.host, "-o", "json").stdout)
    words = shlex.split(added["start"])
    shutil.rmtree(follower.dir)
    words[0], words[words.index("DIR")] = BINARY, str(follower.dir)
    follower.arguments = words
    follower.start()
    wait_until("it is promoted", 30, lambda: c.conclave("members", "promote", str(added["id"])).returncode == OK, pause=0.1)
    check([role for _, role in members(c).values()] == ["voter"] * 3, f"{members(c)}")


def without_a_majority_it_says_so(c: Cluster) -> None:
    """By the command that was given, whichever masters are down; and a run that is given up was interrupted."""
    for node in c.masters[1:]:
        node.kill()
        node.reap()
    wait_until("no leader", 20, lambda: json.loads(c.conclave("status", "-o", "json").stdout)["health"] == "no-quorum")
    time.sleep(0.3)
    got = c.conclave("status", "-o", "json")
    told = json.loads(got.stdout)
    check(got.returncode == NO_QUORUM, f"{got}")
    for alarm in told["alarms"]:
        check(alarm["since_ms"] > 0, f"since when? {alarm}")
    check([alarm["code"] for alarm in told["alarms"]] == ["MASTER_DOWN", "MASTER_DOWN", "NO_QUORUM"], told["alarms"])
    for verb in (("snapshot", "save", str(WHERE / "never")), ("config", "get"), ("config", "set", "history_tasks", "5")):
        got = c.conclave(*verb)
        check(got.returncode == NO_QUORUM and "no leader" in got.stderr.lower(), f"{verb}: {got}")
    waiting = subprocess.Popen([BINARY, "run", "true"], stderr=subprocess.PIPE, text=True, env={**os.environ, "CONCLAVE_MASTERS": c.http})
    time.sleep(0.5)
    waiting.send_signal(signal.SIGINT)
    _, text = waiting.communicate(timeout=20)
    check(waiting.returncode == INTERRUPTED and "30 s" not in text, f"{waiting.returncode}: {text}")
    for node in c.masters[1:]:
        node.start()
    c.ready()


def main() -> int:
    WHERE.mkdir(parents=True)
    cluster = Cluster(WHERE / "c", masters=3, agents=1)
    try:
        cluster.start()
        cluster.ready()
        claims = [outputs_have_their_keys, a_noun_tells_its_verbs, a_mistyped_replace_does_not_shrink_the_cluster, a_transfer_says_who_leads,
                  a_wrong_cluster_id_is_told_to_who_gave_it, the_wrong_folder_is_not_intact,
                  output_that_is_lost_is_an_error, a_lost_disk_comes_back_on_its_host, without_a_majority_it_says_so]
        status = run([(claim.__name__, lambda claim=claim: claim(cluster)) for claim in claims])
        if status:
            print(cluster.tails())
        return status
    finally:
        cluster.stop()
        shutil.rmtree(WHERE, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
