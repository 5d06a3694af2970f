/* SPDX-License-Identifier: Apache-2.0
 * A uv loop for tests: run until something is so, but never longer than a limit. */
#ifndef CONCLAVE_TESTS_NET_LOOP_H
#define CONCLAVE_TESTS_NET_LOOP_H

#include <uv.h>

#include "net/net.h"

struct test_loop {
    uv_loop_t loop;
    uv_timer_t tick; /* keeps uv_run from blocking past the limit */
    struct net *net;
    bool net_closed;
};

static void test_loop_tick(uv_timer_t *timer) {
    (void)timer;
}

static void test_loop_net_closed(void *ctx) {
    struct test_loop *t = ctx;
    t->net_closed = true;
}

static inline void test_loop_open(struct test_loop *t) {
    t->net_closed = false;
    assert_int_equal(uv_loop_init(&t->loop), 0);
    assert_int_equal(uv_timer_init(&t->loop, &t->tick), 0);
    assert_int_equal(uv_timer_start(&t->tick, test_loop_tick, 2, 2), 0);
    t->net = net_open(&t->loop);
    assert_non_null(t->net);
}

/* Runs until `so(ctx)`, at most `limit_ms`; returns what `so` says at last. */
static inline bool test_loop_until(struct test_loop *t, bool (*so)(void *ctx), void *ctx, unsigned limit_ms) {
    uint64_t end = uv_hrtime() + (uint64_t)limit_ms * 1000000;
    while (!so(ctx) && uv_hrtime() < end)
        (void)uv_run(&t->loop, UV_RUN_ONCE);
    return so(ctx);
}

/* At least 20 turns, so that a machine that stalls does not make a test fail. */
static inline void test_loop_run_ms(struct test_loop *t, unsigned ms) {
    uint64_t end = uv_hrtime() + (uint64_t)ms * 1000000;
    for (unsigned turns = 0; turns < 20 || uv_hrtime() < end; turns++)
        (void)uv_run(&t->loop, UV_RUN_ONCE);
}

/* Everything on it must be closing; nothing may be left open, and no memory behind. */
static inline void test_loop_close(struct test_loop *t) {
    net_close(t->net, test_loop_net_closed, t);
    uv_close((uv_handle_t *)&t->tick, NULL);
    uint64_t end = uv_hrtime() + 5000000000ULL;
    while (uv_run(&t->loop, UV_RUN_NOWAIT) && uv_hrtime() < end) {
    }
    assert_true(t->net_closed);
    assert_int_equal(uv_loop_close(&t->loop), 0);
}

#endif
