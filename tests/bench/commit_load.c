/* SPDX-License-Identifier: Apache-2.0
 * The load of the commit bench: agents that report task states, each report answered when it is in the log.
 *
 *   commit_load --http HOST:PORT --link HOST:PORT --fill N          N standing tasks, then exit
 *   commit_load --http HOST:PORT --link HOST:PORT --connections C --depth D --seconds S [--rate R] [--keep]
 *
 * Both are addresses of the leader. A run launches tasks of its own first, on C agents of its own (not measured), then
 * each agent keeps D reports in flight. A report carries a status of 256 bytes and moves a task that has not been
 * reported yet from STAGING to RUNNING: each is a transition of a distinct task. When the time is over, or no task is
 * left, the figures go to stdout as one line of JSON: {"transitions", "elapsed_s", "per_s", "begun_us", "cpu_us":
 * [...], "latency_us": [...]} and, with --rate, "at_ms": [...] (when each was answered, since the begin): begun_us is
 * the monotonic clock, cpu_us what each process of --pids used meanwhile. Afterwards the framework is torn down and its
 * tasks are reported as ended, so that runs do not pile up; not with --keep. With --rate R reports become due at that
 * rate, whatever is still out, and latency is counted from when one was due. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <curl/curl.h>
#include <uv.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/flags.h"
#include "base/rng.h"
#include "conclave/link.pb-c.h"
#include "load_hello.h"
#include "mesos/v1/scheduler.pb-c.h"
#include "net/link.h"
#include "wire/arena.h"
#include "wire/json.h"
#include "wire/json_write.h"
#include "wire/protobuf.h"
#include "wire/recordio.h"
#include "wire/report.h"

#define STATUS_BYTES  256
#define ACCEPT_TASKS  500
#define LATENCIES_MAX 2000000
#define PIDS_MAX      8
#define FRAME(name)   CONCLAVE__LINK__FRAME_TYPE__##name

struct load_task {
    char id[24];
    uint64_t index;
    uint32_t n, k;
};

struct load;

struct load_agent {
    struct load *load;
    struct link *link;
    uint8_t uuid[16];
    char host[32];
    bool welcome;
    struct load_task *tasks;           /* launched, in order of arrival */
    size_t task_count, task_cap, next; /* next: first one not reported yet */
    uint64_t *sent_us;                 /* of the reports in flight, by place in `tasks` */
    size_t answered;                   /* reports are committed in order on one link */
};

struct framework;

struct load {
    uv_loop_t loop;
    struct framework *framework;
    struct net *net;
    struct tls *tls; /* NULL: none */
    struct load_agent *agents;
    size_t connections, depth, wanted_tasks, launched;
    char framework_id[256];
    struct buf out, status;
    bool measuring, ending;
    uint64_t begin_us, end_us, last_us;
    uint64_t rate, due; /* reports a second, 0: as many as are answered; how many of them were sent */
    uint64_t transitions;
    uint32_t *latencies, *at_ms;
    size_t latency_count;
    size_t welcomed, closed;
    unsigned pids[PIDS_MAX];
    uint64_t cpu_us[PIDS_MAX];
    uint64_t writes;
    size_t pid_count;
};

static void die(const char *what, const char *why) {
    fprintf(stderr, "commit_load: %s: %s\n", what, why);
    exit(1);
}

/* ---- the agents ---- */

static void agent_send(struct load_agent *a, uint16_t type, const ProtobufCMessage *message) {
    struct buf *out = &a->load->out;
    buf_clear(out);
    if (protobuf_print(message, out) || link_send(a->link, LINK_BULK, type, out->data, out->len, NULL, 0))
        die("sending", "link is full");
}

static void agent_hello(void *ctx, struct link *link) {
    struct load_agent *a = ctx;
    (void)link;
    struct buf *out = &a->load->out;
    buf_clear(out);
    load_hello(a->uuid, a->host, out);
    if (link_send(a->link, LINK_BULK, FRAME(HELLO), out->data, out->len, NULL, 0)) die("sending", "link is full");
}

