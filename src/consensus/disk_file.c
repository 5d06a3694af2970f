/* SPDX-License-Identifier: Apache-2.0
 * One writer thread takes the one write that may be under way, puts it down with pwrite, and wakes the loop. Everything
 * else is plain system calls, each opening its file anew: they are rare, and so any thread may make them. */
#include "consensus/disk_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"

#define MAGIC         UINT32_C(0x4b534944)
#define LOCK_FILE     "LOCK"
#define TMP_PREFIX    "tmp-"
#define FILL_BYTES    (1u << 20)
#define LOCK_TRIES    10u /* disk_file_in_use of another process holds the lock for a moment */
#define LOCK_PAUSE_NS 10000000L

struct request {
    char name[DISK_NAME_MAX];
    uint64_t offset;
    const void *buf;
    size_t len;
    disk_write_cb cb;
    void *data;
    int status;
    uint64_t took_us;
};

/* A file that is kept open for durable writes: the one last written. */
struct target {
    int fd; /* -1: none */
    bool direct;
    char name[DISK_NAME_MAX];
};

struct disk_file {
    struct disk face; /* first */
    uint32_t magic;
    bool readonly;
    int dir, lock;
    uv_loop_t *loop;
    uv_async_t wake;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool wanted, done, stop; /* under the mutex */
    bool busy;               /* a write is under way; the owner's */
    struct request request;
    struct target writer; /* the writer thread's */
    struct target sync;   /* the owner's, for write_sync */
};

static struct disk_file *self(struct disk *face) {
    struct disk_file *d = (struct disk_file *)face;
    CHECK_MAGIC(d, MAGIC);
    return d;
}

static int fail(struct err *err, const char *what, const char *name) {
    int sys = errno;
    if (sys == ENOSPC || sys == EDQUOT || sys == EFBIG)
        return err_set(err, ERR_LIMIT, "%s %s: %s", what, name, strerror(sys));
    return err_sys(err, sys, "%s %s", what, name);
}

static int guard(struct disk_file *d, const char *what, const char *name, struct err *err) {
    return d->readonly ? err_set(err, ERR_FORBIDDEN, "%s %s: the folder was opened for reading", what, name) : 0;
}

