#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""api.py --binary CONCLAVE [--only WORD]: the HTTP API of three masters and two agents, request by request; see docs/API.md.

Each claim below is a function; its first line of text is printed. Ends with 'N passed, N failed, N skipped'.
"""
import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time

from api_client import (AGENT, AGENTS, JSON, PROTOBUF, SCHEDULER, TOP, Broken, Cluster, Framework, Stream, equal, expect, get, get_json, pb,
                        post, request, scalar, task)

CLAIMS = []


def claim(function):
    CLAIMS.append(function)
    return function


def subscribe_call(**info) -> dict:
    return {"type": "SUBSCRIBE", "subscribe": {"framework_info": {"user": "root", "name": "x", **info}}}


@claim
def redirects(c: Cluster) -> None:
    """a follower answers 307 with //host:port/path, query and prefix kept, before it looks at anything else"""
    for method, path in (("POST", SCHEDULER), ("GET", SCHEDULER), ("GET", "/state"), ("GET", "/master/tasks?limit=3"), ("POST", "/slaves")):
        status, headers, body = request(c.follower, method, path, "rubbish" if method == "POST" else None)
        equal((status, headers["Location"], body), (307, f"//{c.leader}:5050{path}", b""), path)
    for host in (c.leader, c.follower):
        status, headers, _ = get(host, "/redirect")
        equal((status, headers["Location"]), (307, f"//{c.leader}:5050"), "/redirect")
    equal(get(c.leader, "/redirect/deeper")[0], 404, "/redirect/deeper")


@claim
def check_order(c: Cluster) -> None:
    """the checks of a call come in their order, each with its status"""
    status, headers, _ = get(c.leader, SCHEDULER)
    equal((status, headers["Allow"]), (405, "POST"), "GET")
    equal(post(c.leader, "{", content_type=None)[0], 400, "no content type")
    equal(post(c.leader, "{", content_type="text/plain")[0], 415, "wrong content type")
    equal(post(c.leader, "{", content_type="application/json; charset=utf-8")[0], 415, "content type is compared exactly")
    for body in ("", "{", "[]", '"x"', '{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"a"}}}', '{"type":5}', "{}",
                 '{"type":"NO_SUCH"}', '{"type":"KILL"}', '{"type":"KILL","framework_id":{"value":"x"}}', '{"type":"SUBSCRIBE"}',
                 '{"type":"TEARDOWN"}', '{"type":"ACCEPT","framework_id":{"value":"x"},"accept":{"offer_ids":[]}}',
                 '{"type":"KILL","framework_id":{"value":"x"},"kill":{"task_id":{"value":"a/b"}}}',
                 '{"type":"ACKNOWLEDGE","framework_id":{"value":"x"},"acknowledge":{"agent_id":{"value":"a"},"task_id":{"value":"t"},'
                 '"uuid":"AAAA"}}'):
        status, headers, text = post(c.leader, body)
        equal((status, headers["Content-Type"]), (400, "text/plain"), f"{body!r} {text!r}")
        expect(text, f"{body!r}: 400 without a text")
    equal(post(c.leader, b"\xff\xff\xff", content_type=PROTOBUF)[0], 400, "bad protobuf")
    equal(post(c.leader, pb(f2=2), content_type=PROTOBUF)[0], 400, "protobuf without framework_id")
    equal(post(c.leader, b" " * (5 << 20))[0], 413, "a body over 4 MiB")
    equal(post(c.leader, "[" * 200000)[0] in (400, 413), True, "depth")
    equal(post(c.leader, subscribe_call(), Accept="text/html")[0], 406, "Accept")
    equal(post(c.leader, subscribe_call(), Accept="application/json;q=0, application/x-protobuf;q=0, */*")[0], 406, "Accept q=0")
    equal(post(c.leader, subscribe_call(), Mesos_Stream_Id="x")[0], 400, "SUBSCRIBE with a stream id")
    teardown = {"type": "TEARDOWN", "framework_id": {"value": "nobody"}}
    equal(post(c.leader, teardown)[0::2], (400, b"Framework cannot be found"), "unknown framework")
    equal(post(c.leader, pb(f1=pb(f1=b"nobody"), f2=2), content_type=PROTOBUF)[0], 400, "unknown framework in protobuf")
    with Framework(c) as f:
        f.call("TEARDOWN", want=400, Mesos_Stream_Id="another")
        status, _, text = post(c.leader, {"type": "TEARDOWN", "framework_id": {"value": f.id}})
        expect(status == 400 and b"Mesos-Stream-Id" in text, f"no stream id: {status} {text}")
        f.call("MESSAGE", {"agent_id": {"value": "a"}, "executor_id": {"value": "e"}, "data": "aGk="}, want=501)
        equal(f.call("REQUEST", {"requests": []}), b"", "202 is empty")
        f.stream.close()
        end = time.monotonic() + 5
        while True:
            status = post(c.leader, {"type": "REVIVE", "framework_id": {"value": f.id}}, Mesos_Stream_Id=f.stream.headers["mesos-stream-id"])[0]
            if status == 403 or time.monotonic() > end:
                break
        equal(status, 403, "a framework without a stream")
        with Framework(c, framework_id=f.id):
            f.id = None


