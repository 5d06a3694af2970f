/* SPDX-License-Identifier: Apache-2.0
 * Reading a snapshot: each record is decoded into a state made aside as its bytes come, in whatever order; what can
 * only be judged with all of them (references, sums, histories, the hash) is judged at the end. Then the tasks are
 * counted in: the completed ones in the order of their completion, the live ones by number, as they once came. */
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "conclave/snapshot.pb-c.h"
#include "scheduler/level.h"
#include "scheduler/snapshot.h"
#include "scheduler/state_private.h"
#include "wire/canonical.h"

/* ---- reading: one record ---- */

#define REST_MAX (SNAPSHOT_RECORD_BYTES + SNAPSHOT_RECORD_MAX)

#define TASK_PORTS_MAX (2 * PORTS_RANGES_MAX)

struct task_room { /* of a task's record */
    Conclave__Snapshot__Task message;
    char id[CANONICAL_TEXT_MAX + 1], name[CANONICAL_TEXT_MAX + 1];
    uint32_t ports[TASK_PORTS_MAX];
};

struct state_loader {
    struct state *state; /* made aside */
    struct buf rest;     /* a record (or the magic) whose end has not come yet */
    uint64_t at;         /* bytes of all before `rest` */
    uint64_t records;
    bool begun, ended; /* the magic, the end record have been taken */
    int failed;        /* what went wrong first */
    struct err *err;   /* of the call */
    struct task_room room;
};

static int corrupt(struct state_loader *r, const char *what) {
    return err_set(r->err, ERR_CORRUPT, "snapshot record %" PRIu64 " (byte %" PRIu64 "): %s", r->records, r->at, what);
}

static int unpack(struct state_loader *r, const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t len,
                  ProtobufCMessage **ret) {
    command_arena_clear(&r->state->arena);
    ProtobufCMessage *message = protobuf_c_message_unpack(type, &r->state->arena.allocator, len, data);
    if (!message) return corrupt(r, "not a message of its kind");
    *ret = message;
    return message_known(message, r->err);
}

/* ---- a task's record by hand: what it does not take is for protobuf-c ---- */

#define NUMBER(field) ((field) << 3)
#define BYTES(field)  ((field) << 3 | 2)

/* Takes the key if it is the next. */
static bool key_has(struct canonical *c, uint32_t key) {
    if (key < 0x80) return canonical_has(c, (uint8_t)key);
    if (c->bad || c->end - c->p < 2 || c->p[0] != (uint8_t)(key | 0x80) || c->p[1] != (uint8_t)(key >> 7)) return false;
    c->p += 2;
    return true;
}

static uint64_t number_read(struct canonical *c, uint32_t key) {
    if (!key_has(c, key)) c->bad = true;
    return canonical_varint(c);
}

static uint32_t number_read_u32(struct canonical *c, uint32_t key) {
    uint64_t value = number_read(c, key);
    if (value > UINT32_MAX) c->bad = true;
    return (uint32_t)value;
}

static ProtobufCBinaryData bytes_read(struct canonical *c, uint32_t key) {
    ProtobufCBinaryData ret = {0};
    if (!key_has(c, key)) c->bad = true;
    uint64_t len = canonical_varint(c);
    if (len > (size_t)(c->end - c->p)) c->bad = true;
    if (c->bad) return ret;
    ret = (ProtobufCBinaryData){.len = (size_t)len, .data = (uint8_t *)(uintptr_t)c->p};
    c->p += len;
    return ret;
}

static size_t ports_read(struct canonical *c, uint32_t key, uint32_t ends[TASK_PORTS_MAX]) {
    if (c->bad || c->end - c->p < 2 || c->p[0] != (uint8_t)(key | 0x80) || c->p[1] != (uint8_t)(key >> 7)) return 0;
    ProtobufCBinaryData packed = bytes_read(c, key);
    struct canonical inside = {.p = packed.data, .end = packed.data ? packed.data + packed.len : NULL};
    size_t n = 0;
    while (!c->bad && inside.p < inside.end) {
        uint64_t value = canonical_varint(&inside);
        if (inside.bad || value > UINT32_MAX || n == TASK_PORTS_MAX)
            c->bad = true;
        else
            ends[n++] = (uint32_t)value;
    }
    return n;
}

