/* SPDX-License-Identifier: Apache-2.0
 * The guard between the core and the disk: which write was submitted under which term and for which request, what is
 * durable, and the fail-stop on any error. */
#include "consensus/guard_private.h"

#include "base/check.h"
#include "base/mutant.h"

static struct guard *guard_of(struct raft_io *io) {
    struct guard *g = io->impl;
    CHECK_MAGIC(g, GUARD_MAGIC);
    return g;
}

bool writes_unfinished(const struct guard *g) {
    return !queue_empty(&g->writes) || (g->put.active && g->put.ctx.kind == CTX_INSTALL);
}

raft_term writes_term(const struct guard *g) {
    raft_term oldest = 0;
    if (!queue_empty(&g->writes)) oldest = QUEUE_ENTRY(g->writes.next, struct guard_write, link)->term;
    bool install = g->put.active && g->put.ctx.kind == CTX_INSTALL;
    if (install && (oldest == 0 || g->put.ctx.term < oldest)) oldest = g->put.ctx.term;
    return oldest;
}

/* F: the core tests for a new commit index only at its last stored entry. If it learned of n+1 before n is committed,
 * it would test n+1 only, and a leader whose disk is faster than its followers might not commit for a long time. With
 * one voter there is nobody to wait for, and nobody whose answer would make the core test n again. */
static bool withheld(const struct guard *g, const struct guard_write *w) {
    const struct raft *r = g->r;
    if (!GUARD_ON(g, GUARD_F) || !w->own || r->state != RAFT_LEADER || w->term != r->current_term) return false;
    if (g->first_term != r->current_term || w->first <= g->first_index || voters(r) == 1) return false;
    return r->commit_index + 1 < w->first;
}

bool writes_release(struct guard *g, bool all) {
    bool any = false;
    while (!g->dead && !queue_empty(&g->writes)) {
        struct guard_write *w = QUEUE_ENTRY(g->writes.next, struct guard_write, link);
        if (!w->done) break;
        if (!all && !g->closing && withheld(g, w)) break;
        queue_remove(&w->link);
        g->write_count--;
        any = true;
        if (w->own && w->term == g->first_term && w->first <= g->first_index && w->last >= g->first_index)
            g->first_durable = true;
        guard_enter(g, &w->ctx);
        w->cb(w->core_req, 0);
        guard_leave(g);
        if (!w->early) raft_free(w);
    }
    return any;
}

static void append_done(struct raft_io_append *req, int status) {
    struct guard_write *w = req->data;
    struct guard *g = w->g;
    if (g->dead || w->early) return;
    if (status != 0 && !g->closing) {
        guard_die(g, GUARD_FATAL_DISK, "append of entries %llu to %llu failed: %s", w->first, w->last,
                  raft_strerror(status));
        return;
    }
    /* While closing a cancelled write is reported as a success: nobody is told of it any more, and the core's failure
     * path would truncate its log twice. */
    if (status == 0 && w->kept >= w->first) g->durable = w->kept;
    w->done = true;
    if (!g->closing && withheld(g, w)) g->count.completions_withheld++;
    writes_release(g, false);
    guard_settle(g);
}

