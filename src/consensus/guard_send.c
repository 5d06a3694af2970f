/* SPDX-License-Identifier: Apache-2.0
 * What the core sends, corrected: results (B, C, J), and AppendEntries cut into trains (K).
 *
 * Every send callback is answered from guard_settle with success. Success does not mean delivered: a message that could
 * not be sent is treated like one that the network lost, because the core answers a failed send by going back to the
 * last known match, which on a fresh leader is the beginning of the log. And it is answered soon, because an unanswered
 * send keeps references to log entries, which the core confuses when an entry is truncated and then comes back.
 *
 * A train: the core always sends everything from next_index on and then believes it sent. What does not fit into the
 * window stays behind `end` and `waiting` is set; until answers open the window, further sends of the core to that peer
 * become heartbeats at `end`. Then next_index is set back to end + 1 and the core sends the rest. */
#include "consensus/guard_private.h"

#include "base/check.h"
#include "base/mutant.h"

static void owe(struct guard *g, struct raft_io_send *req, raft_io_send_cb cb, int status) {
    if (cb == NULL) return;
    if (g->owed_count == g->owed_cap) {
        size_t cap = g->owed_cap == 0 ? 32 : 2 * g->owed_cap;
        struct guard_owed *owed = raft_realloc(g->owed, cap * sizeof *owed);
        CHECK(owed != NULL);
        g->owed = owed;
        g->owed_cap = cap;
    }
    g->owed[g->owed_count++] = (struct guard_owed){.req = req, .cb = cb, .status = status};
}

void guard_flush_owed(struct guard *g) {
    for (size_t i = 0; i < g->owed_count; i++) {
        struct guard_owed owed = g->owed[i];
        owed.cb(owed.req, owed.status);
    }
    g->owed_count = 0;
}

static int pass_on(struct guard *g, const struct raft_message *message) {
    return g->inner->send(g->inner, NULL, message, NULL);
}

/* J: the index before the whole conflicting term, so that the leader need not step back one entry a heartbeat; what is
 * committed cannot conflict. */
static raft_index hint(const struct guard *g, raft_index last) {
    const struct raft *r = g->r;
    raft_index at = g->ctx.prev < last ? g->ctx.prev : last;
    raft_term term = log_term(&r->log, at);
    if (at < g->ctx.prev || term == 0) return last; /* nothing there: the end of our log is the best we know */
    raft_index floor = r->commit_index > r->log.offset ? r->commit_index : r->log.offset;
    while (at > floor && log_term(&r->log, at) == term)
        at--;
    return at < last ? at : last;
}

static void send_result(struct guard *g, const struct raft_message *message) {
    struct raft_message m = *message;
    struct raft_append_entries_result *result = &m.append_entries_result;
    const struct guard_ctx *ctx = &g->ctx;
    bool stale = ctx->term != g->r->current_term;
    if (ctx->kind == CTX_ENTRIES && ctx->late && stale && GUARD_ON(g, GUARD_C)) {
        g->count.results_stale++;
        return;
    }
    if (result->rejected == 0) {
        raft_index max = ctx->kind == CTX_NONE ? 0 : ctx->verified;
        /* The answer to a request of an older term with prev = 0 is a refusal that looks like a success. It must go
         * out, because it carries our term, but it must not claim anything. */
        if (stale && !ctx->late) max = 0;
        /* To a snapshot whose last entry is still being written here the core says that it has everything. A leader
         * that believes it never goes back, so a follower that then loses the entry would be stuck. */
        if (max > g->durable) max = g->durable;
        if (result->last_log_index > max && GUARD_ON(g, GUARD_B)) {
            result->last_log_index = max;
            g->count.results_clamped++;
        }
    } else if (ctx->kind == CTX_ENTRIES && !stale && GUARD_ON(g, GUARD_J)) {
        raft_index better = hint(g, result->last_log_index);
        if (better != result->last_log_index) g->count.rejections_hinted++;
        result->last_log_index = better;
    }
    pass_on(g, &m);
}

static void train_reset(struct guard *g, struct guard_peer *peer) {
    peer->term = g->r->current_term;
    peer->waiting = false;
    peer->end = 0;
    peer->part_first = peer->part_count = 0;
    peer->window = 0;
}

/* How many entries from `first` on go into one message. */
static unsigned part_size(const struct raft_append_entries *args, unsigned first, size_t *ret_bytes) {
    size_t bytes = 0;
    unsigned n = 0;
    while (first + n < args->n_entries) {
        size_t len = args->entries[first + n].buf.len;
        if (n > 0 && bytes + len > GUARD_MESSAGE_BYTES) break;
        bytes += len;
        n++;
    }
    *ret_bytes = bytes;
    return n;
}

