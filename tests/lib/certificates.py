# SPDX-License-Identifier: Apache-2.0
"""Certificates of a cluster under test, made by the binary itself."""
import pathlib
import subprocess


class Certificates:
    """A CA in `folder` and what it signs; master() and agent() give the flags of a process."""

    def __init__(self, binary: str, folder, cluster_id: str):
        self.binary, self.folder, self.cluster_id = str(binary), pathlib.Path(folder), cluster_id
        self.make("ca")

    def make(self, *arguments: str) -> None:
        done = subprocess.run([self.binary, "cert", *arguments, "--dir", str(self.folder)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"conclave cert {' '.join(arguments)}: {done.stderr}")

    def flags(self, name: str) -> list:
        return ["--tls-ca", str(self.folder / "ca.pem"), "--tls-cert", str(self.folder / f"{name}.pem"),
                "--tls-key", str(self.folder / f"{name}.key")]

    def master(self, node: int) -> list:
        if not (self.folder / f"master-{node}.pem").exists():
            self.make("master", "--cluster-id", self.cluster_id, "--node", str(node))
        return self.flags(f"master-{node}")

    def agent(self, name: str = "agent") -> list:
        if not (self.folder / f"{name}.pem").exists():
            self.make("agent", "--cluster-id", self.cluster_id, "--name", name)
        return self.flags(name)
