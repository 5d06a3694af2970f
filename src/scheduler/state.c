/* SPDX-License-Identifier: Apache-2.0
 * Life of a state, its indexes, and everything that only reads. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "scheduler/state_private.h"

/* ---- memory ---- */

char *text_copy(const char *text) {
    char *made = strdup(text ? text : "");
    CHECK(made);
    return made;
}

void text_set(char **text, const char *value) {
    if (*text && strcmp(*text, value) == 0) return;
    char *made = text_copy(value);
    free(*text);
    *text = made;
}

void bytes_set(struct bytes *bytes, const uint8_t *data, size_t len) {
    uint8_t *made = NULL;
    if (len > 0) {
        made = malloc(len);
        CHECK(made);
        memcpy(made, data, len);
    }
    free(bytes->data);
    *bytes = (struct bytes){made, len};
}

void bytes_done(struct bytes *bytes) {
    free(bytes->data);
    *bytes = (struct bytes){0};
}

uint8_t *scratch_reserve(struct scratch *scratch, size_t room) {
    if (scratch->cap >= room) return scratch->data;
    free(scratch->data);
    scratch->cap = room < 16384 ? 16384 : room;
    scratch->data = malloc(scratch->cap);
    CHECK(scratch->data);
    return scratch->data;
}

uint8_t *scratch_grow(struct scratch *scratch, size_t len, size_t room) {
    if (scratch->cap >= room) return scratch->data;
    uint8_t *made = malloc(room);
    CHECK(made);
    memcpy(made, scratch->data, len);
    free(scratch->data);
    *scratch = (struct scratch){.data = made, .cap = room};
    return made;
}

/* ---- indexes ---- */

struct task_key {
    uint32_t framework;
    const char *id;
};

static bool agent_id_equal(const void *ctx, const void *key, uint64_t value) {
    const struct agent *agent = agent_get(ctx, (uint32_t)value);
    return agent && strcmp(agent->id, key) == 0;
}

static bool agent_uuid_equal(const void *ctx, const void *key, uint64_t value) {
    const struct agent *agent = agent_get(ctx, (uint32_t)value);
    return agent && memcmp(agent->uuid, key, sizeof agent->uuid) == 0;
}

static bool framework_id_equal(const void *ctx, const void *key, uint64_t value) {
    const struct framework *framework = framework_get(ctx, (uint32_t)value);
    return framework && strcmp(framework->id, key) == 0;
}

static bool task_id_equal(const void *ctx, const void *key, uint64_t value) {
    const struct state *state = ctx;
    const struct task_key *wanted = key;
    const struct task *task = slab_get(&state->tasks, value);
    return task && task->framework == wanted->framework && strcmp(task->id, wanted->id) == 0;
}

uint64_t task_key_hash(uint32_t framework, const char *id) {
    return hash64_of(id, strlen(id)) ^ framework * UINT64_C(0x9e3779b97f4a7c15);
}

struct agent *agent_get(const struct state *state, uint32_t number) {
    return slab_get(&state->agents, number);
}

struct framework *framework_get(const struct state *state, uint32_t number) {
    return slab_get(&state->frameworks, number);
}

struct framework *framework_find(const struct state *state, const char *id) {
    uint64_t number = map_get(&state->framework_ids, hash64_of(id, strlen(id)), framework_id_equal, state, id);
    return number ? framework_get(state, (uint32_t)number) : NULL;
}

struct task *task_find(const struct state *state, uint32_t framework, const char *id) {
    struct task_key key = {framework, id};
    uint64_t number = map_get(&state->task_ids, task_key_hash(framework, id), task_id_equal, state, &key);
    return number ? slab_get(&state->tasks, number) : NULL;
}

/* ---- life ---- */

void state_init(struct state *state) {
    *state = (struct state){.agent_next = 1, .framework_next = 1, .task_next = 1, .sequence_next = 1};
    state->config = (struct config_record){.framework_reregister_timeout_ms = 600000,
                                           .agent_timeout_ms = 75000,
                                           .history_tasks = 10000,
                                           .history_frameworks = 50,
                                           .level = 1};
    state->leader.http = text_copy("");
    state->leader.link = text_copy("");
    state->leader.version = text_copy("");
    memcpy(state->cluster_name, "00000000", sizeof state->cluster_name);
    slab_init(&state->agents, sizeof(struct agent));
    slab_init(&state->frameworks, sizeof(struct framework));
    slab_init(&state->tasks, sizeof(struct task));
    queue_init(&state->history);
    queue_init(&state->removed);
    command_arena_init(&state->arena);
    state->scratch = calloc(1, sizeof *state->scratch);
    state->packing = calloc(1, sizeof *state->packing);
    CHECK(state->scratch && state->packing);
}

