/* SPDX-License-Identifier: Apache-2.0
 * The network: every message is copied when it is sent and built anew for its receiver. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define DELAY_MIN_US 100u
#define DELAY_MAX_US 1000u

static size_t payload_size(const struct raft_message *m) {
    size_t size = 0;
    if (m->type == RAFT_IO_APPEND_ENTRIES) {
        size = m->append_entries.n_entries * sizeof(struct raft_entry);
        for (unsigned i = 0; i < m->append_entries.n_entries; i++)
            size += m->append_entries.entries[i].buf.len;
    } else if (m->type == RAFT_IO_INSTALL_SNAPSHOT) {
        size = m->install_snapshot.data.len;
    }
    return size;
}

/* No schedule has a snapshot behind a change of the configuration, so each carries the one that all began with. */
static void configuration_build(const struct sim *sim, struct raft_configuration *ret) {
    raft_configuration_init(ret);
    for (unsigned i = 0; i < sim->cfg.voters; i++)
        CHECK(raft_configuration_add(ret, sim->nodes[i].id, sim->nodes[i].address, RAFT_VOTER) == 0);
}

static struct sim_held *copy(const struct raft_message *m, unsigned from, unsigned to) {
    struct sim_held *held = calloc(1, sizeof *held);
    size_t size = payload_size(m);
    CHECK(held != NULL);
    held->message = *m;
    held->from = from;
    held->to = to;
    queue_init(&held->link);
    held->size = size;
    held->bytes = malloc(size + 1);
    CHECK(held->bytes != NULL);
    if (m->type == RAFT_IO_APPEND_ENTRIES) {
        unsigned n = m->append_entries.n_entries;
        struct raft_entry *entries = (struct raft_entry *)held->bytes;
        uint8_t *data = held->bytes + n * sizeof *entries;
        for (unsigned i = 0; i < n; i++) {
            entries[i] = m->append_entries.entries[i];
            entries[i].buf.base = data;
            memcpy(data, m->append_entries.entries[i].buf.base, entries[i].buf.len);
            data += entries[i].buf.len;
        }
        held->message.append_entries.entries = entries;
    } else if (m->type == RAFT_IO_INSTALL_SNAPSHOT) {
        memcpy(held->bytes, m->install_snapshot.data.base, size);
        held->message.install_snapshot.data.base = held->bytes;
    }
    return held;
}

void net_free(struct sim_held *held) {
    free(held->bytes);
    free(held);
}

static uint64_t summary(const struct raft_message *m) {
    switch (m->type) {
    case RAFT_IO_APPEND_ENTRIES:
        return m->append_entries.prev_log_index << 20 ^ m->append_entries.n_entries << 10 ^
               m->append_entries.leader_commit;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        return m->append_entries_result.last_log_index << 20 ^ m->append_entries_result.rejected;
    case RAFT_IO_REQUEST_VOTE:
        return m->request_vote.last_log_index << 20 ^ m->request_vote.pre_vote;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        return (uint64_t)m->request_vote_result.vote_granted << 20 ^ m->request_vote_result.pre_vote;
    case RAFT_IO_INSTALL_SNAPSHOT:
        return m->install_snapshot.last_index;
    default:
        return m->timeout_now.last_log_index;
    }
}

static void launch(struct sim *sim, struct sim_held *held) {
    sim->queued[held->from][held->to] += held->size;
    sim_at(sim, rng_between(&sim->rng, DELAY_MIN_US, DELAY_MAX_US), EV_DELIVER, &sim->nodes[held->to], held);
}

