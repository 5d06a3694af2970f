/* SPDX-License-Identifier: Apache-2.0
 * The exchange of a data folder (cli/folder_swap.h), ended at each of its renames: whatever is left is the old node,
 * the new one, or a folder that no master takes for its own, and the exchange can go on. Linked with --wrap=rename. */
#include "../lib/cmocka_all.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "cli/folder_swap.h"
#include "consensus/disk_file.h"
#include "consensus/identity.h"

#define ENDED 77
#define N     3u /* the incarnation */

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);

static int renames_left = -1; /* before the process ends; -1: any number */

int __wrap_rename(const char *from, const char *to) {
    if (renames_left == 0) _exit(ENDED);
    if (renames_left > 0) renames_left--;
    return __real_rename(from, to);
}

static const uint8_t cluster[16] = {5};
static const struct archive old_life = {.index = 40,
                                        .term = 2,
                                        .member_count = 1,
                                        .state = (uint8_t *)"old",
                                        .state_len = 3,
                                        .members = {{.id = 4, .address = "h:1", .voter = true}}};
static const struct archive new_life = {.index = 1000,
                                        .term = 20,
                                        .member_count = 1,
                                        .state = (uint8_t *)"new",
                                        .state_len = 3,
                                        .members = {{.id = 4, .address = "h:1", .voter = true}}};

static void old_folder(const char *dir) {
    struct err err;
    char path[200];
    assert_int_equal(archive_found(dir, cluster, 4, &old_life, &err), 0);
    for (int i = 1; i <= 2; i++) {
        (void)snprintf(path, sizeof path, "%s/log-%016d", dir, i);
        int fd = open(path, O_CREAT | O_WRONLY, 0600);
        assert_true(fd >= 0 && write(fd, "x", 1) == 1);
        (void)close(fd);
    }
}

static bool has(const char *dir, const char *name) {
    char path[300];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    return stat(path, &st) == 0;
}

/* A folder with an identity is whole, as one node or the other, and never a mixture. */
static void expect_no_half(const char *dir) {
    struct disk *disk = NULL;
    struct identity identity;
    struct archive_row rows[ARCHIVE_FOLDER_FILES];
    struct err err;
    size_t n = 0;
    assert_int_equal(disk_file_open_readonly(dir, &disk, &err), 0);
    int rc = identity_read(disk, &identity, &err);
    assert_int_equal(archive_list(disk, rows, &n, &err), 0);
    disk_close(disk);
    if (rc != 0) assert_int_equal(rc, ERR_CORRUPT); /* never an empty folder, in which a new cluster could begin */
    if (rc != 0) return;
    assert_int_equal(n, 1);
    bool is_old = rows[0].index == old_life.index;
    assert_true(has(dir, "vote") && has(dir, "pins"));
    assert_int_equal(is_old, has(dir, "log-0000000000000001"));
    assert_int_equal(is_old, has(dir, "log-0000000000000002"));
}

static int exchange(const char *dir) {
    enum swap_stage stage;
    struct err err;
    int rc = swap_stage(dir, N, new_life.index, new_life.term, &stage, &err);
    if (rc == 0 && stage == SWAP_UNTOUCHED) rc = swap_prepare(dir, N, cluster, 4, &new_life, &err);
    return rc == 0 && stage != SWAP_DONE ? swap_finish(dir, N, &err) : rc;
}

static void an_exchange_may_end_at_any_rename(void **state) {
    (void)state;
    char top[] = "/tmp/test_cli_swap.XXXXXX", dir[64], command[120];
    assert_non_null(mkdtemp(top));
    int at = 0, status = 0;
    for (;; at++) {
        enum swap_stage stage;
        struct archive a = {0};
        struct err err;
        assert_true(at < 50);
        (void)snprintf(dir, sizeof dir, "%s/d%d", top, at);
        old_folder(dir);
        pid_t child = fork();
        if (child == 0) {
            renames_left = at;
            _exit(exchange(dir) == 0 ? 0 : 1);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == ENDED || WEXITSTATUS(status) == 0));
        expect_no_half(dir);
        assert_int_equal(exchange(dir), 0);
        assert_int_equal(swap_stage(dir, N, new_life.index, new_life.term, &stage, &err), 0);
        assert_int_equal(stage, SWAP_DONE);
        expect_no_half(dir);
        assert_int_equal(swap_archive(dir, N, cluster, new_life.index, new_life.term, &a, &err), 0);
        assert_memory_equal(a.state, "new", 3);
        archive_done(&a);
        assert_true(has(dir, "before-recovery-3/identity") && has(dir, "before-recovery-3/log-0000000000000002"));
        assert_false(has(dir, "log-0000000000000001") || has(dir, "recovery-3.ready") || has(dir, "recovery-3.new"));
        if (WEXITSTATUS(status) == 0) break;
    }
    assert_true(at > 8); /* it was ended often */
    (void)snprintf(command, sizeof command, "rm -r %s", top);
    assert_int_equal(system(command), 0);
}

static void a_folder_of_another_recovery_is_left_alone(void **state) {
    (void)state;
    char top[] = "/tmp/test_cli_swap.XXXXXX", dir[64], command[120];
    enum swap_stage stage;
    struct err err;
    assert_non_null(mkdtemp(top));
    (void)snprintf(dir, sizeof dir, "%s/d", top);
    old_folder(dir);
    assert_int_equal(exchange(dir), 0);
    assert_int_equal(swap_stage(dir, N, new_life.index + 1, new_life.term, &stage, &err), ERR_EXISTS);
    (void)snprintf(command, sizeof command, "rm -r %s", top);
    assert_int_equal(system(command), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_exchange_may_end_at_any_rename),
        cmocka_unit_test(a_folder_of_another_recovery_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
