/* SPDX-License-Identifier: Apache-2.0
 * The invariants of state.h, derived from nothing but the records. The *_fault functions judge one record, and guard
 * the restore of a snapshot too; state_check adds the sums, indexes, orders, counters and hashes. */
#include <inttypes.h>
#include <string.h>

#include "scheduler/level.h"
#include "scheduler/state_private.h"

/* ---- one record ---- */

static bool text_fits(const char *text) {
    return text && strnlen(text, STATE_TEXT_MAX + 1) <= STATE_TEXT_MAX;
}

const char *globals_fault(const struct state *state) {
    const struct config_record *config = &state->config;
    if (state->cluster_set != config->set || state->cluster_set != (state->leader.index > 0))
        return "cluster id, configuration and leader do not come together";
    if (config->level < 1 || config->level > level_max()) return "feature level";
    if (config->agent_timeout_ms == 0 || config->history_tasks > STATE_HISTORY_MAX ||
        config->history_frameworks > STATE_HISTORY_MAX)
        return "configuration";
    if ((config->level < 2 || !config->set) != (config->changed_index == 0) ||
        config->changed_index > state->applied_index)
        return "position of the configuration";
    if (state->leader.index > state->applied_index || state->leader.cluster_ms > state->cluster_ms)
        return "leader from the future";
    if (state->agent_next == 0 || state->framework_next == 0 || state->task_next == 0 || state->sequence_next == 0)
        return "a counter is 0";
    return members_fault(state);
}

const char *agent_fault(const struct state *state, const struct agent *agent) {
    if (agent->number == 0 || agent->number >= state->agent_next) return "number";
    if (agent->status < AGENT_ACTIVE || agent->status > AGENT_GONE_STATUS) return "status";
    if (!id_valid(agent->id)) return "id";
    if (!text_fits(agent->hostname) || !text_fits(agent->http) || !text_fits(agent->version) ||
        !text_fits(agent->boot_id))
        return "text";
    if (agent->info.len > STATE_INFO_MAX) return "info";
    if (agent->since == 0 || agent->since > state->applied_index) return "since";
    return NULL;
}

const char *framework_fault(const struct state *state, const struct framework *framework) {
    if (framework->number == 0 || framework->number >= state->framework_next) return "number";
    if (framework->status < FRAMEWORK_CONNECTED || framework->status > FRAMEWORK_REMOVED) return "status";
    if (!id_valid(framework->id)) return "id";
    if (!text_fits(framework->name) || !text_fits(framework->user) || !text_fits(framework->principal)) return "text";
    if (framework->info.len > STATE_INFO_MAX) return "info";
    if (framework->role_count < 1 || framework->role_count > STATE_ROLES_MAX) return "number of roles";
    for (uint32_t i = 0; i < framework->role_count; i++) {
        if (!role_valid(framework->roles[i])) return "role";
        if (framework_role(framework, framework->roles[i]) != (int)i) return "role named twice";
    }
    if (framework->role_count < 32 && framework->suppressed >> framework->role_count != 0) return "suppressed role";
    if (framework->subscribed == 0 || framework->subscribed > framework->since ||
        framework->since > state->applied_index || framework->since_cluster_ms > state->cluster_ms)
        return "subscribed or since";
    if ((framework->status == FRAMEWORK_REMOVED) != (framework->removed_seq != 0) ||
        framework->removed_seq >= state->sequence_next)
        return "place among the removed";
    bool sweeps = framework->sweep_last > 0;
    if (sweeps != (framework->sweep_next > 0) || framework->sweep_next > framework->sweep_last ||
        framework->sweep_last >= state->task_next ||
        (sweeps && (framework->status != FRAMEWORK_REMOVED || state->config.level < 2)))
        return "sweep";
    return NULL;
}

static const char *completed_fault(const struct state *state, const struct task *task) {
    uint64_t seq = task_completed_seq(task);
    if (seq == 0 || seq >= state->sequence_next) return "place in the history";
    if (!task_state_terminal(task->state) || !task_state_terminal(task->latest_state)) return "completed, not ended";
    if (task->holds || task->unacked || task->kill_wanted || task_info(task).len > 0)
        return "completed, yet something is owed for it";
    return NULL;
}

