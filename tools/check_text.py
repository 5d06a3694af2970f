#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the text of every committed file: sizes, licence line, comments, and names that do not belong in the tree."""
import re
import sys

from source_rules import TOP, tracked

LINES_MAX = 800
CODE = (".c", ".h", ".py", ".sh", ".go", ".js", ".mjs")
MADE = ("package-lock.json", "go.sum", "golden/", "corpus/")

# Hosts of package registries: a lock file pins by hash, and where to fetch from is the machine's business. Written in
# two parts so that this file does not name them either.
HOSTS = [first + "." + rest for first, rest in (
    ("deb", "debian.org"), ("snapshot", "debian.org"), ("registry", "npmjs.org"), ("registry", "yarnpkg.com"),
    ("pypi", "org"), ("pypi", "python.org"), ("files", "pythonhosted.org"), ("proxy", "golang.org"), ("sum", "golang.org"),
    ("static", "crates.io"), ("index", "crates.io"), ("repo1", "maven.org"), ("archive", "ubuntu.com"))]

ANYWHERE = [
    (re.compile("|".join(re.escape(host) for host in HOSTS)), "names the host of a package registry"),
    (re.compile(r"(?<![\w.})$-])/(?:work|farm)/"), "names a path of one machine"),
    (re.compile(r"\.\./" r"shared\b"), "names a folder outside the project"),
    (re.compile(r"^(<{7}|>{7})( |$)"), "holds a merge conflict"),
]
IN_CODE = [
    (re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b"), "leaves work for later"),
    (re.compile(r"NOLI" r"NT|cppcheck-sup" r"press|clang-format o" r"ff|no_sani" r"tize"), "switches a check off"),
    (re.compile(r"^\s*#\s*if\s+0\b"), "holds dead code"),
]
LINE_COMMENT = re.compile(r"(^|[\s;{})])//(\s|$)")
STRING = re.compile(r'"(\\.|[^"\\])*"')


def faults_of(name: str, text: str) -> list:
    faults, lines = [], text.split("\n")
    code = name.endswith(CODE) or name == "dev" or name.startswith(".ci/")
    made = any(part in name for part in MADE)
    if code and not made and len(lines) > LINES_MAX + 1:
        faults.append(f"{name}: {len(lines) - 1} lines, more than {LINES_MAX}: split it by idea")
    if code and not made and "SPDX-License-Identifier: Apache-2.0" not in "\n".join(lines[:5]):
        faults.append(f"{name}: has no SPDX line among its first five")
    for number, line in enumerate(lines, 1):
        for pattern, what in ANYWHERE + (IN_CODE if code else []):
            if pattern.search(line):
                faults.append(f"{name}:{number}: {what}: {line.strip()[:100]}")
        if name.endswith((".c", ".h")) and LINE_COMMENT.search(STRING.sub('""', line)):
            if "/*" not in line and not line.lstrip().startswith("*"):
                faults.append(f"{name}:{number}: comments are written /* so */")
    if text and not text.endswith("\n"):
        faults.append(f"{name}: the last line has no end")
    return faults


def main() -> int:
    faults, count = [], 0
    for name in tracked():
        data = (TOP / name).read_bytes()
        if b"\0" in data or "corpus/" in name:
            continue
        count += 1
        faults += faults_of(name, data.decode("utf-8", errors="replace"))
    print("\n".join(faults + [f"text: {count} files, {len(faults)} faults"]))
    return 1 if faults or not count else 0


if __name__ == "__main__":
    sys.exit(main())
