#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""check_core.py BUILD_DIR: the object files of the deterministic core use no clock, randomness, I/O, environment, locale,
thread or float arithmetic, and have no writable global. Which sources those are says tools/include-rules.txt ('core').

Reads the objects, not the sources, so a macro or an inline function cannot hide a call.
"""
import json
import pathlib
import re
import subprocess
import sys

from source_rules import TOP, Rules

FORBIDDEN = re.compile(r"""^_*(
    time|times|clock|clock_.*|gettimeofday|ftime|nanosleep|usleep|sleep|alarm|localtime.*|gmtime.*|mktime|strftime|monotonic_.*|wall_.*|
    rand|rand_r|srand|random|srandom|[dlm]rand48|getrandom|getentropy|arc4random.*|rng_from_.*|rng_seed_os|
    open|open64|openat.*|creat.*|read|pread.*|readv|write|pwrite.*|writev|close|lseek.*|fsync|fdatasync|rename.*|unlink.*|mmap.*|munmap|ioctl|
    fopen.*|fdopen|freopen.*|fclose|fread.*|fwrite.*|fputs|fputc|putc|putchar|puts|printf|fprintf|vprintf|vfprintf|dprintf|perror|scanf|fscanf|
    fgets|getline|popen|system|fork|vfork|exec.*|posix_spawn.*|kill|signal|sigaction|
    socket|connect|bind|listen|accept4?|send|sendto|sendmsg|recv|recvfrom|recvmsg|poll|select|epoll_.*|getaddrinfo|
    getenv|secure_getenv|setenv|putenv|setlocale|newlocale|uselocale|strcoll|strxfrm|strtod|strtof|strtold|atof|
    getpid|gettid|gethostname|uname|pthread_.*|thrd_.*|mtx_.*|
    uv_.*|raft_.*|log_.*|curl_.*
)(_chk)?$""", re.X)
FLOAT_ARITHMETIC = re.compile(r"\s(v?(add|sub|mul|div|sqrt|min|max|u?comi)[sp][sd]|v?cvt(t?s[sd]2|si2s|t?p[sd]2)\w*|f(add|sub|mul|div|ild|ist)\w*)\s")
# Sections a program may write; .data.rel.ro is sealed by the loader before main.
WRITABLE = re.compile(r"^(\.data(?!\.rel\.ro)|\.bss|\.tdata|\.tbss|\*COM\*)")


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def faults_of(name: str, thing: pathlib.Path) -> list:
    faults = []
    for line in run("nm", "--undefined-only", "--format=posix", str(thing)).splitlines():
        symbol = line.split()[0].split("@")[0]
        if FORBIDDEN.match(symbol):
            faults.append(f"{name}: calls {symbol}()")
    for line in run("nm", "--defined-only", "--format=sysv", str(thing)).splitlines():
        fields = [field.strip() for field in line.split("|")]
        if len(fields) == 7 and fields[3] != "SECTION" and WRITABLE.match(fields[6]):
            faults.append(f"{name}: writable global {fields[0]} in {fields[6]}")
    for line in run("objdump", "--no-show-raw-insn", "-d", str(thing)).splitlines():
        if FLOAT_ARITHMETIC.search(line):
            faults.append(f"{name}: float arithmetic: {' '.join(line.split()[1:])}")
            break
    return faults


def main() -> int:
    build = pathlib.Path(sys.argv[1]).resolve()
    rules = Rules()
    faults, checked = [], 0
    for entry in json.loads((build / "compile_commands.json").read_text()):
        source = pathlib.Path(entry["file"])
        if TOP not in source.parents:
            continue
        name = str(source.relative_to(TOP))
        if name.startswith("src/") and rules.is_core(name):
            made = re.search(r" -o (\S+\.o)\b", entry["command"]).group(1)
            faults += faults_of(name, pathlib.Path(entry["directory"]) / made)
            checked += 1
    print("\n".join(faults + [f"pure core: {checked} objects, {len(faults)} faults"]))
    return 1 if faults or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
