/* SPDX-License-Identifier: Apache-2.0
 * The application's side of an exchange: answers and streams, and what remains when the connection has gone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"
#include "net/http_conn.h"

static uint64_t exchange_ids; /* given out in this process */

/* ---- the exchange ------------------------------------------------------------------------------------------------ */

struct http_exchange *http_exchange_new(struct http_conn *c) {
    struct http_exchange *x = calloc(1, sizeof *x);
    if (!x) return NULL;
    const struct http_limits *limits = &c->shared->limits;
    x->magic = HTTP_EXCHANGE_MAGIC;
    x->conn = c;
    x->id = ++exchange_ids;
    x->defer = c->shared->defer;
    x->defer_ctx = c->shared->defer_ctx;
    buf_init(&x->head, limits->head_bytes_max * 2 + HTTP_PEER_TEXT_MAX);
    buf_init(&x->body, limits->body_bytes_max);
    queue_init(&x->task.queue);
    return x;
}

/* The server counts the bodies of its connections only. */
static void exchange_uncount(struct http_exchange *x) {
    if (x->conn) x->conn->shared->body_bytes -= x->body_bytes_held;
    x->body_bytes_held = 0;
}

void http_exchange_release(struct http_exchange *x) {
    exchange_uncount(x);
    buf_done(&x->head);
    buf_done(&x->body);
    free(x->fields);
    x->fields = NULL;
}

void http_exchange_free(struct http_exchange *x) {
    CHECK_MAGIC(x, HTTP_EXCHANGE_MAGIC);
    http_exchange_release(x);
    net_task_cancel(&x->task);
    x->magic = 0;
    free(x);
}

static void exchange_closed(struct net_task *task) {
    struct http_exchange *x = QUEUE_ENTRY(task, struct http_exchange, task);
    CHECK_MAGIC(x, HTTP_EXCHANGE_MAGIC);
    void (*closed)(void *) = x->closed;
    void *ctx = x->closed_ctx;
    if (!closed) return; /* taken back meanwhile: the exchange waits for its answer */
    closed(ctx);
    http_exchange_free(x);
}

static void exchange_defer_closed(struct http_exchange *x) {
    if (!x->closed || !queue_empty(&x->task.queue)) return;
    x->task.run = exchange_closed;
    x->defer(x->defer_ctx, &x->task);
}

void http_exchange_detach(struct http_exchange *x) {
    exchange_uncount(x);
    if (x->streaming) x->conn->shared->stats.streams--;
    x->conn = NULL;
    exchange_defer_closed(x);
}

void http_exchange_on_closed(struct http_exchange *x, void (*closed)(void *ctx), void *ctx) {
    CHECK_MAGIC(x, HTTP_EXCHANGE_MAGIC);
    x->closed = closed;
    x->closed_ctx = ctx;
    if (!x->conn) exchange_defer_closed(x);
}

