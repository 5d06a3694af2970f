/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/updates.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/err.h"
#include "scheduler/state.h"

void updates_init(struct updates *u) {
    *u = (struct updates){.latest = TASK_STAGING};
}

void updates_done(struct updates *u) {
    for (unsigned i = 0; i < u->count; i++)
        free(u->items[i].status);
    free(u->acked.status);
    updates_init(u);
}

int updates_add(struct updates *u, const uint8_t uuid[16], uint32_t state, const void *status, size_t len) {
    if (task_state_terminal(u->latest)) return ERR_INVALID;
    if (u->count == UPDATES_MAX) return ERR_LIMIT;
    for (unsigned i = 0; i < u->count; i++)
        if (memcmp(u->items[i].uuid, uuid, 16) == 0) return ERR_EXISTS;
    if (u->has_acked && memcmp(u->acked.uuid, uuid, 16) == 0) return ERR_EXISTS;
    uint8_t *copy = NULL;
    if (len) {
        copy = malloc(len);
        if (!copy) return ERR_NOMEM;
        memcpy(copy, status, len);
    }
    struct update *item = &u->items[u->count++];
    *item = (struct update){.state = state, .status = copy, .len = len};
    memcpy(item->uuid, uuid, 16);
    u->latest = state;
    return 0;
}

const struct update *updates_head(const struct updates *u) {
    return u->count ? &u->items[0] : NULL;
}

bool updates_ack(struct updates *u, const uint8_t uuid[16]) {
    if (u->count == 0 || memcmp(u->items[0].uuid, uuid, 16) != 0) return false;
    free(u->acked.status);
    u->acked = u->items[0];
    u->has_acked = true;
    u->count--;
    memmove(&u->items[0], &u->items[1], u->count * sizeof u->items[0]);
    return true;
}

bool updates_settled(const struct updates *u) {
    CHECK(u->count <= UPDATES_MAX);
    return u->count == 0 && u->has_acked && task_state_terminal(u->acked.state);
}
