/* SPDX-License-Identifier: Apache-2.0
 * The three ways of being unkind, and a whole seed from start to verdict.
 *
 *   islands  append, cut the leader (and perhaps a follower with it) off within 0-30 ms, heal or cut again; one-way
 * cuts mix      islands, and crashes with restart from disk, loss, doubling, reordering, disks up to 3 s slow,
 * transfers hammer   no traffic: one append, then a cut at once, over and over (Raft, figure 8) */
#include "sim.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"

#define RUN_MS       31000u
#define LIVENESS_MS  (60u * SIM_ELECTION_MS)
#define SEED_ALARM_S 60u /* a child that takes longer is stuck: red */

static uint64_t pick(struct sim *sim, uint64_t lo, uint64_t hi) {
    return rng_between(&sim->rng, lo, hi);
}

static int leader_of(const struct sim *sim) { /* of the highest term, -1 none */
    int best = -1;
    for (unsigned i = 0; i < sim->cfg.voters; i++)
        if (node_leads(&sim->nodes[i]) &&
            (best < 0 || sim->nodes[i].raft.current_term > sim->nodes[best].raft.current_term))
            best = (int)i;
    return best;
}

static bool has_leader(struct sim *sim) {
    return leader_of(sim) >= 0;
}

/* Time passes; every node that believes it leads gets commands. */
static void traffic(struct sim *sim, uint64_t ms) {
    uint64_t end = sim->now_us + ms * SIM_MS;
    while (!sim->red && sim->now_us < end) {
        for (unsigned i = 0; i < sim->cfg.voters; i++) {
            struct sim_node *node = &sim->nodes[i];
            if (!node_leads(node)) continue;
            uint64_t most = rng_below(&sim->rng, 6) == 0 ? sim->command_max : 200;
            if (rng_below(&sim->rng, 3) > 0) node_propose(node, pick(sim, 16, most));
            if (rng_below(&sim->rng, 4) == 0) node_read(node);
        }
        sim_run(sim, pick(sim, 1, 12));
    }
}

static void cut_island(struct sim *sim) {
    int leader = leader_of(sim);
    if (leader < 0) return;
    sim->faults[F_ISLAND] = true;
    unsigned friend = (unsigned)rng_below(&sim->rng, sim->cfg.voters); /* none when it is the leader itself */
    for (unsigned i = 0; i < sim->cfg.voters; i++)
        for (unsigned j = 0; j < sim->cfg.voters; j++) {
            bool a = i == (unsigned)leader || i == friend, b = j == (unsigned)leader || j == friend;
            sim->cut[i][j] = a != b;
        }
}

static void cut_one_way(struct sim *sim) {
    sim->faults[F_ONE_WAY] = true;
    for (uint64_t n = pick(sim, 1, 3); n > 0; n--) {
        unsigned i = (unsigned)rng_below(&sim->rng, sim->cfg.voters),
                 j = (unsigned)rng_below(&sim->rng, sim->cfg.voters);
        if (i != j) sim->cut[i][j] = true;
    }
}

static void island_round(struct sim *sim) {
    traffic(sim, pick(sim, 20, 400));
    int leader = leader_of(sim);
    if (leader >= 0)
        for (uint64_t n = pick(sim, 1, 3); n > 0; n--)
            node_propose(&sim->nodes[leader], 32);
    sim_run(sim, pick(sim, 0, 30));
    cut_island(sim);
    traffic(sim, pick(sim, 50, 1200));
    for (uint64_t n = rng_below(&sim->rng, 4); n > 0 && !sim->red; n--) { /* cut again, or differently */
        if (rng_below(&sim->rng, 2) == 0) net_heal(sim);
        if (rng_below(&sim->rng, 3) == 0)
            cut_one_way(sim);
        else
            cut_island(sim);
        traffic(sim, pick(sim, 5, 700));
    }
    net_heal(sim);
    traffic(sim, pick(sim, 1, 500));
}

static void crash_some(struct sim *sim) {
    sim->faults[F_CRASH] = true;
    bool all = rng_below(&sim->rng, 10) == 0;
    unsigned one = (unsigned)rng_below(&sim->rng, sim->cfg.voters); /* at least */
    for (unsigned i = 0; i < sim->cfg.voters; i++) {
        struct sim_node *node = &sim->nodes[i];
        if (node->up && (all || i == one || rng_below(&sim->rng, 2 * sim->cfg.voters) == 0)) node_crash(node);
    }
}

