/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/offers.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "scheduler/agents.h"
#include "scheduler/allocator.h"
#include "scheduler/sessions.h"

#define OFFERS_ROUND_MS 1000 /* a round at least this often, for filters that ran out */
#define OFFERS_GAP_MS   5    /* between rounds that events ask for */

struct filter {
    uint32_t framework, role, agent;
    uint64_t until_ms;          /* monotonic */
    struct resources resources; /* what was refused: more than that is offered at once */
};

struct offers {
    struct master *m;
    uv_timer_t round;
    bool wanted;
    uint64_t next_number, last_round_ms;
    int64_t first_ms;
    struct offer **items; /* in order of number; freed slots are closed up */
    size_t count, cap;
    struct filter *filters;
    size_t filter_count, filter_cap;
};

static void offers_round(struct offers *o);

static void offers_on_timer(uv_timer_t *timer) {
    struct offers *o = timer->data;
    o->wanted = false;
    if (o->m->current) offers_round(o);
}

int offers_new(struct master *m, struct offers **ret) {
    struct offers *o = calloc(1, sizeof *o);
    if (!o) return ERR_NOMEM;
    o->m = m;
    o->first_ms = -1;
    CHECK(uv_timer_init(m->loop, &o->round) == 0);
    o->round.data = o;
    uv_unref((uv_handle_t *)&o->round);
    *ret = o;
    return 0;
}

static void offer_free(struct offer *offer) {
    resources_done(&offer->resources);
    free(offer);
}

static void offers_clear(struct offers *o) {
    for (size_t i = 0; i < o->count; i++)
        offer_free(o->items[i]);
    for (size_t i = 0; i < o->filter_count; i++)
        resources_done(&o->filters[i].resources);
    o->count = o->filter_count = 0;
}

void offers_free(struct offers *o) {
    if (!o) return;
    offers_clear(o);
    free(o->items);
    free(o->filters);
    free(o);
}

void offers_reset(struct offers *o) {
    offers_clear(o);
    o->first_ms = -1; /* numbers go on: a late answer of the old term finds nothing */
    o->last_round_ms = 0;
}

void offers_wake(struct offers *o) {
    if (o->wanted || !o->m->current) return;
    uint64_t now = clock_mono_ms(), next = o->last_round_ms + OFFERS_GAP_MS;
    o->wanted = true;
    (void)uv_timer_start(&o->round, offers_on_timer, next > now ? next - now : 0, 0);
}

static void filters_drop_ended(struct offers *o, uint64_t now_ms) {
    size_t kept = 0;
    for (size_t i = 0; i < o->filter_count; i++) {
        if (o->filters[i].until_ms > now_ms)
            o->filters[kept++] = o->filters[i];
        else
            resources_done(&o->filters[i].resources);
    }
    o->filter_count = kept;
}

void offers_tick(struct offers *o, uint64_t now_ms) {
    if (now_ms < o->last_round_ms + OFFERS_ROUND_MS) return;
    filters_drop_ended(o, now_ms);
    offers_wake(o);
}

