/* SPDX-License-Identifier: Apache-2.0
 * A streaming writer of JSON for answers that are not messages: legacy endpoints, admin output. Compact, ASCII only.
 *
 *     json_begin_object(&w);
 *     json_key(&w, "tasks"), json_begin_array(&w);
 *     json_string(&w, id);
 *     json_end_array(&w);
 *     json_end_object(&w);
 *
 * Commas are put by the writer. Wrong use (a value without its key, an end without its begin, more than
 * JSON_WRITE_DEPTH_MAX levels) is a fault of the program and is CHECKed. A full buffer shows in buf->failed. */
#ifndef CONCLAVE_WIRE_JSON_WRITE_H
#define CONCLAVE_WIRE_JSON_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/buf.h"

#define JSON_WRITE_DEPTH_MAX 32

struct json_writer { /* private */
    struct buf *out;
    unsigned depth;
    bool key_given;
    bool is_object[JSON_WRITE_DEPTH_MAX];
    bool has_items[JSON_WRITE_DEPTH_MAX + 1];
};

/* Borrows `out` until the last call; appends to what is there. */
void json_writer_init(struct json_writer *w, struct buf *out);
/* 0 if one whole value was written, else why the buffer refused. CHECKs that everything begun was ended. */
int json_writer_finish(const struct json_writer *w);

void json_begin_object(struct json_writer *w);
void json_end_object(struct json_writer *w);
void json_begin_array(struct json_writer *w);
void json_end_array(struct json_writer *w);
void json_key(struct json_writer *w, const char *name);

void json_string(struct json_writer *w, const char *text); /* NULL is written as null */
void json_string_len(struct json_writer *w, const char *text, size_t len);
void json_u64(struct json_writer *w, uint64_t v);
void json_i64(struct json_writer *w, int64_t v);
void json_double(struct json_writer *w, double v);     /* NaN and infinities are written as null */
void json_milli(struct json_writer *w, int64_t milli); /* thousandths: 1500 is written as 1.5 */
void json_bool(struct json_writer *w, bool v);
void json_null(struct json_writer *w);
/* A message by json_print; one that cannot be printed is written as null. */
void json_message(struct json_writer *w, const ProtobufCMessage *message, unsigned flags);
/* `len` bytes that are one valid JSON value already. */
void json_raw(struct json_writer *w, const void *text, size_t len);

/* The pieces the writers share; each returns what buf_append says. */
int json_append_string(struct buf *out, const char *text, size_t len); /* quoted; broken UTF-8 becomes U+FFFD */
int json_append_double(struct buf *out, double v);                     /* finite; ERR_INVALID otherwise */
int json_append_i64(struct buf *out, int64_t v);
int json_append_u64(struct buf *out, uint64_t v);
int json_append_base64(struct buf *out, const uint8_t *data, size_t len); /* quoted */

#endif
