/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/records.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/crc32c.h"
#include "conclave/snapshot.pb-c.h"
#include "mesos/v1/mesos.pb-c.h"
#include "wire/json.h"
#include "wire/protobuf.h"

#define TEXT_MAX   (16u << 20) /* of one rendered field */
#define ARENA_SIZE (64u << 20)

static const char *const names[] = {"", "globals", "agent", "framework", "task"};

static const ProtobufCMessageDescriptor *descriptor_of(enum state_record_kind kind) {
    switch (kind) {
    case STATE_RECORD_GLOBALS:
        return &conclave__snapshot__globals__descriptor;
    case STATE_RECORD_AGENT:
        return &conclave__snapshot__agent__descriptor;
    case STATE_RECORD_FRAMEWORK:
        return &conclave__snapshot__framework__descriptor;
    case STATE_RECORD_TASK:
        return &conclave__snapshot__task__descriptor;
    }
    return NULL;
}

const char *record_kind_name(enum state_record_kind kind) {
    return names[kind];
}

int record_kind_parse(const char *text, enum state_record_kind *ret) {
    for (int i = STATE_RECORD_GLOBALS; i <= STATE_RECORD_TASK; i++) {
        size_t len = strlen(names[i]);
        if (strncmp(text, names[i], len) != 0 || (text[len] && strcmp(text + len, "s") != 0)) continue;
        *ret = (enum state_record_kind)i;
        return 0;
    }
    return ERR_NOT_FOUND;
}

int record_parse(enum state_record_kind kind, const uint8_t *data, size_t len, struct arena *arena,
                 ProtobufCMessage **ret, struct err *err) {
    struct err why;
    if (protobuf_parse(descriptor_of(kind), data, len, 0, arena, ret, &why) == 0) return 0;
    return err_set(err, ERR_CORRUPT, "a record of the state: %s", why.text);
}

static const ProtobufCFieldDescriptor *field_named(const ProtobufCMessage *m, const char *name) {
    return protobuf_c_message_descriptor_get_field_by_name(m->descriptor, name);
}

const char *record_id(const ProtobufCMessage *record) {
    const ProtobufCFieldDescriptor *f = field_named(record, "id");
    const char *id = f ? *(char *const *)((const char *)record + f->offset) : NULL;
    return id ? id : "";
}

/* ---- JSON ---- */

/* Which Mesos message a field of bytes holds. */
static const struct {
    enum state_record_kind kind;
    const char *field;
    const ProtobufCMessageDescriptor *type;
} opaque[] = {
    {STATE_RECORD_AGENT, "info", &mesos__v1__agent_info__descriptor},
    {STATE_RECORD_FRAMEWORK, "info", &mesos__v1__framework_info__descriptor},
    {STATE_RECORD_TASK, "status", &mesos__v1__task_status__descriptor},
    {STATE_RECORD_TASK, "info", &mesos__v1__task_info__descriptor},
    {STATE_RECORD_TASK, "view", &mesos__v1__task__descriptor},
};
#define OPAQUE_COUNT (sizeof opaque / sizeof *opaque)

static ProtobufCBinaryData *opaque_field(size_t i, const ProtobufCMessage *record) {
    const ProtobufCFieldDescriptor *f = field_named(record, opaque[i].field);
    return f ? (ProtobufCBinaryData *)(uintptr_t)((const char *)record + f->offset) : NULL;
}

/* Renders it behind the record and empties the field; bytes that are no such message stay as they are. */
static void opaque_take(size_t i, ProtobufCBinaryData *bytes, struct buf *ret) {
    struct arena arena;
    ProtobufCMessage *message = NULL;
    if (bytes->len == 0) return;
    arena_init(&arena, ARENA_SIZE);
    if (protobuf_parse(opaque[i].type, bytes->data, bytes->len, 0, &arena, &message, NULL) == 0) {
        size_t at = ret->len;
        (void)buf_printf(ret, ",\"%s\":", opaque[i].field);
        if (json_print(message, JSON_ONLY_SET, ret) == 0)
            bytes->len = 0;
        else
            ret->len = at;
    }
    arena_done(&arena);
}

