/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/command_codec.h"

#include <string.h>

#include "base/check.h"

/* Keys of proto/conclave/log.proto. */
enum {
    KEY_CLUSTER_MS = 1 << 3,
    KEY_WALL_MS = 2 << 3,
    KEY_PRINCIPAL = 3 << 3 | 2,
    KEY_REQUEST_ID = 4 << 3,

    KEY_REPORT_AGENT = 1 << 3,
    KEY_REPORT_FRAMEWORK_ID = 2 << 3 | 2,
    KEY_REPORT_TASK_ID = 3 << 3 | 2,
    KEY_REPORT_LAUNCH = 4 << 3 | 2,
    KEY_REPORT_STATE = 5 << 3,
    KEY_REPORT_LATEST_STATE = 6 << 3,
    KEY_REPORT_UUID = 7 << 3 | 2,
    KEY_REPORT_STATUS = 8 << 3 | 2,

    KEY_ACKNOWLEDGE_FRAMEWORK = 1 << 3,
    KEY_ACKNOWLEDGE_TASK_ID = 2 << 3 | 2,
    KEY_ACKNOWLEDGE_AGENT = 3 << 3,
    KEY_ACKNOWLEDGE_UUID = 4 << 3 | 2,

    KEY_INDEX = 1 << 3,
    KEY_N = 2 << 3,
    KEY_K = 3 << 3
};

/* Fields of Command whose keys have two bytes. */
#define FIELD_REPORT      19u
#define FIELD_ACKNOWLEDGE 20u

/* ---- reading ---- */

static bool report_read(struct canonical c, struct command_room *room) {
    Conclave__Log__TaskReport *r = &room->report;
    *r = (Conclave__Log__TaskReport)CONCLAVE__LOG__TASK_REPORT__INIT;
    room->launch = (Conclave__Log__LaunchId)CONCLAVE__LOG__LAUNCH_ID__INIT;
    r->agent = canonical_u32(&c, KEY_REPORT_AGENT);
    canonical_text(&c, KEY_REPORT_FRAMEWORK_ID, room->framework_id);
    canonical_text(&c, KEY_REPORT_TASK_ID, room->task_id);
    struct canonical launch = canonical_inside(&c, KEY_REPORT_LAUNCH);
    room->launch.index = canonical_u64(&launch, KEY_INDEX);
    room->launch.n = canonical_u32(&launch, KEY_N);
    room->launch.k = canonical_u32(&launch, KEY_K);
    r->state = canonical_u32(&c, KEY_REPORT_STATE);
    r->latest_state = canonical_u32(&c, KEY_REPORT_LATEST_STATE);
    r->uuid.data = (uint8_t *)canonical_bytes(&c, KEY_REPORT_UUID, &r->uuid.len);
    r->status.data = (uint8_t *)canonical_bytes(&c, KEY_REPORT_STATUS, &r->status.len);
    r->framework_id = room->framework_id;
    r->task_id = room->task_id;
    r->launch = &room->launch;
    return canonical_done(&launch) && canonical_done(&c);
}

static bool acknowledge_read(struct canonical c, struct command_room *room) {
    Conclave__Log__TaskAcknowledge *a = &room->acknowledge;
    *a = (Conclave__Log__TaskAcknowledge)CONCLAVE__LOG__TASK_ACKNOWLEDGE__INIT;
    a->framework = canonical_u32(&c, KEY_ACKNOWLEDGE_FRAMEWORK);
    canonical_text(&c, KEY_ACKNOWLEDGE_TASK_ID, room->task_id);
    a->has_agent = canonical_has(&c, KEY_ACKNOWLEDGE_AGENT);
    if (a->has_agent) {
        uint64_t agent = canonical_varint(&c);
        if (agent > UINT32_MAX) c.bad = true;
        a->agent = (uint32_t)agent;
    }
    a->uuid.data = (uint8_t *)canonical_bytes(&c, KEY_ACKNOWLEDGE_UUID, &a->uuid.len);
    a->task_id = room->task_id;
    return canonical_done(&c);
}

