/* SPDX-License-Identifier: Apache-2.0
 * JSON to and from protobuf-c messages, in one pass over the message descriptor, by the rules of the Mesos v1
 * interface:
 *
 * Reading is lenient where real clients need it: field names are the schema's; unknown ones are skipped (but must be
 * valid JSON); null means unset; numbers and bools may come as strings; one value may stand for a repeated field of
 * one; the last of repeated keys wins; an unknown enum name leaves an optional field unset. Everything else is refused
 * with the path of the field: a value of the wrong kind, a missing required field, a number out of range or not whole
 * where a whole one is due, NaN, nesting over JSON_DEPTH_MAX, NUL or broken UTF-8 or a lone surrogate in a string,
 * bytes after the end. Bytes are base64 in either alphabet, padded or not. Maps are objects.
 *
 * Writing is compact and ASCII only: no raw newline can occur, so a record is a line. 64-bit integers are numbers,
 * whole doubles have no fraction. Besides the fields that are set, an unset optional field is written when the schema
 * gives it an explicit default and it is not deprecated.
 *
 * Pure: no I/O, no clock. A schema must have at most JSON_FIELDS_MAX fields a message. */
#ifndef CONCLAVE_WIRE_JSON_H
#define CONCLAVE_WIRE_JSON_H

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/buf.h"
#include "base/err.h"
#include "wire/arena.h"

#define JSON_DEPTH_MAX  64  /* objects and arrays inside one another, on input */
#define JSON_FIELDS_MAX 256 /* of one message type */

/* Reads one JSON object into a new message in the arena; the message lives as long as the arena.
 * ERR_PARSE: malformed, or does not fit the schema ("accept.operations[0].launch.task_infos[2].name: ...");
 * ERR_LIMIT or ERR_NOMEM: the arena refused. `err` may be NULL. */
int json_parse(const ProtobufCMessageDescriptor *type, const uint8_t *text, size_t len, struct arena *arena,
               ProtobufCMessage **ret, struct err *err);

enum json_print_flag {
    JSON_ONLY_SET = 1, /* leave unset fields with defaults out */
    JSON_LISTS = 2,    /* print repeated fields without elements too, as [] or {} */
};

/* Appends the message. On failure nothing is appended: ERR_INVALID (a required message is NULL, a double is NaN or
 * infinite, messages nest over 128 deep), or what buf_append says. Broken UTF-8 is written as U+FFFD. */
int json_print(const ProtobufCMessage *message, unsigned flags, struct buf *ret);

#endif
