/* SPDX-License-Identifier: Apache-2.0
 * Opening, closing, term and vote, appending. Loading is in store_load.c, snapshots are in store_snapshot.c. */
#include "consensus/store.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "consensus/store_private.h"

#define SEAL_AFTER_MS  20u
#define SOFT_SEGMENTS  4u /* reserves, in segments and in snapshots of the newest one's size */
#define SOFT_SNAPSHOTS 2u
#define HARD_SEGMENTS  2u
#define HARD_SNAPSHOTS 1u
#define VOTE_SYNCS     2u /* durable writes in one change of the vote file */

_Static_assert((int)WAL_COMMAND == RAFT_COMMAND, "record types are libraft's entry types");
_Static_assert((int)WAL_BARRIER == RAFT_BARRIER, "record types are libraft's entry types");
_Static_assert((int)WAL_CHANGE == RAFT_CHANGE, "record types are libraft's entry types");

int store_raft_code(int rv) {
    switch (rv) {
    case 0:
        return 0;
    case ERR_NOMEM:
        return RAFT_NOMEM;
    case ERR_CORRUPT:
    case ERR_INCOMPATIBLE:
        return RAFT_CORRUPT;
    case ERR_NOT_FOUND:
        return RAFT_NOTFOUND;
    case ERR_LIMIT:
        return RAFT_NOSPACE;
    default:
        return RAFT_IOERR;
    }
}

void store_die(struct store *s, const struct err *err) {
    if (s->dead) return;
    s->dead = true;
    s->err = *err;
    s->config.fatal(s->config.data, err);
}

static void wal_fatal(void *data, const struct err *err) {
    store_die(data, err);
}

static void wal_idled(void *data) {
    store_close_try(data);
}

struct wal_config store_wal_config(struct store *s) {
    struct wal_config c = {.disk = s->config.disk,
                           .node_id = s->config.node_id,
                           .segment_bytes = s->config.segment_bytes,
                           .nonce_seed = s->config.nonce_seed,
                           .seal_after_ms = s->config.seal_after_ms,
                           .fatal = wal_fatal,
                           .idle = wal_idled,
                           .data = s};
    memcpy(c.cluster_id, s->config.cluster_id, sizeof c.cluster_id);
    return c;
}

/* ---- life ---- */

int store_open(const struct store_config *config, struct store **ret, struct err *err) {
    uint64_t segment = config->segment_bytes ? config->segment_bytes : STORE_SEGMENT_DEFAULT;
    if (segment < WAL_SEGMENT_MIN || segment > WAL_SEGMENT_MAX || segment % DISK_BLOCK != 0)
        return err_set(err, ERR_INVALID, "a segment size must be a multiple of %u from %u to %u", DISK_BLOCK,
                       WAL_SEGMENT_MIN, WAL_SEGMENT_MAX);
    struct identity want = {.node_id = config->node_id};
    memcpy(want.cluster_id, config->cluster_id, sizeof want.cluster_id);
    int rv = identity_check(config->disk, &want, err);
    if (rv != 0) return rv;
    struct store *s = calloc(1, sizeof *s);
    if (!s) return err_set(err, ERR_NOMEM, "no memory for the store");
    s->config = *config;
    s->config.segment_bytes = segment;
    if (s->config.seal_after_ms == 0) s->config.seal_after_ms = SEAL_AFTER_MS;
    s->identity = want;
    queue_init(&s->gets);
    queue_init(&s->sources);
    queue_init(&s->leaving);
    *ret = s;
    return 0;
}

static void store_free(struct store *s) {
    void (*closed)(void *data) = s->closed;
    void *data = s->closed_data;
    s->closing = true;
    s->depth++; /* the callbacks below may not free it again */
    if (s->wal) wal_stop(s->wal);
    if (s->wal) wal_free(s->wal);
    store_snapshots_cancel(s);
    store_transfers_free(s);
    free(s->records);
    free(s);
    if (closed) closed(data);
}

void store_close_try(struct store *s) {
    if (!s->closing || s->depth > 0 || (s->wal && !wal_idle(s->wal)) || !queue_empty(&s->gets)) return;
    if (s->put.running || !store_transfers_idle(s)) return;
    store_free(s);
}

void store_close(struct store *s, void (*closed)(void *data), void *data) {
    CHECK(!s->closing);
    s->closing = true;
    s->closed = closed;
    s->closed_data = data;
    if (s->wal) wal_stop(s->wal);
    store_close_try(s);
}