int record_json(enum state_record_kind kind, uint64_t number, const ProtobufCMessage *record, struct buf *ret) {
    struct buf beside;
    ProtobufCBinaryData *fields[OPAQUE_COUNT];
    size_t lengths[OPAQUE_COUNT];
    buf_init(&beside, TEXT_MAX);
    for (size_t i = 0; i < OPAQUE_COUNT; i++) {
        fields[i] = opaque[i].kind == kind ? opaque_field(i, record) : NULL;
        lengths[i] = fields[i] ? fields[i]->len : 0;
        if (fields[i]) opaque_take(i, fields[i], &beside);
    }
    (void)buf_printf(ret, "{\"kind\":\"%s\",\"number\":%" PRIu64 ",\"record\":", names[kind], number);
    int rc = json_print(record, JSON_ONLY_SET, ret);
    for (size_t i = 0; i < OPAQUE_COUNT; i++)
        if (fields[i]) fields[i]->len = lengths[i];
    if (beside.len) (void)buf_append(ret, beside.data, beside.len);
    (void)buf_append_byte(ret, '}');
    buf_done(&beside);
    return rc ? rc : ret->failed ? ERR_LIMIT : 0;
}

/* ---- texts of fields ---- */

static void flags_text(uint32_t flags, struct buf *ret) {
    static const char *const bits[] = {"confirmed", "holds", "kill_wanted", "unacknowledged"};
    const char *separator = "";
    for (unsigned i = 0; i < 32; i++) {
        if (!(flags >> i & 1)) continue;
        if (i < 4)
            (void)buf_printf(ret, "%s%s", separator, bits[i]);
        else
            (void)buf_printf(ret, "%sbit %u", separator, i);
        separator = "+";
    }
    if (!*separator) (void)buf_append_str(ret, "none");
}

static void bytes_text(const ProtobufCBinaryData *b, struct buf *ret) {
    if (b->len > 16) {
        (void)buf_printf(ret, "%zu bytes, crc32c %08" PRIx32, b->len, crc32c(0, b->data, b->len));
        return;
    }
    for (size_t i = 0; i < b->len; i++)
        (void)buf_printf(ret, "%02x", b->data[i]);
}

static size_t value_size(const ProtobufCFieldDescriptor *f) {
    switch (f->type) {
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_INT64:
        return 8;
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    default:
        return 4;
    }
}

static void value_text(enum state_record_kind kind, const ProtobufCFieldDescriptor *f, const void *value,
                       struct buf *ret) {
    bool task = kind == STATE_RECORD_TASK;
    switch (f->type) {
    case PROTOBUF_C_TYPE_UINT32:
        if (task && (!strcmp(f->name, "state") || !strcmp(f->name, "latest_state")))
            (void)buf_append_str(ret, task_state_name(*(const uint32_t *)value));
        else if (task && !strcmp(f->name, "flags"))
            flags_text(*(const uint32_t *)value, ret);
        else
            (void)buf_printf(ret, "%" PRIu32, *(const uint32_t *)value);
        break;
    case PROTOBUF_C_TYPE_UINT64:
        (void)buf_printf(ret, "%" PRIu64, *(const uint64_t *)value);
        break;
    case PROTOBUF_C_TYPE_STRING:
        (void)buf_append_str(ret, *(char *const *)value ? *(char *const *)value : "");
        break;
    case PROTOBUF_C_TYPE_BYTES:
        bytes_text(value, ret);
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        if (*(ProtobufCMessage *const *)value) (void)json_print(*(ProtobufCMessage *const *)value, 0, ret);
        break;
    default: /* the schema of snapshots has no others */
        (void)buf_append_str(ret, "?");
        break;
    }
}

