/* SPDX-License-Identifier: Apache-2.0
 * Snapshots: written and read in jobs of the disk, so that the loop goes on meanwhile.
 *
 * An install is durable in this order: the file, then a RESET record in the log, then the completion. A crash in
 * between leaves a snapshot ahead of the log, which store_load takes for what it is. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mutant.h"
#include "consensus/store_private.h"

static bool id_in(const struct snapshot_id *id, const struct snapshot_id *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (list[i].index == id->index && list[i].term == id->term) return true;
    return false;
}

bool store_snapshot_marked(const struct store *s, const struct snapshot_id *id) {
    return id_in(id, s->damaged, s->n_damaged);
}

void store_snapshot_mark(struct store *s, const struct snapshot_id *id) {
    if (store_snapshot_marked(s, id)) return;
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

static int prune(struct store *s) {
    struct store_put *p = &s->put;
    return snapshot_prune(s->config.disk, p->damaged, p->n_damaged, p->pinned, p->n_pinned, &p->err);
}

static void put_work(void *data) {
    struct store *s = data;
    struct store_put *p = &s->put;
    int rv = snapshot_write(s->config.disk, s->config.cluster_id, p->snapshot, &p->err);
    p->status = rv == 0 ? prune(s) : rv;
}

/* The file has arrived already, and is durable but for its name. */
static void put_arrived_work(void *data) {
    struct store *s = data;
    struct store_put *p = &s->put;
    struct snapshot_id id = {.index = p->snapshot->index, .term = p->snapshot->term};
    char name[DISK_NAME_MAX];
    snapshot_name(&id, name);
    int rv = disk_rename(s->config.disk, SNAPSHOT_ARRIVING, name, &p->err);
    if (rv == 0) rv = disk_sync_dir(s->config.disk, &p->err);
    p->status = rv == 0 ? prune(s) : rv;
}

/* Some more of a state that comes bit by bit. */
static void put_bits_work(void *data) {
    struct store *s = data;
    struct store_put *p = &s->put;
    int rv = 0;
    if (!p->writer) rv = snapshot_writer_new(s->config.disk, s->config.cluster_id, p->snapshot, &p->writer, &p->err);
    if (rv == 0) rv = snapshot_writer_data(p->writer, p->work.data, p->work.len, &p->err);
    if (rv == 0 && p->last) rv = snapshot_writer_end(p->writer, &p->err);
    if (rv == 0 && p->last) rv = prune(s);
    if (rv != 0 || p->given_up) snapshot_writer_undo(p->writer);
    if (rv != 0 || p->last || p->given_up) {
        snapshot_writer_free(p->writer);
        p->writer = NULL;
    }
    buf_clear(&p->work);
    p->status = rv;
}

