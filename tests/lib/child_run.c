/* SPDX-License-Identifier: Apache-2.0 */
#include "child_run.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"

#define ALARM_S 3600u /* for one that waits, which none should */

/* The result through the pipe, and nothing of the parent's buffers. */
_Noreturn static void child(int fd, void (*run)(const void *ctx, void *ret), const void *ctx, void *ret, size_t size) {
    static const int signals[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        signal(signals[i], SIG_DFL); /* a test framework may have its own ideas */
    const struct itimerval cpu = {.it_value.tv_sec = CHILD_CPU_S};
    CHECK(setitimer(ITIMER_PROF, &cpu, NULL) == 0);
    alarm(ALARM_S);
    run(ctx, ret);
    fflush(stderr);
    _exit(write(fd, ret, size) == (ssize_t)size ? 0 : 1);
}

bool child_run(void (*run)(const void *ctx, void *ret), const void *ctx, void *ret, size_t size, const char **ret_why,
               int *ret_signal) {
    int fds[2], status = 0;
    CHECK(pipe(fds) == 0);
    fflush(stdout);
    fflush(stderr);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        close(fds[0]);
        child(fds[1], run, ctx, ret, size);
    }
    close(fds[1]);
    ssize_t got = 0, n;
    while (got < (ssize_t)size && (n = read(fds[0], (uint8_t *)ret + got, size - (size_t)got)) > 0)
        got += n;
    close(fds[0]);
    waitpid(pid, &status, 0);
    *ret_signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    *ret_why = *ret_signal == SIGALRM || *ret_signal == SIGPROF ? "stuck" : "crash";
    return got == (ssize_t)size;
}
