/* SPDX-License-Identifier: Apache-2.0
 * Snapshot files on their way to another node and from it, and the loaders that hold what was read. Everything slow is
 * done in jobs of the disk; see store.h. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "consensus/store_private.h"

/* ---- loaders ---- */

struct loader_job {
    struct disk_job job;
    struct queue link; /* in store.leaving */
    struct store *s;
    void *loader;
};

static void loader_free_work(void *data) {
    struct loader_job *j = data;
    j->s->config.loader.free(j->loader);
}

static void loader_free_done(void *data) {
    struct loader_job *j = data;
    struct store *s = j->s;
    queue_remove(&j->link);
    free(j);
    store_close_try(s);
}

void store_loader_free(struct store *s, void *loader) {
    struct loader_job *j = loader ? calloc(1, sizeof *j) : NULL;
    if (!j) { /* no memory for a job: here and now */
        if (loader) s->config.loader.free(loader);
        return;
    }
    *j = (struct loader_job){.s = s, .loader = loader};
    j->job = (struct disk_job){.work = loader_free_work, .done = loader_free_done, .data = j};
    queue_push(&s->leaving, &j->link);
    disk_run(s->config.disk, &j->job);
}

void store_loader_drop(struct store *s, void *loader) {
    store_loader_free(s, loader);
}

static bool manifests_equal(const struct snapshot_manifest *a, const struct snapshot_manifest *b) {
    return a->id.index == b->id.index && a->id.term == b->id.term && a->file_size == b->file_size &&
           hash128_equal(a->hash, b->hash);
}

bool store_arrived_is(const struct store *s, const struct snapshot_manifest *m) {
    return s->arrived.loader != NULL && manifests_equal(&s->arrived.manifest, m);
}

void *store_loader_take(struct store *s, const struct snapshot_manifest *m) {
    if (!store_arrived_is(s, m)) return NULL;
    void *loader = s->arrived.loader;
    s->arrived = (struct store_arrived){0};
    return loader;
}

/* ---- to another node ---- */

struct store_source {
    struct queue link;
    struct store *s;
    struct snapshot_id id;
    char name[DISK_NAME_MAX];
    struct snapshot_decoder *decoder; /* judges what is read */
    uint64_t size, offset;
    bool running, closed;
    struct disk_job job;
    uint8_t *piece; /* of the job until `running` is false, as all below */
    size_t len, cap;
    int status;
    struct fault fault;
    struct err err;
    store_source_cb cb;
    void *cb_data;
};

size_t store_pins(const struct store *s, struct snapshot_id ret[STORE_SOURCES_MAX]) {
    size_t n = 0;
    for (struct queue *q = s->sources.next; q != &s->sources && n < STORE_SOURCES_MAX; q = q->next)
        ret[n++] = QUEUE_ENTRY(q, struct store_source, link)->id;
    return n;
}

int store_source_open(struct store *s, const struct snapshot_manifest *m, struct store_source **ret) {
    struct snapshot_id pins[STORE_SOURCES_MAX];
    CHECK(s->loaded && !s->closing);
    if (store_pins(s, pins) == STORE_SOURCES_MAX) return ERR_LIMIT;
    bool known = false;
    for (size_t i = 0; i < s->n_snapshots; i++)
        known = known || (s->snapshots[i].index == m->id.index && s->snapshots[i].term == m->id.term);
    if (!known) return ERR_NOT_FOUND; /* removed, or about to be */
    struct store_source *source = calloc(1, sizeof *source);
    if (!source) return ERR_NOMEM;
    source->s = s;
    source->id = m->id;
    source->size = m->file_size;
    snapshot_name(&source->id, source->name);
    if (snapshot_decoder_new(s->config.cluster_id, &source->id, source->name, source->size, NULL, &source->decoder,
                             &source->err) != 0) {
        free(source);
        return ERR_NOMEM;
    }
    queue_push(&s->sources, &source->link);
    *ret = source;
    return 0;
}

static void source_work(void *data) {
    struct store_source *r = data;
    size_t got = 0;
    int rv = disk_read(r->s->config.disk, r->name, r->offset, r->piece, r->len, &got, &r->err);
    if (rv == 0) rv = snapshot_decoder_data(r->decoder, r->piece, got, &r->fault, &r->err);
    bool whole = r->offset + got == r->size;
    if (rv == 0 && (got < r->len || whole)) rv = snapshot_decoder_end(r->decoder, NULL, &r->fault, &r->err);
    r->len = got;
    r->status = rv;
}

static void source_free(struct store_source *r) {
    struct store *s = r->s;
    queue_remove(&r->link);
    snapshot_decoder_free(r->decoder);
    free(r->piece);
    free(r);
    store_close_try(s);
}

