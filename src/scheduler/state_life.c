/* SPDX-License-Identifier: Apache-2.0
 * The one change of the state that no command makes: the beginning of a new life of the cluster. */
#include "base/check.h"
#include "scheduler/state_private.h"

void state_begin_life(struct state *state, uint32_t incarnation, uint64_t index) {
    CHECK(incarnation > state->incarnation && index >= state->applied_index);
    state->incarnation = incarnation;
    state->applied_index = index;
    state->applied_n = 0;
}

void state_begin_members(struct state *state, bool (*keep)(void *ctx, uint64_t id, const char *peer), void *ctx,
                         uint64_t highest) {
    if (state->config.level < 2) return; /* no record of masters yet */
    for (uint32_t i = state->member_count; i-- > 0;)
        if (!keep(ctx, state->members[i].id, state->members[i].peer)) member_drop(state, i);
    if (highest > state->member_last) state->member_last = highest;
    uint64_t room = STATE_MEMBER_ID_MAX - state->member_last;
    state->member_last += room < STATE_LIFE_MEMBERS ? room : STATE_LIFE_MEMBERS;
}

void state_records(const struct state *state,
                   bool (*cb)(void *ctx, enum state_record_kind kind, uint64_t number, const uint8_t *data, size_t len),
                   void *ctx) {
    size_t len = record_of_globals(state);
    if (!cb(ctx, STATE_RECORD_GLOBALS, 0, state->scratch->data, len)) return;
    for (const struct agent *a = NULL; (a = state_agent_next(state, a ? a->number : 0));) {
        len = record_of_agent(state, a, false);
        if (!cb(ctx, STATE_RECORD_AGENT, a->number, state->scratch->data, len)) return;
    }
    for (const struct framework *f = NULL; (f = state_framework_next(state, f ? f->number : 0));) {
        len = record_of_framework(state, f, false);
        if (!cb(ctx, STATE_RECORD_FRAMEWORK, f->number, state->scratch->data, len)) return;
    }
    for (const struct task *t = NULL; (t = state_task_next(state, t ? t->number : 0));) {
        len = record_of_task(state, t, false);
        if (!cb(ctx, STATE_RECORD_TASK, t->number, state->scratch->data, len)) return;
    }
}

const uint8_t *state_task_record(const struct state *state, const struct task *task, size_t *ret_len) {
    *ret_len = record_of_task(state, task, false);
    return state->scratch->data;
}