@claim
def subscribed(c: Cluster) -> None:
    """SUBSCRIBED comes first, a heartbeat at once behind it, and heartbeats go on; headers as clients want them"""
    with Framework(c, name="n\u00e9\u4e2d") as f:
        h = f.stream.headers
        equal((h["content-type"], h["transfer-encoding"], "content-length" in h), (JSON, "chunked", False), "headers")
        equal(len(h["mesos-stream-id"]), 36, "stream id")
        info = f.subscribed["master_info"]
        equal((info["version"], info["hostname"], info["port"], info["address"]["ip"]), ("1.11.0", c.leader, 5050, c.leader), "master_info")
        expect(f.id.endswith(tuple("0123456789")) and f.subscribed["heartbeat_interval_seconds"] <= 5, f.subscribed)
        equal(f.next(), {"type": "HEARTBEAT"}, "right behind SUBSCRIBED")
        begun = time.monotonic()
        f.event("HEARTBEAT", timeout_s=7)
        f.event("HEARTBEAT", timeout_s=7)
        expect(time.monotonic() - begun < 11, "heartbeats are 5 s apart")


@claim
def protobuf(c: Cluster) -> None:
    """a framework may speak protobuf, and may ask for events in the other encoding"""
    call = pb(f2=1, f3=pb(f1=pb(f1=b"root", f2=b"pb")))
    for accept in (PROTOBUF, f"application/json;q=0, {PROTOBUF}", "application/*"):
        stream = Stream(c.leader, call, PROTOBUF, accept)
        json_wanted = accept == "application/*"
        equal((stream.status, stream.headers["content-type"]), (200, JSON if json_wanted else PROTOBUF), accept)
        record = stream.record()
        if json_wanted:
            framework_id = json.loads(record)["subscribed"]["framework_id"]["value"]
        else:
            equal(record[:2], b"\x08\x01", "Event.type SUBSCRIBED")
            at = record.index(b"\x0a", 2)
            size = record[at + 1]
            framework_id = record[at + 4:at + 2 + size + (size > 127)].decode()
            equal(record[at + 2], 0x0a, "FrameworkID.value")
        framework_id = framework_id[:framework_id.rindex("-") + 5]
        status, _, text = post(c.leader, pb(f1=pb(f1=framework_id.encode()), f2=2), content_type=PROTOBUF,
                               Mesos_Stream_Id=stream.headers["mesos-stream-id"])
        equal(status, 202, f"TEARDOWN {framework_id} {text}")
        stream.close()


@claim
def failed_over(c: Cluster) -> None:
    """a second SUBSCRIBE takes the stream over: ERROR on the old one, a new stream id, offers are lent anew"""
    with Framework(c) as f:
        offer = f.offer()
        with Framework(c, framework_id=f.id) as again:
            equal(again.id, f.id, "id")
            equal(f.event("ERROR")["error"]["message"], "Framework failed over", "old stream")
            equal(f.stream.record(), b"", "the old stream ends")
            f.call("REVIVE", want=400)
            fresh = again.offer()
            expect(fresh["id"] != offer["id"], "an old offer was sent again")
            again.accept(offer, task(offer, "stale"))
            equal(again.update("stale")["state"], "TASK_LOST", "an offer of the old stream")
            f.id = None


