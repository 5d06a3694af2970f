#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Masters that have forgotten, were damaged, or are wrong, as real processes under load: a wiped one refuses its old id, a damaged
one is reinstalled and decides nothing until it has caught up, one whose state differs from the majority's stops, one that a
command ends holds. The others serve on all the time, and nothing that was acknowledged is lost.

The wrong ones are the program with planted bugs (tests/mutants/mutants.c). CONCLAVE_BIN and CONCLAVE_MUTANT_BIN name the programs."""
import http.client
import json
import os
import pathlib
import shutil
import signal
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from claims import check, run  # noqa: E402
from cluster import BINARY, HTTP, TOP, Cluster, Node, wait_until  # noqa: E402
from framework import JSON, SCHEDULER, Framework  # noqa: E402
from short_tasks import ShortTasks  # noqa: E402

MUTANT = os.environ["CONCLAVE_MUTANT_BIN"]
WHERE = TOP / "build" / "forgotten-run" / str(os.getpid())
BLOCK = 4096
CORRUPT = 4


def vote_of(node: Node) -> tuple:
    """(term, voted for) as they are in the folder."""
    with open(node.dir / "vote", "rb") as file:
        return struct.unpack_from("<QQ", file.read(BLOCK), 48)


def said(node: Node, since: int = 0) -> str:
    return node.log.read_text(errors="replace")[since:]


def log_length(node: Node) -> int:
    return len(said(node))


def damage(node: Node) -> None:
    """Turns a bit in the middle of what is written of the log, with good groups behind it."""
    segment = sorted(node.dir.glob("log-*"))[0]
    data = bytearray(segment.read_bytes())
    at = len(bytes(data).rstrip(b"\0")) // 2
    check(at > 20 * BLOCK, f"{node.name} has too little log to damage: {at} bytes")
    data[at] ^= 4
    segment.write_bytes(data)


def dead(node: Node) -> None:
    node.kill()
    node.reap()


def refuses(node: Node, *texts: str) -> None:
    """Started now, it ends by itself with the status of a folder that must not be served, and says these things."""
    since = log_length(node)
    node.start()
    code = node.reap(20)
    check(code == CORRUPT, f"{node.name} ended with {code}: {said(node, since)[-600:]}")
    for text in texts:
        check(text in said(node, since), f"{node.name} does not say {text!r}: {said(node, since)[-600:]}")


class Forgotten:
    def __init__(self, cluster: Cluster, load: ShortTasks):
        self.cluster, self.load = cluster, load

    # ---- what the claims share ----

    def _progress(self) -> None:
        before = len(self.load.ended)
        wait_until("tasks that end", 20, lambda: len(self.load.ended) > before + 20)

    def _alarms(self, node: Node) -> dict:
        return {alarm["code"]: alarm for alarm in self.cluster.status(node).get("alarms", [])}

    def _roles(self) -> tuple:
        """The leader, and the two others."""
        leader = self.cluster.leading()
        return leader, *(node for node in self.cluster.masters if node is not leader)

    def _same(self, node: Node) -> None:
        """The node follows, and has the state of the others, hash for hash, at a position behind what is applied now."""
        wait_until(f"all name a leader with {node.name}", 30, self.cluster.leader)
        goal = self.cluster.status()["applied"]

        def equal() -> bool:
            position = min(self.cluster.status(master)["applied"] for master in self.cluster.masters if master.alive())
            hashes = self.cluster.hashes(position)
            if position < goal or any(len(one) != 32 for one in hashes):
                return False
            check(len(set(hashes)) == 1, f"the states differ at {position}: {hashes}")
            return len(hashes) == len(self.cluster.masters)
        wait_until(f"{node.name} has the state of the others", 30, equal)

    def _with(self, node: Node, *flags: str, mutant: str = None) -> list:
        """Gives the node these flags and this planted bug from now on; returns what it had."""
        before = node.arguments
        plain = self.plain[node.name]
        node.arguments = [*(["env", f"CONCLAVE_MUTANT={mutant}", MUTANT] if mutant else [BINARY]), *plain[1:], *flags]
        return before

    def _mark(self, name: str) -> None:
        """A command with this word in it is committed."""
        wait_until("the marked command is answered", 20, lambda: Framework(self.cluster.leading().host, name).id)

    def _fill(self, megabytes: int) -> None:
        """As much log, of frameworks with large labels that end with their streams."""
        labels = {"labels": [{"key": "k", "value": "v" * 500_000}]}
        for number in range(2 * megabytes):
            info = {"user": "root", "name": f"filler-{number}", "labels": labels}
            body = json.dumps({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}})
            wait_until("SUBSCRIBE is answered by a leader", 20, lambda: self._subscribed(self.cluster.leading().host, body))

    @staticmethod
    def _subscribed(host: str, body: str) -> bool:
        connection = http.client.HTTPConnection(host, HTTP, timeout=10)
        try:
            connection.request("POST", SCHEDULER, body, {"Content-Type": JSON})
            return connection.getresponse().status == 200
        finally:
            connection.close()

    def _lose(self, keeper: Node, loser: Node, away: Node) -> None:
        """What is acknowledged from now on is on keeper and loser alone; then keeper is dead and loser is reinstalled."""
        dead(away)
        self._fill(12)
        self._progress()
        dead(loser)
        dead(keeper)
        damage(loser)
        self._with(loser, "--reinstall")
        self.reinstalled_at = log_length(loser)
        loser.start()
        away.start()

    def _whole_again(self, loser: Node) -> None:
        self._same(loser)
        self._progress()
        check("caught_up" in said(loser, self.reinstalled_at), "it was never barred")
        check("CATCHING_UP" not in self._alarms(loser), "it says that it is still catching up")
        self._with(loser)

    # ---- the claims ----

    def the_cluster_begins(self) -> None:
        self.cluster.ready()
        self.plain = {node.name: list(node.arguments) for node in self.cluster.masters}
        self.load.start()
        self._progress()

    def a_wiped_master_refuses_its_old_id_and_has_promised_nothing(self) -> None:
        leader, follower, _ = self._roles()
        for node in (follower, leader):
            dead(node)
            kept = node.dir.with_suffix(".kept")
            node.dir.rename(kept)
            node.dir.mkdir(mode=0o700)
            refuses(node, "this one was wiped", "join under a new id")
            term, voted = vote_of(node)
            check(term <= 1 and voted == 0, f"the wiped {node.name} voted for {voted} in term {term}")
            self._progress()        # the others do not notice
            shutil.rmtree(node.dir)
            kept.rename(node.dir)
            node.start()            # its own folder is welcome as before
            self._same(node)

    def a_damaged_master_refuses_and_comes_back_with_reinstall(self) -> None:
        _, node, _ = self._roles()
        dead(node)
        damage(node)
        refuses(node, "offset", "--reinstall")
        self._progress()
        self._with(node, "--reinstall")
        node.start()
        self._same(node)
        check(list(node.dir.glob("aside-1-log-*")), "nothing was set aside")
        check("CATCHING_UP" not in self._alarms(node), "it says that it is still catching up")
        check("caught_up" in said(node), "it was never barred")
        dead(node)
        node.start()                # the flag is still there: intact data stays
        self._same(node)
        check(not list(node.dir.glob("aside-2-*")), "intact data was set aside")
        self._with(node)

    def a_reinstalled_master_does_not_vote_for_one_that_lacks_what_it_acknowledged(self) -> None:
        """The one that has everything falls again in the moment in which the reinstalled one knows who the members are and has some
        of the log: now it could be talked into a vote, or could stand. On a fast machine it may have all of it by then: once more.
        While it finds no leader it says what to do."""
        keeper, loser, away = self._roles()
        for _ in range(6):
            self._lose(keeper, loser, away)
            alarm = wait_until("it serves", 10, lambda: self._alarms(loser).get("CATCHING_UP"))
            check("docs/OPERATING.md" in alarm["next"] and "no leader" in alarm["text"], f"the alarm does not say what to do: {alarm}")
            keeper.start()
            wait_until("it knows the members", 20, lambda: self.cluster.status(loser).get("members"), pause=0)
            dead(keeper)
            if "CATCHING_UP" in self._alarms(loser):
                break
            keeper.start()
            self._whole_again(loser)
            keeper, loser, away = self._roles()
        else:
            raise AssertionError("it always had everything before the leader was dead")
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            for node in loser, away:    # the one that is dead may be remembered for an election timeout
                leader = self.cluster.status(node).get("leader", {}).get("id", 0)
                check(leader in (0, int(keeper.name[1:])), f"the two that lack it elected {leader}, says {node.name}")
            time.sleep(0.1)
        term, voted = vote_of(loser)
        check(voted in (0, int(keeper.name[1:])), f"{loser.name} voted for {voted} in term {term}")
        keeper.start()
        self._whole_again(loser)
        dead(self._roles()[0])      # caught up, it is a voter like the others: with one of them gone there is a majority
        self._progress()
        for node in self.cluster.masters:
            if not node.alive():
                node.start()
        self._same(loser)

    def a_master_whose_state_differs_from_the_majoritys_stops_and_the_others_serve_on(self) -> None:
        _, node, _ = self._roles()
        dead(node)
        self._with(node, mutant="state-differs")
        node.start()
        self._same(node)
        since = log_length(node)
        self._mark("applied-as-another")
        check(node.reap(20) == CORRUPT, f"it ended with {node.process.returncode}")
        check("differs from that of the majority" in said(node, since), said(node, since)[-600:])
        self._progress()
        check(all(one.alive() for one in self.cluster.masters if one is not node), "another one ended too")
        self._with(node)
        refuses(node, "--reinstall")    # it does not start as it is, with the sound program neither
        self._with(node, "--reinstall")
        node.start()
        self._same(node)
        self._with(node)

    def a_command_that_ends_the_program_is_tried_twice_and_then_held(self) -> None:
        _, node, _ = self._roles()
        dead(node)
        self._with(node, mutant="apply-aborts")
        node.start()
        self._same(node)
        self._mark("applied-by-nobody")
        check(node.reap(20) == -signal.SIGABRT, f"it ended with {node.process.returncode}")
        node.start()
        check(node.reap(20) == -signal.SIGABRT, f"at its second try it ended with {node.process.returncode}")
        node.start()
        alarm = wait_until("it holds", 10, lambda: self._alarms(node).get("HOLD"))
        check("has ended this program 2 times" in alarm["text"], f"{alarm}")
        self._progress()            # by the two others
        check(node.alive() and self.cluster.status(node)["applied"] == 0, "it holds and applies")
        dead(node)
        self._with(node, "--exit-on-hold", mutant="apply-aborts")
        refuses(node, "--skip-hold")
        self._with(node, "--skip-hold")     # the sound program
        node.start()
        self._same(node)
        self._with(node)

    def nothing_was_lost(self) -> None:
        check(all(master.alive() for master in self.cluster.masters), "a master has ended")
        self.load.finish()
        print(f"    {len(self.load.accepted)} tasks, {self.load.connections} connections")


def main() -> int:
    shutil.rmtree(WHERE, ignore_errors=True)
    cluster = Cluster(WHERE, agents=2)
    test = Forgotten(cluster, ShortTasks(cluster))
    claims = [(name, getattr(test, name)) for name in vars(Forgotten) if name[0] != "_"]
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