static void agent_report(struct load_agent *a, const struct load_task *t, uint32_t state, bool want_committed) {
    struct load *l = a->load;
    uint8_t uuid[16];
    Conclave__Log__LaunchId launch = CONCLAVE__LOG__LAUNCH_ID__INIT;
    Conclave__Link__Report report = CONCLAVE__LINK__REPORT__INIT;
    memcpy(uuid, &t->index, 8);
    memcpy(uuid + 8, &t->k, 4);
    memcpy(uuid + 12, &state, 4);
    launch.index = t->index;
    launch.n = t->n;
    launch.k = t->k;
    report.framework_id = l->framework_id;
    report.task_id = (char *)t->id;
    report.launch = &launch;
    report.state = report.latest_state = state;
    report.uuid.data = uuid;
    report.uuid.len = 16;
    report.status.data = l->status.data;
    report.status.len = l->status.len;
    report.has_want_committed = 1;
    report.want_committed = want_committed;
    buf_clear(&l->out);
    if (report_encode(&report, &l->out) ||
        link_send(a->link, LINK_BULK, FRAME(REPORT), l->out.data, l->out.len, NULL, 0))
        die("sending", "link is full");
}

static bool agent_has_room(const struct load_agent *a) {
    return a->next < a->task_count && a->next - a->answered < a->load->depth;
}

/* Sends what is due, to each agent in turn. */
static void load_send_due(struct load *l) {
    uint64_t wanted = (clock_mono_us() - l->begin_us) * l->rate / 1000000;
    for (size_t full = 0, i = 0; l->measuring && l->due < wanted && full < l->connections; i++) {
        struct load_agent *a = &l->agents[i % l->connections];
        full = agent_has_room(a) ? 0 : full + 1;
        if (full) continue;
        a->sent_us[a->next] = l->begin_us + l->due++ * 1000000 / l->rate;
        agent_report(a, &a->tasks[a->next++], MESOS__V1__TASK_STATE__TASK_RUNNING, true);
    }
}

static void due_cb(uv_timer_t *timer) {
    load_send_due(timer->data);
}

static void agent_fill_depth(struct load_agent *a) {
    struct load *l = a->load;
    if (l->rate) return;
    while (l->measuring && a->next < a->task_count && a->next - a->answered < l->depth) {
        a->sent_us[a->next] = clock_mono_us();
        agent_report(a, &a->tasks[a->next++], MESOS__V1__TASK_STATE__TASK_RUNNING, true);
    }
}

static void agent_launched(struct load_agent *a, const Conclave__Link__Launch *launch) {
    if (strcmp(launch->framework_id, a->load->framework_id)) return;
    if (a->task_count == a->task_cap) {
        a->task_cap = a->task_cap ? a->task_cap * 2 : 1024;
        a->tasks = realloc(a->tasks, a->task_cap * sizeof *a->tasks);
        a->sent_us = realloc(a->sent_us, a->task_cap * sizeof *a->sent_us);
        CHECK(a->tasks && a->sent_us);
    }
    struct load_task *t = &a->tasks[a->task_count++];
    (void)snprintf(t->id, sizeof t->id, "%.23s", launch->task_id);
    t->index = launch->launch->index;
    t->n = launch->launch->n;
    t->k = launch->launch->k;
    a->load->launched++;
}

static void agent_committed(struct load_agent *a) {
    struct load *l = a->load;
    uint64_t now = clock_mono_us();
    CHECK(a->answered < a->next);
    uint64_t took = now - a->sent_us[a->answered++];
    if (l->measuring && now <= l->end_us) {
        l->transitions++;
        l->last_us = now;
        if (l->latency_count < LATENCIES_MAX) {
            l->at_ms[l->latency_count] = (uint32_t)((now - l->begin_us) / 1000);
            l->latencies[l->latency_count++] = (uint32_t)took;
        }
    } else {
        l->measuring = false;
    }
    agent_fill_depth(a);
}