static bool task_read(struct canonical c, struct task_room *room) {
    Conclave__Snapshot__Task *m = &room->message;
    *m = (Conclave__Snapshot__Task)CONCLAVE__SNAPSHOT__TASK__INIT;
    m->number = number_read(&c, NUMBER(1));
    m->framework = number_read_u32(&c, NUMBER(2));
    m->agent = number_read_u32(&c, NUMBER(3));
    canonical_text(&c, BYTES(4), room->id);
    canonical_text(&c, BYTES(5), room->name);
    m->id = room->id;
    m->name = room->name;
    m->launch_index = number_read(&c, NUMBER(6));
    m->launch_n = number_read_u32(&c, NUMBER(7));
    m->launch_k = number_read_u32(&c, NUMBER(8));
    m->state = number_read_u32(&c, NUMBER(9));
    m->latest_state = number_read_u32(&c, NUMBER(10));
    m->flags = number_read_u32(&c, NUMBER(11));
    m->has_kill_grace_ms = key_has(&c, NUMBER(12));
    if (m->has_kill_grace_ms) m->kill_grace_ms = canonical_varint(&c);
    m->has_uuid = c.p < c.end && *c.p == BYTES(13);
    if (m->has_uuid) m->uuid = bytes_read(&c, BYTES(13));
    m->status = bytes_read(&c, BYTES(14));
    m->has_mesos_reason = key_has(&c, NUMBER(15));
    if (m->has_mesos_reason) m->mesos_reason = (uint32_t)canonical_varint(&c);
    m->info = bytes_read(&c, BYTES(17)); /* one with a message (16) goes the other way */
    m->view = bytes_read(&c, BYTES(18));
    m->cpus = number_read(&c, NUMBER(19));
    m->mem = number_read(&c, NUMBER(20));
    m->disk = number_read(&c, NUMBER(21));
    m->gpus = number_read(&c, NUMBER(22));
    m->n_ports = ports_read(&c, BYTES(23), room->ports);
    m->ports = room->ports;
    m->created_wall_ms = number_read(&c, NUMBER(24));
    m->changed_wall_ms = number_read(&c, NUMBER(25));
    m->started_wall_ms = number_read(&c, NUMBER(26));
    m->completed_seq = number_read(&c, NUMBER(27));
    return canonical_done(&c);
}

/* Amounts with ports as a flat list of their ends, which must be in the form that is written. */
static int amounts_take(const uint64_t amounts[4], const uint32_t *ends, size_t count, struct resources *ret) {
    struct wide_range ranges[PORTS_RANGES_MAX];
    for (int i = 0; i < 4; i++)
        if (amounts[i] > (uint64_t)RESOURCES_MILLI_MAX) return ERR_CORRUPT;
    if (count % 2 != 0 || count / 2 > PORTS_RANGES_MAX) return ERR_CORRUPT;
    for (size_t i = 0; i < count / 2; i++) {
        ranges[i] = (struct wide_range){ends[2 * i], ends[2 * i + 1]};
        if (i > 0 && ranges[i].begin <= ranges[i - 1].end + 1) return ERR_CORRUPT;
    }
    struct ports ports = {0};
    if (count > 0 && ports_from_ranges(ranges, count / 2, &ports, NULL)) return ERR_CORRUPT;
    *ret = (struct resources){.cpus = (int64_t)amounts[0],
                              .mem = (int64_t)amounts[1],
                              .disk = (int64_t)amounts[2],
                              .gpus = (int64_t)amounts[3],
                              .ports = ports};
    return 0;
}

static int number_check(struct state_loader *r, const struct slab_table *table, uint64_t number, uint64_t next) {
    if (number == 0 || number >= next) return corrupt(r, "number");
    return slab_get(table, number) ? corrupt(r, "number twice") : 0;
}

