/* SPDX-License-Identifier: Apache-2.0
 * The store on real files, in a temporary folder. */
#include "../lib/cmocka_all.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "base/check.h"
#include "base/clock.h"
#include "consensus/disk_file.h"
#include "consensus/identity.h"
#include "consensus/snapshot_file.h"
#include "consensus/store.h"
#include "consensus/log_reader.h"
#include "consensus/verify.h"

#define SEGMENT     (64u << 10)
#define WAIT_MAX_MS 20000u

static const struct identity identity = {.cluster_id = {9}, .node_id = 3, .created_ms = 1};

struct real {
    char dir[64];
    uv_loop_t loop;
    struct disk *disk;
    struct store *store;
    unsigned completed;
    bool closed;
    int put_status;
};

static void on_fatal(void *data, const struct err *err) {
    (void)data;
    print_message("fatal: %s\n", err->text);
    abort();
}

static void dir_remove(const char *path) {
    DIR *d = opendir(path);
    const struct dirent *e;
    assert_non_null(d);
    while ((e = readdir(d)) != NULL)
        if (e->d_name[0] != '.') (void)unlinkat(dirfd(d), e->d_name, 0);
    (void)closedir(d);
    (void)rmdir(path);
}

static void setup(struct real *r) {
    const char *base = getenv("TMPDIR");
    *r = (struct real){0};
    (void)snprintf(r->dir, sizeof r->dir, "%.30s/conclave-disk-XXXXXX", base && strlen(base) < 31 ? base : "/var/tmp");
    assert_non_null(mkdtemp(r->dir));
    assert_int_equal(uv_loop_init(&r->loop), 0);
}

static void open_disk(struct real *r) {
    struct err err = {0};
    if (disk_file_open(r->dir, &r->loop, &r->disk, &err) != 0) print_message("%s\n", err.text);
    assert_non_null(r->disk);
}

static void open_store(struct real *r, raft_index *ret_start, size_t *ret_n, uint64_t *ret_snapshot) {
    struct store_config config = {
        .disk = r->disk, .node_id = identity.node_id, .segment_bytes = SEGMENT, .fatal = on_fatal};
    struct err err;
    raft_term term;
    raft_id vote;
    struct raft_snapshot *snapshot;
    struct raft_entry *entries;
    void *batch = NULL;
    memcpy(config.cluster_id, identity.cluster_id, 16);
    assert_int_equal(store_open(&config, &r->store, &err), 0);
    int rv = store_load(r->store, &term, &vote, &snapshot, ret_start, &entries, ret_n);
    if (rv != 0) print_message("%s\n", store_error(r->store)->text);
    assert_int_equal(rv, 0);
    *ret_snapshot = snapshot ? snapshot->index : 0;
    snapshot_free(snapshot);
    for (size_t i = 0; i < *ret_n; i++) {
        if (entries[i].batch == batch) continue;
        batch = entries[i].batch;
        raft_free(batch);
    }
    raft_free(entries);
}

static void closed(void *data) {
    struct real *r = data;
    r->closed = true;
}

static void close_all(struct real *r) {
    if (r->store) {
        r->closed = false;
        store_close(r->store, closed, r);
        while (!r->closed)
            (void)uv_run(&r->loop, UV_RUN_ONCE);
        r->store = NULL;
    }
    disk_close(r->disk);
    r->disk = NULL;
    while (uv_run(&r->loop, UV_RUN_DEFAULT) != 0)
        ;
}

static void teardown(struct real *r) {
    assert_int_equal(uv_loop_close(&r->loop), 0);
    dir_remove(r->dir);
}

static void appended(struct raft_io_append *req, int status) {
    struct real *r = req->data;
    assert_int_equal(status, 0);
    r->completed++;
    free(req);
}

static void append(struct real *r, uint64_t word, size_t len, unsigned short type) {
    uint8_t *bytes = calloc(1, len);
    struct raft_io_append *req = calloc(1, sizeof *req);
    assert_true(bytes && req);
    memcpy(bytes, &word, sizeof word);
    struct raft_entry e = {.term = 1, .type = type, .buf = {.base = bytes, .len = len}};
    req->data = r;
    assert_int_equal(store_append(r->store, req, &e, 1, appended), 0);
    free(bytes);
}

static void wait_completed(struct real *r, unsigned n) {
    uint64_t until = clock_mono_ms() + WAIT_MAX_MS;
    while (r->completed < n && clock_mono_ms() < until)
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    assert_int_equal(r->completed, n);
}

static void put_done(struct raft_io_snapshot_put *req, int status) {
    struct real *r = req->data;
    r->put_status = status;
}

static void snapshot(struct real *r, uint64_t index) {
    struct raft_io_snapshot_put req = {.data = r};
    static uint8_t state[300000];
    struct raft_buffer buf = {.base = state, .len = sizeof state};
    struct raft_snapshot s = {.index = index, .term = 1, .configuration_index = 1, .bufs = &buf, .n_bufs = 1};
    raft_configuration_init(&s.configuration);
    assert_int_equal(raft_configuration_add(&s.configuration, identity.node_id, "h:1", RAFT_VOTER), 0);
    r->put_status = -1;
    assert_int_equal(store_snapshot_put(r->store, 10, &req, &s, put_done), 0);
    while (r->put_status == -1)
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    assert_int_equal(r->put_status, 0);
    raft_configuration_close(&s.configuration);
}

