/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PASSES_MAX 64 /* a folder deeper than TREE_DEPTH_MAX * PASSES_MAX stays, with an error */

struct walk {
    int top_fd; /* where too deep parts are lifted to */
    dev_t dev;  /* mount points are not crossed */
    unsigned lifted;
};

static int level_remove(struct walk *w, int dir_fd, unsigned depth);

/* The task may have taken our right to look inside. By descriptor, because chmod follows links. */
static void right_regain(int dir_fd, const char *name) {
    char path[40];
    int fd = openat(dir_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int rc = chmod(path, 0700);
    (void)rc; /* the next attempt to open tells */
    (void)close(fd);
}

static int entry_remove(struct walk *w, DIR *dir, const char *name, unsigned depth) {
    int dir_fd = dirfd(dir);
    if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT) return 0;
    if (errno != EISDIR && errno != EPERM) return errno;
    struct stat st;
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == EACCES) {
        right_regain(dir_fd, name);
        fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    if (fd < 0) return errno;
    int sys = fstat(fd, &st) != 0 ? errno : st.st_dev != w->dev ? EXDEV : 0;
    if (sys) {
        (void)close(fd);
        return sys;
    }
    if (depth == TREE_DEPTH_MAX) {
        char lifted[48];
        (void)close(fd);
        (void)snprintf(lifted, sizeof lifted, ".lifted-%u", w->lifted++);
        return renameat(dir_fd, name, w->top_fd, lifted) == 0 ? 0 : errno;
    }
    sys = level_remove(w, fd, depth + 1); /* closes fd */
    if (sys) return sys;
    return unlinkat(dir_fd, name, AT_REMOVEDIR) == 0 ? 0 : errno;
}

static int level_remove(struct walk *w, int dir_fd, unsigned depth) {
    (void)fchmod(dir_fd, 0700);
    DIR *dir = fdopendir(dir_fd);
    if (!dir) {
        int sys = errno;
        (void)close(dir_fd);
        return sys;
    }
    int sys = 0;
    struct dirent *e;
    while (sys == 0 && (e = readdir(dir)) != NULL)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) sys = entry_remove(w, dir, e->d_name, depth);
    (void)closedir(dir);
    return sys;
}

int tree_remove(int dir_fd, const char *path, struct err *err) {
    int sys = 0;
    struct walk w = {.lifted = 0};
    for (int pass = 0; pass < PASSES_MAX; pass++) {
        struct stat st;
        int fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT) return 0;
        w.top_fd = fd >= 0 ? dup(fd) : -1;
        if (fd < 0 || w.top_fd < 0 || fstat(fd, &st) != 0) {
            sys = errno;
            if (fd >= 0) (void)close(fd);
            if (w.top_fd >= 0) (void)close(w.top_fd);
            break;
        }
        w.dev = st.st_dev;
        sys = level_remove(&w, fd, 0);
        (void)close(w.top_fd);
        if (sys) break;
        if (unlinkat(dir_fd, path, AT_REMOVEDIR) == 0) return 0;
        sys = errno;
        if (sys != ENOTEMPTY && sys != EEXIST) break;
    }
    return err_sys(err, sys, "removing %.120s", path);
}
