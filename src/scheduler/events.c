/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/events.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "wire/protobuf.h"
#include "wire/resources_mesos.h"

void *arena_message(struct arena *arena, size_t size, const void *init) {
    void *message = arena_alloc(arena, size);
    if (message) memcpy(message, init, size);
    return message;
}

/* The three id messages have one shape. */
#define EVENT_ID(Type, name, INIT)                                                                                     \
    Type *name(const char *value, struct arena *arena) {                                                               \
        Type *id = ARENA_MESSAGE(arena, Type, INIT);                                                                   \
        if (id) id->value = (char *)value;                                                                             \
        return id;                                                                                                     \
    }
EVENT_ID(Mesos__V1__TaskID, event_task_id, MESOS__V1__TASK_ID__INIT)
EVENT_ID(Mesos__V1__AgentID, event_agent_id, MESOS__V1__AGENT_ID__INIT)
EVENT_ID(Mesos__V1__FrameworkID, event_framework_id, MESOS__V1__FRAMEWORK_ID__INIT)

static Mesos__V1__ExecutorID *event_executor_id(const char *value, struct arena *arena) {
    Mesos__V1__ExecutorID *id = ARENA_MESSAGE(arena, Mesos__V1__ExecutorID, MESOS__V1__EXECUTOR_ID__INIT);
    if (id) id->value = (char *)value;
    return id;
}

uint16_t address_split(const char *text, char ret_host[256]) {
    const char *colon = strrchr(text, ':');
    size_t n = colon ? (size_t)(colon - text) : strlen(text);
    if (n >= 256) n = 255;
    memcpy(ret_host, text, n);
    ret_host[n] = '\0';
    if (n > 1 && ret_host[0] == '[' && ret_host[n - 1] == ']') {
        memmove(ret_host, ret_host + 1, n - 2);
        ret_host[n - 2] = '\0';
    }
    return colon ? (uint16_t)strtoul(colon + 1, NULL, 10) : 0;
}

uint32_t address_ip(const char *host) {
    struct in_addr in;
    return inet_pton(AF_INET, host, &in) == 1 ? in.s_addr
                                              : 0; /* network byte order read as an integer: what Mesos sends */
}

static Mesos__V1__Address *event_address(const char *host, uint16_t port, struct arena *arena) {
    Mesos__V1__Address *a = ARENA_MESSAGE(arena, Mesos__V1__Address, MESOS__V1__ADDRESS__INIT);
    if (!a) return NULL;
    a->hostname = (char *)host;
    if (address_ip(host)) a->ip = (char *)host;
    a->port = port;
    return a;
}

Mesos__V1__MasterInfo *event_master_info(const struct master *m, struct arena *arena) {
    Mesos__V1__MasterInfo *info = ARENA_MESSAGE(arena, Mesos__V1__MasterInfo, MESOS__V1__MASTER_INFO__INIT);
    char *host = arena_alloc(arena, 256), *id = arena_alloc(arena, 96), *pid = arena_alloc(arena, 300);
    if (!info || !host || !id || !pid) return NULL;
    uint16_t port = address_split(m->config->http_advertise, host);
    master_id(m, id, 96);
    (void)snprintf(pid, 300, "master@%s", m->config->http_advertise);
    info->id = id;
    info->ip = address_ip(host);
    info->port = port;
    info->pid = pid;
    info->hostname = host;
    info->version = (char *)MESOS_VERSION;
    info->address = event_address(host, port, arena);
    return info->address ? info : NULL;
}

static const char *task_agent_id(const struct master *m, const struct task *task) {
    const struct agent *agent = state_agent(m->state, task->agent);
    return agent ? agent->id : NULL;
}

Mesos__V1__TaskStatus *event_status_made(const char *task_id, const char *agent_id, uint32_t state, int reason,
                                         const char *message, struct arena *arena) {
    Mesos__V1__TaskStatus *s = ARENA_MESSAGE(arena, Mesos__V1__TaskStatus, MESOS__V1__TASK_STATUS__INIT);
    if (!s) return NULL;
    s->task_id = event_task_id(task_id, arena);
    s->state = (Mesos__V1__TaskState)state;
    s->has_source = 1;
    s->source = MESOS__V1__TASK_STATUS__SOURCE__SOURCE_MASTER;
    s->has_reason = reason >= 0;
    s->reason = (Mesos__V1__TaskStatus__Reason)reason;
    s->message = (char *)message;
    s->has_timestamp = 1;
    s->timestamp = (double)clock_wall_ms() / 1000.0;
    s->executor_id = event_executor_id(task_id, arena);
    if (agent_id) s->agent_id = event_agent_id(agent_id, arena);
    return s->task_id && s->executor_id && (s->agent_id || !agent_id) ? s : NULL;
}

