/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/api.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"

enum route_flags {
    ROUTE_LEADER = 1, /* only the leader answers: 307 or 503 elsewhere */
    ROUTE_EXACT = 2   /* deeper paths are not found */
};

struct route {
    const char *path;
    unsigned flags;
    void (*handler)(struct call *call);
};

static void route_health(struct call *call) {
    http_reply(call->x, 200, NULL, 0, NULL, 0);
}

/* Without the leading process name: "/master/state" and "/state" are one route. */
static const struct route routes[] = {
    {"/api/v1/scheduler", ROUTE_LEADER, api_scheduler},
    {"/conclave/v1", 0, api_admin},
    {"/state-summary", ROUTE_LEADER, api_state_summary},
    {"/state", ROUTE_LEADER, api_state},
    {"/slaves", ROUTE_LEADER, api_slaves},
    {"/frameworks", ROUTE_LEADER, api_frameworks},
    {"/tasks", ROUTE_LEADER, api_tasks},
    {"/", ROUTE_EXACT, api_index},
    {"/health", 0, route_health},
    {"/version", 0, api_version},
    {"/redirect", ROUTE_EXACT, api_redirect},
    {"/metrics/snapshot", 0, api_metrics_snapshot},
    {"/metrics", ROUTE_EXACT, api_metrics},
};

struct held {
    struct queue on_list;
    struct api *api;
    const struct http_request *request;
    uint64_t since_ms;
};

struct api {
    struct master *m;
    struct http_server *server;
    struct queue held;
    unsigned held_count;
    struct http_stats stats;
};

/* ---- replies ---- */

void call_reply_text(const struct call *call, int status, const char *text) {
    http_reply_text(call->x, status, text);
}

void call_reply_json(const struct call *call, const struct buf *body) {
    char index[24];
    (void)snprintf(index, sizeof index, "%" PRIu64, call->index);
    const struct http_field fields[] = {{"Content-Type", "application/json"}, {"Conclave-Index", index}};
    if (body->failed)
        call_unavailable(call->x, "The answer is too large");
    else
        http_reply(call->x, 200, fields, call->index ? 2 : 1, body->data, body->len);
}

void call_unavailable(struct http_exchange *x, const char *text) {
    const struct http_field fields[] = {{"Retry-After", "1"}, {"Content-Type", "text/plain"}};
    http_reply(x, 503, fields, 2, text, strlen(text));
}

/* How closely one media range of an Accept value names `type`/`subtype`: 3 exactly, 2 by its type, 1 anything, 0 not at
 * all; and whether it allows it ("q=0" does not). */
static int range_match(const char *range, size_t len, const char *type, const char *subtype, bool *ret_allows) {
    size_t name = 0;
    while (name < len && range[name] != ';' && range[name] != ' ')
        name++;
    const char *slash = memchr(range, '/', name);
    if (!slash) return 0;
    size_t type_len = (size_t)(slash - range), sub_len = name - type_len - 1;
    bool any_type = type_len == 1 && range[0] == '*', any_sub = sub_len == 1 && slash[1] == '*';
    if (!any_type && (type_len != strlen(type) || strncasecmp(range, type, type_len))) return 0;
    if (!any_sub && (any_type || sub_len != strlen(subtype) || strncasecmp(slash + 1, subtype, sub_len))) return 0;
    *ret_allows = true;
    for (size_t i = name; i + 2 < len; i++)
        if ((range[i] == 'q' || range[i] == 'Q') && range[i + 1] == '=') *ret_allows = strtod(range + i + 2, NULL) > 0;
    return any_type ? 1 : any_sub ? 2 : 3;
}

/* The range that names it most closely decides. */
static bool accepts(const struct http_request *r, const char *type, const char *subtype) {
    const char *value;
    int best = 0;
    bool allowed = false;
    for (size_t n = 0; (value = http_request_header_nth(r, "Accept", n)); n++)
        for (const char *at = value; *at;) {
            at += strspn(at, " ,\t");
            size_t len = strcspn(at, ",");
            bool allows = false;
            int match = len ? range_match(at, len, type, subtype, &allows) : 0;
            if (match > best) {
                best = match;
                allowed = allows;
            }
            at += len;
        }
    return allowed;
}

