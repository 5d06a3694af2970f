/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/folder_swap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "consensus/disk_file.h"
#include "consensus/identity.h"
#include "consensus/vote.h"

#define PATH_BYTES 4400
#define LOCK_NAME  "LOCK"

static void part_path(const char *dir, uint32_t n, const char *suffix, char ret[PATH_BYTES]) {
    (void)snprintf(ret, PATH_BYTES, "%s/recovery-%" PRIu32 ".%s", dir, n, suffix);
}

static void aside_path(const char *dir, uint32_t n, char ret[PATH_BYTES]) {
    (void)snprintf(ret, PATH_BYTES, "%s/before-recovery-%" PRIu32, dir, n);
}

static bool exists(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

static int folder_sync(const char *path, struct err *err) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) != 0 ? err_sys(err, errno, "sync %.150s", path) : 0;
    if (fd >= 0) (void)close(fd);
    return rc;
}

/* ---- where it stands ---- */

/* Whether the folder at `path` has an identity and this snapshot. */
static bool is_new_life(const char *path, uint64_t index, uint64_t term) {
    struct disk *disk = NULL;
    struct identity identity;
    struct archive_row rows[ARCHIVE_FOLDER_FILES];
    struct err err;
    size_t n = 0;
    bool found = false;
    if (disk_file_open_readonly(path, &disk, &err)) return false;
    if (identity_read(disk, &identity, &err) == 0 && archive_list(disk, rows, &n, &err) == 0)
        for (size_t i = 0; i < n; i++)
            found = found || (rows[i].index == index && rows[i].term == term);
    disk_close(disk);
    return found;
}

int swap_stage(const char *dir, uint32_t n, uint64_t index, uint64_t term, enum swap_stage *ret, struct err *err) {
    char made[PATH_BYTES], ready[PATH_BYTES], aside[PATH_BYTES];
    part_path(dir, n, "new", made);
    part_path(dir, n, "ready", ready);
    aside_path(dir, n, aside);
    if (exists(ready) || (exists(made) && exists(aside))) {
        *ret = SWAP_BEGUN;
    } else if (exists(made)) {
        if (!is_new_life(made, index, term))
            return err_set(err, ERR_EXISTS, "%.150s is of another recovery: remove it", made);
        *ret = SWAP_PREPARED;
    } else {
        *ret = exists(aside) && is_new_life(dir, index, term) ? SWAP_DONE : SWAP_UNTOUCHED;
    }
    if (*ret == SWAP_UNTOUCHED && exists(aside))
        return err_set(err, ERR_EXISTS, "%.150s is of another recovery to incarnation %" PRIu32 ": give a higher one",
                       aside, n);
    return 0;
}

int swap_prepare(const char *dir, uint32_t n, const uint8_t cluster_id[16], uint64_t node,
                 const struct archive *archive, struct err *err) {
    char made[PATH_BYTES];
    part_path(dir, n, "new", made);
    return archive_found(made, cluster_id, node, archive, err);
}

/* ---- moving ---- */

static int move_one(const char *from, const char *to, const char *name, struct err *err) {
    char a[PATH_BYTES + 300], b[PATH_BYTES + 300];
    (void)snprintf(a, sizeof a, "%s/%s", from, name);
    (void)snprintf(b, sizeof b, "%s/%s", to, name);
    return rename(a, b) == 0 || errno == ENOENT ? 0 : err_sys(err, errno, "move %.150s", a);
}

/* All plain files but LOCK, and `identity` and `vote`, which the caller moves before or after. */
static int move_rest(const char *from, const char *to, struct err *err) {
    DIR *d = opendir(from);
    if (!d) return err_sys(err, errno, "open %.150s", from);
    const struct dirent *e;
    int rc = 0;
    while (rc == 0 && (e = readdir(d)) != NULL) {
        struct stat st;
        if (!strcmp(e->d_name, LOCK_NAME) || !strcmp(e->d_name, IDENTITY_FILE) || !strcmp(e->d_name, VOTE_FILE))
            continue;
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || S_ISDIR(st.st_mode)) continue;
        rc = move_one(from, to, e->d_name, err);
    }
    (void)closedir(d);
    return rc;
}

