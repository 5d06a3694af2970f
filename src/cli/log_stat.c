/* SPDX-License-Identifier: Apache-2.0
 * conclave log stat: what fills the log. Tables are bounded: what does not fit is counted as "others". */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/log_lookup.h"
#include "cli/log_source.h"
#include "cli/print.h"
#include "conclave/tools.pb-c.h"

#define NAMES_MAX      1024 /* types, or frameworks, that are counted apart */
#define NAME_BYTES     256
#define LARGEST_MAX    100
#define FRAMEWORKS_TOP 20 /* shown in a table */

struct tally {
    char name[NAME_BYTES];
    uint64_t count, bytes;
};
struct tallies {
    struct tally rows[NAMES_MAX + 1]; /* the last one: others */
    size_t n;
};

struct large {
    uint64_t index, bytes;
    uint32_t n;
    char type[64];
};

struct stat {
    uint64_t first, last, last_entry, entries, commands, bytes;
    uint64_t wall_first, wall_last;
    struct tallies types, frameworks;
    struct large largest[LARGEST_MAX];
    size_t n_largest, largest_wanted;
};

static void tally_add(struct tallies *t, const char *name, uint64_t bytes) {
    size_t i = 0;
    while (i < t->n && strcmp(t->rows[i].name, name) != 0)
        i++;
    if (i == t->n) {
        if (t->n < NAMES_MAX)
            t->n++;
        else
            i = NAMES_MAX;
        (void)snprintf(t->rows[i].name, NAME_BYTES, "%s", i == NAMES_MAX ? "(others)" : name);
    }
    t->rows[i].count++;
    t->rows[i].bytes += bytes;
}

static void largest_add(struct stat *s, const struct log_item *item, const char *type) {
    size_t at = s->n_largest;
    while (at > 0 && s->largest[at - 1].bytes < item->bytes)
        at--;
    if (at == s->largest_wanted) return;
    if (s->n_largest < s->largest_wanted) s->n_largest++;
    memmove(&s->largest[at + 1], &s->largest[at], (s->n_largest - 1 - at) * sizeof *s->largest);
    s->largest[at] = (struct large){.index = item->index, .n = item->n, .bytes = item->bytes};
    (void)snprintf(s->largest[at].type, sizeof s->largest[at].type, "%s", type);
}

static bool stat_item(void *ctx, const struct log_item *item) {
    struct stat *s = ctx;
    struct log_subject subject;
    char name[NAME_BYTES];
    log_subject(item, &subject);
    if (s->last_entry != item->index) s->entries++;
    if (s->first == 0) s->first = item->index;
    s->last = s->last_entry = item->index;
    s->commands++;
    s->bytes += item->bytes;
    tally_add(&s->types, subject.type, item->bytes);
    if (subject.framework) { /* one row whether a command has its id or its number */
        uint32_t number = subject.framework_number ? subject.framework_number : log_id_number(subject.framework, false);
        if (number)
            (void)snprintf(name, sizeof name, "#%" PRIu32, number);
        else
            (void)snprintf(name, sizeof name, "%s", subject.framework);
        tally_add(&s->frameworks, name, item->bytes);
    }
    if (item->command) {
        uint64_t wall = item->command->wall_ms;
        if (s->wall_first == 0 || wall < s->wall_first) s->wall_first = wall;
        if (wall > s->wall_last) s->wall_last = wall;
        largest_add(s, item, subject.type);
    }
    return true;
}

static int tally_compare(const void *a, const void *b) {
    const struct tally *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return strcmp(x->name, y->name);
}

/* Sorts, and returns how many rows there are. */
static size_t tallies_sort(struct tallies *t) {
    size_t n = t->n + (t->rows[NAMES_MAX].count > 0);
    qsort(t->rows, n, sizeof *t->rows, tally_compare);
    return n;
}

static void tallies_message(struct tallies *t, size_t n, Conclave__Tools__Count ***ret, size_t *ret_n) {
    Conclave__Tools__Count *rows = calloc(n + 1, sizeof *rows);
    *ret = calloc(n + 1, sizeof **ret);
    CHECK(rows && *ret);
    for (size_t i = 0; i < n; i++) {
        rows[i] = (Conclave__Tools__Count)CONCLAVE__TOOLS__COUNT__INIT;
        rows[i].name = t->rows[i].name;
        rows[i].count = t->rows[i].count;
        rows[i].bytes = t->rows[i].bytes;
        (*ret)[i] = &rows[i];
    }
    *ret_n = n; /* memory lives until the process ends */
}