static void source_done(void *data) {
    struct store_source *r = data;
    struct store *s = r->s;
    r->running = false;
    if (r->status == ERR_CORRUPT) store_snapshot_mark(s, &r->id);
    if (r->closed) {
        source_free(r);
        return;
    }
    r->offset += r->len;
    s->depth++;
    r->cb(r->cb_data, r->status, r->piece, r->status == 0 ? r->len : 0); /* may close it */
    s->depth--;
    store_close_try(s);
}

void store_source_read(struct store_source *r, size_t len, store_source_cb cb, void *data) {
    CHECK(!r->running && !r->closed && len > 0);
    if (len > r->size - r->offset) len = (size_t)(r->size - r->offset);
    if (r->cap < len) {
        free(r->piece);
        r->piece = malloc(len);
        CHECK(r->piece);
        r->cap = len;
    }
    r->len = len;
    r->cb = cb;
    r->cb_data = data;
    r->running = true;
    r->job = (struct disk_job){.work = source_work, .done = source_done, .data = r};
    disk_run(r->s->config.disk, &r->job);
}

void store_source_close(struct store_source *r) {
    r->closed = true;
    if (!r->running) source_free(r);
}

/* ---- from another node ---- */

static void receive_end(struct store *s) {
    struct store_receive *r = &s->receive;
    snapshot_decoder_free(r->decoder);
    store_loader_free(s, r->loader);
    buf_done(&r->queue);
    buf_done(&r->work);
    *r = (struct store_receive){0};
}

static int receive_sink(void *ctx, const uint8_t *data, size_t len, struct err *err) {
    struct store *s = ctx;
    s->receive.loader_status = s->config.loader.data(s->receive.loader, data, len, err);
    return s->receive.loader_status;
}

/* All bytes are there: durable but for the name, and the state in the loader. */
static int receive_finish(struct store *s, struct fault *fault) {
    struct store_receive *r = &s->receive;
    struct raft_snapshot *head = NULL;
    int rv = snapshot_decoder_end(r->decoder, &head, fault, &r->err);
    if (rv != 0) return rv;
    CHECK(snapshot_manifest_decode(head->bufs[0].base, head->bufs[0].len, &r->manifest));
    snapshot_free(head);
    rv = disk_sync(s->config.disk, SNAPSHOT_ARRIVING, &r->err);
    if (rv == 0) rv = r->loader_status = s->config.loader.end(r->loader, &r->err);
    r->whole = rv == 0;
    return rv;
}

static void receive_work(void *data) {
    struct store *s = data;
    struct store_receive *r = &s->receive;
    struct fault fault;
    int rv = 0;
    if (r->offset == 0) rv = disk_remove(s->config.disk, SNAPSHOT_ARRIVING, &r->err);
    if (rv == 0) rv = disk_write_at(s->config.disk, SNAPSHOT_ARRIVING, r->offset, r->work.data, r->work.len, &r->err);
    if (rv == 0 && r->offset / SNAPSHOT_SYNC != (r->offset + r->work.len) / SNAPSHOT_SYNC)
        rv = disk_sync(s->config.disk, SNAPSHOT_ARRIVING, &r->err);
    if (rv == 0) rv = snapshot_decoder_data(r->decoder, r->work.data, r->work.len, &fault, &r->err);
    r->offset += r->work.len;
    if (rv == 0 && r->offset == r->size) rv = receive_finish(s, &fault);
    buf_clear(&r->work);
    r->status = rv;
    struct err err;
    if (rv != 0) (void)disk_remove(s->config.disk, SNAPSHOT_ARRIVING, &err); /* else the next one does, or a start */
}

/* What has come of one that is given up goes, off the loop: it may have taken the room that the disk had. */
static void receive_remove_work(void *data) {
    struct store *s = data;
    struct err err;
    (void)disk_remove(s->config.disk, SNAPSHOT_ARRIVING, &err);
}

static void receive_removed(void *data) {
    struct store *s = data;
    s->receive.running = false;
    receive_end(s);
    store_close_try(s);
}

static void receive_give_up(struct store *s) {
    struct store_receive *r = &s->receive;
    if (r->offset == 0 || s->closing || s->dead) {
        receive_end(s);
        return;
    }
    r->running = true;
    r->job = (struct disk_job){.work = receive_remove_work, .done = receive_removed, .data = s};
    disk_run(s->config.disk, &r->job);
}

static void receive_go_on(struct store *s);

