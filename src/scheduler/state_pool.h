/* SPDX-License-Identifier: Apache-2.0
 * Byte strings that many tasks have in common (names, views), each kept once and counted. The content decides identity;
 * the pool is no part of the state's encoding. */
#ifndef CONCLAVE_SCHEDULER_STATE_POOL_H
#define CONCLAVE_SCHEDULER_STATE_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/map.h"

struct pool {
    struct map index;
    size_t memory; /* bytes of entries */
};

/* An all-zero pool is empty. pool_done needs an empty pool: every entry has been put back. */
void pool_done(struct pool *pool);

/* The entry with this content, one reference more; NULL for no bytes at all. Give it back with pool_put. */
uint8_t *pool_get(struct pool *pool, const void *data, size_t len);
void pool_put(struct pool *pool, void *entry); /* NULL is harmless */
/* A text with its NUL, so that "" is an entry too. */
char *pool_text(struct pool *pool, const char *text);
size_t pool_len(const uint8_t *entry); /* 0 for NULL */
/* Hash of the content, computed once; of no bytes for NULL. */
struct hash128 pool_hash(const uint8_t *entry);

#endif