static int globals_take(struct state_loader *r, const Conclave__Snapshot__Globals *m) {
    struct state *state = r->state;
    if (m->level > level_max())
        return err_set(r->err, ERR_INCOMPATIBLE,
                       "snapshot of feature level %u by version %.40s, this program (" CONCLAVE_VERSION
                       ") knows levels up to %u",
                       m->level, m->leader->version, level_max());
    if (m->has_cluster_id && m->cluster_id.len != sizeof state->cluster_id) return corrupt(r, "cluster id");
    if (m->n_tasks_ever != TASK_STATES) return corrupt(r, "tasks_ever");
    state->cluster_set = m->has_cluster_id;
    if (m->has_cluster_id) {
        memcpy(state->cluster_id, m->cluster_id.data, sizeof state->cluster_id);
        state_name_cluster(state);
    }
    state->incarnation = m->incarnation;
    state->applied_index = m->applied_index;
    state->applied_n = m->applied_n;
    state->cluster_ms = m->cluster_ms;
    state->leader.index = m->leader->index;
    state->leader.term = m->leader->term;
    state->leader.node = m->leader->node;
    state->leader.cluster_ms = m->leader->cluster_ms;
    state->leader.wall_ms = m->leader->wall_ms;
    text_set(&state->leader.http, m->leader->http);
    text_set(&state->leader.link, m->leader->link);
    text_set(&state->leader.version, m->leader->version);
    state->config.level = m->level;
    if (m->config) {
        state->config.set = true;
        state->config.framework_reregister_timeout_ms = m->config->framework_reregister_timeout_ms;
        state->config.agent_timeout_ms = m->config->agent_timeout_ms;
        state->config.history_tasks = m->config->history_tasks;
        state->config.history_frameworks = m->config->history_frameworks;
        if (m->config->has_changed_index != (m->level >= 2) || m->config->has_changed_n != (m->level >= 2))
            return corrupt(r, "position of the configuration");
        state->config.changed_index = m->config->changed_index;
        state->config.changed_n = m->config->changed_n;
    }
    state->agent_next = m->agent_next;
    state->framework_next = m->framework_next;
    state->task_next = m->task_next;
    state->sequence_next = m->sequence_next;
    state->completed_last = m->completed_last;
    state->removed_last = m->removed_last;
    memcpy(state->tasks_ever, m->tasks_ever, sizeof state->tasks_ever);
    if (m->n_members > STATE_MEMBERS_MAX || (m->level < 2 && (m->has_member_last || m->n_members)))
        return corrupt(r, "masters");
    state->member_last = m->member_last;
    for (size_t i = 0; i < m->n_members; i++)
        member_put(state, m->members[i]->id, m->members[i]->peer, m->members[i]->http, m->members[i]->link);
    const char *fault = globals_fault(state);
    return fault ? corrupt(r, fault) : 0;
}

static int agent_take(struct state_loader *r, const Conclave__Snapshot__Agent *m) {
    const uint64_t amounts[4] = {m->cpus, m->mem, m->disk, m->gpus};
    if (number_check(r, &r->state->agents, m->number, r->state->agent_next)) return ERR_CORRUPT;
    struct agent *agent = agent_put(r->state, m->number);
    agent->id = text_copy(m->id);
    agent->hostname = text_copy(m->hostname);
    agent->http = text_copy(m->http);
    agent->version = text_copy(m->version);
    agent->boot_id = text_copy(m->boot_id);
    bytes_set(&agent->info, m->info.data, m->info.len);
    agent->registered_wall_ms = m->registered_wall_ms;
    agent->since = m->since;
    if (m->uuid.len != sizeof agent->uuid) return corrupt(r, "uuid of an agent");
    memcpy(agent->uuid, m->uuid.data, sizeof agent->uuid);
    if (amounts_take(amounts, m->ports, m->n_ports, &agent->total)) return corrupt(r, "resources of an agent");
    if (m->status < AGENT_ACTIVE || m->status > AGENT_GONE_STATUS) return corrupt(r, "status of an agent");
    if (state_agent_by_id(r->state, agent->id) || state_agent_by_uuid(r->state, agent->uuid))
        return corrupt(r, "agent twice");
    agent_set_status(r->state, agent, (enum agent_status)m->status);
    agent_index(r->state, agent);
    const char *fault = agent_fault(r->state, agent);
    return fault ? corrupt(r, fault) : 0;
}

