/* SPDX-License-Identifier: Apache-2.0
 * Clock, event queue, trace. */
#include "sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

uint64_t sim_ms(const struct sim *sim) {
    return sim->now_us / SIM_MS;
}

bool sim_chance(struct sim *sim, unsigned permille) {
    return permille > 0 && rng_below(&sim->rng, 1000) < permille;
}

void sim_trace(struct sim *sim, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    const uint64_t words[] = {sim->now_us, a, b, c, d};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        sim->trace ^= words[i];
        sim->trace *= 0x9E3779B97F4A7C15u;
        sim->trace ^= sim->trace >> 29;
    }
    if (sim->cfg.trace == NULL) return;
    fprintf(sim->cfg.trace, "%10.3f %c%c n%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
            (double)sim->now_us / 1000.0, (int)(a >> 8 & 0xff), (int)(a & 0xff), a >> 16, b, c, d);
}

void sim_red(struct sim *sim, const char *invariant, const char *fmt, ...) {
    if (sim->red) return;
    sim->red = true;
    sim->red_step = sim->steps;
    snprintf(sim->invariant, sizeof sim->invariant, "%s", invariant);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(sim->why, sizeof sim->why, fmt, ap);
    va_end(ap);
    if (sim->cfg.trace != NULL) fprintf(sim->cfg.trace, "RED %s: %s\n", sim->invariant, sim->why);
}

static bool before(const struct sim_event *a, const struct sim_event *b) {
    return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

void sim_at(struct sim *sim, uint64_t delay_us, int kind, unsigned node, unsigned life, void *data) {
    if (sim->heap_count == sim->heap_cap) {
        sim->heap_cap = sim->heap_cap == 0 ? 256 : 2 * sim->heap_cap;
        sim->heap = realloc(sim->heap, sim->heap_cap * sizeof *sim->heap);
        CHECK(sim->heap != NULL);
    }
    struct sim_event ev = {sim->now_us + delay_us, sim->seq++, kind, node, life, data};
    size_t i = sim->heap_count++;
    for (; i > 0 && before(&ev, &sim->heap[(i - 1) / 2]); i = (i - 1) / 2)
        sim->heap[i] = sim->heap[(i - 1) / 2];
    sim->heap[i] = ev;
}

static struct sim_event pop(struct sim *sim) {
    struct sim_event top = sim->heap[0], last = sim->heap[--sim->heap_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= sim->heap_count) break;
        if (child + 1 < sim->heap_count && before(&sim->heap[child + 1], &sim->heap[child])) child++;
        if (!before(&sim->heap[child], &last)) break;
        sim->heap[i] = sim->heap[child];
        i = child;
    }
    sim->heap[i] = last;
    return top;
}

static void dispatch(struct sim *sim, struct sim_event *ev) {
    struct sim_node *node = &sim->nodes[ev->node];
    bool valid = node->up && ev->life == node->life;
    node_enter(node);
    switch (ev->kind) {
    case EV_TICK:
        if (valid) node_tick(node);
        break;
    case EV_DELIVER:
        net_deliver(sim, ev->node, ev->data);
        break;
    case EV_DISK:
        if (valid) node_disk(node, ev->data);
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
    if (sim->heap_count == 0 || sim->heap[0].at > until_us) {
        sim->now_us = until_us;
        return false;
    }
    struct sim_event ev = pop(sim);
    sim->now_us = ev.at;
    sim->steps++;
    dispatch(sim, &ev);
    return true;
}

void sim_run(struct sim *sim, uint64_t ms) {
    uint64_t until = sim->now_us + ms * SIM_MS;
    while (!sim->red && step(sim, until)) {
    }
}

bool sim_until(struct sim *sim, bool (*done)(struct sim *sim), uint64_t ms) {
    uint64_t until = sim->now_us + ms * SIM_MS;
    while (!sim->red) {
        if (done(sim)) return true;
        if (!step(sim, until)) return done(sim);
    }
    return false;
}

void sim_init(struct sim *sim, const struct sim_config *cfg) {
    CHECK(cfg->voters >= 1 && cfg->voters <= SIM_NODES_MAX);
    memset(sim, 0, sizeof *sim);
    sim->cfg = *cfg;
    rng_seed(&sim->rng, cfg->seed * 1000003u + cfg->voters * 101u);
    sim->trace = 0xcbf29ce484222325u;
    sim->delay_min_us = 100;
    sim->delay_max_us = 1000;
    queue_init(&sim->held);
    sim_heap_install();
    for (unsigned i = 0; i < cfg->voters; i++)
        node_init(sim, i);
}

void sim_done(struct sim *sim) {
    for (size_t i = 0; i < sim->heap_count; i++) {
        if (sim->heap[i].kind == EV_DELIVER) net_free(sim->heap[i].data);
        if (sim->heap[i].kind == EV_SENT) free(sim->heap[i].data);
    }
    net_drop_held(sim);
    for (unsigned i = 0; i < sim->cfg.voters; i++)
        node_done(&sim->nodes[i]);
    free(sim->heap);
    free(sim->applied);
    free(sim->committed);
    free(sim->leaders);
}
