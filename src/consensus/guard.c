/* SPDX-License-Identifier: Apache-2.0
 * See guard.h. This file: wiring, the way in and out of the core, invariants, status. */
#include "consensus/guard_private.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/mutant.h"

#define SETTLE_ROUNDS_MAX 100000u /* far above what held messages and unfinished writes can cause */

uint64_t guard_now(const struct guard *g) {
    return g->cfg.now_ms(g->cfg.ctx);
}

void guard_die(struct guard *g, enum guard_fatal kind, const char *fmt, ...) {
    if (g->dead) return;
    g->dead = true;
    char why[192];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    g->cfg.fatal(g->cfg.ctx, kind, why);
}

void guard_enter(struct guard *g, const struct guard_ctx *ctx) {
    CHECK(g->depth == 0);
    g->depth = 1;
    g->ctx = (struct guard_ctx){.kind = CTX_NONE};
    if (ctx != NULL) g->ctx = *ctx;
}

void guard_leave(struct guard *g) {
    CHECK(g->depth == 1);
    if (GUARD_ON(g, GUARD_G) && !g->dead && !guard_commit_allowed(g))
        guard_die(g, GUARD_FATAL_BREACH, "commit index %llu in term %llu is not justified (state %d, last %llu)",
                  g->r->commit_index, g->r->current_term, (int)g->r->state, g->seen_commit);
    if (g->r->commit_index > g->seen_commit) g->seen_commit = g->r->commit_index;
    g->depth = 0;
    g->ctx = (struct guard_ctx){.kind = CTX_NONE};
}

/* G: a leader commits by counting only what it wrote in its own term; the only voter what is on its disk; a follower no
 * more than the request it answers has verified; an installed snapshot is committed as it is. */
bool guard_commit_allowed(const struct guard *g) {
    const struct raft *r = g->r;
    if (r->commit_index <= g->seen_commit || r->state == RAFT_UNAVAILABLE) return true;
    if (g->ctx.kind != CTX_NONE && r->commit_index <= g->ctx.commit_max) return true;
    if (g->ctx.kind != CTX_NONE) return false;
    if (voters(r) == 1) return r->commit_index <= g->durable;
    return log_term(&r->log, r->commit_index) == r->current_term;
}

uint64_t guard_apply_index(struct guard *g) {
    const struct raft *r = g->r;
    raft_index index = r->last_applied + 1;
    if (g->dead) return 0;
    g->count.applies_checked++;
    if (!GUARD_ON(g, GUARD_G)) return index;
    if (index <= r->commit_index && guard_commit_allowed(g)) return index;
    guard_die(g, GUARD_FATAL_BREACH, "apply of entry %llu: commit index %llu in term %llu is not justified", index,
              r->commit_index, r->current_term);
    return 0;
}

bool guard_snapshot_allowed(const struct guard *g) {
    if (!GUARD_ON(g, GUARD_L)) return true;
    const struct raft *r = g->r;
    if (r->configuration_uncommitted_index == 0 && g->change_index <= r->last_applied) return true;
    ((struct guard *)g)->count.snapshots_refused++;
    return false;
}

static const char *broken(const struct guard *g) {
    const struct raft *r = g->r;
    if (r->current_term < g->seen_term) return "term went back";
    if (r->current_term != g->disk_term) return "term differs from the disk";
    if (r->voted_for != g->disk_vote) return "vote differs from the disk";
    if (r->commit_index < g->seen_commit) return "commit index went back";
    if (r->last_applied < g->seen_applied) return "applied index went back";
    if (r->last_applied > r->commit_index) return "applied more than committed";
    if (r->commit_index > log_last(&r->log)) return "committed more than the log has";
    if (r->last_stored > log_last(&r->log)) return "stored more than the log has";
    if (r->last_stored > g->durable) return "stored more than the disk has";
    return NULL;
}

void guard_check(struct guard *g) {
    struct raft *r = g->r;
    if (g->dead || !g->started || g->closing) return;
    if (r->state == RAFT_UNAVAILABLE) {
        guard_die(g, GUARD_FATAL_UNAVAILABLE, "the core is unavailable: %s", r->errmsg);
        return;
    }
    if (!GUARD_ON(g, GUARD_M)) return;
    g->count.checks++;
    const char *what = broken(g);
    if (what != NULL) {
        guard_die(g, GUARD_FATAL_BREACH,
                  "%s (term %llu/%llu commit %llu/%llu applied %llu/%llu last %llu stored %llu/%llu)", what,
                  r->current_term, g->disk_term, r->commit_index, g->seen_commit, r->last_applied, g->seen_applied,
                  log_last(&r->log), r->last_stored, g->durable);
        return;
    }
    g->seen_term = r->current_term;
    g->seen_applied = r->last_applied;
}

