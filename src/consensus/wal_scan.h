/* SPDX-License-Identifier: Apache-2.0
 * Walks the segments of a log, reading only, and applies the rules that tell a torn tail from damage.
 *
 * One write is in flight at a time, and a group is begun only when the one before it is durable. So after a crash at
 * most the LAST group may be bad, and whatever shows that a later group was begun proves that a bad one had been
 * acknowledged. That is damage, never cut:
 *  - a readable group header with this life's nonce and an expected or higher number anywhere behind a bad group;
 *  - a segment after the one with the bad group that has been begun;
 *  - numbers, sums, indexes or terms that do not continue one another;
 *  - a FINAL group with no next file, or a missing file between two others;
 *  - for a segment whose header is bad: a second readable group in it (the header is written together with the first).
 * A bad group without any such proof is cut (torn). Older content of a recycled file is told by its nonce. */
#ifndef CONCLAVE_CONSENSUS_WAL_SCAN_H
#define CONCLAVE_CONSENSUS_WAL_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "consensus/disk.h"
#include "consensus/fault.h"
#include "consensus/wal_format.h"
#include "consensus/wal_terms.h"

/* What the walk tells. Each may be NULL. Entries come in the order written; truncate and reset take back. */
struct wal_visitor {
    void *ctx;
    /* `seq` and `offset` say where the record's data is. Non-zero stops the walk with that code. */
    int (*entry)(void *ctx, uint64_t index, const struct wal_record *r, uint64_t seq, uint64_t offset);
    void (*truncate)(void *ctx, uint64_t index);
    void (*reset)(void *ctx, uint64_t index, uint64_t term);
    /* Damage. True: go on behind it as well as possible; false (or NULL): stop with ERR_CORRUPT. */
    bool (*fault)(void *ctx, const struct fault *fault);
};

struct wal_segment {
    uint64_t seq;
    uint64_t bytes;       /* of the file */
    uint64_t nonce;       /* of this life */
    uint64_t first_index; /* as in its header */
    uint64_t last_live;   /* highest index in it that no later record took back; 0 none */
};

struct wal_scan {
    struct wal_segment *segments; /* begun ones, ascending */
    size_t n_segments;
    uint64_t *spares; /* seq of each spare file */
    size_t n_spares;
    uint64_t prepared;      /* seq of the file made ready behind the last, 0 none */
    uint64_t offset;        /* where the next group goes in the last segment */
    bool final;             /* the last segment is closed */
    bool sealed;            /* the last group is a seal */
    uint64_t number;        /* of the last group, 0 none */
    uint32_t crc;           /* its header sum */
    uint64_t start, next;   /* entries are start..next-1 */
    uint64_t start_term;    /* of the entry before `start`, as far as known */
    uint64_t term;          /* of the last entry, or of the one before an empty log */
    struct wal_terms terms; /* of the entries, unless there was damage */
    uint64_t vote_version;  /* highest seen in a group */
    uint64_t groups, torn_bytes, file_bytes;
};

/* Fills *ret (wal_scan_done frees it, also after an error). ERR_CORRUPT: err names file, offset and remedy.
 * `cluster_id` and `node_id` must be those of every segment. */
int wal_scan_run(struct disk *disk, const uint8_t cluster_id[16], uint64_t node_id, const struct wal_visitor *visitor,
                 struct wal_scan *ret, struct err *err);
void wal_scan_done(struct wal_scan *scan);

#endif