void store_abandon(struct store *s) {
    CHECK(s->depth == 0);
    s->closed = NULL;
    store_free(s);
}

/* ---- term and vote ---- */

static int vote_put(struct store *s, struct vote next) {
    if (s->dead) return RAFT_IOERR;
    next.version = s->vote.version + 1;
    next.log_group = s->wal ? wal_group_number(s->wal) : s->vote.log_group;
    int rv = vote_write(s->config.disk, &s->identity, &next, &s->err);
    if (rv != 0) {
        struct err err = s->err;
        store_die(s, &err);
        return RAFT_IOERR;
    }
    s->vote = next;
    s->vote_writes++;
    if (s->wal) wal_set_vote_version(s->wal, next.version);
    return 0;
}

static int vote_change(struct store *s, uint64_t term, uint64_t voted_for) {
    struct vote next = s->vote;
    next.term = term;
    next.voted_for = voted_for;
    return vote_put(s, next);
}

int store_set_term(struct store *s, raft_term term) {
    CHECK(s->loaded && term >= s->vote.term);
    return vote_change(s, term, 0);
}

int store_set_vote(struct store *s, raft_id voted_for) {
    CHECK(s->loaded);
    return vote_change(s, s->vote.term, voted_for);
}

uint64_t store_barred(const struct store *s) {
    return s->vote.barred;
}

int store_unbar(struct store *s) {
    CHECK(s->loaded);
    struct vote next = s->vote;
    next.barred = 0;
    return vote_put(s, next);
}

int store_mark_diverged(struct store *s) {
    CHECK(s->loaded);
    struct vote next = s->vote;
    next.marks |= VOTE_MARK_DIVERGED;
    return vote_put(s, next);
}

struct census {
    bool log, snapshot;
};

static void census_take(void *data, const char *name) {
    struct census *c = data;
    struct snapshot_id id;
    uint64_t seq;
    /* A first segment without a group is what a crash in bootstrap leaves; only more than that is a log. */
    if (wal_segment_name_parse(name, &seq)) c->log = true;
    if (snapshot_name_parse(name, &id)) c->snapshot = true;
}

/* Whether there is nothing that a new configuration would contradict. */
static int pristine(struct store *s) {
    struct census c = {0};
    struct fault fault;
    bool repair;
    int rv = vote_read(s->config.disk, &s->identity, &s->vote, &repair, &fault, &s->err);
    if (rv == 0 && repair) rv = vote_repair(s->config.disk, &s->identity, &s->err);
    if (rv == 0) rv = disk_list(s->config.disk, census_take, &c, &s->err);
    if (rv != 0) return store_raft_code(rv);
    if (c.log && !c.snapshot) {
        struct wal_visitor nobody = {0};
        struct wal_scan scan;
        rv = wal_scan_run(s->config.disk, s->config.cluster_id, s->config.node_id, &nobody, &scan, &s->err);
        c.log = scan.number > 0;
        wal_scan_done(&scan);
        if (rv != 0) return store_raft_code(rv);
    }
    if (!c.log && !c.snapshot && s->vote.voted_for == 0 && s->vote.term <= 1 && s->vote.barred == 0) return 0;
    (void)err_set(&s->err, ERR_EXISTS, "the folder has a log, a snapshot or a vote already");
    return RAFT_CANTBOOTSTRAP;
}

/* libraft pads its encoding to a multiple of 8 and leaves the padding as the heap had it: equal configurations would be
 * different bytes, and what the heap held would be in the log. */
static void configuration_pad_zero(const struct raft_configuration *c, struct raft_buffer *buf) {
    size_t used = 1 + 8; /* version, count */
    for (unsigned i = 0; i < c->n; i++)
        used += 8 + strlen(c->servers[i].address) + 1 + 1; /* id, address, role */
    CHECK(used <= buf->len && buf->len - used < 8);
    memset((uint8_t *)buf->base + used, 0, buf->len - used);
}

int store_bootstrap(struct store *s, const struct raft_configuration *configuration) {
    CHECK(!s->loaded);
    int rv = pristine(s);
    if (rv != 0) return rv;
    struct raft_buffer buf;
    rv = raft_configuration_encode(configuration, &buf);
    if (rv != 0) {
        (void)err_set(&s->err, ERR_NOMEM, "the first configuration does not encode");
        return rv;
    }
    configuration_pad_zero(configuration, &buf);
    rv = vote_change(s, 1, 0);
    if (rv == 0) {
        struct wal_config config = store_wal_config(s);
        struct wal_record first = {.type = WAL_CHANGE, .term = 1, .data = buf.base, .len = (uint32_t)buf.len};
        rv = store_raft_code(wal_bootstrap(&config, &first, &s->err));
    }
    raft_free(buf.base);
    return rv;
}

