/* SPDX-License-Identifier: Apache-2.0
 * Bytes from strangers into an HTTP connection, whole and byte by byte: both must come to the same requests and
 * answers. The first byte of the input chooses how requests are answered. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "net/http_conn.h"

struct rig {
    struct http_shared shared;
    struct http_conn conn;
    struct buf seen; /* every request, written down */
    struct queue tasks;
    uint8_t how;
};

static void on_closed(void *ctx) {
    struct rig *rig = ctx;
    (void)buf_append_str(&rig->seen, "closed\n");
}

static void on_request(void *ctx, const struct http_request *r) {
    struct rig *rig = ctx;
    (void)buf_printf(&rig->seen, "%s|%s|%s|%zu|%d\n", r->method, r->path, r->query, r->body_len, r->keep_alive);
    for (size_t i = 0; i < r->field_n; i++) {
        CHECK(!strpbrk(r->fields[i].name, "\r\n: \t") && !strpbrk(r->fields[i].value, "\r\n"));
        (void)buf_printf(&rig->seen, "%s=%s\n", r->fields[i].name, r->fields[i].value);
    }
    (void)buf_append(&rig->seen, r->body, r->body_len);
    char value[64];
    (void)http_query_get(r->query, "a", value, sizeof value);
    struct http_field echo = {"X-Echo", r->query};
    switch (rig->how % 4) {
    case 0:
        http_reply(r->exchange, 200, &echo, 1, r->body, r->body_len);
        break;
    case 1: {
        struct http_exchange *x = r->exchange;
        http_stream_begin(x, 200, NULL, 0);
        (void)http_stream_chunk(x, "chunk", 5);
        http_stream_end(x);
        break;
    }
    case 2:
        http_abort(r->exchange);
        break;
    default:
        http_exchange_on_closed(r->exchange, on_closed, rig);
        break;
    }
}

static void on_wake(void *ctx) {
    (void)ctx;
}

static size_t no_bytes(void *ctx) {
    (void)ctx;
    return 0;
}

static void defer(void *ctx, struct net_task *task) {
    struct rig *rig = ctx;
    queue_push(&rig->tasks, &task->queue);
}

static void run(struct rig *rig, const uint8_t *data, size_t len, size_t piece, uint8_t how) {
    static const struct http_conn_hooks hooks = {on_request, on_wake, on_wake, no_bytes};
    memset(rig, 0, sizeof *rig);
    rig->how = how;
    queue_init(&rig->tasks);
    buf_init(&rig->seen, 64 << 20);
    http_limits_default(&rig->shared.limits);
    rig->shared.limits.head_bytes_max = 2048; /* small, so that they are met */
    rig->shared.limits.body_bytes_max = 4096;
    rig->shared.limits.extension_bytes_max = 32;
    rig->shared.defer = defer;
    rig->shared.defer_ctx = rig;
    http_conn_init(&rig->conn, &rig->shared, &hooks, rig, "fuzz");
    for (size_t at = 0; at < len && http_conn_takes_input(&rig->conn);) {
        size_t n = len - at < piece ? len - at : piece;
        uint8_t *copy = malloc(n);
        memcpy(copy, data + at, n);
        size_t taken = http_conn_in(&rig->conn, copy, n);
        free(copy);
        CHECK(taken <= n);
        at += taken;
        if (taken == 0) break;
    }
    (void)buf_append(&rig->seen, rig->conn.out.data, rig->conn.out.len);
    http_conn_done(&rig->conn);
    while (!queue_empty(&rig->tasks)) {
        struct net_task *task = QUEUE_ENTRY(rig->tasks.next, struct net_task, queue);
        queue_remove(&task->queue);
        task->run(task);
    }
    CHECK(rig->shared.body_bytes == 0 && rig->shared.stats.streams == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct rig whole, bytes;
    if (len == 0) return 0;
    run(&whole, data + 1, len - 1, SIZE_MAX, data[0]);
    run(&bytes, data + 1, len - 1, 1, data[0]);
    CHECK(whole.shared.stats.requests == bytes.shared.stats.requests);
    CHECK(whole.seen.len == 0 || bytes.seen.len == 0 ||
          memcmp(whole.seen.data, bytes.seen.data, whole.seen.len < bytes.seen.len ? whole.seen.len : bytes.seen.len) ==
              0);
    CHECK(whole.seen.len == bytes.seen.len);
    buf_done(&whole.seen);
    buf_done(&bytes.seen);
    return 0;
}
