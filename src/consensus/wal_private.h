/* SPDX-License-Identifier: Apache-2.0
 * What wal.c (appending and writing) and wal_pool.c (segment files) share; nobody else includes it. */
#ifndef CONCLAVE_CONSENSUS_WAL_PRIVATE_H
#define CONCLAVE_CONSENSUS_WAL_PRIVATE_H

#include "base/rng.h"
#include "consensus/latency.h"
#include "consensus/wal.h"
#include "consensus/wal_terms.h"

#define WAL_RECYCLE_MAX 64u  /* segments in one job */
#define WAL_RETRY_MS    500u /* between attempts to make a segment while the disk is full */
#define WAL_KEPT_MAX    2u   /* group buffers kept for re-use */
#define WAL_NONE        UINT64_MAX

struct wal_waiter {
    wal_done_cb done;
    void *data;
};

/* One write, being filled or in flight. */
struct wal_group {
    struct wal_group *next;
    uint8_t *buf; /* a block for a segment header, then the group; aligned to a block */
    size_t cap;   /* bytes for the group */
    size_t length;
    uint32_t count;
    uint64_t entries;     /* of `count`, those that are entries */
    uint64_t first_index; /* index of the next entry when it was begun */
    uint64_t prev_term;   /* of the entry before first_index */
    uint64_t next_index;  /* behind its last record */
    uint64_t lowest;      /* lowest index that one of its records takes back; WAL_NONE */
    uint64_t last_live;   /* its highest entry that none of its records takes back; 0 none */
    uint64_t start;       /* where the log begins after it, if a record moved that; 0 */
    struct wal_waiter *waiters;
    size_t n_waiters, cap_waiters;
};

/* The job that prepares the next segment and makes spares of old ones; one at a time. The fields are the job's while
 * it is under way. */
struct wal_pool {
    struct disk_job job;
    bool busy;
    uint64_t recycle[WAL_RECYCLE_MAX];
    bool recycle_keep[WAL_RECYCLE_MAX]; /* has the right size for a spare */
    size_t n_recycle;
    uint64_t prepare; /* seq to make ready, 0 none */
    uint64_t spares[WAL_SPARES_MAX];
    size_t n_spares;
    int status;
    struct err err;
};

struct wal {
    struct wal_config config;
    struct rng rng;
    bool dead;    /* after fatal */
    bool stopped; /* begins nothing new */
    bool telling; /* inside the waiters' callbacks */

    /* durable */
    struct wal_segment *segments; /* begun ones; the last is being written */
    size_t n_segments, cap_segments;
    uint64_t seq;    /* of the last segment, 0 none */
    uint64_t offset; /* where its next group goes */
    bool final;
    bool sealed; /* nothing would be gained by a seal now */
    uint64_t number;
    uint32_t crc;
    uint64_t start, durable_next;
    uint64_t cut;    /* entries up to here are not needed */
    bool next_ready; /* file seq + 1 is prepared */

    /* accepted */
    struct wal_terms terms;
    uint64_t next; /* index of the next entry */
    struct wal_group *head, *tail;
    struct wal_group *kept;
    size_t n_kept;
    uint64_t pending_bytes;
    uint64_t vote_version;

    /* the write in flight */
    bool writing;
    bool opening;                /* it begins a segment */
    struct wal_group *in_flight; /* NULL: a seal */
    struct wal_group_header header;
    struct wal_segment_header segment_header;
    uint8_t *seal;            /* one block */
    struct disk_job unsynced; /* MUTANT(LOG_UNSYNCED) */

    struct wal_pool pool;
    size_t n_spares; /* as of the last job's end */
    uint64_t now_ms, idle_since_ms, stalled_since_ms, retry_at_ms;
    bool stalled; /* a group waits for a segment */

    uint64_t groups, seals, entries, bytes;
    struct latency latency;
};

/* Starts a write if there is something to write and nothing in flight. */
void wal_pump(struct wal *w);
/* Starts the pool's job if there is something for it to do. */
void wal_pool_run(struct wal *w);
void wal_die(struct wal *w, const struct err *err);
/* Fills in the header of a segment that begins with group `g`. */
void wal_segment_begin(struct wal *w, const struct wal_group *g, struct wal_segment_header *ret);

#endif
