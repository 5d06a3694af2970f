/* SPDX-License-Identifier: Apache-2.0
 * A table of fixed-size records indexed by a dense number: a radix tree whose leaves are slabs of about 64 KiB.
 *
 * Numbers are given out by the owner and may be sparse after deletions; a slab whose last record went is freed, so the
 * memory follows what is there and not what ever was. Records never move: a pointer is good until its number is
 * dropped. Iteration is by number, never by address. Running out of memory ends the process (CHECK): a replica that
 * cannot take a committed change has nothing else to do. */
#ifndef CONCLAVE_BASE_SLAB_H
#define CONCLAVE_BASE_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLAB_BYTES 65536

struct slab_table {    /* private */
    void *root;        /* NULL while empty */
    unsigned height;   /* levels of nodes above the slabs */
    uint32_t per_slab; /* records in one slab */
    size_t item_size;
    uint64_t count;
    size_t memory; /* bytes of slabs and nodes */
};

/* `item_size` in 1..SLAB_BYTES; records are aligned for any type. */
void slab_init(struct slab_table *table, size_t item_size);
/* Frees the slabs, not what records own; the table is empty afterwards. */
void slab_done(struct slab_table *table);

/* The record of `number`, or NULL. */
void *slab_get(const struct slab_table *table, uint64_t number);
/* A zeroed record for `number`, which must have none yet. */
void *slab_put(struct slab_table *table, uint64_t number);
/* Forgets the record of `number`, which must have one. */
void slab_drop(struct slab_table *table, uint64_t number);

/* The first record whose number is >= `from`, with its number; NULL at the end. */
void *slab_next(const struct slab_table *table, uint64_t from, uint64_t *ret_number);

/* Marks the record of `number`, which must have one, as done in `round` and returns whether it was already. Rounds only
 * count up; in a new round no record is marked, and neither is one that is put later. */
bool slab_mark(struct slab_table *table, uint64_t number, uint64_t round);

uint64_t slab_count(const struct slab_table *table);
size_t slab_memory(const struct slab_table *table);

#endif
