/* SPDX-License-Identifier: Apache-2.0
 * Dialling, hellos, and who is dead. See peers.h.
 *
 * One way in (peers_accept -> stranger -> hello -> messages or bulk) and one way out (peer_dial -> hello -> welcome).
 * A link's context stays valid until its on_close: a peer is a slot that lives as long as `peers`, an inbound is freed
 * in its own on_close. A slot may have been given another link meanwhile; so each callback of an outgoing link first
 * asks whether the link is still the slot's. */
#include "consensus/peers_impl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "consensus/guard.h"

/* A connection that lasted this long was a real one: the next dial is immediate. */
#define LASTED_MS 100u

#define ATTEMPTS_MAX 10u /* counted; pauses and patience have reached their ends by then */

void peer_hello_for(const struct peer *peer, enum peer_stream stream, uint8_t ret[PEER_HELLO_BYTES]) {
    const struct peers *p = peer->peers;
    struct peer_hello hello = {.protocol = PEER_PROTOCOL,
                               .stream = stream,
                               .from = p->config.node_id,
                               .to = peer->id,
                               .nonce = p->nonce,
                               .program_level = p->config.program_level,
                               .folder = p->config.folder};
    memcpy(hello.program_version, p->config.program_version, sizeof hello.program_version);
    memcpy(hello.cluster_id, p->config.cluster_id, sizeof hello.cluster_id);
    peer_hello_encode(&hello, ret);
}

static void tell_dead(struct peer *peer) {
    struct peers *p = peer->peers;
    if (peer->nonce == 0 || p->closing) return;
    peer->nonce = 0;
    p->counters.deaths++;
    log_event(LOG_INFO, "peer_dead", "peer=%" PRIu64, peer->id);
    p->config.dead(p->config.ctx, peer->id);
}

/* Refused alone may be a packet filter between us; while the peer still holds a connection to us it lives. */
static void judge(struct peer *peer) {
    if (peer->refused && peer->in == NULL && !peer->welcomed) tell_dead(peer);
}

void peer_meet(struct peer *peer, const struct peer_hello *hello) {
    if (peer->nonce != 0 && peer->nonce != hello->nonce) tell_dead(peer);
    peer->nonce = hello->nonce;
    peer->program_level = hello->program_level;
    memcpy(peer->program_version, hello->program_version, sizeof peer->program_version);
    peer->refused = false;
}

/* Outgoing. */

static void out_open_cb(void *ctx, struct link *link) {
    struct peer *peer = ctx;
    struct peers *p = peer->peers;
    if (peer->out != link) return;
    if (p->members.index > 1) {
        buf_clear(&p->scratch);
        peer_members_encode(&p->members, &p->scratch);
        (void)link_send(link, LINK_CONTROL, PEER_FRAME_MEMBERS, p->scratch.data, p->scratch.len, NULL, 0);
    }
    uint8_t hello[PEER_HELLO_BYTES];
    peer_hello_for(peer, PEER_STREAM_MESSAGES, hello);
    (void)link_send(link, LINK_CONTROL, PEER_FRAME_HELLO, hello, sizeof hello, NULL, 0);
}

