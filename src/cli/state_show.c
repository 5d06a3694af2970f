/* SPDX-License-Identifier: Apache-2.0
 * conclave state show: the state at a position of the log. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/print.h"
#include "cli/records.h"
#include "cli/replay.h"

#define RECORD_TEXT_MAX (64u << 20)

struct show {
    enum output output;
    struct rows rows;
    enum state_record_kind kind; /* 0: any */
    const char *id;              /* NULL: any */
    uint64_t shown;
    int rc;
    struct err *err;
};

static bool wanted(const struct show *s, enum state_record_kind kind, uint64_t number, const ProtobufCMessage *record) {
    char text[32];
    if (s->kind && kind != s->kind) return false;
    (void)snprintf(text, sizeof text, "#%" PRIu64, number);
    return !s->id || !strcmp(record_id(record), s->id) || !strcmp(text, s->id);
}

static void table_record(enum state_record_kind kind, uint64_t number, const ProtobufCMessage *record) {
    struct buf line;
    buf_init(&line, RECORD_TEXT_MAX);
    (void)record_summary(kind, record, &line);
    (void)buf_append_byte(&line, '\0');
    printf("%-10s #%-9" PRIu64 " ", record_kind_name(kind), number);
    print_plain(*record_id(record) ? record_id(record) : "-");
    (void)fputs("  ", stdout);
    if (!line.failed) print_plain((const char *)line.data);
    (void)putchar('\n');
    buf_done(&line);
}

static bool show_record(void *ctx, enum state_record_kind kind, uint64_t number, const uint8_t *data, size_t len) {
    struct show *s = ctx;
    struct arena arena;
    ProtobufCMessage *record = NULL;
    if (interrupted()) return false;
    if (s->kind && kind != s->kind) return true;
    arena_init(&arena, RECORD_TEXT_MAX);
    s->rc = record_parse(kind, data, len, &arena, &record, s->err);
    if (s->rc == 0 && wanted(s, kind, number, record)) {
        s->shown++;
        struct buf line;
        buf_init(&line, RECORD_TEXT_MAX);
        if (s->output == OUTPUT_TABLE && !s->id)
            table_record(kind, number, record);
        else if (record_json(kind, number, record, &line) == 0)
            rows_text(&s->rows, (const char *)line.data, line.len);
        buf_done(&line);
    }
    arena_done(&arena);
    return s->rc == 0;
}

static void show_head(const struct replay *r) {
    char hash[33];
    struct state_counts c;
    hash128_hex(state_hash(r->state), hash);
    state_counts(r->state, &c);
    printf("state after entry %" PRIu64 " (term %" PRIu64 "), hash %s\n", r->index, r->term, hash);
    printf("agents: %" PRIu32 " active, %" PRIu32 " unreachable, %" PRIu32 " gone; frameworks: %" PRIu32
           " connected, %" PRIu32 " disconnected; tasks: %" PRIu64 " live, %" PRIu64 " completed\n\n",
           c.agents_active, c.agents_unreachable, c.agents_gone, c.frameworks_connected, c.frameworks_disconnected,
           c.tasks_live, c.tasks_completed);
}

static int show_state(const struct options *o, const struct log_position *at, struct show *s, struct err *err) {
    struct log_source *source = NULL;
    struct replay replay = {0};
    int rc = log_source_open(o, &source, err);
    if (rc == 0) rc = replay_at(source, at, &replay, err);
    if (rc == 0) {
        if (o->output == OUTPUT_TABLE && !s->id) show_head(&replay);
        rows_begin(&s->rows, o->output == OUTPUT_TABLE ? OUTPUT_JSONL : o->output);
        state_records(replay.state, show_record, s);
        rows_end(&s->rows);
        rc = s->rc;
        if (rc == 0 && s->id && s->shown == 0)
            rc = err_set(err, ERR_NOT_FOUND, "no %s %.80s in the state after entry %" PRIu64, record_kind_name(s->kind),
                         s->id, replay.index);
    }
    replay_done(&replay);
    log_source_close(source);
    return rc;
}

int state_show_main(int argc, char **argv) {
    struct options o = {0};
    const char *index = NULL;
    const struct flag table[] = {
        OPTION_FLAGS(o),
        LOG_SOURCE_FLAGS(o),
        {"index", FLAG_STRING, &index, 0, 64, false, "POSITION", "INDEX or INDEX.N; default: the end of the log"},
        {0}};
    struct err err = {0};
    struct log_position at;
    int rest, code;
    if (options_parse(table, &o, argc, argv,
                      "conclave state show [KIND [ID]] [FLAGS]   KIND: globals agent framework task", 0, 2, &rest,
                      &code))
        return code;
    struct show show = {.output = o.output, .err = &err};
    int rc = index ? log_position_parse(index, &at, &err) : 0;
    if (rc == 0 && rest < argc && record_kind_parse(argv[rest], &show.kind))
        rc = err_set(&err, ERR_INVALID, "'%.40s' is none of globals, agent, framework, task", argv[rest]);
    if (rest + 1 < argc) show.id = argv[rest + 1];
    interrupt_catch();
    if (rc == 0) rc = show_state(&o, index ? &at : NULL, &show, &err);
    if (interrupted()) return EXIT_INTERRUPTED;
    return rc ? fail(&err) : 0;
}