/* One round of everything that waited for the core to return. */
static bool settle_once(struct guard *g) {
    guard_flush_owed(g);
    guard_check(g);
    if (g->dead) return false;
    vote_first_entry(g); /* before anybody hears of the new leader and proposes */
    if (g->dead) return false;
    vote_settle(g);
    vote_first_committed(g);
    if (g->dead) return false;
    return writes_release(g, false) || held_deliver(g);
}

void guard_settle(struct guard *g) {
    if (g->depth > 0 || g->dead || !g->started) return;
    if (g->settling) {
        g->again = true;
        return;
    }
    g->settling = true;
    for (unsigned round = 0;; round++) {
        CHECK(round < SETTLE_ROUNDS_MAX);
        g->again = false;
        if (g->closing) {
            guard_flush_owed(g);
            break;
        }
        bool more = settle_once(g);
        if (g->dead) break;
        if (more || g->again || g->owed_count > 0) continue;
        read_settle(g);
        if (!g->again && g->owed_count == 0) break;
    }
    g->settling = false;
}

static void inner_tick(struct raft_io *io) {
    struct guard *g = io->data;
    CHECK_MAGIC(g, GUARD_MAGIC);
    CHECK(g->depth == 0);
    if (g->dead || g->closing || !g->started) return;
    /* D: an election compares logs, and ours is not yet what it says it is. Leaders tick on: they must step down when
     * nobody answers. */
    if (GUARD_ON(g, GUARD_D) && g->r->state != RAFT_LEADER && writes_unfinished(g)) {
        g->count.ticks_withheld++;
    } else {
        guard_enter(g, NULL);
        g->core_tick(g->outer);
        guard_leave(g);
    }
    guard_settle(g);
    if (g->dead) return;
    vote_tick(g);
    train_tick(g);
    read_tick(g);
    guard_settle(g);
}

static int guard_io_init(struct raft_io *io, raft_id id, const char *address) {
    struct guard *g = io->impl;
    CHECK_MAGIC(g, GUARD_MAGIC);
    g->r = io->data;
    return g->inner->init == NULL ? 0 : g->inner->init(g->inner, id, address);
}

static int guard_io_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv) {
    struct guard *g = io->impl;
    (void)msecs;
    g->core_tick = tick;
    g->core_recv = recv;
    return g->inner->start(g->inner, GUARD_TICK_MS, inner_tick, guard_recv);
}

static void inner_closed(struct raft_io *io) {
    struct guard *g = io->data;
    writes_release(g, true);
    if (g->core_close != NULL) g->core_close(g->outer);
}

static void guard_io_close(struct raft_io *io, raft_io_close_cb cb) {
    struct guard *g = io->impl;
    g->closing = true;
    g->core_close = cb;
    read_fail(g, ERR_CLOSED);
    held_free(g);
    guard_flush_owed(g);
    g->inner->close(g->inner, inner_closed);
}

static int guard_bootstrap(struct raft_io *io, const struct raft_configuration *conf) {
    struct guard *g = io->impl;
    return g->inner->bootstrap(g->inner, conf);
}

/* libraft's recovery writes an entry of term 1 whatever the log holds. */
static int guard_recover(struct raft_io *io, const struct raft_configuration *conf) {
    (void)io;
    (void)conf;
    return RAFT_INVALID;
}

static raft_time guard_time(struct raft_io *io) {
    return guard_now(io->impl);
}

static int guard_async_work(struct raft_io *io, struct raft_io_async_work *req, raft_io_async_work_cb cb) {
    struct guard *g = io->impl;
    return g->inner->async_work(g->inner, req, cb);
}

struct guard *guard_new(struct raft_io *outer, struct raft_io *inner, const struct guard_config *config) {
    CHECK(config->heartbeat_ms > 0 && config->election_ms >= 2 * config->heartbeat_ms);
    struct guard *g = raft_calloc(1, sizeof *g);
    if (g == NULL) return NULL;
    g->magic = GUARD_MAGIC;
    g->cfg = *config;
    g->outer = outer;
    g->inner = inner;
    queue_init(&g->writes);
    queue_init(&g->results);
    queue_init(&g->requests);
    queue_init(&g->reads);
    queue_init(&g->asked);
    g->read_number = config->rng(config->ctx) >> 3;
    inner->data = g;
#ifdef CONCLAVE_TEST_SWITCHES
    g->off = mutant_test_guard_off;
#endif
    *outer = (struct raft_io){.version = inner->version, .impl = g};
    outer->init = guard_io_init;
    outer->close = guard_io_close;
    outer->start = guard_io_start;
    outer->bootstrap = guard_bootstrap;
    outer->recover = guard_recover;
    outer->send = guard_send;
    outer->time = guard_time;
    outer->random = guard_random;
    if (inner->version >= 2 && inner->async_work != NULL) outer->async_work = guard_async_work;
    disk_bind(g);
    return g;
}