Conclave__Log__Command *command_codec_decode(struct command_room *room, const uint8_t *data, size_t len) {
    if (len == 0) return NULL; /* `data` may be NULL */
    struct canonical c = {.p = data, .end = data + len};
    Conclave__Log__Command *command = &room->command;
    *command = (Conclave__Log__Command)CONCLAVE__LOG__COMMAND__INIT;
    command->cluster_ms = canonical_u64(&c, KEY_CLUSTER_MS);
    command->wall_ms = canonical_u64(&c, KEY_WALL_MS);
    command->has_request_id = canonical_has(&c, KEY_REQUEST_ID);
    if (command->has_request_id) command->request_id = canonical_varint(&c);
    uint64_t key = canonical_varint(&c), size = canonical_varint(&c);
    if (c.bad || size != (uint64_t)(c.end - c.p)) return NULL; /* it is the last field */
    if (key == (FIELD_REPORT << 3 | 2)) {
        command->task_report = &room->report;
        return report_read(c, room) ? command : NULL;
    }
    if (key == (FIELD_ACKNOWLEDGE << 3 | 2)) {
        command->task_acknowledge = &room->acknowledge;
        return acknowledge_read(c, room) ? command : NULL;
    }
    return NULL;
}

/* ---- writing ---- */

static size_t launch_size(const Conclave__Log__LaunchId *l) {
    return 3 + canonical_varint_size(l->index) + canonical_varint_size(l->n) + canonical_varint_size(l->k);
}

size_t command_codec_bound(const Conclave__Log__Command *command) {
    size_t head = 5 * CANONICAL_FIELD_MAX + (command->principal ? strlen(command->principal) : 0);
    if (command->task_report) {
        const Conclave__Log__TaskReport *r = command->task_report;
        return head + 11 * CANONICAL_FIELD_MAX + strlen(r->framework_id) + strlen(r->task_id) + r->uuid.len +
               r->status.len;
    }
    if (command->task_acknowledge) {
        const Conclave__Log__TaskAcknowledge *a = command->task_acknowledge;
        return head + 4 * CANONICAL_FIELD_MAX + strlen(a->task_id) + a->uuid.len;
    }
    return 0;
}

static uint8_t *report_write(uint8_t *p, const Conclave__Log__TaskReport *r) {
    p = canonical_put_number(p, KEY_REPORT_AGENT, r->agent);
    p = canonical_put_bytes(p, KEY_REPORT_FRAMEWORK_ID, r->framework_id, strlen(r->framework_id));
    p = canonical_put_bytes(p, KEY_REPORT_TASK_ID, r->task_id, strlen(r->task_id));
    p = canonical_put_number(p, KEY_REPORT_LAUNCH, launch_size(r->launch));
    p = canonical_put_number(p, KEY_INDEX, r->launch->index);
    p = canonical_put_number(p, KEY_N, r->launch->n);
    p = canonical_put_number(p, KEY_K, r->launch->k);
    p = canonical_put_number(p, KEY_REPORT_STATE, r->state);
    p = canonical_put_number(p, KEY_REPORT_LATEST_STATE, r->latest_state);
    p = canonical_put_bytes(p, KEY_REPORT_UUID, r->uuid.data, r->uuid.len);
    return canonical_put_bytes(p, KEY_REPORT_STATUS, r->status.data, r->status.len);
}

static uint8_t *acknowledge_write(uint8_t *p, const Conclave__Log__TaskAcknowledge *a) {
    p = canonical_put_number(p, KEY_ACKNOWLEDGE_FRAMEWORK, a->framework);
    p = canonical_put_bytes(p, KEY_ACKNOWLEDGE_TASK_ID, a->task_id, strlen(a->task_id));
    if (a->has_agent) p = canonical_put_number(p, KEY_ACKNOWLEDGE_AGENT, a->agent);
    return canonical_put_bytes(p, KEY_ACKNOWLEDGE_UUID, a->uuid.data, a->uuid.len);
}

size_t command_codec_encode(const Conclave__Log__Command *command, uint8_t *ret) {
    CHECK(command->task_report || command->task_acknowledge);
    uint8_t *p = canonical_put_number(ret, KEY_CLUSTER_MS, command->cluster_ms);
    p = canonical_put_number(p, KEY_WALL_MS, command->wall_ms);
    if (command->principal) p = canonical_put_bytes(p, KEY_PRINCIPAL, command->principal, strlen(command->principal));
    if (command->has_request_id) p = canonical_put_number(p, KEY_REQUEST_ID, command->request_id);
    p = canonical_put_varint(p, (command->task_report ? FIELD_REPORT : FIELD_ACKNOWLEDGE) << 3 | 2);
    /* The body's length stands before it and has one or more bytes: it is written where it will stand if that is two,
     * as it is for nearly all, and else moved. */
    uint8_t *body = p + 2;
    uint8_t *end = command->task_report ? report_write(body, command->task_report)
                                        : acknowledge_write(body, command->task_acknowledge);
    size_t size = (size_t)(end - body), head = canonical_varint_size(size);
    if (head != 2) memmove(p + head, body, size);
    (void)canonical_put_varint(p, size);
    return (size_t)(p - ret) + head + size;
}
