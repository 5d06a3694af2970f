/* SPDX-License-Identifier: Apache-2.0
 * The three ways of being unkind, and a whole seed from start to verdict.
 *
 *   a islands  append, cut the leader (and perhaps a follower with it) off within 0-30 ms, heal or cut again; one way
 *   b mix      islands, and everything else: crashes of one, many, all; weather on the network; disks that fail, fill
 * up and drag; clocks that drift; pauses, transfers, changes of the membership c hammer   one append, then a cut at
 * once, over and over (Raft, figure 8), with phases of traffic in between
 *
 * In each of them masters crash, disks fail, clocks drift, and the membership changes: in a and c rarely, so that what
 * they are made for stays what they mostly do. */
#include "cluster.h"

#include <string.h>

#include "../../lib/child_run.h"
#include "base/mutant.h"

#define RUN_MS 31000u

static bool has_leader(struct cluster *c) {
    return nemesis_leader(c) != NULL;
}

static void island_round(struct cluster *c) {
    nemesis_traffic(c, nemesis_pick(c, 20, 400));
    uint64_t last = nemesis_pick(c, 1, 3), wait = nemesis_pick(c, 0, 30), after = nemesis_pick(c, 50, 1200);
    struct host *leader = nemesis_leader(c);
    if (leader != NULL) host_propose(leader, (unsigned)last, 0);
    cluster_run(c, wait);
    nemesis_island(c);
    nemesis_traffic(c, after);
    for (uint64_t n = nemesis_pick(c, 0, 3); n > 0; n--) { /* cut again, or differently */
        if (nemesis_one_in(c, 2)) wire_heal(c);
        if (nemesis_one_in(c, 3))
            nemesis_one_way(c);
        else
            nemesis_island(c);
        nemesis_traffic(c, nemesis_pick(c, 5, 700));
    }
    wire_heal(c);
    nemesis_traffic(c, nemesis_pick(c, 1, 500));
}

/* What a and c have a little of; the first of a run always has a crash. */
static void rare_round(struct cluster *c, bool first) {
    nemesis_disks(c);
    if (nemesis_one_in(c, 4)) nemesis_clocks(c);
    if (nemesis_one_in(c, 4) || first) nemesis_crash(c);
    if (nemesis_one_in(c, 6)) nemesis_pause(c);
    if (nemesis_one_in(c, 4)) nemesis_transfer(c);
    if (nemesis_one_in(c, 2)) members_step(c);
    nemesis_traffic(c, nemesis_pick(c, 50, 400));
    if (nemesis_one_in(c, 2)) members_step(c);
    members_retire(c, false);
    nemesis_restart(c, true);
}

static void mix_round(struct cluster *c) {
    nemesis_weather(c);
    nemesis_disks(c);
    if (nemesis_one_in(c, 4)) nemesis_clocks(c);
    if (nemesis_one_in(c, 3)) nemesis_crash(c);
    if (nemesis_one_in(c, 5)) nemesis_pause(c);
    if (nemesis_one_in(c, 3)) members_step(c);
    island_round(c);
    nemesis_restart(c, false);
    if (nemesis_one_in(c, 3)) nemesis_transfer(c);
    nemesis_traffic(c, nemesis_pick(c, 1, 300));
    if (nemesis_one_in(c, 3)) members_step(c);
    members_retire(c, false);
    harm_mend(c);
    if (nemesis_one_in(c, 10)) harm_step(c);
    nemesis_restart(c, !nemesis_one_in(c, 3));
}

static void hammer_round(struct cluster *c) {
    uint64_t wait = nemesis_pick(c, 0, 2), apart = nemesis_pick(c, 300, 900), after = nemesis_pick(c, 0, 60);
    bool island = !nemesis_one_in(c, 4), heal = !nemesis_one_in(c, 3);
    cluster_until(c, has_leader, 1500);
    struct host *leader = nemesis_leader(c);
    if (leader == NULL) {
        wire_heal(c);
    } else {
        host_propose(leader, 1, 0);
        cluster_run(c, wait);
    }
    if (island) {
        nemesis_island(c);
    } else if (nemesis_may(c, "the leader alone") && leader != NULL) {
        wire_isolate(c, (unsigned)leader->id - 1);
        c->struck[STRIKE_ISOLATED] = true;
    }
    cluster_run(c, apart);
    if (heal) wire_heal(c);
    cluster_run(c, after);
}

