# SPDX-License-Identifier: Apache-2.0
"""The hand-over bench: how long a write waits when the leader is told to stop (SIGTERM).

Writers send durable writes one after another, each on a connection of its own to the master that led last; on 307 they follow, on 503
or a broken connection they try the next master at once. The clock of a write runs from its first byte sent to the answer that says it is
committed, whatever lies between. For each hand-over are told: the slowest of the writes that were under way at any time between the signal
and the end of the process, and all of them together. The load of the failover bench runs beside.
"""
import dataclasses
import http.client
import signal
import threading
import time

from figures import talk
from machine import Meter, wait_for_quiet

WRITERS = 4
PAUSE_S = 0.001             # a writer between two writes, and before it tries another master
WRITE_LIMIT_S = 10.0        # a write without an answer for so long is lost: infinite in the figures


@dataclasses.dataclass
class Writer:
    """Writes until told to stop; keeps (begun, ended) of every write, `ended` infinite for one that failed."""
    masters: list
    leader: int
    writes: list = dataclasses.field(default_factory=list)
    redirects: int = 0
    refused: int = 0        # 503
    broken: int = 0         # connections
    odd: int = 0            # any other answer
    stopped: bool = False
    connection: http.client.HTTPConnection = None
    begun: float = 0.0      # of the write under way

    def once(self) -> bool:
        """One attempt of the write under way; True when it was acknowledged."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.masters[self.leader], 5050, timeout=1)
        try:
            self.connection.request("POST", "/conclave/v1/config", "{}")
            answer = self.connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self.broken += 1
            self.move((self.leader + 1) % len(self.masters))
            return False
        if answer.status == 200:
            return True
        if answer.status == 307:
            self.redirects += 1
            self.move(self.masters.index(answer.headers["Location"].removeprefix("//").split(":")[0]))
            return False
        self.refused += answer.status == 503
        self.odd += answer.status != 503
        time.sleep(PAUSE_S)
        self.move((self.leader + 1) % len(self.masters))
        return False

    def move(self, leader: int) -> None:
        if self.connection is not None:
            self.connection.close()
        self.connection, self.leader = None, leader

    def run(self) -> None:
        while not self.stopped:
            self.begun = begun = time.monotonic()
            done = self.once()
            while not done and not self.stopped and time.monotonic() < begun + WRITE_LIMIT_S:
                done = self.once()
            self.writes.append((begun, time.monotonic() if done else float("inf")))
            time.sleep(PAUSE_S)
        self.move(self.leader)


def one_round(peer) -> tuple:
    """(waits of the writes under way in ms, hand-over in ms, exit status, writers, other work, health)"""
    leader = peer.leader()
    peer.round_begin()
    writers = [Writer(peer.hosts(), leader) for _ in range(WRITERS)]
    threads = [threading.Thread(target=writer.run, daemon=True) for writer in writers]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    meter = Meter(peer.pids())
    process = peer.members.processes[str(leader)]
    t0 = time.monotonic()
    process.send_signal(signal.SIGTERM)
    status = process.wait(timeout=30)
    t1 = time.monotonic()
    time.sleep(0.3)
    other = meter.stop()
    for writer in writers:
        writer.stopped = True
    for thread in threads:
        thread.join(WRITE_LIMIT_S + 5)
    waits = [(ended - begun) * 1e3 for writer in writers for begun, ended in writer.writes if ended > t0 and begun < t1]
    peer.start(leader)
    peer.settle()
    return waits, (t1 - t0) * 1e3, status, writers, other, peer.round_end()


def report(printer, peer, count: int) -> int:
    slowest, every, took, other_cpu = [], [], [], []
    sums = {"lost": 0, "doubled": 0, "restarted": 0}
    told = {"redirects": 0, "refused": 0, "broken": 0, "odd": 0}
    invalid = wrong = 0
    while len(slowest) < count and invalid <= count:
        wait_for_quiet(peer.pids(), timeout_s=5)
        waits, ms, status, writers, other, health = one_round(peer)
        wrong += (status != 0) + sum(writer.odd for writer in writers) + (not waits)
        for key in sums:
            sums[key] += health[key]
        for key in told:
            told[key] += sum(getattr(writer, key) for writer in writers)
        talk(f"hand-over {len(slowest) + 1}: {len(waits)} writes, slowest {max(waits, default=0):.1f} ms, the process ended after {ms:.0f} ms"
             + ("" if health["valid"] else f" (invalid: {health['why']})"))
        if not health["valid"]:
            invalid += 1
            continue
        slowest.append(max(waits))
        every += waits
        took.append(ms)
        other_cpu.append(other)
    facts = {"peer": peer.name, "timers": peer.timers, "invalid": invalid, "other_cpu": sum(other_cpu) / max(len(other_cpu), 1), **sums, **told}
    printer.figure("handover_slowest_write_ms", "ms", slowest, **facts)
    printer.figure("handover_write_ms", "ms", every, **facts)
    printer.figure("handover_process_end_ms", "ms", took, **facts)
    return 1 if wrong or any(sums.values()) or len(slowest) < count else 0
