/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/legacy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "mesos/v1/mesos.pb-c.h"
#include "scheduler/agents.h"
#include "scheduler/events.h"
#include "scheduler/sessions.h"
#include "wire/json.h"
#include "wire/protobuf.h"
#include "wire/resources_mesos.h"

#define LEGACY_ARENA_MAX (4u << 20)

void legacy_seconds(struct json_writer *w, const char *key, uint64_t wall_ms) {
    json_key(w, key);
    json_milli(w, (int64_t)wall_ms);
}

static void legacy_string(struct json_writer *w, const char *key, const char *value) {
    json_key(w, key);
    json_string(w, value);
}

static void legacy_milli(struct json_writer *w, const char *key, int64_t milli) {
    json_key(w, key);
    json_milli(w, milli);
}

void legacy_resources(struct json_writer *w, const struct resources *r) {
    json_begin_object(w);
    legacy_milli(w, "cpus", r->cpus);
    legacy_milli(w, "gpus", r->gpus);
    legacy_milli(w, "mem", r->mem);
    legacy_milli(w, "disk", r->disk);
    if (r->ports.count) {
        struct buf text;
        buf_init(&text, 64u << 10);
        for (uint32_t i = 0; i < r->ports.count; i++)
            (void)buf_printf(&text, "%s%u-%u", i ? ", " : "[", r->ports.ranges[i].begin, r->ports.ranges[i].end);
        (void)buf_append_byte(&text, ']');
        json_key(w, "ports");
        json_string_len(w, (const char *)text.data, text.len);
        buf_done(&text);
    }
    json_end_object(w);
}

static void legacy_labels(struct json_writer *w, const Mesos__V1__Labels *labels) {
    json_key(w, "labels");
    json_begin_array(w);
    for (size_t i = 0; i < labels->n_labels; i++)
        json_message(w, &labels->labels[i]->base, 0);
    json_end_array(w);
}

static void legacy_status(struct json_writer *w, const struct master *m, const struct task *task, struct arena *arena) {
    Mesos__V1__TaskStatus *s = event_status(m, task, false, arena);
    if (!s) return;
    json_begin_object(w);
    legacy_string(w, "state", task_state_name(task->state));
    json_key(w, "timestamp");
    json_double(w, s->has_timestamp ? s->timestamp : (double)task->changed_wall_ms / 1000.0);
    if (s->labels) legacy_labels(w, s->labels);
    if (s->container_status) {
        json_key(w, "container_status");
        json_message(w, &s->container_status->base, JSON_ONLY_SET);
    }
    if (s->has_healthy) {
        json_key(w, "healthy");
        json_bool(w, s->healthy);
    }
    json_end_object(w);
}

static void legacy_view(struct json_writer *w, const struct task *task, struct arena *arena) {
    ProtobufCMessage *parsed = NULL;
    struct bytes bytes = task_view(task);
    if (bytes.len == 0 || protobuf_parse(&mesos__v1__task__descriptor, bytes.data, bytes.len, 0, arena, &parsed, NULL))
        return;
    const Mesos__V1__Task *view = (const Mesos__V1__Task *)parsed;
    if (view->user) legacy_string(w, "user", view->user);
    if (view->labels) legacy_labels(w, view->labels);
    if (view->discovery) {
        json_key(w, "discovery");
        json_message(w, &view->discovery->base, JSON_ONLY_SET);
    }
    if (view->container) {
        json_key(w, "container");
        json_message(w, &view->container->base, JSON_ONLY_SET);
    }
    if (view->health_check) {
        json_key(w, "health_check");
        json_message(w, &view->health_check->base, JSON_ONLY_SET);
    }
}

void legacy_task(struct json_writer *w, const struct master *m, const struct task *task) {
    const struct framework *f = state_framework(m->state, task->framework);
    const struct agent *agent = state_agent(m->state, task->agent);
    struct resources taken = task_resources(task);
    struct arena arena;
    arena_init(&arena, LEGACY_ARENA_MAX);
    json_begin_object(w);
    legacy_string(w, "id", task->id);
    legacy_string(w, "name", task->name);
    legacy_string(w, "framework_id", f ? f->id : "");
    legacy_string(w, "executor_id", "");
    legacy_string(w, "slave_id", agent ? agent->id : "");
    legacy_string(w, "state", task_state_name(task->state));
    json_key(w, "resources");
    legacy_resources(w, &taken);
    legacy_string(w, "role", f && f->role_count ? f->roles[0] : "*");
    json_key(w, "statuses");
    json_begin_array(w);
    if (task->state != TASK_STAGING) legacy_status(w, m, task, &arena);
    json_end_array(w);
    legacy_view(w, task, &arena);
    json_end_object(w);
    arena_done(&arena);
}

