/* SPDX-License-Identifier: Apache-2.0
 * Segment files off the hot path: prepares the next one, turns those below the cut into spares. Old files are renamed
 * in log order, so that a crash leaves a log without gaps. */
#include <string.h>

#include "base/check.h"
#include "consensus/wal_private.h"

/* ---- on the job's thread ---- */

static int recycle(struct disk *disk, struct wal_pool *p) {
    for (size_t i = 0; i < p->n_recycle; i++) {
        char name[DISK_NAME_MAX], spare[DISK_NAME_MAX];
        int rv;
        wal_segment_name(p->recycle[i], name);
        wal_spare_name(p->recycle[i], spare);
        if (p->recycle_keep[i] && p->n_spares < WAL_SPARES_MAX) {
            rv = disk_rename(disk, name, spare, &p->err);
            if (rv == 0) p->spares[p->n_spares++] = p->recycle[i];
        } else {
            rv = disk_remove(disk, name, &p->err);
        }
        if (rv != 0) return rv;
    }
    return p->n_recycle ? disk_sync_dir(disk, &p->err) : 0;
}

static int prepare(struct wal *w, struct wal_pool *p) {
    char name[DISK_NAME_MAX], spare[DISK_NAME_MAX];
    struct disk *disk = w->config.disk;
    if (p->prepare == 0) return 0;
    wal_segment_name(p->prepare, name);
    uint64_t room;
    /* Not tried without room: it would take what there is, for a moment, from everybody else on the disk. */
    if (p->n_spares == 0 && disk_free_space(disk, &room, &p->err) == 0 && room < w->config.segment_bytes)
        return err_set(&p->err, ERR_LIMIT, "no room for a segment");
    if (p->n_spares == 0) return disk_create(disk, name, w->config.segment_bytes, 1, &p->err);
    wal_spare_name(p->spares[p->n_spares - 1], spare);
    int rv = disk_rename(disk, spare, name, &p->err);
    if (rv == 0) rv = disk_sync_dir(disk, &p->err);
    if (rv == 0) p->n_spares--;
    return rv;
}

static void pool_work(void *data) {
    struct wal *w = data;
    struct wal_pool *p = &w->pool;
    p->status = recycle(w->config.disk, p);
    if (p->status == 0) p->status = prepare(w, p);
}

/* ---- on the owner's thread ---- */

static void pool_done(void *data) {
    struct wal *w = data;
    struct wal_pool *p = &w->pool;
    p->busy = false;
    w->n_spares = p->n_spares;
    if (w->stopped && w->config.idle && wal_idle(w)) {
        w->config.idle(w->config.data); /* may free the log */
        return;
    }
    if (w->dead) return;
    if (p->status == 0) {
        if (p->prepare) w->next_ready = true;
    } else if (p->status == ERR_LIMIT) {
        w->retry_at_ms = w->now_ms + WAL_RETRY_MS; /* the disk is full: appends wait, nothing is lost */
    } else {
        wal_die(w, &p->err);
        return;
    }
    wal_pump(w);
    wal_pool_run(w);
}

/* Takes segments below the cut out of the list. Never the last one: it is being written. */
static void recycle_choose(struct wal *w) {
    struct wal_pool *p = &w->pool;
    size_t n = 0;
    while (n < WAL_RECYCLE_MAX && n + 1 < w->n_segments && w->segments[n].last_live <= w->cut) {
        const struct wal_segment *s = &w->segments[n];
        p->recycle[n] = s->seq;
        p->recycle_keep[n] = s->bytes == w->config.segment_bytes;
        if (w->start <= s->last_live) w->start = s->last_live + 1;
        n++;
    }
    p->n_recycle = n;
    if (n == 0) return;
    memmove(w->segments, w->segments + n, (w->n_segments - n) * sizeof *w->segments);
    w->n_segments -= n;
    wal_terms_cut(&w->terms, w->start - 1);
}

void wal_pool_run(struct wal *w) {
    struct wal_pool *p = &w->pool;
    if (p->busy || w->dead || w->stopped) return;
    recycle_choose(w);
    p->prepare = w->next_ready ? 0 : w->seq + 1;
    if (p->n_recycle == 0 && (p->prepare == 0 || w->now_ms < w->retry_at_ms)) return;
    p->busy = true;
    p->job = (struct disk_job){.work = pool_work, .done = pool_done, .data = w};
    disk_run(w->config.disk, &p->job);
}
