/* SPDX-License-Identifier: Apache-2.0 */
#include "command_make.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "scheduler/level.h"

static uint64_t envelope_cluster_ms = 1000, envelope_wall_ms = 1000;
static struct {
    uint8_t *data;
    size_t cap;
} memory;

void make_time(uint64_t cluster_ms, uint64_t wall_ms) {
    envelope_cluster_ms = cluster_ms;
    envelope_wall_ms = wall_ms;
}

void make_done(void) {
    free(memory.data);
    memory.data = NULL;
    memory.cap = 0;
}

struct made make_packed(Conclave__Log__Command *command) {
    command->cluster_ms = envelope_cluster_ms;
    command->wall_ms = envelope_wall_ms;
    size_t len = conclave__log__command__get_packed_size(command);
    if (len > memory.cap) {
        memory.data = realloc(memory.data, len);
        CHECK(memory.data);
        memory.cap = len;
    }
    conclave__log__command__pack(command, memory.data);
    return (struct made){memory.data, len};
}

/* Each maker: an initialised message `c` of this type inside an envelope. */
#define MAKE_BEGIN(TYPE, init)                                                                                         \
    Conclave__Log__Command command = CONCLAVE__LOG__COMMAND__INIT;                                                     \
    Conclave__Log__##TYPE c = CONCLAVE__LOG__##init##__INIT
#define MAKE_END(field)                                                                                                \
    command.field = &c;                                                                                                \
    return make_packed(&command)

static ProtobufCBinaryData text_bytes(const char *text) {
    return (ProtobufCBinaryData){.len = strlen(text), .data = (uint8_t *)text};
}

struct amounts { /* what a Resources message points at */
    Conclave__Log__Resources message;
    Conclave__Log__Range range;
    Conclave__Log__Range *ranges[1];
};

static int64_t milli(double amount) {
    return (int64_t)(amount * 1000 + (amount < 0 ? -0.5 : 0.5));
}

static void amounts_fill(struct amounts *a, struct make_amount amount) {
    a->message = (Conclave__Log__Resources)CONCLAVE__LOG__RESOURCES__INIT;
    a->message.has_cpus = a->message.has_mem = a->message.has_disk = a->message.has_gpus = 1;
    a->message.cpus = milli(amount.cpus);
    a->message.mem = milli(amount.mem);
    a->message.disk = milli(amount.disk);
    a->message.gpus = milli(amount.gpus);
    if (amount.port_begin == 0) return;
    a->range = (Conclave__Log__Range)CONCLAVE__LOG__RANGE__INIT;
    a->range.begin = amount.port_begin;
    a->range.end = amount.port_end;
    a->ranges[0] = &a->range;
    a->message.n_ports = 1;
    a->message.ports = a->ranges;
}

struct made make_leader_seeded(uint64_t term, const char *cluster16, const Conclave__Log__Config *seed) {
    MAKE_BEGIN(LeaderStarted, LEADER_STARTED);
    c.term = term;
    c.node = term;
    c.http = "10.0.0.1:5050";
    c.link = "10.0.0.1:5061";
    c.version = "0.1.0";
    c.cluster_id = (ProtobufCBinaryData){.len = 16, .data = (uint8_t *)cluster16};
    c.seed = (Conclave__Log__Config *)seed;
    MAKE_END(leader_started);
}

struct made make_leader(uint64_t term, const char *cluster16) {
    Conclave__Log__Config newest = CONCLAVE__LOG__CONFIG__INIT;
    newest.has_level = 1;
    newest.level = level_max();
    return make_leader_seeded(term, cluster16, &newest);
}

struct made make_config(const Conclave__Log__Config *config) {
    return make_config_if(config, NULL);
}

struct made make_config_if(const Conclave__Log__Config *config, const Conclave__Log__Position *changed) {
    MAKE_BEGIN(ConfigSet, CONFIG_SET);
    c.if_changed = (Conclave__Log__Position *)changed;
    c.config = (Conclave__Log__Config *)config;
    MAKE_END(config_set);
}

