/* SPDX-License-Identifier: Apache-2.0
 * Offline inspection of a node's folder: is every file intact. Reads only; works beside a running process (open the
 * folder with disk_file_open_readonly), where a tail that is just being written is not a fault. What is in the log:
 * log_reader.h. */
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
    size_t n_faults; /* at most VERIFY_FAULTS_MAX are kept, among them what needs a new id; all are counted below */
    size_t faults_total;
    struct fault faults[VERIFY_FAULTS_MAX];
};

/* Checks every file. Returns 0 when the folder could be read, whatever was found (see ret->ok); else ERR_IO, ERR_NOMEM.
 * `live`: a process may be writing; what looks damaged is read again a few times before it is believed. */
int verify_run(struct disk *disk, bool live, struct verify_report *ret, struct err *err);

#endif
