/* SPDX-License-Identifier: Apache-2.0
 * conclave task history: every command that names the task or changes its record, with who led and what changed. The
 * commands are applied one after the other from as far back as the source reaches; after each one the record is
 * compared with what it was. So commands that name only a framework or an agent are found as well. */
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

#define WATCHED_MAX 256 /* frameworks with a task of that id */
#define FIELDS_MAX  64
#define RECORD_MAX  (8u << 20)
#define EVENT_ARENA (64u << 20)

/* A framework in which there is, or may be, a task of the id. */
struct watched {
    uint32_t framework;
    uint64_t number; /* of the task, 0: none now */
    struct hash128 hash;
    struct buf record; /* as it was after the command before */
};

struct history {
    const char *task, *framework; /* framework NULL: any */
    enum output output;
    struct rows rows;
    struct watched watched[WATCHED_MAX];
    size_t n;
    bool full;
    uint64_t events;
    int rc;
    struct err *err;
    /* of the event that is being made */
    struct arena arena;
    Conclave__Tools__FieldChange *fields[FIELDS_MAX];
    size_t n_fields;
};

static bool framework_wanted(const struct history *h, const struct state *state, uint32_t number) {
    const struct framework *f = state_framework(state, number);
    if (!h->framework) return true;
    if (*h->framework == '#') return log_id_number(h->framework, false) == number;
    return f && !strcmp(f->id, h->framework);
}

static struct watched *watch_add(struct history *h, uint32_t framework) {
    for (size_t i = 0; i < h->n; i++)
        if (h->watched[i].framework == framework) return &h->watched[i];
    if (h->n == WATCHED_MAX) {
        h->full = true;
        return NULL;
    }
    struct watched *w = &h->watched[h->n++];
    *w = (struct watched){.framework = framework};
    buf_init(&w->record, RECORD_MAX);
    return w;
}

static void record_keep(struct watched *w, const struct state *state, const struct task *task) {
    buf_clear(&w->record);
    w->number = task ? task->number : 0;
    if (!task) return;
    size_t len;
    const uint8_t *data = state_task_record(state, task, &len);
    (void)buf_append(&w->record, data, len);
    w->hash = task->hash;
}

/* ---- one event ---- */

static void change_note(void *ctx, const char *field, const char *before, const char *after) {
    struct history *h = ctx;
    Conclave__Tools__FieldChange *c = arena_alloc(&h->arena, sizeof *c);
    if (!c || h->n_fields == FIELDS_MAX) return;
    *c = (Conclave__Tools__FieldChange)CONCLAVE__TOOLS__FIELD_CHANGE__INIT;
    c->field = (char *)(uintptr_t)field;
    c->before = before ? arena_strndup(&h->arena, before, strlen(before)) : NULL;
    c->after = after ? arena_strndup(&h->arena, after, strlen(after)) : NULL;
    h->fields[h->n_fields++] = c;
}

/* Compares the kept record with the present one, and keeps that. A new task under the old id begins from nothing. */
static int changes_make(struct history *h, struct watched *w, const struct state *state, const struct task *task) {
    ProtobufCMessage *before = NULL, *after = NULL;
    size_t len;
    int rc = 0;
    bool same_task = task && w->number == task->number;
    if (w->number && (same_task || !task))
        rc = record_parse(STATE_RECORD_TASK, w->record.data, w->record.len, &h->arena, &before, h->err);
    if (rc == 0 && task) {
        const uint8_t *data = state_task_record(state, task, &len);
        rc = record_parse(STATE_RECORD_TASK, data, len, &h->arena, &after, h->err);
    }
    if (rc == 0 && before && !after)
        change_note(h, "record", "in the history", "dropped: the history is bounded");
    else if (rc == 0)
        record_diff(STATE_RECORD_TASK, before, after, change_note, h);
    return rc;
}

