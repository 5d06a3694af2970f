/* SPDX-License-Identifier: Apache-2.0
 * The inner raft_io, the one under the guard: the store and the peers, and the tick. Nothing is decided here. */
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "consensus/replica_impl.h"

static struct replica *of(struct raft_io *io) {
    struct replica *r = io->impl;
    CHECK_MAGIC(r, REPLICA_MAGIC);
    return r;
}

static int init_cb(struct raft_io *io, raft_id id, const char *address) {
    (void)io, (void)id, (void)address;
    return 0;
}

static int load_cb(struct raft_io *io, raft_term *term, raft_id *voted_for, struct raft_snapshot **snapshot,
                   raft_index *start_index, struct raft_entry *entries[], size_t *n_entries) {
    struct replica *r = of(io);
    int rv = store_load(r->store, term, voted_for, snapshot, start_index, entries, n_entries);
    if (rv == 0) replica_members_loaded(r, *snapshot, *start_index, *entries, *n_entries);
    return rv;
}

static int bootstrap_cb(struct raft_io *io, const struct raft_configuration *conf) {
    return store_bootstrap(of(io)->store, conf);
}

static int recover_cb(struct raft_io *io, const struct raft_configuration *conf) {
    (void)io, (void)conf;
    return RAFT_INVALID; /* it would write a wrong term; recovery is an offline tool's */
}

static int set_term_cb(struct raft_io *io, raft_term term) {
    return store_set_term(of(io)->store, term);
}

static int set_vote_cb(struct raft_io *io, raft_id id) {
    return store_set_vote(of(io)->store, id);
}

static int append_cb(struct raft_io *io, struct raft_io_append *req, const struct raft_entry entries[], unsigned n,
                     raft_io_append_cb cb) {
    return store_append(of(io)->store, req, entries, n, cb);
}

static int truncate_cb(struct raft_io *io, raft_index index) {
    return store_truncate(of(io)->store, index);
}

static int snapshot_put_cb(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                           const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb) {
    if (trailing > 0) return store_snapshot_begin(of(io)->store, trailing, req, snapshot, cb);
    return store_snapshot_put(of(io)->store, trailing, req, snapshot, cb);
}

static int snapshot_get_cb(struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb) {
    return store_snapshot_get(of(io)->store, req, cb);
}

static int send_cb(struct raft_io *io, struct raft_io_send *req, const struct raft_message *message,
                   raft_io_send_cb cb) {
    struct replica *r = of(io);
    if (message->type == RAFT_IO_INSTALL_SNAPSHOT) {
        /* A lost snapshot is sent again after a fixed time that runs from here; a big one needs longer to arrive, to be
         * loaded and to be written (5 MB/s is slow for all of it). One that stands still is given up by the peers. */
        const struct raft_buffer *data = &message->install_snapshot.data;
        struct snapshot_manifest m = {.file_size = 0};
        (void)snapshot_manifest_decode(data->base, data->len, &m);
        unsigned ms = REPLICA_INSTALL_MS + (unsigned)(m.file_size / 5000);
        raft_set_install_snapshot_timeout(&r->core, ms);
    }
    return peers_send(r->peers, message, req, cb);
}

/* The tick: the guard's clock, the store's idle work, and a watch over the loop itself. */
static void watch(struct replica *r, uint64_t now) {
    uint64_t gap = now - r->ticked_ms;
    uint64_t allowed = r->config.election_ms / 10 + GUARD_TICK_MS;
    if (r->ticked_ms != 0 && gap > allowed && now - r->gap_logged_ms >= 1000) {
        log_event(LOG_WARN, "loop_gap", "ms=%llu allowed_ms=%llu", (unsigned long long)gap,
                  (unsigned long long)allowed);
        r->gap_logged_ms = now;
    }
    r->ticked_ms = now;
}

static void ticker_cb(uv_timer_t *timer) {
    struct replica *r = timer->data;
    CHECK_MAGIC(r, REPLICA_MAGIC);
    uint64_t now = clock_mono_ms();
    watch(r, now);
    store_tick(r->store, now);
    replica_space_tick(r, now);
    replica_arrived_tick(r);
    replica_snapshot_tick(r);
    if (!queue_empty(&r->reads) || !queue_empty(&r->probes)) replica_wake(r);
    replica_gate_tick(r);
    if (r->tick && !r->closing && !r->fatal.pending && replica_gate_ticks(r)) r->tick(&r->inner);
}

static int start_cb(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv) {
    struct replica *r = of(io);
    r->tick = tick;
    r->recv = recv;
    CHECK(uv_timer_start(&r->ticker, ticker_cb, msecs, msecs) == 0);
    return 0;
}

static void store_closed_cb(void *ctx) {
    struct replica *r = ctx;
    r->store = NULL;
    r->io_closed(&r->inner);
}

/* The store goes last: snapshots on their way between it and the peers have ended then. */
static void peers_closed_cb(void *ctx) {
    struct replica *r = ctx;
    r->peers = NULL;
    if (r->store)
        store_close(r->store, store_closed_cb, r);
    else
        r->io_closed(&r->inner);
}

void replica_io_close(struct raft_io *io, raft_io_close_cb closed) {
    struct replica *r = of(io);
    r->tick = NULL;
    r->recv = NULL;
    uv_timer_stop(&r->ticker);
    r->io_closed = closed;
    CHECK(r->peers != NULL); /* its end always comes from the loop, never inside this call */
    peers_close(r->peers, peers_closed_cb, r);
}

void replica_io_init(struct replica *r) {
    r->inner = (struct raft_io){.version = 1,
                                .impl = r,
                                .init = init_cb,
                                .close = replica_io_close,
                                .load = load_cb,
                                .start = start_cb,
                                .bootstrap = bootstrap_cb,
                                .recover = recover_cb,
                                .set_term = set_term_cb,
                                .set_vote = set_vote_cb,
                                .send = send_cb,
                                .append = append_cb,
                                .truncate = truncate_cb,
                                .snapshot_put = snapshot_put_cb,
                                .snapshot_get = snapshot_get_cb};
}
