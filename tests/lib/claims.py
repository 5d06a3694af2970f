# SPDX-License-Identifier: Apache-2.0
"""A test program of claims: functions named by what they claim, run in order, counted in the closing lines that ctest's
reader knows. A claim fails by any exception; the ones behind it run all the same."""
import sys
import time
import traceback


def run(claims: list) -> int:
    """Runs each (name, function) and prints the verdicts. Returns the exit status."""
    failed = []
    for name, function in claims:
        begun = time.monotonic()
        try:
            function()
            verdict = "      OK"
        except Exception:       # whatever it is, the claim does not hold
            traceback.print_exc(file=sys.stdout)
            failed.append(name)
            verdict = "  FAILED"
        print(f"[{verdict:^10}] {name} ({time.monotonic() - begun:.1f} s)", flush=True)
    print(f"[  PASSED  ] {len(claims) - len(failed)} test(s).")
    if failed:
        print(f"[  FAILED  ] tests: {len(failed)} test(s), listed below:")
        for name in failed:
            print(f"[  FAILED  ] tests: {name}")
    return 1 if failed else 0


def check(condition, text: str) -> None:
    if not condition:
        raise AssertionError(text)
