/* SPDX-License-Identifier: Apache-2.0
 * What an agent must not forget: journal, meta files, task folders; torn and damaged ones. */
#include "../lib/cmocka_all.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/sealed.h"
#include "agent/store.h"
#include "agent/task_dir.h"
#include "agent/task_table.h"
#include "agent/tree.h"

static char work[64];
static struct err err;

static int setup(void **state) {
    (void)state;
    (void)snprintf(work, sizeof work, "/tmp/conclave-store-XXXXXX");
    return mkdtemp(work) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    return tree_remove(AT_FDCWD, work, &err);
}

static struct launch_key key_of(unsigned i) {
    return (struct launch_key){"fw", "task", {100 + i, 0, i}};
}

static const uint8_t uuid[16] = {9, 8, 7};

static void ids_and_fence_survive_and_a_second_agent_is_kept_out(void **state) {
    (void)state;
    struct store s, second;
    assert_int_equal(agent_store_open(work, &s, &err), 0);
    assert_int_equal(agent_store_open(work, &second, &err), ERR_LOCKED);
    uint8_t before[16];
    memcpy(before, s.uuid, sizeof before);
    assert_int_equal(store_agent_id_set(&s, "c-1-S7", &err), 0);
    assert_int_equal(store_agent_id_set(&s, "../x", &err), ERR_INVALID);
    assert_int_equal(store_fence_set(&s, &(struct fence){.set = true, .incarnation = 1, .term = 44}, &err), 0);
    char path[128];
    struct stat first, later;
    (void)snprintf(path, sizeof path, "%s/meta/fence", work);
    assert_int_equal(stat(path, &first), 0);
    assert_int_equal(store_fence_set(&s, &(struct fence){.set = true, .incarnation = 1, .term = 45}, &err), 0);
    assert_int_equal(stat(path, &later), 0);
    assert_int_equal(first.st_ino,
                     later.st_ino); /* in place: a full disk must not keep an agent from the next leader */
    assert_int_equal(store_boot_save(&s, &err), 0);
    agent_store_close(&s);
    assert_int_equal(agent_store_open(work, &s, &err), 0);
    (void)snprintf(path, sizeof path, "%s/meta/boot", work);
    assert_int_equal(stat(path, &first), 0);
    assert_int_equal(store_boot_save(&s, &err), 0);
    assert_int_equal(stat(path, &later), 0);
    assert_int_equal(first.st_ino, later.st_ino); /* and not from starting */
    assert_memory_equal(s.uuid, before, 16);
    assert_string_equal(s.agent_id, "c-1-S7");
    assert_int_equal(s.fence.term, 45);
    assert_false(s.rebooted);
    agent_store_close(&s);
}

static void meta_write(const char *name, const char *text, size_t len) {
    char path[128];
    (void)snprintf(path, sizeof path, "%s/meta/%s", work, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0 && write(fd, text, len) == (ssize_t)len);
    (void)close(fd);
}

static void damaged_meta_files_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *name, *text;
    } cases[] = {{"agent.uuid", "zz"}, {"agent.id", "a\nb\n"}, {"fence", "x"}, {"boot", "\n"}};
    struct store s;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(agent_store_open(work, &s, &err), 0);
        agent_store_close(&s);
        meta_write(cases[i].name, cases[i].text, strlen(cases[i].text));
        assert_int_equal(agent_store_open(work, &s, &err), ERR_CORRUPT);
        assert_non_null(strstr(err.text, cases[i].name));
        char path[128];
        (void)snprintf(path, sizeof path, "%s/meta/%s", work, cases[i].name);
        (void)unlink(path);
    }
}

static void another_boot_id_shows_as_a_reboot_until_it_is_saved(void **state) {
    (void)state;
    struct store s;
    assert_int_equal(agent_store_open(work, &s, &err), 0);
    agent_store_close(&s);
    meta_write("boot", "other\n", 6);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(agent_store_open(work, &s, &err), 0);
        assert_true(s.rebooted);
        if (i == 1) assert_int_equal(store_boot_save(&s, &err), 0);
        agent_store_close(&s);
    }
    assert_int_equal(agent_store_open(work, &s, &err), 0);
    assert_false(s.rebooted);
    agent_store_close(&s);
}

