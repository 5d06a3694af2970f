# SPDX-License-Identifier: Apache-2.0
"""Reads tools/include-rules.txt and answers which file is what."""
import fnmatch
import pathlib
import subprocess

TOP = pathlib.Path(__file__).resolve().parent.parent


def tracked(*suffixes: str) -> list:
    """The files of the tree with one of the suffixes, as paths from the top; a tree without git is walked."""
    if (TOP / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=TOP,
                                capture_output=True, check=True).stdout.decode().split("\0")
        names = [name for name in listed if name and (TOP / name).is_file()]
    else:
        names = [str(path.relative_to(TOP)) for path in TOP.rglob("*") if path.is_file()]
        names = [name for name in names if not name.startswith("build/")]
    return sorted(name for name in names if not suffixes or name.endswith(suffixes))


class Rules:
    def __init__(self) -> None:
        self.folders, self.only, self.made, self.shared = {}, {}, {}, {}
        self.shell_patterns, self.pure_patterns, self.core_patterns = [], [], []
        for line in (TOP / "tools/include-rules.txt").read_text().splitlines():
            word, _, rest = line.partition(" ")
            name, _, values = rest.partition(":")
            if not line or line.startswith("#"):
                continue
            if word in ("folder", "only", "made", "shared"):
                {"folder": self.folders, "only": self.only, "made": self.made, "shared": self.shared}[word][name] = values.split()
            elif word in ("shell", "pure", "core"):
                {"shell": self.shell_patterns, "pure": self.pure_patterns, "core": self.core_patterns}[word].append(rest)
            else:
                raise SystemExit(f"tools/include-rules.txt: unknown rule '{word}'")

    def is_shell(self, name: str) -> bool:
        return any(fnmatch.fnmatch(name, pattern) for pattern in self.shell_patterns)

    def is_pure(self, name: str) -> bool:
        return any(fnmatch.fnmatch(name, pattern) for pattern in self.pure_patterns)

    def is_core(self, name: str) -> bool:
        return not self.is_shell(name) and any(fnmatch.fnmatch(name, pattern) for pattern in self.core_patterns)
