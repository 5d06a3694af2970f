/* SPDX-License-Identifier: Apache-2.0
 * The read endpoints that tools scrape: /state, /state-summary, /slaves, /frameworks, /tasks, /version, /redirect. */
#include "scheduler/api.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "scheduler/legacy.h"
#include "scheduler/offers.h"

#define TASKS_LIMIT_DEFAULT 100

static void member_string(struct json_writer *w, const char *key, const char *value) {
    json_key(w, key);
    json_string(w, value);
}

static void member_u64(struct json_writer *w, const char *key, uint64_t value) {
    json_key(w, key);
    json_u64(w, value);
}

/* A query value, or NULL when it is absent or malformed. */
static const char *query_value(const struct call *call, const char *name, char *out, size_t size) {
    return http_query_get(call->request->query, name, out, size) == 0 ? out : NULL;
}

static void reply_json(struct call *call, void (*write)(struct json_writer *w, struct call *call)) {
    struct buf body;
    struct json_writer w;
    buf_init(&body, API_ANSWER_MAX);
    json_writer_init(&w, &body);
    json_begin_object(&w);
    write(&w, call);
    json_end_object(&w);
    call_reply_json(call, &body);
    buf_done(&body);
}

static void write_version(struct json_writer *w, struct call *call) {
    (void)call;
    member_string(w, "version", MESOS_VERSION);
    member_string(w, "conclave_version", CONCLAVE_VERSION);
    member_string(w, "build_date", "");
    member_u64(w, "build_time", 0);
    member_string(w, "build_user", "");
}

void api_version(struct call *call) {
    reply_json(call, write_version);
}

void api_redirect(struct call *call) {
    const char *leader = NULL;
    char location[REPLICA_ADDRESS_MAX + 4];
    if (!master_leader_known(call->m, &leader, NULL)) {
        call_unavailable(call->x, "No leader elected");
        return;
    }
    (void)snprintf(location, sizeof location, "//%s", leader);
    const struct http_field field = {"Location", location};
    http_reply(call->x, 307, &field, 1, NULL, 0);
}

static void write_slaves(struct json_writer *w, struct call *call) {
    char text[STATE_ID_MAX + 1];
    const char *wanted = query_value(call, "slave_id", text, sizeof text);
    json_key(w, "slaves");
    json_begin_array(w);
    for (const struct agent *a = NULL; (a = state_agent_next(call->m->state, a ? a->number : 0));)
        if (a->status != AGENT_GONE_STATUS && (!wanted || !strcmp(wanted, a->id))) legacy_slave(w, call->m, a);
    json_end_array(w);
    json_key(w, "recovered_slaves");
    json_begin_array(w);
    json_end_array(w);
}

void api_slaves(struct call *call) {
    reply_json(call, write_slaves);
}

static void write_framework_list(struct json_writer *w, struct call *call, bool removed, bool full,
                                 const char *wanted) {
    json_begin_array(w);
    for (const struct framework *f = NULL; (f = state_framework_next(call->m->state, f ? f->number : 0));)
        if ((f->status == FRAMEWORK_REMOVED) == removed && (!wanted || !strcmp(wanted, f->id)))
            legacy_framework(w, call->m, f, full);
    json_end_array(w);
}

static void write_frameworks(struct json_writer *w, struct call *call) {
    char text[STATE_ID_MAX + 1];
    const char *wanted = query_value(call, "framework_id", text, sizeof text);
    json_key(w, "frameworks");
    write_framework_list(w, call, false, true, wanted);
    json_key(w, "completed_frameworks");
    write_framework_list(w, call, true, true, wanted);
    json_key(w, "unregistered_frameworks");
    json_begin_array(w);
    json_end_array(w);
}

void api_frameworks(struct call *call) {
    reply_json(call, write_frameworks);
}

struct task_query {
    char framework[STATE_ID_MAX + 1], task[STATE_ID_MAX + 1];
    bool by_framework, by_task, ascending;
    uint64_t limit, offset;
};

static void task_query_read(const struct call *call, struct task_query *q) {
    char text[32];
    *q = (struct task_query){.limit = TASKS_LIMIT_DEFAULT};
    q->by_framework = query_value(call, "framework_id", q->framework, sizeof q->framework) && q->framework[0];
    q->by_task = query_value(call, "task_id", q->task, sizeof q->task) && q->task[0];
    if (query_value(call, "limit", text, sizeof text))
        q->limit = !strcmp(text, "-1") ? UINT64_MAX : strtoull(text, NULL, 10);
    if (query_value(call, "offset", text, sizeof text)) q->offset = strtoull(text, NULL, 10);
    q->ascending = query_value(call, "order", text, sizeof text) && !strcmp(text, "asc");
}

