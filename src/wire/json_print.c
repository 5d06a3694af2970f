/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/json.h"

#include <string.h>

#include "wire/json_write.h"
#include "wire/message_field.h"
#include "wire/utf8.h"

#define PRINT_DEPTH_MAX 128

struct json_printer {
    struct buf *out;
    unsigned flags;
    unsigned depth;
};

static int message_print(struct json_printer *p, const ProtobufCMessage *m);

/* buf_append without the call, where there is room already. */
static inline void put(struct buf *out, const void *data, size_t len) {
    size_t room = (out->cap < out->max ? out->cap : out->max) - out->len;
    if (out->failed || room < len) {
        (void)buf_append(out, data, len);
        return;
    }
    memcpy(out->data + out->len, data, len);
    out->len += len;
}

static inline void put_byte(struct buf *out, char c) {
    put(out, &c, 1);
}

static void put_u16_escape(struct buf *out, uint32_t unit) {
    static const char digits[] = "0123456789abcdef";
    char text[6] = {
        '\\', 'u', digits[unit >> 12 & 15], digits[unit >> 8 & 15], digits[unit >> 4 & 15], digits[unit & 15]};
    put(out, text, sizeof text);
}

static void put_code_point(struct buf *out, uint32_t c) {
    static const char names[] = "\"\\bfnrt", values[] = "\"\\\b\f\n\r\t";
    const char *at = c > 0 && c < 0x80 ? strchr(values, (int)c) : NULL;
    if (at) {
        put_byte(out, '\\');
        put_byte(out, names[at - values]);
    } else if (c >= 0x10000) {
        put_u16_escape(out, 0xD800 + ((c - 0x10000) >> 10));
        put_u16_escape(out, 0xDC00 + ((c - 0x10000) & 0x3FF));
    } else {
        put_u16_escape(out, c);
    }
}

static bool byte_plain(uint8_t c) {
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

int json_append_string(struct buf *out, const char *text, size_t len) {
    const uint8_t *p = (const uint8_t *)text, *end = p + len;
    put_byte(out, '"');
    while (p < end) {
        const uint8_t *run = p;
        while (end - p >= 8 && bytes8_plain(p))
            p += 8;
        while (p < end && byte_plain(*p))
            p++;
        if (p > run) put(out, run, (size_t)(p - run));
        if (p == end) break;
        uint32_t c;
        size_t n = utf8_decode(p, end, &c);
        put_code_point(out, n ? c : 0xFFFD);
        p += n ? n : 1;
    }
    put_byte(out, '"');
    return out->failed ? ERR_LIMIT : 0;
}

/* The name of an enum value, or NULL for a number that the schema does not have. */
static const char *enum_name(const ProtobufCFieldDescriptor *f, const void *slot) {
    const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(f->descriptor, *(const int *)slot);
    return v ? v->name : NULL;
}

static int string_print(struct json_printer *p, const char *text) {
    return text ? json_append_string(p->out, text, strlen(text)) : ERR_INVALID;
}

static int scalar_print(struct json_printer *p, const ProtobufCFieldDescriptor *f, const void *slot) {
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return json_append_i64(p->out, *(const int32_t *)slot);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return json_append_i64(p->out, *(const int64_t *)slot);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return json_append_u64(p->out, *(const uint32_t *)slot);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return json_append_u64(p->out, *(const uint64_t *)slot);
    case PROTOBUF_C_TYPE_FLOAT:
        return json_append_double(p->out, (double)*(const float *)slot);
    case PROTOBUF_C_TYPE_DOUBLE:
        return json_append_double(p->out, *(const double *)slot);
    case PROTOBUF_C_TYPE_BOOL:
        return buf_append_str(p->out, *(const protobuf_c_boolean *)slot ? "true" : "false");
    default:
        return ERR_INVALID;
    }
}

static int value_print(struct json_printer *p, const ProtobufCFieldDescriptor *f, const void *slot) {
    switch (f->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        return message_print(p, *(ProtobufCMessage *const *)slot);
    case PROTOBUF_C_TYPE_STRING:
        return string_print(p, *(const char *const *)slot);
    case PROTOBUF_C_TYPE_BYTES: {
        const ProtobufCBinaryData *bytes = slot;
        return json_append_base64(p->out, bytes->data, bytes->len);
    }
    case PROTOBUF_C_TYPE_ENUM:
        return string_print(p, enum_name(f, slot));
    default:
        return scalar_print(p, f, slot);
    }
}

