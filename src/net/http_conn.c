/* SPDX-License-Identifier: Apache-2.0 */
#include "net/http_conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"

#define OUT_PAUSE_BYTES       ((size_t)256 << 10) /* with this much to send, no further pipelined request is begun */
#define BODY_FIRST_BYTES      ((size_t)64 << 10)  /* reserved at once for a declared body; more only as it arrives */
#define FRAMING_PER_BODY_BYTE 8                   /* one-byte chunks cost five */

static int fault(struct http_conn *c, int status, const char *reason) {
    if (c->fault_status == 0) {
        c->fault_status = status;
        c->fault_reason = reason;
    }
    return HPE_USER;
}

/* ---- what llhttp calls ------------------------------------------------------------------------------------------- */

static int on_headers_complete(llhttp_t *p) {
    struct http_conn *c = p->data;
    c->exchange->keep_alive = llhttp_should_keep_alive(p) != 0;
    if (p->method != HTTP_CONNECT) p->upgrade = 0; /* an offer to upgrade is declined by ignoring it */
    return 0;
}

static int on_body(llhttp_t *p, const char *at, size_t len) {
    struct http_conn *c = p->data;
    struct http_exchange *x = c->exchange;
    struct http_shared *shared = c->shared;
    if (len > shared->limits.body_bytes_max - x->body.len) return fault(c, 413, "body over the limit");
    if (len > shared->limits.body_bytes_total_max - shared->body_bytes)
        return fault(c, 503, "too many request bodies at once");
    if (buf_append(&x->body, at, len)) return fault(c, 503, "out of memory");
    x->body_bytes_held += len;
    shared->body_bytes += len;
    c->framing_bytes -= len;
    return 0;
}

static int on_chunk_header(llhttp_t *p) {
    struct http_conn *c = p->data;
    if (p->content_length > c->shared->limits.body_bytes_max - c->exchange->body.len)
        return fault(c, 413, "body over the limit");
    return 0;
}

static int on_chunk_extension(llhttp_t *p, const char *at, size_t len) {
    struct http_conn *c = p->data;
    (void)at;
    c->extension_bytes += len;
    if (c->extension_bytes > c->shared->limits.extension_bytes_max)
        return fault(c, 400, "chunk extensions over the limit");
    return 0;
}

/* A field behind a chunked body; those of the head have been seen to by the scanner, and are not looked at here. */
static int on_trailer_name(llhttp_t *p, const char *at, size_t len) {
    struct http_conn *c = p->data;
    (void)len;
    if (c->phase != PHASE_BODY) return 0;
    uint8_t before = (const uint8_t *)at > c->feed_begin ? (uint8_t)at[-1] : c->feed_before;
    bool continues = (const uint8_t *)at == c->feed_begin && http_token_char(before); /* cut by the end of a read */
    if (before != '\n' && !continues) return fault(c, 400, "CR without LF in the trailer");
    return 0;
}

static int on_trailer_value(llhttp_t *p, const char *at, size_t len) {
    struct http_conn *c = p->data;
    if (c->phase != PHASE_BODY) return 0;
    uint8_t before = (const uint8_t *)at > c->feed_begin ? (uint8_t)at[-1] : c->feed_before;
    if (before == '\n' || before == '\r') return fault(c, 400, "folded header line");
    if (memchr(at, '\r', len) || memchr(at, '\n', len) || memchr(at, '\0', len))
        return fault(c, 400, "control character in a trailer value");
    return 0;
}

static int on_message_complete(llhttp_t *p) {
    struct http_conn *c = p->data;
    c->message_done = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_chunk_header = on_chunk_header,
    .on_chunk_extension_name = on_chunk_extension,
    .on_chunk_extension_value = on_chunk_extension,
    .on_header_field = on_trailer_name,
    .on_header_value = on_trailer_value,
    .on_message_complete = on_message_complete,
};

