/* SPDX-License-Identifier: Apache-2.0
 * A hash index: from the hash of a key to a 64-bit value that names the record (a number or a pointer, never 0).
 *
 * The key itself stays in the record: the caller's `map_equal` decides whether a value found under the same hash is the
 * one meant. Open addressing with linear probing and no tombstones; hashes come from base/hash.h, whose seed is
 * constant. There is deliberately no iteration: an order by hash must never be seen. A map that grows (or shrinks)
 * moves a few entries at each change and none at once, so that no change takes longer with a million entries than with
 * ten. Only the low 32 bits of a hash count. Running out of memory, or of 2^32 places, ends the process (CHECK). */
#ifndef CONCLAVE_BASE_MAP_H
#define CONCLAVE_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map { /* private */
    struct map_entry *entries;
    size_t cap;            /* 0 or a power of two */
    size_t count;          /* in both tables */
    struct map_entry *old; /* the table before, whose entries from `at` on have still to move; NULL: none */
    size_t old_cap, at;
};

/* True if `key` is the key of the record that `value` names. */
typedef bool (*map_equal)(const void *ctx, const void *key, uint64_t value);

/* An all-zero struct is an empty map. */
void map_done(struct map *map);

/* The value, or 0. */
uint64_t map_get(const struct map *map, uint64_t hash, map_equal equal, const void *ctx, const void *key);
/* Asks for the memory that a map_get, map_put or map_change of this hash will begin with; returns without it. */
void map_prefetch(const struct map *map, uint64_t hash);
/* Makes room for so many entries in all, at once if the map is empty. */
void map_reserve(struct map *map, size_t count);
/* Adds `value` (not 0 or UINT64_MAX). The caller knows that the key is not in the map. */
void map_put(struct map *map, uint64_t hash, uint64_t value);
/* Takes out the entry with exactly this hash and value; false if there was none. */
bool map_drop(struct map *map, uint64_t hash, uint64_t value);
/* Gives an entry another value; the entry must be there. */
void map_change(struct map *map, uint64_t hash, uint64_t value_old, uint64_t value_new);

size_t map_count(const struct map *map);
size_t map_memory(const struct map *map);

#endif