/* Sends entries [first, first + n) of `message`; non-zero when they were not sent. */
static int send_part(struct guard *g, const struct raft_message *message, unsigned first, unsigned n) {
    struct raft_message m = *message;
    struct raft_append_entries *args = &m.append_entries;
    if (first > 0) {
        args->prev_log_index += first;
        args->prev_log_term = args->entries[first - 1].term;
    }
    args->entries = n == 0 ? NULL : args->entries + first;
    args->n_entries = n;
    if (args->leader_commit > args->prev_log_index + n && !MUTANT(COMMIT_UNCLAMPED)) {
        args->leader_commit = args->prev_log_index + n;
        g->count.commits_clamped++;
    }
    return pass_on(g, &m);
}

/* A heartbeat where the train stands, instead of what the core wanted to send. */
static void send_waiting(struct guard *g, struct guard_peer *peer, struct raft_progress *progress,
                         const struct raft_message *message) {
    uint64_t now = guard_now(g);
    bool due = now - peer->sent_ms >= g->cfg.heartbeat_ms / 2;
    if (message->append_entries.n_entries > 0 && !due) return;
    raft_term term = log_term(&g->r->log, peer->end);
    if (term == 0) { /* a snapshot has overtaken the train: begin again from what is known */
        progress->state = PROGRESS_PROBE;
        progress->next_index = progress->match_index + 1;
        train_reset(g, peer);
        return;
    }
    struct raft_message m = *message;
    m.append_entries.prev_log_index = peer->end;
    m.append_entries.prev_log_term = term;
    m.append_entries.n_entries = 0;
    peer->sent_ms = now;
    send_part(g, &m, 0, 0);
}

static void send_train(struct guard *g, struct guard_peer *peer, const struct raft_message *message) {
    const struct raft_append_entries *args = &message->append_entries;
    unsigned first = 0;
    /* The core went back (a refusal in between): what was in flight is lost, and so are the answers to it. */
    if (args->prev_log_index != peer->end) train_reset(g, peer);
    peer->sent_ms = guard_now(g);
    peer->end = args->prev_log_index;
    while (first < args->n_entries) {
        size_t bytes;
        unsigned n = part_size(args, first, &bytes);
        bool room = peer->window == 0 || peer->window + bytes <= GUARD_WINDOW_BYTES;
        if (!room || peer->part_count == GUARD_PARTS_MAX) break;
        if (send_part(g, message, first, n) != 0) break; /* the peer's queue is full: the train ends here */
        if (first > 0) g->count.trains++;
        first += n;
        peer->end = args->prev_log_index + first;
        unsigned slot = (peer->part_first + peer->part_count++) % GUARD_PARTS_MAX;
        peer->parts[slot] = (struct guard_part){.end = peer->end, .bytes = bytes};
        peer->window += bytes;
    }
    peer->waiting = first < args->n_entries;
    if (first == 0) send_part(g, message, 0, 0);
}

/* Returns what the core is to be told: without K (test build) the truth, else always success. */
static int send_entries(struct guard *g, const struct raft_message *message) {
    struct guard_peer *peer = peer_of(g, message->server_id);
    struct raft_progress *progress = progress_of(g->r, message->server_id);
    if (!GUARD_ON(g, GUARD_K)) return pass_on(g, message);
    if (peer == NULL || progress == NULL) {
        pass_on(g, message);
        return 0;
    }
    bool pipeline = progress->state == PROGRESS_PIPELINE;
    if (peer->term != g->r->current_term || !pipeline) train_reset(g, peer);
    if (!pipeline) { /* where the peer stands is a guess, so one message is enough */
        size_t bytes;
        peer->sent_ms = guard_now(g);
        send_part(g, message, 0, part_size(&message->append_entries, 0, &bytes));
    } else if (peer->waiting && message->append_entries.prev_log_index > peer->end) {
        send_waiting(g, peer, progress, message);
    } else {
        send_train(g, peer, message);
    }
    return 0;
}

/* A request with entries is answered when they are on disk, and under load the core sends no other, so a follower whose
 * disk is slow for one election timeout would look dead and the leader would step down. An empty request at the known
 * match is answered at once and changes nothing else. */
