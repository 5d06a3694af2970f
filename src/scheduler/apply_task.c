/* SPDX-License-Identifier: Apache-2.0
 * Tasks after their launch: kill, report, acknowledge, vanish.
 *
 *   STAGING --report--> STARTING, RUNNING, ... --report--> a terminal state --acknowledge--> history
 *
 * `state` is what the framework is told, one update at a time; `latest_state` is where the task really is at the end of
 * its agent's queue, and decides about resources. A task whose framework can hear of it no more (removed, or told LOST)
 * is acknowledged by apply itself and goes to the history when its agent reports the end. */
#include <string.h>

#include "base/check.h"
#include "scheduler/apply.h"

/* ---- kill ---- */

enum outcome_code apply_task_kill(struct apply *a, const Conclave__Log__TaskKill *c) {
    enum outcome_code code = OUTCOME_OK;
    if (!apply_framework(a, c->framework, &code)) return code;
    struct task *task = task_find(a->state, c->framework, c->task_id);
    if (!task) return OUTCOME_NOT_FOUND;
    if (task->completed || task_state_terminal(task->latest_state)) return OUTCOME_NO_CHANGE;
    if (c->has_agent && c->agent != task->agent) return OUTCOME_NO_CHANGE;
    uint64_t grace = c->has_grace_ms ? c->grace_ms : STATE_GRACE_DEFAULT;
    bool news = !task->kill_wanted || grace < task->grace_or_seq;
    if (news) {
        task_touch(a->state, task);
        task->kill_wanted = true;
        task->grace_or_seq = grace;
    }
    effect_task(a, EFFECT_KILL, task);
    return news ? OUTCOME_OK : OUTCOME_NO_CHANGE;
}

/* ---- report ---- */

static bool launch_equal(const struct task *task, const Conclave__Log__LaunchId *launch) {
    return task->launch.index == launch->index && task->launch.n == launch->n && task->launch.k == launch->k;
}

/* Nothing here waits for this update: its agent may forget it. */
static enum outcome_code report_stale(struct apply *a, const Conclave__Log__TaskReport *c) {
    struct effect *effect = effect_add(a, EFFECT_ACK);
    effect->agent = c->agent;
    effect->framework_id = text_copy(c->framework_id);
    effect->task_id = text_copy(c->task_id);
    effect->launch = (struct launch_id){c->launch->index, c->launch->n, c->launch->k};
    memcpy(effect->uuid, c->uuid.data, sizeof effect->uuid);
    return OUTCOME_NO_CHANGE;
}

/* Where the task is now; its resources are free once it has ended. True if that is news. */
static bool report_latest(struct apply *a, struct task *task, uint32_t latest) {
    if (task_state_terminal(task->latest_state) || task->latest_state == latest) return false;
    task_touch(a->state, task);
    task->latest_state = (uint8_t)latest;
    if (task_state_terminal(latest)) apply_release(a, task);
    return true;
}

static void report_take(struct apply *a, struct task *task, const Conclave__Log__TaskReport *c) {
    task_set_state(a->state, task, c->state, a->wall_ms);
    task->has_uuid = true;
    memcpy(task->uuid, c->uuid.data, sizeof task->uuid);
    task_status_set(a->state, task, c->status.data, c->status.len);
}

/* A report on a task whose framework is not told any more. */
static enum outcome_code report_unheard(struct apply *a, struct task *task, const Conclave__Log__TaskReport *c) {
    effect_ack(a, task, c->uuid.data);
    if (!task_state_terminal(task->state)) report_take(a, task, c);
    if (task_state_terminal(task->latest_state)) {
        if (!task_state_terminal(task->state))
            task_set_made(a->state, task, task->latest_state, MESOS_REASON_FRAMEWORK_REMOVED, NULL, a->wall_ms);
        task_complete(a->state, task);
    }
    return OUTCOME_OK;
}