static int dir_fd(void) {
    return open(work, O_RDONLY | O_DIRECTORY);
}

static void a_synced_launch_is_known_after_a_restart(void **state) {
    (void)state;
    struct journal *j;
    int fd = dir_fd();
    assert_int_equal(journal_open(fd, "j", &j, &err), 0);
    for (unsigned i = 0; i < 3; i++) {
        struct launch_key key = key_of(i);
        assert_int_equal(journal_start(j, &key), 0);
    }
    struct launch_key one = key_of(1), two = key_of(2), lost = key_of(3);
    assert_int_equal(journal_settle(j, &one, TASK_FINISHED, uuid), 0);
    assert_int_equal(journal_drop(j, &two), 0);
    assert_int_equal(journal_sync(j, &err), 0);
    assert_int_equal(journal_start(j, &lost), 0); /* not synced */
    journal_close(j);
    assert_int_equal(journal_open(fd, "j", &j, &err), 0);
    struct launch_key zero = key_of(0);
    assert_false(journal_find(j, &zero)->settled);
    assert_true(journal_find(j, &one)->settled);
    assert_int_equal(journal_find(j, &one)->state, TASK_FINISHED);
    assert_memory_equal(journal_find(j, &one)->uuid, uuid, 16);
    assert_null(journal_find(j, &two));
    assert_null(journal_find(j, &lost));
    journal_close(j);
    (void)close(fd);
}

/* Two synced groups; returns the length of the first and of both. */
static void two_groups(int fd, size_t *ret_first, size_t *ret_both) {
    struct journal *j;
    struct stat st;
    (void)unlinkat(fd, "j", 0);
    assert_int_equal(journal_open(fd, "j", &j, &err), 0);
    struct launch_key a = key_of(0), b = key_of(1);
    assert_int_equal(journal_start(j, &a), 0);
    assert_int_equal(journal_sync(j, &err), 0);
    assert_int_equal(journal_start(j, &b), 0);
    assert_int_equal(journal_sync(j, &err), 0);
    journal_close(j);
    *ret_first = 16 + 1 + 16 + 3 + 5;
    *ret_both = 2 * *ret_first;
    assert_int_equal(fstatat(fd, "j", &st, 0), 0);
    assert_int_equal(st.st_size, JOURNAL_FILE_BYTES);
}

static void byte_change(int fd, size_t at, uint8_t mask) {
    int file = openat(fd, "j", O_RDWR);
    uint8_t byte;
    assert_int_equal(pread(file, &byte, 1, (off_t)at), 1);
    byte = (uint8_t)(mask ? byte ^ mask : 0);
    assert_int_equal(pwrite(file, &byte, 1, (off_t)at), 1);
    (void)close(file);
}

static void a_journal_torn_at_each_byte_keeps_what_was_synced_before(void **state) {
    (void)state;
    size_t first, both;
    int fd = dir_fd();
    struct launch_key a = key_of(0), b = key_of(1);
    two_groups(fd, &first, &both);
    struct buf whole;
    buf_init(&whole, JOURNAL_FILE_BYTES);
    assert_int_equal(file_load(fd, "j", &whole, &err), 0);
    for (size_t cut = first; cut < both; cut++) {
        struct journal *j;
        int file = openat(fd, "j", O_WRONLY | O_TRUNC);
        assert_int_equal(pwrite(file, whole.data, cut, 0), (ssize_t)cut); /* zeroes behind it, as preallocated */
        assert_int_equal(ftruncate(file, 8192), 0);
        (void)close(file);
        assert_int_equal(journal_open(fd, "j", &j, &err), 0);
        assert_non_null(journal_find(j, &a));
        assert_null(journal_find(j, &b));
        journal_close(j);
    }
    buf_done(&whole);
    (void)close(fd);
}

