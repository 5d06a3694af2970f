/* SPDX-License-Identifier: Apache-2.0
 * The applier. fsm.apply runs deep inside the core and must neither take long nor fail; so it copies the entry into a
 * queue of items, and the turn hands them to the application in slices. A restored snapshot goes through the same
 * queue, behind the entries committed before it.
 *
 * A snapshot holds the state at the core's last_applied, which is only true when the queue is empty: so taking one
 * first applies what is left, if that is little, and else waits for another time. The core asks whenever its threshold
 * of entries is reached; ours is a number of bytes, so the threshold is set to 1 when they have come together and to
 * infinity after. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "consensus/replica_impl.h"

#define NEVER 0xffffffffu

static struct item *item_new(struct replica *r, uint64_t index, const struct raft_buffer *data) {
    struct item *item = malloc(sizeof *item + data->len);
    if (item == NULL) {
        replica_fail(r, 1, "out of memory for entry %" PRIu64, index);
        return NULL;
    }
    *item = (struct item){.index = index, .len = data->len};
    if (data->len > 0) memcpy(item->data, data->base, data->len);
    return item;
}

static void item_push(struct replica *r, struct item *item) {
    queue_push(&r->items, &item->queue);
    r->items_bytes += item->len;
    replica_wake(r);
}

static void item_free(struct replica *r, struct item *item) {
    queue_remove(&item->queue);
    r->items_bytes -= item->len;
    raft_free(item->restored.base);
    free(item);
}

/* A few percent more on some nodes than on others: a loop is busy while the state is written, and a majority of them
 * should not be so at the same entry. */
static uint64_t snapshot_bytes(const struct replica *r) {
    uint64_t bytes = r->config.snapshot_bytes ? r->config.snapshot_bytes : REPLICA_SNAPSHOT_BYTES;
    return bytes + bytes / 16 * (r->config.node_id % 8);
}

static void count_entry(struct replica *r, size_t len) {
    r->log_bytes += len;
    r->log_entries++;
    if (r->log_bytes >= snapshot_bytes(r) || r->log_entries >= REPLICA_ENTRIES_MAX)
        raft_set_snapshot_threshold(&r->core, 1);
}

static void count_restart(struct replica *r) {
    r->log_bytes = r->log_entries = 0;
    raft_set_snapshot_threshold(&r->core, NEVER);
}

static int apply_cb(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result) {
    struct replica *r = fsm->data;
    CHECK_MAGIC(r, REPLICA_MAGIC);
    *result = NULL;
    uint64_t index = guard_apply_index(r->guard);
    if (index == 0 || r->fatal.pending) return RAFT_SHUTDOWN; /* the process ends */
    struct item *item = item_new(r, index, buf);
    if (item == NULL) return RAFT_NOMEM;
    const struct raft_entry *entry = replica_entry(&r->core, index);
    CHECK(entry != NULL);
    item->term = entry->term;
    item_push(r, item);
    count_entry(r, buf->len);
    return 0;
}

/* Nothing of an entry is applied by a program that cannot apply all of it. */
static bool admit_entry(struct replica *r, const struct item *item) {
    struct entry_iter iter = item->iter;
    const uint8_t *command;
    size_t len;
    while (r->app.admit && entry_iter_next(&iter, &command, &len)) {
        struct err err = {0};
        if (r->app.admit(r->app.ctx, command, len, &err) == 0) continue;
        replica_fail(r, 4, "entry %" PRIu64 ": %s", item->index, err.text);
        return false;
    }
    return true;
}

/* Applies as much of the item as fits before `until_us` (0: all). Returns true when it is done. */
static bool apply_entry(struct replica *r, struct item *item, uint64_t until_us) {
    if (!item->begun) {
        if (entry_iter_init(&item->iter, item->data, item->len) != 0) {
            replica_fail(r, 4, "entry %" PRIu64 " is not a batch of commands", item->index);
            return false;
        }
        if (!admit_entry(r, item)) return false;
        item->begun = true;
    }
    const uint8_t *command;
    size_t len;
    while (entry_iter_next(&item->iter, &command, &len)) {
        uint32_t n = item->next++;
        void *ticket = NULL;
        if (item->batch) {
            CHECK(n < item->batch->count);
            ticket = item->batch->tickets[n];
            item->batch->tickets[n] = NULL;
        }
        r->app.apply(r->app.ctx, item->term, (struct position){.index = item->index, .n = n}, command, len, ticket);
        if (until_us != 0 && n % 8 == 7 && clock_mono_us() >= until_us && item->iter.left > 0) return false;
    }
    r->app.entry_applied(r->app.ctx, item->index);
    return true;
}