static void agent_done(struct agent *agent) {
    free(agent->id);
    free(agent->hostname);
    free(agent->http);
    free(agent->version);
    free(agent->boot_id);
    resources_done(&agent->total);
    resources_done(&agent->used);
    bytes_done(&agent->info);
}

void framework_done(struct framework *framework) {
    free(framework->id);
    free(framework->name);
    free(framework->user);
    free(framework->principal);
    for (uint32_t i = 0; i < framework->role_count; i++)
        free(framework->roles[i]);
    bytes_done(&framework->info);
    resources_done(&framework->used);
}

void state_done(struct state *state) {
    uint64_t number = 0;
    for (struct task *t = slab_next(&state->tasks, 0, &number); t; t = slab_next(&state->tasks, number + 1, &number))
        task_done(state, t);
    for (struct framework *f = slab_next(&state->frameworks, 0, &number); f;
         f = slab_next(&state->frameworks, number + 1, &number))
        framework_done(f);
    for (struct agent *a = slab_next(&state->agents, 0, &number); a; a = slab_next(&state->agents, number + 1, &number))
        agent_done(a);
    slab_done(&state->tasks);
    slab_done(&state->frameworks);
    slab_done(&state->agents);
    map_done(&state->agent_ids);
    map_done(&state->agent_uuids);
    map_done(&state->framework_ids);
    map_done(&state->task_ids);
    pool_done(&state->pool);
    blobs_done(&state->blobs);
    state_snapshot_end(state);
    command_arena_done(&state->arena);
    members_done(state);
    free(state->leader.http);
    free(state->leader.link);
    free(state->leader.version);
    free(state->scratch->data);
    free(state->scratch);
    free(state->packing->data);
    free(state->packing);
    free(state->touched);
}

/* A queue head is pointed at by its first and last link, so it cannot simply be copied. */
static void queue_move(struct queue *to, struct queue *from) {
    if (queue_empty(from)) {
        queue_init(to);
        return;
    }
    *to = *from;
    to->next->prev = to;
    to->prev->next = to;
    queue_init(from);
}

void state_swap(struct state *a, struct state *b) {
    struct queue history, removed;
    state_snapshot_end(a);
    state_snapshot_end(b);
    command_arena_done(&a->arena);
    command_arena_done(&b->arena);
    struct state old = *a;
    queue_move(&history, &a->history);
    queue_move(&removed, &a->removed);
    *a = *b;
    queue_move(&a->history, &b->history);
    queue_move(&a->removed, &b->removed);
    *b = old;
    queue_move(&b->history, &history);
    queue_move(&b->removed, &removed);
    command_arena_init(&a->arena);
    command_arena_init(&b->arena);
}

struct state *state_new(void) {
    struct state *state = malloc(sizeof *state);
    CHECK(state);
    state_init(state);
    return state;
}

void state_free(struct state *state) {
    if (!state) return;
    state_done(state);
    free(state);
}

void state_name_cluster(struct state *state) {
    snprintf(state->cluster_name, sizeof state->cluster_name, "%02x%02x%02x%02x", state->cluster_id[0],
             state->cluster_id[1], state->cluster_id[2], state->cluster_id[3]);
}

/* ---- reading ---- */

uint64_t state_applied_index(const struct state *state) {
    return state->applied_index;
}

uint64_t state_cluster_ms(const struct state *state) {
    return state->cluster_ms;
}

uint32_t state_incarnation(const struct state *state) {
    return state->incarnation;
}

const uint8_t *state_cluster_id(const struct state *state) {
    return state->cluster_id;
}

const char *state_cluster_name(const struct state *state) {
    return state->cluster_name;
}

const struct leader_record *state_leader(const struct state *state) {
    return &state->leader;
}

const struct config_record *state_config(const struct state *state) {
    return &state->config;
}

const struct agent *state_agent(const struct state *state, uint32_t number) {
    return agent_get(state, number);
}

const struct agent *state_agent_by_id(const struct state *state, const char *id) {
    uint64_t number = map_get(&state->agent_ids, hash64_of(id, strlen(id)), agent_id_equal, state, id);
    return number ? agent_get(state, (uint32_t)number) : NULL;
}

