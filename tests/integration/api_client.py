# SPDX-License-Identifier: Apache-2.0
"""What api.py needs to talk to a cluster: processes, plain requests, and event streams read chunk by chunk from a bare socket,
because one record in one chunk is part of what is promised."""
import base64
import http.client
import itertools
import json
import os
import pathlib
import secrets
import socket
import sys
import time

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / "tests" / "bench"))

from peer import MEMBERS, Members  # noqa: E402

JSON, PROTOBUF = "application/json", "application/x-protobuf"
AGENTS = 2
AGENT = {"cpus": 4, "mem": 4096, "disk": 1000}
SCHEDULER = "/api/v1/scheduler"


class Broken(Exception):
    """A claim does not hold; the text says how it showed."""


def expect(true: bool, what) -> None:
    if not true:
        raise Broken(str(what))


def equal(found, wanted, what: str = "") -> None:
    expect(found == wanted, f"{what}: {found!r}, wanted {wanted!r}")


class Cluster:
    def __init__(self, where: str, binary: str):
        self.binary, self.members = binary, Members(where, "api")
        net = f"127.{192 + os.getpid() // 256 % 60}.{os.getpid() % 256}"
        self.masters = [f"{net}.{11 + i}" for i in range(MEMBERS)]
        self.agents = [f"{net}.{21 + i}" for i in range(AGENTS)]
        self.cluster_id = secrets.token_hex(16)
        self.head = 0

    def __enter__(self):
        try:
            for index in range(MEMBERS):
                self.start_master(index)
            for index in range(AGENTS):
                self.start_agent(index)
            self.find_leader()
        except BaseException:
            self.members.close()
            raise
        return self

    def __exit__(self, *_):
        self.members.close()

    def start_master(self, index: int) -> None:
        peers = ",".join(f"{n + 1}={host}" for n, host in enumerate(self.masters))
        self.members.spawn(f"m{index}", [self.binary, "master", "--data-dir", f"{self.members.dir}/m{index}", "--cluster-id", self.cluster_id,
                                         "--node", str(index + 1), "--peers", peers])

    def start_agent(self, index: int) -> None:
        resources = ";".join(f"{name}:{amount}" for name, amount in AGENT.items()) + ";ports:[31000-31099]"
        host, links = self.agents[index], ",".join(f"{host}:5061" for host in self.masters)
        self.members.spawn(f"a{index}", [self.binary, "agent", "--work-dir", f"{self.members.dir}/a{index}", "--masters", links, "--listen", host,
                                         "--advertise", host, "--hostname", f"agent-{index}", "--resources", resources])

    def find_leader(self, timeout_s: float = 30) -> str:
        """Until a leader has all agents and all masters agree on it; its host."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            try:
                status = [json.loads(get(host, "/conclave/v1/status")[2]) for host in self.masters]
                named = {one.get("leader", {}).get("http") for one in status}
                if len(named) == 1 and None not in named and any(one.get("agents_back") == AGENTS for one in status):
                    self.head = self.masters.index(named.pop().split(":")[0])
                    return self.leader
            except (OSError, ValueError, http.client.HTTPException):
                pass
            time.sleep(0.05)
        raise TimeoutError("no leader with all agents")

    @property
    def leader(self) -> str:
        return self.masters[self.head]

    @property
    def follower(self) -> str:
        return self.masters[(self.head + 1) % MEMBERS]


def request(host: str, method: str, path: str, body=None, headers=None, timeout_s: float = 10) -> tuple:
    connection = http.client.HTTPConnection(host, 5050, timeout=timeout_s)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def get(host: str, path: str) -> tuple:
    return request(host, "GET", path)


def get_json(host: str, path: str) -> dict:
    status, headers, body = get(host, path)
    equal((status, headers["Content-Type"]), (200, JSON), path)
    expect(body.isascii() and b"\n" not in body, f"{path}: not one line of ASCII")
    return json.loads(body)


def post(host: str, call, content_type=JSON, **headers) -> tuple:
    body = call if isinstance(call, (bytes, str)) else json.dumps(call)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type:
        named["Content-Type"] = content_type
    return request(host, "POST", SCHEDULER, body, named)


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def pb(**fields) -> bytes:
    """Protobuf by hand: f1=..., an int or bytes."""
    out = b""
    for name, value in fields.items():
        tag = int(name[1:]) << 3
        out += varint(tag) + varint(value) if isinstance(value, int) else varint(tag | 2) + varint(len(value)) + value
    return out


class Stream:
    """One subscription, read from the socket by hand."""

    def __init__(self, host: str, body: bytes, content_type: str = JSON, accept: str = JSON):
        self.sock = socket.create_connection((host, 5050), timeout=10)
        self.kept = b""
        self.sock.sendall((f"POST {SCHEDULER} HTTP/1.1\r\nHost: {host}:5050\r\nContent-Type: {content_type}\r\nAccept: {accept}\r\n"
                           f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n").encode() + body)
        head = self._until(b"\r\n\r\n").decode().split("\r\n")
        self.status = int(head[0].split()[1])
        self.headers = {line.split(":", 1)[0].lower(): line.split(":", 1)[1].strip() for line in head[1:] if line}

    def _more(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        self.kept += data

    def _until(self, mark: bytes) -> bytes:
        while mark not in self.kept:
            self._more()
        found, self.kept = self.kept.split(mark, 1)
        return found

    def record(self, timeout_s: float = 10) -> bytes:
        """The next chunk, which must be exactly one record; b"" at the end of the stream."""
        self.sock.settimeout(timeout_s)
        size = int(self._until(b"\r\n"), 16)
        while len(self.kept) < size + 2:
            self._more()
        chunk, tail, self.kept = self.kept[:size], self.kept[size:size + 2], self.kept[size + 2:]
        equal(tail, b"\r\n", "end of a chunk")
        if size == 0:
            return b""
        length, _, payload = chunk.partition(b"\n")
        equal(int(length), len(payload), "one record, one chunk")
        return payload

    def close(self) -> None:
        self.sock.close()


class Framework:
    """A subscribed framework. Events are checked as they come: ASCII, one line."""

    numbers = itertools.count()

    def __init__(self, cluster: Cluster, name: str = None, framework_id: str = None, host: str = None, **info):
        self.cluster = cluster
        info = {"user": "root", "name": name or f"f{next(self.numbers)}", "failover_timeout": 60, **info}
        call = {"type": "SUBSCRIBE", "subscribe": {"framework_info": info}}
        if framework_id:
            info["id"] = call["framework_id"] = {"value": framework_id}
        self.stream = Stream(host or cluster.leader, json.dumps(call).encode())
        equal(self.stream.status, 200, "SUBSCRIBE")
        self.id, self.offers = framework_id, []

    def __enter__(self):
        event = self.next()
        equal(event["type"], "SUBSCRIBED", event)
        self.subscribed, self.id = event["subscribed"], event["subscribed"]["framework_id"]["value"]
        return self

    def __exit__(self, *_):
        if self.id:
            self.call("TEARDOWN")
        self.stream.close()

    def next(self, timeout_s: float = 10) -> dict:
        record = self.stream.record(timeout_s)
        expect(record != b"", "the stream ended")
        expect(record.isascii() and b"\n" not in record, f"not one line of ASCII: {record[:200]}")
        return json.loads(record)

    def event(self, *types: str, timeout_s: float = 10) -> dict:
        """The next event of these types; what comes in between is passed over."""
        end = time.monotonic() + timeout_s
        while True:
            event = self.next(max(0.01, end - time.monotonic()))
            if event["type"] in types:
                return event
            if event["type"] == "OFFERS":
                self.offers += event["offers"]["offers"]

    def silent(self, kind: str, seconds: float) -> None:
        try:
            event = self.event(kind, timeout_s=seconds)
        except (TimeoutError, socket.timeout):
            return
        raise Broken(f"unexpected {event}")

    def call(self, kind: str, body: dict = None, want: int = 202, **headers) -> bytes:
        call = {"type": kind, "framework_id": {"value": self.id}}
        if body is not None:
            call[kind.lower()] = body
        headers = {"Mesos_Stream_Id": self.stream.headers["mesos-stream-id"], **headers}
        status, _, text = post(self.cluster.leader, call, **headers)
        equal(status, want, f"{kind} {text!r}")
        return text

    def offer(self, timeout_s: float = 10) -> dict:
        if not self.offers:
            self.offers = self.event("OFFERS", timeout_s=timeout_s)["offers"]["offers"]
        return self.offers.pop(0)

    def accept(self, offer: dict, *tasks: dict, refuse: float = 0) -> None:
        self.call("ACCEPT", {"offer_ids": [offer["id"]], "filters": {"refuse_seconds": refuse},
                             "operations": [{"type": "LAUNCH", "launch": {"task_infos": list(tasks)}}] if tasks else []})

    def update(self, task_id: str, *states: str, ack: bool = True, timeout_s: float = 10) -> dict:
        """The next update of this task that is in one of the states; all with a uuid are acknowledged."""
        while True:
            status = self.event("UPDATE", timeout_s=timeout_s)["update"]["status"]
            if ack and "uuid" in status:
                self.ack(status)
            if status["task_id"]["value"] == task_id and (not states or status["state"] in states):
                return status

    def ack(self, status: dict) -> None:
        equal(len(base64.b64decode(status["uuid"])), 16, "uuid")
        self.call("ACKNOWLEDGE", {"agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": status["uuid"]})

    def run(self, task_id: str, command: str = "sleep 300", **resources) -> dict:
        """A task that runs."""
        offer = self.offer()
        self.accept(offer, task(offer, task_id, command, **resources))
        return self.update(task_id, "TASK_RUNNING")


def scalar(name: str, value: float) -> dict:
    return {"name": name, "type": "SCALAR", "scalar": {"value": value}}


def task(offer: dict, task_id: str, command: str = "sleep 300", cpus: float = 0.1, mem: float = 32, **more) -> dict:
    return {"name": task_id, "task_id": {"value": task_id}, "agent_id": offer["agent_id"], "command": {"value": command},
            "resources": [scalar("cpus", cpus), scalar("mem", mem)], **more}
