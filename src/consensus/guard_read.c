/* SPDX-License-Identifier: Apache-2.0
 * Linearizable reads. The commit index is noted; then a majority is asked, in numbered rounds, whether our term is
 * still the newest they know. Had a newer leader committed anything before the read began, a majority would have known
 * its term before, so one of those that answer a round begun after the read would say no. Answers carry the round they
 * answer, which the core's own results do not: a delayed one proves nothing about the present.
 *
 * A follower's read is a read of its leader's: the leader does all that when the question arrives, which is after the
 * read began, and answers with the index. Numbers are never used twice, over restarts neither, so an answer belongs to
 * its question; whoever gave it led when it was asked. */
#include "consensus/guard_private.h"

#include "base/check.h"

/* The callbacks may begin new reads, so the finished are taken out first. */
static void finish(struct guard *g, struct queue *ready, int status) {
    while (!queue_empty(ready)) {
        struct guard_read *read = QUEUE_ENTRY(ready->next, struct guard_read, link);
        queue_remove(&read->link);
        g->read_count--;
        read->cb(read, status, status == 0 ? read->index : 0);
    }
}

static void move_all(struct queue *from, struct queue *to) {
    while (!queue_empty(from)) {
        struct queue *link = from->next;
        queue_remove(link);
        queue_push(to, link);
    }
}

void read_fail(struct guard *g, int status) {
    struct queue ready;
    queue_init(&ready);
    move_all(&g->reads, &ready);
    move_all(&g->asked, &ready);
    finish(g, &ready, status);
}

static void send_probes(struct guard *g) {
    struct raft *r = g->r;
    struct raft_message m = {.type = GUARD_IO_PROBE};
    m.timeout_now = (struct raft_timeout_now){.term = r->current_term, .last_log_index = g->round};
    for (unsigned i = 0; i < r->configuration.n; i++) {
        const struct raft_server *server = &r->configuration.servers[i];
        struct guard_peer *peer = peer_of(g, server->id);
        if (server->role != RAFT_VOTER || peer == NULL || peer->round >= g->round) continue;
        m.server_id = server->id;
        m.server_address = server->address;
        g->inner->send(g->inner, NULL, &m, NULL);
        g->count.probes++;
    }
    g->probe_ms = guard_now(g);
}

/* The highest round that a majority of the voters, ourselves included, has confirmed. Rounds only grow, so the answer
 * is among the peers' own values. */
static uint64_t majority_round(struct guard *g) {
    const struct raft *r = g->r;
    unsigned need = voters(r) / 2 + 1;
    uint64_t best = need <= 1 ? g->round : 0;
    for (unsigned i = 0; i < r->configuration.n; i++) {
        struct guard_peer *candidate = peer_of(g, r->configuration.servers[i].id);
        if (r->configuration.servers[i].role != RAFT_VOTER || candidate == NULL || candidate->round <= best) continue;
        unsigned have = 0;
        for (unsigned j = 0; j < r->configuration.n; j++) {
            const struct raft_server *server = &r->configuration.servers[j];
            struct guard_peer *peer = peer_of(g, server->id);
            bool self = server->id == r->id;
            if (server->role == RAFT_VOTER && (self || (peer != NULL && peer->round >= candidate->round))) have++;
        }
        if (have >= need) best = candidate->round;
    }
    return best;
}

void read_settle(struct guard *g) {
    if (queue_empty(&g->reads)) return;
    struct queue ready;
    queue_init(&ready);
    g->confirmed = GUARD_ON(g, GUARD_N) ? majority_round(g) : g->round;
    while (!queue_empty(&g->reads)) {
        struct guard_read *read = QUEUE_ENTRY(g->reads.next, struct guard_read, link);
        if (read->round > g->confirmed) break;
        queue_remove(&read->link);
        queue_push(&ready, &read->link);
    }
    finish(g, &ready, 0);
    if (queue_empty(&g->reads)) return;
    /* One round at a time: reads that arrive meanwhile share the next. */
    struct guard_read *last = QUEUE_ENTRY(g->reads.prev, struct guard_read, link);
    if (last->round > g->round && g->confirmed == g->round) {
        g->round++;
        send_probes(g);
        if (voters(g->r) == 1 || !GUARD_ON(g, GUARD_N)) read_settle(g);
    }
}

/* They are in the order of their deadlines. */
static void take_late(struct queue *reads, uint64_t now, struct queue *late) {
    while (!queue_empty(reads)) {
        struct guard_read *read = QUEUE_ENTRY(reads->next, struct guard_read, link);
        if (read->deadline_ms > now) break;
        queue_remove(&read->link);
        queue_push(late, &read->link);
    }
}

void read_tick(struct guard *g) {
    uint64_t now = guard_now(g);
    struct queue late;
    queue_init(&late);
    take_late(&g->reads, now, &late);
    take_late(&g->asked, now, &late);
    finish(g, &late, ERR_TIMEOUT);
    if (!queue_empty(&g->reads) && g->round > g->confirmed && now - g->probe_ms >= GUARD_VOTE_REPEAT_MS) send_probes(g);
}

