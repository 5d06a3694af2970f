# SPDX-License-Identifier: Apache-2.0
"""A cluster of real processes on loopback, for tests: masters, agents, their folders, and what they answer over HTTP.

Every address is of 127.0.0.0/8 and derived from our process id, every folder below the one that the caller names, and only
processes started here (and the shims of agents started here, known by our folder) are ever signalled."""
import http.client
import json
import os
import pathlib
import secrets
import signal
import socket
import subprocess
import sys
import time

from certificates import Certificates

TOP = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("CONCLAVE_BIN") or str(TOP / "build" / "conclave")
HTTP, LINK, PEERS = 5050, 5061, 5060


class Timeout(Exception):
    """Something that the test waits for did not happen; the text says what."""


def wait_until(what: str, seconds: float, check, pause: float = 0.02):
    """The first true answer of check(); a refused or broken connection counts as not yet."""
    end = time.monotonic() + seconds
    while True:
        try:
            got = check()
            if got:
                return got
        except (OSError, http.client.HTTPException, ValueError):
            pass
        if time.monotonic() > end:
            raise Timeout(f"{what}: not within {seconds} s")
        time.sleep(pause)


def _free_net() -> str:
    """127.X.Y with nobody on the ports we use: from our pid, or the next that is free."""
    for step in range(64):
        number = (os.getpid() + step * 977) % (96 * 254)
        net = f"127.{128 + number // 254}.{1 + number % 254}"
        try:
            for port in (HTTP, PEERS):
                with socket.socket() as probe:
                    probe.bind((f"{net}.11", port))
            return net
        except OSError:
            continue
    raise Timeout("no free loopback addresses")


def request(host: str, method: str, path: str, body=None, headers=None, timeout: float = 5) -> tuple:
    """(status, headers, body) of one request on a connection of its own."""
    connection = http.client.HTTPConnection(host, HTTP, timeout=timeout)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


class Node:
    """One process with its folder, its log file and its address."""

    def __init__(self, name: str, host: str, where: pathlib.Path, arguments: list):
        self.name, self.host, self.dir = name, host, where / name
        self.log, self.arguments, self.process = where / f"{name}.log", arguments, None

    def start(self) -> None:
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @property
    def pid(self) -> int:
        return self.process.pid

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self, sig: int = signal.SIGKILL) -> None:
        if self.alive():
            self.process.send_signal(sig)

    def reap(self, seconds: float = 10) -> int:
        return self.process.wait(timeout=seconds)