static void welcome(struct peer *peer, const uint8_t *payload, size_t len) {
    struct peers *p = peer->peers;
    struct peer_hello hello;
    bool good = !peer->welcomed && peer_hello_decode(payload, len, &hello) == 0 && hello.protocol == PEER_PROTOCOL &&
                hello.from == peer->id && hello.to == p->config.node_id && hello.nonce != 0 &&
                memcmp(hello.cluster_id, p->config.cluster_id, sizeof hello.cluster_id) == 0;
    if (!good) {
        p->counters.malformed++;
        if (peers_may_log(p)) log_event(LOG_WARN, "peer_welcome_bad", "peer=%" PRIu64, peer->id);
        link_close(peer->out);
        return;
    }
    int met = p->config.meet ? p->config.meet(p->config.ctx, peer->id, hello.folder) : 0;
    if (met != 0) { /* it hears of it when it dials us */
        if (peers_may_log(p))
            log_event(LOG_WARN, "peer_refused", "peer=%" PRIu64 " address=%s why=\"%s\"", peer->id, peer->text,
                      met == ERR_FORBIDDEN ? peer_refusal_text(PEER_REFUSED_FOLDER) : err_text(met));
        peer->attempts = ATTEMPTS_MAX;
        link_close(peer->out);
        return;
    }
    link_established(peer->out);
    peer->welcomed = true;
    peer->pings = 0;
    peer->failure_logged = false;
    peer->refusal_logged = 0;
    peer->opened_ms = peers_now(p);
    p->counters.welcomes++;
    log_event(LOG_INFO, "peer_connected", "peer=%" PRIu64 " address=%s", peer->id, peer->text);
    peer_meet(peer, &hello);
    if (p->config.accepted) p->config.accepted(p->config.ctx, peer->id);
}

static void refused(struct peer *peer, const uint8_t *payload, size_t len) {
    struct peers *p = peer->peers;
    uint32_t why = len >= 4 ? load_u32(payload) : 0;
    uint64_t index = why == PEER_REFUSED_STRANGER && len == 12 ? load_u64(payload + 4) : 0;
    if (peer->refusal_logged != why) /* also when it had been unreachable before: this is the true reason */
        log_event(LOG_WARN, "peer_refused_us", "peer=%" PRIu64 " address=%s why=%s", peer->id, peer->text,
                  peer_refusal_text(why));
    peer->failure_logged = true;
    peer->refusal_logged = why;
    peer->attempts = ATTEMPTS_MAX;
    link_close(peer->out);
    if (why == PEER_REFUSED_FOLDER && p->config.disowned) p->config.disowned(p->config.ctx, peer->id);
    if (index != 0 && p->config.removed) p->config.removed(p->config.ctx, peer->id, index);
}

static void out_frame_cb(void *ctx, struct link *link, uint16_t type, const uint8_t *payload, size_t len) {
    struct peer *peer = ctx;
    if (peer->out != link) return;
    peer->contact_ms = peers_now(peer->peers);
    if (type == PEER_FRAME_WELCOME) {
        welcome(peer, payload, len);
    } else if (type == PEER_FRAME_REFUSED && !peer->welcomed) {
        refused(peer, payload, len);
    } else if (type == PEER_FRAME_PONG && peer->welcomed && len == 8) {
        peer->pings = 0;
    } else {
        peer->peers->counters.malformed++;
        link_close(link);
    }
}

static void redial(struct peer *peer) {
    if (peer->attempts == 0) {
        peer_dial(peer);
        return;
    }
    unsigned delay = 1u << (peer->attempts - 1);
    if (delay > PEERS_REDIAL_MAX_MS) delay = PEERS_REDIAL_MAX_MS;
    CHECK(uv_timer_start(&peer->redial, peer_redial_cb, delay, 0) == 0);
}

static void out_close_cb(void *ctx, struct link *link, enum link_reason reason, const struct err *err) {
    struct peer *peer = ctx;
    struct peers *p = peer->peers;
    if (peer->out == link) {
        bool tls = reason == LINK_TLS;
        bool early = reason == LINK_TIMEOUT && peer->hasty && !peer->welcomed; /* says nothing yet */
        if (!early && (!peer->failure_logged || (tls && !peer->tls_logged)))
            log_event(tls ? LOG_ERROR : LOG_INFO, peer->welcomed ? "peer_lost" : "peer_unreachable",
                      "peer=%" PRIu64 " address=%s reason=%s text=\"%s\"", peer->id, peer->text,
                      link_reason_name(reason), err ? err->text : "");
        peer->failure_logged |= !early;
        peer->tls_logged = tls;
        if (tls) peer->attempts = ATTEMPTS_MAX; /* a certificate does not change in a millisecond */
        if (peer->welcomed && peers_now(p) - peer->opened_ms >= LASTED_MS) peer->attempts = 0;
        peer->refused = reason == LINK_REFUSED;
        peer->out = NULL;
        peer->welcomed = false;
        judge(peer);
        if (!p->closing && peer->id != 0 && peer->out == NULL) redial(peer);
    }
    peers_release(p);
}

