/* SPDX-License-Identifier: Apache-2.0
 * One TLS connection as a pure engine between the socket's bytes and ours: bytes go in, bytes come out, nothing blocks
 * and no socket is known. Inside src/net only.
 *
 *   new --> handshake: tls_conn_in and tls_conn_start make output --> ready: tls_conn_out encrypts, tls_conn_in
 * decrypts
 *
 * Bounds: TLS_HANDSHAKE_BYTES received before it is ready, TLS_OUTPUT_BYTES of output that was not asked for by
 * tls_conn_out (answers to the peer), one record of 16 KiB of input held. */
#ifndef CONCLAVE_NET_TLS_CONN_H
#define CONCLAVE_NET_TLS_CONN_H

#include "base/buf.h"
#include "net/tls.h"

#define TLS_HANDSHAKE_BYTES (64u << 10)
#define TLS_OUTPUT_BYTES    (64u << 10)

struct tls_conn; /* opaque */

/* `accepted`: the other side began. NULL without memory. */
struct tls_conn *tls_conn_new(struct tls *tls, bool accepted, const struct tls_expect *expect);
void tls_conn_free(struct tls_conn *c); /* NULL is allowed */

/* Output that waits to be sent is appended to the buffer by the functions below. The first bytes of the dialling side.
 * 0, ERR_NOMEM. */
int tls_conn_start(struct tls_conn *c, struct buf *out, struct err *err);

/* Takes received bytes; gives what they say to `plain` piece by piece, which returns false to stop (the rest is
 * dropped, and the connection must not be used again). `out` may get output on errors too (an alert: send it).
 * Returns 0; ERR_PARSE (not TLS, or broken), ERR_FORBIDDEN (the certificate is refused, here or there),
 * ERR_LIMIT, ERR_CLOSED (the other side says it ends). The text says what to do where that is known. */
int tls_conn_in(struct tls_conn *c, const uint8_t *data, size_t len, struct buf *out,
                bool (*plain)(void *ctx, const uint8_t *data, size_t len), void *ctx, struct err *err);

/* Encrypts; ready only. 0, ERR_NOMEM, ERR_IO. */
int tls_conn_out(struct tls_conn *c, const uint8_t *data, size_t len, struct buf *out, struct err *err);

/* The handshake is over on our side: the other certificate is good, and its identity what was expected. (A dialling
 * side is ready before it knows that its own certificate was accepted.) */
bool tls_conn_ready(const struct tls_conn *c);
/* Valid once ready. */
const struct tls_identity *tls_conn_peer(const struct tls_conn *c);

/* What the first bytes of a connection are, for a clear word to whoever mixes TLS and none. */
bool tls_bytes_are_tls(const uint8_t *data, size_t len);

#endif
