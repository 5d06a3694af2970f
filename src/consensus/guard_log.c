/* SPDX-License-Identifier: Apache-2.0
 * Reading the core's public structs. libraft 0.15 has no accessors for most of what the guard must know. */
#include "consensus/guard_private.h"

/* The guard reads and in places writes fields of these structs: another version of the library must not be used
 * unseen. */
_Static_assert(sizeof(struct raft) == 656, "struct raft is not that of libraft 0.15 on a 64-bit machine");
_Static_assert(sizeof(struct raft_io) == 408, "struct raft_io is not that of libraft 0.15");
_Static_assert(sizeof(struct raft_message) == 88, "struct raft_message is not that of libraft 0.15");
_Static_assert(sizeof(struct raft_progress) == 56, "struct raft_progress is not that of libraft 0.15");

static size_t log_count(const struct raft_log *log) {
    return log->front <= log->back ? log->back - log->front : log->size - log->front + log->back;
}

raft_index log_last(const struct raft_log *log) {
    return log->offset + log_count(log);
}

const struct raft_entry *log_entry(const struct raft_log *log, raft_index index) {
    if (index <= log->offset || index > log_last(log)) return NULL;
    return &log->entries[(log->front + (size_t)(index - log->offset - 1)) % log->size];
}

raft_term log_term(const struct raft_log *log, raft_index index) {
    if (index != 0 && index == log->snapshot.last_index) return log->snapshot.last_term;
    const struct raft_entry *entry = log_entry(log, index);
    return entry == NULL ? 0 : entry->term;
}

unsigned voters(const struct raft *r) {
    unsigned n = 0;
    for (unsigned i = 0; i < r->configuration.n; i++)
        if (r->configuration.servers[i].role == RAFT_VOTER) n++;
    return n;
}

const struct raft_server *member_of(const struct raft *r, raft_id id) {
    for (unsigned i = 0; i < r->configuration.n; i++)
        if (r->configuration.servers[i].id == id) return &r->configuration.servers[i];
    return NULL;
}

struct raft_progress *progress_of(struct raft *r, raft_id id) {
    if (r->state != RAFT_LEADER || r->leader_state.progress == NULL) return NULL;
    for (unsigned i = 0; i < r->configuration.n; i++)
        if (r->configuration.servers[i].id == id) return &r->leader_state.progress[i];
    return NULL;
}

bool leader_ready(const struct guard *g) {
    const struct raft *r = g->r;
    return r->state == RAFT_LEADER && g->first_term == r->current_term && r->commit_index >= g->first_index;
}

struct guard_peer *peer_of(struct guard *g, raft_id id) {
    struct guard_peer *free_slot = NULL;
    for (unsigned i = 0; i < GUARD_PEERS_MAX; i++) {
        if (g->peers[i].id == id && id != 0) return &g->peers[i];
        if (free_slot == NULL && (g->peers[i].id == 0 || member_of(g->r, g->peers[i].id) == NULL))
            free_slot = &g->peers[i];
    }
    if (id == 0 || id == g->r->id || free_slot == NULL || member_of(g->r, id) == NULL) return NULL;
    *free_slot = (struct guard_peer){.id = id};
    return free_slot;
}
