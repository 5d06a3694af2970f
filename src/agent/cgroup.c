/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PIDS_MAX       4096 /* processes signalled in one round */
#define KILL_ROUNDS    100
#define REMOVE_ROUNDS  100
#define ROUND_PAUSE_MS 2

static void pause_ms(unsigned ms) {
    struct timespec ts = {.tv_nsec = (long)ms * 1000000L};
    (void)nanosleep(&ts, NULL);
}

static int file_path(char ret[CGROUP_PATH_MAX + 64], const char *dir, const char *name) {
    return snprintf(ret, CGROUP_PATH_MAX + 64, "%s/%s", dir, name);
}

static int file_write(const char *dir, const char *name, const char *text) {
    char path[CGROUP_PATH_MAX + 64];
    (void)file_path(path, dir, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -errno;
    ssize_t n = write(fd, text, strlen(text));
    int rc = n < 0 ? -errno : 0;
    (void)close(fd);
    return rc;
}

static int file_write_u64(const char *dir, const char *name, uint64_t value) {
    char text[24];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    return file_write(dir, name, text);
}

static ssize_t file_read(const char *dir, const char *name, char *ret, size_t size) {
    char path[CGROUP_PATH_MAX + 64];
    (void)file_path(path, dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -errno;
    size_t len = 0;
    ssize_t n;
    while (len < size - 1 && (n = read(fd, ret + len, size - 1 - len)) > 0)
        len += (size_t)n;
    (void)close(fd);
    ret[len] = '\0';
    return (ssize_t)len;
}

/* The number behind `key` in a file of "key number" lines. */
static uint64_t keyed_number(const char *text, const char *key) {
    size_t len = strlen(key);
    for (const char *at = text; at && *at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
        if (strncmp(at, key, len) == 0 && at[len] == ' ') return strtoull(at + len + 1, NULL, 10);
    return 0;
}

/* --- the tree without a group ------------------------------------------------------------------------------------- */

/* Adds the children of `pid` behind the `n` already there. */
static size_t children_add(pid_t pid, pid_t *list, size_t n, size_t max) {
    char path[64], text[4096];
    (void)snprintf(path, sizeof path, "/proc/%d/task/%d", (int)pid, (int)pid);
    if (file_read(path, "children", text, sizeof text) <= 0) return n;
    for (char *at = text, *end; n < max; at = end) {
        long child = strtol(at, &end, 10);
        if (end == at) break;
        list[n++] = (pid_t)child;
    }
    return n;
}

static size_t descendants(pid_t top, pid_t *list, size_t max) {
    size_t n = children_add(top, list, 0, max);
    for (size_t i = 0; i < n; i++)
        n = children_add(list[i], list, n, max);
    return n;
}

void tree_signal(pid_t top, int sig) {
    static pid_t list[PIDS_MAX];
    if (top > 0) (void)kill(-top, sig);
    if (top > 0) (void)kill(top, sig);
    /* The shim is the subreaper, so every descendant hangs below it, whatever sessions it made. */
    size_t n = descendants(getpid(), list, PIDS_MAX);
    for (size_t i = 0; i < n; i++)
        (void)kill(list[i], sig);
}

static int none_attach(struct cgroup *c, pid_t pid) {
    (void)c, (void)pid;
    return 0;
}
static void none_signal(struct cgroup *c, pid_t top, int sig) {
    (void)c;
    tree_signal(top, sig);
}
static bool none_oom(struct cgroup *c) {
    (void)c;
    return false;
}
static void none_remove(struct cgroup *c) {
    (void)c;
}
static const struct cgroup_ops none_ops = {"none", none_attach, none_signal, none_oom, none_remove};

/* --- v1 and v2 ---------------------------------------------------------------------------------------------------- */

static const char *part_dir(const struct cgroup *c, const char *controller) {
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->part[i].controller, controller) == 0) return c->part[i].dir;
    return NULL;
}

static int group_attach(struct cgroup *c, pid_t pid) {
    int rc = 0;
    for (size_t i = 0; i < c->n; i++) {
        int one = file_write_u64(c->part[i].dir, "cgroup.procs", (uint64_t)pid);
        if (one) rc = one;
    }
    return rc;
}

/* Signals every process of one group's directory; returns how many there were. */
static size_t procs_signal(const char *dir, int sig) {
    static char text[65536];
    if (file_read(dir, "cgroup.procs", text, sizeof text) <= 0) return 0;
    size_t n = 0;
    for (char *at = text, *end;; at = end) {
        long pid = strtol(at, &end, 10);
        if (end == at) break;
        n++;
        if (pid > 0) (void)kill((pid_t)pid, sig);
    }
    return n;
}

static void v1_signal(struct cgroup *c, pid_t top, int sig) {
    const char *freezer = part_dir(c, "freezer");
    if (c->n == 0) {
        tree_signal(top, sig);
        return;
    }
    const char *dir = freezer ? freezer : c->part[0].dir;
    /* Frozen processes cannot fork away from the list; the signal is delivered when they thaw. */
    for (int round = 0; round < KILL_ROUNDS; round++) {
        if (freezer) (void)file_write(freezer, "freezer.state", "FROZEN");
        size_t n = procs_signal(dir, sig);
        if (freezer) (void)file_write(freezer, "freezer.state", "THAWED");
        if (sig != SIGKILL || n == 0) return;
        pause_ms(ROUND_PAUSE_MS);
    }
}

static void v2_signal(struct cgroup *c, pid_t top, int sig) {
    (void)top;
    if (sig == SIGKILL && file_write(c->part[0].dir, "cgroup.kill", "1") == 0) return;
    for (int round = 0; round < KILL_ROUNDS; round++) {
        size_t n = procs_signal(c->part[0].dir, sig);
        if (sig != SIGKILL || n == 0) return;
        pause_ms(ROUND_PAUSE_MS);
    }
}

static bool v1_oom(struct cgroup *c) {
    char text[512];
    const char *dir = part_dir(c, "memory");
    return dir && file_read(dir, "memory.oom_control", text, sizeof text) > 0 && keyed_number(text, "oom_kill") > 0;
}

static bool v2_oom(struct cgroup *c) {
    char text[512];
    return file_read(c->part[0].dir, "memory.events", text, sizeof text) > 0 && keyed_number(text, "oom_kill") > 0;
}

static void group_remove(struct cgroup *c) {
    for (size_t i = 0; i < c->n; i++)
        for (int round = 0; round < REMOVE_ROUNDS && rmdir(c->part[i].dir) != 0 && errno == EBUSY; round++)
            pause_ms(ROUND_PAUSE_MS); /* the last processes are dying */
}

static const struct cgroup_ops v1_ops = {"v1", group_attach, v1_signal, v1_oom, group_remove};
static const struct cgroup_ops v2_ops = {"v2", group_attach, v2_signal, v2_oom, group_remove};

static void v1_limit(const struct cgroup *c, const struct spec *spec) {
    const char *dir = part_dir(c, "memory");
    if (dir && spec->mem_bytes) {
        (void)file_write_u64(dir, "memory.limit_in_bytes", spec->mem_bytes);
        (void)file_write_u64(dir, "memory.memsw.limit_in_bytes", spec->mem_bytes);
    }
    dir = part_dir(c, "cpu");
    if (dir && spec->cpu_shares) (void)file_write_u64(dir, "cpu.shares", spec->cpu_shares);
    dir = part_dir(c, "pids");
    if (dir && spec->pids) (void)file_write_u64(dir, "pids.max", spec->pids);
}

static void v2_limit(const struct cgroup *c, const struct spec *spec) {
    const char *dir = c->part[0].dir;
    if (spec->mem_bytes) {
        (void)file_write_u64(dir, "memory.max", spec->mem_bytes);
        (void)file_write(dir, "memory.swap.max", "0");
        (void)file_write(dir, "memory.oom.group", "1");
    }
    if (spec->cpu_shares) {
        uint64_t weight = 1 + (spec->cpu_shares > 2 ? spec->cpu_shares - 2 : 0) * 9999 / 262142;
        (void)file_write_u64(dir, "cpu.weight", weight > 10000 ? 10000 : weight);
    }
    if (spec->pids) (void)file_write_u64(dir, "pids.max", spec->pids);
}

/* With its parent, which may have been cleared away as empty since the agent made it. */
static bool dir_make(const char *path) {
    char parent[CGROUP_PATH_MAX];
    if (mkdir(path, 0755) == 0 || errno == EEXIST) return true;
    const char *slash = strrchr(path, '/');
    if (errno != ENOENT || !slash || (size_t)(slash - path) >= sizeof parent) return false;
    memcpy(parent, path, (size_t)(slash - path));
    parent[slash - path] = '\0';
    return (mkdir(parent, 0755) == 0 || errno == EEXIST) && (mkdir(path, 0755) == 0 || errno == EEXIST);
}

void cgroup_open(struct cgroup *c, const struct spec *spec) {
    *c = (struct cgroup){.ops = &none_ops};
    for (size_t i = 0; i < spec->cgroup_n; i++) {
        const char *colon = strchr(spec->cgroups[i], ':');
        if (!colon || (size_t)(colon - spec->cgroups[i]) >= sizeof c->part[0].controller) continue;
        if (strlen(colon + 1) >= sizeof c->part[0].dir) continue;
        if (!dir_make(colon + 1)) continue;
        memcpy(c->part[c->n].controller, spec->cgroups[i], (size_t)(colon - spec->cgroups[i]));
        (void)snprintf(c->part[c->n].dir, sizeof c->part[c->n].dir, "%s", colon + 1);
        c->n++;
    }
    if (c->n == 0) return;
    c->version = spec->cgroup_version;
    if (c->version == 1) {
        c->ops = &v1_ops;
        v1_limit(c, spec);
    } else {
        c->ops = &v2_ops;
        v2_limit(c, spec);
    }
}
