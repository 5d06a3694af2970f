/* SPDX-License-Identifier: Apache-2.0 */
#include "wire_random.h"

#include <string.h>

#include "base/check.h"
#include "wire/message_field.h"

static void *memory(struct arena *arena, size_t size) {
    void *p = arena_alloc(arena, size);
    CHECK(p);
    return p;
}

static char *random_text(struct rng *rng, struct arena *arena) {
    static const char *const pieces[] = {"a",
                                         "task-7",
                                         "\"",
                                         "\\",
                                         "/",
                                         "\n",
                                         "\x01",
                                         "\x7f",
                                         "\xc3\xa9",
                                         "\xf0\x9f\x98\x80",
                                         "\xef\xbf\xbf",
                                         "\xe2\x82\xac",
                                         " ",
                                         "null",
                                         "0123456789abcdef"};
    char *text = memory(arena, 256);
    text[0] = '\0';
    for (uint64_t n = rng_below(rng, 8); n > 0; n--)
        strcat(text, pieces[rng_below(rng, sizeof pieces / sizeof pieces[0])]);
    return text;
}

static double random_double(struct rng *rng) {
    uint64_t bits = rng_next(rng);
    double v;
    switch (rng_below(rng, 4)) {
    case 0:
        return (double)rng_below(rng, 100000);
    case 1:
        return (double)rng_below(rng, 1000000000) / 1000;
    case 2:
        return -(double)rng_below(rng, 1000000000) / 1000000;
    default:
        memcpy(&v, &bits, sizeof v);
        return v - v == 0 ? v : 1e308; /* not NaN, not infinite */
    }
}

/* Small numbers and numbers of every length. */
static uint64_t random_bits(struct rng *rng) {
    return rng_next(rng) >> rng_below(rng, 64);
}

static void random_value(struct rng *rng, const ProtobufCFieldDescriptor *f, void *slot, struct arena *arena,
                         unsigned depth) {
    const ProtobufCEnumDescriptor *names = f->descriptor;
    uint64_t bits = random_bits(rng);
    double real = random_double(rng);
    protobuf_c_boolean yes = (protobuf_c_boolean)(bits & 1);
    switch (f->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        *(ProtobufCMessage **)slot = random_message(rng, f->descriptor, arena, depth + 1);
        break;
    case PROTOBUF_C_TYPE_STRING:
        *(char **)slot = random_text(rng, arena);
        break;
    case PROTOBUF_C_TYPE_BYTES: {
        ProtobufCBinaryData bytes = {rng_below(rng, 20), memory(arena, 20)};
        for (size_t i = 0; i < bytes.len; i++)
            bytes.data[i] = (uint8_t)rng_next(rng);
        *(ProtobufCBinaryData *)slot = bytes;
        break;
    }
    case PROTOBUF_C_TYPE_ENUM:
        *(int *)slot = names->values[rng_below(rng, names->n_values)].value;
        break;
    case PROTOBUF_C_TYPE_BOOL:
        memcpy(slot, &yes, sizeof yes);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        memcpy(slot, &real, sizeof real);
        break;
    default:
        memcpy(slot, &bits, field_element_size(f));
        break;
    }
}

static void random_field(struct rng *rng, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, struct arena *arena,
                         unsigned depth) {
    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t n = field_is_map(f) ? 1 : rng_between(rng, 1, 3), size = field_element_size(f);
        uint8_t *items = memory(arena, n * size);
        for (size_t i = 0; i < n; i++)
            random_value(rng, f, items + i * size, arena, depth);
        *(uint8_t **)field_slot(m, f) = items;
        *(size_t *)field_quantifier(m, f) = n;
        return;
    }
    random_value(rng, f, field_slot(m, f), arena, depth);
    if (field_is_oneof(f))
        *(uint32_t *)field_quantifier(m, f) = f->id;
    else if (f->label == PROTOBUF_C_LABEL_OPTIONAL && !field_is_pointer(f))
        *(protobuf_c_boolean *)field_quantifier(m, f) = 1;
}

static bool is_map_entry(const ProtobufCMessageDescriptor *type) {
    ProtobufCFieldDescriptor f = {
        .label = PROTOBUF_C_LABEL_REPEATED, .type = PROTOBUF_C_TYPE_MESSAGE, .descriptor = type};
    return field_is_map(&f);
}

ProtobufCMessage *random_message(struct rng *rng, const ProtobufCMessageDescriptor *type, struct arena *arena,
                                 unsigned depth) {
    ProtobufCMessage *m = memory(arena, type->sizeof_message);
    protobuf_c_message_init(type, m);
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &type->fields[i];
        bool must = f->label == PROTOBUF_C_LABEL_REQUIRED || is_map_entry(type);
        if (must || (depth < 12 && rng_below(rng, 3 + depth) == 0)) random_field(rng, m, f, arena, depth);
    }
    return m;
}
