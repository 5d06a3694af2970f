/* SPDX-License-Identifier: Apache-2.0
 * Who hears whom: each process dials the members it knows until one of them has answered its hello, as the real peers
 * do, and the replica is told whom it has met and who has accepted it; from then on it pings. A link ends with either
 * process. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "wire_private.h"

#define REDIAL_MAX_MS 200u

struct wire_member *wire_member(struct peers *p, uint64_t id) {
    for (unsigned i = 0; i < p->count; i++)
        if (p->members[i].id == id) return &p->members[i];
    return NULL;
}

bool wire_linked(const struct peers *from, const struct host *to) {
    struct wire_member *m = wire_member((struct peers *)from, to->id);
    return to->up && m != NULL && m->life == to->life;
}

void wire_dial(struct peers *p, struct wire_member *m, uint64_t us) {
    if (m->dialling) return;
    m->dialling = true;
    cluster_at(p->h->c, us, EVENT_DIAL, (unsigned)p->h->id - 1, p->h->life, (void *)(uintptr_t)m->id);
}

static void say_more(struct host *h, uint64_t to, int type, uint64_t number, uint64_t life, const void *more,
                     size_t size) {
    struct wire_message *w = malloc(sizeof *w + size);
    CHECK(w != NULL);
    *w = (struct wire_message){.from = (unsigned)h->id - 1,
                               .from_life = h->life,
                               .to = (unsigned)to - 1,
                               .type = type,
                               .number = number,
                               .life = life,
                               .size = size};
    if (size > 0) memcpy(w->bytes, more, size);
    (void)wire_launch(h->c, w);
}

static void say(struct host *h, uint64_t to, int type, uint64_t number, uint64_t life) {
    say_more(h, to, type, number, life, NULL, 0);
}

/* Shows the members that we know to be committed, if they ever changed. */
static void say_hello(struct host *h, uint64_t to) {
    const struct peer_members *members = &h->peers->members_told;
    say_more(h, to, WIRE_HELLO, h->peers->config.folder, 0, members, members->index > 1 ? sizeof *members : 0);
}

static void ping(struct host *h, struct wire_member *m) {
    struct peer_vitals vitals = {0};
    h->peers->config.vitals(h->peers->config.ctx, &vitals);
    say_more(h, m->id, WIRE_PING, 0, m->life, &vitals, sizeof vitals);
    wire_dial(h->peers, m, PEERS_PING_MS * MS);
}

void peers_members_tell(struct peers *p, const struct peer_members *members) {
    p->members_told = *members;
}

void wire_dialled(struct host *h, void *data) {
    struct peers *p = h->peers;
    struct wire_member *m = wire_member(p, (uint64_t)(uintptr_t)data);
    if (m == NULL) return;
    m->dialling = false;
    if (wire_linked(p, &h->c->hosts[m->id - 1])) {
        ping(h, m);
        return;
    }
    say_hello(h, m->id);
    uint64_t ms = m->attempts < 8 ? 1u << m->attempts : REDIAL_MAX_MS;
    m->attempts++;
    wire_dial(p, m, ms * MS + rng_below(&h->c->rng, 5 * MS));
}

static void greeted(struct host *h, const struct wire_message *w) {
    struct peers *p = h->peers;
    if (w->size > 0 && p->config.introduced != NULL) {
        struct peer_members members;
        memcpy(&members, w->bytes, sizeof members);
        p->config.introduced(p->config.ctx, w->from + 1, &members);
    }
    struct wire_member *m = wire_member(p, w->from + 1);
    if (m == NULL) {
        bool removed = p->members_told.index > 0 && peer_members_find(&p->members_told, w->from + 1) == NULL;
        say(h, w->from + 1, WIRE_STRANGER, removed ? p->members_told.index : 0, w->from_life);
        return;
    }
    int rv = p->config.meet == NULL ? 0 : p->config.meet(p->config.ctx, m->id, w->number);
    if (rv == 0) say(h, m->id, WIRE_WELCOME, p->config.folder, w->from_life);
    if (rv == ERR_FORBIDDEN) say(h, m->id, WIRE_DISOWNED, 0, w->from_life);
    if (m->life != w->from_life) wire_dial(p, m, 100); /* the way back, which is another connection */
}

void wire_greet(struct host *h, const struct wire_message *w) {
    struct peers *p = h->peers;
    struct wire_member *m = wire_member(p, w->from + 1);
    if (w->type == WIRE_HELLO) {
        greeted(h, w);
        return;
    }
    if (m == NULL || w->life != h->life) return;
    switch (w->type) {
    case WIRE_STRANGER:
        if (w->number != 0) p->config.removed(p->config.ctx, m->id, w->number);
        return;
    case WIRE_PING: {
        struct peer_vitals vitals;
        memcpy(&vitals, w->bytes, sizeof vitals);
        p->config.told(p->config.ctx, m->id, &vitals);
        return;
    }
    case WIRE_DISOWNED:
        p->config.disowned(p->config.ctx, m->id);
        return;
    default:
        if (p->config.meet != NULL && p->config.meet(p->config.ctx, m->id, w->number) != 0) return; /* another folder */
        m->life = w->from_life;
        m->attempts = 0;
        p->config.accepted(p->config.ctx, m->id);
    }
}

int peers_member_set(struct peers *p, uint64_t id, const char *address, struct err *err) {
    (void)address;
    (void)err;
    if (id == p->config.node_id || wire_member(p, id) != NULL) return 0;
    CHECK(p->count < PEERS_MAX + 1);
    struct wire_member *m = &p->members[p->count++];
    *m = (struct wire_member){.id = id};
    wire_dial(p, m, rng_below(&p->h->c->rng, 2 * MS));
    return 0;
}

/* Who is forgotten is cut off: it dials again, and shows who the members are. */
static void cut_off(struct peers *p, uint64_t id) {
    struct host *other = &p->h->c->hosts[id - 1];
    struct wire_member *us = other->up && other->peers != NULL ? wire_member(other->peers, p->h->id) : NULL;
    if (us == NULL || us->life != p->h->life) return;
    us->life = 0;
    wire_dial(other->peers, us, 1 * MS);
}

void peers_members_keep(struct peers *p, const uint64_t *ids, unsigned n) {
    unsigned kept = 0;
    for (unsigned i = 0; i < p->count; i++) {
        bool wanted = false;
        for (unsigned k = 0; k < n && !wanted; k++)
            wanted = ids[k] == p->members[i].id;
        if (wanted)
            p->members[kept++] = p->members[i];
        else
            cut_off(p, p->members[i].id);
    }
    p->count = kept;
}

/* ---- processes that die ---- */

void wire_gone(struct host *h) {
    struct cluster *c = h->c;
    unsigned id = (unsigned)h->id - 1;
    bool machine = rng_below(&c->rng, 2) == 0; /* it went too: nobody answers, nobody refuses */
    for (unsigned i = 0; i < c->host_count; i++) {
        struct host *other = &c->hosts[i];
        if (i == id || !other->up || other->peers == NULL) continue;
        struct wire_member *m = wire_member(other->peers, h->id);
        if (m == NULL || machine || c->cut[i][id] || c->cut[id][i]) continue;
        wire_dial(other->peers, m, 1 * MS);
        uint64_t *who = malloc(sizeof *who);
        CHECK(who != NULL);
        *who = h->id;
        cluster_at(c, rng_between(&c->rng, 500, 20 * MS), EVENT_DEAD, i, other->life, who);
    }
}

void wire_dead(struct host *h, void *data) {
    uint64_t id = *(uint64_t *)data;
    free(data);
    h->peers->config.dead(h->peers->config.ctx, id);
}
