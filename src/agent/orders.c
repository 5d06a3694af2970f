/* SPDX-License-Identifier: Apache-2.0
 * From the leader's frames to the engine, behind the fence. */
#include <string.h>

#include "agent/agent_internal.h"
#include "base/log.h"
#include "wire/arena.h"
#include "wire/protobuf.h"

#define ARENA_BYTES_MAX (8u << 20)

#define FRAME(name) CONCLAVE__LINK__FRAME_TYPE__##name

static struct launch_key key_of(const char *framework_id, const char *task_id, const Conclave__Log__LaunchId *launch) {
    return (struct launch_key){framework_id, task_id, {launch->index, launch->n, launch->k}};
}

static void launch_take(struct agent_process *a, const Conclave__Link__Launch *l, const uint8_t *payload, size_t len) {
    if (!master_link_obeys(a->masters, l->fence)) return;
    const struct engine_order order = {key_of(l->framework_id, l->task_id, l->launch), payload, len};
    engine_launch(a->engine, &order);
}

static void kill_take(struct agent_process *a, const Conclave__Link__Kill *k) {
    if (!master_link_obeys(a->masters, k->fence)) return;
    if (!task_id_valid(k->framework_id) || !task_id_valid(k->task_id)) return;
    struct launch_key key = key_of(k->framework_id, k->task_id, k->launch);
    engine_kill(a->engine, &key, k->has_grace_ms ? k->grace_ms : UINT64_MAX);
}

static void ack_take(struct agent_process *a, const Conclave__Link__Ack *ack) {
    if (!master_link_obeys(a->masters, ack->fence) || ack->uuid.len != 16) return;
    struct launch_key key = key_of(ack->framework_id, ack->task_id, ack->launch);
    engine_ack(a->engine, &key, ack->uuid.data);
}

static const ProtobufCMessageDescriptor *order_descriptor(uint16_t type) {
    switch (type) {
    case FRAME(LAUNCH):
        return &conclave__link__launch__descriptor;
    case FRAME(KILL):
        return &conclave__link__kill__descriptor;
    case FRAME(ACK):
        return &conclave__link__ack__descriptor;
    case FRAME(TASK_LIST_WANTED):
        return &conclave__link__task_list_wanted__descriptor;
    default:
        return NULL;
    }
}

void order_take(struct agent_process *a, uint16_t type, const uint8_t *payload, size_t len) {
    const ProtobufCMessageDescriptor *descriptor = order_descriptor(type);
    if (!descriptor) return; /* of a newer master: nothing an agent must know */
    struct arena arena;
    struct err err = {0};
    ProtobufCMessage *message;
    arena_init(&arena, ARENA_BYTES_MAX);
    if (protobuf_parse(descriptor, payload, len, 0, &arena, &message, &err) != 0) {
        log_event(LOG_ERROR, "order_malformed", "type=%u %s", type, err.text);
        master_link_drop(a->masters, "a malformed order");
    } else if (type == FRAME(LAUNCH)) {
        launch_take(a, (const Conclave__Link__Launch *)message, payload, len);
    } else if (type == FRAME(KILL)) {
        kill_take(a, (const Conclave__Link__Kill *)message);
    } else if (type == FRAME(ACK)) {
        ack_take(a, (const Conclave__Link__Ack *)message);
    } else {
        task_list_send(a);
    }
    arena_done(&arena);
}

int report_send(struct agent_process *a, const struct hosted *task, const struct update *update) {
    Conclave__Link__Report report = CONCLAVE__LINK__REPORT__INIT;
    Conclave__Log__LaunchId launch = CONCLAVE__LOG__LAUNCH_ID__INIT;
    if (!a->masters || !master_link_is_welcome(a->masters)) return ERR_CLOSED;
    launch.index = task->key.launch.index;
    launch.n = task->key.launch.n;
    launch.k = task->key.launch.k;
    report.framework_id = (char *)(uintptr_t)task->key.framework_id;
    report.task_id = (char *)(uintptr_t)task->key.task_id;
    report.launch = &launch;
    report.state = update->state;
    report.latest_state = task->updates.latest;
    report.uuid.data = (uint8_t *)(uintptr_t)update->uuid;
    report.uuid.len = sizeof update->uuid;
    report.status.data = update->status;
    report.status.len = update->len;
    return master_link_send(a->masters, LINK_BULK, FRAME(REPORT), &report.base);
}
