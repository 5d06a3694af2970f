#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tidy.py BUILD_DIR: clang-tidy over our C sources, on all cores, skipping what was clean before.

A file is clean for good as long as its preprocessed text, its flags and the configuration stay the same; that is the
key under BUILD_DIR/tidy-cache. Every other file is checked. Exit 1 if one has a finding.
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import shlex
import subprocess
import sys

FILE_LIMIT_S = 120
# What gcc knows and clang does not, or what clang-tidy has no use for.
DROPPED_FLAGS = {"-fno-common", "-Werror", "-c"}


def flags_of(entry: dict) -> list:
    """The flags of a compile command without compiler, launcher, input, output and dependency files."""
    words = shlex.split(entry["command"])
    while words and not words[0].startswith("-"):
        words.pop(0)
    flags, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word in ("-o", "-MF", "-MT", "-MQ"):
            skip = True
        elif word in DROPPED_FLAGS or word in ("-MD", "-MMD") or word == entry["file"]:
            continue
        else:
            flags.append(word)
    return flags


def key_of(entry: dict, flags: list, config: bytes) -> str:
    made = subprocess.run(["clang", "-E", "-P", *flags, entry["file"]], cwd=entry["directory"], capture_output=True,
                          timeout=FILE_LIMIT_S, check=False)
    digest = hashlib.sha256(config)
    digest.update(json.dumps([entry["file"], flags]).encode())
    digest.update(made.stdout)
    # Line numbers matter to whoever reads a finding, not to a clean file: comments may move without a new run.
    return digest.hexdigest()


def check(entry: dict, config: bytes, cache: pathlib.Path) -> tuple:
    flags = flags_of(entry)
    mark = cache / key_of(entry, flags, config)
    if mark.exists():
        return entry["file"], True, ""
    try:
        ran = subprocess.run(["clang-tidy", "--quiet", entry["file"], "--", *flags, "-Wno-unknown-warning-option"],
                             cwd=entry["directory"], capture_output=True, text=True, timeout=FILE_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return entry["file"], False, f"clang-tidy took more than {FILE_LIMIT_S} s"
    clean = ran.returncode == 0 and "warning:" not in ran.stdout and "error:" not in ran.stdout
    if clean:
        mark.touch()
    return entry["file"], clean, ran.stdout + ("" if clean else ran.stderr)


def main() -> int:
    build = pathlib.Path(sys.argv[1]).resolve()
    top = pathlib.Path(__file__).resolve().parent.parent
    ours = [top / "src", top / "tests"]
    entries = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        if any(folder in pathlib.Path(entry["file"]).parents for folder in ours):
            entries.setdefault(entry["file"], entry)
    if not entries:
        print("no source of ours is in the compilation database", file=sys.stderr)
        return 1
    version = subprocess.run(["clang-tidy", "--version"], capture_output=True, check=True).stdout
    config = version + b"".join((top / name).read_bytes() for name in (".clang-tidy", "tests/.clang-tidy"))
    cache = build / "tidy-cache"
    cache.mkdir(exist_ok=True)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, clean, text in pool.map(lambda entry: check(entry, config, cache), entries.values()):
            if not clean:
                failed += 1
                print(f"{name}:\n{text}")
    print(f"clang-tidy: {len(entries)} files, {failed} with findings")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
