/* SPDX-License-Identifier: Apache-2.0
 * What the codecs need to know of protobuf-c's descriptors: where a field lies, whether it is set, and a path of fields
 * for error texts. Private to src/wire. */
#ifndef CONCLAVE_WIRE_MESSAGE_FIELD_H
#define CONCLAVE_WIRE_MESSAGE_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <protobuf-c/protobuf-c.h>

#define FIELD_BITS_MAX 256 /* fields of one message type */

struct field_bits { /* one bit a field, by its place in the descriptor */
    uint64_t words[FIELD_BITS_MAX / 64];
};

static inline void field_bits_set(struct field_bits *b, size_t i, bool on) {
    uint64_t bit = UINT64_C(1) << (i % 64);
    b->words[i / 64] = on ? b->words[i / 64] | bit : b->words[i / 64] & ~bit;
}
static inline bool field_bits_get(const struct field_bits *b, size_t i) {
    return b->words[i / 64] >> (i % 64) & 1;
}

static inline void *field_slot(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f) {
    return (uint8_t *)(uintptr_t)m + f->offset;
}
/* The count of a repeated field, the flag of an optional one, the case of a oneof. */
static inline void *field_quantifier(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f) {
    return (uint8_t *)(uintptr_t)m + f->quantifier_offset;
}
static inline bool field_is_oneof(const ProtobufCFieldDescriptor *f) {
    return f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
}
static inline bool field_is_pointer(const ProtobufCFieldDescriptor *f) {
    return f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_MESSAGE;
}

/* Bytes one value takes in its message or in the array of a repeated field. */
size_t field_element_size(const ProtobufCFieldDescriptor *f);
/* For a field that is not repeated. A required field counts as set unless its pointer is NULL. */
bool field_is_set(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f);
/* Unsets any field, required ones aside. */
void field_clear(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f);
/* A map<> is a repeated message named ...Entry of key = 1 and value = 2. */
bool field_is_map(const ProtobufCFieldDescriptor *f);
/* The first required field without its bit in `seen`, or NULL. */
const ProtobufCFieldDescriptor *field_missing(const ProtobufCMessageDescriptor *type, const struct field_bits *seen);

#define FIELD_PATH_MAX 65
#define FIELD_NO_INDEX SIZE_MAX

struct field_path {
    unsigned len;
    struct field_path_step {
        const char *name;
        size_t index; /* in a repeated field, else FIELD_NO_INDEX */
    } steps[FIELD_PATH_MAX];
};

/* "accept.operations[0].launch: ", or "" at the top; a long path is cut with "...". `ret` has room for `size` bytes. */
void field_path_print(const struct field_path *path, char *ret, size_t size);

#endif
