/* SPDX-License-Identifier: Apache-2.0
 * Exchanging what is in a master's data folder for a new life of the node, so that an interruption at any moment leaves
 * either the old node, the new one, or a folder on which no master starts and with which the exchange can go on:
 *
 *   prepare   DIR/recovery-N.new        the new files, complete (made under another name, then renamed)
 *   set aside DIR/before-recovery-N/    every old file but LOCK and `vote`, `identity` first: without it, beside
 * others, no master starts DIR/recovery-N.ready      recovery-N.new, renamed when no other old file is left move in
 * DIR/                      every new file; `vote` (the old one goes aside) and `identity` last
 *
 * N is the incarnation. All of it happens inside the folder, so that a folder that is a mount point will do. The caller
 * holds the folder's lock throughout. */
#ifndef CONCLAVE_CLI_FOLDER_SWAP_H
#define CONCLAVE_CLI_FOLDER_SWAP_H

#include <stdint.h>

#include "base/err.h"
#include "consensus/archive.h"

enum swap_stage {
    SWAP_UNTOUCHED, /* nothing but perhaps an incomplete preparation */
    SWAP_PREPARED,  /* the old node would still start */
    SWAP_BEGUN,     /* old files are being set aside, or new ones moved in */
    SWAP_DONE
};

/* How far the exchange of this folder for incarnation `n` and the snapshot at index, term has come. */
int swap_stage(const char *dir, uint32_t n, uint64_t index, uint64_t term, enum swap_stage *ret, struct err *err);
/* UNTOUCHED to PREPARED. */
int swap_prepare(const char *dir, uint32_t n, const uint8_t cluster_id[16], uint64_t node,
                 const struct archive *archive, struct err *err);
/* PREPARED or BEGUN to DONE. */
int swap_finish(const char *dir, uint32_t n, struct err *err);
/* The snapshot of the new life out of a folder that is at least PREPARED. */
int swap_archive(const char *dir, uint32_t n, const uint8_t cluster_id[16], uint64_t index, uint64_t term,
                 struct archive *ret, struct err *err);

#endif
