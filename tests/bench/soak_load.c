/* SPDX-License-Identifier: Apache-2.0
 * The loads of the long benches, against a cluster's leader:
 *
 *   soak_load --http HOST:PORT --link HOST:PORT --tasks N         N tasks live their whole lives
 *   soak_load --http HOST:PORT --link HOST:PORT --reports BYTES   BYTES of commands that change nothing
 *
 * A whole life: ACCEPT, launch, a report of TASK_FINISHED, its update shown to the framework, ACKNOWLEDGE, answered.
 * One framework and --agents agents, at most --window tasks between ACCEPT and the end, ACKNOWLEDGEs on --calls
 * connections.
 *
 * The other: reports of --status-bytes on a task that does not exist, --depth of them in flight on each agent, at most
 * --rate a second: each is committed, and then forgotten. So a log grows fast while its state stays as it is.
 *
 * A line of JSON a second, and one at the end: {"done", "bytes", "elapsed_s", "latency_us": [p50, p99, max of the last
 * second]}; `done` counts tasks that ended, or reports that were committed. Ends with 1 when anything is refused. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>
#include <uv.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/flags.h"
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

#define ACCEPT_TASKS  250
#define AGENTS_MAX    64
#define CALLS_MAX     128
#define LATENCIES_MAX 100000
#define FRAME(name)   CONCLAVE__LINK__FRAME_TYPE__##name

struct soak;

struct player { /* an agent */
    struct soak *soak;
    struct link *link;
    uint8_t uuid[16];
    char host[32], id[256];
    uint64_t sent, answered; /* --reports */
    uint64_t *sent_us;       /* of those in flight, a ring of `depth` */
};

struct held_offer {
    char id[256], agent[256];
};

struct due_ack {
    struct due_ack *next;
    uint8_t uuid[16];
    char agent[64], task[32];
};

struct call {
    CURL *easy;
    struct buf body;
    bool busy;
    uint64_t acknowledges; /* 1, or 0 of an ACCEPT */
    uint64_t begun_us;
};

struct soak {
    uv_loop_t loop;
    struct net *net;
    struct buf out, status;
    struct player players[AGENTS_MAX];
    uint64_t agents, tasks, reports, status_bytes, depth, window, calls, rate, seconds;
    size_t welcomed;
    uint64_t done, bytes, begin_us, told_us, budget;
    uint32_t latencies[LATENCIES_MAX]; /* of the last second */
    size_t latency_count;
    /* the framework */
    const char *http;
    char framework_id[256], stream_id[48];
    CURLM *multi;
    CURL *stream;
    struct curl_slist *headers;
    struct recordio_decoder records;
    struct buf subscribe;
    struct call call[CALLS_MAX];
    struct held_offer offers[AGENTS_MAX];
    size_t offer_count;
    struct due_ack *first_ack, **last_ack;
    uint64_t submitted;
};

static void die(const char *what, const char *why) {
    fprintf(stderr, "soak_load: %s: %s\n", what, why);
    exit(1);
}

static void latency_note(struct soak *s, uint64_t since_us) {
    uint64_t took = clock_mono_us() - since_us;
    if (s->latency_count < LATENCIES_MAX) s->latencies[s->latency_count++] = (uint32_t)took;
}

/* ---- the agents ---- */

static void player_send(struct player *p, uint16_t type, const struct buf *payload) {
    if (link_send(p->link, LINK_BULK, type, payload->data, payload->len, NULL, 0)) die("sending", "link is full");
}

static void player_hello(void *ctx, struct link *link) {
    struct player *p = ctx;
    (void)link;
    buf_clear(&p->soak->out);
    load_hello(p->uuid, p->host, &p->soak->out);
    player_send(p, FRAME(HELLO), &p->soak->out);
}

