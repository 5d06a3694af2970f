/* SPDX-License-Identifier: Apache-2.0
 * A snapshot as a file of any name, and as the beginning of a data folder. To the code of snapshot_file.h such a file
 * is a disk with one file, whatever that code calls it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/rng.h"
#include "consensus/archive_private.h"
#include "consensus/disk_file.h"
#include "consensus/identity.h"
#include "consensus/pins.h"
#include "consensus/snapshot_file.h"
#include "consensus/snapshot_format.h"
#include "consensus/vote.h"

/* ---- a disk of one file ---- */

struct one_file {
    struct disk face; /* first */
    int fd;
    const char *path;
};

static struct one_file *one(struct disk *d) {
    return (struct one_file *)d;
}

static int one_fail(struct one_file *f, const char *what, struct err *err) {
    if (errno == ENOSPC || errno == EDQUOT) return err_set(err, ERR_LIMIT, "%s %.150s: no space", what, f->path);
    return err_sys(err, errno, "%s %.150s", what, f->path);
}

static int one_read(struct disk *d, const char *name, uint64_t offset, void *buf, size_t len, size_t *ret_len,
                    struct err *err) {
    struct one_file *f = one(d);
    size_t got = 0;
    (void)name;
    while (got < len) {
        ssize_t n = pread(f->fd, (uint8_t *)buf + got, len - got, (off_t)(offset + got));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return one_fail(f, "read", err);
        if (n == 0) break;
        got += (size_t)n;
    }
    *ret_len = got;
    return 0;
}

static int one_size(struct disk *d, const char *name, uint64_t *ret_size, struct err *err) {
    struct stat st;
    (void)name;
    if (fstat(one(d)->fd, &st) != 0) return one_fail(one(d), "stat", err);
    *ret_size = (uint64_t)st.st_size;
    return 0;
}

