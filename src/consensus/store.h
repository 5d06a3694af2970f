/* SPDX-License-Identifier: Apache-2.0
 * The storage half of a raft_io: term and vote, the log, snapshots, over one disk (disk.h). The owner fills its raft_io
 * with functions that call these; nothing here knows of the network, of time or of the Raft core's struct.
 *
 * Promises: what was completed with status 0, or returned 0 from store_set_term, store_set_vote and store_bootstrap,
 * is found by store_load after any crash; nothing else is ever found except, at the end, entries whose completion was
 * still out. store_load refuses (with file, offset and remedy in store_error) rather than return less.
 *
 * A write that fails is never reported upward: `fatal` is called, and from then on nothing completes. Restart is the
 * recovery. The only exception is a snapshot of ours (trailing > 0) that finds no space: it completes with
 * RAFT_NOSPACE and changes nothing.
 *
 * Return values are libraft's (0 or a positive RAFT_*), except where `struct err` is a parameter. */
#ifndef CONCLAVE_CONSENSUS_STORE_H
#define CONCLAVE_CONSENSUS_STORE_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "consensus/disk.h"
#include "consensus/snapshot_file.h"

#define STORE_SEGMENT_DEFAULT (64u << 20)
#define STORE_FEED_BYTES      (4u << 20) /* of a snapshot of our own that wait to be written */
#define STORE_SOURCES_MAX     8u         /* snapshots that are being sent */

struct store; /* opaque */

/* Where the bytes of a state go that comes out of a snapshot file, at the start or from another node: piece by piece,
 * without ever being in memory as a whole. `data` and `end` run on the threads of disk jobs, one at a time for each
 * loader; `free` on any thread. See replica.h, whose application stands behind it.
 *
 * With loaders, what passes through the Raft core as the data of a raft_snapshot is a manifest of 64 bytes
 * (snapshot_file.h), and the core's restore asks store_loader_take for the loader that belongs to it. Without (`open`
 * is NULL: a simulation or a test of the core alone) it is the state itself, in memory. */
struct store_loader_ops {
    void *(*open)(void *ctx); /* never NULL */
    int (*data)(void *loader, const uint8_t *data, size_t len, struct err *err);
    int (*end)(void *loader, struct err *err); /* all bytes were given; 0: it may be restored from */
    void (*free)(void *loader);
    void *ctx;
};

struct store_config {
    struct disk *disk; /* borrowed until the store is gone; its folder has been formatted (identity.h) */
    uint8_t cluster_id[16];
    uint64_t node_id;
    uint64_t segment_bytes; /* of new segments, a multiple of 4096, at least 5 blocks; 0 = default */
    uint64_t load_trailing; /* store_load returns at most so many entries behind the snapshot; 0 = all there are */
    uint64_t nonce_seed;    /* of segment nonces; 0: from the kernel. Simulations give one */
    struct store_loader_ops loader;
    unsigned seal_after_ms; /* idle time after which the last group is sealed; 0 = 20 */
    /* The store cannot go on. `err` is borrowed. Comes from the loop, possibly inside a call into the store; the store
     * may not be freed in it. */
    void (*fatal)(void *data, const struct err *err);
    void *data;
};

/* Checks the identity. Reads nothing else: call store_load or store_bootstrap next. `config` is copied. */
int store_open(const struct store_config *config, struct store **ret, struct err *err);

/* Ends gracefully: waits for what is under way, completes what is still out with RAFT_CANCELED, frees the store, then
 * calls `closed`, never inside this call's caller unless the store was idle. */
void store_close(struct store *s, void (*closed)(void *data), void *data);
/* The disk has forgotten everything that was under way (a simulated crash): completes what is out with RAFT_CANCELED
 * and frees the store at once. */
void store_abandon(struct store *s);

/* As raft_io's load. Owns nothing afterwards: snapshot, entries and their batches are the core's to free (raft_free).
 * RAFT_CORRUPT, RAFT_IOERR or RAFT_NOMEM with the reason in store_error. May be called once. */
int store_load(struct store *s, raft_term *ret_term, raft_id *ret_voted_for, struct raft_snapshot **ret_snapshot,
               raft_index *ret_start_index, struct raft_entry **ret_entries, size_t *ret_n_entries);
/* As raft_io's bootstrap: term 1, the configuration as entry 1; durable on return. RAFT_CANTBOOTSTRAP if there is any
 * entry, snapshot, vote or later term. Called before store_load. */
int store_bootstrap(struct store *s, const struct raft_configuration *configuration);

/* Durable on return. set_term forgets the vote. */
int store_set_term(struct store *s, raft_term term);
int store_set_vote(struct store *s, raft_id voted_for);

/* The term up to which the node is barred (reinstall.h), 0: it is not. Behind store_load. */
uint64_t store_barred(const struct store *s);
/* Durable on return: barred no longer; our state is not the majority's, and the folder must not be started as it is. */
int store_unbar(struct store *s);
int store_mark_diverged(struct store *s);

/* Appends entries behind the last one. They are copied before the call returns; completions come in the order of the
 * calls, never inside this call. RAFT_TOOBIG: an entry is larger than store_entry_max; nothing was taken. */
int store_append(struct store *s, struct raft_io_append *req, const struct raft_entry entries[], unsigned n,
                 raft_io_append_cb cb);
/* Drops entries from `index` on: after everything appended before, before everything appended later. */
int store_truncate(struct store *s, raft_index index);

/* trailing > 0: a snapshot of our own; at least `trailing` entries before it, and all since the previous snapshot, are
 * kept. trailing == 0: an install: the whole log is dropped once the file is durable and the next entry is
 * snapshot->index + 1; nothing may be appended between this call and its completion.
 * One at a time; `snapshot` must stay valid until the completion. */