int net_send(struct sim_node *node, struct raft_io_send *req, const struct raft_message *m, raft_io_send_cb cb) {
    struct sim *sim = node->sim;
    unsigned from = (unsigned)node->id - 1, to = (unsigned)m->server_id - 1;
    CHECK(to < sim->cfg.voters && to != from);
    sim_trace(sim, node->id << 16 | 's' << 8 | (m->type % 100 + '0'), m->server_id, m->append_entries.term, summary(m));
    if (!sim->nodes[to].up) return RAFT_NOCONNECTION;
    if (sim->queue_max > 0 && sim->queued[from][to] + payload_size(m) > sim->queue_max) return RAFT_BUSY;
    if (cb != NULL) {
        struct sim_sent *sent = malloc(sizeof *sent);
        CHECK(sent != NULL);
        *sent = (struct sim_sent){req, cb};
        sim_at(sim, 2 * DELAY_MAX_US, EV_SENT, node, sent);
    }
    enum sim_verdict verdict = sim->filter == NULL ? SIM_PASS : sim->filter(sim, from, to, m);
    if (verdict == SIM_DROP || sim->cut[from][to]) return 0;
    struct sim_held *held = copy(m, from, to);
    if (verdict == SIM_HOLD) {
        queue_push(&sim->held, &held->link);
        return 0;
    }
    launch(sim, held);
    return 0;
}

/* Entries share one batch, as they would from a real connection. */
static void build_entries(struct raft_append_entries *args) {
    const struct raft_entry *from = args->entries;
    size_t bytes = 0;
    args->entries = NULL;
    if (args->n_entries == 0) return;
    for (unsigned i = 0; i < args->n_entries; i++)
        bytes += from[i].buf.len;
    uint8_t *const batch = raft_malloc(bytes + 1);
    uint8_t *to = batch;
    args->entries = raft_malloc(args->n_entries * sizeof *args->entries);
    for (unsigned i = 0; i < args->n_entries; i++) {
        args->entries[i] = from[i];
        args->entries[i].batch = batch;
        args->entries[i].buf.base = to;
        memcpy(to, from[i].buf.base, from[i].buf.len);
        to += from[i].buf.len;
    }
}

void net_deliver(struct sim *sim, unsigned to, struct sim_held *held) {
    struct sim_node *node = &sim->nodes[to];
    sim->queued[held->from][to] -= held->size;
    if (!node->up || sim->cut[held->from][to]) {
        net_free(held);
        return;
    }
    struct raft_message m = held->message;
    m.server_id = sim->nodes[held->from].id;
    m.server_address = sim->nodes[held->from].address;
    sim_trace(sim, node->id << 16 | 'r' << 8 | (m.type % 100 + '0'), m.server_id, m.append_entries.term, summary(&m));
    if (m.type == RAFT_IO_APPEND_ENTRIES) {
        build_entries(&m.append_entries);
    } else if (m.type == RAFT_IO_INSTALL_SNAPSHOT) {
        void *data = raft_malloc(m.install_snapshot.data.len);
        memcpy(data, held->bytes, m.install_snapshot.data.len);
        m.install_snapshot.data.base = data;
        configuration_build(sim, &m.install_snapshot.conf);
    }
    node->recv(&node->inner, &m);
    net_free(held);
}

unsigned net_release(struct sim *sim, bool (*pick)(const struct sim_held *held)) {
    unsigned n = 0;
    for (struct queue *q = sim->held.next, *next; q != &sim->held; q = next) {
        struct sim_held *held = QUEUE_ENTRY(q, struct sim_held, link);
        next = q->next;
        if (pick != NULL && !pick(held)) continue;
        queue_remove(&held->link);
        launch(sim, held);
        n++;
    }
    return n;
}

void net_drop_held(struct sim *sim) {
    while (!queue_empty(&sim->held)) {
        struct sim_held *held = QUEUE_ENTRY(sim->held.next, struct sim_held, link);
        queue_remove(&held->link);
        net_free(held);
    }
}

void net_isolate(struct sim *sim, unsigned node) {
    for (unsigned i = 0; i < sim->cfg.voters; i++)
        if (i != node) sim->cut[i][node] = sim->cut[node][i] = true;
}

void net_heal(struct sim *sim) {
    memset(sim->cut, 0, sizeof sim->cut);
}
