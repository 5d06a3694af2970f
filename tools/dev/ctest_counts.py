#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads the JUnit file of a ctest run and prints one SKIP line a skipped test, then 'N passed, N failed, N skipped'.

A cmocka program is one ctest test but many claims, so its own closing lines are counted where it prints them; a
program that died before them counts as one failure.
"""
import re
import sys
import xml.etree.ElementTree as ElementTree


def main() -> int:
    label, path = sys.argv[1], sys.argv[2]
    passed = failed = skipped = 0
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name, status = case.get("name"), case.get("status")
        output = case.findtext("system-out") or ""
        own_passed = sum(int(n) for n in re.findall(r"^\[  PASSED  \] (\d+) test", output, re.M))
        own_failed = sum(int(n) for n in re.findall(r"^\[  FAILED  \] .*?(\d+) test", output, re.M))
        own_skipped = re.findall(r"^\[  SKIPPED \] (?!\d+ test)(\S+)", output, re.M)
        if status in ("disabled", "notrun"):
            own_passed = own_failed = 0
            own_skipped = ["whole"]
        elif status == "fail":
            own_failed = max(own_failed, 1)
        elif own_passed + len(own_skipped) == 0:
            own_passed = 1
        for what in sorted(set(own_skipped)):
            print(f"SKIP {label}/{name}/{what}")
        passed += own_passed
        failed += own_failed
        skipped += len(set(own_skipped))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
