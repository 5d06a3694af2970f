/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/report.h"

#include <string.h>

#include "base/check.h"
#include "base/err.h"

/* Keys of proto/conclave/link.proto, Report and Committed, and of proto/conclave/log.proto, LaunchId. */
enum {
    KEY_FRAMEWORK_ID = 1 << 3 | 2,
    KEY_TASK_ID = 2 << 3 | 2,
    KEY_LAUNCH = 3 << 3 | 2,
    KEY_STATE = 4 << 3,
    KEY_LATEST_STATE = 5 << 3,
    KEY_UUID = 6 << 3 | 2,
    KEY_STATUS = 7 << 3 | 2,
    KEY_WANT_COMMITTED = 8 << 3,
    KEY_COMMITTED_UUID = 1 << 3 | 2,
    KEY_INDEX = 1 << 3,
    KEY_N = 2 << 3,
    KEY_K = 3 << 3
};

const Conclave__Link__Report *report_decode(struct report_room *room, const uint8_t *data, size_t len) {
    if (len == 0) return NULL; /* `data` may be NULL */
    struct canonical c = {.p = data, .end = data + len};
    Conclave__Link__Report *r = &room->report;
    *r = (Conclave__Link__Report)CONCLAVE__LINK__REPORT__INIT;
    room->launch = (Conclave__Log__LaunchId)CONCLAVE__LOG__LAUNCH_ID__INIT;
    canonical_text(&c, KEY_FRAMEWORK_ID, room->framework_id);
    canonical_text(&c, KEY_TASK_ID, room->task_id);
    struct canonical launch = canonical_inside(&c, KEY_LAUNCH);
    room->launch.index = canonical_u64(&launch, KEY_INDEX);
    room->launch.n = canonical_u32(&launch, KEY_N);
    room->launch.k = canonical_u32(&launch, KEY_K);
    r->state = canonical_u32(&c, KEY_STATE);
    r->latest_state = canonical_u32(&c, KEY_LATEST_STATE);
    r->uuid.data = (uint8_t *)canonical_bytes(&c, KEY_UUID, &r->uuid.len);
    r->status.data = (uint8_t *)canonical_bytes(&c, KEY_STATUS, &r->status.len);
    if (canonical_has(&c, KEY_WANT_COMMITTED)) {
        uint64_t value = canonical_varint(&c);
        if (value > 1) c.bad = true;
        r->has_want_committed = 1;
        r->want_committed = value == 1;
    }
    if (!canonical_done(&launch) || !canonical_done(&c)) return NULL;
    r->framework_id = room->framework_id;
    r->task_id = room->task_id;
    r->launch = &room->launch;
    return r;
}

int report_encode(const Conclave__Link__Report *r, struct buf *ret) {
    size_t framework = strlen(r->framework_id), task = strlen(r->task_id);
    size_t launch = 3 + canonical_varint_size(r->launch->index) + canonical_varint_size(r->launch->n) +
                    canonical_varint_size(r->launch->k);
    size_t room = 8 * CANONICAL_FIELD_MAX + framework + task + launch + r->uuid.len + r->status.len;
    uint8_t *begin = buf_reserve(ret, room);
    if (!begin) return ret->max - ret->len < room ? ERR_LIMIT : ERR_NOMEM;
    uint8_t *p = canonical_put_bytes(begin, KEY_FRAMEWORK_ID, r->framework_id, framework);
    p = canonical_put_bytes(p, KEY_TASK_ID, r->task_id, task);
    p = canonical_put_number(p, KEY_LAUNCH, launch);
    p = canonical_put_number(p, KEY_INDEX, r->launch->index);
    p = canonical_put_number(p, KEY_N, r->launch->n);
    p = canonical_put_number(p, KEY_K, r->launch->k);
    p = canonical_put_number(p, KEY_STATE, r->state);
    p = canonical_put_number(p, KEY_LATEST_STATE, r->latest_state);
    p = canonical_put_bytes(p, KEY_UUID, r->uuid.data, r->uuid.len);
    p = canonical_put_bytes(p, KEY_STATUS, r->status.data, r->status.len);
    if (r->has_want_committed) p = canonical_put_number(p, KEY_WANT_COMMITTED, r->want_committed != 0);
    CHECK((size_t)(p - begin) <= room);
    ret->len += (size_t)(p - begin);
    return 0;
}

void report_committed_encode(const uint8_t uuid[16], uint8_t ret[REPORT_COMMITTED_BYTES]) {
    (void)canonical_put_bytes(ret, KEY_COMMITTED_UUID, uuid, 16);
}
