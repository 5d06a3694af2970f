/* SPDX-License-Identifier: Apache-2.0
 * What the replica and the layers under it take for the event loop, the clock, the kernel's randomness, the log, and
 * the end of the process. All of it belongs to the host whose code runs. */
#include "cluster.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mutant.h"

#define TURN_MIN_US 5u /* of a loop that has work left */
#define TURN_MAX_US 60u

struct host *shim_host;

struct host *shim_enter(struct host *h) {
    struct host *before = shim_host;
    shim_host = h;
    if (h != NULL) h->busy_us = 0;
    return before;
}

static struct host *host_of(const uv_loop_t *loop) {
    return (struct host *)((uint8_t *)loop - offsetof(struct host, loop));
}

/* ---- clocks ---- */

uint64_t shim_now_us(struct host *h) {
    uint64_t passed = h->c->now_us - h->clock_at_us;
    uint64_t own = h->clock_us + passed / 1000000u * h->rate_ppm + passed % 1000000u * h->rate_ppm / 1000000u;
    own += h->busy_us;
    if (own > h->last_us) h->last_us = own;
    return h->last_us;
}

void shim_rate(struct host *h, uint64_t ppm) {
    h->clock_us = shim_now_us(h);
    h->clock_at_us = h->c->now_us;
    h->rate_ppm = ppm;
}

uint64_t clock_mono_us(void) {
    struct host *h = shim_host;
    CHECK(h != NULL);
    if (h->c->call_us > 0) h->busy_us += rng_below(&h->c->rng, h->c->call_us + 1);
    return shim_now_us(h);
}

uint64_t clock_mono_ms(void) {
    CHECK(shim_host != NULL);
    return shim_now_us(shim_host) / MS;
}

uint64_t clock_wall_ms(void) {
    return 1700000000000u + (shim_host != NULL ? shim_now_us(shim_host) / MS : 0);
}

uint64_t clock_cpu_us(void) {
    return clock_mono_us();
}

uint64_t mutant_test_clock(void) {
    return clock_mono_ms();
}

/* ---- randomness ---- */

void __wrap_rng_seed_system(struct rng *r);
void __wrap_rng_seed_system(struct rng *r) {
    CHECK(shim_host != NULL);
    rng_seed(r, rng_next(&shim_host->c->rng) | 1);
}

/* ---- the log ---- */

void log_setup(enum log_level level, const char *who) {
    (void)level;
    (void)who;
}

void log_event(enum log_level level, const char *event, const char *fmt, ...) {
    struct host *h = shim_host;
    char text[256];
    va_list ap;
    if (h == NULL) return;
    bool breach = strcmp(event, "guard_breach") == 0;
    if (h->c->cfg.trace == NULL && !breach) return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    (void)level;
    cluster_say(h->c, h, "%s %s", event, text);
    if (breach) cluster_red(h->c, "guard-breach", "node %llu: %s", (unsigned long long)h->id, text);
}

/* ---- the end of a process ---- */

void check_failed(const char *expr, const char *file, int line, const char *function) {
    const char *base = strrchr(file, '/');
    if (shim_host == NULL || !shim_host->c->inside) {
        fprintf(stderr, "CHECK failed: %s at %s:%d in %s\n", expr, file, line, function);
        abort();
    }
    cluster_red(shim_host->c, "check", "node %llu: %s at %s:%d", (unsigned long long)shim_host->id, expr,
                base == NULL ? file : base + 1, line);
    longjmp(shim_host->c->escape, 1);
}

void __real_abort(void) __attribute__((noreturn));
void __wrap_abort(void) __attribute__((noreturn));
void __wrap_abort(void) {
    if (shim_host == NULL || !shim_host->c->inside) __real_abort();
    cluster_red(shim_host->c, "abort", "node %llu ended by abort()", (unsigned long long)shim_host->id);
    longjmp(shim_host->c->escape, 1);
}

/* ---- the loop ---- */

static void turn_plan(struct host *h) {
    if (h->turn_planned) return;
    h->turn_planned = true;
    cluster_at(h->c, rng_between(&h->c->rng, TURN_MIN_US, TURN_MAX_US), EVENT_TURN, (unsigned)h->id - 1, h->life, NULL);
}