struct made make_subscribe(const char *id, uint64_t failover_ms, uint32_t capabilities) {
    MAKE_BEGIN(FrameworkSubscribe, FRAMEWORK_SUBSCRIBE);
    char *roles[] = {"*"};
    c.framework_id = (char *)id;
    c.info = text_bytes("framework info");
    c.name = "framework";
    c.user = "nobody";
    c.n_roles = 1;
    c.roles = roles;
    c.failover_timeout_ms = failover_ms;
    c.has_capabilities = 1;
    c.capabilities = capabilities;
    MAKE_END(framework_subscribe);
}

struct made make_disconnected(uint32_t framework, uint64_t subscribed) {
    MAKE_BEGIN(FrameworkDisconnected, FRAMEWORK_DISCONNECTED);
    c.framework = framework;
    c.subscribed = subscribed;
    MAKE_END(framework_disconnected);
}

struct made make_expire(uint32_t framework, uint64_t since) {
    MAKE_BEGIN(FrameworkExpire, FRAMEWORK_EXPIRE);
    c.framework = framework;
    c.since = since;
    MAKE_END(framework_expire);
}

struct made make_teardown(uint32_t framework) {
    MAKE_BEGIN(FrameworkTeardown, FRAMEWORK_TEARDOWN);
    c.framework = framework;
    MAKE_END(framework_teardown);
}

struct made make_sweep(uint32_t framework, uint64_t from) {
    MAKE_BEGIN(FrameworkSweep, FRAMEWORK_SWEEP);
    c.framework = framework;
    c.from = from;
    MAKE_END(framework_sweep);
}

struct made make_suppress(uint32_t framework, const char *role, bool suppressed) {
    MAKE_BEGIN(FrameworkSuppress, FRAMEWORK_SUPPRESS);
    char *roles[] = {(char *)role};
    c.framework = framework;
    c.n_roles = role ? 1 : 0;
    c.roles = roles;
    c.suppressed = suppressed;
    MAKE_END(framework_suppress);
}

struct made make_agent(uint8_t who, struct make_amount total) {
    MAKE_BEGIN(AgentRegister, AGENT_REGISTER);
    uint8_t uuid[16];
    struct amounts amounts;
    memset(uuid, who, sizeof uuid);
    amounts_fill(&amounts, total);
    c.uuid = (ProtobufCBinaryData){.len = sizeof uuid, .data = uuid};
    c.hostname = "host.example";
    c.http = "10.0.0.2:5051";
    c.resources = &amounts.message;
    c.info = text_bytes("agent info");
    c.version = "0.1.0";
    MAKE_END(agent_register);
}

struct made make_returned(uint32_t agent) {
    MAKE_BEGIN(AgentReturned, AGENT_RETURNED);
    c.agent = agent;
    MAKE_END(agent_returned);
}

struct made make_unreachable(uint32_t agent, uint64_t since) {
    MAKE_BEGIN(AgentUnreachable, AGENT_UNREACHABLE);
    c.agent = agent;
    c.since = since;
    MAKE_END(agent_unreachable);
}

struct made make_gone(uint32_t agent) {
    MAKE_BEGIN(AgentGone, AGENT_GONE);
    c.agent = agent;
    MAKE_END(agent_gone);
}

struct made make_member_add(const char *peer, uint64_t highest) {
    MAKE_BEGIN(MemberAdd, MEMBER_ADD);
    c.peer = (char *)peer;
    c.http = (char *)"10.0.0.4:5050";
    c.link = (char *)"10.0.0.4:5061";
    c.highest = highest;
    MAKE_END(member_add);
}

struct made make_member_remove(uint64_t id) {
    MAKE_BEGIN(MemberRemove, MEMBER_REMOVE);
    c.id = id;
    MAKE_END(member_remove);
}

struct launch_room {
    Conclave__Log__TaskLaunch message;
    struct amounts amounts;
};