static void event_table(const Conclave__Tools__TaskEvent *e) {
    printf("%-14s term %-4" PRIu64 " leader %-3" PRIu64 " %s  %s", e->position, e->term, e->leader, e->wall, e->type);
    if (e->outcome && strcmp(e->outcome, "ok") != 0) printf("  [%s]", e->outcome);
    if (e->reason) {
        (void)fputs("  ", stdout);
        print_plain(e->reason);
    }
    (void)putchar('\n');
    for (size_t i = 0; i < e->n_changes; i++) {
        const Conclave__Tools__FieldChange *c = e->changes[i];
        printf("    %-16s ", c->field);
        if (c->before) {
            print_plain(c->before);
            (void)fputs(" -> ", stdout);
        }
        print_plain(c->after ? c->after : "(unset)");
        (void)putchar('\n');
    }
}

static void event_print(struct history *h, Conclave__Tools__TaskEvent *e) {
    e->changes = h->fields;
    e->n_changes = h->n_fields;
    h->events++;
    if (h->output == OUTPUT_TABLE)
        event_table(e);
    else
        rows_message(&h->rows, &e->base);
}

static const char *outcome_text(enum outcome_code code) {
    static const char *const names[] = {"ok", "no_change", "refused", "conflict", "not_found"};
    return (size_t)code < sizeof names / sizeof *names ? names[code] : "?";
}

/* What apply decided; of an ACCEPT: about this task. */
static void outcome_fill(const struct history *h, const struct log_item *item, const struct outcome *outcome,
                         Conclave__Tools__TaskEvent *e) {
    const Conclave__Log__Accept *accept = item->command->accept;
    e->outcome = (char *)(uintptr_t)outcome_text(outcome->code);
    e->reason = *outcome->reason ? (char *)(uintptr_t)outcome->reason : NULL;
    for (size_t i = 0; accept && i < accept->n_tasks && i < outcome->task_count; i++) {
        if (strcmp(accept->tasks[i]->task_id, h->task) != 0 || outcome->tasks[i].launched) continue;
        e->outcome = (char *)(uintptr_t)task_state_name(outcome->tasks[i].state);
        e->reason = (char *)(uintptr_t)outcome->tasks[i].reason;
    }
}

static void event_make(struct history *h, const struct replay *r, const struct log_item *item,
                       const struct outcome *outcome, uint32_t framework) {
    Conclave__Tools__TaskEvent e = CONCLAVE__TOOLS__TASK_EVENT__INIT;
    struct log_subject subject;
    char position[48], wall[32];
    const struct framework *f = state_framework(r->state, framework);
    log_subject(item, &subject);
    (void)snprintf(position, sizeof position, "%" PRIu64 ".%" PRIu32, item->index, item->n);
    e.position = position;
    e.term = item->term;
    e.leader = state_leader(r->state)->node;
    e.cluster_ms = item->command->cluster_ms;
    e.wall = (char *)(uintptr_t)wall_text(item->command->wall_ms, wall);
    e.type = (char *)(uintptr_t)subject.type;
    e.framework = f ? f->id : NULL;
    e.principal = item->command->principal;
    outcome_fill(h, item, outcome, &e);
    event_print(h, &e);
}

/* ---- the walk ---- */

/* The framework that a command about the task belongs to, 0: unknown. */
static uint32_t item_framework(const struct state *state, const struct log_item *item) {
    struct log_subject s;
    log_subject(item, &s);
    if (s.framework_number) return s.framework_number;
    const struct framework *f = s.framework ? state_framework_by_id(state, s.framework) : NULL;
    return f ? f->number : 0;
}

static bool after_command(void *ctx, const struct replay *r, const struct log_item *item,
                          const struct outcome *outcome) {
    struct history *h = ctx;
    bool names = log_item_names_task(item, h->task);
    uint32_t named = names ? item_framework(r->state, item) : 0;
    if (named && framework_wanted(h, r->state, named)) (void)watch_add(h, named);
    for (size_t i = 0; h->rc == 0 && i < h->n; i++) {
        struct watched *w = &h->watched[i];
        const struct task *task = state_task_by_id(r->state, w->framework, h->task);
        bool changed = (task ? task->number : 0) != w->number || (task && !hash128_equal(task->hash, w->hash));
        if (!changed && named != w->framework) continue;
        arena_init(&h->arena, EVENT_ARENA);
        h->n_fields = 0;
        if (changed) h->rc = changes_make(h, w, r->state, task);
        if (h->rc == 0) event_make(h, r, item, outcome, w->framework);
        if (changed) record_keep(w, r->state, task);
        arena_done(&h->arena);
    }
    return h->rc == 0;
}

