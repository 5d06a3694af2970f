#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A cluster whose links have TLS, and everybody who must not get in: the wrong certificate, none, garbage, and handshakes that
never end. After each of it the same processes lead and the same tasks run. Who is who in a handshake: test_net_tls."""
import contextlib
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from certificates import Certificates  # noqa: E402
from claims import check, run  # noqa: E402
from cluster import BINARY, LINK, PEERS, TOP, Cluster, Node, request, wait_until  # noqa: E402

WHERE = TOP / "build" / "tls-run" / str(os.getpid())


def metric(host: str, name: str, port: int = 5050) -> float:
    with socket.create_connection((host, port), timeout=5) as sock:
        sock.sendall(f"GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        text = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
    lines = [line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")]
    check(lines, f"{host}:{port} has no {name}")
    return float(lines[0])


def ends_with(arguments: list, text: str, code: int = 64) -> None:
    """A process that must not start: its exit status, and what it says."""
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
    said = done.stdout + done.stderr
    check(done.returncode == code and text in said, f"{arguments[1:4]}: status {done.returncode}: {said}")


class Tls:
    def __init__(self, cluster: Cluster):
        self.cluster, self.certificates = cluster, cluster.certificates
        self.foreign = Certificates(BINARY, WHERE / "foreign", cluster.cluster_id)
        self.strangers = []

    def settled(self) -> tuple:
        self.cluster.ready()
        return self.cluster.leader().name, self.cluster.status()["term"]

    @contextlib.contextmanager
    def unharmed(self):
        before, pids = self.settled(), [node.pid for node in self.cluster.masters + self.cluster.agents]
        yield
        check([node.pid for node in self.cluster.masters + self.cluster.agents if node.alive()] == pids, "a process ended")
        check(self.settled() == before, f"{before} became {self.settled()}")
        done = self.cluster.conclave("run", "echo served")
        check(done.returncode == 0 and "served" in done.stdout, f"{done}")

    def stranger(self, name: str, arguments: list, host: str) -> Node:
        """A process that is not one of the cluster's, until the end of the test."""
        node = Node(name, host, WHERE, arguments)
        self.strangers.append(node)
        node.start()
        return node

    def says(self, node: Node, text: str) -> None:
        wait_until(f"{node.name} says '{text}'", 10, lambda: text in node.log.read_text(errors="replace"))

    def shake(self, port: int, flags: list, ca: str = None) -> str:
        """A TLS handshake by Python's own client; "" if the connection stands afterwards, else why not."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED if ca else ssl.CERT_NONE
        if ca:
            context.load_verify_locations(ca)
        if flags:
            context.load_cert_chain(flags[3], flags[5])
        try:
            with socket.create_connection((self.cluster.leading().host, port), timeout=5) as raw, context.wrap_socket(raw) as sock:
                sock.settimeout(0.3)
                return "" if sock.recv(1) else "closed"
        except (TimeoutError, socket.timeout):      # nothing was said against it
            return ""
        except OSError as error:
            return str(error) or type(error).__name__

    # ---- claims ----

    def a_cluster_with_certificates_serves_and_says_so(self) -> None:
        self.settled()
        done = self.cluster.conclave("run", "echo served")
        check(done.returncode == 0 and "served" in done.stdout, f"{done}")
        for node in self.cluster.masters:
            check(metric(node.host, "conclave_tls") == 1 and metric(node.host, "conclave_tls_expires_seconds") > 800 * 86400, "metrics")
            check("no_tls" not in node.log.read_text(), "a master with TLS warns that it has none")
        check(metric(self.cluster.agents[0].host, "conclave_agent_tls", 5051) == 1, "the agent's metric")

    def certificates_are_for_their_port_only(self) -> None:
        with self.unharmed():
            ca = str(self.certificates.folder / "ca.pem")
            node = next(int(master.name[1:]) for master in self.cluster.masters if master is not self.cluster.leader())
            master, agent = self.certificates.master(node), self.certificates.agent()
            check(not self.shake(PEERS, master, ca), "a master's certificate is refused on the peers' port")
            check(not self.shake(LINK, agent, ca), "an agent's certificate is refused on the agents' port")
            for port, flags, what in ((PEERS, agent, "an agent's on the peers' port"), (LINK, master, "a master's on the agents' port"),
                                      (PEERS, [], "none on the peers' port"), (LINK, [], "none on the agents' port"),
                                      (PEERS, self.foreign.master(2), "another CA's on the peers' port"),
                                      (LINK, self.foreign.agent(), "another CA's on the agents' port")):
                check(self.shake(port, flags), f"let in: {what}")

    def processes_with_unfit_files_do_not_start(self) -> None:
        with self.unharmed():
            master, agent = self.cluster.masters[0].arguments, self.cluster.agents[0].arguments
            plain_master, plain_agent = master[:master.index("--tls-ca")], agent[:agent.index("--tls-ca")]
            ends_with(plain_master + self.certificates.agent(), "this is a master")
            ends_with(plain_master + self.certificates.master(2), "this is node 1")
            ends_with(plain_agent + self.certificates.master(2), "this is a agent")
            ends_with(plain_agent + self.certificates.agent()[:4], "go together")
            ends_with(plain_agent + [*self.certificates.agent()[:5], "/nowhere.key"], "/nowhere.key", 1)
            other = Certificates(BINARY, WHERE / "other-cluster", "0" * 31 + "1")
            ends_with(plain_master + other.master(1), "another cluster")
            mixed = self.certificates.agent()
            ends_with(plain_agent + ["--tls-ca", self.foreign.agent()[1], *mixed[2:]], "unable to get local issuer certificate")
            key = pathlib.Path(self.foreign.agent()[5])
            key.chmod(0o644)
            ends_with(plain_agent + self.foreign.agent(), "chmod 600")
            key.chmod(0o600)

    def an_agent_of_another_ca_and_one_without_tls_are_told_why(self) -> None:
        net = self.cluster.agents[0].host.rsplit(".", 1)[0]

        def agent(number: int, tls: list) -> list:
            host, arguments = f"{net}.{number}", list(self.cluster.agents[0].arguments)
            arguments = arguments[:arguments.index("--tls-ca")] + tls
            for flag, value in (("--work-dir", str(WHERE / f"stranger-{number}")), ("--listen", host), ("--advertise", host)):
                arguments[arguments.index(flag) + 1] = value
            return arguments
        with self.unharmed():
            agents = len(self.cluster.agents)
            foreign = self.stranger("foreign-agent", agent(31, self.foreign.agent()), f"{net}.31")
            plain = self.stranger("plain-agent", agent(32, []), f"{net}.32")
            self.says(foreign, "its certificate is refused: unable to get local issuer certificate")
            self.says(plain, "no_tls")
            self.says(plain, "the other side speaks TLS, this one does not")
            wait_until("a master that says so", 10, lambda: any("the other side speaks no TLS" in master.log.read_text()
                                                                for master in self.cluster.masters))
            check(self.cluster.status()["agents"]["active"] == agents, "a stranger was registered")
            for node in (foreign, plain):
                node.kill()
                node.reap()

    def a_master_without_tls_joins_nobody_and_both_sides_say_why(self) -> None:
        master = next(one for one in self.cluster.masters if one is not self.cluster.leader())
        arguments = master.arguments
        master.kill()
        master.reap()
        master.arguments = arguments[:arguments.index("--tls-ca")]
        at = {one.name: len(one.log.read_text()) for one in self.cluster.masters}
        master.start()

        def said(node: Node, text: str) -> None:
            wait_until(f"{node.name} says '{text}'", 10, lambda: text in node.log.read_text()[at[node.name]:])
        said(master, "no_tls")
        said(master, "the other side speaks TLS, this one does not: give it --tls-ca")
        others = [one for one in self.cluster.masters if one is not master]
        for one in others:
            said(one, "the other side speaks no TLS: give it --tls-ca")
        check(self.cluster.named_leader(others[0]) in others, "the others have no leader")
        master.kill()
        master.reap()
        master.arguments = arguments
        master.start()
        self.settled()

    def garbage_and_handshakes_that_never_end_harm_nobody(self) -> None:
        with self.unharmed(), contextlib.ExitStack() as open_sockets:
            host = self.cluster.leading().host
            for port in (PEERS, LINK):
                for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", os.urandom(4096), b"\x16\x03\x01\xff\xff" + b"\0" * 65535,
                             b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + b"\0" * 16384, b"\x17\x03\x03\x00\x10" + os.urandom(16),
                             b"CNLK" + b"\0" * 100, b"\x15\x03\x03\x00\x02\x02\x28"):
                    with socket.create_connection((host, port), timeout=8) as sock, contextlib.suppress(OSError):
                        sock.settimeout(8)
                        for _ in range(8):
                            sock.sendall(data)
                        while sock.recv(4096):
                            pass
            for i in range(200):        # half of a hello, or nothing, and never more
                sock = open_sockets.enter_context(socket.create_connection((host, PEERS if i % 2 else LINK), timeout=8))
                if i % 4 < 2:
                    sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
            time.sleep(1)

    def new_certificates_are_taken_without_a_restart(self) -> None:
        with self.unharmed():
            master, agent = self.cluster.masters[0], self.cluster.agents[0]
            before = metric(master.host, "conclave_tls_reloads_total")
            self.certificates.make("master", "--cluster-id", self.cluster.cluster_id, "--node", "1", "--days", "400", "--replace")
            self.certificates.make("agent", "--cluster-id", self.cluster.cluster_id, "--days", "400", "--replace")
            for node in (master, agent):
                node.process.send_signal(signal.SIGHUP)
                self.says(node, "tls_reloaded")
            check(metric(master.host, "conclave_tls_reloads_total") == before + 1, "reloads are not counted")
            check(metric(master.host, "conclave_tls_expires_seconds") < 401 * 86400, "the metric is of the certificate before")
            pathlib.Path(self.certificates.master(1)[3]).write_text("a slip of the hand\n")
            master.process.send_signal(signal.SIGHUP)
            self.says(master, "tls_reload_failed")
            self.certificates.make("master", "--cluster-id", self.cluster.cluster_id, "--node", "1", "--replace")
            wait_until("noticed without a signal", 30, lambda: metric(master.host, "conclave_tls_reloads_total") == before + 2, 0.5)

    def an_expiry_that_is_near_is_an_alarm(self) -> None:
        self.certificates.make("master", "--cluster-id", self.cluster.cluster_id, "--node", "2", "--days", "20", "--replace")
        self.cluster.masters[1].process.send_signal(signal.SIGHUP)
        said = wait_until("the alarm", 10, lambda: (lambda text: text if "CERTIFICATE_ENDS" in text else None)(
            self.cluster.conclave("status", "-o", "json").stdout))
        check("conclave cert master" in said, said)

    def a_killed_leader_is_replaced_and_its_agents_come_back(self) -> None:
        leader, _ = self.settled()
        master = next(one for one in self.cluster.masters if one.name == leader)
        master.kill()
        master.reap()
        wait_until("the next leader with every agent", 20,
                   lambda: self.cluster.leader() and self.cluster.status().get("agents_back") == len(self.cluster.agents))
        master.start()
        self.settled()
        done = self.cluster.conclave("run", "echo served")
        check(done.returncode == 0 and "served" in done.stdout, f"{done}")

    def end(self) -> None:
        for node in self.strangers:
            node.kill()


def main() -> int:
    shutil.rmtree(WHERE, ignore_errors=True)
    cluster = Cluster(WHERE, agents=2, tls=True)
    tls = Tls(cluster)
    helpers = ("settled", "unharmed", "stranger", "says", "shake", "end")
    claims = [(name, getattr(tls, name)) for name in vars(Tls) if name[0] != "_" and name not in helpers]
    try:
        cluster.start()
        code = run(claims)
        if code:
            print(cluster.tails(25))
    finally:
        tls.end()
        cluster.stop()
    if code == 0:
        shutil.rmtree(WHERE, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
