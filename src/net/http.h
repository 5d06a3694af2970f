/* SPDX-License-Identifier: Apache-2.0
 * An HTTP/1.1 server on a uv loop: requests come whole (head and body, both bounded), answers go out at once or as a
 * stream of chunks, now or in a later loop turn.
 *
 * The application sees exchanges. An exchange is one request and its answer; its handle stays valid until the
 * application ends it (http_reply, http_stream_end, http_abort), or until its `closed` callback is called, whatever
 * comes first. So a handle may be kept across loop turns without asking whether the peer is still there:
 * answering an exchange whose peer has gone is allowed and does nothing.
 *
 *   handler(request) --> http_reply                                   one answer with Content-Length
 *                    \-> http_stream_begin -> http_stream_chunk* -> http_stream_end
 *                     \> http_abort                                   connection cut without an answer
 *   closed(ctx)  the peer went away, or the connection was cut at a bound, before the application had finished
 *
 * Requests of one connection are handed out one at a time: the next one (pipelined) is parsed only after the answer
 * before it is queued, so answers never change order.
 *
 * What is refused, by the server itself, before the application sees anything: bare CR or LF and folded lines in the
 * head, control characters, a space before a colon, Content-Length twice or beside Transfer-Encoding, transfer codings
 * other than a single "chunked", a missing or second Host (all 400); head over 64 KiB (431), chunk extensions over 1
 * KiB (400), body over the limit (413), all bodies together over their limit (503), Expect other than 100-continue
 * (417), versions other than 1.0 and 1.1 (505), CONNECT (501). Slow heads, bodies and readers are cut by time, readers
 * of streams also by backlog, connections over the maximum get 503.
 *
 * I/O threads later: every function below copies what it is given and touches the connection only through the exchange,
 * and every callback hands over memory that belongs to the exchange. So the connection can move to an I/O thread, with
 * the exchange left behind as its mailbox on the application's thread: reply, chunk, end and abort become owned
 * messages to the I/O thread; request, backlog and closed become messages from it. The application's code does not
 * change. What it must keep to for that: never hold a pointer into a request beyond the life told below, and take
 * http_stream_backlog for a recent value, not an exact one. */
#ifndef CONCLAVE_NET_HTTP_H
#define CONCLAVE_NET_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "net/address.h"
#include "net/net.h"

struct http_server;
struct http_exchange;

struct http_field {
    const char *name;
    const char *value;
};

/* Valid until the exchange is answered, its stream is begun, or `closed` has returned. All strings are terminated and
 * free of control characters. */
struct http_request {
    struct http_exchange *exchange;
    const char *method; /* "GET", "POST", as sent */
    const char *target; /* as sent, without "http://host" when it had that: "/a%20b?x=1" */
    const char *path;   /* percent-decoded, begins with '/' (or is "*"); routes must refuse ".." themselves */
    const char *query;  /* as sent, behind '?', or "" */
    const struct http_field *fields; /* in order; values without surrounding spaces; repeated names stay apart */
    size_t field_n;
    const uint8_t *body; /* never NULL */
    size_t body_len;
    const char *peer; /* "127.0.0.1:4711" */
    unsigned minor;   /* of HTTP/1.x: 0 or 1 */
    bool keep_alive;  /* the connection will serve another request */
};

struct http_limits {
    size_t head_bytes_max;           /* request line, header lines and trailers together; 64 KiB */
    size_t extension_bytes_max;      /* chunk extensions of a request; 1 KiB */
    size_t body_bytes_max;           /* 4 MiB */
    size_t body_bytes_total_max;     /* request bodies held by all connections of the server; 256 MiB */
    size_t stream_backlog_bytes_max; /* bytes a stream may be behind before it is cut; 4 MiB */
    unsigned connections_max;        /* 4,096 */
    unsigned head_timeout_ms;        /* first byte of a request to the end of its head; 10 s */
    unsigned body_timeout_ms;        /* end of the head to the end of the body; 30 s */
    unsigned idle_timeout_ms;        /* without a request under way; 75 s */
    unsigned write_timeout_ms;       /* output waits and the peer takes none of it; 60 s; streams too */
};

/* Fills in the defaults named above. */
void http_limits_default(struct http_limits *limits);

struct http_stats {
    uint64_t accepted;     /* connections, those over the maximum too */
    uint64_t refused;      /* connections over the maximum */
    uint64_t requests;     /* handed to the application */
    uint64_t bad_requests; /* answered by the server itself with 4xx or 5xx */
    uint64_t timeouts;     /* connections cut by any of the timeouts, the idle one excepted */
    uint64_t streams_cut;  /* streams cut at their backlog */
    uint64_t bytes_in;     /* received */
    uint64_t bytes_out;    /* taken by the kernel */
    unsigned connections;  /* now */
    unsigned streams;      /* now */
};