Mesos__V1__TaskStatus *event_status(const struct master *m, const struct task *task, bool reconciliation,
                                    struct arena *arena) {
    ProtobufCMessage *parsed = NULL;
    struct bytes sent = task_status(m->state, task);
    if (sent.len == 0 ||
        protobuf_parse(&mesos__v1__task_status__descriptor, sent.data, sent.len, 0, arena, &parsed, NULL)) {
        int reason = reconciliation ? MESOS__V1__TASK_STATUS__REASON__REASON_RECONCILIATION : task->mesos_reason;
        return event_status_made(task->id, task_agent_id(m, task), task->state, reason,
                                 reconciliation ? NULL : task->message, arena);
    }
    Mesos__V1__TaskStatus *s = (Mesos__V1__TaskStatus *)parsed;
    if (s->state != (Mesos__V1__TaskState)task->state) /* the state moved on without the agent: lost, unreachable */
        return event_status_made(task->id, task_agent_id(m, task), task->state,
                                 reconciliation ? MESOS__V1__TASK_STATUS__REASON__REASON_RECONCILIATION
                                                : task->mesos_reason,
                                 reconciliation ? NULL : task->message, arena);
    if (reconciliation) {
        s->has_source = s->has_reason = 1;
        s->source = MESOS__V1__TASK_STATUS__SOURCE__SOURCE_MASTER;
        s->reason = MESOS__V1__TASK_STATUS__REASON__REASON_RECONCILIATION;
        s->message = NULL;
        s->has_data = 0;
    }
    /* What must be acknowledged, and whose it is, is the log's to say, not the bytes that the agent sent along. */
    s->has_uuid = !reconciliation && task->unacked;
    s->uuid = (ProtobufCBinaryData){.len = sizeof task->uuid, .data = (uint8_t *)task->uuid};
    s->task_id = event_task_id(task->id, arena);
    if (!s->executor_id) s->executor_id = event_executor_id(task->id, arena);
    const char *agent_id = task_agent_id(m, task);
    if (agent_id) s->agent_id = event_agent_id(agent_id, arena);
    return s->task_id && s->executor_id && (s->agent_id || !agent_id) ? s : NULL;
}

static Mesos__V1__Resource__AllocationInfo *event_allocation(const char *role, struct arena *arena) {
    Mesos__V1__Resource__AllocationInfo *a =
        ARENA_MESSAGE(arena, Mesos__V1__Resource__AllocationInfo, MESOS__V1__RESOURCE__ALLOCATION_INFO__INIT);
    if (a) a->role = (char *)role;
    return a;
}

static Mesos__V1__URL *event_agent_url(const char *host, uint16_t port, struct arena *arena) {
    Mesos__V1__URL *url = ARENA_MESSAGE(arena, Mesos__V1__URL, MESOS__V1__URL__INIT);
    if (!url) return NULL;
    url->scheme = (char *)"http";
    url->address = event_address(host, port, arena);
    url->path = (char *)"/slave(1)";
    return url->address ? url : NULL;
}

/* Attributes as the agent gave them. */
static void event_attributes(const struct agent *agent, Mesos__V1__Offer *ret, struct arena *arena) {
    ProtobufCMessage *parsed = NULL;
    if (protobuf_parse(&mesos__v1__agent_info__descriptor, agent->info.data, agent->info.len, 0, arena, &parsed, NULL))
        return;
    Mesos__V1__AgentInfo *info = (Mesos__V1__AgentInfo *)parsed;
    ret->n_attributes = info->n_attributes;
    ret->attributes = info->attributes;
}

/* executor_ids stays empty: it names executors that a framework brought and can put further tasks under. A command
 * task's is its agent's own, as in Mesos; and an offer must not cost what its agent's tasks are many. */
Mesos__V1__Offer *event_offer(const struct master *m, const struct offer *offer, struct arena *arena) {
    const struct agent *agent = state_agent(m->state, offer->agent);
    const struct framework *framework = state_framework(m->state, offer->framework);
    if (!agent || !framework) return NULL;
    Mesos__V1__Offer *o = ARENA_MESSAGE(arena, Mesos__V1__Offer, MESOS__V1__OFFER__INIT);
    Mesos__V1__OfferID *id = ARENA_MESSAGE(arena, Mesos__V1__OfferID, MESOS__V1__OFFER_ID__INIT);
    char *text = arena_alloc(arena, 128), *host = arena_alloc(arena, 256);
    if (!o || !id || !text || !host) return NULL;
    uint16_t port = address_split(agent->http, host);
    char master[96];
    master_id(m, master, sizeof master);
    (void)snprintf(text, 128, "%s-O%" PRIu64, master, offer->number);
    id->value = text;
    o->id = id;
    o->framework_id = event_framework_id(framework->id, arena);
    o->agent_id = event_agent_id(agent->id, arena);
    o->hostname = agent->hostname;
    o->url = event_agent_url(host, port, arena);
    const char *role = offer->role < framework->role_count ? framework->roles[offer->role] : "*";
    bool multi_role = framework->capabilities & CAP_MULTI_ROLE;
    if (resources_to_mesos(&offer->resources, multi_role ? role : NULL, arena, &o->n_resources, &o->resources))
        return NULL;
    if (multi_role && !(o->allocation_info = event_allocation(role, arena))) return NULL;
    event_attributes(agent, o, arena);
    return o->framework_id && o->agent_id && o->url ? o : NULL;
}
