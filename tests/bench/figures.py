# SPDX-License-Identifier: Apache-2.0
"""Figures: their statistics, and how they are printed, one JSON object a line or one line of text."""
import json
import math
import statistics
import sys


def percentile(values: list, percent: float) -> float:
    """Nearest rank: the smallest value that at least `percent` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def summary(values: list) -> dict:
    """Statistics of `values`; infinity stands for an answer that never came and is printed as null."""
    if not values:
        return {"n": 0, "min": None, "p50": None, "p90": None, "p99": None, "max": None}
    figures = {"min": min(values), "p50": statistics.median(values), "p90": percentile(values, 90),
               "p99": percentile(values, 99), "max": max(values)}
    return {"n": len(values), **{key: round(value, 3) if math.isfinite(value) else None for key, value in figures.items()}}


class Printer:
    """Prints one figure a line to stdout. `common` holds what is the same for all: bench, rev, file system."""

    def __init__(self, as_json: bool, **common):
        self._as_json, self._common = as_json, common

    def figure(self, metric: str, unit: str, values: list, *, peer: str, timers: str, invalid: int = 0, ratio=None,
               other_cpu: float = 0.0, syncs=None, lost: int = 0, doubled: int = 0, restarted: int = 0, **more) -> None:
        row = {"bench": self._common["bench"], "metric": metric, "unit": unit, **summary(values), "invalid": invalid,
               "ratio": None if ratio is None else round(ratio, 3), "peer": peer, "rev": self._common["rev"], "timers": timers,
               "other_cpu": round(other_cpu, 2), "syncs": None if syncs is None else round(syncs, 3),
               "lost": lost, "doubled": doubled, "restarted": restarted, **self._common, **more}
        if self._as_json:
            print(json.dumps(row), flush=True)
            return
        numbers = "  ".join(f"{key} {row[key]}" for key in ("min", "p50", "p90", "p99", "max") if row["n"])
        facts = "  ".join(f"{key} {row[key]}" for key in ("ratio", "syncs", "lost", "doubled", "restarted") if row[key])
        print(f"{metric:24} {unit:10} n {row['n']} (+{invalid} invalid)  {numbers}  {facts}  "
              f"[{peer} {timers}, other work {row['other_cpu']} CPUs]", flush=True)


def talk(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
