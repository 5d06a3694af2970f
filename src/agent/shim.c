/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/cgroup.h"
#include "agent/shim_child.h"
#include "agent/spec.h"
#include "base/clock.h"

#define REST_ROUNDS   500 /* waits of 10 ms for the rest of the tree to die */
#define REST_PAUSE_MS 10

struct shim {
    struct cgroup group;
    int lock_fd;
    int signal_fd;
    int status_fd; /* read end: the child's reason for not exec'ing, or end of file when it did; -1 once read */
    pid_t child;
    bool ended;  /* the child was reaped */
    bool killed; /* SIGKILL was ordered: given again to what appears later */
    int wait_status;
    struct exit_record record;
};

static char spec_bytes[SPEC_BYTES_MAX]; /* static: pages that are not touched cost nothing */
static struct spec spec;

static void record_fail(struct shim *s, const char *what, int sys) {
    s->record.kind = EXIT_NOT_RUN;
    (void)snprintf(s->record.text, sizeof s->record.text, "%s: %s", what, strerror(sys));
}

static int record_write(struct shim *s) {
    uint8_t bytes[EXIT_RECORD_MAX];
    s->record.at_ms = clock_mono_ms();
    size_t len = exit_record_encode(&s->record, bytes);
    int fd = open("exit.tmp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return SHIM_FAILED;
    bool ok = write(fd, bytes, len) == (ssize_t)len;
    (void)close(fd);
    return ok && rename("exit.tmp", "exit") == 0 ? SHIM_DONE : SHIM_FAILED;
}

/* Takes the lock and reads the spec. */
static int folder_take(struct shim *s) {
    s->lock_fd = open("lock", O_RDWR | O_CLOEXEC);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (s->lock_fd < 0 || fcntl(s->lock_fd, F_SETLK, &lock) != 0) return SHIM_NOT_MINE;
    int fd = open("spec", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || access("started", F_OK) == 0) return SHIM_NOT_MINE;
    size_t len = 0;
    ssize_t n;
    while (len < sizeof spec_bytes && (n = read(fd, spec_bytes + len, sizeof spec_bytes - len)) > 0)
        len += (size_t)n;
    (void)close(fd);
    struct err err;
    if (spec_decode(spec_bytes, len, &spec, &err) != 0) {
        s->record.kind = EXIT_NOT_RUN;
        (void)snprintf(s->record.text, sizeof s->record.text, "damaged spec file: %s", err.text);
        return record_write(s);
    }
    return -1; /* go on */
}

static int signals_open(void) {
    sigset_t set;
    (void)signal(SIGPIPE, SIG_IGN); /* an agent that died while we start is no reason to die too */
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigaddset(&set, SHIM_TERMINATE);
    (void)sigaddset(&set, SHIM_FORCE);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* The marker: from here on this launch counts as started, whatever happens. */
static int marker_make(pid_t child) {
    int fd = open("started", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return -errno;
    char text[64];
    int n = snprintf(text, sizeof text, "%d %llu\n", (int)child, (unsigned long long)clock_mono_ms());
    ssize_t written = write(fd, text, (size_t)n);
    (void)close(fd);
    return written == n ? 0 : -EIO;
}

/* Forks the child, puts it into its group, makes the marker and lets it go. Returns -1 to go on. */
static int child_start(struct shim *s) {
    int go[2], status[2];
    if (pipe2(go, O_CLOEXEC) != 0 || pipe2(status, O_CLOEXEC) != 0) {
        record_fail(s, "pipe", errno);
        return record_write(s);
    }
    cgroup_open(&s->group, &spec);
    s->child = fork();
    if (s->child == 0) {
        (void)close(go[1]);
        shim_child_run(&spec, go[0], status[1]);
    }
    if (s->child < 0) {
        record_fail(s, "fork", errno);
        s->group.ops->remove(&s->group);
        return record_write(s);
    }
    (void)close(go[0]);
    (void)close(status[1]);
    (void)s->group.ops->attach(&s->group, s->child); /* what fails here is a limit that does not hold; see the notice */
    int rc = marker_make(s->child);
    if (rc != 0) {
        (void)kill(s->child, SIGKILL);
        (void)waitpid(s->child, NULL, 0);
        s->group.ops->remove(&s->group);
        if (rc == -EEXIST) return SHIM_NOT_MINE;
        record_fail(s, "start marker", -rc);
        return record_write(s);
    }
    ssize_t told = write(go[1], "g", 1);
    (void)told; /* a child that is gone shows at waitpid */
    (void)close(go[1]);
    s->status_fd = status[0];
    return -1;
}

/* End of file without a byte means that exec closed the pipe: the command runs. */
static void status_take(struct shim *s) {
    char text[WORKLOAD_TEXT_MAX];
    ssize_t n = read(s->status_fd, text, sizeof text - 1);
    if (n < 0 && errno == EINTR) return;
    if (n > 0) {
        text[n] = '\0';
        s->record.kind = EXIT_NOT_RUN;
        (void)snprintf(s->record.text, sizeof s->record.text, "%s", text);
    } else if (!s->ended) {
        int fd = open("up", O_WRONLY | O_CREAT | O_CLOEXEC, 0600); /* for an agent that comes later */
        if (fd >= 0) (void)close(fd);
        ssize_t told = write(SHIM_FD_NOTICE, "up\n", 3);
        (void)told; /* the agent may be gone */
    }
    (void)close(SHIM_FD_NOTICE);
    (void)close(s->status_fd);
    s->status_fd = -1;
}

static void children_reap(struct shim *s) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid != s->child) continue;
        s->ended = true;
        s->wait_status = status;
    }
}

