/* SPDX-License-Identifier: Apache-2.0
 * While entries move from the old table to the new one, an entry is in one of them. What leaves the old one leaves GONE
 * behind, so that the runs of that table stay whole; it is freed when all of it has been passed. */
#include "base/map.h"

#include <stdlib.h>

#include "base/check.h"

#define GONE     UINT64_MAX
#define CAP_MIN  16u
#define MOVE_MIN 8u /* places of the old table passed at each change: it is empty long before the new one is full */

/* 12 bytes, for there may be millions: half of the hash, which is enough for a table of 2^32 places and to pass nearly
 * all keys that are not meant, and a value in two halves, which needs no alignment of 8. */
struct map_entry {
    uint32_t hash;
    uint32_t value[2]; /* 0: free */
};
_Static_assert(sizeof(struct map_entry) == 12, "an entry is packed");

static uint64_t value_of(const struct map_entry *entry) {
    return (uint64_t)entry->value[1] << 32 | entry->value[0];
}

static void value_set(struct map_entry *entry, uint64_t value) {
    entry->value[0] = (uint32_t)value;
    entry->value[1] = (uint32_t)(value >> 32);
}

static bool is_free(const struct map_entry *entry) {
    return (entry->value[0] | entry->value[1]) == 0;
}

void map_done(struct map *map) {
    free(map->entries);
    free(map->old);
    *map = (struct map){0};
}

static uint64_t table_get(const struct map_entry *entries, size_t cap, uint32_t hash, map_equal equal, const void *ctx,
                          const void *key) {
    for (size_t i = hash & (cap - 1); !is_free(&entries[i]); i = (i + 1) & (cap - 1)) {
        uint64_t value = value_of(&entries[i]);
        if (entries[i].hash == hash && value != GONE && equal(ctx, key, value)) return value;
    }
    return 0;
}

uint64_t map_get(const struct map *map, uint64_t hash, map_equal equal, const void *ctx, const void *key) {
    if (map->count == 0) return 0;
    uint64_t value = table_get(map->entries, map->cap, (uint32_t)hash, equal, ctx, key);
    return value || !map->old ? value : table_get(map->old, map->old_cap, (uint32_t)hash, equal, ctx, key);
}

void map_prefetch(const struct map *map, uint64_t hash) {
    if (map->cap > 0) __builtin_prefetch(&map->entries[(uint32_t)hash & (map->cap - 1)], 1);
}

static void insert(struct map_entry *entries, size_t cap, struct map_entry entry) {
    size_t i = entry.hash & (cap - 1);
    while (!is_free(&entries[i]))
        i = (i + 1) & (cap - 1);
    entries[i] = entry;
}

/* Passes so many places of the old table. */
static void move_on(struct map *map, size_t places) {
    for (; map->old && places > 0; places--) {
        struct map_entry *entry = &map->old[map->at++];
        if (!is_free(entry) && value_of(entry) != GONE) {
            insert(map->entries, map->cap, *entry);
            value_set(entry, GONE);
        }
        if (map->at < map->old_cap) continue;
        free(map->old);
        map->old = NULL;
    }
}

static void resize(struct map *map, size_t cap) {
    move_on(map, SIZE_MAX); /* nothing is left of the one before, or the arithmetic of MOVE_MIN is wrong */
    map->old = map->entries;
    map->old_cap = map->cap;
    map->at = 0;
    CHECK(cap - 1 <= UINT32_MAX);
    map->entries = calloc(cap, sizeof *map->entries);
    CHECK(map->entries);
    map->cap = cap;
}

void map_reserve(struct map *map, size_t count) {
    size_t cap = map->cap ? map->cap : CAP_MIN;
    while (count > cap / 4 * 3)
        cap *= 2;
    if (cap > map->cap) resize(map, cap);
}

void map_put(struct map *map, uint64_t hash, uint64_t value) {
    CHECK(value != 0 && value != GONE);
    move_on(map, MOVE_MIN);
    if (map->count + 1 > map->cap / 4 * 3) resize(map, map->cap ? map->cap * 2 : CAP_MIN);
    struct map_entry entry = {.hash = (uint32_t)hash};
    value_set(&entry, value);
    insert(map->entries, map->cap, entry);
    map->count++;
}

/* Index of the entry, or cap. */
static size_t entry_find(const struct map_entry *entries, size_t cap, uint32_t hash, uint64_t value) {
    if (cap == 0) return cap;
    size_t i = hash & (cap - 1);
    for (; !is_free(&entries[i]); i = (i + 1) & (cap - 1))
        if (entries[i].hash == hash && value_of(&entries[i]) == value) return i;
    return cap;
}

/* Closes the gap: every later entry of the run that may stand at the hole moves there. */
static void table_drop(struct map_entry *entries, size_t cap, size_t hole) {
    size_t mask = cap - 1;
    for (size_t i = (hole + 1) & mask; !is_free(&entries[i]); i = (i + 1) & mask) {
        size_t home = entries[i].hash & mask;
        if (((i - home) & mask) < ((i - hole) & mask)) continue;
        entries[hole] = entries[i];
        hole = i;
    }
    value_set(&entries[hole], 0);
}

bool map_drop(struct map *map, uint64_t hash, uint64_t value) {
    size_t at = entry_find(map->entries, map->cap, (uint32_t)hash, value);
    if (at != map->cap) {
        table_drop(map->entries, map->cap, at);
    } else {
        at = map->old ? entry_find(map->old, map->old_cap, (uint32_t)hash, value) : map->old_cap;
        if (!map->old || at == map->old_cap) return false;
        value_set(&map->old[at], GONE);
    }
    map->count--;
    move_on(map, MOVE_MIN);
    if (map->cap > CAP_MIN && map->count < map->cap / 8) resize(map, map->cap / 2);
    return true;
}

void map_change(struct map *map, uint64_t hash, uint64_t value_old, uint64_t value_new) {
    CHECK(value_new != 0 && value_new != GONE);
    size_t at = entry_find(map->entries, map->cap, (uint32_t)hash, value_old);
    if (at != map->cap) {
        value_set(&map->entries[at], value_new);
        return;
    }
    CHECK(map->old);
    at = entry_find(map->old, map->old_cap, (uint32_t)hash, value_old);
    CHECK(at != map->old_cap);
    value_set(&map->old[at], value_new);
}

size_t map_count(const struct map *map) {
    return map->count;
}

size_t map_memory(const struct map *map) {
    return (map->cap + (map->old ? map->old_cap : 0)) * sizeof *map->entries;
}
