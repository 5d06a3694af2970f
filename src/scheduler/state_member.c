/* SPDX-License-Identifier: Apache-2.0
 * The masters in the state: which ids were given, and where those that were added later are reached. Who votes is not
 * here but in the configuration of the replicated log. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "scheduler/state_private.h"

void member_put(struct state *state, uint64_t id, const char *peer, const char *http, const char *link) {
    CHECK(state->member_count < STATE_MEMBERS_MAX);
    state->members[state->member_count++] =
        (struct member_record){.id = id, .peer = text_copy(peer), .http = text_copy(http), .link = text_copy(link)};
}

void member_drop(struct state *state, uint32_t i) {
    struct member_record *m = &state->members[i];
    free(m->peer);
    free(m->http);
    free(m->link);
    state->member_count--;
    memmove(m, m + 1, (state->member_count - i) * sizeof *m);
}

void members_done(struct state *state) {
    while (state->member_count > 0)
        member_drop(state, state->member_count - 1);
}

static bool address_fits(const char *text) {
    size_t len = strnlen(text, STATE_ADDRESS_MAX + 1);
    return len > 0 && len <= STATE_ADDRESS_MAX;
}

const char *members_fault(const struct state *state) {
    uint64_t last = 0;
    if (state->config.level < 2 && (state->member_last || state->member_count)) return "masters before their level";
    if (state->member_last > STATE_MEMBER_ID_MAX) return "last id of a master";
    for (uint32_t i = 0; i < state->member_count; i++) {
        const struct member_record *m = &state->members[i];
        if (m->id <= last || m->id > state->member_last) return "id of a master";
        if (!address_fits(m->peer) || !address_fits(m->http) || !address_fits(m->link)) return "address of a master";
        last = m->id;
    }
    return NULL;
}

const struct member_record *state_member_nth(const struct state *state, uint32_t i) {
    return i < state->member_count ? &state->members[i] : NULL;
}

const struct member_record *state_member(const struct state *state, uint64_t id) {
    for (uint32_t i = 0; i < state->member_count; i++)
        if (state->members[i].id == id) return &state->members[i];
    return NULL;
}
