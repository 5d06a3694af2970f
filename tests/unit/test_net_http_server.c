/* SPDX-License-Identifier: Apache-2.0
 * The HTTP server over loopback sockets: time, slow and vanished peers, many connections, closing. */
#include "../lib/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/buf.h"
#include "net/http.h"
#include "test_net_loop.h"

#define HELD_MAX 1100

/* What paths do: /hold keeps the exchange, /stream begins one and keeps it, /big answers 8 MiB, others echo the body.
 */
struct rig {
    struct test_loop t;
    struct http_server *server;
    struct http_exchange *held[HELD_MAX];
    unsigned held_n, closed, handled;
    bool done;
};

static void on_closed(void *ctx) {
    struct rig *rig = ctx;
    rig->closed++;
}

static void on_request(void *ctx, const struct http_request *r) {
    struct rig *rig = ctx;
    rig->handled++;
    if (strcmp(r->path, "/hold") == 0 || strcmp(r->path, "/stream") == 0) {
        assert_true(rig->held_n < HELD_MAX);
        rig->held[rig->held_n++] = r->exchange;
        http_exchange_on_closed(r->exchange, on_closed, rig);
        if (r->path[1] == 's') http_stream_begin(r->exchange, 200, NULL, 0);
    } else if (strcmp(r->path, "/big") == 0) {
        static const char big[8 << 20];
        http_reply(r->exchange, 200, NULL, 0, big, sizeof big);
    } else {
        http_reply(r->exchange, 200, NULL, 0, r->body, r->body_len);
    }
}

static void on_done(void *ctx) {
    struct rig *rig = ctx;
    rig->done = true;
}

static void rig_open(struct rig *rig, const struct http_limits *limits) {
    struct address any = {.host = "127.0.0.1"};
    struct err err;
    memset(rig, 0, sizeof *rig);
    test_loop_open(&rig->t);
    assert_int_equal(http_server_open(rig->t.net, &any, limits, on_request, rig, &rig->server, &err), 0);
    assert_true(http_server_address(rig->server)->port > 0);
}

static void rig_close(struct rig *rig) {
    if (rig->server) http_server_close(rig->server, on_done, rig);
    test_loop_close(&rig->t);
    assert_true(rig->done);
}

static struct http_limits quick_limits(void) {
    struct http_limits limits;
    http_limits_default(&limits);
    limits.head_timeout_ms = limits.body_timeout_ms = limits.idle_timeout_ms = limits.write_timeout_ms = 80;
    return limits;
}

static struct http_stats stats_of(struct rig *rig) {
    struct http_stats stats;
    http_server_stats(rig->server, &stats);
    return stats;
}

