/* SPDX-License-Identifier: Apache-2.0 */
#include "consensus/latency.h"

static unsigned class_of(uint64_t us) {
    if (us < 4) return (unsigned)us;
    unsigned top = 63u - (unsigned)__builtin_clzll(us);
    unsigned index = top * 4 + (unsigned)(us >> (top - 2) & 3);
    return index < LATENCY_CLASSES ? index : LATENCY_CLASSES - 1;
}

static uint64_t class_bound(unsigned index) {
    if (index < 8) return index;
    unsigned top = index / 4;
    return (UINT64_C(1) << top) + ((uint64_t)(index % 4) + 1) * (UINT64_C(1) << (top - 2)) - 1;
}

void latency_add(struct latency *l, uint64_t us) {
    l->counts[class_of(us)]++;
    l->n++;
    if (us > l->max_us) l->max_us = us;
}

uint64_t latency_at(const struct latency *l, unsigned per_mille) {
    uint64_t want = (l->n * per_mille + 999) / 1000, sum = 0;
    if (want == 0) return 0;
    for (unsigned i = 0; i < LATENCY_CLASSES; i++) {
        sum += l->counts[i];
        if (sum >= want) return class_bound(i) < l->max_us ? class_bound(i) : l->max_us;
    }
    return l->max_us;
}
