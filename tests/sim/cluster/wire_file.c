/* SPDX-License-Identifier: Apache-2.0
 * Snapshots on their way: the file is read by the sender's store, travels in pieces that keep their order, and is given
 * to the receiver's store. Whatever is lost of it ends the transfer, and both sides hear of that, later. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "wire_private.h"

#define PIECE_BYTES   (4u << 10)
#define BROKEN_MIN_MS 5u /* until a side notices that the other is gone, or silent */
#define BROKEN_MAX_MS 2000u

struct transfer {
    struct cluster *c;
    unsigned from, from_life, to, to_life;
    void *source;
    struct raft_io_send *req;
    raft_io_send_cb cb;
    struct buf head;             /* the encoded message */
    struct raft_message message; /* at the receiver; owned while `receiving` */
    uint64_t size, sent;
    bool reading, receiving; /* the sender's store reads; the receiver's store takes */
    bool answered;           /* the sender's core has its callback */
};

enum step { STEP_FILE, STEP_PIECE, STEP_TAKEN, STEP_INSTALLED, STEP_BROKEN };

struct packet {
    struct transfer *t;
    enum step step;
    size_t len;
    uint8_t bytes[];
};

static struct host *sender(const struct transfer *t) {
    struct host *h = &t->c->hosts[t->from];
    return h->up && h->life == t->from_life ? h : NULL;
}

static struct host *receiver(const struct transfer *t) {
    struct host *h = &t->c->hosts[t->to];
    return h->up && h->life == t->to_life ? h : NULL;
}

static void post(struct transfer *t, bool to_receiver, enum step step, const uint8_t *bytes, size_t len, uint64_t us) {
    struct packet *p = malloc(sizeof *p + len);
    CHECK(p != NULL);
    *p = (struct packet){.t = t, .step = step, .len = len};
    if (len > 0) memcpy(p->bytes, bytes, len);
    cluster_at(t->c, us, EVENT_FILE, to_receiver ? t->to : t->from, to_receiver ? t->to_life : t->from_life, p);
}

static void broken(struct transfer *t) {
    for (unsigned side = 0; side < 2; side++)
        post(t, side == 0, STEP_BROKEN, NULL, 0, rng_between(&t->c->rng, BROKEN_MIN_MS * MS, BROKEN_MAX_MS * MS));
}

static void pass(struct transfer *t, bool to_receiver, enum step step, const uint8_t *bytes, size_t len) {
    struct cluster *c = t->c;
    unsigned from = to_receiver ? t->from : t->to, to = to_receiver ? t->to : t->from;
    bool lost = cluster_chance(c, c->loss_permille / 8); /* a stream repairs most of that */
    if (lost || c->cut[from][to] || (to_receiver ? receiver(t) : sender(t)) == NULL) {
        broken(t);
        return;
    }
    post(t, to_receiver, step, bytes, len, rng_between(&c->rng, c->delay_min_us, c->delay_max_us));
}

/* ---- the sender ---- */

static void answer(struct transfer *t, int status) {
    if (t->answered || sender(t) == NULL) return;
    t->answered = true;
    struct peers *p = sender(t)->peers;
    if (t->source != NULL) p->config.files.close(t->source);
    t->source = NULL;
    t->cb(t->req, status);
}

static void piece_read(void *data, int status, const uint8_t *bytes, size_t len) {
    struct transfer *t = data;
    t->reading = false;
    if (status != 0 || len == 0) {
        broken(t);
        return;
    }
    t->sent += len;
    pass(t, true, STEP_PIECE, bytes, len);
}

static void read_on(struct transfer *t) {
    if (t->answered || t->reading || t->sent == t->size) return;
    uint64_t left = t->size - t->sent;
    t->reading = true;
    sender(t)->peers->config.files.read(t->source, left < PIECE_BYTES ? left : PIECE_BYTES, piece_read, t);
}

int file_send(struct peers *p, const struct raft_message *m, struct raft_io_send *req, raft_io_send_cb cb) {
    struct host *h = p->h, *to = &h->c->hosts[m->server_id - 1];
    struct transfer *t = calloc(1, sizeof *t);
    CHECK(t != NULL);
    *t = (struct transfer){.c = h->c,
                           .from = (unsigned)h->id - 1,
                           .from_life = h->life,
                           .to = (unsigned)to->id - 1,
                           .to_life = to->life,
                           .req = req,
                           .cb = cb};
    int rv = p->config.files.open(p->config.files.ctx, m, &t->source, &t->size);
    if (rv != 0) {
        free(t);
        return rv;
    }
    buf_init(&t->head, PEER_MESSAGE_MAX);
    CHECK(peer_message_encode(m, &t->head) == 0);
    pass(t, true, STEP_FILE, NULL, 0);
    return 0;
}

