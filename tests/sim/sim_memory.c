/* SPDX-License-Identifier: Apache-2.0
 * The plain disk: a list of entries and one ordered queue of operations. A crash lets any prefix of the queue happen
 * and tears the append after it. Term and vote are durable at once. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

struct entry {
    raft_term term;
    unsigned short type;
    size_t len;
    uint8_t *data;
};

struct op {
    struct queue link;
    enum { OP_APPEND, OP_TRUNCATE, OP_PUT, OP_GET } kind;
    uint64_t done_us;
    struct entry *entries; /* OP_APPEND: owned */
    unsigned n;
    raft_index index; /* OP_TRUNCATE, OP_PUT */
    raft_term term;   /* OP_PUT */
    unsigned trailing;
    raft_index conf_index;
    uint8_t *state; /* OP_PUT: the snapshot's bytes */
    size_t state_len;
    void *req; /* the raft_io request of its kind, or NULL */
    raft_io_append_cb append_cb;
    raft_io_snapshot_put_cb put_cb;
    raft_io_snapshot_get_cb get_cb;
};

struct sim_log {
    struct sim_node *node;
    raft_term term;
    raft_id vote;
    raft_index start; /* of entries[0] */
    struct entry *entries;
    size_t n, cap;
    raft_index snap_index, snap_conf_index;
    raft_term snap_term;
    uint8_t *snap;
    size_t snap_len;
    struct queue ops;
    uint64_t last_done_us;
};

static struct sim_log *memory_new(struct sim_node *node) {
    struct sim_log *d = calloc(1, sizeof *d);
    CHECK(d != NULL);
    d->node = node;
    d->start = 1;
    queue_init(&d->ops);
    return d;
}

static void op_free(struct op *op) {
    for (unsigned i = 0; i < op->n; i++)
        free(op->entries[i].data);
    free(op->entries);
    free(op->state);
    free(op);
}

static void cut(struct sim_log *d, raft_index index) { /* drops entries from index on */
    while (d->n > 0 && d->start + d->n > index)
        free(d->entries[--d->n].data);
}

static void memory_free(struct sim_log *d) {
    cut(d, 0);
    free(d->entries);
    free(d->snap);
    free(d);
}

static void memory_open(struct sim_log *d) {
    CHECK(queue_empty(&d->ops));
}

static void put_entry(struct sim_log *d, struct entry entry) { /* takes its data */
    if (d->n == d->cap) {
        d->cap = d->cap == 0 ? 64 : 2 * d->cap;
        d->entries = realloc(d->entries, d->cap * sizeof *d->entries);
        CHECK(d->entries != NULL);
    }
    d->entries[d->n++] = entry;
}

static struct raft_snapshot *snapshot_of(const struct sim_log *d) {
    if (d->snap_index == 0) return NULL;
    struct raft_snapshot *s = raft_calloc(1, sizeof *s);
    s->index = d->snap_index;
    s->term = d->snap_term;
    s->configuration_index = d->snap_conf_index;
    raft_configuration_init(&s->configuration);
    for (unsigned i = 0; i < d->node->sim->cfg.voters; i++) {
        const struct sim_node *member = &d->node->sim->nodes[i];
        CHECK(raft_configuration_add(&s->configuration, member->id, member->address, RAFT_VOTER) == 0);
    }
    s->bufs = raft_malloc(sizeof *s->bufs);
    s->n_bufs = 1;
    s->bufs[0].len = d->snap_len;
    s->bufs[0].base = raft_malloc(d->snap_len);
    memcpy(s->bufs[0].base, d->snap, d->snap_len);
    return s;
}

