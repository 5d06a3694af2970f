# SPDX-License-Identifier: Apache-2.0
"""A scheduler over pymesos, unmodified: runs TASKS tasks of COMMAND to TASK_FINISHED and tears itself down. What it says,
and how it learns of MASTERS and the rest: ../drivers.md. Connecting again, following the leader and acknowledging are the
library's own."""
import itertools
import os
import sys
import threading

from pymesos import MesosSchedulerDriver, Scheduler

WANTED = int(os.environ["TASKS"])
CPUS, MEM = 0.25, 32
LIVE, FINISHED, ENDED = "live", "finished", "ended"


def say(*words) -> None:
    os.write(3, (" ".join(map(str, words)) + "\n").encode())


class TappedDriver(MesosSchedulerDriver):
    """Every call of the library is told before it is sent and when its answer is there."""
    numbers = itertools.count(1)

    def _send(self, body, *args, **kwargs):
        number = next(self.numbers)
        tasks = [task["task_id"]["value"] for operation in body.get("accept", {}).get("operations", [])
                 for task in operation["launch"]["task_infos"]]
        say("call", number, body["type"], *tasks)
        try:
            answer = super()._send(body, *args, **kwargs)
        except Exception as error:
            say("failed", number, type(error).__name__)
            raise
        say("answer", number, 202)
        return answer


class Load(Scheduler):
    def __init__(self):
        self.tasks, self.done = {}, threading.Event()

    def count(self, *states) -> int:
        return sum(state in states for state in self.tasks.values())

    def registered(self, driver, framework_id, master_info):
        say("subscribed", framework_id["value"])

    def reregistered(self, driver, master_info):
        say("subscribed", driver.framework_id)
        live = [{"task_id": {"value": task_id}} for task_id, state in self.tasks.items() if state == LIVE]
        if live:
            driver.reconcileTasks(live)

    def resourceOffers(self, driver, offers):
        for offer in offers:
            has = {resource["name"]: resource["scalar"]["value"] for resource in offer["resources"] if resource["type"] == "SCALAR"}
            fit = int(min(has.get("cpus", 0) / CPUS, has.get("mem", 0) / MEM))
            tasks = [self.task(offer) for _ in range(min(fit, WANTED - self.count(LIVE, FINISHED)))]
            driver.launchTasks(offer["id"], tasks, filters={"refuse_seconds": 0.5})

    def task(self, offer) -> dict:
        task_id = f"{os.environ['NAME']}-{len(self.tasks)}"
        self.tasks[task_id] = LIVE
        return {"name": "load", "task_id": {"value": task_id}, "agent_id": offer["agent_id"],
                "command": {"value": os.environ["COMMAND"]},
                "resources": [{"name": name, "type": "SCALAR", "scalar": {"value": value}}
                              for name, value in (("cpus", CPUS), ("mem", MEM))]}

    def statusUpdate(self, driver, update):
        task_id, state = update["task_id"]["value"], update["state"]
        say("update", state, update.get("reason", "-"), task_id)
        if state == "TASK_FINISHED":
            self.tasks[task_id] = FINISHED
        elif state in ("TASK_LOST", "TASK_ERROR", "TASK_FAILED", "TASK_KILLED"):
            self.tasks[task_id] = ENDED
        if self.count(FINISHED) >= WANTED:
            self.done.set()


def main() -> int:
    load = Load()
    framework = {"user": "root", "name": os.environ["NAME"], "failover_timeout": 3600}
    driver = TappedDriver(load, framework, os.environ["MASTERS"].split(",")[0])
    driver.start()
    load.done.wait()
    driver.stop()
    driver.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
