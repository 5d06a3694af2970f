/* SPDX-License-Identifier: Apache-2.0
 * Links: framed message connections over TCP, between masters and between agents and masters. A link keeps the order of
 * its frames within a lane, delivers each at most once and whole, and says once how it ended. It does not reconnect,
 * and it does not know who the other side is: the application's first frames (its hello) prove that, and until then the
 * peer is a stranger to whom little memory and little time is given.
 *
 * Frame on the wire, little endian:
 *
 *    0  u32  magic 0x4b4c4e43, the bytes "CNLK"
 *    4  u8   version of the framing, 1
 *    5  u8   flags: bit 0 = sent in the control lane (for the eye; the receiver treats both alike); others must be 0
 *    6  u16  type, the application's
 *    8  u32  length of the payload in bytes, 0 allowed; checked against the maximum before anything is allocated
 *   12  u32  CRC-32C over bytes 0..11 of the header, then the payload
 *   16  payload
 *
 * Any breach (magic, version, flags, length, checksum) ends the link as LINK_PROTOCOL: after it nothing that follows
 * can be believed. Frames before it were delivered.
 *
 * Two lanes. A control frame (heartbeats, votes) overtakes every bulk frame not yet begun; so it waits for at most one
 * bulk frame or LINK_BATCH bytes of them, and for what the kernel holds unsent (kept to 128 KiB by TCP_NOTSENT_LOWAT).
 * Both lanes are bounded in bytes.
 *
 * TLS (tls.h), when the options have it, stands between the frames and the socket: all received bytes pass
 * link_bytes_in() and all sent ones link_bytes_out() (link_bytes.c), in batches, not frames. Nobody is told of a link
 * before its handshake has ended well, so whoever is accepted is known by certificate. A side with TLS and one without
 * tell each other so, as far as that is possible.
 *
 *   link_connect --> connecting --> [handshake] --> on_open --> (frames) --> link_established --> (frames) --> on_close
 *   accepted ---------------------> [handshake] --> on_accept -> (frames) --> link_established --> (frames) -->
 * on_close
 *
 * on_close fires exactly once for every link that link_connect returned or on_accept was told of, always from the loop
 * and never from inside a call of the application; the link's memory is gone when it returns. */
#ifndef CONCLAVE_NET_LINK_H
#define CONCLAVE_NET_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "net/address.h"
#include "net/net.h"
#include "net/tls.h"

struct link;
struct link_server;

#define LINK_BATCH 65536 /* bytes of bulk handed to the kernel at a time, when more than one frame waits */

enum link_lane {
    LINK_CONTROL, /* overtakes bulk */
    LINK_BULK,
};

/* X(name, text) */
#define LINK_REASONS(X)                                                                                                \
    X(LOCAL, "closed here")             /* link_close, link_server_close */                                            \
    X(REFUSED, "connection refused")    /* the host lives, nobody listens: the process is dead */                      \
    X(UNREACHABLE, "unreachable")       /* no route, or the name does not resolve */                                   \
    X(PEER, "closed by the peer")       /* end of stream or reset on an open link: a hint that the process died */     \
    X(TIMEOUT, "timed out")             /* connecting, or not established in time */                                   \
    X(PROTOCOL, "not our protocol")     /* a malformed frame: a stranger, or a damaged connection */                   \
    X(OVERFLOW, "output queue overrun") /* link_close_overflow */                                                      \
    X(TLS, "TLS refused")               /* a certificate, here or there; not TLS; or only one side has it */           \
    X(IO, "input/output error")         /* any other error of the system, no memory included */

enum link_reason {
#define LINK_REASON_ENUM(name, text) LINK_##name,
    LINK_REASONS(LINK_REASON_ENUM)
#undef LINK_REASON_ENUM
};

/* "closed by the peer". */
const char *link_reason_text(enum link_reason reason);
/* "PEER". */
const char *link_reason_name(enum link_reason reason);

struct link_options {
    size_t frame_bytes_max;        /* payload of a frame, both ways, once established; 2 MiB */
    size_t frame_bytes_max_new;    /* the same for received frames before that; 64 KiB */
    size_t bulk_bytes_max;         /* bulk waiting to be sent, at least one full frame; 8 MiB */
    size_t control_bytes_max;      /* control frames waiting to be sent; 1 MiB */
    unsigned connect_timeout_ms;   /* resolving and connecting; 2 s; 0 = none */
    unsigned handshake_timeout_ms; /* of TLS on outgoing links; 2 s. On accepted ones the next includes it, never 0 */
    unsigned establish_timeout_ms; /* open to link_established; 5 s; 0 = none */
    const char *bind_host;      /* numeric local address of outgoing links, or NULL; borrowed until the call returns */
    struct tls *tls;            /* NULL: none; borrowed until the link is gone */
    struct tls_expect tls_peer; /* what the other side's certificate must say */
};

/* Fills in the defaults named above. */
void link_options_default(struct link_options *options);

