/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/message_field.h"

#include <stdio.h>

#include "base/check.h"

size_t field_element_size(const ProtobufCFieldDescriptor *f) {
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return 4;
    }
}

bool field_is_set(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f) {
    CHECK(f->label != PROTOBUF_C_LABEL_REPEATED);
    if (field_is_oneof(f)) return *(const uint32_t *)field_quantifier(m, f) == f->id;
    if (field_is_pointer(f)) {
        const void *p = *(void *const *)field_slot(m, f);
        return p && (f->label == PROTOBUF_C_LABEL_REQUIRED || p != f->default_value);
    }
    return f->label == PROTOBUF_C_LABEL_REQUIRED || *(const protobuf_c_boolean *)field_quantifier(m, f);
}

void field_clear(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f) {
    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        *(size_t *)field_quantifier(m, f) = 0;
        *(void **)field_slot(m, f) = NULL;
    } else if (field_is_oneof(f)) {
        if (field_is_set(m, f)) *(uint32_t *)field_quantifier(m, f) = 0;
    } else if (f->label == PROTOBUF_C_LABEL_OPTIONAL) {
        if (f->type == PROTOBUF_C_TYPE_STRING)
            *(const char **)field_slot(m, f) = f->default_value;
        else if (f->type == PROTOBUF_C_TYPE_MESSAGE)
            *(void **)field_slot(m, f) = NULL;
        else
            *(protobuf_c_boolean *)field_quantifier(m, f) = 0;
        if (!field_is_pointer(f) && f->default_value) memcpy(field_slot(m, f), f->default_value, field_element_size(f));
    }
}

bool field_is_map(const ProtobufCFieldDescriptor *f) {
    if (f->label != PROTOBUF_C_LABEL_REPEATED || f->type != PROTOBUF_C_TYPE_MESSAGE) return false;
    const ProtobufCMessageDescriptor *entry = f->descriptor;
    if (entry->n_fields != 2 || entry->fields[0].id != 1 || entry->fields[1].id != 2) return false;
    if (strcmp(entry->fields[0].name, "key") != 0 || strcmp(entry->fields[1].name, "value") != 0) return false;
    size_t len = strlen(entry->short_name);
    return len > 5 && strcmp(entry->short_name + len - 5, "Entry") == 0;
}

const ProtobufCFieldDescriptor *field_missing(const ProtobufCMessageDescriptor *type, const struct field_bits *seen) {
    for (unsigned i = 0; i < type->n_fields; i++)
        if (type->fields[i].label == PROTOBUF_C_LABEL_REQUIRED && !field_bits_get(seen, i)) return &type->fields[i];
    return NULL;
}

void field_path_print(const struct field_path *path, char *ret, size_t size) {
    const char *tail = "...: ";
    size_t used = 0, room = size - strlen(tail) - 1;
    ret[0] = '\0';
    for (unsigned i = 0; i < path->len; i++) {
        const struct field_path_step *step = &path->steps[i];
        char piece[96];
        int n = step->index == FIELD_NO_INDEX
                    ? snprintf(piece, sizeof piece, "%s%s", i ? "." : "", step->name)
                    : snprintf(piece, sizeof piece, "%s%s[%zu]", i ? "." : "", step->name, step->index);
        if (n < 0 || (size_t)n >= sizeof piece || used + (size_t)n > room) {
            memcpy(ret + used, tail, strlen(tail) + 1);
            return;
        }
        memcpy(ret + used, piece, (size_t)n + 1);
        used += (size_t)n;
    }
    if (path->len > 0) memcpy(ret + used, ": ", 3);
}
