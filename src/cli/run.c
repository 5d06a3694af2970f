/* SPDX-License-Identifier: Apache-2.0
 * conclave run 'command': a scheduler for one task. It subscribes, takes the first offer that fits, launches the
 * command, acknowledges its updates and copies its output. When the stream ends (a change of leader) it subscribes
 * again with its id and asks for the task's state. Killed or interrupted, it kills the task. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <curl/curl.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/rng.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/task_logs.h"
#include "mesos/v1/scheduler.pb-c.h"
#include "wire/json.h"
#include "wire/json_write.h"
#include "wire/recordio.h"
#include "wire/resources.h"
#include "wire/resources_mesos.h"

#define RUN_RECORD_MAX       (4u << 20)
#define RUN_RETRY_MS         200
#define RUN_OUTPUT_MS        100
#define RUN_FAILOVER_SECONDS "60"

struct run {
    struct options o;
    const char *command, *resources_text;
    struct resources wanted;
    uint64_t deadline_ms;
    char name[64];          /* of framework and task */
    char framework_id[256]; /* "" until subscribed */
    char stream_id[64];
    char leader[160]; /* HOST:PORT whose stream we read */
    struct recordio_decoder records;
    bool launched, ended, failed_for_good;
    uint32_t state;
    char message[256];
    char agent_http[160];
    uint64_t out_offset, err_offset, next_output_ms;
};

static volatile sig_atomic_t run_interrupted;

static void on_interrupt(int number) {
    (void)number;
    run_interrupted = 1;
}

/* ---- calls ---- */

static int run_call(struct run *r, const struct buf *body) {
    char stream[96];
    struct answer answer;
    (void)snprintf(stream, sizeof stream, "Mesos-Stream-Id: %s", r->stream_id);
    const struct request request = {.method = "POST",
                                    .path = "/api/v1/scheduler",
                                    .body = (const char *)body->data,
                                    .timeout_ms = 5000,
                                    .headers = {stream}};
    int rc = client_request(r->leader, &request, &answer);
    if (rc == 0 && answer.status != 202) rc = ERR_IO;
    answer_done(&answer);
    return rc;
}

static void call_begin(struct json_writer *w, struct buf *body, const struct run *r, const char *type) {
    buf_init(body, 1u << 20);
    json_writer_init(w, body);
    json_begin_object(w);
    json_key(w, "type");
    json_string(w, type);
    json_key(w, "framework_id");
    json_begin_object(w);
    json_key(w, "value");
    json_string(w, r->framework_id);
    json_end_object(w);
}

static int call_end(struct json_writer *w, struct buf *body, struct run *r) {
    json_end_object(w);
    int rc = json_writer_finish(w);
    if (rc == 0) rc = buf_append_byte(body, '\0');
    if (rc == 0) rc = run_call(r, body);
    buf_done(body);
    return rc;
}

static void value_object(struct json_writer *w, const char *key, const char *value) {
    json_key(w, key);
    json_begin_object(w);
    json_key(w, "value");
    json_string(w, value);
    json_end_object(w);
}

static void call_simple(struct run *r, const char *type) {
    struct buf body;
    struct json_writer w;
    call_begin(&w, &body, r, type);
    (void)call_end(&w, &body, r);
}

static void call_kill(struct run *r) {
    struct buf body;
    struct json_writer w;
    call_begin(&w, &body, r, "KILL");
    json_key(&w, "kill");
    json_begin_object(&w);
    value_object(&w, "task_id", r->name);
    json_end_object(&w);
    (void)call_end(&w, &body, r);
}

static void call_reconcile(struct run *r) {
    struct buf body;
    struct json_writer w;
    call_begin(&w, &body, r, "RECONCILE");
    json_key(&w, "reconcile");
    json_begin_object(&w);
    json_key(&w, "tasks");
    json_begin_array(&w);
    json_begin_object(&w);
    value_object(&w, "task_id", r->name);
    json_end_object(&w);
    json_end_array(&w);
    json_end_object(&w);
    (void)call_end(&w, &body, r);
}

