/* SPDX-License-Identifier: Apache-2.0
 * What the files of the store share; nobody else includes it. */
#ifndef CONCLAVE_CONSENSUS_STORE_PRIVATE_H
#define CONCLAVE_CONSENSUS_STORE_PRIVATE_H

#include "base/buf.h"
#include "base/queue.h"
#include "consensus/identity.h"
#include "consensus/snapshot_file.h"
#include "consensus/store.h"
#include "consensus/vote.h"
#include "consensus/wal.h"

/* The one snapshot that is being put. */
struct store_put {
    bool busy;
    bool running; /* its job is under way; `status`, `err`, `damaged`, `pinned`, `work` and `writer` are the job's until
                     then */
    bool bits;    /* the state comes through store_snapshot_feed */
    bool ended;   /* and its end has come */
    bool given_up;
    bool last; /* the job writes the end */
    struct disk_job job;
    unsigned trailing; /* 0: an install */
    struct raft_io_snapshot_put *req;
    const struct raft_snapshot *snapshot;
    struct snapshot_id damaged[SNAPSHOT_FILES_MAX]; /* to be removed */
    size_t n_damaged;
    struct snapshot_id pinned[STORE_SOURCES_MAX]; /* not to be removed */
    size_t n_pinned;
    struct snapshot_writer *writer;
    struct buf queue, work; /* of the state: waiting, being written */
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

/* A snapshot file that another node sends. */
struct store_receive {
    bool busy;
    bool running;   /* its job is under way; all but `queue` and `abandoned` is the job's until then */
    bool abandoned; /* nobody wants to know any more */
    struct disk_job job;
    struct snapshot_id id;
    uint64_t size, offset; /* of the file; of `work` in it */
    uint64_t queued;       /* bytes that have come */
    struct snapshot_decoder *decoder;
    void *loader;
    struct buf queue, work;
    struct snapshot_manifest manifest; /* once whole */
    bool whole;
    int loader_status; /* what the loader said last */
    store_receive_cb cb;
    void *cb_data;
    int status;
    struct err err;
};

/* A loaded state that waits for its restore, and the file in SNAPSHOT_ARRIVING that it came from. */
struct store_arrived {
    void *loader; /* NULL: none */
    struct snapshot_manifest manifest;
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
    struct queue sources; /* struct store_source */
    struct store_receive receive;
    struct store_arrived arrived;
    struct queue leaving; /* loaders that a job is freeing */

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
bool store_snapshot_marked(const struct store *s, const struct snapshot_id *id);

/* store_transfer.c */
/* Whether snapshots pass through the core as manifests, their states through loaders. */
static inline bool store_loads(const struct store *s) {
    return s->config.loader.open != NULL;
}
/* Frees a loader on another thread. NULL is harmless. */
void store_loader_free(struct store *s, void *loader);
/* The file that has arrived is the one that this manifest names. */
bool store_arrived_is(const struct store *s, const struct snapshot_manifest *m);
size_t store_pins(const struct store *s, struct snapshot_id ret[STORE_SOURCES_MAX]);
/* Nothing of it is under way. */
bool store_transfers_idle(const struct store *s);
/* Frees what waits, at the end of the store. */
void store_transfers_free(struct store *s);
/* Sets snapshot_bytes. */
void store_snapshot_measure(struct store *s);

#endif