static enum outcome_code report_apply(struct apply *a, struct task *task, const Conclave__Log__TaskReport *c) {
    const struct framework *framework = framework_get(a->state, task->framework);
    bool news = !task->confirmed;
    task_confirm(a->state, task);
    /* A last update says where the task is, whatever came with it. */
    uint32_t latest = task_state_terminal(c->state) ? c->state : c->latest_state;
    if (report_latest(a, task, latest)) news = true;
    bool same = task->has_uuid && memcmp(task->uuid, c->uuid.data, sizeof task->uuid) == 0;
    if (framework->status == FRAMEWORK_REMOVED || task_told_lost(task)) return report_unheard(a, task, c);
    if (task->unacked) {
        if (same) effect_task(a, EFFECT_UPDATE, task);
        return news ? OUTCOME_OK : OUTCOME_NO_CHANGE;
    }
    if (same) {
        effect_ack(a, task, c->uuid.data);
        return news ? OUTCOME_OK : OUTCOME_NO_CHANGE;
    }
    report_take(a, task, c); /* touches it */
    task->unacked = true;
    effect_task(a, EFFECT_UPDATE, task);
    return OUTCOME_OK;
}

enum outcome_code apply_task_report(struct apply *a, const Conclave__Log__TaskReport *c) {
    if (c->uuid.len != 16) return apply_refuse(a, "The uuid of an update has 16 bytes");
    if (c->status.len > STATE_TASK_BYTES_MAX)
        return apply_refuse(a, "TaskStatus is larger than %d bytes", STATE_TASK_BYTES_MAX);
    if (!task_state_reportable(c->state) || !task_state_reportable(c->latest_state))
        return apply_refuse(a, "An agent does not report %s, %s", task_state_name(c->state),
                            task_state_name(c->latest_state));
    const struct framework *framework = framework_find(a->state, c->framework_id);
    struct task *task = framework ? task_find(a->state, framework->number, c->task_id) : NULL;
    if (!task || task->agent != c->agent || !launch_equal(task, c->launch)) return report_stale(a, c);
    bool orphaned = task_unswept(a->state, task);
    if (orphaned) apply_orphan(a, task);
    if (task->completed) {
        effect_ack(a, task, c->uuid.data);
        return orphaned ? OUTCOME_OK : OUTCOME_NO_CHANGE;
    }
    return report_apply(a, task, c);
}

/* ---- acknowledge ---- */

enum outcome_code apply_task_acknowledge(struct apply *a, const Conclave__Log__TaskAcknowledge *c) {
    enum outcome_code code = OUTCOME_OK;
    if (!apply_framework(a, c->framework, &code)) return code;
    struct task *task = task_find(a->state, c->framework, c->task_id);
    if (!task) return OUTCOME_NOT_FOUND;
    if (!task->unacked || (c->has_agent && c->agent != task->agent)) return OUTCOME_NO_CHANGE;
    if (c->uuid.len != sizeof task->uuid || memcmp(c->uuid.data, task->uuid, sizeof task->uuid) != 0)
        return OUTCOME_NO_CHANGE;
    effect_ack(a, task, task->uuid);
    task_touch(a->state, task);
    task->unacked = false;
    if (task_state_terminal(task->state)) task_complete(a->state, task);
    return OUTCOME_OK;
}

/* ---- vanish ---- */

enum outcome_code apply_task_vanished(struct apply *a, const Conclave__Log__TaskVanished *c) {
    const struct framework *framework = framework_find(a->state, c->framework_id);
    struct task *task = framework ? task_find(a->state, framework->number, c->task_id) : NULL;
    if (!task || task->completed || task->agent != c->agent || !launch_equal(task, c->launch)) return OUTCOME_NO_CHANGE;
    if (task_unswept(a->state, task)) apply_orphan(a, task);
    if (task->completed) return OUTCOME_OK;
    if (task_told_lost(task)) {
        apply_release(a, task);
        task_complete(a->state, task);
        return OUTCOME_OK;
    }
    if (task_state_terminal(task->state)) return OUTCOME_NO_CHANGE; /* only the acknowledgement is missing */
    if (task_state_terminal(task->latest_state)) {
        apply_finish(a, task, task->latest_state, MESOS_REASON_RECONCILIATION, "Agent has no record of the task");
    } else if (task->confirmed) {
        apply_finish(a, task, lost_state(framework, TASK_GONE), MESOS_REASON_RECONCILIATION,
                     "Task is unknown to the agent");
    } else if (task->kill_wanted) {
        apply_finish(a, task, TASK_KILLED, MESOS_REASON_TASK_KILLED_DURING_LAUNCH, "Killed before it was launched");
    } else {
        return OUTCOME_NO_CHANGE;
    }
    return OUTCOME_OK;
}
