/* SPDX-License-Identifier: Apache-2.0
 * conclave log ls|show|verify. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/log_source.h"
#include "cli/print.h"
#include "conclave/admin.pb-c.h"
#include "consensus/disk_file.h"
#include "consensus/verify.h"
#include "wire/json.h"

#define LOG_LS_DEFAULT 1000

static const char *item_type(const struct log_item *item, struct log_subject *subject) {
    if (item->command) {
        log_subject(item->command, subject);
        return subject->type;
    }
    *subject = (struct log_subject){0};
    return item->type == 2 ? "barrier" : "configuration";
}

struct ls {
    enum output output;
    struct rows rows;
    struct table *table;
    uint64_t left;
};

static bool ls_item(void *ctx, const struct log_item *item) {
    struct ls *ls = ctx;
    struct log_subject subject;
    char position[48], wall[32] = "", term[24], cluster[24] = "", bytes[24];
    if (ls->left == 0) return false;
    ls->left--;
    Conclave__Admin__LogRow row = CONCLAVE__ADMIN__LOG_ROW__INIT;
    row.type = (char *)item_type(item, &subject);
    (void)snprintf(position, sizeof position, "%" PRIu64 ".%" PRIu32, item->index, item->n);
    row.position = position;
    row.term = item->term;
    row.bytes = item->bytes;
    row.task = (char *)subject.task;
    row.framework = (char *)subject.framework;
    row.agent = (char *)subject.agent;
    if (item->command) {
        row.has_cluster_ms = 1;
        row.cluster_ms = item->command->cluster_ms;
        row.wall = (char *)wall_text(item->command->wall_ms, wall);
    }
    if (ls->output != OUTPUT_TABLE) {
        rows_message(&ls->rows, &row.base);
        return true;
    }
    (void)snprintf(term, sizeof term, "%" PRIu64, row.term);
    (void)snprintf(cluster, sizeof cluster, "%" PRIu64, row.cluster_ms);
    (void)snprintf(bytes, sizeof bytes, "%" PRIu64, row.bytes);
    table_row(ls->table, (const char *const[]){position, term, item->command ? cluster : NULL, row.wall, row.type,
                                               row.task, row.framework, row.agent, bytes});
    return true;
}

int log_ls_main(int argc, char **argv) {
    struct options o = {0};
    uint64_t from = 0, to = UINT64_MAX, limit = LOG_LS_DEFAULT;
    const struct flag table[] = {
        OPTION_FLAGS(o),
        {"data-dir", FLAG_STRING, &o.data_dir, 0, 0, false, "DIR", "a master's data folder instead of a live master"},
        {"from", FLAG_U64, &from, 0, UINT64_MAX, false, "INDEX", "first entry"},
        {"to", FLAG_U64, &to, 0, UINT64_MAX, false, "INDEX", "last entry"},
        {"limit", FLAG_U64, &limit, 1, UINT64_MAX, false, "N", "at most so many rows (1000)"},
        {0}};
    static const char *const columns[] = {"POSITION", "TERM",      "CLUSTER MS", "TIME",  "TYPE",
                                          "TASK",     "FRAMEWORK", "AGENT",      "BYTES", NULL};
    struct err err = {0};
    int rest, code;
    if (options_parse(table, &o, argc, argv, "conclave log ls [FLAGS]", 0, 0, &rest, &code)) return code;
    struct ls ls = {.output = o.output, .left = limit};
    if (o.output == OUTPUT_TABLE)
        ls.table = table_new(columns);
    else
        rows_begin(&ls.rows, o.output);
    int rc = log_walk(&o, from, to, ls_item, &ls, &err);
    if (o.output == OUTPUT_TABLE)
        table_print_free(ls.table);
    else
        rows_end(&ls.rows);
    return rc ? fail(&err) : 0;
}

struct show {
    uint64_t n;
    bool one;
    size_t shown;
};

static bool show_item(void *ctx, const struct log_item *item) {
    struct show *show = ctx;
    if (show->one && item->n != show->n) return true;
    show->shown++;
    printf("{\"position\":\"%" PRIu64 ".%" PRIu32 "\",\"term\":%" PRIu64 ",\"bytes\":%zu,\"command\":", item->index,
           item->n, item->term, item->bytes);
    struct buf out;
    buf_init(&out, 64u << 20);
    if (item->command && json_print(&item->command->base, JSON_ONLY_SET, &out) == 0)
        (void)fwrite(out.data, 1, out.len, stdout);
    else
        (void)fputs(item->type == 2 ? "\"barrier\"" : "\"configuration\"", stdout);
    buf_done(&out);
    (void)fputs("}\n", stdout);
    return true;
}

int log_show_main(int argc, char **argv) {
    struct options o = {0};
    const struct flag table[] = {
        OPTION_FLAGS(o),
        {"data-dir", FLAG_STRING, &o.data_dir, 0, 0, false, "DIR", "a master's data folder instead of a live master"},
        {0}};
    struct err err = {0};
    int rest, code;
    if (options_parse(table, &o, argc, argv, "conclave log show INDEX[.N] [FLAGS]", 1, 1, &rest, &code)) return code;
    char *end;
    uint64_t index = strtoull(argv[rest], &end, 10);
    struct show show = {.one = *end == '.'};
    if (*end == '.') show.n = strtoull(end + 1, &end, 10);
    if (index == 0 || *end || argv[rest][0] < '0' || argv[rest][0] > '9') {
        fprintf(stderr, "conclave: '%.40s' is no position (INDEX or INDEX.N)\n", argv[rest]);
        return EXIT_USAGE;
    }
    int rc = log_walk(&o, index, index, show_item, &show, &err);
    if (rc) return fail(&err);
    if (show.shown) return 0;
    fprintf(stderr, "conclave: nothing at position %.40s\n", argv[rest]);
    return 1;
}

static void verify_print(const struct verify_report *r, const char *dir) {
    printf("%s: %s\n", dir, r->ok ? "every checksum is right" : "DAMAGED");
    if (r->pristine) printf("  an empty folder\n");
    printf("  entries %" PRIu64 "-%" PRIu64 ", %" PRIu64 " groups in %" PRIu64 " segments, term %" PRIu64
           ", snapshot at %" PRIu64 "\n",
           r->first, r->last, r->groups, r->segments, r->term, r->snapshot_index);
    if (r->torn_bytes)
        printf("  %" PRIu64 " bytes of an unfinished write at the end: cut at the next start\n", r->torn_bytes);
    for (size_t i = 0; i < r->n_faults; i++)
        printf("  %s at byte %" PRIu64 ": %s: %s\n    remedy: %s\n", r->faults[i].file, r->faults[i].offset,
               r->faults[i].kind, r->faults[i].text, r->faults[i].remedy);
    if (r->faults_total > r->n_faults) printf("  and %zu more\n", r->faults_total - r->n_faults);
}

static void verify_print_json(const struct verify_report *r, const char *dir) {
    Conclave__Admin__LogFault rows[VERIFY_FAULTS_MAX], *pointers[VERIFY_FAULTS_MAX];
    Conclave__Admin__VerifyReport out = CONCLAVE__ADMIN__VERIFY_REPORT__INIT;
    out.ok = r->ok;
    out.first = r->first;
    out.last = r->last;
    out.groups = r->groups;
    out.torn_bytes = r->torn_bytes;
    out.dir = (char *)dir;
    out.has_term = out.has_snapshot = 1;
    out.term = r->term;
    out.snapshot = r->snapshot_index;
    out.faults = pointers;
    for (size_t i = 0; i < r->n_faults; i++) {
        rows[i] = (Conclave__Admin__LogFault)CONCLAVE__ADMIN__LOG_FAULT__INIT;
        rows[i].file = (char *)r->faults[i].file;
        rows[i].offset = r->faults[i].offset;
        rows[i].kind = (char *)r->faults[i].kind;
        rows[i].remedy = (char *)r->faults[i].remedy;
        rows[i].text = (char *)r->faults[i].text;
        pointers[out.n_faults++] = &rows[i];
    }
    print_message(&out.base);
}

int log_verify_main(int argc, char **argv) {
    struct options o = {0};
    const struct flag table[] = {
        OPTION_FLAGS(o),
        {"data-dir", FLAG_STRING, &o.data_dir, 0, 0, true, "DIR", "a master's data folder; it may be running"},
        {0}};
    static struct verify_report report;
    struct err err = {0};
    struct disk *disk = NULL;
    int rest, code;
    if (options_parse(table, &o, argc, argv, "conclave log verify --data-dir DIR [FLAGS]", 0, 0, &rest, &code))
        return code;
    int rc = disk_file_open_readonly(o.data_dir, &disk, &err);
    if (rc) return fail(&err);
    rc = verify_run(disk, true, &report, &err);
    disk_close(disk);
    if (rc) return fail(&err);
    if (o.output == OUTPUT_TABLE)
        verify_print(&report, o.data_dir);
    else
        verify_print_json(&report, o.data_dir);
    return report.ok ? 0 : EXIT_CORRUPT;
}