/* Where the task's agent and framework stand says what the task can be. */
static const char *surroundings_fault(const struct state *state, const struct task *task, const struct agent *agent,
                                      const struct framework *framework) {
    bool ended = task_state_terminal(task->state);
    if (agent->status == AGENT_GONE_STATUS && !(ended && task->unacked)) return "live on an agent that is gone";
    if (task->state == TASK_UNREACHABLE && agent->status != AGENT_UNREACHABLE_STATUS &&
        !task_state_terminal(task->latest_state)) /* ended, and its last update is on its way */
        return "UNREACHABLE on an agent that is not";
    if (framework->status == FRAMEWORK_REMOVED && !task_unswept(state, task) &&
        (!task->kill_wanted || task->unacked || task_state_terminal(task->latest_state)))
        return "not being killed though its framework is removed";
    return NULL;
}

static const char *live_fault(const struct task *task) {
    if (task->agent == 0) return "agent";
    if (task->holds == task_state_terminal(task->latest_state))
        return "holding resources though ended, or not though live";
    if (task_state_terminal(task->state)) {
        bool told_lost = task->state == TASK_LOST && task->kill_wanted && !task_state_terminal(task->latest_state);
        bool to_acknowledge = task->unacked && task_state_terminal(task->latest_state);
        if (told_lost == to_acknowledge) return "ended, neither to be acknowledged nor told LOST";
    }
    if (task->state == TASK_UNKNOWN || task->latest_state == TASK_UNKNOWN || task->latest_state == TASK_UNREACHABLE)
        return "state";
    if (!task->confirmed &&
        (task->latest_state != TASK_STAGING || task->has_uuid || task->unacked ||
         (task->state != TASK_STAGING && task->state != TASK_UNREACHABLE && task->state != TASK_LOST)))
        return "state without a report";
    if (task->confirmed && task->latest_state == TASK_STAGING) return "reported, yet launching";
    if (task->unacked && (!task->has_uuid || task->mesos_reason != MESOS_REASON_NONE)) return "unacknowledged update";
    return NULL;
}

const char *task_own_fault(const struct state *state, const struct task *task) {
    static const uint8_t zero[16];
    if (task->number == 0 || task->number >= state->task_next) return "number";
    if (!task->id || !id_valid(task->id)) return "id";
    if (task->launch.index == 0 || task->launch.index > state->applied_index) return "launch";
    if (task->state >= TASK_STATES || task->latest_state >= TASK_STATES) return "state";
    if (!task->has_uuid && memcmp(task->uuid, zero, sizeof zero) != 0) return "uuid";
    if (task_status(state, task).len > STATE_TASK_BYTES_MAX || task_info(task).len > STATE_TASK_BYTES_MAX ||
        task_view(task).len > STATE_TASK_BYTES_MAX ||
        strnlen(task->name, STATE_TASK_BYTES_MAX + 1) > STATE_TASK_BYTES_MAX)
        return "size";
    if (task->mesos_reason < MESOS_REASON_NONE) return "reason";
    if (task->message && (task->mesos_reason == MESOS_REASON_NONE || !text_fits(task->message))) return "message";
    if (task->mesos_reason != MESOS_REASON_NONE && task_has_status(task)) return "a status with a made state";
    return task->completed ? completed_fault(state, task) : live_fault(task);
}

const char *task_place_fault(const struct state *state, const struct task *task) {
    const struct framework *framework = framework_get(state, task->framework);
    const struct agent *agent = agent_get(state, task->agent);
    if (!framework) return "framework";
    if (task->agent != 0 && !agent) return "agent";
    return task->completed ? NULL : surroundings_fault(state, task, agent, framework);
}

const char *task_fault(const struct state *state, const struct task *task) {
    const char *fault = task_own_fault(state, task);
    return fault ? fault : task_place_fault(state, task);
}

/* ---- all of them ---- */

