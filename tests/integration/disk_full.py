#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Masters whose disks run full: three of them on small file systems of their own, filled and freed. What makes the state
grow is refused, what ends tasks is not; a full leader hands over; a full master starts; service is back 10 s after the
space is, and nobody ends by itself. Needs root (loop mounts)."""
import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from claims import check, run  # noqa: E402
from cluster import HTTP, TOP, Cluster, request, wait_until  # noqa: E402
from framework import JSON, SCHEDULER, Framework  # noqa: E402

WHERE = TOP / "build" / "disk-full-run" / str(os.getpid())
DISK = 48 << 20         # bytes of a master's file system
BACK = 10               # seconds after which service must be back


def free_bytes(node) -> int:
    stat = os.statvfs(node.dir)
    return stat.f_bavail * stat.f_frsize


def fill(node, leave: int = 0) -> None:
    """Takes all but `leave` bytes."""
    step = 8 << 20
    with open(node.dir / "balloon", "wb") as balloon:
        at = 0
        while step >= 4096:
            room = free_bytes(node) - leave
            step = min(step, max(room, 0) // 4096 * 4096 if room < step else step)
            if step < 4096:
                break
            try:
                os.posix_fallocate(balloon.fileno(), at, step)
                at += step
            except OSError:
                step //= 2


def free(node) -> None:
    (node.dir / "balloon").unlink(missing_ok=True)


class Disks:
    """The file systems of the masters' folders, made before the masters start."""

    def __init__(self, nodes: list):
        self.mounted = []
        for node in nodes:
            image = node.dir.with_suffix(".img")
            with open(image, "wb") as file:
                file.truncate(DISK)
            node.dir.mkdir()
            subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-J", "size=4", str(image)], check=True)
            subprocess.run(["mount", "-o", "loop", str(image), str(node.dir)], check=True)
            self.mounted.append(node.dir)

    def end(self) -> None:
        for path in self.mounted:
            subprocess.run(["umount", str(path)], check=False)


def subscribe_status(host: str, framework_id: str = "") -> tuple:
    """(status, Retry-After, text) of a SUBSCRIBE; the stream of a good one is cut."""
    connection = http.client.HTTPConnection(host, HTTP, timeout=5)
    info = {"user": "root", "name": "late", "failover_timeout": 600}
    body = {"type": "SUBSCRIBE", "subscribe": {"framework_info": info}}
    if framework_id:
        info["id"] = {"value": framework_id}
        body["framework_id"] = {"value": framework_id}
    try:
        connection.request("POST", SCHEDULER, json.dumps(body), {"Content-Type": JSON})
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Retry-After"), "" if answer.status == 200 else answer.read().decode()
    finally:
        connection.close()


def launch(framework: Framework, task_id: str, offer: dict = None) -> int:
    offer = offer or framework.next("OFFERS")["offers"][0]
    task = {"name": "x", "task_id": {"value": task_id}, "agent_id": offer["agent_id"], "command": {"value": "sleep 1000"},
            "resources": [{"name": name, "type": "SCALAR", "scalar": {"value": value}} for name, value in (("cpus", 0.1), ("mem", 32))]}
    accept = {"offer_ids": [offer["id"]], "operations": [{"type": "LAUNCH", "launch": {"task_infos": [task]}}],
              "filters": {"refuse_seconds": 0}}
    return framework.call("ACCEPT", accept=accept)


def until(framework: Framework, task_id: str, state: str) -> None:
    for _ in range(100):
        status = framework.next("UPDATE")["status"]
        framework.acknowledge(status)
        if status["task_id"]["value"] == task_id and status["state"] == state:
            return
    raise AssertionError(f"{task_id} was never {state}")


def codes(cluster: Cluster, node) -> set:
    return {alarm["code"] for alarm in cluster.status(node).get("alarms", [])}


def level(cluster: Cluster) -> bool:
    return bool(cluster.leader() and cluster.same_applied())


def all_alive(cluster: Cluster) -> None:
    dead = [node.name for node in cluster.masters if not node.alive()]
    check(not dead, f"{dead} ended by themselves: {cluster.tails(5)}")


def full_follower(cluster: Cluster) -> None:
    leader = cluster.leader()
    follower = next(node for node in cluster.masters if node is not leader)
    fill(follower)
    wait_until("the follower's alarm", 10, lambda: "DISK_HARD" in codes(cluster, follower))
    wait_until("the leader knows", 10, lambda: "PEER_DISK" in codes(cluster, leader))
    framework = Framework(leader.host, "beside-a-full-follower")
    check(launch(framework, "t1") == 202, "the cluster does not serve beside a full follower")
    until(framework, "t1", "TASK_RUNNING")
    check(cluster.status(follower)["term"] == cluster.status(leader)["term"], "a full follower caused an election")
    free(follower)
    wait_until("the follower has caught up", BACK, lambda: level(cluster))
    wait_until("its alarm is over", BACK, lambda: not codes(cluster, follower))
    framework.call("TEARDOWN")


