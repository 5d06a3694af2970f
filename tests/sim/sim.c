/* SPDX-License-Identifier: Apache-2.0
 * Clock, event queue, trace. */
#include "sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mutant.h"

uint64_t sim_ms(const struct sim *sim) {
    return sim->now_us / SIM_MS;
}

void sim_trace(struct sim *sim, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    if (sim->cfg.trace)
        fprintf(stderr, "%10.3f %c%c n%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", (double)sim->now_us / 1000.0,
                (int)(a >> 8 & 0xff), (int)(a & 0xff), a >> 16, b, c, d);
}

void sim_red(struct sim *sim, const char *invariant, const char *fmt, ...) {
    struct sim_result *r = &sim->result;
    if (r->red) return;
    r->red = true;
    snprintf(r->invariant, sizeof r->invariant, "%s", invariant);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->why, sizeof r->why, fmt, ap);
    va_end(ap);
    if (sim->cfg.trace) fprintf(stderr, "RED %s: %s\n", r->invariant, r->why);
}

void sim_at(struct sim *sim, uint64_t delay_us, int kind, const struct sim_node *node, void *data) {
    event_push(&sim->events, (struct event){.at = sim->now_us + delay_us,
                                            .seq = sim->seq++,
                                            .kind = kind,
                                            .host = (unsigned)node->id - 1,
                                            .life = node->life,
                                            .data = data});
}

static void dispatch(struct sim *sim, struct event *ev) {
    struct sim_node *node = &sim->nodes[ev->host];
    bool valid = node->up && ev->life == node->life;
    node_enter(node);
    switch (ev->kind) {
    case EV_TICK:
        if (valid) node_tick(node);
        break;
    case EV_DELIVER:
        net_deliver(sim, ev->host, ev->data);
        break;
    case EV_DISK:
        if (valid) log_step(node->disk, ev->data);
        break;
    case EV_SENT:
        if (valid) ((struct sim_sent *)ev->data)->cb(((struct sim_sent *)ev->data)->req, 0);
        free(ev->data);
        break;
    case EV_RESTART:
        if (valid) node_restart(node);
        break;
    }
    if (node->up) check_node(node);
    node_enter(NULL);
}

static bool step(struct sim *sim, uint64_t until_us) {
    if (sim->events.count == 0 || sim->events.heap[0].at > until_us) {
        sim->now_us = until_us;
        return false;
    }
    struct event ev = event_pop(&sim->events);
    sim->now_us = ev.at;
    dispatch(sim, &ev);
    return true;
}

void sim_run(struct sim *sim, uint64_t ms) {
    uint64_t until = sim->now_us + ms * SIM_MS;
    while (!sim->result.red && step(sim, until)) {
    }
}

bool sim_until(struct sim *sim, bool (*done)(struct sim *sim), uint64_t ms) {
    uint64_t until = sim->now_us + ms * SIM_MS;
    while (!sim->result.red) {
        if (done(sim)) return true;
        if (!step(sim, until)) return done(sim);
    }
    return false;
}

void sim_init(struct sim *sim, const struct sim_config *cfg) {
    CHECK(cfg->voters >= 1 && cfg->voters <= SIM_NODES_MAX);
    memset(sim, 0, sizeof *sim);
    sim->cfg = *cfg;
    mutant_test_bits = cfg->mutants;
    rng_seed(&sim->rng, cfg->seed * 1000003u + cfg->voters * 101u);
    queue_init(&sim->held);
    sim_heap_install();
    for (unsigned i = 0; i < cfg->voters; i++)
        node_init(sim, i);
}

void sim_done(struct sim *sim) {
    for (size_t i = 0; i < sim->events.count; i++) {
        if (sim->events.heap[i].kind == EV_DELIVER) net_free(sim->events.heap[i].data);
        if (sim->events.heap[i].kind == EV_SENT) free(sim->events.heap[i].data);
    }
    net_drop_held(sim);
    for (unsigned i = 0; i < sim->cfg.voters; i++)
        node_done(&sim->nodes[i]);
    free(sim->events.heap);
    free(sim->applied);
    free(sim->committed);
    free(sim->leaders);
}