class Cluster:
    def __init__(self, where: pathlib.Path, masters: int = 3, agents: int = 3,
                 resources: str = "cpus:8;mem:8192;disk:8192;ports:[31000-31999]", master_flags: tuple = (),
                 tls: bool = False):
        self.where = where
        where.mkdir(parents=True)
        net = _free_net()
        self.cluster_id = secrets.token_hex(16)
        self.certificates = Certificates(BINARY, where / "tls", self.cluster_id) if tls or os.environ.get("CONCLAVE_TEST_TLS") else None
        hosts = [f"{net}.{11 + i}" for i in range(masters)]
        peers = ",".join(f"{i + 1}={host}" for i, host in enumerate(hosts))
        links = ",".join(f"{host}:{LINK}" for host in hosts)
        self.masters = [
            Node(f"m{i + 1}", host, where,
                 [BINARY, "master", "--data-dir", str(where / f"m{i + 1}"), "--cluster-id", self.cluster_id,
                  "--node", str(i + 1), "--peers", peers, *self._tls("master", i + 1), *master_flags])
            for i, host in enumerate(hosts)]
        self.agents = [
            Node(f"a{i + 1}", f"{net}.{21 + i}", where,
                 [BINARY, "agent", "--masters", links, "--work-dir", str(where / f"a{i + 1}"), "--listen",
                  f"{net}.{21 + i}", "--advertise", f"{net}.{21 + i}", "--hostname", f"a{i + 1}", "--resources", resources, *self._tls("agent", "agent")])
            for i in range(agents)]

    def _tls(self, role: str, who) -> list:
        return getattr(self.certificates, role)(who) if self.certificates else []

    @property
    def http(self) -> str:
        return ",".join(f"{node.host}:{HTTP}" for node in self.masters)

    def start(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))     # a test that is ended from outside ends its cluster too
        for node in self.masters + self.agents:
            node.start()

    def ready(self, seconds: float = 30) -> None:
        """A leader that every master names, and all agents registered."""
        wait_until("one leader", seconds, self.leader)
        if self.agents:
            wait_until("every agent registered", seconds, lambda: self.status()["agents"]["active"] >= len(self.agents))

    def named_leader(self, node: Node):
        """The master that `node` names as the leader, or None."""
        status, headers, _ = request(node.host, "GET", "/redirect", timeout=1)
        host = (headers.get("Location") or "").removeprefix("//").split(":")[0]
        return next((master for master in self.masters if status == 307 and master.host == host), None)

    def leader(self):
        """The master that every living master names as the leader, or None."""
        named = [self.named_leader(master) for master in self.masters if master.alive()]
        return named[0] if named and named[0] and all(one is named[0] for one in named) else None

    def likely_leader(self):
        """The master that most of the living ones name, or None: one of them may hold, or be cut off, and name nobody."""
        named = [self.named_leader(master) for master in self.masters if master.alive()]
        return max((one for one in named if one), key=named.count, default=None)

    def leading(self) -> "Node":
        """The leader, waited for: between two terms there is none for a moment."""
        return wait_until("a leader", 20, self.leader)

    def status(self, node: Node = None) -> dict:
        node = node or self.leader()
        if not node:
            raise ValueError("no leader")
        _, _, body = request(node.host, "GET", "/conclave/v1/status")
        return json.loads(body)

    def same_applied(self) -> int:
        """The applied position of every living master if it is the same and all has been applied, else 0."""
        told = [self.status(master) for master in self.masters if master.alive()]
        applied = {one["applied"] for one in told}
        return applied.pop() if len(applied) == 1 and all(one["commit"] == one["applied"] for one in told) else 0

    def hashes(self, position: int) -> list:
        """Every living master's state hash at this position."""
        answers = [request(master.host, "GET", f"/conclave/v1/hash?index={position}") for master in self.masters if master.alive()]
        return [json.loads(body)["hash"] if status == 200 else f"{status} {body.decode()}" for status, _, body in answers]

    def conclave(self, *arguments, timeout: float = 30) -> subprocess.CompletedProcess:
        """Runs the binary as an operator of this cluster would."""
        return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
                              env={**os.environ, "CONCLAVE_MASTERS": self.http}, check=False)

    def _left_behind(self) -> list:
        """Shims that agents of ours left behind (their command line names our folder), and all below them."""
        parents, shims, mark = {}, set(), os.fsencode(str(self.where)) + b"/"
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                with open(f"/proc/{entry.name}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
                with open(f"/proc/{entry.name}/stat", encoding="ascii", errors="replace") as file:
                    parents[int(entry.name)] = int(file.read().rsplit(")", 1)[1].split()[1])
            except OSError:     # it ended meanwhile
                continue
            if b"shim" in words and any(mark in word for word in words):
                shims.add(int(entry.name))
        ours, size = set(shims), -1
        while len(ours) != size:
            size = len(ours)
            ours |= {pid for pid, parent in parents.items() if parent in ours}
        return sorted(ours)

    def stop(self) -> None:
        for node in self.agents + self.masters:
            node.kill()
        for node in self.agents + self.masters:
            if node.process:
                node.reap()
        for pid in self._left_behind():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def tails(self, lines: int = 12) -> str:
        """The ends of all logs, for a report of a failure."""
        texts = []
        for node in self.masters + self.agents:
            text = node.log.read_text(errors="replace").splitlines()[-lines:] if node.log.exists() else []
            texts.append(f"--- {node.log}\n" + "\n".join(text))
        return "\n".join(texts)
