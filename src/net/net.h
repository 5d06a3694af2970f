/* SPDX-License-Identifier: Apache-2.0
 * What all connections of one event loop share: a 64 KiB receive buffer, the flush at the end of each loop turn, and
 * the filter of the cut command. One struct net a uv loop; every server and link is made on one.
 *
 * Bytes given to a connection during a loop turn are written together at the end of the turn, so a hundred small
 * answers to one peer cost one system call. A flush never waits for anything else: the turn in which something became
 * dirty is followed by a poll that does not block.
 *
 * Everything in this folder runs on the thread of its loop and calls back from there. */
#ifndef CONCLAVE_NET_NET_H
#define CONCLAVE_NET_NET_H

#include <stdint.h>
#include <uv.h>

struct net;

/* What a filter lets through no longer; a bit mask. */
enum net_cut {
    NET_CUT_IN = 1,  /* nothing that the peer sends is read */
    NET_CUT_OUT = 2, /* nothing is sent to the peer, and no connection to it opens */
};

/* Makes the shared part on `loop` (kept until net_close has called back). Returns NULL only without memory. Ignores
 * SIGPIPE for the process. */
struct net *net_open(uv_loop_t *loop);

/* Closes it once everything made on it has closed, which the caller sees to. `closed` (may be NULL) fires once from the
 * loop, and the memory is gone then. Exchanges (http.h) still held must not be given a `closed` callback any more. */
void net_close(struct net *net, void (*closed)(void *ctx), void *ctx);

uv_loop_t *net_loop(const struct net *net);

/* Writes what the connections have waiting, now instead of at the end of the turn: for code that itself runs at the end
 * of a turn (uv_check), whose sends would otherwise wait for another poll. Never inside a callback of this folder. */
void net_flush(struct net *net);

/* For `conclave dev cut` and tests: asked with the peer's numeric address ("127.0.0.12", without port) when a link
 * opens or is accepted, and again for each link at net_filter_apply. Returns a mask of enum net_cut. A cut connection
 * is not closed: it falls silent, as on a cut cable, and resumes with nothing lost when it is healed. NULL removes the
 * filter. */
void net_filter_set(struct net *net, unsigned (*filter)(void *ctx, const char *peer_host), void *ctx);
/* Asks the filter anew about every link of this loop. Call it after the filter's answers have changed. */
void net_filter_apply(struct net *net);

#endif
