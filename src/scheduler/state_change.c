/* SPDX-License-Identifier: Apache-2.0
 * The only functions that change records after they were made. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mutant.h"
#include "scheduler/state_private.h"

/* ---- touched records ---- */

static void touched_push(struct state *state, enum record_kind kind, void *record) {
    if (state->touched_count == state->touched_cap) {
        state->touched_cap = state->touched_cap ? state->touched_cap * 2 : 64;
        state->touched = realloc(state->touched, state->touched_cap * sizeof *state->touched);
        CHECK(state->touched);
    }
    state->touched[state->touched_count++] = (struct touched_record){kind, record};
}

void agent_touch(struct state *state, struct agent *agent) {
    if (agent->touched) return;
    if (state->epoch.active) epoch_save(state, RECORD_AGENT, agent->number);
    touched_push(state, RECORD_AGENT, agent);
    agent->touched = true;
}

void framework_touch(struct state *state, struct framework *framework) {
    if (framework->touched) return;
    if (state->epoch.active) epoch_save(state, RECORD_FRAMEWORK, framework->number);
    touched_push(state, RECORD_FRAMEWORK, framework);
    framework->touched = true;
}

void task_touch(struct state *state, struct task *task) {
    if (task->touched) return;
    if (state->epoch.active) epoch_save(state, RECORD_TASK, task->number);
    touched_push(state, RECORD_TASK, task);
    task->touched = true;
}

static void hash_renew(struct state *state, struct hash128 *hash, enum record_kind kind, const void *record) {
    struct hash128 fresh = record_hash(state, kind, record);
    state->hash = hash128_add(hash128_sub(state->hash, *hash), fresh);
    *hash = fresh;
}

void state_settle(struct state *state) {
    for (size_t i = 0; i < state->touched_count; i++) {
        const struct touched_record *touched = &state->touched[i];
        if (touched->kind == RECORD_AGENT) {
            struct agent *agent = touched->record;
            agent->touched = false;
            hash_renew(state, &agent->hash, RECORD_AGENT, agent);
        } else if (touched->kind == RECORD_FRAMEWORK) {
            struct framework *framework = touched->record;
            framework->touched = false;
            hash_renew(state, &framework->hash, RECORD_FRAMEWORK, framework);
        } else {
            struct task *task = touched->record;
            task->touched = false;
            hash_renew(state, &task->hash, RECORD_TASK, task);
        }
    }
    state->touched_count = 0;
}

/* ---- new records ---- */

struct agent *agent_put(struct state *state, uint32_t number) {
    struct agent *agent = slab_put(&state->agents, number);
    agent->number = number;
    queue_init(&agent->tasks);
    return agent;
}

void agent_index(struct state *state, struct agent *agent) {
    map_put(&state->agent_ids, hash64_of(agent->id, strlen(agent->id)), agent->number);
    map_put(&state->agent_uuids, hash64_of(agent->uuid, sizeof agent->uuid), agent->number);
    agent_touch(state, agent);
}

struct framework *framework_put(struct state *state, uint32_t number) {
    struct framework *framework = slab_put(&state->frameworks, number);
    framework->number = number;
    queue_init(&framework->tasks);
    queue_init(&framework->completed);
    queue_init(&framework->in_removed);
    return framework;
}

void framework_index(struct state *state, struct framework *framework) {
    map_put(&state->framework_ids, hash64_of(framework->id, strlen(framework->id)), framework->number);
    framework_touch(state, framework);
}

struct task *task_put(struct state *state, uint64_t number) {
    struct task *task = slab_put(&state->tasks, number);
    task->number = number;
    task->mesos_reason = MESOS_REASON_NONE;
    task->grace_or_seq = STATE_GRACE_DEFAULT;
    queue_init(&task->on_agent);
    queue_init(&task->in_framework);
    return task;
}

/* ---- sums ---- */

static bool scalars_fit(const struct resources *used, const struct resources *wanted, const struct resources *total) {
    return wanted->cpus <= total->cpus - used->cpus && wanted->mem <= total->mem - used->mem &&
           wanted->disk <= total->disk - used->disk && wanted->gpus <= total->gpus - used->gpus;
}

