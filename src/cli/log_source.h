/* SPDX-License-Identifier: Apache-2.0
 * Where log entries come from: a live master's API, or a data folder. Both are read-only. */
#ifndef CONCLAVE_CLI_LOG_SOURCE_H
#define CONCLAVE_CLI_LOG_SOURCE_H

#include "cli/options.h"
#include "conclave/log.pb-c.h"
#include "wire/arena.h"

/* One command of an entry, or the entry itself when it is none of ours (`command` NULL: barrier, configuration). */
struct log_item {
    uint64_t index, term;
    uint32_t n;
    int type; /* 1 commands, 2 barrier, 3 configuration */
    size_t bytes;
    const Conclave__Log__Command *command;
};
/* Return false to stop. The item is borrowed. */
typedef bool (*log_item_cb)(void *ctx, const struct log_item *item);

/* Every command of the entries from..to, in order. */
int log_walk(const struct options *o, uint64_t from, uint64_t to, log_item_cb cb, void *ctx, struct err *err);

/* Name of the command's type ("accept"), and what it is about; each may be NULL. */
struct log_subject {
    const char *type, *task, *framework, *agent;
    char framework_text[24], agent_text[24]; /* numbers, where the command has no ids */
};
void log_subject(const Conclave__Log__Command *command, struct log_subject *ret);

#endif
