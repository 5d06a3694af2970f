/* SPDX-License-Identifier: Apache-2.0
 * state_apply: decode, check the level, keep the clock, dispatch, settle the hash. The commands about the cluster
 * itself stand here too. */
#include "scheduler/apply.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mutant.h"
#include "scheduler/config.h"
#include "scheduler/level.h"

/* ---- outcomes and effects ---- */

enum outcome_code apply_refuse(struct apply *a, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(a->outcome->reason, sizeof a->outcome->reason, fmt, ap);
    va_end(ap);
    return OUTCOME_REFUSED;
}

static void effects_clear(struct effects *effects) {
    for (size_t i = 0; i < effects->count; i++) {
        free(effects->items[i].framework_id);
        free(effects->items[i].task_id);
    }
    effects->count = 0;
}

struct effect *effect_add(struct apply *a, enum effect_type type) {
    struct effects *effects = a->effects;
    if (effects->count == effects->cap) {
        effects->cap = effects->cap ? effects->cap * 2 : 16;
        effects->items = realloc(effects->items, effects->cap * sizeof *effects->items);
        CHECK(effects->items);
    }
    struct effect *effect = &effects->items[effects->count++];
    *effect = (struct effect){.type = type};
    return effect;
}

void effect_task(struct apply *a, enum effect_type type, const struct task *task) {
    struct effect *effect = effect_add(a, type);
    effect->framework = task->framework;
    effect->agent = task->agent;
    effect->task = task->number;
    effect->launch = task->launch;
}

void effect_ack(struct apply *a, const struct task *task, const uint8_t uuid[16]) {
    effect_task(a, EFFECT_ACK, task);
    memcpy(a->effects->items[a->effects->count - 1].uuid, uuid, 16);
}

void effect_framework(struct apply *a, enum effect_type type, const struct framework *framework) {
    effect_add(a, type)->framework = framework->number;
}

void effect_agent(struct apply *a, enum effect_type type, const struct agent *agent) {
    effect_add(a, type)->agent = agent->number;
}

/* ---- shared decisions ---- */

struct framework *apply_framework(struct apply *a, uint32_t number, enum outcome_code *ret_code) {
    struct framework *framework = framework_get(a->state, number);
    if (framework && framework->status != FRAMEWORK_REMOVED) return framework;
    apply_refuse(a, framework ? "Framework has been removed" : "Framework is not known");
    *ret_code = framework ? OUTCOME_REFUSED : OUTCOME_NOT_FOUND;
    return NULL;
}

uint32_t lost_state(const struct framework *framework, uint32_t aware) {
    return framework_can(framework, CAP_PARTITION_AWARE) ? aware : TASK_LOST;
}

bool task_told_lost(const struct task *task) {
    return !task->completed && task->state == TASK_LOST && !task->unacked;
}

void apply_release(struct apply *a, struct task *task) {
    if (!task_release(a->state, task)) return;
    effect_task(a, EFFECT_RESOURCES_FREED, task);
}

void apply_finish(struct apply *a, struct task *task, uint32_t state, int mesos_reason, const char *reason) {
    CHECK(task_state_terminal(state));
    const struct framework *framework = framework_get(a->state, task->framework);
    bool told = task->state != state && framework->status != FRAMEWORK_REMOVED;
    task_set_made(a->state, task, state, mesos_reason, reason, a->wall_ms);
    apply_release(a, task);
    task_complete(a->state, task);
    if (told) effect_task(a, EFFECT_UPDATE, task);
}

/* ---- the cluster itself ---- */

/* What the command needs, and whether this program has it. A seed counts only while there is no configuration. */
static int admit(const struct state *state, const uint8_t *command, size_t len, struct level_need *ret,
                 struct err *err) {
    int rc = level_of(command, len, ret, err);
    if (rc == 0 && ret->raises > level_max() && !(ret->seeds && state->config.set))
        rc = err_set(err, ERR_INCOMPATIBLE,
                     "feature level %u, this program (" CONCLAVE_VERSION ") knows levels up to %u", ret->raises,
                     level_max());
    if (rc == ERR_INCOMPATIBLE && err && state->leader.index) {
        struct err told = *err;
        rc = err_set(err, rc, "%.180s; the leader runs %.40s, start that", told.text, state->leader.version);
    }
    return rc;
}

