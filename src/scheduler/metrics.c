/* SPDX-License-Identifier: Apache-2.0
 * Figures for machines: one table, printed as Prometheus text on /metrics and as flat JSON on /metrics/snapshot. */
#include "scheduler/agents.h"
#include "scheduler/api.h"
#include "scheduler/offers.h"
#include "scheduler/sessions.h"

#include <inttypes.h>
#include <string.h>

#define METRICS_MAX 96

struct metric {
    const char *prometheus; /* name, with labels; NULL: not there */
    const char *mesos;      /* key of the snapshot; NULL: not there */
    const char *type, *help;
    double value;
};

struct metrics {
    struct metric items[METRICS_MAX];
    size_t count;
};

static void put(struct metrics *s, const char *prometheus, const char *mesos, const char *type, const char *help,
                double value) {
    if (s->count < METRICS_MAX) s->items[s->count++] = (struct metric){prometheus, mesos, type, help, value};
}

static void metrics_replica(struct metrics *s, struct master *m) {
    struct replica_status r;
    replica_status(m->replica, &r);
    put(s, "conclave_leader", "master/elected", "gauge", "1 on the leader that serves", m->current);
    put(s, "conclave_term", NULL, "gauge", "Raft term", (double)r.term);
    put(s, "conclave_commit_index", NULL, "gauge", "last committed entry", (double)r.commit_index);
    put(s, "conclave_applied_index", NULL, "gauge", "last applied entry", (double)r.applied_index);
    put(s, "conclave_snapshot_index", NULL, "gauge", "entry of the newest snapshot", (double)r.snapshot_index);
    put(s, "conclave_log_bytes", NULL, "gauge", "bytes of log on disk", (double)r.log_bytes);
    put(s, "conclave_disk_free_bytes", NULL, "gauge", "room on the log's file system", (double)r.disk_free_bytes);
    put(s, "conclave_log_writes_total", NULL, "counter", "durable writes of the log", (double)r.writes);
    put(s, "conclave_log_fsync_p99_seconds", NULL, "gauge", "latency of durable writes", (double)r.fsync_p99_us / 1e6);
    put(s, "conclave_pending_commands", NULL, "gauge", "proposed and not yet applied", (double)r.pending_commands);
    put(s, "conclave_commands_applied_total", NULL, "counter", "commands applied", (double)m->commands_applied);
    put(s, "conclave_proposals_total", NULL, "counter", "commands proposed here", (double)m->proposals);
    put(s, "conclave_proposals_dropped_total", NULL, "counter", "outcome unknown, leadership was lost",
        (double)m->proposals_dropped);
}

static void metrics_cluster(struct metrics *s, struct master *m) {
    struct state_counts c;
    state_counts(m->state, &c);
    put(s, "conclave_agents{status=\"active\"}", "master/slaves_active", "gauge", "agents by status", c.agents_active);
    put(s, "conclave_agents{status=\"unreachable\"}", "master/slaves_unreachable", NULL, NULL, c.agents_unreachable);
    put(s, "conclave_agents{status=\"gone\"}", NULL, NULL, NULL, c.agents_gone);
    put(s, "conclave_agents_connected", "master/slaves_connected", "gauge", "agents with a welcomed link",
        agents_here_count(m->agents));
    put(s, "conclave_frameworks{status=\"connected\"}", "master/frameworks_active", "gauge", "frameworks by status",
        c.frameworks_connected);
    put(s, "conclave_frameworks{status=\"disconnected\"}", "master/frameworks_disconnected", NULL, NULL,
        c.frameworks_disconnected);
    put(s, "conclave_streams", "master/frameworks_connected", "gauge", "live event streams",
        sessions_count(m->sessions));
    put(s, "conclave_events_sent_total", NULL, "counter", "events written to streams",
        (double)sessions_events_sent(m->sessions));
    put(s, "conclave_offers", "master/outstanding_offers", "gauge", "outstanding offers",
        (double)offers_outstanding(m->offers));
    put(s, "conclave_tasks_live", NULL, "gauge", "tasks not completed", (double)c.tasks_live);
    put(s, "conclave_tasks{state=\"staging\"}", "master/tasks_staging", "gauge", "live tasks by state",
        (double)c.tasks_now[TASK_STAGING]);
    put(s, "conclave_tasks{state=\"starting\"}", "master/tasks_starting", NULL, NULL,
        (double)c.tasks_now[TASK_STARTING]);
    put(s, "conclave_tasks{state=\"running\"}", "master/tasks_running", NULL, NULL, (double)c.tasks_now[TASK_RUNNING]);
    put(s, "conclave_tasks{state=\"killing\"}", "master/tasks_killing", NULL, NULL, (double)c.tasks_now[TASK_KILLING]);
    put(s, "conclave_tasks{state=\"unreachable\"}", "master/tasks_unreachable", NULL, NULL,
        (double)c.tasks_now[TASK_UNREACHABLE]);
    put(s, "conclave_tasks_ended_total{state=\"finished\"}", "master/tasks_finished", "counter", "tasks ended",
        (double)c.tasks_ever[TASK_FINISHED]);
    put(s, "conclave_tasks_ended_total{state=\"failed\"}", "master/tasks_failed", NULL, NULL,
        (double)c.tasks_ever[TASK_FAILED]);
    put(s, "conclave_tasks_ended_total{state=\"killed\"}", "master/tasks_killed", NULL, NULL,
        (double)c.tasks_ever[TASK_KILLED]);
    put(s, "conclave_tasks_ended_total{state=\"lost\"}", "master/tasks_lost", NULL, NULL,
        (double)c.tasks_ever[TASK_LOST]);
    put(s, "conclave_tasks_ended_total{state=\"error\"}", "master/tasks_error", NULL, NULL,
        (double)c.tasks_ever[TASK_ERROR]);
    put(s, "conclave_tasks_ended_total{state=\"dropped\"}", "master/tasks_dropped", NULL, NULL,
        (double)c.tasks_ever[TASK_DROPPED]);
    put(s, "conclave_tasks_ended_total{state=\"gone\"}", "master/tasks_gone", NULL, NULL,
        (double)c.tasks_ever[TASK_GONE]);
}

