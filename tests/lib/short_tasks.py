# SPDX-License-Identifier: Apache-2.0
"""A load that asks nothing of its caller: short tasks one after another through whatever leader there is, each followed to
its end. finish() says what became of them."""
import http.client
import json
import threading
import time

from claims import check
from cluster import HTTP, request
from framework import JSON, SCHEDULER

ENDS = ("TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_LOST", "TASK_ERROR", "TASK_DROPPED", "TASK_GONE")


class ShortTasks(threading.Thread):
    """Subscribes with a long failover timeout and comes back to every new leader. `accepted` are the tasks whose ACCEPT was
    answered 202, `ended` the terminal states that were told, by task. A refusal (its offers went with their leader) is told once,
    without an acknowledgement, and may be lost with the stream: then a reconciliation says LOST, and no agent has ever seen the task."""

    def __init__(self, cluster, name: str = "short", batch: int = 10):
        super().__init__(daemon=True)
        self.cluster, self.name, self.batch = cluster, name, batch
        self.id, self.number, self.connections = None, 0, 0
        self.accepted, self.ended = set(), {}
        self.closing, self.stopped = threading.Event(), threading.Event()
        self.problem, self.here = None, None

    def _subscribe(self):
        leader = self.cluster.likely_leader()
        if not leader:
            raise OSError("no leader")
        info = {"user": "root", "name": self.name, "failover_timeout": 600}
        if self.id:
            info["id"] = {"value": self.id}
        body = {"type": "SUBSCRIBE", "subscribe": {"framework_info": info}}
        if self.id:
            body["framework_id"] = {"value": self.id}
        connection = http.client.HTTPConnection(leader.host, HTTP, timeout=5)
        connection.request("POST", SCHEDULER, json.dumps(body), {"Content-Type": JSON})
        stream = connection.getresponse()
        if stream.status != 200:
            raise OSError(f"SUBSCRIBE was answered {stream.status}")
        self.connections += 1
        return leader.host, connection, stream, stream.headers["Mesos-Stream-Id"]

    def _call(self, host: str, stream_id: str, kind: str, **fields) -> int:
        body = json.dumps({"type": kind, "framework_id": {"value": self.id}, **fields})
        return request(host, "POST", SCHEDULER, body, {"Content-Type": JSON, "Mesos-Stream-Id": stream_id})[0]

    def _launch(self, host: str, stream_id: str, offer: dict) -> None:
        tasks, left = [], {r["name"]: r["scalar"]["value"] for r in offer["resources"] if r["type"] == "SCALAR"}
        for _ in range(min(self.batch, int(left.get("cpus", 0) * 10 + 0.5), int(left.get("mem", 0) / 32))):
            self.number += 1
            tasks.append({"name": "x", "task_id": {"value": f"{self.name}-{self.number}"}, "agent_id": offer["agent_id"],
                          "command": {"value": "true"},
                          "resources": [{"name": name, "type": "SCALAR", "scalar": {"value": value}} for name, value in (("cpus", 0.1), ("mem", 32))]})
        if not tasks:
            self._call(host, stream_id, "DECLINE", decline={"offer_ids": [offer["id"]], "filters": {"refuse_seconds": 0}})
            return
        accept = {"offer_ids": [offer["id"]], "operations": [{"type": "LAUNCH", "launch": {"task_infos": tasks}}],
                  "filters": {"refuse_seconds": 0}}
        if self._call(host, stream_id, "ACCEPT", accept=accept) == 202:
            self.accepted.update(task["task_id"]["value"] for task in tasks)

    def _event(self, host: str, stream_id: str, event: dict) -> None:
        kind = event["type"]
        if kind == "SUBSCRIBED":
            self.id = event["subscribed"]["framework_id"]["value"]
        elif kind == "OFFERS":
            for offer in event["offers"]["offers"]:
                if self.closing.is_set():
                    self._call(host, stream_id, "DECLINE", decline={"offer_ids": [offer["id"]], "filters": {"refuse_seconds": 600}})
                else:
                    self._launch(host, stream_id, offer)
        elif kind == "UPDATE":
            status = event["update"]["status"]
            if status["state"] in ENDS:
                self.ended.setdefault(status["task_id"]["value"], []).append(status["state"])
            if "uuid" in status:
                self._call(host, stream_id, "ACKNOWLEDGE", acknowledge={key: status[key] for key in ("agent_id", "task_id", "uuid")})

    def run(self) -> None:
        while not self.stopped.is_set():
            connection = None
            try:
                host, connection, stream, stream_id = self._subscribe()
                self.here = host, stream_id
                while not self.stopped.is_set():
                    line = stream.readline()
                    if not line:
                        break
                    self._event(host, stream_id, json.loads(stream.read(int(line))))
            except (OSError, http.client.HTTPException, ValueError) as problem:
                self.problem = problem      # of the last leader: the next one takes it up
                time.sleep(0.05)
            finally:
                if connection:
                    connection.close()

    def open_tasks(self) -> set:
        return self.accepted - set(self.ended)

    def finish(self, seconds: float = 30) -> None:
        """Launches no more and waits for the end of what runs; then every accepted task must have finished."""
        self.closing.set()
        end = time.monotonic() + seconds
        while self.open_tasks() and time.monotonic() < end:
            time.sleep(1)
            tasks = [{"task_id": {"value": task}} for task in sorted(self.open_tasks())]
            try:
                if tasks:
                    self._call(*self.here, "RECONCILE", reconcile={"tasks": tasks})
            except (OSError, http.client.HTTPException) as problem:
                self.problem = problem
        self.stopped.set()
        check(not self.open_tasks(), f"{len(self.open_tasks())} of {len(self.accepted)} accepted tasks never ended ({self.problem})")
        seen = {folder.name for agent in self.cluster.agents for folder in agent.dir.glob("tasks/*/*")}
        refused = {task for task in self.accepted if set(self.ended[task]) == {"TASK_LOST"} and task not in seen}
        check(len(refused) * 10 <= len(self.accepted), f"{len(refused)} of {len(self.accepted)} were refused")
        wrong = {task: states for task, states in self.ended.items()
                 if task in self.accepted - refused and set(states) != {"TASK_FINISHED"}}
        check(not wrong, f"accepted tasks ended as {wrong}")
