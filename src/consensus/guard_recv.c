/* SPDX-License-Identifier: Apache-2.0
 * What the core receives, corrected: requests that must wait (H), that begin below our snapshot (I), that would
 * truncate an uncommitted configuration (L), results that must wait for our own first entry (A), second votes (E). */
#include "consensus/guard_private.h"

#include <string.h>

#include "base/check.h"
#include "base/mutant.h"

static void payload_free(struct raft_message *m) {
    if (m->type == RAFT_IO_APPEND_ENTRIES && m->append_entries.entries != NULL) {
        if (m->append_entries.n_entries > 0) raft_free(m->append_entries.entries[0].batch);
        raft_free(m->append_entries.entries);
    } else if (m->type == RAFT_IO_INSTALL_SNAPSHOT) {
        raft_configuration_close(&m->install_snapshot.conf);
        raft_free(m->install_snapshot.data.base);
    }
}

static void held_drop(struct guard_held *held) {
    payload_free(&held->message);
    raft_free((void *)held->message.server_address);
    raft_free(held);
}

/* Takes the payload, or frees it when there is no room (the peer sends again). */
static struct guard_held *held_new(struct guard *g, const struct raft_message *m) {
    size_t len = strlen(m->server_address) + 1;
    struct guard_held *held = raft_malloc(sizeof *held);
    char *address = raft_malloc(len);
    if (held == NULL || address == NULL) {
        raft_free(held);
        raft_free(address);
        struct raft_message copy = *m;
        payload_free(&copy);
        g->count.held_dropped++;
        return NULL;
    }
    memcpy(address, m->server_address, len);
    *held = (struct guard_held){.message = *m};
    held->message.server_address = address;
    if (m->type == RAFT_IO_APPEND_ENTRIES)
        for (unsigned i = 0; i < m->append_entries.n_entries; i++)
            held->bytes += m->append_entries.entries[i].buf.len;
    if (m->type == RAFT_IO_INSTALL_SNAPSHOT) held->bytes = m->install_snapshot.data.len;
    return held;
}

static raft_term request_term(const struct raft_message *m) {
    return m->type == RAFT_IO_APPEND_ENTRIES ? m->append_entries.term : m->install_snapshot.term;
}

/* H: last_stored is counted up, not set, so an entry that is truncated and put back while its first write is still
 * under way would be counted twice; and its completion would be answered in the name of the wrong leader. */
static bool must_wait(struct guard *g, const struct raft_message *m) {
    if (!GUARD_ON(g, GUARD_H)) return false;
    raft_term oldest = writes_term(g);
    return !queue_empty(&g->requests) || (oldest != 0 && oldest < request_term(m));
}

static void hold_request(struct guard *g, const struct raft_message *m) {
    struct guard_held *held = held_new(g, m);
    if (held == NULL) return;
    if (g->request_count == GUARD_HELD_MAX ||
        (g->request_count > 0 && g->request_bytes + held->bytes > GUARD_HELD_BYTES)) {
        held_drop(held);
        g->count.held_dropped++;
        return;
    }
    queue_push(&g->requests, &held->link);
    g->request_count++;
    g->request_bytes += held->bytes;
    g->count.requests_held++;
}

/* I: a follower that has compacted the beginning of its log takes "not in my log" for "new", and appends those entries
 * again at its tail. Up to our snapshot everything is committed, so the sender has the same entries: begin there. */
static void trim(struct guard *g, struct raft_append_entries *args) {
    const struct raft_log *log = &g->r->log;
    raft_index from = log->snapshot.last_index;
    if (!GUARD_ON(g, GUARD_I) || args->prev_log_index >= from || args->term < g->r->current_term) return;
    raft_index end = args->prev_log_index + args->n_entries;
    unsigned drop = end <= from ? args->n_entries : (unsigned)(from - args->prev_log_index);
    if (drop > 0 && drop == args->n_entries) {
        raft_free(args->entries[0].batch); /* the core would not know of it any more */
        raft_free(args->entries);
        args->entries = NULL;
    } else if (drop > 0) {
        memmove(args->entries, args->entries + drop, (args->n_entries - drop) * sizeof *args->entries);
    }
    args->n_entries -= drop;
    args->prev_log_index = from;
    args->prev_log_term = log->snapshot.last_term;
    g->count.requests_trimmed++;
}

/* L: where the core would truncate, and an uncommitted configuration entry is at or behind that place. The core would
 * roll back to a configuration entry that may be compacted already; and after a restart it would not roll back at all.
 */
