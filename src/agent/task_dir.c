/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/task_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/sealed.h"
#include "agent/tree.h"
#include "base/crc32c.h"

#define LAUNCH_MAGIC      0x484c4e43u /* "CNLH" */
#define UPDATES_BYTES_MAX (4u << 20)
#define RECORD_HEAD       9 /* type u8, length u32, CRC-32C u32 over type, length and body */

void task_dir_path(const struct launch_key *key, char ret[TASK_PATH_MAX]) {
    char framework[TASK_NAME_MAX], task[TASK_NAME_MAX];
    task_id_encode(key->framework_id, framework);
    task_id_encode(key->task_id, task);
    (void)snprintf(ret, TASK_PATH_MAX, "tasks/%s/%s/%llu.%u.%u", framework, task, (unsigned long long)key->launch.index,
                   key->launch.n, key->launch.k);
}

static int dir_open(int work_fd, const char *path, struct err *err) {
    int fd = openat(work_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 ? fd : err_sys(err, errno, "opening %.100s", path);
}

/* As mkdir -p, for the parents of `path`. */
static int parents_make(int work_fd, const char *path, struct err *err) {
    char part[TASK_PATH_MAX];
    (void)snprintf(part, sizeof part, "%s", path);
    for (char *slash = strchr(part, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdirat(work_fd, part, 0755) != 0 && errno != EEXIST) return err_sys(err, errno, "making %.100s", part);
        *slash = '/';
    }
    return 0;
}

static int launch_write(int dir_fd, const void *launch, size_t len, struct err *err) {
    static const uint8_t head[SEALED_HEAD];
    struct buf b;
    buf_init(&b, SPEC_BYTES_MAX * 2);
    (void)buf_append(&b, head, sizeof head);
    (void)buf_append(&b, launch, len);
    int rc = b.failed ? err_set(err, ERR_LIMIT, "launch of %zu bytes", len) : 0;
    if (rc == 0) {
        sealed_close(b.data, b.len, LAUNCH_MAGIC);
        int fd = openat(dir_fd, "launch", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        ssize_t n = fd < 0 ? -1 : write(fd, b.data, b.len);
        if (n != (ssize_t)b.len) rc = err_sys(err, n < 0 ? errno : ENOSPC, "writing launch");
        if (fd >= 0) (void)close(fd);
    }
    buf_done(&b);
    return rc;
}

static int folder_fill(int dir_fd, const void *launch, size_t launch_len, bool chown_sandbox, uid_t uid, gid_t gid,
                       struct err *err) {
    int rc = launch_write(dir_fd, launch, launch_len, err);
    if (rc) return rc;
    int fd = openat(dir_fd, "lock", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return err_sys(err, errno, "making lock");
    (void)close(fd);
    if (mkdirat(dir_fd, "sandbox", 0755) != 0) return err_sys(err, errno, "making sandbox");
    if (chown_sandbox && fchownat(dir_fd, "sandbox", uid, gid, AT_SYMLINK_NOFOLLOW) != 0)
        return err_sys(err, errno, "giving the sandbox to uid %u", (unsigned)uid);
    return 0;
}

int task_dir_create(int work_fd, const char *path, const void *launch, size_t launch_len, bool chown_sandbox, uid_t uid,
                    gid_t gid, struct err *err) {
    int rc = parents_make(work_fd, path, err);
    if (rc) return rc;
    if (mkdirat(work_fd, path, 0755) != 0) {
        if (errno != EEXIST) return err_sys(err, errno, "making %.100s", path);
        rc = task_dir_discard(work_fd, path, err);
        if (rc == 0) rc = parents_make(work_fd, path, err);
        if (rc == 0 && mkdirat(work_fd, path, 0755) != 0) rc = err_sys(err, errno, "making %.100s", path);
        if (rc) return rc;
    }
    int fd = dir_open(work_fd, path, err);
    if (fd < 0) return fd;
    rc = folder_fill(fd, launch, launch_len, chown_sandbox, uid, gid, err);
    (void)close(fd);
    return rc;
}

int task_dir_spec_write(int work_fd, const char *path, const struct buf *spec, struct err *err) {
    int fd = dir_open(work_fd, path, err);
    if (fd < 0) return fd;
    int rc = file_replace(fd, "spec", spec->data, spec->len, false, err);
    (void)close(fd);
    return rc;
}

int task_dir_discard(int work_fd, const char *path, struct err *err) {
    int fd = dir_open(work_fd, path, err);
    if (fd < 0) return fd;
    int rc = 0;
    int lock_fd = openat(fd, "lock", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct stat st;
    if (lock_fd >= 0 && fcntl(lock_fd, F_SETLK, &lock) != 0)
        rc = err_set(err, ERR_LOCKED, "%.100s belongs to a shim", path);
    else if (fstatat(fd, "started", &st, AT_SYMLINK_NOFOLLOW) == 0)
        rc = err_set(err, ERR_EXISTS, "%.100s has started", path);
    else
        (void)unlinkat(fd, "spec", 0); /* a shim waiting for the lock finds nothing to run */
    if (lock_fd >= 0) (void)close(lock_fd);
    (void)close(fd);
    return rc ? rc : task_dir_remove(work_fd, path, err);
}

int task_dir_remove(int work_fd, const char *path, struct err *err) {
    int rc = tree_remove(work_fd, path, err);
    if (rc) return rc;
    char parent[TASK_PATH_MAX];
    (void)snprintf(parent, sizeof parent, "%s", path);
    for (int level = 0; level < 2; level++) { /* the task's and the framework's folder, when nothing else is there */
        char *slash = strrchr(parent, '/');
        if (!slash) break;
        *slash = '\0';
        if (unlinkat(work_fd, parent, AT_REMOVEDIR) != 0) break;
    }
    return 0;
}

pid_t task_dir_shim(int work_fd, const char *path) {
    char name[TASK_PATH_MAX + 16];
    (void)snprintf(name, sizeof name, "%s/lock", path);
    int fd = openat(work_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return 0;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    pid_t pid = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK ? lock.l_pid : 0;
    (void)close(fd);
    return pid;
}

/* Reads a small file of the folder as text. */
static int text_load(int work_fd, const char *path, const char *file, char *ret, size_t size) {
    char name[TASK_PATH_MAX + 16];
    (void)snprintf(name, sizeof name, "%s/%s", path, file);
    int fd = openat(work_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    ssize_t n = read(fd, ret, size - 1);
    (void)close(fd);
    if (n < 0) return ERR_IO;
    ret[n] = '\0';
    return 0;
}

bool task_dir_started(int work_fd, const char *path, uint32_t *ret_pid, uint64_t *ret_at_ms) {
    char text[64];
    if (text_load(work_fd, path, "started", text, sizeof text) != 0) return false;
    unsigned pid = 0;
    unsigned long long at = 0;
    bool whole = strchr(text, '\n') && sscanf(text, "%u %llu", &pid, &at) == 2;
    *ret_pid = whole ? pid : 0;
    *ret_at_ms = whole ? at : 0;
    return true;
}

bool task_dir_up(int work_fd, const char *path) {
    char name[TASK_PATH_MAX + 16];
    (void)snprintf(name, sizeof name, "%s/up", path);
    return faccessat(work_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

int task_dir_exit(int work_fd, const char *path, struct exit_record *ret, struct err *err) {
    char name[TASK_PATH_MAX + 16], data[EXIT_RECORD_MAX];
    (void)snprintf(name, sizeof name, "%s/exit", path);
    int fd = openat(work_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return err_sys(err, errno, "opening exit record");
    ssize_t n = read(fd, data, sizeof data);
    (void)close(fd);
    if (n < 0) return err_sys(err, errno, "reading exit record");
    return exit_record_decode(data, (size_t)n, ret, err);
}

int task_dir_launch(int work_fd, const char *path, struct buf *ret, struct err *err) {
    int fd = dir_open(work_fd, path, err);
    if (fd < 0) return fd;
    buf_init(ret, SPEC_BYTES_MAX * 2);
    int rc = file_load(fd, "launch", ret, err);
    (void)close(fd);
    if (rc == 0) rc = sealed_check(ret->data, ret->len, LAUNCH_MAGIC, err);
    if (rc == 0)
        buf_consume(ret, SEALED_HEAD);
    else
        buf_done(ret);
    return rc;
}

int task_dir_kill_write(int work_fd, const char *path, const struct kill_note *note, struct err *err) {
    char text[96];
    int n = snprintf(text, sizeof text, "%d %llu %llu\n", (int)note->cause, (unsigned long long)note->since_ms,
                     (unsigned long long)note->grace_ms);
    int fd = dir_open(work_fd, path, err);
    if (fd < 0) return fd;
    int rc = file_replace(fd, "kill", text, (size_t)n, false, err);
    (void)close(fd);
    return rc;
}

int task_dir_kill_read(int work_fd, const char *path, struct kill_note *ret) {
    char text[96];
    int rc = text_load(work_fd, path, "kill", text, sizeof text);
    if (rc) return rc;
    int cause;
    unsigned long long since, grace;
    if (sscanf(text, "%d %llu %llu", &cause, &since, &grace) != 3 || cause < KILL_ORDER || cause > KILL_COMPLETION_TIME)
        return ERR_CORRUPT;
    *ret = (struct kill_note){(enum workload_kill_cause)cause, since, grace};
    return 0;
}

static int record_append(int work_fd, const char *path, char type, const uint8_t uuid[16], uint32_t state,
                         const void *status, size_t len, struct err *err) {
    char name[TASK_PATH_MAX + 16];
    struct buf b;
    buf_init(&b, UPDATES_BYTES_MAX);
    (void)buf_append_byte(&b, (uint8_t)type);
    (void)buf_append_u32(&b, (uint32_t)(20 + len));
    (void)buf_append_u32(&b, 0);
    (void)buf_append(&b, uuid, 16);
    (void)buf_append_u32(&b, state);
    (void)buf_append(&b, status, len);
    if (b.failed) {
        buf_done(&b);
        return err_set(err, ERR_LIMIT, "update of %zu bytes", len);
    }
    store_u32(b.data + 5, crc32c(crc32c(0, b.data, 5), b.data + RECORD_HEAD, b.len - RECORD_HEAD));
    (void)snprintf(name, sizeof name, "%s/updates", path);
    int fd = openat(work_fd, name, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    int rc = 0;
    if (fd < 0 || write(fd, b.data, b.len) != (ssize_t)b.len) rc = err_sys(err, errno, "writing updates");
    if (fd >= 0) (void)close(fd);
    buf_done(&b);
    return rc;
}

int task_dir_update_add(int work_fd, const char *path, const uint8_t uuid[16], uint32_t state, const void *status,
                        size_t len, struct err *err) {
    return record_append(work_fd, path, 'U', uuid, state, status, len, err);
}

int task_dir_update_ack(int work_fd, const char *path, const uint8_t uuid[16], struct err *err) {
    return record_append(work_fd, path, 'A', uuid, 0, NULL, 0, err);
}

size_t updates_replay(const uint8_t *data, size_t len, struct updates *ret) {
    size_t at = 0;
    while (len - at >= RECORD_HEAD + 20) {
        const uint8_t *r = data + at;
        size_t body = load_u32(r + 1);
        if (body < 20 || body > len - at - RECORD_HEAD) break;
        if (load_u32(r + 5) != crc32c(crc32c(0, r, 5), r + RECORD_HEAD, body)) break;
        const uint8_t *uuid = r + RECORD_HEAD;
        if (r[0] == 'U') {
            if (updates_add(ret, uuid, load_u32(uuid + 16), uuid + 20, body - 20) != 0) break;
        } else if (r[0] == 'A') {
            (void)updates_ack(ret, uuid);
        } else {
            break;
        }
        at += RECORD_HEAD + body;
    }
    return at;
}

int task_dir_updates_load(int work_fd, const char *path, struct updates *ret, struct err *err) {
    int dir_fd = dir_open(work_fd, path, err);
    if (dir_fd < 0) return dir_fd;
    struct buf b;
    buf_init(&b, UPDATES_BYTES_MAX);
    int rc = file_load(dir_fd, "updates", &b, err);
    if (rc == ERR_NOT_FOUND) rc = 0;
    if (rc == 0 && b.len) {
        size_t good = updates_replay(b.data, b.len, ret);
        int fd = good < b.len ? openat(dir_fd, "updates", O_WRONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
        if (good < b.len && (fd < 0 || ftruncate(fd, (off_t)good) != 0)) rc = err_sys(err, errno, "cutting updates");
        if (fd >= 0) (void)close(fd);
    }
    buf_done(&b);
    (void)close(dir_fd);
    return rc;
}
