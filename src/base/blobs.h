/* SPDX-License-Identifier: Apache-2.0
 * Memory for very many small byte strings of known length, owned by one table: pieces of a multiple of 8 bytes cut
 * from blocks of 64 KiB, and those from regions of 4 MiB. Against malloc it saves the header and the rounding of each
 * piece, and a thread that fills a table asks the system for a region at a time. A block whose last piece went serves
 * for pieces of any size; regions are given back at the end only. Under AddressSanitizer every piece is malloc's.
 *
 * Pieces do not move; the struct may be moved as long as nobody is inside. Running out of memory ends the process
 * (CHECK). */
#ifndef CONCLAVE_BASE_BLOBS_H
#define CONCLAVE_BASE_BLOBS_H

#include <stddef.h>
#include <stdint.h>

#define BLOB_UNIT    8u
#define BLOB_MAX     512u /* longer ones are malloc's */
#define BLOB_CLASSES (BLOB_MAX / BLOB_UNIT)
#define BLOB_BLOCK   65536u
#define BLOB_REGION  64u /* blocks; one of them is lost to alignment. What was never used is no memory yet */

struct blobs {                             /* private; all zeros: empty */
    struct blob_block *open[BLOB_CLASSES]; /* blocks with a free piece */
    struct blob_block *empty;              /* blocks without a piece */
    struct blob_region *regions;
    uint8_t *fresh; /* blocks of the newest region that were never used */
    uint32_t fresh_count;
    size_t pieces; /* in use */
};

/* Room for `len` bytes, at least 1, uninitialised, aligned to 8 bytes. */
void *blobs_get(struct blobs *blobs, size_t len);
/* Gives it back; `len` as it was asked for. NULL is harmless. */
void blobs_put(struct blobs *blobs, void *piece, size_t len);
/* Every piece has been given back. */
void blobs_done(struct blobs *blobs);

#endif