static int set_aside(const char *dir, uint32_t n, struct err *err) {
    char made[PATH_BYTES], ready[PATH_BYTES], aside[PATH_BYTES];
    part_path(dir, n, "new", made);
    part_path(dir, n, "ready", ready);
    aside_path(dir, n, aside);
    if (mkdir(aside, 0700) != 0 && errno != EEXIST) return err_sys(err, errno, "make %.150s", aside);
    int rc = move_one(dir, aside, IDENTITY_FILE, err);
    if (rc == 0) rc = folder_sync(dir, err);
    if (rc == 0) rc = move_rest(dir, aside, err);
    if (rc == 0) rc = folder_sync(aside, err);
    if (rc == 0) rc = folder_sync(dir, err);
    if (rc == 0 && rename(made, ready) != 0) rc = err_sys(err, errno, "rename %.150s", made);
    return rc == 0 ? folder_sync(dir, err) : rc;
}

/* The old vote stays until the new snapshot is there: so the folder is never one that a master takes for empty. */
static int move_vote(const char *dir, const char *aside, const char *ready, struct err *err) {
    char vote[PATH_BYTES + 300];
    (void)snprintf(vote, sizeof vote, "%s/" VOTE_FILE, ready);
    if (!exists(vote)) return 0; /* an interrupted run has moved both */
    int rc = move_one(dir, aside, VOTE_FILE, err);
    if (rc == 0) rc = folder_sync(dir, err);
    return rc == 0 ? move_one(ready, dir, VOTE_FILE, err) : rc;
}

static int move_in(const char *dir, uint32_t n, struct err *err) {
    char ready[PATH_BYTES], aside[PATH_BYTES], lock[PATH_BYTES + 300];
    part_path(dir, n, "ready", ready);
    aside_path(dir, n, aside);
    (void)snprintf(lock, sizeof lock, "%s/" LOCK_NAME, ready);
    int rc = move_rest(ready, dir, err);
    if (rc == 0) rc = folder_sync(dir, err);
    if (rc == 0) rc = move_vote(dir, aside, ready, err);
    if (rc == 0) rc = folder_sync(dir, err);
    if (rc == 0) rc = move_one(ready, dir, IDENTITY_FILE, err);
    if (rc == 0) rc = folder_sync(dir, err);
    if (rc) return rc;
    (void)unlink(lock);
    if (rmdir(ready) != 0) return err_sys(err, errno, "remove %.150s", ready);
    return folder_sync(dir, err);
}

int swap_finish(const char *dir, uint32_t n, struct err *err) {
    char ready[PATH_BYTES];
    part_path(dir, n, "ready", ready);
    int rc = exists(ready) ? 0 : set_aside(dir, n, err);
    return rc == 0 ? move_in(dir, n, err) : rc;
}

/* ---- reading ---- */

int swap_archive(const char *dir, uint32_t n, const uint8_t cluster_id[16], uint64_t index, uint64_t term,
                 struct archive *ret, struct err *err) {
    char path[3][PATH_BYTES];
    const struct archive_row row = {.index = index, .term = term};
    struct fault fault;
    int rc = ERR_NOT_FOUND;
    part_path(dir, n, "new", path[0]);
    part_path(dir, n, "ready", path[1]);
    (void)snprintf(path[2], PATH_BYTES, "%s", dir);
    for (int i = 0; i < 3 && rc == ERR_NOT_FOUND; i++) {
        struct disk *disk = NULL;
        rc = disk_file_open_readonly(path[i], &disk, err);
        if (rc) continue;
        rc = archive_read(disk, cluster_id, &row, ret, &fault, err);
        disk_close(disk);
    }
    return rc;
}
