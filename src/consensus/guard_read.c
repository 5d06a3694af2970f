/* SPDX-License-Identifier: Apache-2.0
 * Linearizable reads. The commit index is noted; then a majority is asked, in numbered rounds, whether our term is
 * still the newest they know. Had a newer leader committed anything before the read began, a majority would have known
 * its term before, so one of those that answer a round begun after the read would say no. Answers carry the round they
 * answer, which the core's own results do not: a delayed one proves nothing about the present. */
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

void read_fail(struct guard *g, int status) {
    struct queue ready;
    queue_init(&ready);
    while (!queue_empty(&g->reads)) {
        struct queue *link = g->reads.next;
        queue_remove(link);
        queue_push(&ready, link);
    }
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

void read_tick(struct guard *g) {
    uint64_t now = guard_now(g);
    struct queue late;
    queue_init(&late);
    while (!queue_empty(&g->reads)) {
        struct guard_read *read = QUEUE_ENTRY(g->reads.next, struct guard_read, link);
        if (read->deadline_ms > now) break;
        queue_remove(&read->link);
        queue_push(&late, &read->link);
    }
    finish(g, &late, ERR_TIMEOUT);
    if (!queue_empty(&g->reads) && g->round > g->confirmed && now - g->probe_ms >= GUARD_VOTE_REPEAT_MS) send_probes(g);
}

void read_message(struct guard *g, const struct raft_message *message) {
    struct raft *r = g->r;
    const struct raft_timeout_now *args = &message->timeout_now;
    struct guard_peer *peer = peer_of(g, message->server_id);
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
