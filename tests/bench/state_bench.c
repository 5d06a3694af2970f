/* SPDX-License-Identifier: Apache-2.0
 * state_bench [TASKS [TEMPLATES]]: how fast the pure core is, and what a task costs. One line a figure, in CPU time of
 * the thread, so that other work on the machine does not count. The commands are packed before the clock starts.
 *
 * A task is made from one of TEMPLATES templates (0: each has one of its own): name, view and resources. Its statuses
 * are what an agent sends: its id, its agent's, a time and a container of their own. */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "command_make.h"
#include "mesos/v1/mesos.pb-c.h"

#define AGENTS      100
#define SLICE_BYTES (16u << 10) /* as a replica asks for them */

struct bench {
    struct state *state;
    struct outcome *outcome;
    struct effects effects;
    uint64_t index;
    uint32_t tasks, templates;
    struct made *commands; /* owned copies, `tasks` of them */
};

/* CPU time of this thread. */
static uint64_t cpu_us(void) {
    struct timespec t;
    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static size_t heap_bytes(void) {
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void apply(struct bench *b, struct made m) {
    struct err err;
    CHECK(state_apply(b->state, 1, ++b->index, 0, m.data, m.len, b->outcome, &b->effects, &err) == 0);
    CHECK(b->outcome->code == OUTCOME_OK);
}

static void keep(struct bench *b, uint32_t i, struct made m) {
    b->commands[i].data = malloc(m.len);
    CHECK(b->commands[i].data);
    memcpy(b->commands[i].data, m.data, m.len);
    b->commands[i].len = m.len;
}

/* Applies the kept commands, frees them and prints how many a second. */
static void measure(struct bench *b, const char *what) {
    uint64_t start_us = cpu_us();
    for (uint32_t i = 0; i < b->tasks; i++)
        apply(b, b->commands[i]);
    uint64_t us = cpu_us() - start_us;
    for (uint32_t i = 0; i < b->tasks; i++)
        free(b->commands[i].data);
    printf("%s: %.0f commands/s\n", what, (double)b->tasks * 1e6 / (double)(us ? us : 1));
}

static void id_of(uint32_t i, char ret[64]) {
    (void)snprintf(ret, 64, "task-%08" PRIu32 "-0f1e2d3c-4b5a", i);
}

static void uuid_of(uint32_t i, uint32_t state, uint8_t ret[16]) {
    memset(ret, (int)state + 1, 16);
    store_u32(ret, i);
}

/* What a user writes about a task and readers want to see: 3 labels, a container, a health check, about 300 bytes. */
static size_t view_make(uint32_t template, uint8_t *ret) {
    char text[3][128], image[64];
    Mesos__V1__Label labels[3], *rows[3];
    Mesos__V1__Labels all = MESOS__V1__LABELS__INIT;
    Mesos__V1__Task view = MESOS__V1__TASK__INIT;
    Mesos__V1__TaskID id = MESOS__V1__TASK_ID__INIT;
    Mesos__V1__FrameworkID framework = MESOS__V1__FRAMEWORK_ID__INIT;
    Mesos__V1__AgentID agent = MESOS__V1__AGENT_ID__INIT;
    static char keys[3][24] = {"team", "service", "version"};
    for (int i = 0; i < 3; i++) {
        mesos__v1__label__init(&labels[i]);
        (void)snprintf(text[i], sizeof text[i], "%s-of-template-%08" PRIu32 "-and-some-more", keys[i], template);
        labels[i].key = keys[i];
        labels[i].value = text[i];
        rows[i] = &labels[i];
    }
    (void)snprintf(image, sizeof image, "user-of-template-%08" PRIu32, template);
    all.n_labels = 3;
    all.labels = rows;
    id.value = framework.value = agent.value = view.name = "";
    view.task_id = &id;
    view.framework_id = &framework;
    view.agent_id = &agent;
    view.labels = &all;
    view.user = image;
    return mesos__v1__task__pack(&view, ret);
}

static size_t status_make(const struct bench *b, uint32_t i, const char *id, uint32_t state, const uint8_t uuid[16],
                          uint8_t *ret) {
    Mesos__V1__TaskStatus s = MESOS__V1__TASK_STATUS__INIT;
    Mesos__V1__TaskID task_id = MESOS__V1__TASK_ID__INIT;
    Mesos__V1__AgentID agent_id = MESOS__V1__AGENT_ID__INIT;
    Mesos__V1__ExecutorID executor_id = MESOS__V1__EXECUTOR_ID__INIT;
    Mesos__V1__ContainerID container_id = MESOS__V1__CONTAINER_ID__INIT;
    Mesos__V1__ContainerStatus container = MESOS__V1__CONTAINER_STATUS__INIT;
    Mesos__V1__NetworkInfo network = MESOS__V1__NETWORK_INFO__INIT, *networks[] = {&network};
    Mesos__V1__NetworkInfo__IPAddress address = MESOS__V1__NETWORK_INFO__IPADDRESS__INIT, *addresses[] = {&address};
    char hex[64];
    const struct task *task = state_task_by_id(b->state, 1, id);
    (void)snprintf(hex, sizeof hex, "%08" PRIx32 "-1234-4abc-9def-%012" PRIx64, i * 2654435761u, (uint64_t)i * 7919);
    task_id.value = executor_id.value = (char *)(uintptr_t)id;
    agent_id.value = state_agent(b->state, task->agent)->id;
    container_id.value = hex;
    container.container_id = &container_id;
    container.has_executor_pid = 1;
    container.executor_pid = 1000 + i % 30000;
    address.ip_address = "10.0.0.17";
    network.n_ip_addresses = 1;
    network.ip_addresses = addresses;
    container.n_network_infos = 1;
    container.network_infos = networks;
    s.task_id = &task_id;
    s.agent_id = &agent_id;
    s.executor_id = &executor_id;
    s.container_status = &container;
    s.state = (Mesos__V1__TaskState)state;
    s.has_source = s.has_timestamp = s.has_uuid = 1;
    s.source = MESOS__V1__TASK_STATUS__SOURCE__SOURCE_EXECUTOR;
    s.timestamp = 1.7e9 + i / 1000.0;
    s.uuid = (ProtobufCBinaryData){.len = 16, .data = (uint8_t *)(uintptr_t)uuid};
    return mesos__v1__task_status__pack(&s, ret);
}

static void accepts(struct bench *b) {
    char id[64], name[64];
    uint8_t view[1024], info[64] = {0};
    for (uint32_t i = 0; i < b->tasks; i++) {
        uint32_t template = b->templates ? i % b->templates : i;
        Conclave__Log__Command command = CONCLAVE__LOG__COMMAND__INIT;
        Conclave__Log__Accept accept = CONCLAVE__LOG__ACCEPT__INIT;
        Conclave__Log__TaskLaunch launch = CONCLAVE__LOG__TASK_LAUNCH__INIT, *launches[] = {&launch};
        Conclave__Log__Resources resources = CONCLAVE__LOG__RESOURCES__INIT;
        id_of(i, id);
        (void)snprintf(name, sizeof name, "service-%08" PRIu32, template);
        resources.has_cpus = resources.has_mem = 1;
        resources.cpus = 1 + template % 1000;
        resources.mem = 32000 + template;
        launch.task_id = id;
        launch.name = name;
        launch.resources = &resources;
        launch.info = (ProtobufCBinaryData){.len = sizeof info, .data = info};
        launch.has_view = 1;
        launch.view = (ProtobufCBinaryData){.len = view_make(template, view), .data = view};
        accept.framework = 1;
        accept.has_agent = 1;
        accept.agent = 1 + i % AGENTS;
        accept.offers_valid = 1;
        accept.n_tasks = 1;
        accept.tasks = launches;
        command.accept = &accept;
        command.wall_ms = 1700000000000 + i;
        keep(b, i, make_packed(&command));
    }
    measure(b, "accept");
}

static void reports(struct bench *b, uint32_t state, const char *what) {
    char id[64];
    uint8_t status[1024];
    size_t bytes = 0;
    for (uint32_t i = 0; i < b->tasks; i++) {
        Conclave__Log__Command command = CONCLAVE__LOG__COMMAND__INIT;
        Conclave__Log__TaskReport report = CONCLAVE__LOG__TASK_REPORT__INIT;
        Conclave__Log__LaunchId launch = CONCLAVE__LOG__LAUNCH_ID__INIT;
        uint8_t uuid[16];
        id_of(i, id);
        uuid_of(i, state, uuid);
        const struct task *task = state_task_by_id(b->state, 1, id);
        launch.index = task->launch.index;
        report.agent = task->agent;
        report.framework_id = state_framework(b->state, 1)->id;
        report.task_id = id;
        report.launch = &launch;
        report.state = report.latest_state = state;
        report.uuid = (ProtobufCBinaryData){.len = sizeof uuid, .data = uuid};
        report.status = (ProtobufCBinaryData){.len = status_make(b, i, id, state, uuid, status), .data = status};
        bytes += report.status.len;
        command.task_report = &report;
        command.wall_ms = 1700000100000 + i;
        keep(b, i, make_packed(&command));
    }
    printf("status: %.0f bytes\n", (double)bytes / b->tasks);
    measure(b, what);
}

static void acknowledgements(struct bench *b, uint32_t state, const char *what) {
    char id[64];
    for (uint32_t i = 0; i < b->tasks; i++) {
        uint8_t uuid[16];
        id_of(i, id);
        uuid_of(i, state, uuid);
        keep(b, i, make_acknowledge_uuid(1, id, uuid));
    }
    measure(b, what);
}

static double ms_since(uint64_t start_us) {
    return (double)(cpu_us() - start_us) / 1e3;
}

/* A snapshot in slices; nothing changes meanwhile. */
static void slices(struct bench *b) {
    struct buf bytes;
    bool end = false;
    uint64_t longest = 0, count = 0, start_us = cpu_us();
    buf_init(&bytes, 1u << 30);
    state_snapshot_begin(b->state);
    while (!end) {
        uint64_t before = cpu_us();
        CHECK(state_snapshot_more(b->state, SLICE_BYTES, &bytes, &end) == 0);
        uint64_t took = cpu_us() - before;
        if (took > longest) longest = took;
        buf_clear(&bytes);
        count++;
    }
    printf("snapshot in %" PRIu64 " slices: %.1f ms, the longest %.3f ms\n", count, ms_since(start_us),
           (double)longest / 1e3);
    buf_done(&bytes);
}

static void snapshot(struct bench *b) {
    struct buf bytes;
    struct err err;
    buf_init(&bytes, (size_t)1 << 36);
    uint64_t start_us = cpu_us();
    CHECK(state_snapshot(b->state, &bytes) == 0);
    printf("snapshot: %.1f ms, %.0f bytes a task\n", ms_since(start_us), (double)bytes.len / b->tasks);
    slices(b);
    struct state *copy = state_new();
    size_t before = heap_bytes();
    start_us = cpu_us();
    CHECK(state_restore(copy, bytes.data, bytes.len, &err) == 0);
    printf("restore: %.1f ms\n", ms_since(start_us));
    printf("memory: %.0f bytes a task\n", (double)(heap_bytes() - before) / b->tasks);
    start_us = cpu_us();
    CHECK(state_check(copy, &err) == 0);
    printf("check: %.1f ms\n", ms_since(start_us));
    start_us = cpu_us();
    state_free(copy);
    printf("free: %.1f ms\n", ms_since(start_us));
    buf_done(&bytes);
}

int main(int argc, char **argv) {
    unsigned long tasks = argc > 1 ? strtoul(argv[1], NULL, 10) : 100000;
    unsigned long templates = argc > 2 ? strtoul(argv[2], NULL, 10) : 1000;
    if (tasks == 0 || tasks > STATE_TASKS_MAX || templates > tasks) {
        fprintf(stderr, "usage: state_bench [TASKS up to %d [TEMPLATES]]\n", STATE_TASKS_MAX);
        return 64;
    }
    struct bench b = {.state = state_new(),
                      .outcome = malloc(sizeof *b.outcome),
                      .tasks = (uint32_t)tasks,
                      .templates = (uint32_t)templates};
    b.commands = calloc(tasks, sizeof *b.commands);
    CHECK(b.outcome && b.commands);
    printf("tasks: %lu, on %d agents, of %lu templates\n", tasks, AGENTS, templates ? templates : tasks);
    apply(&b, make_leader(1, "0123456789abcdef"));
    apply(&b, make_subscribe(NULL, 1000, 0));
    for (int i = 0; i < AGENTS; i++)
        apply(&b, make_agent((uint8_t)i, (struct make_amount){.cpus = 1e6, .mem = 1e9}));
    accepts(&b);
    reports(&b, TASK_RUNNING, "report of RUNNING");
    acknowledgements(&b, TASK_RUNNING, "acknowledgement of RUNNING");
    snapshot(&b);
    reports(&b, TASK_FINISHED, "report of FINISHED");
    acknowledgements(&b, TASK_FINISHED, "acknowledgement of FINISHED, history trimmed");
    effects_done(&b.effects);
    free(b.commands);
    free(b.outcome);
    state_free(b.state);
    make_done();
    return 0;
}