static void a_flipped_bit_before_a_good_group_is_refused_with_its_place(void **state) {
    (void)state;
    size_t first, both;
    int fd = dir_fd();
    struct journal *j;
    for (size_t at = 0; at < 41; at += 5) {
        two_groups(fd, &first, &both);
        byte_change(fd, at, 0x10);
        assert_int_equal(journal_open(fd, "j", &j, &err), ERR_CORRUPT);
        assert_non_null(strstr(err.text, "byte 0"));
    }
    (void)close(fd);
}

static void a_full_journal_is_rewritten_and_keeps_everything_that_matters(void **state) {
    (void)state;
    struct journal *j;
    int fd = dir_fd();
    assert_int_equal(journal_open(fd, "j", &j, &err), 0);
    struct launch_key alive = {"fw", "alive", {1, 0, 0}};
    assert_int_equal(journal_start(j, &alive), 0);
    for (unsigned i = 0; i < 70000; i++) {
        struct launch_key key = key_of(i);
        assert_int_equal(journal_start(j, &key), 0);
        assert_int_equal(journal_settle(j, &key, TASK_FINISHED, uuid), 0);
        if (i % 1000 == 0) assert_int_equal(journal_sync(j, &err), 0);
    }
    assert_int_equal(journal_sync(j, &err), 0);
    assert_int_equal(journal_settled_count(j), JOURNAL_SETTLED_MAX);
    journal_close(j);
    assert_int_equal(journal_open(fd, "j", &j, &err), 0);
    struct launch_key last = key_of(69999), first = key_of(0);
    assert_true(journal_find(j, &last)->settled);
    assert_null(journal_find(j, &first));
    assert_false(journal_find(j, &alive)->settled);
    assert_ptr_equal(journal_next_started(j, NULL), journal_find(j, &alive));
    assert_null(journal_next_started(j, journal_find(j, &alive)));
    journal_close(j);
    (void)close(fd);
}

static void updates_torn_at_each_byte_keep_the_whole_ones(void **state) {
    (void)state;
    int fd = dir_fd();
    struct updates u;
    uint8_t a[16] = {1}, b[16] = {2};
    assert_int_equal(mkdirat(fd, "t", 0700), 0);
    assert_int_equal(task_dir_update_add(fd, "t", a, TASK_RUNNING, "run", 3, &err), 0);
    assert_int_equal(task_dir_update_ack(fd, "t", a, &err), 0);
    assert_int_equal(task_dir_update_add(fd, "t", b, TASK_FINISHED, "fin", 3, &err), 0);
    struct buf whole;
    buf_init(&whole, 4096);
    int dir = openat(fd, "t", O_RDONLY);
    assert_int_equal(file_load(dir, "updates", &whole, &err), 0);
    for (size_t cut = 0; cut <= whole.len; cut++) {
        updates_init(&u);
        size_t good = updates_replay(whole.data, cut, &u);
        assert_true(good <= cut);
        assert_int_equal(u.has_acked, cut >= 32 + 29);
        assert_int_equal(u.latest == TASK_FINISHED, cut == whole.len);
        updates_done(&u);
        int file = openat(dir, "updates", O_WRONLY | O_TRUNC);
        assert_int_equal(write(file, whole.data, cut), (ssize_t)cut);
        (void)close(file);
        updates_init(&u);
        assert_int_equal(task_dir_updates_load(fd, "t", &u, &err), 0);
        struct stat st;
        assert_int_equal(fstatat(dir, "updates", &st, 0), 0);
        assert_int_equal(st.st_size, (off_t)good);
        updates_done(&u);
    }
    buf_done(&whole);
    (void)close(dir);
    (void)close(fd);
}

