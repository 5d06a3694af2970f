/* SPDX-License-Identifier: Apache-2.0
 * Changes of the membership, as an operator makes them: one at a time, at the leader, when it has committed something
 * of its own term. A new master comes with a new id and an empty disk; one that is removed never comes back. */
#include "cluster.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

/* 1, u64 how many, each u64 id, address and NUL, u8 role. */
void members_decode(const struct raft_buffer *buf, struct raft_configuration *ret) {
    const uint8_t *at = buf->base, *const end = at + buf->len;
    raft_configuration_init(ret);
    CHECK(buf->len >= 9 && *at == 1);
    uint64_t n = load_u64(at + 1);
    at += 9;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t id = load_u64(at);
        const char *address = (const char *)at + 8;
        at += 8 + strlen(address) + 1;
        CHECK(at < end && raft_configuration_add(ret, id, address, *at) == 0);
        at++;
    }
}

static int role_in(const struct raft_configuration *conf, uint64_t id) { /* -1: no member */
    for (unsigned i = 0; i < conf->n; i++)
        if (conf->servers[i].id == id) return conf->servers[i].role;
    return -1;
}

unsigned members_voters(const struct host *h) {
    return voters(&h->replica->core);
}

bool members_is_voter(const struct host *h, uint64_t id) {
    return role_in(&h->replica->core.configuration, id) == RAFT_VOTER;
}

struct asked {
    struct host *leader;
    enum strike strike;
};

static void change_done(void *ctx, int status, const char *why) {
    struct asked *asked = ctx;
    struct cluster *c = asked->leader->c;
    cluster_say(c, asked->leader, "%s: %s %s", strike_names[asked->strike], status == 0 ? "done" : "not done", why);
    if (status == 0) c->struck[asked->strike] = true;
    if (status == 0 && asked->strike == STRIKE_REMOVE && c->host_count > c->cfg.voters)
        c->struck[STRIKE_REPLACE] = true;
    free(asked);
}

bool members_change(struct host *leader, enum replica_change_type type, const struct host *who, bool force) {
    static const enum strike strikes[] = {STRIKE_ADD, STRIKE_PROMOTE, STRIKE_DEMOTE, STRIKE_REMOVE, STRIKE_TRANSFER};
    struct cluster *c = leader->c;
    if (c->red || !host_leads(leader) || leader->die_planned || leader->paused_until_us > c->now_us) return false;
    struct host *before = shim_enter(leader);
    struct asked *asked = malloc(sizeof *asked);
    CHECK(asked != NULL);
    *asked = (struct asked){leader, strikes[type]};
    struct replica_change change = {.type = type, .id = who->id, .address = who->address, .force = force};
    struct err err;
    int rv = replica_change(leader->replica, &change, change_done, asked, &err);
    if (rv != 0) {
        cluster_say(c, leader, "%s of n%u refused: %s", strike_names[asked->strike], (unsigned)who->id, err.text);
        free(asked);
    }
    shim_enter(before);
    return rv == 0;
}

static void add(struct cluster *c, struct host *leader) {
    const struct replica *r = leader->replica; /* ids are few: none is spent on what would be refused */
    if (harm_wiped(c)) return;                 /* a new member would believe the first folder that it meets */
    if (r->change.busy || !guard_can_change(r->guard) || r->core.configuration_uncommitted_index != 0) return;
    struct host *h = host_new(c, true);
    if (h == NULL) return;
    host_start(h);
    (void)members_change(leader, REPLICA_ADD, h, false);
}

static const struct raft_server *member_at(const struct host *leader, uint64_t n, bool voter) {
    const struct raft_configuration *conf = &leader->replica->core.configuration;
    unsigned count = 0;
    for (unsigned i = 0; i < conf->n; i++)
        if ((conf->servers[i].role == RAFT_VOTER) == voter) count++;
    if (count == 0) return NULL;
    n %= count;
    for (unsigned i = 0; i < conf->n; i++)
        if ((conf->servers[i].role == RAFT_VOTER) == voter && n-- == 0) return &conf->servers[i];
    return NULL;
}

/* Towards one voter more than there were, then back; now and then aside. */
void members_step(struct cluster *c) {
    uint64_t kind = nemesis_pick(c, 0, 9), who = nemesis_pick(c, 0, 1000);
    bool force = nemesis_one_in(c, 3);
    struct host *leader = nemesis_leader(c);
    if (!nemesis_may(c, "a change of the membership") || leader == NULL || leader->replica == NULL) return;
    const struct raft_server *voter = member_at(leader, who, true), *learner = member_at(leader, who, false);
    unsigned now = members_voters(leader);
    struct host *v = voter == NULL ? NULL : &c->hosts[voter->id - 1];
    struct host *l = learner == NULL ? NULL : &c->hosts[learner->id - 1];
    if (now > c->cfg.voters && v != NULL)
        (void)members_change(leader, kind == 0 ? REPLICA_DEMOTE : REPLICA_REMOVE, v, force);
    else if (l != NULL && kind > 1)
        (void)members_change(leader, REPLICA_PROMOTE, l, force);
    else if (l != NULL && kind == 1)
        (void)members_change(leader, REPLICA_REMOVE, l, force);
    else if (now == c->cfg.voters && kind < 3 && v != NULL && now > 2 && harm_may_lose_voter(c, now))
        (void)members_change(leader, REPLICA_DEMOTE, v, force);
    else if (l == NULL)
        add(c, leader);
}

void members_retire(struct cluster *c, bool all) {
    for (unsigned i = 0; i < c->host_count; i++) {
        struct host *h = &c->hosts[i];
        bool member = role_in(&c->members, h->id) >= 0;
        if (member) h->joined = true;
        if (member || !h->joined || h->retired) continue;
        if (!all && rng_below(&c->rng, 2) == 0) continue;
        host_crash(h);
        h->retired = true;
    }
}
