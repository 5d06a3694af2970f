/* SPDX-License-Identifier: Apache-2.0
 * The HTTP protocol without sockets: bytes in, requests and bytes out. */
#include "../lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/http_conn.h"

/* A connection whose requests are noted as "METHOD path?query body=N" lines, and answered at once with 200 and the body
 * unless `hold` is set. */
struct rig {
    struct http_shared shared;
    struct http_conn conn;
    struct buf requests;
    bool hold;
    struct http_exchange *held;
    size_t in_flight;
    unsigned flushes;
    struct queue tasks;
    unsigned closed;
};

static void rig_request(void *ctx, const struct http_request *r) {
    struct rig *rig = ctx;
    (void)buf_printf(&rig->requests, "%s %s?%s body=%zu\n", r->method, r->path, r->query, r->body_len);
    assert_ptr_equal(r->exchange, rig->conn.exchange);
    if (rig->hold)
        rig->held = r->exchange;
    else
        http_reply(r->exchange, 200, NULL, 0, r->body, r->body_len);
}

static void rig_wake(void *ctx) {
    (void)ctx;
}

static void rig_flush(void *ctx) {
    struct rig *rig = ctx;
    rig->flushes++;
}

static size_t rig_in_flight(void *ctx) {
    struct rig *rig = ctx;
    return rig->in_flight;
}

static void rig_defer(void *ctx, struct net_task *task) {
    struct rig *rig = ctx;
    queue_push(&rig->tasks, &task->queue);
}

static void rig_run_tasks(struct rig *rig) {
    while (!queue_empty(&rig->tasks)) {
        struct net_task *task = QUEUE_ENTRY(rig->tasks.next, struct net_task, queue);
        queue_remove(&task->queue);
        task->run(task);
    }
}

static void rig_closed(void *ctx) {
    struct rig *rig = ctx;
    rig->closed++;
}

static const struct http_conn_hooks rig_hooks = {rig_request, rig_wake, rig_flush, rig_in_flight};

static void rig_open(struct rig *rig) {
    memset(rig, 0, sizeof *rig);
    http_limits_default(&rig->shared.limits);
    rig->shared.defer = rig_defer;
    rig->shared.defer_ctx = rig;
    queue_init(&rig->tasks);
    buf_init(&rig->requests, 1 << 20);
    http_conn_init(&rig->conn, &rig->shared, &rig_hooks, rig, "127.0.0.1:4711");
}

static void rig_close(struct rig *rig) {
    http_conn_done(&rig->conn);
    rig_run_tasks(rig);
    assert_int_equal(rig->shared.body_bytes, 0);
    assert_int_equal(rig->shared.stats.streams, 0);
    buf_done(&rig->requests);
}

static const char *rig_out(struct rig *rig) {
    assert_int_equal(buf_append_byte(&rig->conn.out, 0), 0);
    rig->conn.out.len--;
    return (const char *)rig->conn.out.data;
}

static const char *rig_requests(struct rig *rig) {
    assert_int_equal(buf_append_byte(&rig->requests, 0), 0);
    rig->requests.len--;
    return (const char *)rig->requests.data;
}

/* Feeds the text in pieces of `piece` bytes, each in memory of its own so that reading outside of it shows. */
static size_t rig_feed(struct rig *rig, const char *text, size_t len, size_t piece) {
    size_t taken = 0;
    while (taken < len) {
        size_t n = len - taken < piece ? len - taken : piece;
        uint8_t *copy = malloc(n);
        memcpy(copy, text + taken, n);
        size_t got = http_conn_in(&rig->conn, copy, n);
        free(copy);
        taken += got;
        if (got < n && !http_conn_takes_input(&rig->conn)) break;
    }
    return taken;
}

/* The status of the first answer to `text`, given in pieces of every size; -1 when the sizes do not agree, 0 for none.
 */
static int status_of(const char *text, size_t len) {
    static const size_t pieces[] = {1, 2, 3, 7, 64, 1 << 20};
    int status = -2;
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        struct rig rig;
        rig_open(&rig);
        (void)rig_feed(&rig, text, len, pieces[i]);
        const char *out = rig_out(&rig);
        int now = out[0] ? atoi(out + 9) : 0;
        if (now >= 400) {
            assert_int_equal(rig.requests.len, 0);
            assert_int_equal(rig.conn.phase, PHASE_LINGER);
            assert_non_null(strstr(out, "Connection: close"));
            assert_int_equal(rig.shared.stats.bad_requests, 1);
        }
        rig_close(&rig);
        status = status == -2 || status == now ? now : -1;
    }
    return status;
}

