/* SPDX-License-Identifier: Apache-2.0
 * The bytes of a link: between frames and the socket, through TLS where there is any. See link.h. */
#include <stdio.h>

#include "base/check.h"
#include "net/link_internal.h"

static bool on_frame(void *ctx, uint16_t type, const uint8_t *payload, size_t len) {
    struct link *link = ctx;
    link->stats.frames_in++;
    link->callbacks.on_frame(link->ctx, link, type, payload, len);
    return link->state == LINK_OPEN;
}

static void frames_in(struct link *link, const uint8_t *data, size_t len) {
    struct err err;
    int rc = link_decoder_feed(&link->decoder, data, len, on_frame, link, &err);
    if (rc == 0) return;
    char peer[ADDRESS_TEXT_MAX];
    (void)err_wrap(&err, "%.80s", address_format(&link->peer, peer));
    link_end(link, rc == ERR_NOMEM ? LINK_IO : LINK_PROTOCOL, &err);
}

/* ---- TLS ---- */

static void tls_flush(struct link *link) {
    if (link->tls_out.len == 0 || net_stream_sending(&link->stream) || link->cut & NET_CUT_OUT) return;
    net_stream_send(&link->stream, &link->tls_out);
}

/* Whoever is at the other end gets the alert that is waiting, if the kernel takes it now. */
static void tls_failed(struct link *link, int rc, const struct err *why) {
    struct err err = *why;
    char peer[ADDRESS_TEXT_MAX];
    enum link_reason reason = link->state == LINK_HANDSHAKE || rc == ERR_FORBIDDEN ? LINK_TLS
                              : rc == ERR_CLOSED                                   ? LINK_PEER
                              : rc == ERR_NOMEM                                    ? LINK_IO
                                                                                   : LINK_PROTOCOL;
    tls_flush(link);
    (void)err_wrap(&err, "%.80s", address_format(&link->peer, peer));
    link_end(link, reason, &err);
}

static bool tls_plain(void *ctx, const uint8_t *data, size_t len) {
    struct link *link = ctx;
    if (link->state == LINK_HANDSHAKE) link_ready(link);
    if (link->state == LINK_OPEN) frames_in(link, data, len);
    return link->state == LINK_OPEN;
}

static void tls_in(struct link *link, const uint8_t *data, size_t len) {
    struct err err = {0};
    int rc = tls_conn_in(link->tls, data, len, &link->tls_out, tls_plain, link, &err);
    if (link->state == LINK_CLOSING) return;
    if (rc) {
        tls_failed(link, rc, &err);
        return;
    }
    if (link->state == LINK_HANDSHAKE && tls_conn_ready(link->tls)) link_ready(link);
    if (link->state != LINK_CLOSING && link->tls_out.len) net_defer(link->net, &link->task);
}

void link_tls_start(struct link *link) {
    struct err err = {0};
    link->tls = tls_conn_new(link->options.tls, link->server != NULL, &link->options.tls_peer);
    int rc = link->tls ? 0 : err_set(&err, ERR_NOMEM, "out of memory");
    if (rc == 0 && !link->server) rc = tls_conn_start(link->tls, &link->tls_out, &err);
    if (rc)
        tls_failed(link, rc, &err);
    else
        tls_flush(link);
}

/* One side has TLS and the other has not. Our last bytes are what the other side can read: an alert, or a frame. */
static void mixed(struct link *link) {
    static const uint8_t alert[] = {21, 3, 3, 0, 2, 2, 70}; /* fatal: protocol version */
    bool ours = link->tls != NULL;
    if (!ours) {
        uint8_t header[LINK_HEADER_BYTES];
        link_frame_header(header, 0, 0, NULL, 0, NULL, 0);
        (void)buf_append(&link->tls_out, header, sizeof header);
    } else {
        buf_clear(&link->tls_out);
        (void)buf_append(&link->tls_out, alert, sizeof alert);
    }
    tls_flush(link);
    link_end_text(link, LINK_TLS, ERR_INVALID,
                  ours ? "the other side speaks no TLS: give it --tls-ca, --tls-cert and --tls-key"
                       : "the other side speaks TLS, this one does not: give it --tls-ca, --tls-cert and --tls-key");
}

void link_bytes_in(struct link *link, const uint8_t *data, size_t len) {
    bool first = !link->heard;
    link->heard = true;
    bool theirs = tls_bytes_are_tls(data, len);
    if (first && (link->tls ? !theirs : theirs && len > 1))
        mixed(link);
    else if (link->tls)
        tls_in(link, data, len);
    else
        frames_in(link, data, len);
}

/* Everything sent passes here; takes all of `out`. */
static void link_bytes_out(struct link *link, struct buf *out) {
    link->stats.bytes_out += out->len;
    if (!link->tls) {
        net_stream_send(&link->stream, out);
        return;
    }
    struct err err = {0};
    int rc = tls_conn_out(link->tls, out->data, out->len, &link->tls_out, &err);
    buf_done(out);
    if (rc)
        tls_failed(link, rc, &err);
    else
        tls_flush(link);
}

/* ---- lanes ---- */

size_t link_lane_bytes(const struct link_lane_queue *lane) {
    return lane->buf.len - lane->head;
}

/* Moves whole frames of the lane to `out` until that holds `want` bytes. */
static void lane_move(struct link_lane_queue *lane, struct buf *out, size_t want) {
    size_t take = 0;
    while (take < link_lane_bytes(lane) && out->len + take < want)
        take += link_frame_bytes(lane->buf.data + lane->head + take);
    if (buf_append(out, lane->buf.data + lane->head, take)) return;
    lane->head += take;
    if (lane->head == lane->buf.len) {
        buf_done(&lane->buf);
        lane->head = 0;
    } else if (lane->head > lane->buf.len / 2) {
        buf_consume(&lane->buf, lane->head);
        lane->head = 0;
    }
}

/* Sends one batch: all control frames, then bulk up to LINK_BATCH. False: nothing waited. */
static bool link_send_batch(struct link *link) {
    struct link_lane_queue *control = &link->lanes[LINK_CONTROL], *bulk = &link->lanes[LINK_BULK];
    if (link_lane_bytes(control) == 0 && bulk->head == 0 && bulk->buf.len <= LINK_BATCH) {
        if (bulk->buf.len == 0) return false;
        link_bytes_out(link, &bulk->buf); /* the usual case: nothing is copied */
        return true;
    }
    struct buf batch;
    buf_init(&batch, SIZE_MAX / 2);
    lane_move(control, &batch, SIZE_MAX);
    lane_move(bulk, &batch, LINK_BATCH);
    if (batch.len == 0) { /* no memory for the batch */
        buf_done(&batch);
        link_end_text(link, LINK_IO, ERR_NOMEM, "out of memory");
        return false;
    }
    link_bytes_out(link, &batch);
    return true;
}

void link_flush(struct link *link) {
    if (link->state == LINK_OPEN || link->state == LINK_HANDSHAKE) tls_flush(link);
    while (link->state == LINK_OPEN && !(link->cut & NET_CUT_OUT) && !net_stream_sending(&link->stream))
        if (!link_send_batch(link)) break;
}
