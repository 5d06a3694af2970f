/* SPDX-License-Identifier: Apache-2.0
 * Snapshots, without a pause.
 *
 * Taking one. The core asks, synchronously and from deep inside, and wants to be given bytes. It is given a few that
 * say nothing, and the order to begin goes into the applier's queue: it comes up when the state is exactly that of the
 * entry that the core means. From there on each turn has the application write a little, and the store puts it into the
 * file, on another thread. The core keeps its log until the file is durable (store_snapshot_begin completes then), and
 * takes or installs no other snapshot meanwhile. The core asks whenever its threshold of entries is reached; ours is a
 * number of bytes, so the threshold is set to 1 when they have come together and to infinity after.
 *
 * Restoring one. The state was loaded aside by the store, at the start or as it arrived; what passed through the core
 * is a manifest, and the restore is an exchange of pointers. The old state is freed on another thread.
 *
 * An application without slices writes its whole state at once and reads it from memory: here it gets what it needs. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mutant.h"
#include "consensus/replica_impl.h"

#define NEVER        0xffffffffu
#define BIT_BYTES    (16u << 10)  /* of the state, between two looks at the clock */
#define FEED_BYTES   (256u << 10) /* handed to the store at a time */
#define TOKEN_BYTES  8u           /* what the core is given */
#define ROOM_TELL_MS 10000u       /* between two lines about a snapshot that finds no room */

/* ---- when ---- */

/* A few percent more on some nodes than on others: a majority of them should not be busy with it at the same entry. */
static uint64_t snapshot_bytes(const struct replica *r) {
    uint64_t bytes = r->config.snapshot_bytes ? r->config.snapshot_bytes : REPLICA_SNAPSHOT_BYTES;
    return bytes + bytes / 16 * (r->config.node_id % 8);
}

void replica_snapshot_count(struct replica *r, size_t len) {
    r->log_bytes += len;
    r->log_entries++;
    if (r->snapshotting) return; /* the next one is asked for when this one is over */
    if (r->log_bytes >= snapshot_bytes(r) || r->log_entries >= REPLICA_ENTRIES_MAX)
        raft_set_snapshot_threshold(&r->core, 1);
}

static void count_restart(struct replica *r) {
    r->log_bytes = r->log_entries = 0;
    raft_set_snapshot_threshold(&r->core, NEVER);
}

/* How many entries before the snapshot stay: a quarter of the log, so that a peer that is a little behind needs no
 * snapshot; and what a peer still needs that is being sent a snapshot or is catching up, within four times the log
 * between two snapshots, or one that is slower than we take them would be sent snapshots for ever. */
static unsigned trailing_entries(const struct replica *r) {
    struct guard_status status;
    uint64_t keep = r->log_entries / 4, most = 4 * r->log_entries, applied = r->core.last_applied;
    guard_status(r->guard, &status);
    for (unsigned i = 0; status.view.role == GUARD_LEADER && i < status.peer_count; i++) {
        const struct guard_peer_status *peer = &status.peers[i];
        bool heard = peer->last_contact_ms >= 0 && peer->last_contact_ms < REPLICA_BEHIND_MS;
        uint64_t has = peer->match_index;
        if (peer->snapshot_in_flight && has < status.snapshot_index) has = status.snapshot_index;
        if (heard && applied > has && applied - has > keep) keep = applied - has;
    }
    if (keep > most) keep = most;
    return keep < REPLICA_TRAILING_MIN ? REPLICA_TRAILING_MIN : keep > UINT32_MAX ? UINT32_MAX : (unsigned)keep;
}

/* ---- taking one ---- */