void train_tick(struct guard *g) {
    struct raft *r = g->r;
    uint64_t now = guard_now(g);
    if (r->state != RAFT_LEADER || !GUARD_ON(g, GUARD_K)) return;
    for (unsigned i = 0; i < r->configuration.n; i++) {
        const struct raft_server *server = &r->configuration.servers[i];
        struct guard_peer *peer = peer_of(g, server->id);
        if (peer == NULL || peer->term != r->current_term || peer->part_count == 0) continue;
        raft_index match = r->leader_state.progress[i].match_index;
        raft_term term = log_term(&r->log, match);
        if (term == 0 || now - peer->empty_ms < g->cfg.heartbeat_ms) continue;
        peer->empty_ms = now;
        struct raft_message m = {.type = RAFT_IO_APPEND_ENTRIES, .server_id = server->id};
        m.server_address = server->address;
        m.append_entries = (struct raft_append_entries){
            .term = r->current_term, .prev_log_index = match, .prev_log_term = term, .leader_commit = r->commit_index};
        send_part(g, &m, 0, 0);
    }
}

void train_answered(struct guard *g, struct guard_peer *peer, const struct raft_append_entries_result *result) {
    struct raft_progress *progress = progress_of(g->r, peer->id);
    if (result->rejected > 0 || progress == NULL || peer->term != g->r->current_term) return;
    while (peer->part_count > 0 && peer->parts[peer->part_first].end <= result->last_log_index) {
        peer->window -= peer->parts[peer->part_first].bytes;
        peer->part_first = (peer->part_first + 1) % GUARD_PARTS_MAX;
        peer->part_count--;
    }
    if (!peer->waiting || progress->state != PROGRESS_PIPELINE || peer->window >= GUARD_REFILL) return;
    if (log_term(&g->r->log, peer->end) == 0) return; /* send_waiting finds out */
    peer->waiting = false;
    if (progress->next_index > peer->end + 1) progress->next_index = peer->end + 1;
}

/* A snapshot's data belongs to the core until its callback, and the callback is news: it enters the core. */
struct snapshot_send {
    struct guard *g;
    struct raft_io_send req;
    struct raft_io_send *core_req;
    raft_io_send_cb cb;
};

static void snapshot_sent(struct raft_io_send *req, int status) {
    struct snapshot_send *send = req->data;
    struct guard *g = send->g;
    guard_enter(g, NULL);
    send->cb(send->core_req, status);
    guard_leave(g);
    raft_free(send);
    guard_settle(g);
}

static int send_snapshot(struct guard *g, struct raft_io_send *req, const struct raft_message *message,
                         raft_io_send_cb cb) {
    struct snapshot_send *send = raft_malloc(sizeof *send);
    if (send == NULL) return RAFT_NOMEM;
    *send = (struct snapshot_send){.g = g, .core_req = req, .cb = cb};
    send->req.data = send;
    int rv = g->inner->send(g->inner, &send->req, message, snapshot_sent);
    if (rv != 0) raft_free(send);
    return rv;
}

/* P. A term is true of whoever says it, and one that is behind only takes it over and asks again. */
static void send_vote(struct guard *g, const struct raft_message *message) {
    struct raft_message m = *message;
    struct raft_request_vote_result *result = &m.request_vote_result;
    bool pre_vote = result->pre_vote == raft_tribool_true;
    if (pre_vote && result->vote_granted) vote_granted(g);
    if (pre_vote && !result->vote_granted && result->term < g->r->current_term && GUARD_ON(g, GUARD_P)) {
        result->term = g->r->current_term;
        g->count.terms_told++;
    }
    pass_on(g, &m);
}

int guard_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *message, raft_io_send_cb cb) {
    struct guard *g = io->impl;
    CHECK_MAGIC(g, GUARD_MAGIC);
    /* A write that completes after the leader was forgotten is answered to nobody. An error here would make the core
     * free the request twice and give up. */
    bool nobody = message->server_id == 0 || message->server_address == NULL || g->dead || g->closing;
    if (message->type == RAFT_IO_INSTALL_SNAPSHOT)
        return nobody ? RAFT_NOCONNECTION : send_snapshot(g, req, message, cb);
    int status = 0;
    switch (nobody ? 0 : message->type) {
    case 0:
        break;
    case RAFT_IO_APPEND_ENTRIES:
        status = send_entries(g, message);
        break;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        send_result(g, message);
        break;
    case RAFT_IO_REQUEST_VOTE:
        g->vote_sent_ms = guard_now(g);
        pass_on(g, message);
        break;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        send_vote(g, message);
        break;
    default:
        pass_on(g, message);
        break;
    }
    owe(g, req, cb, status);
    return 0;
}
