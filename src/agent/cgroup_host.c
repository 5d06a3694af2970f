/* SPDX-License-Identifier: Apache-2.0
 * What the host permits; runs in the agent, once. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cgroup.h"

static void notice_add(struct cgroup_host *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void notice_add(struct cgroup_host *h, const char *fmt, ...) {
    size_t len = strlen(h->notice);
    if (len > 0 && len < sizeof h->notice - 2) {
        memcpy(h->notice + len, "; ", 3);
        len += 2;
    }
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(h->notice + len, sizeof h->notice - len, fmt, ap);
    va_end(ap);
}

/* The own path under a hierarchy: the line "N:LIST:PATH" of `self` whose LIST names `controller` ("" for v2). */
static bool self_path(const char *self, const char *controller, char *ret, size_t size) {
    size_t want = strlen(controller);
    for (const char *line = self; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        const char *list = strchr(line, ':');
        const char *path = list ? strchr(list + 1, ':') : NULL;
        if (!path) continue;
        bool found = want == 0 && path == list + 1;
        for (const char *at = list + 1; want && at < path; at += strcspn(at, ",:") + 1)
            if (strcspn(at, ",:") == want && memcmp(at, controller, want) == 0) found = true;
        if (!found) continue;
        size_t len = strcspn(path + 1, "\n");
        if (len >= size) return false;
        memcpy(ret, path + 1, len);
        ret[len] = '\0';
        if (strcmp(ret, "/") == 0) ret[0] = '\0';
        return true;
    }
    return false;
}

static bool text_write(const char *dir, const char *name, const char *text) {
    char path[CGROUP_PATH_MAX + 64];
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    if (n < 0 || (size_t)n >= sizeof path) return false;
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return false;
    bool ok = write(fd, text, strlen(text)) >= 0;
    (void)close(fd);
    return ok;
}

static bool base_add(struct cgroup_host *h, const char *controller, const char *dir) {
    if (h->n == SPEC_CGROUPS_MAX || strlen(dir) >= sizeof h->base[0].dir) return false;
    if (mkdir(dir, 0755) != 0 && errno != EEXIST) return false;
    (void)snprintf(h->base[h->n].controller, sizeof h->base[0].controller, "%s", controller);
    (void)snprintf(h->base[h->n].dir, sizeof h->base[0].dir, "%s", dir);
    h->n++;
    return true;
}

/* No process may sit in a v2 group whose controllers are handed down, so the agent goes to a leaf beside its tasks. */
static bool v2_prepare(struct cgroup_host *h, const char *own, const char *dir) {
    char leaf[CGROUP_PATH_MAX + 32];
    if (!text_write(own, "cgroup.subtree_control", "+memory +cpu +pids")) {
        (void)snprintf(leaf, sizeof leaf, "%s/conclave-agent", own);
        if (mkdir(leaf, 0755) != 0 && errno != EEXIST) return false;
        char pid[24];
        (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
        if (!text_write(leaf, "cgroup.procs", pid)) return false;
        if (!text_write(own, "cgroup.subtree_control", "+memory +cpu +pids")) return false;
    }
    if (!base_add(h, "", dir)) return false;
    return text_write(dir, "cgroup.subtree_control", "+memory +cpu +pids");
}

static void v2_find(struct cgroup_host *h, const char *root, const char *self, const char *name) {
    char path[256], own[CGROUP_PATH_MAX], dir[CGROUP_PATH_MAX + 64];
    if (!self_path(self, "", path, sizeof path)) {
        notice_add(h, "no cgroup v2 path of this process is known");
        return;
    }
    if (snprintf(own, sizeof own, "%s%s", root, path) >= (int)sizeof own) return;
    (void)snprintf(dir, sizeof dir, "%s/%s", own, name);
    if (v2_prepare(h, own, dir)) {
        h->version = 2;
        return;
    }
    h->n = 0;
    notice_add(h, "cgroup v2 at %.100s does not let this process hand out controllers (%s)", own, strerror(errno));
}

static void v1_find(struct cgroup_host *h, const char *root, const char *self, const char *name) {
    static const char *const controllers[] = {"memory", "cpu", "pids", "freezer"};
    for (size_t i = 0; i < sizeof controllers / sizeof controllers[0]; i++) {
        char path[256], dir[CGROUP_PATH_MAX + 64];
        struct stat st;
        (void)snprintf(dir, sizeof dir, "%s/%s", root, controllers[i]);
        if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode)) {
            notice_add(h, "no %s controller", controllers[i]);
            continue;
        }
        if (!self_path(self, controllers[i], path, sizeof path)) path[0] = '\0';
        if (snprintf(dir, sizeof dir, "%s/%s%s/%s", root, controllers[i], path, name) >= CGROUP_PATH_MAX ||
            !base_add(h, controllers[i], dir))
            notice_add(h, "%s controller: %s", controllers[i], strerror(errno));
    }
    if (h->n) h->version = 1;
}

void cgroup_host_find(const char *root, const char *self, const char *name, struct cgroup_host *ret) {
    *ret = (struct cgroup_host){0};
    char unified[CGROUP_PATH_MAX];
    struct stat st;
    (void)snprintf(unified, sizeof unified, "%s/cgroup.controllers", root);
    if (stat(unified, &st) == 0)
        v2_find(ret, root, self, name);
    else
        v1_find(ret, root, self, name);
    if (ret->version == 0) notice_add(ret, "tasks run without limits of memory, cpu and processes");
}

void cgroup_host_leave(const struct cgroup_host *h) {
    for (size_t i = 0; i < h->n; i++)
        (void)rmdir(h->base[i].dir); /* refused by the kernel while it has children */
}
