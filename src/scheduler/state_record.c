/* SPDX-License-Identifier: Apache-2.0
 * One canonical encoding for each record: every field of snapshot.proto is always written the same way, from the
 * record alone. The hash is taken over the same encoding with each Mesos message replaced by its hash, so that a
 * change of a task's state does not go over its 64 KiB view again. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "conclave/snapshot.pb-c.h"
#include "scheduler/state_private.h"
#include "wire/canonical.h"

#define NUMBERS_BYTES 1024 /* more than all numeric fields of one record, each at most 12 bytes with its tag */

/* Port ranges as the flat list of their ends; memory from the state's scratch tail would alias, so it is bounded here.
 */
struct flat_ports {
    uint32_t ends[2 * PORTS_RANGES_MAX];
};

static size_t ports_flatten(const struct ports *ports, struct flat_ports *ret) {
    CHECK(ports->count <= PORTS_RANGES_MAX);
    for (uint32_t i = 0; i < ports->count; i++) {
        ret->ends[2 * i] = ports->ranges[i].begin;
        ret->ends[2 * i + 1] = ports->ranges[i].end;
    }
    return 2 * (size_t)ports->count;
}

struct blob_hash {
    uint8_t bytes[16];
};

static void hash_store(struct hash128 hash, struct blob_hash *ret) {
    store_u64(ret->bytes, hash.lo);
    store_u64(ret->bytes + 8, hash.hi);
}

/* The bytes as they are, or their hash kept in *room. */
static ProtobufCBinaryData blob(const struct bytes *bytes, bool hashed, struct blob_hash *room) {
    if (!hashed || bytes->len == 0) return (ProtobufCBinaryData){.len = bytes->len, .data = bytes->data};
    hash_store(hash128_of(bytes->data, bytes->len), room);
    return (ProtobufCBinaryData){.len = sizeof room->bytes, .data = room->bytes};
}

/* The scratch buffer, with room for `bound` bytes. */
static uint8_t *scratch_room(const struct state *state, size_t bound) {
    struct scratch *scratch = state->scratch;
    if (scratch->cap < bound) {
        free(scratch->data);
        scratch->cap = bound < 16384 ? 16384 : bound;
        scratch->data = malloc(scratch->cap);
        CHECK(scratch->data);
    }
    return scratch->data;
}

/* Packs into the scratch buffer, whose size is bounded by the caller's estimate. */
static size_t scratch_pack(const struct state *state, const ProtobufCMessage *message, size_t bound) {
    size_t len = protobuf_c_message_pack(message, scratch_room(state, bound));
    CHECK(len <= bound);
    return len;
}

size_t record_of_agent(const struct state *state, const struct agent *agent, bool hashed) {
    Conclave__Snapshot__Agent r = CONCLAVE__SNAPSHOT__AGENT__INIT;
    struct flat_ports ports;
    struct blob_hash info;
    r.number = agent->number;
    r.status = agent->status;
    r.id = agent->id;
    r.hostname = agent->hostname;
    r.http = agent->http;
    r.version = agent->version;
    r.boot_id = agent->boot_id;
    r.uuid = (ProtobufCBinaryData){.len = sizeof agent->uuid, .data = (uint8_t *)agent->uuid};
    r.cpus = (uint64_t)agent->total.cpus;
    r.mem = (uint64_t)agent->total.mem;
    r.disk = (uint64_t)agent->total.disk;
    r.gpus = (uint64_t)agent->total.gpus;
    r.n_ports = ports_flatten(&agent->total.ports, &ports);
    r.ports = ports.ends;
    r.info = blob(&agent->info, hashed, &info);
    r.registered_wall_ms = agent->registered_wall_ms;
    r.since = agent->since;
    size_t bound = NUMBERS_BYTES + strlen(r.id) + strlen(r.hostname) + strlen(r.http) + strlen(r.version) +
                   strlen(r.boot_id) + r.info.len + 3 * r.n_ports;
    return scratch_pack(state, &r.base, bound);
}

