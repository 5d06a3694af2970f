/* SPDX-License-Identifier: Apache-2.0 */
#include "command_random.h"

#include <stdio.h>
#include <string.h>

#define CLUSTER   "0123456789abcdef"
#define FRAMEWORK 6 /* sizes of the pools */
#define AGENT     4
#define TASK      24

static uint32_t below(struct draw *draw, uint32_t n) {
    return draw->below(draw->ctx, n);
}

static const char *const task_ids[TASK] = {"t0",  "t1",  "t2",  "t3",  "t4",  "t5",  "t6",  "t7",
                                           "t8",  "t9",  "t10", "t11", "t12", "t13", "t14", "t15",
                                           "t16", "t17", "t18", "t19", "t20", "t21", "a/b", ""};

/* One of the newest few frameworks, so that it mostly exists. */
static uint32_t draw_framework(struct draw *draw, const struct state *state) {
    uint32_t last = 0;
    for (const struct framework *f = state_framework_next(state, 0); f; f = state_framework_next(state, f->number))
        last = f->number;
    uint32_t back = below(draw, FRAMEWORK);
    return last > back ? last - back : 1 + back;
}

static const struct task *draw_task(struct draw *draw, const struct state *state) {
    const struct framework *framework = state_framework(state, draw_framework(draw, state));
    if (!framework) return NULL;
    uint32_t skip = below(draw, 8);
    const struct task *task = framework_task_first(framework);
    while (task && skip-- > 0 && framework_task_after(framework, task))
        task = framework_task_after(framework, task);
    if (task && below(draw, 16) != 0) return task;
    return state_task_by_id(state, framework->number, task_ids[below(draw, TASK)]);
}

static uint64_t agent_since(const struct state *state, uint32_t number) {
    const struct agent *agent = state_agent(state, number);
    return agent ? agent->since : 0;
}

static struct made random_config(struct draw *draw, const struct state *state) {
    Conclave__Log__Config config = CONCLAVE__LOG__CONFIG__INIT;
    config.has_history_tasks = 1;
    config.history_tasks = below(draw, 12);
    config.has_history_frameworks = 1;
    config.history_frameworks = below(draw, 3);
    config.has_framework_reregister_timeout_ms = below(draw, 2) == 0;
    config.framework_reregister_timeout_ms = 999 + below(draw, 100); /* one in a hundred is out of its range */
    const struct config_record *now = state_config(state);
    Conclave__Log__Position changed = CONCLAVE__LOG__POSITION__INIT;
    changed.index = now->changed_index - (now->changed_index > 0 && below(draw, 4) == 0);
    changed.n = now->changed_n;
    return now->level >= 2 && below(draw, 2) ? make_config_if(&config, &changed) : make_config(&config);
}

static struct made random_subscribe(struct draw *draw, const struct state *state) {
    const struct framework *known = state_framework(state, draw_framework(draw, state));
    uint32_t kind = below(draw, 8);
    char id[64];
    snprintf(id, sizeof id, kind == 1 ? "brought-%u" : "30313233-0-%04u", below(draw, 40));
    const char *given = kind < 2 ? id : kind < 6 && known ? known->id : NULL;
    uint32_t capabilities = below(draw, 2) ? CAP_PARTITION_AWARE : 0;
    return make_subscribe(given, below(draw, 60), capabilities);
}

static struct made random_framework_end(struct draw *draw, const struct state *state) {
    uint32_t number = draw_framework(draw, state);
    const struct framework *framework = state_framework(state, number);
    if (state_config(state)->level >= 2 && below(draw, 30) == 0)
        return make_sweep(number, framework ? framework->sweep_next : 1);
    switch (below(draw, 8)) {
    case 0:
        return make_teardown(number);
    case 1:
        return make_suppress(number, below(draw, 2) ? "*" : NULL, below(draw, 2) == 0);
    case 2:
    case 3:
        return make_expire(number, state_leader(state)->index);
    case 4:
    case 5:
        return make_expire(number, framework ? framework->since : 0);
    default:
        return make_disconnected(number, framework ? framework->subscribed : 0);
    }
}

