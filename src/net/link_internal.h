/* SPDX-License-Identifier: Apache-2.0
 * What link.c and link_server.c share. */
#ifndef CONCLAVE_NET_LINK_INTERNAL_H
#define CONCLAVE_NET_LINK_INTERNAL_H

#include "base/queue.h"
#include "net/link.h"
#include "net/link_frame.h"
#include "net/net_stream.h"
#include "net/tls_conn.h"

#define LINK_OBJECT_MAGIC 0x4c4e4b4fu

/* Frames waiting to be sent: data[head..len) of the buffer, whole frames only. */
struct link_lane_queue {
    struct buf buf;
    size_t head;
};

enum link_state { LINK_CONNECTING, LINK_HANDSHAKE, LINK_OPEN, LINK_CLOSING };

struct link {
    uint32_t magic;
    enum link_state state;
    bool established;
    bool busy_told;     /* a send was refused, on_writable is due */
    bool stream_exists; /* the stream was inited and has not closed */
    bool resolving;     /* uv has our resolve request */
    bool timer_closed;
    unsigned cut; /* mask of enum net_cut */
    struct net *net;
    struct link_server *server; /* NULL when we connected */
    struct queue queue;         /* in server->links */
    struct link_options options;
    struct link_callbacks callbacks;
    void *ctx;
    struct address peer;
    struct net_stream stream;
    struct tls_conn *tls; /* from the handshake on, if the options have TLS */
    struct buf tls_out;   /* encrypted, waits for the stream */
    bool heard;           /* some byte was received */
    uv_timer_t timer;     /* connecting, then establishing */
    uv_connect_t connect;
    uv_getaddrinfo_t resolve;
    struct addrinfo *addresses;      /* result of resolving, owned */
    struct addrinfo *next;           /* to be tried next */
    struct sockaddr_storage numeric; /* when nothing had to be resolved; ss_family 0 once tried */
    struct sockaddr_storage bind;    /* ss_family 0: none */
    struct link_lane_queue lanes[2]; /* by enum link_lane */
    struct link_decoder decoder;
    struct net_task task;  /* flush */
    struct net_task watch; /* asks the filter */
    enum link_reason reason;
    struct err err;
    struct link_stats stats;
};

/* A new link on `net`, connecting, not in any list. NULL without memory. */
struct link *link_new(struct net *net, const struct link_options *options);
/* The connection stands: tune, read, start the timer and with TLS the handshake, else link_ready. */
void link_opened(struct link *link);
/* Frames can be exchanged: on_open, or the server's on_accept. */
void link_ready(struct link *link);
/* Ends the link with the reason; on_close follows from the loop. Does nothing on one that is closing. */
void link_end(struct link *link, enum link_reason reason, const struct err *err);
void link_end_text(struct link *link, enum link_reason reason, int code, const char *what);
void link_end_uv(struct link *link, int status);
extern const struct net_stream_events link_stream_events;

/* link_bytes.c */
/* Everything received passes here. */
void link_bytes_in(struct link *link, const uint8_t *data, size_t len);
/* Begins the handshake. */
void link_tls_start(struct link *link);
/* Writes what waits and the stream takes now. */
void link_flush(struct link *link);
size_t link_lane_bytes(const struct link_lane_queue *lane);

/* The server's part: an accepted link is ready; has failed before that; is established; is closing; is gone. */
void link_server_ready(struct link_server *server, struct link *link);
void link_server_failed(struct link_server *server, const struct link *link, const struct err *err);
void link_server_established(struct link_server *server);
void link_server_ending(struct link_server *server, const struct link *link);
void link_server_gone(struct link_server *server, struct link *link);

#endif
