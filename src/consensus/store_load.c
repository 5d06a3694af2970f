/* SPDX-License-Identifier: Apache-2.0
 * Loading: vote, snapshot, log, and the checks between them. Any one of the three that is older than the others know it
 * to have been is refused. */
#include <string.h>

#include "base/check.h"
#include "base/mutant.h"
#include "consensus/cross_check.h"
#include "consensus/store_private.h"

/* Entries share allocations, which grow to the second size: the core frees a batch with its last entry. */
#define BATCH_FIRST (16u << 10)
#define BATCH_BYTES (1u << 20)

/* Collects the entries of the log as they are walked. */
struct loader {
    struct store *s;
    uint64_t floor; /* entries below are not wanted */
    uint64_t first; /* index of entries[0] */
    struct raft_entry *entries;
    size_t n, cap;
    void **batches;
    size_t n_batches, cap_batches;
    size_t used, room; /* of the last batch */
    struct fault fault;
};

static void loader_done(struct loader *l) {
    for (size_t i = 0; i < l->n_batches; i++)
        raft_free(l->batches[i]);
    raft_free(l->batches);
    raft_free(l->entries);
}

static void *array_grow(void *array, size_t *cap, size_t first, size_t item) {
    size_t wanted = *cap ? 2 * *cap : first;
    void *grown = raft_realloc(array, wanted * item);
    if (grown) *cap = wanted;
    return grown;
}

static uint8_t *batch_take(struct loader *l, size_t len) {
    size_t size = (len + 7) / 8 * 8;
    if (size == 0) size = 8; /* so that no two entries share an address */
    if (l->n_batches == 0 || l->room - l->used < size) {
        if (l->n_batches == l->cap_batches) {
            void *grown = array_grow(l->batches, &l->cap_batches, 64, sizeof *l->batches);
            if (!grown) return NULL;
            l->batches = grown;
        }
        size_t room = l->n_batches == 0 ? BATCH_FIRST : l->room < BATCH_BYTES / 2 ? 2 * l->room : BATCH_BYTES;
        if (room < size) room = size;
        void *batch = raft_malloc(room);
        if (!batch) return NULL;
        l->batches[l->n_batches++] = batch;
        l->room = room;
        l->used = 0;
    }
    uint8_t *p = (uint8_t *)l->batches[l->n_batches - 1] + l->used;
    l->used += size;
    return p;
}

static int entry_load(void *ctx, uint64_t index, const struct wal_record *r, uint64_t seq, uint64_t offset) {
    struct loader *l = ctx;
    (void)seq;
    (void)offset;
    if (index < l->floor) return 0;
    if (l->n == 0) l->first = index;
    CHECK(index == l->first + l->n);
    if (l->n == l->cap) {
        void *grown = array_grow(l->entries, &l->cap, 1024, sizeof *l->entries);
        if (!grown) return err_set(&l->s->err, ERR_NOMEM, "no memory to load the log");
        l->entries = grown;
    }
    uint8_t *p = batch_take(l, r->len);
    if (!p) return err_set(&l->s->err, ERR_NOMEM, "no memory to load the log");
    if (r->len) memcpy(p, r->data, r->len);
    l->entries[l->n++] = (struct raft_entry){.term = r->term,
                                             .type = (unsigned short)r->type,
                                             .buf = {.base = p, .len = r->len},
                                             .batch = l->batches[l->n_batches - 1]};
    return 0;
}

static void truncate_load(void *ctx, uint64_t index) {
    struct loader *l = ctx;
    if (l->n == 0) return;
    if (index <= l->first) {
        l->n = 0;
    } else if (index - l->first < l->n) {
        l->n = index - l->first;
    }
}

static void reset_load(void *ctx, uint64_t index, uint64_t term) {
    struct loader *l = ctx;
    (void)index;
    (void)term;
    l->n = 0;
}

/* Frees batches that no entry uses any more, forgets the others: they are the entries' now. */
static void batches_release(struct loader *l) {
    size_t e = 0;
    for (size_t i = 0; i < l->n_batches; i++) {
        bool used = e < l->n && l->entries[e].batch == l->batches[i];
        while (e < l->n && l->entries[e].batch == l->batches[i])
            e++;
        if (!used) raft_free(l->batches[i]);
    }
    CHECK(e == l->n);
    l->n_batches = 0;
}

