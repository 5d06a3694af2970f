/* SPDX-License-Identifier: Apache-2.0
 * Memory for one request: many small allocations, one free, and never more than a limit told at the start.
 * It also serves protobuf-c as an allocator, whose free does nothing. Not for use by two threads at once. */
#ifndef CONCLAVE_WIRE_ARENA_H
#define CONCLAVE_WIRE_ARENA_H

#include <stddef.h>

#include <protobuf-c/protobuf-c.h>

struct arena_block;

struct arena {
    struct arena_block *blocks; /* the newest first; private */
    size_t held;                /* bytes taken from the heap */
    size_t limit;               /* held never exceeds this */
    int error;                  /* 0, or why an allocation was refused: ERR_LIMIT, ERR_NOMEM */
    ProtobufCAllocator allocator;
};

/* `limit` in bytes, block overhead included. Must not be moved or copied afterwards. Allocates nothing yet. */
void arena_init(struct arena *a, size_t limit);
/* Frees everything that was given out; the arena is as after arena_init. */
void arena_done(struct arena *a);

/* Memory aligned for any type, not zeroed; NULL when refused. `size` 0 gives a valid pointer. */
void *arena_alloc(struct arena *a, size_t size);
/* Makes `old` (from this arena, `old_size` bytes) `new_size` bytes long, in place where it can; NULL when refused. */
void *arena_grow(struct arena *a, void *old, size_t old_size, size_t new_size);
/* A NUL-terminated copy of `len` bytes. */
char *arena_strndup(struct arena *a, const char *text, size_t len);
#endif