static bool seen(void *ctx, uint64_t index, uint64_t term, int type, const uint8_t *data, size_t len) {
    uint64_t *count = ctx, word;
    memcpy(&word, data, sizeof word);
    assert_int_equal(word, index * 3);
    assert_int_equal(term, 1);
    assert_true(type >= 1 && len >= 8);
    (*count)++;
    return true;
}

static void entries_survive_on_real_files_through_segments_and_snapshots(void **state) {
    (void)state;
    struct real r;
    struct err err;
    raft_index start;
    size_t n;
    uint64_t at;
    setup(&r);
    open_disk(&r);
    assert_int_equal(identity_format(r.disk, &identity, &err), 0);
    open_store(&r, &start, &n, &at);
    assert_int_equal(store_set_term(r.store, 1), 0);
    for (unsigned i = 1; i <= 600; i++) {
        append(&r, i * 3, 500 + i % 700, i == 1 ? RAFT_CHANGE : RAFT_COMMAND);
        if (i % 50 == 0) wait_completed(&r, i);
        if (i == 300 || i == 500) snapshot(&r, i);
        store_tick(r.store, i);
    }
    wait_completed(&r, 600);
    uint64_t count = 0;
    struct log_reader *log;
    struct disk *reader; /* beside the running store */
    assert_int_equal(disk_file_open_readonly(r.dir, &reader, &err), 0);
    assert_true(disk_file_in_use(reader));
    assert_int_equal(log_reader_open(reader, &log, &err), 0);
    assert_int_equal(log_reader_span(log)->last, 600);
    assert_int_equal(log_reader_walk(log, 590, 599, seen, &count, &err), 0);
    assert_int_equal(count, 10);
    log_reader_close(log);
    static struct verify_report report;
    assert_int_equal(verify_run(reader, true, &report, &err), 0);
    if (!report.ok) print_message("%s: %s\n", report.faults[0].file, report.faults[0].text);
    assert_true(report.ok);
    assert_int_equal(report.last, 600);
    assert_int_equal(report.snapshot_index, 500);
    assert_int_equal(disk_write_at(reader, "x", 0, "y", 1, &err), ERR_FORBIDDEN);
    disk_close(reader);
    close_all(&r);
    open_disk(&r);
    open_store(&r, &start, &n, &at);
    assert_int_equal(at, 500);
    assert_true(start <= 301 && start > 1);
    assert_int_equal(start + n - 1, 600);
    close_all(&r);
    teardown(&r);
}

static void a_second_process_is_told_that_the_folder_is_in_use(void **state) {
    (void)state;
    struct real r;
    setup(&r);
    open_disk(&r);
    pid_t child = fork();
    if (child == 0) {
        uv_loop_t loop;
        struct disk *second;
        struct err err;
        (void)uv_loop_init(&loop);
        int rv = disk_file_open(r.dir, &loop, &second, &err);
        _exit(rv == ERR_LOCKED && strstr(err.text, "in use by process") ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close_all(&r);
    open_disk(&r); /* the lock went with the disk */
    close_all(&r);
    teardown(&r);
}

/* kill -9 in the middle of writing: whatever the child was told is durable is there afterwards. */
static void a_killed_process_loses_nothing_it_was_told(void **state) {
    (void)state;
    struct real r;
    struct err err;
    raft_index start;
    size_t n;
    uint64_t at;
    setup(&r);
    for (unsigned round = 0; round < 5; round++) {
        int fds[2];
        uint64_t told = 0, word;
        assert_int_equal(pipe(fds), 0);
        pid_t child = fork();
        if (child == 0) {
            struct real c = r;
            (void)uv_loop_init(&c.loop);
            open_disk(&c);
            if (round == 0) CHECK(identity_format(c.disk, &identity, &err) == 0);
            open_store(&c, &start, &n, &at);
            if (round == 0) CHECK(store_set_term(c.store, 1) == 0);
            for (uint64_t i = start + n; i < 100000; i++) {
                unsigned want = c.completed + 1;
                append(&c, i * 3, 3000, i == 1 ? RAFT_CHANGE : RAFT_COMMAND);
                while (c.completed < want)
                    (void)uv_run(&c.loop, UV_RUN_ONCE);
                if (write(fds[1], &i, sizeof i) != sizeof i) _exit(1);
            }
            _exit(1);
        }
        (void)close(fds[1]);
        while (told < 40 * (round + 1) && read(fds[0], &word, sizeof word) == sizeof word)
            told = word;
        (void)kill(child, SIGKILL);
        while (read(fds[0], &word, sizeof word) == sizeof word)
            told = word;
        (void)close(fds[0]);
        assert_int_equal(waitpid(child, NULL, 0), child);
        open_disk(&r);
        open_store(&r, &start, &n, &at);
        assert_true(start + n - 1 >= told && told >= 40 * (round + 1));
        close_all(&r);
    }
    teardown(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_process_is_told_that_the_folder_is_in_use),
        cmocka_unit_test(a_killed_process_loses_nothing_it_was_told),
        cmocka_unit_test(entries_survive_on_real_files_through_segments_and_snapshots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
