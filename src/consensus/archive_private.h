/* SPDX-License-Identifier: Apache-2.0
 * What the files of archive.h share. */
#ifndef CONCLAVE_CONSENSUS_ARCHIVE_PRIVATE_H
#define CONCLAVE_CONSENSUS_ARCHIVE_PRIVATE_H

#include "consensus/archive.h"

/* Writes the snapshot through `disk`, under its own name. */
int archive_put(struct disk *disk, const uint8_t cluster_id[16], const struct archive *a, struct err *err);

#endif