bool call_accepts(const struct http_request *r, enum encoding *ret) {
    if (!http_request_header(r, "Accept") || accepts(r, "application", "json")) {
        *ret = ENCODING_JSON;
        return true;
    }
    *ret = ENCODING_PROTOBUF;
    return accepts(r, "application", "x-protobuf");
}

/* ---- routing ---- */

/* The longest route that is a prefix by whole components; trailing slashes do not count. */
static const struct route *route_find(const char *path, const char **ret_rest) {
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    const struct route *best = NULL;
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        size_t n = strlen(routes[i].path);
        if (len < n || memcmp(path, routes[i].path, n) || (len > n && path[n] != '/' && path[n] != '.')) continue;
        if (path[n] == '.' && strncmp(path + n, ".json", 5)) continue;
        if (routes[i].flags & ROUTE_EXACT && len != n) continue;
        if (!best || n > strlen(best->path)) best = &routes[i];
    }
    if (best) *ret_rest = path + strlen(best->path);
    return best;
}

static const char *path_without_process(const char *path) {
    return !strncmp(path, "/master/", 8) ? path + 7 : path;
}

static void reply_redirect(const struct http_request *r, const char *leader) {
    char location[2048];
    int n = snprintf(location, sizeof location, "//%s%s", leader, r->target);
    const struct http_field field = {"Location", location};
    if (n < 0 || (size_t)n >= sizeof location)
        http_reply_text(r->exchange, 414, "The target is too long");
    else
        http_reply(r->exchange, 307, &field, 1, NULL, 0);
}

void call_reply_elsewhere(const struct call *call) {
    const char *leader = NULL;
    if (!call->m->current && master_leader_known(call->m, &leader, NULL))
        reply_redirect(call->request, leader);
    else
        call_unavailable(call->x, "No leader elected");
}

enum gate { GATE_OPEN, GATE_REDIRECT, GATE_WAIT };

static enum gate leader_gate(const struct master *m, const char **ret_leader) {
    if (m->current) return replica_handing_over(m->replica) ? GATE_WAIT : GATE_OPEN;
    return master_leader_known(m, ret_leader, NULL) ? GATE_REDIRECT : GATE_WAIT;
}

static void held_forget(struct held *held) {
    queue_remove(&held->on_list);
    held->api->held_count--;
    free(held);
}

static void held_on_closed(void *ctx) {
    held_forget(ctx);
}

static void request_hold(struct api *api, const struct http_request *r) {
    struct held *held = api->held_count < API_HELD_MAX ? malloc(sizeof *held) : NULL;
    if (!held) {
        call_unavailable(r->exchange, "No leader elected");
        return;
    }
    *held = (struct held){.api = api, .request = r, .since_ms = clock_mono_ms()};
    queue_push(&api->held, &held->on_list);
    api->held_count++;
    http_exchange_on_closed(r->exchange, held_on_closed, held);
}

/* ---- reads that any master answers ---- */

struct reading {
    struct master *m;
    const struct http_request *request; /* NULL once its connection is gone */
    const struct route *route;
    const char *rest;
};

static void read_now(struct master *m, const struct http_request *r, const struct route *route, const char *rest) {
    struct call call = {.m = m, .request = r, .x = r->exchange, .rest = rest, .index = state_applied_index(m->state)};
    if (call.index == 0)
        call_unavailable(r->exchange, "Nothing has been applied here yet");
    else
        route->handler(&call);
}

static void reading_closed(void *ctx) {
    ((struct reading *)ctx)->request = NULL;
}

static void reading_done(void *ctx, int status) {
    struct reading reading = *(struct reading *)ctx;
    free(ctx);
    if (!reading.request) return;
    http_exchange_on_closed(reading.request->exchange, NULL, NULL);
    if (status)
        call_unavailable(reading.request->exchange, "No leader could be asked");
    else
        read_now(reading.m, reading.request, reading.route, reading.rest);
}

