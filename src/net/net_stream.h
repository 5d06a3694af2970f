/* SPDX-License-Identifier: Apache-2.0
 * The loop's side of src/net, and one TCP connection as both HTTP and links use it: reading through the shared buffer,
 * writing with at most one request in the hands of uv. Inside src/net only. */
#ifndef CONCLAVE_NET_NET_STREAM_H
#define CONCLAVE_NET_NET_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "net/address.h"
#include "net/net.h"
#include "net/net_task.h"

#define NET_RECEIVE_BYTES 65536

/* Runs the task at the end of this turn, once however often it was deferred. A task deferred while tasks run waits for
 * the next turn, which then does not block. */
void net_defer(struct net *net, struct net_task *task);

/* The net stays until every hold is released, net_close or not. */
void net_hold(struct net *net);
void net_release(struct net *net);

/* NET_RECEIVE_BYTES, shared: consumed inside the callback that filled it. */
uint8_t *net_receive_buffer(struct net *net);

/* What the filter says about a peer. */
unsigned net_filter_ask(const struct net *net, const char *peer_host);
/* Links that net_filter_apply must ask about: `task` is run by it. */
void net_watch(struct net *net, struct net_task *task);

struct net_stream;

struct net_stream_events {
    /* `data` is borrowed until the return. */
    void (*received)(struct net_stream *s, const uint8_t *data, size_t len);
    /* End of stream (UV_EOF) or an error of reading or writing; called at most once. */
    void (*ended)(struct net_stream *s, int status);
    /* What net_stream_send could not write at once has been written. */
    void (*sent)(struct net_stream *s);
    /* uv has let go of the memory. */
    void (*closed)(struct net_stream *s);
};

struct net_stream {
    struct net *net;
    const struct net_stream_events *events;
    uv_tcp_t tcp;
    uv_write_t write;
    uint8_t *flight;    /* memory that uv writes from, or NULL */
    uint64_t bytes_out; /* given to the kernel, or on the way there */
    bool ended;         /* `ended` was called, or net_stream_close */
    bool reading;
};

/* Makes the handle; 0 or an error of uv. After success net_stream_close is the only way out. */
int net_stream_init(struct net_stream *s, struct net *net, const struct net_stream_events *events);
/* TCP_NODELAY, keepalive, TCP_NOTSENT_LOWAT, TCP_USER_TIMEOUT; failures do not matter. */
void net_stream_tune(struct net_stream *s);
/* Starts or stops reading; harmless to repeat. Returns 0 or an error of uv. */
int net_stream_read(struct net_stream *s, bool on);
/* Writes all of `out`: what the kernel does not take now is taken over, memory and all, and `sent` follows. `out` is
 * empty afterwards. Must not be called while net_stream_sending. An error is told by `ended`, from here. */
void net_stream_send(struct net_stream *s, struct buf *out);
bool net_stream_sending(const struct net_stream *s);
/* Bytes that the kernel has not taken. */
size_t net_stream_in_flight(const struct net_stream *s);
/* Drops everything and closes; `closed` follows from the loop. Only once. */
void net_stream_close(struct net_stream *s);
/* The other side's address; false when it has gone. */
bool net_stream_peer(const struct net_stream *s, struct address *ret);

/* Binds a listening handle that was inited, and starts it. *ret_bound gets the real port. */
int net_listen(uv_tcp_t *tcp, const struct address *address, uv_connection_cb accepted, struct address *ret_bound,
               struct err *err);

#endif
