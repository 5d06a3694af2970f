/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

#include <stdlib.h>

#include "base/check.h"

struct map_entry {
    uint64_t hash;
    uint64_t value; /* 0: free */
};

void map_done(struct map *map) {
    free(map->entries);
    *map = (struct map){0};
}

uint64_t map_get(const struct map *map, uint64_t hash, map_equal equal, const void *ctx, const void *key) {
    if (map->count == 0) return 0;
    for (size_t i = hash & (map->cap - 1); map->entries[i].value; i = (i + 1) & (map->cap - 1)) {
        const struct map_entry *entry = &map->entries[i];
        if (entry->hash == hash && equal(ctx, key, entry->value)) return entry->value;
    }
    return 0;
}

static void insert(struct map_entry *entries, size_t cap, struct map_entry entry) {
    size_t i = entry.hash & (cap - 1);
    while (entries[i].value)
        i = (i + 1) & (cap - 1);
    entries[i] = entry;
}

static void resize(struct map *map, size_t cap) {
    struct map_entry *entries = calloc(cap, sizeof *entries);
    CHECK(entries);
    for (size_t i = 0; i < map->cap; i++)
        if (map->entries[i].value) insert(entries, cap, map->entries[i]);
    free(map->entries);
    map->entries = entries;
    map->cap = cap;
}

void map_put(struct map *map, uint64_t hash, uint64_t value) {
    CHECK(value != 0);
    if (map->count + 1 > map->cap / 4 * 3) resize(map, map->cap ? map->cap * 2 : 16);
    insert(map->entries, map->cap, (struct map_entry){hash, value});
    map->count++;
}

/* Index of the entry, or cap. */
static size_t entry_find(const struct map *map, uint64_t hash, uint64_t value) {
    if (map->count == 0) return map->cap;
    size_t i = hash & (map->cap - 1);
    for (; map->entries[i].value; i = (i + 1) & (map->cap - 1))
        if (map->entries[i].hash == hash && map->entries[i].value == value) return i;
    return map->cap;
}

bool map_drop(struct map *map, uint64_t hash, uint64_t value) {
    size_t hole = entry_find(map, hash, value);
    if (hole == map->cap) return false;
    size_t mask = map->cap - 1;
    /* Close the gap: every later entry of the run that may stand at the hole moves there. */
    for (size_t i = (hole + 1) & mask; map->entries[i].value; i = (i + 1) & mask) {
        size_t home = map->entries[i].hash & mask;
        if (((i - home) & mask) < ((i - hole) & mask)) continue;
        map->entries[hole] = map->entries[i];
        hole = i;
    }
    map->entries[hole].value = 0;
    map->count--;
    if (map->cap > 16 && map->count < map->cap / 8) resize(map, map->cap / 2);
    return true;
}

void map_change(struct map *map, uint64_t hash, uint64_t value_old, uint64_t value_new) {
    size_t i = entry_find(map, hash, value_old);
    CHECK(i != map->cap && value_new != 0);
    map->entries[i].value = value_new;
}

size_t map_count(const struct map *map) {
    return map->count;
}

size_t map_memory(const struct map *map) {
    return map->cap * sizeof *map->entries;
}