/* A GET with Conclave-Read; false: the request has no such header. */
static bool read_serve(struct api *api, const struct http_request *r, const struct route *route, const char *rest) {
    const char *how = strcmp(r->method, "GET") ? NULL : http_request_header(r, "Conclave-Read");
    if (!how) return false;
    bool local = !strcmp(how, "local");
    if (!local && strcmp(how, "linearizable")) {
        http_reply_text(r->exchange, 400, "Conclave-Read: is neither local nor linearizable");
        return true;
    }
    if (local) {
        read_now(api->m, r, route, rest);
        return true;
    }
    struct reading *reading = malloc(sizeof *reading);
    if (!reading) {
        call_unavailable(r->exchange, "Out of memory");
        return true;
    }
    *reading = (struct reading){.m = api->m, .request = r, .route = route, .rest = rest};
    http_exchange_on_closed(r->exchange, reading_closed, reading);
    replica_read(api->m->replica, reading_done, reading);
    return true;
}

/* Serves or refuses a request; true if it is still without an answer because no leader is known. */
static bool request_serve(struct api *api, const struct http_request *r) {
    struct call call = {.m = api->m, .request = r, .x = r->exchange};
    const struct route *route = route_find(path_without_process(r->path), &call.rest);
    const char *leader = NULL;
    if (!route) {
        http_reply_text(r->exchange, 404, "Not found");
        return false;
    }
    bool write = route->handler == api_admin && strcmp(r->method, "GET") != 0;
    if (write && leader_gate(api->m, &leader) == GATE_WAIT) return true;
    if ((route->flags & ROUTE_LEADER) && read_serve(api, r, route, call.rest)) return false;
    if (route->flags & ROUTE_LEADER) {
        enum gate gate = leader_gate(api->m, &leader);
        if (gate == GATE_WAIT) return true;
        if (gate == GATE_REDIRECT) {
            reply_redirect(r, leader);
            return false;
        }
    }
    route->handler(&call);
    return false;
}

static void on_request(void *ctx, const struct http_request *r) {
    struct api *api = ctx;
    if (request_serve(api, r)) request_hold(api, r);
}

void api_retry_held(struct api *api, uint64_t now_ms) {
    const char *leader;
    bool decided = leader_gate(api->m, &leader) != GATE_WAIT;
    struct queue waiting;
    queue_init(&waiting);
    while (!queue_empty(&api->held)) { /* what is held again in between must not be seen in this walk */
        struct queue *q = api->held.next;
        queue_remove(q);
        queue_push(&waiting, q);
    }
    while (!queue_empty(&waiting)) {
        struct held *held = QUEUE_ENTRY(waiting.next, struct held, on_list);
        const struct http_request *r = held->request;
        if (!decided && now_ms < held->since_ms + API_HOLD_MS) {
            queue_remove(&held->on_list);
            queue_push(&api->held, &held->on_list);
            continue;
        }
        http_exchange_on_closed(r->exchange, NULL, NULL);
        held_forget(held);
        if (!decided || request_serve(api, r)) call_unavailable(r->exchange, "No leader elected");
    }
}

/* ---- life ---- */

const struct http_stats *api_stats(struct api *api) {
    http_server_stats(api->server, &api->stats);
    return &api->stats;
}

int api_open(struct master *m, struct api **ret, struct err *err) {
    struct api *api = calloc(1, sizeof *api);
    if (!api) return err_set(err, ERR_NOMEM, "out of memory");
    api->m = m;
    queue_init(&api->held);
    struct http_limits limits;
    http_limits_default(&limits);
    limits.connections_max = 16384;
    limits.stream_backlog_bytes_max = 16u << 20;
    int rc = http_server_open(m->net, &m->config->http_listen, &limits, on_request, api, &api->server, err);
    if (rc) {
        free(api);
        return err_wrap(err, "HTTP");
    }
    *ret = api;
    return 0;
}

struct api_closing {
    struct api *api;
    void (*closed)(void *ctx);
    void *ctx;
};

static void api_closed(void *ctx) {
    struct api_closing closing = *(struct api_closing *)ctx;
    free(ctx);
    free(closing.api);
    closing.closed(closing.ctx);
}

void api_close(struct api *api, void (*closed)(void *ctx), void *ctx) {
    struct api_closing *closing = malloc(sizeof *closing);
    CHECK(closing);
    *closing = (struct api_closing){.api = api, .closed = closed, .ctx = ctx};
    http_server_close(api->server, api_closed, closing);
}