static struct made random_agent(struct draw *draw, const struct state *state) {
    uint32_t number = 1 + below(draw, AGENT);
    switch (below(draw, 16)) {
    case 0:
        return make_gone(number + below(draw, 40));
    case 1:
    case 2:
    case 3:
    case 4:
        return make_unreachable(number, agent_since(state, number) + (below(draw, 8) == 0));
    case 5:
    case 6:
    case 7:
    case 8:
    case 9:
        return make_returned(number);
    default: {
        struct make_amount total = {.cpus = 2 + below(draw, 4),
                                    .mem = 400,
                                    .gpus = below(draw, 2),
                                    .port_begin = 31000,
                                    .port_end = 31000 + below(draw, 9)};
        return make_agent((uint8_t)below(draw, 2 * AGENT), total);
    }
    }
}

static struct made random_accept(struct draw *draw, const struct state *state) {
    struct make_task tasks[4];
    uint32_t count = 1 + below(draw, 4);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t port = below(draw, 3) == 0 ? 31000 + below(draw, 10) : 0;
        tasks[i] = (struct make_task){.id = task_ids[below(draw, TASK)],
                                      .amount = {.cpus = 0.25 * below(draw, 4),
                                                 .mem = 16 * below(draw, 3),
                                                 .port_begin = port,
                                                 .port_end = port + below(draw, 3)},
                                      .refusal = below(draw, 12) == 0 ? "a stateless rule" : NULL};
    }
    return make_accept_many(draw_framework(draw, state), below(draw, AGENT + 2), below(draw, 8) != 0, tasks, count);
}

static struct made random_report(struct draw *draw, const struct state *state, const struct task *task) {
    static const uint32_t states[] = {TASK_RUNNING, TASK_STARTING, TASK_FINISHED, TASK_FAILED,
                                      TASK_KILLED,  TASK_KILLING,  TASK_LOST,     TASK_RUNNING};
    const struct framework *framework = state_framework(state, task->framework);
    struct launch_id launch = task->launch;
    if (below(draw, 16) == 0) launch.k++;
    uint32_t now = below(draw, 64) == 0 ? below(draw, 16) : states[below(draw, 8)];
    uint32_t latest = below(draw, 2) ? now : states[below(draw, 8)];
    uint32_t agent = below(draw, 32) == 0 ? 1 + below(draw, AGENT) : task->agent;
    return make_report(agent, framework->id, task->id, launch, now, latest, (uint8_t)below(draw, 4));
}

static struct made random_task(struct draw *draw, const struct state *state) {
    const struct task *task = draw_task(draw, state);
    if (!task) return make_kill(draw_framework(draw, state), task_ids[below(draw, TASK)], -1);
    const struct framework *framework = state_framework(state, task->framework);
    switch (below(draw, 16)) {
    case 0:
        return make_kill(task->framework, task->id, (int64_t)below(draw, 4) - 1);
    case 1:
        return make_vanished(task->agent, framework->id, task->id, task->launch);
    case 2:
    case 3:
    case 4:
    case 5:
    case 6:
        return make_acknowledge_uuid(task->framework, task->id, task->uuid);
    default:
        return random_report(draw, state, task);
    }
}

struct made command_random(struct draw *draw, const struct state *state) {
    draw->cluster_ms += below(draw, 4);
    make_time(draw->cluster_ms - (below(draw, 16) == 0 ? 3 : 0), 1700000000000 + draw->cluster_ms);
    uint32_t kind = below(draw, 128);
    if (kind < 2 || !state_leader(state)->index) return make_leader(state_leader(state)->term + 1, CLUSTER);
    if (kind == 127) { /* few masters come and go */
        static const char *const peers[] = {"10.0.0.4:5060", "10.0.0.5:5060", "10.0.0.6:5060"};
        if (below(draw, 2)) return make_member_add(peers[below(draw, 3)], below(draw, 5));
        return make_member_remove(below(draw, 8));
    }
    if (kind < 3) return random_config(draw, state);
    if (kind < 10) return random_subscribe(draw, state);
    if (kind < 16) return random_framework_end(draw, state);
    if (kind < 30) return random_agent(draw, state);
    if (kind < 60) return random_accept(draw, state);
    return random_task(draw, state);
}