struct made make_accept_many(uint32_t framework, uint32_t agent, bool offers_valid, const struct make_task *tasks,
                             size_t count) {
    MAKE_BEGIN(Accept, ACCEPT);
    struct launch_room *room = calloc(count ? count : 1, sizeof *room);
    Conclave__Log__TaskLaunch **list = calloc(count ? count : 1, sizeof *list);
    CHECK(room && list);
    for (size_t i = 0; i < count; i++) {
        Conclave__Log__TaskLaunch *m = &room[i].message;
        *m = (Conclave__Log__TaskLaunch)CONCLAVE__LOG__TASK_LAUNCH__INIT;
        amounts_fill(&room[i].amounts, tasks[i].amount);
        m->task_id = (char *)tasks[i].id;
        m->name = "task";
        m->resources = &room[i].amounts.message;
        m->info = text_bytes("task info, opaque to apply");
        m->has_view = 1;
        m->view = text_bytes("task view, opaque to apply");
        m->refusal = (char *)tasks[i].refusal;
        list[i] = m;
    }
    c.framework = framework;
    c.has_agent = agent != 0;
    c.agent = agent;
    c.offers_valid = offers_valid;
    c.n_tasks = count;
    c.tasks = list;
    command.accept = &c;
    struct made made = make_packed(&command);
    free(list);
    free(room);
    return made;
}

struct made make_accept(uint32_t framework, uint32_t agent, const char *task_id, struct make_amount amount) {
    struct make_task task = {task_id, amount, NULL};
    return make_accept_many(framework, agent, true, &task, 1);
}

struct made make_kill(uint32_t framework, const char *task_id, int64_t grace_ms) {
    MAKE_BEGIN(TaskKill, TASK_KILL);
    c.framework = framework;
    c.task_id = (char *)task_id;
    c.has_grace_ms = grace_ms >= 0;
    c.grace_ms = grace_ms >= 0 ? (uint64_t)grace_ms : 0;
    MAKE_END(task_kill);
}

static Conclave__Log__LaunchId launch_message(struct launch_id launch) {
    Conclave__Log__LaunchId m = CONCLAVE__LOG__LAUNCH_ID__INIT;
    m.index = launch.index;
    m.n = launch.n;
    m.k = launch.k;
    return m;
}

struct made make_report_uuid(uint32_t agent, const char *framework_id, const char *task_id, struct launch_id launch,
                             uint32_t state, uint32_t latest, const uint8_t uuid[16]) {
    MAKE_BEGIN(TaskReport, TASK_REPORT);
    Conclave__Log__LaunchId id = launch_message(launch);
    char status[64];
    snprintf(status, sizeof status, "status %s", task_state_name(state));
    c.agent = agent;
    c.framework_id = (char *)framework_id;
    c.task_id = (char *)task_id;
    c.launch = &id;
    c.state = state;
    c.latest_state = latest;
    c.uuid = (ProtobufCBinaryData){.len = 16, .data = (uint8_t *)uuid};
    c.status = text_bytes(status);
    MAKE_END(task_report);
}

struct made make_report(uint32_t agent, const char *framework_id, const char *task_id, struct launch_id launch,
                        uint32_t state, uint32_t latest, uint8_t uuid) {
    uint8_t bytes[16];
    memset(bytes, uuid, sizeof bytes);
    return make_report_uuid(agent, framework_id, task_id, launch, state, latest, bytes);
}

struct made make_acknowledge_uuid(uint32_t framework, const char *task_id, const uint8_t uuid[16]) {
    MAKE_BEGIN(TaskAcknowledge, TASK_ACKNOWLEDGE);
    c.framework = framework;
    c.task_id = (char *)task_id;
    c.uuid = (ProtobufCBinaryData){.len = 16, .data = (uint8_t *)uuid};
    MAKE_END(task_acknowledge);
}

struct made make_acknowledge(uint32_t framework, const char *task_id, uint8_t uuid) {
    uint8_t bytes[16];
    memset(bytes, uuid, sizeof bytes);
    return make_acknowledge_uuid(framework, task_id, bytes);
}

struct made make_vanished(uint32_t agent, const char *framework_id, const char *task_id, struct launch_id launch) {
    MAKE_BEGIN(TaskVanished, TASK_VANISHED);
    Conclave__Log__LaunchId id = launch_message(launch);
    c.agent = agent;
    c.framework_id = (char *)framework_id;
    c.task_id = (char *)task_id;
    c.launch = &id;
    MAKE_END(task_vanished);
}
