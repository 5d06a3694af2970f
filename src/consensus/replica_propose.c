/* SPDX-License-Identifier: Apache-2.0
 * Batching without a timer. A command goes into the youngest waiting batch that has room; at the end of the turn
 * batches become entries, one after another, while fewer than two of ours are uncommitted. So an idle leader sends a
 * lone command at once, and a busy one fills entries while it waits for a slot.
 *
 *   waiting --guard_propose--> in flight --committed--> the applier's item --applied--> back through apply
 *      \                           \--leadership lost--> lost --> back through dropped
 *       \--leadership lost--> lost */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "consensus/replica_impl.h"

static struct batch *batch_new(struct replica *r) {
    struct batch *batch = calloc(1, sizeof *batch);
    if (batch == NULL) return NULL;
    queue_init(&batch->queue);
    batch->replica = r;
    batch->apply.data = batch;
    entry_builder_init(&batch->builder);
    return batch;
}

void batch_free(struct batch *batch) {
    queue_remove(&batch->queue);
    entry_builder_done(&batch->builder);
    free(batch->tickets);
    free(batch);
}

/* 0, or ERR_BUSY when the batch is full. */
static int batch_add(struct batch *batch, const uint8_t *command, size_t len, void *ticket) {
    if (batch->count == batch->capacity) {
        uint32_t capacity = batch->capacity == 0 ? 4 : batch->capacity * 2;
        void **tickets = realloc(batch->tickets, capacity * sizeof *tickets);
        if (tickets == NULL) return ERR_NOMEM;
        batch->tickets = tickets;
        batch->capacity = capacity;
    }
    int rv = entry_builder_add(&batch->builder, command, len);
    if (rv != 0) return rv;
    batch->tickets[batch->count++] = ticket;
    batch->bytes += len;
    return 0;
}

int replica_propose(struct replica *r, const uint8_t *command, size_t len, void *ticket) {
    CHECK_MAGIC(r, REPLICA_MAGIC);
    if (r->closing || r->fatal.pending || r->view.role != GUARD_LEADER || replica_handing_over(r))
        return ERR_NOT_LEADER;
    if (len == 0 || len > REPLICA_COMMAND_MAX) return ERR_LIMIT;
    if (replica_log_full(r)) return ERR_FULL;
    if (r->waiting_commands >= REPLICA_QUEUE_COMMANDS || r->waiting_bytes + len > REPLICA_QUEUE_BYTES) return ERR_BUSY;
    int rv = ERR_BUSY;
    if (!queue_empty(&r->waiting)) {
        struct batch *last = QUEUE_ENTRY(r->waiting.prev, struct batch, queue);
        rv = batch_add(last, command, len, ticket);
    }
    if (rv == ERR_BUSY) {
        struct batch *batch = batch_new(r);
        rv = batch ? batch_add(batch, command, len, ticket) : ERR_NOMEM;
        if (rv == 0)
            queue_push(&r->waiting, &batch->queue);
        else if (batch)
            batch_free(batch);
    }
    if (rv != 0) return ERR_BUSY; /* no memory: as good as full */
    r->waiting_commands++;
    r->waiting_bytes += len;
    replica_wake(r);
    return 0;
}

static void batch_lose(struct batch *batch) {
    queue_remove(&batch->queue);
    queue_push(&batch->replica->lost, &batch->queue);
    replica_wake(batch->replica);
}

/* From inside the core, which may still call itself leader here: nothing may be proposed. */
static void committed_cb(struct raft_apply *apply, int status, void *result) {
    struct batch *batch = apply->data;
    struct replica *r = batch->replica;
    (void)result;
    CHECK(r->in_flight_count > 0);
    r->in_flight_count--;
    if (status != 0) {
        batch_lose(batch);
        return;
    }
    /* The core has just handed the entry to fsm.apply, so it is the youngest item. */
    CHECK(!queue_empty(&r->items));
    struct item *item = QUEUE_ENTRY(r->items.prev, struct item, queue);
    CHECK(item->index == apply->index && item->batch == NULL);
    queue_remove(&batch->queue);
    item->batch = batch;
    replica_wake(r);
}

/* Returns false when nothing more can be submitted now. */
static bool batch_submit(struct batch *batch) {
    struct replica *r = batch->replica;
    struct raft_buffer buf = {.len = entry_builder_size(&batch->builder)};
    buf.base = raft_malloc(buf.len);
    if (buf.base == NULL) {
        replica_fail(r, 1, "out of memory for an entry of %zu bytes", buf.len);
        return false;
    }
    /* The guard may refuse for a moment (a transfer, or the term's first entry is not appended yet); then the batch
     * must be as it was, so the bytes are taken out of the builder only afterwards. */
    struct entry_builder copy = batch->builder;
    entry_builder_encode(&copy, buf.base);
    r->in_flight_count++;
    int rv = guard_propose(r->guard, &batch->apply, &buf, committed_cb);
    if (rv != 0) {
        r->in_flight_count--;
        raft_free(buf.base);
        if (rv != ERR_NOT_LEADER && rv != ERR_BUSY) replica_fail(r, 1, "proposing: %s", err_text(rv));
        return false;
    }
    entry_builder_done(&batch->builder);
    r->waiting_commands -= batch->count;
    r->waiting_bytes -= batch->bytes;
    queue_remove(&batch->queue);
    queue_push(&r->in_flight, &batch->queue);
    return true;
}

void replica_flush(struct replica *r) {
    while (!queue_empty(&r->waiting) && r->in_flight_count < REPLICA_SLOTS && r->view.role == GUARD_LEADER)
        if (!batch_submit(QUEUE_ENTRY(r->waiting.next, struct batch, queue))) return;
}

void replica_drop_waiting(struct replica *r) {
    while (!queue_empty(&r->waiting))
        batch_lose(QUEUE_ENTRY(r->waiting.next, struct batch, queue));
    r->waiting_commands = r->waiting_bytes = 0;
}

void replica_tell_dropped(struct replica *r) {
    while (!queue_empty(&r->lost)) {
        struct batch *batch = QUEUE_ENTRY(r->lost.next, struct batch, queue);
        queue_remove(&batch->queue);
        for (uint32_t i = 0; i < batch->count; i++)
            if (batch->tickets[i]) r->app.dropped(r->app.ctx, batch->tickets[i]);
        batch_free(batch);
    }
}
