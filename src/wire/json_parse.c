/* SPDX-License-Identifier: Apache-2.0
 * Recursive descent straight into message structs: no document tree in between. A field is found by its name in the
 * descriptor, its value parsed by its type, and placed; recursion is bounded by JSON_DEPTH_MAX. */
#include "wire/json.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "wire/json_lex.h"
#include "wire/message_field.h"

_Static_assert(JSON_FIELDS_MAX == FIELD_BITS_MAX, "one bit a field");
_Static_assert(FIELD_PATH_MAX > JSON_DEPTH_MAX, "one step an object");

struct json_parser {
    struct json_lexer lex;
    const uint8_t *begin;
    struct arena *arena;
    struct err *err;
    unsigned depth; /* objects and arrays open now */
    struct field_path path;
};

/* Where one value goes. An enum name that nobody knows leaves `is_set` false. */
struct json_slot {
    void *p;
    bool is_set;
};

static int message_read(struct json_parser *p, const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret);
static int field_read(struct json_parser *p, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, bool *ret_set);

static int parse_fail(struct json_parser *p, const char *reason) {
    char where[160];
    field_path_print(&p->path, where, sizeof where);
    return err_set(p->err, ERR_PARSE, "%s%s, at byte %zu", where, reason, (size_t)(p->lex.p - p->begin));
}

static int parse_no_memory(struct json_parser *p) {
    int code = p->arena->error ? p->arena->error : ERR_NOMEM;
    return err_set(p->err, code, "the message needs more memory than %zu bytes", p->arena->limit);
}

static int depth_enter(struct json_parser *p) {
    if (p->depth == JSON_DEPTH_MAX) return parse_fail(p, "nested too deep");
    p->depth++;
    return 0;
}

/* Like strcmp of a table's name with `len` bytes that hold no NUL. */
static int name_compare(const char *name, const char *wanted, size_t len) {
    int order = strncmp(name, wanted, len);
    return order ? order : name[len] != '\0';
}