int store_snapshot_put(struct store *s, unsigned trailing, struct raft_io_snapshot_put *req,
                       const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb);
/* The same for a snapshot of our own (trailing > 0) whose state comes bit by bit: the buffers of `snapshot` are not
 * looked at. Its completion comes after the end was fed, or earlier with RAFT_NOSPACE. */
int store_snapshot_begin(struct store *s, unsigned trailing, struct raft_io_snapshot_put *req,
                         const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb);
/* Whether bytes are wanted, now or later; and how many now (0: not before a job of the disk is done). What comes beyond
 * that is taken all the same. */
bool store_snapshot_wants(const struct store *s);
size_t store_snapshot_room(const struct store *s);
/* The next bytes, moved out of `bytes`; `end`: there are no more. ERR_CLOSED if none are wanted. */
int store_snapshot_feed(struct store *s, struct buf *bytes, bool end);
/* There will be no end: completes with RAFT_CANCELED later. Harmless if none are wanted. */
void store_snapshot_give_up(struct store *s);

/* Reads the newest snapshot; the callback owns it. A damaged one is RAFT_CORRUPT (and counted), none RAFT_NOTFOUND.
 * With loaders only its ends are read, and the data is a manifest; store_source_* read the rest. */
int store_snapshot_get(struct store *s, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb);

/* ---- files on their way to another node and from it; with loaders only ---- */

/* The file of a snapshot, read and verified from its beginning to its end. It is not removed before the close. */
struct store_source; /* opaque */
typedef void (*store_source_cb)(void *data, int status, const uint8_t *bytes, size_t len);
/* ERR_NOT_FOUND: it is not there any more; ERR_LIMIT, ERR_NOMEM. */
int store_source_open(struct store *s, const struct snapshot_manifest *m, struct store_source **ret);
/* The next up to `len` bytes, borrowed until the callback returns; one read at a time. status ERR_CORRUPT: the file is
 * damaged (and marked so). */
void store_source_read(struct store_source *source, size_t len, store_source_cb cb, void *data);
/* No callback comes afterwards. */
void store_source_close(struct store_source *source);

/* The file of another node's snapshot, of `size` bytes, arrives: it is verified, decoded into a loader and written to
 * the disk as it comes. `cb` tells how far that is, in the order of the bytes; with a manifest once all of it is
 * durable, verified and loaded: then a store_snapshot_put (trailing 0) with that manifest installs it, and
 * store_loader_take gives the state. With a status, and last: ERR_CORRUPT (it is damaged), ERR_LIMIT (no space). A
 * state that does not load is fatal, as it is at the start. One at a time; ERR_BUSY while another one arrives or is
 * being installed. What arrived before and was not installed is forgotten; see store_arrived_forget. */
typedef void (*store_receive_cb)(void *data, int status, uint64_t bytes, const struct snapshot_manifest *manifest);
int store_receive_begin(struct store *s, const struct snapshot_id *id, uint64_t size, store_receive_cb cb, void *data);
/* The next bytes, copied. At most SNAPSHOT_WINDOW bytes may be ahead of what `cb` told: the sender sees to that. */
int store_receive_data(struct store *s, const uint8_t *bytes, size_t len);
/* No callback comes afterwards. What has come is removed; ERR_BUSY until then. */
void store_receive_abandon(struct store *s);

/* Whether a snapshot is here whose state nobody has taken, and the end of that: its memory is freed and its file
 * removed, off the loop. For the owner who knows that nobody is going to install it. */
bool store_arrived(const struct store *s);
void store_arrived_forget(struct store *s);

/* The loader that holds the state of this manifest: what the start has loaded, or what was received. Its owner now
 * restores from it. NULL: there is none. */
void *store_loader_take(struct store *s, const struct snapshot_manifest *m);
/* Frees a loader on another thread. */
void store_loader_drop(struct store *s, void *loader);

/* To be called every few milliseconds with a monotonic time: seals the last group, retries what waits for space. */
void store_tick(struct store *s, uint64_t now_ms);

/* Largest entry that can be stored. */
size_t store_entry_max(const struct store *s);
/* Why the last call that returned RAFT_* did. */
const struct err *store_error(const struct store *s);

struct store_stats {
    uint64_t first_index, last_index; /* of the log on disk, last durable; first > last when it is empty */
    uint64_t term, voted_for;
    uint64_t snapshot_index, snapshot_term;         /* newest on disk, 0 none */
    uint64_t groups, entries, bytes;                /* written since start; bytes include padding */
    uint64_t seals;                                 /* of `groups`, those without an entry */
    uint64_t syncs;                                 /* durable writes of any kind since start */
    uint64_t sync_p50_us, sync_p99_us, sync_max_us; /* latency of group writes since start */
    uint64_t pending_bytes;                         /* accepted and not yet durable */
    uint64_t log_bytes;                             /* all segments, spares too */
    uint64_t torn_bytes;                            /* cut from the end at load */
    uint64_t stalled_ms;                   /* how long appends have waited for a new segment; 0 = not waiting */
    uint64_t snapshots_damaged;            /* found at load or by snapshot_get */
    bool vote_repaired, snapshot_fallback; /* what load had to do */
};
void store_stats(const struct store *s, struct store_stats *ret);

/* Free space and the two marks against which the owner decides: below `soft` refuse what grows the state, below `hard`
 * hand over, and take entries only while the log has `log_room` of space that is allocated already. The marks follow
 * from the segment size and the newest snapshot. */
struct store_space {
    uint64_t free_bytes, soft_bytes, hard_bytes;
    uint64_t log_room, segment_bytes;
};
int store_space(struct store *s, struct store_space *ret, struct err *err);

#endif
