/* SPDX-License-Identifier: Apache-2.0
 * Masters that lose what they had promised to keep.
 *
 * Wiped: the process starts on an empty disk under its old id, as when a wrong disk is mounted. It must take no part,
 * and end as soon as it has met somebody who remembers its folder; then its own folder may be put back. Damaged: a file
 * of the log or a snapshot is spoilt, or the node has given its state up; it must not start, and then is started with
 * --reinstall, which may be cut short by a loss of power at any step.
 *
 * Both are promised to be safe while a majority has lost nothing, so that is what is done. And one is wiped at a time:
 * two of them could believe each other, and be believed by a new member, before they hear who they are. */
#include "cluster.h"

#include "../../lib/sim_disk.h"
#include "base/check.h"
#include "consensus/identity.h"
#include "consensus/pins.h"

static bool harmed(const struct host *h) {
    return !h->retired && (h->harm != HARM_NONE || h->catching_up);
}

bool harm_wiped(const struct cluster *c) {
    for (unsigned i = 0; i < c->host_count; i++)
        if (!c->hosts[i].retired && c->hosts[i].harm == HARM_WIPED) return true;
    return false;
}

/* Whether `more` beside those that have lost their data leave a majority of so many voters. */
static bool spared(const struct cluster *c, unsigned voters, unsigned more) {
    for (unsigned i = 0; i < c->host_count; i++)
        more += harmed(&c->hosts[i]);
    return voters > 0 && 2 * (voters - more) > voters && more < voters;
}

bool harm_may_lose_voter(const struct cluster *c, unsigned voters) {
    return spared(c, voters - 1, 0);
}

/* No master has a configuration, or a change under way, in which one more would be too many. */
static bool one_more_is_spared(const struct cluster *c) {
    for (unsigned i = 0; i < c->host_count; i++) {
        const struct host *h = &c->hosts[i];
        if (!h->up) continue;
        bool changing = h->replica->change.busy || h->replica->core.configuration_uncommitted_index != 0;
        if (changing || (members_voters(h) > 0 && !spared(c, members_voters(h), 1))) return false;
    }
    return true;
}

static bool is_member(const struct cluster *c, const struct host *h) {
    for (unsigned i = 0; i < c->members.n; i++)
        if (c->members.servers[i].id == h->id) return true;
    return false;
}

/* Whether it is written on the disk of `other` which folder `h` has. */
static bool known_to(const struct host *h, const struct host *other) {
    struct disk *disk = sim_disk_face(other->disk);
    struct identity ours, theirs;
    struct pins pins;
    struct fault fault;
    struct err err;
    bool repair;
    if (identity_read(sim_disk_face(h->disk), &ours, &err) != 0 || identity_read(disk, &theirs, &err) != 0 ||
        pins_read(disk, &theirs, &pins, &repair, &fault, &err) != 0)
        return false;
    for (uint32_t i = 0; i < pins.count; i++)
        if (pins.pins[i].id == h->id) return pins.pins[i].folder == identity_folder(&ours);
    return false;
}

static bool known_to_all(const struct host *h) {
    const struct cluster *c = h->c;
    for (unsigned i = 0; i < c->host_count; i++)
        if (&c->hosts[i] != h && !c->hosts[i].retired && !known_to(h, &c->hosts[i])) return false;
    return true;
}

static void starts_in(struct host *h, uint64_t ms) {
    cluster_at(h->c, ms * MS + 1, EVENT_START, (unsigned)h->id - 1, h->life, NULL);
}

static void wipe(struct host *h, uint64_t ms) {
    if (!h->up || !h->replica->pins.admitted || harm_wiped(h->c) || !known_to_all(h)) return;
    host_crash(h);
    cluster_say(h->c, h, "is wiped");
    medium_wipe(h);
    h->harm = HARM_WIPED;
    h->refused = false;
    starts_in(h, ms);
}

static void damage(struct host *h, uint64_t how, uint64_t cut, uint64_t ms) {
    host_crash(h);
    cluster_say(h->c, h, "is damaged");
    medium_damage(h, how);
    h->harm = HARM_DAMAGED;
    h->reinstall = cut > 0;
    if (cut > 0) {
        sim_disk_fault_after(h->disk, cut, SIM_DISK_DIE);
        h->sick = true;
    }
    starts_in(h, ms);
}

void harm_step(struct cluster *c) {
    uint64_t who = nemesis_pick(c, 0, 1000), how = nemesis_pick(c, 0, UINT32_MAX), ms = nemesis_pick(c, 1, 600);
    uint64_t slow = nemesis_pick(c, 0, 300), after = nemesis_pick(c, 1, 400);
    uint64_t cut = nemesis_one_in(c, 2) ? nemesis_pick(c, 1, 8) : 0;
    bool wiped = nemesis_one_in(c, 2), bothered = nemesis_one_in(c, 2);
    struct host *h = &c->hosts[who % c->host_count];
    bool may = nemesis_may(c, "n%u is %s", (unsigned)h->id, wiped ? "wiped" : "damaged and reinstalled");
    bool possible = may && !harmed(h) && !h->retired && is_member(c, h) && one_more_is_spared(c);
    if (possible && wiped) wipe(h, ms);
    if (possible && !wiped && medium_durable(h) > 0) damage(h, how, cut, ms);
    if (wiped || !bothered) return;
    if (h->harm == HARM_DAMAGED) h->slow_us = slow * MS; /* it takes its time to write what it gets, */
    cluster_run(c, ms + after);                          /* and meanwhile there is an election */
    nemesis_island(c);
}

static void put_back(struct host *h) {
    cluster_say(h->c, h, "has its own folder again");
    medium_put_back(h);
    h->harm = HARM_NONE;
    h->refused = false;
    host_start(h);
}

void harm_mend(struct cluster *c) {
    bool now = nemesis_one_in(c, 2);
    for (unsigned i = 0; i < c->host_count && !c->red; i++) {
        struct host *h = &c->hosts[i];
        if (now && h->refused && !h->up && !h->retired) put_back(h);
    }
}

static bool all_refused(struct cluster *c) {
    for (unsigned i = 0; i < c->host_count; i++) {
        const struct host *h = &c->hosts[i];
        if (!h->retired && h->harm == HARM_WIPED && is_member(c, h) && (!h->refused || h->up)) return false;
    }
    return true;
}

void harm_heal(struct cluster *c, uint64_t ms) {
    if (!cluster_until(c, all_refused, ms))
        cluster_red(c, "liveness", "a wiped node is not told so within %llu ms", (unsigned long long)ms);
    for (unsigned i = 0; i < c->host_count && !c->red; i++) {
        struct host *h = &c->hosts[i];
        if (h->retired || h->harm != HARM_WIPED) continue;
        host_crash(h);
        put_back(h);
    }
}
