/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/log_rows.h"

#include <inttypes.h>
#include <stdio.h>

#include "conclave/admin.pb-c.h"

void log_rows_begin(struct log_rows *r, enum output output, bool full) {
    *r = (struct log_rows){.output = output, .full = full};
    if (output == OUTPUT_TABLE)
        printf("%-14s %5s %10s %-24s %-23s %8s  %s\n", "POSITION", "TERM", "CLUSTER MS", "TIME", "TYPE", "BYTES",
               "SUBJECT");
    else
        rows_begin(&r->rows, output);
}

static void subject_print(const char *name, const char *text) {
    if (!text) return;
    printf(" %s=", name);
    print_plain(text);
}

static void table_item(const struct log_item *item, const struct log_subject *s, const char *position) {
    char wall[32] = "-", cluster[24] = "-";
    if (item->command) {
        (void)wall_text(item->command->wall_ms, wall);
        (void)snprintf(cluster, sizeof cluster, "%" PRIu64, item->command->cluster_ms);
    }
    printf("%-14s %5" PRIu64 " %10s %-24s %-23s %8zu ", position, item->term, cluster, wall, s->type, item->bytes);
    subject_print("task", s->task);
    if (s->task_count > 1) printf(" (+%" PRIu32 ")", s->task_count - 1);
    subject_print("framework", s->framework);
    subject_print("agent", s->agent);
    (void)putchar('\n');
}

static void json_item(struct log_rows *r, const struct log_item *item, const struct log_subject *s, char *position) {
    Conclave__Admin__LogRow row = CONCLAVE__ADMIN__LOG_ROW__INIT;
    char wall[32];
    row.type = (char *)(uintptr_t)s->type;
    row.position = position;
    row.term = item->term;
    row.bytes = item->bytes;
    row.task = (char *)(uintptr_t)s->task;
    row.framework = (char *)(uintptr_t)s->framework;
    row.agent = (char *)(uintptr_t)s->agent;
    row.has_tasks = s->task_count > 1;
    row.tasks = s->task_count;
    if (item->command) {
        row.has_cluster_ms = 1;
        row.cluster_ms = item->command->cluster_ms;
        row.wall = (char *)(uintptr_t)wall_text(item->command->wall_ms, wall);
    }
    rows_message(&r->rows, &row.base);
}

void log_rows_item(struct log_rows *r, const struct log_item *item) {
    struct log_subject s;
    char position[48];
    log_subject(item, &s);
    (void)snprintf(position, sizeof position, "%" PRIu64 ".%" PRIu32, item->index, item->n);
    r->shown++;
    if (r->output == OUTPUT_TABLE) {
        table_item(item, &s, position);
    } else if (!r->full) {
        json_item(r, item, &s, position);
    } else {
        struct buf line;
        buf_init(&line, 64u << 20);
        if (log_item_json(item, &line) == 0) rows_text(&r->rows, (const char *)line.data, line.len);
        buf_done(&line);
    }
}

void log_rows_end(struct log_rows *r) {
    if (r->output != OUTPUT_TABLE) rows_end(&r->rows);
}