static int framework_take(struct state_loader *r, const Conclave__Snapshot__Framework *m) {
    if (number_check(r, &r->state->frameworks, m->number, r->state->framework_next)) return ERR_CORRUPT;
    struct framework *framework = framework_put(r->state, m->number);
    framework->id = text_copy(m->id);
    framework->name = text_copy(m->name);
    framework->user = text_copy(m->user);
    framework->principal = text_copy(m->principal);
    if (m->n_roles > STATE_ROLES_MAX) return corrupt(r, "roles of a framework");
    for (; framework->role_count < m->n_roles; framework->role_count++)
        framework->roles[framework->role_count] = text_copy(m->roles[framework->role_count]);
    framework->suppressed = m->suppressed;
    framework->capabilities = m->capabilities;
    framework->failover_timeout_ms = m->failover_timeout_ms;
    bytes_set(&framework->info, m->info.data, m->info.len);
    framework->subscribed = m->subscribed;
    framework->since = m->since;
    framework->since_cluster_ms = m->since_cluster_ms;
    framework->registered_wall_ms = m->registered_wall_ms;
    framework->changed_wall_ms = m->changed_wall_ms;
    framework->removed_seq = m->removed_seq;
    if (m->has_sweep_next != m->has_sweep_last || (m->has_sweep_last && m->sweep_last == 0))
        return corrupt(r, "sweep of a framework");
    framework->sweep_next = m->sweep_next;
    framework->sweep_last = m->sweep_last;
    if (m->status < FRAMEWORK_CONNECTED || m->status > FRAMEWORK_REMOVED) return corrupt(r, "status of a framework");
    if (framework_find(r->state, framework->id)) return corrupt(r, "framework twice");
    framework_set_status(r->state, framework, (enum framework_status)m->status);
    framework_index(r->state, framework);
    const char *fault = framework_fault(r->state, framework);
    return fault ? corrupt(r, fault) : 0;
}

/* What a message can say and a record has no room for: numbers of more bits, and two things of which a task never has
 * both. NULL if there is nothing of it. */
static const char *task_odd(const Conclave__Snapshot__Task *m) {
    bool confirmed = m->flags & 1;
    if (m->state >= TASK_STATES || m->latest_state >= TASK_STATES) return "state of a task";
    if (m->has_mesos_reason && m->mesos_reason > INT16_MAX) return "reason of a task";
    if (m->flags > 15) return "flags of a task";
    if (confirmed && m->info.len > 0) return "reported, yet launching";
    if (!confirmed && m->status.len > 0) return "a status without a report";
    if (m->has_kill_grace_ms && (m->kill_grace_ms == STATE_GRACE_DEFAULT || m->completed_seq != 0))
        return "grace of a task";
    if (m->has_uuid && m->uuid.len != 16) return "uuid of a task";
    if (m->status.len > STATE_TASK_BYTES_MAX) return "size of a status";
    return NULL;
}

static void task_fill(struct state_loader *r, struct task *task, const Conclave__Snapshot__Task *m) {
    struct pool *pool = &r->state->pool;
    task->framework = m->framework;
    task->agent = m->agent;
    task->name = pool_text(pool, m->name);
    task->launch = (struct launch_id){m->launch_index, m->launch_n, m->launch_k};
    task->state = (uint8_t)m->state;
    task->latest_state = (uint8_t)m->latest_state;
    task->confirmed = m->flags & 1;
    task->holds = m->flags >> 1 & 1;
    task->kill_wanted = m->flags >> 2 & 1;
    task->unacked = m->flags >> 3 & 1;
    task->has_uuid = m->has_uuid;
    if (m->has_uuid) memcpy(task->uuid, m->uuid.data, sizeof task->uuid);
    task->mesos_reason = m->has_mesos_reason ? (int16_t)m->mesos_reason : MESOS_REASON_NONE;
    task->message = m->message ? pool_text(pool, m->message) : NULL;
    if (!task->confirmed) task_sent_set(r->state, task, m->info.data, m->info.len);
    task->view = pool_get(pool, m->view.data, m->view.len);
    task->created_wall_ms = m->created_wall_ms;
    task->changed_wall_ms = m->changed_wall_ms;
    task->started_wall_ms = m->started_wall_ms;
    task->completed = m->completed_seq != 0;
    if (task->completed) task->grace_or_seq = m->completed_seq;
    if (m->has_kill_grace_ms) task->grace_or_seq = m->kill_grace_ms;
}

