/* SPDX-License-Identifier: Apache-2.0
 * Room on the disk. Two marks (store.h): below the soft one nothing is taken that makes the state grow; below the hard
 * one a leader hands over to who has more room, and what comes into the log must fit into the space that the log has
 * set aside: a follower takes no entries when less than a segment of that is left, a leader no commands when less than
 * a quarter is. So no write ever fails for lack of room. Above the hard mark there is room for a snapshot, which is
 * what frees the log. One from the leader does the same, so it is received at any mark, if there is room for it and for
 * a segment besides; once it is there it is installed. All of it ends by itself when there is room again. */
#include <inttypes.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "consensus/replica_impl.h"

#define SPACE_LOOK_MS     250u
#define HANDOVER_AGAIN_MS 2000u

/* A level is left only with an eighth more than its mark, so that it does not flutter. */
enum replica_space replica_space_judge(enum replica_space before, const struct store_space *space) {
    uint64_t soft = space->soft_bytes, hard = space->hard_bytes, free_bytes = space->free_bytes;
    if (free_bytes < hard || (before >= REPLICA_SPACE_HARD && free_bytes < hard + hard / 8))
        return space->log_room < space->segment_bytes ? REPLICA_SPACE_FULL : REPLICA_SPACE_HARD;
    if (free_bytes < soft || (before != REPLICA_SPACE_OK && free_bytes < soft + soft / 8)) return REPLICA_SPACE_SOFT;
    return REPLICA_SPACE_OK;
}

static const char *level_name(enum replica_space level) {
    return level == REPLICA_SPACE_OK     ? "ok"
           : level == REPLICA_SPACE_SOFT ? "soft"
           : level == REPLICA_SPACE_HARD ? "hard"
                                         : "full";
}

/* The voter with most room that hears us; 0: nobody has more than we. */
static uint64_t roomier(const struct replica *r) {
    uint64_t best = 0, most = 0;
    for (unsigned i = 0; i < r->core.configuration.n; i++) {
        const struct raft_server *server = &r->core.configuration.servers[i];
        const struct member_vitals *v = replica_vitals_of(r, server->id);
        struct peers_status peer;
        if (server->role != RAFT_VOTER || v == NULL || v->told.space >= REPLICA_SPACE_HARD) continue;
        if (!peers_status(r->peers, server->id, &peer) || !peer.connected || !peer.heard) continue;
        uint64_t room =
            v->told.space == REPLICA_SPACE_OK ? UINT64_MAX / 2 + v->told.free_bytes / 2 : v->told.free_bytes / 2;
        if (room <= most || !replica_may_take_over(r, server->id)) continue;
        most = room;
        best = server->id;
    }
    return best;
}

static void handed_over(void *ctx, int status, const char *why) {
    struct replica *r = ctx;
    r->space_handover = false;
    if (status != 0 && status != ERR_CLOSED)
        log_event(LOG_WARN, "disk_hand_over_failed", "status=%s text=\"%s\"", err_name(status), why ? why : "");
}

static void hand_over(struct replica *r, uint64_t now) {
    struct err err;
    if (r->view.role != GUARD_LEADER || r->space_handover) return;
    if (r->space_handover_ms != 0 && now - r->space_handover_ms < HANDOVER_AGAIN_MS) return;
    struct replica_change change = {.type = REPLICA_TRANSFER, .id = roomier(r)};
    if (change.id == 0) return; /* stay, and serve what does not grow */
    r->space_handover_ms = now;
    r->space_handover = true;
    int rv = replica_change(r, &change, handed_over, r, &err);
    if (rv != 0) r->space_handover = false;
    log_event(LOG_WARN, "disk_hand_over", "to=%" PRIu64 " free=%" PRIu64 " text=\"%s\"", change.id, r->space.free_bytes,
              rv == 0 ? "" : err.text);
}

void replica_space_tick(struct replica *r, uint64_t now) {
    if (r->closing || r->fatal.pending || r->store == NULL) return;
    if (now - r->space_ms >= SPACE_LOOK_MS) {
        r->space_ms = now;
        if (store_space(r->store, &r->space, NULL) != 0) return;
        enum replica_space level = replica_space_judge(r->space_level, &r->space);
        if (level != r->space_level) {
            log_event(level > r->space_level ? LOG_WARN : LOG_INFO, "disk_space",
                      "level=%s free=%" PRIu64 " soft=%" PRIu64 " hard=%" PRIu64, level_name(level),
                      r->space.free_bytes, r->space.soft_bytes, r->space.hard_bytes);
            r->space_since_ms = now;
        }
        r->space_level = level;
    }
    if (r->space_level >= REPLICA_SPACE_HARD) hand_over(r, now);
}

/* Whether a majority of the voters is below `level`. Who has not told yet is not in the way. */
static bool majority_below(const struct replica *r, enum replica_space level) {
    unsigned voters = 0, below = 0;
    for (unsigned i = 0; i < r->core.configuration.n; i++) {
        const struct raft_server *server = &r->core.configuration.servers[i];
        const struct member_vitals *v = replica_vitals_of(r, server->id);
        if (server->role != RAFT_VOTER) continue;
        voters++;
        below += server->id == r->config.node_id ? r->space_level < level : v == NULL || v->told.space < level;
    }
    return 2 * below > voters || voters == 0;
}

bool replica_may_grow(const struct replica *r) {
    CHECK_MAGIC(r, REPLICA_MAGIC);
    return r->space_level == REPLICA_SPACE_OK && majority_below(r, REPLICA_SPACE_SOFT);
}

bool replica_log_full(const struct replica *r) {
    if (r->space_level == REPLICA_SPACE_FULL && r->space.log_room < r->space.segment_bytes / 4) return true;
    return !majority_below(r, REPLICA_SPACE_FULL);
}

bool replica_space_receives(const struct store_space *space, uint64_t bytes) {
    return space->free_bytes >= space->segment_bytes && space->free_bytes - space->segment_bytes >= bytes;
}

bool replica_space_passes(struct replica *r, struct raft_message *message) {
    /* A snapshot is on our disk already, and its install is what gives room back: see replica_space_receives. */
    if (r->space_level != REPLICA_SPACE_FULL) return true;
    if (message->type != RAFT_IO_APPEND_ENTRIES || message->append_entries.n_entries == 0) return true;
    /* What remains is a heartbeat: the leader is heard, and nothing is acknowledged. */
    struct raft_append_entries *args = &message->append_entries;
    raft_free(args->entries[0].batch);
    raft_free(args->entries);
    args->entries = NULL;
    args->n_entries = 0;
    if (args->leader_commit > args->prev_log_index) args->leader_commit = args->prev_log_index;
    r->entries_declined++;
    return true;
}
