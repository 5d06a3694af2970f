/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/state_pool.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define POOL_MAGIC 0x706f6f6cu

struct pool_entry {
    uint32_t magic;
    uint32_t references;
    size_t len;
    struct hash128 hash;
    uint8_t data[];
};

struct pool_key {
    const void *data;
    size_t len;
};

static struct pool_entry *entry_of(const uint8_t *data) {
    struct pool_entry *entry = (struct pool_entry *)(void *)(uintptr_t)(data - offsetof(struct pool_entry, data));
    CHECK_MAGIC(entry, POOL_MAGIC);
    return entry;
}

static bool entry_equal(const void *ctx, const void *key, uint64_t value) {
    (void)ctx;
    const struct pool_key *wanted = key;
    const struct pool_entry *entry = (const struct pool_entry *)(uintptr_t)value;
    return entry->len == wanted->len && memcmp(entry->data, wanted->data, wanted->len) == 0;
}

void pool_done(struct pool *pool) {
    CHECK(map_count(&pool->index) == 0);
    map_done(&pool->index);
}

uint8_t *pool_get(struct pool *pool, const void *data, size_t len) {
    if (len == 0) return NULL;
    struct hash128 hash = hash128_of(data, len);
    struct pool_key key = {data, len};
    uint64_t found = map_get(&pool->index, hash.lo, entry_equal, NULL, &key);
    if (found) {
        struct pool_entry *entry = (struct pool_entry *)(uintptr_t)found;
        entry->references++;
        return entry->data;
    }
    struct pool_entry *entry = malloc(sizeof *entry + len);
    CHECK(entry);
    *entry = (struct pool_entry){.magic = POOL_MAGIC, .references = 1, .len = len, .hash = hash};
    memcpy(entry->data, data, len);
    map_put(&pool->index, hash.lo, (uint64_t)(uintptr_t)entry);
    pool->memory += sizeof *entry + len;
    return entry->data;
}

char *pool_text(struct pool *pool, const char *text) {
    return (char *)pool_get(pool, text, strlen(text) + 1);
}

void pool_put(struct pool *pool, void *data) {
    if (!data) return;
    struct pool_entry *entry = entry_of(data);
    if (--entry->references > 0) return;
    CHECK(map_drop(&pool->index, entry->hash.lo, (uint64_t)(uintptr_t)entry));
    pool->memory -= sizeof *entry + entry->len;
    entry->magic = 0;
    free(entry);
}

struct hash128 pool_hash(const uint8_t *data) {
    return data ? entry_of(data)->hash : hash128_of("", 0);
}

size_t pool_len(const uint8_t *data) {
    return data ? entry_of(data)->len : 0;
}
