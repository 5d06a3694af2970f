/* SPDX-License-Identifier: Apache-2.0
 * What to do about one task now, as a function of its workload and of time: wanted life against actual life. Also the
 * escalation of a kill: SIGTERM, the grace, SIGKILL, and SIGKILL again if that did not help. Pure. */
#ifndef CONCLAVE_AGENT_SUPERVISOR_H
#define CONCLAVE_AGENT_SUPERVISOR_H

#include <stdint.h>

#include "agent/workload.h"

#define SUPERVISOR_GRACE_DEFAULT_MS 3000             /* of a kill, when neither order nor task names one */
#define SUPERVISOR_GRACE_MAX_MS     (86400u * 1000u) /* a longer grace is cut to a day */
#define SUPERVISOR_FORCE_AGAIN_MS   1000             /* between two SIGKILLs of the same tree */

enum supervisor_action {
    SUPERVISOR_WAIT,      /* nothing to do before *ret_wake_ms */
    SUPERVISOR_START,     /* spawn the shim */
    SUPERVISOR_TERMINATE, /* send SIGTERM to the tree, set term_sent_ms */
    SUPERVISOR_FORCE,     /* send SIGKILL to the tree, set force_sent_ms */
    SUPERVISOR_TIME_OUT   /* max_completion_time has passed: make a KILL event with KILL_COMPLETION_TIME */
};

/* `completion_ms`: longest allowed run, 0 for no limit. *ret_wake_ms: when to ask again if nothing happens before,
 * UINT64_MAX for never. */
enum supervisor_action supervisor_decide(const struct workload *w, uint64_t completion_ms, uint64_t now_ms,
                                         uint64_t *ret_wake_ms);

/* The grace to use: the order's, else the task's, else the default; UINT64_MAX means not given. */
uint64_t supervisor_grace(uint64_t order_ms, uint64_t task_ms);

#endif
