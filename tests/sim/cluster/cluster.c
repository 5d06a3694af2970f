/* SPDX-License-Identifier: Apache-2.0
 * Clock, event queue, trace. */
#include "cluster.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

const char *const strike_names[STRIKE_COUNT] = {
#define STRIKE_NAME(name, text, modes) text,
    STRIKES(STRIKE_NAME)
#undef STRIKE_NAME
};
const unsigned strike_modes[STRIKE_COUNT] = {
#define STRIKE_MODES(name, text, modes) modes,
    STRIKES(STRIKE_MODES)
#undef STRIKE_MODES
};

uint64_t cluster_ms(const struct cluster *c) {
    return c->now_us / MS;
}

bool cluster_chance(struct cluster *c, unsigned permille) {
    return permille > 0 && rng_below(&c->rng, 1000) < permille;
}

void cluster_note(struct cluster *c, uint64_t a, uint64_t b, uint64_t d, uint64_t e) {
    const uint64_t words[] = {c->now_us, a, b, d, e};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        c->trace ^= words[i];
        c->trace *= 0x9E3779B97F4A7C15u;
        c->trace ^= c->trace >> 29;
    }
}

void cluster_say(struct cluster *c, const struct host *h, const char *fmt, ...) {
    if (c->cfg.trace == NULL) return;
    va_list ap;
    va_start(ap, fmt);
    fprintf(c->cfg.trace, "%11.3f ms  ", (double)c->now_us / 1000.0);
    if (h != NULL)
        fprintf(c->cfg.trace, "n%" PRIu64 "  ", h->id);
    else
        fputs("--  ", c->cfg.trace);
    vfprintf(c->cfg.trace, fmt, ap);
    fputc('\n', c->cfg.trace);
    va_end(ap);
}

void cluster_red(struct cluster *c, const char *invariant, const char *fmt, ...) {
    if (c->red) return;
    c->red = true;
    c->red_step = c->steps;
    snprintf(c->invariant, sizeof c->invariant, "%s", invariant);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(c->why, sizeof c->why, fmt, ap);
    va_end(ap);
    cluster_say(c, NULL, "RED %s: %s", c->invariant, c->why);
}

/* ---- steps ---- */

void cluster_at(struct cluster *c, uint64_t delay_us, enum event_kind kind, unsigned host, unsigned life, void *data) {
    event_push(&c->events, (struct event){c->now_us + delay_us, c->seq++, (int)kind, host, life, data});
}

static void host_event(struct host *h, const struct event *ev) {
    struct cluster *c = h->c;
    switch (ev->kind) {
    case EVENT_TIMER:
        shim_timer(h, ev->data);
        break;
    case EVENT_TURN:
        h->turn_planned = false;
        break;
    case EVENT_DISK:
        medium_event(h, ev->data);
        break;
    case EVENT_FILE:
        wire_file(h, ev->data);
        break;
    case EVENT_DIAL:
        wire_dialled(h, ev->data);
        break;
    case EVENT_DEAD:
        wire_dead(h, ev->data);
        break;
    default:
        CHECK(ev->kind == EVENT_DELIVER);
        wire_deliver(c, (unsigned)h->id - 1, ev->data);
        break;
    }
    if (h->up) shim_turn(h);
    if (h->up) judge_host(h);
}

static void dispatch(struct cluster *c, struct event *ev) {
    struct host *h = &c->hosts[ev->host];
    if (ev->kind == EVENT_START) {
        if (!h->up && !h->retired && ev->life == h->life) host_start(h);
        return;
    }
    if (ev->kind != EVENT_DELIVER && (!h->up || ev->life != h->life)) {
        if (ev->kind == EVENT_FILE || ev->kind == EVENT_DEAD || ev->kind == EVENT_TIMER) free(ev->data);
        return;
    }
    if (h->up && h->paused_until_us > c->now_us) { /* a stopped process: everything waits, in its order */
        ev->at = h->paused_until_us;
        ev->seq = c->seq++;
        event_push(&c->events, *ev);
        return;
    }
    if (ev->kind == EVENT_DIE) {
        host_die(h);
        return;
    }
    struct host *before_us = shim_enter(h);
    host_event(h, ev);
    shim_enter(before_us);
}

static bool step(struct cluster *c, uint64_t until_us) {
    if (c->events.count == 0 || c->events.heap[0].at > until_us) {
        c->now_us = until_us;
        return false;
    }
    struct event ev = event_pop(&c->events);
    c->now_us = ev.at;
    c->steps++;
    dispatch(c, &ev);
    return true;
}

void cluster_run_us(struct cluster *c, uint64_t us) {
    uint64_t until = c->now_us + us;
    while (!c->red && step(c, until)) {
    }
}

void cluster_run(struct cluster *c, uint64_t ms) {
    cluster_run_us(c, ms * MS);
}

bool cluster_until(struct cluster *c, bool (*done)(struct cluster *c), uint64_t ms) {
    uint64_t until = c->now_us + ms * MS;
    while (!c->red) {
        if (done(c)) return true;
        if (!step(c, until)) return done(c);
    }
    return false;
}

/* ---- life ---- */

void cluster_init(struct cluster *c, const struct cluster_config *cfg) {
    CHECK(cfg->voters >= 1 && cfg->voters <= REPLICA_MEMBERS_MAX);
    memset(c, 0, sizeof *c);
    c->cfg = *cfg;
    uint64_t seed = cfg->seed * 1000003u + cfg->voters * 101u + (unsigned)cfg->mode;
    rng_seed(&c->rng, seed);
    rng_seed(&c->nemesis, seed ^ 0x6e656d65736973u);
    c->trace = 0xcbf29ce484222325u;
    c->delay_min_us = 100;
    c->delay_max_us = 1000;
    c->queue_max = PEERS_QUEUE_BYTES;
    c->segment_bytes = 64u << 10;
    c->payload_max = 200;
    c->burst_max = 3;
    c->cluster_ms = 1000;
    for (unsigned i = 0; i < cfg->voters; i++)
        host_new(c, false);
}

void cluster_done(struct cluster *c) {
    for (unsigned i = 0; i < c->host_count; i++)
        host_done(&c->hosts[i]);
    judge_done(c);
    free(c->events.heap);
}