static int memory_load(struct sim_log *d, raft_term *term, raft_id *vote, struct raft_snapshot **snapshot,
                       raft_index *start, struct raft_entry **entries, size_t *n) {
    size_t bytes = 0;
    *term = d->term;
    *vote = d->vote;
    *snapshot = snapshot_of(d);
    *start = d->start;
    *n = d->n;
    *entries = NULL;
    if (d->n == 0) return 0;
    for (size_t i = 0; i < d->n; i++)
        bytes += d->entries[i].len;
    uint8_t *const batch = raft_malloc(bytes);
    uint8_t *to = batch;
    *entries = raft_calloc(d->n, sizeof **entries);
    for (size_t i = 0; i < d->n; i++) {
        struct raft_entry *entry = &(*entries)[i];
        *entry = (struct raft_entry){.term = d->entries[i].term, .type = d->entries[i].type, .batch = batch};
        entry->buf.base = to;
        entry->buf.len = d->entries[i].len;
        memcpy(to, d->entries[i].data, entry->buf.len);
        to += entry->buf.len;
    }
    return 0;
}

static int memory_bootstrap(struct sim_log *d, const struct raft_configuration *conf) {
    struct raft_buffer buf;
    CHECK(d->n == 0 && raft_configuration_encode(conf, &buf) == 0);
    struct entry entry = {.term = 1, .type = RAFT_CHANGE, .len = buf.len, .data = malloc(buf.len)};
    memcpy(entry.data, buf.base, buf.len);
    raft_free(buf.base);
    put_entry(d, entry);
    d->term = 1;
    return 0;
}

static int memory_set_term(struct sim_log *d, raft_term term) {
    if (d->node->disk_fails) return RAFT_IOERR;
    d->term = term;
    d->vote = 0;
    return 0;
}

static int memory_set_vote(struct sim_log *d, raft_id id) {
    d->vote = id;
    return 0;
}

/* Queues an operation behind all others. */
static struct op *op_new(struct sim_log *d, int kind, void *req) {
    struct sim *sim = d->node->sim;
    struct op *op = calloc(1, sizeof *op);
    CHECK(op != NULL);
    op->kind = kind;
    op->req = req;
    op->done_us = sim->now_us + rng_between(&sim->rng, 100, 1000);
    if (d->node->slow_us > 0) op->done_us += rng_below(&sim->rng, d->node->slow_us);
    if (op->done_us <= d->last_done_us) op->done_us = d->last_done_us + 1;
    d->last_done_us = op->done_us;
    queue_push(&d->ops, &op->link);
    sim_at(sim, op->done_us - sim->now_us, EV_DISK, (unsigned)d->node->id - 1, d->node->life, NULL);
    return op;
}

static int memory_append(struct sim_log *d, struct raft_io_append *req, const struct raft_entry *entries, unsigned n,
                         raft_io_append_cb cb) {
    struct op *op = op_new(d, OP_APPEND, req);
    op->append_cb = cb;
    op->n = n;
    op->entries = calloc(n, sizeof *op->entries);
    for (unsigned i = 0; i < n; i++) {
        op->entries[i] =
            (struct entry){entries[i].term, entries[i].type, entries[i].buf.len, malloc(entries[i].buf.len)};
        memcpy(op->entries[i].data, entries[i].buf.base, entries[i].buf.len);
    }
    return 0;
}

static int memory_truncate(struct sim_log *d, raft_index index) {
    op_new(d, OP_TRUNCATE, NULL)->index = index;
    return 0;
}

static int memory_put(struct sim_log *d, unsigned trailing, struct raft_io_snapshot_put *req,
                      const struct raft_snapshot *s, raft_io_snapshot_put_cb cb) {
    /* No configuration change is ever committed in this simulator. */
    if (s->configuration.n != d->node->sim->cfg.voters)
        sim_red(d->node->sim, "snapshot-config", "node %llu stores an uncommitted configuration", d->node->id);
    struct op *op = op_new(d, OP_PUT, req);
    op->put_cb = cb;
    op->trailing = trailing;
    op->index = s->index;
    op->term = s->term;
    op->conf_index = s->configuration_index;
    op->state_len = s->bufs[0].len;
    op->state = malloc(op->state_len);
    memcpy(op->state, s->bufs[0].base, op->state_len);
    return 0;
}

