/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"

#include <stdio.h>
#include <sys/random.h>

#include "base/check.h"

void rng_seed(struct rng *r, uint64_t seed) {
    for (int i = 0; i < 4; i++) { /* splitmix64 spreads a small seed over the whole state */
        uint64_t z = (seed += 0x9E3779B97F4A7C15u);
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        r->s[i] = z ^ z >> 31;
    }
}

static uint64_t rotl(uint64_t x, int k) {
    return x << k | x >> (64 - k);
}

uint64_t rng_next(struct rng *r) {
    uint64_t result = rotl(r->s[1] * 5, 7) * 9, t = r->s[1] << 17;
    r->s[2] ^= r->s[0];
    r->s[3] ^= r->s[1];
    r->s[1] ^= r->s[2];
    r->s[0] ^= r->s[3];
    r->s[2] ^= t;
    r->s[3] = rotl(r->s[3], 45);
    return result;
}

uint64_t rng_below(struct rng *r, uint64_t n) {
    CHECK(n > 0);
    uint64_t limit = UINT64_MAX - UINT64_MAX % n, x;
    do
        x = rng_next(r);
    while (x >= limit);
    return x % n;
}

uint64_t rng_between(struct rng *r, uint64_t lo, uint64_t hi) {
    CHECK(lo <= hi);
    return lo + rng_below(r, hi - lo + 1);
}

void random_bytes(void *ret, size_t len) {
    uint8_t *p = ret;
    while (len > 0) {
        size_t part = len < 256 ? len : 256;
        CHECK(getrandom(p, part, 0) == (ssize_t)part);
        p += part;
        len -= part;
    }
}

void rng_seed_system(struct rng *r) {
    uint64_t seed;
    random_bytes(&seed, sizeof seed);
    rng_seed(r, seed);
}

void random_uuid(char ret[37]) {
    uint8_t b[16];
    random_bytes(b, sizeof b);
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    (void)snprintf(ret, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2],
                   b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}
