/* SPDX-License-Identifier: Apache-2.0
 * The disk of a node, as it is shipped: the store with its write-ahead log, vote and snapshot files, over simulated
 * sectors. A crash tears the write under way at random.
 *
 * What was durable is counted here as well, independently of the store: after a restart it must be there. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#include "../lib/sim_disk.h"
#include "base/check.h"
#include "base/mutant.h"
#include "consensus/identity.h"
#include "consensus/store.h"

#define HELD_MAX 64u

struct sim_log {
    struct sim_node *node;
    struct sim_disk *disk;
    struct store *store;
    bool crashing;
    raft_index tail, durable; /* last entry handed over; last one completed and not truncated since */
    raft_term term;
    raft_id vote;
    struct queue appends; /* under way */
    uint64_t held[HELD_MAX];
    unsigned held_count;
};

struct append {
    struct queue link;
    struct sim_log *d;
    struct raft_io_append req, *core_req;
    raft_io_append_cb cb;
    raft_index first, last; /* last: without what was truncated since */
};

static const uint8_t cluster_id[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

static struct sim_log *log_of(struct raft_io *io) {
    return ((struct sim_node *)io->impl)->disk;
}

static void notify(void *data, uint64_t id, enum sim_disk_kind kind, size_t len) {
    struct sim_log *d = data;
    struct sim *sim = d->node->sim;
    uint64_t us = rng_between(&sim->rng, 100, 1000);
    (void)kind;
    (void)len;
    if (d->node->slow_us > 0) us += rng_between(&sim->rng, d->node->slow_us / 2, d->node->slow_us);
    sim_at(sim, us, EV_DISK, d->node, (void *)(uintptr_t)id);
}

struct sim_log *log_new(struct sim_node *node) {
    struct sim_log *d = calloc(1, sizeof *d);
    CHECK(d != NULL);
    d->node = node;
    queue_init(&d->appends);
    d->disk = sim_disk_new(node->sim->cfg.seed * 16 + node->id);
    struct identity identity = {.node_id = node->id, .created_ms = 1};
    memcpy(identity.cluster_id, cluster_id, sizeof cluster_id);
    struct err err;
    CHECK(identity_format(sim_disk_face(d->disk), &identity, &err) == 0);
    sim_disk_set_notify(d->disk, notify, d);
    return d;
}

void log_free(struct sim_log *d) {
    sim_disk_free(d->disk);
    free(d);
}

static void fatal(void *data, const struct err *err) {
    struct sim_log *d = data;
    sim_red(d->node->sim, "store", "node %llu: the store gave up: %s", d->node->id, err->text);
}

static void store_begin(struct sim_log *d) {
    struct sim *sim = d->node->sim;
    struct store_config config = {.disk = sim_disk_face(d->disk),
                                  .node_id = d->node->id,
                                  .segment_bytes = sim->cfg.large ? 1u << 20 : 64u << 10,
                                  .nonce_seed = rng_next(&sim->rng) | 1,
                                  .fatal = fatal,
                                  .data = d};
    struct err err = {0};
    memcpy(config.cluster_id, cluster_id, sizeof cluster_id);
    d->held_count = 0;
    if (store_open(&config, &d->store, &err) != 0)
        sim_red(sim, "store", "node %llu does not open: %s", d->node->id, err.text);
}

static int log_load(struct raft_io *io, raft_term *term, raft_id *vote, struct raft_snapshot **snapshot,
                    raft_index *start, struct raft_entry *entries[], size_t *n) {
    struct sim_log *d = log_of(io);
    struct sim *sim = d->node->sim;
    if (sim->result.red) return RAFT_IOERR;
    int rv = store_load(d->store, term, vote, snapshot, start, entries, n);
    if (rv != 0) {
        sim_red(sim, "store", "node %llu does not load: %s", d->node->id, store_error(d->store)->text);
        return rv;
    }
    raft_index last = *start + *n - 1;
    if (last < d->durable)
        sim_red(sim, "store-lost", "node %llu had %llu entries durable, %llu came back", d->node->id, d->durable, last);
    if (*term != d->term || (*vote != d->vote && !MUTANT(VOTE_FORGOTTEN)))
        sim_red(sim, "vote-lost", "node %llu: term %llu vote %llu came back as %llu %llu", d->node->id, d->term,
                d->vote, *term, *vote);
    d->tail = d->durable = last;
    return 0;
}

static int log_bootstrap(struct raft_io *io, const struct raft_configuration *conf) {
    struct sim_log *d = log_of(io);
    d->tail = d->durable = 1;
    d->term = 1;
    return store_bootstrap(d->store, conf);
}

static int log_set_term(struct raft_io *io, raft_term term) {
    struct sim_log *d = log_of(io);
    if (d->node->disk_fails) return RAFT_IOERR;
    d->term = term;
    d->vote = 0;
    return store_set_term(d->store, term);
}

static int log_set_vote(struct raft_io *io, raft_id id) {
    struct sim_log *d = log_of(io);
    d->vote = id;
    return store_set_vote(d->store, id);
}

static void append_done(struct raft_io_append *req, int status) {
    struct append *a = req->data;
    struct sim_log *d = a->d;
    queue_remove(&a->link);
    if (!d->crashing) {
        if (status == 0 && a->last >= a->first) d->durable = a->last;
        a->cb(a->core_req, d->node->disk_fails ? RAFT_IOERR : status);
    }
    free(a);
}

static int log_append(struct raft_io *io, struct raft_io_append *req, const struct raft_entry entries[], unsigned n,
                      raft_io_append_cb cb) {
    struct sim_log *d = log_of(io);
    struct append *a = calloc(1, sizeof *a);
    CHECK(a != NULL);
    a->d = d;
    a->core_req = req;
    a->cb = cb;
    a->req.data = a;
    a->first = d->tail + 1;
    a->last = d->tail += n;
    queue_push(&d->appends, &a->link);
    int rv = store_append(d->store, &a->req, entries, n, append_done);
    if (rv == 0) return 0;
    queue_remove(&a->link);
    free(a);
    return rv;
}

static int log_truncate(struct raft_io *io, raft_index index) {
    struct sim_log *d = log_of(io);
    d->tail = index - 1;
    if (d->durable >= index) d->durable = index - 1;
    for (struct queue *q = d->appends.next; q != &d->appends; q = q->next) {
        struct append *a = QUEUE_ENTRY(q, struct append, link);
        if (a->last >= index) a->last = index - 1;
    }
    return store_truncate(d->store, index);
}

struct put {
    struct sim_log *d;
    struct raft_io_snapshot_put req, *core_req;
    raft_io_snapshot_put_cb cb;
    raft_index install; /* 0: a snapshot of our own */
};

static void put_done(struct raft_io_snapshot_put *req, int status) {
    struct put *put = req->data;
    struct sim_log *d = put->d;
    if (!d->crashing) {
        if (status == 0 && put->install > 0) d->tail = d->durable = put->install;
        put->cb(put->core_req, status);
    }
    free(put);
}

static int log_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                   const struct raft_snapshot *s, raft_io_snapshot_put_cb cb) {
    struct sim_log *d = log_of(io);
    if (s->configuration.n > d->node->sim->cfg.voters)
        sim_red(d->node->sim, "snapshot-config", "node %llu stores an uncommitted configuration", d->node->id);
    struct put *put = calloc(1, sizeof *put);
    CHECK(put != NULL);
    *put = (struct put){.d = d, .core_req = req, .cb = cb, .install = trailing == 0 ? s->index : 0};
    put->req.data = put;
    if (put->install > 0) d->durable = 0; /* the log goes as soon as the file is there; the snapshot replaces it */
    int rv = store_snapshot_put(d->store, trailing, &put->req, s, put_done);
    if (rv != 0) free(put);
    return rv;
}

