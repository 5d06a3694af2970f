#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""membership.py [--restarts N] [--rolling N] [--replace-all] [--dir DIR]: masters come, go and restart under load.

The load is that of the failover bench (tests/bench/w01.py): frameworks that keep tasks alive and see, if all is well, nothing but
redirects, 503 and reconnects. Claims, on one cluster, in this order:

  requests that cannot be done are refused and change nothing: broken ones, unknown and impossible ids, one member twice, two
      changes at once, a change without a majority
  a follower that is asked for a linearizable read answers with all that was acknowledged before, and not at all when alone
  three masters become five
  followers are restarted (N times)
  every master is restarted politely, the leader last (N times); no vote is lost, no election is waited for
  five masters become three, the first ones leave, and end by themselves
  a master is replaced (with --replace-all each, until none of the first is left), also when replace is interrupted
  agents that are restarted then find the new masters by themselves

CONCLAVE_BIN names the binary. The full form of the acceptance: --restarts 24 --rolling 3 --replace-all. Prints a line a claim and
'N passed, N failed, N skipped'.
"""
import argparse
import json
import pathlib
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / "tests" / "lib"))

from cluster import BINARY, Cluster, Node, Timeout, request, wait_until  # noqa: E402

ALIVE_MIN = 60
HARM = ("lost", "doubled", "restarted", "killed", "odd")


class Broken(Exception):
    """A claim does not hold; the text says how it showed."""


def expect(true: bool, what: str) -> None:
    if not true:
        raise Broken(what)


class World:
    """A cluster whose masters change, and its load."""

    def __init__(self, where: pathlib.Path):
        self.where = where
        self.cluster = Cluster(where / "c", resources="cpus:100;mem:100000;disk:100000;ports:[31000-31999]")
        self.net = self.cluster.masters[0].host.rsplit(".", 1)[0]
        self.next_host, self.load, self.seen, self.gone = 14, None, {}, []

    def start(self) -> None:
        self.cluster.start()
        self.cluster.ready()
        self.tell_load()
        with open(self.where / "load.log", "wb") as log:
            self.load = subprocess.Popen([sys.executable, str(TOP / "tests" / "bench" / "w01.py"), str(self.where / "ledgers"),
                                          f"@{self.where / 'masters'}"], stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL,
                                         text=True)

        def read() -> None:
            for line in self.load.stdout:
                self.seen = json.loads(line)
        threading.Thread(target=read, daemon=True).start()
        self.load_stands()

    def stop(self) -> None:
        if self.load:
            self.load.kill()
            self.load.wait(timeout=10)
        self.cluster.stop()
        for node in self.gone:
            node.kill()
            node.reap()

    def tell_load(self) -> None:
        new = self.where / "masters.new"
        new.write_text(self.cluster.http, encoding="ascii")
        new.rename(self.where / "masters")

    def load_stands(self) -> None:
        wait_until("the load stands", 60, lambda: self.seen.get("alive", 0) >= ALIVE_MIN)

    def unharmed(self) -> None:
        expect(self.load.poll() is None, "the load ended")
        expect(all(self.seen[key] == 0 for key in HARM), f"{self.seen}; see load.log")

    def goes_on(self) -> None:
        """Tasks go on finishing, and nothing was lost."""
        before = self.seen.get("finished", 0)
        wait_until("tasks finish", 30, lambda: self.seen.get("finished", 0) > before + 3)
        self.unharmed()

    def leader(self):
        return wait_until("one leader", 30, self.cluster.leader)

    def members(self) -> dict:
        done = self.cli("ls")
        return {int(one["id"]): one for one in json.loads(done.stdout)["members"]}

    def cli(self, *arguments, ok: bool = True, timeout: float = 90) -> subprocess.CompletedProcess:
        done = self.cluster.conclave("members", *arguments, "-o", "json", timeout=timeout)
        expect(not ok or done.returncode == 0, f"members {' '.join(arguments)}: exit {done.returncode}: {done.stderr}")
        return done

    def ask(self, body, host: str = None) -> tuple:
        """One POST; (status, text)."""
        host = host or self.leader().host
        status, _, text = request(host, "POST", "/conclave/v1/members", body if isinstance(body, str) else json.dumps(body),
                                  {"Content-Type": "application/json"}, timeout=20)
        return status, text.decode(errors="replace")

    def newest(self, kind: str) -> int:
        """The entry of the last command of this type."""
        done = self.cluster.conclave("log", "ls", "--type", kind, "-o", "jsonl")
        rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        expect(rows, f"the log has no {kind}: {done.stdout[:300]} {done.stderr[:300]}")
        return int(rows[-1]["position"].split(".")[0])

    def new_host(self) -> str:
        self.next_host += 1
        return f"{self.net}.{self.next_host}"

    def run_line(self, line: str, host: str) -> Node:
        """Starts a master by the command line that the operator was told."""
        words = shlex.split(line)
        name = f"m{words[words.index('--node') + 1]}"
        words[0] = BINARY
        words[words.index("DIR")] = str(self.cluster.where / name)
        node = Node(name, host, self.cluster.where, words)
        node.start()
        self.cluster.masters.append(node)
        self.tell_load()
        return node

    def caught_up(self, member: int) -> None:
        def level() -> bool:
            row = self.members().get(member, {})
            return row.get("connected", False) and int(row.get("lag_entries", 1000)) < 200
        wait_until(f"master {member} has caught up", 60, level)

    def node_of(self, member: int) -> Node:
        return next(node for node in self.cluster.masters if node.name == f"m{member}")

    def left(self, member: int) -> None:
        """The process of a removed master ends by itself and says why."""
        node = self.node_of(member)
        expect(node.reap(20) == 0, f"{node.name} ended with {node.process.returncode}")
        expect("was removed from the cluster" in node.log.read_text(errors="replace"), f"{node.name} does not say why it ended")
        self.cluster.masters.remove(node)
        self.tell_load()

    def restart(self, node: Node) -> None:
        """Politely, and waits until it follows again."""
        node.kill(signal.SIGTERM)
        expect(node.reap(15) == 0, f"{node.name} ended with {node.process.returncode}")
        node.start()
        self.caught_up(int(node.name[1:]))
        wait_until("one leader", 30, self.cluster.leader)

    def agree(self) -> None:
        for _ in range(40):
            done = self.cluster.conclave("hash", "-o", "json")
            report = json.loads(done.stdout)
            if report["verdict"] == "AGREE":
                return
            expect(report["verdict"] != "DIVERGED", f"state hashes differ: {report}")
            time.sleep(0.25)
        raise Broken(f"no common position: {report}")


def refusals(w: World) -> str:
    before, term = w.members(), w.cluster.status()["term"]
    follower = next(node for node in w.cluster.masters if node is not w.leader())
    taken, refused = before[1]["peer"], 0
    for body, want in (("", 400), ("{", 400), ("[]", 400), ('{"verb":7}', 400), ('{"verb":"dance","id":1}', 400), ({"verb": "add"}, 400),
                       ({"verb": "add", "peer": ""}, 400), ({"verb": "add", "peer": "not an address:x"}, 400),
                       ({"verb": "add", "peer": "a" * 300}, 400), ({"verb": "add", "peer": f"{w.net}.99:5060", "id": 9}, 400),
                       ({"verb": "add", "peer": f"{w.net}.99:5060", "http": "x:99999"}, 400), ({"verb": "add", "peer": taken}, 409),
                       ({"verb": "remove"}, 400), ({"verb": "remove", "id": 0}, 404), ({"verb": "remove", "id": 2 ** 64 - 1}, 404),
                       ({"verb": "remove", "id": -1}, 400), ({"verb": "remove", "id": 2 ** 64}, 400), ({"verb": "remove", "id": 77}, 404),
                       ({"verb": "promote", "id": 77}, 404), ({"verb": "promote", "id": 1}, 409), ({"verb": "demote", "id": 77}, 404),
                       ({"verb": "transfer", "id": 77}, 404), ({"verb": "remove", "id": int(w.leader().name[1:])}, 409)):
        status, text = w.ask(body)
        expect(status == want, f"{body}: HTTP {status} {text}, not {want}")
        refused += 1
    expect(request(w.leader().host, "PUT", "/conclave/v1/members", "{}")[0] == 405, "PUT is not 405")
    expect(w.ask({"verb": "add", "peer": f"{w.net}.98:5060"}, follower.host)[0] == 307, "a follower does not redirect")
    for words, code in ((("remove", "x"), 64), (("add",), 64), (("remove",), 64), (("remove", "77"), 1), (("add", "--peer", taken), 1)):
        done = w.cli(*words, ok=False)
        expect(done.returncode == code, f"members {words}: exit {done.returncode} {done.stderr}")
    peer, answers = f"{w.net}.97:5060", []
    threads = [threading.Thread(target=lambda: answers.append(w.ask({"verb": "add", "peer": peer}))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect([status for status, _ in answers].count(200) == 1, f"one address added by six at once: {answers}")
    learner = next(member for member, row in w.members().items() if row["peer"] == peer)
    expect(w.ask({"verb": "promote", "id": learner})[0] == 409, "a learner that nobody started was promoted")
    w.cli("remove", str(learner))
    expect(w.newest("member_remove") > w.newest("configuration"), "the addresses of a master are dropped before it is out")
    status, text = w.ask({"verb": "add", "peer": peer})
    again = json.loads(text)["id"]
    expect(status == 200 and int(again) > learner, f"the id {learner} was given again: {text}")
    w.cli("remove", str(again))
    # Without a majority nothing changes: the followers stand still while a change is asked for.
    leader = w.leader()
    still = [node for node in w.cluster.masters if node is not leader]
    for node in still:
        node.kill(signal.SIGSTOP)
    try:
        status, text = w.ask({"verb": "add", "peer": f"{w.net}.96:5060"}, leader.host)
        expect(status == 503, f"without a majority: HTTP {status} {text}")
    finally:
        for node in still:
            node.kill(signal.SIGCONT)
    wait_until("one leader", 30, w.cluster.leader)
    for member, row in w.members().items():     # what was appended then may have been committed since
        if member not in before:
            w.cli("remove", str(member))
    expect({member: row["role"] for member, row in w.members().items()} == {member: row["role"] for member, row in before.items()},
           f"the members changed: {before}")
    w.goes_on()
    return f"{refused} requests refused, and those of the CLI; term {term} before"


def reads(w: World) -> str:
    leader = w.leader()
    followers, path = [node for node in w.cluster.masters if node is not leader], "/state-summary"
    for node in followers:
        expect(request(node.host, "GET", path)[0] == 307, "a follower serves without being asked to")
        expect(request(node.host, "GET", path, headers={"Conclave-Read": "soon"})[0] == 400, "Conclave-Read: soon is not refused")
    for number in range(40):
        node = followers[number % 2]
        status, _, _ = request(leader.host, "POST", "/conclave/v1/config", "{}")
        expect(status == 200, f"a write: HTTP {status}")
        told = int(w.cluster.status(leader)["applied"])     # at or behind the write
        status, headers, body = request(node.host, "GET", path, headers={"Conclave-Read": "linearizable"})
        expect(status == 200, f"a linearizable read of {node.name}: HTTP {status}")
        expect(int(headers["Conclave-Index"]) >= told, f"{node.name} answers of {headers['Conclave-Index']}, {told} was acknowledged")
        expect(len(json.loads(body)["slaves"]) == len(w.cluster.agents), "the answer is not the state")
        status, headers, _ = request(node.host, "GET", path, headers={"Conclave-Read": "local"})
        expect(status == 200 and int(headers["Conclave-Index"]) > 0, f"a local read: HTTP {status}")
    leader.kill(signal.SIGSTOP)
    followers[0].kill(signal.SIGSTOP)
    try:    # alone it cannot know what was acknowledged
        status, headers, _ = request(followers[1].host, "GET", path, headers={"Conclave-Read": "linearizable"})
        expect(status == 503, f"alone, a linearizable read: HTTP {status} {headers}")
        expect(request(followers[1].host, "GET", path, headers={"Conclave-Read": "local"})[0] == 200, "a local read needs others")
    finally:
        leader.kill(signal.SIGCONT)
        followers[0].kill(signal.SIGCONT)
    wait_until("one leader", 30, w.cluster.leader)
    w.goes_on()
    return "40 linearizable reads"


def grow(w: World) -> str:
    for _ in range(2):
        host = w.new_host()
        added = json.loads(w.cli("add", "--peer", host).stdout)
        member = int(added["id"])
        w.run_line(added["start"], host)
        w.caught_up(member)
        w.cli("promote", str(member))
        w.goes_on()
    roles = [row["role"] for row in w.members().values()]
    expect(roles == ["voter"] * 5, f"roles: {roles}")
    w.agree()
    return f"members {sorted(w.members())}"


def follower_restarts(w: World, count: int) -> str:
    for number in range(count):
        followers = [node for node in w.cluster.masters if node is not w.leader()]
        node = followers[number % len(followers)]
        if number % 2:
            node.kill(signal.SIGKILL)
            node.reap()
            node.start()
            w.caught_up(int(node.name[1:]))
        else:
            w.restart(node)
        w.unharmed()
    w.goes_on()
    w.agree()
    return f"{count} restarts of followers"


def rolling(w: World, count: int) -> str:
    moved = 0
    for _ in range(count):
        leader = w.leader()
        for node in [node for node in w.cluster.masters if node is not leader] + [leader]:
            moved += node is w.leader()
            w.restart(node)
            w.unharmed()
        w.goes_on()
    w.agree()
    return f"{count} rolling restarts of {len(w.cluster.masters)} masters, {moved} hand-overs"


def shrink(w: World) -> str:
    for member in sorted(w.members())[:2]:
        w.cli("remove", str(member))    # if it leads it hands over first
        expect(w.newest("member_remove") < w.newest("configuration"), "the id of a first master is free before the log has noted it")
        w.left(member)
        w.goes_on()
    expect(len(w.members()) == 3, f"members: {w.members()}")
    w.agree()
    return f"members {sorted(w.members())}"


def replace(w: World, everyone: bool) -> str:
    first = sorted(w.members())
    for old in first if everyone else first[:1]:
        host = w.new_host()
        # It is interrupted before the new master runs; the same command goes on.
        done = w.cli("replace", str(old), "--peer", host, "--wait", "1", ok=False)
        expect(done.returncode == 1 and "the same command goes on" in done.stderr, f"replace: {done.returncode} {done.stderr}")
        line = next(line for line in done.stderr.splitlines() if line.strip().startswith("conclave master"))
        node = w.run_line(line.strip(), host)
        answer = json.loads(w.cli("replace", str(old), "--peer", host).stdout)
        expect(int(answer["removed"]) == old and f"m{answer['id']}" == node.name, f"replace says {answer}")
        w.left(old)
        w.cli("replace", str(old), "--peer", host)     # once more: done already
        w.goes_on()
    expect(len(w.members()) == 3, f"members: {w.members()}")
    w.agree()
    return f"members {first} -> {sorted(w.members())}"


def agents_find_them(w: World) -> str:
    for node in w.cluster.agents:
        node.kill(signal.SIGKILL)
        node.reap()
        node.start()
    wait_until("every agent is back", 30, lambda: int(w.cluster.status().get("agents_back", 0)) == len(w.cluster.agents))
    w.goes_on()
    return f"{len(w.cluster.agents)} agents, started with the addresses of the first three masters"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--restarts", type=int, default=3)
    parser.add_argument("--rolling", type=int, default=1)
    parser.add_argument("--replace-all", action="store_true")
    parser.add_argument("--dir", default=None, help="a folder on a disk")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    claims = (("what cannot be done is refused and changes nothing", refusals),
              ("followers answer reads", reads),
              ("three masters become five", grow),
              ("followers are restarted", lambda w: follower_restarts(w, options.restarts)),
              ("every master is restarted politely", lambda w: rolling(w, options.rolling)),
              ("five masters become three", shrink),
              ("a master is replaced", lambda w: replace(w, options.replace_all)),
              ("agents find the masters of today", agents_find_them))
    passed = failed = 0
    with tempfile.TemporaryDirectory(dir=options.dir or TOP / "build") as where:
        world = World(pathlib.Path(where))
        try:
            world.start()
            for claim, run in claims:
                began = time.monotonic()
                told = run(world)
                passed += 1
                print(f"ok      {claim}: {told} ({time.monotonic() - began:.1f} s)", flush=True)
        except (Broken, Timeout, TimeoutError, OSError, ValueError, subprocess.TimeoutExpired) as error:
            failed = 1      # each claim begins where the one before ended
            print(f"FAILED  {claims[passed][0]}: {error!r}\n{world.cluster.tails(8)}", flush=True)
        finally:
            world.stop()
    print(f"{passed} passed, {len(claims) - passed if failed else 0} failed, 0 skipped")
    return failed


if __name__ == "__main__":
    sys.exit(main())