static void legacy_attributes(struct json_writer *w, const Mesos__V1__AgentInfo *info) {
    json_key(w, "attributes");
    json_begin_object(w);
    for (size_t i = 0; info && i < info->n_attributes; i++) {
        const Mesos__V1__Attribute *a = info->attributes[i];
        if (!a->scalar && !a->text) continue;
        json_key(w, a->name);
        if (a->scalar)
            json_double(w, a->scalar->value);
        else
            json_string(w, a->text->value);
    }
    json_end_object(w);
}

static void legacy_full_resources(struct json_writer *w, const char *key, const struct resources *r,
                                  struct arena *arena) {
    Mesos__V1__Resource **list = NULL;
    size_t n = 0;
    json_key(w, key);
    json_begin_array(w);
    if (resources_to_mesos(r, NULL, arena, &n, &list) == 0)
        for (size_t i = 0; i < n; i++)
            json_message(w, &list[i]->base, JSON_ONLY_SET);
    json_end_array(w);
}

void legacy_slave(struct json_writer *w, const struct master *m, const struct agent *agent) {
    struct arena arena;
    struct resources offered = {0};
    ProtobufCMessage *info = NULL;
    char pid[300];
    arena_init(&arena, LEGACY_ARENA_MAX);
    (void)offers_of_agent(m->offers, agent->number, &offered);
    (void)snprintf(pid, sizeof pid, "slave(1)@%s", agent->http);
    char host[256];
    uint16_t port = address_split(agent->http, host);
    json_begin_object(w);
    legacy_string(w, "id", agent->id);
    legacy_string(w, "hostname", agent->hostname);
    json_key(w, "port");
    json_u64(w, port);
    if (protobuf_parse(&mesos__v1__agent_info__descriptor, agent->info.data, agent->info.len, 0, &arena, &info, NULL))
        info = NULL;
    legacy_attributes(w, (const Mesos__V1__AgentInfo *)info);
    legacy_string(w, "pid", pid);
    legacy_seconds(w, "registered_time", agent->registered_wall_ms);
    json_key(w, "resources");
    legacy_resources(w, &agent->total);
    json_key(w, "used_resources");
    legacy_resources(w, &agent->used);
    json_key(w, "offered_resources");
    legacy_resources(w, &offered);
    json_key(w, "reserved_resources");
    json_begin_object(w);
    json_end_object(w);
    json_key(w, "unreserved_resources");
    legacy_resources(w, &agent->total);
    json_key(w, "active");
    json_bool(w, agent->status == AGENT_ACTIVE);
    json_key(w, "deactivated");
    json_bool(w, false);
    legacy_string(w, "version", MESOS_VERSION);
    legacy_string(w, "conclave_version", agent->version);
    json_key(w, "capabilities");
    json_begin_array(w);
    json_end_array(w);
    json_key(w, "reserved_resources_full");
    json_begin_object(w);
    json_end_object(w);
    legacy_full_resources(w, "unreserved_resources_full", &agent->total, &arena);
    legacy_full_resources(w, "used_resources_full", &agent->used, &arena);
    legacy_full_resources(w, "offered_resources_full", &offered, &arena);
    json_end_object(w);
    resources_done(&offered);
    arena_done(&arena);
}

void legacy_counts(struct json_writer *w, const struct master *m, uint32_t framework, uint32_t agent) {
    static const uint32_t shown[] = {TASK_STAGING, TASK_STARTING, TASK_RUNNING, TASK_KILLING, TASK_FINISHED,
                                     TASK_KILLED,  TASK_FAILED,   TASK_LOST,    TASK_ERROR,   TASK_UNREACHABLE};
    uint64_t counts[14] = {0};
    for (const struct task *t = NULL; (t = state_task_next(m->state, t ? t->number : 0));)
        if ((!framework || t->framework == framework) && (!agent || t->agent == agent) && t->state < 14)
            counts[t->state]++;
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) {
        json_key(w, task_state_name(shown[i]));
        json_u64(w, counts[shown[i]]);
    }
}

