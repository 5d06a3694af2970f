/* SPDX-License-Identifier: Apache-2.0
 * Snapshots, in both directions, each on a connection of its own. See peers.h.
 *
 * Sending: dial -> HELLO(bulk) -> WELCOME -> FILE -> PIECE .. PIECE -> INSTALLED. TAKEN, in between, says how much the
 * other side has dealt with; the sender is at most a window ahead of that, so neither side ever holds more than a
 * window of a file. The request completes in the link's on_close and nowhere else, so exactly once and never inside a
 * call of the core. Receiving: FILE announces the size, the pieces must follow one another, and when the last of them
 * has been dealt with the message goes to the core. */
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
    struct buf head;     /* payload of FILE */
    const uint8_t *data; /* the caller's, without files */
    void *source;        /* or of files.open */
    bool reading;        /* files.read is under way */
    struct buf held;     /* a piece that the link had no room for */
    uint64_t size, sent, taken;
    uint64_t progress_ms; /* when something last moved */
    bool started;         /* FILE is sent */
    int status;           /* what the callback will say */
};

/* False: not now, on_writable goes on; or never. */
static bool piece_send(struct transfer *t, const uint8_t *bytes, size_t len) {
    uint8_t offset[8];
    store_u64(offset, t->sent);
    int rv = link_send(t->link, LINK_BULK, PEER_FRAME_PIECE, offset, sizeof offset, bytes, len);
    if (rv == 0) t->sent += len;
    if (rv != 0 && rv != ERR_BUSY) link_close(t->link);
    return rv == 0;
}

static void transfer_pump(struct transfer *t);

static void piece_read_cb(void *data, int status, const uint8_t *bytes, size_t len) {
    struct transfer *t = data;
    t->reading = false;
    t->progress_ms = peers_now(t->peers);
    if (status != 0 || len == 0 || t->peer == NULL) {
        link_close(t->link);
        return;
    }
    if (piece_send(t, bytes, len))
        transfer_pump(t);
    else
        (void)buf_append(&t->held, bytes, len); /* if there is no memory, the transfer stalls and is given up */
}

