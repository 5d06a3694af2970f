/* SPDX-License-Identifier: Apache-2.0
 * The shim as a process, from its image in the binary: starts once, sees every way to end, ends the whole tree. */
#include "../lib/cmocka_all.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/shim.h"
#include "agent/shim_image.h"
#include "agent/task_dir.h"
#include "agent/tree.h"

#define WAIT_ROUNDS 1000 /* of 10 ms */

static char work[64];
static int work_fd, image_fd;
static struct err err;
static const char *const dir = "tasks/f/t/1.0.0";

static void pause_ms(unsigned ms) {
    struct timespec ts = {.tv_nsec = (long)ms * 1000000L};
    (void)nanosleep(&ts, NULL);
}

static int setup(void **state) {
    (void)state;
    (void)snprintf(work, sizeof work, "/tmp/conclave-shim-XXXXXX");
    if (!mkdtemp(work)) return -1;
    work_fd = open(work, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    image_fd = shim_image_open();
    return work_fd >= 0 && image_fd >= 0 && mkdirat(work_fd, "tasks", 0755) == 0 ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    (void)close(work_fd);
    (void)close(image_fd);
    return tree_remove(AT_FDCWD, work, &err);
}

static void folder_make(const char *file, const char *script) {
    static struct spec spec;
    memset(&spec, 0, sizeof spec);
    spec.file = file;
    spec.args[spec.arg_n++] = "sh";
    spec.args[spec.arg_n++] = "-c";
    spec.args[spec.arg_n++] = script;
    spec.env[spec.env_n++] = "PATH=/usr/bin:/bin";
    spec.env[spec.env_n++] = "GREETING=hello";
    struct buf b;
    buf_init(&b, SPEC_BYTES_MAX);
    assert_int_equal(task_dir_create(work_fd, dir, "x", 1, false, 0, 0, &err), 0);
    assert_int_equal(spec_encode(&spec, &b, &err), 0);
    assert_int_equal(task_dir_spec_write(work_fd, dir, &b, &err), 0);
    buf_done(&b);
}

static pid_t shim_spawn(void) {
    pid_t pid = fork();
    if (pid == 0) {
        char image[64], folder[192];
        (void)snprintf(image, sizeof image, "/proc/self/fd/%d", image_fd);
        (void)snprintf(folder, sizeof folder, "%s/%s", work, dir);
        (void)execl(image, "conclave", "shim", "--dir", folder, (char *)NULL);
        _exit(99);
    }
    assert_true(pid > 0);
    return pid;
}

static int shim_wait(pid_t pid) {
    int status;
    for (int i = 0; i < WAIT_ROUNDS; i++) {
        if (waitpid(pid, &status, WNOHANG) == pid) return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        pause_ms(10);
    }
    (void)kill(pid, SIGKILL);
    fail_msg("the shim did not end");
    return -1;
}

static struct exit_record record(void) {
    struct exit_record r = {0};
    if (task_dir_exit(work_fd, dir, &r, &err)) fail_msg("%s", err.text);
    return r;
}

static const char *output(const char *name) {
    static char text[4096];
    char full[256];
    (void)snprintf(full, sizeof full, "%s/%s/sandbox/%s", work, dir, name);
    int fd = open(full, O_RDONLY);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    if (fd >= 0) (void)close(fd);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void output_await(const char *name) {
    for (int i = 0; i < WAIT_ROUNDS && !*output(name); i++)
        pause_ms(10);
    assert_true(*output(name));
}

static void a_command_runs_in_its_sandbox_and_its_status_is_recorded(void **state) {
    (void)state;
    folder_make("/bin/sh", "echo $GREETING; pwd; echo bad >&2; ls -l /proc/self/fd | wc -l; exit 3");
    assert_int_equal(shim_wait(shim_spawn()), SHIM_DONE);
    struct exit_record r = record();
    assert_int_equal(r.kind, EXIT_STATUS);
    assert_int_equal(r.code, 3);
    assert_non_null(strstr(output("stdout"), "hello\n"));
    assert_non_null(strstr(output("stdout"), "/1.0.0/sandbox\n"));
    assert_non_null(strstr(output("stdout"), "\n5\n")); /* total, 0, 1, 2 and the listing's own: nothing leaks */
    assert_string_equal(output("stderr"), "bad\n");
    assert_true(task_dir_up(work_fd, dir));
}

static void a_launch_is_never_started_twice(void **state) {
    (void)state;
    folder_make("/bin/sh", "echo once >> ledger; sleep 0.3");
    pid_t shims[8];
    for (int i = 0; i < 8; i++)
        shims[i] = shim_spawn();
    int done = 0;
    for (int i = 0; i < 8; i++) {
        int status = shim_wait(shims[i]);
        assert_true(status == SHIM_DONE || status == SHIM_NOT_MINE);
        done += status == SHIM_DONE;
    }
    assert_int_equal(done, 1);
    assert_int_equal(shim_wait(shim_spawn()), SHIM_NOT_MINE);
    assert_string_equal(output("ledger"), "once\n");
}

static void a_folder_taken_back_starts_nothing(void **state) {
    (void)state;
    folder_make("/bin/sh", "echo once");
    assert_int_equal(task_dir_discard(work_fd, dir, &err), 0);
    assert_int_equal(shim_wait(shim_spawn()), SHIM_NOT_MINE);
}

static void what_cannot_be_exec_ed_leaves_the_reason(void **state) {
    (void)state;
    folder_make("/no/such/program", "");
    assert_int_equal(shim_wait(shim_spawn()), SHIM_DONE);
    struct exit_record r = record();
    assert_int_equal(r.kind, EXIT_NOT_RUN);
    assert_non_null(strstr(r.text, "cannot run /no/such/program: No such file"));
    assert_false(task_dir_up(work_fd, dir));
}

static void sigterm_reaches_the_whole_tree(void **state) {
    (void)state;
    folder_make("/bin/sh",
                "sh -c 'trap \"echo child >> got; exit\" TERM; echo x > ready; while :; do sleep 0.05; done' & "
                "trap 'echo parent >> got; wait; exit 5' TERM; while :; do sleep 0.05; done");
    pid_t shim = shim_spawn();
    output_await("ready");
    assert_int_equal(task_dir_shim(work_fd, dir), shim);
    (void)kill(shim, SHIM_TERMINATE);
    assert_int_equal(shim_wait(shim), SHIM_DONE);
    assert_int_equal(task_dir_shim(work_fd, dir), 0);
    assert_non_null(strstr(output("got"), "child"));
    assert_non_null(strstr(output("got"), "parent"));
    assert_int_equal(record().code, 5);
}

static void force_ends_what_ignores_sigterm_and_left_its_session(void **state) {
    (void)state;
    folder_make("/bin/sh", "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ > runaway; sleep 60' & sleep 60");
    pid_t shim = shim_spawn();
    output_await("runaway");
    pid_t runaway = (pid_t)atoi(output("runaway"));
    (void)kill(shim, SHIM_TERMINATE);
    pause_ms(100);
    assert_int_equal(kill(runaway, 0), 0);
    (void)kill(shim, SHIM_FORCE);
    assert_int_equal(shim_wait(shim), SHIM_DONE);
    assert_int_equal(kill(runaway, 0), -1);
    assert_int_equal(record().kind, EXIT_SIGNAL);
    assert_int_equal(record().code, SIGKILL);
}

static void what_the_command_leaves_behind_ends_with_it(void **state) {
    (void)state;
    folder_make("/bin/sh", "setsid sleep 60 & echo $! > left; exit 0");
    assert_int_equal(shim_wait(shim_spawn()), SHIM_DONE);
    assert_int_equal(record().code, 0);
    assert_int_equal(kill((pid_t)atoi(output("left")), 0), -1);
}

static void a_command_whose_shim_is_killed_ends_too(void **state) {
    (void)state;
    folder_make("/bin/sh", "echo $$ > pid; exec sleep 60");
    pid_t shim = shim_spawn();
    output_await("pid");
    pid_t pid = (pid_t)atoi(output("pid"));
    (void)kill(shim, SIGKILL);
    assert_int_equal(shim_wait(shim), -1);
    for (int i = 0; i < WAIT_ROUNDS && kill(pid, 0) == 0; i++)
        pause_ms(10);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(shim_wait(shim_spawn()), SHIM_NOT_MINE); /* and it is not started again */
}

static void a_shim_is_small(void **state) {
    (void)state;
    folder_make("/bin/sh", "echo x > ready; exec sleep 60");
    pid_t shim = shim_spawn();
    output_await("ready");
    char name[64], text[2048];
    (void)snprintf(name, sizeof name, "/proc/%d/smaps_rollup", (int)shim);
    int fd = open(name, O_RDONLY);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    if (fd >= 0) (void)close(fd);
    text[n > 0 ? n : 0] = '\0';
    (void)kill(shim, SHIM_FORCE);
    assert_int_equal(shim_wait(shim), SHIM_DONE);
    const char *own = strstr(text, "Pss_Anon:"); /* the rest is the image in memory, one for all shims of an agent */
    if (!own) return;                            /* a kernel without it */
    assert_true(atoi(own + strlen("Pss_Anon:")) < 200);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(a_command_runs_in_its_sandbox_and_its_status_is_recorded),
        T(a_launch_is_never_started_twice),
        T(a_folder_taken_back_starts_nothing),
        T(what_cannot_be_exec_ed_leaves_the_reason),
        T(sigterm_reaches_the_whole_tree),
        T(force_ends_what_ignores_sigterm_and_left_its_session),
        T(what_the_command_leaves_behind_ends_with_it),
        T(a_command_whose_shim_is_killed_ends_too),
        T(a_shim_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