@claim
def refused(c: Cluster) -> None:
    """a SUBSCRIBE that the cluster refuses is 200, one ERROR event, and the end"""
    with Framework(c) as f:
        gone = f.id
    cases = ({"id": {"value": gone}}, {"roles": ["a"]}, {"role": "a//b"}, {"role": "-a"}, {"failover_timeout": -1},
             {"failover_timeout": "Infinity"}, {"role": "a", "capabilities": [{"type": "MULTI_ROLE"}]},
             {"roles": ["a", "a"], "capabilities": [{"type": "MULTI_ROLE"}]}, {"roles": ["."], "capabilities": [{"type": "MULTI_ROLE"}]})
    for info in cases:
        call = subscribe_call(**info)
        if "id" in info:
            call["framework_id"] = info["id"]
        stream = Stream(c.leader, json.dumps(call).encode())
        equal(stream.status, 200, info)
        event = json.loads(stream.record())
        equal(event["type"], "ERROR", info)
        if "id" in info:
            equal(event["error"]["message"], "Framework has been removed", info)
        equal(stream.record(), b"", info)
        stream.close()
    call = subscribe_call(id={"value": "a"})
    call["framework_id"] = {"value": "b"}
    equal(post(c.leader, call)[0], 400, "two framework ids")


OFFER_KEYS = {"id", "framework_id", "agent_id", "hostname", "url", "resources", "attributes", "executor_ids", "allocation_info", "domain",
              "unavailability"}


@claim
def offers(c: Cluster) -> None:
    """an offer has what clients read, and only fields of the proto; every agent is offered"""
    with Framework(c) as f:
        seen = {}
        while len(seen) < AGENTS:
            offer = f.offer()
            seen[offer["hostname"]] = offer
        for offer in seen.values():
            expect(set(offer) <= OFFER_KEYS, set(offer) - OFFER_KEYS)
            equal("allocation_info" in offer, False, "not MULTI_ROLE")
            equal(offer["url"]["address"]["ip"] in c.agents, True, offer["url"])
            expect(all(r["role"] == "*" and "allocation_info" not in r for r in offer["resources"]), offer["resources"])
            amounts = {r["name"]: r["scalar"]["value"] for r in offer["resources"] if r["type"] == "SCALAR"}
            equal(amounts, AGENT, "resources")
            equal([r["ranges"]["range"] for r in offer["resources"] if r["name"] == "ports"], [[{"begin": 31000, "end": 31099}]], "ports")
        state = get_json(c.leader, "/state")
        equal([s["offered_resources"]["cpus"] for s in state["slaves"]], [AGENT["cpus"]] * AGENTS, "offered_resources")


@claim
def decline(c: Cluster) -> None:
    """DECLINE keeps the agent away for refuse_seconds; REVIVE ends that; 0 means at once; unknown ids are silent"""
    with Framework(c) as f:
        f.call("DECLINE", {"offer_ids": [{"value": "nonsense"}]})
        for _ in range(AGENTS):
            f.call("DECLINE", {"offer_ids": [f.offer()["id"]], "filters": {"refuse_seconds": 60}})
        f.silent("OFFERS", 1.5)
        f.call("REVIVE")
        offer = f.offer(2)
        begun = time.monotonic()
        f.call("DECLINE", {"offer_ids": [offer["id"]], "filters": {"refuse_seconds": 1}})
        while f.offer(5)["agent_id"] != offer["agent_id"]:
            pass
        expect(0.9 < time.monotonic() - begun < 4, f"refused for 1 s: {time.monotonic() - begun:.2f}")


