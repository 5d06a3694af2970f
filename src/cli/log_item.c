/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/log_item.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "consensus/entry.h"
#include "wire/arena.h"
#include "wire/json.h"
#include "wire/protobuf.h"

#define ITEM_ARENA_MAX (64u << 20)

static int command_item(struct log_item *item, log_item_cb cb, void *ctx, bool *ret_go_on, struct err *err) {
    struct arena arena;
    ProtobufCMessage *message = NULL;
    arena_init(&arena, ITEM_ARENA_MAX);
    int rc = protobuf_parse(&conclave__log__command__descriptor, item->data, item->bytes, 0, &arena, &message, err);
    if (rc == 0) {
        item->command = (const Conclave__Log__Command *)message;
        *ret_go_on = cb(ctx, item);
    } else {
        rc = ERR_CORRUPT;
        if (err) err->code = rc;
        (void)err_wrap(err, "position %" PRIu64 ".%" PRIu32, item->index, item->n);
    }
    arena_done(&arena);
    return rc;
}

int log_entry_items(uint64_t index, uint64_t term, int type, const uint8_t *data, size_t len, log_item_cb cb, void *ctx,
                    bool *ret_go_on, struct err *err) {
    struct log_item item = {.index = index, .term = term, .type = type, .bytes = len, .data = data};
    struct entry_iter it;
    *ret_go_on = true;
    if (type != LOG_ENTRY_COMMANDS) {
        *ret_go_on = cb(ctx, &item);
        return 0;
    }
    if (entry_iter_init(&it, data, len))
        return err_set(err, ERR_CORRUPT, "entry %" PRIu64 " is no batch of commands", index);
    int rc = 0;
    for (; rc == 0 && *ret_go_on && entry_iter_next(&it, &item.data, &item.bytes); item.n++)
        rc = command_item(&item, cb, ctx, ret_go_on, err);
    return rc;
}

/* ---- subject ---- */

static const ProtobufCMessage *command_body(const Conclave__Log__Command *command, const char **ret_type) {
    const ProtobufCMessageDescriptor *d = command->base.descriptor;
    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        if (f->type != PROTOBUF_C_TYPE_MESSAGE) continue;
        const ProtobufCMessage *body = *(ProtobufCMessage *const *)((const char *)command + f->offset);
        if (!body) continue;
        *ret_type = f->name;
        return body;
    }
    *ret_type = "unknown";
    return NULL;
}

static const void *body_field(const ProtobufCMessage *body, const char *name, ProtobufCType type) {
    const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field_by_name(body->descriptor, name);
    return f && f->type == type && f->label != PROTOBUF_C_LABEL_REPEATED ? (const char *)body + f->offset : NULL;
}

static const char *body_text(const ProtobufCMessage *body, const char *name) {
    const void *at = body_field(body, name, PROTOBUF_C_TYPE_STRING);
    const char *text = at ? *(char *const *)at : NULL;
    return text && *text ? text : NULL;
}

static uint32_t body_number(const ProtobufCMessage *body, const char *name) {
    const void *at = body_field(body, name, PROTOBUF_C_TYPE_UINT32);
    return at ? *(const uint32_t *)at : 0;
}

static const char *number_text(uint32_t number, char ret[24]) {
    if (number == 0) return NULL;
    (void)snprintf(ret, 24, "#%" PRIu32, number);
    return ret;
}

void log_subject(const struct log_item *item, struct log_subject *ret) {
    *ret = (struct log_subject){0};
    if (!item->command) {
        ret->type = item->type == LOG_ENTRY_BARRIER ? "barrier" : "configuration";
        return;
    }
    const ProtobufCMessage *body = command_body(item->command, &ret->type);
    if (!body) return;
    const Conclave__Log__Accept *accept = item->command->accept;
    ret->task = body_text(body, "task_id");
    if (ret->task) ret->task_count = 1;
    if (accept && accept->n_tasks) {
        ret->task = accept->tasks[0]->task_id;
        ret->task_count = (uint32_t)accept->n_tasks;
    }
    ret->framework_number = body_number(body, "framework");
    ret->framework = body_text(body, "framework_id");
    if (!ret->framework) ret->framework = number_text(ret->framework_number, ret->framework_text);
    ret->agent_number = body_number(body, "agent");
    ret->agent = number_text(ret->agent_number, ret->agent_text);
}

bool log_item_names_task(const struct log_item *item, const char *task_id) {
    const char *type;
    if (!item->command) return false;
    const Conclave__Log__Accept *accept = item->command->accept;
    for (size_t i = 0; accept && i < accept->n_tasks; i++)
        if (!strcmp(accept->tasks[i]->task_id, task_id)) return true;
    const ProtobufCMessage *body = command_body(item->command, &type);
    const char *named = body ? body_text(body, "task_id") : NULL;
    return named && !strcmp(named, task_id);
}

int log_item_json(const struct log_item *item, struct buf *ret) {
    (void)buf_printf(ret, "{\"position\":\"%" PRIu64 ".%" PRIu32 "\",\"term\":%" PRIu64 ",\"bytes\":%zu,\"command\":",
                     item->index, item->n, item->term, item->bytes);
    if (!item->command)
        (void)buf_append_str(ret, item->type == LOG_ENTRY_BARRIER ? "\"barrier\"" : "\"configuration\"");
    else if (json_print(&item->command->base, JSON_ONLY_SET, ret))
        return ERR_LIMIT;
    (void)buf_append_byte(ret, '}');
    return ret->failed ? ERR_LIMIT : 0;
}
