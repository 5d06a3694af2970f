/* SPDX-License-Identifier: Apache-2.0
 * Inside of state_apply: what the files apply_*.c share. One function a command (command.h); each decides first, from
 * the command and the state alone, and changes afterwards; a refusal has changed nothing. */
#ifndef CONCLAVE_SCHEDULER_APPLY_H
#define CONCLAVE_SCHEDULER_APPLY_H

#include "scheduler/state_private.h"

#define APPLY_DECLARE(field, type, level)                                                                              \
    enum outcome_code apply_##field(struct apply *a, const Conclave__Log__##type *c);
COMMANDS(APPLY_DECLARE)
#undef APPLY_DECLARE

/* Sets the reason and returns OUTCOME_REFUSED, so that it can end an apply function. */
enum outcome_code apply_refuse(struct apply *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Appends a zeroed effect. */
struct effect *effect_add(struct apply *a, enum effect_type type);
void effect_task(struct apply *a, enum effect_type type, const struct task *task);
void effect_ack(struct apply *a, const struct task *task, const uint8_t uuid[16]);
void effect_framework(struct apply *a, enum effect_type type, const struct framework *framework);
void effect_agent(struct apply *a, enum effect_type type, const struct agent *agent);

/* The framework of a command; or NULL and *ret_code: NOT_FOUND, or REFUSED if it has been removed. */
struct framework *apply_framework(struct apply *a, uint32_t number, enum outcome_code *ret_code);

/* Frees the task's resources, with the effect that says so. */
void apply_release(struct apply *a, struct task *task);
/* Its framework is gone: what has ended goes to the history, the rest is to be killed. */
void apply_orphan(struct apply *a, struct task *task);
/* Ends a task by a state that apply makes; the framework is told, unless it has been removed. */
void apply_finish(struct apply *a, struct task *task, uint32_t state, int mesos_reason, const char *reason);
/* What a framework is told of a task that is lost: `aware` if it is PARTITION_AWARE, else LOST. */
uint32_t lost_state(const struct framework *framework, uint32_t aware);
/* The framework has been told LOST while its agent was away: nothing of it is shown to the framework any more, but it
 * holds its resources until the agent confirms the end. */
bool task_told_lost(const struct task *task);
/* An unreachable agent is here again: its tasks take up where they were. */
void apply_agent_back(struct apply *a, struct agent *agent);

#endif
