/* SPDX-License-Identifier: Apache-2.0
 * peers.h as the simulator has it: every message is encoded when it is sent and decoded for its receiver by the real
 * codec, and may meanwhile be late, overtaken, lost, doubled or cut off. Who is not in the receiver's list of members
 * is a stranger and is not heard. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "consensus/peer_codec.h"
#include "wire_private.h"

int peers_open(const struct peers_config *config, struct peers **ret, struct err *err) {
    (void)err;
    struct peers *p = calloc(1, sizeof *p);
    CHECK(p != NULL && shim_host != NULL);
    p->h = shim_host;
    p->h->peers = p;
    p->config = *config;
    *ret = p;
    return 0;
}

bool peers_status(const struct peers *p, uint64_t id, struct peers_status *ret) {
    *ret = (struct peers_status){.contact_ms = -1};
    if (wire_member((struct peers *)p, id) == NULL) return false;
    ret->connected = ret->heard = wire_linked(p, &p->h->c->hosts[id - 1]);
    return true;
}

const struct peers_counters *peers_counters(const struct peers *p) {
    return &p->counters;
}

struct net *net_open(uv_loop_t *loop) {
    return (struct net *)loop; /* nobody looks into it */
}

void net_flush(struct net *net) {
    (void)net; /* what is sent is on its way at once */
}

void net_close(struct net *net, void (*closed)(void *ctx), void *ctx) {
    (void)net;
    if (closed != NULL) closed(ctx);
}

void peers_close(struct peers *p, void (*closed)(void *ctx), void *ctx) {
    (void)closed; /* processes are killed here, they do not close */
    (void)ctx;
    p->closing = true;
}

/* ---- sending ---- */

uint64_t wire_delay(struct cluster *c) {
    uint64_t us = rng_between(&c->rng, c->delay_min_us, c->delay_max_us);
    if (cluster_chance(c, c->late_permille)) {
        us += rng_below(&c->rng, c->late_max_us + 1);
        c->struck[STRIKE_DELAY] = true;
    }
    return us;
}

static void launch(struct cluster *c, struct wire_message *w) {
    w->order = c->seq;
    c->queued[w->from][w->to] += w->size;
    cluster_at(c, wire_delay(c), EVENT_DELIVER, w->to, 0, w);
}

bool wire_launch(struct cluster *c, struct wire_message *w) {
    bool lost = cluster_chance(c, c->loss_permille);
    if (lost) c->struck[STRIKE_LOSS] = true;
    if (lost || c->cut[w->from][w->to]) {
        free(w);
        return false;
    }
    if (cluster_chance(c, c->dup_permille)) {
        struct wire_message *again = malloc(sizeof *again + w->size);
        CHECK(again != NULL);
        memcpy(again, w, sizeof *again + w->size);
        c->struck[STRIKE_DUPLICATE] = true;
        launch(c, again);
    }
    launch(c, w);
    return true;
}

static struct wire_message *encoded(struct host *h, unsigned to, const struct raft_message *m) {
    static struct buf head;
    if (head.max == 0) buf_init(&head, PEER_MESSAGE_MAX + 4096);
    head.len = 0;
    CHECK(peer_message_encode(m, &head) == 0);
    struct wire_message *w = malloc(sizeof *w + head.len);
    CHECK(w != NULL);
    *w = (struct wire_message){
        .from = (unsigned)h->id - 1, .from_life = h->life, .to = to, .type = m->type, .size = head.len};
    memcpy(w->bytes, head.data, head.len);
    return w;
}

static const char *kind_of(int type) {
    static const char *const names[] = {"", "append", "append-result", "vote", "vote-result", "install", "timeout-now"};
    if (type == GUARD_IO_PROBE) return "probe";
    if (type == GUARD_IO_PROBE_RESULT) return "probe-result";
    if (type == GUARD_IO_READ) return "read";
    if (type == GUARD_IO_READ_RESULT) return "read-result";
    return type >= 1 && type <= 6 ? names[type] : "?";
}

