/* SPDX-License-Identifier: Apache-2.0
 * What the agent tells over HTTP: /health, /version, /state (the part of wire reference F.2 that readers use), /metrics
 * (Prometheus text), and files.c. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/agent_internal.h"
#include "agent/status.h"
#include "base/clock.h"
#include "wire/json_write.h"

#define ANSWER_BYTES_MAX (64u << 20)
#define MESOS_VERSION    "1.11.0" /* what clients of the interface expect; ours stands beside it */

void http_error_reply(struct http_exchange *x, int status, const char *fmt, ...) {
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text - 1, fmt, ap);
    va_end(ap);
    (void)strcat(text, "\n");
    http_reply_text(x, status, text);
}

static void key_string(struct json_writer *w, const char *key, const char *text) {
    json_key(w, key);
    json_string(w, text);
}

static void resources_write(struct json_writer *w, const char *key, const struct resources *r) {
    struct buf ports;
    json_key(w, key);
    json_begin_object(w);
    json_key(w, "cpus");
    json_milli(w, r->cpus);
    json_key(w, "gpus");
    json_milli(w, r->gpus);
    json_key(w, "mem");
    json_milli(w, r->mem);
    json_key(w, "disk");
    json_milli(w, r->disk);
    if (r->ports.count) {
        buf_init(&ports, 65536);
        for (uint32_t i = 0; i < r->ports.count; i++)
            (void)buf_printf(&ports, "%s%u-%u", i ? ", " : "[", r->ports.ranges[i].begin, r->ports.ranges[i].end);
        (void)buf_append_str(&ports, "]");
        json_key(w, "ports");
        json_string_len(w, (const char *)ports.data, ports.len);
        buf_done(&ports);
    }
    json_end_object(w);
}

static void task_write(struct json_writer *w, const struct agent_process *a, const struct hosted *t) {
    char directory[TASK_PATH_MAX + 4096], container[CONTAINER_ID_TEXT], launch[64];
    container_id_make(&t->key, container);
    (void)snprintf(launch, sizeof launch, "%" PRIu64 ".%u.%u", t->key.launch.index, t->key.launch.n, t->key.launch.k);
    json_begin_object(w);
    key_string(w, "id", t->key.task_id);
    key_string(w, "name", t->name ? t->name : t->key.task_id);
    key_string(w, "framework_id", t->key.framework_id);
    key_string(w, "executor_id", "");
    key_string(w, "slave_id", a->store.agent_id);
    key_string(w, "state", task_state_name(t->updates.latest));
    key_string(w, "role", t->role ? t->role : "*");
    key_string(w, "container", container);
    key_string(w, "launch", launch);
    key_string(w, "life", workload_state_name(t->workload.state));
    json_key(w, "unacknowledged");
    json_u64(w, t->updates.count);
    if (t->workload.pid) {
        json_key(w, "pid");
        json_u64(w, t->workload.pid);
    }
    if (t->path) {
        (void)snprintf(directory, sizeof directory, "%s/%s/sandbox", a->store.work, t->path);
        key_string(w, "directory", directory);
    }
    resources_write(w, "resources", &t->resources);
    json_end_object(w);
}

static void kept_write(struct json_writer *w, const struct agent_process *a, const struct kept *k) {
    char directory[TASK_PATH_MAX + 4096];
    (void)snprintf(directory, sizeof directory, "%s/%s/sandbox", a->store.work, k->path);
    json_begin_object(w);
    key_string(w, "id", k->key.task_id);
    key_string(w, "framework_id", k->key.framework_id);
    key_string(w, "directory", directory);
    json_end_object(w);
}

static void isolation_write(struct json_writer *w, const struct agent_process *a) {
    json_key(w, "isolation");
    json_begin_object(w);
    json_key(w, "cgroup_version");
    json_u64(w, a->cgroups.version);
    json_key(w, "controllers");
    json_begin_array(w);
    for (size_t i = 0; i < a->cgroups.n; i++)
        json_string(w, a->cgroups.base[i].controller[0] ? a->cgroups.base[i].controller : "unified");
    json_end_array(w);
    key_string(w, "notice", a->cgroups.notice);
    json_end_object(w);
}

