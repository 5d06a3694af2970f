/* SPDX-License-Identifier: Apache-2.0 */
#include "net/net_stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define LISTEN_BACKLOG      4096
#define KEEPALIVE_S         30
#define UNACKED_MS          (60 * 1000) /* a host without power is noticed by then, also when little is sent to it */
#define NOTSENT_LOWAT_BYTES (128 << 10) /* more than this unsent in the kernel only delays what is urgent */

int net_stream_init(struct net_stream *s, struct net *net, const struct net_stream_events *events) {
    *s = (struct net_stream){.net = net, .events = events};
    int rc = uv_tcp_init(net_loop(net), &s->tcp);
    s->tcp.data = s;
    return rc;
}

void net_stream_tune(struct net_stream *s) {
    uv_os_fd_t fd;
    int lowat = NOTSENT_LOWAT_BYTES;
    unsigned unacked = UNACKED_MS;
    (void)uv_tcp_nodelay(&s->tcp, 1);
    (void)uv_tcp_keepalive(&s->tcp, 1, KEEPALIVE_S);
    if (uv_fileno((uv_handle_t *)&s->tcp, &fd)) return;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof lowat);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacked, sizeof unacked);
}

static void stream_ended(struct net_stream *s, int status) {
    if (s->ended) return;
    s->ended = true;
    (void)net_stream_read(s, false);
    s->events->ended(s, status);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    struct net_stream *s = handle->data;
    (void)suggested;
    *buf = uv_buf_init((char *)net_receive_buffer(s->net), NET_RECEIVE_BYTES);
}

static void on_read(uv_stream_t *tcp, ssize_t n, const uv_buf_t *buf) {
    struct net_stream *s = tcp->data;
    if (n > 0)
        s->events->received(s, (const uint8_t *)buf->base, (size_t)n);
    else if (n < 0)
        stream_ended(s, (int)n);
}

int net_stream_read(struct net_stream *s, bool on) {
    if (s->reading == on) return 0;
    s->reading = on;
    return on ? uv_read_start((uv_stream_t *)&s->tcp, on_alloc, on_read) : uv_read_stop((uv_stream_t *)&s->tcp);
}

static void on_written(uv_write_t *write, int status) {
    struct net_stream *s = write->handle->data;
    free(s->flight);
    s->flight = NULL;
    if (uv_is_closing((uv_handle_t *)&s->tcp)) return;
    if (status == 0)
        s->events->sent(s);
    else
        stream_ended(s, status);
}

void net_stream_send(struct net_stream *s, struct buf *out) {
    CHECK(!s->flight);
    size_t len = out->len, done = 0;
    int rc = 0;
    if (len == 0 || uv_is_closing((uv_handle_t *)&s->tcp)) return;
    while (done < len && rc >= 0) {
        size_t part = len - done;
        uv_buf_t b = uv_buf_init((char *)out->data + done, part > INT32_MAX ? INT32_MAX : (unsigned)part);
        rc = uv_try_write((uv_stream_t *)&s->tcp, &b, 1);
        if (rc > 0) done += (size_t)rc;
    }
    s->bytes_out += len;
    if (done == len) {
        buf_done(out);
        return;
    }
    s->flight = buf_take(out, &len);
    if (rc == UV_EAGAIN) {
        uv_buf_t b = uv_buf_init((char *)s->flight + done, (unsigned)(len - done));
        rc = uv_write(&s->write, (uv_stream_t *)&s->tcp, &b, 1, on_written);
    }
    if (rc < 0) {
        free(s->flight);
        s->flight = NULL;
        stream_ended(s, rc);
    }
}

bool net_stream_sending(const struct net_stream *s) {
    return s->flight != NULL;
}

size_t net_stream_in_flight(const struct net_stream *s) {
    return uv_stream_get_write_queue_size((const uv_stream_t *)&s->tcp);
}

static void on_closed(uv_handle_t *handle) {
    struct net_stream *s = handle->data;
    s->events->closed(s);
}

void net_stream_close(struct net_stream *s) {
    s->ended = true;
    uv_close((uv_handle_t *)&s->tcp, on_closed);
}

bool net_stream_peer(const struct net_stream *s, struct address *ret) {
    struct sockaddr_storage sa;
    int len = sizeof sa;
    if (uv_tcp_getpeername(&s->tcp, (struct sockaddr *)&sa, &len)) return false;
    address_from_sockaddr((const struct sockaddr *)&sa, ret);
    return true;
}

int net_listen(uv_tcp_t *tcp, const struct address *address, uv_connection_cb accepted, struct address *ret_bound,
               struct err *err) {
    struct sockaddr_storage sa;
    int len = sizeof sa;
    char text[ADDRESS_TEXT_MAX];
    int rc = address_to_sockaddr(address, &sa, err);
    if (rc) return rc;
    rc = uv_tcp_bind(tcp, (const struct sockaddr *)&sa, 0);
    if (rc == 0) rc = uv_listen((uv_stream_t *)tcp, LISTEN_BACKLOG, accepted);
    if (rc == 0) rc = uv_tcp_getsockname(tcp, (struct sockaddr *)&sa, &len);
    if (rc) return err_set(err, ERR_IO, "listening on %s: %s", address_format(address, text), uv_strerror(rc));
    address_from_sockaddr((const struct sockaddr *)&sa, ret_bound);
    return 0;
}
