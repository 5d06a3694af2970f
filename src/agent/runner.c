/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/runner.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/shim.h"
#include "agent/shim_image.h"
#include "base/check.h"

#define WATCH_MAGIC 0x57415443u
#define UP_POLL_MS  20 /* how often an adopted, just starting task is asked whether it is up */

struct runner {
    int work_fd;
    const char *work;
    int image_fd; /* the shim's program; -1: the host forbids it, and our own binary is used */
    uv_loop_t *loop;
    uv_timer_t up_timer;
    struct runner_callbacks callbacks;
    void *ctx;
    struct queue watches;
};

struct watch {
    uint32_t magic;
    unsigned handles; /* not closed yet */
    struct runner *runner;
    struct hosted *task; /* NULL once closing */
    struct queue in_runner;
    pid_t pid;
    int pid_fd, notice_fd; /* notice_fd -1: adopted, or told */
    bool up_told;
    uv_poll_t pid_poll, notice_poll;
};

static void watch_closed_cb(uv_handle_t *handle) {
    struct watch *w = handle->data;
    CHECK_MAGIC(w, WATCH_MAGIC);
    if (--w->handles > 0) return;
    (void)close(w->pid_fd);
    free(w);
}

static void notice_end(struct watch *w) {
    if (w->notice_fd < 0) return;
    uv_close((uv_handle_t *)&w->notice_poll, watch_closed_cb);
    (void)close(w->notice_fd);
    w->notice_fd = -1;
}

static void watch_end(struct watch *w) {
    w->task->watch = NULL;
    w->task = NULL;
    queue_remove(&w->in_runner);
    notice_end(w);
    uv_close((uv_handle_t *)&w->pid_poll, watch_closed_cb);
}

static void up_check(struct watch *w) {
    if (w->up_told || !task_dir_up(w->runner->work_fd, w->task->path)) return;
    w->up_told = true;
    w->runner->callbacks.on_up(w->runner->ctx, w->task);
}

static void notice_cb(uv_poll_t *handle, int status, int events) {
    (void)status, (void)events;
    struct watch *w = handle->data;
    CHECK_MAGIC(w, WATCH_MAGIC);
    char text[16];
    ssize_t n = read(w->notice_fd, text, sizeof text);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    notice_end(w);
    up_check(w);
}

static void gone_cb(uv_poll_t *handle, int status, int events) {
    (void)status, (void)events;
    struct watch *w = handle->data;
    CHECK_MAGIC(w, WATCH_MAGIC);
    struct runner *r = w->runner;
    struct hosted *task = w->task;
    (void)waitpid(w->pid, NULL, WNOHANG); /* ours: reap it; of an earlier agent: no child, no matter */
    up_check(w);
    watch_end(w);
    r->callbacks.on_gone(r->ctx, task);
}

static void up_timer_cb(uv_timer_t *timer) {
    struct runner *r = timer->data;
    bool waiting = false;
    for (struct queue *at = r->watches.next, *next; at != &r->watches; at = next) {
        struct watch *w = QUEUE_ENTRY(at, struct watch, in_runner);
        next = at->next;
        if (w->up_told || w->notice_fd >= 0) continue;
        up_check(w);
        if (!w->up_told) waiting = true;
    }
    if (!waiting) (void)uv_timer_stop(timer);
}

int runner_open(uv_loop_t *loop, int work_fd, const char *work, const struct runner_callbacks *callbacks, void *ctx,
                struct runner **ret, struct err *err) {
    struct runner *r = calloc(1, sizeof *r);
    if (!r) return err_set(err, ERR_NOMEM, "no memory");
    r->loop = loop;
    r->work_fd = work_fd;
    r->work = work;
    r->callbacks = *callbacks;
    r->ctx = ctx;
    queue_init(&r->watches);
    (void)uv_timer_init(loop, &r->up_timer);
    r->up_timer.data = r;
    int fd = shim_image_open();
    /* Out of the way of the descriptors that a spawn sets up. */
    r->image_fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 16) : -1;
    if (fd >= 0) (void)close(fd);
    *ret = r;
    return 0;
}

void runner_close(struct runner *r) {
    while (!queue_empty(&r->watches))
        watch_end(QUEUE_ENTRY(r->watches.next, struct watch, in_runner));
    uv_close((uv_handle_t *)&r->up_timer, NULL);
    if (r->image_fd >= 0) (void)close(r->image_fd);
}

void runner_free(struct runner *r) {
    free(r);
}