static void tree_kill(struct shim *s) {
    pid_t top = s->ended ? 0 : s->child;
    s->group.ops->signal(&s->group, top, SIGKILL);
    tree_signal(top, SIGKILL); /* also what slipped out of the group */
}

static void signals_take(struct shim *s) {
    struct signalfd_siginfo info;
    while (read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD) {
            children_reap(s);
        } else if (info.ssi_signo == SHIM_TERMINATE && !s->ended) {
            s->group.ops->signal(&s->group, s->child, SIGTERM);
        } else if (info.ssi_signo == SHIM_FORCE) {
            s->killed = true;
            tree_kill(s);
        }
    }
}

static void child_wait(struct shim *s) {
    while (!s->ended || s->status_fd >= 0) {
        struct pollfd fds[2] = {{.fd = s->signal_fd, .events = POLLIN}, {.fd = s->status_fd, .events = POLLIN}};
        (void)poll(fds, s->status_fd >= 0 ? 2 : 1, -1);
        if (s->status_fd >= 0 && fds[1].revents) status_take(s);
        if (fds[0].revents) signals_take(s);
    }
}

/* The command has ended: what it left behind ends with it, and only then is the end recorded. */
static void rest_end(struct shim *s) {
    for (int round = 0; round < REST_ROUNDS; round++) {
        tree_kill(s);
        errno = 0;
        while (waitpid(-1, NULL, WNOHANG) > 0) {
        }
        if (errno == ECHILD) return;
        struct timespec ts = {.tv_nsec = REST_PAUSE_MS * 1000000L};
        (void)nanosleep(&ts, NULL);
    }
}

static void end_note(struct shim *s) {
    s->record.oom = s->group.ops->oom(&s->group);
    if (s->record.kind == EXIT_NOT_RUN) return;
    if (WIFSIGNALED(s->wait_status)) {
        s->record.kind = EXIT_SIGNAL;
        s->record.code = WTERMSIG(s->wait_status);
    } else {
        s->record.kind = EXIT_STATUS;
        s->record.code = WEXITSTATUS(s->wait_status);
    }
}

int shim_main(int argc, char **argv) {
    if (argc != 3 || strcmp(argv[1], "--dir") != 0) {
        static const char usage[] = "usage: conclave shim --dir DIR (started by the agent, one a task)\n";
        ssize_t n = write(STDERR_FILENO, usage, sizeof usage - 1);
        return n < 0 ? 64 : 64;
    }
    (void)prctl(PR_SET_NAME, "conclave-shim");
    (void)setsid(); /* fails if the spawn made the session already */
    (void)close_range(SHIM_FD_NOTICE + 1, ~0U, 0);
    if (fcntl(SHIM_FD_NOTICE, F_SETFD, FD_CLOEXEC) < 0) (void)open("/dev/null", O_WRONLY | O_CLOEXEC);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    (void)umask(022);
    if (chdir(argv[2]) != 0) return SHIM_NOT_MINE;
    struct shim s = {.lock_fd = -1, .status_fd = -1};
    int rc = folder_take(&s);
    if (rc >= 0) return rc;
    s.signal_fd = signals_open();
    rc = child_start(&s);
    if (rc >= 0) return rc;
    child_wait(&s);
    rest_end(&s);
    end_note(&s);
    s.group.ops->remove(&s.group);
    return record_write(&s);
}
