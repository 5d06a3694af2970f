/* SPDX-License-Identifier: Apache-2.0
 * What is sent to agents: refusals, who leads, orders. */
#include <inttypes.h>

#include "base/log.h"
#include "scheduler/agents_private.h"
#include "scheduler/members.h"
#include "scheduler/obligations.h"
#include "wire/protobuf.h"

int agents_send(struct agents *a, struct link *link, enum link_lane lane, uint16_t type,
                const ProtobufCMessage *message) {
    buf_clear(&a->out);
    int rc = protobuf_print(message, &a->out);
    if (rc == 0) rc = link_send(link, lane, type, a->out.data, a->out.len, NULL, 0);
    if (rc == ERR_BUSY)
        link_close_overflow(link); /* an agent that does not read: its next Hello settles what it missed */
    return rc;
}

Conclave__Link__Fence agents_fence(const struct master *m) {
    Conclave__Link__Fence fence = CONCLAVE__LINK__FENCE__INIT;
    fence.cluster_id.data = (uint8_t *)m->config->replica.cluster_id;
    fence.cluster_id.len = sizeof m->config->replica.cluster_id;
    fence.incarnation = state_incarnation(m->state);
    fence.term = m->term;
    return fence;
}

Conclave__Log__LaunchId agents_launch_id(struct launch_id id) {
    Conclave__Log__LaunchId message = CONCLAVE__LOG__LAUNCH_ID__INIT;
    message.index = id.index;
    message.n = id.n;
    message.k = id.k;
    return message;
}

void agents_refuse(struct agents *a, struct agent_link *l, const char *why, bool permanent) {
    Conclave__Link__Refused refused = CONCLAVE__LINK__REFUSED__INIT;
    refused.reason = (char *)why;
    refused.permanent = permanent;
    log_event(LOG_WARN, "agent_refused", "agent=%" PRIu32 " why=%s", l->agent, why);
    (void)agents_send(a, l->link, LINK_CONTROL, FRAME(REFUSED), &refused.base);
    link_close(l->link);
}

void agents_members_changed(struct agents *a) {
    struct member_view views[REPLICA_MEMBERS_MAX];
    char *masters[REPLICA_MEMBERS_MAX];
    Conclave__Link__Leader leader = CONCLAVE__LINK__LEADER__INIT;
    leader.term = a->m->term;
    leader.link = (char *)a->m->config->link_advertise;
    leader.masters = masters;
    leader.n_masters = members_links(a->m, views, masters);
    for (struct queue *q = a->links.next, *next; q != &a->links; q = next) {
        next = q->next;
        struct agent_link *l = QUEUE_ENTRY(q, struct agent_link, on_list);
        if (l->state == LINK_WELCOME && l->link && l->term == a->m->term)
            (void)agents_send(a, l->link, LINK_CONTROL, FRAME(LEADER), &leader.base);
    }
}

void agents_tell_leader(struct agents *a, struct agent_link *l) {
    Conclave__Link__Leader leader = CONCLAVE__LINK__LEADER__INIT;
    const char *address = NULL;
    leader.term = a->m->term;
    if (master_leader_known(a->m, NULL, &address)) leader.link = (char *)address;
    (void)agents_send(a, l->link, LINK_CONTROL, FRAME(LEADER), &leader.base);
}

struct agent_link *agents_link_of(struct agents *a, uint32_t agent) {
    return a->m->current && agent < a->soft_cap ? a->soft[agent].here : NULL;
}

void agents_send_launch(struct agents *a, const struct task *task) {
    struct agent_link *l = agents_link_of(a, task->agent);
    const struct framework *f = state_framework(a->m->state, task->framework);
    if (!l || l->merging || !f || obligation_of_task(a->m->state, task) != OWES_LAUNCH) return;
    Conclave__Link__Fence fence = agents_fence(a->m);
    Conclave__Log__LaunchId id = agents_launch_id(task->launch);
    Conclave__Log__Resources resources = CONCLAVE__LOG__RESOURCES__INIT;
    Conclave__Log__Range ranges[PORTS_RANGES_MAX], *pointers[PORTS_RANGES_MAX];
    struct resources taken = task_resources(task);
    struct bytes info = task_info(task);
    resources.has_cpus = resources.has_mem = resources.has_disk = resources.has_gpus = 1;
    resources.cpus = taken.cpus;
    resources.mem = taken.mem;
    resources.disk = taken.disk;
    resources.gpus = taken.gpus;
    resources.ports = pointers;
    for (uint32_t i = 0; i < taken.ports.count; i++) {
        ranges[i] = (Conclave__Log__Range)CONCLAVE__LOG__RANGE__INIT;
        ranges[i].begin = taken.ports.ranges[i].begin;
        ranges[i].end = taken.ports.ranges[i].end;
        pointers[resources.n_ports++] = &ranges[i];
    }
    Conclave__Link__Launch launch = CONCLAVE__LINK__LAUNCH__INIT;
    launch.fence = &fence;
    launch.launch = &id;
    launch.framework_id = f->id;
    launch.task_id = task->id;
    launch.info.data = info.data;
    launch.info.len = info.len;
    launch.resources = &resources;
    launch.user = f->user;
    (void)agents_send(a, l->link, LINK_BULK, FRAME(LAUNCH), &launch.base);
}

void agents_kill_on(struct agents *a, struct agent_link *l, const char *framework_id, const char *task_id,
                    struct launch_id launch, uint64_t grace_ms) {
    Conclave__Link__Fence fence = agents_fence(a->m);
    Conclave__Log__LaunchId id = agents_launch_id(launch);
    Conclave__Link__Kill kill = CONCLAVE__LINK__KILL__INIT;
    kill.fence = &fence;
    kill.launch = &id;
    kill.framework_id = (char *)framework_id;
    kill.task_id = (char *)task_id;
    kill.has_grace_ms = grace_ms != STATE_GRACE_DEFAULT;
    kill.grace_ms = grace_ms;
    (void)agents_send(a, l->link, LINK_BULK, FRAME(KILL), &kill.base);
}

void agents_send_kill(struct agents *a, const struct task *task) {
    struct agent_link *l = agents_link_of(a, task->agent);
    const struct framework *f = state_framework(a->m->state, task->framework);
    if (!l || l->merging || !f || obligation_of_task(a->m->state, task) != OWES_KILL) return;
    agents_kill_on(a, l, f->id, task->id, task->launch, task_kill_grace_ms(task));
}

void agents_ack_on(struct agents *a, struct agent_link *l, const char *framework_id, const char *task_id,
                   struct launch_id launch, const uint8_t uuid[16]) {
    Conclave__Link__Fence fence = agents_fence(a->m);
    Conclave__Log__LaunchId id = agents_launch_id(launch);
    Conclave__Link__Ack ack = CONCLAVE__LINK__ACK__INIT;
    ack.fence = &fence;
    ack.framework_id = (char *)framework_id;
    ack.task_id = (char *)task_id;
    ack.launch = &id;
    ack.uuid.data = (uint8_t *)uuid;
    ack.uuid.len = 16;
    (void)agents_send(a, l->link, LINK_BULK, FRAME(ACK), &ack.base);
}

void agents_send_ack(struct agents *a, uint32_t agent, const char *framework_id, const char *task_id,
                     struct launch_id launch, const uint8_t uuid[16]) {
    struct agent_link *l = agents_link_of(a, agent);
    if (l) agents_ack_on(a, l, framework_id, task_id, launch, uuid);
}
