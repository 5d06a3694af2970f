/* SPDX-License-Identifier: Apache-2.0
 * Snapshot files: one file a snapshot, the state in chunks of at most 1 MiB, each an LZ4 frame with its own checksums.
 * Written under a temporary name, made durable, then renamed: a file with a snapshot's name is complete or has rotted.
 * Every byte of it is under some checksum, and its length is in its last bytes.
 *
 * A state is written and read in pieces; nothing here ever holds more than a few chunks of it, except snapshot_read
 * into memory. The same bytes travel to a follower: the file is the transfer format.
 *
 * All functions may run on any thread, one at a time for each writer or decoder. */
#ifndef CONCLAVE_CONSENSUS_SNAPSHOT_FILE_H
#define CONCLAVE_CONSENSUS_SNAPSHOT_FILE_H

#include <raft.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "consensus/disk.h"
#include "consensus/fault.h"

#define SNAPSHOT_CHUNK      (1u << 20)           /* bytes of state in a chunk; only the last may have fewer */
#define SNAPSHOT_STATE_MAX  (UINT64_C(64) << 30) /* bytes of state in one snapshot */
#define SNAPSHOT_MEMORY_MAX (UINT64_C(1) << 30)  /* of a state that is read into memory as a whole */
#define SNAPSHOT_CONF_MAX   (32u << 10)          /* bytes of the encoded configuration */
#define SNAPSHOT_FILES_MAX  64u                  /* looked at in a folder */
#define SNAPSHOT_KEPT       2u                   /* the newest and the one before */
#define SNAPSHOT_TEMP       "tmp-snapshot"
#define SNAPSHOT_ARRIVING   "tmp-install" /* one that is being received */
/* Bytes of a file between two synchronisations: the log's writes never wait behind all of it going to the disk at once.
 */
#define SNAPSHOT_SYNC   (4u << 20)
#define SNAPSHOT_WINDOW (8u << 20) /* bytes of a file that its sender may be ahead of its receiver */

struct snapshot_id {
    uint64_t index;
    uint64_t term;
};

/* "snapshot-INDEX-TERM" in 16 hexadecimal digits each. ret has DISK_NAME_MAX bytes. */
void snapshot_name(const struct snapshot_id *id, char *ret);
bool snapshot_name_parse(const char *name, struct snapshot_id *ret);

/* Names only, newest (highest index) first; at most SNAPSHOT_FILES_MAX. */
int snapshot_list(struct disk *disk, struct snapshot_id *ret, size_t *ret_n, struct err *err);

/* ---- writing ---- */

struct snapshot_writer; /* opaque */

/* Begins SNAPSHOT_TEMP. Of `head` index, term and configuration are used. `head` is not needed afterwards. */
int snapshot_writer_new(struct disk *disk, const uint8_t cluster_id[16], const struct raft_snapshot *head,
                        struct snapshot_writer **ret, struct err *err);
/* The next bytes of the state. ERR_LIMIT: no space, or over SNAPSHOT_STATE_MAX. After an error only free it. */
int snapshot_writer_data(struct snapshot_writer *w, const void *data, size_t len, struct err *err);
/* There are no more: durable, also its name, on return. */
int snapshot_writer_end(struct snapshot_writer *w, struct err *err);
/* Removes the file if it was not ended. NULL is harmless, here and below. */
void snapshot_writer_undo(struct snapshot_writer *w);
void snapshot_writer_free(struct snapshot_writer *w); /* the memory only */

/* All of it at once, from the buffers of `snapshot`. */
int snapshot_write(struct disk *disk, const uint8_t cluster_id[16], const struct raft_snapshot *snapshot,
                   struct err *err);

/* ---- reading ---- */

/* Takes the state's bytes in order, a chunk at a time. What it returns other than 0 ends the reading and is returned.
 */
struct snapshot_sink {
    int (*data)(void *ctx, const uint8_t *data, size_t len, struct err *err);
    void *ctx;
};

struct snapshot_decoder; /* opaque: judges the bytes of a file as they come */

/* `name` is for messages. `size`: how long the file is. `sink` may be NULL. ERR_NOMEM. */
int snapshot_decoder_new(const uint8_t cluster_id[16], const struct snapshot_id *id, const char *name, uint64_t size,
                         const struct snapshot_sink *sink, struct snapshot_decoder **ret, struct err *err);
/* The next bytes, pieces of any size. ERR_CORRUPT with *ret_fault set: damaged. Then only free it. */
int snapshot_decoder_data(struct snapshot_decoder *d, const uint8_t *data, size_t len, struct fault *ret_fault,
                          struct err *err);
/* All bytes were given: 0 if the file is whole. *ret (if not NULL) is made with raft_malloc: index, term, configuration
 * and one buffer, the manifest (below). */
int snapshot_decoder_end(struct snapshot_decoder *d, struct raft_snapshot **ret, struct fault *ret_fault,
                         struct err *err);
void snapshot_decoder_free(struct snapshot_decoder *d); /* NULL is harmless */

/* Reads and verifies one, giving the state to `sink` (NULL: to nobody). *ret as snapshot_decoder_end has it. */
int snapshot_load(struct disk *disk, const uint8_t cluster_id[16], const struct snapshot_id *id,
                  const struct snapshot_sink *sink, struct raft_snapshot **ret, struct fault *ret_fault,
                  struct err *err);
/* Header, configuration and footer only: what is between them is neither read nor judged. */
int snapshot_head(struct disk *disk, const uint8_t cluster_id[16], const struct snapshot_id *id,
                  struct raft_snapshot **ret, struct fault *ret_fault, struct err *err);
/* Reads and verifies one into memory. *ret (if not NULL) has one buffer, the state. Damage is ERR_CORRUPT with
 * *ret_fault set (its remedy is the caller's to choose). Never allocates more than the file can hold; ERR_LIMIT for a
 * state over SNAPSHOT_MEMORY_MAX. */
int snapshot_read(struct disk *disk, const uint8_t cluster_id[16], const struct snapshot_id *id,
                  struct raft_snapshot **ret, struct fault *ret_fault, struct err *err);
void snapshot_free(struct raft_snapshot *snapshot); /* NULL is fine */

/* ---- manifest: what passes through the Raft core in place of a state ---- */

#define SNAPSHOT_MANIFEST_BYTES 64u

struct snapshot_manifest {
    struct snapshot_id id;
    uint64_t file_size, state_size;
    struct hash128 hash; /* the file's: of the row of the hashes of the chunks */
};
void snapshot_manifest_encode(const struct snapshot_manifest *m, uint8_t bytes[SNAPSHOT_MANIFEST_BYTES]);
/* False: this is no manifest. */
bool snapshot_manifest_decode(const void *bytes, size_t len, struct snapshot_manifest *ret);

/* ---- the folder ---- */

/* Removes all snapshots but the newest SNAPSHOT_KEPT and those in `pinned` (n_pinned of them), and of all `damaged` (n
 * of them). */
int snapshot_prune(struct disk *disk, const struct snapshot_id *damaged, size_t n, const struct snapshot_id *pinned,
                   size_t n_pinned, struct err *err);

#endif