void guard_free(struct guard *g) {
    if (g == NULL) return;
    CHECK_MAGIC(g, GUARD_MAGIC);
    held_free(g);
    read_free(g);
    disk_free(g);
    raft_free(g->owed);
    g->magic = 0;
    raft_free(g);
}

int guard_start(struct guard *g) {
    struct raft *r = g->r;
    CHECK(r != NULL && !g->started);
    raft_set_election_timeout(r, g->cfg.election_ms);
    raft_set_heartbeat_timeout(r, g->cfg.heartbeat_ms);
    raft_set_install_snapshot_timeout(r, g->cfg.install_snapshot_ms);
    raft_set_pre_vote(r, true);
    guard_enter(g, NULL);
    /* What load finds is committed or not as the core decides; only from here on can it be judged. */
    g->seen_commit = (raft_index)-1;
    int rv = raft_start(r);
    g->seen_commit = r->commit_index;
    g->seen_applied = r->last_applied;
    guard_leave(g);
    if (rv != 0) return rv;
    g->started = true;
    guard_settle(g);
    return 0;
}

int guard_propose(struct guard *g, struct raft_apply *req, const struct raft_buffer *buf, raft_apply_cb cb) {
    struct raft *r = g->r;
    if (buf->len == 0 || buf->len % 8 != 0) return ERR_INVALID;
    if (g->depth > 0) return ERR_BUSY;
    if (g->dead || g->closing || r->state != RAFT_LEADER || r->transfer != NULL) return ERR_NOT_LEADER;
    if (GUARD_ON(g, GUARD_A) && g->first_term != r->current_term) return ERR_NOT_LEADER;
    guard_enter(g, NULL);
    int rv = raft_apply(r, req, buf, 1, cb);
    guard_leave(g);
    guard_settle(g);
    if (rv == 0) return 0;
    return rv == RAFT_NOMEM ? ERR_NOMEM : ERR_NOT_LEADER;
}

void guard_vouch(struct guard *g, const uint64_t *ids, unsigned n) {
    CHECK(n <= GUARD_VOUCHED_MAX);
    for (unsigned i = 0; i < n; i++)
        g->vouched[i] = ids[i];
    g->vouched_count = n;
}

bool guard_can_change(const struct guard *g) {
    return !g->dead && !g->closing && leader_ready(g);
}

static void peer_status(const struct guard *g, const struct raft_server *server, struct guard_peer_status *ret) {
    struct guard *self = (struct guard *)g; /* peer_of may make an entry; nothing that anybody sees */
    const struct guard_peer *peer = peer_of(self, server->id);
    const struct raft_progress *progress = progress_of(g->r, server->id);
    *ret = (struct guard_peer_status){.id = server->id, .voter = server->role == RAFT_VOTER, .last_contact_ms = -1};
    if (peer != NULL && peer->heard) ret->last_contact_ms = (int64_t)(guard_now(g) - peer->contact_ms);
    if (progress == NULL) return;
    ret->match_index = progress->match_index;
    ret->next_index = progress->next_index;
    ret->snapshot_in_flight = progress->state == PROGRESS_SNAPSHOT;
    if (peer != NULL) ret->window_bytes = peer->window;
}

void guard_status(const struct guard *g, struct guard_status *ret) {
    const struct raft *r = g->r;
    *ret = (struct guard_status){.view = g->view};
    ret->commit_index = r->commit_index;
    ret->applied_index = r->last_applied;
    ret->last_index = log_last(&r->log);
    ret->stored_index = r->last_stored;
    ret->snapshot_index = r->log.snapshot.last_index;
    ret->first_index = r->log.offset + 1;
    ret->leader_ready = leader_ready(g);
    ret->unfinished_writes = g->write_count;
    for (unsigned i = 0; i < r->configuration.n && ret->peer_count < GUARD_MEMBERS_MAX; i++)
        if (r->configuration.servers[i].id != r->id)
            peer_status(g, &r->configuration.servers[i], &ret->peers[ret->peer_count++]);
}

const struct guard_counters *guard_counters(const struct guard *g) {
    return &g->count;
}

#ifdef CONCLAVE_TEST_SWITCHES
void guard_test_off(struct guard *g, unsigned corrections) {
    g->off = corrections;
}
#endif
