/* SPDX-License-Identifier: Apache-2.0
 * Offline inspection of a node's folder: is every file intact, and what is in the log. Reads only; works beside a
 * running process (open the folder with disk_file_open_readonly), where a tail that is just being written is not a
 * fault. */
#ifndef CONCLAVE_CONSENSUS_VERIFY_H
#define CONCLAVE_CONSENSUS_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "consensus/disk.h"
#include "consensus/fault.h"
#include "consensus/identity.h"

#define VERIFY_FAULTS_MAX 64

struct verify_report {
    bool ok;       /* no faults */
    bool pristine; /* an empty folder: nothing else is set */
    struct identity identity;
    uint64_t term, voted_for;
    uint64_t first, last; /* entries in the log; first > last when it is empty */
    uint64_t last_term;
    uint64_t groups, segments;
    uint64_t torn_bytes; /* would be cut from the end at the next start */
    uint64_t snapshot_index, snapshot_term, snapshots;
    size_t n_faults; /* at most VERIFY_FAULTS_MAX are kept; more are counted in faults_total */
    size_t faults_total;
    struct fault faults[VERIFY_FAULTS_MAX];
};

/* Checks every file. Returns 0 when the folder could be read, whatever was found (see ret->ok); else ERR_IO, ERR_NOMEM.
 * `live`: a process may be writing; what looks damaged is read again a few times before it is believed. */
int verify_run(struct disk *disk, bool live, struct verify_report *ret, struct err *err);

/* One entry of the log. `data` is borrowed for the call. `type`: 1 command batch, 2 barrier, 3 configuration. Return
 * false to stop. */
typedef bool (*verify_entry_cb)(void *ctx, uint64_t index, uint64_t term, int type, const uint8_t *data, size_t len);

/* Calls cb for the entries from..to (inclusive, in order; clipped to what there is). Entries that a later truncation
 * removed are not shown. *ret_first and *ret_last (each may be NULL) are set to what there is.
 * ERR_NOT_FOUND: nothing there in that range. ERR_CORRUPT: the log is damaged; entries before the damage may have been
 * shown and the text names file and offset. */
int verify_entries(struct disk *disk, bool live, uint64_t from, uint64_t to, verify_entry_cb cb, void *ctx,
                   uint64_t *ret_first, uint64_t *ret_last, struct err *err);

#endif