/* Matching task numbers in ascending order; the caller frees. */
static uint64_t *tasks_matching(const struct call *call, const struct task_query *q, size_t *ret_count) {
    struct state_counts counts;
    state_counts(call->m->state, &counts);
    uint64_t *numbers = calloc(counts.tasks_live + counts.tasks_completed + 1, sizeof *numbers);
    const struct framework *f = q->by_framework ? state_framework_by_id(call->m->state, q->framework) : NULL;
    size_t n = 0;
    if (numbers && !(q->by_framework && !f))
        for (const struct task *t = NULL; (t = state_task_next(call->m->state, t ? t->number : 0));)
            if ((!f || t->framework == f->number) && (!q->by_task || !strcmp(t->id, q->task))) numbers[n++] = t->number;
    *ret_count = n;
    return numbers;
}

static void write_tasks(struct json_writer *w, struct call *call) {
    struct task_query q;
    size_t n = 0;
    task_query_read(call, &q);
    uint64_t *numbers = tasks_matching(call, &q, &n);
    json_key(w, "tasks");
    json_begin_array(w);
    for (size_t i = q.offset; numbers && i < n && i - q.offset < q.limit; i++)
        legacy_task(w, call->m, state_task(call->m->state, numbers[q.ascending ? i : n - 1 - i]));
    json_end_array(w);
    free(numbers);
}

void api_tasks(struct call *call) {
    reply_json(call, write_tasks);
}

static void write_leader(struct json_writer *w, const struct master *m) {
    char pid[REPLICA_ADDRESS_MAX + 16], id[96], host[256];
    const char *leader = m->config->http_advertise;
    (void)master_leader_known(m, &leader, NULL);
    uint16_t port = (uint16_t)strtoul(strrchr(leader, ':') ? strrchr(leader, ':') + 1 : "0", NULL, 10);
    (void)snprintf(pid, sizeof pid, "master@%s", leader);
    (void)snprintf(host, sizeof host, "%.*s", (int)strcspn(leader, ":"), leader);
    master_id(m, id, sizeof id);
    member_string(w, "leader", pid);
    json_key(w, "leader_info");
    json_begin_object(w);
    member_string(w, "id", id);
    member_string(w, "pid", pid);
    member_u64(w, "port", port);
    member_string(w, "hostname", host);
    json_end_object(w);
}

static void write_state(struct json_writer *w, struct call *call) {
    const struct master *m = call->m;
    struct state_counts counts;
    char id[96], pid[REPLICA_ADDRESS_MAX + 16];
    state_counts(m->state, &counts);
    master_id(m, id, sizeof id);
    (void)snprintf(pid, sizeof pid, "master@%s", m->config->http_advertise);
    write_version(w, call);
    legacy_seconds(w, "start_time", m->started_wall_ms);
    legacy_seconds(w, "elected_time", state_leader(m->state)->wall_ms);
    member_string(w, "id", id);
    member_string(w, "pid", pid);
    member_string(w, "hostname", m->config->hostname);
    member_string(w, "cluster", state_cluster_name(m->state));
    member_u64(w, "activated_slaves", counts.agents_active);
    member_u64(w, "deactivated_slaves", 0);
    member_u64(w, "unreachable_slaves", counts.agents_unreachable);
    json_key(w, "capabilities");
    json_begin_array(w);
    json_end_array(w);
    write_leader(w, m);
    json_key(w, "flags");
    json_begin_object(w);
    json_end_object(w);
    write_slaves(w, call);
    write_frameworks(w, call);
    json_key(w, "orphan_tasks");
    json_begin_array(w);
    json_end_array(w);
}

void api_state(struct call *call) {
    reply_json(call, write_state);
}

static void write_summary(struct json_writer *w, struct call *call) {
    const struct master *m = call->m;
    member_string(w, "hostname", m->config->hostname);
    member_string(w, "cluster", state_cluster_name(m->state));
    write_slaves(w, call);
    json_key(w, "frameworks");
    write_framework_list(w, call, false, false, NULL);
    json_key(w, "task_counts");
    json_begin_object(w);
    legacy_counts(w, m, 0, 0);
    json_end_object(w);
}

void api_state_summary(struct call *call) {
    reply_json(call, write_summary);
}