/* Listens on `address` (numeric; port 0 takes a free one) and calls `handler` for each request, on the loop. `limits`
 * may be NULL for the defaults, and is copied. *ret_server lives until http_server_close has called back. Fails with
 * ERR_INVALID (not numeric), ERR_IO (bind, listen; the text names the address) or ERR_NOMEM. */
int http_server_open(struct net *net, const struct address *address, const struct http_limits *limits,
                     void (*handler)(void *ctx, const struct http_request *request), void *ctx,
                     struct http_server **ret_server, struct err *err);

/* The address listened on, with the port that was really bound. */
const struct address *http_server_address(const struct http_server *server);

void http_server_stats(const struct http_server *server, struct http_stats *ret);

/* Stops listening and ends every connection; output already queued gets one attempt to be written. Exchanges not
 * finished: `closed` fires where it was set; the others stay valid until they are answered, as always. `done` (may be
 * NULL) fires once, from the loop, after all that; the server's memory is gone then. */
void http_server_close(struct http_server *server, void (*done)(void *ctx), void *ctx);

/* The first header named `name` (any case), or NULL. */
const char *http_request_header(const struct http_request *request, const char *name);
/* The `nth` (from 0) header named `name`, or NULL: for headers that may be repeated, such as Accept. */
const char *http_request_header_nth(const struct http_request *request, const char *name, size_t nth);

/* Percent-decodes text[0..len) into out[0..size), terminated; `plus` makes '+' a space (queries). Returns 0,
 * ERR_PARSE for a bad escape, an encoded NUL or a NUL, ERR_LIMIT when it does not fit. */
int http_percent_decode(const char *text, size_t len, bool plus, char *out, size_t size);
/* Decodes the first value of `name` in a query ("a=1&b=x%20y"). As above, or ERR_NOT_FOUND; "name" without '=' is
 * found with an empty value. */
int http_query_get(const char *query, const char *name, char *out, size_t size);

/* Answers and ends the exchange; the handle is dead when it returns. Content-Length is always sent (but for 1xx, 204
 * and 304, which have no body), Content-Type only when it is among `fields`; Date, Connection and framing headers are
 * the server's and must not be among them. To HEAD the same is sent without the body. Copies everything. A field with a
 * bad name or a control character in its value turns the answer into a plain 500: input that is echoed into a header
 * cannot split an answer. */
void http_reply(struct http_exchange *x, int status, const struct http_field *fields, size_t field_n, const void *body,
                size_t len);
/* As http_reply with `text` as text/plain, or an empty body without Content-Type when text is NULL or "". */
void http_reply_text(struct http_exchange *x, int status, const char *text);

/* Sends status and headers with Transfer-Encoding: chunked (to HTTP/1.0: no framing, ended by close), releases the
 * request's memory, and exempts the connection from the idle timeout. The stream goes on whatever `Connection` the
 * request had. On a bad field as in http_reply: 500 goes out, and `closed` fires as when the peer had gone. */
void http_stream_begin(struct http_exchange *x, int status, const struct http_field *fields, size_t field_n);

/* Sends data[0..len), len > 0, as exactly one chunk, its length line and its bytes in one write. Copies. Returns 0;
 * ERR_BUSY when the backlog would pass its maximum: nothing of the chunk is sent, the connection is being cut and
 * `closed` will fire from the loop; ERR_CLOSED when that, or the peer's leaving, has happened already. */
int http_stream_chunk(struct http_exchange *x, const void *data, size_t len);

/* Bytes given to this connection which the kernel has not taken yet. */
size_t http_stream_backlog(const struct http_exchange *x);

/* Sends the last chunk and ends the exchange; the handle is dead when it returns. The connection serves the next
 * request when it is a keep-alive one. */
void http_stream_end(struct http_exchange *x);

/* Cuts the connection without an (or the rest of an) answer and ends the exchange: for an outcome that is unknown. */
void http_abort(struct http_exchange *x);

/* Sets what is called, once and from the loop, when the connection is gone before the exchange was ended. The handle is
 * dead from then on and must not be used in the callback (the request's memory lives until it returns). Without one
 * (NULL), the exchange outlives its connection until it is ended. If the connection has gone already, the callback
 * fires in a later turn. A peer that only closed its sending side still gets a plain answer; it counts as gone once a
 * stream is begun. */
void http_exchange_on_closed(struct http_exchange *x, void (*closed)(void *ctx), void *ctx);

/* A number that no other exchange of this process has, for logs. */
uint64_t http_exchange_id(const struct http_exchange *x);

#endif