/* ---- snapshot ---- */

/* What a loader says is not the file's fault: it ends the start. */
struct loading {
    struct store *s;
    void *loader;
    int status;
};

static int loading_data(void *ctx, const uint8_t *data, size_t len, struct err *err) {
    struct loading *l = ctx;
    l->status = l->s->config.loader.data(l->loader, data, len, err);
    return l->status;
}

/* Reads one: into a loader, or into memory. *ret_fatal: it is whole, but not to be used. */
static int snapshot_one(struct store *s, const struct snapshot_id *id, struct raft_snapshot **ret, bool *ret_fatal) {
    const struct store_loader_ops *ops = &s->config.loader;
    struct fault fault;
    if (!store_loads(s)) return snapshot_read(s->config.disk, s->config.cluster_id, id, ret, &fault, &s->err);
    struct loading l = {.s = s, .loader = ops->open(ops->ctx)};
    struct snapshot_sink sink = {.data = loading_data, .ctx = &l};
    struct raft_snapshot *made = NULL;
    int rv = snapshot_load(s->config.disk, s->config.cluster_id, id, &sink, &made, &fault, &s->err);
    if (rv == 0) l.status = rv = ops->end(l.loader, &s->err);
    *ret_fatal = l.status != 0;
    if (rv != 0) {
        snapshot_free(made);
        ops->free(l.loader);
        return rv;
    }
    CHECK(snapshot_manifest_decode(made->bufs[0].base, made->bufs[0].len, &s->arrived.manifest));
    s->arrived.loader = l.loader;
    *ret = made;
    return 0;
}

/* Reads the newest good snapshot; NULL if there is none. */
static int newest_load(struct store *s, struct raft_snapshot **ret) {
    struct snapshot_id ids[SNAPSHOT_FILES_MAX] = {{0}};
    size_t n;
    struct err first = {0};
    bool fatal = false;
    int rv = snapshot_list(s->config.disk, ids, &n, &s->err);
    if (rv != 0) return rv;
    *ret = NULL;
    for (size_t i = 0; i < n && s->n_snapshots < SNAPSHOT_KEPT; i++) {
        if (*ret) { /* the one before; trusted until it is needed */
            s->snapshots[s->n_snapshots++] = ids[i];
            continue;
        }
        rv = snapshot_one(s, &ids[i], ret, &fatal);
        if (rv == 0) {
            s->snapshots[s->n_snapshots++] = ids[i];
        } else if (rv == ERR_CORRUPT && !fatal) {
            if (s->n_damaged == 0) first = s->err;
            store_snapshot_mark(s, &ids[i]);
        } else {
            return rv;
        }
    }
    if (s->n_damaged == 0) return 0;
    s->err = first;
    s->snapshot_fallback = true;
    return 0; /* whether the log reaches back to what is left is judged with the log */
}

/* ---- the log ---- */

/* The log goes on behind the snapshot only if it has the snapshot's entry, or is empty behind it. */
static bool log_agrees(const struct wal_scan *scan, const struct raft_snapshot *snapshot) {
    if (!snapshot) return true;
    if (scan->next <= snapshot->index) return false;
    return wal_terms_at(&scan->terms, snapshot->index) == snapshot->term;
}

static int files_agree(struct store *s, const struct loader *l, const struct wal_scan *scan,
                       const struct raft_snapshot *snapshot) {
    struct fault fault;
    struct err of_snapshot = s->err; /* if one is damaged */
    if (!cross_check_vote(&s->vote, scan, &fault)) return fault_err(&fault, &s->err);
    if (!cross_check_snapshot(&s->vote, scan, snapshot ? &s->snapshots[0] : NULL, &fault)) {
        int rv = fault_err(&fault, &s->err);
        if (s->n_damaged) s->err = of_snapshot; /* that is the cause */
        return rv;
    }
    if (snapshot || l->n == 0 || (l->first == 1 && l->entries[0].type == RAFT_CHANGE)) return 0;
    fault_set(&fault, "log-0000000000000001", DISK_BLOCK, "record", fault_remedy_replace, "%s",
              "the first entry is not a configuration");
    return fault_err(&fault, &s->err);
}

