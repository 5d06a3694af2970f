/* SPDX-License-Identifier: Apache-2.0
 * Snapshots, in both directions, each on a connection of its own. See peers.h.
 *
 * Sending: dial -> HELLO(bulk) -> WELCOME -> INSTALL -> CHUNK .. CHUNK -> INSTALLED. The request completes in the
 * link's on_close and nowhere else, so exactly once and never inside a call of the core. The data is the caller's and
 * is read as the link takes it. Receiving: INSTALL announces the length (bounded by the codec), the chunks must follow
 * one another, and the whole goes to the core as one message. */
#include "consensus/peers_impl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"

#define BULK_QUEUE_BYTES (4u << 20)

struct transfer {
    struct peers *peers;
    struct peer *peer; /* NULL after it was forgotten */
    struct link *link;
    struct raft_io_send *req;
    raft_io_send_cb cb;
    struct buf head;     /* payload of INSTALL */
    const uint8_t *data; /* the caller's */
    uint64_t len, sent;
    uint64_t progress_ms; /* when something last moved */
    bool started;         /* INSTALL is sent */
    int status;           /* what the callback will say */
};

static void transfer_pump(struct transfer *t) {
    while (t->sent < t->len) {
        size_t n = t->len - t->sent > PEER_CHUNK_BYTES ? PEER_CHUNK_BYTES : (size_t)(t->len - t->sent);
        uint8_t offset[8];
        store_u64(offset, t->sent);
        int rv = link_send(t->link, LINK_BULK, PEER_FRAME_CHUNK, offset, sizeof offset, t->data + t->sent, n);
        if (rv == ERR_BUSY) return; /* on_writable goes on */
        if (rv != 0) {
            link_close(t->link);
            return;
        }
        t->sent += n;
    }
}

static void transfer_open_cb(void *ctx, struct link *link) {
    struct transfer *t = ctx;
    if (t->peer == NULL) return;
    uint8_t hello[PEER_HELLO_BYTES];
    peer_hello_for(t->peer, PEER_STREAM_BULK, hello);
    (void)link_send(link, LINK_CONTROL, PEER_FRAME_HELLO, hello, sizeof hello, NULL, 0);
}

static void transfer_frame_cb(void *ctx, struct link *link, uint16_t type, const uint8_t *payload, size_t len) {
    struct transfer *t = ctx;
    if (t->peer == NULL) return;
    t->progress_ms = peers_now(t->peers);
    struct peer_hello hello;
    if (type == PEER_FRAME_WELCOME && !t->started && peer_hello_decode(payload, len, &hello) == 0 &&
        hello.nonce == t->peer->nonce) {
        link_established(link);
        t->started = true;
        (void)link_send(link, LINK_BULK, PEER_FRAME_INSTALL, t->head.data, t->head.len, NULL, 0);
        transfer_pump(t);
    } else {
        bool done = type == PEER_FRAME_INSTALLED && len == 8 && load_u64(payload) == t->len && t->sent == t->len;
        if (done) t->status = 0;
        link_close(link);
    }
}

static void transfer_writable_cb(void *ctx, struct link *link) {
    struct transfer *t = ctx;
    (void)link;
    t->progress_ms = peers_now(t->peers);
    if (t->started) transfer_pump(t);
}

static void transfer_close_cb(void *ctx, struct link *link, enum link_reason reason, const struct err *err) {
    struct transfer *t = ctx;
    struct peers *p = t->peers;
    (void)link;
    (void)err;
    if (t->peer) t->peer->transfer = NULL;
    if (t->status == 0)
        p->counters.snapshots_sent++;
    else
        p->counters.snapshots_failed++;
    log_event(LOG_INFO, "snapshot_sent", "peer=%" PRIu64 " bytes=%" PRIu64 " of=%" PRIu64 " status=%d reason=%s",
              t->peer ? t->peer->id : 0, t->sent, t->len, t->status, link_reason_name(reason));
    struct raft_io_send *req = t->req;
    raft_io_send_cb cb = t->cb;
    int status = t->status;
    buf_done(&t->head);
    free(t);
    if (cb) cb(req, status);
    peers_release(p);
}

