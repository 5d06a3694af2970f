/* SPDX-License-Identifier: Apache-2.0 */
#include "net/link.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "net/link_internal.h"

#define HANDSHAKE_DEFAULT_MS 5000

const char *link_reason_text(enum link_reason reason) {
    static const char *const text[] = {
#define REASON_TEXT(name, words) words,
        LINK_REASONS(REASON_TEXT)
#undef REASON_TEXT
    };
    return (unsigned)reason < sizeof text / sizeof text[0] ? text[reason] : "unknown";
}

const char *link_reason_name(enum link_reason reason) {
    static const char *const name[] = {
#define REASON_NAME(word, text) #word,
        LINK_REASONS(REASON_NAME)
#undef REASON_NAME
    };
    return (unsigned)reason < sizeof name / sizeof name[0] ? name[reason] : "UNKNOWN";
}

void link_options_default(struct link_options *options) {
    *options = (struct link_options){
        .frame_bytes_max = 2 << 20,
        .frame_bytes_max_new = 64 << 10,
        .bulk_bytes_max = 8 << 20,
        .control_bytes_max = 1 << 20,
        .connect_timeout_ms = 2000,
        .handshake_timeout_ms = 2000,
        .establish_timeout_ms = 5000,
    };
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

/* When uv has let go of everything, the application is told and the memory goes. */
static void link_finish(struct link *link) {
    if (link->state != LINK_CLOSING || link->stream_exists || link->resolving || !link->timer_closed) return;
    struct net *net = link->net;
    net_task_cancel(&link->task);
    net_task_cancel(&link->watch);
    if (link->callbacks.on_close) link->callbacks.on_close(link->ctx, link, link->reason, &link->err);
    if (link->server) link_server_gone(link->server, link);
    uv_freeaddrinfo(link->addresses);
    tls_conn_free(link->tls);
    buf_done(&link->tls_out);
    link_decoder_done(&link->decoder);
    buf_done(&link->lanes[LINK_CONTROL].buf);
    buf_done(&link->lanes[LINK_BULK].buf);
    link->magic = 0;
    free(link);
    net_release(net);
}

static void on_timer_closed(uv_handle_t *handle) {
    struct link *link = handle->data;
    link->timer_closed = true;
    link_finish(link);
}

void link_end(struct link *link, enum link_reason reason, const struct err *err) {
    CHECK_MAGIC(link, LINK_OBJECT_MAGIC);
    if (link->state == LINK_CLOSING) return;
    if (link->server && link->state == LINK_HANDSHAKE) link_server_failed(link->server, link, err);
    if (link->server) link_server_ending(link->server, link);
    link->state = LINK_CLOSING;
    link->reason = reason;
    link->err = *err;
    uv_close((uv_handle_t *)&link->timer, on_timer_closed);
    if (link->stream_exists && !uv_is_closing((uv_handle_t *)&link->stream.tcp)) net_stream_close(&link->stream);
    if (link->resolving) (void)uv_cancel((uv_req_t *)&link->resolve);
}

void link_end_text(struct link *link, enum link_reason reason, int code, const char *what) {
    struct err err;
    char peer[ADDRESS_TEXT_MAX];
    (void)err_set(&err, code, "%.80s: %s", address_format(&link->peer, peer), what);
    link_end(link, reason, &err);
}

void link_end_uv(struct link *link, int status) {
    bool open = link->state == LINK_OPEN;
    enum link_reason reason = LINK_IO;
    int code = ERR_IO;
    if (link->state == LINK_HANDSHAKE && (status == UV_EOF || status == UV_ECONNRESET || status == UV_EPIPE)) {
        link_end_text(link, LINK_PEER, ERR_CLOSED, "closed in the TLS handshake");
        return;
    }
    if (status == UV_ECONNREFUSED)
        reason = LINK_REFUSED;
    else if (open && (status == UV_EOF || status == UV_ECONNRESET || status == UV_EPIPE))
        reason = LINK_PEER;
    else if (status == UV_ETIMEDOUT)
        reason = LINK_TIMEOUT, code = ERR_TIMEOUT;
    else if (status == UV_EHOSTUNREACH || status == UV_ENETUNREACH || status == UV_ENETDOWN ||
             (status <= UV_EAI_ADDRFAMILY && status >= UV_EAI_SOCKTYPE) || status == UV_EAI_PROTOCOL)
        reason = LINK_UNREACHABLE;
    link_end_text(link, reason, code, uv_strerror(status));
}

/* ---- sending ------------------------------------------------------------------------------------------------------
 */

static void link_run(struct net_task *task) {
    struct link *link = QUEUE_ENTRY(task, struct link, task);
    CHECK_MAGIC(link, LINK_OBJECT_MAGIC);
    link_flush(link);
    if (link->state != LINK_OPEN || !link->busy_told) return;
    if (link_lane_bytes(&link->lanes[LINK_CONTROL]) > link->options.control_bytes_max / 2) return;
    if (link_lane_bytes(&link->lanes[LINK_BULK]) > link->options.bulk_bytes_max / 2) return;
    link->busy_told = false;
    if (link->callbacks.on_writable) link->callbacks.on_writable(link->ctx, link);
}

int link_send(struct link *link, enum link_lane lane, uint16_t type, const void *a, size_t a_len, const void *b,
              size_t b_len) {
    CHECK_MAGIC(link, LINK_OBJECT_MAGIC);
    if (link->state != LINK_OPEN) return ERR_CLOSED;
    size_t max = link->options.frame_bytes_max;
    if (a_len > max || b_len > max - a_len) return ERR_LIMIT;
    struct link_lane_queue *queue = &link->lanes[lane];
    size_t total = LINK_HEADER_BYTES + a_len + b_len, waiting = link_lane_bytes(queue);
    size_t bound = lane == LINK_CONTROL ? link->options.control_bytes_max : link->options.bulk_bytes_max;
    uint8_t *at = waiting > 0 && waiting + total > bound ? NULL : buf_reserve(&queue->buf, total);
    if (!at) {
        queue->buf.failed = false; /* no memory is a full queue */
        link->stats.busy++;
        link->busy_told = true;
        return ERR_BUSY;
    }
    link_frame_header(at, lane == LINK_CONTROL ? LINK_FLAG_CONTROL : 0, type, a, a_len, b, b_len);
    if (a_len) memcpy(at + LINK_HEADER_BYTES, a, a_len);
    if (b_len) memcpy(at + LINK_HEADER_BYTES + a_len, b, b_len);
    queue->buf.len += total;
    link->stats.frames_out++;
    net_defer(link->net, &link->task);
    return 0;
}

/* ---- what the stream tells --------------------------------------------------------------------------------------- */

static void stream_received(struct net_stream *s, const uint8_t *data, size_t len) {
    struct link *link = QUEUE_ENTRY(s, struct link, stream);
    if (link->state != LINK_OPEN && link->state != LINK_HANDSHAKE) return;
    link->stats.bytes_in += len;
    link->stats.last_in_ms = uv_now(net_loop(link->net));
    link_bytes_in(link, data, len);
}

static void stream_ended(struct net_stream *s, int status) {
    link_end_uv(QUEUE_ENTRY(s, struct link, stream), status);
}

static void stream_sent(struct net_stream *s) {
    struct link *link = QUEUE_ENTRY(s, struct link, stream);
    net_defer(link->net, &link->task);
}

static void link_try_next(struct link *link);

static void stream_closed(struct net_stream *s) {
    struct link *link = QUEUE_ENTRY(s, struct link, stream);
    link->stream_exists = false;
    if (link->state == LINK_CONNECTING) link_try_next(link); /* the address before did not answer */
    link_finish(link);
}

const struct net_stream_events link_stream_events = {stream_received, stream_ended, stream_sent, stream_closed};

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static void on_establish_timeout(uv_timer_t *timer) {
    link_end_text(timer->data, LINK_TIMEOUT, ERR_TIMEOUT, "no valid hello in time");
}

static void link_read(struct link *link) {
    int rc = net_stream_read(&link->stream, !(link->cut & NET_CUT_IN));
    if (rc) link_end_uv(link, rc);
}

static void on_handshake_timeout(uv_timer_t *timer) {
    struct link *link = timer->data;
    if (link->state == LINK_HANDSHAKE)
        link_end_text(link, LINK_TIMEOUT, ERR_TIMEOUT, "no TLS handshake in time");
    else
        on_establish_timeout(timer);
}

static void establish_timer_start(struct link *link) {
    (void)uv_timer_stop(&link->timer);
    if (link->options.establish_timeout_ms)
        (void)uv_timer_start(&link->timer, on_establish_timeout, link->options.establish_timeout_ms, 0);
}

/* An accepted link has one time for handshake and hello together, so that a stranger gains nothing by the first. */
static unsigned handshake_ms(const struct link *link) {
    unsigned ms = link->server ? link->options.establish_timeout_ms : link->options.handshake_timeout_ms;
    return ms ? ms : HANDSHAKE_DEFAULT_MS;
}

void link_opened(struct link *link) {
    link->stats.last_in_ms = uv_now(net_loop(link->net));
    net_stream_tune(&link->stream);
    if (link->options.tls) {
        link->state = LINK_HANDSHAKE;
        (void)uv_timer_start(&link->timer, on_handshake_timeout, handshake_ms(link), 0);
        link_tls_start(link);
        if (link->state == LINK_HANDSHAKE) link_read(link);
        return;
    }
    establish_timer_start(link);
    link_ready(link);
    if (link->state == LINK_OPEN) link_read(link);
}

void link_ready(struct link *link) {
    bool handshake = link->state == LINK_HANDSHAKE;
    link->state = LINK_OPEN;
    if (handshake && !(link->server && link->options.establish_timeout_ms)) establish_timer_start(link);
    if (link->server)
        link_server_ready(link->server, link);
    else if (link->callbacks.on_open)
        link->callbacks.on_open(link->ctx, link);
}

/* On loopback a connect to a free ephemeral port may meet itself. */
static bool met_itself(const struct link *link) {
    struct sockaddr_storage name = {0}, peer = {0};
    int name_len = sizeof name, peer_len = sizeof peer;
    return uv_tcp_getsockname(&link->stream.tcp, (struct sockaddr *)&name, &name_len) == 0 &&
           uv_tcp_getpeername(&link->stream.tcp, (struct sockaddr *)&peer, &peer_len) == 0 && name_len == peer_len &&
           memcmp(&name, &peer, (size_t)name_len) == 0;
}

static void on_connect(uv_connect_t *connect, int status) {
    struct link *link = connect->data;
    if (link->state != LINK_CONNECTING) return;
    if (status == 0 && met_itself(link)) status = UV_ECONNREFUSED;
    if (status == 0) {
        (void)net_stream_peer(&link->stream, &link->peer);
        link_opened(link);
    } else if (link->next) {
        net_stream_close(&link->stream); /* stream_closed goes on to the next */
    } else {
        link_end_uv(link, status);
    }
}

static int link_try(struct link *link, const struct sockaddr *sa) {
    int rc = net_stream_init(&link->stream, link->net, &link_stream_events);
    if (rc) return rc;
    link->stream_exists = true;
    link->connect.data = link;
    if (link->bind.ss_family) rc = uv_tcp_bind(&link->stream.tcp, (const struct sockaddr *)&link->bind, 0);
    return rc ? rc : uv_tcp_connect(&link->connect, &link->stream.tcp, sa, on_connect);
}

/* Tries the next address; a cut link waits until it is healed or its time is up. */
static void link_try_next(struct link *link) {
    const struct sockaddr *sa = NULL;
    struct sockaddr_storage numeric = link->numeric;
    if (link->cut || link->stream_exists || link->resolving) return;
    if (numeric.ss_family) {
        sa = (const struct sockaddr *)&numeric;
        link->numeric.ss_family = 0;
    } else if (link->next) {
        sa = link->next->ai_addr;
        link->next = link->next->ai_next;
    }
    int rc = sa ? link_try(link, sa) : UV_EHOSTUNREACH;
    if (rc) link_end_uv(link, rc);
}

static void on_resolved(uv_getaddrinfo_t *resolve, int status, struct addrinfo *addresses) {
    struct link *link = resolve->data;
    link->resolving = false;
    link->addresses = link->next = addresses;
    if (link->state == LINK_CLOSING)
        link_finish(link);
    else if (status)
        link_end_uv(link, status);
    else
        link_try_next(link);
}

static void on_connect_timeout(uv_timer_t *timer) {
    link_end_text(timer->data, LINK_TIMEOUT, ERR_TIMEOUT, "no connection in time");
}

static void on_watch(struct net_task *task) {
    struct link *link = QUEUE_ENTRY(task, struct link, watch);
    link_cut(link, net_filter_ask(link->net, link->peer.host));
}

void link_cut(struct link *link, unsigned cut) {
    CHECK_MAGIC(link, LINK_OBJECT_MAGIC);
    link->cut = cut;
    if (link->state == LINK_CONNECTING) {
        if (!link->server) link_try_next(link);
    } else if (link->state != LINK_CLOSING) {
        link_read(link);
        net_defer(link->net, &link->task);
    }
}

struct link *link_new(struct net *net, const struct link_options *options) {
    struct link *link = calloc(1, sizeof *link);
    if (!link) return NULL;
    link->magic = LINK_OBJECT_MAGIC;
    link->net = net;
    if (options)
        link->options = *options;
    else
        link_options_default(&link->options);
    link->options.bind_host = NULL;
    queue_init(&link->queue);
    net_task_init(&link->task, link_run);
    net_task_init(&link->watch, on_watch);
    link_decoder_init(&link->decoder, link->options.frame_bytes_max_new);
    buf_init(&link->lanes[LINK_CONTROL].buf, SIZE_MAX / 2); /* both bounded by link_send */
    buf_init(&link->lanes[LINK_BULK].buf, SIZE_MAX / 2);
    buf_init(&link->tls_out, SIZE_MAX / 2); /* one batch, and answers of at most TLS_OUTPUT_BYTES */
    CHECK(uv_timer_init(net_loop(net), &link->timer) == 0);
    link->timer.data = link;
    net_hold(net);
    net_watch(net, &link->watch);
    return link;
}

struct link *link_connect(struct net *net, const struct address *address, const struct link_options *options,
                          const struct link_callbacks *callbacks, void *ctx, struct err *err) {
    struct sockaddr_storage bind = {0};
    if (options && options->bind_host) {
        struct address from = {.port = 0};
        (void)snprintf(from.host, sizeof from.host, "%s", options->bind_host);
        if (address_to_sockaddr(&from, &bind, err)) return NULL;
    }
    struct link *link = link_new(net, options);
    if (!link) {
        (void)err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    link->peer = *address;
    link->bind = bind;
    link->callbacks = *callbacks;
    link->ctx = ctx;
    link->cut = net_filter_ask(net, address->host);
    if (link->options.connect_timeout_ms)
        (void)uv_timer_start(&link->timer, on_connect_timeout, link->options.connect_timeout_ms, 0);
    if (address_to_sockaddr(address, &link->numeric, NULL) == 0) {
        link_try_next(link);
        return link;
    }
    char port[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV};
    (void)snprintf(port, sizeof port, "%u", address->port);
    link->resolve.data = link;
    int rc = uv_getaddrinfo(net_loop(net), &link->resolve, on_resolved, address->host, port, &hints);
    link->resolving = rc == 0;
    if (rc) link_end_uv(link, rc);
    return link;
}

/* ---- the application's side -------------------------------------------------------------------------------------- */

size_t link_backlog(const struct link *link) {
    CHECK_MAGIC(link, LINK_OBJECT_MAGIC);
    size_t in_flight = link->state == LINK_OPEN ? net_stream_in_flight(&link->stream) : 0;
    return link_lane_bytes(&link->lanes[LINK_CONTROL]) + link_lane_bytes(&link->lanes[LINK_BULK]) + link->tls_out.len +
           in_flight;
}

bool link_is_connecting(const struct link *link) {
    CHECK_MAGIC(link, LINK_OBJECT_MAGIC);
    return link->state == LINK_CONNECTING;
}

const struct tls_identity *link_identity(const struct link *link) {
    CHECK_MAGIC(link, LINK_OBJECT_MAGIC);
    return link->tls && tls_conn_ready(link->tls) ? tls_conn_peer(link->tls) : NULL;
}

bool link_is_open(const struct link *link) {
    CHECK_MAGIC(link, LINK_OBJECT_MAGIC);
    return link->state == LINK_OPEN;
}

void link_established(struct link *link) {
    CHECK_MAGIC(link, LINK_OBJECT_MAGIC);
    if (link->established || link->state != LINK_OPEN) return;
    link->established = true;
    link->decoder.payload_bytes_max = link->options.frame_bytes_max;
    (void)uv_timer_stop(&link->timer);
    if (link->server) link_server_established(link->server);
}

void link_close(struct link *link) {
    CHECK_MAGIC(link, LINK_OBJECT_MAGIC);
    if (link->state == LINK_OPEN) link_flush(link);
    link_end_text(link, LINK_LOCAL, ERR_CLOSED, "closed here");
}

void link_close_overflow(struct link *link) {
    link_end_text(link, LINK_OVERFLOW, ERR_BUSY, "the peer does not read");
}

void *link_context(const struct link *link) {
    return link->ctx;
}

void link_set_context(struct link *link, const struct link_callbacks *callbacks, void *ctx) {
    CHECK_MAGIC(link, LINK_OBJECT_MAGIC);
    link->callbacks = *callbacks;
    link->ctx = ctx;
}

const struct address *link_peer(const struct link *link) {
    return &link->peer;
}

void link_stats(const struct link *link, struct link_stats *ret) {
    *ret = link->stats;
}