static int task_take(struct state_loader *r, const Conclave__Snapshot__Task *m) {
    const uint64_t amounts[4] = {m->cpus, m->mem, m->disk, m->gpus};
    if (number_check(r, &r->state->tasks, m->number, r->state->task_next)) return ERR_CORRUPT;
    const char *fault = task_odd(m);
    if (fault) return corrupt(r, fault);
    struct resources resources = {0};
    if (amounts_take(amounts, m->ports, m->n_ports, &resources)) return corrupt(r, "resources of a task");
    struct task *task = task_put(r->state, m->number);
    task_launch_set(r->state, task, m->id, &resources);
    resources_done(&resources);
    task_fill(r, task, m);
    fault = task_own_fault(r->state, task);
    if (fault) return corrupt(r, fault);
    if (task->confirmed) task_status_set(r->state, task, m->status.data, m->status.len);
    fault = task->mesos_reason != MESOS_REASON_NONE && task_has_status(task) ? "a status with a made state" : NULL;
    if (fault) return corrupt(r, fault);
    task->hash = record_hash(r->state, RECORD_TASK, task);
    r->state->hash = hash128_add(r->state->hash, task->hash);
    return 0;
}

/* ---- reading: the whole ---- */

#define AHEAD 16 /* tasks whose places in the index are on their way from memory at once */

struct named {
    const struct task *task;
    uint64_t hash;
};

/* Into the index of ids, which names the newest task of an id; the others must be completed. Called by number, so that
 * what the index has is older. */
static int task_name(struct state_loader *r, const struct named *named) {
    struct map *ids = &r->state->task_ids;
    const struct task *task = named->task, *older = task_find(r->state, task->framework, task->id);
    if (older && !older->completed) return corrupt(r, "two tasks of one id");
    if (older)
        map_change(ids, named->hash, older->number, task->number);
    else
        map_put(ids, named->hash, task->number);
    return 0;
}

/* All at the end, when it is known how many they are: the index is made once, in its size, and not grown. */
static int tasks_name(struct state_loader *r) {
    struct named ahead[AHEAD];
    uint64_t number = 0;
    const struct task *task = slab_next(&r->state->tasks, 0, &number);
    map_reserve(&r->state->task_ids, slab_count(&r->state->tasks));
    while (task) {
        size_t n = 0;
        for (; task && n < AHEAD; n++) {
            ahead[n] = (struct named){task, task_key_hash(task->framework, task->id)};
            map_prefetch(&r->state->task_ids, ahead[n].hash);
            task = slab_next(&r->state->tasks, number + 1, &number);
        }
        for (size_t i = 0; i < n; i++) {
            int rc = task_name(r, &ahead[i]);
            if (rc) return rc;
        }
    }
    return 0;
}

/* Counts one task in, if its agent and its framework allow it. */
static int task_enter(struct state_loader *r, struct task *task) {
    const char *fault = task_place_fault(r->state, task);
    if (fault) return corrupt(r, fault);
    struct resources taken = task_resources(task);
    if (task->holds && (!agent_fits(agent_get(r->state, task->agent), &taken) ||
                        !framework_fits(framework_get(r->state, task->framework), &taken)))
        return corrupt(r, "more is used than there is");
    task_join(r->state, task);
    return 0;
}

static int completed_compare(const void *a, const void *b) {
    const struct task *x = *(struct task *const *)a, *y = *(struct task *const *)b;
    uint64_t of_x = task_completed_seq(x), of_y = task_completed_seq(y);
    return (of_x > of_y) - (of_x < of_y);
}

