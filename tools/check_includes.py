#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the include rule (tools/include-rules.txt) over src/: arrows point down only."""
import re
import sys

from source_rules import TOP, Rules, tracked

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.M)


def faults_of(rules: Rules, name: str, text: str) -> list:
    parts = name.split("/")
    folder = parts[1] if len(parts) > 2 else "main"
    below = rules.folders.get(folder)
    if folder == "main":
        below = ["cli"]
    if below is None:
        return [f"{name}: folder src/{folder} is not in tools/include-rules.txt"]
    faults = []
    if folder == "scheduler" and rules.is_pure(name) == rules.is_shell(name):
        faults.append(f"{name}: is it a shell or pure? Name it in tools/include-rules.txt")
    for match in INCLUDE.finditer(text):
        quote, header = match.groups()
        line = text.count("\n", 0, match.start()) + 1
        fault = None
        target = header.split("/")[0]
        for prefix, owners in rules.only.items():
            if header.startswith(prefix) and folder not in owners:
                fault = f"<{header}> belongs to {' '.join(owners)}"
        made = next((owners for prefix, owners in rules.made.items() if header.startswith(prefix)), None)
        if header == "uv.h" or header.startswith("uv/"):
            if not rules.is_shell(name):
                fault = "uv.h in a file that is not a shell"
        elif made is not None:
            if folder not in made:
                fault = f"message code '{header}' in src/{folder}"
        elif quote == '"' and "/" not in header:
            if not (TOP / "src" / folder / header).is_file():
                fault = f'"{header}" is not beside it: name headers by folder'
        elif quote == '"' or (target in rules.folders and (TOP / "src" / header).is_file()):
            if not (TOP / "src" / header).is_file():
                fault = f'"{header}" is no header of ours'
            elif target != folder and target not in below and folder not in rules.shared.get(header, ()):
                fault = f"src/{folder} may not include src/{target}"
            elif rules.is_pure(name) and target != "base" and not rules.is_pure(f"src/{header}"):
                fault = f"a pure file includes '{header}', which is not pure"
        if fault:
            faults.append(f"{name}:{line}: {fault}")
    return faults


def main() -> int:
    rules = Rules()
    faults, files = [], [name for name in tracked(".c", ".h") if name.startswith("src/")]
    for name in files:
        faults += faults_of(rules, name, (TOP / name).read_text())
    print("\n".join(faults + [f"include rule: {len(files)} files, {len(faults)} faults"]))
    return 1 if faults or not files else 0


if __name__ == "__main__":
    sys.exit(main())