static void state_write(struct json_writer *w, const struct agent_process *a) {
    char pid[ADDRESS_TEXT_MAX + 16];
    const struct task_table *tasks = engine_tasks(a->engine);
    (void)snprintf(pid, sizeof pid, "slave(1)@%s", a->config.endpoint);
    json_begin_object(w);
    key_string(w, "version", MESOS_VERSION);
    key_string(w, "conclave_version", CONCLAVE_VERSION);
    json_key(w, "start_time");
    json_double(w, (double)a->started_wall_ms / 1000.0);
    key_string(w, "id", a->store.agent_id);
    key_string(w, "pid", pid);
    key_string(w, "hostname", a->config.hostname);
    key_string(w, "leader", master_link_leader(a->masters));
    json_key(w, "term");
    json_u64(w, a->store.fence.term);
    resources_write(w, "resources", &a->config.resources);
    json_key(w, "attributes");
    json_begin_object(w);
    for (size_t i = 0; i < a->config.attribute_n; i++)
        key_string(w, a->config.attributes[i].name, a->config.attributes[i].value);
    json_end_object(w);
    isolation_write(w, a);
    json_key(w, "tasks");
    json_begin_array(w);
    for (const struct hosted *t = task_table_next(tasks, NULL); t; t = task_table_next(tasks, t))
        task_write(w, a, t);
    json_end_array(w);
    json_key(w, "completed_tasks");
    json_begin_array(w);
    for (const struct kept *k = kept_next(tasks, NULL); k; k = kept_next(tasks, k))
        kept_write(w, a, k);
    json_end_array(w);
    json_end_object(w);
}

static void body_reply(struct http_exchange *x, const char *type, struct buf *body) {
    const struct http_field field = {"Content-Type", type};
    if (body->failed)
        http_error_reply(x, 500, "The answer is too long");
    else
        http_reply(x, 200, &field, 1, body->data, body->len);
    buf_done(body);
}

static void state_handle(struct agent_process *a, struct http_exchange *x) {
    struct buf body;
    struct json_writer w;
    buf_init(&body, ANSWER_BYTES_MAX);
    json_writer_init(&w, &body);
    state_write(&w, a);
    body_reply(x, "application/json", &body);
}

static void version_handle(struct agent_process *a, struct http_exchange *x) {
    (void)a;
    struct buf body;
    buf_init(&body, 4096);
    (void)buf_printf(&body, "{\"version\":\"%s\",\"conclave_version\":\"%s\"}", MESOS_VERSION, CONCLAVE_VERSION);
    body_reply(x, "application/json", &body);
}

static void health_handle(struct agent_process *a, struct http_exchange *x) {
    (void)a;
    http_reply(x, 200, NULL, 0, NULL, 0);
}

static void metric(struct buf *b, const char *name, const char *type, const char *help, uint64_t value) {
    (void)buf_printf(b, "# HELP conclave_agent_%s %s\n# TYPE conclave_agent_%s %s\nconclave_agent_%s %" PRIu64 "\n",
                     name, help, name, type, name, value);
}

