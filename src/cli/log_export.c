/* SPDX-License-Identifier: Apache-2.0
 * conclave log export: entries as they are, to be read by other programs or by conclave with --export. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/export_file.h"
#include "cli/interrupt.h"
#include "cli/log_source.h"

static bool export_one(void *ctx, uint64_t index, uint64_t term, int type, const uint8_t *data, size_t len) {
    return !interrupted() && export_entry(ctx, index, term, type, data, len);
}

static int export_to(struct log_source *source, const struct log_filter *filter, FILE *out, struct err *err) {
    struct export_writer w;
    struct export_header header = {0};
    const struct log_range *range = log_source_range(source);
    header.first = filter->from.index > range->first ? filter->from.index : range->first;
    header.last = filter->to.index < range->last ? filter->to.index : range->last;
    if (range->first > range->last && !log_source_damage(source, NULL))
        return err_set(err, ERR_NOT_FOUND, "the log has no entries here");
    if (header.first > header.last) {
        int damage = log_source_damage(source, err);
        return damage ? damage
                      : err_set(err, ERR_NOT_FOUND, "no entries there: the log has %" PRIu64 " to %" PRIu64,
                                range->first, range->last);
    }
    int rc = log_source_cluster_id(source, header.cluster_id, err);
    if (rc) return rc;
    export_begin(&w, out, &header);
    /* up to what was asked for, so that damage behind what can be read is told */
    rc = log_source_entries(source, header.first, filter->to.index, export_one, &w, err);
    uint64_t written = w.entries;
    if (rc || interrupted()) { /* without its closing line nobody takes it for whole */
        buf_done(&w.line);
        return rc;
    }
    rc = export_end(&w, err);
    if (rc == 0 && written != header.last - header.first + 1)
        rc = err_set(err, ERR_IO, "the export could not be written");
    return rc;
}

/* To a file that appears only when it is whole, or to stdout ("-"). */
static int export_file(struct log_source *source, const struct log_filter *filter, const char *path, struct err *err) {
    char temporary[4096];
    if (!strcmp(path, "-")) return export_to(source, filter, stdout, err);
    if (snprintf(temporary, sizeof temporary, "%s.tmp-%d", path, (int)getpid()) >= (int)sizeof temporary)
        return err_set(err, ERR_INVALID, "the file name is too long");
    FILE *out = fopen(temporary, "wxe");
    if (!out) return err_sys(err, errno, "making %.160s", temporary);
    int rc = export_to(source, filter, out, err);
    if (rc == 0 && !interrupted() && fsync(fileno(out)) != 0) rc = err_set(err, ERR_IO, "%.160s: not synced", path);
    if (fclose(out) != 0 && rc == 0) rc = err_set(err, ERR_IO, "%.160s: not written", path);
    if (rc == 0 && !interrupted() && rename(temporary, path) != 0) rc = err_sys(err, errno, "making %.160s", path);
    if (rc || interrupted()) (void)unlink(temporary);
    return rc;
}

int log_export_main(int argc, char **argv) {
    struct options o = {0};
    struct log_filter filter = {0};
    const struct flag table[] = {OPTION_FLAGS(o),
                                 LOG_SOURCE_FLAGS(o),
                                 {"from", FLAG_STRING, &filter.from_text, 0, 64, false, "INDEX", "first entry"},
                                 {"to", FLAG_STRING, &filter.to_text, 0, 64, false, "INDEX", "last entry"},
                                 {0}};
    struct err err = {0};
    struct log_source *source = NULL;
    int rest, code;
    if (options_parse(table, &o, argc, argv, "conclave log export FILE|- [FLAGS]   (JSON lines, see docs/FORMATS.md)",
                      1, 1, &rest, &code))
        return code;
    interrupt_catch();
    int rc = log_filter_resolve(&filter, &err);
    if (rc == 0 && (!filter.from.whole || !filter.to.whole))
        rc = err_set(&err, ERR_INVALID, "whole entries are exported: --from and --to are indexes");
    if (rc == 0) rc = log_source_open(&o, &source, &err);
    if (rc == 0) rc = export_file(source, &filter, argv[rest], &err);
    log_source_close(source);
    if (rc) return fail(&err);
    return interrupted() ? EXIT_INTERRUPTED : 0;
}
