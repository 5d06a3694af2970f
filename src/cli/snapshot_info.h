/* SPDX-License-Identifier: Apache-2.0
 * What there is to say about a snapshot. */
#ifndef CONCLAVE_CLI_SNAPSHOT_INFO_H
#define CONCLAVE_CLI_SNAPSHOT_INFO_H

#include "conclave/tools.pb-c.h"
#include "consensus/archive.h"
#include "scheduler/state.h"

struct snapshot_info {
    Conclave__Tools__SnapshotInfo message; /* points into this struct and what it was made of */
    /* private */
    char cluster[33], hash[33], applied[48], wall[32];
    Conclave__Tools__SnapshotMember members[ARCHIVE_MEMBERS_MAX], *member_pointers[ARCHIVE_MEMBERS_MAX];
    Conclave__Tools__Count kinds[4], *kind_pointers[4];
};

/* `state`: restored from the archive. `bytes`: of the file, 0 unknown. `file` is borrowed. */
void snapshot_info_make(struct snapshot_info *ret, const char *file, uint64_t bytes, const uint8_t cluster_id[16],
                        const struct archive *archive, const struct state *state);
void snapshot_info_print(const struct snapshot_info *info);

/* Reads a file and restores its state: everything is decoded, every invariant and the hash are checked. ERR_CORRUPT
 * with *ret_fault. *ret_state is new, the caller frees it; the archive too. */
int snapshot_open(const char *path, uint8_t ret_cluster_id[16], struct archive *ret, struct state **ret_state,
                  uint64_t *ret_bytes, struct fault *ret_fault, struct err *err);

#endif