void shim_turn(struct host *h) {
    if (h->check != NULL && h->check_cb != NULL) h->check_cb(h->check);
    if (h->up && h->idle != NULL) turn_plan(h);
}

int uv_check_init(uv_loop_t *loop, uv_check_t *check) {
    check->loop = loop;
    return 0;
}

int uv_check_start(uv_check_t *check, uv_check_cb cb) {
    struct host *h = host_of(check->loop);
    h->check = check;
    h->check_cb = cb;
    return 0;
}

int uv_check_stop(uv_check_t *check) {
    host_of(check->loop)->check = NULL;
    return 0;
}

int uv_idle_init(uv_loop_t *loop, uv_idle_t *idle) {
    idle->loop = loop;
    return 0;
}

int uv_idle_start(uv_idle_t *idle, uv_idle_cb cb) {
    struct host *h = host_of(idle->loop);
    (void)cb;
    h->idle = idle;
    turn_plan(h); /* it may be asked for outside of an event, by a client */
    return 0;
}

int uv_idle_stop(uv_idle_t *idle) {
    host_of(idle->loop)->idle = NULL;
    return 0;
}

struct timer_event {
    unsigned slot, generation;
};

static struct timer *timer_of(struct host *h, const uv_timer_t *handle) {
    for (unsigned i = 0; i < HANDLES_MAX; i++)
        if (h->timers[i].handle == handle) return &h->timers[i];
    CHECK(handle == NULL);
    return NULL;
}

/* Timers run by the host's own clock. */
static void timer_plan(struct host *h, struct timer *t, uint64_t own_us) {
    struct timer_event *ev = malloc(sizeof *ev);
    CHECK(ev != NULL);
    *ev = (struct timer_event){(unsigned)(t - h->timers), t->generation};
    uint64_t us = own_us * 1000000u / h->rate_ppm;
    cluster_at(h->c, us, EVENT_TIMER, (unsigned)h->id - 1, h->life, ev);
}

int uv_timer_init(uv_loop_t *loop, uv_timer_t *handle) {
    struct timer *t = timer_of(host_of(loop), NULL);
    CHECK(t != NULL);
    handle->loop = loop;
    t->handle = handle;
    return 0;
}

int uv_timer_start(uv_timer_t *handle, uv_timer_cb cb, uint64_t timeout, uint64_t repeat) {
    struct host *h = host_of(handle->loop);
    struct timer *t = timer_of(h, handle);
    t->cb = cb;
    t->repeat_us = repeat * MS;
    t->generation++;
    t->active = true;
    /* Not all machines tick at the same moment. */
    timer_plan(h, t, timeout * MS + rng_below(&h->c->rng, MS));
    return 0;
}

int uv_timer_stop(uv_timer_t *handle) {
    struct timer *t = timer_of(host_of(handle->loop), handle);
    t->active = false;
    t->generation++;
    return 0;
}

int uv_timer_again(uv_timer_t *handle) {
    struct host *h = host_of(handle->loop);
    struct timer *t = timer_of(h, handle);
    t->generation++;
    t->active = true;
    timer_plan(h, t, t->repeat_us);
    return 0;
}

void uv_close(uv_handle_t *handle, uv_close_cb cb) {
    (void)handle;
    (void)cb; /* processes end by being killed here */
}

void uv_update_time(uv_loop_t *loop) {
    (void)loop;
}

uint64_t uv_now(const uv_loop_t *loop) {
    return shim_now_us(host_of(loop)) / MS;
}

void shim_timer(struct host *h, void *data) {
    struct timer_event ev = *(struct timer_event *)data;
    struct timer *t = &h->timers[ev.slot];
    free(data);
    if (!t->active || t->generation != ev.generation) return;
    if (t->repeat_us > 0)
        timer_plan(h, t, t->repeat_us);
    else
        t->active = false;
    t->cb(t->handle);
}

void shim_forget(struct host *h) {
    h->check = NULL;
    h->check_cb = NULL;
    h->idle = NULL;
    h->turn_planned = false;
    memset(h->timers, 0, sizeof h->timers);
}
