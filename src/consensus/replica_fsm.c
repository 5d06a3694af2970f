/* SPDX-License-Identifier: Apache-2.0
 * The applier. fsm.apply runs deep inside the core and must neither take long nor fail; so it copies the entry into a
 * queue of items, and the turn hands them to the application in slices. A restored snapshot goes through the same
 * queue, behind the entries committed before it; and so does the order to begin a snapshot of our own (see
 * replica_snapshot.c). */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mutant.h"
#include "consensus/replica_impl.h"

struct item *replica_item_new(struct replica *r, uint64_t index, const struct raft_buffer *data) {
    struct item *item = malloc(sizeof *item + data->len);
    if (item == NULL) {
        replica_fail(r, 1, "out of memory for entry %" PRIu64, index);
        return NULL;
    }
    *item = (struct item){.index = index, .len = data->len};
    if (data->len > 0) memcpy(item->data, data->base, data->len);
    return item;
}

void replica_item_push(struct replica *r, struct item *item) {
    queue_push(&r->items, &item->queue);
    r->items_bytes += item->len;
    replica_wake(r);
}

static void item_free(struct replica *r, struct item *item) {
    queue_remove(&item->queue);
    r->items_bytes -= item->len;
    if (item->loader) replica_loader_drop(r, item->loader);
    free(item);
}

static int apply_cb(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result) {
    struct replica *r = fsm->data;
    CHECK_MAGIC(r, REPLICA_MAGIC);
    *result = NULL;
    uint64_t index = guard_apply_index(r->guard);
    if (index == 0 || r->fatal.pending) return RAFT_SHUTDOWN; /* the process ends */
    struct item *item = replica_item_new(r, index, buf);
    if (item == NULL) return RAFT_NOMEM;
    const struct raft_entry *entry = replica_entry(&r->core, index);
    CHECK(entry != NULL);
    item->term = entry->term;
    replica_item_push(r, item);
    replica_snapshot_count(r, buf->len);
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
        crash_mark_begin(r->crash_mark, item->index, n);
        r->app.apply(r->app.ctx, item->term, (struct position){.index = item->index, .n = n}, command, len, ticket);
        if (until_us != 0 && n % 8 == 7 && clock_mono_us() >= until_us && item->iter.left > 0) {
            if (MUTANT(BATCH_HALF)) break;
            return false;
        }
    }
    r->app.entry_applied(r->app.ctx, item->index);
    return true;
}

void replica_apply(struct replica *r, uint64_t slice_us) {
    uint64_t until = slice_us == 0 ? 0 : clock_mono_us() + slice_us;
    while (!queue_empty(&r->items) && !r->fatal.pending && !r->closing) {
        struct item *item = QUEUE_ENTRY(r->items.next, struct item, queue);
        if (item->kind == ITEM_SNAPSHOT) {
            replica_snapshot_open(r, item->index);
        } else if (item->kind == ITEM_RESTORE) {
            struct err err;
            int rv = replica_restore(r, item, &err);
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
    if (item->kind != ITEM_RESTORE) return 0;
    item->index = r->core.log.snapshot.last_index;
    int rv = replica_restore(r, item, err);
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

void replica_fsm_init(struct replica *r) {
    queue_init(&r->items);
    r->fsm = (struct raft_fsm){
        .version = 1, .data = r, .apply = apply_cb, .snapshot = replica_snapshot_cb, .restore = replica_restore_cb};
}