size_t record_of_framework(const struct state *state, const struct framework *framework, bool hashed) {
    Conclave__Snapshot__Framework r = CONCLAVE__SNAPSHOT__FRAMEWORK__INIT;
    struct blob_hash info;
    r.number = framework->number;
    r.status = framework->status;
    r.id = framework->id;
    r.name = framework->name;
    r.user = framework->user;
    r.principal = framework->principal;
    r.n_roles = framework->role_count;
    r.roles = (char **)framework->roles;
    r.suppressed = framework->suppressed;
    r.capabilities = framework->capabilities;
    r.failover_timeout_ms = framework->failover_timeout_ms;
    r.info = blob(&framework->info, hashed, &info);
    r.subscribed = framework->subscribed;
    r.since = framework->since;
    r.since_cluster_ms = framework->since_cluster_ms;
    r.registered_wall_ms = framework->registered_wall_ms;
    r.changed_wall_ms = framework->changed_wall_ms;
    r.removed_seq = framework->removed_seq;
    r.has_sweep_next = r.has_sweep_last = framework->sweep_last > 0;
    r.sweep_next = framework->sweep_next;
    r.sweep_last = framework->sweep_last;
    size_t bound = NUMBERS_BYTES + strlen(r.id) + strlen(r.name) + strlen(r.user) + strlen(r.principal) + r.info.len;
    for (uint32_t i = 0; i < framework->role_count; i++)
        bound += strlen(framework->roles[i]) + 8;
    return scratch_pack(state, &r.base, bound);
}

static uint32_t task_flags(const struct task *task) {
    return (uint32_t)task->confirmed | (uint32_t)task->holds << 1 | (uint32_t)task->kill_wanted << 2 |
           (uint32_t)task->unacked << 3;
}

/* Keys of Task in proto/conclave/snapshot.proto. */
#define NUMBER(field) ((field) << 3)
#define BYTES(field)  ((field) << 3 | 2)

static uint8_t *put_text(uint8_t *p, uint32_t key, const char *text) {
    return canonical_put_bytes(p, key, text, strlen(text));
}

static uint8_t *put_blob(uint8_t *p, uint32_t key, ProtobufCBinaryData blob) {
    return canonical_put_bytes(p, key, blob.data, blob.len);
}

static uint8_t *put_ports(uint8_t *p, uint32_t key, const struct ports *ports) {
    size_t len = 0;
    CHECK(ports->count <= PORTS_RANGES_MAX);
    if (ports->count == 0) return p;
    for (uint32_t i = 0; i < ports->count; i++)
        len += canonical_varint_size(ports->ranges[i].begin) + canonical_varint_size(ports->ranges[i].end);
    p = canonical_put_number(p, key, len);
    for (uint32_t i = 0; i < ports->count; i++)
        p = canonical_put_varint(canonical_put_varint(p, ports->ranges[i].begin), ports->ranges[i].end);
    return p;
}

/* Written by hand, because each command on a task hashes it anew. */
size_t record_of_task(const struct state *state, const struct task *task, bool hashed) {
    struct blob_hash status_room, info_room, view_room;
    struct bytes sent = task_status(state, task);
    ProtobufCBinaryData status = blob(&sent, hashed, &status_room);
    struct bytes launching = task_info(task), shown = task_view(task);
    struct resources taken = task_resources(task);
    ProtobufCBinaryData info = blob(&launching, hashed, &info_room);
    ProtobufCBinaryData view = {.len = shown.len, .data = shown.data};
    if (hashed && view.len > 0) {
        hash_store(pool_hash(task->view), &view_room);
        view = (ProtobufCBinaryData){.len = sizeof view_room.bytes, .data = view_room.bytes};
    }
    size_t bound = NUMBERS_BYTES + strlen(task->id) + strlen(task->name) + (task->message ? strlen(task->message) : 0) +
                   status.len + info.len + view.len + 6 * (size_t)taken.ports.count;
    uint8_t *begin = scratch_room(state, bound), *p = begin;
    p = canonical_put_number(p, NUMBER(1), task->number);
    p = canonical_put_number(p, NUMBER(2), task->framework);
    p = canonical_put_number(p, NUMBER(3), task->agent);
    p = put_text(p, BYTES(4), task->id);
    p = put_text(p, BYTES(5), task->name);
    p = canonical_put_number(p, NUMBER(6), task->launch.index);
    p = canonical_put_number(p, NUMBER(7), task->launch.n);
    p = canonical_put_number(p, NUMBER(8), task->launch.k);
    p = canonical_put_number(p, NUMBER(9), task->state);
    p = canonical_put_number(p, NUMBER(10), task->latest_state);
    p = canonical_put_number(p, NUMBER(11), task_flags(task));
    uint64_t grace_ms = task_kill_grace_ms(task);
    if (grace_ms != STATE_GRACE_DEFAULT) p = canonical_put_number(p, NUMBER(12), grace_ms);
    if (task->has_uuid) p = canonical_put_bytes(p, BYTES(13), task->uuid, sizeof task->uuid);
    p = put_blob(p, BYTES(14), status);
    if (task->mesos_reason != MESOS_REASON_NONE) p = canonical_put_number(p, NUMBER(15), (uint32_t)task->mesos_reason);
    if (task->message) p = put_text(p, BYTES(16), task->message);
    p = put_blob(p, BYTES(17), info);
    p = put_blob(p, BYTES(18), view);
    p = canonical_put_number(p, NUMBER(19), (uint64_t)taken.cpus);
    p = canonical_put_number(p, NUMBER(20), (uint64_t)taken.mem);
    p = canonical_put_number(p, NUMBER(21), (uint64_t)taken.disk);
    p = canonical_put_number(p, NUMBER(22), (uint64_t)taken.gpus);
    p = put_ports(p, BYTES(23), &taken.ports);
    p = canonical_put_number(p, NUMBER(24), task->created_wall_ms);
    p = canonical_put_number(p, NUMBER(25), task->changed_wall_ms);
    p = canonical_put_number(p, NUMBER(26), task->started_wall_ms);
    p = canonical_put_number(p, NUMBER(27), task_completed_seq(task));
    CHECK((size_t)(p - begin) <= bound);
    return (size_t)(p - begin);
}

