/* SPDX-License-Identifier: Apache-2.0
 * See peers.h. Here: members, sending, the timer, the end. */
#include "consensus/peers_impl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "consensus/guard.h"

struct peer *peers_find(struct peers *p, uint64_t id) {
    for (unsigned i = 0; id != 0 && i < PEERS_MAX; i++)
        if (p->slots[i].id == id) return &p->slots[i];
    return NULL;
}

uint64_t peers_now(const struct peers *p) {
    (void)p;
    return clock_mono_ms();
}

bool peers_may_log(struct peers *p) {
    uint64_t now = peers_now(p);
    if (p->logged_ms != 0 && now - p->logged_ms < 1000) return false;
    p->logged_ms = now;
    return true;
}

void peers_link_options(const struct peers *p, struct link_options *ret, size_t bulk_bytes) {
    link_options_default(ret);
    ret->frame_bytes_max = PEER_MESSAGE_MAX;
    ret->bulk_bytes_max = bulk_bytes;
    ret->connect_timeout_ms = p->config.election_ms * 2 < 1000 ? 1000 : p->config.election_ms * 2;
    ret->handshake_timeout_ms = ret->connect_timeout_ms;
    ret->establish_timeout_ms = ret->connect_timeout_ms * 2;
    ret->tls = p->config.tls;
    ret->tls_peer.role = TLS_MASTER;
    ret->bind_host = p->bind_host[0] ? p->bind_host : NULL;
}

/* The timer: a PING to everybody, and an eye on what stands still. Unanswered pings are counted rather than timed, so
 * that a process that was itself stopped for a while does not blame its peers. */
static void tick_peer(struct peer *peer, uint64_t now_ms, const uint8_t ping[PEER_PING_BYTES]) {
    struct peers *p = peer->peers;
    if (peer->transfer) transfer_tick(peer->transfer, now_ms);
    if (!peer->welcomed) return;
    unsigned silent_ms = p->config.election_ms * 4 < 2000 ? 2000 : p->config.election_ms * 4;
    if (peer->pings * PEERS_PING_MS >= silent_ms) {
        p->counters.silent++;
        log_event(LOG_WARN, "peer_silent", "peer=%" PRIu64 " ms=%u", peer->id, silent_ms);
        link_close_overflow(peer->out);
        return;
    }
    peer->pings++;
    (void)link_send(peer->out, LINK_CONTROL, PEER_FRAME_PING, ping, PEER_PING_BYTES, NULL, 0);
}

static void tick_cb(uv_timer_t *timer) {
    struct peers *p = timer->data;
    CHECK_MAGIC(p, PEERS_MAGIC);
    uint64_t now = peers_now(p);
    struct peer_vitals vitals = {0};
    uint8_t ping[PEER_PING_BYTES];
    if (p->config.vitals) p->config.vitals(p->config.ctx, &vitals);
    peer_ping_encode(now, &vitals, ping);
    for (unsigned i = 0; i < PEERS_MAX; i++)
        if (p->slots[i].id != 0) tick_peer(&p->slots[i], now, ping);
}

static int listen_on(struct peers *p, struct err *err) {
    struct address address;
    int rv = address_parse(p->config.listen, 0, ADDRESS_PORT_ZERO | ADDRESS_NUMERIC, &address, err);
    if (rv != 0) return err_wrap(err, "peer address");
    /* Outgoing connections show the address we are known by, unless we listen on every address. */
    if (strcmp(address.host, "0.0.0.0") != 0 && strcmp(address.host, "::") != 0) {
        memcpy(p->bind_host, address.host, sizeof p->bind_host);
    }
    struct link_server_options options;
    link_server_options_default(&options);
    peers_link_options(p, &options.link, PEERS_QUEUE_BYTES);
    options.links_max = 128;
    options.strangers_max = 64;
    options.on_failed = peers_handshake_failed;
    rv = link_server_open(p->config.net, &address, &options, peers_accept, p, &p->server, err);
    return rv == 0 ? 0 : err_wrap(err, "listening for peers");
}

int peers_open(const struct peers_config *config, struct peers **ret, struct err *err) {
    struct peers *p = calloc(1, sizeof *p);
    if (p == NULL) return err_set(err, ERR_NOMEM, "out of memory");
    p->magic = PEERS_MAGIC;
    p->config = *config;
    do
        random_bytes(&p->nonce, sizeof p->nonce);
    while (p->nonce == 0);
    queue_init(&p->inbounds);
    buf_init(&p->scratch, PEER_MESSAGE_MAX);
    int rv = listen_on(p, err);
    if (rv != 0) {
        free(p);
        return rv;
    }
    p->config.listen = NULL;
    uv_loop_t *loop = net_loop(config->net);
    for (unsigned i = 0; i < PEERS_MAX; i++) {
        CHECK(uv_timer_init(loop, &p->slots[i].redial) == 0);
        p->slots[i].redial.data = &p->slots[i];
        p->slots[i].peers = p;
    }
    CHECK(uv_timer_init(loop, &p->ticker) == 0);
    p->ticker.data = p;
    CHECK(uv_timer_start(&p->ticker, tick_cb, PEERS_PING_MS, PEERS_PING_MS) == 0);
    p->pending = PEERS_MAX + 2;
    *ret = p;
    return 0;
}