static void player_report(struct player *p, const char *framework, const char *task, Conclave__Log__LaunchId *launch,
                          uint32_t state, const struct buf *status) {
    struct soak *s = p->soak;
    uint8_t uuid[16];
    Conclave__Link__Report report = CONCLAVE__LINK__REPORT__INIT;
    memcpy(uuid, &launch->index, 8);
    memcpy(uuid + 8, &launch->k, 4);
    memcpy(uuid + 12, &state, 4);
    report.framework_id = (char *)framework;
    report.task_id = (char *)task;
    report.launch = launch;
    report.state = report.latest_state = state;
    report.uuid = (ProtobufCBinaryData){.data = uuid, .len = sizeof uuid};
    report.status = (ProtobufCBinaryData){.data = status->data, .len = status->len};
    report.has_want_committed = report.want_committed = s->reports > 0;
    buf_clear(&s->out);
    CHECK(report_encode(&report, &s->out) == 0);
    player_send(p, FRAME(REPORT), &s->out);
    s->bytes += s->out.len;
}

/* The task runs and ends in an instant. */
static void player_launch(struct player *p, const Conclave__Link__Launch *l) {
    struct soak *s = p->soak;
    Mesos__V1__TaskID id = MESOS__V1__TASK_ID__INIT;
    Mesos__V1__AgentID agent = MESOS__V1__AGENT_ID__INIT;
    Mesos__V1__TaskStatus status = MESOS__V1__TASK_STATUS__INIT;
    uint8_t uuid[16];
    uint32_t state = MESOS__V1__TASK_STATE__TASK_FINISHED;
    memcpy(uuid, &l->launch->index, 8);
    memcpy(uuid + 8, &l->launch->k, 4);
    memcpy(uuid + 12, &state, 4);
    id.value = l->task_id;
    agent.value = p->id;
    status.task_id = &id;
    status.agent_id = &agent;
    status.state = MESOS__V1__TASK_STATE__TASK_FINISHED;
    status.has_uuid = 1;
    status.uuid = (ProtobufCBinaryData){.data = uuid, .len = sizeof uuid};
    buf_clear(&s->status);
    CHECK(protobuf_print(&status.base, &s->status) == 0);
    player_report(p, l->framework_id, l->task_id, l->launch, state, &s->status);
}

static void player_fill(struct player *p) {
    struct soak *s = p->soak;
    while (s->reports > s->bytes && p->sent - p->answered < s->depth && (s->rate == 0 || s->budget > 0)) {
        Conclave__Log__LaunchId nowhere = CONCLAVE__LOG__LAUNCH_ID__INIT;
        nowhere.index = 1;
        p->sent_us[p->sent++ % s->depth] = clock_mono_us();
        if (s->rate) s->budget--;
        player_report(p, "nobody", "nothing", &nowhere, MESOS__V1__TASK_STATE__TASK_RUNNING, &s->status);
    }
}

static void player_frame(void *ctx, struct link *link, uint16_t type, const uint8_t *payload, size_t len) {
    struct player *p = ctx;
    struct soak *s = p->soak;
    struct arena arena;
    ProtobufCMessage *message = NULL;
    struct err err;
    if (type == FRAME(COMMITTED)) {
        latency_note(s, p->sent_us[p->answered++ % s->depth]);
        s->done++;
        return;
    }
    if (type == FRAME(LEADER) && p->id[0]) return; /* after WELCOME it tells who is a member */
    if (type == FRAME(REFUSED) || type == FRAME(LEADER)) die("agent", type == FRAME(LEADER) ? "no leader" : "refused");
    arena_init(&arena, 8u << 20);
    buf_clear(&s->out);
    if (type == FRAME(WELCOME)) {
        if (protobuf_parse(&conclave__link__welcome__descriptor, payload, len, 0, &arena, &message, &err))
            die("welcome", err.text);
        (void)snprintf(p->id, sizeof p->id, "%s", ((Conclave__Link__Welcome *)message)->agent_id);
        link_established(link);
        s->welcomed++;
    } else if (type == FRAME(LAUNCH)) {
        if (protobuf_parse(&conclave__link__launch__descriptor, payload, len, 0, &arena, &message, &err))
            die("launch", err.text);
        player_launch(p, (Conclave__Link__Launch *)message);
    } else if (type == FRAME(PING)) {
        Conclave__Link__Pong pong = CONCLAVE__LINK__PONG__INIT;
        CHECK(protobuf_print(&pong.base, &s->out) == 0);
        player_send(p, FRAME(PONG), &s->out);
    } else if (type == FRAME(TASK_LIST_WANTED)) {
        player_send(p, FRAME(TASK_LIST), &s->out); /* nothing */
    }
    arena_done(&arena);
}

