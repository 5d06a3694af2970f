/* SPDX-License-Identifier: Apache-2.0
 * Snapshots for tools, without the core's types: read out of a data folder or from a file of any name, written into
 * either, and made the beginning of a new life of a node. The format is snapshot_file.h's; nothing of it is known here.
 *
 * All functions run on any thread and block. */
#ifndef CONCLAVE_CONSENSUS_ARCHIVE_H
#define CONCLAVE_CONSENSUS_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "consensus/disk.h"
#include "consensus/fault.h"

#define ARCHIVE_MEMBERS_MAX  16
#define ARCHIVE_ADDRESS_MAX  128
#define ARCHIVE_FOLDER_FILES 64u /* most snapshots of a folder that are looked at */

struct archive_member {
    uint64_t id;
    char address[ARCHIVE_ADDRESS_MAX]; /* HOST:PORT of its peer port */
    bool voter;
};

/* A snapshot in memory; archive_done frees it. All zero is an empty one. */
struct archive {
    uint64_t index, term; /* of the last entry in it */
    uint64_t conf_index;  /* of the entry that made the configuration, 0 unknown */
    struct archive_member members[ARCHIVE_MEMBERS_MAX];
    unsigned member_count;
    uint8_t *state; /* what replica_app.snapshot gave */
    size_t state_len;
};
void archive_done(struct archive *a);

struct archive_row {
    uint64_t index, term, bytes;
    char name[DISK_NAME_MAX];
};
/* The snapshot files of a folder, newest first. */
int archive_list(struct disk *disk, struct archive_row ret[ARCHIVE_FOLDER_FILES], size_t *ret_n, struct err *err);
/* Reads and verifies one of them. ERR_CORRUPT: *ret_fault says where. */
int archive_read(struct disk *disk, const uint8_t cluster_id[16], const struct archive_row *row, struct archive *ret,
                 struct fault *ret_fault, struct err *err);

/* A snapshot file of any name and of any cluster. ERR_CORRUPT: not one, or damaged; *ret_fault says where. */
int archive_file_read(const char *path, uint8_t ret_cluster_id[16], struct archive *ret, struct fault *ret_fault,
                      struct err *err);
/* Makes the file, whole and durable or not at all, and never over another one (ERR_EXISTS). *ret_bytes: its size. */
int archive_file_write(const char *path, const uint8_t cluster_id[16], const struct archive *archive,
                       uint64_t *ret_bytes, struct err *err);

/* The members of a configuration entry of the log (type 3). ERR_CORRUPT. */
int archive_members_decode(const uint8_t *data, size_t len, struct archive *ret, struct err *err);

/* Makes `path` (which must not exist, or be empty) the data folder of a node whose log begins behind the snapshot, in
 * the snapshot's term. The folder appears with everything in it or not at all. */
int archive_found(const char *path, const uint8_t cluster_id[16], uint64_t node_id, const struct archive *archive,
                  struct err *err);

#endif