static void say_message(struct host *h, const char *verb, uint64_t other, const struct raft_message *m) {
    char text[128];
    if (h->c->cfg.trace == NULL) return;
    switch (m->type) {
    case RAFT_IO_APPEND_ENTRIES:
        snprintf(text, sizeof text, "term %llu prev %llu/%llu n %u commit %llu", m->append_entries.term,
                 m->append_entries.prev_log_index, m->append_entries.prev_log_term, m->append_entries.n_entries,
                 m->append_entries.leader_commit);
        break;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        snprintf(text, sizeof text, "term %llu last %llu rejected %llu", m->append_entries_result.term,
                 m->append_entries_result.last_log_index, m->append_entries_result.rejected);
        break;
    case RAFT_IO_REQUEST_VOTE:
        snprintf(text, sizeof text, "term %llu last %llu/%llu%s", m->request_vote.term, m->request_vote.last_log_index,
                 m->request_vote.last_log_term, m->request_vote.pre_vote ? " (pre)" : "");
        break;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        snprintf(text, sizeof text, "term %llu %s%s", m->request_vote_result.term,
                 m->request_vote_result.vote_granted ? "granted" : "refused",
                 m->request_vote_result.pre_vote == raft_tribool_true ? " (pre)" : "");
        break;
    case RAFT_IO_INSTALL_SNAPSHOT:
        snprintf(text, sizeof text, "term %llu last %llu/%llu", m->install_snapshot.term,
                 m->install_snapshot.last_index, m->install_snapshot.last_term);
        break;
    default:
        snprintf(text, sizeof text, "term %llu %llu", m->timeout_now.term, m->timeout_now.last_log_index);
    }
    cluster_say(h->c, h, "%s n%llu %s %s", verb, (unsigned long long)other, kind_of(m->type), text);
}

int peers_send(struct peers *p, const struct raft_message *m, struct raft_io_send *req, raft_io_send_cb cb) {
    struct host *h = p->h;
    struct cluster *c = h->c;
    unsigned from = (unsigned)h->id - 1, to = (unsigned)m->server_id - 1;
    CHECK(!p->closing && to < HOSTS_MAX && to != from);
    cluster_note(c, h->id << 8 | 's', m->server_id, (uint64_t)m->type, m->append_entries.term);
    say_message(h, "->", m->server_id, m);
    judge_sent(h, m);
    struct wire_member *member = wire_member(p, m->server_id);
    if (member == NULL || !wire_linked(p, &c->hosts[to])) {
        if (member != NULL) wire_dial(p, member, 1 * MS);
        return RAFT_NOCONNECTION;
    }
    if (m->type == RAFT_IO_INSTALL_SNAPSHOT) return file_send(p, m, req, cb);
    struct wire_message *w = encoded(h, to, m);
    if (c->queued[from][to] > 0 && c->queued[from][to] + w->size > c->queue_max) {
        free(w);
        return RAFT_BUSY;
    }
    (void)wire_launch(c, w);
    return 0;
}

/* ---- receiving ---- */

static void hear(struct host *h, const struct wire_message *w) {
    struct cluster *c = h->c;
    struct raft_message m = {0};
    unsigned to = (unsigned)h->id - 1;
    if (w->order < c->arrived[w->from][to]) c->struck[STRIKE_REORDER] = true;
    c->arrived[w->from][to] = w->order;
    CHECK(peer_message_decode(w->bytes, w->size, &m) == 0);
    m.server_id = w->from + 1;
    m.server_address = c->hosts[w->from].address;
    cluster_note(c, h->id << 8 | 'r', m.server_id, (uint64_t)m.type, m.append_entries.term);
    say_message(h, "<-", m.server_id, &m);
    h->peers->config.message(h->peers->config.ctx, &m);
}

void wire_deliver(struct cluster *c, unsigned to, struct wire_message *w) {
    struct host *h = &c->hosts[to];
    c->queued[w->from][to] -= w->size;
    if (h->up && !c->cut[w->from][to]) {
        if (w->type < 0)
            wire_greet(h, w);
        else if (wire_member(h->peers, w->from + 1) != NULL)
            hear(h, w);
    }
    free(w);
}

void wire_forget(struct host *h) {
    file_forget(h);
    free(h->peers);
    h->peers = NULL;
}

void wire_heal(struct cluster *c) {
    memset(c->cut, 0, sizeof c->cut);
}

void wire_isolate(struct cluster *c, unsigned host) {
    for (unsigned i = 0; i < HOSTS_MAX; i++)
        if (i != host) c->cut[i][host] = c->cut[host][i] = true;
}