int replica_snapshot_cb(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs) {
    struct replica *r = fsm->data;
    CHECK_MAGIC(r, REPLICA_MAGIC);
    static const struct raft_buffer nothing = {0};
    if (r->fatal.pending || r->closing || r->snapshotting || !guard_snapshot_allowed(r->guard)) return RAFT_BUSY;
    struct raft_buffer *made = raft_malloc(sizeof *made);
    void *token = raft_calloc(1, TOKEN_BYTES);
    struct item *item = made && token ? replica_item_new(r, r->core.last_applied, &nothing) : NULL;
    if (!item) {
        raft_free(made);
        raft_free(token);
        return RAFT_BUSY;
    }
    item->kind = ITEM_SNAPSHOT;
    replica_item_push(r, item);
    if (MUTANT(SNAPSHOT_EARLY)) {
        queue_remove(&item->queue);
        queue_push(r->items.next, &item->queue);
    }
    r->snapshotting = true;
    *made = (struct raft_buffer){.base = token, .len = TOKEN_BYTES};
    *bufs = made;
    *n_bufs = 1;
    raft_set_snapshot_trailing(&r->core, trailing_entries(r));
    count_restart(r);
    return 0;
}

/* Over, for better or worse. */
static void snapshot_close(struct replica *r, bool written) {
    r->snapshotting = r->snapshot_open = false;
    buf_done(&r->bits);
    if (!written) r->log_bytes += snapshot_bytes(r) / 2; /* again when the log has grown by half of that */
}

void replica_snapshot_open(struct replica *r, uint64_t index) {
    if (!store_snapshot_wants(r->store)) { /* it has been cancelled before it began */
        snapshot_close(r, false);
        return;
    }
    r->snapshot_index = index;
    r->snapshot_bytes = r->snapshot_busy_us = r->snapshot_slice_us = 0;
    r->snapshot_credit_us = REPLICA_SNAPSHOT_TICK_US;
    r->snapshot_begun_us = clock_mono_us();
    r->snapshot_open = true;
    buf_init(&r->bits, SIZE_MAX / 2);
    if (r->app.snapshot_begin) {
        r->app.snapshot_begin(r->app.ctx);
        return;
    }
    if (r->app.snapshot(r->app.ctx, &r->bits) == 0 && !r->bits.failed) return;
    log_event(LOG_ERROR, "snapshot_failed", "index=%" PRIu64, index);
    store_snapshot_give_up(r->store);
}

/* The next bits, for a moment; *ret_end: they were the last. Returns 0 or what the application said. */
static int bits_gather(struct replica *r, uint64_t until_us, bool *ret_end) {
    *ret_end = r->app.snapshot_begin == NULL;
    while (!*ret_end && r->bits.len < FEED_BYTES) {
        int rv = r->app.snapshot_more(r->app.ctx, BIT_BYTES, &r->bits, ret_end);
        if (rv != 0) return rv;
        if (clock_mono_us() >= until_us) break;
    }
    return 0;
}

bool replica_snapshot_goes_on(const struct replica *r) {
    if (!r->snapshot_open || !r->store) return false;
    return !store_snapshot_wants(r->store) || (r->snapshot_credit_us > 0 && store_snapshot_room(r->store) > 0);
}

void replica_snapshot_tick(struct replica *r) {
    r->snapshot_credit_us = REPLICA_SNAPSHOT_TICK_US;
    if (replica_snapshot_goes_on(r)) replica_wake(r);
}

void replica_snapshot_turn(struct replica *r) {
    if (!r->snapshot_open || (r->snapshot_credit_us == 0 && store_snapshot_wants(r->store))) return;
    uint64_t begun = clock_mono_us(), until = begun + REPLICA_SNAPSHOT_SLICE_US;
    while (store_snapshot_room(r->store) > 0) {
        bool end = false;
        int rv = bits_gather(r, until, &end);
        r->snapshot_bytes += r->bits.len;
        if (rv == 0) rv = store_snapshot_feed(r->store, &r->bits, end);
        if (rv != 0) {
            log_event(LOG_ERROR, "snapshot_failed", "index=%" PRIu64 " text=\"%s\"", r->snapshot_index, err_text(rv));
            store_snapshot_give_up(r->store);
            break;
        }
        uint64_t now = clock_mono_us();
        if (end) {
            log_event(LOG_INFO, "snapshot_taken",
                      "index=%" PRIu64 " bytes=%" PRIu64 " us=%" PRIu64 " busy_us=%" PRIu64 " slice_cpu_us=%" PRIu64,
                      r->snapshot_index, r->snapshot_bytes, now - r->snapshot_begun_us,
                      r->snapshot_busy_us + now - begun, r->snapshot_slice_us);
            snapshot_close(r, true);
            return;
        }
        if (now >= until) break;
    }
    uint64_t spent = clock_mono_us() - begun;
    r->snapshot_busy_us += spent;
    r->snapshot_credit_us -= spent < r->snapshot_credit_us ? spent : r->snapshot_credit_us;
    if (!store_snapshot_wants(r->store)) { /* there was no space, or somebody gave up */
        if (r->app.snapshot_begin) r->app.snapshot_end(r->app.ctx);
        snapshot_close(r, false);
    } else if (replica_snapshot_goes_on(r)) {
        replica_wake(r);
    }
}

