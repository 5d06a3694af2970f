/* SPDX-License-Identifier: Apache-2.0
 * What the parts of the engine share: engine.c (events and updates), engine_launch.c (orders), engine_recover.c
 * (start), engine_keep.c (folders of ended tasks). */
#ifndef CONCLAVE_AGENT_ENGINE_INTERNAL_H
#define CONCLAVE_AGENT_ENGINE_INTERNAL_H

#include "agent/engine.h"
#include "agent/plan.h"
#include "agent/runner.h"
#include "agent/supervisor.h"
#include "conclave/link.pb-c.h"

#define KEEP_BATCH 32

struct engine {
    struct engine_options options;
    struct store *store;
    struct runner *runner;
    struct task_table *tasks;
    struct queue to_start, to_send, due;
    struct engine_stats stats;
    uv_check_t flush_check;
    uv_timer_t due_timer, second_timer;
    bool flush_wanted;
    bool fatal_told;
    bool closing;
    uv_work_t keep_work;
    bool keep_working;
    size_t keep_n;
    char *keep_paths[KEEP_BATCH];
};

void engine_event(struct engine *e, struct hosted *task, enum workload_event event,
                  const struct workload_outcome *outcome);
/* Reads what the shim left and makes the event of it. */
void engine_shim_gone(struct engine *e, struct hosted *task);
/* Looks at what the task needs now (supervisor.h). */
void engine_supervise(struct engine *e, struct hosted *task);
void engine_send_soon(struct engine *e, struct hosted *task);
void engine_fatal(struct engine *e, const struct err *err);
/* Forgets a task whose end is acknowledged. */
void engine_forget(struct engine *e, struct hosted *task);

void engine_update_queue(struct engine *e, struct hosted *task, const struct workload_update *update,
                         const uint8_t uuid[16]);

/* A task without a folder, ended, for a launch that must not start: it reports `state`. `uuid` NULL: a new one. NULL
 * without memory. */
struct hosted *engine_task_ended(struct engine *e, const struct launch_key *key, uint32_t state, int reason,
                                 const uint8_t *uuid, const char *text);

/* Checks and unpacks a Launch message with its TaskInfo. ERR_PARSE. */
int engine_launch_parse(const uint8_t *message, size_t len, struct arena *arena, Conclave__Link__Launch **ret_launch,
                        Mesos__V1__TaskInfo **ret_info, struct err *err);
/* Fills in what the task's life depends on, and what people see of it. */
int engine_task_describe(struct hosted *task, const Conclave__Link__Launch *launch, const Mesos__V1__TaskInfo *info,
                         struct err *err);

int engine_recover(struct engine *e, struct err *err);

/* Keeps the folder of an ended task, removes the oldest over the bounds. */
void engine_keep(struct engine *e, const struct launch_key *key, const char *path, uint64_t ended_wall_ms);
void engine_keep_sweep(struct engine *e);

#endif
