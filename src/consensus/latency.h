/* SPDX-License-Identifier: Apache-2.0
 * Counts of durations in classes of a quarter of a power of two: percentiles within 25 %, in fixed memory. Pure. */
#ifndef CONCLAVE_CONSENSUS_LATENCY_H
#define CONCLAVE_CONSENSUS_LATENCY_H

#include <stdint.h>

#define LATENCY_CLASSES 128u /* up to 2^32 us */

struct latency {
    uint64_t counts[LATENCY_CLASSES];
    uint64_t n, max_us;
};

void latency_add(struct latency *l, uint64_t us);
/* The smallest class bound that at least `per_mille` of the durations do not exceed; 0 if there are none. */
uint64_t latency_at(const struct latency *l, unsigned per_mille);

#endif