static const ProtobufCFieldDescriptor *field_find(const ProtobufCMessageDescriptor *type, const char *name,
                                                  size_t len) {
    size_t low = 0, high = type->n_fields;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const ProtobufCFieldDescriptor *f = &type->fields[type->fields_sorted_by_name[mid]];
        int order = name_compare(f->name, name, len);
        if (order == 0) return f;
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

static bool enum_find(const ProtobufCEnumDescriptor *type, const char *name, size_t len, int *ret) {
    size_t low = 0, high = type->n_value_names;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = name_compare(type->values_by_name[mid].name, name, len);
        if (order == 0) {
            *ret = type->values[type->values_by_name[mid].index].value;
            return true;
        }
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return false;
}

static int string_lex(struct json_parser *p, struct json_text *ret) {
    if (json_peek(&p->lex) != '"') return parse_fail(p, "wants a string");
    const char *wrong = json_lex_string(&p->lex, ret);
    return wrong ? parse_fail(p, wrong) : 0;
}

/* The text of a string as a NUL-terminated copy in the arena. */
static int string_read(struct json_parser *p, char **ret, size_t *ret_len) {
    struct json_text text;
    int rc = string_lex(p, &text);
    if (rc) return rc;
    char *copy = arena_alloc(p->arena, text.len + 1);
    if (!copy) return parse_no_memory(p);
    size_t len = json_unescape(&text, copy);
    copy[len] = '\0';
    *ret = copy;
    *ret_len = len;
    return 0;
}

static int bytes_read(struct json_parser *p, ProtobufCBinaryData *ret) {
    char *text = NULL;
    size_t len = 0;
    int rc = string_read(p, &text, &len);
    if (rc) return rc;
    /* Decoding in place is safe: it writes behind what it has read. */
    const char *wrong = json_base64_decode((const uint8_t *)text, len, (uint8_t *)text, &ret->len);
    if (wrong) return parse_fail(p, wrong);
    ret->data = (uint8_t *)text;
    return 0;
}

static int enum_read(struct json_parser *p, const ProtobufCFieldDescriptor *f, struct json_slot *slot) {
    struct json_text text;
    char name[128];
    if (json_peek(&p->lex) != '"') return parse_fail(p, "wants the name of a value");
    int rc = string_lex(p, &text);
    if (rc) return rc;
    slot->is_set = text.len < sizeof name && enum_find(f->descriptor, name, json_unescape(&text, name), slot->p);
    if (!slot->is_set && f->label == PROTOBUF_C_LABEL_REQUIRED) return parse_fail(p, "unknown value");
    return 0;
}

static int bool_read(struct json_parser *p, protobuf_c_boolean *ret) {
    bool quoted = json_peek(&p->lex) == '"';
    struct json_lexer lex = p->lex;
    if (quoted) lex.p++;
    bool yes = json_take_word(&lex, "true"), no = !yes && json_take_word(&lex, "false");
    if (!yes && !no) return parse_fail(p, "wants true or false");
    if (quoted && (lex.p == lex.end || *lex.p++ != '"')) return parse_fail(p, "wants true or false");
    p->lex = lex;
    *ret = yes;
    return 0;
}

/* Number token, or a string that should hold one. */
static int number_lex(struct json_parser *p, struct json_text *ret, bool *ret_quoted) {
    int c = json_peek(&p->lex);
    if (c == '"') {
        *ret_quoted = true;
        return string_lex(p, ret);
    }
    *ret_quoted = false;
    if (c != '-' && (c < '0' || c > '9')) return parse_fail(p, "wants a number");
    const char *wrong = json_lex_number(&p->lex, ret);
    return wrong ? parse_fail(p, wrong) : 0;
}

static const char *signed_store(const struct json_text *text, bool wide, void *slot) {
    int64_t v;
    const char *wrong = json_to_i64(text, &v);
    if (wrong) return wrong;
    if (!wide && (v < INT32_MIN || v > INT32_MAX)) return "number out of range";
    if (wide)
        *(int64_t *)slot = v;
    else
        *(int32_t *)slot = (int32_t)v;
    return NULL;
}

static const char *unsigned_store(const struct json_text *text, bool wide, void *slot) {
    uint64_t v;
    const char *wrong = json_to_u64(text, &v);
    if (wrong) return wrong;
    if (!wide && v > UINT32_MAX) return "number out of range";
    if (wide)
        *(uint64_t *)slot = v;
    else
        *(uint32_t *)slot = (uint32_t)v;
    return NULL;
}

static const char *double_store(const struct json_text *text, bool quoted, bool wide, void *slot) {
    double v;
    const char *wrong = quoted ? json_string_to_double(text, &v) : json_to_double(text, &v);
    if (wrong) return wrong;
    if (!wide && (v > (double)FLT_MAX || v < (double)-FLT_MAX)) return "number out of range";
    if (wide)
        *(double *)slot = v;
    else
        *(float *)slot = (float)v;
    return NULL;
}

static int number_read(struct json_parser *p, ProtobufCType type, void *slot) {
    struct json_text text;
    bool quoted;
    int rc = number_lex(p, &text, &quoted);
    if (rc) return rc;
    const char *wrong = NULL;
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        wrong = signed_store(&text, false, slot);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        wrong = signed_store(&text, true, slot);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        wrong = unsigned_store(&text, false, slot);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        wrong = unsigned_store(&text, true, slot);
        break;
    default:
        wrong = double_store(&text, quoted, type == PROTOBUF_C_TYPE_DOUBLE, slot);
        break;
    }
    return wrong ? parse_fail(p, wrong) : 0;
}

static int value_read(struct json_parser *p, const ProtobufCFieldDescriptor *f, struct json_slot *slot) {
    size_t len;
    slot->is_set = true;
    switch (f->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        return message_read(p, f->descriptor, slot->p);
    case PROTOBUF_C_TYPE_STRING:
        return string_read(p, slot->p, &len);
    case PROTOBUF_C_TYPE_BYTES:
        return bytes_read(p, slot->p);
    case PROTOBUF_C_TYPE_ENUM:
        return enum_read(p, f, slot);
    case PROTOBUF_C_TYPE_BOOL:
        return bool_read(p, slot->p);
    default:
        return number_read(p, f->type, slot->p);
    }
}

/* A growing array in the arena, for one repeated field. */
struct json_list {
    uint8_t *items;
    size_t size; /* of one item */
    size_t count;
    size_t room;
};

static void *list_next(struct json_parser *p, struct json_list *l) {
    if (l->count == l->room) {
        size_t room = l->room ? l->room * 2 : 4;
        uint8_t *items = arena_grow(p->arena, l->items, l->room * l->size, room * l->size);
        if (!items) return NULL;
        l->items = items;
        l->room = room;
    }
    return l->items + l->count * l->size;
}

static int list_read_item(struct json_parser *p, const ProtobufCFieldDescriptor *f, struct json_list *l) {
    if (json_peek(&p->lex) == 'n') return json_take_word(&p->lex, "null") ? 0 : parse_fail(p, "unknown word");
    struct json_slot slot = {.p = list_next(p, l)};
    if (!slot.p) return parse_no_memory(p);
    int rc = value_read(p, f, &slot);
    if (rc == 0 && slot.is_set) l->count++;
    return rc;
}

