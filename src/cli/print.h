/* SPDX-License-Identifier: Apache-2.0
 * Printing: tables for people, JSON for machines. Text that came from elsewhere is stripped of terminal controls. */
#ifndef CONCLAVE_CLI_PRINT_H
#define CONCLAVE_CLI_PRINT_H

#include <protobuf-c/protobuf-c.h>

#include "cli/options.h"
#include "cli/plain.h"

struct table;
/* `columns` ends with NULL. */
struct table *table_new(const char *const *columns);
/* One row, a cell a column; each cell is formatted text or NULL. */
void table_row(struct table *t, const char *const *cells);
void table_print_free(struct table *t);

/* One message as a line of JSON on stdout. */
void print_row(const ProtobufCMessage *message);
/* With OUTPUT_JSON: "[" a, b "]" around rows printed by print_row; nothing for OUTPUT_JSONL. */
struct rows {
    enum output output;
    bool any;
};
void rows_begin(struct rows *r, enum output output);
void rows_message(struct rows *r, const ProtobufCMessage *message);
void rows_text(struct rows *r, const char *json, size_t len); /* one row that is JSON already */
void rows_end(struct rows *r);

/* "1,234 ms", "3 s", "2 min", "5 h", "3 d". */
const char *duration_text(int64_t ms, char ret[32]);
/* UTC, "2026-01-02T03:04:05.678Z". */
const char *wall_text(uint64_t wall_ms, char ret[32]);

#endif
