/* SPDX-License-Identifier: Apache-2.0
 * Who may take part. Between the network and the core stands one question: does this node remember what it promised?
 *
 *  - A folder that was never admitted (pins.h) may be one that was wiped. While it is a voter it neither hears nor says
 *    anything, until more than half of the other voters have written its number down. As a learner it may fill its log,
 *    and is admitted in the same way: its vote may be needed before it hears that it is a voter (guard.h, Q).
 *  - A barred node (reinstall.h) fills its log, and neither stands nor votes, until an entry of a later term than the
 *    bar is committed and in its log. Without a leader it waits for ever, also when it is the only voter: by itself it
 *    cannot know that what it lost is not on another node's disk. It tells the operator, who can (recover, restore).
 *  - A member that knows another folder under our id ends us: ours was wiped, or is a copy from elsewhere. */
#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mutant.h"
#include "consensus/replica_impl.h"

#define TELL_MS 10000u /* between two lines about what we wait for */

static bool votes(const struct raft_message *m) {
    return m->type == RAFT_IO_REQUEST_VOTE || m->type == RAFT_IO_REQUEST_VOTE_RESULT || m->type == RAFT_IO_TIMEOUT_NOW;
}

static const struct raft_server *member(const struct replica *r, uint64_t id) { /* NULL: it is none */
    for (unsigned i = 0; i < r->core.configuration.n; i++)
        if (r->core.configuration.servers[i].id == id) return &r->core.configuration.servers[i];
    return NULL;
}

static bool is_voter(const struct replica *r, uint64_t id) {
    const struct raft_server *server = member(r, id);
    return server != NULL && server->role == RAFT_VOTER;
}

bool replica_gate_passes(const struct replica *r, const struct raft_message *message) {
    if (r->hold) return false;
    if (r->barred != 0) return !votes(message);
    if (r->pins.admitted) return true;
    return !is_voter(r, r->config.node_id) && !votes(message);
}

bool replica_gate_ticks(const struct replica *r) {
    /* A learner has no election to begin, and its reads need the time. */
    return r->barred == 0 && (r->pins.admitted || !is_voter(r, r->config.node_id));
}

/* How many other voters there are, and how many of them have accepted our folder. */
static unsigned others(const struct replica *r, unsigned *ret_accepted) {
    unsigned n = 0, accepted = 0;
    for (unsigned i = 0; i < r->core.configuration.n; i++) {
        const struct raft_server *server = &r->core.configuration.servers[i];
        if (server->role != RAFT_VOTER || server->id == r->config.node_id) continue;
        n++;
        for (unsigned k = 0; k < r->accepted_count; k++)
            if (r->accepted[k] == server->id) accepted++;
    }
    *ret_accepted = accepted;
    return n;
}

uint32_t replica_gate_standing(const struct replica *r) {
    unsigned accepted, needed = pins_needed(others(r, &accepted));
    return PEER_STANDING_TOLD | (r->pins.admitted || accepted >= needed ? PEER_STANDING_ADMITTED : 0) |
           (r->barred != 0 ? PEER_STANDING_BARRED : 0);
}

static void try_admit(struct replica *r) {
    unsigned accepted;
    if (r->pins.admitted || member(r, r->config.node_id) == NULL) return;
    unsigned needed = pins_needed(others(r, &accepted));
    if (accepted < needed && !is_voter(r, r->config.node_id)) return;
    if (accepted < needed) {
        uint64_t now = clock_mono_ms();
        if (r->waiting_since_ms == 0) r->waiting_since_ms = r->waiting_told_ms = now;
        if (now - r->waiting_told_ms < TELL_MS) return;
        r->waiting_told_ms = now;
        log_event(LOG_WARN, "waiting_to_be_admitted",
                  "accepted=%u needed=%u text=\"a new folder takes part when more than half of the other masters have "
                  "answered it\"",
                  accepted, needed);
        return;
    }
    struct err err;
    if (pins_admit(&r->pins, &err) != 0) {
        replica_fail(r, 1, "%s", err.text);
        return;
    }
    r->waiting_since_ms = 0;
    log_event(LOG_INFO, "admitted", "accepted=%u needed=%u", accepted, needed);
}

