/* SPDX-License-Identifier: Apache-2.0
 * What is done to the cluster. Each function draws all its numbers first, whatever the cluster looks like, and then
 * asks nemesis_may: so a fault that is left out changes nothing for those that come after it. */
#include "cluster.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "../../lib/sim_disk.h"
#include "base/check.h"

#define LIVENESS_MS (60u * ELECTION_MS)

uint64_t nemesis_pick(struct cluster *c, uint64_t lo, uint64_t hi) {
    return rng_between(&c->nemesis, lo, hi);
}

bool nemesis_one_in(struct cluster *c, unsigned n) {
    return rng_below(&c->nemesis, n) == 0;
}

bool nemesis_may(struct cluster *c, const char *fmt, ...) {
    uint32_t number = c->faults++;
    bool kept = !c->cfg.keep_some;
    char text[160];
    for (unsigned i = 0; i < c->cfg.keep_count && !kept; i++)
        kept = c->cfg.keep[i] == number;
    if (!kept || c->red) return false;
    if (c->cfg.trace == NULL && c->cfg.schedule == NULL) return true;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    cluster_say(c, NULL, "FAULT %" PRIu32 ": %s", number, text);
    if (c->cfg.schedule != NULL)
        fprintf(c->cfg.schedule, "%11.3f ms  fault %" PRIu32 ": %s\n", (double)c->now_us / 1000.0, number, text);
    return true;
}

struct host *nemesis_leader(const struct cluster *c) {
    const struct host *best = NULL;
    for (unsigned i = 0; i < c->host_count; i++) {
        const struct host *h = &c->hosts[i];
        if (host_leads(h) && (best == NULL || h->replica->core.current_term > best->replica->core.current_term))
            best = h;
    }
    return (struct host *)best;
}

static struct host *host_at(struct cluster *c, uint64_t n) {
    return &c->hosts[n % c->host_count];
}

/* ---- clients ---- */

void nemesis_traffic(struct cluster *c, uint64_t ms) {
    uint64_t end = c->now_us + ms * MS;
    while (!c->red && c->now_us < end) {
        for (unsigned i = 0; i < c->host_count; i++) {
            struct host *h = &c->hosts[i];
            if (!host_leads(h)) continue;
            bool heavy = c->payload_max > 200 && rng_below(&c->rng, 6) == 0;
            uint64_t bytes = heavy ? rng_between(&c->rng, 1, c->payload_max) : 0;
            unsigned count = (unsigned)rng_between(&c->rng, 1, c->burst_max);
            if (rng_below(&c->rng, 3) > 0) host_propose(h, count, bytes);
            if (rng_below(&c->rng, 4) == 0) host_read(h);
        }
        host_read(host_at(c, rng_below(&c->rng, 4 * HOSTS_MAX)));
        cluster_run_us(c, rng_between(&c->rng, 2 * MS, 22 * MS));
    }
}

/* ---- the network ---- */

/* The leader alone, or with one friend, less than a majority: it cannot commit what it has just written. */
void nemesis_island(struct cluster *c) {
    uint64_t friend = nemesis_pick(c, 0, c->cfg.voters - 1); /* none when it is the leader itself */
    struct host *leader = nemesis_leader(c);
    unsigned l = leader == NULL ? 0 : (unsigned)leader->id - 1;
    if (!nemesis_may(c, "an island of n%u and n%u", l + 1, (unsigned)friend + 1) || leader == NULL) return;
    c->struck[STRIKE_ISLAND] = true;
    for (unsigned i = 0; i < HOSTS_MAX; i++)
        for (unsigned j = 0; j < HOSTS_MAX; j++) {
            bool a = i == l || i == friend, b = j == l || j == friend;
            c->cut[i][j] = a != b;
        }
}

void nemesis_one_way(struct cluster *c) {
    uint64_t from[3], to[3], n = nemesis_pick(c, 1, 3);
    for (unsigned k = 0; k < 3; k++) {
        from[k] = nemesis_pick(c, 0, 1000) % c->cfg.voters;
        to[k] = nemesis_pick(c, 0, 1000) % c->cfg.voters;
    }
    if (!nemesis_may(c, "one way: %u links, the first from n%u to n%u", (unsigned)n, (unsigned)from[0] + 1,
                     (unsigned)to[0] + 1))
        return;
    for (unsigned k = 0; k < n; k++) {
        if (from[k] == to[k]) continue;
        c->cut[from[k]][to[k]] = true;
        c->struck[STRIKE_ONE_WAY] = true;
    }
}