@claim
def suppress(c: Cluster) -> None:
    """SUPPRESS stops offers and keeps the outstanding ones; REVIVE starts them again; a foreign role makes both silent"""
    with Framework(c, roles=["a", "b"], capabilities=[{"type": "MULTI_ROLE"}]) as f:
        held = [f.offer() for _ in range(AGENTS)]
        f.call("SUPPRESS", {"roles": ["foreign"]})
        f.call("SUPPRESS")
        for offer in held[1:]:
            f.call("DECLINE", {"offer_ids": [offer["id"]], "filters": {"refuse_seconds": 0}})
        f.silent("OFFERS", 1.5)
        f.accept(held[0], task(held[0], "under-suppression"))
        equal(f.update("under-suppression", "TASK_RUNNING")["state"], "TASK_RUNNING", "held offer")
        f.call("REVIVE", {"roles": ["foreign"]})
        f.silent("OFFERS", 1)
        f.call("REVIVE", {"roles": ["b"]})
        equal(f.offer(3)["allocation_info"], {"role": "b"}, "role")


@claim
def multi_role(c: Cluster) -> None:
    """a MULTI_ROLE framework gets allocation_info in offers and resources"""
    with Framework(c, roles=["eng"], capabilities=[{"type": "MULTI_ROLE"}]) as f:
        offer = f.offer()
        equal(offer["allocation_info"], {"role": "eng"}, "offer")
        expect(all(r["allocation_info"] == {"role": "eng"} for r in offer["resources"]), offer["resources"])
        f.accept(offer, {**task(offer, "m"), "resources": [r for r in offer["resources"] if r["name"] in ("cpus", "mem")]})
        f.update("m", "TASK_RUNNING")


@claim
def lifecycle(c: Cluster) -> None:
    """a task runs and ends, each update once with what clients read; a second ACKNOWLEDGE changes nothing"""
    with Framework(c) as f:
        offer = f.offer()
        f.accept(offer, task(offer, "ends", "sleep 0.5"))
        status = f.update("ends", "TASK_RUNNING")
        equal((status["source"] in ("SOURCE_EXECUTOR", "SOURCE_AGENT"), status["executor_id"]["value"]), (True, "ends"), status)
        expect(status["container_status"]["network_infos"][0]["ip_addresses"][0]["ip_address"], status)
        expect(status["container_status"]["container_id"]["value"] and status["timestamp"] > 1e9, status)
        end = f.update("ends", "TASK_FINISHED")
        f.ack(end)
        f.ack(status)
        row = [t for t in get_json(c.leader, "/tasks?framework_id=" + f.id)["tasks"] if t["id"] == "ends"]
        equal([t["state"] for t in row], ["TASK_FINISHED"], row)
        f.call("RECONCILE", {"tasks": []})
        f.silent("UPDATE", 0.5)


@claim
def repeats(c: Cluster) -> None:
    """an update that is not acknowledged is shown again to the framework's next stream"""
    with Framework(c) as f:
        offer = f.offer()
        f.accept(offer, task(offer, "again"))
        first = f.update("again", ack=False)
        with Framework(c, framework_id=f.id) as g:
            f.id = None
            status = g.update("again", ack=False)
            equal((status["uuid"], status["state"]), (first["uuid"], first["state"]), "shown again")


@claim
def invalid_tasks(c: Cluster) -> None:
    """each invalid task is TASK_ERROR by the master, without a uuid; the others of the call go on"""
    with Framework(c) as f:
        offer = f.offer()
        no_command = task(offer, "no-command")
        del no_command["command"]
        bad = {"elsewhere": task(offer, "elsewhere", agent_id={"value": "x"}), "no-command": no_command,
               "nothing": {**task(offer, "nothing"), "resources": []},
               "too-much": task(offer, "too-much", cpus=1000), "a/b": task(offer, "a/b"),
               "negative": task(offer, "negative", cpus=-1),
               "both": {**task(offer, "both"), "executor": {"executor_id": {"value": "e"}, "command": {"value": "true"}}},
               "grace": {**task(offer, "grace"), "kill_policy": {"grace_period": {"nanoseconds": -1}}},
               "large": {**task(offer, "large"), "data": "A" * 100000}}
        f.accept(offer, *bad.values(), task(offer, "good"))
        waiting = set(bad)
        while waiting:
            status = f.event("UPDATE")["update"]["status"]
            if status["task_id"]["value"] not in bad:
                equal(status["task_id"]["value"], "good", "another task")
                f.ack(status)
                continue
            equal((status["state"], status["source"], status["reason"], "uuid" in status),
                  ("TASK_ERROR", "SOURCE_MASTER", "REASON_TASK_INVALID", False), status)
            expect(status["message"], status)
            waiting.remove(status["task_id"]["value"])
        f.call("RECONCILE", {"tasks": [{"task_id": {"value": "good"}}]})
        expect(f.update("good")["state"] in ("TASK_STAGING", "TASK_STARTING", "TASK_RUNNING"), "good")
        second = f.offer()
        f.accept(second, task(second, "good"))
        while True:
            status = f.event("UPDATE")["update"]["status"]
            if "uuid" in status:
                f.ack(status)
            elif status["state"] == "TASK_ERROR":
                expect("duplicate" in status["message"], status)
                break


