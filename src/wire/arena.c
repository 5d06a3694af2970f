/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/err.h"

#define ARENA_BLOCK_MIN 4096
#define ARENA_BLOCK_MAX ((size_t)256 * 1024)

struct arena_block {
    struct arena_block *next;
    size_t used; /* of data */
    size_t size; /* of data */
    alignas(max_align_t) unsigned char data[];
};

static void *arena_protobuf_alloc(void *arena, size_t size) {
    return arena_alloc(arena, size);
}

static void arena_protobuf_free(void *arena, void *pointer) {
    (void)arena, (void)pointer;
}

void arena_init(struct arena *a, size_t limit) {
    *a = (struct arena){.limit = limit, .allocator = {arena_protobuf_alloc, arena_protobuf_free, a}};
}

void arena_done(struct arena *a) {
    while (a->blocks) {
        struct arena_block *next = a->blocks->next;
        free(a->blocks);
        a->blocks = next;
    }
    a->held = 0;
    a->error = 0;
}

static size_t size_aligned(size_t size) {
    return (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
}

/* Blocks double up to a bound, so that a small request costs one small block and a big one few. */
static struct arena_block *arena_add_block(struct arena *a, size_t size) {
    size_t overhead = sizeof(struct arena_block), room = a->limit - a->held;
    if (room < overhead || size > room - overhead) {
        a->error = ERR_LIMIT;
        return NULL;
    }
    size_t wanted = a->blocks ? a->blocks->size * 2 : ARENA_BLOCK_MIN;
    if (wanted > ARENA_BLOCK_MAX) wanted = ARENA_BLOCK_MAX;
    if (wanted < size) wanted = size;
    if (wanted > room - overhead) wanted = room - overhead;
    struct arena_block *block = malloc(overhead + wanted);
    if (!block) {
        a->error = ERR_NOMEM;
        return NULL;
    }
    *block = (struct arena_block){.next = a->blocks, .size = wanted};
    a->blocks = block;
    a->held += overhead + wanted;
    return block;
}

void *arena_alloc(struct arena *a, size_t size) {
    if (size > SIZE_MAX / 2) {
        a->error = ERR_LIMIT;
        return NULL;
    }
    size_t need = size_aligned(size ? size : 1);
    struct arena_block *block = a->blocks;
    if (!block || need > block->size - block->used) {
        block = arena_add_block(a, need);
        if (!block) return NULL;
    }
    void *p = block->data + block->used;
    block->used += need;
    return p;
}

void *arena_grow(struct arena *a, void *old, size_t old_size, size_t new_size) {
    CHECK(new_size >= old_size);
    struct arena_block *block = a->blocks;
    size_t old_need = size_aligned(old_size ? old_size : 1);
    if (old && block && new_size <= SIZE_MAX / 2 && block->used >= old_need &&
        old == block->data + block->used - old_need) {
        size_t more = size_aligned(new_size) - old_need;
        if (new_size >= old_need && more <= block->size - block->used) {
            block->used += more;
            return old;
        }
    }
    void *p = arena_alloc(a, new_size);
    if (p && old && old_size > 0) memcpy(p, old, old_size);
    return p;
}

char *arena_strndup(struct arena *a, const char *text, size_t len) {
    char *copy = len < SIZE_MAX ? arena_alloc(a, len + 1) : NULL;
    if (!copy) return NULL;
    if (len > 0) memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}