uint64_t http_exchange_id(const struct http_exchange *x) {
    return x->id;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static const char *status_text(int status) {
    switch (status) {
    case 200:
        return "OK";
    case 201:
        return "Created";
    case 202:
        return "Accepted";
    case 204:
        return "No Content";
    case 206:
        return "Partial Content";
    case 301:
        return "Moved Permanently";
    case 302:
        return "Found";
    case 304:
        return "Not Modified";
    case 307:
        return "Temporary Redirect";
    case 308:
        return "Permanent Redirect";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 406:
        return "Not Acceptable";
    case 408:
        return "Request Timeout";
    case 409:
        return "Conflict";
    case 410:
        return "Gone";
    case 412:
        return "Precondition Failed";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 415:
        return "Unsupported Media Type";
    case 416:
        return "Range Not Satisfiable";
    case 417:
        return "Expectation Failed";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    case 505:
        return "HTTP Version Not Supported";
    case 507:
        return "Insufficient Storage";
    default:
        return "Status";
    }
}

static bool field_is_good(const struct http_field *f) {
    static const char *const ours[] = {"Date", "Connection", "Content-Length", "Transfer-Encoding"};
    if (!f->name[0]) return false;
    for (const char *p = f->name; *p; p++)
        if (!http_token_char((uint8_t)*p)) return false;
    for (const char *p = f->value; *p; p++)
        if (((unsigned char)*p < 0x20 && *p != '\t') || *p == 0x7f) return false;
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (strcasecmp(f->name, ours[i]) == 0) return false;
    return true;
}

/* Status line, Date and the caller's fields; false when a field is bad. The buffer may be left `failed`. */
static bool write_begin(struct buf *out, const struct http_shared *shared, int status, const struct http_field *fields,
                        size_t field_n) {
    for (size_t i = 0; i < field_n; i++)
        if (!field_is_good(&fields[i])) return false;
    char line[16] = "HTTP/1.1 000 ";
    CHECK(status >= 100 && status <= 999);
    line[9] = (char)('0' + status / 100), line[10] = (char)('0' + status / 10 % 10),
    line[11] = (char)('0' + status % 10);
    (void)buf_append(out, line, 13);
    (void)buf_append_str(out, status_text(status));
    if (shared->date[0]) {
        (void)buf_append_str(out, "\r\nDate: ");
        (void)buf_append_str(out, shared->date);
    }
    for (size_t i = 0; i < field_n; i++) {
        (void)buf_append_str(out, "\r\n");
        (void)buf_append_str(out, fields[i].name);
        (void)buf_append_str(out, ": ");
        (void)buf_append_str(out, fields[i].value);
    }
    return true;
}

static void write_end(struct buf *out, const struct http_exchange *x, bool keep_alive) {
    if (!keep_alive)
        (void)buf_append_str(out, "\r\nConnection: close");
    else if (x->minor == 0)
        (void)buf_append_str(out, "\r\nConnection: keep-alive");
    (void)buf_append_str(out, "\r\n\r\n");
}

bool http_answer_write(struct buf *out, const struct http_shared *shared, const struct http_exchange *x, int status,
                       const struct http_field *fields, size_t field_n, const void *body, size_t len, bool keep_alive) {
    bool bodiless = status < 200 || status == 204 || status == 304;
    if (len > HTTP_REPLY_BYTES_MAX || !write_begin(out, shared, status, fields, field_n)) return false;
    if (!bodiless) (void)buf_printf(out, "\r\nContent-Length: %zu", len);
    write_end(out, x, keep_alive);
    if (!bodiless && !x->head_only) (void)buf_append(out, body, len);
    return !out->failed;
}

/* ---- plain answers ----------------------------------------------------------------------------------------------- */

/* The exchange is over; the connection goes on, or not. */
static void exchange_end(struct http_exchange *x, enum http_phase next) {
    struct http_conn *c = x->conn;
    if (c) {
        CHECK(c->exchange == x);
        c->exchange = NULL;
        if (x->streaming) c->shared->stats.streams--;
        if (c->phase != PHASE_CUT) http_conn_set_phase(c, next);
        c->hooks->wake(c->ctx);
    }
    http_exchange_free(x);
}

/* A 500 for what the application got wrong; false without memory. */
static bool write_failure(struct http_exchange *x, bool keep_alive) {
    struct http_conn *c = x->conn;
    return !c->out.failed && http_answer_write(&c->out, c->shared, x, 500, NULL, 0, "", 0, keep_alive);
}

void http_reply(struct http_exchange *x, int status, const struct http_field *fields, size_t field_n, const void *body,
                size_t len) {
    CHECK_MAGIC(x, HTTP_EXCHANGE_MAGIC);
    CHECK(!x->streaming);
    struct http_conn *c = x->conn;
    enum http_phase next = x->keep_alive ? PHASE_IDLE : PHASE_CLOSE;
    if (c && c->phase == PHASE_ANSWER) {
        bool ok = http_answer_write(&c->out, c->shared, x, status, fields, field_n, body, len, x->keep_alive) ||
                  write_failure(x, x->keep_alive);
        if (!ok) next = PHASE_CUT;
    }
    exchange_end(x, next);
}

void http_reply_text(struct http_exchange *x, int status, const char *text) {
    static const struct http_field plain[] = {{"Content-Type", "text/plain"}};
    size_t len = text ? strlen(text) : 0;
    http_reply(x, status, plain, len ? 1 : 0, text, len);
}

void http_abort(struct http_exchange *x) {
    CHECK_MAGIC(x, HTTP_EXCHANGE_MAGIC);
    exchange_end(x, PHASE_CUT);
}

/* ---- streams ----------------------------------------------------------------------------------------------------- */

void http_stream_begin(struct http_exchange *x, int status, const struct http_field *fields, size_t field_n) {
    CHECK_MAGIC(x, HTTP_EXCHANGE_MAGIC);
    CHECK(!x->streaming);
    struct http_conn *c = x->conn;
    x->chunked = x->minor > 0;
    if (c && c->phase == PHASE_ANSWER) {
        enum http_phase next = c->peer_half_closed ? PHASE_CUT : PHASE_STREAM;
        x->keep_alive = x->keep_alive && x->chunked;
        if (write_begin(&c->out, c->shared, status, fields, field_n)) {
            if (x->chunked) (void)buf_append_str(&c->out, "\r\nTransfer-Encoding: chunked");
            write_end(&c->out, x, x->keep_alive);
            if (c->out.failed) next = PHASE_CUT;
        } else {
            next = write_failure(x, false) ? PHASE_CLOSE : PHASE_CUT;
        }
        http_conn_set_phase(c, next);
        c->hooks->wake(c->ctx);
        if (next != PHASE_STREAM) {
            c->exchange = NULL;
            http_exchange_detach(x);
        }
    }
    http_exchange_release(x);
    x->streaming = true;
    if (x->conn) x->conn->shared->stats.streams++;
}

size_t http_stream_backlog(const struct http_exchange *x) {
    CHECK_MAGIC(x, HTTP_EXCHANGE_MAGIC);
    return x->conn ? x->conn->out.len + x->conn->hooks->in_flight(x->conn->ctx) : 0;
}

/* Whether `len` more bytes keep the backlog within its bound; tries the kernel before it says no. */
static bool stream_has_room(struct http_exchange *x, size_t len) {
    struct http_conn *c = x->conn;
    size_t max = c->shared->limits.stream_backlog_bytes_max;
    if (len > max) return false;
    if (http_stream_backlog(x) <= max - len) return true;
    c->hooks->flush(c->ctx);
    return http_stream_backlog(x) <= max - len;
}

int http_stream_chunk(struct http_exchange *x, const void *data, size_t len) {
    CHECK_MAGIC(x, HTTP_EXCHANGE_MAGIC);
    CHECK(x->streaming && len > 0);
    struct http_conn *c = x->conn;
    if (!c || c->phase != PHASE_STREAM) return ERR_CLOSED;
    if (x->head_only) return 0;
    bool room = stream_has_room(x, len);
    if (room) {
        char line[24];
        int n = snprintf(line, sizeof line, "%zx\r\n", len);
        if (x->chunked) (void)buf_append(&c->out, line, (size_t)n);
        (void)buf_append(&c->out, data, len);
        if (x->chunked) (void)buf_append(&c->out, "\r\n", 2);
    }
    if (!room || c->out.failed) {
        c->shared->stats.streams_cut++;
        http_conn_set_phase(c, PHASE_CUT);
    }
    c->hooks->wake(c->ctx);
    return c->phase == PHASE_STREAM ? 0 : ERR_BUSY;
}

void http_stream_end(struct http_exchange *x) {
    CHECK_MAGIC(x, HTTP_EXCHANGE_MAGIC);
    CHECK(x->streaming);
    struct http_conn *c = x->conn;
    enum http_phase next = x->keep_alive ? PHASE_IDLE : PHASE_CLOSE;
    if (c && c->phase == PHASE_STREAM && x->chunked && !x->head_only && buf_append_str(&c->out, "0\r\n\r\n"))
        next = PHASE_CUT;
    exchange_end(x, next);
}