static void call_acknowledge(struct run *r, const Mesos__V1__TaskStatus *s) {
    struct buf body, uuid;
    struct json_writer w;
    buf_init(&uuid, 64);
    (void)json_append_base64(&uuid, s->uuid.data, s->uuid.len);
    call_begin(&w, &body, r, "ACKNOWLEDGE");
    json_key(&w, "acknowledge");
    json_begin_object(&w);
    value_object(&w, "agent_id", s->agent_id->value);
    value_object(&w, "task_id", s->task_id->value);
    json_key(&w, "uuid");
    json_raw(&w, uuid.data, uuid.len);
    json_end_object(&w);
    (void)call_end(&w, &body, r);
    buf_done(&uuid);
}

static void write_resources(struct json_writer *w, const struct run *r) {
    struct arena arena;
    Mesos__V1__Resource **list = NULL;
    size_t n = 0;
    arena_init(&arena, 1u << 20);
    json_key(w, "resources");
    json_begin_array(w);
    if (resources_to_mesos(&r->wanted, NULL, &arena, &n, &list) == 0)
        for (size_t i = 0; i < n; i++)
            json_message(w, &list[i]->base, JSON_ONLY_SET);
    json_end_array(w);
    arena_done(&arena);
}

/* Launches with this offer, or declines it. */
static void call_answer_offer(struct run *r, const Mesos__V1__Offer *offer, bool take) {
    struct buf body;
    struct json_writer w;
    call_begin(&w, &body, r, take ? "ACCEPT" : "DECLINE");
    json_key(&w, take ? "accept" : "decline");
    json_begin_object(&w);
    json_key(&w, "offer_ids");
    json_begin_array(&w);
    json_message(&w, &offer->id->base, 0);
    json_end_array(&w);
    if (take) {
        json_key(&w, "operations");
        json_begin_array(&w);
        json_begin_object(&w);
        json_key(&w, "type");
        json_string(&w, "LAUNCH");
        json_key(&w, "launch");
        json_begin_object(&w);
        json_key(&w, "task_infos");
        json_begin_array(&w);
        json_begin_object(&w);
        json_key(&w, "name");
        json_string(&w, r->command);
        value_object(&w, "task_id", r->name);
        value_object(&w, "agent_id", offer->agent_id->value);
        write_resources(&w, r);
        json_key(&w, "command");
        json_begin_object(&w);
        json_key(&w, "value");
        json_string(&w, r->command);
        json_end_object(&w);
        json_end_object(&w);
        json_end_array(&w);
        json_end_object(&w);
        json_end_object(&w);
        json_end_array(&w);
    } else {
        json_key(&w, "filters");
        json_begin_object(&w);
        json_key(&w, "refuse_seconds");
        json_u64(&w, r->launched ? 3600 : 1);
        json_end_object(&w);
    }
    json_end_object(&w);
    int rc = call_end(&w, &body, r);
    /* An ACCEPT whose answer was lost may have been taken: the RECONCILE after the next SUBSCRIBE tells. */
    if (take) r->launched = true;
    (void)rc;
}

/* ---- events ---- */

static void on_offers(struct run *r, const Mesos__V1__Scheduler__Event__Offers *offers) {
    for (size_t i = 0; i < offers->n_offers; i++) {
        const Mesos__V1__Offer *offer = offers->offers[i];
        struct resources has = {0};
        struct err err;
        bool fits = resources_from_mesos(offer->n_resources, offer->resources, &has, &err) == 0 &&
                    resources_contains(&has, &r->wanted);
        bool take = fits && !r->launched;
        if (take && offer->url && offer->url->address)
            (void)snprintf(r->agent_http, sizeof r->agent_http, "%s:%d",
                           offer->url->address->ip ? offer->url->address->ip : offer->hostname,
                           offer->url->address->port);
        call_answer_offer(r, offer, take);
        resources_done(&has);
    }
    if (r->launched) call_simple(r, "SUPPRESS");
}

static bool state_ended(Mesos__V1__TaskState s) {
    return s == MESOS__V1__TASK_STATE__TASK_FINISHED || s == MESOS__V1__TASK_STATE__TASK_FAILED ||
           s == MESOS__V1__TASK_STATE__TASK_KILLED || s == MESOS__V1__TASK_STATE__TASK_LOST ||
           s == MESOS__V1__TASK_STATE__TASK_ERROR || s == MESOS__V1__TASK_STATE__TASK_DROPPED ||
           s == MESOS__V1__TASK_STATE__TASK_GONE || s == MESOS__V1__TASK_STATE__TASK_GONE_BY_OPERATOR;
}