int transfer_start(struct peer *peer, const struct raft_message *message, struct raft_io_send *req,
                   raft_io_send_cb cb) {
    static const struct link_callbacks callbacks = {.on_open = transfer_open_cb,
                                                    .on_frame = transfer_frame_cb,
                                                    .on_close = transfer_close_cb,
                                                    .on_writable = transfer_writable_cb};
    struct peers *p = peer->peers;
    if (peer->transfer) return RAFT_BUSY;
    struct transfer *t = calloc(1, sizeof *t);
    if (t == NULL) return RAFT_NOMEM;
    *t = (struct transfer){.peers = p,
                           .peer = peer,
                           .req = req,
                           .cb = cb,
                           .data = message->install_snapshot.data.base,
                           .len = message->install_snapshot.data.len,
                           .progress_ms = peers_now(p),
                           .status = RAFT_NOCONNECTION};
    buf_init(&t->head, PEER_MESSAGE_MAX);
    int rv = peer_message_encode(message, &t->head) == 0 ? 0 : RAFT_TOOBIG;
    if (rv == 0) {
        struct link_options options;
        struct err err;
        peers_link_options(p, &options, BULK_QUEUE_BYTES);
        t->link = link_connect(p->config.net, &peer->address, &options, &callbacks, t, &err);
        if (t->link == NULL) rv = RAFT_NOCONNECTION;
    }
    if (rv != 0) {
        buf_done(&t->head);
        free(t);
        return rv;
    }
    p->pending++;
    peer->transfer = t;
    log_event(LOG_INFO, "snapshot_sending", "peer=%" PRIu64 " index=%llu bytes=%" PRIu64, peer->id,
              message->install_snapshot.last_index, t->len);
    return 0;
}

void transfer_cancel(struct transfer *t) {
    if (t->peer) t->peer->transfer = NULL;
    t->peer = NULL;
    t->status = RAFT_CANCELED;
    link_close(t->link);
}

void transfer_tick(struct transfer *t, uint64_t now_ms) {
    if (now_ms - t->progress_ms >= PEERS_SNAPSHOT_STALL_MS) link_close_overflow(t->link);
}

/* Receiving. */

static void install_finish(struct inbound *in) {
    struct peers *p = in->peers;
    struct raft_message message = in->install;
    uint8_t bytes[8];
    in->installing = false;
    store_u64(bytes, in->received);
    message.server_id = in->peer->id;
    message.server_address = in->peer->text;
    p->counters.snapshots_received++;
    log_event(LOG_INFO, "snapshot_received", "peer=%" PRIu64 " index=%llu bytes=%" PRIu64, in->peer->id,
              message.install_snapshot.last_index, in->received);
    (void)link_send(in->link, LINK_CONTROL, PEER_FRAME_INSTALLED, bytes, sizeof bytes, NULL, 0);
    p->config.message(p->config.ctx, &message);
}

static void install_begin(struct inbound *in, const uint8_t *payload, size_t len) {
    struct raft_message message;
    if (in->installing || peer_message_decode(payload, len, &message) != 0) {
        inbound_malformed(in, "install");
        return;
    }
    if (message.type != RAFT_IO_INSTALL_SNAPSHOT) {
        peer_message_free(&message);
        inbound_malformed(in, "install");
        return;
    }
    size_t total = message.install_snapshot.data.len;
    message.install_snapshot.data.base = raft_malloc(total > 0 ? total : 1);
    if (message.install_snapshot.data.base == NULL) {
        peer_message_free(&message);
        link_close(in->link); /* it will try again */
        return;
    }
    in->install = message;
    in->installing = true;
    in->received = 0;
    if (total == 0) install_finish(in);
}

static void install_chunk(struct inbound *in, const uint8_t *payload, size_t len) {
    struct raft_buffer *data = &in->install.install_snapshot.data;
    bool good = in->installing && len > 8 && len - 8 <= PEER_CHUNK_BYTES && load_u64(payload) == in->received &&
                len - 8 <= data->len - in->received;
    if (!good) {
        inbound_malformed(in, "chunk");
        return;
    }
    memcpy((uint8_t *)data->base + in->received, payload + 8, len - 8);
    in->received += len - 8;
    if (in->received == data->len) install_finish(in);
}

void inbound_bulk_frame(struct inbound *in, uint16_t type, const uint8_t *payload, size_t len) {
    if (type == PEER_FRAME_INSTALL)
        install_begin(in, payload, len);
    else if (type == PEER_FRAME_CHUNK)
        install_chunk(in, payload, len);
    else
        inbound_malformed(in, "bulk frame");
}
