/* SPDX-License-Identifier: Apache-2.0
 * One HTTP connection without a socket: received bytes go in, requests come out; answers (http.h) go in, bytes to send
 * come out. It knows no clock and no loop: http_server.c is its shell, tests and fuzzers are others. Inside src/net
 * only.
 *
 *            first byte         head complete            body complete
 *   IDLE ----------------> HEAD ---------------> BODY ---------------> ANSWER --stream_begin--> STREAM
 *    ^                      |                      |                     |                       |
 *    |                      +---- refused ---------+                     |                       |
 *    |                                |                                  |                       |
 *    +------------- keep-alive -------|----------------------------------+-----------------------+
 *                                     v                                  v
 *                                  LINGER                        CLOSE (last answer)      CUT (from anywhere)
 *
 * In IDLE, HEAD and BODY it takes input; in ANSWER and STREAM the shell keeps what it receives until an answer is
 * queued; in LINGER and later input is thrown away. CLOSE: send the output, then close. LINGER: the same, but the peer
 * may still be sending, so read and drop for a while, or the reset that a close would cause takes the answer with it.
 * CUT: close now. */
#ifndef CONCLAVE_NET_HTTP_CONN_H
#define CONCLAVE_NET_HTTP_CONN_H

#include <llhttp.h>

#include "base/buf.h"
#include "net/http.h"
#include "net/http_scan.h"
#include "net/net_task.h"

#define HTTP_PEER_TEXT_MAX   64
#define HTTP_REPLY_BYTES_MAX ((size_t)256 << 20) /* a plain answer; beyond it the answer becomes a 500 */

enum http_phase {
    PHASE_IDLE,
    PHASE_HEAD,
    PHASE_BODY,
    PHASE_ANSWER,
    PHASE_STREAM,
    PHASE_CLOSE,
    PHASE_LINGER,
    PHASE_CUT
};

/* What the connections of one server have in common. */
struct http_shared {
    struct http_limits limits;
    struct http_stats stats;
    size_t body_bytes; /* request bodies held now, all connections */
    char date[32];     /* value of the Date header, or empty for none; the shell keeps it fresh */
    /* Runs the task at the end of the turn; must work after the server has gone. */
    void (*defer)(void *defer_ctx, struct net_task *task);
    void *defer_ctx;
};

struct http_conn_hooks {
    /* A whole request. Answering from inside is allowed. */
    void (*request)(void *ctx, const struct http_request *request);
    /* There is output to send, or the phase has changed: act at the end of the turn. Never acts at once. */
    void (*wake)(void *ctx);
    /* Hands as much output to the kernel as it takes now. */
    void (*flush)(void *ctx);
    /* Bytes taken out of `out` which the kernel has not got yet. */
    size_t (*in_flight)(void *ctx);
};

struct http_conn {
    struct http_shared *shared;
    const struct http_conn_hooks *hooks;
    void *ctx;                      /* of the hooks */
    struct http_exchange *exchange; /* being read, answered or streamed, or NULL */
    struct buf out;                 /* to be sent; the shell takes from it */
    llhttp_t parser;
    struct http_scan scan;
    enum http_phase phase;
    uint64_t phase_n;     /* grows with every change of phase: how the shell notices progress */
    size_t framing_bytes; /* of a chunked body: everything that is not body */
    size_t extension_bytes;
    const uint8_t *feed_begin; /* while llhttp runs: what it was given */
    uint8_t feed_before;       /* the byte before feed_begin */
    bool message_done;         /* llhttp has seen the end of the request */
    bool peer_half_closed;     /* no more input will come */
    int fault_status;          /* set by a parser callback: answer this */
    const char *fault_reason;
    char peer[HTTP_PEER_TEXT_MAX];
};

/* All of these are borrowed for the life of the connection. */
void http_conn_init(struct http_conn *c, struct http_shared *shared, const struct http_conn_hooks *hooks, void *ctx,
                    const char *peer);
/* Frees what it holds and leaves an unfinished exchange behind as http.h says. */
void http_conn_done(struct http_conn *c);

/* Takes input; returns how many bytes. Less than `len` means: come again with the rest when the phase takes input. */
size_t http_conn_in(struct http_conn *c, const uint8_t *data, size_t len);
bool http_conn_takes_input(const struct http_conn *c);
/* The peer has closed its sending side. */
void http_conn_eof(struct http_conn *c);
/* The phase has lasted too long: 408 in HEAD and BODY, CLOSE in IDLE, else CUT. */
void http_conn_timeout(struct http_conn *c);

/* For http_answer.c. */
void http_conn_set_phase(struct http_conn *c, enum http_phase phase);
/* Answers `status` with a line of text, and lingers. The exchange, if any, must be one still being read. */
void http_conn_refuse(struct http_conn *c, int status, const char *reason);

/* A request and its answer; http_answer.c. Fields are private to http_conn.c and http_answer.c. */
struct http_exchange {
    uint32_t magic;
    bool streaming;
    bool head_only;         /* HEAD: no body is sent */
    bool chunked;           /* the stream is framed (not for HTTP/1.0) */
    uint8_t minor;          /* of HTTP/1.x */
    bool keep_alive;        /* as the request wanted it */
    size_t body_bytes_held; /* counted in shared->body_bytes */
    uint64_t id;
    struct http_conn *conn; /* NULL once the connection has gone */
    struct buf head;        /* raw head; strings of the request point into it */
    struct buf body;
    struct http_field *fields;
    size_t field_n, field_cap;
    struct http_request request;
    void (*closed)(void *ctx);
    void *closed_ctx;
    void (*defer)(void *defer_ctx, struct net_task *task);
    void *defer_ctx;
    struct net_task task; /* the deferred call of `closed` */
};

#define HTTP_EXCHANGE_MAGIC 0x48584348u

/* NULL without memory. */
struct http_exchange *http_exchange_new(struct http_conn *c);
void http_exchange_free(struct http_exchange *x);
/* Frees the memory of the request, keeps the exchange. */
void http_exchange_release(struct http_exchange *x);
/* The connection has gone. */
void http_exchange_detach(struct http_exchange *x);

/* Writes a whole answer; false when a field is bad or memory is short, `out` is unchanged then. */
bool http_answer_write(struct buf *out, const struct http_shared *shared, const struct http_exchange *x, int status,
                       const struct http_field *fields, size_t field_n, const void *body, size_t len, bool keep_alive);

#endif