void peer_redial_cb(uv_timer_t *timer) {
    peer_dial(timer->data);
}

void peer_dial(struct peer *peer) {
    static const struct link_callbacks callbacks = {
        .on_open = out_open_cb, .on_frame = out_frame_cb, .on_close = out_close_cb};
    struct peers *p = peer->peers;
    if (peer->id == 0 || peer->out != NULL || p->closing) return;
    uv_timer_stop(&peer->redial);
    struct link_options options;
    peers_link_options(p, &options, PEERS_QUEUE_BYTES);
    options.tls_peer.node = peer->id;
    /* A dial that meets a process on its way out may be dropped without an answer, and the kernel asks again only after
     * a second. So the first dials are given up soon; where the way is longer than that, one of the next gets through.
     */
    unsigned patience = PEERS_CONNECT_MIN_MS << peer->attempts;
    peer->hasty = patience < options.connect_timeout_ms;
    if (peer->hasty) options.connect_timeout_ms = patience;
    if (peer->attempts < ATTEMPTS_MAX) peer->attempts++;
    struct err err;
    p->counters.dials++;
    peer->out = link_connect(p->config.net, &peer->address, &options, &callbacks, peer, &err);
    if (peer->out) {
        p->pending++;
        return;
    }
    log_event(LOG_WARN, "peer_dial_failed", "peer=%" PRIu64 " text=\"%s\"", peer->id, err.text);
    CHECK(uv_timer_start(&peer->redial, peer_redial_cb, PEERS_REDIAL_MAX_MS, 0) == 0);
}

/* Incoming. */

void inbound_malformed(struct inbound *in, const char *what) {
    struct peers *p = in->peers;
    p->counters.malformed++;
    if (peers_may_log(p)) {
        char from[ADDRESS_TEXT_MAX];
        log_event(LOG_WARN, "peer_malformed", "peer=%" PRIu64 " from=%s what=%s", in->peer ? in->peer->id : 0,
                  address_format(link_peer(in->link), from), what);
    }
    link_close(in->link);
}

static void inbound_refuse(struct inbound *in, const struct peer_hello *hello, enum peer_refusal why) {
    struct peers *p = in->peers;
    p->counters.refused++;
    if (peers_may_log(p)) {
        char from[ADDRESS_TEXT_MAX];
        log_event(LOG_WARN, "peer_refused", "from=%s id=%" PRIu64 " why=%s", address_format(link_peer(in->link), from),
                  hello->from, peer_refusal_text(why));
    }
    uint8_t code[12];
    store_u32(code, why);
    store_u64(code + 4, peer_members_find(&p->members, hello->from) ? 0 : p->members.index);
    (void)link_send(in->link, LINK_CONTROL, PEER_FRAME_REFUSED, code, why == PEER_REFUSED_STRANGER ? 12 : 4, NULL, 0);
    link_close(in->link);
}

/* A peer has one connection of each kind to us; a newer one means that it has given up the older. */
static void inbound_adopt(struct inbound *in, struct peer *peer, uint32_t stream) {
    struct inbound **slot = stream == PEER_STREAM_BULK ? &peer->bulk : &peer->in;
    if (*slot) {
        (*slot)->peer = NULL;
        link_close((*slot)->link);
    }
    *slot = in;
    in->peer = peer;
    in->stream = stream;
    link_established(in->link);
}