static void transfer_pump(struct transfer *t) {
    if (t->held.len > 0) {
        if (!piece_send(t, t->held.data, t->held.len)) return;
        buf_clear(&t->held);
    }
    while (t->sent < t->size && !t->reading && t->sent - t->taken <= PEERS_SNAPSHOT_WINDOW - PEER_CHUNK_BYTES) {
        size_t n = t->size - t->sent > PEER_CHUNK_BYTES ? PEER_CHUNK_BYTES : (size_t)(t->size - t->sent);
        if (t->source) {
            t->reading = true;
            t->peers->config.files.read(t->source, n, piece_read_cb, t);
        } else if (!piece_send(t, t->data + t->sent, n)) {
            return;
        }
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
        (void)link_send(link, LINK_BULK, PEER_FRAME_FILE, t->head.data, t->head.len, NULL, 0);
        transfer_pump(t);
    } else if (type == PEER_FRAME_TAKEN && t->started && len == 8 && load_u64(payload) >= t->taken &&
               load_u64(payload) <= t->sent) {
        t->taken = load_u64(payload);
        transfer_pump(t);
    } else {
        bool done = type == PEER_FRAME_INSTALLED && len == 8 && load_u64(payload) == t->size && t->sent == t->size;
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

static void transfer_free(struct transfer *t) {
    if (t->source) t->peers->config.files.close(t->source);
    buf_done(&t->head);
    buf_done(&t->held);
    free(t);
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
              t->peer ? t->peer->id : 0, t->sent, t->size, t->status, link_reason_name(reason));
    struct raft_io_send *req = t->req;
    raft_io_send_cb cb = t->cb;
    int status = t->status;
    transfer_free(t);
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
                           .size = message->install_snapshot.data.len,
                           .progress_ms = peers_now(p),
                           .status = RAFT_NOCONNECTION};
    buf_init(&t->head, PEER_MESSAGE_MAX);
    buf_init(&t->held, PEER_CHUNK_BYTES);
    int rv = p->config.files.open ? p->config.files.open(p->config.files.ctx, message, &t->source, &t->size) : 0;
    if (rv == 0 && (buf_append_u64(&t->head, t->size) != 0 || peer_message_encode(message, &t->head) != 0))
        rv = RAFT_TOOBIG;
    if (rv == 0) {
        struct link_options options;
        struct err err;
        peers_link_options(p, &options, BULK_QUEUE_BYTES);
        options.tls_peer.node = peer->id;
        t->link = link_connect(p->config.net, &peer->address, &options, &callbacks, t, &err);
        if (t->link == NULL) rv = RAFT_NOCONNECTION;
    }
    if (rv != 0) {
        transfer_free(t);
        return rv;
    }
    p->pending++;
    peer->transfer = t;
    log_event(LOG_INFO, "snapshot_sending", "peer=%" PRIu64 " index=%llu bytes=%" PRIu64, peer->id,
              message->install_snapshot.last_index, t->size);
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

static bool files(const struct inbound *in) {
    return in->peers->config.files.open != NULL;
}

/* Forgets what has come so far. */
static void install_drop(struct inbound *in) {
    struct peers *p = in->peers;
    if (p->receiving == in) {
        p->receiving = NULL;
        p->config.files.receive_abandon(p->config.files.ctx);
    }
    raft_free(in->memory);
    in->memory = NULL;
    if (!in->installing) return;
    in->installing = false;
    in->install.install_snapshot.data.base = NULL;
    peer_message_free(&in->install);
}

void inbound_bulk_end(struct inbound *in) {
    if (in->installing) in->peers->counters.snapshots_failed++;
    install_drop(in);
}

static void install_finish(struct inbound *in, const struct raft_buffer *data) {
    struct peers *p = in->peers;
    struct raft_message message = in->install;
    uint8_t bytes[8];
    in->installing = false;
    store_u64(bytes, in->size);
    message.server_id = in->peer->id;
    message.server_address = in->peer->text;
    message.install_snapshot.data = *data;
    p->counters.snapshots_received++;
    log_event(LOG_INFO, "snapshot_received", "peer=%" PRIu64 " index=%llu bytes=%" PRIu64, in->peer->id,
              message.install_snapshot.last_index, in->size);
    (void)link_send(in->link, LINK_CONTROL, PEER_FRAME_INSTALLED, bytes, sizeof bytes, NULL, 0);
    p->config.message(p->config.ctx, &message);
}

static void taken_send(struct inbound *in, uint64_t taken) {
    uint8_t bytes[8];
    store_u64(bytes, taken);
    (void)link_send(in->link, LINK_CONTROL, PEER_FRAME_TAKEN, bytes, sizeof bytes, NULL, 0);
}

static void receive_cb(void *data, int status, uint64_t bytes, struct raft_buffer *done) {
    struct inbound *in = data;
    struct peers *p = in->peers;
    CHECK(p->receiving == in);
    if (status != 0 || done) p->receiving = NULL;
    bool wanted = in->installing && in->peer != NULL && status == 0;
    if (done && wanted) {
        install_finish(in, done);
    } else if (wanted) {
        taken_send(in, bytes);
    } else {
        if (done) raft_free(done->base);
        log_event(LOG_WARN, "snapshot_refused", "bytes=%" PRIu64 " text=\"%s\"", bytes, err_text(status));
        link_close(in->link); /* it will try again */
    }
}

/* A place for the bytes: 0; ERR_EXISTS: they are not needed; else: not now. One file at a time arrives; that of a later
 * term comes first. */
static int install_place(struct inbound *in, const struct raft_message *message) {
    struct peers *p = in->peers;
    if (!files(in)) {
        in->memory = raft_malloc(in->size > 0 ? (size_t)in->size : 1);
        return in->memory != NULL ? 0 : ERR_NOMEM;
    }
    if (p->receiving && p->receiving->install.install_snapshot.term < message->install_snapshot.term) {
        struct inbound *older = p->receiving;
        install_drop(older);
        link_close(older->link);
    }
    if (p->receiving) return ERR_BUSY;
    int rv = p->config.files.receive(p->config.files.ctx, message, in->size, receive_cb, in);
    if (rv == 0) p->receiving = in;
    return rv;
}

/* We have all that is in it. The core is told of it all the same, and answers so: a leader that has not heard our
 * results would otherwise send it again for ever. */
static void install_known(struct inbound *in) {
    struct raft_buffer nothing = {.base = raft_malloc(8), .len = 8};
    if (nothing.base) install_finish(in, &nothing);
    link_close(in->link); /* the bytes that are on their way are not wanted */
}

static void install_begin(struct inbound *in, const uint8_t *payload, size_t len) {
    struct raft_message message;
    if (in->installing || len < 8 || peer_message_decode(payload + 8, len - 8, &message) != 0) {
        inbound_malformed(in, "install");
        return;
    }
    uint64_t size = load_u64(payload), most = files(in) ? PEER_FILE_MAX : PEER_SNAPSHOT_MAX;
    if (message.type != RAFT_IO_INSTALL_SNAPSHOT || size > most || (files(in) && size == 0)) {
        peer_message_free(&message);
        inbound_malformed(in, "install");
        return;
    }
    in->size = size;
    in->received = 0;
    int rv = install_place(in, &message);
    if (rv != 0 && rv != ERR_EXISTS) {
        peer_message_free(&message);
        link_close(in->link); /* it will try again */
        return;
    }
    in->install = message;
    in->installing = true;
    if (rv == ERR_EXISTS) {
        install_known(in);
        return;
    }
    struct raft_buffer nothing = {.base = in->memory};
    if (size > 0) return;
    in->memory = NULL;
    install_finish(in, &nothing);
}

static void install_chunk(struct inbound *in, const uint8_t *payload, size_t len) {
    struct peers *p = in->peers;
    bool good = in->installing && len > 8 && len - 8 <= PEER_CHUNK_BYTES && load_u64(payload) == in->received &&
                len - 8 <= in->size - in->received;
    if (good && files(in)) good = p->config.files.receive_data(p->config.files.ctx, payload + 8, len - 8) == 0;
    if (!good) {
        inbound_malformed(in, "piece");
        return;
    }
    if (in->memory) memcpy(in->memory + in->received, payload + 8, len - 8);
    in->received += len - 8;
    if (files(in)) return;
    taken_send(in, in->received);
    if (in->received < in->size) return;
    struct raft_buffer data = {.base = in->memory, .len = (size_t)in->size};
    in->memory = NULL;
    install_finish(in, &data);
}

void inbound_bulk_frame(struct inbound *in, uint16_t type, const uint8_t *payload, size_t len) {
    if (type == PEER_FRAME_FILE)
        install_begin(in, payload, len);
    else if (type == PEER_FRAME_PIECE)
        install_chunk(in, payload, len);
    else
        inbound_malformed(in, "bulk frame");
}
