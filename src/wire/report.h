/* SPDX-License-Identifier: Apache-2.0
 * The frames that agent and master exchange for each change of a task's state, written and read by hand
 * (wire/canonical.h): Report and Committed of proto/conclave/link.proto. */
#ifndef CONCLAVE_WIRE_REPORT_H
#define CONCLAVE_WIRE_REPORT_H

#include "base/buf.h"
#include "conclave/link.pb-c.h"
#include "wire/canonical.h"

#define REPORT_COMMITTED_BYTES 18u

/* What a decoded report stands in. */
struct report_room {
    Conclave__Link__Report report;
    Conclave__Log__LaunchId launch;
    char framework_id[CANONICAL_TEXT_MAX + 1], task_id[CANONICAL_TEXT_MAX + 1];
};

/* The report, in *room and pointing into `data`, or NULL: not canonical, protobuf_parse decides. */
const Conclave__Link__Report *report_decode(struct report_room *room, const uint8_t *data, size_t len);
/* Appends what protobuf_print would. Returns what buf_append says. */
int report_encode(const Conclave__Link__Report *report, struct buf *ret);

/* The Committed that answers a report. */
void report_committed_encode(const uint8_t uuid[16], uint8_t ret[REPORT_COMMITTED_BYTES]);

#endif