static void agent_frame(void *ctx, struct link *link, uint16_t type, const uint8_t *payload, size_t len) {
    struct load_agent *a = ctx;
    struct arena arena;
    ProtobufCMessage *message = NULL;
    struct err err;
    if (type == FRAME(COMMITTED)) { /* the hot path: nothing in it that we do not know */
        agent_committed(a);
        return;
    }
    arena_init(&arena, 8u << 20);
    if (type == FRAME(WELCOME)) {
        link_established(link);
        a->welcome = true;
        a->load->welcomed++;
    } else if (type == FRAME(LAUNCH)) {
        if (protobuf_parse(&conclave__link__launch__descriptor, payload, len, 0, &arena, &message, &err))
            die("launch", err.text);
        agent_launched(a, (Conclave__Link__Launch *)message);
    } else if (type == FRAME(PING)) {
        Conclave__Link__Pong pong = CONCLAVE__LINK__PONG__INIT;
        agent_send(a, FRAME(PONG), &pong.base);
    } else if (type == FRAME(TASK_LIST_WANTED)) {
        Conclave__Link__TaskList list = CONCLAVE__LINK__TASK_LIST__INIT;
        agent_send(a, FRAME(TASK_LIST), &list.base);
    } else if (type == FRAME(REFUSED) || (type == FRAME(LEADER) && !a->welcome)) { /* later ones tell who is a member */
        die("agent", type == FRAME(LEADER) ? "this master does not lead" : "refused");
    }
    arena_done(&arena);
}

static void agent_close(void *ctx, struct link *link, enum link_reason reason, const struct err *err) {
    struct load_agent *a = ctx;
    (void)link;
    a->load->closed++;
    if (!a->load->ending) die(link_reason_text(reason), err ? err->text : "");
}

static void agents_open(struct load *l, const char *where) {
    static const struct link_callbacks callbacks = {
        .on_open = agent_hello, .on_frame = agent_frame, .on_close = agent_close};
    struct address address;
    struct link_options options;
    struct err err = {0};
    if (address_parse(where, 5061, 0, &address, &err)) die("--link", err.text);
    link_options_default(&options);
    options.bulk_bytes_max = 64u << 20;
    options.establish_timeout_ms = options.handshake_timeout_ms = 30000;
    options.tls = l->tls;
    options.tls_peer.role = TLS_MASTER;
    for (size_t i = 0; i < l->connections; i++) {
        struct load_agent *a = &l->agents[i];
        a->load = l;
        random_bytes(a->uuid, sizeof a->uuid);
        (void)snprintf(a->host, sizeof a->host, "bench-%zu", i);
        a->link = link_connect(l->net, &address, &options, &callbacks, a, &err);
        if (!a->link) die("connecting", err.text);
    }
}

/* ---- the framework ---- */

struct framework {
    struct load *load;
    char http[160], stream_id[48];
    CURL *stream, *calls;
    CURLM *multi;
    struct curl_slist *stream_headers, *call_headers;
    struct recordio_decoder records;
    struct buf body, subscribe;
    size_t submitted;
};

static size_t drop_body(char *data, size_t size, size_t n, void *ctx) {
    (void)data;
    (void)ctx;
    return size * n;
}

static size_t stream_header(char *data, size_t size, size_t n, void *ctx) {
    struct framework *f = ctx;
    static const char name[] = "mesos-stream-id: ";
    if (size * n > strlen(name) + 36 && !strncasecmp(data, name, strlen(name)))
        (void)snprintf(f->stream_id, sizeof f->stream_id, "%.36s", data + strlen(name));
    return size * n;
}

