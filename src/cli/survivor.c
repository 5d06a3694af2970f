/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/survivor.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/hash.h"
#include "consensus/disk_file.h"
#include "consensus/verify.h"
#include "consensus/vote.h"

#define READ_BYTES     (1u << 20)
#define NAMES_MAX      65536u
#define HASHES_MAX     (256u << 20) /* 16 bytes for each MiB of the folder, and its names */
#define LOCK_FILE_NAME "LOCK"

/* ---- fingerprint ---- */

struct names {
    char (*names)[DISK_NAME_MAX];
    size_t n, cap;
    bool failed;
};

static void name_add(void *data, const char *name) {
    struct names *l = data;
    if (!strcmp(name, LOCK_FILE_NAME)) return;
    if (l->n == NAMES_MAX) l->failed = true;
    if (l->failed) return;
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 64;
        void *grown = realloc(l->names, cap * sizeof *l->names);
        l->failed = grown == NULL;
        if (l->failed) return;
        l->names = grown;
        l->cap = cap;
    }
    (void)snprintf(l->names[l->n++], DISK_NAME_MAX, "%s", name);
}

static int name_compare(const void *a, const void *b) {
    return strcmp(a, b);
}

/* Name, size and the hash of each MiB. A name that cannot be read as a file (a folder) is left out. */
static int file_add(struct disk *disk, const char *name, uint8_t *page, struct buf *sums, struct err *err) {
    uint64_t size = 0;
    size_t n = 0, before = sums->len;
    struct err why;
    int rc = disk_size(disk, name, &size, err);
    if (rc) return rc;
    (void)buf_append(sums, name, strlen(name) + 1);
    (void)buf_append_u64(sums, size);
    for (uint64_t at = 0; at < size; at += n) {
        rc = disk_read(disk, name, at, page, READ_BYTES, &n, &why);
        if (rc && at == 0) {
            sums->len = before;
            return 0;
        }
        if (rc || n == 0) return err_set(err, ERR_IO, "%s cannot be read, or became shorter", name);
        struct hash128 h = hash128_of(page, n);
        (void)buf_append_u64(sums, h.lo);
        (void)buf_append_u64(sums, h.hi);
    }
    return 0;
}

int folder_fingerprint(struct disk *disk, char ret[33], struct err *err) {
    struct names names = {0};
    struct buf sums;
    uint8_t *page = malloc(READ_BYTES);
    buf_init(&sums, HASHES_MAX);
    int rc = page ? disk_list(disk, name_add, &names, err) : err_set(err, ERR_NOMEM, "out of memory");
    if (rc == 0 && names.failed) rc = err_set(err, ERR_LIMIT, "the folder has too many files");
    if (names.n) qsort(names.names, names.n, sizeof *names.names, name_compare);
    for (size_t i = 0; rc == 0 && i < names.n; i++)
        rc = file_add(disk, names.names[i], page, &sums, err);
    if (rc == 0 && sums.failed) rc = err_set(err, ERR_LIMIT, "the folder is too large");
    if (rc == 0) hash128_hex(hash128_of(sums.data, sums.len), ret);
    buf_done(&sums);
    free(names.names);
    free(page);
    return rc;
}

/* ---- reading ---- */

static int survivor_verify(struct disk *disk, struct survivor *ret, struct err *err) {
    static struct verify_report report; /* too large for the stack */
    int rc = disk_file_in_use(disk) ? err_set(err, ERR_BUSY, "a master runs on %.150s: stop it first", ret->dir)
                                    : verify_run(disk, false, &report, err);
    if (rc) return rc;
    if (report.pristine) return err_set(err, ERR_NOT_FOUND, "%.150s is empty: nothing survived there", ret->dir);
    if (!report.ok) {
        (void)fault_err(&report.faults[0], err);
        return err_wrap(err, "%.60s is damaged", ret->dir);
    }
    ret->identity = report.identity;
    ret->term = report.term;
    ret->first = report.first;
    ret->last = report.last;
    ret->last_term = report.last_term;
    ret->snapshot = report.snapshot_index;
    if (report.snapshot_index > ret->last) { /* nothing was written behind an installed snapshot yet */
        ret->last = report.snapshot_index;
        ret->last_term = report.snapshot_term;
    }
    if (ret->last == 0) return err_set(err, ERR_NOT_FOUND, "%.150s has no entry and no snapshot", ret->dir);
    struct vote vote;
    struct fault fault;
    bool repair;
    rc = vote_read(disk, &ret->identity, &vote, &repair, &fault, err);
    if (rc == 0 && vote.barred)
        fprintf(stderr,
                "conclave: note: %.200s was re-installed and had not caught up: it may lack entries that it had "
                "acknowledged\n",
                ret->dir);
    return rc == 0 ? folder_fingerprint(disk, ret->fingerprint, err) : rc;
}

int survivor_read(const char *dir, struct survivor *ret, struct err *err) {
    struct disk *disk = NULL;
    *ret = (struct survivor){0};
    char *real = realpath(dir, NULL);
    if (!real) return err_sys(err, errno, "%.150s", dir);
    bool fits = strlen(real) < sizeof ret->dir;
    if (fits) memcpy(ret->dir, real, strlen(real) + 1);
    free(real);
    if (!fits) return err_set(err, ERR_INVALID, "the folder's name is too long");
    int rc = disk_file_open_readonly(ret->dir, &disk, err);
    if (rc) return rc;
    rc = survivor_verify(disk, ret, err);
    disk_close(disk);
    return rc;
}

int survivor_replay(const char *dir, struct log_source **ret_source, struct replay *ret, struct err *err) {
    struct options o = {.data_dir = dir};
    struct log_source *source = NULL;
    int rc = log_source_open(&o, &source, err);
    if (rc) return rc;
    rc = replay_at(source, NULL, ret, err);
    if (rc) {
        log_source_close(source);
        return rc;
    }
    *ret_source = source;
    return 0;
}
