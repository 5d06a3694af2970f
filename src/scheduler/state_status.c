/* SPDX-License-Identifier: Apache-2.0
 * The status of a task without what stands in its record and its agent's anyway: its ids and the update's uuid are most
 * of what an agent sends, and a million tasks keep theirs.
 *
 * Kept is a row of parts that gives the bytes back exactly, whatever they are: COPY, a length and so many bytes; or a
 * mark that stands for one whole field. A field is left out only if it has, byte for byte, the form that is put back.
 * The form is no part of the state: records and hashes are made of the status itself. */
#include <string.h>

#include "base/check.h"
#include "scheduler/state_private.h"
#include "wire/canonical.h"

enum part { PART_COPY, PART_TASK_ID, PART_AGENT_ID, PART_EXECUTOR_ID, PART_UUID, PART_END };

/* Keys of mesos.v1.TaskStatus: number * 8 + 2. */
#define KEY_TASK_ID     0x0a
#define KEY_AGENT_ID    0x2a
#define KEY_EXECUTOR_ID 0x3a
#define KEY_UUID        0x5a
#define KEY_VALUE       0x0a /* of TaskID, AgentID, ExecutorID */

#define FIELD_MAX (STATE_ID_MAX + 8)

static size_t id_field(uint8_t key, const char *id, uint8_t ret[FIELD_MAX]) {
    size_t len = strlen(id);
    CHECK(len <= STATE_ID_MAX);
    size_t inside = 1 + canonical_varint_size(len) + len;
    uint8_t *p = ret;
    *p++ = key;
    p = canonical_put_varint(p, inside);
    return (size_t)(canonical_put_bytes(p, KEY_VALUE, id, len) - ret);
}

/* The field that a mark stands for; 0: it stands for nothing here. */
static size_t field_of(const struct state *state, const struct task *task, enum part part, uint8_t ret[FIELD_MAX]) {
    const struct agent *agent = agent_get(state, task->agent);
    switch (part) {
    case PART_TASK_ID:
        return id_field(KEY_TASK_ID, task->id, ret);
    case PART_AGENT_ID:
        return agent ? id_field(KEY_AGENT_ID, agent->id, ret) : 0;
    case PART_EXECUTOR_ID:
        return id_field(KEY_EXECUTOR_ID, task->id, ret);
    case PART_UUID:
        ret[0] = KEY_UUID;
        ret[1] = sizeof task->uuid;
        memcpy(ret + 2, task->uuid, sizeof task->uuid);
        return task->has_uuid ? 2 + sizeof task->uuid : 0;
    case PART_COPY:
    case PART_END:
        break;
    }
    return 0;
}

static enum part part_of_key(uint8_t key) {
    return key == KEY_TASK_ID       ? PART_TASK_ID
           : key == KEY_AGENT_ID    ? PART_AGENT_ID
           : key == KEY_EXECUTOR_ID ? PART_EXECUTOR_ID
           : key == KEY_UUID        ? PART_UUID
                                    : PART_COPY;
}

/* Length of the field that begins here; all that is left if it is none that we can step over. */
static size_t field_length(const uint8_t *data, size_t len) {
    struct canonical c = {.p = data, .end = data + len};
    uint64_t key = canonical_varint(&c), skip = 0;
    if ((key & 7) == 0) (void)canonical_varint(&c);
    if ((key & 7) == 1) skip = 8;
    if ((key & 7) == 5) skip = 4;
    if ((key & 7) == 2) skip = canonical_varint(&c);
    bool odd = (key & 7) == 3 || (key & 7) == 4 || (key & 7) > 5;
    if (c.bad || odd || skip > (size_t)(c.end - c.p)) return len;
    return (size_t)(c.p - data) + (size_t)skip;
}

static uint8_t *copy_put(uint8_t *p, const uint8_t *data, size_t len) {
    if (len == 0) return p;
    *p++ = PART_COPY;
    p = canonical_put_varint(p, len);
    memcpy(p, data, len);
    return p + len;
}

void task_status_set(struct state *state, struct task *task, const uint8_t *data, size_t len) {
    uint8_t field[FIELD_MAX];
    CHECK(task->confirmed);
    uint8_t *begin = scratch_reserve(state->packing, 2 * len + CANONICAL_FIELD_MAX), *p = begin;
    size_t copied = 0; /* everything before is in `p` */
    for (size_t at = 0; at < len;) {
        size_t n = field_length(data + at, len - at);
        enum part part = part_of_key(data[at]);
        if (part != PART_COPY && field_of(state, task, part, field) == n && memcmp(field, data + at, n) == 0) {
            p = copy_put(p, data + copied, at - copied);
            *p++ = (uint8_t)part;
            copied = at + n;
        }
        at += n;
    }
    if (copied < len) p = copy_put(p, data + copied, len - copied); /* an empty status may have no address */
    task_sent_set(state, task, begin, (size_t)(p - begin));
}

struct bytes task_status(const struct state *state, const struct task *task) {
    if (!task_has_status(task)) return (struct bytes){0};
    struct bytes kept = task_sent(task);
    struct canonical c = {.p = kept.data, .end = kept.data + kept.len};
    /* A mark has one byte and stands for FIELD_MAX at most; there are no more marks than parts. */
    size_t room = kept.len + 64 * FIELD_MAX, len = 0;
    uint8_t *bytes = scratch_reserve(state->packing, room);
    while (c.p < c.end) {
        uint8_t part = *c.p++, field[FIELD_MAX];
        const uint8_t *from = field;
        size_t n;
        if (part == PART_COPY) {
            n = (size_t)canonical_varint(&c);
            from = c.p;
            CHECK(!c.bad && n <= (size_t)(c.end - c.p));
            c.p += n;
        } else {
            CHECK(part < PART_END);
            n = field_of(state, task, (enum part)part, field);
        }
        if (len + n > room) {
            room = 2 * (len + n);
            bytes = scratch_grow(state->packing, len, room);
        }
        memcpy(bytes + len, from, n);
        len += n;
    }
    return (struct bytes){bytes, len};
}
