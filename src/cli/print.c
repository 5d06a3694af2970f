/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/print.h"

#include <inttypes.h>
#include <libsmartcols.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/check.h"
#include "wire/json.h"

struct table {
    struct libscols_table *t;
    size_t columns;
};

struct table *table_new(const char *const *columns) {
    struct table *table = calloc(1, sizeof *table);
    CHECK(table && (table->t = scols_new_table()));
    scols_table_enable_maxout(table->t, 0);
    for (; columns[table->columns]; table->columns++)
        CHECK(scols_table_new_column(table->t, columns[table->columns], 0, 0));
    return table;
}

void table_row(struct table *table, const char *const *cells) {
    struct libscols_line *line = scols_table_new_line(table->t, NULL);
    CHECK(line);
    for (size_t i = 0; i < table->columns; i++) {
        char *copy = strdup(cells[i] ? cells[i] : "-");
        CHECK(copy);
        text_plain(copy);
        CHECK(scols_line_refer_data(line, i, copy) == 0); /* takes the copy */
    }
}

void table_print_free(struct table *table) {
    (void)scols_print_table(table->t);
    scols_unref_table(table->t);
    free(table);
}

static int print_json(const ProtobufCMessage *message, unsigned flags) {
    struct buf out;
    buf_init(&out, SIZE_MAX / 2);
    int rc = json_print(message, flags, &out);
    if (rc == 0) (void)fwrite(out.data, 1, out.len, stdout);
    buf_done(&out);
    return rc;
}

void print_row(const ProtobufCMessage *message) {
    CHECK(print_json(message, JSON_LISTS) == 0); /* a reader may walk a list without asking whether there is one */
    (void)putchar('\n');
}

void rows_begin(struct rows *r, enum output output) {
    *r = (struct rows){.output = output};
    if (output == OUTPUT_JSON) (void)putchar('[');
}

void rows_message(struct rows *r, const ProtobufCMessage *message) {
    if (r->output == OUTPUT_JSON && r->any) (void)putchar(',');
    r->any = true;
    CHECK(print_json(message, 0) == 0);
    if (r->output == OUTPUT_JSONL) (void)putchar('\n');
}

void rows_text(struct rows *r, const char *json, size_t len) {
    if (r->output == OUTPUT_JSON && r->any) (void)putchar(',');
    r->any = true;
    (void)fwrite(json, 1, len, stdout);
    if (r->output == OUTPUT_JSONL) (void)putchar('\n');
}

void rows_end(struct rows *r) {
    if (r->output == OUTPUT_JSON) (void)fputs("]\n", stdout);
}

const char *duration_text(int64_t ms, char ret[32]) {
    if (ms < 0)
        (void)snprintf(ret, 32, "-");
    else if (ms < 10000)
        (void)snprintf(ret, 32, "%" PRId64 " ms", ms);
    else if (ms < 120000)
        (void)snprintf(ret, 32, "%" PRId64 " s", ms / 1000);
    else if (ms < 7200000)
        (void)snprintf(ret, 32, "%" PRId64 " min", ms / 60000);
    else if (ms < 48 * 3600000ll)
        (void)snprintf(ret, 32, "%" PRId64 " h", ms / 3600000);
    else
        (void)snprintf(ret, 32, "%" PRId64 " d", ms / 86400000);
    return ret;
}

const char *wall_text(uint64_t wall_ms, char ret[32]) {
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    size_t n = gmtime_r(&seconds, &tm) ? strftime(ret, 32, "%Y-%m-%dT%H:%M:%S", &tm) : 0;
    (void)snprintf(ret + n, 32 - n, ".%03uZ", (unsigned)(wall_ms % 1000));
    return ret;
}
