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

#define OFFERS_ROUND_MS  1000 /* a round at least this often, for filters that ran out */
#define OFFERS_GAP_MS    5    /* between rounds that events ask for */
#define OFFERS_BATCH     512  /* in one OFFERS event */
#define OFFERS_UNTOLD_MS 60000

struct filter {
    uint32_t framework, role;
    uint64_t until_ms;          /* monotonic */
    struct resources resources; /* what was refused: more than that is offered at once */
};

/* What is kept for one agent, so that a round is linear in agents and offers. */
struct book {
    struct resources offered; /* the sum of its outstanding offers */
    uint32_t offer_count;
    bool unsure;            /* the sum has more port ranges than can be kept: nothing is offered until it is 0 again */
    struct filter *filters; /* at most one for each framework and role */
    uint32_t filter_count, filter_cap;
};

struct offers {
    struct master *m;
    uv_timer_t round;
    bool wanted;
    uint64_t next_number, last_round_ms;
    uint64_t round_ms; /* how long the last round took */
    int64_t first_ms;
    struct offer **items; /* in order of number; freed slots are closed up */
    size_t count, cap;
    struct book *books; /* by agent number */
    size_t book_count;
    size_t filter_total;
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

/* The agent's book; NULL without memory. */
static struct book *book_of(struct offers *o, uint32_t agent) {
    if (agent >= o->book_count) {
        size_t count = o->book_count ? o->book_count : 64;
        while (count <= agent)
            count *= 2;
        struct book *grown = realloc(o->books, count * sizeof *grown);
        if (!grown) return NULL;
        memset(grown + o->book_count, 0, (count - o->book_count) * sizeof *grown);
        o->books = grown;
        o->book_count = count;
    }
    return &o->books[agent];
}

/* The offer is out of the list: its agent's sum shrinks. */
static void offer_free(struct offers *o, struct offer *offer) {
    struct book *book = &o->books[offer->agent];
    book->unsure |= resources_sub(&book->offered, &offer->resources) != 0;
    if (--book->offer_count == 0) {
        resources_done(&book->offered);
        book->unsure = false;
    }
    resources_done(&offer->resources);
    free(offer);
}

static void filter_drop(struct offers *o, struct book *book, uint32_t at) {
    resources_done(&book->filters[at].resources);
    book->filters[at] = book->filters[--book->filter_count];
    o->filter_total--;
}

static void offers_clear(struct offers *o) {
    for (size_t i = 0; i < o->count; i++) {
        resources_done(&o->items[i]->resources);
        free(o->items[i]);
    }
    for (size_t i = 0; i < o->book_count; i++) {
        struct book *book = &o->books[i];
        while (book->filter_count > 0)
            filter_drop(o, book, book->filter_count - 1);
        free(book->filters);
        resources_done(&book->offered);
    }
    free(o->books);
    o->books = NULL;
    o->count = o->book_count = 0;
}

void offers_close(struct offers *o) {
    uv_close((uv_handle_t *)&o->round, NULL);
}

void offers_free(struct offers *o) {
    if (!o) return;
    offers_clear(o);
    free(o->items);
    free(o);
}

void offers_reset(struct offers *o) {
    offers_clear(o);
    o->first_ms = -1; /* numbers go on: a late answer of the old term finds nothing */
    o->last_round_ms = 0;
}

void offers_wake(struct offers *o) {
    if (o->wanted || !o->m->current) return; /* a master that ends is not current */
    /* Rounds may take a fifth of the thread, not more: it also replicates and answers. */
    uint64_t now = clock_mono_ms(), next = o->last_round_ms + OFFERS_GAP_MS + 4 * o->round_ms;
    o->wanted = true;
    (void)uv_timer_start(&o->round, offers_on_timer, next > now ? next - now : 0, 0);
}

static void filters_drop_ended(struct offers *o, uint64_t now_ms) {
    for (size_t i = 0; i < o->book_count; i++)
        for (uint32_t k = o->books[i].filter_count; k-- > 0;)
            if (o->books[i].filters[k].until_ms <= now_ms) filter_drop(o, &o->books[i], k);
}

static void filters_drop_roles(struct offers *o, uint32_t framework, uint32_t roles) {
    for (size_t i = 0; i < o->book_count; i++)
        for (uint32_t k = o->books[i].filter_count; k-- > 0;) {
            const struct filter *f = &o->books[i].filters[k];
            if (f->framework == framework && roles >> f->role & 1) filter_drop(o, &o->books[i], k);
        }
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

/* The filter of this framework and role, or a new empty one; NULL when there are too many. */
static struct filter *filter_place(struct offers *o, struct book *book, uint32_t framework, uint32_t role) {
    for (uint32_t i = 0; i < book->filter_count; i++)
        if (book->filters[i].framework == framework && book->filters[i].role == role) return &book->filters[i];
    if (o->filter_total >= OFFERS_FILTERS_MAX) return NULL;
    if (book->filter_count == book->filter_cap) {
        uint32_t cap = book->filter_cap ? book->filter_cap * 2 : 4;
        struct filter *grown = realloc(book->filters, cap * sizeof *grown);
        if (!grown) return NULL;
        book->filters = grown;
        book->filter_cap = cap;
    }
    struct filter *f = &book->filters[book->filter_count++];
    *f = (struct filter){.framework = framework, .role = role};
    o->filter_total++;
    return f;
}

void offers_refuse(struct offers *o, uint32_t framework, uint32_t role, uint32_t agent, const struct resources *refused,
                   uint64_t refuse_ms) {
    if (refuse_ms == 0 || resources_empty(refused)) return;
    uint64_t now = clock_mono_ms();
    struct book *book = book_of(o, agent);
    struct filter *f = book ? filter_place(o, book, framework, role) : NULL;
    if (!f) return; /* a filter lost costs one more offer */
    /* A longer refusal of more stands. */
    if (f->until_ms > now + refuse_ms && resources_contains(&f->resources, refused)) return;
    f->until_ms = resources_copy(&f->resources, refused) == 0 ? now + refuse_ms : 0;
}

void offers_return(struct offers *o, struct offer *offer, uint64_t refuse_ms) {
    offers_take_out(o, offers_place(o, offer));
    offers_refuse(o, offer->framework, offer->role, offer->agent, &offer->resources, refuse_ms);
    offer_free(o, offer);
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
    size_t kept = 0;
    for (size_t i = 0; i < o->count; i++) {
        struct offer *offer = o->items[i];
        if (offer->framework == framework && !offer->accepting)
            offer_free(o, offer);
        else
            o->items[kept++] = offer;
    }
    o->count = kept;
    offers_revive(o, framework, UINT32_MAX);
}

void offers_revive(struct offers *o, uint32_t framework, uint32_t roles) {
    filters_drop_roles(o, framework, roles);
    offers_wake(o);
}

void offers_drop_agent(struct offers *o, uint32_t agent) {
    for (size_t i = o->count; i-- > 0;) {
        struct offer *offer = o->items[i];
        if (offer->agent != agent || offer->accepting) continue;
        offers_take_out(o, i);
        sessions_rescind(o->m->sessions, offer);
        offer_free(o, offer);
    }
}

uint64_t offers_outstanding(const struct offers *o) {
    return o->count;
}

int64_t offers_first_ms(const struct offers *o) {
    return o->first_ms;
}

int offers_of_agent(const struct offers *o, uint32_t agent, struct resources *ret) {
    *ret = (struct resources){0};
    return agent < o->book_count ? resources_copy(ret, &o->books[agent].offered) : 0;
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
    uint64_t now_ms;
};

static bool round_filtered(void *ctx, uint32_t framework, uint32_t role, uint32_t agent,
                           const struct resources *free_now) {
    const struct round *r = ctx;
    if (agent >= r->offers->book_count) return false;
    const struct book *book = &r->offers->books[agent];
    for (uint32_t i = 0; i < book->filter_count; i++) {
        const struct filter *f = &book->filters[i];
        if (f->framework == framework && f->role == role && f->until_ms > r->now_ms &&
            resources_contains(&f->resources, free_now))
            return true;
    }
    return false;
}

/* What is neither used nor offered on an agent; false when there is nothing or the sums fail. */
static bool agent_free(const struct offers *o, const struct agent *agent, struct resources *ret) {
    struct resources free_now = {0};
    const struct book *book = agent->number < o->book_count ? &o->books[agent->number] : NULL;
    if (book && book->unsure) return false;
    bool ok = resources_copy(&free_now, &agent->total) == 0 && resources_sub(&free_now, &agent->used) == 0 &&
              (!book || resources_sub(&free_now, &book->offered) == 0);
    if (!ok || resources_empty(&free_now)) {
        resources_done(&free_now);
        return false;
    }
    *ret = free_now;
    return true;
}

static int framework_order(const void *a, const void *b) {
    const struct allocator_framework *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

/* What each framework is offered already; they stand in order of number. */
static void round_add_offered(struct round *r) {
    for (size_t i = 0; i < r->offers->count; i++) {
        const struct allocator_framework key = {.number = r->offers->items[i]->framework};
        struct allocator_framework *af = bsearch(&key, r->frameworks, r->framework_count, sizeof key, framework_order);
        if (af) add_scalars(&af->held, &r->offers->items[i]->resources);
    }
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
        add_scalars(&af->held, &f->used);
    }
    round_add_offered(r);
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
    struct book *book = book_of(o, a->agent);
    struct offer *offer = book ? calloc(1, sizeof *offer) : NULL;
    if (!offer || resources_copy(&offer->resources, free_now) || resources_add(&book->offered, free_now)) {
        if (offer) resources_done(&offer->resources);
        free(offer);
        return NULL;
    }
    book->offer_count++;
    offer->number = o->next_number++;
    offer->framework = a->framework;
    offer->role = a->role;
    offer->agent = a->agent;
    o->items[o->count++] = offer;
    return offer;
}

static int agent_order(const void *a, const void *b) {
    const struct allocator_agent *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

/* Sends offers of one framework in as few OFFERS events as their size allows. One that cannot be told is taken back,
 * and kept from the framework for a while: it would be lent to nobody until the end of the term. */
static void batch_send(struct offers *o, struct offer *const *batch, size_t n) {
    if (sessions_offers(o->m->sessions, batch[0]->framework, batch, n) == 0) return;
    if (n == 1) {
        offers_return(o, batch[0], OFFERS_UNTOLD_MS);
        return;
    }
    batch_send(o, batch, n / 2); /* as deep as the logarithm of OFFERS_BATCH */
    batch_send(o, batch + n / 2, n - n / 2);
}

static int offer_order(const void *a, const void *b) {
    const struct offer *x = *(struct offer *const *)a, *y = *(struct offer *const *)b;
    if (x->framework != y->framework) return x->framework > y->framework ? 1 : -1;
    return (x->number > y->number) - (x->number < y->number);
}

/* The offers made in this round, those of a framework together. */
static void round_send(struct round *r, size_t first) {
    struct offers *o = r->offers;
    size_t count = o->count - first;
    struct offer **made = calloc(count, sizeof *made);
    CHECK(made);
    memcpy(made, o->items + first, count * sizeof *made);
    qsort(made, count, sizeof *made, offer_order);
    for (size_t i = 0, n; i < count; i += n) {
        for (n = 1; i + n < count && n < OFFERS_BATCH && made[i + n]->framework == made[i]->framework;)
            n++;
        batch_send(o, made + i, n);
    }
    free(made);
}

static void offers_round(struct offers *o) {
    uint64_t now = clock_mono_ms();
    struct round r = {.offers = o, .now_ms = now};
    if (round_gather(&r)) {
        size_t first = o->count;
        allocator_run(r.agents, r.agent_count, r.frameworks, r.framework_count, &r.total, round_filtered, &r, r.made,
                      r.agent_count, &r.made_count);
        for (size_t i = 0; i < r.made_count; i++) {
            const struct allocator_agent key = {.number = r.made[i].agent};
            const struct allocator_agent *aa = bsearch(&key, r.agents, r.agent_count, sizeof key, agent_order);
            CHECK(aa);
            (void)offer_make(o, &r.made[i], &aa->free);
        }
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
    o->last_round_ms = clock_mono_ms();
    o->round_ms = o->last_round_ms - now;
}