static raft_index cuts_change(const struct guard *g, const struct raft_append_entries *args) {
    const struct raft *r = g->r;
    CHECK(args->n_entries == 0 || args->entries != NULL);
    if (!GUARD_ON(g, GUARD_L) || args->term < r->current_term) return 0;
    if (g->change_index <= r->commit_index) return 0;
    if (args->prev_log_index > 0 && log_term(&r->log, args->prev_log_index) != args->prev_log_term) return 0;
    for (unsigned i = 0; i < args->n_entries; i++) {
        raft_index index = args->prev_log_index + 1 + i;
        raft_term term = log_term(&r->log, index);
        if (term == 0) return 0;
        if (term != args->entries[i].term) return index <= g->change_index && index > r->commit_index ? index : 0;
    }
    return 0;
}

/* L: a snapshot whose last entry we have with another, higher term: the core takes it for an entry it has already, says
 * so, and refuses everything that follows until another leads. Ours is not committed. */
static bool blocks_install(const struct guard *g, const struct raft_install_snapshot *args) {
    const struct raft *r = g->r;
    if (!GUARD_ON(g, GUARD_L) || args->term < r->current_term || args->last_index <= r->commit_index) return false;
    raft_term term = log_term(&r->log, args->last_index);
    return term > args->last_term;
}

/* Drops our entries from `index` on, on disk only, and has the process begin anew from there. */
static void cut_and_restart(struct guard *g, raft_index index, const char *why) {
    int rv = g->inner->truncate(g->inner, index);
    if (rv != 0)
        guard_die(g, GUARD_FATAL_DISK, "truncation at %llu failed: %s", index, raft_strerror(rv));
    else
        guard_die(g, GUARD_FATAL_RESTART, "entries from %llu on were truncated: %s", index, why);
}

/* M: what the guard remembers of the leader of a term against what this request says. */
static bool second_leader(struct guard *g, const struct raft_message *m) {
    raft_term term = request_term(m);
    if (!GUARD_ON(g, GUARD_M) || term != g->r->current_term) return false;
    bool other = g->leader_term == term && g->leader_id != m->server_id;
    if (g->r->state != RAFT_LEADER && !other) return false;
    guard_die(g, GUARD_FATAL_BREACH, "two leaders in term %llu: %llu and %llu", term,
              g->r->state == RAFT_LEADER ? g->r->id : g->leader_id, m->server_id);
    return true;
}

static void deliver_request(struct guard *g, struct raft_message *m) {
    struct guard_ctx ctx = {.term = request_term(m)};
    if (second_leader(g, m)) {
        payload_free(m);
        return;
    }
    if (m->type == RAFT_IO_APPEND_ENTRIES) {
        struct raft_append_entries *args = &m->append_entries;
        trim(g, args);
        raft_index cut = cuts_change(g, args);
        if (cut != 0) {
            cut_and_restart(g, cut, "an uncommitted configuration is among them");
            payload_free(m);
            return;
        }
        ctx.kind = CTX_ENTRIES;
        ctx.prev = args->prev_log_index;
        ctx.verified = args->prev_log_index + args->n_entries;
        if (args->leader_commit > ctx.verified && GUARD_ON(g, GUARD_K) && !MUTANT(COMMIT_UNCLAMPED)) {
            args->leader_commit = ctx.verified;
            g->count.commits_clamped++;
        }
        ctx.commit_max = args->leader_commit < ctx.verified ? args->leader_commit : ctx.verified;
    } else if (blocks_install(g, &m->install_snapshot)) {
        cut_and_restart(g, m->install_snapshot.last_index, "they contradict the leader's snapshot");
        payload_free(m);
        return;
    } else {
        ctx.kind = CTX_INSTALL;
        ctx.verified = ctx.commit_max = m->install_snapshot.last_index;
    }
    guard_enter(g, &ctx);
    g->core_recv(g->outer, m);
    guard_leave(g);
    if (ctx.term == g->r->current_term && g->r->state == RAFT_FOLLOWER) { /* it was accepted as the leader's */
        g->leader_term = ctx.term;
        g->leader_id = m->server_id;
    }
}

/* A: until our own first entry is on our disk the core must not learn how far its followers are, or it commits entries
 * of older terms by counting. */
