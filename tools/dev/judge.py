#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""judge.py AREA EXIT_CODE LIMIT_S LOG ALLOWED_SKIPS: what a run of one area was worth.

Prints 'PASSED FAILED SKIPPED VERDICT' on one line; VERDICT is empty for an area that passed. An area passes only if all
of this holds: it exited 0, it printed its closing line, no test failed, at least one passed, and every skipped test is
named by a SKIP line and by ALLOWED_SKIPS. An area that did not pass counts at least one failure.
"""
import re
import sys

CLOSING = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.M)
SKIP = re.compile(r"^SKIP (\S+)", re.M)


def judge(code: int, limit_s: int, log: str, allowed: set) -> tuple:
    closing = CLOSING.findall(log)
    passed, failed, skipped = map(int, closing[-1]) if closing else (0, 0, 0)
    named = SKIP.findall(log)
    strange = [name for name in named if name not in allowed]
    if code == 124:
        verdict = f"ran into its limit of {limit_s} s"
    elif code == 137:
        verdict = f"was killed (its limit is {limit_s} s)"
    elif failed > 0:
        verdict = f"{failed} failed"
    elif code != 0:
        verdict = f"exited {code}"
    elif not closing:
        verdict = "printed no closing line"
    elif strange:
        verdict = f"skipped {strange[0]}, which tests/allowed-skips does not name"
    elif skipped != len(named):
        verdict = f"skipped {skipped} tests but named {len(named)}"
    elif passed == 0:
        verdict = "ran no test"
    else:
        return passed, failed, skipped, ""
    return passed, max(failed, 1), skipped, verdict


def main() -> int:
    _, code, limit_s, log_path, allowed_path = sys.argv[1:]
    with open(allowed_path, encoding="utf-8") as file:
        allowed = {line.split()[0] for line in file if line.strip() and not line.startswith("#")}
    with open(log_path, encoding="utf-8", errors="replace") as file:
        print(*judge(int(code), int(limit_s), file.read(), allowed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