bool agent_fits(const struct agent *agent, const struct resources *wanted) {
    if (!scalars_fit(&agent->used, wanted, &agent->total)) return false;
    if (wanted->ports.count == 0) return true;
    if (agent->port_ranges + agent->total.ports.count + wanted->ports.count > PORTS_RANGES_MAX) return false;
    struct ports free_ports = {0};
    CHECK(ports_copy(&free_ports, &agent->total.ports) == 0);
    CHECK(ports_sub(&free_ports, &agent->used.ports) == 0);
    bool fits = ports_contains(&free_ports, &wanted->ports);
    ports_done(&free_ports);
    return fits;
}

bool framework_fits(const struct framework *framework, const struct resources *wanted) {
    static const struct resources most = {.cpus = RESOURCES_MILLI_MAX,
                                          .mem = RESOURCES_MILLI_MAX,
                                          .disk = RESOURCES_MILLI_MAX,
                                          .gpus = RESOURCES_MILLI_MAX};
    return scalars_fit(&framework->used, wanted, &most);
}

/* The scalars of r, without its ports; borrows nothing. */
static struct resources scalars_of(const struct resources *r) {
    return (struct resources){.cpus = r->cpus, .mem = r->mem, .disk = r->disk, .gpus = r->gpus};
}

static void task_hold(struct state *state, struct task *task) {
    struct agent *agent = agent_get(state, task->agent);
    struct framework *framework = framework_get(state, task->framework);
    struct resources taken = task_resources(task), scalars = scalars_of(&taken);
    CHECK(resources_add(&agent->used, &taken) == 0);
    CHECK(resources_add(&framework->used, &scalars) == 0);
    agent->port_ranges += taken.ports.count;
}

bool task_release(struct state *state, struct task *task) {
    if (!task->holds) return false;
    task_touch(state, task);
    struct agent *agent = agent_get(state, task->agent);
    struct framework *framework = framework_get(state, task->framework);
    struct resources taken = task_resources(task), scalars = scalars_of(&taken);
    CHECK(resources_sub(&agent->used, &taken) == 0);
    if (!MUTANT(USED_KEPT)) CHECK(resources_sub(&framework->used, &scalars) == 0);
    agent->port_ranges -= taken.ports.count;
    task->holds = false;
    return true;
}

/* ---- tasks ---- */

static void task_enter_history(struct state *state, struct task *task, struct framework *framework) {
    queue_push(&framework->completed, &task->in_framework);
    queue_push(&state->history, &task->in_history);
    state->tasks_completed++;
}

void task_join(struct state *state, struct task *task) {
    struct framework *framework = framework_get(state, task->framework);
    if (task->completed) {
        task_enter_history(state, task, framework);
        return;
    }
    struct agent *agent = agent_get(state, task->agent);
    queue_push(&agent->tasks, &task->on_agent);
    agent->task_count++;
    queue_push(&framework->tasks, &task->in_framework);
    framework->task_count++;
    state->tasks_live++;
    state->tasks_now[task->state]++;
    if (task->holds) task_hold(state, task);
}

void task_index(struct state *state, struct task *task) {
    uint64_t hash = task_key_hash(task->framework, task->id);
    /* The index names the newest task of an id: an older one is in the history, and will leave it first. */
    struct task *older = task_find(state, task->framework, task->id);
    if (older) {
        CHECK(older->completed && older->number < task->number);
        map_change(&state->task_ids, hash, older->number, task->number);
    } else {
        map_put(&state->task_ids, hash, task->number);
    }
    task_join(state, task);
    task_touch(state, task);
}

void task_set_state(struct state *state, struct task *task, uint32_t new_state, uint64_t wall_ms) {
    CHECK(!task->completed && new_state < TASK_STATES);
    CHECK(!task_state_terminal(task->state) || task->state == new_state); /* I-13 */
    task_touch(state, task);
    if (task->state != new_state) {
        state->tasks_now[task->state]--;
        state->tasks_now[new_state]++;
        state->tasks_ever[new_state]++;
        task->state = (uint8_t)new_state;
    }
    task->mesos_reason = MESOS_REASON_NONE;
    pool_put(&state->pool, task->message);
    task->message = NULL;
    task->changed_wall_ms = wall_ms;
    if (new_state == TASK_RUNNING && task->started_wall_ms == 0) task->started_wall_ms = wall_ms;
}