/* A follower's read on its leader. */
struct forwarded {
    struct guard *g;
    struct guard_read read;
    raft_id from;
    uint64_t number;
};

static void send_read(struct guard *g, unsigned short type, raft_id to, uint64_t number, uint64_t index) {
    const struct raft_server *server = member_of(g->r, to);
    if (server == NULL) return; /* removed meanwhile */
    struct raft_message m = {.type = type, .server_id = to, .server_address = server->address};
    m.timeout_now =
        (struct raft_timeout_now){.term = g->r->current_term, .last_log_index = number, .last_log_term = index};
    g->inner->send(g->inner, NULL, &m, NULL);
}

static void forwarded_cb(struct guard_read *read, int status, uint64_t index) {
    struct forwarded *f = read->data;
    f->g->forwarded--;
    if (status != ERR_CLOSED) send_read(f->g, GUARD_IO_READ_RESULT, f->from, f->number, status == 0 ? index : 0);
    raft_free(f);
}

void read_free(struct guard *g) {
    for (struct queue *q = g->reads.next, *next; q != &g->reads; q = next) {
        next = q->next;
        struct guard_read *read = QUEUE_ENTRY(q, struct guard_read, link);
        if (read->cb != forwarded_cb) continue;
        queue_remove(q);
        raft_free(read->data);
    }
}

static void read_for(struct guard *g, raft_id from, uint64_t number) {
    struct forwarded *f = g->forwarded < GUARD_FORWARDED_MAX ? raft_malloc(sizeof *f) : NULL;
    if (f != NULL) {
        *f = (struct forwarded){.g = g, .from = from, .number = number};
        f->read.data = f;
        f->read.cb = forwarded_cb;
        g->forwarded++;
        if (guard_read_index(g, &f->read) == 0) {
            /* It may not know yet that what it has is committed: a heartbeat at the next tick says so. */
            struct raft_progress *progress = progress_of(g->r, from);
            if (progress != NULL) progress->last_send = 0;
            g->count.reads_forwarded++;
            return;
        }
        g->forwarded--;
        raft_free(f);
    }
    send_read(g, GUARD_IO_READ_RESULT, from, number, 0);
}

static void read_told(struct guard *g, uint64_t number, uint64_t index) {
    struct queue ready;
    queue_init(&ready);
    for (struct queue *q = g->asked.next; q != &g->asked; q = q->next) {
        struct guard_read *read = QUEUE_ENTRY(q, struct guard_read, link);
        if (read->round != number) continue;
        read->index = index;
        queue_remove(&read->link);
        queue_push(&ready, &read->link);
        break;
    }
    finish(g, &ready, index == 0 ? ERR_NOT_LEADER : 0);
}

void read_message(struct guard *g, const struct raft_message *message) {
    struct raft *r = g->r;
    const struct raft_timeout_now *args = &message->timeout_now;
    struct guard_peer *peer = peer_of(g, message->server_id);
    if (message->type == GUARD_IO_READ) {
        read_for(g, message->server_id, args->last_log_index);
        return;
    }
    if (message->type == GUARD_IO_READ_RESULT) {
        read_told(g, args->last_log_index, args->last_log_term);
        return;
    }
    if (message->type == GUARD_IO_PROBE) {
        struct raft_message m = {.type = GUARD_IO_PROBE_RESULT, .server_id = message->server_id};
        m.server_address = message->server_address;
        m.timeout_now = (struct raft_timeout_now){.term = r->current_term,
                                                  .last_log_index = args->last_log_index,
                                                  .last_log_term = r->current_term == args->term ? 1 : 0};
        g->inner->send(g->inner, NULL, &m, NULL);
        return;
    }
    bool yes = r->state == RAFT_LEADER && args->term == r->current_term && args->last_log_term == 1;
    if (yes && peer != NULL && args->last_log_index <= g->round && args->last_log_index > peer->round)
        peer->round = args->last_log_index;
}

int guard_read_index(struct guard *g, struct guard_read *read) {
    CHECK(g->depth == 0);
    if (g->dead || g->closing || !leader_ready(g)) return ERR_NOT_LEADER;
    if (g->read_count == GUARD_READS_MAX) return ERR_BUSY;
    read->round = g->round + 1;
    read->index = g->r->commit_index;
    read->deadline_ms = guard_now(g) + g->cfg.election_ms;
    queue_push(&g->reads, &read->link);
    g->read_count++;
    guard_settle(g);
    return 0;
}

int guard_read_follower(struct guard *g, struct guard_read *read) {
    CHECK(g->depth == 0);
    if (g->dead || g->closing || g->view.role != GUARD_FOLLOWER || g->view.leader_id == 0) return ERR_NOT_LEADER;
    if (g->read_count == GUARD_READS_MAX) return ERR_BUSY;
    read->round = ++g->read_number;
    read->deadline_ms = guard_now(g) + g->cfg.election_ms;
    queue_push(&g->asked, &read->link);
    g->read_count++;
    send_read(g, GUARD_IO_READ, g->view.leader_id, read->round, 0);
    return 0;
}