static int client(struct rig *rig) {
    struct sockaddr_storage sa;
    struct err err;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(address_to_sockaddr(http_server_address(rig->server), &sa, &err), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(struct sockaddr_in)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void send_all(struct rig *rig, int fd, const void *data, size_t len) {
    uint64_t end = uv_hrtime() + 5000000000ULL;
    for (size_t at = 0; at < len && uv_hrtime() < end;) {
        ssize_t n = send(fd, (const char *)data + at, len - at, MSG_NOSIGNAL);
        if (n > 0)
            at += (size_t)n;
        else if (errno != EAGAIN)
            return; /* the server has closed: the test looks at what it said */
        else
            (void)uv_run(&rig->t.loop, UV_RUN_NOWAIT);
    }
}

static void send_text(struct rig *rig, int fd, const char *text) {
    send_all(rig, fd, text, strlen(text));
}

/* Reads into `in` until it holds `text` (NULL: until the end of the stream); true when that came to pass. */
static bool receive(struct rig *rig, int fd, struct buf *in, const char *text, unsigned limit_ms) {
    uint64_t end = uv_hrtime() + (uint64_t)limit_ms * 1000000;
    while (uv_hrtime() < end) {
        char part[65536];
        ssize_t n = recv(fd, part, sizeof part, 0);
        if (n > 0) {
            assert_int_equal(buf_append(in, part, (size_t)n), 0);
        } else if (n == 0 || errno != EAGAIN) {
            return text == NULL && n == 0;
        }
        if (text && in->len && memmem(in->data, in->len, text, strlen(text))) return true;
        if (n < 0) (void)uv_run(&rig->t.loop, UV_RUN_ONCE);
    }
    return false;
}

/* One exchange of texts on a connection of its own, to the end of the stream. */
static void converse(struct rig *rig, const char *request, struct buf *in) {
    int fd = client(rig);
    buf_init(in, 64 << 20);
    send_text(rig, fd, request);
    assert_true(receive(rig, fd, in, NULL, 5000));
    (void)close(fd);
    (void)buf_append_byte(in, 0);
}

static bool has_held(void *ctx) {
    struct rig *rig = ctx;
    return rig->held_n > 0;
}
static bool has_two_held(void *ctx) {
    struct rig *rig = ctx;
    return rig->held_n > 1;
}
static bool has_closed(void *ctx) {
    struct rig *rig = ctx;
    return rig->closed > 0;
}
static bool nobody_left(void *ctx) {
    return stats_of(ctx).connections == 0;
}

#define UNTIL(rig, so) assert_true(test_loop_until(&(rig)->t, so, rig, 5000))
#define HOST           "Host: h\r\n"
#define HOLD           "GET /hold HTTP/1.1\r\n" HOST "\r\n"
#define STREAM         "GET /stream HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"

static void a_kept_connection_serves_many(void **state) {
    (void)state;
    struct rig rig;
    struct buf in;
    rig_open(&rig, NULL);
    int fd = client(&rig);
    for (int i = 0; i < 3; i++) {
        buf_init(&in, 10000);
        send_text(&rig, fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello");
        assert_true(receive(&rig, fd, &in, "\r\n\r\nhello", 5000));
        assert_non_null(memmem(in.data, in.len, "\r\nDate: ", 8));
        buf_done(&in);
    }
    assert_int_equal(stats_of(&rig).accepted, 1);
    assert_int_equal(stats_of(&rig).requests, 3);
    (void)close(fd);
    UNTIL(&rig, nobody_left);
    rig_close(&rig);
}

static void late_answers_keep_the_order_of_pipelined_requests(void **state) {
    (void)state;
    struct rig rig;
    struct buf in;
    rig_open(&rig, NULL);
    int fd = client(&rig);
    buf_init(&in, 10000);
    send_text(&rig, fd, HOLD HOLD "POST /echo HTTP/1.1\r\n" HOST "Connection: close\r\nContent-Length: 5\r\n\r\nhello");
    UNTIL(&rig, has_held);
    test_loop_run_ms(&rig.t, 20);
    assert_int_equal(rig.held_n, 1);
    http_reply_text(rig.held[0], 200, "one");
    assert_int_equal(rig.held_n, 1); /* not from inside the call */
    UNTIL(&rig, has_two_held);
    http_reply_text(rig.held[1], 200, "two");
    assert_true(receive(&rig, fd, &in, NULL, 5000));
    char *one = memmem(in.data, in.len, "one", 3), *two = memmem(in.data, in.len, "two", 3);
    assert_true(one && two && one < two && memmem(two, 300, "hello", 5));
    assert_int_equal(rig.closed, 0);
    (void)close(fd);
    buf_done(&in);
    rig_close(&rig);
}

static void slow_heads_and_bodies_are_answered_408(void **state) {
    (void)state;
    static const char *const slow[] = {"GET / HTTP/1.1\r\nHo", "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhe",
                                       "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\nhe"};
    struct http_limits limits = quick_limits();
    for (size_t i = 0; i < 3; i++) {
        struct rig rig;
        struct buf in;
        rig_open(&rig, &limits);
        converse(&rig, slow[i], &in);
        assert_memory_equal(in.data, "HTTP/1.1 408 ", 13);
        assert_int_equal(stats_of(&rig).timeouts, 1);
        buf_done(&in);
        rig_close(&rig);
    }
}

static void a_trickle_does_not_extend_the_time_for_a_head(void **state) {
    (void)state;
    struct http_limits limits = quick_limits();
    struct rig rig;
    struct buf in;
    rig_open(&rig, &limits);
    int fd = client(&rig);
    buf_init(&in, 10000);
    bool cut = false;
    send_text(&rig, fd, "GET / HTTP/1.1\r\n");
    for (int i = 0; i < 100 && !cut; i++) {
        send_text(&rig, fd, "a:b\r\n");
        cut = receive(&rig, fd, &in, "408", 10);
    }
    assert_true(cut);
    (void)close(fd);
    buf_done(&in);
    rig_close(&rig);
}

static void idle_connections_are_closed_without_a_word(void **state) {
    (void)state;
    struct http_limits limits = quick_limits();
    struct rig rig;
    struct buf in;
    rig_open(&rig, &limits);
    converse(&rig, "", &in);
    assert_int_equal(in.len, 1);
    assert_int_equal(stats_of(&rig).timeouts, 0);
    buf_done(&in);
    rig_close(&rig);
}

static void a_stream_outlives_the_idle_time_and_connection_close(void **state) {
    (void)state;
    struct http_limits limits = quick_limits();
    struct rig rig;
    struct buf in;
    rig_open(&rig, &limits);
    int fd = client(&rig);
    buf_init(&in, 10000);
    send_text(&rig, fd, STREAM);
    UNTIL(&rig, has_held);
    for (int i = 0; i < 3; i++) {
        test_loop_run_ms(&rig.t, 100);
        assert_int_equal(http_stream_chunk(rig.held[0], "3\nabc", 5), 0);
        assert_int_equal(http_stream_backlog(rig.held[0]), strlen("5\r\n3\nabc\r\n"));
        assert_true(receive(&rig, fd, &in, "5\r\n3\nabc\r\n", 5000));
        buf_clear(&in);
    }
    assert_int_equal(stats_of(&rig).streams, 1);
    http_stream_end(rig.held[0]);
    assert_true(receive(&rig, fd, &in, NULL, 5000));
    assert_memory_equal(in.data, "0\r\n\r\n", 5);
    assert_int_equal(stats_of(&rig).streams, 0);
    assert_int_equal(rig.closed, 0);
    (void)close(fd);
    buf_done(&in);
    rig_close(&rig);
}

static void a_reader_that_never_reads_is_cut_at_the_bound(void **state) {
    (void)state;
    struct rig rig;
    struct http_limits limits;
    http_limits_default(&limits);
    limits.stream_backlog_bytes_max = 256 << 10;
    rig_open(&rig, &limits);
    int fd = client(&rig);
    send_text(&rig, fd, STREAM);
    UNTIL(&rig, has_held);
    static char chunk[10000];
    int rc = 0, n = 0;
    size_t most = 0;
    while (rc == 0 && n++ < 10000) {
        rc = http_stream_chunk(rig.held[0], chunk, sizeof chunk);
        size_t backlog = http_stream_backlog(rig.held[0]);
        if (backlog > most) most = backlog;
        if (n % 8 == 0) (void)uv_run(&rig.t.loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(rc, ERR_BUSY);
    assert_true(most <= limits.stream_backlog_bytes_max + 100);
    assert_int_equal(rig.closed, 0);
    UNTIL(&rig, has_closed);
    assert_int_equal(rig.closed, 1);
    assert_int_equal(stats_of(&rig).streams_cut, 1);
    UNTIL(&rig, nobody_left);
    (void)close(fd);
    rig_close(&rig);
}

static void a_burst_within_one_turn_does_not_cut_a_reader(void **state) {
    (void)state;
    struct rig rig;
    struct http_limits limits;
    struct buf in;
    http_limits_default(&limits);
    limits.stream_backlog_bytes_max = 64 << 10;
    rig_open(&rig, &limits);
    int fd = client(&rig);
    send_text(&rig, fd, STREAM);
    UNTIL(&rig, has_held);
    static char chunk[10000];
    for (int i = 0; i < 16; i++) /* more than the bound, less than bound and socket buffer */
        assert_int_equal(http_stream_chunk(rig.held[0], chunk, sizeof chunk), 0);
    http_stream_end(rig.held[0]);
    buf_init(&in, 1 << 20);
    assert_true(receive(&rig, fd, &in, NULL, 5000));
    assert_true(in.len > 160000);
    (void)close(fd);
    buf_done(&in);
    rig_close(&rig);
}

static void a_stalled_reader_is_cut_by_time(void **state) {
    (void)state;
    static const char *const ask[] = {"GET /big HTTP/1.1\r\n" HOST "\r\n", STREAM};
    for (size_t i = 0; i < 2; i++) {
        struct http_limits limits = quick_limits();
        struct rig rig;
        limits.stream_backlog_bytes_max = 32 << 20;
        rig_open(&rig, &limits);
        int fd = client(&rig);
        send_text(&rig, fd, ask[i]);
        if (i == 1) {
            static const char big[8 << 20];
            UNTIL(&rig, has_held);
            assert_int_equal(http_stream_chunk(rig.held[0], big, sizeof big), 0);
            UNTIL(&rig, has_closed);
        }
        test_loop_run_ms(&rig.t, 10);
        UNTIL(&rig, nobody_left);
        assert_int_equal(stats_of(&rig).timeouts, 1);
        (void)close(fd);
        rig_close(&rig);
    }
}

static void a_slow_reader_that_makes_progress_is_not_cut(void **state) {
    (void)state;
    struct http_limits limits = quick_limits();
    struct rig rig;
    limits.write_timeout_ms = 1500; /* longer than a busy machine stalls, shorter than the whole takes at this pace */
    rig_open(&rig, &limits);
    int fd = client(&rig);
    send_text(&rig, fd, "GET /big HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    size_t total = 0;
    static char part[16 << 10];
    const uint64_t begun = clock_mono_ms();
    ssize_t n = 1;
    /* 3 MiB a second by the clock: what a busy machine took from the reader it reads at once, or its pauses would add
     * up to one as long as the timeout. */
    while (n != 0 && (n > 0 || errno == EAGAIN)) {
        test_loop_run_ms(&rig.t, 5);
        do {
            n = recv(fd, part, sizeof part, 0);
            if (n > 0) total += (size_t)n;
        } while (n > 0 && total < (clock_mono_ms() - begun) * 3200);
    }
    assert_true(total > 8 << 20);
    assert_true(clock_mono_ms() - begun > limits.write_timeout_ms); /* else nothing was shown */
    (void)close(fd);
    rig_close(&rig);
}

static void a_peer_that_floods_and_never_reads_is_bounded_and_cut(void **state) {
    (void)state;
    struct http_limits limits = quick_limits();
    struct rig rig;
    char body[1000], request[1200];
    rig_open(&rig, &limits);
    int fd = client(&rig);
    memset(body, 'x', sizeof body);
    int n = snprintf(request, sizeof request, "POST / HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\n%.1000s", body);
    size_t at = 0; /* sent of the present request */
    for (unsigned i = 0; i < 100000 && stats_of(&rig).timeouts == 0; i++) {
        ssize_t sent = send(fd, request + at, (size_t)n - at, MSG_NOSIGNAL);
        if (sent > 0)
            at = (at + (size_t)sent) % (size_t)n;
        else
            (void)uv_run(&rig.t.loop, UV_RUN_ONCE);
    }
    assert_int_equal(stats_of(&rig).timeouts, 1);
    assert_true(rig.handled < 20000); /* it stopped to parse */
    (void)close(fd);
    rig_close(&rig);
}

static void a_vanished_peer_closes_its_exchange(void **state) {
    (void)state;
    static const char *const ask[] = {HOLD, STREAM};
    for (size_t i = 0; i < 2; i++) {
        struct rig rig;
        rig_open(&rig, NULL);
        int fd = client(&rig);
        send_text(&rig, fd, ask[i]);
        UNTIL(&rig, has_held);
        struct linger reset = {.l_onoff = 1};
        if (i == 0) assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
        (void)close(fd);
        UNTIL(&rig, has_closed);
        UNTIL(&rig, nobody_left);
        rig_close(&rig);
    }
}

static void a_half_closed_peer_gets_all_its_answers(void **state) {
    (void)state;
    struct rig rig;
    struct buf in;
    rig_open(&rig, NULL);
    int fd = client(&rig);
    buf_init(&in, 10000);
    send_text(&rig, fd, HOLD HOLD);
    (void)shutdown(fd, SHUT_WR);
    UNTIL(&rig, has_held);
    test_loop_run_ms(&rig.t, 20);
    http_reply_text(rig.held[0], 200, "one");
    UNTIL(&rig, has_two_held);
    http_reply_text(rig.held[1], 200, "two");
    assert_true(receive(&rig, fd, &in, NULL, 5000));
    assert_non_null(memmem(in.data, in.len, "one", 3));
    assert_non_null(memmem(in.data, in.len, "two", 3));
    (void)close(fd);
    buf_done(&in);
    rig_close(&rig);
}

static void a_refusal_reaches_a_peer_that_is_still_sending(void **state) {
    (void)state;
    struct rig rig;
    struct buf in;
    rig_open(&rig, NULL);
    int fd = client(&rig);
    static char body[3 << 20];
    buf_init(&in, 10000);
    send_text(&rig, fd, "POST / HTTP/1.1\r\n" HOST "Content-Length: 1000000000\r\n\r\n");
    send_all(&rig, fd, body, sizeof body);
    assert_true(receive(&rig, fd, &in, "413 Content Too Large", 5000));
    (void)close(fd);
    buf_done(&in);
    UNTIL(&rig, nobody_left);
    assert_int_equal(rig.handled, 0);
    rig_close(&rig);
}

static void connections_over_the_maximum_get_503(void **state) {
    (void)state;
    struct rig rig;
    struct http_limits limits;
    struct buf in;
    http_limits_default(&limits);
    limits.connections_max = 2;
    rig_open(&rig, &limits);
    int a = client(&rig), b = client(&rig);
    send_text(&rig, a, HOLD);
    send_text(&rig, b, HOLD);
    UNTIL(&rig, has_two_held);
    converse(&rig, "GET / HTTP/1.1\r\n" HOST "\r\n", &in);
    assert_memory_equal(in.data, "HTTP/1.1 503 ", 13);
    assert_int_equal(stats_of(&rig).refused, 1);
    buf_done(&in);
    (void)close(a);
    (void)close(b);
    http_reply_text(rig.held[0], 200, NULL);
    http_reply_text(rig.held[1], 200, NULL);
    UNTIL(&rig, nobody_left);
    converse(&rig, "GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", &in);
    assert_memory_equal(in.data, "HTTP/1.1 200 ", 13);
    buf_done(&in);
    rig_close(&rig);
}

static void a_thousand_connections_are_served_and_closed(void **state) {
    (void)state;
    struct rig rig;
    static int fd[1000];
    rig_open(&rig, NULL);
    for (int i = 0; i < 1000; i++) {
        fd[i] = client(&rig);
        if (i % 100 == 99) (void)uv_run(&rig.t.loop, UV_RUN_NOWAIT);
    }
    for (int i = 0; i < 1000; i++)
        send_text(&rig, fd[i], i % 2 ? STREAM : "POST / HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nhi");
    for (int i = 0; i < 1000; i++) {
        struct buf in;
        buf_init(&in, 10000);
        assert_true(receive(&rig, fd[i], &in, i % 2 ? "chunked" : "\r\n\r\nhi", 5000));
        buf_done(&in);
    }
    assert_int_equal(stats_of(&rig).connections, 1000);
    assert_int_equal(stats_of(&rig).streams, 500);
    for (unsigned i = 0; i < rig.held_n; i++)
        assert_int_equal(http_stream_chunk(rig.held[i], "x", 1), 0);
    http_server_close(rig.server, on_done, &rig);
    rig.server = NULL;
    test_loop_run_ms(&rig.t, 100);
    assert_true(rig.done);
    assert_int_equal(rig.closed, 500);
    for (int i = 0; i < 1000; i++)
        (void)close(fd[i]);
    rig_close(&rig);
}

static void an_exchange_outlives_a_closed_server(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig, NULL);
    int fd = client(&rig);
    send_text(&rig, fd, HOLD);
    UNTIL(&rig, has_held);
    http_exchange_on_closed(rig.held[0], NULL, NULL);
    http_server_close(rig.server, on_done, &rig);
    rig.server = NULL;
    test_loop_run_ms(&rig.t, 20);
    assert_true(rig.done);
    http_reply_text(rig.held[0], 200, "too late");
    assert_int_equal(rig.closed, 0);
    (void)close(fd);
    rig_close(&rig);
}

static void servers_share_a_loop_but_not_an_address(void **state) {
    (void)state;
    struct rig rig;
    struct address any = {.host = "127.0.0.1"}, name = {.host = "localhost", .port = 1};
    struct http_server *second = NULL, *third = NULL;
    struct err err;
    rig_open(&rig, NULL);
    assert_int_equal(http_server_open(rig.t.net, &any, NULL, on_request, &rig, &second, &err), 0);
    assert_int_equal(http_server_open(rig.t.net, http_server_address(second), NULL, on_request, &rig, &third, &err),
                     ERR_IO);
    assert_non_null(strstr(err.text, "address already in use"));
    assert_int_equal(http_server_open(rig.t.net, &name, NULL, on_request, &rig, &third, &err), ERR_INVALID);
    http_server_close(second, NULL, NULL);
    rig_close(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kept_connection_serves_many),
        cmocka_unit_test(late_answers_keep_the_order_of_pipelined_requests),
        cmocka_unit_test(slow_heads_and_bodies_are_answered_408),
        cmocka_unit_test(a_trickle_does_not_extend_the_time_for_a_head),
        cmocka_unit_test(idle_connections_are_closed_without_a_word),
        cmocka_unit_test(a_stream_outlives_the_idle_time_and_connection_close),
        cmocka_unit_test(a_reader_that_never_reads_is_cut_at_the_bound),
        cmocka_unit_test(a_burst_within_one_turn_does_not_cut_a_reader),
        cmocka_unit_test(a_stalled_reader_is_cut_by_time),
        cmocka_unit_test(a_slow_reader_that_makes_progress_is_not_cut),
        cmocka_unit_test(a_peer_that_floods_and_never_reads_is_bounded_and_cut),
        cmocka_unit_test(a_vanished_peer_closes_its_exchange),
        cmocka_unit_test(a_half_closed_peer_gets_all_its_answers),
        cmocka_unit_test(a_refusal_reaches_a_peer_that_is_still_sending),
        cmocka_unit_test(connections_over_the_maximum_get_503),
        cmocka_unit_test(a_thousand_connections_are_served_and_closed),
        cmocka_unit_test(an_exchange_outlives_a_closed_server),
        cmocka_unit_test(servers_share_a_loop_but_not_an_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