static bool result_must_wait(const struct guard *g, const struct raft_message *m) {
    const struct raft *r = g->r;
    if (!GUARD_ON(g, GUARD_A) || r->state != RAFT_LEADER || m->append_entries_result.term != r->current_term)
        return false;
    return g->first_term != r->current_term || !g->first_durable;
}

/* MUTANT: a message of a learner in the name of a voter that has not said it. */
static void pretend_voter(struct guard *g, struct raft_message *m) {
    const struct raft_configuration *conf = &g->r->configuration;
    bool learner = false;
    for (unsigned i = 0; i < conf->n; i++)
        learner = learner || (conf->servers[i].id == m->server_id && conf->servers[i].role == RAFT_STANDBY);
    for (unsigned i = 0; i < conf->n && learner; i++) {
        const struct raft_server *server = &conf->servers[i];
        if (server->role != RAFT_VOTER || server->id == g->r->id) continue;
        m->server_id = server->id;
        m->server_address = server->address;
        return;
    }
}

static void deliver_result(struct guard *g, struct raft_message *m) {
    if (MUTANT(LEARNER_COMMITS) && m->append_entries_result.rejected == 0) pretend_voter(g, m);
    struct guard_peer *peer = peer_of(g, m->server_id);
    bool ours = g->r->state == RAFT_LEADER && m->append_entries_result.term == g->r->current_term;
    if (peer != NULL && ours && GUARD_ON(g, GUARD_K)) train_answered(g, peer, &m->append_entries_result);
    guard_enter(g, NULL);
    g->core_recv(g->outer, m);
    guard_leave(g);
}

static void hold_result(struct guard *g, const struct raft_message *m) {
    /* The core does not see it, but a leader that waits for its own disk has not lost its quorum. Not for ever: one
     * whose disk hangs must make room. */
    struct raft_progress *progress = progress_of(g->r, m->server_id);
    uint64_t patience = (uint64_t)GUARD_FIRST_PATIENCE * g->cfg.election_ms;
    if (progress != NULL && g->first_term == g->r->current_term && guard_now(g) - g->first_ms < patience)
        progress->recent_recv = true;
    struct guard_held *held = held_new(g, m);
    if (held == NULL) return;
    if (g->result_count == GUARD_HELD_MAX) { /* the newest say the most */
        struct guard_held *oldest = QUEUE_ENTRY(g->results.next, struct guard_held, link);
        queue_remove(&oldest->link);
        held_drop(oldest);
        g->result_count--;
        g->count.held_dropped++;
    }
    queue_push(&g->results, &held->link);
    g->result_count++;
    g->count.results_held++;
}

/* E: libraft skips the vote-once check towards the target of a transfer. */
static bool second_vote(const struct guard *g, const struct raft_request_vote *args) {
    const struct raft *r = g->r;
    return GUARD_ON(g, GUARD_E) && !args->pre_vote && args->term == r->current_term && r->voted_for != 0 &&
           r->voted_for != args->candidate_id;
}

static void deliver_plain(struct guard *g, struct raft_message *m) {
    guard_enter(g, NULL);
    g->core_recv(g->outer, m);
    guard_leave(g);
}

/* Q: for the core, we are a voter while it looks at the request. */
static void vote_asked(struct guard *g, struct raft_message *m) {
    struct raft_server *us = (struct raft_server *)member_of(g->r, g->r->id);
    if (us == NULL || us->role == RAFT_VOTER || !GUARD_ON(g, GUARD_Q)) {
        deliver_plain(g, m);
        return;
    }
    int role = us->role;
    g->count.learners_asked++;
    us->role = RAFT_VOTER;
    guard_enter(g, NULL);
    g->core_recv(g->outer, m);
    us->role = role; /* a request for a vote leaves the configuration as it is */
    guard_leave(g);
}

/* D: one that arrives while we still write would start an election on entries that are not stored; the newest waits. */
static void timeout_now(struct guard *g, struct raft_message *m) {
    if (!GUARD_ON(g, GUARD_D) || !writes_unfinished(g)) {
        deliver_plain(g, m);
        return;
    }
    g->count.ticks_withheld++;
    struct guard_held *held = held_new(g, m);
    if (g->timeout_now != NULL) held_drop(g->timeout_now);
    g->timeout_now = held;
}

/* O: a node that was removed, or never was a member, decides nothing. Whose entries may be heard is the transport's to
 * say: a joining node knows no member at all. */
