/* SPDX-License-Identifier: Apache-2.0
 * What a replica tells about itself. */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "consensus/replica_impl.h"

static void status_peer(const struct replica *r, const struct raft_server *server, const struct guard_status *guard,
                        struct replica_peer_status *ret) {
    *ret = (struct replica_peer_status){.id = server->id, .voter = server->role == RAFT_VOTER, .contact_ms = -1};
    (void)snprintf(ret->address, sizeof ret->address, "%s", server->address);
    struct peers_status peer;
    if (server->id == r->config.node_id) {
        ret->connected = true;
        ret->program_level = r->config.program_level;
        memcpy(ret->program_version, r->config.program_version, sizeof ret->program_version);
        ret->contact_ms = 0;
        ret->match_index = guard->stored_index;
    } else if (peers_status(r->peers, server->id, &peer)) {
        ret->connected = peer.connected;
        ret->contact_ms = peer.contact_ms;
        ret->program_level = peer.program_level;
        memcpy(ret->program_version, peer.program_version, sizeof ret->program_version);
    }
    for (unsigned i = 0; i < guard->peer_count; i++)
        if (guard->peers[i].id == server->id) ret->match_index = guard->peers[i].match_index;
}

void replica_status(struct replica *r, struct replica_status *ret) {
    CHECK_MAGIC(r, REPLICA_MAGIC);
    memset(ret, 0, sizeof *ret);
    struct guard_status guard;
    guard_status(r->guard, &guard);
    ret->role = replica_role_of(&guard.view);
    ret->node_id = r->config.node_id;
    ret->term = guard.view.term;
    ret->leader_id = guard.view.leader_id;
    ret->first_index = guard.first_index;
    ret->last_index = guard.last_index;
    ret->commit_index = guard.commit_index;
    ret->applied_index = replica_applied(r);
    ret->snapshot_index = guard.snapshot_index;
    ret->leader_since_ms = r->leader_since_ms ? (int64_t)(clock_mono_ms() - r->leader_since_ms) : -1;
    if (r->store) {
        struct store_stats store;
        store_stats(r->store, &store);
        ret->log_bytes = store.log_bytes;
        ret->writes = store.syncs;
        ret->fsync_p50_us = store.sync_p50_us;
        ret->fsync_p99_us = store.sync_p99_us;
        ret->disk_free_bytes = r->space.free_bytes;
        ret->space = r->space_level;
    }
    ret->configuration_index =
        r->core.configuration_uncommitted_index ? r->core.configuration_uncommitted_index : r->core.configuration_index;
    ret->change_ms = r->change.busy ? (int64_t)(clock_mono_ms() - r->change.since_ms) : -1;
    ret->change = r->change.type;
    ret->change_id = r->change.id;
    ret->pending_commands = r->waiting_commands;
    ret->pending_bytes = r->waiting_bytes;
    for (unsigned i = 0; i < r->core.configuration.n && ret->peer_count < REPLICA_MEMBERS_MAX; i++)
        status_peer(r, &r->core.configuration.servers[i], &guard, &ret->peers[ret->peer_count++]);
}

/* X(name of the field). */
#define GUARD_COUNTERS(X)                                                                                              \
    X(first_entries)                                                                                                   \
    X(results_held)                                                                                                    \
    X(results_clamped)                                                                                                 \
    X(results_stale)                                                                                                   \
    X(ticks_withheld)                                                                                                  \
    X(votes_refused)                                                                                                   \
    X(completions_withheld)                                                                                            \
    X(requests_held)                                                                                                   \
    X(requests_trimmed)                                                                                                \
    X(rejections_hinted)                                                                                               \
    X(trains)                                                                                                          \
    X(commits_clamped)                                                                                                 \
    X(snapshots_refused)                                                                                               \
    X(held_dropped)                                                                                                    \
    X(votes_repeated)                                                                                                  \
    X(probes)                                                                                                          \
    X(leaders_forgotten)                                                                                               \
    X(leaders_doubted)                                                                                                 \
    X(terms_told)                                                                                                      \
    X(learners_asked)                                                                                                  \
    X(strangers)                                                                                                       \
    X(reads_forwarded)
#define PEERS_COUNTERS(X)                                                                                              \
    X(sent)                                                                                                            \
    X(received)                                                                                                        \
    X(unsent)                                                                                                          \
    X(malformed)                                                                                                       \
    X(refused)                                                                                                         \
    X(dials)                                                                                                           \
    X(welcomes)                                                                                                        \
    X(deaths)                                                                                                          \
    X(snapshots_sent)                                                                                                  \
    X(snapshots_received)                                                                                              \
    X(snapshots_failed)                                                                                                \
    X(silent)

void replica_counters(struct replica *r, void (*cb)(void *ctx, const char *name, uint64_t value), void *ctx) {
    CHECK_MAGIC(r, REPLICA_MAGIC);
    const struct guard_counters *guard = guard_counters(r->guard);
#define TELL(name) cb(ctx, "guard_" #name, guard->name);
    GUARD_COUNTERS(TELL)
#undef TELL
    cb(ctx, "loop_slice_max_us", r->slice_max_us);
    cb(ctx, "loop_slices_over_10ms", r->slices_over_10ms);
    if (r->peers == NULL) return;
    const struct peers_counters *peers = peers_counters(r->peers);
#define TELL(name) cb(ctx, "peers_" #name, peers->name);
    PEERS_COUNTERS(TELL)
#undef TELL
}
