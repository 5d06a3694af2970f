#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Malformed and hostile input on every port of a living cluster of three masters and one agent. After each of it the same
processes run, the term and the state hash are as before, every master's /health answers and the honest framework is served.
Families H-01 to H-07, H-10: docs/TESTING.md."""
import json
import os
import pathlib
import random
import shutil
import socket
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from claims import check, run  # noqa: E402
from cluster import HTTP, LINK, PEERS, TOP, Cluster, request, wait_until  # noqa: E402
from framework import JSON, SCHEDULER, Framework  # noqa: E402

PROTOBUF = "application/x-protobuf"
MANY = 200_000
WHERE = TOP / "build" / "hostile-run" / str(os.getpid())
rng = random.Random(20260)


class World:
    def __init__(self):
        self.cluster = Cluster(WHERE, agents=1)
        self.cluster.start()
        self.cluster.ready()
        self.leader = self.cluster.leader()
        self.honest = Framework(self.leader.host, "honest")
        self.pids = [node.pid for node in self.cluster.masters + self.cluster.agents]
        self.before = self.picture()

    def picture(self) -> tuple:
        """What no hostile input may change: leader, term, and the state hash that all masters have."""
        position = wait_until("masters at rest", 10, self.cluster.same_applied)
        hashes = set(self.cluster.hashes(position))
        check(len(hashes) == 1, f"state hashes differ at {position}: {hashes}")
        status = self.cluster.status(self.leader)
        return self.cluster.leader().name, status["term"], hashes.pop()

    def unharmed(self) -> None:
        alive = [node.pid for node in self.cluster.masters + self.cluster.agents if node.alive()]
        check(alive == self.pids, f"a process ended: {self.cluster.tails(4)}")
        for master in self.cluster.masters:
            check(request(master.host, "GET", "/health")[0] == 200, f"{master.name} does not answer /health")
        check(self.honest.call("RECONCILE", reconcile={"tasks": []}) == 202, "the honest framework is not served")
        now = self.picture()
        check(now == self.before, f"changed: {self.before} to {now}")

    # ---- raw bytes ----

    def talk(self, data: bytes, port: int = HTTP, wait: float = 3, node=None) -> bytes:
        """Sends bytes as they are; what came back until the other side closed, or for `wait` seconds without a byte."""
        answer = b""
        with socket.create_connection(((node or self.leader).host, port), timeout=wait) as sock:
            try:
                sock.sendall(data)
                while len(answer) < 65536:
                    part = sock.recv(65536)
                    if not part:
                        break
                    answer += part
                    if port == HTTP and b"\r\n\r\n" in answer:
                        break
            except OSError:     # cut while we were still sending, or silence
                pass
        return answer

    def refused(self, data: bytes, *codes: int) -> None:
        """The bytes are answered with one of the codes (any 4xx or 5xx if none is given), or the connection is cut."""
        answer = self.talk(data)
        if answer:
            code = int(answer.split(b" ", 2)[1])
            check(code in codes if codes else 400 <= code < 600, f"{data[:60]!r} was answered {answer[:120]!r}")

    def post(self, body: bytes, *codes: int, content: str = JSON) -> None:
        head = f"POST {SCHEDULER} HTTP/1.1\r\nHost: x\r\nContent-Type: {content}\r\nMesos-Stream-Id: {self.honest.stream_id}\r\n"
        self.refused(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body, *codes)


def h02_json(w: World) -> None:
    call = b'{"type":"RECONCILE","framework_id":{"value":"%s"},"reconcile":' % w.honest.id.encode()
    name = b'{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":%s}}}'
    for body in (b"", b"{", b"[]", b"null", b"7", b"[" * MANY, b'{"a":' * MANY, b'{"x":' + b"[" * MANY + b"]" * MANY + b"}",
                 call + b"{}}}", call + b"{}} x", call + b'{}}{"type":"REVIVE"}', call + b'[{"tasks":[]}}', call + b"7}",
                 call + b'{"tasks":[{"task_id":{"value":"a\x00b"}}]}}', call + b'{"tasks":[{"task_id":{"value":"a\\u0000b"}}]}}',
                 call + b'{"tasks":[{"task_id":{"value":"\\ud800"}}]}}', call + b'{"tasks":[{"task_id":{"value":"\xff\xfe"}}]}}',
                 call + b'{"tasks":[{"task_id":{"value":"\xc0\xaf"}}]}}', call + b'{"tasks":[{"task_id":{}}]}}',
                 call + b'{"tasks":[{"task_id":{"value":' + b"[" * 500 + b'"x"' + b"]" * 500 + b"}}]}}",
                 name % b'"a\x01b"', name % b'"\xed\xa0\x80"', name % b'"unterminated', name % b"{", b"\xef\xbb\xbf{}",
                 b'{"type":"NOSUCH"}', b'{"type":3}', b'{"type":"UNKNOWN"}', b'{"type":["KILL"]}',
                 b'{"type":"SUBSCRIBE"}', b'{"type":"KILL","kill":{"task_id":{"value":"a"}}}',
                 b'{"type":"ACKNOWLEDGE","framework_id":{"value":"%s"},"acknowledge":{"agent_id":{"value":"a"},'
                 b'"task_id":{"value":"b"},"uuid":"AAAA"}}' % w.honest.id.encode()):
        w.post(body)


def h02_numbers(w: World) -> None:
    """Numbers out of range: refused in the call, or in the stream that SUBSCRIBE opens; never a framework."""
    head = {"Content-Type": JSON}
    for number in ("NaN", "1e400", "-1", "-1e308", "1e308", '"NaN"', '"-Infinity"', "01", "1.", ".5", "0x10", "+1", "1e"):
        body = ('{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"n","failover_timeout":' + number + "}}}")
        status, _, answer = request(w.leader.host, "POST", SCHEDULER, body, head)
        check(status == 400 or b'"ERROR"' in answer, f"failover_timeout {number} was answered {status} {answer[:80]!r}")


def h03_protobuf(w: World) -> None:
    def field(number: int, kind: int, payload: bytes = b"") -> bytes:
        return bytes([number << 3 | kind]) + payload
    nested = b""
    for _ in range(20_000):
        nested = field(3, 2, struct.pack("<B", min(len(nested), 127))) + nested[:127]
    for body in (b"\x00", b"\xff" * 10, b"\xff" * 4096, field(1, 2, b"\x80\x80\x80\x80\x04"), field(1, 2, b"\xff\xff\xff\xff\x0f"),
                 field(2, 0, b"\xff" * 10 + b"\x01"), field(2, 0, b"\x80" * 11), field(2, 5, b"\x01\x00\x00\x00"), b"\x0b" * MANY,
                 b"\x0b" + b"\x0c", b"\x0c", field(3, 2, b"\x05\x0a"), field(3, 2, b"\xff\xff\xff\x7f"), nested,
                 field(2, 0, b"\x63"), b"\x10\x01", b"\x12\x00" * 5, b"\x07", b"\x06\x00", rng.randbytes(100), rng.randbytes(60_000)):
        w.post(body, content=PROTOBUF)


def h04_resources(w: World) -> None:
    """Each is refused for its task alone: TASK_ERROR in the history, and nothing of the offer is used."""
    def scalar(name: str, value) -> dict:
        return {"name": name, "type": "SCALAR", "scalar": {"value": value}}

    def ports(*pairs) -> dict:
        return {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": a, "end": b} for a, b in pairs]}}
    mem = scalar("mem", 32)
    cases = [[scalar("cpus", "NaN"), mem], [scalar("cpus", "Infinity"), mem], [scalar("cpus", -1), mem], [scalar("cpus", 1e308), mem],
             [scalar("cpus", 1e308), scalar("cpus", 1e308), mem], [scalar("cpus", 0), scalar("mem", 0)],
             [scalar("cpus", 9e15), mem], [scalar("cpus", 1), mem, ports((31010, 31000))], [scalar("cpus", 1), mem, ports((0, 2**64 - 1))],
             [scalar("cpus", 1), mem, ports((31000, 31010), (31005, 31020))], [scalar("cpus", 1), mem, ports((1, 2))],
             [scalar("cpus", 1), mem, ports(*((30000 + i, 30000 + i) for i in range(3000)))],
             [scalar("cpus", 1), mem, {"name": "cpus", "type": "SET", "set": {"item": [""]}}],
             [scalar("cpus", 1), mem, {"name": "", "type": "SCALAR", "scalar": {"value": 1}}], [scalar("cpus", 1), {"name": "mem"}],
             [{"name": "x", "type": "NOSUCH"}], []]
    ids = ["", ".", "..", "a/b", "a\\b", "a\nb", "a\x7fb", "../../etc/passwd", "x" * 256, "x" * 1_000_000]
    good = [scalar("cpus", 0.1), mem]
    for number, (task_id, asked) in enumerate([(f"bad-{i}", case) for i, case in enumerate(cases)] + [(one, good) for one in ids]):
        offer = w.honest.next("OFFERS")["offers"][0]
        task = {"name": "x", "task_id": {"value": task_id}, "agent_id": offer["agent_id"], "command": {"value": "true"}, "resources": asked}
        accept = {"offer_ids": [offer["id"]], "operations": [{"type": "LAUNCH", "launch": {"task_infos": [task]}}],
                  "filters": {"refuse_seconds": 0}}
        status = w.honest.call("ACCEPT", accept=accept)
        if status == 202:
            told = w.honest.next("UPDATE")["status"]
            check(told["state"] == "TASK_ERROR", f"case {number}: {asked} of {task_id[:40]!r} was told {told['state']}")
        else:
            check(status in (400, 413), f"case {number} was answered {status}")
            w.honest.call("DECLINE", decline={"offer_ids": [offer["id"]], "filters": {"refuse_seconds": 0}})
    told = json.loads(request(w.leader.host, "GET", "/tasks?limit=-1")[2])["tasks"]
    check(all(task["state"] == "TASK_ERROR" for task in told), "a refused task is more than history")
    agent = json.loads(request(w.leader.host, "GET", "/slaves")[2])["slaves"][0]
    check(agent["used_resources"]["cpus"] == 0, f"a refused task holds resources: {agent['used_resources']}")
    now = w.picture()       # the refusals are in the history of tasks: the hash is another one, and the same everywhere
    check(now[:2] == w.before[:2], f"leader or term changed: {w.before} to {now}")
    w.before = now


def h05_http(w: World) -> None:
    get, host = b"GET /health HTTP/1.1\r\n", b"Host: x\r\n"
    post = b"POST " + SCHEDULER.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    for data in (get + b"\r\n", get + host + host + b"\r\n", get + host + b"A: b\r\n c\r\n\r\n", get + host + b"A : b\r\n\r\n",
                 get + host + b"A: b\rc\r\n\r\n", get + host + b"A: b\nC: d\r\n\r\n", get + host + b"A: \x00\r\n\r\n",
                 get + host + b"A: " + b"x" * 70_000 + b"\r\n\r\n", get + host + b"A: b\r\n" * 20_000 + b"\r\n",
                 b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + host + b"\r\n", b"GET /health\r\n", b"GET /health HTTP/3.7\r\n" + host + b"\r\n",
                 b"GET /health HTTP/2.0\r\n" + host + b"\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET  HTTP/1.1\r\n" + host + b"\r\n",
                 b"GET /%00 HTTP/1.1\r\n" + host + b"\r\n", b"GET /%zz HTTP/1.1\r\n" + host + b"\r\n", b"GET /% HTTP/1.1\r\n" + host + b"\r\n",
                 b"GET /../etc/passwd HTTP/1.1\r\n" + host + b"\r\n",
                 b"CONNECT x:1 HTTP/1.1\r\n" + host + b"\r\n", b"BREW /health HTTP/1.1\r\n" + host + b"\r\n", b"\x16\x03\x01\x02\x00\x01\x00",
                 post + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", post + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                 post + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", post + b"Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
                 post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", post + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
                 post + b"Transfer-Encoding: chunked\r\n\r\n2;" + b"x" * 5000 + b"\r\n{}\r\n0\r\n\r\n",
                 post + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n", post + b"Content-Length: -1\r\n\r\n",
                 post + b"Content-Length: 1e3\r\n\r\n", post + b"Content-Length: 99999999999999999999\r\n\r\n{}",
                 post + b"Expect: a-miracle\r\nContent-Length: 2\r\n\r\n{}", rng.randbytes(2000)):
        w.refused(data)
    for content in ("text/plain", "application/recordio", "application/json; charset=utf-8", "application/x-protobuf\x0b"):
        w.refused(f"POST {SCHEDULER} HTTP/1.1\r\nHost: x\r\nContent-Type: {content}\r\nContent-Length: 2\r\n\r\n{{}}".encode(), 400, 415)


def h06_time(w: World) -> None:
    """Slow and idle peers cost a connection each, and nobody else anything."""
    idle = []
    try:
        for index in range(300):
            sock = socket.create_connection((w.leader.host, HTTP), timeout=3)
            sock.sendall((b"", b"GET /hea", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")[index % 3])
            idle.append(sock)
        begun = time.monotonic()
        check(request(w.leader.host, "GET", "/health")[0] == 200, "no answer beside 300 slow peers")
        check(time.monotonic() - begun < 2, "slow peers slow others down")
        for sock in idle[::2]:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))   # ends with a reset
    finally:
        for sock in idle:
            sock.close()


def h07_size(w: World) -> None:
    head = (f"POST {SCHEDULER} HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nMesos-Stream-Id: {w.honest.stream_id}\r\n").encode()
    w.refused(head + b"Content-Length: 1073741824\r\n\r\n{", 413)
    w.refused(head + b"Transfer-Encoding: chunked\r\n\r\n" + (b"100000\r\n" + b" " * 0x100000 + b"\r\n") * 6, 413)
    tasks = ",".join('{"name":"x","task_id":{"value":"t%d"},"agent_id":{"value":"a"}}' % i for i in range(50_000))
    w.post(('{"type":"ACCEPT","framework_id":{"value":"%s"},"accept":{"offer_ids":[{"value":"x"}],"operations":[{"type":"LAUNCH",'
            '"launch":{"task_infos":[%s]}}]}}' % (w.honest.id, tasks)).encode(), 413)
    w.post(b'{"type":"RECONCILE","framework_id":{"value":"%s"},"reconcile":{"tasks":[%s]}}'
           % (w.honest.id.encode(), b",".join([b'{"task_id":{"value":"t"}}'] * 1_000_000)), 413)


def identity(w: World) -> None:
    """Calls with another's, a stale or no identity are refused."""
    kill = {"type": "KILL", "kill": {"task_id": {"value": "t"}}}
    for framework_id, stream_id in (("nobody", w.honest.stream_id), (w.honest.id, None), (w.honest.id, "0" * 36), ("", w.honest.stream_id),
                                    ("../x", w.honest.stream_id), (w.honest.id, w.honest.stream_id + "x")):
        headers = {"Content-Type": JSON, **({"Mesos-Stream-Id": stream_id} if stream_id else {})}
        status, _, _ = request(w.leader.host, "POST", SCHEDULER, json.dumps({**kill, "framework_id": {"value": framework_id}}), headers)
        check(400 <= status < 500, f"{framework_id!r} with {stream_id!r} was answered {status}")


