/* SPDX-License-Identifier: Apache-2.0
 * Agents: registration, silence, return, end.
 *
 *   register -> ACTIVE <-> UNREACHABLE               agent_unreachable / agent_returned, register
 *                  |           |
 *                  +--> GONE <-+                     agent_gone, for good */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "scheduler/apply.h"

/* ---- registration ---- */

static enum outcome_code texts_check(struct apply *a, const Conclave__Log__AgentRegister *c) {
    if (c->uuid.len != 16) return apply_refuse(a, "The uuid of an agent has 16 bytes");
    if (strlen(c->hostname) > STATE_TEXT_MAX || strlen(c->http) > STATE_TEXT_MAX ||
        strlen(c->version) > STATE_TEXT_MAX || (c->boot_id && strlen(c->boot_id) > STATE_TEXT_MAX))
        return apply_refuse(a, "A text of the agent is longer than %d bytes", STATE_TEXT_MAX);
    if (c->info.len > STATE_INFO_MAX) return apply_refuse(a, "AgentInfo is larger than %d bytes", STATE_INFO_MAX);
    return OUTCOME_OK;
}

/* What runs on the agent must still fit, or its free resources would be negative. */
static enum outcome_code total_check(struct apply *a, const struct agent *agent, const struct resources *total) {
    if (!agent) {
        if (a->state->agent_next > STATE_AGENTS_MAX)
            return apply_refuse(a, "There have been %d agents already", STATE_AGENTS_MAX);
        return OUTCOME_OK;
    }
    if (agent->status == AGENT_GONE_STATUS) return apply_refuse(a, "Agent %.100s was marked gone", agent->id);
    if (!resources_contains(total, &agent->used) || agent->port_ranges + total->ports.count > PORTS_RANGES_MAX)
        return apply_refuse(a, "Agent %.100s offers less than its tasks use", agent->id);
    return OUTCOME_OK;
}

static struct agent *agent_make(struct apply *a, const Conclave__Log__AgentRegister *c) {
    struct state *state = a->state;
    struct agent *agent = agent_put(state, state->agent_next++);
    char id[64];
    snprintf(id, sizeof id, "%s-%" PRIu32 "-S%" PRIu32, state->cluster_name, state->incarnation, agent->number);
    agent->id = text_copy(id);
    memcpy(agent->uuid, c->uuid.data, sizeof agent->uuid);
    agent->registered_wall_ms = a->wall_ms;
    agent->hostname = text_copy("");
    agent->http = text_copy("");
    agent->version = text_copy("");
    agent->boot_id = text_copy("");
    agent_index(state, agent);
    return agent;
}

enum outcome_code apply_agent_register(struct apply *a, const Conclave__Log__AgentRegister *c) {
    struct resources total = {0};
    enum outcome_code code = texts_check(a, c);
    if (code != OUTCOME_OK) return code;
    if (resources_from_log(c->resources, &total)) return apply_refuse(a, "The agent's resources are not valid");
    const struct agent *known = state_agent_by_uuid(a->state, c->uuid.data);
    code = total_check(a, known, &total);
    if (code != OUTCOME_OK) {
        resources_done(&total);
        return code;
    }
    struct agent *agent = known ? agent_get(a->state, known->number) : agent_make(a, c);
    agent_touch(a->state, agent);
    text_set(&agent->hostname, c->hostname);
    text_set(&agent->http, c->http);
    text_set(&agent->version, c->version);
    text_set(&agent->boot_id, c->boot_id ? c->boot_id : "");
    bytes_set(&agent->info, c->info.data, c->info.len);
    resources_done(&agent->total);
    agent->total = total; /* owned by the record from here on */
    agent->since = a->index;
    if (agent->status == AGENT_UNREACHABLE_STATUS) apply_agent_back(a, agent);
    agent_set_status(a->state, agent, AGENT_ACTIVE);
    a->outcome->agent = agent->number;
    effect_agent(a, EFFECT_AGENT_CHANGED, agent);
    return OUTCOME_OK;
}

/* ---- silence and return ---- */

static struct agent *agent_of(struct apply *a, uint32_t number, enum outcome_code *ret_code) {
    struct agent *agent = agent_get(a->state, number);
    if (agent && agent->status != AGENT_GONE_STATUS) return agent;
    apply_refuse(a, agent ? "Agent was marked gone" : "Agent is not known");
    *ret_code = agent ? OUTCOME_REFUSED : OUTCOME_NOT_FOUND;
    return NULL;
}

