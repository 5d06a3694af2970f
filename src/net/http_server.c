/* SPDX-License-Identifier: Apache-2.0
 * The shell around http_conn: sockets, time and limits on connections.
 *
 * Input that a connection does not take yet (its answer is not queued, or too much output waits) is kept in `pending`;
 * with PENDING_BYTES there, the socket is not read any more. Everything that follows from a change (feeding what was
 * kept, sending, closing) happens in socket_run at the end of the turn, so no function of the application is entered
 * from its own calls. */
#include "net/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/queue.h"
#include "net/http_conn.h"
#include "net/net_stream.h"

#define SERVER_MAGIC          0x48535256u
#define SOCKET_MAGIC          0x48534f43u
#define PENDING_BYTES         ((size_t)64 << 10)
#define IN_FLIGHT_PAUSE_BYTES ((size_t)256 << 10) /* with this much unsent, no further pipelined request is begun */
#define LINGER_MS             2000                /* how long a refused peer may go on sending into the void */
#define REFUSING_MAX          64                  /* connections over the maximum that get their 503 politely */

struct http_server {
    uint32_t magic;
    struct net *net;
    struct http_shared shared;
    struct address address;
    void (*handler)(void *ctx, const struct http_request *request);
    void *handler_ctx;
    uv_tcp_t listener;
    uv_timer_t sweep;  /* runs while there are connections */
    unsigned sweep_ms; /* its period */
    time_t date_s;     /* what shared.date says */
    bool accept_waits; /* a connection could not be taken for want of memory */
    bool closing;
    unsigned handles;     /* of uv, not closed yet: listener, timer, sockets */
    struct queue sockets; /* all that have not closed */
    struct net_task done_task;
    void (*done)(void *ctx);
    void *done_ctx;
};

struct http_socket {
    uint32_t magic;
    bool eof;           /* the peer will send nothing more */
    bool closing;       /* net_stream_close was called */
    bool shut;          /* our side has been shut down, lingering */
    struct queue queue; /* in server->sockets */
    struct http_server *server;
    struct net_stream stream;
    struct http_conn conn;
    struct buf pending; /* received, not taken by the connection */
    struct net_task task;
    uv_shutdown_t shutdown;
    uint64_t phase_n;  /* conn.phase_n at phase_ms */
    uint64_t phase_ms; /* loop time when the phase began */
    uint64_t taken;    /* bytes that the kernel had taken at taken_ms */
    uint64_t taken_ms; /* loop time of the last progress of output */
    uint64_t counted;  /* bytes_out already in the statistics */
};

static uint64_t server_now(const struct http_server *server) {
    return uv_now(net_loop(server->net));
}

/* ---- a socket's turn --------------------------------------------------------------------------------------------- */

static void socket_close(struct http_socket *sock) {
    if (sock->closing) return;
    sock->closing = true;
    net_stream_close(&sock->stream);
}

static void socket_flush(struct http_socket *sock) {
    if (sock->closing || net_stream_sending(&sock->stream)) return;
    net_stream_send(&sock->stream, &sock->conn.out);
    sock->server->shared.stats.bytes_out += sock->stream.bytes_out - sock->counted;
    sock->counted = sock->stream.bytes_out;
}

static bool socket_can_feed(const struct http_socket *sock) {
    return http_conn_takes_input(&sock->conn) && net_stream_in_flight(&sock->stream) < IN_FLIGHT_PAUSE_BYTES;
}

static void socket_feed_pending(struct http_socket *sock) {
    while (sock->pending.len > 0 && socket_can_feed(sock) && !sock->closing) {
        size_t taken = http_conn_in(&sock->conn, sock->pending.data, sock->pending.len);
        buf_consume(&sock->pending, taken);
        if (taken == 0) break;
    }
    if (sock->pending.len == 0) buf_done(&sock->pending);
}

/* Notices a change of phase, for the timeouts. */
static void socket_touch(struct http_socket *sock) {
    if (sock->phase_n == sock->conn.phase_n) return;
    sock->phase_n = sock->conn.phase_n;
    sock->phase_ms = server_now(sock->server);
}

static void on_shutdown(uv_shutdown_t *shutdown, int status) {
    (void)shutdown;
    (void)status; /* an error shows in reading as well */
}

