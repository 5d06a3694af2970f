/* SPDX-License-Identifier: Apache-2.0
 * conclave log tail: the last commands, and with --follow those that come. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/log_lookup.h"
#include "cli/log_rows.h"
#include "cli/log_source.h"

#define TAIL_MAX       10000
#define POLL_LIVE_MS   100
#define POLL_FOLDER_MS 1000 /* a folder is read anew each time */

struct place {
    uint64_t index;
    uint32_t n;
};

/* The places of the last commands that match: a ring. */
struct last {
    struct place ring[TAIL_MAX];
    size_t wanted, n;
};

static bool last_item(void *ctx, const struct log_item *item) {
    struct last *l = ctx;
    l->ring[l->n++ % l->wanted] = (struct place){item->index, item->n};
    return true;
}

static bool print_item(void *ctx, const struct log_item *item) {
    log_rows_item(ctx, item);
    return true;
}

/* Sets filter->from to the first of the last `wanted` matches, from where the caller goes on. Without other filters
 * only the last entries are looked at: an entry has at least one command. */
static int last_find(struct log_source *source, struct log_filter *filter, size_t wanted, bool narrow,
                     struct err *err) {
    static struct last last; /* too large for the stack */
    const struct log_range *range = log_source_range(source);
    last.wanted = wanted;
    last.n = 0;
    struct log_filter from = *filter;
    uint64_t end = from.to.index < range->last ? from.to.index : range->last;
    uint64_t near = end > wanted ? end - wanted + 1 : 0;
    if (!narrow && near > from.from.index) from.from = (struct log_position){.index = near, .whole = true};
    if (from.from.index < range->first) from.from.index = 0; /* it is no mistake of the user's */
    int rc = log_source_walk(source, &from, last_item, &last, err);
    if (last.n == 0) {
        filter->from = (struct log_position){.index = range->last + 1, .whole = true};
    } else {
        const struct place *first = &last.ring[last.n > wanted ? last.n % wanted : 0];
        filter->from = (struct log_position){.index = first->index, .n = first->n};
    }
    return rc;
}

static int follow(struct log_source *source, struct log_filter *filter, struct log_rows *rows, struct err *err) {
    while (!interrupted()) {
        (void)fflush(stdout);
        interrupt_sleep_ms(log_source_live(source) ? POLL_LIVE_MS : POLL_FOLDER_MS);
        uint64_t next = log_source_range(source)->last + 1;
        struct err passing = {0};
        int rc = log_source_refresh(source, &passing);
        if (rc == ERR_NO_QUORUM || rc == ERR_BUSY) continue; /* masters come back */
        if (rc == 0 && log_source_range(source)->first > next)
            fprintf(stderr, "conclave: note: entries %" PRIu64 " to %" PRIu64 " were cut from the log meanwhile\n",
                    next, log_source_range(source)->first - 1);
        if (rc == 0 && log_source_range(source)->last + 1 > next) {
            filter->from = (struct log_position){.index = next, .whole = true};
            rc = log_source_walk(source, filter, print_item, rows, &passing);
        }
        if (rc == ERR_NO_QUORUM) continue;
        if (rc) {
            *err = passing;
            return rc;
        }
    }
    return 0;
}

int log_tail_main(int argc, char **argv) {
    struct options o = {0};
    struct log_filter filter = {0};
    uint64_t count = 10;
    bool following = false;
    const struct flag table[] = {
        OPTION_FLAGS(o),
        LOG_SOURCE_FLAGS(o),
        LOG_FILTER_FLAGS(filter),
        {"count", FLAG_U64, &count, 1, TAIL_MAX, false, "N", "the last N commands (10); also -n"},
        {"follow", FLAG_BOOL, &following, 0, 0, false, NULL, "go on with what comes; also -f"},
        {0}};
    struct err err = {0};
    struct log_source *source = NULL;
    int rest, code;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-f")) argv[i] = (char *)(uintptr_t) "--follow";
        if (!strcmp(argv[i], "-n")) argv[i] = (char *)(uintptr_t) "--count";
    }
    if (options_parse(table, &o, argc, argv, "conclave log tail [-n N] [-f] [FLAGS]", 0, 0, &rest, &code)) return code;
    int rc = log_filter_resolve(&filter, &err);
    if (rc == 0 && following && o.export_file) rc = err_set(&err, ERR_INVALID, "an export does not grow: no --follow");
    if (rc == 0 && following && filter.to_text) rc = err_set(&err, ERR_INVALID, "--follow and --to exclude each other");
    interrupt_catch();
    if (rc == 0) rc = log_source_open(&o, &source, &err);
    if (rc == 0) log_filter_lookup(source, &filter);
    if (rc) return fail(&err);
    struct log_rows rows;
    bool narrow = filter.types || filter.task || filter.framework || filter.agent;
    log_rows_begin(&rows, o.output, false);
    rc = last_find(source, &filter, (size_t)count, narrow, &err);
    if (rc == 0) rc = log_source_walk(source, &filter, print_item, &rows, &err);
    if (rc == 0 && following) rc = follow(source, &filter, &rows, &err);
    log_rows_end(&rows);
    log_source_close(source);
    if (rc) return fail(&err);
    return interrupted() && !following ? EXIT_INTERRUPTED : 0;
}