void nemesis_weather(struct cluster *c) {
    bool lossy = nemesis_one_in(c, 3), late = nemesis_one_in(c, 3), doubled = nemesis_one_in(c, 3);
    unsigned loss = (unsigned)nemesis_pick(c, 1, 150), late_share = (unsigned)nemesis_pick(c, 1, 200);
    unsigned dup = (unsigned)nemesis_pick(c, 1, 150);
    uint64_t late_ms = nemesis_pick(c, 1, 600);
    c->loss_permille = c->late_permille = c->dup_permille = 0;
    if (lossy && nemesis_may(c, "%u of 1,000 messages are lost", loss)) c->loss_permille = loss;
    if (late && nemesis_may(c, "%u of 1,000 messages are up to %u ms late", late_share, (unsigned)late_ms)) {
        c->late_permille = late_share;
        c->late_max_us = late_ms * MS;
    }
    if (doubled && nemesis_may(c, "%u of 1,000 messages are doubled", dup)) c->dup_permille = dup;
}

/* ---- processes ---- */

void nemesis_crash(struct cluster *c) {
    uint64_t one = nemesis_pick(c, 0, 1000), kind = nemesis_pick(c, 0, 19), more = nemesis_pick(c, 0, 1u << 20);
    bool all = kind == 0, majority = kind < 3;
    if (!nemesis_may(c, "%s crash", all ? "all" : majority ? "a majority" : "one or two")) return;
    unsigned down = 0;
    for (unsigned i = 0; i < c->host_count; i++) {
        struct host *h = &c->hosts[i];
        bool chosen = all || h == host_at(c, one) || (majority && down < c->cfg.voters / 2 + 1) || (more >> i & 7) == 0;
        if (!h->up || !chosen) continue;
        host_crash(h);
        down++;
    }
    if (down > 0) c->struck[STRIKE_CRASH] = true;
    if (2 * down > c->cfg.voters) c->struck[STRIKE_CRASH_MAJORITY] = true;
    if (all) c->struck[STRIKE_CRASH_ALL] = true;
}

void nemesis_restart(struct cluster *c, bool all) {
    uint64_t mask = nemesis_pick(c, 0, 1u << HOSTS_MAX);
    for (unsigned i = 0; i < c->host_count && !c->red; i++) {
        struct host *h = &c->hosts[i];
        if (!h->up && !h->retired && (all || (mask >> i & 1) != 0)) host_start(h);
    }
}

void nemesis_pause(struct cluster *c) {
    uint64_t who = nemesis_pick(c, 0, 1000), ms = nemesis_pick(c, 20, nemesis_one_in(c, 4) ? 3000 : 700);
    bool leads = nemesis_one_in(c, 2);
    struct host *h = leads && nemesis_leader(c) != NULL ? nemesis_leader(c) : host_at(c, who);
    if (!nemesis_may(c, "n%u stands still for %u ms", (unsigned)h->id, (unsigned)ms) || !h->up) return;
    h->paused_until_us = c->now_us + ms * MS;
    c->struck[STRIKE_PAUSE] = true;
}

void nemesis_clocks(struct cluster *c) {
    for (unsigned i = 0; i < c->cfg.voters; i++) {
        uint64_t ppm = nemesis_pick(c, 900000, 1100000);
        bool wild = nemesis_one_in(c, 8), slow = nemesis_one_in(c, 2);
        if (wild) ppm = slow ? 500000 : 2000000;
        struct host *h = &c->hosts[i];
        if (!nemesis_may(c, "the clock of n%u runs at %u ppm", (unsigned)h->id, (unsigned)ppm)) continue;
        shim_rate(h, ppm);
        c->struck[STRIKE_DRIFT] = true;
    }
}

void nemesis_transfer(struct cluster *c) {
    uint64_t to = nemesis_pick(c, 0, 1000), run = nemesis_pick(c, 0, 10);
    bool cut = nemesis_one_in(c, 2);
    struct host *leader = nemesis_leader(c), *h = host_at(c, to);
    bool may = nemesis_may(c, "the leader hands over to n%u", (unsigned)h->id);
    if (may && leader != NULL) (void)members_change(leader, REPLICA_TRANSFER, h, false);
    if (!cut) return;
    cluster_run(c, run);
    nemesis_one_way(c);
}

/* ---- disks ---- */

static void disk_fails(struct cluster *c) {
    uint64_t who = nemesis_pick(c, 0, 1000), steps = nemesis_pick(c, 1, 40);
    bool torn = nemesis_one_in(c, 2), leads = nemesis_one_in(c, 2);
    struct host *h = leads && nemesis_leader(c) != NULL ? nemesis_leader(c) : host_at(c, who);
    if (!nemesis_may(c, "write %u of n%u from now fails%s", (unsigned)steps, (unsigned)h->id,
                     torn ? ", half done" : ""))
        return;
    sim_disk_fault_after(h->disk, steps, torn ? SIM_DISK_TEAR : SIM_DISK_FAIL);
    h->sick = true;
}

