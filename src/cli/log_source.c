/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/log_source.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "conclave/admin.pb-c.h"
#include "consensus/disk_file.h"
#include "consensus/entry.h"
#include "consensus/verify.h"
#include "wire/protobuf.h"

#define LOG_PAGE 500

struct walk {
    log_item_cb cb;
    void *ctx;
    bool stopped;
    int rc;
    struct err *err;
};

static bool walk_command(struct walk *w, struct log_item *item, const uint8_t *data, size_t len) {
    struct arena arena;
    ProtobufCMessage *message = NULL;
    arena_init(&arena, 64u << 20);
    int rc = protobuf_parse(&conclave__log__command__descriptor, data, len, 0, &arena, &message, w->err);
    if (rc) {
        w->rc = ERR_CORRUPT;
        (void)err_wrap(w->err, "position %" PRIu64 ".%" PRIu32, item->index, item->n);
    } else {
        item->command = (const Conclave__Log__Command *)message;
        item->bytes = len;
        w->stopped = !w->cb(w->ctx, item);
    }
    arena_done(&arena);
    return rc == 0 && !w->stopped;
}

static bool walk_entry(void *ctx, uint64_t index, uint64_t term, int type, const uint8_t *data, size_t len) {
    struct walk *w = ctx;
    struct log_item item = {.index = index, .term = term, .type = type, .bytes = len};
    if (type != 1) {
        w->stopped = !w->cb(w->ctx, &item);
        return !w->stopped;
    }
    struct entry_iter it;
    const uint8_t *command;
    size_t command_len;
    if (entry_iter_init(&it, data, len)) {
        w->rc = err_set(w->err, ERR_CORRUPT, "entry %" PRIu64 " is no batch of commands", index);
        return false;
    }
    for (; entry_iter_next(&it, &command, &command_len); item.n++)
        if (!walk_command(w, &item, command, command_len)) return false;
    return true;
}

static int walk_offline(const struct options *o, uint64_t from, uint64_t to, struct walk *w, struct err *err) {
    struct disk *disk = NULL;
    int rc = disk_file_open_readonly(o->data_dir, &disk, err);
    if (rc) return rc;
    rc = verify_entries(disk, true, from, to, walk_entry, w, NULL, NULL, err);
    disk_close(disk);
    return w->rc ? w->rc : rc == ERR_NOT_FOUND ? 0 : rc;
}

static int walk_live(const struct options *o, uint64_t from, uint64_t to, struct walk *w, struct err *err) {
    for (uint64_t at = from; !w->stopped && w->rc == 0 && at <= to;) {
        struct answer answer;
        struct arena arena;
        ProtobufCMessage *message = NULL;
        char path[96];
        int n_path = snprintf(path, sizeof path, "/conclave/v1/log?count=%d", LOG_PAGE);
        if (at) (void)snprintf(path + n_path, sizeof path - (size_t)n_path, "&from=%" PRIu64, at);
        const struct request request = {.method = "GET", .path = path, .timeout_ms = 10000};
        int rc = client_request_any(o, &request, &answer, err);
        if (rc) return rc == ERR_NOT_FOUND && at != from ? 0 : rc;
        arena_init(&arena, CLIENT_ANSWER_MAX);
        rc = answer_message(&answer, &conclave__admin__log__descriptor, &arena, &message, err);
        const Conclave__Admin__Log *log = (const Conclave__Admin__Log *)message;
        size_t n = rc ? 0 : log->n_entries;
        for (size_t i = 0; i < n && !w->stopped && log->entries[i]->index <= to; i++) {
            const Conclave__Admin__LogEntry *e = log->entries[i];
            if (!walk_entry(w, e->index, e->term, (int)e->type, e->data.data, e->data.len)) break;
        }
        if (n) at = log->entries[n - 1]->index + 1;
        arena_done(&arena);
        answer_done(&answer);
        if (rc) return rc;
        if (n == 0) break;
    }
    return w->rc;
}

int log_walk(const struct options *o, uint64_t from, uint64_t to, log_item_cb cb, void *ctx, struct err *err) {
    struct walk w = {.cb = cb, .ctx = ctx, .err = err};
    return o->data_dir ? walk_offline(o, from, to, &w, err) : walk_live(o, from, to, &w, err);
}

/* The typed fields of a command that name things, found by their names in the schema: a new command needs no change
 * here. */
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
    return at ? *(char *const *)at : NULL;
}

static const char *body_number(const ProtobufCMessage *body, const char *name, char ret[24]) {
    const void *at = body_field(body, name, PROTOBUF_C_TYPE_UINT32);
    if (!at || *(const uint32_t *)at == 0) return NULL;
    (void)snprintf(ret, 24, "#%" PRIu32, *(const uint32_t *)at);
    return ret;
}

void log_subject(const Conclave__Log__Command *command, struct log_subject *ret) {
    *ret = (struct log_subject){0};
    const ProtobufCMessage *body = command_body(command, &ret->type);
    if (!body) return;
    ret->task = body_text(body, "task_id");
    if (command->accept && command->accept->n_tasks) ret->task = command->accept->tasks[0]->task_id;
    ret->framework = body_text(body, "framework_id");
    if (!ret->framework) ret->framework = body_number(body, "framework", ret->framework_text);
    ret->agent = body_number(body, "agent", ret->agent_text);
}