static void player_close(void *ctx, struct link *link, enum link_reason reason, const struct err *err) {
    (void)ctx;
    (void)link;
    die(link_reason_text(reason), err ? err->text : "");
}

static void players_open(struct soak *s, const char *where) {
    static const struct link_callbacks callbacks = {
        .on_open = player_hello, .on_frame = player_frame, .on_close = player_close};
    struct address address;
    struct link_options options;
    struct err err = {0};
    if (address_parse(where, 5061, 0, &address, &err)) die("--link", err.text);
    link_options_default(&options);
    options.bulk_bytes_max = 256u << 20;
    options.establish_timeout_ms = 30000;
    for (size_t i = 0; i < s->agents; i++) {
        struct player *p = &s->players[i];
        p->soak = s;
        memset(p->uuid, 0x50 + (int)i, sizeof p->uuid); /* the same at every run */
        (void)snprintf(p->host, sizeof p->host, "soak-%zu", i);
        p->sent_us = calloc(s->depth, sizeof *p->sent_us);
        p->link = link_connect(s->net, &address, &options, &callbacks, p, &err);
        if (!p->link || !p->sent_us) die("connecting", err.text);
    }
}

/* ---- the framework ---- */

static size_t stream_header(char *data, size_t size, size_t n, void *ctx) {
    struct soak *s = ctx;
    static const char name[] = "mesos-stream-id: ";
    if (size * n > strlen(name) + 36 && !strncasecmp(data, name, strlen(name)))
        (void)snprintf(s->stream_id, sizeof s->stream_id, "%.36s", data + strlen(name));
    return size * n;
}

static void take_update(struct soak *s, const Mesos__V1__TaskStatus *status) {
    struct due_ack *ack = calloc(1, sizeof *ack);
    if (status->state != MESOS__V1__TASK_STATE__TASK_FINISHED) die("a task", "did not finish");
    CHECK(ack && status->has_uuid && status->uuid.len == sizeof ack->uuid && status->agent_id);
    memcpy(ack->uuid, status->uuid.data, sizeof ack->uuid);
    (void)snprintf(ack->agent, sizeof ack->agent, "%.63s", status->agent_id->value);
    (void)snprintf(ack->task, sizeof ack->task, "%.31s", status->task_id->value);
    *s->last_ack = ack;
    s->last_ack = &ack->next;
}

static void take_offer(struct soak *s, const Mesos__V1__Offer *offer) {
    struct held_offer *o = NULL; /* a new one for the same agent takes the place of the old one */
    for (size_t i = 0; i < s->offer_count && !o; i++)
        if (!strcmp(s->offers[i].agent, offer->agent_id->value)) o = &s->offers[i];
    if (!o && s->offer_count < AGENTS_MAX) o = &s->offers[s->offer_count++];
    if (!o) return;
    (void)snprintf(o->id, sizeof o->id, "%s", offer->id->value);
    (void)snprintf(o->agent, sizeof o->agent, "%s", offer->agent_id->value);
}