static void a_folder_that_started_is_never_taken_back(void **state) {
    (void)state;
    int fd = dir_fd();
    char path[TASK_PATH_MAX];
    struct launch_key key = {"..", "a b", {1, 2, 3}};
    task_dir_path(&key, path);
    assert_string_equal(path, "tasks/%2E./a%20b/1.2.3");
    assert_int_equal(task_dir_create(fd, path, "launch", 6, false, 0, 0, &err), 0);
    struct buf launch;
    assert_int_equal(task_dir_launch(fd, path, &launch, &err), 0);
    assert_memory_equal(launch.data, "launch", 6);
    buf_done(&launch);
    assert_int_equal(task_dir_create(fd, path, "again", 5, false, 0, 0, &err), 0); /* not started: made anew */
    char started[TASK_PATH_MAX + 16];
    (void)snprintf(started, sizeof started, "%s/started", path);
    int file = openat(fd, started, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(file, "42 7\n", 5), 5);
    (void)close(file);
    assert_int_equal(task_dir_create(fd, path, "third", 5, false, 0, 0, &err), ERR_EXISTS);
    uint32_t pid;
    uint64_t at;
    assert_true(task_dir_started(fd, path, &pid, &at));
    assert_int_equal(pid, 42);
    assert_int_equal(at, 7);
    assert_int_equal(task_dir_remove(fd, path, &err), 0);
    assert_int_equal(faccessat(fd, "tasks/%2E.", F_OK, 0), -1);
    (void)close(fd);
}

static void removing_a_folder_follows_no_link_and_has_no_depth_limit(void **state) {
    (void)state;
    int fd = dir_fd();
    assert_int_equal(mkdirat(fd, "victim", 0700), 0);
    assert_int_equal(mkdirat(fd, "t", 0700), 0);
    int file = openat(fd, "victim/f", O_WRONLY | O_CREAT, 0600);
    (void)close(file);
    assert_int_equal(symlinkat("../victim", fd, "t/link"), 0);
    int deep = openat(fd, "t", O_RDONLY);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(mkdirat(deep, "d", 0700), 0);
        int next = openat(deep, "d", O_RDONLY);
        (void)close(deep);
        deep = next;
    }
    (void)close(deep);
    assert_int_equal(tree_remove(fd, "t", &err), 0);
    assert_int_equal(faccessat(fd, "t", F_OK, 0), -1);
    assert_int_equal(faccessat(fd, "victim/f", F_OK, 0), 0);
    (void)close(fd);
}

static void the_newest_launch_of_a_task_is_found_among_live_and_kept(void **state) {
    (void)state;
    struct task_table *t = task_table_new();
    struct launch_key first = {"fw", "t", {5, 0, 0}}, second = {"fw", "t", {9, 0, 0}}, other = {"fw", "u", {99, 0, 0}};
    assert_non_null(task_table_add(t, &first, "p5"));
    assert_non_null(task_table_add(t, &other, "p99"));
    assert_string_equal(task_table_latest_path(t, "fw", "t"), "p5");
    assert_int_equal(kept_add(t, &second, "p9", 1), 0);
    assert_string_equal(task_table_latest_path(t, "fw", "t"), "p9");
    assert_null(task_table_latest_path(t, "fw", "v"));
    assert_non_null(task_table_find(t, &first));
    assert_null(task_table_find(t, &second));
    task_table_free(t);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(ids_and_fence_survive_and_a_second_agent_is_kept_out),
        T(damaged_meta_files_are_refused_by_name),
        T(another_boot_id_shows_as_a_reboot_until_it_is_saved),
        T(a_synced_launch_is_known_after_a_restart),
        T(a_journal_torn_at_each_byte_keeps_what_was_synced_before),
        T(a_flipped_bit_before_a_good_group_is_refused_with_its_place),
        T(a_full_journal_is_rewritten_and_keeps_everything_that_matters),
        T(updates_torn_at_each_byte_keep_the_whole_ones),
        T(a_folder_that_started_is_never_taken_back),
        T(removing_a_folder_follows_no_link_and_has_no_depth_limit),
        T(the_newest_launch_of_a_task_is_found_among_live_and_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
