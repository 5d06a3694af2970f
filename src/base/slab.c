/* SPDX-License-Identifier: Apache-2.0
 * Level 0 is a slab; a node of level n has 512 children of level n - 1. The tree grows at the root when a number does
 * not fit, and never shrinks in height (at most 7 nodes of 4 KiB are kept for that). */
#include "base/slab.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define NODE_BITS   9
#define NODE_FANOUT (1u << NODE_BITS)
#define HEIGHT_MAX  8

struct node {
    uint32_t used; /* children that are not NULL */
    void *child[NODE_FANOUT];
};

#define SLOT_USED   1u
#define SLOT_MARKED 2u /* in `round` */

struct slab {
    uint32_t used;
    uint64_t round;                       /* the last in which a record was marked */
    alignas(max_align_t) uint8_t bytes[]; /* per_slab flags (one byte each), padding, then the records */
};

static size_t flags_size(const struct slab_table *table) {
    size_t align = alignof(max_align_t);
    return (table->per_slab + align - 1) / align * align;
}

static size_t slab_size(const struct slab_table *table) {
    return sizeof(struct slab) + flags_size(table) + (size_t)table->per_slab * table->item_size;
}

static void *slab_item(const struct slab_table *table, struct slab *slab, uint32_t slot) {
    return slab->bytes + flags_size(table) + (size_t)slot * table->item_size;
}

/* Numbers of slabs below one child of a node of this level. */
static uint64_t child_span(unsigned level) {
    return UINT64_C(1) << (NODE_BITS * (level - 1));
}

void slab_init(struct slab_table *table, size_t item_size) {
    CHECK(item_size > 0 && item_size <= SLAB_BYTES);
    size_t align = alignof(max_align_t);
    size_t size = (item_size + align - 1) / align * align;
    size_t per_slab = (SLAB_BYTES - sizeof(struct slab) - align) / (size + 1);
    *table = (struct slab_table){.item_size = size, .per_slab = per_slab > 0 ? (uint32_t)per_slab : 1};
}

static void tree_free(void *tree, unsigned height) {
    if (tree && height > 0) {
        struct node *node = tree;
        for (uint32_t i = 0; i < NODE_FANOUT; i++)
            tree_free(node->child[i], height - 1);
    }
    free(tree);
}

void slab_done(struct slab_table *table) {
    tree_free(table->root, table->height);
    slab_init(table, table->item_size);
}

static void *allocate(struct slab_table *table, size_t size) {
    void *made = calloc(1, size);
    CHECK(made);
    table->memory += size;
    return made;
}

void *slab_get(const struct slab_table *table, uint64_t number) {
    uint64_t index = number / table->per_slab;
    if (table->height < HEIGHT_MAX - 1 && index >> (NODE_BITS * table->height) != 0) return NULL;
    void *at = table->root;
    for (unsigned level = table->height; level > 0 && at; level--)
        at = ((struct node *)at)->child[index / child_span(level) % NODE_FANOUT];
    if (!at) return NULL;
    struct slab *slab = at;
    uint32_t slot = (uint32_t)(number % table->per_slab);
    return slab->bytes[slot] ? slab_item(table, slab, slot) : NULL;
}

/* Adds levels at the root until `index` fits. */
static void grow(struct slab_table *table, uint64_t index) {
    while (table->height < HEIGHT_MAX - 1 && index >> (NODE_BITS * table->height) != 0) {
        if (table->root) {
            struct node *node = allocate(table, sizeof *node);
            node->child[0] = table->root;
            node->used = 1;
            table->root = node;
        }
        table->height++;
    }
}

