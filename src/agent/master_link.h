/* SPDX-License-Identifier: Apache-2.0
 * The agent's two warm links: one to the leader, one to another master, which says at once who leads when that changes.
 * Finds the leader by itself, says Hello, judges fences, answers pings, and starts over when the leader is gone.
 *
 *   main:  IDLE -> DIALING -> ASKED -> WELCOME      the leader: orders count on this link only
 *                               \-> TOLD             a follower, or a leader that is not current yet: it will tell more
 *   watch: the same with watch_only, never WELCOME
 *
 * A LEADER frame of a newer term, on either link, moves main to the leader it names, at once. A lost or silent leader
 * (5 pings) is left at once; then masters are tried in turn, after 0, 20, 40 .. 500 ms with jitter. Tasks are not
 * touched by any of this. */
#ifndef CONCLAVE_AGENT_MASTER_LINK_H
#define CONCLAVE_AGENT_MASTER_LINK_H

#include <protobuf-c/protobuf-c.h>

#include "agent/store.h"
#include "conclave/link.pb-c.h"
#include "net/address.h"
#include "net/link.h"
#include "net/net.h"

#define MASTERS_MAX 16

struct master_link;

struct master_link_options {
    struct net *net;
    struct store *store;           /* fence and agent id are read and written there */
    const struct address *masters; /* link addresses; copied */
    size_t master_n;
    struct tls *tls;           /* NULL: none; borrowed */
    const char *bind_host;     /* numeric local address, or NULL; borrowed */
    const uint8_t *cluster_id; /* 16 bytes that the agent is pinned to, or NULL; borrowed */
    /* Appends a packed Hello. */
    int (*hello)(void *ctx, bool watch_only, struct buf *ret);
    void (*welcome)(void *ctx); /* a leader has us; its fence is on disk */
    void (*lost)(void *ctx);    /* and not any more */
    /* A frame from the leader that is none of this module's. The link may be closed from inside. */
    void (*order)(void *ctx, uint16_t type, const uint8_t *payload, size_t len);
    void (*writable)(void *ctx);
    /* Refused for good (`permanent`): the agent must end; its tasks are left alone. Or the disk failed. */
    void (*fatal)(void *ctx, int code, const char *why);
    void *ctx;
};

struct master_link_stats {
    uint64_t dials, welcomes, losses, leader_frames;
    uint64_t fence_refused;    /* welcomes and orders below our fence */
    uint64_t stranger_refused; /* of another cluster */
};

int master_link_open(const struct master_link_options *options, struct master_link **ret, struct err *err);
/* Closes both links; the memory is gone when `closed` fires. */
void master_link_close(struct master_link *m, void (*closed)(void *ctx), void *ctx);

/* True while a leader has us. */
bool master_link_is_welcome(const struct master_link *m);
/* "HOST:PORT" of the leader that has us, or "". */
const char *master_link_leader(const struct master_link *m);
/* Sends to the leader. ERR_CLOSED without one; ERR_BUSY, ERR_LIMIT as link_send. */
int master_link_send(struct master_link *m, enum link_lane lane, uint16_t type, const ProtobufCMessage *message);
/* Whether an order may be obeyed: it carries the fence of the last Welcome, or a higher one, which is then on disk. */
bool master_link_obeys(struct master_link *m, const Conclave__Link__Fence *fence);
/* Leaves the leader for a moment: for one that sends what it must not. */
void master_link_drop(struct master_link *m, const char *why);
const struct master_link_stats *master_link_stats(const struct master_link *m);

#endif