static void put_finish(struct store *s, int status) {
    struct store_put *p = &s->put;
    p->busy = false;
    buf_done(&p->queue);
    buf_done(&p->work);
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

/* The newest good ones are now this one and the newest of before that is none of the damaged ones, which are gone. */
static void put_remember(struct store *s) {
    struct store_put *p = &s->put;
    struct snapshot_id id = {.index = p->snapshot->index, .term = p->snapshot->term}, before = {0};
    for (size_t i = s->n_snapshots; i-- > 0;)
        if (s->snapshots[i].index != id.index && !id_in(&s->snapshots[i], p->damaged, p->n_damaged))
            before = s->snapshots[i];
    s->snapshots[0] = id;
    s->snapshots[1] = before;
    s->n_snapshots = before.index > 0 ? 2 : 1;
    size_t left = 0;
    for (size_t i = 0; i < s->n_damaged; i++) /* marked while this one was being written */
        if (!id_in(&s->damaged[i], p->damaged, p->n_damaged)) s->damaged[left++] = s->damaged[i];
    s->n_damaged = left;
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
    if (p->trailing > 0 || MUTANT(RESET_SKIPPED)) {
        wal_cut(s->wal, cut_index(s));
        put_finish(s, 0);
        return;
    }
    struct wal_record reset = {.type = WAL_RESET, .index = p->snapshot->index, .term = p->snapshot->term};
    (void)wal_append(s->wal, &reset, 1, put_reset_done, s);
}

static void put_start(struct store *s, void (*work)(void *data), void (*done)(void *data)) {
    struct store_put *p = &s->put;
    memcpy(p->damaged, s->damaged, sizeof p->damaged);
    p->n_damaged = s->n_damaged;
    p->n_pinned = store_pins(s, p->pinned);
    p->running = true;
    p->job = (struct disk_job){.work = work, .done = done, .data = s};
    disk_run(s->config.disk, &p->job);
}

int store_snapshot_put(struct store *s, unsigned trailing, struct raft_io_snapshot_put *req,
                       const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb) {
    struct store_put *p = &s->put;
    struct snapshot_manifest m;
    CHECK(s->loaded && !s->closing && !p->busy);
    bool manifest = trailing == 0 && store_loads(s) && snapshot->n_bufs == 1 &&
                    snapshot_manifest_decode(snapshot->bufs[0].base, snapshot->bufs[0].len, &m);
    if (manifest && (!store_arrived_is(s, &m) || m.id.index != snapshot->index || m.id.term != snapshot->term)) {
        (void)err_set(&s->err, ERR_NOT_FOUND, "the snapshot of entry %llu has not arrived", snapshot->index);
        return RAFT_NOTFOUND;
    }
    *p = (struct store_put){.busy = true, .trailing = trailing, .req = req, .snapshot = snapshot};
    req->cb = cb;
    put_start(s, manifest ? put_arrived_work : put_work, put_done);
    return 0;
}

/* ---- a put whose state comes bit by bit ---- */

static void bits_go_on(struct store *s);

static void bits_done(void *data) {
    struct store *s = data;
    struct store_put *p = &s->put;
    if (p->last || p->status != 0 || s->closing || s->dead) {
        put_done(s);
        return;
    }
    p->running = false;
    bits_go_on(s);
}

static void bits_go_on(struct store *s) {
    struct store_put *p = &s->put;
    if (p->running) return;
    if (p->given_up && !p->writer) {
        put_finish(s, RAFT_CANCELED);
        return;
    }
    if (!p->ended && !p->given_up && p->queue.len < SNAPSHOT_CHUNK) return;
    struct buf work = p->queue;
    p->queue = p->work;
    p->work = work;
    p->last = p->ended && !p->given_up;
    put_start(s, put_bits_work, bits_done);
}

int store_snapshot_begin(struct store *s, unsigned trailing, struct raft_io_snapshot_put *req,
                         const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb) {
    struct store_put *p = &s->put;
    CHECK(s->loaded && !s->closing && !p->busy && trailing > 0);
    *p = (struct store_put){.busy = true, .bits = true, .trailing = trailing, .req = req, .snapshot = snapshot};
    buf_init(&p->queue, SIZE_MAX / 2);
    buf_init(&p->work, SIZE_MAX / 2);
    req->cb = cb;
    return 0;
}

bool store_snapshot_wants(const struct store *s) {
    return s->put.busy && s->put.bits && !s->put.ended && !s->put.given_up && !s->dead && !s->closing;
}

size_t store_snapshot_room(const struct store *s) {
    if (!store_snapshot_wants(s) || s->put.queue.len >= STORE_FEED_BYTES) return 0;
    return STORE_FEED_BYTES - s->put.queue.len;
}

int store_snapshot_feed(struct store *s, struct buf *bytes, bool end) {
    struct store_put *p = &s->put;
    if (!store_snapshot_wants(s)) return ERR_CLOSED;
    if (p->queue.len == 0) { /* moved, not copied */
        struct buf empty = p->queue;
        p->queue = *bytes;
        p->queue.max = empty.max;
        empty.max = bytes->max;
        *bytes = empty;
    } else {
        (void)buf_append(&p->queue, bytes->data, bytes->len);
        CHECK(!p->queue.failed); /* a replica without memory cannot go on */
    }
    buf_clear(bytes);
    p->ended = end;
    bits_go_on(s);
    return 0;
}

/* At once if nothing was written yet; else a last job removes what was. */
void store_snapshot_give_up(struct store *s) {
    if (!store_snapshot_wants(s)) return;
    s->put.given_up = true;
    bits_go_on(s);
}

/* ---- get ---- */

static void get_work(void *data) {
    struct store_get *g = data;
    struct store *s = g->store;
    int (*read)(struct disk * disk, const uint8_t cluster_id[16], const struct snapshot_id *id,
                struct raft_snapshot **ret, struct fault *ret_fault, struct err *err) =
        store_loads(s) ? snapshot_head : snapshot_read;
    g->status = read(s->config.disk, s->config.cluster_id, &g->id, &g->snapshot, &g->fault, &g->err);
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

static void damaged_work(void *data) {
    struct store_get *g = data;
    g->status = err_set(&g->err, ERR_CORRUPT, "the newest snapshot is damaged");
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
    if (s->n_snapshots && store_loads(s) && store_snapshot_marked(s, &g->id)) g->job.work = damaged_work;
    req->cb = cb;
    queue_push(&s->gets, &g->link);
    disk_run(s->config.disk, &g->job);
    return 0;
}

void store_snapshots_cancel(struct store *s) {
    if (s->put.busy) {
        s->put.busy = false;
        snapshot_writer_free(s->put.writer);
        buf_done(&s->put.queue);
        buf_done(&s->put.work);
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