/* What the snapshot knows already, as one event; its commands are gone. */
static void begin_with(struct history *h, const struct replay *r) {
    for (const struct framework *f = NULL; (f = state_framework_next(r->state, f ? f->number : 0));) {
        const struct task *task = state_task_by_id(r->state, f->number, h->task);
        struct watched *w = task && framework_wanted(h, r->state, f->number) ? watch_add(h, f->number) : NULL;
        Conclave__Tools__TaskEvent e = CONCLAVE__TOOLS__TASK_EVENT__INIT;
        char position[48], wall[32];
        if (!w) continue;
        (void)snprintf(position, sizeof position, "%" PRIu64, r->index);
        e.position = position;
        e.term = r->term;
        e.leader = state_leader(r->state)->node;
        e.cluster_ms = state_cluster_ms(r->state);
        e.wall = (char *)(uintptr_t)wall_text(task->changed_wall_ms, wall);
        e.type = (char *)(uintptr_t) "snapshot";
        e.reason = (char *)(uintptr_t) "what was before is no longer in the log";
        e.framework = f->id;
        arena_init(&h->arena, EVENT_ARENA);
        h->n_fields = 0;
        h->rc = changes_make(h, w, r->state, task);
        if (h->rc == 0) event_print(h, &e);
        record_keep(w, r->state, task);
        arena_done(&h->arena);
    }
}

static int history_print(const struct options *o, struct history *h, struct err *err) {
    struct log_source *source = NULL;
    struct replay replay = {0};
    const struct replay_watch watch = {.ctx = h, .after = after_command};
    int rc = log_source_open(o, &source, err);
    if (rc) return rc;
    const struct log_position end = {.index = log_source_range(source)->last, .whole = true};
    rc = replay_open(source, end.index, true, &replay, err);
    uint64_t from = replay.index + 1;
    if (rc == 0 && h->output != OUTPUT_TABLE) rows_begin(&h->rows, h->output);
    if (rc == 0 && replay.index) begin_with(h, &replay);
    if (rc == 0 && h->rc == 0) rc = replay_to(&replay, &end, &watch, err);
    if (h->rc) rc = h->rc;
    if (rc == 0) rc = log_source_damage(source, err);
    if (replay.state && h->output != OUTPUT_TABLE) rows_end(&h->rows);
    if (h->full) fprintf(stderr, "conclave: note: too many frameworks have that task id: name one with --framework\n");
    if (rc == 0 && h->events == 0)
        rc = err_set(err, ERR_NOT_FOUND, "entries %" PRIu64 " to %" PRIu64 " have nothing about task %.80s", from,
                     end.index, h->task);
    for (size_t i = 0; i < h->n; i++)
        buf_done(&h->watched[i].record);
    replay_done(&replay);
    log_source_close(source);
    return rc;
}

int task_history_main(int argc, char **argv) {
    static struct history history; /* too large for the stack */
    static struct err err;
    struct options o = {0};
    const struct flag table[] = {OPTION_FLAGS(o),
                                 LOG_SOURCE_FLAGS(o),
                                 {"framework", FLAG_STRING, &history.framework, 0, 255, false, "ID",
                                  "only the task of this framework (id or #N)"},
                                 {0}};
    int rest, code;
    if (options_parse(table, &o, argc, argv, "conclave task history TASK [FLAGS]", 1, 1, &rest, &code)) return code;
    history.task = argv[rest];
    history.output = o.output;
    history.err = &err;
    interrupt_catch();
    int rc = history_print(&o, &history, &err);
    if (interrupted()) return EXIT_INTERRUPTED;
    return rc ? fail(&err) : 0;
}