#define LINE    "POST /p HTTP/1.1\r\n"
#define HOST    "Host: h\r\n"
#define CHUNKED LINE HOST "Transfer-Encoding: chunked\r\n\r\n"

struct probe {
    const char *text;
    int status;
};

static void run_probes(const struct probe *probes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        int status = status_of(probes[i].text, strlen(probes[i].text));
        if (status != probes[i].status) fail_msg("%d, not %d, for: %s", status, probes[i].status, probes[i].text);
    }
}

static void ambiguous_heads_are_refused(void **state) {
    (void)state;
    static const struct probe probes[] = {
        {LINE HOST "A: b\rC: d\r\n\r\n", 400}, /* CR alone as a line end */
        {LINE HOST "A: b\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {LINE "\rHost: h\r\n\r\n", 400},
        {"POST /p HTTP/1.1\rHost: h\r\n\r\n", 400},
        {"POST /p HTTP/1.1\nHost: h\n\n", 400}, /* LF alone */
        {LINE "Host: h\n\r\n", 400},
        {LINE HOST "\n", 400},
        {LINE HOST "\r\r\n", 400},
        {LINE HOST "A: b\r\n c\r\n\r\n", 400}, /* folded */
        {LINE HOST "A: b\r\n\tc\r\n\r\n", 400},
        {LINE " Host: h\r\n\r\n", 400},
        {LINE "Host : h\r\n\r\n", 400}, /* space before the colon */
        {LINE HOST "A b: c\r\n\r\n", 400},
        {LINE HOST "A\r\n\r\n", 400}, /* no colon */
        {LINE HOST ": b\r\n\r\n", 400},
        {LINE HOST "A: b\001\r\n\r\n", 400},
        {LINE HOST "A: b\177\r\n\r\n", 400},
        {LINE HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {LINE HOST "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400},
        {LINE HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400},
        {LINE HOST "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400},
        {LINE HOST "Content-Length: 1, 1\r\n\r\nx", 400},
        {LINE HOST "Content-Length: +1\r\n\r\nx", 400},
        {LINE HOST "Content-Length: -1\r\n\r\nx", 400},
        {LINE HOST "Content-Length: 0x1\r\n\r\nx", 400},
        {LINE HOST "Content-Length: 1 1\r\n\r\nx", 400},
        {LINE HOST "Content-Length:\r\n\r\n", 400},
        {LINE HOST "Content-Length: 99999999999999999999999\r\n\r\n", 400},
        {LINE HOST "Transfer-Encoding: gzip\r\n\r\n", 400}, /* unknown codings */
        {LINE HOST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400},
        {LINE HOST "Transfer-Encoding: chunked, gzip\r\n\r\n", 400},
        {LINE HOST "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400},
        {LINE HOST "Transfer-Encoding: xchunked\r\n\r\n", 400},
        {LINE HOST "Transfer-Encoding: \vchunked\r\n\r\n", 400},
        {LINE HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {LINE HOST "Transfer-Encoding: identity\r\n\r\n", 400},
        {"POST /p HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {LINE "A: b\r\n\r\n", 400}, /* Host */
        {LINE HOST HOST "\r\n", 400},
    };
    run_probes(probes, sizeof probes / sizeof probes[0]);
}

/* llhttp in strict mode would catch some of these too; the scanner must not lean on that. */
static void the_scanner_alone_refuses_what_two_parsers_could_read_differently(void **state) {
    (void)state;
    static const char *const bad[] = {
        LINE "A: b\rC: d\r\n\r\n",
        LINE "A: b\nC: d\r\n\r\n",
        LINE "A: b\r\n c\r\n\r\n",
        LINE " A: b\r\n\r\n",
        LINE "A : b\r\n\r\n",
        LINE "A\r\n\r\n",
        LINE ": b\r\n\r\n",
        LINE "A: b\001\r\n\r\n",
        LINE "A: b\r\n\rX",
        LINE "\n",
        "GET / HTTP/1.1\n",
        "GET / HTTP/1.1\rA",
        "GET /\r\n",
        "GET / HTTP/11\r\n",
        "GET /\t HTTP/1.1\r\n",
        "\r\n\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct http_scan s;
        size_t skip;
        http_scan_init(&s);
        (void)http_scan_feed(&s, (const uint8_t *)bad[i], strlen(bad[i]), &skip);
        if (s.state != SCAN_BAD || !s.reason) fail_msg("not refused: %s", bad[i]);
    }
}

static void malformed_request_lines_are_refused(void **state) {
    (void)state;
    static const struct probe probes[] = {
        {"GET /\r\n", 400}, /* HTTP/0.9 */
        {"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505},
        {"GET / HTTP/1.2\r\nHost: h\r\n\r\n", 400},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
        {"GET / HTTP/1.1 \r\nHost: h\r\n\r\n", 400},
        {"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET /  HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET  HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"NOSUCH / HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"get / HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"OPTIONS * RTSP/1.0\r\n\r\n", 400},
        {"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", 501},
        {"GET * HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET a HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET ?a=1 HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET /# HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET http:///p HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET /%0a HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET /%4 HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"GET /\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"\r\n\r\n\r\n", 400},
        {"\rGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"\x16\x03\x01\x02\x01", 400}, /* a TLS hello */
        {"CNLK", 0},                   /* a link that waits for an answer: not wrong yet */
        {LINE HOST "Expect: nothing\r\nContent-Length: 1\r\n\r\nx", 417},
    };
    run_probes(probes, sizeof probes / sizeof probes[0]);
    static const char with_nul[] = "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n";
    assert_int_equal(status_of(with_nul, sizeof with_nul - 1), 400);
}

static void good_requests_are_taken(void **state) {
    (void)state;
    static const struct probe probes[] = {
        {LINE HOST "Content-Length: 3\r\n\r\nabc", 200},
        {LINE HOST "content-length:3\r\n\r\nabc", 200},
        {LINE HOST "A:\r\nB: \t \r\nContent-Length: 3 \r\n\r\nabc", 200},
        {"\r\n\r\n" LINE HOST "\r\n", 200},
        {"GET / HTTP/1.0\r\n\r\n", 200},
        {CHUNKED "3\r\nabc\r\n0\r\n\r\n", 200},
        {LINE HOST "Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200},
        {CHUNKED "3;a=\"b c\"\r\nabc\r\n00\r\n\r\n", 200},
        {CHUNKED "3\r\nabc\r\n0\r\nTrailer: x\r\nOther: y z\r\n\r\n", 200},
        {LINE HOST "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 200},
        {LINE HOST "Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\nx", 200},
        {"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", 200},
        {"GET http://other:1/p?q HTTP/1.1\r\nHost: h\r\n\r\n", 200},
        {"GET http://other HTTP/1.1\r\nHost: h\r\n\r\n", 200},
    };
    run_probes(probes, sizeof probes / sizeof probes[0]);
}

static void malformed_chunks_and_trailers_are_refused(void **state) {
    (void)state;
    static const struct probe probes[] = {
        {CHUNKED "\r\nabc\r\n", 400},
        {CHUNKED "x\r\nabc\r\n", 400},
        {CHUNKED "-1\r\nabc\r\n", 400},
        {CHUNKED "0x3\r\nabc\r\n", 400},
        {CHUNKED "3 \r\nabc\r\n", 400},
        {CHUNKED " 3\r\nabc\r\n", 400},
        {CHUNKED "3\nabc\n0\n\n", 400},
        {CHUNKED "3\rabc\r\n0\r\n\r\n", 400},
        {CHUNKED "3\r\nabcd\r\n0\r\n\r\n", 400},
        {CHUNKED "3\r\nabc0\r\n\r\n", 400},
        {CHUNKED "3\r\nabc\n0\r\n\r\n", 400},
        {CHUNKED "3\r\nabc\rX0\r\n\r\n", 400},
        {CHUNKED "fffffffffffffffff\r\n", 400}, /* overflows 64 bits */
        {CHUNKED "10000000000000003\r\nabc\r\n0\r\n\r\n", 400},
        {CHUNKED "ffffffffffffffff\r\n", 413},
        {CHUNKED "400001\r\n", 413},
        {CHUNKED "3\r\nabc\r\n3fffff\r\n", 413},
        {CHUNKED "0\r\nA: b\rC: d\r\n\r\n", 400},
        {CHUNKED "0\r\nA: b\r\n c\r\n\r\n", 400},
        {CHUNKED "0\r\nA b: c\r\n\r\n", 400},
        {CHUNKED "0\r\nA: b\nC: d\r\n\r\n", 400},
        {CHUNKED "0\r\n\rX", 400},
        {LINE HOST "Content-Length: 4194305\r\n\r\n", 413},
        {LINE HOST "Content-Length: 1073741824\r\n\r\n", 413},
    };
    run_probes(probes, sizeof probes / sizeof probes[0]);
}

/* `head`, then `n` times `unit`. */
static int status_of_many(const char *head, const char *unit, size_t n) {
    struct rig rig;
    rig_open(&rig);
    (void)rig_feed(&rig, head, strlen(head), 4096);
    for (size_t i = 0; i < n && http_conn_takes_input(&rig.conn); i++)
        (void)rig_feed(&rig, unit, strlen(unit), 4096);
    int status = rig.conn.out.len ? atoi(rig_out(&rig) + 9) : 0;
    rig_close(&rig);
    return status;
}

static void everything_without_end_has_a_limit(void **state) {
    (void)state;
    assert_int_equal(status_of_many(LINE, "A: bcdefghijklmn\r\n", 4000), 431);
    assert_int_equal(status_of_many(LINE "A: ", "bbbbbbbbbbbbbbbb", 5000), 431);
    assert_int_equal(status_of_many("GET /", "aaaaaaaaaaaaaaaa", 5000), 431);
    assert_int_equal(status_of_many("", "AAAAAAAAAAAAAAAA", 5000), 431);
    assert_int_equal(status_of_many(CHUNKED "1;", "eeeeeeeeeeeeeeee", 100), 400);
    assert_int_equal(status_of_many(CHUNKED "1;e=\"", "eeeeeeeeeeeeeeee", 100), 400);
    assert_int_equal(status_of_many(CHUNKED, "1;e=f\r\nx\r\n", 1000), 400);
    assert_int_equal(status_of_many(CHUNKED "0\r\n", "A: bcdefghijklmn\r\n", 10000), 431);
    assert_int_equal(status_of_many(CHUNKED "0\r\nA: ", "bbbbbbbbbbbbbbbb", 10000), 431);
    assert_int_equal(status_of_many(CHUNKED, "0000000000000000", 10000), 431);
    char chunk[1032] = "400\r\n"; /* 1,024 bytes */
    memset(chunk + 5, 'x', 1024);
    memcpy(chunk + 5 + 1024, "\r\n", 3);
    assert_int_equal(status_of_many(CHUNKED, chunk, 5000), 413);
    /* a legal body in one-byte chunks is no attack */
    assert_int_equal(status_of_many(CHUNKED, "1\r\nx\r\n", 100000), 0);
}

static void bodies_of_all_connections_share_a_limit(void **state) {
    (void)state;
    struct rig rig;
    struct http_conn other;
    const char *text = LINE HOST "Content-Length: 100\r\n\r\n0123456789";
    rig_open(&rig);
    rig.shared.limits.body_bytes_total_max = 15;
    http_conn_init(&other, &rig.shared, &rig_hooks, &rig, "x");
    (void)http_conn_in(&other, (const uint8_t *)text, strlen(text));
    assert_int_equal(rig.shared.body_bytes, 10);
    (void)rig_feed(&rig, text, strlen(text), 1000);
    assert_memory_equal(rig_out(&rig), "HTTP/1.1 503 ", 13);
    assert_int_equal(rig.shared.body_bytes, 10);
    http_conn_done(&other);
    rig_close(&rig);
}

static void pipelined_requests_come_out_alike_in_pieces_of_any_size(void **state) {
    (void)state;
    const char *text = "GET /a?x=1 HTTP/1.1\r\nHost: h\r\n\r\n" LINE HOST "Content-Length: 3\r\n\r\nabc" CHUNKED
                       "3;e=f\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n"
                       "HEAD /%62%20c HTTP/1.1\r\nHost: h\r\n\r\n"
                       "GET http://h/d HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /never HTTP/1.1\r\n";
    for (size_t piece = 1; piece < 300; piece++) {
        struct rig rig;
        rig_open(&rig);
        assert_int_equal(rig_feed(&rig, text, strlen(text), piece), strlen(text));
        assert_string_equal(rig_requests(&rig), "GET /a?x=1 body=0\nPOST /p? body=3\nPOST /p? body=5\n"
                                                "HEAD /b c? body=0\nGET /d? body=0\n");
        assert_string_equal(rig_out(&rig), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
                                           "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
                                           "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde"
                                           "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
                                           "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        assert_int_equal(rig.conn.phase, PHASE_CLOSE);
        rig_close(&rig);
    }
}

static void the_next_request_waits_for_the_answer_before_it(void **state) {
    (void)state;
    const char *one = "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n", *two = "GET /2 HTTP/1.1\r\nHost: h\r\n\r\n";
    char both[100];
    struct rig rig;
    rig_open(&rig);
    rig.hold = true;
    (void)snprintf(both, sizeof both, "%s%s", one, two);
    assert_int_equal(http_conn_in(&rig.conn, (const uint8_t *)both, strlen(both)), strlen(one));
    assert_string_equal(rig_requests(&rig), "GET /1? body=0\n");
    assert_int_equal(http_conn_in(&rig.conn, (const uint8_t *)two, strlen(two)), 0);
    http_reply_text(rig.held, 404, "nothing");
    assert_int_equal(http_conn_in(&rig.conn, (const uint8_t *)two, strlen(two)), strlen(two));
    http_reply_text(rig.held, 202, NULL);
    assert_string_equal(rig_out(&rig), "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 7\r\n\r\n"
                                       "nothingHTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
    rig_close(&rig);
}

static void a_peer_that_reads_no_answers_gets_no_further_requests_parsed(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig);
    char big[40000];
    memset(big, 'x', sizeof big);
    char head[100];
    int n = snprintf(head, sizeof head, LINE HOST "Content-Length: %zu\r\n\r\n", sizeof big);
    for (int i = 0; i < 50; i++) {
        (void)rig_feed(&rig, head, (size_t)n, 1000);
        (void)rig_feed(&rig, big, sizeof big, 1000);
    }
    assert_in_range(rig.conn.out.len, 200000, 400000);
    assert_false(http_conn_takes_input(&rig.conn));
    rig_close(&rig);
}

static void a_request_tells_its_parts(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig);
    rig.hold = true;
    const char *text = "POST /a%2Fb%20c?x=1%2B&y HTTP/1.1\r\nHost: h\r\nAccept: a\r\naccept:  b, c \t\r\nE:\r\n"
                       "Content-Length: 2\r\n\r\nhi";
    (void)rig_feed(&rig, text, strlen(text), 5);
    const struct http_request *r = &rig.held->request;
    assert_string_equal(r->method, "POST");
    assert_string_equal(r->target, "/a%2Fb%20c?x=1%2B&y");
    assert_string_equal(r->path, "/a/b c");
    assert_string_equal(r->query, "x=1%2B&y");
    assert_string_equal(r->peer, "127.0.0.1:4711");
    assert_int_equal(r->field_n, 5);
    assert_string_equal(http_request_header(r, "ACCEPT"), "a");
    assert_string_equal(http_request_header_nth(r, "Accept", 1), "b, c");
    assert_null(http_request_header_nth(r, "Accept", 2));
    assert_string_equal(http_request_header(r, "e"), "");
    assert_memory_equal(r->body, "hi", 2);
    assert_int_equal(r->minor, 1);
    assert_true(r->keep_alive);
    http_reply(rig.held, 200, NULL, 0, NULL, 0);
    rig_close(&rig);
}

static void expect_100_is_answered_before_the_body(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig);
    const char *text = LINE HOST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    (void)rig_feed(&rig, text, strlen(text), 3);
    assert_string_equal(rig_out(&rig), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_int_equal(rig.requests.len, 0);
    (void)rig_feed(&rig, "hi", 2, 1);
    assert_non_null(strstr(rig_out(&rig), "Continue\r\n\r\nHTTP/1.1 200 OK"));
    rig_close(&rig);

    /* too big: the final answer at once, without an invitation to send */
    const char *big = LINE HOST "Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n";
    assert_int_equal(status_of(big, strlen(big)), 413);
}

static void an_old_client_is_served_in_its_own_version(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig);
    const char *keep = "GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", *close = "GET /2 HTTP/1.0\r\n\r\n";
    (void)rig_feed(&rig, keep, strlen(keep), 100);
    (void)rig_feed(&rig, close, strlen(close), 100);
    assert_string_equal(rig_out(&rig), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"
                                       "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_int_equal(rig.conn.phase, PHASE_CLOSE);
    rig_close(&rig);
}

static struct http_exchange *hold_one(struct rig *rig, const char *text) {
    rig->hold = true;
    (void)rig_feed(rig, text, strlen(text), 1000);
    assert_non_null(rig->held);
    return rig->held;
}

static void a_stream_sends_one_chunk_a_call(void **state) {
    (void)state;
    static const struct http_field fields[] = {{"Content-Type", "application/json"}, {"Mesos-Stream-Id", "abc"}};
    struct rig rig;
    rig_open(&rig);
    struct http_exchange *x = hold_one(&rig, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    http_stream_begin(x, 200, fields, 2);
    assert_int_equal(http_stream_chunk(x, "12\n0123456789ab", 15), 0);
    assert_int_equal(http_stream_chunk(x, "x", 1), 0);
    assert_int_equal(rig.shared.stats.streams, 1);
    rig.in_flight = 7;
    assert_int_equal(http_stream_backlog(x), rig.conn.out.len + 7);
    http_stream_end(x);
    assert_string_equal(rig_out(&rig), "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMesos-Stream-Id: abc\r\n"
                                       "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
                                       "f\r\n12\n0123456789ab\r\n1\r\nx\r\n0\r\n\r\n");
    assert_int_equal(rig.conn.phase, PHASE_CLOSE);
    rig_close(&rig);
}

static void a_stream_to_http_1_0_is_unframed_and_ended_by_close(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct http_exchange *x = hold_one(&rig, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    http_stream_begin(x, 200, NULL, 0);
    assert_int_equal(http_stream_chunk(x, "abc", 3), 0);
    http_stream_end(x);
    assert_string_equal(rig_out(&rig), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc");
    assert_int_equal(rig.conn.phase, PHASE_CLOSE);
    rig_close(&rig);
}

static void after_a_stream_a_kept_connection_serves_on(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct http_exchange *x = hold_one(&rig, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    http_stream_begin(x, 200, NULL, 0);
    http_stream_end(x);
    rig.hold = false;
    const char *next = "GET /next HTTP/1.1\r\nHost: h\r\n\r\n";
    (void)rig_feed(&rig, next, strlen(next), 1000);
    assert_non_null(strstr(rig_out(&rig), "0\r\n\r\nHTTP/1.1 200 OK"));
    rig_close(&rig);
}

static void a_stream_over_its_backlog_is_cut_and_told_once(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig);
    rig.shared.limits.stream_backlog_bytes_max = 1000;
    struct http_exchange *x = hold_one(&rig, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    http_exchange_on_closed(x, rig_closed, &rig);
    http_stream_begin(x, 200, NULL, 0);
    char data[500] = {0};
    assert_int_equal(http_stream_chunk(x, data, sizeof data), 0);
    size_t before = rig.conn.out.len;
    rig.in_flight = 400;
    assert_int_equal(http_stream_chunk(x, data, sizeof data), ERR_BUSY);
    assert_int_equal(rig.flushes, 1);
    assert_int_equal(rig.conn.out.len, before);
    assert_int_equal(rig.conn.phase, PHASE_CUT);
    assert_int_equal(http_stream_chunk(x, data, 1), ERR_CLOSED);
    assert_int_equal(rig.closed, 0);
    http_conn_done(&rig.conn);
    assert_int_equal(rig.closed, 0); /* deferred */
    rig_run_tasks(&rig);
    assert_int_equal(rig.closed, 1);
    assert_int_equal(rig.shared.stats.streams_cut, 1);
    rig_close(&rig);
}

static void an_exchange_outlives_its_connection_until_it_is_ended(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct http_exchange *x = hold_one(&rig, LINE HOST "Content-Length: 2\r\n\r\nhi");
    assert_int_equal(rig.shared.body_bytes, 2);
    http_conn_done(&rig.conn);
    assert_int_equal(rig.shared.body_bytes, 0);
    assert_memory_equal(x->request.body, "hi", 2);
    http_stream_begin(x, 200, NULL, 0);
    assert_int_equal(http_stream_chunk(x, "a", 1), ERR_CLOSED);
    assert_int_equal(http_stream_backlog(x), 0);
    http_exchange_on_closed(x, rig_closed, &rig); /* too late to be told in time: told later */
    assert_int_equal(rig.closed, 0);
    rig_run_tasks(&rig);
    assert_int_equal(rig.closed, 1);
    rig_close(&rig);
}

static void ending_an_exchange_takes_back_a_waiting_closed(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct http_exchange *x = hold_one(&rig, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    http_exchange_on_closed(x, rig_closed, &rig);
    http_conn_done(&rig.conn);
    http_reply_text(x, 200, "nobody hears it");
    rig_run_tasks(&rig);
    assert_int_equal(rig.closed, 0);
    rig_close(&rig);
}

static void an_abort_cuts_without_an_answer(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig);
    http_abort(hold_one(&rig, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
    assert_int_equal(rig.conn.out.len, 0);
    assert_int_equal(rig.conn.phase, PHASE_CUT);
    rig_close(&rig);
}

static void a_field_cannot_split_an_answer(void **state) {
    (void)state;
    static const struct http_field bad[] = {
        {"Location", "/a\r\nSet-Cookie: x"}, {"A b", "c"}, {"", "c"}, {"content-length", "5"}, {"A", "\177"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct rig rig;
        rig_open(&rig);
        http_reply(hold_one(&rig, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"), 200, &bad[i], 1, "body", 4);
        assert_string_equal(rig_out(&rig), "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
        struct http_exchange *x = hold_one(&rig, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        http_exchange_on_closed(x, rig_closed, &rig);
        http_stream_begin(x, 200, &bad[i], 1);
        assert_int_equal(rig.conn.phase, PHASE_CLOSE);
        rig_run_tasks(&rig);
        assert_int_equal(rig.closed, 1);
        rig_close(&rig);
    }
}

static void head_and_204_have_no_body(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig);
    http_reply(hold_one(&rig, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"), 200, NULL, 0, "body", 4);
    http_reply(hold_one(&rig, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"), 204, NULL, 0, "body", 4);
    struct http_exchange *x = hold_one(&rig, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    http_stream_begin(x, 200, NULL, 0);
    assert_int_equal(http_stream_chunk(x, "abc", 3), 0);
    http_stream_end(x);
    assert_string_equal(rig_out(&rig), "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
                                       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    rig_close(&rig);
}

static void a_half_closed_peer_gets_its_answer_but_no_stream(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct http_exchange *x = hold_one(&rig, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    http_conn_eof(&rig.conn);
    http_reply_text(x, 200, "ok");
    assert_non_null(strstr(rig_out(&rig), "ok"));
    rig_close(&rig);

    rig_open(&rig);
    x = hold_one(&rig, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    http_conn_eof(&rig.conn);
    http_exchange_on_closed(x, rig_closed, &rig);
    http_stream_begin(x, 200, NULL, 0);
    rig_run_tasks(&rig);
    assert_int_equal(rig.closed, 1);
    assert_int_equal(rig.conn.phase, PHASE_CUT);
    rig_close(&rig);
}

static void time_is_up_in_every_phase(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig);
    http_conn_timeout(&rig.conn);
    assert_int_equal(rig.conn.phase, PHASE_CLOSE);
    rig_close(&rig);
    static const char *const slow[] = {"GET", LINE HOST "Content-Length: 2\r\n\r\nh"};
    for (size_t i = 0; i < 2; i++) {
        rig_open(&rig);
        (void)rig_feed(&rig, slow[i], strlen(slow[i]), 100);
        http_conn_timeout(&rig.conn);
        assert_memory_equal(rig_out(&rig), "HTTP/1.1 408 ", 13);
        assert_int_equal(rig.conn.phase, PHASE_LINGER);
        assert_int_equal(rig.shared.stats.timeouts, 1);
        rig_close(&rig);
    }
    rig_open(&rig);
    (void)rig_feed(&rig, "\r\n", 2, 100); /* no request begun: nothing to answer */
    http_conn_timeout(&rig.conn);
    assert_int_equal(rig.conn.out.len, 0);
    assert_int_equal(rig.conn.phase, PHASE_CLOSE);
    rig_close(&rig);
}

static void escapes_decode_or_are_refused(void **state) {
    (void)state;
    char out[8];
    assert_int_equal(http_percent_decode("a%2Bb+", 6, true, out, sizeof out), 0);
    assert_string_equal(out, "a+b ");
    assert_int_equal(http_percent_decode("+", 1, false, out, sizeof out), 0);
    assert_string_equal(out, "+");
    static const char *const bad[] = {"%", "%4", "%zz", "%0g", "%00", "a%2"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(http_percent_decode(bad[i], strlen(bad[i]), false, out, sizeof out), ERR_PARSE);
    assert_int_equal(http_percent_decode("%20", 2, false, out, sizeof out), ERR_PARSE); /* not past len */
    assert_int_equal(http_percent_decode("12345678", 8, false, out, sizeof out), ERR_LIMIT);
    assert_int_equal(http_percent_decode("1234567", 7, false, out, sizeof out), 0);
}

static void a_query_gives_its_first_value(void **state) {
    (void)state;
    char out[16];
    const char *query = "a=1&b=x%20y+z&c&a=2&d=%zz&%65=f=g";
    assert_int_equal(http_query_get(query, "a", out, sizeof out), 0);
    assert_string_equal(out, "1");
    assert_int_equal(http_query_get(query, "b", out, sizeof out), 0);
    assert_string_equal(out, "x y z");
    assert_int_equal(http_query_get(query, "c", out, sizeof out), 0);
    assert_string_equal(out, "");
    assert_int_equal(http_query_get(query, "d", out, sizeof out), ERR_PARSE);
    assert_int_equal(http_query_get(query, "e", out, sizeof out), 0);
    assert_string_equal(out, "f=g");
    assert_int_equal(http_query_get(query, "x", out, sizeof out), ERR_NOT_FOUND);
    assert_int_equal(http_query_get(query, "b", out, 3), ERR_LIMIT);
    assert_int_equal(http_query_get("", "", out, sizeof out), ERR_NOT_FOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ambiguous_heads_are_refused),
        cmocka_unit_test(the_scanner_alone_refuses_what_two_parsers_could_read_differently),
        cmocka_unit_test(malformed_request_lines_are_refused),
        cmocka_unit_test(good_requests_are_taken),
        cmocka_unit_test(malformed_chunks_and_trailers_are_refused),
        cmocka_unit_test(everything_without_end_has_a_limit),
        cmocka_unit_test(bodies_of_all_connections_share_a_limit),
        cmocka_unit_test(pipelined_requests_come_out_alike_in_pieces_of_any_size),
        cmocka_unit_test(the_next_request_waits_for_the_answer_before_it),
        cmocka_unit_test(a_peer_that_reads_no_answers_gets_no_further_requests_parsed),
        cmocka_unit_test(a_request_tells_its_parts),
        cmocka_unit_test(expect_100_is_answered_before_the_body),
        cmocka_unit_test(an_old_client_is_served_in_its_own_version),
        cmocka_unit_test(a_stream_sends_one_chunk_a_call),
        cmocka_unit_test(a_stream_to_http_1_0_is_unframed_and_ended_by_close),
        cmocka_unit_test(after_a_stream_a_kept_connection_serves_on),
        cmocka_unit_test(a_stream_over_its_backlog_is_cut_and_told_once),
        cmocka_unit_test(an_exchange_outlives_its_connection_until_it_is_ended),
        cmocka_unit_test(ending_an_exchange_takes_back_a_waiting_closed),
        cmocka_unit_test(an_abort_cuts_without_an_answer),
        cmocka_unit_test(a_field_cannot_split_an_answer),
        cmocka_unit_test(head_and_204_have_no_body),
        cmocka_unit_test(a_half_closed_peer_gets_its_answer_but_no_stream),
        cmocka_unit_test(time_is_up_in_every_phase),
        cmocka_unit_test(escapes_decode_or_are_refused),
        cmocka_unit_test(a_query_gives_its_first_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