static void on_update(struct run *r, const Mesos__V1__TaskStatus *s) {
    if (strcmp(s->task_id->value, r->name)) return;
    r->state = (uint32_t)s->state;
    if (s->message) (void)snprintf(r->message, sizeof r->message, "%.255s", s->message);
    if (s->has_uuid && s->agent_id) call_acknowledge(r, s);
    if (state_ended(s->state)) r->ended = true;
}

static void on_event(struct run *r, const Mesos__V1__Scheduler__Event *e) {
    if (e->subscribed) {
        (void)snprintf(r->framework_id, sizeof r->framework_id, "%.255s", e->subscribed->framework_id->value);
        if (r->launched) call_reconcile(r);
    } else if (e->offers) {
        on_offers(r, e->offers);
    } else if (e->update) {
        on_update(r, e->update->status);
    } else if (e->error) {
        fprintf(stderr, "conclave: refused: %s\n", e->error->message);
        r->failed_for_good = true;
    }
}

/* ---- the stream ---- */

static size_t on_stream_header(char *data, size_t size, size_t n, void *ctx) {
    struct run *r = ctx;
    static const char name[] = "mesos-stream-id: ";
    size_t len = size * n;
    if (len > strlen(name) + 36 && !strncasecmp(data, name, strlen(name)))
        (void)snprintf(r->stream_id, sizeof r->stream_id, "%.36s", data + strlen(name));
    return len;
}

static size_t on_stream_body(char *data, size_t size, size_t n, void *ctx) {
    struct run *r = ctx;
    const uint8_t *at = (const uint8_t *)data;
    size_t left = size * n;
    struct recordio_record record;
    struct err err;
    int rc;
    while ((rc = recordio_decode(&r->records, &at, &left, &record, &err)) == 1) {
        struct arena arena;
        ProtobufCMessage *message = NULL;
        arena_init(&arena, 64u << 20);
        if (json_parse(&mesos__v1__scheduler__event__descriptor, record.data, record.len, &arena, &message, &err) == 0)
            on_event(r, (const Mesos__V1__Scheduler__Event *)message);
        arena_done(&arena);
    }
    return rc < 0 || r->ended || r->failed_for_good ? 0 : size * n;
}

static void output_copy(struct run *r) {
    struct err err;
    if (!r->launched || !r->framework_id[0]) return;
    (void)task_logs_copy(r->agent_http, r->framework_id, r->name, "stdout", &r->out_offset, stdout, &err);
    (void)task_logs_copy(r->agent_http, r->framework_id, r->name, "stderr", &r->err_offset, stderr, &err);
}

static bool run_over(const struct run *r) {
    return r->ended || r->failed_for_good || clock_mono_ms() > r->deadline_ms;
}

static void subscribe_body(const struct run *r, struct buf *body) {
    struct json_writer w;
    const char *user = getenv("USER");
    buf_init(body, 1u << 20);
    json_writer_init(&w, body);
    json_begin_object(&w);
    json_key(&w, "type");
    json_string(&w, "SUBSCRIBE");
    if (r->framework_id[0]) value_object(&w, "framework_id", r->framework_id);
    json_key(&w, "subscribe");
    json_begin_object(&w);
    json_key(&w, "framework_info");
    json_begin_object(&w);
    json_key(&w, "user");
    json_string(&w, user && *user ? user : "root");
    json_key(&w, "name");
    json_string(&w, r->name);
    json_key(&w, "failover_timeout");
    json_raw(&w, RUN_FAILOVER_SECONDS, strlen(RUN_FAILOVER_SECONDS));
    if (r->framework_id[0]) value_object(&w, "id", r->framework_id);
    json_end_object(&w);
    json_end_object(&w);
    json_end_object(&w);
    (void)buf_append_byte(body, '\0');
}