/* ---- the log ---- */

size_t store_entry_max(const struct store *s) {
    CHECK(s->wal);
    return wal_record_max(s->wal);
}

static void append_done(void *data, bool canceled) {
    struct raft_io_append *req = data;
    req->cb(req, canceled ? RAFT_CANCELED : 0);
}

static int records_reserve(struct store *s, size_t n) {
    if (n <= s->cap_records) return 0;
    struct wal_record *grown = realloc(s->records, n * sizeof *grown);
    if (!grown) return ERR_NOMEM;
    s->records = grown;
    s->cap_records = n;
    return 0;
}

int store_append(struct store *s, struct raft_io_append *req, const struct raft_entry entries[], unsigned n,
                 raft_io_append_cb cb) {
    CHECK(s->loaded && !s->closing && n > 0);
    CHECK(!(s->put.busy && s->put.trailing == 0)); /* its index would be that of another log */
    for (unsigned i = 0; i < n; i++)
        if (entries[i].buf.len > wal_record_max(s->wal)) {
            (void)err_set(&s->err, ERR_LIMIT, "an entry of %zu bytes", entries[i].buf.len);
            return RAFT_TOOBIG;
        }
    if (records_reserve(s, n) != 0) {
        (void)err_set(&s->err, ERR_NOMEM, "no memory to append");
        return RAFT_NOMEM;
    }
    for (unsigned i = 0; i < n; i++)
        s->records[i] = (struct wal_record){.type = (enum wal_record_type)entries[i].type,
                                            .term = entries[i].term,
                                            .data = entries[i].buf.base,
                                            .len = (uint32_t)entries[i].buf.len};
    req->cb = cb;
    return store_raft_code(wal_append(s->wal, s->records, n, append_done, req));
}

int store_truncate(struct store *s, raft_index index) {
    CHECK(s->loaded && !s->closing && index > 0 && index <= wal_last(s->wal) + 1);
    struct wal_record r = {.type = WAL_TRUNCATE, .index = index, .term = wal_term_at(s->wal, index - 1)};
    return store_raft_code(wal_append(s->wal, &r, 1, NULL, NULL));
}

void store_tick(struct store *s, uint64_t now_ms) {
    if (s->wal && !s->closing) wal_tick(s->wal, now_ms);
}

/* ---- figures ---- */

const struct err *store_error(const struct store *s) {
    return &s->err;
}

void store_stats(const struct store *s, struct store_stats *ret) {
    *ret = (struct store_stats){.first_index = 1,
                                .term = s->vote.term,
                                .voted_for = s->vote.voted_for,
                                .syncs = s->vote_writes * VOTE_SYNCS,
                                .torn_bytes = s->torn_bytes,
                                .snapshots_damaged = s->n_damaged,
                                .vote_repaired = s->vote_repaired,
                                .snapshot_fallback = s->snapshot_fallback};
    if (s->n_snapshots) {
        ret->snapshot_index = s->snapshots[0].index;
        ret->snapshot_term = s->snapshots[0].term;
    }
    if (!s->wal) return;
    struct wal_stats w;
    wal_stats(s->wal, &w);
    ret->first_index = wal_first(s->wal);
    ret->last_index = wal_last_durable(s->wal);
    ret->groups = w.groups;
    ret->entries = w.entries;
    ret->bytes = w.bytes;
    ret->seals = w.seals;
    ret->syncs += w.groups;
    ret->sync_p50_us = w.p50_us;
    ret->sync_p99_us = w.p99_us;
    ret->sync_max_us = w.max_us;
    ret->pending_bytes = w.pending_bytes;
    ret->log_bytes = w.file_bytes;
    ret->stalled_ms = w.stalled_ms;
}

int store_space(struct store *s, struct store_space *ret, struct err *err) {
    uint64_t segment = s->config.segment_bytes;
    int rv = disk_free_space(s->config.disk, &ret->free_bytes, err);
    if (rv != 0) return rv;
    ret->soft_bytes = SOFT_SEGMENTS * segment + SOFT_SNAPSHOTS * s->snapshot_bytes;
    ret->segment_bytes = segment;
    ret->log_room = s->wal ? wal_room(s->wal) : 0;
    ret->hard_bytes = HARD_SEGMENTS * segment + HARD_SNAPSHOTS * s->snapshot_bytes;
    return 0;
}
