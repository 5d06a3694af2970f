/* SPDX-License-Identifier: Apache-2.0
 * The stateless rules of calls: what can be said about a message without looking at any state. Pure.
 * Texts are what clients see behind 400, in ERROR events, or in TASK_ERROR updates. */
#ifndef CONCLAVE_SCHEDULER_VALIDATE_H
#define CONCLAVE_SCHEDULER_VALIDATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "mesos/v1/scheduler.pb-c.h"
#include "wire/resources.h"

#define VALIDATE_REFUSE_MS_DEFAULT 5000
#define VALIDATE_REFUSE_MS_MAX     (365ull * 86400 * 1000)

/* 1..255 bytes, no '/', '\\' or control characters, not "." or "..". */
bool validate_id(const char *id);
/* "*" or components joined by '/'; see the wire rules. */
bool validate_role(const char *role);
/* Required sub-messages and ids of a call by its type: ERR_INVALID with the text for the 400. */
int validate_call(const Mesos__V1__Scheduler__Call *call, struct err *err);
/* FrameworkInfo of SUBSCRIBE: ERR_INVALID with the text of the ERROR event. */
int validate_framework(const Mesos__V1__Scheduler__Call__Subscribe *subscribe, struct err *err);
/* failover_timeout in milliseconds, after validate_framework. */
uint64_t validate_failover_ms(const Mesos__V1__FrameworkInfo *info);
/* One task of a LAUNCH: ERR_INVALID with the text of its TASK_ERROR, else its resources (owned by the caller). */
int validate_task(const Mesos__V1__TaskInfo *task, const char *agent_id, struct resources *ret, struct err *err);
/* Filters.refuse_seconds as milliseconds: default 5 s; negative or NaN 5 s; at most 365 days. */
uint64_t validate_refuse_ms(const Mesos__V1__Filters *filters);

#endif