def crc32c(data: bytes) -> int:
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def frame(kind: int, payload: bytes, version: int = 1, flags: int = 0, length: int = None, spoil: int = 0) -> bytes:
    head = struct.pack("<IBBHI", 0x4b4c4e43, version, flags, kind, len(payload) if length is None else length)
    return head + struct.pack("<I", crc32c(head + payload) ^ spoil) + payload


def strangers(w: World, port: int) -> None:
    def hello(cluster: bytes, sender: int, to: int, protocol: int = 1, stream: int = 1) -> bytes:
        return struct.pack("<II16sQQQ", protocol, stream, cluster, sender, to, rng.getrandbits(64))
    ours, to = bytes.fromhex(w.cluster.cluster_id), int(w.leader.name[1:])
    # Term 2^61, from somebody who has not said hello, and after the hello of somebody who is no member.
    high = frame(4, struct.pack("<QQQQ", 1, 2**61, 2**40, 2**61))
    for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00" * 5000, rng.randbytes(5000), b"\xff" * 16, frame(1, b""), frame(0, b"x"),
                 frame(65535, b"x" * 100), frame(1, b"x", version=9), frame(1, b"x", flags=0xfe), frame(1, b"x", spoil=1),
                 frame(1, b"x", length=2**32 - 1), frame(1, b"x", length=2**20), frame(1, rng.randbytes(48)), high,
                 frame(1, hello(bytes(16), 1, to)), frame(1, hello(ours, 77, to)) + high, frame(1, hello(ours, to, to)) + high,
                 frame(1, hello(ours, 77, 2**60)), frame(1, hello(ours, 1, to, protocol=99)), frame(1, hello(ours, 0, 0, stream=9)) + high,
                 frame(2, hello(ours, 1, to)), frame(7, rng.randbytes(200)), frame(8, bytes(8) + rng.randbytes(60_000))):
        for master in w.cluster.masters:
            w.talk(data, port, wait=0.05, node=master)
    open_ones = [socket.create_connection((w.leader.host, port), timeout=3) for _ in range(100)]
    for sock in open_ones:
        sock.close()


def main() -> int:
    shutil.rmtree(WHERE, ignore_errors=True)
    w = World()

    def then_unharmed(attack):
        def claim():
            attack(w)
            w.unharmed()
        return claim
    try:
        status = run([
            ("broken JSON is refused", then_unharmed(h02_json)),
            ("numbers out of range make no framework", then_unharmed(h02_numbers)),
            ("broken protobuf is refused", then_unharmed(h03_protobuf)),
            ("impossible resources and ids are an error of their task alone", then_unharmed(h04_resources)),
            ("broken HTTP is refused", then_unharmed(h05_http)),
            ("slow and idle peers harm nobody", then_unharmed(h06_time)),
            ("oversized calls are refused", then_unharmed(h07_size)),
            ("calls under a wrong identity are refused", then_unharmed(identity)),
            ("strangers on the masters' port change nothing", then_unharmed(lambda world: strangers(world, PEERS))),
            ("strangers on the agents' port change nothing", then_unharmed(lambda world: strangers(world, LINK))),
        ])
        if status:
            print(w.cluster.tails())
    finally:
        w.cluster.stop()
    if status == 0:
        shutil.rmtree(WHERE)
    return status


if __name__ == "__main__":
    sys.exit(main())