/* False: the field is not set, or there is no record. */
static bool field_text(enum state_record_kind kind, const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
                       struct buf *ret) {
    buf_clear(ret);
    if (!m) return false;
    const char *at = (const char *)m + f->offset;
    const void *quantifier = (const char *)m + f->quantifier_offset;
    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t n = *(const size_t *)quantifier;
        for (size_t i = 0; i < n; i++) {
            (void)buf_append_str(ret, i ? "," : "");
            value_text(kind, f, *(char *const *)at + i * value_size(f), ret);
        }
    } else if (f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_MESSAGE) {
        if (!*(void *const *)at) return false;
        value_text(kind, f, at, ret);
    } else {
        if (f->label == PROTOBUF_C_LABEL_OPTIONAL && !*(const protobuf_c_boolean *)quantifier) return false;
        value_text(kind, f, at, ret);
    }
    (void)buf_append_byte(ret, '\0');
    return true;
}

static const char *text_of(bool set, const struct buf *b) {
    return !set ? NULL : b->failed ? "(too long)" : (const char *)b->data;
}

void record_diff(enum state_record_kind kind, const ProtobufCMessage *before, const ProtobufCMessage *after,
                 record_change_cb cb, void *ctx) {
    const ProtobufCMessageDescriptor *d = descriptor_of(kind);
    struct buf a, b;
    buf_init(&a, TEXT_MAX);
    buf_init(&b, TEXT_MAX);
    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        const char *x = text_of(field_text(kind, before, f, &a), &a);
        const char *y = text_of(field_text(kind, after, f, &b), &b);
        if (x == y || (x && y && !strcmp(x, y))) continue;
        cb(ctx, f->name, x, y);
    }
    buf_done(&a);
    buf_done(&b);
}

int record_summary(enum state_record_kind kind, const ProtobufCMessage *record, struct buf *ret) {
    if (kind == STATE_RECORD_TASK) {
        const Conclave__Snapshot__Task *t = (const Conclave__Snapshot__Task *)record;
        (void)buf_printf(ret,
                         "%s framework=#%" PRIu32 " agent=#%" PRIu32 " launch=%" PRIu64 ".%" PRIu32 ".%" PRIu32 " ",
                         task_state_name(t->state), t->framework, t->agent, t->launch_index, t->launch_n, t->launch_k);
        flags_text(t->flags, ret);
        if (t->completed_seq) (void)buf_append_str(ret, " completed");
    } else if (kind == STATE_RECORD_FRAMEWORK) {
        static const char *const statuses[] = {"?", "connected", "disconnected", "removed"};
        const Conclave__Snapshot__Framework *f = (const Conclave__Snapshot__Framework *)record;
        (void)buf_printf(ret, "%s name=%s subscribed=%" PRIu64 " since=%" PRIu64,
                         statuses[f->status <= 3 ? f->status : 0], f->name, f->subscribed, f->since);
    } else if (kind == STATE_RECORD_AGENT) {
        static const char *const statuses[] = {"?", "active", "unreachable", "gone"};
        const Conclave__Snapshot__Agent *a = (const Conclave__Snapshot__Agent *)record;
        (void)buf_printf(ret, "%s host=%s http=%s since=%" PRIu64, statuses[a->status <= 3 ? a->status : 0],
                         a->hostname, a->http, a->since);
    } else {
        const Conclave__Snapshot__Globals *g = (const Conclave__Snapshot__Globals *)record;
        (void)buf_printf(ret,
                         "level=%" PRIu32 " incarnation=%" PRIu32 " applied=%" PRIu64 ".%" PRIu32 " leader=%" PRIu64
                         " term=%" PRIu64,
                         g->level, g->incarnation, g->applied_index, g->applied_n, g->leader ? g->leader->node : 0,
                         g->leader ? g->leader->term : 0);
    }
    return ret->failed ? ERR_LIMIT : 0;
}
