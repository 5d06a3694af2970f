/* SPDX-License-Identifier: Apache-2.0
 * The agent's process: flags, parts, loop, signals. */
#include "agent/agent.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent/agent_internal.h"
#include "base/clock.h"
#include "base/log.h"

#define EXIT_USAGE      64
#define EXIT_REFUSED    4
#define LISTEN_TRIES    50 /* of 100 ms: the address of an agent that is just being replaced */
#define LISTEN_PAUSE_MS 100

static int send_cb(void *ctx, const struct hosted *task, const struct update *update) {
    return report_send(ctx, task, update);
}

static void part_closed_cb(void *ctx) {
    struct agent_process *a = ctx;
    if (--a->parts == 0) net_close(a->net, NULL, NULL);
}

/* Ends the process in order; tasks go on. */
static void agent_stop(struct agent_process *a, int status) {
    if (a->stopping) return;
    a->stopping = true;
    a->status = status;
    uv_close((uv_handle_t *)&a->term_signal, NULL);
    uv_close((uv_handle_t *)&a->int_signal, NULL);
    uv_close((uv_handle_t *)&a->hup_signal, NULL);
    uv_close((uv_handle_t *)&a->tls_timer, NULL);
    engine_close(a->engine);
    a->parts = 2;
    master_link_close(a->masters, part_closed_cb, a);
    http_server_close(a->http, part_closed_cb, a);
}

static void engine_fatal_cb(void *ctx, const struct err *err) {
    log_event(LOG_ERROR, "disk_failed", "%s; the agent ends, its tasks go on", err->text);
    if (((struct agent_process *)ctx)->engine) agent_stop(ctx, 1); /* else it is being opened, and that fails */
}

static int hello_cb(void *ctx, bool watch_only, struct buf *ret) {
    return hello_make(ctx, watch_only, ret);
}

static void welcome_cb(void *ctx) {
    engine_report_all(((struct agent_process *)ctx)->engine);
}

static void lost_cb(void *ctx) {
    (void)ctx; /* nothing: tasks do not notice masters */
}

static void order_cb(void *ctx, uint16_t type, const uint8_t *payload, size_t len) {
    struct agent_process *a = ctx;
    if (!a->stopping) order_take(a, type, payload, len);
}

static void writable_cb(void *ctx) {
    engine_pump(((struct agent_process *)ctx)->engine);
}

static void masters_fatal_cb(void *ctx, int code, const char *why) {
    log_event(LOG_ERROR, "agent_ends", "%s; its tasks go on", why);
    agent_stop(ctx, code == ERR_FORBIDDEN ? EXIT_REFUSED : 1);
}

static void signal_cb(uv_signal_t *handle, int signum) {
    struct agent_process *a = handle->data;
    log_event(LOG_INFO, "agent_stops", "signal=%d tasks=%zu go on", signum, task_table_count(engine_tasks(a->engine)));
    agent_stop(a, 0);
}

static void hangup_cb(uv_signal_t *handle, int signum) {
    (void)signum;
    tls_poll(((struct agent_process *)handle->data)->tls, clock_mono_ms(), true);
}

static void tls_timer_cb(uv_timer_t *timer) {
    tls_poll(((struct agent_process *)timer->data)->tls, clock_mono_ms(), false);
}

static void cgroups_find(struct agent_process *a) {
    char self[8192], name[64];
    if (!a->config.cgroups) {
        (void)snprintf(a->cgroups.notice, sizeof a->cgroups.notice,
                       "switched off by --cgroups=false: tasks run without limits of memory, cpu and processes");
    } else {
        int fd = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
        ssize_t n = fd >= 0 ? read(fd, self, sizeof self - 1) : 0;
        if (fd >= 0) (void)close(fd);
        self[n > 0 ? n : 0] = '\0';
        (void)snprintf(name, sizeof name, "conclave-%.8s", a->store.uuid_text);
        cgroup_host_find("/sys/fs/cgroup", self, name, &a->cgroups);
    }
    log_event(a->cgroups.notice[0] ? LOG_WARN : LOG_INFO, "isolation", "cgroup_version=%u controllers=%zu %s",
              a->cgroups.version, a->cgroups.n, a->cgroups.notice);
}