@claim
def pool(c: Cluster) -> None:
    """the tasks of one ACCEPT share its offer: what is over it is TASK_ERROR; the operation's type decides"""
    with Framework(c) as f:
        offer = f.offer()
        f.accept(offer, task(offer, "p1", cpus=3), task(offer, "p2", cpus=3), task(offer, "p3", cpus=1))
        equal(f.update("p2")["state"], "TASK_ERROR", "p2")
        f.update("p3", "TASK_RUNNING")
        offer = f.offer()
        f.call("ACCEPT", {"offer_ids": [offer["id"]], "filters": {"refuse_seconds": 0},
                          "operations": [{"type": "RESERVE", "launch": {"task_infos": [task(offer, "not-a-launch")]}}]})
        f.call("RECONCILE", {"tasks": [{"task_id": {"value": "not-a-launch"}}]})
        equal(f.update("not-a-launch")["state"], "TASK_LOST", "an operation that is no LAUNCH")
        group = {"type": "LAUNCH_GROUP", "launch_group": {"executor": {"executor_id": {"value": "e"}, "type": "DEFAULT"},
                                                          "task_group": {"tasks": [task(offer, "g1", cpus=4)]}}}
        offer = f.offer()
        f.call("ACCEPT", {"offer_ids": [offer["id"]], "operations": [group]})
        equal(f.update("g1")["state"], "TASK_ERROR", "a group")


@claim
def stale_offers(c: Cluster) -> None:
    """an ACCEPT of offers that are not valid is TASK_LOST, or TASK_DROPPED for the partition aware; used twice counts as that"""
    for capabilities, state in (([], "TASK_LOST"), ([{"type": "PARTITION_AWARE"}], "TASK_DROPPED")):
        with Framework(c, capabilities=capabilities) as f:
            offer = f.offer()
            f.accept({"id": {"value": "x-O1"}}, task(offer, "stale"))
            status = f.update("stale")
            equal((status["state"], status["reason"], status["source"], "uuid" in status),
                  (state, "REASON_INVALID_OFFERS", "SOURCE_MASTER", False), status)
            f.accept(offer, task(offer, "one"))
            f.accept(offer, task(offer, "two"))
            equal(f.update("two")["state"], state, "an offer used twice")
            offer = f.offer()
            f.call("ACCEPT", {"offer_ids": [offer["id"], offer["id"]],
                              "operations": [{"type": "LAUNCH", "launch": {"task_infos": [task(offer, "three")]}}]})
            equal(f.update("three")["state"], state, "an offer named twice")
            status = post(c.leader, {"type": "ACCEPT", "framework_id": {"value": f.id}, "accept": {"offer_ids": [offer["id"]] * 1001}},
                          Mesos_Stream_Id=f.stream.headers["mesos-stream-id"])[0]
            equal(status, 413, "too many offers")


