# SPDX-License-Identifier: Apache-2.0
"""Conclave as it is measured: three masters of build/conclave on loopback; for failovers three agents and the load of w01.py."""
import http.client
import json
import os
import pathlib
import secrets
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from certificates import Certificates  # noqa: E402
from figures import talk  # noqa: E402
from machine import TOP, CannotMeasure  # noqa: E402
from peer import MEMBERS, Load, Peer  # noqa: E402

AGENTS = 3
ATTEMPT_S = 0.15
OFFER_ATTEMPT_S = 2.0
HEARTBEAT_MS, ELECTION_MS = 50, 300
ALIVE, COMMITS, IN_FLIGHT = 200, 100, 100   # what a valid round of failover has at its fault
LOAD_READY_S = 60
# Tasks launched before a load, by requests in flight and second; a load that runs out of them ends early and is measured
# over the time that it took. The tasks are one framework's, and its removal touches each of them in one command.
TASKS_PER_S = {1: 12_000, 100: 80_000, 1000: 120_000}
TASKS_MAX = 100_000


class Conclave(Peer):
    name = "conclave"
    timers = f"{HEARTBEAT_MS}/{ELECTION_MS}"

    def __init__(self, where: str, binary: str = None, w01: list = (), snapshot_mb: int = 64,
                 tls: bool = False):
        self._binary = pathlib.Path(binary or os.environ.get("CONCLAVE_BIN") or TOP / "build" / "conclave")
        self._w01_flags = list(w01)
        self._snapshot_mb = snapshot_mb
        self._load_program = pathlib.Path(os.environ.get("CONCLAVE_COMMIT_LOAD") or self._binary.parent / "tests" / "bench" / "commit_load")
        if not self._binary.exists():
            raise CannotMeasure(f"{self._binary} is missing: ./dev bench builds it")
        super().__init__(where)
        net = f"127.{64 + os.getpid() // 256 % 128}.{os.getpid() % 256}"
        self._masters = [f"{net}.{11 + index}" for index in range(MEMBERS)]
        self._agents = [f"{net}.{21 + index}" for index in range(AGENTS)]
        self._cluster_id = secrets.token_hex(16)
        self._certificates = Certificates(self._binary, f"{self.members.dir}/tls", self._cluster_id) if tls else None
        self.timers += " TLS" if tls else ""
        self._load = None
        self._seen = {}
        self._reported = {"lost": 0, "doubled": 0, "restarted": 0}
        self._valid = (True, "")

    def start(self, index: int, *more) -> None:
        peers = ",".join(f"{number + 1}={host}" for number, host in enumerate(self._masters))
        self.members.spawn(str(index), [
            str(self._binary), "master", "--data-dir", f"{self.members.dir}/m{index}", "--cluster-id", self._cluster_id,
            "--node", str(index + 1), "--peers", peers, "--agent-timeout-ms", "86400000",
            "--heartbeat-ms", str(HEARTBEAT_MS), "--election-ms", str(ELECTION_MS), "--snapshot-mb", str(self._snapshot_mb),
            *(self._certificates.master(index + 1) if self._certificates else []), *more])

    def reinstall(self, index: int) -> None:
        """Starts a member whose data is damaged: it has it anew from the leader."""
        self.start(index, "--reinstall")

    # ---- requests ----

    def _request(self, host: str, method: str, path: str, body: str, timeout_s: float) -> tuple:
        connection = http.client.HTTPConnection(host, 5050, timeout=timeout_s)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    def _status(self, index: int) -> dict:
        status, _, body = self._request(self._masters[index], "GET", "/conclave/v1/status", None, 1)
        if status != 200:
            raise OSError(f"status {status}")
        return json.loads(body)

    def status(self, index: int) -> dict:
        """What this master says of the cluster and itself."""
        return self._status(index)

    def load_program(self) -> pathlib.Path:
        return self._load_program

    def leader(self, timeout_s: float = 30) -> int:
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            try:
                status = [self._status(index) for index in range(MEMBERS)]
                named = {(one["term"], one.get("leader", {}).get("id", 0)) for one in status}
                if len(named) == 1:
                    leader = named.pop()[1]
                    if leader and "agents_back" in status[leader - 1]:
                        return leader - 1
            except (OSError, ValueError):
                pass
            time.sleep(0.02)
        raise TimeoutError("conclave agreed on no leader")

    def settle(self) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            leader = self.leader()
            members = self._status(leader)["members"]
            if all(int(one.get("lag_entries", 1)) < 50 and one["contact_ms"] >= 0 for one in members):
                return
            time.sleep(0.02)
        raise TimeoutError("a member did not catch up")

    def commit_once(self, index: int) -> bool:
        """An operator's write that changes nothing: it is answered after its commit, like any other."""
        end, host = time.monotonic() + ATTEMPT_S, self._masters[index]
        for _ in range(3):
            left = end - time.monotonic()
            if left <= 0:
                return False
            status, headers, _ = self._request(host, "POST", "/conclave/v1/config", "{}", left)
            if status != 307:
                return status == 200
            host = headers["Location"].removeprefix("//").split(":")[0]
        return False

    def offer_once(self, index: int) -> bool:
        end, host = time.monotonic() + OFFER_ATTEMPT_S, self._masters[index]
        body = json.dumps({"type": "SUBSCRIBE", "subscribe": {"framework_info": {"user": "root", "name": "probe"}}})
        while time.monotonic() < end:
            connection = http.client.HTTPConnection(host, 5050, timeout=max(0.01, end - time.monotonic()))
            try:
                connection.request("POST", "/api/v1/scheduler", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                if answer.status == 307:
                    host = answer.headers["Location"].removeprefix("//").split(":")[0]
                    continue
                if answer.status != 200:
                    return False
                while time.monotonic() < end:
                    size = answer.readline()
                    if not size:
                        return False
                    if json.loads(answer.read(int(size)))["type"] == "OFFERS":
                        return True
            except (http.client.HTTPException, ValueError) as error:
                raise OSError(str(error)) from error
            finally:
                connection.close()
        return False

    # ---- failover: agents and the load ----

    def _start_agents(self) -> None:
        masters = ",".join(f"{host}:5061" for host in self._masters)
        for index, host in enumerate(self._agents):
            self.members.spawn(f"a{index}", [
                str(self._binary), "agent", "--work-dir", f"{self.members.dir}/a{index}", "--masters", masters, "--listen", host,
                "--advertise", host, "--hostname", f"a{index}", "--resources", "cpus:100;mem:100000;disk:100000",
                *(self._certificates.agent() if self._certificates else [])])

    def _start_load(self) -> None:
        masters = ",".join(f"{host}:5050" for host in self._masters)
        self._load = subprocess.Popen([sys.executable, str(TOP / "tests" / "bench" / "w01.py"), f"{self.members.dir}/ledgers", masters,
                                       *self._w01_flags],
                                      stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)

        def read() -> None:
            for line in self._load.stdout:
                self._seen = json.loads(line)
        threading.Thread(target=read, daemon=True).start()

    def _load_stands(self) -> str:
        """"" if the load is what the bench asks for, else what is missing."""
        for key, least in (("alive", ALIVE), ("commits", COMMITS), ("in_flight", IN_FLIGHT)):
            if self._seen.get(key, 0) < least:
                return f"{key} {self._seen.get(key, 0)} of {least}"
        return ""

    def start_load(self) -> None:
        """Agents, and two frameworks that keep tasks alive on them."""
        self._start_agents()
        self._start_load()

    def seen(self) -> dict:
        """What the load said of itself last; see w01.py."""
        return self._seen

    def hosts(self) -> list:
        return self._masters

    def master_addresses(self) -> list:
        return [f"{host}:5050" for host in self._masters]

    def round_begin(self) -> None:
        if self._load is None:
            self.start_load()
        end = time.monotonic() + LOAD_READY_S
        while self._load_stands() and time.monotonic() < end:
            time.sleep(0.05)
        missing = self._load_stands()
        self._valid = (not missing, missing)

    def round_end(self) -> dict:
        time.sleep(0.5)     # what the agents and frameworks had to say has been said
        valid, why = self._valid
        now = {key: self._seen.get(key, 0) for key in self._reported}
        new = {key: now[key] - self._reported[key] for key in now}
        self._reported = now
        if any(new.values()):
            talk(f"conclave: {new}, {self._seen}")
        return {"valid": valid, "why": why, **new}

    def close(self) -> None:
        if self._load is not None:
            self._load.kill()
            self._load.wait(timeout=10)
        super().close()

    # ---- commit: the load program ----

    def _run_load(self, arguments: list, timeout_s: float) -> str:
        host = self._masters[self.leader()]
        done = subprocess.run([str(self._load_program), "--http", f"{host}:5050", "--link", f"{host}:5061",
                               *(self._certificates.agent() if self._certificates else []), *arguments],
                              capture_output=True, text=True, check=False, timeout=timeout_s)
        if done.returncode:
            raise CannotMeasure(f"the load failed: {done.stderr.strip()}")
        return done.stdout

    def fill(self, count: int) -> None:
        self._run_load(["--connections", "10", "--fill", str(count)], 300)

    def load(self, connections: int, depth: int, seconds: int) -> Load:
        tasks = min(TASKS_PER_S.get(connections * depth, 100_000) * seconds, TASKS_MAX)
        figures = json.loads(self._run_load(["--connections", str(connections), "--depth", str(depth), "--seconds", str(seconds),
                                             "--tasks", str(tasks), "--pids", ",".join(str(pid) for pid in self.members.pids())], 600))
        transitions = max(figures["transitions"], 1)
        return Load(figures["per_s"], [us / 1e3 for us in figures["latency_us"]], figures["writes"] / transitions,
                    sum(figures["cpu_us"]) / transitions)