/* Index of the first offer with at least this number. */
static size_t offers_lower(const struct offers *o, uint64_t number) {
    size_t lo = 0, hi = o->count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (o->items[mid]->number < number)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct offer *offers_find(struct offers *o, const char *id, uint32_t framework) {
    char prefix[112];
    master_id(o->m, prefix, 100);
    size_t n = strlen(prefix);
    memcpy(prefix + n, "-O", 3);
    if (strncmp(id, prefix, n + 2) != 0) return NULL;
    char *end;
    unsigned long long number = strtoull(id + n + 2, &end, 10);
    if (*end || id[n + 2] < '0' || id[n + 2] > '9') return NULL;
    size_t lo = offers_lower(o, number);
    if (lo == o->count || o->items[lo]->number != number || o->items[lo]->framework != framework) return NULL;
    return o->items[lo]->accepting ? NULL : o->items[lo];
}

static size_t offers_place(const struct offers *o, const struct offer *offer) {
    size_t lo = offers_lower(o, offer->number);
    CHECK(lo < o->count && o->items[lo] == offer);
    return lo;
}

static void offers_take_out(struct offers *o, size_t at) {
    memmove(&o->items[at], &o->items[at + 1], (o->count - at - 1) * sizeof *o->items);
    o->count--;
}

void offers_refuse(struct offers *o, uint32_t framework, uint32_t role, uint32_t agent, const struct resources *refused,
                   uint64_t refuse_ms) {
    if (refuse_ms == 0 || resources_empty(refused)) return;
    size_t own = 0, oldest = SIZE_MAX;
    for (size_t i = 0; i < o->filter_count; i++) {
        if (o->filters[i].framework != framework) continue;
        if (oldest == SIZE_MAX) oldest = i;
        own++;
    }
    if (own >= OFFERS_FILTERS_MAX) {
        resources_done(&o->filters[oldest].resources);
        memmove(&o->filters[oldest], &o->filters[oldest + 1], (o->filter_count - oldest - 1) * sizeof *o->filters);
        o->filter_count--;
    }
    if (o->filter_count == o->filter_cap) {
        size_t cap = o->filter_cap ? o->filter_cap * 2 : 64;
        struct filter *grown = realloc(o->filters, cap * sizeof *grown);
        if (!grown) return; /* a filter lost costs one more offer */
        o->filters = grown;
        o->filter_cap = cap;
    }
    struct filter f = {.framework = framework, .role = role, .agent = agent, .until_ms = clock_mono_ms() + refuse_ms};
    if (resources_copy(&f.resources, refused)) return;
    o->filters[o->filter_count++] = f;
}

void offers_return(struct offers *o, struct offer *offer, uint64_t refuse_ms) {
    offers_take_out(o, offers_place(o, offer));
    offers_refuse(o, offer->framework, offer->role, offer->agent, &offer->resources, refuse_ms);
    offer_free(offer);
    offers_wake(o);
}

void offers_accept(struct offers *o, struct offer *offer) {
    (void)offers_place(o, offer);
    CHECK(!offer->accepting);
    offer->accepting = true;
}

void offers_settle(struct offers *o, uint64_t number) {
    size_t at = offers_lower(o, number);
    if (at < o->count && o->items[at]->number == number) offers_return(o, o->items[at], 0);
}

void offers_drop_framework(struct offers *o, uint32_t framework) {
    for (size_t i = o->count; i-- > 0;) {
        struct offer *offer = o->items[i];
        if (offer->framework != framework || offer->accepting) continue;
        offers_take_out(o, i);
        offer_free(offer);
    }
    size_t kept = 0;
    for (size_t i = 0; i < o->filter_count; i++) {
        if (o->filters[i].framework == framework)
            resources_done(&o->filters[i].resources);
        else
            o->filters[kept++] = o->filters[i];
    }
    o->filter_count = kept;
    offers_wake(o);
}

void offers_revive(struct offers *o, uint32_t framework, uint32_t roles) {
    size_t kept = 0;
    for (size_t i = 0; i < o->filter_count; i++) {
        if (o->filters[i].framework == framework && roles >> o->filters[i].role & 1)
            resources_done(&o->filters[i].resources);
        else
            o->filters[kept++] = o->filters[i];
    }
    o->filter_count = kept;
    offers_wake(o);
}

void offers_drop_agent(struct offers *o, uint32_t agent) {
    for (size_t i = o->count; i-- > 0;) {
        struct offer *offer = o->items[i];
        if (offer->agent != agent || offer->accepting) continue;
        offers_take_out(o, i);
        sessions_rescind(o->m->sessions, offer);
        offer_free(offer);
    }
}

uint64_t offers_outstanding(const struct offers *o) {
    return o->count;
}

int64_t offers_first_ms(const struct offers *o) {
    return o->first_ms;
}

int offers_of_agent(const struct offers *o, uint32_t agent, struct resources *ret) {
    struct resources sum = {0};
    for (size_t i = 0; i < o->count; i++)
        if (o->items[i]->agent == agent && resources_add(&sum, &o->items[i]->resources)) {
            resources_done(&sum);
            return ERR_LIMIT;
        }
    *ret = sum;
    return 0;
}

/* Only the scalars: ports of different agents are different things. */
static void add_scalars(struct resources *sum, const struct resources *part) {
    sum->cpus += part->cpus;
    sum->mem += part->mem;
    sum->disk += part->disk;
    sum->gpus += part->gpus;
}

int offers_of_framework(const struct offers *o, uint32_t framework, struct resources *ret) {
    struct resources sum = {0};
    for (size_t i = 0; i < o->count; i++)
        if (o->items[i]->framework == framework) add_scalars(&sum, &o->items[i]->resources);
    *ret = sum;
    return 0;
}

/* ---- one round of allocation ---- */

struct round {
    struct allocator_agent *agents;
    size_t agent_count;
    struct allocator_framework *frameworks;
    size_t framework_count;
    struct allocation *made;
    size_t made_count;
    struct resources total;
    struct offers *offers;
};

static bool round_filtered(void *ctx, uint32_t framework, uint32_t role, uint32_t agent,
                           const struct resources *free_now) {
    const struct round *r = ctx;
    uint64_t now = clock_mono_ms();
    for (size_t i = 0; i < r->offers->filter_count; i++) {
        const struct filter *f = &r->offers->filters[i];
        if (f->framework == framework && f->role == role && f->agent == agent && f->until_ms > now &&
            resources_contains(&f->resources, free_now))
            return true;
    }
    return false;
}

/* What is neither used nor offered on an agent; false when there is nothing or the sums fail. */
static bool agent_free(const struct offers *o, const struct agent *agent, struct resources *ret) {
    struct resources free_now = {0}, offered = {0};
    bool ok = resources_copy(&free_now, &agent->total) == 0 && resources_sub(&free_now, &agent->used) == 0 &&
              offers_of_agent(o, agent->number, &offered) == 0 && resources_sub(&free_now, &offered) == 0;
    resources_done(&offered);
    if (!ok || resources_empty(&free_now)) {
        resources_done(&free_now);
        return false;
    }
    *ret = free_now;
    return true;
}

static bool round_gather(struct round *r) {
    struct master *m = r->offers->m;
    struct state_counts counts;
    state_counts(m->state, &counts);
    size_t agents = counts.agents_active, frameworks = counts.frameworks_connected;
    if (agents == 0 || frameworks == 0) return false;
    r->agents = calloc(agents, sizeof *r->agents);
    r->frameworks = calloc(frameworks, sizeof *r->frameworks);
    r->made = calloc(agents, sizeof *r->made);
    if (!r->agents || !r->frameworks || !r->made) return false;
    for (const struct framework *f = NULL; (f = state_framework_next(m->state, f ? f->number : 0));) {
        if (f->status != FRAMEWORK_CONNECTED || !sessions_find(m->sessions, f->number) ||
            r->framework_count == frameworks)
            continue;
        struct allocator_framework *af = &r->frameworks[r->framework_count++];
        uint32_t all = f->role_count >= 32 ? UINT32_MAX : (1u << f->role_count) - 1;
        *af = (struct allocator_framework){
            .number = f->number, .gpus_wanted = f->capabilities & CAP_GPU_RESOURCES, .roles = all & ~f->suppressed};
        (void)offers_of_framework(r->offers, f->number, &af->held);
        add_scalars(&af->held, &f->used);
    }
    for (const struct agent *a = NULL; (a = state_agent_next(m->state, a ? a->number : 0));) {
        if (a->status != AGENT_ACTIVE || r->agent_count == agents) continue;
        add_scalars(&r->total, &a->total);
        if (!agents_here(m->agents, a->number)) continue;
        struct allocator_agent *aa = &r->agents[r->agent_count];
        aa->number = a->number;
        if (agent_free(r->offers, a, &aa->free)) r->agent_count++;
    }
    return r->agent_count > 0 && r->framework_count > 0;
}

static struct offer *offer_make(struct offers *o, const struct allocation *a, const struct resources *free_now) {
    if (o->count >= OFFERS_MAX) return NULL;
    if (o->count == o->cap) {
        size_t cap = o->cap ? o->cap * 2 : 64;
        struct offer **grown = realloc(o->items, cap * sizeof *grown);
        if (!grown) return NULL;
        o->items = grown;
        o->cap = cap;
    }
    struct offer *offer = calloc(1, sizeof *offer);
    if (!offer || resources_copy(&offer->resources, free_now)) {
        free(offer);
        return NULL;
    }
    offer->number = o->next_number++;
    offer->framework = a->framework;
    offer->role = a->role;
    offer->agent = a->agent;
    o->items[o->count++] = offer;
    return offer;
}

static const struct resources *round_free_of(const struct round *r, uint32_t agent) {
    for (size_t i = 0; i < r->agent_count; i++)
        if (r->agents[i].number == agent) return &r->agents[i].free;
    return NULL;
}

/* One OFFERS event a framework, with all that it got in this round. */
static void round_send(struct round *r, size_t first) {
    struct offers *o = r->offers;
    struct offer **batch = calloc(o->count - first, sizeof *batch);
    if (!batch) return;
    for (size_t f = 0; f < r->framework_count; f++) {
        size_t n = 0;
        for (size_t i = first; i < o->count; i++)
            if (o->items[i]->framework == r->frameworks[f].number) batch[n++] = o->items[i];
        if (n) sessions_offers(o->m->sessions, r->frameworks[f].number, batch, n);
    }
    free(batch);
}

static void offers_round(struct offers *o) {
    struct round r = {.offers = o};
    uint64_t now = clock_mono_ms();
    o->last_round_ms = now;
    if (round_gather(&r)) {
        size_t first = o->count;
        allocator_run(r.agents, r.agent_count, r.frameworks, r.framework_count, &r.total, round_filtered, &r, r.made,
                      r.agent_count, &r.made_count);
        for (size_t i = 0; i < r.made_count; i++)
            (void)offer_make(o, &r.made[i], round_free_of(&r, r.made[i].agent));
        if (o->count > first) {
            if (o->first_ms < 0) {
                o->first_ms = (int64_t)(now - o->m->mono_base_ms);
                log_event(LOG_INFO, "first_offer", "term=%" PRIu64 " ms=%" PRId64, o->m->term, o->first_ms);
            }
            round_send(&r, first);
        }
    }
    for (size_t i = 0; i < r.agent_count; i++)
        resources_done(&r.agents[i].free);
    free(r.agents);
    free(r.frameworks);
    free(r.made);
}
