/* SPDX-License-Identifier: Apache-2.0 */
#include "cmocka_all.h"

#include "state_world.h"

#include <stdlib.h>
#include <string.h>

void world_open(struct world *w) {
    *w = (struct world){.checked = true, .state = state_new(), .outcome = calloc(1, sizeof *w->outcome)};
    assert_non_null(w->outcome);
    make_time(1000, 1000);
}

void world_start(struct world *w) {
    world_open(w);
    assert_int_equal(world_apply(w, make_leader(1, WORLD_CLUSTER)), OUTCOME_OK);
}

void world_close(struct world *w) {
    effects_done(&w->effects);
    state_free(w->state);
    free(w->outcome);
    make_done();
}

int world_try(struct world *w, struct made command) {
    int rc = state_apply(w->state, 1, ++w->index, 0, command.data, command.len, w->outcome, &w->effects, &w->err);
    if (w->checked && state_check(w->state, &w->err))
        fail_msg("state_check at %llu: %s", (unsigned long long)w->index, w->err.text);
    return rc;
}

enum outcome_code world_apply(struct world *w, struct made command) {
    int rc = world_try(w, command);
    if (rc) fail_msg("not taken: %s", w->err.text);
    return w->outcome->code;
}

uint32_t world_framework(struct world *w, uint64_t failover_ms, uint32_t capabilities) {
    assert_int_equal(world_apply(w, make_subscribe(NULL, failover_ms, capabilities)), OUTCOME_OK);
    return w->outcome->framework;
}

uint32_t world_agent(struct world *w, uint8_t who) {
    struct make_amount total = {.cpus = 8, .mem = 8000, .disk = 1000, .port_begin = 31000, .port_end = 31099};
    assert_int_equal(world_apply(w, make_agent(who, total)), OUTCOME_OK);
    return w->outcome->agent;
}

const struct task *world_task(struct world *w, uint32_t framework, uint32_t agent, const char *id) {
    struct make_amount amount = {.cpus = 1, .mem = 100};
    assert_int_equal(world_apply(w, make_accept(framework, agent, id, amount)), OUTCOME_OK);
    assert_true(w->outcome->tasks[0].launched);
    return state_task(w->state, w->outcome->tasks[0].task);
}

enum outcome_code world_report(struct world *w, const struct task *task, uint32_t state, uint32_t latest,
                               uint8_t uuid) {
    const struct framework *framework = state_framework(w->state, task->framework);
    return world_apply(w, make_report(task->agent, framework->id, task->id, task->launch, state, latest, uuid));
}

enum outcome_code world_ack(struct world *w, const struct task *task, uint8_t uuid) {
    return world_apply(w, make_acknowledge(task->framework, task->id, uuid));
}

const struct task *world_running(struct world *w, uint32_t framework, uint32_t agent, const char *id) {
    const struct task *task = world_task(w, framework, agent, id);
    assert_int_equal(world_report(w, task, TASK_RUNNING, TASK_RUNNING, 1), OUTCOME_OK);
    assert_int_equal(world_ack(w, task, 1), OUTCOME_OK);
    return task;
}

size_t world_effects(const struct world *w, enum effect_type type) {
    size_t count = 0;
    for (size_t i = 0; i < w->effects.count; i++)
        count += w->effects.items[i].type == type;
    return count;
}

const struct effect *world_effect(const struct world *w, enum effect_type type) {
    for (size_t i = 0; i < w->effects.count; i++)
        if (w->effects.items[i].type == type) return &w->effects.items[i];
    return NULL;
}
