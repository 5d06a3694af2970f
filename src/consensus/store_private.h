/* SPDX-License-Identifier: Apache-2.0
 * What the files of the store share; nobody else includes it. */
#ifndef CONCLAVE_CONSENSUS_STORE_PRIVATE_H
#define CONCLAVE_CONSENSUS_STORE_PRIVATE_H

#include "base/queue.h"
#include "consensus/identity.h"
#include "consensus/snapshot_file.h"
#include "consensus/store.h"
#include "consensus/vote.h"
#include "consensus/wal.h"

/* The one snapshot that is being put. */
struct store_put {
    bool busy;
    bool running; /* its job is under way; `status`, `err` and `damaged` are the job's until then */
    struct disk_job job;
    unsigned trailing; /* 0: an install */
    struct raft_io_snapshot_put *req;
    const struct raft_snapshot *snapshot;
    struct snapshot_id damaged[SNAPSHOT_FILES_MAX]; /* to be removed */
    size_t n_damaged;
    int status;
    struct err err;
};

/* One snapshot that is being read for a follower. */
struct store_get {
    struct queue link;
    struct store *store;
    struct disk_job job;
    struct raft_io_snapshot_get *req;
    struct snapshot_id id;
    struct raft_snapshot *snapshot;
    int status;
    struct fault fault;
    struct err err;
};

struct store {
    struct store_config config;
    struct identity identity;
    struct vote vote;
    bool loaded, closing, dead;
    unsigned depth; /* of callbacks that we are inside of */
    struct err err; /* of the last call */
    struct wal *wal;
    struct wal_record *records; /* scratch of store_append */
    size_t cap_records;

    struct snapshot_id snapshots[SNAPSHOT_KEPT]; /* good ones on disk, newest first */
    size_t n_snapshots;
    struct snapshot_id damaged[SNAPSHOT_FILES_MAX]; /* removed with the next one that is written */
    size_t n_damaged;
    uint64_t snapshot_bytes; /* file size of the newest */
    struct store_put put;
    struct queue gets;

    uint64_t torn_bytes, vote_writes;
    bool vote_repaired, snapshot_fallback;
    void (*closed)(void *data);
    void *closed_data;
};

/* Reports to the owner, once; nothing completes afterwards. */
void store_die(struct store *s, const struct err *err);
/* The raft code for one of ours. */
int store_raft_code(int rv);
struct wal_config store_wal_config(struct store *s);
/* Frees a closing store if nothing is under way. */
void store_close_try(struct store *s);
/* Completes snapshot requests that are out with RAFT_CANCELED. */
void store_snapshots_cancel(struct store *s);
/* Remembers that a snapshot file is bad. */
void store_snapshot_mark(struct store *s, const struct snapshot_id *id);
/* Sets snapshot_bytes. */
void store_snapshot_measure(struct store *s);

#endif
