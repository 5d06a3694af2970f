#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A host whose disk is full: tasks fill it easily, for they write below the agent's folder. What runs goes on, under whichever leader, with
or without its agent; new tasks fail and say why; with room again everything is as before. Needs root (a tmpfs)."""
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from claims import check, run  # noqa: E402
from cli_log import Keeper, running  # noqa: E402
from cluster import TOP, Cluster, Timeout, wait_until  # noqa: E402

WHERE = TOP / "build" / "agent-disk-run" / str(os.getpid())


class World:
    def __init__(self):
        self.cluster = Cluster(WHERE / "c", masters=3, agents=1)
        self.agent = self.cluster.agents[0]
        self.ledger = WHERE / "ledger"
        self.agent.dir.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "conclave-test", str(self.agent.dir)], check=True)
        self.cluster.start()
        self.cluster.ready()
        self.framework = Keeper(self.cluster.leading().host, "keeper")
        self.framework.launch("long", f"echo start $$ >> {shlex.quote(str(self.ledger))}; exec sleep 1000")
        self.before = wait_until("the task has begun", 10, lambda: running(self.ledger))

    def fill(self) -> None:
        with open(self.agent.dir / "fill", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass
        check(shutil.disk_usage(self.agent.dir).free == 0, "the disk is not full")

    def free(self) -> None:
        (self.agent.dir / "fill").unlink()

    def runs_on(self) -> None:
        check(running(self.ledger) == self.before and all(os.path.exists(f"/proc/{pid}") for pid in self.before), "the task did not run on")

    def back(self) -> None:
        check(self.agent.alive(), f"the agent ended with {self.agent.process.poll()}")
        wait_until("the agent is back", 10, lambda: int(self.cluster.status(self.cluster.leading()).get("agents_back", 0)) == 1)
        self.runs_on()

    def stop(self) -> None:
        self.cluster.stop()
        try:    # the processes of tasks need a moment to go
            wait_until("unmounted", 5, lambda: subprocess.run(["umount", str(self.agent.dir)], stderr=subprocess.DEVNULL, check=False).returncode == 0)
        except Timeout:
            subprocess.run(["umount", "--lazy", str(self.agent.dir)], check=False)


def the_next_leader_is_followed(w: World) -> None:
    w.fill()
    leader = w.cluster.leading()
    leader.kill()
    leader.reap()
    wait_until("another leader", 20, lambda: w.cluster.leader() not in (None, leader))
    w.back()
    leader.start()


def a_new_task_fails_and_says_why(w: World) -> None:
    got = w.cluster.conclave("run", "true")
    check(got.returncode == 1 and "TASK_FAILED" in got.stderr and "No space left on device" in got.stderr, f"{got}")
    w.back()


def an_agent_starts_without_room(w: World) -> None:
    said = len(w.agent.log.read_text())
    w.agent.kill()
    w.agent.reap()
    w.agent.start()
    wait_until("it took back what runs", 10, lambda: "recovered adopted=1" in w.agent.log.read_text()[said:])
    w.back()
    check("task_folder_damaged" not in w.agent.log.read_text(), "what was refused is left behind, half made")


def with_room_all_is_as_before(w: World) -> None:
    w.free()
    w.framework = Keeper(w.cluster.leading().host, "third")
    w.framework.launch("roomy", "exec sleep 1000")
    w.runs_on()


def main() -> int:
    if os.geteuid() != 0:
        print("SKIP integration/agent_disk: needs root for a tmpfs")
        print("0 passed, 0 failed, 1 skipped")
        return 77
    WHERE.mkdir(parents=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    world = World()
    try:
        claims = [the_next_leader_is_followed, a_new_task_fails_and_says_why, an_agent_starts_without_room, with_room_all_is_as_before]
        status = run([(claim.__name__, lambda claim=claim: claim(world)) for claim in claims])
        if status:
            print(world.cluster.tails())
        return status
    finally:
        world.stop()
        shutil.rmtree(WHERE, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