/* What the phase asks for, once the output is on its way. */
static void socket_settle(struct http_socket *sock) {
    struct http_conn *c = &sock->conn;
    bool drained = c->out.len == 0 && !net_stream_sending(&sock->stream);
    if (sock->eof && sock->pending.len == 0 && c->phase <= PHASE_BODY) http_conn_eof(c);
    socket_touch(sock);
    if (c->phase == PHASE_CUT || (c->phase == PHASE_CLOSE && drained) ||
        (c->phase == PHASE_LINGER && drained && sock->eof)) {
        socket_close(sock);
        return;
    }
    if (c->phase == PHASE_LINGER && drained && !sock->shut) {
        sock->shut = true;
        sock->phase_ms = server_now(sock->server);
        if (uv_shutdown(&sock->shutdown, (uv_stream_t *)&sock->stream.tcp, on_shutdown)) socket_close(sock);
    }
    if (sock->closing) return;
    bool room = sock->pending.len < PENDING_BYTES;
    if (net_stream_read(&sock->stream, room && !sock->eof)) socket_close(sock);
    if (sock->pending.len > 0 && socket_can_feed(sock)) net_defer(sock->server->net, &sock->task);
}

static void socket_run(struct net_task *task) {
    struct http_socket *sock = QUEUE_ENTRY(task, struct http_socket, task);
    CHECK_MAGIC(sock, SOCKET_MAGIC);
    if (sock->closing) return;
    socket_feed_pending(sock);
    socket_flush(sock);
    socket_settle(sock);
}

/* ---- what the connection asks of its shell ----------------------------------------------------------------------- */

static void hook_request(void *ctx, const struct http_request *request) {
    struct http_socket *sock = ctx;
    sock->server->handler(sock->server->handler_ctx, request);
}

static void hook_wake(void *ctx) {
    struct http_socket *sock = ctx;
    net_defer(sock->server->net, &sock->task);
}

static void hook_flush(void *ctx) {
    socket_flush(ctx);
}

static size_t hook_in_flight(void *ctx) {
    struct http_socket *sock = ctx;
    return net_stream_in_flight(&sock->stream);
}

static const struct http_conn_hooks hooks = {hook_request, hook_wake, hook_flush, hook_in_flight};

/* ---- what the socket tells --------------------------------------------------------------------------------------- */

static void socket_received(struct net_stream *s, const uint8_t *data, size_t len) {
    struct http_socket *sock = QUEUE_ENTRY(s, struct http_socket, stream);
    struct http_conn *c = &sock->conn;
    size_t taken = 0;
    sock->server->shared.stats.bytes_in += len;
    if (sock->pending.len == 0 && socket_can_feed(sock)) taken = http_conn_in(c, data, len);
    socket_touch(sock);
    if (taken == len) return;
    if (buf_append(&sock->pending, data + taken, len - taken)) http_conn_set_phase(c, PHASE_CUT);
    /* at once: uv calls here many times in a row while it has data */
    if (sock->pending.len >= PENDING_BYTES) (void)net_stream_read(s, false);
    net_defer(sock->server->net, &sock->task);
}

static void socket_ended(struct net_stream *s, int status) {
    struct http_socket *sock = QUEUE_ENTRY(s, struct http_socket, stream);
    sock->eof = true;
    if (status != UV_EOF)
        http_conn_set_phase(&sock->conn, PHASE_CUT);
    else if (sock->conn.phase > PHASE_BODY)
        http_conn_eof(&sock->conn);
    net_defer(sock->server->net, &sock->task);
}

static void socket_sent(struct net_stream *s) {
    struct http_socket *sock = QUEUE_ENTRY(s, struct http_socket, stream);
    net_defer(sock->server->net, &sock->task);
}

static void server_handle_closed(struct http_server *server);
static void server_accept(struct http_server *server);

static void socket_closed(struct net_stream *s) {
    struct http_socket *sock = QUEUE_ENTRY(s, struct http_socket, stream);
    struct http_server *server = sock->server;
    CHECK_MAGIC(sock, SOCKET_MAGIC);
    http_conn_done(&sock->conn);
    buf_done(&sock->pending);
    net_task_cancel(&sock->task);
    queue_remove(&sock->queue);
    sock->magic = 0;
    free(sock);
    server->shared.stats.connections--;
    if (!server->closing && server->shared.stats.connections == 0 && !server->accept_waits)
        uv_timer_stop(&server->sweep);
    server_handle_closed(server);
}

