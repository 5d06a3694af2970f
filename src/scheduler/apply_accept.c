/* SPDX-License-Identifier: Apache-2.0
 * ACCEPT: the one way a task comes into the state. Tasks are decided in the order of the call, each with the resources
 * that the earlier ones left. */
#include <string.h>

#include "base/check.h"
#include "scheduler/apply.h"

struct verdict {
    bool launch;
    bool record; /* goes into the history as TASK_ERROR */
    uint32_t state;
    int mesos_reason;
    const char *reason;
    const struct task *known;
};

static struct verdict verdict_error(const char *reason, bool record) {
    return (struct verdict){
        .record = record, .state = TASK_ERROR, .mesos_reason = MESOS_REASON_TASK_INVALID, .reason = reason};
}

static struct verdict verdict_lost(const struct framework *framework, int mesos_reason, const char *reason) {
    return (struct verdict){
        .state = lost_state(framework, TASK_DROPPED), .mesos_reason = mesos_reason, .reason = reason};
}

/* An ACCEPT whose offers are not known to the leader, perhaps because an earlier leader took it and died before the
 * answer: a task that is in the state was accepted then and is never declared dropped. */
static struct verdict verdict_without_offers(const struct framework *framework, const struct task *known) {
    if (!known) return verdict_lost(framework, MESOS_REASON_INVALID_OFFERS, "Task launched with invalid offers");
    return (struct verdict){.state = known->state,
                            .mesos_reason = MESOS_REASON_RECONCILIATION,
                            .reason = "Task is known already",
                            .known = known};
}

static size_t launch_bytes(const Conclave__Log__TaskLaunch *launch) {
    return launch->info.len + launch->view.len + strlen(launch->name);
}

static struct verdict verdict_of(struct apply *a, const Conclave__Log__Accept *c, const struct framework *framework,
                                 const Conclave__Log__TaskLaunch *launch, struct resources *ret_resources) {
    if (!id_valid(launch->task_id)) return verdict_error("Task id is not valid", false);
    const struct task *known = task_find(a->state, framework->number, launch->task_id);
    if (!c->offers_valid) return verdict_without_offers(framework, known);
    if (known && !known->completed) return verdict_error("Task has duplicate id", false);
    if (launch_bytes(launch) > STATE_TASK_BYTES_MAX) return verdict_error("Task is larger than 64 KiB", false);
    if (launch->refusal)
        return verdict_error(strlen(launch->refusal) <= STATE_TEXT_MAX ? launch->refusal : "Task is not valid", true);
    const struct agent *agent = c->has_agent ? agent_get(a->state, c->agent) : NULL;
    if (!agent || agent->status == AGENT_GONE_STATUS)
        return verdict_lost(framework, MESOS_REASON_AGENT_REMOVED, "Agent has been removed");
    if (agent->status != AGENT_ACTIVE)
        return verdict_lost(framework, MESOS_REASON_AGENT_DISCONNECTED, "Agent is unreachable");
    if (resources_from_log(launch->resources, ret_resources))
        return verdict_error("Task's resources are not valid", true);
    if (!agent_fits(agent, ret_resources) || !framework_fits(framework, ret_resources) ||
        a->state->tasks_live >= STATE_TASKS_MAX)
        return verdict_lost(framework, MESOS_REASON_INVALID_OFFERS, "Task's resources are not free on the agent");
    return (struct verdict){.launch = true, .state = TASK_STAGING, .mesos_reason = MESOS_REASON_NONE};
}

/* The task as launched, or refused: a record in the history that says why. */
static struct task *task_make(struct apply *a, const Conclave__Log__Accept *c, const Conclave__Log__TaskLaunch *launch,
                              uint32_t k, const struct verdict *verdict, const struct resources *resources) {
    struct state *state = a->state;
    struct task *task = task_put(state, state->task_next++);
    task->framework = c->framework;
    task->agent = c->has_agent && agent_get(state, c->agent) ? c->agent : 0;
    task_launch_set(state, task, launch->task_id, resources);
    task->name = pool_text(&state->pool, launch->name);
    task->launch = (struct launch_id){a->index, a->n, k};
    task->state = task->latest_state = (uint8_t)verdict->state;
    task->mesos_reason = (int16_t)verdict->mesos_reason;
    task->message = verdict->reason ? pool_text(&state->pool, verdict->reason) : NULL;
    task->view = pool_get(&state->pool, launch->view.data, launch->view.len);
    task->created_wall_ms = task->changed_wall_ms = a->wall_ms;
    if (verdict->launch) {
        task_sent_set(state, task, launch->info.data, launch->info.len);
        task->holds = true;
    } else {
        task->completed = true;
        task->grace_or_seq = state->sequence_next++;
        state->completed_last++;
    }
    state->tasks_ever[task->state]++;
    task_index(state, task);
    return task;
}

static void task_decide(struct apply *a, const Conclave__Log__Accept *c, uint32_t k) {
    const Conclave__Log__TaskLaunch *launch = c->tasks[k];
    const struct framework *framework = framework_get(a->state, c->framework);
    struct resources resources = {0};
    struct verdict verdict = verdict_of(a, c, framework, launch, &resources);
    const struct task *task = verdict.known;
    if (verdict.launch || verdict.record) task = task_make(a, c, launch, k, &verdict, &resources);
    resources_done(&resources);
    a->outcome->tasks[k] = (struct task_outcome){.launched = verdict.launch,
                                                 .task = task ? task->number : 0,
                                                 .state = verdict.state,
                                                 .reason = verdict.reason,
                                                 .mesos_reason = verdict.mesos_reason};
    if (verdict.launch) effect_task(a, EFFECT_LAUNCH, task);
}

enum outcome_code apply_accept(struct apply *a, const Conclave__Log__Accept *c) {
    enum outcome_code code = OUTCOME_OK;
    if (!apply_framework(a, c->framework, &code)) return code;
    if (c->n_tasks > OUTCOME_TASKS_MAX) return apply_refuse(a, "An ACCEPT has at most %d tasks", OUTCOME_TASKS_MAX);
    if (c->n_tasks == 0) return OUTCOME_NO_CHANGE;
    a->outcome->task_count = (uint32_t)c->n_tasks;
    for (uint32_t k = 0; k < c->n_tasks; k++)
        task_decide(a, c, k);
    return OUTCOME_OK;
}
