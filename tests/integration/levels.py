#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Old and new programs in one cluster. Three masters begin as the old program (feature level 1), are upgraded one by one under
load, and the level is raised, too early with force and then for all. The old program is this one with another object for
level.c (levels.cmake)."""
import json
import os
import pathlib
import shutil
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from claims import check, run  # noqa: E402
from cluster import BINARY, TOP, Cluster, request, wait_until  # noqa: E402
from short_tasks import ShortTasks  # noqa: E402

OLD = os.environ["CONCLAVE_OLD_BIN"]
WHERE = TOP / "build" / "levels-run" / str(os.getpid())


def program_levels(cluster: Cluster) -> dict:
    return {member["id"]: member.get("program_level") for member in cluster.status()["members"]}


def config(cluster: Cluster) -> dict:
    return json.loads(cluster.conclave("config", "get", "-o", "json").stdout)


def change(cluster: Cluster, query: str, body: str) -> tuple:
    """(status, text) of a PUT at the leader."""
    leader = cluster.leader()
    status, _, text = request(leader.host, "PUT", f"/conclave/v1/config{query}", body, {"Content-Type": "application/json"}, timeout=10)
    return status, text.decode()


def same_hashes(cluster: Cluster) -> None:
    """Every living master's hash at a position that all of them have applied, under load."""
    def equal() -> bool:
        position = min(cluster.status(master)["applied"] for master in cluster.masters if master.alive())
        hashes = cluster.hashes(position)
        if any(len(one) != 32 for one in hashes):      # not applied yet, or no longer remembered
            return False
        check(len(set(hashes)) == 1, f"the states differ at {position}: {hashes}")
        return len(hashes) == sum(master.alive() for master in cluster.masters)
    wait_until("a position that all have applied", 20, equal)


def upgrade(cluster: Cluster, master) -> None:
    if master.alive():
        master.kill(15)
        master.reap()
    master.arguments[0] = BINARY
    master.start()
    wait_until(f"{master.name} back", 20, lambda: cluster.leader() and program_levels(cluster)[int(master.name[1:])] == 2)


