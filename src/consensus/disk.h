/* SPDX-License-Identifier: Apache-2.0
 * The folder of one node as the storage code sees it: a flat set of named files behind a table of functions. The same
 * log, vote and snapshot code runs over real files (disk_file.h) and over the simulated disk of the tests.
 *
 * What survives a crash:
 *  - a `write` whose callback came with status 0, a `write_sync` that returned 0, a `write_at` once `sync` of that file
 *    returned 0;
 *  - a `create` or `replace` that returned 0 (content and name);
 *  - a `rename` or `remove` once `sync_dir` returned 0. Until then any prefix of them, in order, may have happened.
 * Of a write that was not finished any set of its 512-byte sectors may be new and the others old.
 *
 * Threads: everything is called on the owner's thread, except that the function of a job may call the synchronous
 * functions from whatever thread runs it. Callbacks come on the owner's thread, never inside the call that asked.
 *
 * Errors: ERR_NOT_FOUND (no such file), ERR_LIMIT (no space left), ERR_IO (everything else the device says),
 * ERR_FORBIDDEN (a read-only disk was asked to change something), ERR_CLOSED. */
#ifndef CONCLAVE_CONSENSUS_DISK_H
#define CONCLAVE_CONSENSUS_DISK_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define DISK_BLOCK    4096u /* unit of `write`: offset, length and address are multiples of it */
#define DISK_NAME_MAX 64u   /* bytes of a file name, the NUL included */

struct disk;

/* `took_us` is how long the device needed; 0 where time does not exist. */
typedef void (*disk_write_cb)(void *data, int status, uint64_t took_us);

/* Work for another thread. `work` runs there (on a simulated disk: when the simulation says), then `done` on the
 * owner's thread. The struct belongs to the caller and must live until `done`. */
struct disk_job {
    void (*work)(void *data);
    void (*done)(void *data);
    void *data;
};

struct disk_ops {
    /* Begins a durable write into an existing file, inside its size. One at a time: asking for a second is a programmer
     * error. `buf` stays the caller's and untouched until `cb`. */
    void (*write)(struct disk *d, const char *name, uint64_t offset, const void *buf, size_t len, disk_write_cb cb,
                  void *data);
    /* Runs a job; any number may be under way. Never fails. */
    void (*run)(struct disk *d, struct disk_job *job);

    /* Reads up to `len` bytes from `offset`; fewer only at the end of the file. */
    int (*read)(struct disk *d, const char *name, uint64_t offset, void *buf, size_t len, size_t *ret_len,
                struct err *err);
    int (*size)(struct disk *d, const char *name, uint64_t *ret_size, struct err *err);
    /* Calls cb for every file, in no particular order. */
    int (*list)(struct disk *d, void (*cb)(void *data, const char *name), void *data, struct err *err);

    /* Makes a file of `size` zero bytes, allocated and durable. `fill` writes the zeros out, which is slow but makes
     * later writes into it cheaper. An existing file of the name is replaced. After a crash: done or not done. */
    int (*create)(struct disk *d, const char *name, uint64_t size, int fill, struct err *err);
    /* Writes without making durable. The file is made if it is missing and grows as needed; a gap reads as zeros. */
    int (*write_at)(struct disk *d, const char *name, uint64_t offset, const void *buf, size_t len, struct err *err);
    int (*sync)(struct disk *d, const char *name, struct err *err);
    /* As `write`, but waits for it; not for jobs. It may be called while a `write` is under way. */
    int (*write_sync)(struct disk *d, const char *name, uint64_t offset, const void *buf, size_t len, struct err *err);
    /* Replaces the whole content of a small file: after a crash it has either the old or the new content. */
    int (*replace)(struct disk *d, const char *name, const void *buf, size_t len, struct err *err);
    int (*rename)(struct disk *d, const char *from, const char *to, struct err *err); /* over an existing `to` */
    int (*remove)(struct disk *d, const char *name, struct err *err);                 /* of a missing file: success */
    int (*sync_dir)(struct disk *d, struct err *err);
    int (*free_space)(struct disk *d, uint64_t *ret_bytes, struct err *err);
    /* Frees the disk. Nothing may be under way. */
    void (*close)(struct disk *d);
};

struct disk {
    const struct disk_ops *ops;
};

/* The same, to be read aloud. */
static inline void disk_write(struct disk *d, const char *name, uint64_t offset, const void *buf, size_t len,
                              disk_write_cb cb, void *data) {
    d->ops->write(d, name, offset, buf, len, cb, data);
}
static inline void disk_run(struct disk *d, struct disk_job *job) {
    d->ops->run(d, job);
}
static inline int disk_read(struct disk *d, const char *name, uint64_t offset, void *buf, size_t len, size_t *ret_len,
                            struct err *err) {
    return d->ops->read(d, name, offset, buf, len, ret_len, err);
}
static inline int disk_size(struct disk *d, const char *name, uint64_t *ret_size, struct err *err) {
    return d->ops->size(d, name, ret_size, err);
}
static inline int disk_list(struct disk *d, void (*cb)(void *data, const char *name), void *data, struct err *err) {
    return d->ops->list(d, cb, data, err);
}
static inline int disk_create(struct disk *d, const char *name, uint64_t size, int fill, struct err *err) {
    return d->ops->create(d, name, size, fill, err);
}
static inline int disk_write_at(struct disk *d, const char *name, uint64_t offset, const void *buf, size_t len,
                                struct err *err) {
    return d->ops->write_at(d, name, offset, buf, len, err);
}
static inline int disk_sync(struct disk *d, const char *name, struct err *err) {
    return d->ops->sync(d, name, err);
}
static inline int disk_write_sync(struct disk *d, const char *name, uint64_t offset, const void *buf, size_t len,
                                  struct err *err) {
    return d->ops->write_sync(d, name, offset, buf, len, err);
}
static inline int disk_replace(struct disk *d, const char *name, const void *buf, size_t len, struct err *err) {
    return d->ops->replace(d, name, buf, len, err);
}
static inline int disk_rename(struct disk *d, const char *from, const char *to, struct err *err) {
    return d->ops->rename(d, from, to, err);
}
static inline int disk_remove(struct disk *d, const char *name, struct err *err) {
    return d->ops->remove(d, name, err);
}
static inline int disk_sync_dir(struct disk *d, struct err *err) {
    return d->ops->sync_dir(d, err);
}
static inline int disk_free_space(struct disk *d, uint64_t *ret_bytes, struct err *err) {
    return d->ops->free_space(d, ret_bytes, err);
}
static inline void disk_close(struct disk *d) {
    d->ops->close(d);
}

#endif
