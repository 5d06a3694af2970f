/* SPDX-License-Identifier: Apache-2.0
 * Whose folder is this: the file `identity`, written once when the folder is made, never changed.
 *
 * It keeps a node from starting on another cluster's or another node's data, on a later format, or on a folder that has
 * lost part of its content. A wiped folder is pristine: it has no identity. One can be made in it, but with another
 * random number (`folder`), by which the other members see that this is not the folder they have met (pins.h). */
#ifndef CONCLAVE_CONSENSUS_IDENTITY_H
#define CONCLAVE_CONSENSUS_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "consensus/disk.h"

#define IDENTITY_FILE   "identity"
#define IDENTITY_FORMAT 1u /* of all files of the folder together */

struct identity {
    uint8_t cluster_id[16];
    uint64_t node_id;    /* never 0 */
    uint64_t created_ms; /* wall clock, display only */
    uint64_t folder;     /* random, another in each folder that was ever made; 0: made before there was one */
    bool joined;         /* made by a node that waits to be added to a cluster: it never makes one itself */
};

/* The number by which other members know the folder: `folder`, or in an older folder what follows from the rest of the
 * file. Never 0. */
uint64_t identity_folder(const struct identity *identity);

/* Reads and checks the file by itself. ERR_NOT_FOUND: the folder is pristine (nothing but what a crash in
 * identity_format leaves). ERR_CORRUPT: damaged, or missing beside data. ERR_INCOMPATIBLE: another format. */
int identity_read(struct disk *disk, struct identity *ret, struct err *err);

/* As identity_read, then demands that it is `want` (created_ms and folder aside): else ERR_INVALID, and the text says
 * what was found and what to do. */
int identity_check(struct disk *disk, const struct identity *want, struct err *err);

/* Makes a pristine folder into the folder of `identity`: vote file first, then pins (if it has a `folder` number),
 * identity last, each durable. A crash in between leaves a pristine folder. ERR_EXISTS if the folder is not pristine.
 */
int identity_format(struct disk *disk, const struct identity *identity, struct err *err);

#endif
