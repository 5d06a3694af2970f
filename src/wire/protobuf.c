/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/protobuf.h"

#include <inttypes.h>

#include "base/check.h"
#include "wire/message_field.h"
#include "wire/utf8.h"

#define FIELD_NUMBER_MAX 536870911 /* 2^29 - 1 */
#define TREE_DEPTH_MAX   128

_Static_assert(FIELD_PATH_MAX > PROTOBUF_DEPTH_MAX, "one step a message");

enum wire_type { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_LENGTH = 2, WIRE_32 = 5 };

struct checker {
    const uint8_t *begin;
    const uint8_t *p;
    unsigned flags;
    bool enum_unknown; /* an optional or repeated enum holds a value that the schema does not have */
    struct err *err;
    struct field_path path;
};

static int check_message(struct checker *c, const ProtobufCMessageDescriptor *type, const uint8_t *end);

static int check_fail(struct checker *c, int code, const char *reason) {
    char where[160];
    field_path_print(&c->path, where, sizeof where);
    return err_set(c->err, code, "%s%s, at byte %zu", where, reason, (size_t)(c->p - c->begin));
}

static int check_varint(struct checker *c, const uint8_t *end, uint64_t *ret) {
    uint64_t value = 0;
    for (unsigned i = 0; i < 10; i++) {
        if (c->p == end) return check_fail(c, ERR_PARSE, "cut off inside a number");
        uint8_t byte = *c->p++;
        if (i == 9 && byte > 1) return check_fail(c, ERR_PARSE, "number of more than 64 bits");
        value |= (uint64_t)(byte & 0x7F) << (7 * i);
        if (byte < 0x80) {
            *ret = value;
            return 0;
        }
    }
    return check_fail(c, ERR_PARSE, "number of more than ten bytes");
}

static int check_fixed(struct checker *c, const uint8_t *end, size_t size) {
    if ((size_t)(end - c->p) < size) return check_fail(c, ERR_PARSE, "cut off inside a number");
    c->p += size;
    return 0;
}

/* The length of a length-prefixed field, checked against what is there. */
static int check_length(struct checker *c, const uint8_t *end, size_t *ret) {
    uint64_t len = 0;
    int rc = check_varint(c, end, &len);
    if (rc) return rc;
    if (len > (uint64_t)(end - c->p)) return check_fail(c, ERR_PARSE, "length beyond the end");
    *ret = (size_t)len;
    return 0;
}

static enum wire_type wire_type_of(ProtobufCType type) {
    switch (type) {
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return WIRE_64;
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return WIRE_32;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_LENGTH;
    default:
        return WIRE_VARINT;
    }
}

static bool enum_known(const ProtobufCFieldDescriptor *f, int value) {
    return protobuf_c_enum_descriptor_get_value(f->descriptor, value) != NULL;
}

/* One number, by itself or out of a packed field. */
static int check_number(struct checker *c, const ProtobufCFieldDescriptor *f, const uint8_t *end) {
    enum wire_type wire = wire_type_of(f->type);
    uint64_t value = 0;
    if (wire != WIRE_VARINT) return check_fixed(c, end, wire == WIRE_64 ? 8 : 4);
    int rc = check_varint(c, end, &value);
    if (rc || f->type != PROTOBUF_C_TYPE_ENUM || enum_known(f, (int)(uint32_t)value)) return rc;
    if (c->flags & PROTOBUF_REFUSE_UNKNOWN) return check_fail(c, ERR_INCOMPATIBLE, "unknown value");
    if (f->label == PROTOBUF_C_LABEL_REQUIRED) return check_fail(c, ERR_PARSE, "unknown value");
    c->enum_unknown = true;
    return 0;
}