void replica_snapshot_abandon(struct replica *r) {
    if (r->snapshot_open && r->app.snapshot_begin) r->app.snapshot_end(r->app.ctx);
    r->snapshotting = r->snapshot_open = false;
    buf_done(&r->bits);
}

/* ---- loaders: the application's, or one that collects the bytes in memory ---- */

static void *memory_open(void *ctx) {
    struct buf *bytes = malloc(sizeof *bytes);
    (void)ctx;
    CHECK(bytes);
    buf_init(bytes, SNAPSHOT_MEMORY_MAX);
    return bytes;
}

static int memory_data(void *loader, const uint8_t *data, size_t len, struct err *err) {
    int rv = buf_append(loader, data, len);
    return rv ? err_set(err, rv, "a snapshot is too large for memory") : 0;
}

static int memory_end(void *loader, struct err *err) {
    (void)loader, (void)err;
    return 0;
}

static void memory_free(void *loader) {
    buf_done(loader);
    free(loader);
}

void replica_loader_ops(const struct replica *r, struct store_loader_ops *ret) {
    static const struct store_loader_ops memory = {
        .open = memory_open, .data = memory_data, .end = memory_end, .free = memory_free};
    *ret = memory;
    if (!r->app.loader_open) return;
    *ret = (struct store_loader_ops){.open = r->app.loader_open,
                                     .data = r->app.loader_data,
                                     .end = r->app.loader_end,
                                     .free = r->app.loader_free,
                                     .ctx = r->app.ctx};
}

void replica_loader_drop(struct replica *r, void *loader) {
    struct store_loader_ops ops;
    if (r->store && !r->closing) {
        store_loader_drop(r->store, loader);
        return;
    }
    replica_loader_ops(r, &ops);
    ops.free(loader);
}

/* ---- restoring one ---- */

int replica_restore_cb(struct raft_fsm *fsm, struct raft_buffer *buf) {
    struct replica *r = fsm->data;
    CHECK_MAGIC(r, REPLICA_MAGIC);
    static const struct raft_buffer nothing = {0};
    struct snapshot_manifest m;
    void *loader = snapshot_manifest_decode(buf->base, buf->len, &m) ? store_loader_take(r->store, &m) : NULL;
    if (!loader) {
        replica_fail(r, 1, "the state of a snapshot is not there");
        return RAFT_CORRUPT;
    }
    struct item *item = replica_item_new(r, 0, &nothing);
    if (!item) {
        replica_loader_drop(r, loader);
        return RAFT_NOMEM;
    }
    raft_free(buf->base);
    item->kind = ITEM_RESTORE;
    item->loader = loader;
    /* An install has put it into the log before this call; at the start it comes after, see replica_restore_first. */
    item->index = m.id.index;
    item->state_bytes = m.state_size;
    replica_item_push(r, item);
    count_restart(r);
    return 0;
}

int replica_restore(struct replica *r, struct item *item, struct err *err) {
    *err = (struct err){0};
    if (MUTANT(RESTORE_SKIPPED) && r->app.loaded) return 0;
    if (r->app.loaded) {
        r->app.loaded(r->app.ctx, item->loader);
    } else {
        const struct buf *bytes = item->loader;
        int rv = r->app.restore(r->app.ctx, bytes->data, bytes->len, err);
        if (rv != 0) return rv;
    }
    log_event(LOG_INFO, "snapshot_restored", "index=%" PRIu64 " bytes=%" PRIu64, item->index, item->state_bytes);
    return 0;
}