int peers_member_set(struct peers *p, uint64_t id, const char *address, struct err *err) {
    CHECK_MAGIC(p, PEERS_MAGIC);
    if (id == p->config.node_id) return 0;
    struct peer *peer = peers_find(p, id);
    if (peer && strcmp(peer->text, address) == 0) return 0;
    struct address parsed;
    int rv = address_parse(address, 0, 0, &parsed, err);
    if (rv != 0) return err_wrap(err, "address of member %" PRIu64, id);
    if (strlen(address) >= sizeof p->slots[0].text)
        return err_set(err, ERR_LIMIT, "address of member %" PRIu64 " is too long", id);
    if (peer) peer_forget(peer);
    for (unsigned i = 0; peer == NULL && i < PEERS_MAX; i++)
        if (p->slots[i].id == 0) peer = &p->slots[i];
    if (peer == NULL) return err_set(err, ERR_LIMIT, "more than %u other members", PEERS_MAX);
    peer->id = id;
    peer->address = parsed;
    strcpy(peer->text, address);
    peer->nonce = 0;
    peer->program_level = 0;
    peer->program_version[0] = '\0';
    peer->contact_ms = 0;
    peer->attempts = 0;
    peer->refused = peer->failure_logged = false;
    peer_dial(peer);
    return 0;
}

void peers_members_keep(struct peers *p, const uint64_t *ids, unsigned n) {
    CHECK_MAGIC(p, PEERS_MAGIC);
    for (unsigned i = 0; i < PEERS_MAX; i++) {
        struct peer *peer = &p->slots[i];
        bool keep = peer->id == 0;
        for (unsigned k = 0; k < n && !keep; k++)
            keep = ids[k] == peer->id;
        if (!keep) peer_forget(peer);
    }
}

void peers_members_tell(struct peers *p, const struct peer_members *members) {
    CHECK_MAGIC(p, PEERS_MAGIC);
    p->members = *members;
}

/* AppendEntries stay in order, in the bulk lane; everything else is small, independent of order, and urgent. */
static enum link_lane lane_of(const struct raft_message *message) {
    return message->type == RAFT_IO_APPEND_ENTRIES ? LINK_BULK : LINK_CONTROL;
}

int peers_send(struct peers *p, const struct raft_message *message, struct raft_io_send *req, raft_io_send_cb cb) {
    CHECK_MAGIC(p, PEERS_MAGIC);
    struct peer *peer = p->closing ? NULL : peers_find(p, message->server_id);
    int rv = RAFT_NOCONNECTION;
    if (peer == NULL || !peer->welcomed) goto unsent;
    if (message->type == RAFT_IO_INSTALL_SNAPSHOT) return transfer_start(peer, message, req, cb);
    buf_clear(&p->scratch);
    if (peer_message_encode(message, &p->scratch) != 0) {
        /* Cannot happen with what the guard sends; the core repeats, so it must not happen silently. */
        log_event(LOG_ERROR, "peer_message_unsendable", "peer=%" PRIu64 " type=%u", peer->id, message->type);
        rv = RAFT_TOOBIG;
        goto unsent;
    }
    int sent = link_send(peer->out, lane_of(message), PEER_FRAME_MESSAGE, p->scratch.data, p->scratch.len, NULL, 0);
    if (sent != 0) {
        rv = sent == ERR_BUSY ? RAFT_BUSY : RAFT_NOCONNECTION;
        goto unsent;
    }
    p->counters.sent++;
    return 0;
unsent:
    p->counters.unsent++;
    return rv;
}

bool peers_status(const struct peers *p, uint64_t id, struct peers_status *ret) {
    for (unsigned i = 0; id != 0 && i < PEERS_MAX; i++) {
        const struct peer *peer = &p->slots[i];
        if (peer->id != id) continue;
        ret->connected = peer->welcomed;
        ret->heard = peer->in != NULL;
        ret->contact_ms = peer->contact_ms == 0 ? -1 : (int64_t)(peers_now(p) - peer->contact_ms);
        ret->program_level = peer->program_level;
        memcpy(ret->program_version, peer->program_version, sizeof ret->program_version);
        ret->queued = peer->welcomed ? link_backlog(peer->out) : 0;
        return true;
    }
    return false;
}

const struct peers_counters *peers_counters(const struct peers *p) {
    return &p->counters;
}

void peers_release(struct peers *p) {
    CHECK(p->pending > 0);
    p->pending--;
    if (!p->closing || p->pending > 0) return;
    CHECK(queue_empty(&p->inbounds));
    void (*closed)(void *ctx) = p->closed;
    void *ctx = p->closed_ctx;
    buf_done(&p->scratch);
    p->magic = 0;
    free(p);
    closed(ctx);
}

static void server_closed_cb(void *ctx) {
    peers_release(ctx);
}

static void slot_closed_cb(uv_handle_t *handle) {
    struct peer *peer = handle->data;
    peers_release(peer->peers);
}

static void ticker_closed_cb(uv_handle_t *handle) {
    peers_release(handle->data);
}

void peers_close(struct peers *p, void (*closed)(void *ctx), void *ctx) {
    CHECK_MAGIC(p, PEERS_MAGIC);
    CHECK(!p->closing);
    p->closing = true;
    p->closed = closed;
    p->closed_ctx = ctx;
    for (unsigned i = 0; i < PEERS_MAX; i++) {
        if (p->slots[i].id != 0) peer_forget(&p->slots[i]);
        uv_close((uv_handle_t *)&p->slots[i].redial, slot_closed_cb);
    }
    uv_close((uv_handle_t *)&p->ticker, ticker_closed_cb);
    link_server_close(p->server, server_closed_cb, p);
}
