/* SPDX-License-Identifier: Apache-2.0
 * conclave log ls|show|verify. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/log_lookup.h"
#include "cli/log_rows.h"
#include "cli/log_source.h"
#include "conclave/admin.pb-c.h"
#include "consensus/disk_file.h"
#include "consensus/verify.h"

#define LOG_LS_DEFAULT 1000

struct ls {
    struct log_rows rows;
    uint64_t left;
};

static bool ls_item(void *ctx, const struct log_item *item) {
    struct ls *ls = ctx;
    log_rows_item(&ls->rows, item);
    return --ls->left > 0;
}

int log_ls_main(int argc, char **argv) {
    struct options o = {0};
    struct log_filter filter = {0};
    uint64_t limit = LOG_LS_DEFAULT;
    const struct flag table[] = {OPTION_FLAGS(o),
                                 LOG_SOURCE_FLAGS(o),
                                 LOG_FILTER_FLAGS(filter),
                                 {"limit", FLAG_U64, &limit, 1, UINT64_MAX, false, "N", "at most so many rows (1000)"},
                                 {0}};
    struct err err = {0};
    struct log_source *source = NULL;
    int rest, code;
    if (options_parse(table, &o, argc, argv, "conclave log ls [FLAGS]", 0, 0, &rest, &code)) return code;
    struct ls ls = {.left = limit};
    interrupt_catch();
    int rc = log_filter_resolve(&filter, &err);
    if (rc == 0) rc = log_source_open(&o, &source, &err);
    if (rc == 0) log_filter_lookup(source, &filter);
    if (rc) return fail(&err);
    log_rows_begin(&ls.rows, o.output, false);
    rc = log_source_walk(source, &filter, ls_item, &ls, &err);
    log_rows_end(&ls.rows);
    log_source_close(source);
    if (rc) return fail(&err);
    return interrupted() ? EXIT_INTERRUPTED : 0;
}

static bool show_item(void *ctx, const struct log_item *item) {
    size_t *shown = ctx;
    struct buf line;
    buf_init(&line, 64u << 20);
    if (log_item_json(item, &line) == 0) {
        (void)fwrite(line.data, 1, line.len, stdout);
        (void)putchar('\n');
        (*shown)++;
    }
    buf_done(&line);
    return true;
}

int log_show_main(int argc, char **argv) {
    struct options o = {0};
    struct log_filter filter = {0};
    const struct flag table[] = {OPTION_FLAGS(o), LOG_SOURCE_FLAGS(o), {0}};
    struct err err = {0};
    struct log_source *source = NULL;
    size_t shown = 0;
    int rest, code;
    if (options_parse(table, &o, argc, argv, "conclave log show INDEX[.N] [FLAGS]", 1, 1, &rest, &code)) return code;
    filter.from_text = filter.to_text = argv[rest];
    struct log_position position;
    int rc = log_position_parse(argv[rest], &position, &err);
    if (rc == 0) rc = log_filter_resolve(&filter, &err);
    if (rc == 0) rc = log_source_open(&o, &source, &err);
    if (rc == 0) log_filter_lookup(source, &filter);
    if (rc) return fail(&err);
    struct log_range range = *log_source_range(source);
    rc = log_source_walk(source, &filter, show_item, &shown, &err);
    if (rc == 0 && shown == 0 && position.index > range.last) rc = log_source_damage(source, &err);
    log_source_close(source);
    if (rc) return fail(&err);
    if (shown) return 0;
    if (range.first > range.last)
        fprintf(stderr, "conclave: nothing at position %.40s: the log has no entries here\n", argv[rest]);
    else
        fprintf(stderr, "conclave: nothing at position %.40s: entries %" PRIu64 " to %" PRIu64 " are there\n",
                argv[rest], range.first, range.last);
    return 1;
}

static void verify_print(const struct verify_report *r, const char *dir) {
    printf("%s: %s\n", dir, r->ok ? "every checksum is right" : "DAMAGED");
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
    print_row(&out.base);
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
    if (rc == 0 && report.pristine) /* a folder given by mistake must not pass for an intact one */
        rc = err_set(&err, ERR_NOT_FOUND, "%.160s: no data of a master is in this folder", o.data_dir);
    if (rc) return fail(&err);
    if (o.output == OUTPUT_TABLE)
        verify_print(&report, o.data_dir);
    else
        verify_print_json(&report, o.data_dir);
    return report.ok ? 0 : EXIT_CORRUPT;
}