static int write_all(int fd, const void *buf, size_t len, uint64_t offset) {
    const uint8_t *p = buf;
    while (len) {
        ssize_t n = pwrite(fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            if (n == 0) errno = EIO;
            return -1;
        }
        p += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

/* ---- the writer ---- */

static void target_close(struct target *t) {
    if (t->fd >= 0) (void)close(t->fd);
    t->fd = -1;
}

static int target_open(struct disk_file *d, struct target *t, const char *name) {
    if (t->fd >= 0 && strcmp(t->name, name) == 0) return 0;
    target_close(t);
    t->direct = true;
    t->fd = openat(d->dir, name, O_WRONLY | O_DSYNC | O_DIRECT | O_CLOEXEC);
    if (t->fd < 0 && errno == EINVAL) {
        t->direct = false;
        t->fd = openat(d->dir, name, O_WRONLY | O_DSYNC | O_CLOEXEC);
    }
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    return t->fd < 0 ? -1 : 0;
}

/* Some file systems take O_DIRECT at open and refuse it at the write. */
static int target_write(struct disk_file *d, struct target *t, const char *name, const void *buf, size_t len,
                        uint64_t offset) {
    if (target_open(d, t, name) != 0) return -1;
    if (write_all(t->fd, buf, len, offset) == 0) return 0;
    if (errno != EINVAL || !t->direct) return -1;
    target_close(t);
    t->direct = false;
    t->fd = openat(d->dir, name, O_WRONLY | O_DSYNC | O_CLOEXEC);
    return t->fd < 0 ? -1 : write_all(t->fd, buf, len, offset);
}

static void *writer_main(void *data) {
    struct disk_file *d = data;
    (void)pthread_mutex_lock(&d->mutex);
    while (!d->stop) {
        if (!d->wanted) {
            (void)pthread_cond_wait(&d->cond, &d->mutex);
            continue;
        }
        d->wanted = false;
        (void)pthread_mutex_unlock(&d->mutex);
        struct err ignored;
        uint64_t from = clock_mono_us();
        struct request *r = &d->request;
        int rv = target_write(d, &d->writer, r->name, r->buf, r->len, r->offset);
        r->status = rv == 0 ? 0 : fail(&ignored, "write", r->name);
        r->took_us = clock_mono_us() - from;
        (void)pthread_mutex_lock(&d->mutex);
        d->done = true;
        (void)uv_async_send(&d->wake);
    }
    (void)pthread_mutex_unlock(&d->mutex);
    return NULL;
}

static void woken(uv_async_t *wake) {
    struct disk_file *d = wake->data;
    (void)pthread_mutex_lock(&d->mutex);
    bool done = d->done;
    d->done = false;
    (void)pthread_mutex_unlock(&d->mutex);
    if (!done) return;
    struct request r = d->request;
    d->busy = false;
    r.cb(r.data, r.status, r.took_us);
}

static void op_write(struct disk *face, const char *name, uint64_t offset, const void *buf, size_t len,
                     disk_write_cb cb, void *data) {
    struct disk_file *d = self(face);
    CHECK(!d->readonly && !d->busy && strlen(name) < DISK_NAME_MAX);
    CHECK(offset % DISK_BLOCK == 0 && len % DISK_BLOCK == 0 && len > 0 && (uintptr_t)buf % DISK_BLOCK == 0);
    d->busy = true;
    d->request = (struct request){.offset = offset, .buf = buf, .len = len, .cb = cb, .data = data};
    memcpy(d->request.name, name, strlen(name) + 1);
    (void)pthread_mutex_lock(&d->mutex);
    d->wanted = true;
    (void)pthread_cond_signal(&d->cond);
    (void)pthread_mutex_unlock(&d->mutex);
}

/* ---- jobs ---- */

static void job_work(uv_work_t *work) {
    struct disk_job *job = work->data;
    job->work(job->data);
}

static void job_after(uv_work_t *work, int status) {
    struct disk_job *job = work->data;
    CHECK(status == 0); /* nobody cancels it */
    free(work);
    job->done(job->data);
}

static void op_run(struct disk *face, struct disk_job *job) {
    struct disk_file *d = self(face);
    uv_work_t *work = malloc(sizeof *work);
    CHECK(work && !d->readonly);
    work->data = job;
    CHECK(uv_queue_work(d->loop, work, job_work, job_after) == 0);
}

/* ---- plain calls ---- */

static int op_read(struct disk *face, const char *name, uint64_t offset, void *buf, size_t len, size_t *ret_len,
                   struct err *err) {
    struct disk_file *d = self(face);
    int fd = openat(d->dir, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail(err, "open", name);
    size_t got = 0;
    int rv = 0;
    while (got < len) {
        ssize_t n = pread(fd, (uint8_t *)buf + got, len - got, (off_t)(offset + got));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) rv = fail(err, "read", name);
        if (n <= 0) break;
        got += (size_t)n;
    }
    (void)close(fd);
    if (rv == 0) *ret_len = got;
    return rv;
}

static int op_size(struct disk *face, const char *name, uint64_t *ret_size, struct err *err) {
    struct disk_file *d = self(face);
    struct stat st;
    if (fstatat(d->dir, name, &st, 0) != 0) return fail(err, "stat", name);
    *ret_size = (uint64_t)st.st_size;
    return 0;
}

static int op_list(struct disk *face, void (*cb)(void *data, const char *name), void *data, struct err *err) {
    struct disk_file *d = self(face);
    int fd = openat(d->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return fail(err, "open", "the folder");
    DIR *dir = fdopendir(fd);
    if (!dir) {
        int rv = fail(err, "open", "the folder");
        (void)close(fd);
        return rv;
    }
    const struct dirent *e;
    errno = 0;
    while ((e = readdir(dir)) != NULL) {
        if (e->d_name[0] != '.' && strlen(e->d_name) < DISK_NAME_MAX) cb(data, e->d_name);
        errno = 0;
    }
    int rv = errno ? fail(err, "list", "the folder") : 0;
    (void)closedir(dir);
    return rv;
}

static int dir_sync(struct disk_file *d, struct err *err) {
    return fsync(d->dir) == 0 ? 0 : fail(err, "sync", "the folder");
}

/* A piece at a time and past the page cache: a whole segment of dirty pages, flushed at once by the sync at the end,
 * would stand before every write of the log that comes meanwhile. A file system without O_DIRECT gets them buffered. */
static int zeros_write(int fd, uint64_t size) {
    uint8_t *zeros = aligned_alloc(DISK_BLOCK, FILL_BYTES);
    if (!zeros) return -1;
    memset(zeros, 0, FILL_BYTES);
    int flags = fcntl(fd, F_GETFL), rv = 0;
    bool direct = size % DISK_BLOCK == 0 && flags >= 0 && fcntl(fd, F_SETFL, flags | O_DIRECT) == 0;
    for (uint64_t at = 0; rv == 0 && at < size; at += FILL_BYTES) {
        size_t len = size - at < FILL_BYTES ? (size_t)(size - at) : FILL_BYTES;
        rv = write_all(fd, zeros, len, at);
        if (rv != 0 && direct && errno == EINVAL) {
            direct = false;
            rv = fcntl(fd, F_SETFL, flags) == 0 ? write_all(fd, zeros, len, at) : -1;
        }
    }
    free(zeros);
    return rv;
}

/* Content first, under a temporary name; then the name: the file is there whole or not at all. */
static int file_make(struct disk_file *d, const char *name, int (*fill)(int fd, const void *data, uint64_t size),
                     const void *data, uint64_t size, struct err *err) {
    char tmp[DISK_NAME_MAX + sizeof TMP_PREFIX];
    (void)snprintf(tmp, sizeof tmp, TMP_PREFIX "%s", name);
    int fd = openat(d->dir, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return fail(err, "create", name);
    int rv = 0;
    if (fill(fd, data, size) != 0 || fsync(fd) != 0) rv = fail(err, "write", name);
    if (close(fd) != 0 && rv == 0) rv = fail(err, "close", name);
    if (rv == 0 && renameat(d->dir, tmp, d->dir, name) != 0) rv = fail(err, "rename", name);
    if (rv != 0) {
        (void)unlinkat(d->dir, tmp, 0);
        return rv;
    }
    return dir_sync(d, err);
}

static int fill_zeros(int fd, const void *data, uint64_t size) {
    const int *write_out = data;
    int rv = posix_fallocate(fd, 0, (off_t)size);
    if (rv != 0) {
        errno = rv;
        return -1;
    }
    return *write_out ? zeros_write(fd, size) : 0;
}

static int fill_bytes(int fd, const void *data, uint64_t size) {
    return write_all(fd, data, (size_t)size, 0);
}

static int op_create(struct disk *face, const char *name, uint64_t size, int fill, struct err *err) {
    struct disk_file *d = self(face);
    int rv = guard(d, "create", name, err);
    return rv == 0 ? file_make(d, name, fill_zeros, &fill, size, err) : rv;
}

static int op_replace(struct disk *face, const char *name, const void *buf, size_t len, struct err *err) {
    struct disk_file *d = self(face);
    int rv = guard(d, "replace", name, err);
    if (rv != 0) return rv;
    target_close(&d->sync); /* it may be this file, which is another one afterwards */
    return file_make(d, name, fill_bytes, buf, len, err);
}

static int op_write_at(struct disk *face, const char *name, uint64_t offset, const void *buf, size_t len,
                       struct err *err) {
    struct disk_file *d = self(face);
    int rv = guard(d, "write", name, err);
    if (rv != 0) return rv;
    int fd = openat(d->dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return fail(err, "open", name);
    if (write_all(fd, buf, len, offset) != 0) rv = fail(err, "write", name);
    if (close(fd) != 0 && rv == 0) rv = fail(err, "close", name);
    return rv;
}

static int op_sync(struct disk *face, const char *name, struct err *err) {
    struct disk_file *d = self(face);
    int rv = guard(d, "sync", name, err);
    if (rv != 0) return rv;
    int fd = openat(d->dir, name, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return fail(err, "open", name);
    if (fdatasync(fd) != 0) rv = fail(err, "sync", name);
    (void)close(fd);
    return rv;
}

static int op_write_sync(struct disk *face, const char *name, uint64_t offset, const void *buf, size_t len,
                         struct err *err) {
    struct disk_file *d = self(face);
    CHECK(offset % DISK_BLOCK == 0 && len % DISK_BLOCK == 0 && len > 0 && (uintptr_t)buf % DISK_BLOCK == 0);
    int rv = guard(d, "write", name, err);
    if (rv != 0) return rv;
    return target_write(d, &d->sync, name, buf, len, offset) == 0 ? 0 : fail(err, "write", name);
}

static int op_rename(struct disk *face, const char *from, const char *to, struct err *err) {
    struct disk_file *d = self(face);
    int rv = guard(d, "rename", from, err);
    if (rv != 0) return rv;
    return renameat(d->dir, from, d->dir, to) == 0 ? 0 : fail(err, "rename", from);
}

static int op_remove(struct disk *face, const char *name, struct err *err) {
    struct disk_file *d = self(face);
    int rv = guard(d, "remove", name, err);
    if (rv != 0) return rv;
    return unlinkat(d->dir, name, 0) == 0 || errno == ENOENT ? 0 : fail(err, "remove", name);
}

static int op_sync_dir(struct disk *face, struct err *err) {
    struct disk_file *d = self(face);
    int rv = guard(d, "sync", "the folder", err);
    return rv == 0 ? dir_sync(d, err) : rv;
}

static int op_free_space(struct disk *face, uint64_t *ret_bytes, struct err *err) {
    struct disk_file *d = self(face);
    struct statvfs st;
    if (fstatvfs(d->dir, &st) != 0) return fail(err, "statvfs", "the folder");
    *ret_bytes = (uint64_t)st.f_bavail * st.f_frsize;
    return 0;
}

/* ---- life ---- */

static void wake_closed(uv_handle_t *handle) {
    struct disk_file *d = handle->data;
    (void)pthread_mutex_destroy(&d->mutex);
    (void)pthread_cond_destroy(&d->cond);
    free(d);
}

static void op_close(struct disk *face) {
    struct disk_file *d = self(face);
    CHECK(!d->busy);
    if (!d->readonly) {
        (void)pthread_mutex_lock(&d->mutex);
        d->stop = true;
        (void)pthread_cond_signal(&d->cond);
        (void)pthread_mutex_unlock(&d->mutex);
        (void)pthread_join(d->thread, NULL);
        target_close(&d->writer);
        target_close(&d->sync);
    }
    if (d->lock >= 0) (void)close(d->lock); /* which releases it */
    (void)close(d->dir);
    if (d->readonly) {
        free(d);
    } else {
        uv_close((uv_handle_t *)&d->wake, wake_closed);
    }
}

static const struct disk_ops ops = {.write = op_write,
                                    .run = op_run,
                                    .read = op_read,
                                    .size = op_size,
                                    .list = op_list,
                                    .create = op_create,
                                    .write_at = op_write_at,
                                    .sync = op_sync,
                                    .write_sync = op_write_sync,
                                    .replace = op_replace,
                                    .rename = op_rename,
                                    .remove = op_remove,
                                    .sync_dir = op_sync_dir,
                                    .free_space = op_free_space,
                                    .close = op_close};

static struct disk_file *disk_file_new(bool readonly) {
    struct disk_file *d = calloc(1, sizeof *d);
    CHECK(d);
    d->face.ops = &ops;
    d->magic = MAGIC;
    d->readonly = readonly;
    d->dir = d->lock = d->writer.fd = d->sync.fd = -1;
    return d;
}

static int folder_lock(struct disk_file *d, const char *path, struct err *err) {
    char pid[24] = "";
    d->lock = openat(d->dir, LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (d->lock < 0) return fail(err, "open", LOCK_FILE);
    int rv = flock(d->lock, LOCK_EX | LOCK_NB);
    for (unsigned i = 0; i < LOCK_TRIES && rv != 0 && errno == EWOULDBLOCK; i++) {
        const struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};
        (void)nanosleep(&pause, NULL);
        rv = flock(d->lock, LOCK_EX | LOCK_NB);
    }
    if (rv != 0) {
        if (errno != EWOULDBLOCK) return fail(err, "lock", LOCK_FILE);
        ssize_t n = pread(d->lock, pid, sizeof pid - 1, 0);
        pid[n > 0 ? n : 0] = '\0';
        return err_set(err, ERR_LOCKED, "%s is in use by process %ld", path, strtol(pid, NULL, 10));
    }
    int len = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    /* Which process it is only helps people: a full disk must not keep the node from starting. What is left of a longer
     * number stands behind the end of the line. */
    (void)write_all(d->lock, pid, (size_t)len, 0);
    return 0;
}

static void temps_remove_one(void *data, const char *name) {
    struct disk_file *d = data;
    if (strncmp(name, TMP_PREFIX, sizeof TMP_PREFIX - 1) == 0) (void)unlinkat(d->dir, name, 0);
}

static int folder_open(struct disk_file *d, const char *path, struct err *err) {
    d->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return d->dir >= 0 ? 0 : fail(err, "open", path);
}

static void failed_open_free(struct disk_file *d) {
    if (d->lock >= 0) (void)close(d->lock);
    if (d->dir >= 0) (void)close(d->dir);
    free(d);
}

int disk_file_open(const char *path, uv_loop_t *loop, struct disk **ret, struct err *err) {
    if (mkdir(path, 0700) != 0 && errno != EEXIST) return fail(err, "create", path);
    struct disk_file *d = disk_file_new(false);
    int rv = folder_open(d, path, err);
    if (rv == 0) rv = folder_lock(d, path, err);
    if (rv == 0) rv = op_list(&d->face, temps_remove_one, d, err);
    if (rv == 0 && uv_async_init(loop, &d->wake, woken) != 0) rv = err_set(err, ERR_IO, "uv_async_init failed");
    if (rv != 0) {
        failed_open_free(d);
        return rv;
    }
    d->loop = loop;
    d->wake.data = d;
    (void)pthread_mutex_init(&d->mutex, NULL);
    (void)pthread_cond_init(&d->cond, NULL);
    CHECK(pthread_create(&d->thread, NULL, writer_main, d) == 0);
    *ret = &d->face;
    return 0;
}

int disk_file_open_readonly(const char *path, struct disk **ret, struct err *err) {
    struct disk_file *d = disk_file_new(true);
    int rv = folder_open(d, path, err);
    if (rv != 0) {
        failed_open_free(d);
        return rv;
    }
    *ret = &d->face;
    return 0;
}

bool disk_file_in_use(struct disk *face) {
    struct disk_file *d = self(face);
    int fd = openat(d->dir, LOCK_FILE, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    bool used = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    (void)close(fd);
    return used;
}