def full_leader(cluster: Cluster) -> None:
    leader = cluster.leader()
    fill(leader)
    heir = wait_until("a hand-over", 10, lambda: next((one for one in [cluster.leader()] if one and one is not leader), None))
    framework = Framework(heir.host, "after-a-hand-over")
    check(launch(framework, "t2") == 202, "the heir does not serve")
    until(framework, "t2", "TASK_RUNNING")
    check("disk_hand_over" in leader.log.read_text(), "the leader was lost, not handed over")
    free(leader)
    wait_until("the old leader has caught up", BACK, lambda: level(cluster))
    framework.call("TEARDOWN")


def soft(cluster: Cluster) -> None:
    """All disks between the marks (4 and 2 segments of 1 MiB, and snapshots)."""
    leader = cluster.leader()
    framework = Framework(leader.host, "was-there-before")
    offer = framework.next("OFFERS")["offers"][0]
    check(launch(framework, "t3", offer) == 202, "the launch before was refused")
    until(framework, "t3", "TASK_RUNNING")
    for node in cluster.masters:
        fill(node, leave=3 << 20)
    wait_until("the alarm", 10, lambda: "DISK_SOFT" in codes(cluster, leader))
    check(cluster.leader() is leader, "the soft mark moved the leader")
    status, retry, text = subscribe_status(leader.host)
    check(status == 503 and retry and "reserve" in text, f"a new framework was answered {status} {retry} {text!r}")
    check(launch(framework, "t4", offer) == 503, "an ACCEPT was taken")
    check(subscribe_status(leader.host, framework.id)[0] == 200, "a framework could not come back")
    framework = Framework.again(leader.host, framework.id)
    check(framework.call("KILL", kill={"task_id": {"value": "t3"}}) == 202, "a KILL was refused")
    until(framework, "t3", "TASK_KILLED")
    for node in cluster.masters:
        free(node)
    wait_until("a new framework is taken", BACK, lambda: subscribe_status(leader.host)[0] == 200)
    framework.call("TEARDOWN")


def write(cluster: Cluster, number: int) -> int:
    """503 also for one that is not answered: it was proposed just before there was no room for it."""
    try:
        return write_once(cluster, number)
    except OSError:
        return 503


def write_once(cluster: Cluster, number: int) -> int:
    leader = cluster.leader()
    return request(leader.host, "PUT", "/conclave/v1/config", json.dumps({"history_tasks": 1000 + number}), timeout=2)[0] if leader else 503


def log_runs_full(cluster: Cluster) -> None:
    """No disk has a free byte; writes go on in what the log has set aside, are refused when that ends, and resume."""
    for node in cluster.masters:
        fill(node)
    wait_until("the alarm", 10, lambda: all("DISK_HARD" in codes(cluster, node) for node in cluster.masters))
    done, last, end = 0, time.monotonic(), time.monotonic() + 40
    while time.monotonic() - last < 2:      # refused that long: it is no change of leader
        status = write(cluster, done)
        check(status in (200, 503), f"a write was answered {status}")
        check(time.monotonic() < end, "the log never ran full: nothing was tried")
        if status == 200:
            done, last = done + 1, time.monotonic()
    check(done >= 20, f"only {done} writes went into the space set aside")
    all_alive(cluster)
    begun = time.monotonic()
    for node in cluster.masters:
        free(node)
    wait_until("a write", BACK, lambda: write(cluster, 0) == 200)
    print(f"    {done} writes on full disks; service {time.monotonic() - begun:.1f} s after the space")
    wait_until("all masters level", BACK, lambda: level(cluster))


def starts_full(cluster: Cluster) -> None:
    """No byte is free, and every master starts, elects and tells; then space comes back."""
    for node in cluster.masters:
        fill(node)
        node.kill(signal.SIGKILL)
    for node in cluster.masters:
        node.reap()
        check(free_bytes(node) < 4096, f"{node.name} has {free_bytes(node)} bytes")
        node.start()
    wait_until("a leader on full disks", 15, cluster.leader)
    time.sleep(1)
    all_alive(cluster)
    check(all("DISK_HARD" in codes(cluster, node) for node in cluster.masters), "no alarm on full disks")
    begun = time.monotonic()
    for node in cluster.masters:
        free(node)
    wait_until("service", BACK, lambda: subscribe_status(cluster.leading().host)[0] == 200)
    wait_until("all masters level", BACK, lambda: level(cluster))
    print(f"    service {time.monotonic() - begun:.1f} s after the space")


def main() -> int:
    if os.geteuid() != 0:
        print("SKIP integration/disk_full: needs root for loop mounts")
        print("0 passed, 0 failed, 1 skipped")
        return 77
    cluster = Cluster(WHERE, agents=1, master_flags=("--segment-mb", "1", "--snapshot-mb", "1"))
    disks = Disks(cluster.masters)
    try:
        cluster.start()
        cluster.ready()
        claims = [(function.__name__.replace("_", " "), lambda f=function: (f(cluster), all_alive(cluster)))
                  for function in (full_follower, full_leader, soft, starts_full, log_runs_full)]
        status = run(claims)
        if status:
            print(cluster.tails(40))
        return status
    finally:
        cluster.stop()
        disks.end()
        shutil.rmtree(WHERE, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
