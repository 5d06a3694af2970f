/* SPDX-License-Identifier: Apache-2.0
 * What a task owns outside its record. A million tasks pay for every byte, so each of them has at most two pieces:
 *
 *  - what is given at its launch and never changes, in one: the id with its NUL; cpus, mem, disk, gpus and the number
 *    of port ranges as varints; up to an even offset; the ranges;
 *  - until it is confirmed its TaskInfo, then its last status (state_status.c): a varint with its length, the bytes.
 *
 * The rest (name, message, view) is the pool's. */
#include <string.h>

#include "base/check.h"
#include "scheduler/state_private.h"
#include "wire/canonical.h"

/* A varint of our own writing. */
static uint64_t take(const uint8_t **at) {
    const uint8_t *p = *at;
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        value |= (uint64_t)(*p & 0x7f) << shift;
        if (*p++ < 0x80) break;
    }
    *at = p;
    return value;
}

/* ---- the id and the resources ---- */

static size_t even(size_t n) {
    return n + n % 2;
}

/* Where the ranges begin. */
static size_t ranges_at(const char *id, const struct resources *r) {
    return even(strlen(id) + 1 + canonical_varint_size((uint64_t)r->cpus) + canonical_varint_size((uint64_t)r->mem) +
                canonical_varint_size((uint64_t)r->disk) + canonical_varint_size((uint64_t)r->gpus) +
                canonical_varint_size(r->ports.count));
}

void task_launch_set(struct state *state, struct task *task, const char *id, const struct resources *resources) {
    const struct ports *ports = &resources->ports;
    size_t len = strlen(id) + 1, at = ranges_at(id, resources), ranges = ports->count * sizeof *ports->ranges;
    CHECK(!task->id);
    task->id = blobs_get(&state->blobs, at + ranges);
    memcpy(task->id, id, len);
    uint8_t *p = (uint8_t *)task->id + len;
    p = canonical_put_varint(p, (uint64_t)resources->cpus);
    p = canonical_put_varint(p, (uint64_t)resources->mem);
    p = canonical_put_varint(p, (uint64_t)resources->disk);
    p = canonical_put_varint(p, (uint64_t)resources->gpus);
    (void)canonical_put_varint(p, ports->count);
    if (ranges > 0) memcpy(task->id + at, ports->ranges, ranges);
}

struct resources task_resources(const struct task *task) {
    const uint8_t *begin = (const uint8_t *)task->id, *p = begin + strlen(task->id) + 1;
    struct resources r = {0};
    r.cpus = (int64_t)take(&p);
    r.mem = (int64_t)take(&p);
    r.disk = (int64_t)take(&p);
    r.gpus = (int64_t)take(&p);
    r.ports.count = (uint32_t)take(&p);
    if (r.ports.count > 0) r.ports.ranges = (void *)(uintptr_t)(begin + even((size_t)(p - begin)));
    return r;
}

static void launch_done(struct state *state, struct task *task) {
    if (!task->id) return;
    struct resources r = task_resources(task);
    blobs_put(&state->blobs, task->id, ranges_at(task->id, &r) + r.ports.count * sizeof *r.ports.ranges);
    task->id = NULL;
}

/* ---- TaskInfo or status ---- */

struct bytes task_sent(const struct task *task) {
    if (!task->sent) return (struct bytes){0};
    const uint8_t *p = task->sent;
    size_t len = (size_t)take(&p);
    return (struct bytes){task->sent + (p - task->sent), len};
}

void task_sent_done(struct state *state, struct task *task) {
    size_t len = task_sent(task).len;
    blobs_put(&state->blobs, task->sent, canonical_varint_size(len) + len);
    task->sent = NULL;
}

void task_sent_set(struct state *state, struct task *task, const uint8_t *data, size_t len) {
    task_sent_done(state, task);
    if (len == 0) return;
    task->sent = blobs_get(&state->blobs, canonical_varint_size(len) + len);
    memcpy(canonical_put_varint(task->sent, len), data, len);
}

struct bytes task_info(const struct task *task) {
    struct bytes none = {0};
    return task->confirmed ? none : task_sent(task);
}

bool task_has_status(const struct task *task) {
    return task->confirmed && task->sent;
}

/* ---- all of it ---- */

struct bytes task_view(const struct task *task) {
    return (struct bytes){task->view, pool_len(task->view)};
}

uint64_t task_kill_grace_ms(const struct task *task) {
    return task->completed ? STATE_GRACE_DEFAULT : task->grace_or_seq;
}

uint64_t task_completed_seq(const struct task *task) {
    return task->completed ? task->grace_or_seq : 0;
}

void task_done(struct state *state, struct task *task) {
    launch_done(state, task);
    task_sent_done(state, task);
    pool_put(&state->pool, task->name);
    pool_put(&state->pool, task->message);
    pool_put(&state->pool, task->view);
}