void *slab_put(struct slab_table *table, uint64_t number) {
    uint64_t index = number / table->per_slab;
    uint32_t slot = (uint32_t)(number % table->per_slab);
    grow(table, index);
    void **at = &table->root;
    struct node *parent = NULL;
    for (unsigned level = table->height; level > 0; level--) {
        if (!*at) {
            *at = allocate(table, sizeof(struct node));
            if (parent) parent->used++;
        }
        parent = *at;
        at = &parent->child[index / child_span(level) % NODE_FANOUT];
    }
    if (!*at) {
        *at = allocate(table, slab_size(table));
        if (parent) parent->used++;
    }
    struct slab *slab = *at;
    CHECK(!slab->bytes[slot]);
    slab->bytes[slot] = SLOT_USED;
    slab->used++;
    table->count++;
    return memset(slab_item(table, slab, slot), 0, table->item_size);
}

void slab_drop(struct slab_table *table, uint64_t number) {
    uint64_t index = number / table->per_slab;
    uint32_t slot = (uint32_t)(number % table->per_slab);
    void **path[HEIGHT_MAX];
    void **at = &table->root;
    for (unsigned level = table->height; level > 0; level--) {
        CHECK(*at);
        path[level] = at;
        at = &((struct node *)*at)->child[index / child_span(level) % NODE_FANOUT];
    }
    struct slab *slab = *at;
    CHECK(slab && slab->bytes[slot]);
    slab->bytes[slot] = 0;
    table->count--;
    if (--slab->used > 0) return;
    free(slab);
    *at = NULL;
    table->memory -= slab_size(table);
    for (unsigned level = 1; level <= table->height; level++) {
        struct node *node = *path[level];
        if (--node->used > 0) return;
        free(node);
        *path[level] = NULL;
        table->memory -= sizeof *node;
    }
}

/* First slab at or after *index below `tree`; moves *index to it. */
static struct slab *slab_from(void *tree, unsigned level, uint64_t base, uint64_t *index) {
    if (!tree || level == 0) return tree;
    struct node *node = tree;
    uint64_t span = child_span(level);
    uint32_t first = *index > base ? (uint32_t)((*index - base) / span) : 0;
    for (uint32_t i = first; i < NODE_FANOUT; i++) {
        if (!node->child[i]) continue;
        uint64_t start = base + i * span;
        if (*index < start) *index = start;
        struct slab *found = slab_from(node->child[i], level - 1, start, index);
        if (found) return found;
        *index = start + span;
    }
    return NULL;
}

void *slab_next(const struct slab_table *table, uint64_t from, uint64_t *ret_number) {
    uint64_t index = from / table->per_slab;
    uint32_t slot = (uint32_t)(from % table->per_slab);
    for (;;) {
        uint64_t wanted = index;
        if (table->height < HEIGHT_MAX - 1 && index >> (NODE_BITS * table->height) != 0) return NULL;
        struct slab *slab = slab_from(table->root, table->height, 0, &index);
        if (!slab) return NULL;
        if (index != wanted) slot = 0;
        for (; slot < table->per_slab; slot++) {
            if (!slab->bytes[slot]) continue;
            *ret_number = index * table->per_slab + slot;
            return slab_item(table, slab, slot);
        }
        index++;
        slot = 0;
    }
}

bool slab_mark(struct slab_table *table, uint64_t number, uint64_t round) {
    uint64_t index = number / table->per_slab;
    uint32_t slot = (uint32_t)(number % table->per_slab);
    void *at = table->root;
    for (unsigned level = table->height; level > 0 && at; level--)
        at = ((struct node *)at)->child[index / child_span(level) % NODE_FANOUT];
    struct slab *slab = at;
    CHECK(slab && slab->bytes[slot]);
    CHECK(round >= slab->round);
    if (slab->round != round) {
        slab->round = round;
        for (uint32_t i = 0; i < table->per_slab; i++)
            slab->bytes[i] &= SLOT_USED;
    }
    bool before = (slab->bytes[slot] & SLOT_MARKED) != 0;
    slab->bytes[slot] |= SLOT_MARKED;
    return before;
}

uint64_t slab_count(const struct slab_table *table) {
    return table->count;
}

size_t slab_memory(const struct slab_table *table) {
    return table->memory;
}
