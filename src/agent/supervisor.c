/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/supervisor.h"

static enum supervisor_action kill_decide(const struct workload *w, uint64_t now_ms, uint64_t *ret_wake_ms) {
    uint64_t force_at = w->kill_since_ms + w->kill_grace_ms;
    if (w->force_sent_ms) {
        *ret_wake_ms = w->force_sent_ms + SUPERVISOR_FORCE_AGAIN_MS;
        return now_ms >= *ret_wake_ms ? SUPERVISOR_FORCE : SUPERVISOR_WAIT;
    }
    *ret_wake_ms = force_at;
    if (w->term_sent_ms == 0 && w->kill_grace_ms > 0) return SUPERVISOR_TERMINATE;
    return now_ms >= force_at ? SUPERVISOR_FORCE : SUPERVISOR_WAIT;
}

enum supervisor_action supervisor_decide(const struct workload *w, uint64_t completion_ms, uint64_t now_ms,
                                         uint64_t *ret_wake_ms) {
    *ret_wake_ms = UINT64_MAX;
    switch (w->state) {
    case WORKLOAD_ACCEPTED:
        return SUPERVISOR_START;
    case WORKLOAD_STARTING:
    case WORKLOAD_RUNNING:
        if (w->kill != KILL_NONE) return kill_decide(w, now_ms, ret_wake_ms);
        if (completion_ms == 0 || w->up_ms == 0) return SUPERVISOR_WAIT;
        *ret_wake_ms = w->up_ms > UINT64_MAX - completion_ms ? UINT64_MAX : w->up_ms + completion_ms;
        return now_ms >= *ret_wake_ms ? SUPERVISOR_TIME_OUT : SUPERVISOR_WAIT;
    case WORKLOAD_ENDED:
    case WORKLOAD_STATES:
        break;
    }
    return SUPERVISOR_WAIT;
}

uint64_t supervisor_grace(uint64_t order_ms, uint64_t task_ms) {
    uint64_t grace = order_ms != UINT64_MAX ? order_ms : task_ms != UINT64_MAX ? task_ms : SUPERVISOR_GRACE_DEFAULT_MS;
    return grace < SUPERVISOR_GRACE_MAX_MS ? grace : SUPERVISOR_GRACE_MAX_MS;
}