static void disk_full(struct cluster *c) {
    uint64_t who = nemesis_pick(c, 0, 1000), room = nemesis_pick(c, 0, 7) * c->segment_bytes;
    struct host *h = host_at(c, who);
    if (!nemesis_may(c, "n%u has %u more bytes of room", (unsigned)h->id, (unsigned)room)) return;
    sim_disk_set_capacity(h->disk, sim_disk_used(h->disk) + room + 1);
    h->sick = true;
}

static void disk_slow(struct cluster *c) {
    uint64_t who = nemesis_pick(c, 0, 1000), ms = nemesis_pick(c, 1, nemesis_one_in(c, 3) ? 3000 : 60);
    struct host *h = host_at(c, who);
    if (!nemesis_may(c, "the disk of n%u is up to %u ms slow", (unsigned)h->id, (unsigned)ms)) return;
    h->slow_us = ms * MS;
    c->struck[STRIKE_SLOW_DISK] = true;
}

/* What was planted and has struck is noted; what has been there for a while ends. */
static void disks_heal(struct cluster *c, bool all) {
    uint64_t mask = nemesis_pick(c, 0, 1u << HOSTS_MAX);
    for (unsigned i = 0; i < c->host_count; i++) {
        struct host *h = &c->hosts[i];
        if (sim_disk_failures(h->disk) > 0) c->struck[STRIKE_EIO] = true;
        if (sim_disk_refusals(h->disk) > 0) c->struck[STRIKE_ENOSPC] = true;
        if (!all && (mask >> i & 1) == 0) continue;
        h->slow_us = 0;
        sim_disk_set_capacity(h->disk, 0);
        sim_disk_fault_after(h->disk, 0, SIM_DISK_NONE);
    }
}

void nemesis_disks(struct cluster *c) {
    disks_heal(c, false);
    if (nemesis_one_in(c, 6)) disk_fails(c);
    if (nemesis_one_in(c, 8)) disk_full(c);
    if (nemesis_one_in(c, 5)) disk_slow(c);
}

/* ---- the end ---- */

static bool lags(const struct cluster *c, const struct host *h) {
    return !h->up || h->applied < c->acked_max || h->replica->barred != 0;
}

/* The first member that lags; 0 none. A spare is none: nothing is sent to it. */
static uint64_t laggard(struct cluster *c, const struct host *leader) {
    const struct raft_configuration *conf = &leader->replica->core.configuration;
    for (unsigned i = 0; i < conf->n; i++) {
        const struct host *h = &c->hosts[conf->servers[i].id - 1];
        if (conf->servers[i].role != RAFT_SPARE && lags(c, h)) return h->id;
    }
    return 0;
}

static bool everywhere(struct cluster *c) {
    const struct host *leader = nemesis_leader(c);
    return leader != NULL && laggard(c, leader) == 0;
}

static void not_everywhere(struct cluster *c) {
    const struct host *leader = nemesis_leader(c);
    if (leader == NULL) {
        cluster_red(c, "liveness", "there is no leader");
        return;
    }
    const struct host *h = &c->hosts[laggard(c, leader) - 1];
    cluster_red(c, "liveness",
                "entry %" PRIu64 " is not applied everywhere within 60 election timeouts: node %" PRIu64
                " (%s, life %u) has applied %" PRIu64 ", leader %" PRIu64,
                c->acked_max, h->id, h->up ? "up" : "down", h->life, h->applied, leader->id);
}

void nemesis_heal(struct cluster *c) {
    wire_heal(c);
    c->loss_permille = c->late_permille = c->dup_permille = 0;
    disks_heal(c, true);
    members_retire(c, cluster_chance(c, 500));
    for (unsigned i = 0; i < c->host_count; i++) {
        shim_rate(&c->hosts[i], 1000000);
        c->hosts[i].paused_until_us = 0;
    }
    nemesis_restart(c, true);
    harm_heal(c, LIVENESS_MS);
    uint64_t before = c->acked, end = cluster_ms(c) + LIVENESS_MS;
    while (!c->red && c->acked == before && cluster_ms(c) < end) {
        struct host *leader = nemesis_leader(c);
        if (leader != NULL && leader->tickets == 0) host_propose(leader, 1, 0);
        cluster_run(c, 10);
    }
    if (!c->red && c->acked == before) cluster_red(c, "liveness", "no entry was committed within 60 election timeouts");
    uint64_t now = cluster_ms(c);
    if (!c->red && !cluster_until(c, everywhere, end > now ? end - now : 1) && !c->red) not_everywhere(c);
}