static const struct net_stream_events stream_events = {socket_received, socket_ended, socket_sent, socket_closed};

/* ---- time -------------------------------------------------------------------------------------------------------- */

static void server_date(struct http_server *server) {
    time_t now = time(NULL);
    struct tm tm;
    if (now == server->date_s || !gmtime_r(&now, &tm)) return;
    server->date_s = now;
    /* always English: the program never sets a locale */
    (void)strftime(server->shared.date, sizeof server->shared.date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

/* The longest that a phase may last; 0: for ever. */
static unsigned phase_limit_ms(const struct http_socket *sock) {
    const struct http_limits *limits = &sock->server->shared.limits;
    switch (sock->conn.phase) {
    case PHASE_IDLE:
        return sock->conn.out.len == 0 && !net_stream_sending(&sock->stream) ? limits->idle_timeout_ms : 0;
    case PHASE_HEAD:
        return limits->head_timeout_ms;
    case PHASE_BODY:
        return limits->body_timeout_ms;
    case PHASE_LINGER:
        return sock->shut ? LINGER_MS : 0;
    case PHASE_ANSWER:
    case PHASE_STREAM:
    case PHASE_CLOSE:
    case PHASE_CUT:
        break;
    }
    return 0;
}

static void socket_sweep(struct http_socket *sock, uint64_t now) {
    struct http_server *server = sock->server;
    if (sock->closing) return;
    socket_touch(sock);
    size_t in_flight = net_stream_in_flight(&sock->stream);
    uint64_t taken = sock->stream.bytes_out - in_flight;
    if (in_flight == 0 || taken != sock->taken) {
        sock->taken = taken;
        sock->taken_ms = now;
    }
    if (now - sock->taken_ms > server->shared.limits.write_timeout_ms) {
        server->shared.stats.timeouts++;
        http_conn_set_phase(&sock->conn, PHASE_CUT);
        net_defer(server->net, &sock->task);
        return;
    }
    unsigned limit = phase_limit_ms(sock);
    if (limit == 0 || now - sock->phase_ms <= limit) return;
    if (sock->conn.phase == PHASE_LINGER)
        socket_close(sock);
    else
        http_conn_timeout(&sock->conn);
}

static void on_sweep(uv_timer_t *timer) {
    struct http_server *server = timer->data;
    uint64_t now = server_now(server);
    server_date(server);
    for (struct queue *q = server->sockets.next, *next; q != &server->sockets; q = next) {
        next = q->next;
        socket_sweep(QUEUE_ENTRY(q, struct http_socket, queue), now);
    }
    if (server->accept_waits) server_accept(server);
}

/* ---- the server -------------------------------------------------------------------------------------------------- */

static void socket_open(struct http_socket *sock, bool refuse) {
    struct http_server *server = sock->server;
    struct address peer = {.host = "?"};
    char text[ADDRESS_TEXT_MAX];
    (void)net_stream_peer(&sock->stream, &peer);
    net_stream_tune(&sock->stream);
    http_conn_init(&sock->conn, &server->shared, &hooks, sock, address_format(&peer, text));
    buf_init(&sock->pending, PENDING_BYTES + NET_RECEIVE_BYTES);
    sock->phase_ms = sock->taken_ms = server_now(server);
    queue_push(&server->sockets, &sock->queue);
    if (server->shared.stats.connections++ == 0) {
        server_date(server);
        (void)uv_timer_start(&server->sweep, on_sweep, server->sweep_ms, server->sweep_ms);
    }
    if (refuse) http_conn_refuse(&sock->conn, 503, "too many connections");
    if (net_stream_read(&sock->stream, true)) socket_close(sock);
}

static void server_accept(struct http_server *server) {
    struct http_stats *stats = &server->shared.stats;
    struct http_socket *sock = calloc(1, sizeof *sock);
    server->accept_waits = !sock || net_stream_init(&sock->stream, server->net, &stream_events) != 0;
    if (server->accept_waits) { /* the connection stays in the kernel's queue until the sweep asks again */
        free(sock);
        (void)uv_timer_start(&server->sweep, on_sweep, server->sweep_ms, server->sweep_ms);
        return;
    }
    sock->magic = SOCKET_MAGIC;
    sock->server = server;
    net_task_init(&sock->task, socket_run);
    queue_init(&sock->queue);
    server->handles++;
    stats->accepted++;
    bool refuse = stats->connections >= server->shared.limits.connections_max;
    int rc = uv_accept((uv_stream_t *)&server->listener, (uv_stream_t *)&sock->stream.tcp);
    socket_open(sock, refuse);
    if (refuse) stats->refused++;
    if (rc || stats->connections > server->shared.limits.connections_max + REFUSING_MAX) socket_close(sock);
}

static void on_connection(uv_stream_t *listener, int status) {
    struct http_server *server = listener->data;
    CHECK_MAGIC(server, SERVER_MAGIC);
    if (status == 0 && !server->closing) server_accept(server);
}

static void server_done(struct net_task *task) {
    struct http_server *server = QUEUE_ENTRY(task, struct http_server, done_task);
    void (*done)(void *) = server->done;
    void *ctx = server->done_ctx;
    struct net *net = server->net;
    server->magic = 0;
    free(server);
    if (done) done(ctx);
    net_release(net);
}

/* When the last one has closed, `done` follows behind the `closed` of exchanges that are already deferred. */
static void server_handle_closed(struct http_server *server) {
    if (--server->handles == 0) net_defer(server->net, &server->done_task);
}

static void on_handle_closed(uv_handle_t *handle) {
    server_handle_closed(handle->data);
}

static void on_task(void *ctx, struct net_task *task) {
    net_defer(ctx, task);
}

static unsigned sweep_period_ms(const struct http_limits *limits) {
    unsigned least = limits->head_timeout_ms;
    if (limits->body_timeout_ms < least) least = limits->body_timeout_ms;
    if (limits->idle_timeout_ms < least) least = limits->idle_timeout_ms;
    if (limits->write_timeout_ms < least) least = limits->write_timeout_ms;
    unsigned period = least / 4;
    return period < 10 ? 10 : period > 250 ? 250 : period;
}

int http_server_open(struct net *net, const struct address *address, const struct http_limits *limits,
                     void (*handler)(void *ctx, const struct http_request *request), void *ctx,
                     struct http_server **ret_server, struct err *err) {
    struct http_server *server = calloc(1, sizeof *server);
    if (!server) return err_set(err, ERR_NOMEM, "out of memory");
    server->magic = SERVER_MAGIC;
    server->net = net;
    server->handler = handler;
    server->handler_ctx = ctx;
    http_limits_default(&server->shared.limits);
    if (limits) server->shared.limits = *limits;
    server->shared.defer = on_task;
    server->shared.defer_ctx = net;
    server->sweep_ms = sweep_period_ms(&server->shared.limits);
    queue_init(&server->sockets);
    net_task_init(&server->done_task, server_done);
    server->listener.data = server->sweep.data = server;
    CHECK(uv_timer_init(net_loop(net), &server->sweep) == 0);
    CHECK(uv_tcp_init(net_loop(net), &server->listener) == 0);
    server->handles = 2;
    net_hold(net);
    int rc = net_listen(&server->listener, address, on_connection, &server->address, err);
    if (rc) {
        http_server_close(server, NULL, NULL);
        return rc;
    }
    *ret_server = server;
    return 0;
}

const struct address *http_server_address(const struct http_server *server) {
    return &server->address;
}

void http_server_stats(const struct http_server *server, struct http_stats *ret) {
    *ret = server->shared.stats;
}

void http_server_close(struct http_server *server, void (*done)(void *ctx), void *ctx) {
    CHECK_MAGIC(server, SERVER_MAGIC);
    CHECK(!server->closing);
    server->closing = true;
    server->done = done;
    server->done_ctx = ctx;
    uv_close((uv_handle_t *)&server->listener, on_handle_closed);
    uv_close((uv_handle_t *)&server->sweep, on_handle_closed);
    for (struct queue *q = server->sockets.next, *next; q != &server->sockets; q = next) {
        next = q->next;
        struct http_socket *sock = QUEUE_ENTRY(q, struct http_socket, queue);
        socket_flush(sock);
        socket_close(sock);
    }
}