void apply_agent_back(struct apply *a, struct agent *agent) {
    for (struct queue *at = agent->tasks.next; at != &agent->tasks; at = at->next) {
        struct task *task = QUEUE_ENTRY(at, struct task, on_agent);
        if (task_told_lost(task)) {
            effect_task(a, EFFECT_KILL, task);
            continue;
        }
        if (task->state != TASK_UNREACHABLE) continue;
        /* One that has ended meanwhile: its last update, which the agent holds, will say so. Level 1 made that state
         * here, without an update that could be acknowledged, and the task stayed for ever. */
        if (task_state_terminal(task->latest_state) && a->state->config.level >= 2) continue;
        task_set_made(a->state, task, task->latest_state, MESOS_REASON_AGENT_REREGISTERED, "Agent is back", a->wall_ms);
        if (framework_get(a->state, task->framework)->status != FRAMEWORK_REMOVED) effect_task(a, EFFECT_UPDATE, task);
    }
}

enum outcome_code apply_agent_returned(struct apply *a, const Conclave__Log__AgentReturned *c) {
    enum outcome_code code = OUTCOME_OK;
    struct agent *agent = agent_of(a, c->agent, &code);
    if (!agent) return code;
    if (agent->status == AGENT_ACTIVE) return OUTCOME_NO_CHANGE;
    agent_touch(a->state, agent);
    agent->since = a->index;
    apply_agent_back(a, agent);
    agent_set_status(a->state, agent, AGENT_ACTIVE);
    effect_agent(a, EFFECT_AGENT_CHANGED, agent);
    return OUTCOME_OK;
}

/* The framework hears that the task is out of reach. What has ended already is left alone: its updates wait. */
static void task_unreachable(struct apply *a, struct task *task) {
    const struct framework *framework = framework_get(a->state, task->framework);
    if (task_state_terminal(task->latest_state) || task_state_terminal(task->state)) return;
    uint32_t told = lost_state(framework, TASK_UNREACHABLE);
    task_set_made(a->state, task, told, MESOS_REASON_AGENT_REMOVED, "Agent is unreachable", a->wall_ms);
    /* Told LOST is final: it must not run on when the agent is back. */
    if (told == TASK_LOST) task->kill_wanted = true;
    if (framework->status != FRAMEWORK_REMOVED) effect_task(a, EFFECT_UPDATE, task);
}

enum outcome_code apply_agent_unreachable(struct apply *a, const Conclave__Log__AgentUnreachable *c) {
    enum outcome_code code = OUTCOME_OK;
    struct agent *agent = agent_of(a, c->agent, &code);
    if (!agent) return code;
    if (agent->status != AGENT_ACTIVE || agent->since != c->since) return OUTCOME_NO_CHANGE;
    agent_touch(a->state, agent);
    agent->since = a->index;
    agent_set_status(a->state, agent, AGENT_UNREACHABLE_STATUS);
    for (struct queue *at = agent->tasks.next; at != &agent->tasks; at = at->next)
        task_unreachable(a, QUEUE_ENTRY(at, struct task, on_agent));
    effect_agent(a, EFFECT_AGENT_CHANGED, agent);
    return OUTCOME_OK;
}

/* ---- the end ---- */

static void task_gone(struct apply *a, struct task *task) {
    const struct framework *framework = framework_get(a->state, task->framework);
    if (task_told_lost(task)) {
        apply_release(a, task);
        task_complete(a->state, task);
        return;
    }
    if (task_state_terminal(task->state)) return; /* its last update is in the log and still to be acknowledged */
    if (task_state_terminal(task->latest_state)) {
        apply_finish(a, task, task->latest_state, MESOS_REASON_AGENT_REMOVED_BY_OPERATOR, "Agent was marked gone");
        return;
    }
    apply_finish(a, task, lost_state(framework, TASK_GONE_BY_OPERATOR), MESOS_REASON_AGENT_REMOVED_BY_OPERATOR,
                 "Agent was marked gone");
}

enum outcome_code apply_agent_gone(struct apply *a, const Conclave__Log__AgentGone *c) {
    enum outcome_code code = OUTCOME_OK;
    struct agent *agent = agent_of(a, c->agent, &code);
    if (!agent) return code;
    agent_touch(a->state, agent);
    agent->since = a->index;
    agent_set_status(a->state, agent, AGENT_GONE_STATUS);
    struct queue *at = agent->tasks.next;
    while (at != &agent->tasks) {
        struct task *task = QUEUE_ENTRY(at, struct task, on_agent);
        at = at->next;
        task_gone(a, task);
    }
    effect_agent(a, EFFECT_AGENT_CHANGED, agent);
    return OUTCOME_OK;
}
