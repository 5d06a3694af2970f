/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/sealed.h"
#include "agent/task_dir.h"
#include "base/rng.h"

static int dir_make(const char *path, struct err *err) {
    char part[PATH_MAX];
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part)
        return err_set(err, ERR_INVALID, "the work folder's path is too long");
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0755) != 0 && errno != EEXIST) return err_sys(err, errno, "making %s", part);
        *slash = '/';
    }
    if (mkdir(part, 0755) != 0 && errno != EEXIST) return err_sys(err, errno, "making %s", part);
    return 0;
}

static int dirs_open(struct store *s, const char *work, struct err *err) {
    int rc = dir_make(work, err);
    if (rc) return rc;
    s->work = realpath(work, NULL);
    if (!s->work) return err_sys(err, errno, "finding %s", work);
    s->work_fd = open(s->work, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->work_fd < 0) return err_sys(err, errno, "opening %s", work);
    if ((mkdirat(s->work_fd, "meta", 0700) != 0 && errno != EEXIST) ||
        (mkdirat(s->work_fd, "tasks", 0755) != 0 && errno != EEXIST))
        return err_sys(err, errno, "making folders in %s", work);
    s->meta_fd = openat(s->work_fd, "meta", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (s->meta_fd < 0) return err_sys(err, errno, "opening %s/meta", work);
    s->lock_fd = openat(s->meta_fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (s->lock_fd < 0) return err_sys(err, errno, "opening %s/meta/lock", work);
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return err_set(err, ERR_LOCKED, "%s is in use by another agent", work);
    return 0;
}

/* One line of a meta file; "" if there is none. */
static int line_load(struct store *s, const char *name, char *ret, size_t size, struct err *err) {
    struct buf b;
    buf_init(&b, size - 1);
    int rc = file_load(s->meta_fd, name, &b, err);
    ret[0] = '\0';
    if (rc == 0) {
        size_t len = b.len && b.data[b.len - 1] == '\n' ? b.len - 1 : b.len;
        if (len == 0 || memchr(b.data, '\0', len) || memchr(b.data, '\n', len)) {
            rc = err_set(err, ERR_CORRUPT, "meta/%s is damaged: restore it, or wipe the work folder", name);
        } else {
            memcpy(ret, b.data, len);
            ret[len] = '\0';
        }
    }
    buf_done(&b);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

static int line_save(struct store *s, const char *name, const char *text, struct err *err) {
    char line[2100];
    int n = snprintf(line, sizeof line, "%s\n", text);
    return file_replace(s->meta_fd, name, line, (size_t)n, true, err);
}

static int uuid_load(struct store *s, struct err *err) {
    char text[64];
    int rc = line_load(s, "agent.uuid", text, sizeof text, err);
    if (rc) return rc;
    if (text[0] == '\0') {
        random_bytes(s->uuid, sizeof s->uuid);
        for (size_t i = 0; i < sizeof s->uuid; i++)
            (void)snprintf(text + 2 * i, 3, "%02x", s->uuid[i]);
        rc = line_save(s, "agent.uuid", text, err);
        if (rc) return rc;
    }
    if (strlen(text) != 32 || strspn(text, "0123456789abcdef") != 32)
        return err_set(err, ERR_CORRUPT, "meta/agent.uuid is damaged: restore it, or wipe the work folder");
    for (size_t i = 0; i < sizeof s->uuid; i++) {
        char two[3] = {text[2 * i], text[2 * i + 1], '\0'};
        s->uuid[i] = (uint8_t)strtoul(two, NULL, 16);
    }
    memcpy(s->uuid_text, text, sizeof s->uuid_text);
    return 0;
}

static int fence_load(struct store *s, struct err *err) {
    struct buf b;
    buf_init(&b, 4096);
    int rc = file_load(s->meta_fd, "fence", &b, err);
    if (rc == 0) {
        rc = fence_decode(b.data, b.len, &s->fence, err);
        if (rc) (void)err_wrap(err, "meta/fence (restore it, or wipe the work folder)");
    } else if (rc == ERR_NOT_FOUND) {
        rc = 0;
    }
    buf_done(&b);
    return rc;
}

static int boot_load(struct store *s, struct err *err) {
    char before[sizeof s->boot_id];
    int rc = line_load(s, "boot", before, sizeof before, err);
    if (rc) return rc;
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, s->boot_id, sizeof s->boot_id - 1) : -1;
    if (fd >= 0) (void)close(fd);
    if (n <= 0) return err_set(err, ERR_IO, "this host's boot id cannot be read");
    s->boot_id[strcspn(s->boot_id, "\n")] = '\0';
    s->boot_saved = strcmp(before, s->boot_id) == 0;
    s->rebooted = before[0] && !s->boot_saved;
    return 0;
}

int agent_store_open(const char *work, struct store *ret, struct err *err) {
    struct store s = {.work_fd = -1, .meta_fd = -1, .lock_fd = -1};
    int rc = dirs_open(&s, work, err);
    if (rc == 0) rc = uuid_load(&s, err);
    if (rc == 0) rc = line_load(&s, "agent.id", s.agent_id, sizeof s.agent_id, err);
    if (rc == 0) rc = line_load(&s, "masters", s.masters, sizeof s.masters, err);
    if (rc == 0) rc = fence_load(&s, err);
    if (rc == 0) rc = boot_load(&s, err);
    if (rc == 0) rc = journal_open(s.meta_fd, "launches", &s.journal, err);
    if (rc) {
        agent_store_close(&s);
        return rc;
    }
    *ret = s;
    return 0;
}

int store_boot_save(struct store *s, struct err *err) {
    int rc = s->boot_saved ? 0 : line_save(s, "boot", s->boot_id, err); /* a full disk must not keep an agent out */
    s->boot_saved = rc == 0;
    return rc;
}

void agent_store_close(struct store *s) {
    journal_close(s->journal);
    if (s->meta_fd >= 0) (void)close(s->meta_fd);
    if (s->work_fd >= 0) (void)close(s->work_fd);
    if (s->lock_fd >= 0) (void)close(s->lock_fd);
    free(s->work);
    *s = (struct store){.work_fd = -1, .meta_fd = -1, .lock_fd = -1};
}

int store_masters_set(struct store *s, const char *masters, struct err *err) {
    if (strcmp(s->masters, masters) == 0) return 0;
    if (strlen(masters) >= sizeof s->masters) return err_set(err, ERR_LIMIT, "the list of masters is too long");
    int rc = line_save(s, "masters", masters, err);
    if (rc == 0) (void)snprintf(s->masters, sizeof s->masters, "%s", masters);
    return rc;
}

int store_agent_id_set(struct store *s, const char *agent_id, struct err *err) {
    if (strcmp(s->agent_id, agent_id) == 0) return 0;
    if (!task_id_valid(agent_id)) return err_set(err, ERR_INVALID, "the agent id from the leader is malformed");
    int rc = line_save(s, "agent.id", agent_id, err);
    if (rc == 0) (void)snprintf(s->agent_id, sizeof s->agent_id, "%s", agent_id);
    return rc;
}

int store_fence_set(struct store *s, const struct fence *fence, struct err *err) {
    uint8_t bytes[FENCE_BYTES];
    fence_encode(fence, bytes);
    int rc = s->fence.set ? file_overwrite(s->meta_fd, "fence", bytes, sizeof bytes, err) : ERR_NOT_FOUND;
    if (rc) rc = file_replace(s->meta_fd, "fence", bytes, sizeof bytes, true, err);
    if (rc == 0) s->fence = *fence, s->fence.set = true;
    return rc;
}

struct scan {
    int (*cb)(void *ctx, const char *path);
    void *ctx;
    int work_fd;
    struct err *err;
};

/* Goes `levels` folders down from `path` and calls back for those at the bottom. */
static int scan_level(const struct scan *scan, const char *path, int levels) {
    int fd = openat(scan->work_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) return err_sys(scan->err, errno, "listing %.100s", path);
    int rc = 0;
    struct dirent *e;
    while (rc == 0 && (e = readdir(dir)) != NULL) {
        char below[TASK_PATH_MAX];
        if (e->d_name[0] == '.' || (e->d_type != DT_DIR && e->d_type != DT_UNKNOWN)) continue;
        if (snprintf(below, sizeof below, "%s/%s", path, e->d_name) >= (int)sizeof below) continue;
        rc = levels > 1 ? scan_level(scan, below, levels - 1) : scan->cb(scan->ctx, below);
    }
    (void)closedir(dir);
    return rc;
}

int store_scan(struct store *s, int (*cb)(void *ctx, const char *path), void *ctx, struct err *err) {
    struct scan scan = {cb, ctx, s->work_fd, err};
    return scan_level(&scan, "tasks", 3);
}
