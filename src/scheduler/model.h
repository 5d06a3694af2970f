/* SPDX-License-Identifier: Apache-2.0
 * The small rules of the model: states of a task, syntax of ids and roles, amounts out of commands. Pure functions
 * without memory; task_state_terminal and task_state_name are declared in state.h. */
#ifndef CONCLAVE_SCHEDULER_MODEL_H
#define CONCLAVE_SCHEDULER_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conclave/log.pb-c.h"
#include "wire/resources.h"

#define TASK_STATES 14 /* of enum task_state */

/* True if an agent may report this state: all but STAGING, UNREACHABLE, UNKNOWN and GONE_BY_OPERATOR, which only
 * masters give. */
bool task_state_reportable(uint32_t state);

/* Ids of tasks and frameworks: 1..STATE_ID_MAX bytes, no '/', '\\' or control character, not "." or "..". */
bool id_valid(const char *id);
/* "*", or components joined by '/', each not empty, not ".", ".." or "*", not beginning with '-'; no white space,
 * backspace or backslash; at most STATE_ID_MAX bytes. */
bool role_valid(const char *role);

/* Amounts of a command. ERR_INVALID: negative, too large, or bad port ranges; ERR_LIMIT: too many ranges. `from` may be
 * NULL (nothing). *ret need not be initialised and is untouched on failure. */
int resources_from_log(const Conclave__Log__Resources *from, struct resources *ret);

/* a + b, staying at UINT64_MAX: deadlines of hostile length never wrap. */
uint64_t time_add(uint64_t a, uint64_t b);

#endif
