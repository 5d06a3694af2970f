/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/shim_child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

static _Noreturn void fail(int status_fd, const char *what, const char *name, int sys) {
    char text[WORKLOAD_TEXT_MAX];
    int n = snprintf(text, sizeof text, "%s %.300s: %s", what, name, strerror(sys));
    ssize_t told = write(status_fd, text, n < (int)sizeof text ? (size_t)n : sizeof text - 1);
    (void)told;
    _exit(127);
}

static void output_open(const struct spec *spec, const char *name, int as, int status_fd) {
    int fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC, 0644);
    if (fd < 0) fail(status_fd, "cannot open", name, errno);
    if (spec->switch_user && fchown(fd, spec->uid, spec->gid) != 0) fail(status_fd, "cannot chown", name, errno);
    if (dup2(fd, as) < 0) fail(status_fd, "cannot redirect", name, errno);
    (void)close(fd);
}

static void user_switch(const struct spec *spec, int status_fd) {
    if (!spec->switch_user) return;
    gid_t groups[sizeof spec->groups / sizeof spec->groups[0]];
    for (size_t i = 0; i < spec->group_n; i++)
        groups[i] = spec->groups[i];
    if (setgroups(spec->group_n, groups) != 0) fail(status_fd, "cannot set", "the user's groups", errno);
    if (setresgid(spec->gid, spec->gid, spec->gid) != 0) fail(status_fd, "cannot set", "the user's group", errno);
    if (setresuid(spec->uid, spec->uid, spec->uid) != 0) fail(status_fd, "cannot become", "the user", errno);
}

/* Copies with the task's own rights: a framework reads no file of this host that its user may not read. */
static void uri_copy(const struct spec_uri *uri, int status_fd) {
    struct stat st;
    int in = open(uri->source, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (in < 0 || fstat(in, &st) != 0) fail(status_fd, "cannot fetch", uri->source, errno);
    if (!S_ISREG(st.st_mode)) fail(status_fd, "cannot fetch, not a regular file:", uri->source, EINVAL);
    int out = open(uri->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, uri->executable ? 0755 : 0644);
    if (out < 0) fail(status_fd, "cannot fetch into", uri->name, errno);
    char block[32768];
    ssize_t n;
    while ((n = read(in, block, sizeof block)) > 0)
        for (ssize_t done = 0, k; done < n; done += k)
            if ((k = write(out, block + done, (size_t)(n - done))) <= 0)
                fail(status_fd, "cannot fetch into", uri->name, errno);
    if (n < 0) fail(status_fd, "cannot fetch", uri->source, errno);
    (void)close(in);
    (void)close(out);
}

_Noreturn void shim_child_run(const struct spec *spec, int go_fd, int status_fd) {
    char go;
    if (read(go_fd, &go, 1) != 1) _exit(127);
    (void)setsid();
    if (chdir("sandbox") != 0) fail(status_fd, "cannot enter", "the sandbox", errno);
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0) fail(status_fd, "cannot open", "/dev/null", errno);
    output_open(spec, "stdout", STDOUT_FILENO, status_fd);
    output_open(spec, "stderr", STDERR_FILENO, status_fd);
    user_switch(spec, status_fd);
    /* Without its shim nobody would see the command end, so it ends with it. Behind the user switch, which clears it.
     */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (size_t i = 0; i < spec->uri_n; i++)
        uri_copy(&spec->uris[i], status_fd);
    for (int sig = 1; sig < NSIG; sig++)
        (void)signal(sig, SIG_DFL);
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    environ = (char **)(void *)spec->env;
    (void)execvp(spec->file, (char **)(void *)spec->args);
    fail(status_fd, "cannot run", spec->file, errno);
}