static enum peer_refusal hello_judge(const struct peers *p, const struct peer_hello *hello, const struct peer *peer) {
    if (hello->protocol != PEER_PROTOCOL) return PEER_REFUSED_PROTOCOL;
    if (memcmp(hello->cluster_id, p->config.cluster_id, sizeof hello->cluster_id) != 0) return PEER_REFUSED_CLUSTER;
    if (hello->from == p->config.node_id) return PEER_REFUSED_SELF;
    if (peer == NULL) return PEER_REFUSED_STRANGER;
    return hello->to != p->config.node_id ? PEER_REFUSED_TARGET : 0;
}

/* Kept until the hello says whose it is. */
static void inbound_members(struct inbound *in, const uint8_t *payload, size_t len) {
    struct peer_members *intro = in->intro ? NULL : calloc(1, sizeof *intro);
    if (intro == NULL || peer_members_decode(payload, len, intro) != 0) {
        free(intro);
        inbound_malformed(in, "members");
        return;
    }
    in->intro = intro;
}

static void inbound_hello(struct inbound *in, const uint8_t *payload, size_t len) {
    struct peers *p = in->peers;
    struct peer_hello hello;
    if (peer_hello_decode(payload, len, &hello) != 0 || hello.nonce == 0 || hello.folder == 0 ||
        (hello.stream != PEER_STREAM_MESSAGES && hello.stream != PEER_STREAM_BULK)) {
        inbound_malformed(in, "hello");
        return;
    }
    bool ours = hello.protocol == PEER_PROTOCOL && hello.to == p->config.node_id &&
                memcmp(hello.cluster_id, p->config.cluster_id, sizeof hello.cluster_id) == 0;
    /* With TLS nobody speaks for another node. */
    bool genuine = !link_identity(in->link) || link_identity(in->link)->node == hello.from;
    if (in->intro && ours && genuine && hello.from != p->config.node_id && p->config.introduced)
        p->config.introduced(p->config.ctx, hello.from, in->intro);
    free(in->intro);
    in->intro = NULL;
    struct peer *peer = peers_find(p, hello.from);
    enum peer_refusal why = genuine ? hello_judge(p, &hello, peer) : PEER_REFUSED_CERTIFICATE;
    int met = why == 0 && p->config.meet ? p->config.meet(p->config.ctx, hello.from, hello.folder) : 0;
    if (met == ERR_FORBIDDEN) why = PEER_REFUSED_FOLDER;
    if (why != 0) {
        inbound_refuse(in, &hello, why);
        return;
    }
    if (met != 0) { /* it could not be noted: as if the hello had been lost */
        link_close(in->link);
        return;
    }
    uint8_t answer[PEER_HELLO_BYTES];
    peer_hello_for(peer, hello.stream, answer);
    (void)link_send(in->link, LINK_CONTROL, PEER_FRAME_WELCOME, answer, sizeof answer, NULL, 0);
    inbound_adopt(in, peer, hello.stream);
    peer_meet(peer, &hello);
    /* It lives: do not wait for the timer, nor for a dial that it may never have seen. */
    if (peer->out && link_is_connecting(peer->out)) {
        link_close(peer->out);
        peer->out = NULL;
    }
    peer->attempts = 0;
    peer_dial(peer);
}

static void inbound_message(struct inbound *in, const uint8_t *payload, size_t len) {
    struct peers *p = in->peers;
    struct raft_message message;
    if (peer_message_decode(payload, len, &message) != 0) {
        inbound_malformed(in, "message");
        return;
    }
    bool wrong = message.type == RAFT_IO_INSTALL_SNAPSHOT ||
                 (message.type == RAFT_IO_REQUEST_VOTE && message.request_vote.candidate_id != in->peer->id);
    if (wrong) {
        peer_message_free(&message);
        inbound_malformed(in, "message");
        return;
    }
    p->counters.received++;
    message.server_id = in->peer->id;
    message.server_address = in->peer->text;
    p->config.message(p->config.ctx, &message);
}

