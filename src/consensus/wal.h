/* SPDX-License-Identifier: Apache-2.0
 * The write-ahead log of one node: appends groups of records to a chain of segment files (wal_format.h), one write in
 * flight. What is appended while a write is under way goes into the next group, so the group grows with the load.
 *
 * Life of a segment file: spare or new -> prepared (named as the next of the log, its content meaningless) -> begun
 * (one write puts down its header and its first group) -> final (its last group says so) -> all its entries below the
 * cut
 * -> spare again. FINAL is written only when the next file is prepared, so a log that ends in FINAL without a next file
 * has lost one.
 *
 * After `fatal` nothing completes any more. */
#ifndef CONCLAVE_CONSENSUS_WAL_H
#define CONCLAVE_CONSENSUS_WAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "consensus/disk.h"
#include "consensus/wal_format.h"
#include "consensus/wal_scan.h"

#define WAL_PENDING_MAX (256u << 20) /* bytes accepted and not durable: more is fatal */
#define WAL_SPARES_MAX  2u

struct wal; /* opaque */

struct wal_config {
    struct disk *disk;
    uint8_t cluster_id[16];
    uint64_t node_id;
    uint64_t segment_bytes; /* WAL_SEGMENT_MIN..WAL_SEGMENT_MAX, a multiple of DISK_BLOCK */
    uint64_t nonce_seed;    /* 0: from the kernel */
    unsigned seal_after_ms;
    void (*fatal)(void *data, const struct err *err);
    void (*idle)(void *data); /* after wal_stop, when the last thing under way has ended: the log may be freed */
    void *data;
};

/* Called when what was appended is durable, in the order of the calls; canceled: the log was closed first. */
typedef void (*wal_done_cb)(void *data, bool canceled);

/* Writes a log of one entry (index 1) into a folder without one, durably, before wal_open. */
int wal_bootstrap(const struct wal_config *config, const struct wal_record *first, struct err *err);

/* Opens for writing behind what `scan` found (whose lists it takes over). Makes the first segment if there is none. */
int wal_open(const struct wal_config *config, struct wal_scan *scan, struct wal **ret, struct err *err);

/* Frees at once; what is out completes as canceled. Only when wal_idle, or when the disk has forgotten everything. */
void wal_free(struct wal *w);
/* No write and no job is under way. */
bool wal_idle(const struct wal *w);
/* Begins nothing new from now on. */
void wal_stop(struct wal *w);

/* Appends records (entries, or one TRUNCATE or RESET), copied before it returns; `done` may be NULL. ERR_LIMIT: a
 * record is over wal_record_max; nothing was taken. Indexes of entries are counted. */
int wal_append(struct wal *w, const struct wal_record *records, size_t n, wal_done_cb done, void *data);
/* Data bytes that fit in one record. */
size_t wal_record_max(const struct wal *w);

/* Entries up to `index` are not needed any more: whole segments of them become spares. */
void wal_cut(struct wal *w, uint64_t index);
void wal_tick(struct wal *w, uint64_t now_ms);
/* Carried in each group from now on. */
void wal_set_vote_version(struct wal *w, uint64_t version);

uint64_t wal_first(const struct wal *w); /* index of the first entry on disk */
uint64_t wal_last(const struct wal *w);  /* of the last appended, durable or not */
uint64_t wal_last_durable(const struct wal *w);
uint64_t wal_group_number(const struct wal *w);            /* last durable group */
uint64_t wal_term_at(const struct wal *w, uint64_t index); /* 0: not there */
/* Bytes that can be written before another segment must be made: the rest of this one, the prepared one, the spares. */
uint64_t wal_room(const struct wal *w);

struct wal_stats {
    uint64_t groups, seals, entries, bytes; /* since open */
    uint64_t pending_bytes, file_bytes, stalled_ms;
    uint64_t p50_us, p99_us, max_us; /* of writes since open */
};
void wal_stats(const struct wal *w, struct wal_stats *ret);

#endif
