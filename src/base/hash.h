/* SPDX-License-Identifier: Apache-2.0
 * 128-bit hashes of byte strings (XXH3), with a fixed seed: the same bytes give the same hash on every machine.
 * The state hash is the sum (mod 2^128) of its records' hashes, so it does not depend on the order of records. */
#ifndef CONCLAVE_BASE_HASH_H
#define CONCLAVE_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hash128 {
    uint64_t lo;
    uint64_t hi;
};

struct hash128 hash128_of(const void *data, size_t len);
uint64_t hash64_of(const void *data, size_t len);

struct hash128 hash128_add(struct hash128 a, struct hash128 b);
struct hash128 hash128_sub(struct hash128 a, struct hash128 b);
bool hash128_equal(struct hash128 a, struct hash128 b);
/* Writes 32 lower-case hexadecimal digits and a NUL. */
void hash128_hex(struct hash128 h, char ret[33]);

#endif