const struct agent *state_agent_by_uuid(const struct state *state, const uint8_t uuid[16]) {
    uint64_t number = map_get(&state->agent_uuids, hash64_of(uuid, 16), agent_uuid_equal, state, uuid);
    return number ? agent_get(state, (uint32_t)number) : NULL;
}

const struct framework *state_framework(const struct state *state, uint32_t number) {
    return framework_get(state, number);
}

const struct framework *state_framework_by_id(const struct state *state, const char *id) {
    return framework_find(state, id);
}

const struct task *state_task(const struct state *state, uint64_t number) {
    return slab_get(&state->tasks, number);
}

const struct task *state_task_by_id(const struct state *state, uint32_t framework, const char *task_id) {
    return task_find(state, framework, task_id);
}

const struct agent *state_agent_next(const struct state *state, uint32_t number) {
    uint64_t found = 0;
    return slab_next(&state->agents, (uint64_t)number + 1, &found);
}

const struct framework *state_framework_next(const struct state *state, uint32_t number) {
    uint64_t found = 0;
    return slab_next(&state->frameworks, (uint64_t)number + 1, &found);
}

const struct task *state_task_next(const struct state *state, uint64_t number) {
    uint64_t found = 0;
    return number == UINT64_MAX ? NULL : slab_next(&state->tasks, number + 1, &found);
}

void state_counts(const struct state *state, struct state_counts *ret) {
    ret->agents_active = state->agents_by_status[AGENT_ACTIVE];
    ret->agents_unreachable = state->agents_by_status[AGENT_UNREACHABLE_STATUS];
    ret->agents_gone = state->agents_by_status[AGENT_GONE_STATUS];
    ret->frameworks_connected = state->frameworks_by_status[FRAMEWORK_CONNECTED];
    ret->frameworks_disconnected = state->frameworks_by_status[FRAMEWORK_DISCONNECTED];
    ret->tasks_live = state->tasks_live;
    ret->tasks_completed = state->tasks_completed;
    memcpy(ret->tasks_ever, state->tasks_ever, sizeof ret->tasks_ever);
    memcpy(ret->tasks_now, state->tasks_now, sizeof ret->tasks_now);
}

static const struct task *queue_task(const struct queue *head, const struct queue *at, size_t offset) {
    return at == head ? NULL : (const struct task *)(const void *)((const uint8_t *)at - offset);
}

const struct task *agent_task_first(const struct agent *agent) {
    return queue_task(&agent->tasks, agent->tasks.next, offsetof(struct task, on_agent));
}

const struct task *agent_task_after(const struct agent *agent, const struct task *task) {
    return queue_task(&agent->tasks, task->on_agent.next, offsetof(struct task, on_agent));
}

const struct task *framework_task_first(const struct framework *framework) {
    return queue_task(&framework->tasks, framework->tasks.next, offsetof(struct task, in_framework));
}

const struct task *framework_task_after(const struct framework *framework, const struct task *task) {
    return queue_task(&framework->tasks, task->in_framework.next, offsetof(struct task, in_framework));
}

const struct task *framework_completed_first(const struct framework *framework) {
    return queue_task(&framework->completed, framework->completed.next, offsetof(struct task, in_framework));
}

const struct task *framework_completed_after(const struct framework *framework, const struct task *task) {
    return queue_task(&framework->completed, task->in_framework.next, offsetof(struct task, in_framework));
}

bool task_unswept(const struct state *state, const struct task *task) {
    const struct framework *framework = framework_get(state, task->framework);
    return !task->completed && framework->sweep_last > 0 && task->number >= framework->sweep_next &&
           task->number <= framework->sweep_last;
}

bool task_kill_wanted(const struct state *state, const struct task *task) {
    return task->kill_wanted || task_unswept(state, task);
}

bool framework_can(const struct framework *framework, uint32_t capability) {
    return (framework->capabilities & capability) != 0;
}

int framework_role(const struct framework *framework, const char *role) {
    for (uint32_t i = 0; i < framework->role_count; i++)
        if (strcmp(framework->roles[i], role) == 0) return (int)i;
    return -1;
}

int agent_free_resources(const struct agent *agent, struct resources *ret) {
    int rc = resources_copy(ret, &agent->total);
    return rc ? rc : resources_sub(ret, &agent->used);
}

void effects_done(struct effects *effects) {
    for (size_t i = 0; i < effects->count; i++) {
        free(effects->items[i].framework_id);
        free(effects->items[i].task_id);
    }
    free(effects->items);
    *effects = (struct effects){0};
}
