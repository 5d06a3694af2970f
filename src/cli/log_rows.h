/* SPDX-License-Identifier: Apache-2.0
 * Rows of commands, printed as they come: a table in fixed columns, or JSON. Text out of the log is stripped of
 * terminal controls. */
#ifndef CONCLAVE_CLI_LOG_ROWS_H
#define CONCLAVE_CLI_LOG_ROWS_H

#include "cli/log_item.h"
#include "cli/print.h"

struct log_rows {
    enum output output;
    bool full; /* JSON rows hold the whole command, as conclave log show prints it */
    struct rows rows;
    uint64_t shown;
};
void log_rows_begin(struct log_rows *r, enum output output, bool full);
void log_rows_item(struct log_rows *r, const struct log_item *item);
void log_rows_end(struct log_rows *r);

#endif