static bool stranger(struct guard *g, const struct raft_message *m) {
    bool decides = m->type == RAFT_IO_REQUEST_VOTE || m->type == RAFT_IO_REQUEST_VOTE_RESULT ||
                   m->type == RAFT_IO_TIMEOUT_NOW || m->type == GUARD_IO_READ;
    if (!decides || !GUARD_ON(g, GUARD_O) || member_of(g->r, m->server_id) != NULL) return false;
    for (unsigned i = 0; i < g->vouched_count; i++)
        if (g->vouched[i] == m->server_id) return false;
    g->count.strangers++;
    return true;
}

static void dispatch(struct guard *g, struct raft_message *m) {
    if (stranger(g, m)) return; /* none of these types holds memory */
    switch (m->type) {
    case RAFT_IO_APPEND_ENTRIES:
    case RAFT_IO_INSTALL_SNAPSHOT:
        if (request_term(m) > g->r->current_term) writes_release(g, true);
        if (must_wait(g, m))
            hold_request(g, m);
        else
            deliver_request(g, m);
        break;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        if (result_must_wait(g, m))
            hold_result(g, m);
        else
            deliver_result(g, m);
        break;
    case RAFT_IO_REQUEST_VOTE:
        if (second_vote(g, &m->request_vote))
            g->count.votes_refused++;
        else if (vote_request(g, &m->request_vote))
            vote_asked(g, m);
        break;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        if (MUTANT(LEARNER_VOTES)) pretend_voter(g, m);
        if (vote_answer(g, &m->request_vote_result)) deliver_plain(g, m);
        break;
    case RAFT_IO_TIMEOUT_NOW:
        timeout_now(g, m);
        break;
    case GUARD_IO_PROBE:
    case GUARD_IO_PROBE_RESULT:
    case GUARD_IO_READ:
    case GUARD_IO_READ_RESULT:
        read_message(g, m);
        break;
    default:
        deliver_plain(g, m);
        break;
    }
}

void guard_recv(struct raft_io *io, struct raft_message *message) {
    struct guard *g = io->data;
    CHECK_MAGIC(g, GUARD_MAGIC);
    CHECK(g->depth == 0);
    if (g->dead || g->closing) {
        payload_free(message);
        return;
    }
    struct guard_peer *peer = peer_of(g, message->server_id);
    if (peer != NULL) {
        peer->heard = true;
        peer->contact_ms = guard_now(g);
    }
    dispatch(g, message);
    guard_settle(g);
}

static struct guard_held *take_first(struct queue *q) {
    struct guard_held *held = QUEUE_ENTRY(q->next, struct guard_held, link);
    queue_remove(&held->link);
    return held;
}

static void free_shell(struct guard_held *held) {
    raft_free((void *)held->message.server_address);
    raft_free(held);
}

bool held_deliver(struct guard *g) {
    if (!queue_empty(&g->results)) {
        struct guard_held *first = QUEUE_ENTRY(g->results.next, struct guard_held, link);
        if (!result_must_wait(g, &first->message)) {
            queue_remove(&first->link);
            g->result_count--;
            deliver_result(g, &first->message);
            free_shell(first);
            return true;
        }
    }
    if (!queue_empty(&g->requests)) {
        struct guard_held *first = QUEUE_ENTRY(g->requests.next, struct guard_held, link);
        raft_term oldest = writes_term(g);
        if (oldest == 0 || oldest >= request_term(&first->message)) {
            first = take_first(&g->requests);
            g->request_count--;
            g->request_bytes -= first->bytes;
            deliver_request(g, &first->message);
            free_shell(first);
            return true;
        }
    }
    if (g->timeout_now != NULL && !writes_unfinished(g)) {
        struct guard_held *held = g->timeout_now;
        g->timeout_now = NULL;
        deliver_plain(g, &held->message);
        free_shell(held);
        return true;
    }
    return false;
}

bool guard_installs(const struct guard *g) {
    bool installs = g->put.active;
    for (const struct queue *q = g->requests.next; q != &g->requests && !installs; q = q->next)
        installs = QUEUE_ENTRY(q, struct guard_held, link)->message.type == RAFT_IO_INSTALL_SNAPSHOT;
    return installs;
}

void held_free(struct guard *g) {
    while (!queue_empty(&g->results))
        held_drop(take_first(&g->results));
    while (!queue_empty(&g->requests))
        held_drop(take_first(&g->requests));
    if (g->timeout_now != NULL) held_drop(g->timeout_now);
    g->timeout_now = NULL;
    g->result_count = g->request_count = 0;
    g->request_bytes = 0;
}
