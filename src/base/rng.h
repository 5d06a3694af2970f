/* SPDX-License-Identifier: Apache-2.0
 * A small seeded generator (xoshiro256**). Not for secrets. rng_seed_system is for shells only. */
#ifndef CONCLAVE_BASE_RNG_H
#define CONCLAVE_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed);
/* Seeds from the kernel. */
void rng_seed_system(struct rng *r);
uint64_t rng_next(struct rng *r);
/* Uniform in [0, n); n > 0. */
uint64_t rng_below(struct rng *r, uint64_t n);
/* Uniform in [lo, hi]; lo <= hi. */
uint64_t rng_between(struct rng *r, uint64_t lo, uint64_t hi);
/* Fills `len` bytes from the kernel's generator: ids, nonces, stream ids. */
void random_bytes(void *ret, size_t len);
/* Writes a random (version 4) UUID as 36 characters and a NUL. */
void random_uuid(char ret[37]);

#endif