class Levels:
    def __init__(self, cluster: Cluster, load: ShortTasks):
        self.cluster, self.load = cluster, load
        self.old = cluster.masters[2]

    def progress(self) -> None:
        """The load gets on."""
        before = len(self.load.ended)
        wait_until("tasks that end", 20, lambda: len(self.load.ended) > before + 20)

    def a_cluster_of_old_programs_begins_at_level_1(self) -> None:
        self.cluster.ready()
        self.load.start()
        self.progress()
        check(self.cluster.status()["level"] == 1, "the level is not 1")
        check("changed" not in config(self.cluster), "an old program tells a position that it does not keep")

    def two_are_upgraded_under_load_and_all_states_are_the_same(self) -> None:
        for master in self.cluster.masters[:2]:
            upgrade(self.cluster, master)
            self.progress()
            same_hashes(self.cluster)
        levels = wait_until("hellos", 10, lambda: (lambda told: told if None not in told.values() else None)(program_levels(self.cluster)))
        check(levels == {1: 2, 2: 2, 3: 1}, f"the programs are told as {levels}")
        check(self.cluster.status()["level"] == 1, "the level rose by itself")

    def what_belongs_to_level_2_is_refused_until_then(self) -> None:
        while self.cluster.leader() is self.old:        # the leader of this claim is a new one
            self.old.kill()
            self.old.reap()
            wait_until("another leader", 20, self.cluster.leader)
            self.old.start()
            self.cluster.ready()
        status, text = change(self.cluster, "?if=1.0", '{"history_tasks": 5}')
        check((status, "conclave config set level 2" in text) == (409, True), f"{status} {text}")
        wait_until("the old one's hello", 10, lambda: program_levels(self.cluster)[3] == 1)
        answer = self.cluster.conclave("config", "set", "level", "2")
        check(answer.returncode and "master 3 runs" in answer.stderr and "knows up to 1" in answer.stderr, f"{answer}")
        answer = self.cluster.conclave("config", "set", "level", "3", "--force")
        check(answer.returncode and "knows feature levels up to 2" in answer.stderr, f"{answer}")
        check(self.cluster.status()["level"] == 1, "the level rose")

    def a_raised_level_stops_the_old_one_with_status_4_and_the_others_go_on(self) -> None:
        answer = self.cluster.conclave("config", "set", "level", "2", "--force")
        check(answer.returncode == 0, f"{answer}")
        check(self.old.reap(10) == 4, f"the old one ended with {self.old.process.returncode}")
        said = self.old.log.read_text()
        check("feature level 2, this program" in said and "the leader runs" in said, said[-400:])
        check(self.cluster.status()["level"] == 2, "the level did not rise")
        self.progress()
        self.old.start()        # and so at each start
        check(self.old.reap(20) == 4, f"the old one came back and ended with {self.old.process.returncode}")

    def upgraded_it_catches_up(self) -> None:
        upgrade(self.cluster, self.old)
        self.progress()
        same_hashes(self.cluster)

    def the_configuration_is_a_register_with_compare_and_set(self) -> None:
        at = config(self.cluster)["changed"]
        status, text = change(self.cluster, f"?if={at}", '{"history_tasks": 5000}')
        check(status == 200, f"{status} {text}")
        now = config(self.cluster)
        check(now["history_tasks"] == 5000 and now["changed"] == json.loads(text)["changed"] != at, f"{now} after {text}")
        status, text = change(self.cluster, f"?if={at}", '{"history_tasks": 1}')
        check(status == 412 and now["changed"] in text, f"{status} {text}")
        answer = self.cluster.conclave("config", "set", "history-tasks", "1", "--if", at)
        check(answer.returncode == 1 and "was changed at" in answer.stderr, f"{answer}")
        answer = self.cluster.conclave("config", "set", "history_tasks", "6000", "--if", now["changed"])
        check(answer.returncode == 0, f"{answer}")
        check(self.cluster.conclave("config", "get", "history_tasks").stdout == "6000\n", "config get does not tell it")
        follower = next(master for master in self.cluster.masters if master is not self.cluster.leader())
        status, headers, _ = request(follower.host, "PUT", "/conclave/v1/config?if=1.0", "{}")
        check(status == 307 and headers["Location"].endswith("/conclave/v1/config?if=1.0"), f"{status} {headers['Location']}")

    def wrong_input_changes_nothing(self) -> None:
        before = config(self.cluster)
        cases = [("", '{"agent_timeout_ms": 999}', 400, "agent_timeout_ms must be 1000 to 86400000, not 999"),
                 ("", '{"history_tasks": 10000001}', 400, "history_tasks"), ("", '{"level": 1}', 409, "only grows"),
                 ("", '{"nonsense": 1}', 400, ""), ("", "nonsense", 400, ""), ("", '{"history_tasks": -1}', 400, ""),
                 ("?if=1", "{}", 400, "INDEX.N"), ("?if=1.", "{}", 400, "INDEX.N"), ("?if=1.4294967296", "{}", 400, "INDEX.N"),
                 ("?if=99999999999999999999.0", "{}", 400, "INDEX.N"), ("?if=-1.0", "{}", 400, "INDEX.N"), ("?force=yes", "{}", 400, "force")]
        for query, body, status, text in cases:
            got = change(self.cluster, query, body)
            check(got[0] == status and text in got[1], f"{query} {body}: {got}")
        for arguments, code in ((("set", "level", "x"), 64), (("set", "nonsense", "1"), 64), (("set", "level"), 64), (("get", "nonsense"), 64),
                                (("set", "agent_timeout_ms", "1"), 64)):
            answer = self.cluster.conclave("config", *arguments)
            check(answer.returncode == code and answer.stderr, f"{arguments}: {answer}")
        after = config(self.cluster)
        before.pop("applied"), after.pop("applied")
        check(before == after, f"{before} became {after}")

    def nothing_was_lost(self) -> None:
        self.load.finish()
        check(self.load.connections > 1, "the load never met a second leader")
        check(all("state_differs" not in master.log.read_text() for master in self.cluster.masters), "a state was another for a while")
        print(f"    {len(self.load.accepted)} tasks, {self.load.connections} connections")


def main() -> int:
    shutil.rmtree(WHERE, ignore_errors=True)
    cluster = Cluster(WHERE, agents=2, tls=True)
    for master in cluster.masters:
        master.arguments[0] = OLD
    levels = Levels(cluster, ShortTasks(cluster))
    claims = [(name, getattr(levels, name)) for name in vars(Levels) if name[0] != "_" and name != "progress"]
    try:
        begun = time.monotonic()
        cluster.start()
        code = run(claims)
        print(f"    {time.monotonic() - begun:.1f} s")
        if code:
            print(cluster.tails())
    finally:
        cluster.stop()
    if code == 0:
        shutil.rmtree(WHERE, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
