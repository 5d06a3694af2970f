/* SPDX-License-Identifier: Apache-2.0
 * Spawns shims and watches them. A shim is watched through a process descriptor, so that those of an earlier agent (not
 * our children) are seen to end as well as our own. Nothing here ends a task by itself: closing the runner leaves all
 * shims running. */
#ifndef CONCLAVE_AGENT_RUNNER_H
#define CONCLAVE_AGENT_RUNNER_H

#include <uv.h>

#include "agent/task_table.h"
#include "base/err.h"

struct runner;

struct runner_callbacks {
    /* The command was exec'd. At most once a watch, before on_gone. */
    void (*on_up)(void *ctx, struct hosted *task);
    /* The shim is gone; task->watch is NULL already. Its folder says what happened. */
    void (*on_gone)(void *ctx, struct hosted *task);
};

/* `work_fd` and `work` (absolute path) are borrowed. */
int runner_open(uv_loop_t *loop, int work_fd, const char *work, const struct runner_callbacks *callbacks, void *ctx,
                struct runner **ret, struct err *err);
/* Stops watching; run the loop until its handles are closed, then runner_free. */
void runner_close(struct runner *r);
void runner_free(struct runner *r);

/* Starts the shim for the task's folder. On failure nothing was started. */
int runner_spawn(struct runner *r, struct hosted *task, struct err *err);
/* Watches the live shim of the task's folder. `up`: the command is known to run. ERR_NOT_FOUND: there is none (any
 * more). */
int runner_adopt(struct runner *r, struct hosted *task, bool up, struct err *err);
/* Sends a signal to the task's shim; does nothing without one. */
void runner_signal(struct hosted *task, int sig);

#endif
