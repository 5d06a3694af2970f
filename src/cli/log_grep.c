/* SPDX-License-Identifier: Apache-2.0
 * conclave log grep: commands whose JSON, as conclave log show prints it, holds a text or matches an expression. */
#include <regex.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/log_lookup.h"
#include "cli/log_rows.h"
#include "cli/log_source.h"

#define LINE_MAX_BYTES (64u << 20)

struct grep {
    struct log_rows rows;
    const char *text;
    bool is_regex, ignore_case;
    regex_t regex;
    struct buf line;
    uint64_t left;
};

static bool grep_item(void *ctx, const struct log_item *item) {
    struct grep *g = ctx;
    buf_clear(&g->line);
    if (log_item_json(item, &g->line) || buf_append_byte(&g->line, '\0')) return true;
    const char *line = (const char *)g->line.data;
    bool match = g->is_regex      ? regexec(&g->regex, line, 0, NULL, 0) == 0
                 : g->ignore_case ? strcasestr(line, g->text) != NULL
                                  : strstr(line, g->text) != NULL;
    if (!match) return true;
    log_rows_item(&g->rows, item);
    return --g->left > 0;
}

int log_grep_main(int argc, char **argv) {
    struct options o = {0};
    struct log_filter filter = {0};
    struct grep g = {.left = UINT64_MAX};
    const struct flag table[] = {
        OPTION_FLAGS(o),
        LOG_SOURCE_FLAGS(o),
        LOG_FILTER_FLAGS(filter),
        {"regex", FLAG_BOOL, &g.is_regex, 0, 0, false, NULL, "PATTERN is an extended regular expression"},
        {"ignore-case", FLAG_BOOL, &g.ignore_case, 0, 0, false, NULL, "upper and lower case are the same"},
        {"limit", FLAG_U64, &g.left, 1, UINT64_MAX, false, "N", "stop after so many rows"},
        {0}};
    struct err err = {0};
    struct log_source *source = NULL;
    int rest, code;
    if (options_parse(table, &o, argc, argv, "conclave log grep PATTERN [FLAGS]   (exit 1: nothing found)", 1, 1, &rest,
                      &code))
        return code;
    g.text = argv[rest];
    int flags = REG_EXTENDED | REG_NOSUB | (g.ignore_case ? REG_ICASE : 0);
    if (g.is_regex && regcomp(&g.regex, g.text, flags) != 0) {
        fprintf(stderr, "conclave: '%.80s' is no regular expression\n", g.text);
        return EXIT_USAGE;
    }
    interrupt_catch();
    int rc = log_filter_resolve(&filter, &err);
    if (rc == 0) rc = log_source_open(&o, &source, &err);
    if (rc == 0) log_filter_lookup(source, &filter);
    if (rc == 0) {
        buf_init(&g.line, LINE_MAX_BYTES);
        log_rows_begin(&g.rows, o.output, true);
        rc = log_source_walk(source, &filter, grep_item, &g, &err);
        log_rows_end(&g.rows);
        buf_done(&g.line);
        log_source_close(source);
    }
    if (g.is_regex) regfree(&g.regex);
    if (rc) return fail(&err);
    if (interrupted()) return EXIT_INTERRUPTED;
    return g.rows.shown ? 0 : 1;
}
