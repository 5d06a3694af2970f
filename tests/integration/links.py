#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""links.py [--drops N] [--seconds S]: connections between masters that break, and networks that let bytes through one way only.

Claims, each on a cluster of real processes whose peers speak through a relay (tests/lib/relay.py):
  drops       the leader loses all its peer connections N times under the load of the failover bench: no election, every task
              lives on, the state hashes agree
  deaf_mute   of five masters one follower hears nothing and one is not heard: for S seconds every write is answered, by the
              same leader in the same term
  deaf_leader, mute_leader   a leader that hears nothing, or is not heard, is replaced, and follows when it is healed

Prints a line a claim and 'N passed, N failed, N skipped'. CONCLAVE_BIN names the binary.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import traceback

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / "tests" / "bench"))
sys.path.insert(0, str(TOP / "tests" / "lib"))

from cluster import BINARY, PEERS, Cluster, request, wait_until  # noqa: E402
from relay import Relay  # noqa: E402

ALIVE_MIN = 100         # tasks when the first connection is cut
DROP_EVERY_S = 0.35     # longer than an election timeout
WRITE_S = 2.0           # patience with one write
LOAD_READY_S = 90


class Broken(Exception):
    """A claim does not hold; the text says how it showed."""


def expect(true: bool, what: str) -> None:
    if not true:
        raise Broken(what)


class Relayed(Cluster):
    """A cluster whose masters find each other at addresses of the relay."""

    def __init__(self, where: pathlib.Path, masters: int, agents: int = 0):
        super().__init__(where, masters=masters, agents=agents)
        doors = [node.host.rsplit(".", 1)[0] + f".{51 + index}" for index, node in enumerate(self.masters)]
        peers = ",".join(f"{index + 1}={door}" for index, door in enumerate(doors))
        for node in self.masters:
            node.arguments[node.arguments.index("--peers") + 1] = peers
            node.arguments += ["--listen", node.host, "--advertise", node.host]
        self.relay = Relay({index: (doors[index], node.host) for index, node in enumerate(self.masters)}, PEERS)
        self.load = None

    def __enter__(self):
        self.start()
        self.ready()
        return self

    def __exit__(self, kind, *_):
        if self.load:
            self.load.kill()
            self.load.wait(10)
        if kind:
            print(self.tails(), file=sys.stderr)
        self.stop()
        self.relay.close()

    def reign(self) -> tuple:
        """(index of the leader, term)."""
        node = wait_until("one leader", 30, self.leader)
        return self.masters.index(node), int(self.status(node)["term"])

    def write(self, node) -> bool:
        """A durable write at `node`, which must lead: whether it was answered in time."""
        try:
            status, _, _ = request(node.host, "POST", "/conclave/v1/config", "{}", timeout=WRITE_S)
        except OSError:
            return False
        return status == 200

    def start_load(self) -> None:
        self.load = subprocess.Popen([sys.executable, str(TOP / "tests" / "bench" / "w01.py"), str(self.where / "ledgers"), self.http],
                                     stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)

    def seen(self) -> dict:
        """What the load says next."""
        line = self.load.stdout.readline()
        expect(bool(line), "the load has ended")
        return json.loads(line)

    def all_agree(self) -> None:
        position = wait_until("every master at one position", 60, self.same_applied)
        hashes = set(self.hashes(position))
        expect(len(hashes) == 1, f"state hashes differ at {position}: {hashes}")


def unharmed(seen: dict) -> None:
    for key in ("lost", "doubled", "restarted", "killed"):
        expect(seen[key] == 0, f"{key}: {seen}")