static int list_read(struct json_parser *p, const ProtobufCFieldDescriptor *f, struct json_list *l) {
    struct field_path_step *step = &p->path.steps[p->path.len - 1];
    if (json_peek(&p->lex) != '[') return list_read_item(p, f, l);
    int rc = depth_enter(p);
    if (rc) return rc;
    p->lex.p++;
    if (!json_take(&p->lex, ']')) {
        step->index = 0;
        do {
            rc = list_read_item(p, f, l);
            if (rc) return rc;
            step->index++;
        } while (json_take(&p->lex, ','));
        if (!json_take(&p->lex, ']')) return parse_fail(p, "expected ',' or ']'");
        step->index = FIELD_NO_INDEX;
    }
    p->depth--;
    return 0;
}

/* The key of a map is always a string in JSON; its field may be a number. */
static int map_read_key(struct json_parser *p, ProtobufCMessage *entry, const ProtobufCFieldDescriptor *key) {
    struct json_slot slot = {.p = field_slot(entry, key)};
    if (json_peek(&p->lex) != '"') return parse_fail(p, "expected a key");
    int rc = value_read(p, key, &slot);
    if (rc == 0 && !field_is_pointer(key)) *(protobuf_c_boolean *)field_quantifier(entry, key) = 1;
    if (rc == 0 && !json_take(&p->lex, ':')) rc = parse_fail(p, "expected ':'");
    return rc;
}

static int map_read_entry(struct json_parser *p, const ProtobufCMessageDescriptor *type, struct json_list *l) {
    ProtobufCMessage *entry = arena_alloc(p->arena, type->sizeof_message), **place = list_next(p, l);
    if (!entry || !place) return parse_no_memory(p);
    protobuf_c_message_init(type, entry);
    int rc = map_read_key(p, entry, &type->fields[0]);
    if (rc) return rc;
    bool is_set;
    rc = field_read(p, entry, &type->fields[1], &is_set);
    if (rc == 0 && is_set) {
        *place = entry;
        l->count++;
    }
    return rc;
}

struct map_rank { /* an entry and its place in the text */
    ProtobufCMessage *entry;
    size_t place;
};

static int map_rank_compare(const void *a, const void *b) {
    const struct map_rank *x = a, *y = b;
    const ProtobufCFieldDescriptor *key = &x->entry->descriptor->fields[0];
    int order;
    if (key->type == PROTOBUF_C_TYPE_STRING)
        order = strcmp(*(char **)field_slot(x->entry, key), *(char **)field_slot(y->entry, key));
    else
        order = memcmp(field_slot(x->entry, key), field_slot(y->entry, key), field_element_size(key));
    return order ? order : (x->place > y->place) - (x->place < y->place);
}

/* Sorts by key and keeps the last of equal keys. */
static int map_settle(struct json_parser *p, struct json_list *l) {
    ProtobufCMessage **entries = (ProtobufCMessage **)(void *)l->items;
    if (l->count < 2) return 0;
    struct map_rank *ranks = arena_alloc(p->arena, l->count * sizeof *ranks);
    if (!ranks) return parse_no_memory(p);
    for (size_t i = 0; i < l->count; i++)
        ranks[i] = (struct map_rank){entries[i], i};
    qsort(ranks, l->count, sizeof *ranks, map_rank_compare);
    size_t n = 0;
    for (size_t i = 0; i < l->count; i++) {
        struct map_rank again = {i + 1 < l->count ? ranks[i + 1].entry : NULL, ranks[i].place};
        if (i + 1 < l->count && map_rank_compare(&ranks[i], &again) == 0) continue;
        entries[n++] = ranks[i].entry;
    }
    l->count = n;
    return 0;
}

static int map_read(struct json_parser *p, const ProtobufCFieldDescriptor *f, struct json_list *l) {
    struct field_path_step *step = &p->path.steps[p->path.len - 1];
    if (!json_take(&p->lex, '{')) return parse_fail(p, "wants an object");
    int rc = depth_enter(p);
    if (rc) return rc;
    if (!json_take(&p->lex, '}')) {
        step->index = 0;
        do {
            rc = map_read_entry(p, f->descriptor, l);
            if (rc) return rc;
            step->index++;
        } while (json_take(&p->lex, ','));
        if (!json_take(&p->lex, '}')) return parse_fail(p, "expected ',' or '}'");
        step->index = FIELD_NO_INDEX;
    }
    p->depth--;
    return map_settle(p, l);
}

