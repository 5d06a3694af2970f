/* SPDX-License-Identifier: Apache-2.0
 * One command of the log as the CLI sees it: where it stands, what it is about, how it is shown. Pure. */
#ifndef CONCLAVE_CLI_LOG_ITEM_H
#define CONCLAVE_CLI_LOG_ITEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "conclave/log.pb-c.h"

#define LOG_ENTRY_COMMANDS      1 /* log_item.type, as log_reader.h and the API have them */
#define LOG_ENTRY_BARRIER       2
#define LOG_ENTRY_CONFIGURATION 3

/* One command of an entry, or the entry itself when it is none of ours (`command` NULL: barrier, configuration). */
struct log_item {
    uint64_t index, term;
    uint32_t n;
    int type; /* LOG_ENTRY_* */
    size_t bytes;
    const uint8_t *data; /* packed, `bytes` long */
    const Conclave__Log__Command *command;
};
/* Return false to stop. The item is borrowed. */
typedef bool (*log_item_cb)(void *ctx, const struct log_item *item);

/* Splits one entry into items and decodes them. Returns 0; ERR_CORRUPT with the position when it is no batch of
 * commands. *ret_go_on becomes false when cb stopped. */
int log_entry_items(uint64_t index, uint64_t term, int type, const uint8_t *data, size_t len, log_item_cb cb, void *ctx,
                    bool *ret_go_on, struct err *err);

/* What an item is about, from the command's typed fields, found by their names in the schema: a new command needs no
 * change here. Each text may be NULL; all are borrowed from the item or from this struct. */
struct log_subject {
    const char *type;                                    /* "accept", "barrier", "configuration", "unknown" */
    const char *task, *framework, *agent;                /* "#N" where the command has a number and no id */
    uint32_t framework_number, agent_number, task_count; /* 0: none */
    char framework_text[24], agent_text[24];
};
void log_subject(const struct log_item *item, struct log_subject *ret);

/* Whether the item names this task: also any task of an ACCEPT. */
bool log_item_names_task(const struct log_item *item, const char *task_id);

/* The command as one line of JSON, only what is set: {"position":...,"term":...,"bytes":...,"command":{...}}. */
int log_item_json(const struct log_item *item, struct buf *ret);

#endif
