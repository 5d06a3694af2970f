/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/snapshot_fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/interrupt.h"
#include "conclave/tools.pb-c.h"

#define FETCH_MS    20000
#define FETCH_BUSY  50 /* tries of a page while the master is busy with others */
#define BUSY_MS     100
#define ARENA_BYTES (4u << 20)

static int rows_take(const struct answer *answer, struct archive_row *ret, size_t *ret_n, struct err *err) {
    struct arena arena;
    ProtobufCMessage *message = NULL;
    arena_init(&arena, ARENA_BYTES);
    int rc = answer_message(answer, &conclave__tools__snapshot_files__descriptor, &arena, &message, err);
    const Conclave__Tools__SnapshotFiles *files = (const Conclave__Tools__SnapshotFiles *)message;
    for (size_t i = 0; rc == 0 && i < files->n_snapshots && i < ARCHIVE_FOLDER_FILES; i++) {
        const Conclave__Tools__SnapshotFile *f = files->snapshots[i];
        ret[i] = (struct archive_row){.index = f->index, .term = f->term, .bytes = f->bytes};
        (void)snprintf(ret[i].name, sizeof ret[i].name, "%s", f->file ? f->file : "");
        *ret_n = i + 1;
    }
    arena_done(&arena);
    return rc;
}

int snapshots_fetch(const struct options *o, struct archive_row ret[ARCHIVE_FOLDER_FILES], size_t *ret_n,
                    size_t *ret_master, struct err *err) {
    const struct request request = {.method = "GET", .path = "/conclave/v1/snapshots", .timeout_ms = FETCH_MS};
    *ret_n = 0;
    int rc = err_set(err, ERR_NO_QUORUM, "no master answers");
    for (size_t i = 0; i < o->master_count; i++) {
        struct answer answer;
        if (client_request(o->masters[i], &request, &answer) == 0 && answer.status == 200) {
            *ret_master = i;
            rc = rows_take(&answer, ret, ret_n, err);
        } else if (answer.status == 0) {
            rc = err_set(err, ERR_NO_QUORUM, "%s", answer.err.text);
        }
        answer_done(&answer);
        if (rc == 0) return 0;
    }
    return rc;
}

/* One page into the file; *ret_len is 0 at the end. */
static int page_fetch(const char *host, const char *path, int fd, size_t *ret_len, struct err *err) {
    const struct request request = {.method = "GET", .path = path, .timeout_ms = FETCH_MS};
    for (int i = 0; i < FETCH_BUSY && !interrupted(); i++) {
        struct answer answer;
        int rc = client_request(host, &request, &answer);
        int status = rc ? 0 : answer.status;
        if (rc) (void)err_set(err, ERR_NO_QUORUM, "%s", answer.err.text);
        if (status == 200) {
            *ret_len = answer.body.len;
            if (answer.body.len && write(fd, answer.body.data, answer.body.len) != (ssize_t)answer.body.len)
                rc = err_sys(err, errno, "a temporary file");
        } else if (status == 404) {
            rc = err_set(err, ERR_NOT_FOUND, "%s no longer has that snapshot", host);
        } else if (status && status != 503) {
            rc = err_set(err, ERR_IO, "%s: HTTP %d", host, status);
        }
        answer_done(&answer);
        if (rc || status != 503) return rc;
        interrupt_sleep_ms(BUSY_MS);
    }
    return err_set(err, interrupted() ? ERR_CLOSED : ERR_BUSY, "%s",
                   interrupted() ? "interrupted" : "the master is busy");
}

/* A file without a name beside the other temporary ones. */
static int temporary_file(struct err *err) {
    const char *dir = getenv("TMPDIR");
    if (!dir || !*dir) dir = "/tmp";
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) { /* a file system without such files */
        char path[4096];
        (void)snprintf(path, sizeof path, "%s/conclave-XXXXXX", dir);
        fd = mkostemp(path, O_CLOEXEC);
        if (fd >= 0) (void)unlink(path);
    }
    return fd >= 0 ? fd : err_sys(err, errno, "a temporary file in %.100s", dir);
}

int snapshot_fetch(const struct options *o, size_t master, const struct archive_row *row, struct archive *ret,
                   struct err *err) {
    char path[160];
    uint8_t cluster[16];
    struct fault fault;
    int fd = temporary_file(err), rc = 0;
    if (fd < 0) return fd;
    for (uint64_t offset = 0; rc == 0 && offset < row->bytes;) {
        size_t len = 0;
        (void)snprintf(path, sizeof path, "/conclave/v1/snapshot?index=%" PRIu64 "&term=%" PRIu64 "&offset=%" PRIu64,
                       row->index, row->term, offset);
        rc = page_fetch(o->masters[master], path, fd, &len, err);
        if (rc == 0 && (len == 0 || len > row->bytes - offset))
            rc = err_set(err, ERR_IO, "a snapshot changed its size");
        offset += len;
    }
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (rc == 0) rc = archive_file_read(path, cluster, ret, &fault, err);
    if (rc == ERR_CORRUPT) (void)err_wrap(err, "%s: the snapshot at %" PRIu64, o->masters[master], row->index);
    (void)close(fd);
    return rc;
}

int read_index_fetch(const struct options *o, uint64_t *ret_index, uint64_t *ret_node, struct err *err) {
    const struct request request = {.method = "GET", .path = "/conclave/v1/read", .timeout_ms = 5000, .follow = true};
    struct answer answer;
    struct arena arena;
    ProtobufCMessage *message = NULL;
    int rc = client_request_any(o, &request, &answer, err);
    if (rc) return rc;
    arena_init(&arena, ARENA_BYTES);
    rc = answer_message(&answer, &conclave__tools__read_index__descriptor, &arena, &message, err);
    if (rc == 0) {
        *ret_index = ((const Conclave__Tools__ReadIndex *)message)->index;
        *ret_node = ((const Conclave__Tools__ReadIndex *)message)->node;
    }
    arena_done(&arena);
    answer_done(&answer);
    return rc;
}