static int watch_begin(struct runner *r, struct hosted *task, pid_t pid, int pid_fd, int notice_fd, struct err *err) {
    struct watch *w = calloc(1, sizeof *w);
    if (!w) return err_set(err, ERR_NOMEM, "no memory");
    w->magic = WATCH_MAGIC;
    w->runner = r;
    w->pid = pid;
    w->pid_fd = pid_fd;
    w->notice_fd = -1;
    if (uv_poll_init(r->loop, &w->pid_poll, pid_fd) != 0) {
        free(w);
        return err_set(err, ERR_IO, "cannot watch process %d", (int)pid);
    }
    w->pid_poll.data = w;
    w->handles = 1;
    (void)uv_poll_start(&w->pid_poll, UV_READABLE, gone_cb);
    if (notice_fd >= 0 && uv_poll_init(r->loop, &w->notice_poll, notice_fd) == 0) {
        w->notice_fd = notice_fd;
        w->notice_poll.data = w;
        w->handles = 2;
        (void)uv_poll_start(&w->notice_poll, UV_READABLE, notice_cb);
    } else if (notice_fd >= 0) {
        (void)close(notice_fd);
    }
    w->task = task;
    task->watch = w;
    queue_push(&r->watches, &w->in_runner);
    if (w->notice_fd < 0 && !uv_is_active((uv_handle_t *)&r->up_timer))
        (void)uv_timer_start(&r->up_timer, up_timer_cb, UP_POLL_MS, UP_POLL_MS);
    return 0;
}

static int pid_open(pid_t pid) {
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

/* posix_spawn's own way (a vforked child with our memory) keeps the cost independent of the agent's size. */
static int spawn(struct runner *r, const char *folder, int notice_fd, pid_t *ret_pid) {
    char image[64] = "/proc/self/exe";
    if (r->image_fd >= 0) (void)snprintf(image, sizeof image, "/proc/self/fd/%d", r->image_fd);
    char *const argv[] = {(char[]){"conclave"}, (char[]){"shim"}, (char[]){"--dir"}, (char *)(uintptr_t)folder, NULL};
    char *const envp[] = {NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t orders, all; /* an order that comes before the shim listens must wait, not end it */
    (void)sigemptyset(&orders);
    (void)sigaddset(&orders, SHIM_TERMINATE);
    (void)sigaddset(&orders, SHIM_FORCE);
    (void)sigfillset(&all);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawnattr_init(&attr);
    (void)posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDWR, 0);
    (void)posix_spawn_file_actions_adddup2(&actions, STDIN_FILENO, STDOUT_FILENO);
    (void)posix_spawn_file_actions_adddup2(&actions, STDIN_FILENO, STDERR_FILENO);
    (void)posix_spawn_file_actions_adddup2(&actions, notice_fd, SHIM_FD_NOTICE);
    (void)posix_spawnattr_setsigmask(&attr, &orders);
    (void)posix_spawnattr_setsigdefault(&attr, &all);
    (void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int sys = posix_spawn(ret_pid, image, &actions, &attr, argv, envp);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)posix_spawnattr_destroy(&attr);
    return sys;
}

int runner_spawn(struct runner *r, struct hosted *task, struct err *err) {
    CHECK(!task->watch && task->path);
    char folder[TASK_PATH_MAX + 4096];
    int pipe_fds[2];
    (void)snprintf(folder, sizeof folder, "%s/%s", r->work, task->path);
    if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) != 0) return err_sys(err, errno, "pipe");
    pid_t pid;
    int sys = spawn(r, folder, pipe_fds[1], &pid);
    (void)close(pipe_fds[1]);
    if (sys) {
        (void)close(pipe_fds[0]);
        return err_sys(err, sys, "starting the shim");
    }
    int pid_fd = pid_open(pid); /* it is our child and not reaped, so the number is still its own */
    int rc = pid_fd >= 0 ? watch_begin(r, task, pid, pid_fd, pipe_fds[0], err)
                         : err_sys(err, errno, "watching the shim %d", (int)pid);
    if (rc == 0) return 0;
    /* Unwatched it must not live on: nobody would hear of its end. */
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    (void)close(pipe_fds[0]);
    if (pid_fd >= 0) (void)close(pid_fd);
    return rc;
}

int runner_adopt(struct runner *r, struct hosted *task, bool up, struct err *err) {
    pid_t pid = task_dir_shim(r->work_fd, task->path);
    if (pid <= 0) return err_set(err, ERR_NOT_FOUND, "no live shim");
    int pid_fd = pid_open(pid);
    if (pid_fd < 0) return err_sys(err, errno == ESRCH ? ENOENT : errno, "watching the shim %d", (int)pid);
    if (task_dir_shim(r->work_fd, task->path) != pid) { /* it ended in between, the number may be another's */
        (void)close(pid_fd);
        return err_set(err, ERR_NOT_FOUND, "no live shim");
    }
    int rc = watch_begin(r, task, pid, pid_fd, -1, err);
    if (rc)
        (void)close(pid_fd);
    else
        task->watch->up_told = up;
    return rc;
}

void runner_signal(struct hosted *task, int sig) {
    if (!task->watch) return;
    (void)syscall(SYS_pidfd_send_signal, task->watch->pid_fd, sig, NULL, 0);
}