/* ---- files between the store and the peers ---- */

struct source {
    struct replica *r;
    struct store_source *source;
};

static int file_open(void *ctx, const struct raft_message *message, void **ret_source, uint64_t *ret_size) {
    struct replica *r = ctx;
    const struct raft_buffer *data = &message->install_snapshot.data;
    struct snapshot_manifest m;
    if (!r->store || !snapshot_manifest_decode(data->base, data->len, &m)) return RAFT_CORRUPT;
    struct source *source = malloc(sizeof *source);
    if (!source) return RAFT_NOMEM;
    source->r = r;
    int rv = store_source_open(r->store, &m, &source->source);
    if (rv != 0) {
        free(source);
        return rv == ERR_NOMEM ? RAFT_NOMEM : RAFT_BUSY;
    }
    *ret_source = source;
    *ret_size = m.file_size;
    return 0;
}

static void file_read(void *data, size_t len, store_source_cb cb, void *cb_data) {
    struct source *source = data;
    if (source->r->store) store_source_read(source->source, len, cb, cb_data);
}

static void file_close(void *data) {
    struct source *source = data;
    if (source->r->store) store_source_close(source->source);
    free(source);
}

static void file_received(void *data, int status, uint64_t bytes, const struct snapshot_manifest *manifest) {
    struct replica *r = data;
    struct raft_buffer done = {.len = SNAPSHOT_MANIFEST_BYTES};
    if (manifest) {
        done.base = raft_malloc(done.len);
        if (!done.base) status = ERR_NOMEM;
    }
    if (done.base) snapshot_manifest_encode(manifest, done.base);
    r->received(r->received_data, status, bytes, done.base ? &done : NULL);
}

/* ERR_LIMIT: the sender tries again. */
static int room_check(struct replica *r, uint64_t size) {
    struct store_space space;
    uint64_t now = clock_mono_ms();
    if (store_space(r->store, &space, NULL) != 0 || replica_space_receives(&space, size)) return 0;
    if (r->space_told_ms != 0 && now - r->space_told_ms < ROOM_TELL_MS) return ERR_LIMIT;
    r->space_told_ms = now;
    log_event(LOG_WARN, "snapshot_no_room", "bytes=%" PRIu64 " free=%" PRIu64, size, space.free_bytes);
    return ERR_LIMIT;
}

static int file_receive(void *ctx, const struct raft_message *message, uint64_t size,
                        void (*cb)(void *data, int status, uint64_t bytes, struct raft_buffer *done), void *data) {
    struct replica *r = ctx;
    struct snapshot_id id = {.index = message->install_snapshot.last_index,
                             .term = message->install_snapshot.last_term};
    if (!r->store || r->closing || r->fatal.pending || r->hold) return ERR_CLOSED; /* in hold nothing is loaded */
    if (id.index <= r->core.last_applied) return ERR_EXISTS; /* the leader does not know how far we are */
    int rv = room_check(r, size);
    if (rv == 0) rv = store_receive_begin(r->store, &id, size, file_received, r);
    if (rv != 0) return rv;
    r->received = cb;
    r->received_data = data;
    return 0;
}

void replica_arrived_tick(struct replica *r) {
    if (r->closing || r->fatal.pending || !r->store || !store_arrived(r->store) || guard_installs(r->guard)) return;
    log_event(LOG_INFO, "snapshot_unwanted", "applied=%llu", r->core.last_applied);
    store_arrived_forget(r->store);
}

static int file_data(void *ctx, const uint8_t *bytes, size_t len) {
    struct replica *r = ctx;
    return r->store ? store_receive_data(r->store, bytes, len) : ERR_CLOSED;
}

static void file_abandon(void *ctx) {
    struct replica *r = ctx;
    if (r->store) store_receive_abandon(r->store);
}

void replica_files(struct replica *r, struct peers_files *ret) {
    *ret = (struct peers_files){.open = file_open,
                                .read = file_read,
                                .close = file_close,
                                .receive = file_receive,
                                .receive_data = file_data,
                                .receive_abandon = file_abandon,
                                .ctx = r};
}