/* Reads one stream to its end, copying output in between. */
static void stream_read(struct run *r) {
    struct buf body;
    char url[256];
    int running = 1;
    bool kill_sent = false;
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    CURLM *multi = curl_multi_init();
    CURL *easy = curl_easy_init();
    CHECK(multi && easy);
    subscribe_body(r, &body);
    recordio_decoder_init(&r->records, RUN_RECORD_MAX);
    (void)snprintf(url, sizeof url, "http://%s/api/v1/scheduler", r->leader);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, 2000L);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, (char *)body.data);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_stream_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, r);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_stream_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, 15L); /* three heartbeats missed */
    curl_multi_add_handle(multi, easy);
    while (running && !run_over(r)) {
        if (curl_multi_perform(multi, &running) != CURLM_OK) break;
        if (run_interrupted && !kill_sent && r->framework_id[0]) {
            kill_sent = true;
            if (r->launched)
                call_kill(r);
            else
                r->failed_for_good = true;
        }
        if (clock_mono_ms() >= r->next_output_ms) {
            output_copy(r);
            r->next_output_ms = clock_mono_ms() + RUN_OUTPUT_MS;
        }
        if (running) (void)curl_multi_poll(multi, NULL, 0, RUN_OUTPUT_MS, NULL);
    }
    curl_multi_remove_handle(multi, easy);
    if (run_over(r) && r->framework_id[0]) { /* while the stream still stands for us */
        if (!r->ended && r->launched) call_kill(r);
        call_simple(r, "TEARDOWN");
    }
    curl_easy_cleanup(easy);
    curl_multi_cleanup(multi);
    curl_slist_free_all(headers);
    recordio_decoder_done(&r->records);
    buf_done(&body);
}

/* Finds the leader through any master that answers; false: none now. */
static bool leader_find(struct run *r) {
    for (size_t i = 0; i < r->o.master_count; i++) {
        struct answer answer;
        const struct request request = {.method = "GET", .path = "/redirect", .timeout_ms = 1000};
        int rc = client_request(r->o.masters[i], &request, &answer);
        bool found = rc == 0 && answer.status == 307 && answer.location[0];
        if (found) (void)snprintf(r->leader, sizeof r->leader, "%.127s", answer.location);
        answer_done(&answer);
        if (found) return true;
    }
    return false;
}

static const char *run_state_name(uint32_t state) {
    const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(&mesos__v1__task_state__descriptor, (int)state);
    return v ? v->name : "TASK_UNKNOWN";
}

int run_main(int argc, char **argv) {
    static struct run r;
    uint64_t seconds = 86400;
    const struct flag table[] = {
        OPTION_FLAGS(r.o),
        {"resources", FLAG_STRING, &r.resources_text, 0, 0, false, "LIST", "what the task takes (cpus:0.1;mem:32)"},
        {"timeout", FLAG_U64, &seconds, 1, 31536000, false, "S", "kill it after so many seconds (86400)"},
        {0}};
    struct err err = {0};
    int rest, code;
    if (options_parse(table, &r.o, argc, argv, "conclave run 'COMMAND' [FLAGS]", 1, 1, &rest, &code)) return code;
    if (resources_parse_text(r.resources_text ? r.resources_text : "cpus:0.1;mem:32", &r.wanted, &err))
        return fail(&err);
    const struct sigaction action = {.sa_handler = on_interrupt};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    uint32_t random;
    random_bytes(&random, sizeof random);
    (void)snprintf(r.name, sizeof r.name, "run-%08x", random);
    r.command = argv[rest];
    r.deadline_ms = clock_mono_ms() + seconds * 1000;
    r.state = MESOS__V1__TASK_STATE__TASK_STAGING;
    uint64_t no_leader_until = clock_mono_ms() + 30000;
    while (!run_over(&r)) {
        if (leader_find(&r)) {
            no_leader_until = clock_mono_ms() + 30000;
            stream_read(&r);
        } else if (run_interrupted && !r.launched) {
            return EXIT_INTERRUPTED;
        } else if (clock_mono_ms() > no_leader_until) {
            fprintf(stderr, "conclave: no leader for 30 s\n");
            return EXIT_NO_QUORUM;
        }
        if (!run_over(&r)) (void)usleep(RUN_RETRY_MS * 1000);
    }
    output_copy(&r);
    resources_done(&r.wanted);
    if (r.ended && r.state == MESOS__V1__TASK_STATE__TASK_FINISHED) return 0;
    if (run_interrupted && !r.launched) return EXIT_INTERRUPTED;
    if (r.launched) fprintf(stderr, "conclave: %s%s%s\n", run_state_name(r.state), r.message[0] ? ": " : "", r.message);
    return 1;
}