struct totals { /* re-derived while walking */
    struct hash128 hash;
    uint32_t agents[4], frameworks[4];
    uint64_t tasks_now[TASK_STATES], live, completed, newest;
};

static int broken(struct err *err, const char *kind, uint64_t number, const char *what) {
    return err_set(err, ERR_CORRUPT, "%s %" PRIu64 ": %s", kind, number, what);
}

static void hash_add(const struct state *state, struct totals *totals, enum record_kind kind, const void *record) {
    totals->hash = hash128_add(totals->hash, record_hash(state, kind, record));
}

/* Adds up the tasks of a queue that hold resources; false if the queue is not as it should be. */
static bool agent_sum(const struct agent *agent, struct resources *used, uint32_t *ret_ranges) {
    uint32_t count = 0;
    uint64_t last = 0;
    *ret_ranges = 0;
    for (const struct task *task = agent_task_first(agent); task; task = agent_task_after(agent, task)) {
        if (task->agent != agent->number || task->completed || task->number <= last) return false;
        last = task->number;
        count++;
        if (!task->holds) continue;
        struct resources taken = task_resources(task);
        if (resources_add(used, &taken)) return false;
        *ret_ranges += taken.ports.count;
    }
    return count == agent->task_count;
}

static int agent_check(const struct state *state, const struct agent *agent, struct totals *totals, struct err *err) {
    const char *fault = agent_fault(state, agent);
    struct resources used = {0};
    uint32_t ranges = 0;
    bool summed = !fault && agent_sum(agent, &used, &ranges) && resources_equal(&used, &agent->used) &&
                  ranges == agent->port_ranges;
    bool contained = summed && resources_contains(&agent->total, &used); /* P2, I-09 */
    resources_done(&used);
    if (fault) return broken(err, "agent", agent->number, fault);
    if (!summed) return broken(err, "agent", agent->number, "the sum or list of its tasks is wrong");
    if (!contained) return broken(err, "agent", agent->number, "its tasks use more than it has");
    if (state_agent_by_id(state, agent->id) != agent || state_agent_by_uuid(state, agent->uuid) != agent)
        return broken(err, "agent", agent->number, "not found under its id or uuid");
    totals->agents[agent->status]++;
    hash_add(state, totals, RECORD_AGENT, agent);
    return 0;
}

static bool framework_sum(const struct framework *framework, struct resources *used) {
    uint32_t count = 0;
    uint64_t last = 0, last_seq = 0;
    for (const struct task *task = framework_task_first(framework); task;
         task = framework_task_after(framework, task)) {
        if (task->framework != framework->number || task->completed || task->number <= last) return false;
        last = task->number;
        count++;
        struct resources scalars = task_resources(task);
        scalars.ports = (struct ports){0};
        if (task->holds && resources_add(used, &scalars)) return false;
    }
    for (const struct task *task = framework_completed_first(framework); task;
         task = framework_completed_after(framework, task)) {
        if (task->framework != framework->number || !task->completed || task_completed_seq(task) <= last_seq)
            return false;
        last_seq = task_completed_seq(task);
    }
    return count == framework->task_count;
}

static int framework_check(const struct state *state, const struct framework *framework, struct totals *totals,
                           struct err *err) {
    const char *fault = framework_fault(state, framework);
    struct resources used = {0};
    bool summed = !fault && framework_sum(framework, &used) && resources_equal(&used, &framework->used);
    resources_done(&used);
    if (fault) return broken(err, "framework", framework->number, fault);
    if (!summed) return broken(err, "framework", framework->number, "the sum or list of its tasks is wrong");
    if (framework_find(state, framework->id) != framework)
        return broken(err, "framework", framework->number, "not found under its id");
    totals->frameworks[framework->status]++;
    hash_add(state, totals, RECORD_FRAMEWORK, framework);
    return 0;
}