static int check_length_field(struct checker *c, const ProtobufCFieldDescriptor *f, const uint8_t *end, bool again) {
    size_t len = 0;
    int rc = check_length(c, end, &len);
    if (rc) return rc;
    const uint8_t *stop = c->p + len;
    switch (f->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        if (again && f->label != PROTOBUF_C_LABEL_REPEATED) return check_fail(c, ERR_PARSE, "given twice");
        if (c->path.len == PROTOBUF_DEPTH_MAX) return check_fail(c, ERR_PARSE, "nested too deep");
        return check_message(c, f->descriptor, stop);
    case PROTOBUF_C_TYPE_STRING:
        if (!utf8_text_valid(c->p, len)) return check_fail(c, ERR_PARSE, "string is not UTF-8 or holds a NUL");
        c->p = stop;
        return 0;
    case PROTOBUF_C_TYPE_BYTES:
        c->p = stop;
        return 0;
    default: /* packed numbers */
        while (rc == 0 && c->p < stop)
            rc = check_number(c, f, stop);
        return rc;
    }
}

static int check_unknown(struct checker *c, unsigned wire, const uint8_t *end) {
    uint64_t value;
    size_t len = 0;
    if (c->flags & PROTOBUF_REFUSE_UNKNOWN) return check_fail(c, ERR_INCOMPATIBLE, "unknown field");
    switch (wire) {
    case WIRE_VARINT:
        return check_varint(c, end, &value);
    case WIRE_64:
        return check_fixed(c, end, 8);
    case WIRE_32:
        return check_fixed(c, end, 4);
    default: {
        int rc = check_length(c, end, &len);
        if (rc == 0) c->p += len;
        return rc;
    }
    }
}

static int check_field(struct checker *c, const ProtobufCFieldDescriptor *f, unsigned wire, const uint8_t *end,
                       bool again) {
    enum wire_type wanted = wire_type_of(f->type);
    bool packed = f->label == PROTOBUF_C_LABEL_REPEATED && wanted != WIRE_LENGTH && wire == WIRE_LENGTH;
    if (wire != wanted && !packed) return check_fail(c, ERR_PARSE, "wrong wire type");
    return wire == WIRE_LENGTH ? check_length_field(c, f, end, again) : check_number(c, f, end);
}

static int check_key(struct checker *c, const uint8_t *end, uint32_t *ret_number, unsigned *ret_wire) {
    const uint8_t *begin = c->p;
    uint64_t key = 0;
    int rc = check_varint(c, end, &key);
    if (rc) return rc;
    if (c->p - begin > 5) return check_fail(c, ERR_PARSE, "field number of more than five bytes");
    if (key >> 3 == 0 || key >> 3 > FIELD_NUMBER_MAX) return check_fail(c, ERR_PARSE, "field number out of range");
    *ret_number = (uint32_t)(key >> 3);
    *ret_wire = key & 7;
    if (*ret_wire == 3 || *ret_wire == 4) return check_fail(c, ERR_PARSE, "groups are not supported");
    if (*ret_wire > 5) return check_fail(c, ERR_PARSE, "unknown wire type");
    return 0;
}

static int check_message(struct checker *c, const ProtobufCMessageDescriptor *type, const uint8_t *end) {
    struct field_bits seen = {{0}};
    const ProtobufCFieldDescriptor *last = NULL;
    size_t index = 0; /* of `last` among its like; encoders write a repeated field in one run */
    CHECK(type->n_fields <= FIELD_BITS_MAX);
    while (c->p < end) {
        uint32_t number = 0;
        unsigned wire = 0;
        int rc = check_key(c, end, &number, &wire);
        if (rc) return rc;
        const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field(type, number);
        if (!f) {
            rc = check_unknown(c, wire, end);
            if (rc) return rc;
            continue;
        }
        index = f == last ? index + 1 : 0;
        last = f;
        bool repeated = f->label == PROTOBUF_C_LABEL_REPEATED;
        c->path.steps[c->path.len++] = (struct field_path_step){f->name, repeated ? index : FIELD_NO_INDEX};
        size_t place = (size_t)(f - type->fields);
        rc = check_field(c, f, wire, end, field_bits_get(&seen, place));
        if (rc) return rc;
        c->path.len--;
        field_bits_set(&seen, place, true);
    }
    const ProtobufCFieldDescriptor *missing = field_missing(type, &seen);
    if (!missing) return 0;
    c->path.steps[c->path.len++] = (struct field_path_step){missing->name, FIELD_NO_INDEX};
    return check_fail(c, ERR_PARSE, "required field is missing");
}