def drops(where: pathlib.Path, options) -> str:
    with Relayed(where, masters=3, agents=3) as cluster:
        cluster.start_load()
        end = time.monotonic() + LOAD_READY_S
        while cluster.seen()["alive"] < ALIVE_MIN:
            expect(time.monotonic() < end, "the load never stood")
        leader, term = cluster.reign()
        cut = 0
        for number in range(options.drops):
            now = cluster.relay.drop(leader)
            expect(now >= 4, f"drop {number + 1}: the leader had {now} peer connections, not one each way to two others")
            cut += now
            again = time.monotonic() + DROP_EVERY_S
            while time.monotonic() < again:
                seen = cluster.seen()
            unharmed(seen)
            expect(cluster.reign() == (leader, term), f"drop {number + 1}: leader and term were {(leader, term)}, are {cluster.reign()}")
        before = seen["starts"]
        end = time.monotonic() + 30
        while seen["starts"] <= before:
            expect(time.monotonic() < end, f"no task starts any more: {seen}")
            seen = cluster.seen()
        unharmed(seen)
        cluster.load.kill()
        cluster.all_agree()
        return f"{options.drops} times all peer links of the leader ({cut} connections), 0 elections, {seen['starts']} tasks started, 0 harmed"


def deaf_mute(where: pathlib.Path, options) -> str:
    with Relayed(where, masters=5) as cluster:
        leader, term = cluster.reign()
        deaf, mute = [index for index in range(5) if index != leader][:2]
        everybody = range(5)
        cluster.relay.block([(other, deaf) for other in everybody] + [(mute, other) for other in everybody])
        answered, slowest, end = 0, 0.0, time.monotonic() + options.seconds
        while time.monotonic() < end:
            began = time.monotonic()
            expect(cluster.write(cluster.masters[leader]), f"write {answered + 1} was not answered within {WRITE_S} s")
            slowest = max(slowest, time.monotonic() - began)
            answered += 1
            time.sleep(0.005)
        now = cluster.status(cluster.masters[leader])
        expect(int(now["term"]) == term, f"the term was {term}, is {now['term']}")
        behind = cluster.status(cluster.masters[deaf])
        expect(int(behind["applied"]) < int(now["applied"]), "the deaf follower has heard something after all")
        cluster.relay.heal()
        cluster.all_agree()
        return f"{answered} of {answered} writes answered in {options.seconds} s, the slowest in {slowest * 1e3:.0f} ms; term {term} throughout"


def _replaced(where: pathlib.Path, pairs) -> str:
    with Relayed(where, masters=5) as cluster:
        leader, term = cluster.reign()
        old = cluster.masters[leader]
        others = [node for node in cluster.masters if node is not old]
        began = time.monotonic()
        cluster.relay.block(pairs(leader))

        def successor():
            named = {cluster.named_leader(node) for node in others}
            node = named.pop() if len(named) == 1 else None
            return node if node and node is not old and cluster.write(node) else None
        fresh = wait_until("another leader that commits", 30, successor)
        took = time.monotonic() - began
        expect(not cluster.write(old), "the old leader still commits")
        cluster.relay.heal()
        wait_until("the old leader follows", 30, lambda: cluster.named_leader(old) is fresh or cluster.leader())
        cluster.all_agree()
        return f"another leader committed after {took * 1e3:.0f} ms, term {term} -> {cluster.reign()[1]}"


def deaf_leader(where: pathlib.Path, _) -> str:
    return _replaced(where, lambda leader: [(other, leader) for other in range(5)])


def mute_leader(where: pathlib.Path, _) -> str:
    return _replaced(where, lambda leader: [(leader, other) for other in range(5)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--drops", type=int, default=6, help="of all peer links of the leader (6; the campaign: 100)")
    parser.add_argument("--seconds", type=float, default=4, help="of one deaf and one mute follower (4)")
    parser.add_argument("--only", help="one claim")
    options = parser.parse_args()
    passed = failed = 0
    print(f"binary: {BINARY}", file=sys.stderr)
    for claim in (drops, deaf_mute, deaf_leader, mute_leader):
        if options.only and claim.__name__ != options.only:
            continue
        with tempfile.TemporaryDirectory(prefix="links-", dir="/var/tmp") as where:
            try:
                print(f"links/{claim.__name__}: {claim(pathlib.Path(where) / 'cluster', options)}", flush=True)
                passed += 1
            except Exception:  # noqa: BLE001
                traceback.print_exc()
                print(f"links/{claim.__name__}: FAILED", flush=True)
                failed += 1
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