static void framework_call(struct framework *f) {
    char header[96];
    long status = 0;
    (void)buf_append_byte(&f->body, '\0');
    if (!f->call_headers) {
        (void)snprintf(header, sizeof header, "Mesos-Stream-Id: %s", f->stream_id);
        f->call_headers = curl_slist_append(curl_slist_append(NULL, "Content-Type: application/json"), header);
        f->call_headers = curl_slist_append(f->call_headers, "Expect:");
    }
    char url[256];
    (void)snprintf(url, sizeof url, "http://%s/api/v1/scheduler", f->http);
    curl_easy_setopt(f->calls, CURLOPT_URL, url);
    curl_easy_setopt(f->calls, CURLOPT_PROXY, "");
    curl_easy_setopt(f->calls, CURLOPT_TIMEOUT, 60L);
    curl_easy_setopt(f->calls, CURLOPT_HTTPHEADER, f->call_headers);
    curl_easy_setopt(f->calls, CURLOPT_WRITEFUNCTION, drop_body);
    curl_easy_setopt(f->calls, CURLOPT_POSTFIELDS, (char *)f->body.data);
    CURLcode code = curl_easy_perform(f->calls);
    curl_easy_getinfo(f->calls, CURLINFO_RESPONSE_CODE, &status);
    char told[32];
    (void)snprintf(told, sizeof told, "HTTP %ld", status);
    if (code != CURLE_OK || status != 202) die("call", code ? curl_easy_strerror(code) : told);
}

static void call_open(struct framework *f, struct json_writer *w, const char *type) {
    buf_clear(&f->body);
    json_writer_init(w, &f->body);
    json_begin_object(w);
    json_key(w, "type");
    json_string(w, type);
    json_key(w, "framework_id");
    json_begin_object(w);
    json_key(w, "value");
    json_string(w, f->load->framework_id);
    json_end_object(w);
}

static void accept_offer(struct framework *f, const Mesos__V1__Offer *offer) {
    struct json_writer w;
    size_t left = f->load->wanted_tasks - f->submitted, n = left < ACCEPT_TASKS ? left : ACCEPT_TASKS;
    if (n == 0) return;
    call_open(f, &w, "ACCEPT");
    (void)buf_printf(w.out,
                     ",\"accept\":{\"offer_ids\":[{\"value\":\"%s\"}],\"filters\":{\"refuse_seconds\":0},"
                     "\"operations\":[{\"type\":\"LAUNCH\",\"launch\":{\"task_infos\":[",
                     offer->id->value);
    for (size_t i = 0; i < n; i++)
        (void)buf_printf(w.out,
                         "%s{\"name\":\"t\",\"task_id\":{\"value\":\"t%zu\"},\"agent_id\":{\"value\":\"%s\"},"
                         "\"command\":{\"value\":\"true\"},"
                         "\"resources\":[{\"name\":\"cpus\",\"type\":\"SCALAR\",\"scalar\":{\"value\":0.001}}]}",
                         i ? "," : "", f->submitted + i, offer->agent_id->value);
    (void)buf_append_str(w.out, "]}}]}");
    json_end_object(&w);
    f->submitted += n;
    framework_call(f);
    (void)uv_run(&f->load->loop, UV_RUN_NOWAIT); /* the agents read what they are told to launch */
}

static size_t stream_body(char *data, size_t size, size_t n, void *ctx) {
    struct framework *f = ctx;
    const uint8_t *at = (const uint8_t *)data;
    size_t left = size * n;
    struct recordio_record record;
    struct err err;
    while (recordio_decode(&f->records, &at, &left, &record, &err) == 1) {
        struct arena arena;
        ProtobufCMessage *message = NULL;
        arena_init(&arena, 64u << 20);
        if (json_parse(&mesos__v1__scheduler__event__descriptor, record.data, record.len, &arena, &message, &err))
            die("event", err.text);
        const Mesos__V1__Scheduler__Event *e = (const Mesos__V1__Scheduler__Event *)message;
        if (e->subscribed)
            (void)snprintf(f->load->framework_id, sizeof f->load->framework_id, "%.255s",
                           e->subscribed->framework_id->value);
        for (size_t i = 0; e->offers && i < e->offers->n_offers; i++)
            accept_offer(f, e->offers->offers[i]);
        arena_done(&arena);
    }
    return size * n;
}

