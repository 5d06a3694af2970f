# SPDX-License-Identifier: Apache-2.0
"""A framework that speaks the scheduler API by hand, for tests."""
import http.client
import json

from claims import check
from cluster import HTTP, request

SCHEDULER = "/api/v1/scheduler"
JSON = "application/json"


class Framework:
    """Subscribed at one master; its stream stays open, its calls go over other connections."""

    @classmethod
    def again(cls, host: str, framework_id: str):
        """A framework that subscribes again under its id."""
        return cls(host, "again", framework_id)

    def __init__(self, host: str, name: str, framework_id: str = ""):
        self.host = host
        self.connection = http.client.HTTPConnection(host, HTTP, timeout=15)
        info = {"user": "root", "name": name, "failover_timeout": 600}
        body = {"type": "SUBSCRIBE", "subscribe": {"framework_info": info}}
        if framework_id:
            info["id"] = body["framework_id"] = {"value": framework_id}
        self.connection.request("POST", SCHEDULER, json.dumps(body), {"Content-Type": JSON})
        self.stream = self.connection.getresponse()
        check(self.stream.status == 200, f"SUBSCRIBE was answered {self.stream.status}")
        self.stream_id = self.stream.headers["Mesos-Stream-Id"]
        self.id = self.next("SUBSCRIBED")["framework_id"]["value"]

    def next(self, kind: str) -> dict:
        """The next event of this kind; others are passed over."""
        for _ in range(200):
            event = json.loads(self.stream.read(int(self.stream.readline())))
            if event["type"] == kind:
                return event.get(kind.lower())
        raise AssertionError(f"no {kind} in 200 events")

    def call(self, kind: str, **fields) -> int:
        body = json.dumps({"type": kind, "framework_id": {"value": self.id}, **fields})
        return request(self.host, "POST", SCHEDULER, body, {"Content-Type": JSON, "Mesos-Stream-Id": self.stream_id})[0]

    def acknowledge(self, status: dict) -> None:
        if "uuid" in status:
            self.call("ACKNOWLEDGE", acknowledge={key: status[key] for key in ("agent_id", "task_id", "uuid")})