static void metrics_resources(struct metrics *s, struct master *m) {
    double total[3] = {0}, used[3] = {0};
    for (const struct agent *a = NULL; (a = state_agent_next(m->state, a ? a->number : 0));) {
        if (a->status != AGENT_ACTIVE) continue;
        total[0] += (double)a->total.cpus / 1000, total[1] += (double)a->total.mem / 1000,
            total[2] += (double)a->total.disk / 1000;
        used[0] += (double)a->used.cpus / 1000, used[1] += (double)a->used.mem / 1000,
            used[2] += (double)a->used.disk / 1000;
    }
    put(s, "conclave_resources_total{name=\"cpus\"}", "master/cpus_total", "gauge", "of active agents", total[0]);
    put(s, "conclave_resources_total{name=\"mem_mb\"}", "master/mem_total", NULL, NULL, total[1]);
    put(s, "conclave_resources_total{name=\"disk_mb\"}", "master/disk_total", NULL, NULL, total[2]);
    put(s, "conclave_resources_used{name=\"cpus\"}", "master/cpus_used", "gauge", "by tasks", used[0]);
    put(s, "conclave_resources_used{name=\"mem_mb\"}", "master/mem_used", NULL, NULL, used[1]);
    put(s, "conclave_resources_used{name=\"disk_mb\"}", "master/disk_used", NULL, NULL, used[2]);
    put(s, NULL, "master/cpus_percent", NULL, NULL, total[0] > 0 ? used[0] / total[0] : 0);
    put(s, NULL, "master/mem_percent", NULL, NULL, total[1] > 0 ? used[1] / total[1] : 0);
    put(s, NULL, "master/disk_percent", NULL, NULL, total[2] > 0 ? used[2] / total[2] : 0);
}

static void metrics_tls(struct metrics *s, struct master *m) {
    struct tls_stats t;
    put(s, "conclave_tls", NULL, "gauge", "1 where links between masters and of agents have TLS", m->tls != NULL);
    if (!m->tls) return;
    tls_stats(m->tls, &t);
    put(s, "conclave_tls_expires_seconds", NULL, "gauge", "until the certificate or its CA ends", (double)t.expires_s);
    put(s, "conclave_tls_reloads_total", NULL, "counter", "times that new certificates were taken", (double)t.reloads);
    put(s, "conclave_tls_reload_errors_total", NULL, "counter", "times that they could not be",
        (double)t.reload_errors);
    put(s, "conclave_tls_handshakes_total", NULL, "counter", "that ended well", (double)t.handshakes);
    put(s, "conclave_tls_handshake_errors_total", NULL, "counter", "that did not", (double)t.handshake_errors);
}

static void metrics_http(struct metrics *s, struct master *m) {
    const struct http_stats *h = api_stats(m->api);
    put(s, "conclave_http_requests_total", NULL, "counter", "requests handed to the API", (double)h->requests);
    put(s, "conclave_http_bad_requests_total", NULL, "counter", "refused before the API", (double)h->bad_requests);
    put(s, "conclave_http_connections", NULL, "gauge", "open connections", h->connections);
    put(s, "conclave_http_streams_cut_total", NULL, "counter", "slow readers cut", (double)h->streams_cut);
    put(s, "conclave_agent_links", NULL, "gauge", "open agents' links, warm ones too", agents_links_count(m->agents));
}

static void metrics_gather(struct metrics *s, struct master *m) {
    s->count = 0;
    metrics_replica(s, m);
    metrics_cluster(s, m);
    metrics_resources(s, m);
    metrics_tls(s, m);
    metrics_http(s, m);
}

void api_metrics(struct call *call) {
    struct metrics s;
    struct buf body;
    metrics_gather(&s, call->m);
    buf_init(&body, 1u << 20);
    for (size_t i = 0; i < s.count; i++) {
        const struct metric *item = &s.items[i];
        if (!item->prometheus) continue;
        int name = (int)strcspn(item->prometheus, "{");
        if (item->help)
            (void)buf_printf(&body, "# HELP %.*s %s\n# TYPE %.*s %s\n", name, item->prometheus, item->help, name,
                             item->prometheus, item->type);
        (void)buf_printf(&body, "%s %.17g\n", item->prometheus, item->value);
    }
    const struct http_field type = {"Content-Type", "text/plain; version=0.0.4"};
    http_reply(call->x, 200, &type, 1, body.data, body.len);
    buf_done(&body);
}

void api_metrics_snapshot(struct call *call) {
    struct metrics s;
    struct buf body;
    struct json_writer w;
    metrics_gather(&s, call->m);
    buf_init(&body, 1u << 20);
    json_writer_init(&w, &body);
    json_begin_object(&w);
    for (size_t i = 0; i < s.count; i++)
        if (s.items[i].mesos) {
            json_key(&w, s.items[i].mesos);
            json_double(&w, s.items[i].value);
        }
    json_end_object(&w);
    call_reply_json(call, &body);
    buf_done(&body);
}