/* Runs llhttp over data[0..len) of one request. Returns how many bytes it took, or sets a fault. */
static size_t parser_run(struct http_conn *c, const uint8_t *data, size_t len) {
    c->feed_begin = data;
    llhttp_errno_t rc = llhttp_execute(&c->parser, (const char *)data, len);
    if (rc == HPE_OK) return len;
    if (rc == HPE_PAUSED && c->message_done) {
        const uint8_t *end = (const uint8_t *)llhttp_get_error_pos(&c->parser);
        CHECK(end >= data && end <= data + len);
        return (size_t)(end - data);
    }
    const char *reason = llhttp_get_error_reason(&c->parser);
    (void)fault(c, 400, reason ? reason : "malformed request");
    return len;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

void http_conn_init(struct http_conn *c, struct http_shared *shared, const struct http_conn_hooks *hooks, void *ctx,
                    const char *peer) {
    *c = (struct http_conn){.shared = shared, .hooks = hooks, .ctx = ctx, .phase = PHASE_IDLE};
    buf_init(&c->out, SIZE_MAX / 2); /* bounded by what appends: one reply, a stream's backlog, OUT_PAUSE_BYTES */
    (void)snprintf(c->peer, sizeof c->peer, "%s", peer);
}

void http_conn_done(struct http_conn *c) {
    if (c->exchange) {
        struct http_exchange *x = c->exchange;
        c->exchange = NULL;
        if (x->request.exchange)
            http_exchange_detach(x);
        else
            http_exchange_free(x); /* the application has never seen it */
    }
    buf_done(&c->out);
}

void http_conn_set_phase(struct http_conn *c, enum http_phase phase) {
    c->phase = phase;
    c->phase_n++;
}

bool http_conn_takes_input(const struct http_conn *c) {
    switch (c->phase) {
    case PHASE_IDLE:
        return c->out.len < OUT_PAUSE_BYTES;
    case PHASE_HEAD:
    case PHASE_BODY:
    case PHASE_CLOSE:
    case PHASE_LINGER:
    case PHASE_CUT:
        return true;
    case PHASE_ANSWER:
    case PHASE_STREAM:
        break;
    }
    return false;
}

void http_conn_refuse(struct http_conn *c, int status, const char *reason) {
    static const struct http_field plain[] = {{"Content-Type", "text/plain"}};
    char text[160];
    int len = snprintf(text, sizeof text, "%s\n", reason);
    struct http_exchange nobody = {.minor = 1};
    if (c->exchange) http_exchange_free(c->exchange);
    c->exchange = NULL;
    c->shared->stats.bad_requests++;
    size_t text_len = len < (int)sizeof text ? (size_t)len : sizeof text - 1;
    bool ok = http_answer_write(&c->out, c->shared, &nobody, status, plain, 1, text, text_len, false);
    http_conn_set_phase(c, ok ? PHASE_LINGER : PHASE_CUT);
    c->hooks->wake(c->ctx);
}

/* ---- the head ---------------------------------------------------------------------------------------------------- */

/* Splits the raw head, which the scanner has found well-formed, into terminated strings in place. False: the request
 * line is not three words. */
static bool head_split(struct http_exchange *x) {
    char *at = (char *)x->head.data, *end = at + x->head.len;
    char *line_end = memchr(at, '\r', x->head.len);
    char *target = memchr(at, ' ', (size_t)(line_end - at));
    char *version = target ? memchr(target + 1, ' ', (size_t)(line_end - target - 1)) : NULL;
    if (!version || version == target + 1 || line_end - version != 9) return false;
    x->request.method = at;
    x->request.target = target + 1;
    *target = *version = '\0';

    for (at = line_end + 2; at + 2 < end; at = line_end + 2) {
        line_end = memchr(at, '\r', (size_t)(end - at));
        char *colon = memchr(at, ':', (size_t)(line_end - at)), *value = colon + 1, *value_end = line_end;
        while (value < value_end && (*value == ' ' || *value == '\t'))
            value++;
        while (value_end > value && (value_end[-1] == ' ' || value_end[-1] == '\t'))
            value_end--;
        *colon = *value_end = '\0';
        CHECK(x->field_n < x->field_cap);
        x->fields[x->field_n++] = (struct http_field){.name = at, .value = value};
    }
    return true;
}

/* Room for the fields, and behind the raw head for the decoded path and the peer's text, so that nothing moves later.
 */
static bool head_make_room(struct http_exchange *x) {
    size_t lines = 0;
    for (size_t i = 0; i < x->head.len; i++)
        lines += x->head.data[i] == '\n';
    x->field_cap = lines - 2;
    x->fields = malloc((x->field_cap + 1) * sizeof *x->fields);
    return x->fields && buf_reserve(&x->head, x->head.len + HTTP_PEER_TEXT_MAX);
}

/* Splits the target into decoded path and query. */
static bool head_split_target(struct http_conn *c, struct http_exchange *x) {
    const char *target = x->request.target;
    if (strncasecmp(target, "http://", 7) == 0 || strncasecmp(target, "https://", 8) == 0) {
        const char *authority = strstr(target, "://") + 3;
        target = authority + strcspn(authority, "/?");
        if (target == authority) return false;
    }
    if (strchr(target, '#')) return false;
    char *path = (char *)x->head.data + x->head.len, *peer;
    size_t path_len = strcspn(target, "?");
    if (target[0] == '/') {
        if (http_percent_decode(target, path_len, false, path, path_len + 1)) return false;
    } else if (path_len == 0 && x->request.target != target) {
        memcpy(path, "/", 2); /* "http://host" alone */
    } else if (strcmp(target, "*") == 0 && strcmp(x->request.method, "OPTIONS") == 0) {
        memcpy(path, "*", 2);
    } else {
        return false;
    }
    for (const char *p = path; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) return false;
    x->request.path = path;
    x->request.query = target[path_len] == '?' ? target + path_len + 1 : "";
    x->request.target = target[0] ? target : path;
    peer = path + strlen(path) + 1;
    memcpy(peer, c->peer, sizeof c->peer);
    x->request.peer = peer;
    return true;
}

/* The rules that need the fields: framing, Host, Expect. Faults say what is wrong. */
static void head_judge(struct http_conn *c, struct http_exchange *x) {
    size_t lengths = 0, codings = 0, hosts = 0;
    const char *expect = NULL;
    bool chunked = false;
    for (size_t i = 0; i < x->field_n; i++) {
        const struct http_field *f = &x->fields[i];
        if (strcasecmp(f->name, "Content-Length") == 0) lengths++;
        if (strcasecmp(f->name, "Host") == 0) hosts++;
        if (strcasecmp(f->name, "Expect") == 0) expect = f->value;
        if (strcasecmp(f->name, "Transfer-Encoding") == 0) {
            codings++;
            chunked = strcasecmp(f->value, "chunked") == 0;
        }
    }
    if (lengths > 1) (void)fault(c, 400, "Content-Length twice");
    if (lengths && codings) (void)fault(c, 400, "Content-Length beside Transfer-Encoding");
    if (codings > 1 || (codings && (!chunked || x->minor == 0)))
        (void)fault(c, 400, "Transfer-Encoding other than one chunked");
    if (chunked != (!c->message_done && (c->parser.flags & F_CHUNKED)))
        (void)fault(c, 400, "unclear Transfer-Encoding");
    if (hosts > 1 || (hosts == 0 && x->minor == 1)) (void)fault(c, 400, "exactly one Host is needed");
    if (c->parser.content_length > c->shared->limits.body_bytes_max && !chunked)
        (void)fault(c, 413, "body over the limit");
    if (expect && strcasecmp(expect, "100-continue") != 0) (void)fault(c, 417, "unknown expectation");
    if (c->fault_status == 0 && expect && !c->message_done && x->minor == 1) {
        if (buf_append_str(&c->out, "HTTP/1.1 100 Continue\r\n\r\n")) (void)fault(c, 503, "out of memory");
        c->hooks->wake(c->ctx);
    }
}

/* The scanner has seen a whole head: let llhttp read it, and judge. */
static void head_complete(struct http_conn *c) {
    struct http_exchange *x = c->exchange;
    size_t len = x->head.len;
    llhttp_init(&c->parser, HTTP_REQUEST, &settings);
    c->parser.data = c;
    c->message_done = false;
    c->fault_status = 0;
    c->framing_bytes = c->extension_bytes = 0;
    c->feed_before = '\n';
    if (!head_make_room(x)) {
        http_conn_refuse(c, 503, "out of memory");
        return;
    }
    size_t taken = parser_run(c, x->head.data, len);
    x->minor = c->parser.http_minor;
    if (c->fault_status == 0 && (c->parser.http_major != 1 || c->parser.http_minor > 1))
        (void)fault(c, 505, "only HTTP/1.0 and HTTP/1.1");
    if (c->parser.method == HTTP_CONNECT) c->fault_status = 501, c->fault_reason = "CONNECT is not supported";
    if (c->fault_status == 0 && (taken != len || !head_split(x) || !head_split_target(c, x)))
        (void)fault(c, 400, "bad request line");
    if (c->fault_status == 0) head_judge(c, x);
    if (c->fault_status) {
        http_conn_refuse(c, c->fault_status, c->fault_reason);
        return;
    }
    if (!c->message_done) {
        uint64_t declared = c->parser.content_length;
        if (declared > 0) (void)buf_reserve(&x->body, declared < BODY_FIRST_BYTES ? declared : BODY_FIRST_BYTES);
        http_conn_set_phase(c, PHASE_BODY);
    }
}

/* ---- input ------------------------------------------------------------------------------------------------------- */

static void dispatch(struct http_conn *c) {
    struct http_exchange *x = c->exchange;
    x->head_only = strcmp(x->request.method, "HEAD") == 0;
    x->request.exchange = x;
    x->request.fields = x->fields;
    x->request.field_n = x->field_n;
    x->request.body = x->body.data ? x->body.data : (const uint8_t *)"";
    x->request.body_len = x->body.len;
    x->request.minor = x->minor;
    x->request.keep_alive = x->keep_alive;
    c->shared->stats.requests++;
    http_conn_set_phase(c, PHASE_ANSWER);
    c->hooks->request(c->ctx, &x->request);
}

static size_t head_in(struct http_conn *c, const uint8_t *data, size_t len) {
    size_t skip;
    size_t taken = http_scan_feed(&c->scan, data, len, &skip);
    if (!c->exchange && taken > skip && !(c->exchange = http_exchange_new(c))) {
        http_conn_refuse(c, 503, "out of memory");
        return taken;
    }
    struct http_exchange *x = c->exchange;
    if (x && taken > skip) {
        if (x->head.len + taken > c->shared->limits.head_bytes_max) {
            http_conn_refuse(c, 431, "request head over the limit");
            return taken;
        }
        if (buf_append(&x->head, data + skip, taken - skip)) {
            http_conn_refuse(c, 503, "out of memory");
            return taken;
        }
    }
    if (c->scan.state == SCAN_BAD)
        http_conn_refuse(c, 400, c->scan.reason);
    else if (c->scan.state == SCAN_DONE && !x)
        http_conn_refuse(c, 400, "empty request head");
    else if (c->scan.state == SCAN_DONE)
        head_complete(c);
    return taken;
}

static size_t body_in(struct http_conn *c, const uint8_t *data, size_t len) {
    c->framing_bytes += len;
    size_t taken = parser_run(c, data, len);
    c->framing_bytes -= len - taken;
    if (taken > 0) c->feed_before = data[taken - 1];
    size_t framing_max = c->shared->limits.head_bytes_max + FRAMING_PER_BODY_BYTE * c->exchange->body.len;
    if (c->framing_bytes > framing_max) (void)fault(c, 431, "trailers or chunk lines over the limit");
    if (c->fault_status) http_conn_refuse(c, c->fault_status, c->fault_reason);
    return taken;
}

size_t http_conn_in(struct http_conn *c, const uint8_t *data, size_t len) {
    size_t taken = 0;
    while (taken < len && http_conn_takes_input(c)) {
        if (c->phase > PHASE_BODY) return len; /* nobody wants it any more */
        if (c->phase == PHASE_IDLE) {
            http_scan_init(&c->scan);
            c->message_done = false;
            http_conn_set_phase(c, PHASE_HEAD);
        }
        taken += (c->phase == PHASE_HEAD ? head_in : body_in)(c, data + taken, len - taken);
        if (c->message_done && c->phase <= PHASE_BODY) dispatch(c);
    }
    return taken;
}

void http_conn_eof(struct http_conn *c) {
    c->peer_half_closed = true;
    if (c->phase <= PHASE_BODY)
        http_conn_set_phase(c, PHASE_CLOSE);
    else if (c->phase == PHASE_STREAM)
        http_conn_set_phase(c, PHASE_CUT);
    c->hooks->wake(c->ctx);
}

void http_conn_timeout(struct http_conn *c) {
    bool begun = (c->phase == PHASE_HEAD || c->phase == PHASE_BODY) && c->exchange;
    if (c->phase != PHASE_IDLE) c->shared->stats.timeouts++;
    if (begun) {
        http_conn_refuse(c, 408, c->phase == PHASE_HEAD ? "the head took too long" : "the body took too long");
        return;
    }
    http_conn_set_phase(c, c->phase <= PHASE_BODY ? PHASE_CLOSE : PHASE_CUT);
    c->hooks->wake(c->ctx);
}