static int one_write_at(struct disk *d, const char *name, uint64_t offset, const void *buf, size_t len,
                        struct err *err) {
    const uint8_t *p = buf;
    (void)name;
    while (len) {
        ssize_t n = pwrite(one(d)->fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return one_fail(one(d), "write", err);
        p += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

static int one_sync(struct disk *d, const char *name, struct err *err) {
    (void)name;
    return fsync(one(d)->fd) == 0 ? 0 : one_fail(one(d), "sync", err);
}

/* The names are the caller's: archive_file_write gives the file its name. */
static int one_rename(struct disk *d, const char *from, const char *to, struct err *err) {
    (void)d;
    (void)from;
    (void)to;
    (void)err;
    return 0;
}

static int one_remove(struct disk *d, const char *name, struct err *err) {
    (void)d;
    (void)name;
    (void)err;
    return 0;
}

static int one_sync_dir(struct disk *d, struct err *err) {
    (void)d;
    (void)err;
    return 0;
}

static const struct disk_ops one_ops = {.read = one_read,
                                        .size = one_size,
                                        .write_at = one_write_at,
                                        .sync = one_sync,
                                        .rename = one_rename,
                                        .remove = one_remove,
                                        .sync_dir = one_sync_dir};

/* ---- files ---- */

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int no_snapshot(const char *path, struct fault *ret_fault, struct err *err) {
    fault_set(ret_fault, "", 0, "snapshot", fault_remedy_copy, "%s", "this is no snapshot of a known format");
    (void)snprintf(ret_fault->file, sizeof ret_fault->file, "%s", base_name(path));
    return fault_err(ret_fault, err);
}

int archive_file_read(const char *path, uint8_t ret_cluster_id[16], struct archive *ret, struct fault *ret_fault,
                      struct err *err) {
    struct one_file f = {.face = {.ops = &one_ops}, .path = path};
    struct snapshot_header h;
    uint8_t head[SNAPSHOT_HEADER_SIZE];
    size_t n = 0;
    *ret_fault = (struct fault){0};
    f.fd = open(path, O_RDONLY | O_CLOEXEC);
    if (f.fd < 0) return err_sys(err, errno, "%.150s", path);
    int rc = one_read(&f.face, "", 0, head, sizeof head, &n, err);
    if (rc == 0 && (n != sizeof head || !snapshot_header_decode(head, &h))) rc = no_snapshot(path, ret_fault, err);
    if (rc == 0) {
        const struct archive_row row = {.index = h.index, .term = h.term};
        memcpy(ret_cluster_id, h.cluster_id, 16);
        rc = archive_read(&f.face, h.cluster_id, &row, ret, ret_fault, err);
        if (rc == ERR_CORRUPT && ret_fault->kind) {
            (void)snprintf(ret_fault->file, sizeof ret_fault->file, "%s", base_name(path));
            ret_fault->remedy = fault_remedy_copy;
            (void)fault_err(ret_fault, err);
        }
    }
    (void)close(f.fd);
    return rc;
}

static int parent_sync(const char *path, struct err *err) {
    char parent[4096];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    if (n >= sizeof parent) return err_set(err, ERR_INVALID, "the path is too long");
    (void)snprintf(parent, sizeof parent, "%.*s", slash && n == 0 ? 1 : (int)n, path);
    int fd = open(slash ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) != 0 ? err_sys(err, errno, "sync the folder of %.150s", path) : 0;
    if (fd >= 0) (void)close(fd);
    return rc;
}

int archive_file_write(const char *path, const uint8_t cluster_id[16], const struct archive *archive,
                       uint64_t *ret_bytes, struct err *err) {
    char temporary[4096];
    struct one_file f = {.face = {.ops = &one_ops}, .path = path};
    if (snprintf(temporary, sizeof temporary, "%s.tmp-%d", path, (int)getpid()) >= (int)sizeof temporary)
        return err_set(err, ERR_INVALID, "the file name is too long");
    f.fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (f.fd < 0) return err_sys(err, errno, "make %.150s", temporary);
    int rc = archive_put(&f.face, cluster_id, archive, err);
    if (rc == 0) rc = one_sync(&f.face, "", err);
    if (rc == 0) rc = one_size(&f.face, "", ret_bytes, err);
    (void)close(f.fd);
    if (rc == 0 && link(temporary, path) != 0) /* unlike rename, never over another file */
        rc = errno == EEXIST ? err_set(err, ERR_EXISTS, "%.150s is there already", path)
                             : err_sys(err, errno, "make %.150s", path);
    (void)unlink(temporary);
    return rc == 0 ? parent_sync(path, err) : rc;
}

/* ---- a new folder ---- */

/* Identity last, so that what was interrupted is no node's folder. */
static int folder_fill(struct disk *disk, const struct identity *identity, const struct archive *archive,
                       struct err *err) {
    struct vote vote = {0};
    bool repair = false;
    struct fault fault;
    int rc = identity_format(disk, identity, err);
    if (rc == 0) rc = vote_read(disk, identity, &vote, &repair, &fault, err);
    if (rc) return rc;
    vote.version++;
    vote.term = archive->term;
    rc = vote_write(disk, identity, &vote, err);
    return rc == 0 ? archive_put(disk, identity->cluster_id, archive, err) : rc;
}

static void folder_remove(const char *path) {
    static const char *const names[] = {"LOCK", VOTE_FILE, PINS_FILE, IDENTITY_FILE, SNAPSHOT_TEMP};
    char file[4200];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)snprintf(file, sizeof file, "%s/%s", path, names[i]);
        (void)unlink(file);
    }
    (void)rmdir(path);
}

static int folder_make(const char *path, const struct identity *identity, const struct archive *archive,
                       struct err *err) {
    uv_loop_t loop;
    struct disk *disk = NULL;
    CHECK(uv_loop_init(&loop) == 0);
    int rc = disk_file_open(path, &loop, &disk, err);
    if (rc == 0) rc = folder_fill(disk, identity, archive, err);
    if (disk) disk_close(disk);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&loop);
    return rc;
}

int archive_found(const char *path, const uint8_t cluster_id[16], uint64_t node_id, const struct archive *archive,
                  struct err *err) {
    char temporary[4096];
    struct identity identity = {.node_id = node_id, .created_ms = clock_wall_ms()};
    struct rng rng;
    memcpy(identity.cluster_id, cluster_id, 16);
    rng_seed_system(&rng);
    while (identity.folder == 0)
        identity.folder = rng_next(&rng);
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    if (snprintf(temporary, sizeof temporary, "%.*s.tmp-%d", (int)len, path, (int)getpid()) >= (int)sizeof temporary)
        return err_set(err, ERR_INVALID, "the folder's name is too long");
    if (mkdir(temporary, 0700) != 0) return err_sys(err, errno, "make %.150s", temporary);
    int rc = folder_make(temporary, &identity, archive, err);
    if (rc == 0 && rename(temporary, path) != 0)
        rc = errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR
                 ? err_set(err, ERR_EXISTS, "%.150s is there already and not empty", path)
                 : err_sys(err, errno, "make %.150s", path);
    if (rc) {
        struct snapshot_id id = {.index = archive->index, .term = archive->term};
        char name[DISK_NAME_MAX], file[4200];
        snapshot_name(&id, name);
        (void)snprintf(file, sizeof file, "%s/%s", temporary, name);
        (void)unlink(file);
        folder_remove(temporary);
        return rc;
    }
    return parent_sync(path, err);
}
