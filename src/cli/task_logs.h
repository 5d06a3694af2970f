/* SPDX-License-Identifier: Apache-2.0
 * Finding a task and reading what it wrote, from its agent's files endpoint. */
#ifndef CONCLAVE_CLI_TASK_LOGS_H
#define CONCLAVE_CLI_TASK_LOGS_H

#include <stdint.h>
#include <stdio.h>

#include "cli/options.h"
#include "conclave/admin.pb-c.h"
#include "wire/arena.h"

/* The newest task of that id; `framework` may be NULL. ERR_NOT_FOUND. */
int task_lookup(const struct options *o, const char *task_id, const char *framework, struct arena *arena,
                Conclave__Admin__Task **ret, struct err *err);

/* Copies the file ("stdout", "stderr") of the task's sandbox from *offset on to `out` and moves *offset. A file that is
 * not there yet is empty. */
int task_logs_copy(const char *agent_http, const char *framework_id, const char *task_id, const char *file,
                   uint64_t *offset, FILE *out, struct err *err);

#endif
