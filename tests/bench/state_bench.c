/* SPDX-License-Identifier: Apache-2.0
 * state_bench [TASKS]: how fast the pure core is. One line a figure. The commands are packed before the clock starts.
 */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "command_make.h"

#define AGENTS       100
#define STATUS_BYTES 256

struct bench {
    struct state *state;
    struct outcome *outcome;
    struct effects effects;
    uint64_t index;
    uint32_t tasks;
    struct made *commands; /* owned copies, `tasks` of them */
};

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
    uint64_t start_us = clock_mono_us();
    for (uint32_t i = 0; i < b->tasks; i++)
        apply(b, b->commands[i]);
    uint64_t us = clock_mono_us() - start_us;
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

static void accepts(struct bench *b) {
    char id[64];
    for (uint32_t i = 0; i < b->tasks; i++) {
        id_of(i, id);
        keep(b, i, make_accept(1, 1 + i % AGENTS, id, (struct make_amount){.cpus = 0.1, .mem = 32}));
    }
    measure(b, "accept");
}

static void reports(struct bench *b, uint32_t state, const char *what) {
    static uint8_t status[STATUS_BYTES];
    char id[64];
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
        report.status = (ProtobufCBinaryData){.len = sizeof status, .data = status};
        command.task_report = &report;
        keep(b, i, make_packed(&command));
    }
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
    return (double)(clock_mono_us() - start_us) / 1e3;
}

static void snapshot(const struct bench *b) {
    struct buf bytes;
    struct err err;
    buf_init(&bytes, (size_t)1 << 32);
    uint64_t start_us = clock_mono_us();
    CHECK(state_snapshot(b->state, &bytes) == 0);
    printf("snapshot: %.1f ms, %.0f bytes a task\n", ms_since(start_us), (double)bytes.len / b->tasks);
    struct state *copy = state_new();
    size_t before = heap_bytes();
    start_us = clock_mono_us();
    CHECK(state_restore(copy, bytes.data, bytes.len, &err) == 0);
    printf("restore: %.1f ms\n", ms_since(start_us));
    printf("memory: %.0f bytes a task\n", (double)(heap_bytes() - before) / b->tasks);
    start_us = clock_mono_us();
    CHECK(state_check(copy, &err) == 0);
    printf("check: %.1f ms\n", ms_since(start_us));
    state_free(copy);
    buf_done(&bytes);
}

int main(int argc, char **argv) {
    unsigned long tasks = argc > 1 ? strtoul(argv[1], NULL, 10) : 100000;
    if (tasks == 0 || tasks > STATE_TASKS_MAX) {
        fprintf(stderr, "usage: state_bench [TASKS up to %d]\n", STATE_TASKS_MAX);
        return 64;
    }
    struct bench b = {.state = state_new(), .outcome = malloc(sizeof *b.outcome), .tasks = (uint32_t)tasks};
    b.commands = calloc(tasks, sizeof *b.commands);
    CHECK(b.outcome && b.commands);
    printf("tasks: %lu, on %d agents\n", tasks, AGENTS);
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
