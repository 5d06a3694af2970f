/* SPDX-License-Identifier: Apache-2.0
 * The end of a schedule: everything is well again, and then it must go on. And a run in a process of its own. */
#include "sim.h"

#include "../lib/child_run.h"

#define LIVENESS_MS (60u * SIM_ELECTION_MS)

static int leader_of(const struct sim *sim) { /* of the highest term, -1 none */
    int best = -1;
    for (unsigned i = 0; i < sim->cfg.voters; i++)
        if (node_leads(&sim->nodes[i]) &&
            (best < 0 || sim->nodes[i].raft.current_term > sim->nodes[best].raft.current_term))
            best = (int)i;
    return best;
}

static void restart_all(struct sim *sim) {
    for (unsigned i = 0; i < sim->cfg.voters && !sim->result.red; i++)
        if (!sim->nodes[i].up) node_start(&sim->nodes[i]);
}

static bool everywhere(struct sim *sim) {
    for (unsigned i = 0; i < sim->cfg.voters; i++)
        if (!sim->nodes[i].up || sim->nodes[i].applied < sim->acked_max) return false;
    return true;
}

void nemesis_heal_and_wait(struct sim *sim) {
    net_heal(sim);
    for (unsigned i = 0; i < sim->cfg.voters; i++)
        sim->nodes[i].slow_us = 0;
    restart_all(sim);
    uint64_t acked = sim->acked, end = sim_ms(sim) + LIVENESS_MS;
    while (!sim->result.red && sim->acked == acked && sim_ms(sim) < end) {
        int leader = leader_of(sim);
        if (leader >= 0 && sim->nodes[leader].inflight == 0) node_propose(&sim->nodes[leader], 16);
        sim_run(sim, 10);
    }
    if (!sim->result.red && sim->acked == acked)
        sim_red(sim, "liveness", "no entry was committed within 60 election timeouts");
    uint64_t now = sim_ms(sim);
    if (!sim->result.red && !sim_until(sim, everywhere, end > now ? end - now : 1) && !sim->result.red)
        sim_red(sim, "liveness", "entry %llu is not applied everywhere within 60 election timeouts",
                (unsigned long long)sim->acked_max);
}

struct job {
    const struct sim_config *cfg;
    void (*run)(struct sim *sim);
};

static void here(const void *ctx, void *ret) {
    static struct sim sim; /* too large for a stack */
    const struct job *job = ctx;
    sim_init(&sim, job->cfg);
    job->run(&sim);
    *(struct sim_result *)ret = sim.result;
    sim_done(&sim);
}

void sim_fork(const struct sim_config *cfg, void (*run)(struct sim *sim), struct sim_result *ret) {
    struct job job = {cfg, run};
    const char *why;
    int signal;
    if (child_run(here, &job, ret, sizeof *ret, &why, &signal)) return;
    *ret = (struct sim_result){.red = true};
    snprintf(ret->invariant, sizeof ret->invariant, "%s", why);
    snprintf(ret->why, sizeof ret->why, "the process ended with signal %d", signal);
}
