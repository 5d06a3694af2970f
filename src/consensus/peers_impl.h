/* SPDX-License-Identifier: Apache-2.0
 * What the files of peers.h share. peers.c: members, sending, the timer, the end. peers_conn.c: dialling, hellos, who
 * is dead. peers_bulk.c: snapshots in both directions. */
#ifndef CONCLAVE_CONSENSUS_PEERS_IMPL_H
#define CONCLAVE_CONSENSUS_PEERS_IMPL_H

#include <uv.h>

#include "base/buf.h"
#include "base/queue.h"
#include "consensus/peer_codec.h"
#include "consensus/peers.h"
#include "net/address.h"
#include "net/link.h"

#define PEERS_MAGIC 0x50454552u

struct transfer;

struct peer {
    struct peers *peers;
    uint64_t id; /* 0: the slot is free */
    char text[PEER_ADDRESS_MAX];
    struct address address;
    uv_timer_t redial;
    unsigned attempts;       /* dials since the last connection that was one */
    struct link *out;        /* ours to it: connecting, or open; NULL between two dials */
    bool welcomed;           /* it has answered our hello on `out` */
    uint64_t opened_ms;      /* when `out` was welcomed */
    unsigned pings;          /* sent on `out` and not answered */
    bool refused;            /* the last dial was refused by a living host */
    bool failure_logged;     /* since the last welcome */
    bool tls_logged;         /* and the last of them was one of TLS */
    uint32_t refusal_logged; /* why it refused us, as logged since the last welcome; 0 not */
    bool hasty;              /* the dial under way is given up before a slow way could answer */
    uint64_t nonce;          /* of the process we know under this id; 0 = none, or told dead */
    uint32_t program_level;  /* of that process */
    char program_version[PEER_VERSION_BYTES];
    uint64_t contact_ms;       /* last frame from it, 0 never */
    struct inbound *in;        /* its message connection to us, or NULL */
    struct inbound *bulk;      /* its snapshot connection to us, or NULL */
    struct transfer *transfer; /* our snapshot to it, or NULL */
};

/* An accepted connection. */
struct inbound {
    struct queue queue; /* in peers->inbounds */
    struct peers *peers;
    struct link *link;
    struct peer *peer; /* whose, or NULL before its hello and after it was replaced */
    uint32_t stream;   /* enum peer_stream, once known */
    bool installing;   /* a snapshot comes: `install`, without its data */
    struct raft_message install;
    uint64_t size, received;    /* of its file, in all and so far */
    uint8_t *memory;            /* without files: the bytes so far */
    struct peer_members *intro; /* shown before the hello, or NULL */
};

struct peers {
    uint32_t magic;
    struct peers_config config;
    uint64_t nonce;                       /* of this process */
    char bind_host[ADDRESS_HOST_MAX + 1]; /* "" = any */
    struct link_server *server;
    struct peer slots[PEERS_MAX];
    struct queue inbounds;
    struct inbound *receiving;   /* whose file it is that files.receive deals with, or NULL */
    uv_timer_t ticker;           /* pings and stalls */
    struct buf scratch;          /* the message being encoded */
    unsigned pending;            /* links of ours, handles and the server, which must end before we may */
    struct peer_members members; /* to be shown; index 0: none */
    bool closing;
    void (*closed)(void *ctx);
    void *closed_ctx;
    uint64_t logged_ms; /* when a line about strangers was last written */
    struct peers_counters counters;
};

/* peers.c */
struct peer *peers_find(struct peers *p, uint64_t id); /* or NULL */
uint64_t peers_now(const struct peers *p);
/* One of the things counted in `pending` has ended. */
void peers_release(struct peers *p);
/* At most one line a second about what outsiders do. */
bool peers_may_log(struct peers *p);
void peers_link_options(const struct peers *p, struct link_options *ret, size_t bulk_bytes);

/* peers_conn.c */
void peers_accept(void *ctx, struct link *link);
void peers_handshake_failed(void *ctx, const struct address *from, const struct err *err);
void peer_dial(struct peer *peer); /* unless a connection stands or is being made */
void peer_redial_cb(uv_timer_t *timer);
void peer_forget(struct peer *peer);
void peer_hello_for(const struct peer *peer, enum peer_stream stream, uint8_t ret[PEER_HELLO_BYTES]);
/* Another process has spoken under the peer's id, or the same again. */
void peer_meet(struct peer *peer, const struct peer_hello *hello);
/* The connection breaks the protocol: counted, logged, cut. */
void inbound_malformed(struct inbound *in, const char *what);

/* peers_bulk.c */
int transfer_start(struct peer *peer, const struct raft_message *message, struct raft_io_send *req, raft_io_send_cb cb);
void transfer_cancel(struct transfer *transfer);
void transfer_tick(struct transfer *transfer, uint64_t now_ms);
void inbound_bulk_frame(struct inbound *in, uint16_t type, const uint8_t *payload, size_t len);
void inbound_bulk_end(struct inbound *in); /* the connection has ended */

#endif