struct link_callbacks {
    /* The connection stands; frames can be sent. Not for accepted links. May be NULL. */
    void (*on_open)(void *ctx, struct link *link);
    /* A whole, checked frame. `payload` (any alignment, never NULL) is borrowed until the callback returns. The link
     * may be closed from inside: no frame follows then. */
    void (*on_frame)(void *ctx, struct link *link, uint16_t type, const uint8_t *payload, size_t len);
    /* The end; see above. `err` says more than `reason`, for the log. */
    void (*on_close)(void *ctx, struct link *link, enum link_reason reason, const struct err *err);
    /* Some link_send was answered ERR_BUSY, and now both lanes are at most half full. May be NULL. */
    void (*on_writable)(void *ctx, struct link *link);
};

struct link_stats {
    uint64_t frames_in, frames_out; /* out: handed to the kernel or to the batch on its way there */
    uint64_t bytes_in, bytes_out;   /* headers included */
    uint64_t busy;                  /* sends answered ERR_BUSY */
    uint64_t last_in_ms;            /* clock_mono_ms of the last byte received; of the opening before that */
};

/* Connects to `address` (a name is resolved; its addresses are tried in turn within the time limit). Options may be
 * NULL for the defaults, and are copied; `callbacks` are copied. Returns NULL with *err set (ERR_INVALID bind_host,
 * ERR_NOMEM) and no callback; otherwise the outcome is told by on_open or on_close, never before this call has
 * returned. */
struct link *link_connect(struct net *net, const struct address *address, const struct link_options *options,
                          const struct link_callbacks *callbacks, void *ctx, struct err *err);

/* Queues one frame whose payload is a[0..a_len) followed by b[0..b_len) (b may be NULL with 0). Copies. Returns 0;
 * ERR_BUSY when the lane is full, ERR_LIMIT when the frame is over frame_bytes_max, ERR_CLOSED when the link is not
 * open yet or is closing; nothing is queued then. Never calls back. 0 means queued, not delivered. */
int link_send(struct link *link, enum link_lane lane, uint16_t type, const void *a, size_t a_len, const void *b,
              size_t b_len);

/* Bytes in both lanes and on their way to the kernel. */
size_t link_backlog(const struct link *link);
/* Whether link_send could succeed: open and not closing. */
bool link_is_open(const struct link *link);

/* Connecting: the other host has not answered yet. */
bool link_is_connecting(const struct link *link);
/* Who the other side is by its certificate; NULL without TLS. Valid from on_open or on_accept to on_close. */
const struct tls_identity *link_identity(const struct link *link);

/* The application has accepted the peer's hello: no more establish timeout, full frame size, no longer counted among
 * the strangers of its server. Does nothing the second time. */
void link_established(struct link *link);

/* Ends the link: no on_frame after this call, on_close(LINK_LOCAL) from the loop. What is queued gets one attempt to be
 * written, so a last frame such as a refusal of the hello usually arrives. Harmless on a link that is closing. */
void link_close(struct link *link);
/* The same with reason LINK_OVERFLOW and without the attempt: for a peer that does not read what it must. */
void link_close_overflow(struct link *link);

/* The ctx given at link_connect or link_set_context. */
void *link_context(const struct link *link);
/* Gives an accepted link its callbacks (copied) and ctx; also to replace them when a stranger has become somebody. */
void link_set_context(struct link *link, const struct link_callbacks *callbacks, void *ctx);
/* Numeric address of the other side; of a link still connecting, the address as given. */
const struct address *link_peer(const struct link *link);
void link_stats(const struct link *link, struct link_stats *ret);
/* Cuts (or with 0 heals) one link without closing it; see net_filter_set. */
void link_cut(struct link *link, unsigned cut);

struct link_server_options {
    struct link_options link; /* of accepted links */
    unsigned links_max;       /* 16,384; further connections are closed at once */
    unsigned strangers_max;   /* links not established, handshakes included; 1,024; as above */
    /* A connection ended in its TLS handshake, before on_accept was told of it: ERR_CLOSED when the other side just
     * went, ERR_TIMEOUT, or what was wrong. May be NULL. */
    void (*on_failed)(void *ctx, const struct address *peer, const struct err *err);
};

void link_server_options_default(struct link_server_options *options);

struct link_server_stats {
    uint64_t accepted; /* told to on_accept */
    uint64_t refused;  /* closed at once: links_max, strangers_max, no memory */
    uint64_t failed;   /* TLS handshakes that did not end well */
    unsigned links;    /* now */
    unsigned strangers;
};

/* Listens on `address` (numeric; port 0 takes a free one). on_accept(ctx, link) must call link_set_context before it
 * returns (or link_close; then there is no on_close). `options` may be NULL for the defaults. Errors as
 * http_server_open. */
int link_server_open(struct net *net, const struct address *address, const struct link_server_options *options,
                     void (*on_accept)(void *ctx, struct link *link), void *ctx, struct link_server **ret_server,
                     struct err *err);
/* The address listened on, with the port that was really bound. */
const struct address *link_server_address(const struct link_server *server);
void link_server_stats(const struct link_server *server, struct link_server_stats *ret);
/* Stops listening and closes every accepted link (each gets its on_close), then `done` (may be NULL) fires once from
 * the loop; the server's memory is gone then. */
void link_server_close(struct link_server *server, void (*done)(void *ctx), void *ctx);

#endif