static int tasks_enter(struct state_loader *r) {
    size_t count = 0, total = slab_count(&r->state->tasks);
    struct task **completed = malloc((total + 1) * sizeof *completed);
    CHECK(completed);
    uint64_t number = 0;
    for (struct task *t = slab_next(&r->state->tasks, 0, &number); t;
         t = slab_next(&r->state->tasks, number + 1, &number))
        if (t->completed) completed[count++] = t;
    qsort(completed, count, sizeof *completed, completed_compare);
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        bool same = i > 0 && completed_compare(&completed[i], &completed[i - 1]) == 0;
        rc = same ? corrupt(r, "two tasks in one place of the history") : task_enter(r, completed[i]);
    }
    free(completed);
    for (struct task *t = slab_next(&r->state->tasks, 0, &number); t && rc == 0;
         t = slab_next(&r->state->tasks, number + 1, &number))
        if (!t->completed) rc = task_enter(r, t);
    return rc;
}

static int removed_compare(const void *a, const void *b) {
    const struct framework *x = *(struct framework *const *)a, *y = *(struct framework *const *)b;
    return (x->removed_seq > y->removed_seq) - (x->removed_seq < y->removed_seq);
}

static void removed_enter(struct state_loader *r) {
    size_t count = 0, total = slab_count(&r->state->frameworks);
    struct framework **removed = malloc((total + 1) * sizeof *removed);
    CHECK(removed);
    uint64_t number = 0;
    for (struct framework *f = slab_next(&r->state->frameworks, 0, &number); f;
         f = slab_next(&r->state->frameworks, number + 1, &number))
        if (f->status == FRAMEWORK_REMOVED) removed[count++] = f;
    qsort(removed, count, sizeof *removed, removed_compare);
    for (size_t i = 0; i < count; i++)
        queue_push(&r->state->removed, &removed[i]->in_removed); /* state_check sees equal places */
    free(removed);
}

static int end_take(struct state_loader *r, const Conclave__Snapshot__End *m) {
    if (m->records != r->records) return corrupt(r, "records are missing");
    int rc = tasks_name(r);
    if (rc == 0) rc = tasks_enter(r);
    if (rc) return rc;
    removed_enter(r);
    state_settle(r->state);
    struct hash128 hash = state_hash(r->state);
    if (m->hash.len != 16 || load_u64(m->hash.data) != hash.lo || load_u64(m->hash.data + 8) != hash.hi)
        return corrupt(r, "the state hash is another");
    return state_check_orders(r->state, r->err);
}

/* Takes one whole record. */
static int record_take(struct state_loader *r, enum record_kind kind, const uint8_t *data, size_t len) {
    static const ProtobufCMessageDescriptor *const types[] = {
        [RECORD_GLOBALS] = &conclave__snapshot__globals__descriptor,
        [RECORD_AGENT] = &conclave__snapshot__agent__descriptor,
        [RECORD_FRAMEWORK] = &conclave__snapshot__framework__descriptor,
        [RECORD_TASK] = &conclave__snapshot__task__descriptor,
        [RECORD_END] = &conclave__snapshot__end__descriptor,
    };
    if (r->ended) return corrupt(r, "bytes after the end");
    if ((r->records == 0) != (kind == RECORD_GLOBALS)) return corrupt(r, "order of records");
    if (kind < RECORD_GLOBALS || kind > RECORD_END)
        return err_set(r->err, ERR_INCOMPATIBLE, "snapshot record of unknown kind %d", (int)kind);
    ProtobufCMessage *message = NULL;
    bool read = kind == RECORD_TASK && task_read((struct canonical){.p = data, .end = data + len}, &r->room);
    int rc = read ? 0 : unpack(r, types[kind], data, len, &message);
    if (rc) return rc;
    if (read) message = &r->room.message.base;
    switch (kind) {
    case RECORD_GLOBALS:
        rc = globals_take(r, (const Conclave__Snapshot__Globals *)message);
        break;
    case RECORD_AGENT:
        rc = agent_take(r, (const Conclave__Snapshot__Agent *)message);
        break;
    case RECORD_FRAMEWORK:
        rc = framework_take(r, (const Conclave__Snapshot__Framework *)message);
        break;
    case RECORD_TASK:
        rc = task_take(r, (const Conclave__Snapshot__Task *)message);
        break;
    case RECORD_END:
        r->ended = true;
        rc = end_take(r, (const Conclave__Snapshot__End *)message);
        break;
    }
    r->records++;
    return rc;
}

/* Takes what is whole at the beginning of the bytes; *ret_used says how much that was, *ret_wanted how many bytes the
 * next piece has (0: not known yet). */
