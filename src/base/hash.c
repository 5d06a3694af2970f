/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

struct hash128 hash128_of(const void *data, size_t len) {
    XXH128_hash_t h = XXH3_128bits(data, len);
    return (struct hash128){.lo = h.low64, .hi = h.high64};
}

uint64_t hash64_of(const void *data, size_t len) {
    return XXH3_64bits(data, len);
}

struct hash128 hash128_add(struct hash128 a, struct hash128 b) {
    uint64_t lo = a.lo + b.lo;
    return (struct hash128){.lo = lo, .hi = a.hi + b.hi + (lo < a.lo)};
}

struct hash128 hash128_sub(struct hash128 a, struct hash128 b) {
    return (struct hash128){.lo = a.lo - b.lo, .hi = a.hi - b.hi - (a.lo < b.lo)};
}

bool hash128_equal(struct hash128 a, struct hash128 b) {
    return a.lo == b.lo && a.hi == b.hi;
}

void hash128_hex(struct hash128 h, char ret[33]) {
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 16; i++) {
        ret[i] = digits[h.hi >> (60 - 4 * i) & 15];
        ret[16 + i] = digits[h.lo >> (60 - 4 * i) & 15];
    }
    ret[32] = '\0';
}
