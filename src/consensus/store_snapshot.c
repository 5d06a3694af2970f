/* SPDX-License-Identifier: Apache-2.0
 * Snapshots: written and read in jobs of the disk, so that the loop goes on meanwhile.
 *
 * An install is durable in this order: the file, then a RESET record in the log, then the completion. A crash in
 * between leaves a snapshot ahead of the log, which store_load takes for what it is. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "consensus/store_private.h"

void store_snapshot_mark(struct store *s, const struct snapshot_id *id) {
    for (size_t i = 0; i < s->n_damaged; i++)
        if (s->damaged[i].index == id->index && s->damaged[i].term == id->term) return;
    if (s->n_damaged < SNAPSHOT_FILES_MAX) s->damaged[s->n_damaged++] = *id;
}

void store_snapshot_measure(struct store *s) {
    char name[DISK_NAME_MAX];
    struct err err;
    if (s->n_snapshots == 0) return;
    snapshot_name(&s->snapshots[0], name);
    if (disk_size(s->config.disk, name, &s->snapshot_bytes, &err) != 0) s->snapshot_bytes = 0;
}

/* ---- put ---- */

static void put_work(void *data) {
    struct store *s = data;
    struct store_put *p = &s->put;
    int rv = snapshot_write(s->config.disk, s->config.cluster_id, p->snapshot, &p->err);
    if (rv == 0) rv = snapshot_prune(s->config.disk, p->damaged, p->n_damaged, &p->err);
    p->status = rv;
}

static void put_finish(struct store *s, int status) {
    struct store_put *p = &s->put;
    p->busy = false;
    s->depth++;
    p->req->cb(p->req, status);
    s->depth--;
    store_close_try(s);
}

static void put_reset_done(void *data, bool canceled) {
    struct store *s = data;
    struct store_put *p = &s->put;
    if (canceled) return; /* store_snapshots_cancel answers */
    wal_cut(s->wal, p->snapshot->index);
    put_finish(s, 0);
}

/* The newest good ones are now this one and the newest of before. */
static void put_remember(struct store *s) {
    struct snapshot_id id = {.index = s->put.snapshot->index, .term = s->put.snapshot->term};
    if (s->n_snapshots && s->snapshots[0].index != id.index) {
        s->snapshots[1] = s->snapshots[0];
        s->n_snapshots = 2;
    } else {
        s->n_snapshots = s->n_snapshots ? s->n_snapshots : 1;
    }
    s->snapshots[0] = id;
    s->n_damaged = 0;
    store_snapshot_measure(s);
}

/* The log stays back to the snapshot before, so that the newest may rot. */
static uint64_t cut_index(const struct store *s) {
    uint64_t index = s->put.snapshot->index;
    uint64_t keep = index > s->put.trailing ? index - s->put.trailing : 0;
    uint64_t before = s->n_snapshots > 1 ? s->snapshots[1].index : 0;
    return keep < before ? keep : before;
}

static void put_done(void *data) {
    struct store *s = data;
    struct store_put *p = &s->put;
    p->running = false;
    if (s->closing) {
        store_close_try(s);
        return;
    }
    if (s->dead) return;
    if (p->status == ERR_LIMIT && p->trailing > 0) {
        put_finish(s, RAFT_NOSPACE);
        return;
    }
    if (p->status != 0) {
        store_die(s, &p->err);
        return;
    }
    put_remember(s);
    if (p->trailing > 0) {
        wal_cut(s->wal, cut_index(s));
        put_finish(s, 0);
        return;
    }
    struct wal_record reset = {.type = WAL_RESET, .index = p->snapshot->index, .term = p->snapshot->term};
    (void)wal_append(s->wal, &reset, 1, put_reset_done, s);
}

int store_snapshot_put(struct store *s, unsigned trailing, struct raft_io_snapshot_put *req,
                       const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb) {
    struct store_put *p = &s->put;
    CHECK(s->loaded && !s->closing && !p->busy);
    *p = (struct store_put){.busy = true, .running = true, .trailing = trailing, .req = req, .snapshot = snapshot};
    memcpy(p->damaged, s->damaged, sizeof p->damaged);
    p->n_damaged = s->n_damaged;
    p->job = (struct disk_job){.work = put_work, .done = put_done, .data = s};
    req->cb = cb;
    disk_run(s->config.disk, &p->job);
    return 0;
}

/* ---- get ---- */

static void get_work(void *data) {
    struct store_get *g = data;
    struct store *s = g->store;
    g->status = snapshot_read(s->config.disk, s->config.cluster_id, &g->id, &g->snapshot, &g->fault, &g->err);
}

static void get_done(void *data) {
    struct store_get *g = data;
    struct store *s = g->store;
    struct raft_snapshot *snapshot = g->snapshot;
    struct raft_io_snapshot_get *req = g->req;
    int status = s->closing ? RAFT_CANCELED : store_raft_code(g->status);
    if (g->status == ERR_CORRUPT) {
        store_snapshot_mark(s, &g->id);
        s->err = g->err;
    }
    queue_remove(&g->link);
    free(g);
    if (status != 0) {
        snapshot_free(snapshot);
        snapshot = NULL;
    }
    s->depth++;
    req->cb(req, snapshot, status);
    s->depth--;
    store_close_try(s);
}

/* Answers without a job, but not inside the call: a job of nothing. */
static void none_work(void *data) {
    struct store_get *g = data;
    g->status = ERR_NOT_FOUND;
}

int store_snapshot_get(struct store *s, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb) {
    CHECK(s->loaded && !s->closing);
    struct store_get *g = calloc(1, sizeof *g);
    if (!g) {
        (void)err_set(&s->err, ERR_NOMEM, "no memory to read a snapshot");
        return RAFT_NOMEM;
    }
    g->store = s;
    g->req = req;
    g->job = (struct disk_job){.work = s->n_snapshots ? get_work : none_work, .done = get_done, .data = g};
    if (s->n_snapshots) g->id = s->snapshots[0];
    req->cb = cb;
    queue_push(&s->gets, &g->link);
    disk_run(s->config.disk, &g->job);
    return 0;
}

void store_snapshots_cancel(struct store *s) {
    if (s->put.busy) {
        s->put.busy = false;
        s->put.req->cb(s->put.req, RAFT_CANCELED);
    }
    while (!queue_empty(&s->gets)) {
        struct store_get *g = QUEUE_ENTRY(s->gets.next, struct store_get, link);
        struct raft_io_snapshot_get *req = g->req;
        queue_remove(&g->link);
        snapshot_free(g->snapshot);
        free(g);
        req->cb(req, NULL, RAFT_CANCELED);
    }
}