static int pieces_take(struct state_loader *r, const uint8_t *data, size_t len, size_t *ret_used, size_t *ret_wanted) {
    size_t at = 0;
    int rc = 0;
    *ret_wanted = SNAPSHOT_MAGIC_BYTES;
    if (!r->begun && len >= SNAPSHOT_MAGIC_BYTES) {
        r->begun = memcmp(data, SNAPSHOT_MAGIC, SNAPSHOT_MAGIC_BYTES) == 0;
        if (!r->begun) return err_set(r->err, ERR_CORRUPT, "not a snapshot of the state");
        at = SNAPSHOT_MAGIC_BYTES;
    }
    while (rc == 0 && r->begun) {
        *ret_wanted = SNAPSHOT_RECORD_BYTES;
        if (len - at < SNAPSHOT_RECORD_BYTES) break;
        size_t record = load_u32(data + at + 1);
        if (record > SNAPSHOT_RECORD_MAX) return corrupt(r, "length");
        *ret_wanted = SNAPSHOT_RECORD_BYTES + record;
        if (len - at < SNAPSHOT_RECORD_BYTES + record) break;
        rc = record_take(r, (enum record_kind)data[at], data + at + SNAPSHOT_RECORD_BYTES, record);
        at += SNAPSHOT_RECORD_BYTES + record;
        r->at += SNAPSHOT_RECORD_BYTES + record;
    }
    *ret_used = at;
    return rc;
}

/* Completes the piece that an earlier call left unfinished. */
static int rest_fill(struct state_loader *r, const uint8_t **data, size_t *len) {
    while (r->rest.len > 0 && *len > 0) {
        size_t used = 0, wanted = 0;
        int rc = pieces_take(r, r->rest.data, r->rest.len, &used, &wanted);
        if (rc) return rc;
        size_t n = wanted - r->rest.len < *len ? wanted - r->rest.len : *len;
        if (buf_append(&r->rest, *data, n)) return err_set(r->err, ERR_NOMEM, "no memory to read a snapshot");
        *data += n;
        *len -= n;
        rc = pieces_take(r, r->rest.data, r->rest.len, &used, &wanted);
        if (rc) return rc;
        if (used > 0) buf_clear(&r->rest); /* it was filled up to exactly one piece */
    }
    return 0;
}

static int loader_take(struct state_loader *r, const uint8_t *data, size_t len) {
    size_t used = 0, wanted = 0;
    int rc = rest_fill(r, &data, &len);
    if (rc == 0 && len > 0) rc = pieces_take(r, data, len, &used, &wanted);
    if (rc) return rc;
    if (buf_append(&r->rest, data + used, len - used))
        return err_set(r->err, ERR_NOMEM, "no memory to read a snapshot");
    return 0;
}

struct state_loader *state_loader_new(void) {
    struct state_loader *loader = calloc(1, sizeof *loader);
    CHECK(loader);
    loader->state = state_new();
    buf_init(&loader->rest, REST_MAX);
    return loader;
}

int state_loader_data(struct state_loader *loader, const uint8_t *data, size_t len, struct err *err) {
    CHECK(!loader->failed);
    loader->err = err;
    loader->failed = loader_take(loader, data, len);
    return loader->failed;
}

int state_loader_end(struct state_loader *loader, struct err *err) {
    CHECK(!loader->failed);
    loader->err = err;
    if (loader->rest.len > 0 || !loader->ended) loader->failed = corrupt(loader, "cut off");
    return loader->failed;
}

void state_loader_swap(struct state_loader *loader, struct state *state) {
    CHECK(!loader->failed && loader->ended);
    state_swap(state, loader->state);
}

void state_loader_free(struct state_loader *loader) {
    if (!loader) return;
    state_free(loader->state);
    buf_done(&loader->rest);
    free(loader);
}

int state_restore(struct state *state, const uint8_t *data, size_t len, struct err *err) {
    struct state_loader *loader = state_loader_new();
    int rc = state_loader_data(loader, data, len, err);
    if (rc == 0) rc = state_loader_end(loader, err);
    if (rc == 0) state_loader_swap(loader, state);
    state_loader_free(loader);
    return rc;
}