static void framework_open(struct framework *f) {
    char url[256];
    const char *id = f->load->framework_id;
    bool known = id[0] != '\0';
    CHECK((f->stream = curl_easy_init()) && (f->calls = curl_easy_init()) && (f->multi = curl_multi_init()));
    buf_init(&f->body, 16u << 20);
    buf_init(&f->subscribe, 4096);
    recordio_decoder_init(&f->records, 8u << 20);
    (void)buf_printf(
        &f->subscribe,
        "{\"type\":\"SUBSCRIBE\",%s%s%s\"subscribe\":{\"framework_info\":{\"user\":\"root\",\"name\":\"bench\","
        "\"failover_timeout\":86400%s%s%s}}}",
        known ? "\"framework_id\":{\"value\":\"" : "", known ? id : "", known ? "\"}," : "",
        known ? ",\"id\":{\"value\":\"" : "", known ? id : "", known ? "\"}" : "");
    (void)buf_append_byte(&f->subscribe, '\0');
    f->stream_headers = curl_slist_append(NULL, "Content-Type: application/json");
    (void)snprintf(url, sizeof url, "http://%s/api/v1/scheduler", f->http);
    curl_easy_setopt(f->stream, CURLOPT_URL, url);
    curl_easy_setopt(f->stream, CURLOPT_PROXY, "");
    curl_easy_setopt(f->stream, CURLOPT_HTTPHEADER, f->stream_headers);
    curl_easy_setopt(f->stream, CURLOPT_POSTFIELDS, (char *)f->subscribe.data);
    curl_easy_setopt(f->stream, CURLOPT_HEADERFUNCTION, stream_header);
    curl_easy_setopt(f->stream, CURLOPT_HEADERDATA, f);
    curl_easy_setopt(f->stream, CURLOPT_WRITEFUNCTION, stream_body);
    curl_easy_setopt(f->stream, CURLOPT_WRITEDATA, f);
    curl_multi_add_handle(f->multi, f->stream);
}

/* Turns both loops until `done`, at most `seconds`. */
static void turn_until(struct load *l, struct framework *f, bool (*done)(const struct load *l), unsigned seconds,
                       const char *what) {
    uint64_t end = clock_mono_ms() + seconds * 1000ull;
    int running;
    while (!done(l)) {
        (void)uv_run(&l->loop, UV_RUN_NOWAIT);
        if (f) {
            (void)curl_multi_perform(f->multi, &running);
            (void)curl_multi_poll(f->multi, NULL, 0, 1, NULL);
        }
        if (clock_mono_ms() > end) die(what, "took too long");
    }
}

static bool all_welcome(const struct load *l) {
    return l->welcomed == l->connections;
}

static bool all_launched(const struct load *l) {
    return l->launched >= l->wanted_tasks;
}

static bool stream_open(const struct load *l) {
    return l->framework->stream_id[0] != '\0';
}

static bool all_closed(const struct load *l) {
    return l->closed == l->connections;
}

static bool in_flight_none(const struct load *l) {
    for (size_t i = 0; i < l->connections; i++)
        if (l->agents[i].answered < l->agents[i].next) return false;
    return true;
}

static void framework_teardown(struct framework *f) {
    struct json_writer w;
    call_open(f, &w, "TEARDOWN");
    json_end_object(&w);
    framework_call(f);
}

static void framework_close(struct framework *f) {
    curl_multi_remove_handle(f->multi, f->stream);
    curl_easy_cleanup(f->stream);
    curl_easy_cleanup(f->calls);
    curl_multi_cleanup(f->multi);
    curl_slist_free_all(f->stream_headers);
    curl_slist_free_all(f->call_headers);
    f->call_headers = NULL;
    f->stream_id[0] = '\0';
    recordio_decoder_done(&f->records);
    buf_done(&f->body);
    buf_done(&f->subscribe);
}

/* ---- the run ---- */

static size_t keep_body(char *data, size_t size, size_t n, void *ctx) {
    return buf_append(ctx, data, size * n) == 0 ? size * n : 0;
}

