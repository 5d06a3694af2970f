/* SPDX-License-Identifier: Apache-2.0
 * Writing a snapshot: in one piece, a walk over the records; or bit by bit. Then the walk goes on a little at each
 * call, and a record that is about to change or to go before the walk has come to it is written at once, as it still is
 * (epoch_save). So what is written is the state at the moment of state_snapshot_begin, in some order of its records,
 * and a change waits for the encoding of one record at most. */
#include "scheduler/snapshot.h"

#include "base/check.h"
#include "conclave/snapshot.pb-c.h"
#include "scheduler/state_private.h"

static void record_append(struct buf *ret, enum record_kind kind, const uint8_t *data, size_t len) {
    CHECK(len <= SNAPSHOT_RECORD_MAX);
    buf_append_byte(ret, (uint8_t)kind);
    buf_append_u32(ret, (uint32_t)len);
    buf_append(ret, data, len);
}

static void begin_append(const struct state *state, struct buf *ret) {
    buf_append(ret, SNAPSHOT_MAGIC, SNAPSHOT_MAGIC_BYTES);
    size_t len = record_of_globals(state);
    record_append(ret, RECORD_GLOBALS, state->scratch->data, len); /* scratch may move while encoding: read after it */
}

static void end_append(struct buf *ret, uint64_t records, struct hash128 hash) {
    Conclave__Snapshot__End end = CONCLAVE__SNAPSHOT__END__INIT;
    uint8_t bytes[16], packed[64];
    store_u64(bytes, hash.lo);
    store_u64(bytes + 8, hash.hi);
    end.records = records;
    end.hash = (ProtobufCBinaryData){.len = sizeof bytes, .data = bytes};
    record_append(ret, RECORD_END, packed, conclave__snapshot__end__pack(&end, packed));
}

static struct slab_table *table_of(struct state *state, enum record_kind kind) {
    if (kind == RECORD_AGENT) return &state->agents;
    return kind == RECORD_FRAMEWORK ? &state->frameworks : &state->tasks;
}

static void one_append(const struct state *state, enum record_kind kind, const void *record, struct buf *ret) {
    size_t len = 0;
    if (kind == RECORD_AGENT) len = record_of_agent(state, record, false);
    if (kind == RECORD_FRAMEWORK) len = record_of_framework(state, record, false);
    if (kind == RECORD_TASK) len = record_of_task(state, record, false);
    record_append(ret, kind, state->scratch->data, len);
}

/* ---- in one piece ---- */

int state_snapshot(const struct state *state, struct buf *ret) {
    uint64_t records = 1;
    CHECK(state->touched_count == 0);
    begin_append(state, ret);
    for (enum record_kind kind = RECORD_AGENT; kind < RECORD_END; kind++) {
        const struct slab_table *table = table_of((struct state *)(uintptr_t)state, kind);
        uint64_t number = 0;
        for (const void *r = slab_next(table, 0, &number); r && !ret->failed;
             r = slab_next(table, number + 1, &number)) {
            one_append(state, kind, r, ret);
            records++;
        }
    }
    end_append(ret, records, state_hash(state));
    return ret->failed ? ERR_LIMIT : 0;
}

/* ---- bit by bit ---- */

void state_snapshot_begin(struct state *state) {
    struct epoch *e = &state->epoch;
    CHECK(!e->active && state->touched_count == 0);
    uint64_t round = e->round + 1;
    *e = (struct epoch){.active = true, .round = round, .kind = RECORD_AGENT, .hash = state_hash(state)};
    e->end[RECORD_AGENT] = state->agent_next;
    e->end[RECORD_FRAMEWORK] = state->framework_next;
    e->end[RECORD_TASK] = state->task_next;
    e->records = 1 + slab_count(&state->agents) + slab_count(&state->frameworks) + slab_count(&state->tasks);
    buf_init(&e->ready, SIZE_MAX / 2);
    begin_append(state, &e->ready);
    e->written = 1;
}

void epoch_save(struct state *state, enum record_kind kind, uint64_t number) {
    struct epoch *e = &state->epoch;
    CHECK(e->active);
    if (number >= e->end[kind] || kind < e->kind || (kind == e->kind && number < e->next)) return;
    struct slab_table *table = table_of(state, kind);
    if (slab_mark(table, number, e->round)) return;
    one_append(state, kind, slab_get(table, number), &e->ready);
    CHECK(!e->ready.failed); /* a replica without memory cannot go on */
    e->written++;
}

/* Writes the next record that nobody has written; false after the last one. */
static bool epoch_step(struct state *state, struct buf *ret) {
    struct epoch *e = &state->epoch;
    while (e->kind < RECORD_END) {
        struct slab_table *table = table_of(state, e->kind);
        uint64_t number = 0;
        const void *record = slab_next(table, e->next, &number);
        if (!record || number >= e->end[e->kind]) {
            e->kind++;
            e->next = 0;
            continue;
        }
        e->next = number + 1;
        if (slab_mark(table, number, e->round)) continue;
        one_append(state, e->kind, record, ret);
        e->written++;
        return true;
    }
    return false;
}

int state_snapshot_more(struct state *state, size_t bytes, struct buf *ret, bool *ret_end) {
    struct epoch *e = &state->epoch;
    size_t wanted = bytes < SIZE_MAX - ret->len ? ret->len + bytes : SIZE_MAX;
    if (!e->active) return ERR_CLOSED;
    buf_append(ret, e->ready.data, e->ready.len);
    buf_clear(&e->ready);
    bool more = true;
    while (more && ret->len < wanted && !ret->failed)
        more = epoch_step(state, ret);
    if (!more) {
        CHECK(e->written == e->records);
        end_append(ret, e->records, e->hash);
    }
    if (ret->failed) return ERR_LIMIT;
    if (!more) state_snapshot_end(state);
    *ret_end = !more;
    return 0;
}

void state_snapshot_end(struct state *state) {
    struct epoch *e = &state->epoch;
    buf_done(&e->ready);
    e->active = false;
}

bool state_snapshot_active(const struct state *state) {
    return state->epoch.active;
}