static void hammer_phase(struct cluster *c, bool first) {
    for (unsigned i = 0; i < 6 && !c->red; i++)
        hammer_round(c);
    wire_heal(c);
    rare_round(c, first);
    cluster_until(c, has_leader, 1500);
    nemesis_traffic(c, nemesis_pick(c, 200, 500));
}

static void knobs(struct cluster *c) {
    static const uint64_t delays_us[] = {1000, 1000, 5000, 20000}, calls_us[] = {0, 0, 30, 900};
    static const uint64_t snapshots[] = {6u << 10, 20u << 10, 60u << 10, 1u << 30};
    c->snapshot_bytes = snapshots[nemesis_pick(c, 0, 3)];
    c->delay_max_us = delays_us[nemesis_pick(c, 0, 3)]; /* a slow network has more on its way when a cut comes */
    c->call_us = calls_us[nemesis_pick(c, 0, 3)];       /* a slow machine applies in slices */
    if (nemesis_one_in(c, 10)) {                        /* so large that whoever falls behind needs a train */
        c->payload_max = 150u << 10;
        c->segment_bytes = 1u << 20;
        if (c->snapshot_bytes < 1u << 20) c->snapshot_bytes = 4u << 20;
    } else if (nemesis_one_in(c, 8)) {
        c->burst_max = nemesis_one_in(c, 4) ? 40 : 10;
    }
    if (nemesis_one_in(c, 8)) c->queue_max = 64u << 10;
}

static void nemesis_run(struct cluster *c) {
    knobs(c);
    for (unsigned i = 0; i < c->host_count && !c->red; i++)
        host_start(&c->hosts[i]);
    if (nemesis_one_in(c, 3)) nemesis_clocks(c);
    for (unsigned round = 0; !c->red && cluster_ms(c) < RUN_MS; round++) {
        switch (c->cfg.mode) {
        case MODE_ISLANDS:
            island_round(c);
            if (round % 4 == 3) rare_round(c, round == 3);
            break;
        case MODE_MIX:
            mix_round(c);
            break;
        default:
            hammer_phase(c, round == 0);
            break;
        }
    }
}

/* A seed that did not do enough proves nothing (docs/TESTING.md). */
static bool enough(const struct cluster *c) {
    return cluster_ms(c) >= 30000 && c->leader_changes >= 3 && c->acked >= 200 && c->crashes >= 1;
}

static void seed_here(const struct cluster_config *cfg, struct verdict *ret) {
    static struct cluster c; /* too large for a stack; one run at a time */
    mutant_test_bits = cfg->mutants;
    mutant_test_guard_off = cfg->off;
    cluster_init(&c, cfg);
    c.inside = true;
    if (setjmp(c.escape) == 0) {
        nemesis_run(&c);
        c.healed_ms = cluster_ms(&c);
        if (!c.red) nemesis_heal(&c);
        judge_end(&c);
    }
    c.inside = false;
    memset(ret, 0, sizeof *ret);
    ret->seed = cfg->seed;
    ret->voters = cfg->voters;
    ret->trace = c.trace;
    ret->sim_ms = cluster_ms(&c);
    ret->settle_ms = cluster_ms(&c) - c.healed_ms;
    ret->leaders = c.leader_changes;
    ret->acked = c.acked;
    ret->reads = c.reads_served;
    ret->crashes = c.crashes;
    ret->faults = c.faults;
    ret->red = c.red;
    ret->valid = c.red || enough(&c);
    ret->step = c.red ? c.red_step : c.steps;
    memcpy(ret->invariant, c.invariant, sizeof ret->invariant);
    memcpy(ret->why, c.why, sizeof ret->why);
    memcpy(ret->struck, c.struck, sizeof ret->struck);
    for (unsigned i = 0; i < c.host_count; i++) {
        uint64_t *to = (uint64_t *)&ret->counters;
        const uint64_t *from = (const uint64_t *)&c.hosts[i].counters;
        for (size_t k = 0; k < sizeof ret->counters / sizeof *to; k++)
            to[k] += from[k];
    }
}

static void seed_child(const void *cfg, void *ret) {
    seed_here(cfg, ret);
}

void seed_run(const struct cluster_config *cfg, struct verdict *ret) {
    const char *why;
    int signal;
    if (child_run(seed_child, cfg, ret, sizeof *ret, &why, &signal)) return;
    *ret = (struct verdict){.seed = cfg->seed, .voters = cfg->voters, .red = true, .valid = true};
    ret->faults = FAULTS_KEPT_MAX; /* it could not say */
    snprintf(ret->invariant, sizeof ret->invariant, "%s", why);
    snprintf(ret->why, sizeof ret->why, "the process ended with signal %d", signal);
}
