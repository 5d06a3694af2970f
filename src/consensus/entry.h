/* SPDX-License-Identifier: Apache-2.0
 * The payload of one log entry: a batch of commands. Pure codec; knows nothing of Raft.
 *
 *     u32 magic "CCE1" | u32 count (1..1,000) | count times { u32 length (1..1 MiB), bytes } | zeros to a multiple of 8
 *
 * All integers are little-endian. The padding is there because the core's own encoder and decoder disagree about
 * lengths that are not multiples of 8. One batch has exactly one encoding: the reader refuses anything else, so that
 * equal logs are equal bytes.
 *
 * Invariant: an entry_iter that was initialised without error never reads outside its bytes and hands out exactly
 * `count` commands. */
#ifndef CONCLAVE_CONSENSUS_ENTRY_H
#define CONCLAVE_CONSENSUS_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define ENTRY_COMMAND_MAX  (1u << 20)   /* bytes of one command */
#define ENTRY_BATCH_BYTES  (256u << 10) /* a batch takes no further command that would make it longer than this */
#define ENTRY_COMMANDS_MAX 1000u        /* commands of one batch */
#define ENTRY_HEADER_BYTES 8u
#define ENTRY_ENCODED_MAX  (ENTRY_HEADER_BYTES + 4u + ENTRY_COMMAND_MAX + 4u) /* longest encoding, padding included */

/* Collects commands for one entry. Public fields are read-only. */
struct entry_builder {
    uint32_t count; /* commands so far */
    struct buf bytes;
};

void entry_builder_init(struct entry_builder *b);
void entry_builder_done(struct entry_builder *b);

/* Appends a copy of one command. Returns 0; ERR_BUSY when the batch is full (encode it first, then add again: an empty
 * builder takes any command of 1..ENTRY_COMMAND_MAX bytes); ERR_INVALID for length 0; ERR_LIMIT for one over
 * ENTRY_COMMAND_MAX; ERR_NOMEM. On error nothing changes. */
int entry_builder_add(struct entry_builder *b, const void *command, size_t len);

/* Bytes that entry_builder_encode will write: a multiple of 8, at most ENTRY_ENCODED_MAX; 0 for an empty builder. */
size_t entry_builder_size(const struct entry_builder *b);

/* Writes the entry to `dst` (entry_builder_size bytes, owned by the caller) and empties the builder. The builder must
 * hold a command. */
void entry_builder_encode(struct entry_builder *b, uint8_t *dst);

/* Walks over the commands of an entry. */
struct entry_iter {
    const uint8_t *next; /* private */
    uint32_t left;       /* commands not yet handed out */
    uint32_t count;      /* commands in the entry */
};

/* Checks all of `data` (borrowed while the iterator is used). Returns 0, or ERR_PARSE when a single byte is not as the
 * format says, then `it` is untouched. */
int entry_iter_init(struct entry_iter *it, const void *data, size_t len);
/* Hands out the next command (a part of the entry's bytes), or returns false after the last. */
bool entry_iter_next(struct entry_iter *it, const uint8_t **ret_command, size_t *ret_len);

#endif
