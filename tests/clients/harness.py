#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""harness.py [--rounds N] [--client NAME] [--json]: clients that others wrote, through two kills of the leader.

A round is a fresh cluster of three masters and three agents, and one driver (drivers.md) that runs 200 tasks to
TASK_FINISHED. Twice in it the leader is killed with -9, and started again a second later. A kill counts only if, when it came,
at least 20 submitted tasks had not ended and an ACCEPT or ACKNOWLEDGE had been sent that never got its answer; a kill that
does not count is told as void and made up for. Tasks append start and end lines to a ledger of their agent, which the
cluster does not know of; the round is judged on the ledgers and on what the driver was told:

  finished   told TASK_FINISHED; each has exactly one start in the ledgers
  doubled    starts beyond the first of a task
  lost       tasks whose ACCEPT was answered 202 and that were then told another end than TASK_FINISHED, or none
  refused    tasks whose ACCEPT was never answered 202 and that were told LOST; none has a start
"""
import argparse
import collections
import dataclasses
import json
import os
import pathlib
import random
import select
import shlex
import shutil
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
from cluster import TOP, Cluster, Timeout, wait_until  # noqa: E402

INSTALLED = TOP / "build" / "clients"
TASKS, KILLS, VOID_MAX = 200, 2, 6
ALIVE_LEAST = 20
KILL_AFTER_FINISHED = (20, 75)      # a kill waits for so many finished tasks, a void one is made up for at once
LAUNCH_UNTIL_FINISHED = 60
RESTART_S, ROUND_S = 1.0, 120
RESOURCES = "cpus:4;mem:4096;disk:4096;ports:[31000-31999]"     # 16 tasks at a time and agent
LIVE = {"TASK_STAGING", "TASK_STARTING", "TASK_RUNNING"}
LOOK_S = 0.05
TRIGGERS = {"ACCEPT", "ACKNOWLEDGE"}
# One to three seconds; the ledger is the agent's address.
COMMAND = ('l={ledgers}/"${{MESOS_AGENT_ENDPOINT%:*}}"; echo "start $MESOS_TASK_ID $$" >> "$l"; '
           'sleep $(($$ % 3 + 1)); echo "end $MESOS_TASK_ID $$" >> "$l"')

CLIENTS = {
    "mesos-framework": ("0.5.3", ["node", str(HERE / "mesos-framework" / "scheduler.js")]),
    "mesos-go": ("0.0.11", [str(INSTALLED / "bin" / "scheduler")]),
    "pymesos": ("0.3.15", [str(INSTALLED / "venv" / "bin" / "python"), str(HERE / "pymesos" / "scheduler.py")]),
}


class Failure(Exception):
    """The round broke a promise; the text says which. `figures` are those of a round that came to its end."""

    def __init__(self, text: str, figures: dict = None):
        super().__init__(text)
        self.figures = figures or {}


@dataclasses.dataclass
class Call:
    kind: str
    tasks: list
    begun: float
    answer: str = None          # None: none yet; "": failed without one; else its status


class Told:
    """What the driver has told so far."""

    def __init__(self):
        self.calls, self.accept_of, self.state = {}, {}, {}
        self.subscribed, self.latencies = 0, collections.defaultdict(lambda: collections.deque([0.002], maxlen=20))
        self.finished_count = 0     # kept beside the states: a kill must come within a millisecond

    def feed(self, line: str) -> Call:
        """Takes one line; the call if the line begins one, else None."""
        word, *rest = line.split()
        if word == "call":
            number, kind, tasks = rest[0], rest[1], rest[2:]
            call = self.calls[number] = Call(kind, tasks, time.monotonic())
            for task in tasks:
                if task in self.accept_of:
                    raise Failure(f"the driver submitted {task} twice")
                self.accept_of[task] = call
            return call
        if word in ("answer", "failed"):
            call = self.calls[rest[0]]
            call.answer = rest[1] if word == "answer" else ""
            if word == "answer":
                self.latencies[call.kind].append(time.monotonic() - call.begun)
        elif word == "update":
            self.take_update(*rest)
        elif word == "subscribed":
            self.subscribed += 1
        return None

    def take_update(self, state: str, reason: str, task: str) -> None:
        before = self.state.get(task, ("TASK_STAGING", ""))[0]
        if before in LIVE:
            self.state[task] = (state, reason)
            self.finished_count += state == "TASK_FINISHED"
        elif before != state:
            raise Failure(f"{task} was told {state} ({reason}) after {before}")

    def finished(self) -> set:
        return {task for task, (state, _) in self.state.items() if state == "TASK_FINISHED"}

    def ended(self) -> set:
        return {task for task, (state, _) in self.state.items() if state not in LIVE}

    def accepted(self) -> set:
        return {task for task, call in self.accept_of.items() if call.answer == "202"}


class Lines:
    """Lines of a pipe, without losing any and without waiting longer than asked."""

    def __init__(self, file):
        self.fd, self.rest, self.open, self.ready = file.fileno(), b"", True, collections.deque()

    def next(self, timeout: float):
        """The next line, or None within the timeout or at the end."""
        if not self.ready and self.open and select.select([self.fd], [], [], timeout)[0]:
            data = os.read(self.fd, 65536)
            self.open = bool(data)
            *lines, self.rest = (self.rest + data).split(b"\n")
            self.ready.extend(line.decode() for line in lines)
        return self.ready.popleft() if self.ready else None


def read_ledgers(where: pathlib.Path) -> tuple:
    """(starts, ends) by task id."""
    starts, ends = collections.Counter(), collections.Counter()
    for ledger in where.iterdir():
        for line in ledger.read_text().splitlines():
            word, task, _ = line.split()
            (starts if word == "start" else ends)[task] += 1
    return starts, ends


class Round:
    def __init__(self, name: str, where: pathlib.Path):
        self.name, self.where = name, where
        self.cluster = Cluster(where, resources=RESOURCES, tls=True)
        self.ledgers, self.told, self.driver = where / "ledgers", Told(), None
        self.kills, self.void, self.pending = [], 0, None
        self.leader = self.restart_at = self.victim = None
        self.subscribed_at_kill = 0
        self.alive = 0              # not_ended() as of at most LOOK_S ago: reading ledgers takes longer than a call
        self.gaps_ms = []

    # ---- the driver ----

    def start_driver(self) -> Lines:
        self.ledgers.mkdir()
        (self.where / "driver" / "logs").mkdir(parents=True)
        env = {**os.environ, "MASTERS": self.cluster.http, "TASKS": str(TASKS), "NAME": f"{self.name}-{os.getpid()}",
               "COMMAND": COMMAND.format(ledgers=shlex.quote(str(self.ledgers))), "LOGS": str(self.where / "driver" / "logs"),
               "CLIENTS": str(INSTALLED)}
        with open(self.where / "driver.log", "ab") as log:
            self.driver = subprocess.Popen(["sh", "-c", 'exec "$@" 3>&1 1>&2', "driver", *CLIENTS[self.name][1]], env=env,
                                           cwd=self.where / "driver", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        return Lines(self.driver.stdout)

    def run(self) -> dict:
        begun = looked = time.monotonic()
        self.cluster.start()
        self.cluster.ready()
        lines = self.start_driver()
        while lines.open or lines.ready:
            if time.monotonic() - begun > ROUND_S:
                raise Failure(f"the driver was not done after {ROUND_S} s: {len(self.told.finished())} finished")
            line = lines.next(LOOK_S)
            call = self.told.feed(line) if line else None
            if call and self.wants_kill(call):
                self.kill(call, lines)
            if time.monotonic() - looked > LOOK_S:
                self.look_after_masters()
                self.judge_kill()
                self.alive = self.not_ended()
                looked = time.monotonic()
        if self.driver.wait(timeout=10) != 0:
            raise Failure(f"the driver exited with {self.driver.returncode}: see {self.where}/driver.log")
        if len(self.kills) < KILLS:
            raise Failure(f"only {len(self.kills)} kills counted, {self.void} were void")
        return {**self.judge(), "seconds": round(time.monotonic() - begun, 1)}

    # ---- kills ----

    def look_after_masters(self) -> None:
        now = time.monotonic()
        if self.restart_at and now >= self.restart_at:
            self.victim.start()
            self.restart_at = None
        if self.leader is None and not self.restart_at:
            try:
                self.leader = self.cluster.leader()
            except (OSError, ValueError):
                self.leader = None
        for node in self.cluster.masters + self.cluster.agents:
            if not node.alive() and not (self.restart_at and node is self.victim):
                raise Failure(f"{node.name} ended by itself with {node.process.returncode}: see {node.log}")

    def wants_kill(self, call: Call) -> bool:
        if self.pending or self.leader is None or self.restart_at or len(self.kills) >= KILLS:
            return False
        if self.void > VOID_MAX:
            raise Failure(f"{self.void} kills were void")
        back = self.told.subscribed > self.subscribed_at_kill
        due = self.told.finished_count >= KILL_AFTER_FINISHED[len(self.kills)]
        # There are ten times as many acknowledgements: the first kill waits a while for a launch.
        if not self.kills and call.kind != "ACCEPT" and self.told.finished_count < LAUNCH_UNTIL_FINISHED:
            return False
        return call.kind in TRIGGERS and back and due and self.alive >= ALIVE_LEAST + 5

    def not_ended(self) -> int:
        """Tasks that were submitted and have not ended, whether told or not."""
        _, ends = read_ledgers(self.ledgers)
        return len(self.told.accept_of.keys() - self.told.ended() - ends.keys())

    def kill(self, call: Call, lines: Lines) -> None:
        """Kills the leader while `call` waits for its answer, as far as one can see from here; judge_kill() says if it did."""
        usual = statistics.median(self.told.latencies[call.kind])
        wait = call.begun + random.uniform(0, 0.5) * usual - time.monotonic()
        if wait > 0.0001:
            time.sleep(wait)
        while (line := lines.next(0)) is not None:
            self.told.feed(line)
        if call.answer is not None:
            return
        self.victim, self.leader = self.leader, None
        self.victim.kill()
        self.victim.reap()
        self.restart_at = time.monotonic() + RESTART_S
        self.pending, self.subscribed_at_kill = (call, self.not_ended(), time.monotonic()), self.told.subscribed

    def judge_kill(self) -> None:
        if not self.pending or self.pending[0].answer is None or self.told.subscribed == self.subscribed_at_kill:
            return
        call, not_ended, when = self.pending
        self.pending = None
        self.gaps_ms.append(round((time.monotonic() - when) * 1000))
        if call.answer == "202" or not_ended < ALIVE_LEAST:
            self.void += 1
            print(f"void: {call.kind} answered {call.answer or 'not at all'}, {not_ended} tasks had not ended", file=sys.stderr)
        else:
            self.kills.append(call.kind)

    # ---- the verdict ----

    def judge(self) -> dict:
        told, submitted = self.told, set(self.told.accept_of)

        def quiet() -> bool:
            starts, ends = read_ledgers(self.ledgers)
            return starts.keys() == ends.keys()
        wait_until("every task that started has ended", 15, quiet)
        starts, _ = read_ledgers(self.ledgers)
        finished, accepted = told.finished(), told.accepted()
        refused = {task for task in submitted - accepted - finished if told.state.get(task, ("TASK_LOST",))[0] == "TASK_LOST"}
        lost = submitted - finished - refused
        faults = [f"{task} has {starts[task]} starts" for task in submitted | starts.keys() if starts[task] > 1]
        faults += [f"{task} was told FINISHED and has {starts[task]} starts" for task in finished if starts[task] != 1]
        faults += [f"{task} was refused and has a start" for task in refused if starts[task]]
        faults += [f"{task} was told {told.state.get(task)} after ACCEPT was answered {told.accept_of[task].answer}" for task in lost]
        faults += [f"{task} started and was never submitted" for task in starts.keys() - submitted]
        if len(finished) < TASKS:
            faults.append(f"only {len(finished)} tasks finished")
        faults += self.hashes()
        figures = {"kills": len(self.kills), "tasks": len(submitted), "finished": len(finished), "starts": sum(starts.values()),
                   "doubled": sum(n - 1 for n in starts.values()), "lost": len(lost), "refused": len(refused),
                   "void": self.void, "unanswered": self.kills, "gap_ms": self.gaps_ms}
        if faults:
            raise Failure("; ".join(faults[:10]), figures)
        return figures

    def hashes(self) -> list:
        """The state hashes of the masters at one position, if they differ."""
        position = wait_until("three masters at rest", 15, self.cluster.same_applied)
        hashes = self.cluster.hashes(position)
        return [] if len(set(hashes)) == 1 else [f"state hashes differ at {position}: {hashes}"]

    def stop(self) -> None:
        if self.driver and self.driver.poll() is None:
            self.driver.kill()
            self.driver.wait()
        self.cluster.stop()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/clients/run", description="Clients of others through two kills of the leader.")
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="rounds of each client (1)")
    parser.add_argument("--client", action="append", choices=sorted(CLIENTS), help="this client only; may be repeated")
    parser.add_argument("--json", action="store_true", help="JSON lines alone on stdout")
    parser.add_argument("--keep", action="store_true", help="keep the folders of rounds that passed")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    talk = sys.stderr if options.json else sys.stdout
    base = TOP / "build" / "clients-run" / str(os.getpid())
    passed = failed = 0
    for name in options.client or CLIENTS:
        version, sums = CLIENTS[name][0], collections.Counter()
        for number in range(1, options.rounds + 1):
            one = Round(name, base / f"{name}-{number}")
            head = f"{name} {version} round {number}"
            try:
                got = one.run()
                passed += 1
                print(f"ok {head}: {json.dumps(got)}", file=talk, flush=True)
            except (Failure, Timeout) as error:
                got = getattr(error, "figures", {})
                failed += 1
                print(f"{one.cluster.tails()}\nFAILED {head}: {error}\nkept: {one.where}", file=talk, flush=True)
            finally:
                one.stop()
            sums.update({key: value for key, value in got.items() if isinstance(value, (int, float))}, rounds=1)
            if got and not failed and not options.keep:
                shutil.rmtree(one.where)
        if options.json:
            keys = ("rounds", "kills", "tasks", "finished", "starts", "doubled", "lost", "refused", "void", "seconds")
            print(json.dumps({"client": name, "version": version, **{key: sums[key] for key in keys}}), flush=True)
    print(f"{passed} passed, {failed} failed, 0 skipped", file=talk, flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