void task_set_made(struct state *state, struct task *task, uint32_t new_state, int mesos_reason,
                   const char *reason_text, uint64_t wall_ms) {
    task_set_state(state, task, new_state, wall_ms);
    task->mesos_reason = (int16_t)mesos_reason;
    task->message = reason_text ? pool_text(&state->pool, reason_text) : NULL;
    if (task->confirmed) task_sent_done(state, task); /* the status; a TaskInfo is needed still */
    if (task->unacked) {
        task->unacked = false;
        task->has_uuid = false;
        memset(task->uuid, 0, sizeof task->uuid);
    }
}

void task_confirm(struct state *state, struct task *task) {
    if (task->confirmed) return;
    task_touch(state, task);
    task_sent_done(state, task);
    task->confirmed = true;
}

void task_complete(struct state *state, struct task *task) {
    CHECK(!task->completed && !task->holds && task_state_terminal(task->state));
    task_touch(state, task);
    struct agent *agent = agent_get(state, task->agent);
    struct framework *framework = framework_get(state, task->framework);
    queue_remove(&task->on_agent);
    agent->task_count--;
    queue_remove(&task->in_framework);
    framework->task_count--;
    state->tasks_now[task->state]--;
    state->tasks_live--;
    if (!task_state_terminal(task->latest_state)) task->latest_state = task->state;
    task->completed = true;
    task->grace_or_seq = state->sequence_next++;
    task->unacked = false;
    task->kill_wanted = false;
    if (!task->confirmed) task_sent_done(state, task);
    state->completed_last++;
    task_enter_history(state, task, framework);
}

void task_forget(struct state *state, struct task *task) {
    CHECK(task->completed && !task->touched);
    if (state->epoch.active) epoch_save(state, RECORD_TASK, task->number);
    queue_remove(&task->in_framework);
    queue_remove(&task->in_history);
    state->tasks_completed--;
    state->hash = hash128_sub(state->hash, task->hash);
    map_drop(&state->task_ids, task_key_hash(task->framework, task->id), task->number); /* if it is the newest */
    task_done(state, task);
    slab_drop(&state->tasks, task->number);
}

/* ---- status of agents and frameworks ---- */

void agent_set_status(struct state *state, struct agent *agent, enum agent_status status) {
    agent_touch(state, agent);
    if (agent->status) state->agents_by_status[agent->status]--;
    state->agents_by_status[status]++;
    agent->status = status;
}

void framework_set_status(struct state *state, struct framework *framework, enum framework_status status) {
    framework_touch(state, framework);
    if (framework->status) state->frameworks_by_status[framework->status]--;
    state->frameworks_by_status[status]++;
    framework->status = status;
}

void framework_remove(struct state *state, struct framework *framework) {
    CHECK(framework->status != FRAMEWORK_REMOVED);
    framework_set_status(state, framework, FRAMEWORK_REMOVED);
    framework->removed_seq = state->sequence_next++;
    queue_push(&state->removed, &framework->in_removed);
    state->removed_last++;
}

/* ---- bounded history ---- */

static void framework_forget(struct state *state, struct framework *framework) {
    CHECK(framework->status == FRAMEWORK_REMOVED && framework->task_count == 0 && !framework->touched);
    if (state->epoch.active) epoch_save(state, RECORD_FRAMEWORK, framework->number);
    while (!queue_empty(&framework->completed))
        task_forget(state, QUEUE_ENTRY(framework->completed.next, struct task, in_framework));
    queue_remove(&framework->in_removed);
    state->frameworks_by_status[FRAMEWORK_REMOVED]--;
    state->hash = hash128_sub(state->hash, framework->hash);
    CHECK(map_drop(&state->framework_ids, hash64_of(framework->id, strlen(framework->id)), framework->number));
    uint32_t number = framework->number;
    framework_done(framework);
    slab_drop(&state->frameworks, number);
}

void history_trim(struct state *state, bool bounds_changed) {
    if (!bounds_changed && state->completed_last == 0 && state->removed_last == 0) return;
    while (state->tasks_completed > state->config.history_tasks)
        task_forget(state, QUEUE_ENTRY(state->history.next, struct task, in_history));
    struct queue *at = state->removed.next;
    while (at != &state->removed && state->frameworks_by_status[FRAMEWORK_REMOVED] > state->config.history_frameworks) {
        struct framework *framework = QUEUE_ENTRY(at, struct framework, in_removed);
        at = at->next;
        /* One that still has live tasks stays until they have ended. */
        if (framework->task_count == 0) framework_forget(state, framework);
    }
    state->completed_last = 0;
    state->removed_last = 0;
}