static int apply_restore(struct replica *r, struct item *item, struct err *err) {
    *err = (struct err){0};
    int rv = r->app.restore(r->app.ctx, item->restored.base, item->restored.len, err);
    if (rv != 0) return rv;
    log_event(LOG_INFO, "snapshot_restored", "index=%" PRIu64 " bytes=%zu", item->index, item->restored.len);
    return 0;
}

void replica_apply(struct replica *r, uint64_t slice_us) {
    uint64_t until = slice_us == 0 ? 0 : clock_mono_us() + slice_us;
    while (!queue_empty(&r->items) && !r->fatal.pending && !r->closing && !r->close_later) {
        struct item *item = QUEUE_ENTRY(r->items.next, struct item, queue);
        if (item->restore) {
            struct err err;
            int rv = apply_restore(r, item, &err);
            if (rv != 0) replica_fail(r, 4, "restoring the snapshot of entry %" PRIu64 ": %s", item->index, err.text);
            if (rv != 0) return;
        } else if (!apply_entry(r, item, until)) {
            return;
        }
        if (item->batch) batch_free(item->batch);
        r->applied = item->index;
        item_free(r, item);
        if (until != 0 && clock_mono_us() >= until) return;
    }
}

int replica_restore_first(struct replica *r, struct err *err) {
    if (queue_empty(&r->items)) return 0;
    struct item *item = QUEUE_ENTRY(r->items.next, struct item, queue);
    if (!item->restore) return 0;
    item->index = r->core.log.snapshot.last_index;
    int rv = apply_restore(r, item, err);
    if (rv != 0) return rv;
    r->applied = item->index;
    item_free(r, item);
    return 0;
}

void replica_items_free(struct replica *r) {
    while (!queue_empty(&r->items)) {
        struct item *item = QUEUE_ENTRY(r->items.next, struct item, queue);
        if (item->batch) queue_push(&r->lost, &item->batch->queue);
        item_free(r, item);
    }
}

static int snapshot_cb(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs) {
    struct replica *r = fsm->data;
    CHECK_MAGIC(r, REPLICA_MAGIC);
    if (r->fatal.pending || !guard_snapshot_allowed(r->guard) || r->items_bytes > REPLICA_DRAIN_BYTES_MAX)
        return RAFT_BUSY;
    uint64_t begun_us = clock_mono_us();
    struct buf state;
    buf_init(&state, STORE_SNAPSHOT_MAX);
    r->in_core = true;
    replica_apply(r, 0);
    int rv = queue_empty(&r->items) ? r->app.snapshot(r->app.ctx, &state) : ERR_BUSY;
    r->in_core = false;
    if (rv == ERR_BUSY) {
        buf_done(&state);
        return RAFT_BUSY;
    }
    *bufs = raft_malloc(sizeof **bufs);
    if (rv != 0 || state.failed || *bufs == NULL) {
        log_event(LOG_ERROR, "snapshot_failed", "index=%llu text=\"%s\"", r->core.last_applied, err_text(rv));
        r->log_bytes = snapshot_bytes(r) / 2; /* again when the log has grown by half of that */
        r->log_entries = 0;
        raft_set_snapshot_threshold(&r->core, NEVER);
        raft_free(*bufs);
        buf_done(&state);
        return RAFT_BUSY;
    }
    size_t len;
    (*bufs)[0].base = buf_take(&state, &len);
    (*bufs)[0].len = len;
    *n_bufs = 1;
    /* A quarter of the log stays, so that a peer that is a little behind needs no snapshot. */
    uint64_t trailing = r->log_entries / 4;
    if (trailing < REPLICA_TRAILING_MIN) trailing = REPLICA_TRAILING_MIN;
    raft_set_snapshot_trailing(&r->core, (unsigned)trailing);
    log_event(LOG_INFO, "snapshot_taken", "index=%llu bytes=%zu log_bytes=%" PRIu64 " us=%" PRIu64,
              r->core.last_applied, len, r->log_bytes, clock_mono_us() - begun_us);
    count_restart(r);
    return 0;
}

static int restore_cb(struct raft_fsm *fsm, struct raft_buffer *buf) {
    struct replica *r = fsm->data;
    CHECK_MAGIC(r, REPLICA_MAGIC);
    static const struct raft_buffer nothing = {0};
    struct item *item = item_new(r, 0, &nothing);
    if (item == NULL) return RAFT_NOMEM;
    item->restore = true;
    item->restored = *buf;
    /* An install has put it into the log before this call; at the start it comes after, see replica_restore_first. */
    item->index = r->core.log.snapshot.last_index;
    item_push(r, item);
    count_restart(r);
    return 0;
}

void replica_fsm_init(struct replica *r) {
    queue_init(&r->items);
    r->fsm =
        (struct raft_fsm){.version = 1, .data = r, .apply = apply_cb, .snapshot = snapshot_cb, .restore = restore_cb};
}