int state_admit(const struct state *state, const uint8_t *command, size_t len, struct err *err) {
    struct level_need need;
    return admit(state, command, len, &need, err);
}

/* What else stops a replica, decided before the first change. */
static int gate(const struct state *state, const Conclave__Log__Command *command, enum command_type type,
                struct err *err) {
    if (type != COMMAND_leader_started) return 0;
    const ProtobufCBinaryData *id = &command->leader_started->cluster_id;
    if (id->len != sizeof state->cluster_id) return err_set(err, ERR_CORRUPT, "cluster id of %zu bytes", id->len);
    if (state->cluster_set && memcmp(state->cluster_id, id->data, id->len) != 0)
        return err_set(err, ERR_INCOMPATIBLE, "a leader of another cluster than %s", state->cluster_name);
    return 0;
}

/* Replaces the fields that are set, if the result is sound. From level 2 on the record knows where it was changed last:
 * also by the command that raises it there. */
static enum outcome_code config_merge(struct apply *a, const Conclave__Log__Config *c) {
    struct config_record merged = a->state->config;
    if (c->has_framework_reregister_timeout_ms)
        merged.framework_reregister_timeout_ms = c->framework_reregister_timeout_ms;
    if (c->has_agent_timeout_ms) merged.agent_timeout_ms = c->agent_timeout_ms;
    if (c->has_history_tasks) merged.history_tasks = c->history_tasks;
    if (c->has_history_frameworks) merged.history_frameworks = c->history_frameworks;
    if (c->has_level) merged.level = c->level;
    if (merged.level < a->state->config.level) return apply_refuse(a, "The feature level only grows");
    if (merged.agent_timeout_ms == 0) return apply_refuse(a, "agent_timeout_ms must not be 0");
    if (merged.history_tasks > STATE_HISTORY_MAX || merged.history_frameworks > STATE_HISTORY_MAX)
        return apply_refuse(a, "A history is bounded by %u records", STATE_HISTORY_MAX);
    struct err err;
    if (merged.level >= 2 && config_check(c, &err)) return apply_refuse(a, "%s", err.text);
    merged.set = true;
    bool sets = c->has_framework_reregister_timeout_ms || c->has_agent_timeout_ms || c->has_history_tasks ||
                c->has_history_frameworks || c->has_level;
    if (merged.level >= 2 && sets) {
        merged.changed_index = a->index;
        merged.changed_n = a->n;
    }
    a->state->config = merged;
    return OUTCOME_OK;
}

enum outcome_code apply_leader_started(struct apply *a, const Conclave__Log__LeaderStarted *c) {
    Conclave__Log__Config defaults = CONCLAVE__LOG__CONFIG__INIT;
    struct state *state = a->state;
    if (c->term < state->leader.term) return apply_refuse(a, "The term of this leader is over");
    /* A seed that is not sound must not keep the cluster without a leader: the defaults stand in, at its level. */
    if (!state->config.set && (!c->seed || config_merge(a, c->seed) != OUTCOME_OK)) {
        defaults.has_level = c->seed && c->seed->has_level && c->seed->level > 0;
        defaults.level = defaults.has_level ? c->seed->level : 1;
        enum outcome_code code = config_merge(a, &defaults);
        CHECK(code == OUTCOME_OK);
    }
    if (!state->cluster_set) {
        memcpy(state->cluster_id, c->cluster_id.data, sizeof state->cluster_id);
        state->cluster_set = true;
        state_name_cluster(state);
    }
    struct leader_record *leader = &state->leader;
    leader->index = a->index;
    leader->term = c->term;
    leader->node = c->node;
    leader->cluster_ms = state->cluster_ms;
    leader->wall_ms = a->wall_ms;
    text_set(&leader->http, c->http);
    text_set(&leader->link, c->link);
    text_set(&leader->version, c->version);
    return OUTCOME_OK;
}

