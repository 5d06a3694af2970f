/* SPDX-License-Identifier: Apache-2.0
 * A block stands at a multiple of its size, so a piece finds its block by its address. */
#include "base/blobs.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/check.h"

#if defined(__SANITIZE_ADDRESS__)
#define PLAIN true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PLAIN true
#endif
#endif
#ifndef PLAIN
#define PLAIN false
#endif

struct blob_block {
    struct blob_block *next, *prev; /* among those with a free piece */
    void *free;                     /* pieces that were given back, each begins with the next */
    uint32_t used, fresh, count;    /* pieces in use; never used yet, from here on; in all */
    uint32_t size;                  /* of a piece */
};

struct blob_region {
    struct blob_region *next;
    void *memory;
};

#define FIRST ((sizeof(struct blob_block) + BLOB_UNIT - 1) / BLOB_UNIT * BLOB_UNIT)

static size_t class_of(size_t len) {
    return (len + BLOB_UNIT - 1) / BLOB_UNIT - 1;
}

static void link_in(struct blobs *b, size_t class, struct blob_block *block) {
    block->prev = NULL;
    block->next = b->open[class];
    if (block->next) block->next->prev = block;
    b->open[class] = block;
}

static void link_out(struct blobs *b, size_t class, struct blob_block *block) {
    if (block->next) block->next->prev = block->prev;
    if (block->prev)
        block->prev->next = block->next;
    else
        b->open[class] = block->next;
}

static void region_new(struct blobs *b) {
    struct blob_region *region = malloc(sizeof *region);
    uint8_t *memory = malloc((size_t)BLOB_REGION * BLOB_BLOCK);
    CHECK(region && memory);
    *region = (struct blob_region){.next = b->regions, .memory = memory};
    b->regions = region;
    b->fresh = (uint8_t *)(((uintptr_t)memory + BLOB_BLOCK - 1) & ~(uintptr_t)(BLOB_BLOCK - 1));
    b->fresh_count = BLOB_REGION - (b->fresh != memory);
}

/* A block of no class. */
static struct blob_block *block_take(struct blobs *b) {
    struct blob_block *block = b->empty;
    if (block) {
        b->empty = block->next;
        return block;
    }
    if (b->fresh_count == 0) region_new(b);
    block = (struct blob_block *)(void *)b->fresh;
    b->fresh += BLOB_BLOCK;
    b->fresh_count--;
    return block;
}

static struct blob_block *block_new(struct blobs *b, size_t class) {
    struct blob_block *block = block_take(b);
    uint32_t size = (uint32_t)(class + 1) * BLOB_UNIT;
    *block = (struct blob_block){.size = size, .count = (uint32_t)((BLOB_BLOCK - FIRST) / size)};
    link_in(b, class, block);
    return block;
}

void *blobs_get(struct blobs *b, size_t len) {
    CHECK(len > 0);
    b->pieces++;
    if (PLAIN || len > BLOB_MAX) {
        void *made = malloc(len);
        CHECK(made);
        return made;
    }
    size_t class = class_of(len);
    struct blob_block *block = b->open[class] ? b->open[class] : block_new(b, class);
    void *piece = block->free;
    if (piece)
        block->free = *(void **)piece;
    else
        piece = (uint8_t *)block + FIRST + (size_t)block->size * block->fresh++;
    if (++block->used == block->count) link_out(b, class, block);
    return piece;
}

void blobs_put(struct blobs *b, void *piece, size_t len) {
    if (!piece) return;
    b->pieces--;
    if (PLAIN || len > BLOB_MAX) {
        free(piece);
        return;
    }
    size_t class = class_of(len);
    struct blob_block *block = (struct blob_block *)((uintptr_t)piece & ~(uintptr_t)(BLOB_BLOCK - 1));
    CHECK(block->size == (class + 1) * BLOB_UNIT && block->used > 0);
    *(void **)piece = block->free;
    block->free = piece;
    if (block->used-- == block->count) link_in(b, class, block);
    if (block->used > 0) return;
    link_out(b, class, block);
    block->next = b->empty;
    b->empty = block;
}

void blobs_done(struct blobs *b) {
    CHECK(b->pieces == 0);
    while (b->regions) {
        struct blob_region *region = b->regions;
        b->regions = region->next;
        free(region->memory);
        free(region);
    }
    *b = (struct blobs){0};
}
