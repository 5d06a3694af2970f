/* SPDX-License-Identifier: Apache-2.0
 * conclave state diff: what changed between two positions of the log, record by record. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/print.h"
#include "cli/records.h"
#include "cli/replay.h"
#include "conclave/tools.pb-c.h"

#define RECORD_ARENA (64u << 20)
#define RECORDS_MAX  ((size_t)4 << 30) /* bytes of all records of a state */
#define FIELDS_MAX   64
#define CHANGE_ARENA (64u << 20)

/* All records of a state, in order: kind (1), number (8), length (8), bytes. */
struct records {
    struct buf bytes;
    size_t at;
};
struct record {
    enum state_record_kind kind; /* 0: the end */
    uint64_t number;
    const uint8_t *data;
    size_t len;
};

static bool records_add(void *ctx, enum state_record_kind kind, uint64_t number, const uint8_t *data, size_t len) {
    struct records *r = ctx;
    (void)buf_append_byte(&r->bytes, (uint8_t)kind);
    (void)buf_append_u64(&r->bytes, number);
    (void)buf_append_u64(&r->bytes, len);
    return buf_append(&r->bytes, data, len) == 0;
}

static struct record records_peek(const struct records *r) {
    if (!r->bytes.data || r->at == r->bytes.len) return (struct record){0};
    const uint8_t *p = r->bytes.data + r->at;
    return (struct record){(enum state_record_kind)p[0], load_u64(p + 1), p + 17, (size_t)load_u64(p + 9)};
}

static void records_skip(struct records *r, const struct record *record) {
    r->at += 17 + record->len;
}

/* ---- output ---- */

struct diff {
    enum output output;
    struct rows rows;
    struct err *err;
    struct arena arena; /* of one change */
    Conclave__Tools__FieldChange *fields[FIELDS_MAX];
    size_t n_fields;
    uint64_t changes;
};

static void change_note(void *ctx, const char *field, const char *before, const char *after) {
    struct diff *d = ctx;
    Conclave__Tools__FieldChange *c = arena_alloc(&d->arena, sizeof *c);
    if (!c || d->n_fields == FIELDS_MAX) return;
    *c = (Conclave__Tools__FieldChange)CONCLAVE__TOOLS__FIELD_CHANGE__INIT;
    c->field = (char *)(uintptr_t)field;
    c->before = before ? arena_strndup(&d->arena, before, strlen(before)) : NULL;
    c->after = after ? arena_strndup(&d->arena, after, strlen(after)) : NULL;
    d->fields[d->n_fields++] = c;
}

static void table_change(const Conclave__Tools__StateChange *c) {
    printf("%c %s #%" PRIu64 " ", *c->change == 'a' ? '+' : *c->change == 'r' ? '-' : '~', c->kind, c->number);
    if (c->id) print_plain(c->id);
    (void)putchar('\n');
    for (size_t i = 0; i < c->n_fields; i++) {
        const Conclave__Tools__FieldChange *f = c->fields[i];
        printf("    %s: ", f->field);
        if (*c->change == 'c') {
            print_plain(f->before ? f->before : "(unset)");
            (void)fputs(" -> ", stdout);
        }
        print_plain(*c->change == 'r' ? (f->before ? f->before : "") : f->after ? f->after : "(unset)");
        (void)putchar('\n');
    }
}

static int change_print(struct diff *d, const struct record *before, const struct record *after) {
    const struct record *one = after ? after : before;
    ProtobufCMessage *x = NULL, *y = NULL;
    int rc = 0;
    arena_init(&d->arena, CHANGE_ARENA);
    d->n_fields = 0;
    if (before) rc = record_parse(one->kind, before->data, before->len, &d->arena, &x, d->err);
    if (rc == 0 && after) rc = record_parse(one->kind, after->data, after->len, &d->arena, &y, d->err);
    if (rc == 0) {
        record_diff(one->kind, x, y, change_note, d);
        Conclave__Tools__StateChange c = CONCLAVE__TOOLS__STATE_CHANGE__INIT;
        c.kind = (char *)(uintptr_t)record_kind_name(one->kind);
        c.number = one->number;
        c.id = (char *)(uintptr_t)record_id(y ? y : x);
        if (!*c.id) c.id = NULL;
        c.change = (char *)(uintptr_t)(!before ? "added" : !after ? "removed" : "changed");
        c.fields = d->fields;
        c.n_fields = d->n_fields;
        d->changes++;
        if (d->output == OUTPUT_TABLE)
            table_change(&c);
        else
            rows_message(&d->rows, &c.base);
    }
    arena_done(&d->arena);
    return rc;
}

