/* SPDX-License-Identifier: Apache-2.0
 * Records of the state (proto/conclave/snapshot.proto) for people and machines: as JSON, and as what differs between
 * two of them, field by field. By descriptor: a new field needs no change here. Pure. */
#ifndef CONCLAVE_CLI_RECORDS_H
#define CONCLAVE_CLI_RECORDS_H

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/buf.h"
#include "base/err.h"
#include "scheduler/state.h"
#include "wire/arena.h"

const char *record_kind_name(enum state_record_kind kind); /* "task" */
/* ERR_NOT_FOUND; "tasks" is understood too. */
int record_kind_parse(const char *text, enum state_record_kind *ret);

/* Unpacks one record into the arena. ERR_CORRUPT. */
int record_parse(enum state_record_kind kind, const uint8_t *data, size_t len, struct arena *arena,
                 ProtobufCMessage **ret, struct err *err);
/* The `id` of an agent, framework or task; "" for the globals. */
const char *record_id(const ProtobufCMessage *record);
/* {"kind":"task","number":7,"record":{...}}, with the Mesos messages that are opaque to the state as JSON beside it. */
int record_json(enum state_record_kind kind, uint64_t number, const ProtobufCMessage *record, struct buf *ret);
/* One line of what matters, for a table. */
int record_summary(enum state_record_kind kind, const ProtobufCMessage *record, struct buf *ret);

/* Calls cb for each field that differs; NULL stands for a record or an optional field that is not there. Bytes are told
 * by length and checksum, states by name. Texts are borrowed. */
typedef void (*record_change_cb)(void *ctx, const char *field, const char *before, const char *after);
void record_diff(enum state_record_kind kind, const ProtobufCMessage *before, const ProtobufCMessage *after,
                 record_change_cb cb, void *ctx);

#endif