static int check_run(struct checker *c, const ProtobufCMessageDescriptor *type, size_t len) {
    return check_message(c, type, c->p + len);
}

int protobuf_check(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t len, unsigned flags,
                   struct err *err) {
    if (len == 0) data = (const uint8_t *)""; /* it may be NULL */
    struct checker c = {.begin = data, .p = data, .flags = flags, .err = err};
    return check_run(&c, type, len);
}

static void enum_list_settle(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f) {
    size_t *count = field_quantifier(m, f), n = 0;
    int *items = *(int **)field_slot(m, f);
    for (size_t i = 0; i < *count; i++)
        if (enum_known(f, items[i])) items[n++] = items[i];
    *count = n;
}

/* Unsets what the schema does not know; only for messages that protobuf_check has passed, so depth is bounded. */
static void enums_settle(ProtobufCMessage *m) {
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        bool repeated = f->label == PROTOBUF_C_LABEL_REPEATED;
        if (f->type == PROTOBUF_C_TYPE_ENUM) {
            if (repeated)
                enum_list_settle(m, f);
            else if (field_is_set(m, f) && !enum_known(f, *(int *)field_slot(m, f)))
                field_clear(m, f);
        } else if (f->type == PROTOBUF_C_TYPE_MESSAGE && repeated) {
            ProtobufCMessage **items = *(ProtobufCMessage ***)field_slot(m, f);
            for (size_t k = 0; k < *(size_t *)field_quantifier(m, f); k++)
                enums_settle(items[k]);
        } else if (f->type == PROTOBUF_C_TYPE_MESSAGE && field_is_set(m, f)) {
            enums_settle(*(ProtobufCMessage **)field_slot(m, f));
        }
    }
}

int protobuf_parse(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t len, unsigned flags,
                   struct arena *arena, ProtobufCMessage **ret, struct err *err) {
    if (len == 0) data = (const uint8_t *)"";
    struct checker c = {.begin = data, .p = data, .flags = flags, .err = err};
    int rc = check_run(&c, type, len);
    if (rc) return rc;
    arena->error = 0;
    ProtobufCMessage *m = protobuf_c_message_unpack(type, &arena->allocator, len, data);
    if (!m && arena->error)
        return err_set(err, arena->error, "the message needs more memory than %zu bytes", arena->limit);
    if (!m) return err_set(err, ERR_PARSE, "not a %s", type->name);
    if (c.enum_unknown) enums_settle(m);
    *ret = m;
    return 0;
}

int protobuf_print(const ProtobufCMessage *message, struct buf *ret) {
    size_t len = protobuf_c_message_get_packed_size(message);
    if (len == 0) return ret->failed ? ERR_LIMIT : 0; /* a message of nothing but unset fields */
    uint8_t *room = buf_reserve(ret, len);
    if (!room) return ret->max - ret->len < len ? ERR_LIMIT : ERR_NOMEM;
    ret->len += protobuf_c_message_pack(message, room);
    return 0;
}

static bool tree_has_unknown(const ProtobufCMessage *m, unsigned depth);

static bool value_has_unknown(const ProtobufCFieldDescriptor *f, const void *slot, unsigned depth) {
    if (f->type == PROTOBUF_C_TYPE_ENUM) return !enum_known(f, *(const int *)slot);
    return f->type == PROTOBUF_C_TYPE_MESSAGE && tree_has_unknown(*(ProtobufCMessage *const *)slot, depth);
}

static bool tree_has_unknown(const ProtobufCMessage *m, unsigned depth) {
    if (m->n_unknown_fields > 0 || depth == TREE_DEPTH_MAX) return true;
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        if (f->label != PROTOBUF_C_LABEL_REPEATED) {
            if (field_is_set(m, f) && value_has_unknown(f, field_slot(m, f), depth + 1)) return true;
            continue;
        }
        const uint8_t *items = *(const uint8_t *const *)field_slot(m, f);
        for (size_t k = 0; k < *(const size_t *)field_quantifier(m, f); k++)
            if (value_has_unknown(f, items + k * field_element_size(f), depth + 1)) return true;
    }
    return false;
}

bool protobuf_has_unknown(const ProtobufCMessage *message) {
    return tree_has_unknown(message, 0);
}
