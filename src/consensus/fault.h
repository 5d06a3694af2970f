/* SPDX-License-Identifier: Apache-2.0
 * Damage found in a file of the folder: where, what, and what the operator can do. */
#ifndef CONCLAVE_CONSENSUS_FAULT_H
#define CONCLAVE_CONSENSUS_FAULT_H

#include <stdint.h>

#include "base/err.h"
#include "consensus/disk.h"

struct fault {
    char file[DISK_NAME_MAX];
    uint64_t offset;
    const char *kind;   /* static: identity, vote, segment-header, segment-size, group, record, gap, snapshot, cross */
    const char *remedy; /* static: one of the texts below */
    char text[160];     /* what was found */
};

extern const char fault_remedy_replace[];  /* the node's data is gone, not its vote */
extern const char fault_remedy_newid[];    /* what it promised is gone */
extern const char fault_remedy_foreign[];  /* wrong files */
extern const char fault_remedy_snapshot[]; /* one of two snapshots is gone */
extern const char fault_remedy_repair[];   /* the next start repairs it */
extern const char fault_remedy_copy[];     /* a back-up is bad */

__attribute__((format(printf, 6, 7))) void fault_set(struct fault *ret, const char *file, uint64_t offset,
                                                     const char *kind, const char *remedy, const char *fmt, ...);

/* "FILE at offset N: TEXT; REMEDY" into err. Returns ERR_CORRUPT. */
int fault_err(const struct fault *fault, struct err *err);

#endif