@claim
def kill(c: Cluster) -> None:
    """KILL ends a running task and one that is being launched; of another agent's or an unknown task as documented"""
    with Framework(c) as f:
        agent_id = f.run("k1")["agent_id"]
        f.call("KILL", {"task_id": {"value": "k1"}, "agent_id": {"value": "another"}})
        f.silent("UPDATE", 0.7)
        f.call("KILL", {"task_id": {"value": "k1"}, "agent_id": agent_id})
        equal(f.update("k1", "TASK_KILLED")["state"], "TASK_KILLED", "k1")
        f.call("KILL", {"task_id": {"value": "never"}})
        status = f.update("never")
        equal((status["state"], status["reason"], "uuid" in status), ("TASK_LOST", "REASON_RECONCILIATION", False), status)
        for number in range(5):     # at the same time: whichever is first in the log, the task does not run on
            offer, task_id = f.offer(), f"race{number}"
            accept = threading.Thread(target=f.accept, args=(offer, task(offer, task_id)))
            accept.start()
            time.sleep(0.001 * number)
            f.call("KILL", {"task_id": {"value": task_id}})
            accept.join()
            f.call("KILL", {"task_id": {"value": task_id}})
            f.update(task_id, "TASK_KILLED")


@claim
def reconcile(c: Cluster) -> None:
    """RECONCILE: named tasks, all tasks, unknown ones; no uuid, reason REASON_RECONCILIATION"""
    with Framework(c, capabilities=[{"type": "PARTITION_AWARE"}]) as f:
        agent_id = f.run("r1")["agent_id"]
        for body, wanted in (({"tasks": [{"task_id": {"value": "r1"}}]}, ("r1", "TASK_RUNNING")), ({}, ("r1", "TASK_RUNNING")),
                             ({"tasks": [{"task_id": {"value": "u"}}]}, ("u", "TASK_UNKNOWN")),
                             ({"tasks": [{"task_id": {"value": "u"}, "agent_id": agent_id}]}, ("u", "TASK_GONE")),
                             ({"tasks": [{"task_id": {"value": "u"}, "agent_id": {"value": "none"}}]}, ("u", "TASK_UNKNOWN"))):
            f.call("RECONCILE", body)
            status = f.event("UPDATE")["update"]["status"]
            equal((status["task_id"]["value"], status["state"], status["reason"], status["source"], "uuid" in status),
                  (*wanted, "REASON_RECONCILIATION", "SOURCE_MASTER", False), f"{body} {status}")
            if wanted[0] == "r1":
                equal((status["agent_id"], status["executor_id"]["value"]), (agent_id, "r1"), status)
        f.call("RECONCILE", {"tasks": [{"task_id": {"value": f"t{n}"}} for n in range(20001)]}, want=413)


@claim
def teardown(c: Cluster) -> None:
    """TEARDOWN ends the stream and kills the tasks; the id is not used again"""
    with Framework(c) as f:
        f.run("t1")
        fid = f.id
        f.call("TEARDOWN")
        f.id = None
        while f.stream.record() != b"":
            pass
    end = time.monotonic() + 10
    while True:
        done = [x for x in get_json(c.leader, "/frameworks")["completed_frameworks"] if x["id"] == fid]
        states = [t["state"] for x in done for t in x["completed_tasks"]]
        if states == ["TASK_KILLED"]:
            break
        expect(time.monotonic() < end, f"not killed: {done}")
        time.sleep(0.1)


@claim
def expiry(c: Cluster) -> None:
    """a framework with failover_timeout 0 that leaves is removed, and its tasks are killed"""
    with Framework(c, failover_timeout=0) as f:
        f.run("x1")
        fid, f.id = f.id, None
    end = time.monotonic() + 10
    while not [x for x in get_json(c.leader, "/frameworks")["completed_frameworks"] if x["id"] == fid and x["completed_tasks"]]:
        expect(time.monotonic() < end, "the framework was not removed")
        time.sleep(0.1)


@claim
def fairness(c: Cluster) -> None:
    """two frameworks share: the one that has less is offered first"""
    with Framework(c) as rich, Framework(c) as poor:
        offer = rich.offer()
        rich.accept(offer, task(offer, "big", resources=[scalar("cpus", 3), scalar("mem", 2048), scalar("disk", AGENT["disk"])]))
        rich.update("big", "TASK_RUNNING")
        for held in rich.offers:    # both want it now
            rich.call("DECLINE", {"offer_ids": [held["id"]], "filters": {"refuse_seconds": 0}})
        seen, end = set(), time.monotonic() + 10
        while len(seen) < AGENTS:
            expect(time.monotonic() < end, f"the poor framework was offered {seen}")
            seen.add(poor.offer()["hostname"])