static size_t stream_body(char *data, size_t size, size_t n, void *ctx) {
    struct soak *s = ctx;
    const uint8_t *at = (const uint8_t *)data;
    size_t left = size * n;
    struct recordio_record record;
    struct err err;
    while (recordio_decode(&s->records, &at, &left, &record, &err) == 1) {
        struct arena arena;
        ProtobufCMessage *message = NULL;
        arena_init(&arena, 64u << 20);
        if (json_parse(&mesos__v1__scheduler__event__descriptor, record.data, record.len, &arena, &message, &err))
            die("event", err.text);
        const Mesos__V1__Scheduler__Event *e = (const Mesos__V1__Scheduler__Event *)message;
        if (e->subscribed)
            (void)snprintf(s->framework_id, sizeof s->framework_id, "%.255s", e->subscribed->framework_id->value);
        for (size_t i = 0; e->offers && i < e->offers->n_offers; i++)
            take_offer(s, e->offers->offers[i]);
        if (e->update) take_update(s, e->update->status);
        if (e->error) die("the master says", e->error->message);
        arena_done(&arena);
    }
    return size * n;
}

static size_t drop_body(char *data, size_t size, size_t n, void *ctx) {
    (void)data;
    (void)ctx;
    return size * n;
}

static void framework_open(struct soak *s) {
    char url[256];
    CHECK((s->stream = curl_easy_init()));
    recordio_decoder_init(&s->records, 8u << 20);
    buf_init(&s->subscribe, 4096);
    (void)buf_append_str(&s->subscribe, "{\"type\":\"SUBSCRIBE\",\"subscribe\":{\"framework_info\":{\"user\":\"root\","
                                        "\"name\":\"soak\",\"failover_timeout\":86400}}}");
    (void)buf_append_byte(&s->subscribe, '\0');
    (void)snprintf(url, sizeof url, "http://%s/api/v1/scheduler", s->http);
    curl_easy_setopt(s->stream, CURLOPT_URL, url);
    curl_easy_setopt(s->stream, CURLOPT_PROXY, "");
    curl_easy_setopt(s->stream, CURLOPT_HTTPHEADER, curl_slist_append(NULL, "Content-Type: application/json"));
    curl_easy_setopt(s->stream, CURLOPT_POSTFIELDS, (char *)s->subscribe.data);
    curl_easy_setopt(s->stream, CURLOPT_HEADERFUNCTION, stream_header);
    curl_easy_setopt(s->stream, CURLOPT_HEADERDATA, s);
    curl_easy_setopt(s->stream, CURLOPT_WRITEFUNCTION, stream_body);
    curl_easy_setopt(s->stream, CURLOPT_WRITEDATA, s);
    curl_multi_add_handle(s->multi, s->stream);
    s->last_ack = &s->first_ack;
}

static void call_begin(struct soak *s, struct call *c, uint64_t acknowledges) {
    char url[256], header[96];
    (void)buf_append_byte(&c->body, '\0');
    CHECK(!c->body.failed);
    if (!s->headers) {
        (void)snprintf(header, sizeof header, "Mesos-Stream-Id: %s", s->stream_id);
        s->headers = curl_slist_append(curl_slist_append(NULL, "Content-Type: application/json"), header);
        s->headers = curl_slist_append(s->headers, "Expect:");
    }
    if (!c->easy) {
        CHECK((c->easy = curl_easy_init()));
        (void)snprintf(url, sizeof url, "http://%s/api/v1/scheduler", s->http);
        curl_easy_setopt(c->easy, CURLOPT_URL, url);
        curl_easy_setopt(c->easy, CURLOPT_PROXY, "");
        curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, s->headers);
        curl_easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, drop_body);
        curl_easy_setopt(c->easy, CURLOPT_PRIVATE, c);
    }
    curl_easy_setopt(c->easy, CURLOPT_POSTFIELDS, (char *)c->body.data);
    c->busy = true;
    c->acknowledges = acknowledges;
    c->begun_us = clock_mono_us();
    curl_multi_add_handle(s->multi, c->easy);
}