/* ---- the receiver ---- */

static void drop(struct transfer *t) {
    struct host *h = receiver(t);
    if (!t->receiving || h == NULL) return;
    t->receiving = false;
    peer_message_free(&t->message);
    if (h->peers->receiving != t) return;
    h->peers->receiving = NULL;
    h->peers->config.files.receive_abandon(h->peers->config.files.ctx);
}

/* The core has the message, and the sender hears that it does. */
static void deliver(struct transfer *t, struct raft_message *m, const struct raft_buffer *data) {
    struct host *h = receiver(t);
    m->server_id = t->from + 1;
    m->server_address = t->c->hosts[t->from].address;
    m->install_snapshot.data = *data;
    cluster_note(t->c, h->id << 8 | 'i', m->install_snapshot.last_index, t->size, 0);
    cluster_say(t->c, h, "<- n%u install term %llu last %llu/%llu, %u bytes", t->from + 1, m->install_snapshot.term,
                m->install_snapshot.last_index, m->install_snapshot.last_term, (unsigned)t->size);
    pass(t, false, STEP_INSTALLED, NULL, 0);
    h->peers->config.message(h->peers->config.ctx, m);
}

static void taken(void *data, int status, uint64_t bytes, struct raft_buffer *done) {
    struct transfer *t = data;
    struct host *h = receiver(t);
    CHECK(h != NULL && t->receiving && h->peers->receiving == t);
    (void)bytes;
    if (status == 0 && done == NULL) {
        pass(t, false, STEP_TAKEN, NULL, 0);
        return;
    }
    h->peers->receiving = NULL;
    t->receiving = false;
    if (status != 0) {
        peer_message_free(&t->message);
        broken(t);
        return;
    }
    deliver(t, &t->message, done);
}

static void begin(struct transfer *t) {
    struct host *h = receiver(t);
    struct peers *p = h->peers;
    struct raft_message m = {0};
    CHECK(peer_message_decode(t->head.data, t->head.len, &m) == 0);
    if (p->receiving != NULL && m.install_snapshot.term > p->receiving->message.install_snapshot.term)
        drop(p->receiving);
    m.server_id = t->from + 1;
    m.server_address = t->c->hosts[t->from].address;
    bool stranger = wire_member(p, t->from + 1) == NULL && p->count > 0;
    int rv = stranger || p->receiving != NULL ? ERR_BUSY
                                              : p->config.files.receive(p->config.files.ctx, &m, t->size, taken, t);
    if (rv == ERR_EXISTS) { /* as peers_bulk.c: the core is told without the bytes, and says how far it is */
        struct raft_buffer nothing = {.base = raft_malloc(8), .len = 8};
        CHECK(nothing.base != NULL);
        memset(nothing.base, 0, 8);
        deliver(t, &m, &nothing);
        return;
    }
    if (rv != 0) {
        peer_message_free(&m);
        broken(t);
        return;
    }
    p->receiving = t;
    t->message = m;
    t->receiving = true;
    pass(t, false, STEP_TAKEN, NULL, 0);
}

void wire_file(struct host *h, void *data) {
    struct packet *p = data;
    struct transfer *t = p->t;
    bool at_receiver = (unsigned)h->id - 1 == t->to;
    switch (p->step) {
    case STEP_FILE:
        begin(t);
        break;
    case STEP_PIECE:
        if (t->receiving && h->peers->config.files.receive_data(h->peers->config.files.ctx, p->bytes, p->len) != 0) {
            drop(t);
            broken(t);
        }
        break;
    case STEP_TAKEN:
        read_on(t);
        break;
    case STEP_INSTALLED:
        answer(t, 0);
        break;
    case STEP_BROKEN:
        if (at_receiver)
            drop(t);
        else
            answer(t, RAFT_NOCONNECTION);
        break;
    }
    free(p);
}

static uint64_t noticed(struct cluster *c) {
    return rng_between(&c->rng, BROKEN_MIN_MS * MS, BROKEN_MAX_MS * MS);
}

/* Both its own sender and those that receive from it hear of its end. */
void file_forget(struct host *h) {
    struct cluster *c = h->c;
    struct transfer *t = h->peers->receiving;
    if (t != NULL) {
        h->peers->receiving = NULL;
        t->receiving = false;
        post(t, false, STEP_BROKEN, NULL, 0, noticed(c));
    }
    for (unsigned i = 0; i < c->host_count; i++) {
        struct host *other = &c->hosts[i];
        t = other->up && other != h && other->peers != NULL ? other->peers->receiving : NULL;
        if (t != NULL && t->from == (unsigned)h->id - 1) post(t, true, STEP_BROKEN, NULL, 0, noticed(c));
    }
}
