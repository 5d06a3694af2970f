# SPDX-License-Identifier: Apache-2.0
"""The failover bench: how long after a fault of the leader the cluster answers again.

The clock: this process takes t0, then calls kill(2); the figure ends with the answer to a request first sent after t0.
All survivors are asked, from 4 threads each, and each request gives up by itself, so that none waits on a dead end.
A round whose load was not what it should be is invalid: it is counted, and repeated.
"""
import dataclasses
import signal
import threading
import time

from figures import talk
from machine import Meter, wait_for_quiet
from peer import MEMBERS

THREADS = 4
LIMIT_S = 30.0
PAUSE_S = 0.002
INVALID_MAX = 1.0       # gives up when there are more invalid rounds than this many times the rounds asked for


@dataclasses.dataclass
class Series:
    values: list = dataclasses.field(default_factory=list)
    invalid: int = 0
    other_cpu: list = dataclasses.field(default_factory=list)
    lost: int = 0
    doubled: int = 0
    restarted: int = 0


def first_answer_ms(attempts: dict, fault) -> dict:
    """Calls fault() and asks all the while; attempts: name -> (function of a target, list of targets). Returns name ->
    milliseconds from just before the fault to the first success, None when there was none within LIMIT_S."""
    first, lock, threads = {}, threading.Lock(), []
    started = threading.Event()
    clock = {}

    def ask(name: str, attempt, target, place: int) -> None:
        started.wait()
        time.sleep(place * PAUSE_S)
        while name not in first and time.monotonic() - clock["t0"] < LIMIT_S:
            try:
                answered = attempt(target)
            except OSError:
                answered = False
            if answered:
                with lock:
                    first.setdefault(name, time.monotonic())
                return
            time.sleep(PAUSE_S)

    for name, (attempt, targets) in attempts.items():
        for target in targets:
            for place in range(THREADS):
                threads.append(threading.Thread(target=ask, args=(name, attempt, target, place), daemon=True))
    for thread in threads:
        thread.start()
    clock["t0"] = time.monotonic()
    fault()
    started.set()
    for thread in threads:
        thread.join(LIMIT_S + 10)
    return {name: (first[name] - clock["t0"]) * 1e3 if name in first else None for name in attempts}


def one_round(peer, sig: int, with_offers: bool) -> tuple:
    leader = peer.leader()
    peer.round_begin()
    survivors = [index for index in range(MEMBERS) if index != leader]
    attempts = {"commit": (peer.commit_once, survivors)}
    if with_offers:
        attempts["offer"] = (peer.offer_once, survivors)
    meter = Meter(peer.pids())
    took = first_answer_ms(attempts, lambda: peer.kill(leader, sig))
    other = meter.stop()
    peer.restart(leader)
    return took, other, peer.round_end()


def rounds(peer, count: int, sig: int, with_offers: bool = False) -> dict:
    """Runs `count` valid rounds; returns {'commit': Series, 'offer': Series}. A figure without an answer is infinite: it
    is a failure to see in `max`, never a round to repeat."""
    series = {name: Series() for name in (("commit", "offer") if with_offers else ("commit",))}
    valid = invalid = 0
    while valid < count:
        # The phase of the members' timers at the fault must not follow the bench's own rhythm.
        time.sleep(0.2 + 0.037 * (valid + invalid) % 0.4)
        wait_for_quiet(peer.pids(), timeout_s=5)
        took, other, health = one_round(peer, sig, with_offers)
        if not health["valid"]:
            invalid += 1
            if invalid > INVALID_MAX * count:
                talk(f"{peer.name}: {invalid} invalid rounds, giving up")
                break
        else:
            valid += 1
        for name, one in series.items():
            one.invalid = invalid
            if health["valid"]:
                one.values.append(took[name] if took[name] is not None else float("inf"))
                one.other_cpu.append(other)
            one.lost, one.doubled, one.restarted = (one.lost + health["lost"], one.doubled + health["doubled"],
                                                    one.restarted + health["restarted"])
        talk(f"{peer.name} round {valid + invalid}: {signal.Signals(sig).name} of the leader, "
             + ", ".join(f"{name} after {ms if ms is None else round(ms)} ms" for name, ms in took.items())
             + ("" if health["valid"] else f" (invalid: {health.get('why', 'too little load')})"))
    return series