static void call_accept(struct soak *s, struct call *c, const struct held_offer *o, uint64_t n) {
    buf_clear(&c->body);
    (void)buf_printf(&c->body,
                     "{\"type\":\"ACCEPT\",\"framework_id\":{\"value\":\"%s\"},\"accept\":{\"offer_ids\":[{\"value\":"
                     "\"%s\"}],\"filters\":{\"refuse_seconds\":0},\"operations\":[{\"type\":\"LAUNCH\",\"launch\":{"
                     "\"task_infos\":[",
                     s->framework_id, o->id);
    for (uint64_t i = 0; i < n; i++)
        (void)buf_printf(&c->body,
                         "%s{\"name\":\"t\",\"task_id\":{\"value\":\"t%" PRIu64 "\"},\"agent_id\":{\"value\":\"%s\"},"
                         "\"command\":{\"value\":\"true\"},"
                         "\"resources\":[{\"name\":\"cpus\",\"type\":\"SCALAR\",\"scalar\":{\"value\":0.001}}]}",
                         i ? "," : "", s->submitted + i, o->agent);
    (void)buf_append_str(&c->body, "]}}]}}");
    s->submitted += n;
    call_begin(s, c, 0);
}

static void call_acknowledge(struct soak *s, struct call *c) {
    struct due_ack *ack = s->first_ack;
    s->first_ack = ack->next;
    if (!s->first_ack) s->last_ack = &s->first_ack;
    buf_clear(&c->body);
    (void)buf_printf(&c->body,
                     "{\"type\":\"ACKNOWLEDGE\",\"framework_id\":{\"value\":\"%s\"},\"acknowledge\":{\"agent_id\":{"
                     "\"value\":\"%s\"},\"task_id\":{\"value\":\"%s\"},\"uuid\":",
                     s->framework_id, ack->agent, ack->task);
    (void)json_append_base64(&c->body, ack->uuid, sizeof ack->uuid);
    (void)buf_append_str(&c->body, "}}");
    free(ack);
    call_begin(s, c, 1);
}

static void calls_pump(struct soak *s) {
    for (size_t i = 0; i < s->calls; i++) {
        struct call *c = &s->call[i];
        uint64_t room = s->window - (s->submitted - s->done), left = s->tasks - s->submitted;
        uint64_t n = left < ACCEPT_TASKS ? left : ACCEPT_TASKS;
        if (c->busy) continue;
        if (s->offer_count > 0 && n > 0 && n <= room) {
            struct held_offer o = s->offers[--s->offer_count];
            call_accept(s, c, &o, n);
        } else if (s->first_ack) {
            call_acknowledge(s, c);
        } else {
            return;
        }
    }
}

static void calls_reap(struct soak *s) {
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(s->multi, &left))) {
        struct call *c = NULL;
        long status = 0;
        char text[64];
        CURL *easy = message->easy_handle;
        CURLcode code = message->data.result;
        if (easy == s->stream) die("the stream", "has ended");
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, &c);
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
        (void)snprintf(text, sizeof text, "HTTP %ld", status);
        if (code != CURLE_OK || status != 202) die("call", code ? curl_easy_strerror(code) : text);
        curl_multi_remove_handle(s->multi, easy);
        c->busy = false;
        if (c->acknowledges) latency_note(s, c->begun_us);
        s->done += c->acknowledges;
    }
}

/* ---- the run ---- */

