/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/check.h"
#include "net/link_internal.h"

#define SERVER_MAGIC 0x4c4e4b53u

struct link_server {
    uint32_t magic;
    struct net *net;
    struct link_server_options options;
    struct link_server_stats stats;
    struct address address;
    void (*on_accept)(void *ctx, struct link *link);
    void *ctx;
    uv_tcp_t listener;
    bool listener_closed;
    bool closing;
    bool accept_waits;  /* a connection could not be taken for want of memory */
    struct queue links; /* not gone yet */
    struct net_task done_task;
    void (*done)(void *ctx);
    void *done_ctx;
};

void link_server_options_default(struct link_server_options *options) {
    link_options_default(&options->link);
    options->links_max = 16384;
    options->strangers_max = 1024;
}

static void server_done(struct net_task *task) {
    struct link_server *server = QUEUE_ENTRY(task, struct link_server, done_task);
    void (*done)(void *) = server->done;
    void *ctx = server->done_ctx;
    struct net *net = server->net;
    server->magic = 0;
    free(server);
    if (done) done(ctx);
    net_release(net);
}

static void server_finish(struct link_server *server) {
    if (server->closing && server->listener_closed && queue_empty(&server->links))
        net_defer(server->net, &server->done_task);
}

static void server_accept(struct link_server *server) {
    struct link *link = link_new(server->net, &server->options.link);
    server->accept_waits = !link;
    if (!link) return; /* it stays in the kernel's queue until a link has gone */
    struct err err = {.code = ERR_BUSY, .text = "too many links"};
    bool full =
        server->stats.links >= server->options.links_max || server->stats.strangers >= server->options.strangers_max;
    link->server = server;
    server->stats.links++;
    server->stats.strangers++;
    queue_push(&server->links, &link->queue);
    int rc = net_stream_init(&link->stream, server->net, &link_stream_events);
    if (rc == 0) {
        link->stream_exists = true;
        rc = uv_accept((uv_stream_t *)&server->listener, (uv_stream_t *)&link->stream.tcp);
    }
    if (rc || full || !net_stream_peer(&link->stream, &link->peer)) {
        server->stats.refused++;
        link_end(link, LINK_LOCAL, &err); /* has no callbacks: nobody is told */
        return;
    }
    link->cut = net_filter_ask(server->net, link->peer.host);
    link_opened(link);
}

void link_server_ready(struct link_server *server, struct link *link) {
    server->stats.accepted++;
    server->on_accept(server->ctx, link);
    CHECK(link->callbacks.on_frame || link->state == LINK_CLOSING);
}

void link_server_failed(struct link_server *server, const struct link *link, const struct err *err) {
    server->stats.failed++;
    if (server->options.on_failed && !server->closing) server->options.on_failed(server->ctx, &link->peer, err);
}

static void on_connection(uv_stream_t *listener, int status) {
    struct link_server *server = listener->data;
    CHECK_MAGIC(server, SERVER_MAGIC);
    if (status == 0 && !server->closing) server_accept(server);
}

static void on_listener_closed(uv_handle_t *handle) {
    struct link_server *server = handle->data;
    server->listener_closed = true;
    server_finish(server);
}

void link_server_established(struct link_server *server) {
    server->stats.strangers--;
}

void link_server_ending(struct link_server *server, const struct link *link) {
    if (!link->established) server->stats.strangers--;
}

void link_server_gone(struct link_server *server, struct link *link) {
    CHECK_MAGIC(server, SERVER_MAGIC);
    queue_remove(&link->queue);
    server->stats.links--;
    if (server->accept_waits && !server->closing) server_accept(server);
    server_finish(server);
}

int link_server_open(struct net *net, const struct address *address, const struct link_server_options *options,
                     void (*on_accept)(void *ctx, struct link *link), void *ctx, struct link_server **ret_server,
                     struct err *err) {
    struct link_server *server = calloc(1, sizeof *server);
    if (!server) return err_set(err, ERR_NOMEM, "out of memory");
    server->magic = SERVER_MAGIC;
    server->net = net;
    server->on_accept = on_accept;
    server->ctx = ctx;
    link_server_options_default(&server->options);
    if (options) server->options = *options;
    queue_init(&server->links);
    net_task_init(&server->done_task, server_done);
    CHECK(uv_tcp_init(net_loop(net), &server->listener) == 0);
    server->listener.data = server;
    net_hold(net);
    int rc = net_listen(&server->listener, address, on_connection, &server->address, err);
    if (rc) {
        link_server_close(server, NULL, NULL);
        return rc;
    }
    *ret_server = server;
    return 0;
}

const struct address *link_server_address(const struct link_server *server) {
    return &server->address;
}

void link_server_stats(const struct link_server *server, struct link_server_stats *ret) {
    *ret = server->stats;
}

void link_server_close(struct link_server *server, void (*done)(void *ctx), void *ctx) {
    CHECK_MAGIC(server, SERVER_MAGIC);
    CHECK(!server->closing);
    server->closing = true;
    server->done = done;
    server->done_ctx = ctx;
    uv_close((uv_handle_t *)&server->listener, on_listener_closed);
    for (struct queue *q = server->links.next, *next; q != &server->links; q = next) {
        next = q->next;
        link_close(QUEUE_ENTRY(q, struct link, queue));
    }
}
