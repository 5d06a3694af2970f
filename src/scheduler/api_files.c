/* SPDX-License-Identifier: Apache-2.0
 * /conclave/v1/...: what a back-up needs. Nothing here encodes the state or holds up the state thread: files are read
 * on libuv's pool, a page a request.
 *
 *   GET  read                                a linearizable position: the leader's, after it has asked a majority
 *   GET  snapshots                           the snapshot files of this master's folder, newest first
 *   GET  snapshot?index=I&term=T&offset=O    up to FILE_PAGE bytes of one of them, raw; 404 when it is no longer there
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "conclave/tools.pb-c.h"
#include "consensus/archive.h"
#include "consensus/disk_file.h"
#include "scheduler/api.h"
#include "wire/json.h"

#define FILE_PAGE      (1u << 20)
#define FILE_READS_MAX 4 /* at once; further ones are answered 503 */

/* ---- read ---- */

struct read_wait {
    struct master *m;
    struct http_exchange *x;
};

static void reply_leader(struct master *m, struct http_exchange *x) {
    const char *leader = NULL;
    char location[REPLICA_ADDRESS_MAX + 64];
    if (!master_leader_known(m, &leader, NULL)) {
        call_unavailable(x, "No leader elected");
        return;
    }
    (void)snprintf(location, sizeof location, "//%s/conclave/v1/read", leader);
    const struct http_field field = {"Location", location};
    http_reply(x, 307, &field, 1, NULL, 0);
}

static void read_done(void *ctx, int status) {
    struct read_wait *w = ctx;
    struct master *m = w->m;
    struct replica_status r;
    char text[160];
    if (status == ERR_NOT_LEADER) {
        reply_leader(m, w->x);
    } else if (status) {
        call_unavailable(w->x, err_text(status));
    } else {
        const struct http_field type = {"Content-Type", "application/json"};
        replica_status(m->replica, &r);
        int n = snprintf(text, sizeof text, "{\"index\":%" PRIu64 ",\"term\":%" PRIu64 ",\"node\":%" PRIu64 "}",
                         r.applied_index, r.term, r.node_id);
        http_reply(w->x, 200, &type, 1, text, (size_t)n);
    }
    free(w);
}

void api_read(struct call *call) {
    struct read_wait *w = malloc(sizeof *w);
    if (!w) {
        call_unavailable(call->x, "Out of memory");
        return;
    }
    *w = (struct read_wait){.m = call->m, .x = call->x};
    replica_read(call->m->replica, read_done, w);
}

/* ---- files ---- */

struct file_read {
    uv_work_t work;
    struct master *m;
    struct http_exchange *x;
    const char *dir;
    bool list;
    uint64_t index, term, offset;
    int status;
    struct archive_row rows[ARCHIVE_FOLDER_FILES];
    size_t n_rows;
    uint8_t *page;
    size_t len;
};

static int page_read(struct file_read *f, struct disk *disk, struct err *err) {
    for (size_t i = 0; i < f->n_rows; i++) {
        if (f->rows[i].index != f->index || f->rows[i].term != f->term) continue;
        if (f->offset > f->rows[i].bytes) return ERR_INVALID;
        f->page = malloc(FILE_PAGE);
        return f->page ? disk_read(disk, f->rows[i].name, f->offset, f->page, FILE_PAGE, &f->len, err) : ERR_NOMEM;
    }
    return ERR_NOT_FOUND;
}

static void file_work(uv_work_t *work) {
    struct file_read *f = work->data;
    struct disk *disk = NULL;
    struct err err;
    f->status = disk_file_open_readonly(f->dir, &disk, &err);
    if (f->status == 0) f->status = archive_list(disk, f->rows, &f->n_rows, &err);
    if (f->status == 0 && !f->list) f->status = page_read(f, disk, &err);
    if (disk) disk_close(disk);
}

static void list_reply(const struct file_read *f) {
    Conclave__Tools__SnapshotFile files[ARCHIVE_FOLDER_FILES], *pointers[ARCHIVE_FOLDER_FILES];
    Conclave__Tools__SnapshotFiles out = CONCLAVE__TOOLS__SNAPSHOT_FILES__INIT;
    const struct http_field type = {"Content-Type", "application/json"};
    struct buf body;
    out.node = f->m->config->replica.node_id;
    out.snapshots = pointers;
    for (; out.n_snapshots < f->n_rows; out.n_snapshots++) {
        const struct archive_row *row = &f->rows[out.n_snapshots];
        Conclave__Tools__SnapshotFile *file = pointers[out.n_snapshots] = &files[out.n_snapshots];
        *file = (Conclave__Tools__SnapshotFile)CONCLAVE__TOOLS__SNAPSHOT_FILE__INIT;
        file->index = row->index;
        file->term = row->term;
        file->bytes = row->bytes;
        file->file = (char *)(uintptr_t)row->name;
    }
    buf_init(&body, 64u << 10);
    if (json_print(&out.base, 0, &body))
        call_unavailable(f->x, "Out of memory");
    else
        http_reply(f->x, 200, &type, 1, body.data, body.len);
    buf_done(&body);
}

static void file_done(uv_work_t *work, int status) {
    struct file_read *f = work->data;
    const struct http_field type = {"Content-Type", "application/octet-stream"};
    (void)status; /* nobody cancels it */
    f->m->file_reads--;
    if (f->status == ERR_NOT_FOUND)
        http_reply_text(f->x, 404, "No such snapshot here (any more)");
    else if (f->status)
        http_reply_text(f->x, err_http_status(f->status), err_text(f->status));
    else if (f->list)
        list_reply(f);
    else
        http_reply(f->x, 200, &type, 1, f->page, f->len);
    free(f->page);
    free(f);
}

static void file_queue(struct call *call, const struct file_read *wanted) {
    struct master *m = call->m;
    struct file_read *f = m->file_reads < FILE_READS_MAX ? malloc(sizeof *f) : NULL;
    if (!f) {
        call_unavailable(call->x, "Too many snapshots are being read");
        return;
    }
    *f = *wanted;
    f->m = m;
    f->x = call->x;
    f->dir = m->config->replica.data_dir;
    f->work.data = f;
    m->file_reads++;
    if (uv_queue_work(m->loop, &f->work, file_work, file_done)) file_done(&f->work, 0);
}

void api_snapshots(struct call *call) {
    static const struct file_read wanted = {.list = true};
    file_queue(call, &wanted);
}

void api_snapshot(struct call *call) {
    struct file_read wanted = {0};
    if (!call_query_u64(call, "index", &wanted.index) || !call_query_u64(call, "term", &wanted.term) ||
        !call_query_u64(call, "offset", &wanted.offset))
        return;
    file_queue(call, &wanted);
}