static int guard_append(struct raft_io *io, struct raft_io_append *req, const struct raft_entry entries[], unsigned n,
                        raft_io_append_cb cb) {
    struct guard *g = guard_of(io);
    if (g->dead) return 0;
    /* append is not told its index: the core has put the entries at the end of its log already. */
    raft_index first = log_last(&g->r->log) - n + 1;
    for (unsigned i = 0; i < n; i++) {
        if (entries[i].buf.len % 8 != 0) {
            guard_die(g, GUARD_FATAL_BREACH, "entry %llu has %zu bytes, not a multiple of 8", first + i,
                      entries[i].buf.len);
            return 0;
        }
        if (entries[i].type == RAFT_CHANGE) g->change_index = first + i;
    }
    struct guard_write *w = raft_malloc(sizeof *w);
    if (w == NULL || g->write_count == GUARD_WRITES_MAX) {
        raft_free(w);
        guard_die(g, GUARD_FATAL_UNAVAILABLE, "no room for another unfinished write (%u are)", g->write_count);
        return 0;
    }
    *w = (struct guard_write){
        .g = g, .core_req = req, .cb = cb, .first = first, .last = first + n - 1, .kept = first + n - 1};
    w->own = g->r->state == RAFT_LEADER;
    w->ctx = g->ctx;
    w->ctx.late = true;
    if (w->own) w->ctx = (struct guard_ctx){.kind = CTX_NONE};
    w->term = g->r->current_term;
    w->req.data = w;
    g->write_count++;
    queue_push(&g->writes, &w->link);
    if (MUTANT(EARLY_COMPLETION) && w->own) {
        g->durable = w->last;
        w->done = w->early = true;
    }
    int rv = g->inner->append(g->inner, &w->req, entries, n, append_done);
    if (rv != 0) guard_die(g, GUARD_FATAL_DISK, "append at %llu refused: %s", first, raft_strerror(rv));
    return 0;
}

static int guard_truncate(struct raft_io *io, raft_index index) {
    struct guard *g = guard_of(io);
    if (g->dead) return 0;
    if (GUARD_ON(g, GUARD_M) && index <= g->r->commit_index) {
        guard_die(g, GUARD_FATAL_BREACH, "truncation at %llu below the commit index %llu", index, g->r->commit_index);
        return 0;
    }
    if (g->durable >= index) g->durable = index - 1;
    for (struct queue *q = g->writes.next; q != &g->writes; q = q->next) {
        struct guard_write *w = QUEUE_ENTRY(q, struct guard_write, link);
        if (w->kept >= index) w->kept = index - 1;
    }
    if (g->change_index >= index) {
        raft_index i = index - 1;
        while (i > g->r->last_applied) {
            const struct raft_entry *entry = log_entry(&g->r->log, i);
            if (entry == NULL || entry->type == RAFT_CHANGE) break;
            i--;
        }
        g->change_index = i > g->r->last_applied ? i : g->r->configuration_index;
    }
    if (MUTANT(SUFFIX_KEPT)) return 0;
    int rv = g->inner->truncate(g->inner, index);
    if (rv != 0) guard_die(g, GUARD_FATAL_DISK, "truncation at %llu failed: %s", index, raft_strerror(rv));
    return 0;
}

static void put_done(struct raft_io_snapshot_put *req, int status) {
    struct guard *g = req->data;
    if (g->dead) return;
    struct guard_put put = g->put;
    g->put.active = false;
    if (put.ctx.kind == CTX_INSTALL) {
        if (status != 0 && !g->closing) {
            guard_die(g, GUARD_FATAL_DISK, "installing snapshot %llu failed: %s", put.ctx.verified,
                      raft_strerror(status));
            return;
        }
        g->durable = put.ctx.verified;
        g->change_index = 0;
    }
    guard_enter(g, &put.ctx);
    put.cb(put.core_req, status);
    guard_leave(g);
    guard_settle(g);
}

static int guard_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                              const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb) {
    struct guard *g = guard_of(io);
    if (g->dead) return RAFT_IOERR;
    CHECK(!g->put.active);
    g->put = (struct guard_put){.active = true, .core_req = req, .cb = cb};
    if (g->ctx.kind == CTX_INSTALL) {
        g->put.ctx = g->ctx;
        g->put.ctx.late = true;
    }
    g->put.req.data = g;
    int rv = g->inner->snapshot_put(g->inner, trailing, &g->put.req, snapshot, put_done);
    if (rv == 0) return 0;
    g->put.active = false;
    if (g->put.ctx.kind == CTX_INSTALL) guard_die(g, GUARD_FATAL_DISK, "install refused: %s", raft_strerror(rv));
    return rv;
}

struct snapshot_get {
    struct guard *g;
    struct raft_io_snapshot_get req;
    struct raft_io_snapshot_get *core_req;
    raft_io_snapshot_get_cb cb;
};

