/* SPDX-License-Identifier: Apache-2.0
 * Who is offered what: a pure function from a view of the cluster to a list of offers.
 *
 * Dominant-resource fairness over frameworks (Ghodsi et al., NSDI 2011): agents are taken in the order given; each goes
 * whole (all that is free on it) to the eligible framework with the smallest dominant share, counting what it uses and
 * what it is offered already; ties by smaller number. Integers only: shares are compared by cross-multiplication in 128
 * bits. At most one offer an agent and call; an agent with less than 0.01 cpus or less than 32 MB free is passed over.
 */
#ifndef CONCLAVE_SCHEDULER_ALLOCATOR_H
#define CONCLAVE_SCHEDULER_ALLOCATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/resources.h"

struct allocator_agent {
    uint32_t number;
    struct resources free; /* total - used - offered; ports included */
};

struct allocator_framework {
    uint32_t number;
    bool gpus_wanted;      /* GPU_RESOURCES: agents with gpus are offered to no other */
    uint32_t roles;        /* bit i: role i is subscribed and not suppressed; 0: gets nothing */
    struct resources held; /* used + offered */
};

/* True if (framework, role, agent) is filtered now for these resources: asked once for each candidate. */
typedef bool (*allocator_filter)(void *ctx, uint32_t framework, uint32_t role, uint32_t agent,
                                 const struct resources *free);

struct allocation {
    uint32_t framework, role, agent; /* numbers; role: index into the framework's roles */
};

/* Fills ret[0..*ret_count) with at most `max` allocations. `total` is the cluster's sum (for the shares).
 * frameworks[].held is updated as offers are made. */
void allocator_run(const struct allocator_agent *agents, size_t agent_count, struct allocator_framework *frameworks,
                   size_t framework_count, const struct resources *total, allocator_filter filter, void *filter_ctx,
                   struct allocation *ret, size_t max, size_t *ret_count);

#endif