/* Durable writes of the leader since its start. */
static uint64_t writes_of(const struct framework *f) {
    static const char name[] = "\nconclave_log_writes_total ";
    char url[256];
    struct buf body;
    CURL *call = curl_easy_init();
    CHECK(call);
    buf_init(&body, 16u << 20);
    (void)snprintf(url, sizeof url, "http://%s/metrics", f->http);
    curl_easy_setopt(call, CURLOPT_URL, url);
    curl_easy_setopt(call, CURLOPT_PROXY, "");
    curl_easy_setopt(call, CURLOPT_TIMEOUT, 10L);
    curl_easy_setopt(call, CURLOPT_WRITEFUNCTION, keep_body);
    curl_easy_setopt(call, CURLOPT_WRITEDATA, &body);
    if (curl_easy_perform(call) != CURLE_OK || buf_append_byte(&body, 0)) die("/metrics", "no answer");
    const char *at = strstr((const char *)body.data, name);
    uint64_t writes = at ? strtoull(at + strlen(name), NULL, 10) : 0;
    buf_done(&body);
    curl_easy_cleanup(call);
    return writes;
}

/* CPU time of a process so far, user and system together; 0 when it is gone. */
static uint64_t cpu_us_of(unsigned pid) {
    char path[64], line[512] = "";
    unsigned long user = 0, system = 0;
    (void)snprintf(path, sizeof path, "/proc/%u/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    const char *name_end = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
    (void)fclose(file);
    if (!name_end || sscanf(name_end + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        return 0;
    return (user + system) * 1000000ull / (uint64_t)sysconf(_SC_CLK_TCK);
}

static void pids_read(struct load *l, const char *list) {
    while (list && *list && l->pid_count < PIDS_MAX) {
        char *end = NULL;
        l->pids[l->pid_count++] = (unsigned)strtoul(list, &end, 10);
        if (end == list || (*end && *end != ',')) die("--pids", "must be numbers with commas between them");
        list = *end ? end + 1 : end;
    }
}

static bool measured(const struct load *l) {
    if (clock_mono_us() >= l->end_us) return true;
    for (size_t i = 0; i < l->connections; i++)
        if (l->agents[i].answered < l->agents[i].task_count) return false;
    return true;
}

static void run_measure(struct load *l, unsigned seconds) {
    uint64_t writes = writes_of(l->framework);
    l->begin_us = l->last_us = clock_mono_us();
    l->end_us = l->begin_us + seconds * 1000000ull;
    l->measuring = true;
    for (size_t i = 0; i < l->pid_count; i++)
        l->cpu_us[i] = cpu_us_of(l->pids[i]);
    for (size_t i = 0; i < l->connections; i++)
        agent_fill_depth(&l->agents[i]);
    uv_timer_t timer;
    CHECK(uv_timer_init(&l->loop, &timer) == 0);
    timer.data = l;
    if (l->rate) CHECK(uv_timer_start(&timer, due_cb, 1, 1) == 0);
    while (!measured(l))
        (void)uv_run(&l->loop, UV_RUN_ONCE);
    l->measuring = false;
    uv_close((uv_handle_t *)&timer, NULL);
    for (size_t i = 0; i < l->pid_count; i++)
        l->cpu_us[i] = cpu_us_of(l->pids[i]) - l->cpu_us[i];
    l->writes = writes_of(l->framework) - writes;
    turn_until(l, NULL, in_flight_none, 30, "the last reports");
}

static void run_print(const struct load *l) {
    double elapsed = (double)(l->last_us - l->begin_us) / 1e6;
    printf("{\"transitions\":%" PRIu64 ",\"elapsed_s\":%.6f,\"per_s\":%.1f,\"begun_us\":%" PRIu64 ",\"writes\":%" PRIu64
           ",\"cpu_us\":[",
           l->transitions, elapsed, elapsed > 0 ? (double)l->transitions / elapsed : 0, l->begin_us, l->writes);
    for (size_t i = 0; i < l->pid_count; i++)
        printf("%s%" PRIu64, i ? "," : "", l->cpu_us[i]);
    printf("],\"latency_us\":[");
    for (size_t i = 0; i < l->latency_count; i++)
        printf("%s%u", i ? "," : "", l->latencies[i]);
    printf("],\"at_ms\":[");
    for (size_t i = 0; l->rate && i < l->latency_count; i++)
        printf("%s%u", i ? "," : "", l->at_ms[i]);
    printf("]}\n");
}

static void run_clean(struct load *l) {
    for (size_t i = 0; i < l->connections; i++) {
        struct load_agent *a = &l->agents[i];
        a->next = a->answered = 0;
        for (size_t k = 0; k < a->task_count; k++) {
            agent_report(a, &a->tasks[k], MESOS__V1__TASK_STATE__TASK_KILLED, true);
            a->sent_us[a->next++] = 0;
            if (a->next % 200 == 0) turn_until(l, NULL, in_flight_none, 60, "ending the tasks");
        }
    }
    turn_until(l, NULL, in_flight_none, 60, "ending the tasks");
}

int main(int argc, char **argv) {
    static struct load l;
    static struct framework f;
    const char *http = NULL, *link = NULL, *pids = NULL;
    bool keep = false;
    struct tls_files tls_files = {0};
    uint64_t fill = 0, connections = 1, depth = 1, seconds = 3, tasks = 0;
    const struct flag table[] = {
        {"http", FLAG_STRING, &http, 0, 128, true, "HOST:PORT", "the leader's API"},
        {"link", FLAG_STRING, &link, 0, 128, true, "HOST:PORT", "the leader's agents' link"},
        {"fill", FLAG_U64, &fill, 1, 2000000, false, "N", "only bring N standing tasks into the state"},
        {"connections", FLAG_U64, &connections, 1, 1000, false, "N", "agents (1)"},
        {"depth", FLAG_U64, &depth, 1, 10000, false, "N", "reports in flight on each (1)"},
        {"seconds", FLAG_U64, &seconds, 1, 60, false, "S", "at most (3)"},
        {"pids", FLAG_STRING, &pids, 0, 128, false, "P,P,...", "processes whose CPU time is told too"},
        {"rate", FLAG_U64, &l.rate, 1, 1000000, false, "N", "reports a second, due whatever is still out"},
        {"keep", FLAG_BOOL, &keep, 0, 0, false, NULL, "leave the tasks as they are"},
        {"tasks", FLAG_U64, &tasks, 1, 2000000, false, "N", "to report, at most"},
        TLS_FLAGS(tls_files),
        {0}};
    struct err err = {0};
    int rest;
    const struct tls_identity agent = {.role = TLS_AGENT};
    if (flags_parse(table, argc, argv, &rest, &err)) die("flags", err.text);
    if (tls_open(&tls_files, &agent, &l.tls, &err)) die("TLS", err.text);
    pids_read(&l, pids);
    l.connections = connections;
    l.depth = depth;
    l.wanted_tasks = fill ? fill : tasks ? tasks : 20000;
    l.latencies = calloc(LATENCIES_MAX, sizeof *l.latencies);
    l.at_ms = calloc(LATENCIES_MAX, sizeof *l.at_ms);
    l.agents = calloc(connections, sizeof *l.agents);
    CHECK(l.latencies && l.at_ms && l.agents && uv_loop_init(&l.loop) == 0 && (l.net = net_open(&l.loop)));
    buf_init(&l.out, 1u << 20);
    buf_init(&l.status, 4096);
    load_status(STATUS_BYTES, &l.status);
    (void)snprintf(f.http, sizeof f.http, "%s", http);
    f.load = &l;
    l.framework = &f;
    agents_open(&l, link);
    turn_until(&l, NULL, all_welcome, 30, "registering the agents");
    framework_open(&f);
    turn_until(&l, &f, all_launched, 900, "launching the tasks");
    framework_close(&f); /* it is away while we measure: nothing is written to a stream that nobody would read */
    if (!fill) {
        run_measure(&l, (unsigned)seconds);
        run_print(&l);
    }
    if (!fill && !keep) {
        framework_open(&f);
        turn_until(&l, &f, stream_open, 30, "subscribing again");
        framework_teardown(&f);
        framework_close(&f);
        run_clean(&l);
    }
    l.ending = true;
    for (size_t i = 0; i < connections; i++)
        link_close(l.agents[i].link);
    turn_until(&l, NULL, all_closed, 10, "closing");
    return 0; /* the process ends: what it holds goes with it */
}
