/* SPDX-License-Identifier: Apache-2.0
 * Binary protobuf from strangers. protobuf-c's own unpack recurses without bound and takes any bytes for text, so the
 * wire bytes are walked with the descriptor first: nesting at most PROTOBUF_DEPTH_MAX, every length inside its message,
 * varints at most ten bytes, wire types as the schema says, no groups, strings of valid UTF-8 without NUL, required
 * fields present (named if not), and no singular message given twice (no encoder does, and merging is a trap). Pure: no
 * I/O, no clock. A schema must have at most 256 fields a message. */
#ifndef CONCLAVE_WIRE_PROTOBUF_H
#define CONCLAVE_WIRE_PROTOBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/buf.h"
#include "base/err.h"
#include "wire/arena.h"

#define PROTOBUF_DEPTH_MAX 64

enum protobuf_flag {
    /* Refuse fields and enum values that the schema does not have with ERR_INCOMPATIBLE: a replica must stop at what it
     * does not know. Without it unknown fields are kept aside, and unknown enum values leave optional fields unset. */
    PROTOBUF_REFUSE_UNKNOWN = 1,
};

/* Walks the bytes only. ERR_PARSE with the path of the field, or ERR_INCOMPATIBLE. `err` may be NULL. */
int protobuf_check(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t len, unsigned flags,
                   struct err *err);
/* Checks, then unpacks into the arena; the message lives as long as the arena. Adds ERR_LIMIT, ERR_NOMEM. */
int protobuf_parse(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t len, unsigned flags,
                   struct arena *arena, ProtobufCMessage **ret, struct err *err);
/* Appends the packed message; returns what buf_append says. */
int protobuf_print(const ProtobufCMessage *message, struct buf *ret);
/* True if the tree holds a field or an enum value that its schema does not know. Recursion is bounded as above. */
bool protobuf_has_unknown(const ProtobufCMessage *message);

#endif