@claim
def reading(c: Cluster) -> None:
    """the read endpoints have the shapes that tools read, on every path form"""
    with Framework(c) as f:
        f.run("seen", labels={"labels": [{"key": "k", "value": "v"}]})
        state = get_json(c.leader, "/master/state.json")
        for key in ("version", "id", "pid", "hostname", "leader", "slaves", "frameworks", "completed_frameworks", "activated_slaves",
                    "start_time", "elected_time", "leader_info", "unregistered_frameworks", "flags", "cluster"):
            expect(key in state, f"/state has no {key}")
        equal((state["leader"], state["leader_info"]["port"], state["activated_slaves"]), (f"master@{c.leader}:5050", 5050, AGENTS), "leader")
        mine = [x for x in state["frameworks"] if x["id"] == f.id][0]
        equal((mine["active"], mine["tasks"][0]["id"], mine["role"]), (True, "seen", "*"), mine)
        one = mine["tasks"][0]
        expect({"id", "name", "framework_id", "executor_id", "slave_id", "state", "resources", "statuses", "role"} <= set(one), one)
        expect(one["statuses"][-1]["container_status"]["network_infos"][0]["ip_addresses"][0]["ip_address"], one)
        for path in ("/tasks", "/master/tasks/", "/tasks?limit=-1", "/tasks/deeper"):
            expect(any(t["id"] == "seen" for t in get_json(c.leader, path)["tasks"]), path)
        equal(get_json(c.leader, "/tasks?limit=0")["tasks"], [], "limit=0")
        slaves = get_json(c.leader, "/slaves")["slaves"]
        equal(len(slaves), AGENTS, "/slaves")
        expect({"id", "hostname", "port", "pid", "resources", "used_resources", "offered_resources", "active", "attributes"} <= set(slaves[0]), slaves)
        equal(len(get_json(c.leader, f"/slaves?slave_id={slaves[0]['id']}")["slaves"]), 1, "slave_id")
        expect(get_json(c.leader, "/state-summary")["task_counts"]["TASK_RUNNING"] == 1, "/state-summary")
        equal(one["labels"], [{"key": "k", "value": "v"}], "labels")
        equal(request(c.leader, "POST", "/state")[0], 200, "POST /state")
    for host in (c.leader, c.follower):
        version = get_json(host, "/version")
        expect(version["version"] == "1.11.0" and version["conclave_version"], version)
        status, headers, body = get(host, "/health")
        equal((status, body, headers["Content-Type"]), (200, b"", None), "/health")
        metrics = get(host, "/metrics")
        expect(metrics[0] == 200 and b"# TYPE conclave_term gauge" in metrics[2], metrics[2][:200])
        for line in metrics[2].decode().splitlines():
            expect(line.startswith("# ") or float(line.split(" ")[-1]) >= 0, line)
        equal(get_json(host, "/metrics/snapshot")["master/elected"], 1 if host == c.leader else 0, "master/elected")
    for path in ("/nothing", "/api/v1", "/stateful", "/master"):
        equal(get(c.leader, path)[0], 404, path)