static void legacy_capabilities(struct json_writer *w, uint32_t bits) {
    static const char *const names[] = {"UNKNOWN",       "REVOCABLE_RESOURCES",    "TASK_KILLING_STATE",
                                        "GPU_RESOURCES", "SHARED_RESOURCES",       "PARTITION_AWARE",
                                        "MULTI_ROLE",    "RESERVATION_REFINEMENT", "REGION_AWARE"};
    json_key(w, "capabilities");
    json_begin_array(w);
    for (uint32_t i = 1; i < sizeof names / sizeof names[0]; i++)
        if (bits >> i & 1) json_string(w, names[i]);
    json_end_array(w);
}

static void legacy_framework_tasks(struct json_writer *w, const struct master *m, const struct framework *f) {
    json_key(w, "tasks");
    json_begin_array(w);
    for (const struct queue *q = f->tasks.next; q != &f->tasks; q = q->next) {
        const struct task *t = QUEUE_ENTRY(q, struct task, in_framework);
        if (t->state != TASK_UNREACHABLE) legacy_task(w, m, t);
    }
    json_end_array(w);
    json_key(w, "unreachable_tasks");
    json_begin_array(w);
    for (const struct queue *q = f->tasks.next; q != &f->tasks; q = q->next) {
        const struct task *t = QUEUE_ENTRY(q, struct task, in_framework);
        if (t->state == TASK_UNREACHABLE) legacy_task(w, m, t);
    }
    json_end_array(w);
    json_key(w, "completed_tasks");
    json_begin_array(w);
    for (const struct queue *q = f->completed.next; q != &f->completed; q = q->next)
        legacy_task(w, m, QUEUE_ENTRY(q, struct task, in_framework));
    json_end_array(w);
    json_key(w, "offers");
    json_begin_array(w);
    json_end_array(w);
    json_key(w, "executors");
    json_begin_array(w);
    json_end_array(w);
}

void legacy_framework(struct json_writer *w, const struct master *m, const struct framework *f, bool full) {
    struct resources offered = {0};
    bool connected = f->status == FRAMEWORK_CONNECTED && sessions_find(m->sessions, f->number);
    (void)offers_of_framework(m->offers, f->number, &offered);
    json_begin_object(w);
    legacy_string(w, "id", f->id);
    legacy_string(w, "name", f->name);
    json_key(w, "used_resources");
    legacy_resources(w, &f->used);
    json_key(w, "offered_resources");
    legacy_resources(w, &offered);
    legacy_capabilities(w, f->capabilities);
    legacy_string(w, "hostname", "");
    legacy_string(w, "webui_url", "");
    json_key(w, "active");
    json_bool(w, connected);
    json_key(w, "connected");
    json_bool(w, connected);
    json_key(w, "recovered");
    json_bool(w, f->status == FRAMEWORK_CONNECTED && !connected);
    if (full) {
        legacy_string(w, "user", f->user);
        legacy_milli(w, "failover_timeout", (int64_t)f->failover_timeout_ms);
        json_key(w, "checkpoint");
        json_bool(w, true);
        legacy_seconds(w, "registered_time", f->registered_wall_ms);
        legacy_seconds(w, "unregistered_time", f->status == FRAMEWORK_REMOVED ? f->changed_wall_ms : 0);
        if (f->principal[0]) legacy_string(w, "principal", f->principal);
        json_key(w, "resources");
        legacy_resources(w, &f->used);
        if (f->capabilities & CAP_MULTI_ROLE) {
            json_key(w, "roles");
            json_begin_array(w);
            for (uint32_t i = 0; i < f->role_count; i++)
                json_string(w, f->roles[i]);
            json_end_array(w);
        } else {
            legacy_string(w, "role", f->role_count ? f->roles[0] : "*");
        }
        legacy_framework_tasks(w, m, f);
    }
    json_end_object(w);
    resources_done(&offered);
}
