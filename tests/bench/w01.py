#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""w01.py: the load of the failover bench, a process of its own: two frameworks that keep tasks alive.

Each framework holds a stream, launches short tasks to keep its share alive, and acknowledges updates after a while, so that
many reports are in flight at any time. It subscribes again, with its id, the moment its stream ends. Every task writes "start"
and "end" lines to a ledger that the cluster does not know of. A line of JSON on stdout every 100 ms says how things stand:

  alive       tasks that were accepted and have not ended
  commits     durable calls answered and updates received in the last second: each was committed
  in_flight   updates received and not acknowledged yet
  lost        tasks whose ACCEPT was answered 202 and that were then told LOST, GONE, DROPPED or ERROR
  refused     tasks whose ACCEPT was never answered and that were not launched
  killed      tasks told KILLED, which nobody asked for
  odd         calls answered by something else than 202, 307 or 503
  doubled     tasks with more than one start in the ledgers, the first not ended; restarted: the first ended
"""
import argparse
import collections
import glob
import http.client
import itertools
import json
import os
import random
import shlex
import socket
import sys
import threading
import time

FRAMEWORKS = 2
ALIVE_EACH = 125
TASK_SECONDS = (6, 14)
ACK_DELAY_S = 3.0
LAUNCH_MAX = 6              # tasks of one ACCEPT: starts are spread over time
ENDED = {"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED"}     # nobody asks for a kill: TASK_KILLED is counted apart
GONE = {"TASK_LOST", "TASK_GONE", "TASK_DROPPED", "TASK_ERROR", "TASK_UNKNOWN"}


def base(host_port: str) -> tuple:
    host, port = host_port.rsplit(":", 1)
    return host, int(port)


def addresses(masters: str) -> list:
    """HOST:PORT,... or @FILE with that, read anew each time: masters come and go."""
    if masters.startswith("@"):
        with open(masters[1:], encoding="ascii") as file:
            masters = file.read().strip()
    return masters.split(",")


class Framework:
    def __init__(self, number: int, masters: str, ledger_dir: str, failover_timeout: float):
        self.name, self.masters, self.ledger_dir = f"w01-{number}", masters, ledger_dir
        self.failover_timeout = failover_timeout
        self.lock = threading.Lock()
        self.id = self.stream_id = self.leader = None
        self.live = {}              # task id -> "asked" | "accepted" | "told"
        self.unacked = collections.deque()  # (when due, agent id, task id, uuid)
        self.commits = collections.deque()
        self.lost = self.refused = self.finished = self.killed = self.odd = 0
        self.numbers = itertools.count()

    def committed(self) -> None:
        with self.lock:
            self.commits.append(time.monotonic())
            while self.commits and self.commits[0] < time.monotonic() - 1:
                self.commits.popleft()

    # ---- calls ----

    def call(self, kind: str, body: dict) -> bool:
        leader, stream_id = self.leader, self.stream_id
        if not leader or not stream_id:
            return False
        message = {"type": kind, "framework_id": {"value": self.id}, **body}
        connection = http.client.HTTPConnection(*base(leader), timeout=2)
        try:
            connection.request("POST", "/api/v1/scheduler", json.dumps(message),
                               {"Content-Type": "application/json", "Mesos-Stream-Id": stream_id})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status not in (202, 307, 503):
                self.odd += 1
                print(f"{kind}: HTTP {answer.status}: {text[:200]}", file=sys.stderr)
            return answer.status == 202
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def launch(self, offer: dict) -> None:
        with self.lock:
            room = min(LAUNCH_MAX, ALIVE_EACH - len(self.live))
            ids = [f"{self.name}-{next(self.numbers)}" for _ in range(max(0, room))]
            for task_id in ids:
                self.live[task_id] = "asked"
        tasks = [self.task(task_id, offer) for task_id in ids]
        operations = [{"type": "LAUNCH", "launch": {"task_infos": tasks}}] if tasks else []
        refuse = 0.05 if tasks else 0.3
        answered = self.call("ACCEPT", {"accept": {"offer_ids": [offer["id"]], "operations": operations,
                                                   "filters": {"refuse_seconds": refuse}}})
        if answered and ids:
            self.committed()
            with self.lock:
                for task_id in ids:
                    if self.live.get(task_id) == "asked":
                        self.live[task_id] = "accepted"

    def task(self, task_id: str, offer: dict) -> dict:
        seconds = random.randint(*TASK_SECONDS)
        ledger = shlex.quote(f"{self.ledger_dir}/{offer['hostname']}")
        command = (f"echo start {task_id} $$ >> {ledger}; sleep {seconds}; echo end {task_id} $$ >> {ledger}")
        return {"name": task_id, "task_id": {"value": task_id}, "agent_id": offer["agent_id"], "command": {"value": command},
                "resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.01}},
                              {"name": "mem", "type": "SCALAR", "scalar": {"value": 1}}]}

    # ---- events ----

    def on_update(self, status: dict) -> None:
        task_id, state = status["task_id"]["value"], status["state"]
        if "uuid" in status:
            self.committed()
            self.unacked.append((time.monotonic() + ACK_DELAY_S, status["agent_id"], status["task_id"], status["uuid"]))
        with self.lock:
            known = self.live.get(task_id)
            if known is None:
                return
            if state in ENDED:
                self.finished += state == "TASK_FINISHED"
                self.killed += state == "TASK_KILLED"
                del self.live[task_id]
            elif state in GONE:
                if known == "asked":
                    self.refused += 1
                else:
                    self.lost += 1
                del self.live[task_id]
            else:
                self.live[task_id] = "told"

    def on_event(self, event: dict) -> None:
        if event["type"] == "SUBSCRIBED":
            self.id = event["subscribed"]["framework_id"]["value"]
            with self.lock:
                asked = [task_id for task_id, how in self.live.items() if how == "asked"]
            if asked:
                threading.Thread(target=self.call, daemon=True,
                                 args=("RECONCILE", {"reconcile": {"tasks": [{"task_id": {"value": one}} for one in asked]}})).start()
        elif event["type"] == "OFFERS":
            for offer in event["offers"]["offers"]:
                threading.Thread(target=self.launch, args=(offer,), daemon=True).start()
        elif event["type"] == "UPDATE":
            self.on_update(event["update"]["status"])

    # ---- the stream ----

    def subscribe(self, host_port: str) -> bool:
        """Reads one stream to its end; True if it was one."""
        info = {"user": "root", "name": self.name, "failover_timeout": self.failover_timeout}
        message = {"type": "SUBSCRIBE", "subscribe": {"framework_info": info}}
        if self.id:
            info["id"] = message["framework_id"] = {"value": self.id}
        connection = http.client.HTTPConnection(*base(host_port), timeout=12)
        try:
            connection.request("POST", "/api/v1/scheduler", json.dumps(message), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            if answer.status == 307:
                self.leader = answer.headers["Location"].removeprefix("//").split("/")[0]
                return False
            if answer.status != 200:
                self.leader = None
                return False
            self.leader, self.stream_id = host_port, answer.headers["Mesos-Stream-Id"]
            while True:
                size = answer.readline()
                if not size:
                    return True
                record = answer.read(int(size))
                self.on_event(json.loads(record))
        except (OSError, ValueError, http.client.HTTPException):
            self.leader = None
            return False
        finally:
            self.stream_id = None
            connection.close()

    def run_stream(self) -> None:
        for turn in itertools.count():
            masters = addresses(self.masters)
            self.subscribe(self.leader or masters[turn % len(masters)])
            time.sleep(0.005)

    def run_acks(self) -> None:
        while True:
            if self.unacked and self.unacked[0][0] <= time.monotonic() and self.stream_id:
                _, agent_id, task_id, uuid = self.unacked.popleft()
                if self.call("ACKNOWLEDGE", {"acknowledge": {"agent_id": agent_id, "task_id": task_id, "uuid": uuid}}):
                    self.committed()    # one that was not answered is shown again by the next leader
            else:
                time.sleep(0.005)


def ledgers(where: str) -> tuple:
    starts, ends, doubled, restarted = {}, set(), set(), set()
    for path in glob.glob(f"{where}/*"):
        with open(path, encoding="ascii") as file:
            for line in file:
                what, task_id, _ = line.split()
                if what == "end":
                    ends.add(task_id)
                elif task_id in starts:
                    (restarted if task_id in ends else doubled).add(task_id)
                else:
                    starts[task_id] = True
    return len(starts), len(doubled), len(restarted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("ledgers", help="a folder of their own")
    parser.add_argument("masters", help="HOST:PORT,... or @FILE with that")
    parser.add_argument("--failover-timeout", type=float, default=600, help="seconds")
    options = parser.parse_args()
    where, masters = options.ledgers, options.masters
    os.makedirs(where, exist_ok=True)
    frameworks = [Framework(number, masters, where, options.failover_timeout) for number in range(FRAMEWORKS)]
    for framework in frameworks:
        for work in (framework.run_stream, framework.run_acks):
            threading.Thread(target=work, daemon=True).start()
    for tick in itertools.count():
        time.sleep(0.1)
        if tick % 10 == 0:
            starts, doubled, restarted = ledgers(where)
        newest = time.monotonic() - 1
        print(json.dumps({"alive": sum(sum(how != "asked" for how in list(f.live.values())) for f in frameworks),
                          "commits": sum(sum(at >= newest for at in list(f.commits)) for f in frameworks),
                          "in_flight": sum(len(f.unacked) for f in frameworks), "lost": sum(f.lost for f in frameworks),
                          "refused": sum(f.refused for f in frameworks), "finished": sum(f.finished for f in frameworks),
                          "killed": sum(f.killed for f in frameworks), "odd": sum(f.odd for f in frameworks),
                          "starts": starts, "doubled": doubled, "restarted": restarted}), flush=True)


if __name__ == "__main__":
    socket.setdefaulttimeout(12)
    main()