/* A descriptor a task, and some more. */
static void files_raise(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* An agent that was just killed may leave its port for a moment to connections of its own. */
static int http_open(struct agent_process *a, struct err *err) {
    int rc = 0;
    for (int i = 0; i < LISTEN_TRIES; i++) {
        rc = http_server_open(a->net, &a->config.listen, NULL, api_handle, a, &a->http, err);
        if (rc != ERR_IO) break;
        (void)uv_sleep(LISTEN_PAUSE_MS);
    }
    if (rc) return err_wrap(err, "--listen");
    if (a->config.listen.port == 0) { /* any free port: now it is known */
        struct address advertise;
        a->config.listen.port = http_server_address(a->http)->port;
        if (address_parse(a->config.endpoint, 0, ADDRESS_PORT_ZERO, &advertise, NULL) == 0 && advertise.port == 0) {
            advertise.port = a->config.listen.port;
            (void)address_format(&advertise, a->config.endpoint);
        }
    }
    return 0;
}

/* With TLS the certificate says which cluster is ours. */
static int agent_tls_open(struct agent_process *a, struct err *err) {
    struct tls_identity self = {.role = TLS_AGENT};
    if (a->config.cluster_id_set) memcpy(self.cluster_id, a->config.cluster_id, sizeof self.cluster_id);
    int rc = tls_open(&a->config.tls, &self, &a->tls, err);
    if (rc) return rc;
    if (!a->tls) {
        log_event(LOG_WARN, "no_tls",
                  "links are plain, anybody may pretend to be a master: keep them in a trusted "
                  "network, or give --tls-ca, --tls-cert and --tls-key");
        return 0;
    }
    a->config.cluster_id_set = true;
    memcpy(a->config.cluster_id, tls_self(a->tls)->cluster_id, sizeof a->config.cluster_id);
    return 0;
}

static int masters_open(struct agent_process *a, struct err *err) {
    const struct master_link_options options = {
        .net = a->net,
        .store = &a->store,
        .masters = a->config.masters,
        .master_n = a->config.master_n,
        .tls = a->tls,
        .bind_host = a->config.bind_host[0] ? a->config.bind_host : NULL,
        .cluster_id = a->config.cluster_id_set ? a->config.cluster_id : NULL,
        .hello = hello_cb,
        .welcome = welcome_cb,
        .lost = lost_cb,
        .order = order_cb,
        .writable = writable_cb,
        .fatal = masters_fatal_cb,
        .ctx = a,
    };
    return master_link_open(&options, &a->masters, err);
}

static int engine_start(struct agent_process *a, struct err *err) {
    const struct engine_options options = {
        .loop = &a->loop,
        .store = &a->store,
        .cgroups = &a->cgroups,
        .endpoint = a->config.endpoint,
        .ip = a->config.ip[0] ? a->config.ip : NULL,
        .tasks_max = (size_t)a->config.tasks_max,
        .kept_max = (size_t)a->config.kept_max,
        .kept_age_ms = a->config.kept_age_s * 1000,
        .send = send_cb,
        .fatal = engine_fatal_cb,
        .ctx = a,
    };
    return engine_open(&options, &a->engine, err);
}

static void signals_open(struct agent_process *a) {
    (void)uv_signal_init(&a->loop, &a->term_signal);
    (void)uv_signal_init(&a->loop, &a->int_signal);
    (void)uv_signal_init(&a->loop, &a->hup_signal);
    (void)uv_timer_init(&a->loop, &a->tls_timer);
    a->term_signal.data = a->int_signal.data = a->hup_signal.data = a->tls_timer.data = a;
    (void)uv_signal_start(&a->hup_signal, hangup_cb, SIGHUP);
    if (a->tls) (void)uv_timer_start(&a->tls_timer, tls_timer_cb, TLS_POLL_MS, TLS_POLL_MS);
    (void)uv_signal_start(&a->term_signal, signal_cb, SIGTERM);
    (void)uv_signal_start(&a->int_signal, signal_cb, SIGINT);
}

/* Opens the parts one after the other; on failure closes what is open. The loop is drained by the caller. */
static int parts_open(struct agent_process *a, struct err *err) {
    a->net = net_open(&a->loop);
    if (!a->net) return err_set(err, ERR_NOMEM, "no memory");
    int rc = http_open(a, err); /* before anything is taken back: a second agent on the address changes nothing */
    if (rc) goto close_net;
    rc = engine_start(a, err);
    if (rc) goto close_http;
    rc = masters_open(a, err);
    if (rc) goto close_engine;
    signals_open(a);
    return 0;
close_engine:
    engine_close(a->engine);
close_http:
    a->parts = 1;
    http_server_close(a->http, part_closed_cb, a);
    return rc;
close_net:
    net_close(a->net, NULL, NULL);
    return rc;
}

static int agent_run(struct agent_process *a, struct err *err) {
    int rc = agent_tls_open(a, err);
    if (rc) return rc;
    rc = agent_store_open(a->config.work_dir, &a->store, err);
    if (rc) {
        tls_close(a->tls);
        return rc;
    }
    cgroups_find(a);
    (void)uv_loop_init(&a->loop);
    a->started_wall_ms = clock_wall_ms();
    rc = parts_open(a, err);
    if (rc == 0)
        log_event(LOG_INFO, "agent_started", "http=%s work=%s masters=%zu cpus_milli=%lld mem_milli=%lld",
                  a->config.endpoint, a->store.work, a->config.master_n, (long long)a->config.resources.cpus,
                  (long long)a->config.resources.mem);
    (void)uv_run(&a->loop, UV_RUN_DEFAULT);
    if (a->engine) engine_free(a->engine);
    cgroup_host_leave(&a->cgroups);
    (void)uv_loop_close(&a->loop);
    agent_store_close(&a->store);
    tls_close(a->tls);
    return rc;
}

int agent_main(int argc, char **argv) {
    static struct agent_process process; /* zeroed, and too big for a stack */
    struct agent_process *a = &process;
    struct err err = {0};
    int rc = agent_config_read(argc, argv, &a->config, &err);
    if (rc == 0 && a->config.help) return 0;
    if (rc) {
        (void)fprintf(stderr, "conclave agent: %s (see conclave agent --help)\n", err.text);
        return rc == ERR_INVALID ? EXIT_USAGE : err_exit_status(rc);
    }
    log_setup(LOG_INFO, a->config.listen.host);
    files_raise();
    rc = agent_run(a, &err);
    agent_config_done(&a->config);
    if (rc) {
        (void)fprintf(stderr, "conclave agent: %s\n", err.text);
        return err_exit_status(rc);
    }
    return a->status;
}