size_t record_of_globals(const struct state *state) {
    Conclave__Snapshot__Globals r = CONCLAVE__SNAPSHOT__GLOBALS__INIT;
    Conclave__Snapshot__Leader leader = CONCLAVE__SNAPSHOT__LEADER__INIT;
    Conclave__Snapshot__Config config = CONCLAVE__SNAPSHOT__CONFIG__INIT;
    leader.index = state->leader.index;
    leader.term = state->leader.term;
    leader.node = state->leader.node;
    leader.cluster_ms = state->leader.cluster_ms;
    leader.wall_ms = state->leader.wall_ms;
    leader.http = state->leader.http;
    leader.link = state->leader.link;
    leader.version = state->leader.version;
    config.framework_reregister_timeout_ms = state->config.framework_reregister_timeout_ms;
    config.agent_timeout_ms = state->config.agent_timeout_ms;
    config.history_tasks = state->config.history_tasks;
    config.history_frameworks = state->config.history_frameworks;
    config.has_changed_index = config.has_changed_n = state->config.level >= 2;
    config.changed_index = state->config.changed_index;
    config.changed_n = state->config.changed_n;
    r.level = state->config.level;
    r.has_cluster_id = state->cluster_set;
    r.cluster_id = (ProtobufCBinaryData){.len = sizeof state->cluster_id, .data = (uint8_t *)state->cluster_id};
    r.incarnation = state->incarnation;
    r.applied_index = state->applied_index;
    r.applied_n = state->applied_n;
    r.cluster_ms = state->cluster_ms;
    r.leader = &leader;
    r.config = state->config.set ? &config : NULL;
    r.agent_next = state->agent_next;
    r.framework_next = state->framework_next;
    r.task_next = state->task_next;
    r.sequence_next = state->sequence_next;
    r.completed_last = state->completed_last;
    r.removed_last = state->removed_last;
    r.n_tasks_ever = TASK_STATES;
    r.tasks_ever = (uint64_t *)state->tasks_ever;
    Conclave__Snapshot__Member members[STATE_MEMBERS_MAX], *rows[STATE_MEMBERS_MAX];
    size_t bound = NUMBERS_BYTES + strlen(leader.http) + strlen(leader.link) + strlen(leader.version);
    r.has_member_last = state->member_last != 0;
    r.member_last = state->member_last;
    r.members = rows;
    for (uint32_t i = 0; i < state->member_count; i++) {
        const struct member_record *from = &state->members[i];
        members[i] = (Conclave__Snapshot__Member)CONCLAVE__SNAPSHOT__MEMBER__INIT;
        members[i].id = from->id;
        members[i].peer = from->peer;
        members[i].http = from->http;
        members[i].link = from->link;
        rows[r.n_members++] = &members[i];
        bound += strlen(from->peer) + strlen(from->http) + strlen(from->link) + 40;
    }
    return scratch_pack(state, &r.base, bound);
}

struct hash128 record_hash(const struct state *state, enum record_kind kind, const void *record) {
    size_t len = 0;
    switch (kind) {
    case RECORD_GLOBALS:
        len = record_of_globals(state);
        break;
    case RECORD_AGENT:
        len = record_of_agent(state, record, true);
        break;
    case RECORD_FRAMEWORK:
        len = record_of_framework(state, record, true);
        break;
    case RECORD_TASK:
        len = record_of_task(state, record, true);
        break;
    case RECORD_END:
        break;
    }
    CHECK(len > 0);
    /* The kind byte goes last: it separates kinds as well there, and the bytes need not move. */
    CHECK(len < state->scratch->cap);
    state->scratch->data[len] = (uint8_t)kind;
    return hash128_of(state->scratch->data, len + 1);
}

struct hash128 state_hash(const struct state *state) {
    return hash128_add(state->hash, record_hash(state, RECORD_GLOBALS, NULL));
}
