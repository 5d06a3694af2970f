# SPDX-License-Identifier: Apache-2.0
"""What a cluster must offer to be measured. etcd.py is one; conclave.py is ours. The benches know only this face, so
both are measured by the same code with the same clock.

A cluster is three member processes on loopback with their data in one folder on a real disk.
"""
import abc
import dataclasses
import os
import shutil
import signal
import subprocess
import tempfile

MEMBERS = 3


@dataclasses.dataclass
class Load:
    """What one stretch of load measured."""
    per_s: float            # acknowledged transitions a second, counted by the cluster, not by the client
    latency_ms: list        # of each answered request
    syncs: float            # WAL syncs of the leader per transition
    cpu_us: float = 0       # CPU time of all members together per transition; 0: not told


class Members:
    """The member processes. Ends them by their own handles, never by name, and removes their folder."""

    def __init__(self, where: str, name: str):
        self.dir = tempfile.mkdtemp(prefix=f"{name}-", dir=where)
        self.processes = {}

    def spawn(self, key: str, argv: list, env: dict = None) -> subprocess.Popen:
        with open(f"{self.dir}/{key}.log", "ab") as log:
            self.processes[key] = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env,
                                                   cwd=self.dir)
        return self.processes[key]

    def reap(self, key: str) -> None:
        """Ends a member that was killed or stopped, and waits for its end."""
        process = self.processes[key]
        if process.poll() is None:
            process.kill()
            process.wait(timeout=30)

    def pids(self) -> list:
        return [process.pid for process in self.processes.values() if process.poll() is None]

    def close(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait(timeout=30)
        shutil.rmtree(self.dir, ignore_errors=True)


class Peer(abc.ABC):
    """A cluster under test. Used as a context manager: entering starts it and waits for a leader."""

    name = ""               # as it stands in the figures' key `peer`
    timers = ""             # "heartbeat/election timeout" in ms

    def __init__(self, where: str):
        self.members = Members(where, self.name)

    def __enter__(self):
        try:
            for index in range(MEMBERS):
                self.start(index)
            self.leader()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self.members.close()

    def pids(self) -> list:
        """Every process of the cluster: their CPU time is the cluster's, all other is 'other'."""
        return self.members.pids()

    def kill(self, index: int, sig: int) -> None:
        os.kill(self.members.processes[str(index)].pid, sig)

    def restart(self, index: int) -> None:
        """After kill(): ends the member for good, starts it again and waits until it follows."""
        self.members.reap(str(index))
        self.start(index)
        self.settle()

    @abc.abstractmethod
    def start(self, index: int) -> None:
        """Starts one member's process under the key str(index)."""

    @abc.abstractmethod
    def leader(self, timeout_s: float = 30) -> int:
        """Waits until all living members agree on a leader; returns its index or raises TimeoutError."""

    @abc.abstractmethod
    def settle(self) -> None:
        """Waits until every member runs and has caught up, so that the next fault is the only one."""

    @abc.abstractmethod
    def commit_once(self, index: int) -> bool:
        """Sends one durable write to a member; True when it was acknowledged. Gives up by itself in about 0.15 s; may
        follow a redirect within that. Called from several threads at once."""

    def offer_once(self, index: int) -> bool:
        """Connects a framework to a member and waits for an offer; True when one came. Only Conclave has offers."""
        raise NotImplementedError(f"{self.name} has no offers")

    @abc.abstractmethod
    def fill(self, count: int) -> None:
        """Brings `count` standing tasks (or keys of a task's size) into the state."""

    @abc.abstractmethod
    def load(self, connections: int, depth: int, seconds: int) -> Load:
        """Runs a load process against the leader: `depth` requests in flight on each connection."""

    def round_begin(self) -> None:
        """Failover: before each fault. Starts or checks the load that the round needs."""

    def round_end(self) -> dict:
        """Failover: after each fault. {'valid': was the load what the bench asks for, 'lost': n, 'doubled': n,
        'restarted': n}: tasks that did not survive the round as they should."""
        return {"valid": True, "lost": 0, "doubled": 0, "restarted": 0}