static void receive_done(void *data) {
    struct store *s = data;
    struct store_receive *r = &s->receive;
    store_receive_cb cb = r->cb;
    void *cb_data = r->cb_data;
    uint64_t bytes = r->offset;
    int status = r->status;
    r->running = false;
    if (r->abandoned || s->closing || s->dead) {
        receive_give_up(s);
        store_close_try(s);
        return;
    }
    s->depth++;
    if (r->loader_status != 0 || status == ERR_IO) { /* never seen by the sender */
        struct err err = r->err;
        receive_end(s);
        cb(cb_data, status, bytes, NULL);
        store_die(s, &err);
    } else if (status != 0) {
        s->err = r->err;
        receive_end(s);
        cb(cb_data, status, bytes, NULL);
    } else if (r->whole) {
        s->arrived = (struct store_arrived){.loader = r->loader, .manifest = r->manifest};
        r->loader = NULL;
        receive_end(s);
        cb(cb_data, 0, bytes, &s->arrived.manifest);
    } else {
        receive_go_on(s);
        cb(cb_data, 0, bytes, NULL);
    }
    s->depth--;
    store_close_try(s);
}

static void receive_go_on(struct store *s) {
    struct store_receive *r = &s->receive;
    if (r->running || r->queue.len == 0) return;
    struct buf work = r->queue;
    r->queue = r->work;
    r->work = work;
    r->running = true;
    r->job = (struct disk_job){.work = receive_work, .done = receive_done, .data = s};
    disk_run(s->config.disk, &r->job);
}

bool store_arrived(const struct store *s) {
    return s->arrived.loader != NULL && !s->put.busy && !s->receive.busy && !s->closing && !s->dead;
}

void store_arrived_forget(struct store *s) {
    struct store_receive *r = &s->receive;
    CHECK(store_arrived(s));
    store_loader_free(s, s->arrived.loader);
    s->arrived = (struct store_arrived){0};
    *r = (struct store_receive){.busy = true, .abandoned = true, .offset = 1}; /* as if it had been given up */
    receive_give_up(s);
}

int store_receive_begin(struct store *s, const struct snapshot_id *id, uint64_t size, store_receive_cb cb, void *data) {
    struct store_receive *r = &s->receive;
    CHECK(s->loaded && store_loads(s));
    if (r->busy || s->closing || s->dead || (s->put.busy && s->put.trailing == 0)) return ERR_BUSY;
    struct snapshot_sink sink = {.data = receive_sink, .ctx = s};
    *r = (struct store_receive){.id = *id, .size = size, .cb = cb, .cb_data = data};
    int rv = snapshot_decoder_new(s->config.cluster_id, id, SNAPSHOT_ARRIVING, size, &sink, &r->decoder, &s->err);
    if (rv != 0) return rv;
    store_loader_free(s, s->arrived.loader);
    s->arrived = (struct store_arrived){0};
    r->busy = true;
    r->loader = s->config.loader.open(s->config.loader.ctx);
    buf_init(&r->queue, SNAPSHOT_WINDOW);
    buf_init(&r->work, SNAPSHOT_WINDOW);
    return 0;
}

int store_receive_data(struct store *s, const uint8_t *bytes, size_t len) {
    struct store_receive *r = &s->receive;
    if (!r->busy || r->abandoned) return ERR_CLOSED;
    if (len > r->size - r->queued) return ERR_LIMIT;
    int rv = buf_append(&r->queue, bytes, len);
    if (rv != 0) return rv;
    r->queued += len;
    receive_go_on(s);
    return 0;
}

void store_receive_abandon(struct store *s) {
    struct store_receive *r = &s->receive;
    if (!r->busy || r->abandoned) return;
    r->abandoned = true;
    if (!r->running) receive_give_up(s);
}

/* ---- the end ---- */

bool store_transfers_idle(const struct store *s) {
    for (struct queue *q = s->sources.next; q != &s->sources; q = q->next)
        if (QUEUE_ENTRY(q, struct store_source, link)->running) return false;
    return queue_empty(&s->leaving) && !s->receive.running;
}

void store_transfers_free(struct store *s) {
    while (!queue_empty(&s->sources)) {
        struct store_source *r = QUEUE_ENTRY(s->sources.next, struct store_source, link);
        queue_remove(&r->link);
        snapshot_decoder_free(r->decoder);
        free(r->piece);
        free(r);
    }
    while (!queue_empty(&s->leaving)) { /* abandoned: their jobs never come */
        struct loader_job *j = QUEUE_ENTRY(s->leaving.next, struct loader_job, link);
        queue_remove(&j->link);
        s->config.loader.free(j->loader);
        free(j);
    }
    struct store_receive *r = &s->receive;
    snapshot_decoder_free(r->decoder);
    buf_done(&r->queue);
    buf_done(&r->work);
    if (r->loader) s->config.loader.free(r->loader);
    if (s->arrived.loader) s->config.loader.free(s->arrived.loader);
}