static int repeated_read(struct json_parser *p, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f) {
    struct json_list l = {.size = field_element_size(f)};
    int rc = field_is_map(f) ? map_read(p, f, &l) : list_read(p, f, &l);
    if (rc) return rc;
    *(size_t *)field_quantifier(m, f) = l.count;
    *(void **)field_slot(m, f) = l.count ? l.items : NULL;
    return 0;
}

/* The value of one field, after its name. `*ret_set` tells whether the field has a value now. */
static int field_read(struct json_parser *p, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, bool *ret_set) {
    *ret_set = false;
    int c = json_peek(&p->lex);
    field_clear(m, f);
    if (c == 'n') return json_take_word(&p->lex, "null") ? 0 : parse_fail(p, "unknown word");
    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        *ret_set = true;
        return repeated_read(p, m, f);
    }
    if (c == '[') return parse_fail(p, "wants one value, not an array");
    struct json_slot slot = {.p = field_slot(m, f)};
    int rc = value_read(p, f, &slot);
    if (rc || !slot.is_set) return rc;
    if (field_is_oneof(f))
        *(uint32_t *)field_quantifier(m, f) = f->id;
    else if (f->label == PROTOBUF_C_LABEL_OPTIONAL && !field_is_pointer(f))
        *(protobuf_c_boolean *)field_quantifier(m, f) = 1;
    *ret_set = true;
    return 0;
}

/* A field's name and the colon; NULL in *ret for a name that the schema does not have. */
static int name_read(struct json_parser *p, const ProtobufCMessageDescriptor *type,
                     const ProtobufCFieldDescriptor **ret) {
    struct json_text text;
    char name[128];
    if (json_peek(&p->lex) != '"') return parse_fail(p, "expected a field name");
    int rc = string_lex(p, &text);
    if (rc) return rc;
    *ret = NULL;
    if (!text.escaped)
        *ret = field_find(type, (const char *)text.data, text.len);
    else if (text.len < sizeof name)
        *ret = field_find(type, name, json_unescape(&text, name));
    return json_take(&p->lex, ':') ? 0 : parse_fail(p, "expected ':'");
}

static int member_read(struct json_parser *p, ProtobufCMessage *m, struct field_bits *seen) {
    const ProtobufCFieldDescriptor *f = NULL;
    int rc = name_read(p, m->descriptor, &f);
    if (rc) return rc;
    if (!f) {
        const char *wrong = json_skip(&p->lex, JSON_DEPTH_MAX - p->depth);
        return wrong ? parse_fail(p, wrong) : 0;
    }
    CHECK(p->path.len < FIELD_PATH_MAX);
    p->path.steps[p->path.len++] = (struct field_path_step){f->name, FIELD_NO_INDEX};
    bool is_set;
    rc = field_read(p, m, f, &is_set);
    if (rc) return rc;
    field_bits_set(seen, (size_t)(f - m->descriptor->fields), is_set);
    p->path.len--;
    return 0;
}

static int message_read(struct json_parser *p, const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret) {
    struct field_bits seen = {{0}};
    CHECK(type->n_fields <= JSON_FIELDS_MAX);
    if (json_peek(&p->lex) != '{') return parse_fail(p, "wants an object");
    int rc = depth_enter(p);
    if (rc) return rc;
    ProtobufCMessage *m = arena_alloc(p->arena, type->sizeof_message);
    if (!m) return parse_no_memory(p);
    protobuf_c_message_init(type, m);
    p->lex.p++;
    if (!json_take(&p->lex, '}')) {
        do {
            rc = member_read(p, m, &seen);
            if (rc) return rc;
        } while (json_take(&p->lex, ','));
        if (!json_take(&p->lex, '}')) return parse_fail(p, "expected ',' or '}'");
    }
    const ProtobufCFieldDescriptor *missing = field_missing(type, &seen);
    if (missing) {
        p->path.steps[p->path.len++] = (struct field_path_step){missing->name, FIELD_NO_INDEX};
        return parse_fail(p, "required field is missing");
    }
    p->depth--;
    *ret = m;
    return 0;
}

int json_parse(const ProtobufCMessageDescriptor *type, const uint8_t *text, size_t len, struct arena *arena,
               ProtobufCMessage **ret, struct err *err) {
    if (len == 0) text = (const uint8_t *)""; /* it may be NULL */
    struct json_parser p = {.lex = {text, text + len}, .begin = text, .arena = arena, .err = err};
    ProtobufCMessage *m;
    int rc = message_read(&p, type, &m);
    if (rc) return rc;
    if (json_peek(&p.lex) >= 0) return parse_fail(&p, "bytes after the end");
    *ret = m;
    return 0;
}