static int task_check(const struct state *state, const struct task *task, struct totals *totals, struct err *err) {
    const char *fault = task_fault(state, task);
    if (fault) return broken(err, "task", task->number, fault);
    const struct task *newest = task_find(state, task->framework, task->id);
    if (!newest || newest->number < task->number) return broken(err, "task", task->number, "not found under its id");
    if (newest != task && !task->completed) return broken(err, "task", task->number, "hidden by a newer one");
    if (newest == task) totals->newest++;
    if (task->completed) totals->completed++;
    if (!task->completed) totals->live++, totals->tasks_now[task->state]++;
    hash_add(state, totals, RECORD_TASK, task);
    return 0;
}

int state_check_orders(const struct state *state, struct err *err) {
    for (uint32_t i = 0; i < TASK_STATES; i++)
        if (state->tasks_ever[i] < state->tasks_now[i]) return broken(err, "tasks_ever", i, "smaller than now");
    uint64_t count = 0, last = 0, removed = 0, evictable = 0;
    for (const struct queue *at = state->history.next; at != &state->history; at = at->next, count++) {
        const struct task *task = QUEUE_ENTRY(at, struct task, in_history);
        if (!task->completed || task_completed_seq(task) <= last)
            return broken(err, "history at task", task->number, "order");
        last = task_completed_seq(task);
    }
    last = 0;
    for (const struct queue *at = state->removed.next; at != &state->removed; at = at->next, removed++) {
        const struct framework *framework = QUEUE_ENTRY(at, struct framework, in_removed);
        if (framework->removed_seq <= last) return broken(err, "removed at framework", framework->number, "order");
        last = framework->removed_seq;
        if (framework->task_count == 0) evictable++;
    }
    if (count != state->tasks_completed || removed != state->frameworks_by_status[FRAMEWORK_REMOVED])
        return broken(err, "history", count, "does not hold what it counts");
    /* What the last command added is trimmed by the next one. */
    if (count > (uint64_t)state->config.history_tasks + state->completed_last)
        return broken(err, "history", count, "over its bound");
    bool settled = state->completed_last == 0 && state->removed_last == 0;
    if (settled && removed > state->config.history_frameworks && evictable > 0)
        return broken(err, "removed frameworks", removed, "over their bound");
    return 0;
}

static int totals_check(const struct state *state, const struct totals *totals, struct err *err) {
    if (memcmp(totals->agents, state->agents_by_status, sizeof totals->agents) != 0 ||
        memcmp(totals->frameworks, state->frameworks_by_status, sizeof totals->frameworks) != 0 ||
        memcmp(totals->tasks_now, state->tasks_now, sizeof totals->tasks_now) != 0 ||
        totals->live != state->tasks_live || totals->completed != state->tasks_completed)
        return broken(err, "counters", 0, "do not count what is there");
    if (map_count(&state->task_ids) != totals->newest || map_count(&state->agent_ids) != slab_count(&state->agents) ||
        map_count(&state->agent_uuids) != slab_count(&state->agents) ||
        map_count(&state->framework_ids) != slab_count(&state->frameworks))
        return broken(err, "indexes", 0, "name records that are not there");
    if (!hash128_equal(totals->hash, state->hash)) return broken(err, "state hash", 0, "not the sum of its records");
    return 0;
}

int state_check(const struct state *state, struct err *err) {
    struct totals totals = {0};
    const char *fault = globals_fault(state);
    int rc = fault ? broken(err, "globals", 0, fault) : 0;
    if (rc == 0 && state->touched_count != 0) rc = broken(err, "globals", 0, "a record without its hash");
    for (const struct agent *a = state_agent_next(state, 0); a && rc == 0; a = state_agent_next(state, a->number))
        rc = agent_check(state, a, &totals, err);
    for (const struct framework *f = state_framework_next(state, 0); f && rc == 0;
         f = state_framework_next(state, f->number))
        rc = framework_check(state, f, &totals, err);
    for (const struct task *t = state_task_next(state, 0); t && rc == 0; t = state_task_next(state, t->number))
        rc = task_check(state, t, &totals, err);
    if (rc == 0) rc = state_check_orders(state, err);
    if (rc == 0) rc = totals_check(state, &totals, err);
    return rc;
}
