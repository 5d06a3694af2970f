#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""check_release.py BINARY: the binary that users run holds no test switch: no symbol guard_test_*, mutant_test_* or sim_*, and its
symbol table is there to be read."""
import re
import subprocess
import sys

TEST_ONLY = re.compile(r"^(guard_test_|mutant_test_|sim_|cmocka_|__wrap_)")


def main() -> int:
    symbols = [line.split()[0] for line in
               subprocess.run(["nm", "--format=posix", sys.argv[1]], capture_output=True, text=True, check=True).stdout.splitlines()]
    found = sorted(symbol for symbol in symbols if TEST_ONLY.match(symbol))
    print("\n".join([f"test switch in the release binary: {symbol}" for symbol in found] +
                    [f"release binary: {len(symbols)} symbols, {len(found)} of tests"]))
    return 1 if found or "main" not in symbols else 0


if __name__ == "__main__":
    sys.exit(main())