static int memory_get(struct sim_log *d, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb) {
    op_new(d, OP_GET, req)->get_cb = cb;
    return 0;
}

static void effect_put(struct sim_log *d, struct op *op) {
    free(d->snap);
    d->snap = op->state;
    d->snap_len = op->state_len;
    op->state = NULL;
    d->snap_index = op->index;
    d->snap_term = op->term;
    d->snap_conf_index = op->conf_index;
    if (op->trailing == 0) { /* an install replaces the log */
        cut(d, 0);
        d->start = op->index + 1;
        return;
    }
    raft_index keep = op->index > op->trailing ? op->index - op->trailing + 1 : 1;
    if (keep <= d->start) return;
    size_t drop = (size_t)(keep - d->start);
    CHECK(drop <= d->n);
    for (size_t i = 0; i < drop; i++)
        free(d->entries[i].data);
    memmove(d->entries, d->entries + drop, (d->n - drop) * sizeof *d->entries);
    d->n -= drop;
    d->start = keep;
}

/* What the operation does to the medium; `limit` is how many entries of an append land. */
static void effect(struct sim_log *d, struct op *op, unsigned limit) {
    switch (op->kind) {
    case OP_APPEND:
        for (unsigned i = 0; i < op->n && i < limit; i++) {
            put_entry(d, op->entries[i]);
            op->entries[i].data = NULL;
        }
        break;
    case OP_TRUNCATE:
        cut(d, op->index);
        break;
    case OP_PUT:
        effect_put(d, op);
        break;
    case OP_GET:
        break;
    }
}

static void memory_step(struct sim_log *d, void *data) {
    (void)data;
    while (!queue_empty(&d->ops) && !d->node->disk_held) {
        struct op *op = QUEUE_ENTRY(d->ops.next, struct op, link);
        if (op->done_us > d->node->sim->now_us) break;
        queue_remove(&op->link);
        effect(d, op, op->n);
        if (op->kind == OP_APPEND) op->append_cb(op->req, d->node->disk_fails ? RAFT_IOERR : 0);
        if (op->kind == OP_PUT) op->put_cb(op->req, 0);
        if (op->kind == OP_GET) op->get_cb(op->req, snapshot_of(d), 0);
        op_free(op);
    }
}

static void memory_crash(struct sim_log *d) {
    struct sim *sim = d->node->sim;
    bool torn = false;
    while (!queue_empty(&d->ops)) {
        struct op *op = QUEUE_ENTRY(d->ops.next, struct op, link);
        queue_remove(&op->link);
        if (!torn) {
            torn = rng_below(&sim->rng, 2) == 0;
            if (!torn)
                effect(d, op, op->n);
            else if (op->kind == OP_APPEND)
                effect(d, op, (unsigned)rng_below(&sim->rng, op->n + 1));
        }
        op_free(op);
    }
    d->last_done_us = 0;
    if (sim->cfg.forget_vote) d->vote = 0;
}

static void memory_tick(struct sim_log *d) {
    if (!queue_empty(&d->ops)) memory_step(d, NULL); /* after a held disk was let go */
}

static raft_index memory_durable(const struct sim_log *d) {
    return d->start + d->n - 1;
}

const struct sim_log_ops sim_memory_ops = {.new = memory_new,
                                           .free = memory_free,
                                           .open = memory_open,
                                           .load = memory_load,
                                           .bootstrap = memory_bootstrap,
                                           .set_term = memory_set_term,
                                           .set_vote = memory_set_vote,
                                           .append = memory_append,
                                           .truncate = memory_truncate,
                                           .put = memory_put,
                                           .get = memory_get,
                                           .tick = memory_tick,
                                           .step = memory_step,
                                           .crash = memory_crash,
                                           .durable = memory_durable};
