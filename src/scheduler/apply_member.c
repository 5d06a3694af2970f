/* SPDX-License-Identifier: Apache-2.0
 * Masters that come and go. An id is given here, so that no two leaders can give the same, and none is given twice: not
 * that of a master that was removed, nor one that was given and never used. */
#include <string.h>

#include "scheduler/apply.h"

static bool address_fits(const char *text) {
    size_t len = strnlen(text, STATE_ADDRESS_MAX + 1);
    return len > 0 && len <= STATE_ADDRESS_MAX;
}

enum outcome_code apply_member_add(struct apply *a, const Conclave__Log__MemberAdd *c) {
    struct state *state = a->state;
    if (!address_fits(c->peer) || !address_fits(c->http) || !address_fits(c->link))
        return apply_refuse(a, "An address of a master has between 1 and %d bytes", STATE_ADDRESS_MAX);
    uint64_t last = c->highest > state->member_last ? c->highest : state->member_last;
    if (last >= STATE_MEMBER_ID_MAX) return apply_refuse(a, "No id for another master is left");
    /* One that was to be added at this address before and never came in makes room. */
    uint32_t old = 0;
    while (old < state->member_count && strcmp(state->members[old].peer, c->peer) != 0)
        old++;
    if (old == state->member_count && state->member_count == STATE_MEMBERS_MAX)
        return apply_refuse(a, "There are %d masters that were added: remove one first", STATE_MEMBERS_MAX);
    if (old < state->member_count) member_drop(state, old);
    state->member_last = last + 1;
    member_put(state, state->member_last, c->peer, c->http, c->link);
    a->outcome->member = state->member_last;
    return OUTCOME_OK;
}

enum outcome_code apply_member_remove(struct apply *a, const Conclave__Log__MemberRemove *c) {
    struct state *state = a->state;
    if (c->id == 0 || c->id > STATE_MEMBER_ID_MAX) return apply_refuse(a, "No id of a master");
    bool changed = c->id > state->member_last;
    if (changed) state->member_last = c->id;
    for (uint32_t i = 0; i < state->member_count; i++) {
        if (state->members[i].id != c->id) continue;
        member_drop(state, i);
        changed = true;
        break;
    }
    return changed ? OUTCOME_OK : OUTCOME_NO_CHANGE;
}