static void try_unbar(struct replica *r) {
    uint64_t commit = r->core.commit_index;
    if (r->barred == 0 || commit == 0 || commit == r->barred_seen) return;
    r->barred_seen = commit;
    const struct raft_log *log = &r->core.log;
    const struct raft_entry *entry = replica_entry(&r->core, commit);
    uint64_t term = entry ? entry->term : commit == log->snapshot.last_index ? log->snapshot.last_term : 0;
    if (term <= r->barred || commit > r->core.last_stored) return;
    if (store_unbar(r->store) != 0) return; /* the store has told why it ends the process */
    log_event(LOG_INFO, "caught_up", "barred=%" PRIu64 " index=%" PRIu64 " term=%" PRIu64, r->barred, commit, term);
    r->barred = 0;
}

/* It cannot be let in without a leader: whatever it acknowledged may be nowhere else. So it waits, and says so. */
static void tell_leaderless(struct replica *r) {
    if (r->barred == 0 || r->view.leader_id != 0) {
        r->leaderless_since_ms = 0;
        return;
    }
    uint64_t now = clock_mono_ms();
    if (r->leaderless_since_ms == 0) r->leaderless_since_ms = r->leaderless_told_ms = now;
    if (now - r->leaderless_told_ms < TELL_MS) return;
    r->leaderless_told_ms = now;
    log_event(LOG_WARN, "reinstalled_without_leader", "s=%" PRIu64 " text=\"%s\"",
              (now - r->leaderless_since_ms) / 1000, REPLICA_LEADERLESS_NEXT);
}

void replica_gate_tick(struct replica *r) {
    if (r->closing || r->fatal.pending) return;
    try_admit(r);
    try_unbar(r);
    tell_leaderless(r);
}

int replica_gate_meet(void *ctx, uint64_t id, uint64_t folder) {
    struct replica *r = ctx;
    uint64_t members[PEERS_MAX + 1];
    unsigned n = 0;
    struct err err;
    if (r->closing || r->fatal.pending) return ERR_CLOSED;
    for (unsigned i = 0; i < r->core.configuration.n && n < PEERS_MAX + 1; i++)
        members[n++] = r->core.configuration.servers[i].id;
    int rv = pins_meet(&r->pins, id, folder, members, n, &err);
    if (MUTANT(FOLDER_IGNORED) && rv == ERR_FORBIDDEN) return 0;
    if (rv != 0 && rv != ERR_FORBIDDEN && rv != ERR_LIMIT) replica_fail(r, 1, "%s", err.text);
    return rv;
}

void replica_gate_accepted(void *ctx, uint64_t id) {
    struct replica *r = ctx;
    for (unsigned i = 0; i < r->accepted_count; i++)
        if (r->accepted[i] == id) return;
    if (r->accepted_count == PEERS_MAX) r->accepted_count = 0; /* after that many changes of members; they come again */
    r->accepted[r->accepted_count++] = id;
    replica_gate_tick(r);
}

void replica_gate_disowned(void *ctx, uint64_t id) {
    struct replica *r = ctx;
    replica_fail(r, 4,
                 "node %" PRIu64 " knows another folder of node %" PRIu64
                 ": this one was wiped, or is a copy. Put the node's own folder back, or let it join under a new id",
                 id, r->config.node_id);
}

int replica_gate_open(struct replica *r, bool reinstall, struct err *err) {
    struct identity identity;
    bool done;
    int rv = identity_read(r->disk, &identity, err);
    if (rv == 0) rv = reinstall_check(r->disk, &identity, reinstall, &done, err);
    if (rv == 0) rv = pins_open(r->disk, &identity, &r->pins, err);
    return rv;
}

void replica_gate_start(struct replica *r) {
    r->barred = MUTANT(BAR_IGNORED) ? 0 : store_barred(r->store);
    try_admit(r);
}
