# SPDX-License-Identifier: Apache-2.0
"""Debian's etcd as a peer: three members on loopback, fsync on, 256-byte values.

Writes of the failover bench go through its JSON gateway; the load of the commit bench is h2load speaking gRPC to the
leader, a C client, so that the CPUs are etcd's. Acknowledged writes are counted from etcd's own revision.
"""
import base64
import concurrent.futures
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time

from machine import CannotMeasure
from peer import MEMBERS, Load, Peer

VALUE = b"v" * 256              # about one task status report
TXN_PUTS = 100                  # etcd allows 128 operations in a transaction
ATTEMPT_S = 0.15
BACKGROUND_PER_S = 100          # the failover bench's load


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _field(number: int, data: bytes) -> bytes:
    """One length-delimited protobuf field."""
    size, varint = len(data), b""
    while True:
        varint += bytes([size & 127 | (128 if size > 127 else 0)])
        size >>= 7
        if not size:
            return bytes([number << 3 | 2]) + varint + data


class Etcd(Peer):
    name = "etcd"

    def __init__(self, where: str, heartbeat_ms: int = 50, election_ms: int = 300):
        for program in ("etcd", "h2load"):
            if shutil.which(program) is None:
                raise CannotMeasure(f"{program} is not installed: ./dev deps bench")
        super().__init__(where)
        self.timers = f"{heartbeat_ms}/{election_ms}"
        self._timer_flags = ["--heartbeat-interval", str(heartbeat_ms), "--election-timeout", str(election_ms)]
        self._ports = self._free_ports(2 * MEMBERS)
        self._background = None
        self._stop_background = threading.Event()

    @staticmethod
    def _free_ports(count: int) -> list:
        held = [socket.socket() for _ in range(count)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in held]
        for one in held:
            one.close()
        return ports

    def _client(self, index: int) -> str:
        return f"http://127.0.0.1:{self._ports[index]}"

    def _peer(self, index: int) -> str:
        return f"http://127.0.0.1:{self._ports[MEMBERS + index]}"

    def start(self, index: int) -> None:
        cluster = ",".join(f"m{other}={self._peer(other)}" for other in range(MEMBERS))
        self.members.spawn(str(index), [
            "etcd", "--name", f"m{index}", "--data-dir", f"{self.members.dir}/m{index}", "--initial-cluster", cluster,
            "--listen-client-urls", self._client(index), "--advertise-client-urls", self._client(index),
            "--listen-peer-urls", self._peer(index), "--initial-advertise-peer-urls", self._peer(index),
            "--quota-backend-bytes", str(8 << 30), "--logger", "zap", "--log-level", "error", *self._timer_flags],
            dict(os.environ, ETCD_UNSUPPORTED_ARCH=""))

    def _post(self, index: int, path: str, body: dict, timeout_s: float = 5) -> dict:
        connection = http.client.HTTPConnection("127.0.0.1", self._ports[index], timeout=timeout_s)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            data = answer.read()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()
        if answer.status != 200:
            raise OSError(f"status {answer.status}")
        return json.loads(data)

    def _status(self, index: int) -> dict:
        return self._post(index, "/v3/maintenance/status", {}, 1)

    def leader(self, timeout_s: float = 30) -> int:
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            try:
                status = [self._status(index) for index in range(MEMBERS)]
                named = {one.get("leader") for one in status}
                if len(named) == 1 and named.isdisjoint({None, "0"}):
                    return next(index for index in range(MEMBERS) if status[index]["header"]["member_id"] in named)
            except (OSError, ValueError, KeyError, StopIteration):
                pass
            time.sleep(0.05)
        raise TimeoutError("etcd agreed on no leader")

    def settle(self) -> None:
        self.leader()
        for index in range(MEMBERS):
            for _ in range(100):
                if self.commit_once(index):
                    break
                time.sleep(0.05)

    def commit_once(self, index: int) -> bool:
        try:
            answer = self._post(index, "/v3/kv/put", {"key": _base64(b"/failover"), "value": _base64(b"x")}, ATTEMPT_S)
        except (OSError, ValueError):
            return False
        return "revision" in answer.get("header", {})

    def fill(self, count: int) -> None:
        def put(first: int) -> None:
            puts = [{"requestPut": {"key": _base64(b"/task/%08d" % key), "value": _base64(VALUE)}}
                    for key in range(first, min(first + TXN_PUTS, count))]
            self._post(leader, "/v3/kv/txn", {"success": puts}, 30)
        leader = self.leader()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for _ in pool.map(put, range(0, count, TXN_PUTS)):
                pass

    def _syncs(self, index: int) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self._ports[index], timeout=5)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return int(float(re.search(r"^etcd_disk_wal_fsync_duration_seconds_count (\S+)", text, re.M).group(1)))

    def load(self, connections: int, depth: int, seconds: int) -> Load:
        leader = self.leader()
        message = _field(1, b"/task/00000001") + _field(2, VALUE)
        payload, log = f"{self.members.dir}/payload", f"{self.members.dir}/h2load.log"
        with open(payload, "wb") as file:
            file.write(b"\0" + len(message).to_bytes(4, "big") + message)
        if os.path.exists(log):
            os.unlink(log)
        before, syncs = int(self._status(leader)["header"]["revision"]), self._syncs(leader)
        subprocess.run(["h2load", "-D", str(seconds), "-c", str(connections), "-m", str(depth), "-d", payload,
                        "-H", "content-type: application/grpc", "-H", "te: trailers", "--log-file", log,
                        self._client(leader) + "/etcdserverpb.KV/Put"], capture_output=True, check=True, timeout=seconds + 60)
        count = int(self._status(leader)["header"]["revision"]) - before
        syncs = self._syncs(leader) - syncs
        with open(log, encoding="ascii") as file:
            latency_ms = [int(line.split()[2]) / 1e3 for line in file]
        # What was in flight when the time ran out was committed but not answered.
        return Load(min(count, len(latency_ms)) / seconds, latency_ms, syncs / max(count, 1))

    def round_begin(self) -> None:
        """100 puts a second, spread over the members, as Conclave has its 100 commits a second."""
        def work() -> None:
            count = 0
            while not self._stop_background.wait(1 / BACKGROUND_PER_S):
                count += 1
                self.commit_once(count % MEMBERS)
        self._stop_background.clear()
        self._background = threading.Thread(target=work, daemon=True)
        self._background.start()
        time.sleep(0.3)

    def round_end(self) -> dict:
        self._stop_background.set()
        self._background.join(5)
        return super().round_end()

    def close(self) -> None:
        self._stop_background.set()
        super().close()