static void restart_some(struct sim *sim, bool all) {
    for (unsigned i = 0; i < sim->cfg.voters && !sim->red; i++)
        if (!sim->nodes[i].up && (all || rng_below(&sim->rng, 2) == 0)) node_start(&sim->nodes[i]);
}

static void weather(struct sim *sim) {
    bool lossy = rng_below(&sim->rng, 3) == 0, late = rng_below(&sim->rng, 3) == 0,
         twice = rng_below(&sim->rng, 3) == 0;
    sim->loss_permille = lossy ? (unsigned)pick(sim, 1, 150) : 0;
    sim->late_permille = late ? (unsigned)pick(sim, 1, 200) : 0;
    sim->late_max_us = pick(sim, 1, 600) * SIM_MS;
    sim->dup_permille = twice ? (unsigned)pick(sim, 1, 150) : 0;
    if (lossy) sim->faults[F_LOSS] = true;
    if (late) sim->faults[F_REORDER] = true;
    if (twice) sim->faults[F_DUPLICATE] = true;
    for (unsigned i = 0; i < sim->cfg.voters; i++) {
        bool slow = rng_below(&sim->rng, 8) == 0;
        sim->nodes[i].slow_us = slow ? pick(sim, 1, rng_below(&sim->rng, 3) == 0 ? 3000 : 60) * SIM_MS : 0;
        if (slow) sim->faults[F_SLOW_DISK] = true;
    }
}

static void mix_round(struct sim *sim) {
    weather(sim);
    if (rng_below(&sim->rng, 3) == 0) crash_some(sim);
    island_round(sim);
    restart_some(sim, false);
    int leader = leader_of(sim);
    if (leader >= 0 && rng_below(&sim->rng, 3) == 0) {
        sim->faults[F_TRANSFER] = true;
        node_transfer(&sim->nodes[leader], rng_below(&sim->rng, sim->cfg.voters) + 1);
        if (rng_below(&sim->rng, 2) == 0) {
            sim_run(sim, pick(sim, 0, 10));
            cut_one_way(sim);
        }
    }
    traffic(sim, pick(sim, 1, 300));
    restart_some(sim, rng_below(&sim->rng, 3) > 0);
}

static void hammer_round(struct sim *sim) {
    sim_until(sim, has_leader, 1500);
    int leader = leader_of(sim);
    if (leader < 0) {
        net_heal(sim);
        return;
    }
    sim->faults[F_ISLAND] = true;
    node_propose(&sim->nodes[leader], 16);
    sim_run(sim, pick(sim, 0, 2));
    if (rng_below(&sim->rng, 4) > 0)
        cut_island(sim);
    else
        net_isolate(sim, (unsigned)leader, true);
    sim_run(sim, pick(sim, 300, 900));
    if (rng_below(&sim->rng, 3) > 0) net_heal(sim);
    sim_run(sim, pick(sim, 0, 60));
}

static bool everywhere(struct sim *sim) {
    for (unsigned i = 0; i < sim->cfg.voters; i++)
        if (!sim->nodes[i].up || sim->nodes[i].applied < sim->acked_max) return false;
    return true;
}

void nemesis_heal_and_wait(struct sim *sim) {
    net_heal(sim);
    sim->loss_permille = sim->late_permille = sim->dup_permille = 0;
    for (unsigned i = 0; i < sim->cfg.voters; i++)
        sim->nodes[i].slow_us = 0;
    restart_some(sim, true);
    uint64_t acked = sim->acked, end = sim_ms(sim) + LIVENESS_MS;
    while (!sim->red && sim->acked == acked && sim_ms(sim) < end) {
        int leader = leader_of(sim);
        if (leader >= 0 && sim->nodes[leader].inflight == 0) node_propose(&sim->nodes[leader], 16);
        sim_run(sim, 10);
    }
    if (!sim->red && sim->acked == acked)
        sim_red(sim, "liveness", "no entry was committed within 60 election timeouts");
    uint64_t now = sim_ms(sim);
    if (!sim->red && !sim_until(sim, everywhere, end > now ? end - now : 1) && !sim->red)
        sim_red(sim, "liveness", "entry %llu is not applied everywhere within 60 election timeouts",
                (unsigned long long)sim->acked_max);
}