static void get_done(struct raft_io_snapshot_get *req, struct raft_snapshot *snapshot, int status) {
    struct snapshot_get *get = req->data;
    struct guard *g = get->g;
    guard_enter(g, NULL);
    get->cb(get->core_req, snapshot, status);
    guard_leave(g);
    raft_free(get);
    guard_settle(g);
}

static int guard_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb) {
    struct guard *g = guard_of(io);
    if (g->dead) return RAFT_IOERR;
    struct snapshot_get *get = raft_malloc(sizeof *get);
    if (get == NULL) return RAFT_NOMEM;
    *get = (struct snapshot_get){.g = g, .core_req = req, .cb = cb};
    get->req.data = get;
    int rv = g->inner->snapshot_get(g->inner, &get->req, get_done);
    if (rv != 0) raft_free(get);
    return rv;
}

static int guard_load(struct raft_io *io, raft_term *term, raft_id *voted_for, struct raft_snapshot **snapshot,
                      raft_index *start_index, struct raft_entry *entries[], size_t *n_entries) {
    struct guard *g = guard_of(io);
    int rv = g->inner->load(g->inner, term, voted_for, snapshot, start_index, entries, n_entries);
    if (rv != 0) {
        for (size_t i = 0; i < sizeof io->errmsg; i++)
            io->errmsg[i] = g->inner->errmsg[i];
        return rv;
    }
    g->disk_term = g->seen_term = *term;
    g->disk_vote = *voted_for;
    g->durable = *start_index + *n_entries - 1;
    for (size_t i = 0; i < *n_entries; i++)
        if ((*entries)[i].type == RAFT_CHANGE) g->change_index = *start_index + i;
    return 0;
}

/* A failure is never told to the core, here and below: it would take itself down half-way through a change of its
 * state, and free what it has not set. The guard is dead by then, so whatever the core goes on to say is heard by
 * nobody. */
static int guard_set_term(struct raft_io *io, raft_term term) {
    struct guard *g = guard_of(io);
    if (g->dead) return 0;
    if (GUARD_ON(g, GUARD_M) && term <= g->disk_term) {
        guard_die(g, GUARD_FATAL_BREACH, "term %llu after term %llu", term, g->disk_term);
        return 0;
    }
    int rv = g->inner->set_term(g->inner, term);
    if (rv != 0) {
        guard_die(g, GUARD_FATAL_DISK, "storing term %llu failed: %s", term, raft_strerror(rv));
        return 0;
    }
    g->disk_term = term;
    g->disk_vote = 0;
    return 0;
}

static int guard_set_vote(struct raft_io *io, raft_id id) {
    struct guard *g = guard_of(io);
    if (g->dead) return 0;
    if (GUARD_ON(g, GUARD_E) && g->disk_vote != 0 && g->disk_vote != id) {
        guard_die(g, GUARD_FATAL_BREACH, "second vote in term %llu: %llu, then %llu", g->disk_term, g->disk_vote, id);
        return 0;
    }
    int rv = g->inner->set_vote(g->inner, id);
    if (rv != 0) {
        guard_die(g, GUARD_FATAL_DISK, "storing a vote failed: %s", raft_strerror(rv));
        return 0;
    }
    g->disk_vote = id;
    return 0;
}

void disk_bind(struct guard *g) {
    g->outer->load = guard_load;
    g->outer->set_term = guard_set_term;
    g->outer->set_vote = guard_set_vote;
    g->outer->append = guard_append;
    g->outer->truncate = guard_truncate;
    g->outer->snapshot_put = guard_snapshot_put;
    g->outer->snapshot_get = guard_snapshot_get;
}

void disk_free(struct guard *g) {
    while (!queue_empty(&g->writes)) {
        struct guard_write *w = QUEUE_ENTRY(g->writes.next, struct guard_write, link);
        queue_remove(&w->link);
        raft_free(w);
    }
}