static void inbound_ping(struct inbound *in, const uint8_t *payload, size_t len) {
    struct peers *p = in->peers;
    struct peer_vitals vitals;
    uint64_t number;
    if (peer_ping_decode(payload, len, &number, &vitals) != 0) {
        inbound_malformed(in, "ping");
        return;
    }
    (void)link_send(in->link, LINK_CONTROL, PEER_FRAME_PONG, payload, sizeof number, NULL, 0);
    if (p->config.told) p->config.told(p->config.ctx, in->peer->id, &vitals);
}

static void inbound_frame_cb(void *ctx, struct link *link, uint16_t type, const uint8_t *payload, size_t len) {
    struct inbound *in = ctx;
    struct peers *p = in->peers;
    (void)link;
    if (p->closing || (in->stream != 0 && in->peer == NULL)) return; /* replaced, or its member was removed */
    if (in->peer) in->peer->contact_ms = peers_now(p);
    if (in->peer == NULL) {
        if (type == PEER_FRAME_HELLO)
            inbound_hello(in, payload, len);
        else if (type == PEER_FRAME_MEMBERS)
            inbound_members(in, payload, len);
        else
            inbound_malformed(in, "no hello");
    } else if (type == PEER_FRAME_MESSAGE && in->stream == PEER_STREAM_MESSAGES) {
        inbound_message(in, payload, len);
    } else if (type == PEER_FRAME_PING) {
        inbound_ping(in, payload, len);
    } else if (in->stream == PEER_STREAM_BULK) {
        inbound_bulk_frame(in, type, payload, len);
    } else {
        inbound_malformed(in, "frame");
    }
}

static void inbound_close_cb(void *ctx, struct link *link, enum link_reason reason, const struct err *err) {
    struct inbound *in = ctx;
    struct peer *peer = in->peer;
    (void)link;
    (void)err;
    if (reason == LINK_PROTOCOL) {
        in->peers->counters.malformed++;
        if (peers_may_log(in->peers)) log_event(LOG_WARN, "peer_malformed", "what=framing");
    }
    if (peer && peer->in == in) peer->in = NULL;
    if (peer && peer->bulk == in) peer->bulk = NULL;
    inbound_bulk_end(in);
    queue_remove(&in->queue);
    free(in->intro);
    bool messages = in->stream == PEER_STREAM_MESSAGES;
    free(in);
    if (peer == NULL || !messages || peer->in != NULL) return;
    judge(peer);
    if (peer->out == NULL && peer->id != 0) {
        peer->attempts = 0;
        peer_dial(peer);
    }
}

void peers_handshake_failed(void *ctx, const struct address *from, const struct err *err) {
    struct peers *p = ctx;
    (void)from; /* the text has it */
    p->counters.refused++;
    if (err->code != ERR_CLOSED && peers_may_log(p)) log_event(LOG_WARN, "peer_refused", "why=\"%s\"", err->text);
}

void peers_accept(void *ctx, struct link *link) {
    static const struct link_callbacks callbacks = {.on_frame = inbound_frame_cb, .on_close = inbound_close_cb};
    struct peers *p = ctx;
    CHECK_MAGIC(p, PEERS_MAGIC);
    struct inbound *in = p->closing ? NULL : calloc(1, sizeof *in);
    if (in == NULL) {
        link_close(link);
        return;
    }
    in->peers = p;
    in->link = link;
    queue_push(&p->inbounds, &in->queue);
    link_set_context(link, &callbacks, in);
}

void peer_forget(struct peer *peer) {
    uv_timer_stop(&peer->redial);
    struct link *out = peer->out;
    peer->id = 0;
    peer->out = NULL;
    peer->welcomed = false;
    peer->nonce = 0;
    if (out) link_close(out);
    if (peer->transfer) transfer_cancel(peer->transfer);
    struct inbound *both[] = {peer->in, peer->bulk};
    peer->in = peer->bulk = NULL;
    for (unsigned i = 0; i < 2; i++) {
        if (both[i] == NULL) continue;
        both[i]->peer = NULL;
        link_close(both[i]->link);
    }
}