enum outcome_code apply_config_set(struct apply *a, const Conclave__Log__ConfigSet *c) {
    const struct config_record *config = &a->state->config;
    if (c->if_changed && (c->if_changed->index != config->changed_index || c->if_changed->n != config->changed_n)) {
        (void)apply_refuse(a, "The configuration was changed at %" PRIu64 ".%" PRIu32 ", not at %" PRIu64 ".%" PRIu32,
                           config->changed_index, config->changed_n, c->if_changed->index, c->if_changed->n);
        return OUTCOME_CONFLICT;
    }
    enum outcome_code code = config_merge(a, c->config);
    if (code == OUTCOME_OK) history_trim(a->state, true);
    return code;
}

/* ---- the entrance ---- */

static enum outcome_code dispatch(struct apply *a, enum command_type type, const struct level_need *need) {
    if (need->level > a->state->config.level) { /* no leader proposes such; all programs that know it decide the same */
        level_refusal(need, a->state->config.level, a->outcome->reason, sizeof a->outcome->reason);
        return OUTCOME_REFUSED;
    }
    if (type != COMMAND_leader_started && !a->state->cluster_set)
        return apply_refuse(a, "The cluster has had no leader yet");
    switch (type) {
#define APPLY_CASE(field, message, level)                                                                              \
    case COMMAND_##field:                                                                                              \
        return apply_##field(a, a->command->field);
        COMMANDS(APPLY_CASE)
#undef APPLY_CASE
    case COMMAND_NONE:
        break;
    }
    CHECK(type != COMMAND_NONE); /* a decoded command has a type */
    return OUTCOME_REFUSED;
}

static bool position_after(const struct state *state, uint64_t index, uint32_t n) {
    return index > state->applied_index || (index == state->applied_index && index > 0 && n > state->applied_n);
}

int state_apply(struct state *state, uint64_t term, uint64_t index, uint32_t n, const uint8_t *command, size_t len,
                struct outcome *outcome, struct effects *effects, struct err *err) {
    Conclave__Log__Command *decoded = NULL;
    enum command_type type = COMMAND_NONE;
    (void)term; /* decides nothing: the leader's own command carries it */
    *outcome->reason = '\0';
    outcome->framework = outcome->agent = outcome->task_count = 0;
    outcome->member = 0;
    effects_clear(effects);
    if (!position_after(state, index, n))
        return err_set(err, ERR_CORRUPT, "position %" PRIu64 ".%u is not after %" PRIu64 ".%u", index, n,
                       state->applied_index, state->applied_n);
    struct level_need need = LEVEL_NEED_NOTHING;
    if (len > COMMAND_BYTES_MAX) return err_set(err, ERR_CORRUPT, "command of %zu bytes", len);
    bool known = command_decode_known(&state->arena, command, len, &decoded, &type);
    int rc = known ? 0 : admit(state, command, len, &need, err);
    if (rc == 0 && !known) rc = command_decode(&state->arena, command, len, &decoded, &type, err);
    if (rc == 0) rc = gate(state, decoded, type, err);
    if (rc) return rc;

    history_trim(state, false);
    if (decoded->cluster_ms > state->cluster_ms) state->cluster_ms = decoded->cluster_ms;
    struct apply a = {.state = state,
                      .command = decoded,
                      .index = index,
                      .n = n,
                      .wall_ms = MUTANT(CLOCK_IN_APPLY) ? MUTANT_CLOCK() : decoded->wall_ms,
                      .outcome = outcome,
                      .effects = effects};
    outcome->code = dispatch(&a, type, &need);
    state->applied_index = index;
    state->applied_n = n;
    state_settle(state);
    return 0;
}
