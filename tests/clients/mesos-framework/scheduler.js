// SPDX-License-Identifier: Apache-2.0
// A scheduler over mesos-framework, unmodified: runs TASKS tasks of COMMAND to TASK_FINISHED and tears itself down. What it
// says, and how it learns of MASTERS and the rest: ../drivers.md. Placing tasks, acknowledging, reconciling after a new
// subscription and replacing a lost task under a new id are the library's own defaults.
//
// The library follows a 307 but knows one address only: when a master dies, it stays silent (its README: "the failed
// Master case"). So subscribe() is called here, with the next of MASTERS, when its stream has closed. No other call is
// ever made again.
"use strict";
const fs = require("fs");
const http = require("http");
const path = require("path");
const where = path.join(process.env.CLIENTS, "node", "node_modules", "mesos-framework");
const { Scheduler, Mesos } = require(where);
const mesos = Mesos.getMesos();

const masters = process.env.MASTERS.split(",");
const wanted = Number(process.env.TASKS);
const say = (...words) => fs.writeSync(3, words.join(" ") + "\n");

// Every request of the library is told before it is sent and when its answer is there. A request to a dead master has
// failed before the library writes its body.
let calls = 0;
function tap(request) {
    const number = ++calls;
    const write = request.write;
    let end = null;
    let begun = false;
    const ended = (...words) => {
        end = words;
        if (begun) say(...words);
    };
    request.write = function (body, ...rest) {
        const call = JSON.parse(body);
        const launch = [].concat(call.accept ? call.accept.operations : []);
        const launched = launch.flatMap((operation) => operation.launch.task_infos.map((task) => task.task_id.value));
        begun = true;
        say("call", number, call.type, ...launched);
        if (end) say(...end);
        return write.call(request, body, ...rest);
    };
    request.on("response", (answer) => ended("answer", number, answer.statusCode));
    request.on("error", (error) => ended("failed", number, error.code || "error"));
    return request;
}
const makeRequest = http.request;
http.request = (...args) => tap(makeRequest(...args));

class Driver extends Scheduler {
    subscribe() {
        super.subscribe();
        const request = this.httpRequest;
        request.once("close", () => {
            if (request === this.httpRequest) setTimeout(() => this.subscribeElsewhere(), 250);
        });
    }

    subscribeElsewhere() {
        masters.push(masters.shift());
        [this.options.masterUrl, this.options.port] = masters[0].split(":");
        this.mesosStreamId = undefined;
        this.generateRequestTemplate();
        this.subscribe();
    }
}

const scheduler = new Driver({
    masterUrl: masters[0].split(":")[0],
    port: masters[0].split(":")[1],
    frameworkName: process.env.NAME,
    masterConnectionTimeout: 30,
    logging: { path: process.env.LOGS, fileName: "mesos-framework.log", level: "error" },
    tasks: {
        load: {
            instances: wanted,
            commandInfo: new mesos.CommandInfo(null, null, true, process.env.COMMAND),
            resources: { cpus: 0.25, mem: 32, disk: 0, ports: 0 },
        },
    },
});

const finished = new Set();
scheduler.on("ready", () => scheduler.subscribe());
scheduler.on("subscribed", (event) => say("subscribed", event.frameworkId));
scheduler.on("error", (error) => console.error("error:", error.message || error));
scheduler.on("update", ({ status }) => {
    say("update", status.state, status.reason || "-", status.task_id.value);
    if (status.state === "TASK_FINISHED") finished.add(status.task_id.value);
    if (finished.size === wanted) setTimeout(() => scheduler.teardown(), 500); // the last acknowledgements go first
});
scheduler.on("sent_teardown", () => process.exit(0));
