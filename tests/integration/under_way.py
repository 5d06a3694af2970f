#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Calls about a task whose ACCEPT is still on its way through the log: the followers are paused for a moment, so that it
cannot commit. RECONCILE must not declare the task lost, and KILL must reach it."""
import os
import pathlib
import shutil
import signal
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from claims import check, run  # noqa: E402
from cluster import TOP, Cluster  # noqa: E402
from framework import Framework  # noqa: E402

WHERE = TOP / "build" / "under-way-run" / str(os.getpid())
TRIES = 10      # on a busy machine the leader may step down meanwhile: then nothing is shown


def paused_launch(cluster: Cluster, task_id: str, command: str, kind: str, **fields) -> Framework:
    """Launches a task, and makes the other call before the ACCEPT can commit. The framework, once the ACCEPT is answered."""
    leader = cluster.leader()
    framework = Framework(leader.host, task_id)
    offer = framework.next("OFFERS")["offers"][0]
    task = {"name": "x", "task_id": {"value": task_id}, "agent_id": offer["agent_id"], "command": {"value": command},
            "resources": [{"name": name, "type": "SCALAR", "scalar": {"value": value}} for name, value in (("cpus", 0.1), ("mem", 32))]}
    accept = {"offer_ids": [offer["id"]], "operations": [{"type": "LAUNCH", "launch": {"task_infos": [task]}}]}
    answers, others = [], [master for master in cluster.masters if master is not leader]
    launch = threading.Thread(target=lambda: answers.append(framework.call("ACCEPT", accept=accept)))
    second = threading.Thread(target=lambda: answers.append(framework.call(kind, **fields)))
    try:
        for master in others:
            master.kill(signal.SIGSTOP)
        launch.start()
        time.sleep(0.03)
        early = list(answers)
        second.start()
        time.sleep(0.03)
    finally:
        for master in others:
            master.kill(signal.SIGCONT)
    launch.join()
    second.join()
    return framework if answers == [202, 202] and not early else None


def first_states(framework: Framework, last: str) -> list:
    """States told until `last`, each acknowledged."""
    states = []
    while not states or states[-1] != last:
        status = framework.next("UPDATE")["status"]
        states.append(status["state"])
        framework.acknowledge(status)
        check(len(states) < 10, f"told {states}")
    return states


def tried(cluster: Cluster, name: str, command: str, last: str, kind: str, fields) -> list:
    for number in range(TRIES):
        task_id = f"{name}-{number}"
        cluster.ready()
        framework = paused_launch(cluster, task_id, command, kind, **fields(task_id))
        if framework:
            return first_states(framework, last)
    raise AssertionError(f"no launch was under way in {TRIES} tries")


def main() -> int:
    shutil.rmtree(WHERE, ignore_errors=True)
    cluster = Cluster(WHERE, agents=1)

    def reconciled() -> None:
        states = tried(cluster, "asked", "true", "TASK_FINISHED", "RECONCILE",
                       lambda task_id: {"reconcile": {"tasks": [{"task_id": {"value": task_id}}]}})
        check("TASK_LOST" not in states, f"a task that ran was told {states}")

    def killed() -> None:
        states = tried(cluster, "killed", "sleep 600", "TASK_KILLED", "KILL", lambda task_id: {"kill": {"task_id": {"value": task_id}}})
        check("TASK_LOST" not in states, f"a task that was killed was told {states}")
    try:
        cluster.start()
        cluster.ready()
        status = run([("a task whose launch is under way is not declared lost", reconciled),
                      ("a task whose launch is under way can be killed", killed)])
        if status:
            print(cluster.tails())
    finally:
        cluster.stop()
    if status == 0:
        shutil.rmtree(WHERE)
    return status


if __name__ == "__main__":
    sys.exit(main())