struct get {
    struct sim_log *d;
    struct raft_io_snapshot_get req, *core_req;
    raft_io_snapshot_get_cb cb;
};

static void get_done(struct raft_io_snapshot_get *req, struct raft_snapshot *snapshot, int status) {
    struct get *get = req->data;
    if (!get->d->crashing) get->cb(get->core_req, snapshot, status);
    free(get); /* in a crash the snapshot goes with the node's memory */
}

static int log_get(struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb) {
    struct sim_log *d = log_of(io);
    struct get *get = calloc(1, sizeof *get);
    CHECK(get != NULL);
    *get = (struct get){.d = d, .core_req = req, .cb = cb};
    get->req.data = get;
    int rv = store_snapshot_get(d->store, &get->req, get_done);
    if (rv != 0) free(get);
    return rv;
}

void log_step(struct sim_log *d, void *data) {
    uint64_t id = (uint64_t)(uintptr_t)data;
    if (!d->node->disk_held) {
        sim_disk_step_id(d->disk, id);
        return;
    }
    CHECK(d->held_count < HELD_MAX);
    d->held[d->held_count++] = id;
}

void log_tick(struct sim_log *d) {
    if (!d->node->disk_held) {
        for (unsigned i = 0; i < d->held_count; i++)
            sim_disk_step_id(d->disk, d->held[i]);
        d->held_count = 0;
    }
    store_tick(d->store, sim_ms(d->node->sim));
}

void log_crash(struct sim_log *d) {
    d->crashing = true;
    sim_disk_crash(d->disk);
    if (d->store != NULL) store_abandon(d->store);
    d->store = NULL;
    d->crashing = false;
    d->held_count = 0;
    CHECK(queue_empty(&d->appends));
}

raft_index log_durable(const struct sim_log *d) {
    return d->durable;
}

void log_open(struct sim_log *d, struct raft_io *inner) {
    store_begin(d);
    inner->load = log_load;
    inner->bootstrap = log_bootstrap;
    inner->set_term = log_set_term;
    inner->set_vote = log_set_vote;
    inner->append = log_append;
    inner->truncate = log_truncate;
    inner->snapshot_put = log_put;
    inner->snapshot_get = log_get;
}