static void largest_message(const struct stat *s, Conclave__Tools__LogStat *out) {
    static Conclave__Tools__LargeCommand rows[LARGEST_MAX], *pointers[LARGEST_MAX];
    static char positions[LARGEST_MAX][48];
    for (size_t i = 0; i < s->n_largest; i++) {
        const struct large *l = &s->largest[i];
        (void)snprintf(positions[i], sizeof positions[i], "%" PRIu64 ".%" PRIu32, l->index, l->n);
        rows[i] = (Conclave__Tools__LargeCommand)CONCLAVE__TOOLS__LARGE_COMMAND__INIT;
        rows[i].position = positions[i];
        rows[i].type = (char *)(uintptr_t)l->type;
        rows[i].bytes = l->bytes;
        pointers[i] = &rows[i];
    }
    out->largest = pointers;
    out->n_largest = s->n_largest;
}

static void stat_message(struct stat *s, Conclave__Tools__LogStat *out, char wall[2][32]) {
    out->first = s->first;
    out->last = s->last;
    out->entries = s->entries;
    out->commands = s->commands;
    out->bytes = s->bytes;
    if (s->wall_last) {
        out->from_wall = (char *)(uintptr_t)wall_text(s->wall_first, wall[0]);
        out->to_wall = (char *)(uintptr_t)wall_text(s->wall_last, wall[1]);
        out->has_seconds = 1;
        out->seconds = (double)(s->wall_last - s->wall_first) / 1000;
    }
    if (s->wall_last > s->wall_first) {
        out->has_entries_per_s = out->has_commands_per_s = 1;
        out->entries_per_s = (double)s->entries / out->seconds;
        out->commands_per_s = (double)s->commands / out->seconds;
    }
    tallies_message(&s->types, tallies_sort(&s->types), &out->types, &out->n_types);
    tallies_message(&s->frameworks, tallies_sort(&s->frameworks), &out->frameworks, &out->n_frameworks);
    largest_message(s, out);
}

static void counts_print(const char *title, Conclave__Tools__Count *const *rows, size_t n, size_t most) {
    const char *const columns[] = {title, "COUNT", "BYTES", NULL};
    if (n == 0) return;
    struct table *table = table_new(columns);
    for (size_t i = 0; i < n && i < most; i++) {
        char count[24], bytes[24];
        (void)snprintf(count, sizeof count, "%" PRIu64, rows[i]->count);
        (void)snprintf(bytes, sizeof bytes, "%" PRIu64, rows[i]->bytes);
        table_row(table, (const char *const[]){rows[i]->name, count, bytes});
    }
    (void)putchar('\n');
    table_print_free(table);
    if (n > most) printf("... and %zu more\n", n - most);
}

static void stat_print(const Conclave__Tools__LogStat *out) {
    printf("entries %" PRIu64 "-%" PRIu64 ": %" PRIu64 " entries, %" PRIu64 " commands, %" PRIu64 " bytes\n",
           out->first, out->last, out->entries, out->commands, out->bytes);
    if (out->from_wall) printf("%s to %s\n", out->from_wall, out->to_wall);
    if (out->has_commands_per_s)
        printf("%.1f entries a second, %.1f commands a second\n", out->entries_per_s, out->commands_per_s);
    counts_print("TYPE", out->types, out->n_types, SIZE_MAX);
    counts_print("FRAMEWORK", out->frameworks, out->n_frameworks, FRAMEWORKS_TOP);
    if (out->n_largest) printf("\nlargest commands:\n");
    for (size_t i = 0; i < out->n_largest; i++)
        printf("  %-14s %-23s %" PRIu64 " bytes\n", out->largest[i]->position, out->largest[i]->type,
               out->largest[i]->bytes);
}

int log_stat_main(int argc, char **argv) {
    static struct stat stat = {.largest_wanted = 5}; /* too large for the stack */
    struct options o = {0};
    struct log_filter filter = {0};
    uint64_t largest = 5;
    const struct flag table[] = {
        OPTION_FLAGS(o),
        LOG_SOURCE_FLAGS(o),
        LOG_FILTER_FLAGS(filter),
        {"largest", FLAG_U64, &largest, 0, LARGEST_MAX, false, "N", "how many of the largest commands to name (5)"},
        {0}};
    struct err err = {0};
    struct log_source *source = NULL;
    char wall[2][32];
    int rest, code;
    if (options_parse(table, &o, argc, argv, "conclave log stat [FLAGS]", 0, 0, &rest, &code)) return code;
    stat.largest_wanted = (size_t)largest;
    interrupt_catch();
    int rc = log_filter_resolve(&filter, &err);
    if (rc == 0) rc = log_source_open(&o, &source, &err);
    if (rc == 0) log_filter_lookup(source, &filter);
    if (rc == 0) rc = log_source_walk(source, &filter, stat_item, &stat, &err);
    log_source_close(source);
    if (rc) return fail(&err);
    if (interrupted()) return EXIT_INTERRUPTED;
    Conclave__Tools__LogStat out = CONCLAVE__TOOLS__LOG_STAT__INIT;
    stat_message(&stat, &out, wall);
    if (o.output == OUTPUT_TABLE)
        stat_print(&out);
    else
        print_row(&out.base);
    return 0;
}