void nemesis_run(struct sim *sim) {
    if (rng_below(&sim->rng, 2) == 0) {
        sim->snapshot_threshold = 64;
        sim->snapshot_trailing = 16;
    }
    /* A slow network leaves more of everything in flight when a cut comes. */
    static const uint64_t delays_us[] = {1000, 1000, 5000, 20000};
    sim->delay_max_us = delays_us[rng_below(&sim->rng, 4)];
    /* Now and then commands so large that whoever falls behind needs a train. */
    sim->command_max = rng_below(&sim->rng, 16) == 0 ? 150 << 10 : 200;
    for (unsigned i = 0; i < sim->cfg.voters && !sim->red; i++)
        node_start(&sim->nodes[i]);
    while (!sim->red && sim_ms(sim) < RUN_MS) {
        if (sim->cfg.mode == SIM_ISLANDS)
            island_round(sim);
        else if (sim->cfg.mode == SIM_MIX)
            mix_round(sim);
        else
            hammer_round(sim);
    }
}

/* A seed that did not do enough proves nothing (the design's section 10). The hammer has no traffic and the islands no
 * crash by definition. */
static bool enough(const struct sim *sim) {
    if (sim_ms(sim) < 30000 || sim->leader_changes < 3) return false;
    if (sim->cfg.mode != SIM_HAMMER && sim->acked < 200) return false;
    return sim->cfg.mode != SIM_MIX || sim->crashes > 0;
}

static void whole_seed(struct sim *sim) {
    nemesis_run(sim);
    sim->healed_ms = sim_ms(sim);
    if (!sim->red) nemesis_heal_and_wait(sim);
}

void sim_here(const struct sim_config *cfg, void (*run)(struct sim *sim), struct sim_result *ret) {
    static struct sim sim; /* too large for a stack; one run at a time */
    sim_init(&sim, cfg);
    run(&sim);
    memset(ret, 0, sizeof *ret);
    ret->seed = cfg->seed;
    ret->voters = cfg->voters;
    ret->trace = sim.trace;
    ret->sim_ms = sim_ms(&sim);
    ret->settle_ms = sim_ms(&sim) - sim.healed_ms;
    ret->leaders = sim.leader_changes;
    ret->acked = sim.acked;
    ret->reads = sim.reads_served;
    ret->crashes = sim.crashes;
    ret->red = sim.red;
    ret->valid = sim.red || enough(&sim);
    ret->step = sim.red ? sim.red_step : sim.steps;
    memcpy(ret->invariant, sim.invariant, sizeof ret->invariant);
    memcpy(ret->why, sim.why, sizeof ret->why);
    memcpy(ret->faults, sim.faults, sizeof ret->faults);
    sim_done(&sim);
    for (unsigned i = 0; i < cfg->voters; i++) {
        uint64_t *to = (uint64_t *)&ret->counters;
        const uint64_t *from = (const uint64_t *)&sim.nodes[i].counters;
        for (size_t k = 0; k < sizeof ret->counters / sizeof *to; k++)
            to[k] += from[k];
    }
}

/* The child's end: the result through the pipe, and nothing of the parent's buffers. */
_Noreturn static void child(int fd, const struct sim_config *cfg, void (*run)(struct sim *sim),
                            struct sim_result *ret) {
    static const int signals[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        signal(signals[i], SIG_DFL); /* a test framework may have its own ideas */
    alarm(SEED_ALARM_S);
    sim_here(cfg, run, ret);
    if (cfg->trace != NULL) fflush(cfg->trace);
    _exit(write(fd, ret, sizeof *ret) == (ssize_t)sizeof *ret ? 0 : 1);
}

void sim_fork(const struct sim_config *cfg, void (*run)(struct sim *sim), struct sim_result *ret) {
    int fds[2];
    CHECK(pipe(fds) == 0);
    if (cfg->trace != NULL) fflush(cfg->trace);
    fflush(stdout);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        close(fds[0]);
        child(fds[1], cfg, run, ret);
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
    int signal_number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    snprintf(ret->invariant, sizeof ret->invariant, "%s", signal_number == SIGALRM ? "stuck" : "crash");
    snprintf(ret->why, sizeof ret->why, "the process ended with signal %d", signal_number);
}

void sim_seed(const struct sim_config *cfg, struct sim_result *ret) {
    sim_fork(cfg, whole_seed, ret);
}
