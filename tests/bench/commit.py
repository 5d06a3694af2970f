# SPDX-License-Identifier: Apache-2.0
"""The commit bench: transitions a second and the latency of one, Conclave and etcd in turn, over the same loads."""
import statistics

from figures import percentile, talk
from machine import Meter, wait_for_quiet

LOADS = ((1, 1), (10, 10), (10, 100))       # connections x requests in flight on each
STANDING_TASKS = 100_000


def measure(peers: list, turns: int, seconds: int) -> dict:
    """{(peer name, in flight): {'per_s': [...], 'p50_ms': [...], 'syncs': [...], 'cpu_us': [...], 'other_cpu': [...]}}, one value a turn.
    The clusters take turns, so that a slow minute of the machine hits both."""
    rows = {}
    for turn in range(turns):
        for connections, depth in LOADS:
            for peer in peers:
                wait_for_quiet(peer.pids())
                meter = Meter(peer.pids())
                load = peer.load(connections, depth, seconds)
                other = meter.stop()
                row = rows.setdefault((peer.name, connections * depth), {"per_s": [], "p50_ms": [], "p99_ms": [], "syncs": [], "cpu_us": [], "other_cpu": []})
                row["per_s"].append(load.per_s)
                row["p50_ms"].append(percentile(load.latency_ms, 50))
                row["p99_ms"].append(percentile(load.latency_ms, 99))
                row["syncs"].append(load.syncs)
                row["cpu_us"].append(load.cpu_us)
                row["other_cpu"].append(other)
                talk(f"{peer.name} turn {turn + 1}: {connections}x{depth} in flight: {load.per_s:.0f}/s, "
                     f"p50 {row['p50_ms'][-1]:.2f} ms, p99 {row['p99_ms'][-1]:.2f} ms")
    return rows


def report(printer, peers: list, rows: dict) -> None:
    ours = next((peer for peer in peers if peer.name == "conclave"), None)
    theirs = next((peer for peer in peers if peer.name == "etcd"), None)
    for connections, depth in LOADS:
        in_flight = connections * depth
        for peer in peers:
            row = rows[(peer.name, in_flight)]
            facts = {"peer": peer.name, "timers": peer.timers, "other_cpu": statistics.mean(row["other_cpu"]),
                     "syncs": statistics.median(row["syncs"])}
            if any(row["cpu_us"]):
                facts["cpu_us"] = statistics.median(row["cpu_us"])
            prefix = "" if peer is ours else f"{peer.name}_"
            printer.figure(f"{prefix}transitions_per_s_{in_flight}", "1/s", row["per_s"], **facts)
            if in_flight == 1:
                printer.figure(f"{prefix}commit_ms_1", "ms", row["p50_ms"], p99_of_turns=row["p99_ms"], **facts)
        if ours and theirs:
            row, other = rows[(ours.name, in_flight)], rows[(theirs.name, in_flight)]
            ratio = statistics.median(row["per_s"]) / max(statistics.median(other["per_s"]), 1e-9)
            printer.figure(f"transitions_vs_etcd_{in_flight}", "ratio", [a / max(b, 1e-9) for a, b in zip(row["per_s"], other["per_s"])],
                           peer=theirs.name, timers=theirs.timers, ratio=ratio,
                           other_cpu=statistics.mean(row["other_cpu"] + other["other_cpu"]))
