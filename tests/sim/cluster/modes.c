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

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mutant.h"

#define RUN_MS       31000u
#define SEED_CPU_S   120   /* a child that computes longer is stuck: red. CPU time, for a machine may pause us */
#define SEED_ALARM_S 3600u /* the same for one that waits, which none should */

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

/* The child's end: the result through the pipe, and nothing of the parent's buffers. */
_Noreturn static void child(int fd, const struct cluster_config *cfg, struct verdict *ret) {
    static const int signals[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        signal(signals[i], SIG_DFL); /* a test framework may have its own ideas */
    const struct itimerval cpu = {.it_value.tv_sec = SEED_CPU_S};
    CHECK(setitimer(ITIMER_PROF, &cpu, NULL) == 0);
    alarm(SEED_ALARM_S);
    seed_here(cfg, ret);
    if (cfg->trace != NULL) fflush(cfg->trace);
    if (cfg->schedule != NULL) fflush(cfg->schedule);
    _exit(write(fd, ret, sizeof *ret) == (ssize_t)sizeof *ret ? 0 : 1);
}

void seed_run(const struct cluster_config *cfg, struct verdict *ret) {
    int fds[2];
    CHECK(pipe(fds) == 0);
    if (cfg->trace != NULL) fflush(cfg->trace);
    if (cfg->schedule != NULL) fflush(cfg->schedule);
    fflush(stdout);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        close(fds[0]);
        child(fds[1], cfg, ret);
    }
    close(fds[1]);
    ssize_t got = 0, n;
    while (got < (ssize_t)sizeof *ret && (n = read(fds[0], (uint8_t *)ret + got, sizeof *ret - (size_t)got)) > 0)
        got += n;
    close(fds[0]);
    int status = 0;
    waitpid(pid, &status, 0);
    if (got == (ssize_t)sizeof *ret) return;
    memset(ret, 0, sizeof *ret);
    ret->seed = cfg->seed;
    ret->voters = cfg->voters;
    ret->red = ret->valid = true;
    ret->faults = FAULTS_KEPT_MAX; /* it could not say */
    int signal_number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    snprintf(ret->invariant, sizeof ret->invariant, "%s",
             signal_number == SIGALRM || signal_number == SIGPROF ? "stuck" : "crash");
    snprintf(ret->why, sizeof ret->why, "the process ended with signal %d", signal_number);
}
