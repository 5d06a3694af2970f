/* SPDX-License-Identifier: Apache-2.0
 * Snapshot files: one file a snapshot, the state in chunks of at most 1 MiB, each an LZ4 frame with its own checksums.
 * Written under a temporary name, made durable, then renamed: a file with a snapshot's name is complete or has rotted.
 * Every byte of it is under some checksum, and its length is in its last bytes.
 *
 * All functions may run on any thread. */
#ifndef CONCLAVE_CONSENSUS_SNAPSHOT_FILE_H
#define CONCLAVE_CONSENSUS_SNAPSHOT_FILE_H

#include <raft.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "consensus/disk.h"
#include "consensus/fault.h"

#define SNAPSHOT_CHUNK     (1u << 20) /* bytes of state in a chunk; only the last may have fewer */
#define SNAPSHOT_STATE_MAX (1u << 30)
#define SNAPSHOT_CONF_MAX  (32u << 10) /* bytes of the encoded configuration */
#define SNAPSHOT_FILES_MAX 64u         /* looked at in a folder */
#define SNAPSHOT_KEPT      2u          /* the newest and the one before */
#define SNAPSHOT_TEMP      "tmp-snapshot"

struct snapshot_id {
    uint64_t index;
    uint64_t term;
};

/* "snapshot-INDEX-TERM" in 16 hexadecimal digits each. ret has DISK_NAME_MAX bytes. */
void snapshot_name(const struct snapshot_id *id, char *ret);
bool snapshot_name_parse(const char *name, struct snapshot_id *ret);

/* Names only, newest (highest index) first; at most SNAPSHOT_FILES_MAX. */
int snapshot_list(struct disk *disk, struct snapshot_id *ret, size_t *ret_n, struct err *err);

/* Writes the snapshot; durable, also its name, on return. ERR_LIMIT: no space, or state over SNAPSHOT_STATE_MAX. */
int snapshot_write(struct disk *disk, const uint8_t cluster_id[16], const struct raft_snapshot *snapshot,
                   struct err *err);

/* Reads and verifies one. *ret (if not NULL) is made with raft_malloc and has one buffer. Damage is ERR_CORRUPT with
 * *ret_fault set (its remedy is the caller's to choose). Never allocates more than the file can hold. */
int snapshot_read(struct disk *disk, const uint8_t cluster_id[16], const struct snapshot_id *id,
                  struct raft_snapshot **ret, struct fault *ret_fault, struct err *err);
void snapshot_free(struct raft_snapshot *snapshot); /* NULL is fine */

/* Removes all snapshots but the newest SNAPSHOT_KEPT, and of those `damaged` (n of them). */
int snapshot_prune(struct disk *disk, const struct snapshot_id *damaged, size_t n, struct err *err);

#endif
