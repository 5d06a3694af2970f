/* SPDX-License-Identifier: Apache-2.0 */
#include "net/net.h"

#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/check.h"
#include "net/net_stream.h"

#define NET_MAGIC 0x4e455421u

struct net {
    uint32_t magic;
    uv_loop_t *loop;
    uv_check_t check; /* runs the tasks, right after the poll */
    uv_idle_t idle;   /* active while tasks wait: keeps the poll from blocking */
    unsigned handles; /* still open */
    unsigned users;   /* servers and links that have not gone */
    bool closing;     /* net_close was called */
    struct queue tasks;
    struct queue watchers; /* net_tasks run by net_filter_apply */
    unsigned (*filter)(void *ctx, const char *peer_host);
    void *filter_ctx;
    void (*closed)(void *ctx);
    void *closed_ctx;
    uint8_t receive[NET_RECEIVE_BYTES];
};

static void run_list(struct queue *list) {
    struct queue now;
    if (queue_empty(list)) return;
    now = *list; /* the whole list moves: what is added meanwhile waits */
    now.next->prev = now.prev->next = &now;
    queue_init(list);
    while (!queue_empty(&now)) {
        struct net_task *task = QUEUE_ENTRY(now.next, struct net_task, queue);
        queue_remove(&task->queue);
        task->run(task);
    }
}

static void on_idle(uv_idle_t *idle) {
    (void)idle;
}

void net_flush(struct net *net) {
    CHECK_MAGIC(net, NET_MAGIC);
    run_list(&net->tasks);
    if (queue_empty(&net->tasks)) {
        uv_check_stop(&net->check);
        uv_idle_stop(&net->idle);
    }
}

static void on_check(uv_check_t *check) {
    net_flush(check->data);
}

void net_defer(struct net *net, struct net_task *task) {
    CHECK_MAGIC(net, NET_MAGIC);
    if (!queue_empty(&task->queue)) return;
    queue_push(&net->tasks, &task->queue);
    if (uv_is_active((uv_handle_t *)&net->check)) return;
    CHECK(uv_check_start(&net->check, on_check) == 0);
    CHECK(uv_idle_start(&net->idle, on_idle) == 0);
}

struct net *net_open(uv_loop_t *loop) {
    struct net *net = calloc(1, sizeof *net);
    if (!net) return NULL;
    (void)signal(SIGPIPE, SIG_IGN); /* a vanished peer is an error code, not a death */
    net->magic = NET_MAGIC;
    net->loop = loop;
    queue_init(&net->tasks);
    queue_init(&net->watchers);
    CHECK(uv_check_init(loop, &net->check) == 0);
    CHECK(uv_idle_init(loop, &net->idle) == 0);
    net->check.data = net->idle.data = net;
    net->handles = 2;
    return net;
}

static void on_closed(uv_handle_t *handle) {
    struct net *net = handle->data;
    if (--net->handles > 0) return;
    void (*closed)(void *) = net->closed;
    void *ctx = net->closed_ctx;
    net->magic = 0;
    free(net);
    if (closed) closed(ctx);
}

static void close_if_unused(struct net *net) {
    if (!net->closing || net->users > 0) return;
    uv_close((uv_handle_t *)&net->check, on_closed);
    uv_close((uv_handle_t *)&net->idle, on_closed);
}

void net_hold(struct net *net) {
    CHECK_MAGIC(net, NET_MAGIC);
    net->users++;
}

void net_release(struct net *net) {
    CHECK_MAGIC(net, NET_MAGIC);
    CHECK(net->users > 0);
    net->users--;
    close_if_unused(net);
}

void net_close(struct net *net, void (*closed)(void *ctx), void *ctx) {
    CHECK_MAGIC(net, NET_MAGIC);
    CHECK(!net->closing);
    net->closing = true;
    net->closed = closed;
    net->closed_ctx = ctx;
    close_if_unused(net);
}

uv_loop_t *net_loop(const struct net *net) {
    return net->loop;
}

uint8_t *net_receive_buffer(struct net *net) {
    return net->receive;
}

void net_filter_set(struct net *net, unsigned (*filter)(void *ctx, const char *peer_host), void *ctx) {
    CHECK_MAGIC(net, NET_MAGIC);
    net->filter = filter;
    net->filter_ctx = ctx;
}

unsigned net_filter_ask(const struct net *net, const char *peer_host) {
    return net->filter ? net->filter(net->filter_ctx, peer_host) : 0;
}

void net_watch(struct net *net, struct net_task *task) {
    queue_push(&net->watchers, &task->queue);
}

void net_filter_apply(struct net *net) {
    CHECK_MAGIC(net, NET_MAGIC);
    for (struct queue *q = net->watchers.next, *next; q != &net->watchers; q = next) {
        next = q->next;
        struct net_task *task = QUEUE_ENTRY(q, struct net_task, queue);
        task->run(task);
    }
}