/* ---- all of it ---- */

static int vote_load(struct store *s) {
    struct fault fault;
    int rv = vote_read(s->config.disk, &s->identity, &s->vote, &s->vote_repaired, &fault, &s->err);
    if (rv == 0 && s->vote_repaired) rv = vote_repair(s->config.disk, &s->identity, &s->err);
    return rv;
}

static int log_load(struct store *s, struct loader *l, struct wal_scan *scan, const struct raft_snapshot *snapshot) {
    struct wal_visitor v = {.ctx = l, .entry = entry_load, .truncate = truncate_load, .reset = reset_load};
    struct err of_snapshot = s->err;
    int rv = wal_scan_run(s->config.disk, s->config.cluster_id, s->config.node_id, &v, scan, &s->err);
    if (rv != 0) return rv;
    s->err = of_snapshot;
    return files_agree(s, l, scan, snapshot);
}

/* Opens the log for writing; if it does not go on behind the snapshot (an install was cut short), empties it first. */
static int wal_begin(struct store *s, struct loader *l, struct wal_scan *scan, const struct raft_snapshot *snapshot) {
    struct wal_config config = store_wal_config(s);
    bool agrees = log_agrees(scan, snapshot);
    s->torn_bytes = scan->torn_bytes;
    int rv = wal_open(&config, scan, &s->wal, &s->err);
    if (rv != 0) return rv;
    wal_set_vote_version(s->wal, s->vote.version);
    if (agrees) return 0;
    struct wal_record reset = {.type = WAL_RESET, .index = snapshot->index, .term = snapshot->term};
    l->n = 0;
    return wal_append(s->wal, &reset, 1, NULL, NULL);
}

static int load(struct store *s, struct loader *l, struct raft_snapshot **ret_snapshot) {
    struct wal_scan scan = {0};
    int rv = disk_remove(s->config.disk, SNAPSHOT_TEMP, &s->err);
    if (rv == 0) rv = disk_remove(s->config.disk, SNAPSHOT_ARRIVING, &s->err);
    if (rv == 0) rv = vote_load(s);
    if (rv == 0) rv = newest_load(s, ret_snapshot);
    if (rv != 0) return rv;
    const struct raft_snapshot *snapshot = *ret_snapshot;
    uint64_t trailing = s->config.load_trailing;
    if (snapshot && trailing && snapshot->index > trailing) l->floor = snapshot->index - trailing + 1;
    rv = log_load(s, l, &scan, snapshot);
    if (rv == 0) rv = wal_begin(s, l, &scan, snapshot);
    wal_scan_done(&scan);
    return rv;
}

int store_load(struct store *s, raft_term *ret_term, raft_id *ret_voted_for, struct raft_snapshot **ret_snapshot,
               raft_index *ret_start_index, struct raft_entry **ret_entries, size_t *ret_n_entries) {
    struct loader l = {.s = s};
    struct raft_snapshot *snapshot = NULL;
    CHECK(!s->loaded && !s->closing);
    int rv = load(s, &l, &snapshot);
    if (rv != 0) {
        snapshot_free(snapshot);
        loader_done(&l);
        return rv == ERR_NOT_FOUND || rv == ERR_LIMIT ? RAFT_IOERR : store_raft_code(rv);
    }
    s->loaded = true;
    store_snapshot_measure(s);
    batches_release(&l);
    *ret_term = s->vote.term;
    *ret_voted_for = MUTANT(VOTE_FORGOTTEN) ? 0 : s->vote.voted_for;
    *ret_snapshot = snapshot;
    *ret_start_index = l.n ? l.first : wal_last(s->wal) + 1;
    *ret_n_entries = l.n;
    *ret_entries = l.n ? l.entries : NULL;
    if (l.n) l.entries = NULL;
    loader_done(&l);
    return 0;
}
