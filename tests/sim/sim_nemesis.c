/* SPDX-License-Identifier: Apache-2.0
 * The end of a schedule: everything is well again, and then it must go on. And a run in a process of its own. */
#include "sim.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"

#define LIVENESS_MS  (60u * SIM_ELECTION_MS)
#define SEED_ALARM_S 60u /* a child that takes longer is stuck: red */

static int leader_of(const struct sim *sim) { /* of the highest term, -1 none */
    int best = -1;
    for (unsigned i = 0; i < sim->cfg.voters; i++)
        if (node_leads(&sim->nodes[i]) &&
            (best < 0 || sim->nodes[i].raft.current_term > sim->nodes[best].raft.current_term))
            best = (int)i;
    return best;
}

static void restart_all(struct sim *sim) {
    for (unsigned i = 0; i < sim->cfg.voters && !sim->red; i++)
        if (!sim->nodes[i].up) node_start(&sim->nodes[i]);
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
    restart_all(sim);
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
    ret->step = sim.red ? sim.red_step : sim.steps;
    memcpy(ret->invariant, sim.invariant, sizeof ret->invariant);
    memcpy(ret->why, sim.why, sizeof ret->why);
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
    ret->red = true;
    int signal_number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    snprintf(ret->invariant, sizeof ret->invariant, "%s", signal_number == SIGALRM ? "stuck" : "crash");
    snprintf(ret->why, sizeof ret->why, "the process ended with signal %d", signal_number);
}