static int list_print(struct json_printer *p, const ProtobufCFieldDescriptor *f, const uint8_t *items, size_t count) {
    size_t size = field_element_size(f);
    bool any = false;
    put_byte(p->out, '[');
    for (size_t i = 0; i < count; i++) {
        if (f->type == PROTOBUF_C_TYPE_ENUM && !enum_name(f, items + i * size)) continue;
        if (any) put_byte(p->out, ',');
        any = true;
        int rc = value_print(p, f, items + i * size);
        if (rc) return rc;
    }
    put_byte(p->out, ']');
    return 0;
}

/* The key of a map as a string, whatever its type. */
static int key_print(struct json_printer *p, const ProtobufCFieldDescriptor *key, const void *slot) {
    if (key->type == PROTOBUF_C_TYPE_STRING) {
        const char *text = *(const char *const *)slot;
        return string_print(p, text ? text : "");
    }
    put_byte(p->out, '"');
    int rc = scalar_print(p, key, slot);
    put_byte(p->out, '"');
    return rc;
}

static int map_print(struct json_printer *p, ProtobufCMessage *const *entries, size_t count) {
    bool any = false;
    put_byte(p->out, '{');
    for (size_t i = 0; i < count; i++) {
        const ProtobufCFieldDescriptor *key = &entries[i]->descriptor->fields[0], *value = key + 1;
        /* Without its value an entry says nothing that a reader could take. */
        if (field_is_pointer(value) && !*(void *const *)field_slot(entries[i], value)) continue;
        if (value->type == PROTOBUF_C_TYPE_ENUM && !enum_name(value, field_slot(entries[i], value))) continue;
        if (any) put_byte(p->out, ',');
        any = true;
        int rc = key_print(p, key, field_slot(entries[i], key));
        put_byte(p->out, ':');
        if (rc == 0) rc = value_print(p, value, field_slot(entries[i], value));
        if (rc) return rc;
    }
    put_byte(p->out, '}');
    return 0;
}

/* What to print for a singular field: its value, its default, or NULL for nothing. `text` holds a default string. */
static const void *slot_find(const struct json_printer *p, const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
                             const char **text) {
    const void *slot = NULL;
    if (f->label == PROTOBUF_C_LABEL_REQUIRED) return field_slot(m, f);
    if (field_is_set(m, f)) {
        slot = field_slot(m, f);
    } else if (f->default_value && !field_is_oneof(f) && !(p->flags & JSON_ONLY_SET) &&
               !(f->flags & PROTOBUF_C_FIELD_FLAG_DEPRECATED)) {
        *text = f->default_value;
        slot = f->type == PROTOBUF_C_TYPE_STRING ? (const void *)text : f->default_value;
    }
    return slot && f->type == PROTOBUF_C_TYPE_ENUM && !enum_name(f, slot) ? NULL : slot;
}

static int field_print(struct json_printer *p, const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
                       bool *any) {
    bool repeated = f->label == PROTOBUF_C_LABEL_REPEATED;
    size_t count = repeated ? *(const size_t *)field_quantifier(m, f) : 0;
    const char *text;
    const void *slot = repeated ? NULL : slot_find(p, m, f, &text);
    if (!slot && count == 0 && !(repeated && p->flags & JSON_LISTS)) return 0;
    put(p->out, *any ? ",\"" : "\"", *any ? 2 : 1);
    *any = true;
    put(p->out, f->name, strlen(f->name));
    put(p->out, "\":", 2);
    if (!repeated) return value_print(p, f, slot);
    const uint8_t *items = *(const uint8_t *const *)field_slot(m, f);
    if (field_is_map(f)) return map_print(p, (ProtobufCMessage *const *)(const void *)items, count);
    return list_print(p, f, items, count);
}

static int message_print(struct json_printer *p, const ProtobufCMessage *m) {
    if (!m || p->depth == PRINT_DEPTH_MAX) return ERR_INVALID;
    bool any = false;
    p->depth++;
    put_byte(p->out, '{');
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        int rc = field_print(p, m, &m->descriptor->fields[i], &any);
        if (rc) return rc;
    }
    put_byte(p->out, '}');
    p->depth--;
    return p->out->failed ? ERR_LIMIT : 0;
}

int json_print(const ProtobufCMessage *message, unsigned flags, struct buf *ret) {
    struct json_printer p = {.out = ret, .flags = flags};
    size_t start = ret->len;
    int rc = message_print(&p, message);
    if (rc) ret->len = start;
    return rc;
}
