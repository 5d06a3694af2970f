/* SPDX-License-Identifier: Apache-2.0
 * Checks between the files of a folder. Each of vote file, log and snapshot carries a trace of the others, so that one
 * that was put back from an old copy, or has lost its end, is found although it is intact in itself. Pure. */
#ifndef CONCLAVE_CONSENSUS_CROSS_CHECK_H
#define CONCLAVE_CONSENSUS_CROSS_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "consensus/fault.h"
#include "consensus/snapshot_file.h"
#include "consensus/vote.h"
#include "consensus/wal_scan.h"

/* Each returns true if all is well, else false with *ret_fault set. `snapshot` is the newest good one, or NULL. */
bool cross_check_vote(const struct vote *vote, const struct wal_scan *log, struct fault *ret_fault);
bool cross_check_snapshot(const struct vote *vote, const struct wal_scan *log, const struct snapshot_id *snapshot,
                          struct fault *ret_fault);

#endif