static int compare(const struct record *a, const struct record *b) {
    if (!a->kind) return 1;
    if (!b->kind) return -1;
    if (a->kind != b->kind) return a->kind < b->kind ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

static int diff_print(struct diff *d, struct records *before, struct records *after) {
    int rc = 0;
    while (rc == 0 && !interrupted()) {
        struct record a = records_peek(before), b = records_peek(after);
        if (!a.kind && !b.kind) break;
        int order = compare(&a, &b);
        if (order < 0) {
            rc = change_print(d, &a, NULL);
        } else if (order > 0) {
            rc = change_print(d, NULL, &b);
        } else if (a.data && b.data && (a.len != b.len || memcmp(a.data, b.data, a.len) != 0)) {
            rc = change_print(d, &a, &b);
        }
        if (order <= 0) records_skip(before, &a);
        if (order >= 0) records_skip(after, &b);
    }
    return rc;
}

/* ---- the command ---- */

static int states_take(const struct options *o, const struct log_position at[2], struct records records[2],
                       struct err *err) {
    struct log_source *source = NULL;
    struct replay replay = {0};
    int rc = log_source_open(o, &source, err);
    if (rc == 0) rc = replay_at(source, &at[0], &replay, err);
    if (rc == 0) state_records(replay.state, records_add, &records[0]);
    if (rc == 0 && at[0].whole) {
        rc = replay_to(&replay, &at[1], NULL, err);
        if (rc == 0 && replay.index < at[1].index)
            rc = err_set(err, ERR_NOT_FOUND, "entry %" PRIu64 " is not there: the log ends with %" PRIu64, at[1].index,
                         replay.index);
    } else if (rc == 0) { /* the rest of a begun entry cannot be applied: from the beginning again */
        replay_done(&replay);
        rc = replay_at(source, &at[1], &replay, err);
    }
    if (rc == 0) state_records(replay.state, records_add, &records[1]);
    if (rc == 0 && (records[0].bytes.failed || records[1].bytes.failed))
        rc = err_set(err, ERR_LIMIT, "the state is too large to be compared");
    replay_done(&replay);
    log_source_close(source);
    return rc;
}

static int positions_parse(char *const *operands, int n, struct log_position at[2], struct err *err) {
    if (n != 2) return err_set(err, ERR_INVALID, "two positions are wanted: conclave state diff A B");
    int rc = log_position_parse(operands[0], &at[0], err);
    if (rc == 0) rc = log_position_parse(operands[1], &at[1], err);
    if (rc) return rc;
    if (at[0].index > at[1].index || (at[0].index == at[1].index && !at[1].whole && (at[0].whole || at[0].n > at[1].n)))
        return err_set(err, ERR_INVALID, "the first position is behind the second");
    return 0;
}

/* "--index A --index B" is taken as "A B". */
static int indexes_to_operands(int argc, char **argv) {
    int n = 0;
    for (int i = 0; i < argc; i++) {
        if (!strcmp(argv[i], "--index") && i + 1 < argc) continue;
        argv[n++] = !strncmp(argv[i], "--index=", 8) ? argv[i] + 8 : argv[i];
    }
    return n;
}

int state_diff_main(int argc, char **argv) {
    struct options o = {0};
    const struct flag table[] = {OPTION_FLAGS(o), LOG_SOURCE_FLAGS(o), {0}};
    struct err err = {0};
    struct log_position at[2];
    struct records records[2] = {0};
    int rest, code;
    argc = indexes_to_operands(argc, argv);
    if (options_parse(table, &o, argc, argv, "conclave state diff A B [FLAGS]   (positions; also --index A --index B)",
                      0, 2, &rest, &code))
        return code;
    interrupt_catch();
    buf_init(&records[0].bytes, RECORDS_MAX);
    buf_init(&records[1].bytes, RECORDS_MAX);
    int rc = positions_parse(argv + rest, argc - rest, at, &err);
    if (rc == 0) rc = states_take(&o, at, records, &err);
    struct diff diff = {.output = o.output, .err = &err};
    if (rc == 0) {
        if (o.output != OUTPUT_TABLE) rows_begin(&diff.rows, o.output);
        rc = diff_print(&diff, &records[0], &records[1]);
        if (o.output != OUTPUT_TABLE) rows_end(&diff.rows);
        if (rc == 0 && o.output == OUTPUT_TABLE && diff.changes == 0) printf("no difference\n");
    }
    buf_done(&records[0].bytes);
    buf_done(&records[1].bytes);
    if (interrupted()) return EXIT_INTERRUPTED;
    return rc ? fail(&err) : 0;
}