static int order(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void tell(struct soak *s) {
    uint64_t now = clock_mono_us();
    size_t n = s->latency_count;
    qsort(s->latencies, n, sizeof *s->latencies, order);
    printf("{\"done\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"elapsed_s\":%.3f,\"latency_us\":[%u,%u,%u]}\n", s->done,
           s->bytes, (double)(now - s->begin_us) / 1e6, n ? s->latencies[n / 2] : 0, n ? s->latencies[n * 99 / 100] : 0,
           n ? s->latencies[n - 1] : 0);
    (void)fflush(stdout);
    s->told_us = now;
    s->latency_count = 0;
}

static bool finished(const struct soak *s) {
    if (s->seconds && clock_mono_us() - s->begin_us >= s->seconds * 1000000) return true;
    if (s->tasks) return s->done >= s->tasks;
    bool quiet = s->bytes >= s->reports;
    for (size_t i = 0; i < s->agents && quiet; i++)
        quiet = s->players[i].answered == s->players[i].sent;
    return quiet;
}

static void turn(struct soak *s) {
    int running;
    if (s->tasks) {
        (void)uv_run(&s->loop, UV_RUN_NOWAIT);
        (void)curl_multi_perform(s->multi, &running);
        calls_reap(s);
        if (s->stream_id[0] && s->framework_id[0]) calls_pump(s);
        (void)curl_multi_poll(s->multi, NULL, 0, 1, NULL);
        return;
    }
    uint64_t due = s->rate * (clock_mono_us() - s->begin_us) / 1000000, sent = 0;
    for (size_t i = 0; i < s->agents; i++)
        sent += s->players[i].sent;
    s->budget = due > sent ? due - sent : 0;
    for (size_t i = 0; i < s->agents; i++)
        player_fill(&s->players[i]);
    (void)uv_run(&s->loop, s->rate ? UV_RUN_NOWAIT : UV_RUN_ONCE);
    if (s->rate) (void)curl_multi_poll(s->multi, NULL, 0, 1, NULL);
}

int main(int argc, char **argv) {
    static struct soak s = {.agents = 10, .status_bytes = 256, .depth = 50, .window = 5000, .calls = 32, .told_us = 0};
    const char *link = NULL;
    const struct flag table[] = {
        {"http", FLAG_STRING, &s.http, 0, 128, true, "HOST:PORT", "the leader's API"},
        {"link", FLAG_STRING, &link, 0, 128, true, "HOST:PORT", "the leader's agents' link"},
        {"tasks", FLAG_U64, &s.tasks, 1, 1000000000, false, "N", "tasks that live their whole lives"},
        {"reports", FLAG_U64, &s.reports, 1, UINT64_MAX, false, "BYTES", "of reports that change nothing"},
        {"agents", FLAG_U64, &s.agents, 1, AGENTS_MAX, false, "N", "(10)"},
        {"window", FLAG_U64, &s.window, ACCEPT_TASKS, 1000000, false, "N", "tasks alive at most (5000)"},
        {"calls", FLAG_U64, &s.calls, 1, CALLS_MAX, false, "N", "connections for calls (32)"},
        {"status-bytes", FLAG_U64, &s.status_bytes, 64, 65536, false, "N", "of each report (256)"},
        {"depth", FLAG_U64, &s.depth, 1, 10000, false, "N", "reports in flight on each agent (50)"},
        {"rate", FLAG_U64, &s.rate, 1, 1000000, false, "N", "reports a second at most"},
        {"seconds", FLAG_U64, &s.seconds, 1, 86400, false, "S", "at most"},
        {0}};
    struct err err = {0};
    int rest;
    if (flags_parse(table, argc, argv, &rest, &err)) die("flags", err.text);
    if ((s.tasks == 0) == (s.reports == 0)) die("flags", "either --tasks or --reports");
    CHECK(uv_loop_init(&s.loop) == 0 && (s.net = net_open(&s.loop)) && (s.multi = curl_multi_init()));
    buf_init(&s.out, 1u << 20);
    buf_init(&s.status, 1u << 17);
    for (size_t i = 0; i < CALLS_MAX; i++)
        buf_init(&s.call[i].body, 1u << 20);
    load_status(s.status_bytes, &s.status);
    s.begin_us = clock_mono_us();
    players_open(&s, link);
    while (s.welcomed < s.agents) {
        (void)uv_run(&s.loop, UV_RUN_ONCE);
        if (clock_mono_us() - s.begin_us > 30000000) die("registering the agents", "took too long");
    }
    if (s.tasks) framework_open(&s);
    s.begin_us = s.told_us = clock_mono_us();
    while (!finished(&s)) {
        turn(&s);
        if (clock_mono_us() - s.told_us >= 1000000) tell(&s);
    }
    tell(&s);
    return 0; /* the process ends: what it holds goes with it */
}