static void metrics_handle(struct agent_process *a, struct http_exchange *x) {
    struct buf b;
    const struct engine_stats *e = engine_stats(a->engine);
    const struct master_link_stats *m = master_link_stats(a->masters);
    const struct task_table *tasks = engine_tasks(a->engine);
    size_t running = 0, unacknowledged = 0;
    for (const struct hosted *t = task_table_next(tasks, NULL); t; t = task_table_next(tasks, t)) {
        running += t->workload.state == WORKLOAD_RUNNING;
        unacknowledged += t->updates.count;
    }
    buf_init(&b, 65536);
    metric(&b, "registered", "gauge", "1 while a leader has this agent", master_link_is_welcome(a->masters));
    metric(&b, "tls", "gauge", "1 where the links to the masters have TLS", a->tls != NULL);
    if (a->tls) {
        struct tls_stats tls;
        tls_stats(a->tls, &tls);
        metric(&b, "tls_expires_seconds", "gauge", "until the certificate or its CA ends; 0: it has",
               tls.expires_s > 0 ? (uint64_t)tls.expires_s : 0);
        metric(&b, "tls_reloads_total", "counter", "times that new certificates were taken", tls.reloads);
        metric(&b, "tls_reload_errors_total", "counter", "times that they could not be", tls.reload_errors);
    }
    metric(&b, "uptime_seconds", "gauge", "since the process started", (clock_wall_ms() - a->started_wall_ms) / 1000);
    metric(&b, "tasks", "gauge", "tasks known, ended and unacknowledged ones too", task_table_count(tasks));
    metric(&b, "tasks_running", "gauge", "tasks whose command runs", running);
    metric(&b, "updates_waiting", "gauge", "status updates not acknowledged yet", unacknowledged);
    metric(&b, "sandboxes_kept", "gauge", "folders of ended tasks", kept_count(tasks));
    metric(&b, "launches_total", "counter", "launch orders", e->launches);
    metric(&b, "launches_again_total", "counter", "launch orders for a launch that was known", e->launches_again);
    metric(&b, "tasks_started_total", "counter", "commands exec'd", e->started);
    metric(&b, "tasks_finished_total", "counter", "tasks ended as TASK_FINISHED", e->finished);
    metric(&b, "tasks_failed_total", "counter", "tasks ended as TASK_FAILED or TASK_ERROR", e->failed);
    metric(&b, "tasks_killed_total", "counter", "tasks ended as TASK_KILLED", e->killed);
    metric(&b, "tasks_lost_total", "counter", "tasks ended as TASK_LOST", e->lost);
    metric(&b, "tasks_adopted_total", "counter", "live tasks found when the agent started", e->adopted);
    metric(&b, "reports_total", "counter", "status reports sent, repeats too", e->reports);
    metric(&b, "acknowledgements_total", "counter", "updates acknowledged", e->acks);
    metric(&b, "journal_syncs_total", "counter", "syncs before starts; one may serve many", e->flushes);
    metric(&b, "start_microseconds_total", "counter", "from order to exec, summed", e->start_us_total);
    metric(&b, "start_microseconds_max", "gauge", "longest time from order to exec", e->start_us_max);
    metric(&b, "starts_timed_total", "counter", "starts in that sum", e->start_n);
    metric(&b, "leader_dials_total", "counter", "connections tried", m->dials);
    metric(&b, "welcomes_total", "counter", "times a leader took this agent", m->welcomes);
    metric(&b, "leader_losses_total", "counter", "times the leader's link was lost", m->losses);
    metric(&b, "fence_refused_total", "counter", "welcomes and orders of a deposed leader", m->fence_refused);
    metric(&b, "stranger_refused_total", "counter", "welcomes and orders of another cluster", m->stranger_refused);
    body_reply(x, "text/plain; version=0.0.4", &b);
}

void api_handle(void *ctx, const struct http_request *request) {
    static const struct {
        const char *path;
        void (*handle)(struct agent_process *, struct http_exchange *);
    } routes[] = {{"/health", health_handle},       {"/version", version_handle}, {"/state", state_handle},
                  {"/state.json", state_handle},    {"/metrics", metrics_handle}, {"/slave(1)/health", health_handle},
                  {"/slave(1)/state", state_handle}};
    struct agent_process *a = ctx;
    if (strcmp(request->method, "GET") != 0 && strcmp(request->method, "HEAD") != 0) {
        http_error_reply(request->exchange, 405, "Expecting 'GET', received '%.20s'", request->method);
        return;
    }
    if (!a->engine || !a->masters || a->stopping) { /* still taking back its tasks */
        http_error_reply(request->exchange, 503, "The agent is not up yet");
        return;
    }
    if (files_handle(a, request)) return;
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
        if (strcmp(request->path, routes[i].path) == 0) {
            routes[i].handle(a, request->exchange);
            return;
        }
    http_error_reply(request->exchange, 404, "Not found");
}