@claim
def operating(c: Cluster) -> None:
    """/conclave/v1: every master answers for itself, writes go to the leader, hashes agree"""
    hashes = []
    status = get_json(c.leader, "/conclave/v1/status")
    index = int(status["applied"])
    for host in c.masters:
        one = get_json(host, "/conclave/v1/status")
        equal((one["leader"]["http"], len(one["members"])), (f"{c.leader}:5050", 3), host)
        end = time.monotonic() + 5
        while get(host, f"/conclave/v1/hash?index={index}")[0] != 200 and time.monotonic() < end:
            time.sleep(0.02)
        hashes.append(get_json(host, f"/conclave/v1/hash?index={index}")["hash"])
    equal(len(set(hashes)), 1, "hashes at one index")
    equal(get(c.leader, "/conclave/v1/hash?index=99999999")[0], 404, "hash of the future")
    equal(get(c.leader, "/conclave/v1/hash?index=x")[0], 400, "hash of nonsense")
    expect(len(get_json(c.leader, "/conclave/v1/log?from=1&count=5")["entries"]) >= 1, "log")
    equal(get(c.leader, "/conclave/v1/log?from=99999999")[0], 404, "log of the future")
    equal(len(get_json(c.leader, "/conclave/v1/agents")["agents"]), AGENTS, "agents")
    expect(len(get_json(c.leader, "/conclave/v1/tasks?limit=2")["tasks"]) == 2, "tasks")
    equal(get(c.leader, "/conclave/v1/nothing")[0], 404, "unknown")
    equal(get_json(c.leader, "/conclave/v1/config")["level"], 2, "GET config")
    equal(request(c.leader, "DELETE", "/conclave/v1/config")[0], 405, "DELETE config")
    equal(request(c.leader, "POST", "/conclave/v1/config", "{")[0], 400, "bad config")
    equal(request(c.leader, "POST", "/conclave/v1/config", '{"agent_timeout_ms":0}')[0], 400, "config out of range")
    equal(request(c.leader, "POST", "/conclave/v1/config", '{"level":1}')[0], 409, "refused config")
    equal(request(c.leader, "POST", "/conclave/v1/config", '{"no_such_key":1}')[0], 400, "config with an unknown key")
    changed = get_json(c.leader, "/conclave/v1/config")["changed"]
    equal(request(c.leader, "POST", "/conclave/v1/config", "{}")[0], 200, "an empty config is committed")
    equal(get_json(c.leader, "/conclave/v1/config")["changed"], changed, "an empty config changes nothing")
    equal(request(c.leader, "POST", "/conclave/v1/config", '{"history_frameworks":50}')[0], 200, "config")
    answer = request(c.follower, "POST", "/conclave/v1/config", "{}")
    equal((answer[0], answer[1]["Location"]), (307, f"//{c.leader}:5050/conclave/v1/config"), "config elsewhere")


@claim
def leader_dies(c: Cluster) -> None:
    """when the leader dies, a framework comes back to the next one with its id, and its tasks have run on"""
    with Framework(c, failover_timeout=0) as f:
        f.run("survivor")
        old = c.head
        c.members.processes[f"m{old}"].send_signal(signal.SIGKILL)
        c.members.reap(f"m{old}")
        c.start_master(old)
        c.find_leader()
        with Framework(c, framework_id=f.id, failover_timeout=0) as g:
            f.id = None
            g.call("RECONCILE", {})
            equal(g.update("survivor")["state"], "TASK_RUNNING", "survivor")
            g.call("KILL", {"task_id": {"value": "survivor"}})
            g.update("survivor", "TASK_KILLED")


def idle(c: Cluster) -> None:
    """Until the tasks of the claims before have ended."""
    end = time.monotonic() + 15
    while any(slave["used_resources"]["cpus"] for slave in get_json(c.leader, "/slaves")["slaves"]):
        expect(time.monotonic() < end, "tasks of removed frameworks run on")
        time.sleep(0.02)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--binary", required=True, type=os.path.abspath)
    parser.add_argument("--dir", default=None, help="a folder on a disk")
    parser.add_argument("--only", default="", help="claims whose name has this word")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen, failed = [one for one in CLAIMS if options.only in one.__name__], 0
    with tempfile.TemporaryDirectory(dir=options.dir or TOP / "build") as where, Cluster(where, options.binary) as cluster:
        for one in chosen:
            begun = time.monotonic()
            try:
                idle(cluster)
                one(cluster)
                print(f"ok      {one.__doc__} ({time.monotonic() - begun:.1f} s)", flush=True)
            except (Broken, OSError, EOFError, KeyError, IndexError, ValueError) as error:
                failed += 1
                print(f"FAILED  {one.__doc__}: {one.__name__}: {type(error).__name__} {error}", flush=True)
        for key, process in cluster.members.processes.items():
            if process.poll() is not None:
                failed += 1
                print(f"FAILED  {key} ended with {process.returncode}", flush=True)
                print(open(f"{cluster.members.dir}/{key}.log", encoding="utf-8", errors="replace").read()[-6000:], flush=True)
        for key, process in cluster.members.processes.items():
            if key.startswith("m") and process.poll() is None:
                process.terminate()
                equal(process.wait(timeout=20), 0, f"{key} after SIGTERM")
    print(f"{len(chosen) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
