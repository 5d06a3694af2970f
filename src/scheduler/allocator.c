/* SPDX-License-Identifier: Apache-2.0
 * Dominant-resource fairness. Frameworks stand in a queue ordered by (dominant share, number); an agent goes to the
 * first of them that may have it, which then moves back in the queue as far as its grown share says. */
#include "scheduler/allocator.h"

#include <stdlib.h>

#include "base/check.h"

#define CPUS_LEAST 10    /* 0.01 cpus */
#define MEM_LEAST  32000 /* 32 MB */

struct share { /* part / whole, the largest over the resources */
    int64_t part, whole;
};

/* Two factors below 2^60 each: their product fits. */
static int share_compare(struct share a, struct share b) {
    unsigned __int128 left = (unsigned __int128)(uint64_t)a.part * (uint64_t)b.whole,
                      right = (unsigned __int128)(uint64_t)b.part * (uint64_t)a.whole;
    return (left > right) - (left < right);
}

static struct share dominant_share(const struct resources *held, const struct resources *total) {
    const struct share shares[] = {
        {held->cpus, total->cpus}, {held->mem, total->mem}, {held->disk, total->disk}, {held->gpus, total->gpus}};
    struct share most = {0, 1};
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++)
        if (shares[i].whole > 0 && share_compare(shares[i], most) > 0) most = shares[i];
    return most;
}

struct contender {
    struct share share;
    struct allocator_framework *framework;
};

static int contender_compare(const void *a, const void *b) {
    const struct contender *x = a, *y = b;
    int order = share_compare(x->share, y->share);
    if (order != 0) return order;
    return (x->framework->number > y->framework->number) - (x->framework->number < y->framework->number);
}

static int64_t amount_add(int64_t a, int64_t b) {
    return a > RESOURCES_MILLI_MAX - b ? RESOURCES_MILLI_MAX : a + b;
}

static void held_add(struct resources *held, const struct resources *more) {
    held->cpus = amount_add(held->cpus, more->cpus);
    held->mem = amount_add(held->mem, more->mem);
    held->disk = amount_add(held->disk, more->disk);
    held->gpus = amount_add(held->gpus, more->gpus);
}

/* The role through which this framework may have the agent, or -1. */
static int role_for(const struct allocator_framework *framework, const struct allocator_agent *agent,
                    allocator_filter filter, void *filter_ctx) {
    if (agent->free.gpus > 0 && !framework->gpus_wanted) return -1;
    for (uint32_t role = 0; role < 32; role++) {
        if (!(framework->roles >> role & 1)) continue;
        if (!filter || !filter(filter_ctx, framework->number, role, agent->number, &agent->free)) return (int)role;
    }
    return -1;
}

void allocator_run(const struct allocator_agent *agents, size_t agent_count, struct allocator_framework *frameworks,
                   size_t framework_count, const struct resources *total, allocator_filter filter, void *filter_ctx,
                   struct allocation *ret, size_t max, size_t *ret_count) {
    *ret_count = 0;
    if (framework_count == 0) return;
    struct contender *queue = malloc(framework_count * sizeof *queue);
    CHECK(queue);
    for (size_t i = 0; i < framework_count; i++)
        queue[i] = (struct contender){dominant_share(&frameworks[i].held, total), &frameworks[i]};
    qsort(queue, framework_count, sizeof *queue, contender_compare);
    for (size_t i = 0; i < agent_count && *ret_count < max; i++) {
        const struct allocator_agent *agent = &agents[i];
        if (agent->free.cpus < CPUS_LEAST || agent->free.mem < MEM_LEAST) continue;
        int role = -1;
        size_t at = 0;
        for (; at < framework_count && role < 0; at++)
            role = role_for(queue[at].framework, agent, filter, filter_ctx);
        if (role < 0) continue;
        struct contender winner = queue[--at];
        ret[(*ret_count)++] = (struct allocation){winner.framework->number, (uint32_t)role, agent->number};
        held_add(&winner.framework->held, &agent->free);
        winner.share = dominant_share(&winner.framework->held, total);
        for (; at + 1 < framework_count && contender_compare(&queue[at + 1], &winner) < 0; at++)
            queue[at] = queue[at + 1];
        queue[at] = winner;
    }
    free(queue);
}
