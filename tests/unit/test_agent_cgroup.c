/* SPDX-License-Identifier: Apache-2.0
 * Control groups on a made-up root, since no host has all kinds. */
#include "../lib/cmocka_all.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cgroup.h"

static char root[64];

static int setup(void **state) {
    (void)state;
    (void)snprintf(root, sizeof root, "/tmp/conclave-cgroup-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static const char *path(const char *name) {
    static char full[256];
    (void)snprintf(full, sizeof full, "%s/%s", root, name);
    return full;
}

static void file_make(const char *name, const char *text) {
    int fd = open(path(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
}

static const char *file_text(const char *name) {
    static char text[256];
    int fd = open(path(name), O_RDONLY);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0) (void)close(fd);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void v2_hands_out_controllers_and_sets_limits(void **state) {
    (void)state;
    struct cgroup_host host;
    struct cgroup group;
    file_make("cgroup.controllers", "cpu memory pids");
    assert_int_equal(mkdir(path("own"), 0700), 0);
    assert_int_equal(mkdir(path("own/conclave"), 0700), 0);
    file_make("own/cgroup.subtree_control", "");
    file_make("own/conclave/cgroup.subtree_control", "");
    cgroup_host_find(root, "1:name=systemd:/x\n0::/own\n", "conclave", &host);
    assert_int_equal(host.version, 2);
    assert_string_equal(host.notice, "");
    assert_string_equal(file_text("own/conclave/cgroup.subtree_control"), "+memory +cpu +pids");

    static struct spec spec;
    char dir[600];
    (void)snprintf(dir, sizeof dir, ":%s/task", host.base[0].dir);
    assert_int_equal(mkdir(path("own/conclave/task"), 0700), 0);
    static const char *const files[] = {"memory.max", "memory.swap.max", "memory.oom.group", "cpu.weight",
                                        "pids.max",   "cgroup.procs",    "cgroup.kill"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char name[128];
        (void)snprintf(name, sizeof name, "own/conclave/task/%s", files[i]);
        file_make(name, "");
    }
    spec.cgroup_version = 2;
    spec.cgroups[spec.cgroup_n++] = dir;
    spec.mem_bytes = 64u << 20;
    spec.cpu_shares = 1024;
    spec.pids = 99;
    cgroup_open(&group, &spec);
    assert_string_equal(group.ops->name, "v2");
    assert_string_equal(file_text("own/conclave/task/memory.max"), "67108864");
    assert_string_equal(file_text("own/conclave/task/cpu.weight"), "39");
    assert_string_equal(file_text("own/conclave/task/pids.max"), "99");
    assert_int_equal(group.ops->attach(&group, 12345), 0);
    assert_string_equal(file_text("own/conclave/task/cgroup.procs"), "12345");
    group.ops->signal(&group, 0, 9);
    assert_string_equal(file_text("own/conclave/task/cgroup.kill"), "1");
    assert_false(group.ops->oom(&group));
    file_make("own/conclave/task/memory.events", "low 0\noom 3\noom_kill 1\n");
    assert_true(group.ops->oom(&group));
}

static void v2_that_is_not_delegated_gives_a_notice_and_no_limits(void **state) {
    (void)state;
    struct cgroup_host host;
    file_make("cgroup.controllers", "");
    cgroup_host_find(root, "0::/nowhere\n", "conclave", &host);
    assert_int_equal(host.version, 0);
    assert_non_null(strstr(host.notice, "without limits"));
    cgroup_host_find(root, "", "conclave", &host);
    assert_int_equal(host.version, 0);
}

static void v1_takes_the_controllers_that_are_there(void **state) {
    (void)state;
    struct cgroup_host host;
    struct cgroup group;
    assert_int_equal(mkdir(path("memory"), 0700), 0);
    assert_int_equal(mkdir(path("memory/own"), 0700), 0);
    assert_int_equal(mkdir(path("freezer"), 0700), 0);
    cgroup_host_find(root, "4:memory:/own\n3:cpu,cpuacct:/\n6:freezer:/\n", "conclave", &host);
    assert_int_equal(host.version, 1);
    assert_int_equal(host.n, 2);
    assert_non_null(strstr(host.notice, "no cpu controller"));
    assert_non_null(strstr(host.base[0].dir, "memory/own/conclave"));
    cgroup_host_leave(&host); /* as at the end of an agent; a shim that comes later makes it again */
    assert_int_equal(access(path("memory/own/conclave"), F_OK), -1);

    static struct spec spec;
    char dir[600];
    (void)snprintf(dir, sizeof dir, "memory:%s/task", host.base[0].dir);
    spec.cgroup_version = 1;
    spec.cgroups[spec.cgroup_n++] = dir;
    cgroup_open(&group, &spec);
    assert_string_equal(group.ops->name, "v1");
    file_make("memory/own/conclave/task/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n");
    assert_false(group.ops->oom(&group));
    file_make("memory/own/conclave/task/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
    assert_true(group.ops->oom(&group));
}

static void without_any_hierarchy_there_is_a_notice(void **state) {
    (void)state;
    struct cgroup_host host;
    cgroup_host_find(root, "", "conclave", &host);
    assert_int_equal(host.version, 0);
    assert_non_null(strstr(host.notice, "memory"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        T(v2_hands_out_controllers_and_sets_limits),
        T(v2_that_is_not_delegated_gives_a_notice_and_no_limits),
        T(v1_takes_the_controllers_that_are_there),
        T(without_any_hierarchy_there_is_a_notice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
