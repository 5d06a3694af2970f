/* SPDX-License-Identifier: Apache-2.0
 * The agent as a process, against a fake master on a real link (F-23, I-08, I-12, I-17). */
#include "../lib/cmocka_all.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/fence.h"
#include "agent/task_dir.h"
#include "agent/tree.h"
#include "agent_fake_master.h"
#include "scheduler/obligations.h"

static struct fake_master master, other;
static pid_t agent;

static int setup(void **state) {
    (void)state;
    agent_work_make();
    master_open(&master, 5);
    agent = agent_start(&master, NULL, NULL);
    AWAIT(agent_metric("registered"), 1);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    if (agent > 0) (void)agent_end(agent, SIGTERM);
    agent = 0;
    master_close(&master);
    agent_work_remove();
    return 0;
}

static void agent_restart(void) {
    unsigned before = master.welcomes;
    (void)agent_end(agent, SIGKILL);
    agent = agent_start(&master, NULL, NULL);
    AWAIT(master.welcomes, before + 1);
}

static const char *file_text(const char *name) {
    static char text[65536];
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", agent_work, name);
    int fd = open(path, O_RDONLY);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    if (fd >= 0) (void)close(fd);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static unsigned lines(const char *text) {
    unsigned n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static void launch_n(unsigned i, const char *command) {
    char id[32];
    (void)snprintf(id, sizeof id, "t%u", i);
    master_launch(&master, id, 100 + i, command);
}

/* A command that writes its task id into the ledger, runs a while and ends well. */
static const char *ledger_command(const char *seconds) {
    static char command[256];
    (void)snprintf(command, sizeof command, "echo $MESOS_TASK_ID >> %s/ledger; sleep %s", agent_work, seconds);
    return command;
}

static void ledger_check(unsigned n) {
    const char *ledger = file_text("ledger");
    assert_int_equal(lines(ledger), n);
    for (unsigned i = 0; i < n; i++) {
        char id[32];
        (void)snprintf(id, sizeof id, "t%u\n", i);
        const char *at = strstr(ledger, id);
        assert_non_null(at);
        while (at && at != ledger && at[-1] != '\n')
            at = strstr(at + 1, id);
        assert_non_null(at);
    }
}

static void fifty_tasks_finish_and_each_started_once_though_the_agent_is_killed_twice(void **state) {
    (void)state;
    for (unsigned i = 0; i < 50; i++)
        launch_n(i, ledger_command(i % 2 ? "0.8" : "0"));
    AWAIT(master_count(&master, TASK_RUNNING), 20);
    (void)agent_end(agent, SIGKILL);
    agent = agent_start(&master, NULL, NULL);
    AWAIT(master.welcomes, 2);
    for (unsigned i = 0; i < 50; i++) /* a new leader sends again what it never saw confirmed */
        launch_n(i, ledger_command("0"));
    AWAIT(master_count(&master, TASK_RUNNING), 40);
    agent_restart();
    for (unsigned i = 0; i < 50; i++)
        launch_n(i, ledger_command("0"));
    AWAIT(master_count(&master, TASK_FINISHED), 50);
    loop_for(200);
    assert_int_equal(master_count(&master, TASK_FINISHED), 50);
    assert_int_equal(master_count(&master, TASK_FAILED), 0);
    assert_int_equal(master_count(&master, TASK_LOST), 0);
    ledger_check(50);
}

static void a_task_that_ends_while_its_agent_is_dead_is_reported_by_the_next(void **state) {
    (void)state;
    master_launch(&master, "a", 1, "sleep 0.3; exit 7");
    AWAIT(master_count(&master, TASK_RUNNING), 1);
    (void)agent_end(agent, SIGKILL);
    loop_for(600);
    agent = agent_start(&master, NULL, NULL);
    AWAIT(master_count(&master, TASK_FAILED), 1);
    assert_string_equal(master_report(&master, "a", TASK_FAILED)->message, "Command exited with status 7");
}

static void updates_are_sent_again_to_a_new_leader_until_acknowledged(void **state) {
    (void)state;
    master.acknowledges = false;
    master_launch(&master, "a", 1, "true");
    AWAIT(master.report_n, 1);
    loop_for(100);
    assert_int_equal(master.report_n, 1); /* in order: FINISHED waits behind RUNNING */
    assert_int_equal(master.reports[0].state, TASK_RUNNING);
    assert_int_equal(master.reports[0].latest_state, TASK_FINISHED);
    unsigned times = master.reports[0].times;
    agent_restart();
    AWAIT(master.reports[0].times, times + 1); /* the same update, by its uuid, from the disk */
    assert_int_equal(master.report_n, 1);
    master_ack(&master, &master.reports[0]);
    AWAIT(master.report_n, 2);
    assert_int_equal(master.reports[1].state, TASK_FINISHED);
    times = master.reports[0].times;
    agent_restart();
    AWAIT(master.reports[1].times, 2);
    assert_int_equal(master.reports[0].times, times); /* what was acknowledged is never sent again */
    master_ack(&master, &master.reports[1]);
    loop_for(100);
    agent_restart();
    assert_int_equal(master.busy, 0);
    loop_for(200);
    assert_int_equal(master.report_n, 2);
}

static void a_launch_that_is_known_is_answered_and_not_started_again(void **state) {
    (void)state;
    master_launch(&master, "t0", 1, ledger_command("0.2"));
    master_launch(&master, "t0", 1, ledger_command("0.2"));
    AWAIT(master_count(&master, TASK_RUNNING), 1);
    unsigned times = master.reports[0].times;
    loop_for(50);
    master_launch(&master, "t0", 1, ledger_command("0.2"));
    AWAIT(master.reports[0].times, times + 1);
    AWAIT(master_count(&master, TASK_FINISHED), 1);
    loop_for(100);
    const struct report *end = master_report(&master, "t0", TASK_FINISHED);
    times = end->times;
    master_launch(&master, "t0", 1, ledger_command("0.2")); /* forgotten, but not quite */
    AWAIT(end->times, times + 1);
    agent_restart();
    times = end->times;
    master_launch(&master, "t0", 1, ledger_command("0.2"));
    AWAIT(end->times, times + 1);
    assert_int_equal(lines(file_text("ledger")), 1);
    master_launch(&master, "t0", 2, ledger_command("0")); /* another launch of the same task id is another life */
    AWAIT(lines(file_text("ledger")), 2);
}

static void a_kill_ends_the_tree_after_its_grace(void **state) {
    (void)state;
    char polite[256], stubborn[256]; /* each says when its trap is set */
    (void)snprintf(polite, sizeof polite, "trap 'exit 0' TERM; echo >> %s/ledger; while :; do sleep 0.05; done",
                   agent_work);
    (void)snprintf(stubborn, sizeof stubborn, "trap '' TERM; echo >> %s/ledger; while :; do sleep 0.05; done",
                   agent_work);
    master_launch(&master, "polite", 1, polite);
    master_launch(&master, "stubborn", 2, stubborn);
    AWAIT(master_count(&master, TASK_RUNNING), 2);
    AWAIT(lines(file_text("ledger")), 2);
    uint64_t before = uv_hrtime();
    master_kill(&master, "polite", 1, -1);
    AWAIT(master_count(&master, TASK_KILLED), 1);
    assert_true(uv_hrtime() - before < UINT64_C(2500000000));
    before = uv_hrtime();
    master_kill(&master, "stubborn", 2, 300);
    AWAIT(master_count(&master, TASK_KILLED), 2);
    assert_true(uv_hrtime() - before >= UINT64_C(300000000));
    assert_non_null(strstr(master_report(&master, "stubborn", TASK_KILLED)->message, "signal Killed"));
    assert_int_equal(kill((pid_t)master_report(&master, "stubborn", TASK_RUNNING)->pid, 0), -1);
}

static void a_kill_that_was_under_way_is_finished_by_the_next_agent(void **state) {
    (void)state;
    master_launch(&master, "a", 1, "trap '' TERM; while :; do sleep 0.05; done");
    AWAIT(master_count(&master, TASK_RUNNING), 1);
    master_kill(&master, "a", 1, 700);
    loop_for(100);
    agent_restart();
    AWAIT(master_count(&master, TASK_KILLED), 1);
    assert_int_equal(master_count(&master, TASK_FAILED), 0);
}

static void a_kill_that_comes_first_keeps_the_launch_from_starting(void **state) {
    (void)state;
    master_kill(&master, "t0", 9, -1);
    AWAIT(master_count(&master, TASK_KILLED), 1);
    master_launch(&master, "t0", 9, ledger_command("0"));
    AWAIT(master_report(&master, "t0", TASK_KILLED)->times, 2);
    agent_restart();
    unsigned times = master_report(&master, "t0", TASK_KILLED)->times;
    master_launch(&master, "t0", 9, ledger_command("0"));
    AWAIT(master_report(&master, "t0", TASK_KILLED)->times, times + 1);
    assert_int_equal(lines(file_text("ledger")), 0);
    assert_int_equal(master_count(&master, TASK_RUNNING), 0);
}

static void a_run_over_its_completion_time_fails(void **state) {
    (void)state;
    master_launch_json(&master, "a", 1,
                       "\"command\":{\"value\":\"sleep 60\"},\"max_completion_time\":{\"nanoseconds\":300000000}", "");
    AWAIT(master_count(&master, TASK_FAILED), 1);
    assert_int_equal(master_report(&master, "a", TASK_FAILED)->reason, 33);
}

static void what_cannot_be_run_fails_with_its_reason(void **state) {
    (void)state;
    master_launch_json(&master, "image", 1,
                       "\"command\":{\"value\":\"x\"},\"container\":{\"type\":\"DOCKER\",\"docker\":{\"image\":\"i\"}}",
                       "");
    master_launch_json(&master, "file", 2, "\"command\":{\"shell\":false,\"value\":\"/no/such/file\"}", "");
    master_launch_json(&master, "uri", 3, "\"command\":{\"value\":\"x\",\"uris\":[{\"value\":\"/no/such/uri\"}]}", "");
    AWAIT(master_count(&master, TASK_ERROR), 1);
    AWAIT(master_count(&master, TASK_FAILED), 2);
    assert_non_null(strstr(master_report(&master, "image", TASK_ERROR)->message, "images are not supported"));
    assert_non_null(strstr(master_report(&master, "file", TASK_FAILED)->message, "No such file"));
    assert_non_null(strstr(master_report(&master, "uri", TASK_FAILED)->message, "cannot fetch /no/such/uri"));
    assert_null(master_report(&master, "file", TASK_RUNNING));
    if (geteuid() == 0) {
        master_launch_json(&master, "user", 4, "\"command\":{\"value\":\"id -un\"}", "nobody-of-that-name");
        AWAIT(master_count(&master, TASK_FAILED), 3);
        assert_non_null(strstr(master_report(&master, "user", TASK_FAILED)->message, "not known on this agent"));
        master_launch_json(&master, "other", 5, "\"command\":{\"value\":\"test $(id -un) = nobody && touch mine\"}",
                           "nobody");
        AWAIT(master_count(&master, TASK_FINISHED), 1);
    }
}

static void a_task_whose_shim_is_killed_fails_and_is_not_started_again(void **state) {
    (void)state;
    master_launch(&master, "t0", 1, ledger_command("60"));
    AWAIT(lines(file_text("ledger")), 1);
    AWAIT(master_count(&master, TASK_RUNNING), 1);
    char stat_name[64], stat_text[512];
    pid_t pid = (pid_t)master_report(&master, "t0", TASK_RUNNING)->pid, shim = 0;
    (void)snprintf(stat_name, sizeof stat_name, "/proc/%d/stat", (int)pid);
    int fd = open(stat_name, O_RDONLY);
    ssize_t n = read(fd, stat_text, sizeof stat_text - 1);
    (void)close(fd);
    stat_text[n > 0 ? n : 0] = '\0';
    assert_int_equal(sscanf(strrchr(stat_text, ')') + 2, "%*c %d", &shim), 1);
    (void)kill(shim, SIGKILL);
    AWAIT(master_count(&master, TASK_FAILED), 1);
    master_launch(&master, "t0", 1, ledger_command("60"));
    loop_for(200);
    assert_int_equal(lines(file_text("ledger")), 1);
}

/* Ends agent and shim as a power cut would, with what is written so far left on disk. */
static void host_dies(const char *task_id) {
    char folder[256], path[320];
    int work = open(agent_work, O_RDONLY | O_DIRECTORY);
    (void)snprintf(folder, sizeof folder, "tasks/fw-1/%s/1.0.0", task_id);
    (void)agent_end(agent, SIGKILL);
    pid_t shim = task_dir_shim(work, folder);
    assert_true(shim > 0);
    (void)kill(shim, SIGKILL);
    for (int i = 0; i < 500 && task_dir_shim(work, folder) > 0; i++)
        loop_for(10);
    (void)close(work);
    (void)snprintf(path, sizeof path, "%s/meta/boot", agent_work);
    int fd = open(path, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, "another-boot\n", 13), 13);
    (void)close(fd);
}

static void agent_again(void) {
    agent = agent_start(&master, NULL, NULL);
    AWAIT(agent_metric("registered"), 1);
}

static void a_reboot_loses_what_ran_and_starts_nothing_again(void **state) {
    (void)state;
    master_launch(&master, "t0", 1, ledger_command("60"));
    AWAIT(master_count(&master, TASK_RUNNING), 1);
    AWAIT(lines(file_text("ledger")), 1);
    host_dies("t0");
    agent_again();
    AWAIT(master_count(&master, TASK_LOST), 1);
    assert_string_equal(master_report(&master, "t0", TASK_LOST)->message, "The host was restarted");
    master_launch(&master, "t0", 1, ledger_command("0"));
    loop_for(200);
    assert_int_equal(lines(file_text("ledger")), 1);
}

static void a_folder_lost_with_the_power_is_known_from_the_journal(void **state) {
    (void)state;
    struct err err;
    master.acknowledges = false;
    master_launch(&master, "t0", 1, ledger_command("60"));
    AWAIT(lines(file_text("ledger")), 1);
    host_dies("t0");
    int work = open(agent_work, O_RDONLY | O_DIRECTORY);
    assert_int_equal(tree_remove(work, "tasks/fw-1", &err), 0);
    (void)close(work);
    agent_again();
    AWAIT(master_count(&master, TASK_LOST), 1);
    master_launch(&master, "t0", 1, ledger_command("0")); /* never confirmed, so a leader sends it again */
    AWAIT(master_report(&master, "t0", TASK_LOST)->times, 2);
    assert_int_equal(lines(file_text("ledger")), 1);
}

static void what_the_leaders_log_has_done_with_is_forgotten(void **state) {
    (void)state;
    master.acknowledges = false;
    master_launch(&master, "t0", 1, "true");
    AWAIT(master.report_n, 1);
    AWAIT(master.reports[0].latest_state, TASK_FINISHED);
    struct report all = master.reports[0];
    memset(all.uuid, 0, sizeof all.uuid);
    master_ack(&master, &all);
    loop_for(100);
    agent_restart();
    assert_int_equal(master.busy, 0);
    assert_int_equal(agent_metric("tasks"), 0);
    assert_int_equal(agent_metric("sandboxes_kept"), 1);
}

static void a_leader_with_a_lower_fence_is_not_obeyed(void **state) {
    (void)state;
    master_open(&other, 4);
    master_cut(&master);
    master.leads = false;
    (void)agent_end(agent, SIGKILL);
    agent = agent_start(&other, NULL, NULL);
    AWAIT(other.welcomes, 2); /* it comes, hears the old term, and goes */
    assert_null(master_report(&other, "x", TASK_RUNNING));
    if (other.agent) master_launch(&other, "t0", 1, ledger_command("0"));
    AWAIT(agent_metric("fence_refused_total"), 2);
    assert_int_equal(agent_metric("registered"), 0);
    assert_int_equal(lines(file_text("ledger")), 0);
    other.term = 6;
    AWAIT(agent_metric("registered"), 1);
    struct fence fence = {0};
    assert_int_equal(fence_decode((const uint8_t *)file_text("meta/fence"), FENCE_BYTES, &fence, NULL), 0);
    assert_int_equal(fence.term, 6);
    other.term = 5; /* an order that carries a lower fence than the welcome's */
    master_launch(&other, "t0", 1, ledger_command("0"));
    loop_for(200);
    assert_int_equal(lines(file_text("ledger")), 0);
    (void)agent_end(agent, SIGTERM);
    agent = 0;
    master_close(&other);
}

static void another_cluster_is_not_obeyed(void **state) {
    (void)state;
    master_open(&other, 99);
    other.cluster = 8;
    (void)agent_end(agent, SIGKILL);
    agent = agent_start(&other, NULL, NULL);
    AWAIT(other.welcomes, 2);
    AWAIT(agent_metric("stranger_refused_total"), 2);
    assert_int_equal(agent_metric("registered"), 0);
    (void)agent_end(agent, SIGTERM);
    agent = 0;
    master_close(&other);
}

static void a_new_leader_told_on_the_warm_link_is_taken_at_once(void **state) {
    (void)state;
    char masters[64];
    master_open(&other, 5);
    other.leads = false;
    (void)snprintf(other.leader, sizeof other.leader, "127.0.0.1:%u", master.port);
    (void)snprintf(masters, sizeof masters, "127.0.0.1:%u,127.0.0.1:%u", master.port, other.port);
    (void)agent_end(agent, SIGKILL);
    agent = agent_start(NULL, masters, NULL);
    AWAIT(master.welcomes, 2);
    AWAIT(other.watch_hellos, 1);
    master_launch(&master, "a", 1, "sleep 60");
    AWAIT(master_count(&master, TASK_RUNNING), 1);
    master.leads = false; /* paused: its link stays open and silent */
    other.leads = true;
    other.term = 6;
    (void)snprintf(other.leader, sizeof other.leader, "127.0.0.1:%u", other.port);
    uint64_t before = uv_hrtime();
    master_tell_leader(&other);
    AWAIT(other.welcomes, 1);
    uint64_t ms = (uv_hrtime() - before) / 1000000u;
    assert_true(ms < 200);
    assert_int_equal(other.busy, 0);
    assert_true(other.has_digest);
    struct hash128 want = task_digest("fw-1", "a", (struct launch_id){1, 0, 0}, TASK_RUNNING);
    assert_memory_equal(other.digest, &want, 16);
    master_kill(&other, "a", 1, 100);
    AWAIT(master_count(&other, TASK_KILLED), 1);
    (void)agent_end(agent, SIGTERM);
    agent = 0;
    master_close(&other);
}

static void a_master_that_becomes_leader_gets_another_hello_on_the_same_link(void **state) {
    (void)state;
    (void)agent_end(agent, SIGKILL);
    master.leads = false;
    agent = agent_start(&master, NULL, NULL);
    unsigned hellos = master.hellos, welcomes = master.welcomes;
    AWAIT(master.hellos, hellos + 1);
    master.leads = true;
    master.term++;
    (void)snprintf(master.leader, sizeof master.leader, "127.0.0.1:%u", master.port);
    uint64_t before = uv_hrtime();
    master_tell_leader(&master);
    AWAIT(master.welcomes, welcomes + 1);
    assert_true((uv_hrtime() - before) / 1000000u < 200);
}

static void a_leader_that_dies_is_left_at_once_and_tasks_go_on(void **state) {
    (void)state;
    char masters[64];
    master_open(&other, 6);
    (void)snprintf(masters, sizeof masters, "127.0.0.1:%u,127.0.0.1:%u", master.port, other.port);
    other.leads = false;
    (void)snprintf(other.leader, sizeof other.leader, "%s", "");
    (void)agent_end(agent, SIGKILL);
    master.term = 7;
    agent = agent_start(NULL, masters, NULL);
    AWAIT(master.welcomes, 2);
    AWAIT(other.watch_hellos, 1);
    master_launch(&master, "a", 1, "sleep 60");
    AWAIT(master_count(&master, TASK_RUNNING), 1);
    other.leads = true;
    other.term = 8;
    master.leads = false;
    uint64_t before = uv_hrtime();
    master_cut(&master);
    AWAIT(other.welcomes, 1);
    assert_true((uv_hrtime() - before) / 1000000u < 500);
    assert_int_equal(kill((pid_t)master_report(&master, "a", TASK_RUNNING)->pid, 0), 0);
    master_kill(&other, "a", 1, 0);
    AWAIT(master_count(&other, TASK_KILLED), 1);
    (void)agent_end(agent, SIGTERM);
    agent = 0;
    master_close(&other);
}

static void a_silent_leader_is_left_after_five_pings(void **state) {
    (void)state;
    (void)agent_end(agent, SIGKILL);
    master.ping_ms = 50;
    master.mute = true;
    agent = agent_start(&master, NULL, NULL);
    AWAIT(master.welcomes, 3); /* welcomed, left, welcomed again */
}

static void the_whole_list_is_told_when_it_is_wanted(void **state) {
    (void)state;
    for (unsigned i = 0; i < 5; i++)
        launch_n(i, "sleep 60");
    AWAIT(master_count(&master, TASK_RUNNING), 5);
    master_want_list(&master);
    AWAIT(master.task_lists, 1);
    assert_int_equal(master.listed, 5);
    for (unsigned i = 0; i < 5; i++) {
        char id[32];
        (void)snprintf(id, sizeof id, "t%u", i);
        master_kill(&master, id, 100 + i, 0);
    }
    AWAIT(master_count(&master, TASK_KILLED), 5);
}

static void expect_get(const char *path, int status, const char *part) {
    static char body[1u << 17];
    char target[1024];
    (void)snprintf(target, sizeof target, "/files/read?offset=0&path=%s", path);
    int got = agent_http(target, body, sizeof body);
    if (got != status || (part && !strstr(body, part))) fail_msg("%s: %d %.200s", target, got, body);
    if (strstr(body, "root:x:0:0")) fail_msg("%s leaks: %.200s", target, body);
}

#define V "/frameworks/fw-1/executors/a/runs/latest"

/* A task whose sandbox holds everything that could lead out of it; returns when all is there. */
static void hostile_sandbox_make(void) {
    char body[4096];
    int status = 0;
    master_launch(&master, "a", 1,
                  "echo hello; ln -s /etc/passwd link; ln -s /etc dir; ln -s ../../../../../../../../etc/passwd up; "
                  "mkfifo pipe; mkdir sub; echo deep > sub/f; ln -s sub/f inside; ln -s loop loop; "
                  "ln -s /proc/self/root/etc/passwd magic; printf 'a\\\\377b' > bin; echo x > ready; sleep 60");
    AWAIT(master_count(&master, TASK_RUNNING), 1);
    for (int i = 0; i < 500 && status != 200; i++) {
        loop_for(20);
        status = agent_http("/files/read?path=" V "/ready", body, sizeof body);
    }
    assert_int_equal(status, 200);
    loop_for(50);
}

static void hostile_sandbox_end(void) {
    master_kill(&master, "a", 1, 0);
    AWAIT(master_count(&master, TASK_KILLED), 1);
}

static void output_is_read_over_http_and_nothing_else_is(void **state) {
    (void)state;
    static const char *const refused[] = {"/link",
                                          "/up",
                                          "/dir/passwd",
                                          "/magic",
                                          "/loop",
                                          "/pipe",
                                          "/../../../../../../../etc/passwd",
                                          "/%2e%2e/launch",
                                          "/../launch",
                                          "/sub/../../launch",
                                          "/../../../../../meta/fence"};
    static const char *const absent[] = {"/etc/passwd",
                                         "etc/passwd",
                                         "/frameworks/../executors/a/runs/latest/x",
                                         "/frameworks/fw-1/executors/../runs/latest",
                                         "/",
                                         "%00",
                                         "/frameworks/fw-1/executors/a/runs/latest/a%00b"};
    char path[512], body[4096];
    hostile_sandbox_make();
    expect_get(V "/stdout", 200, "\"data\":\"hello\\n\",\"offset\":0,\"next\":6");
    expect_get(V "/sub/f", 200, "deep");
    expect_get(V "/inside", 200, "deep");
    expect_get(V "/sub/../stdout", 200, "hello");
    expect_get(V "/bin", 200, "\"next\":3");
    expect_get(V "/nope", 404, NULL);
    expect_get(V "/sub", 400, NULL);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        (void)snprintf(path, sizeof path, V "%s", refused[i]);
        expect_get(path, 403, NULL);
    }
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++) {
        (void)snprintf(path, sizeof path, "/files/read?offset=0&path=%s", absent[i]);
        int status = agent_http(path, body, sizeof body);
        assert_true(status == 404 || status == 400);
    }
    (void)snprintf(path, sizeof path, "%s/tasks/fw-1/a/1.0.0/sandbox/stdout", agent_work);
    expect_get(path, 200, "hello");
    (void)snprintf(path, sizeof path, "%s/tasks/fw-1/a/1.0.0/sandbox/../launch", agent_work);
    expect_get(path, 403, NULL);
    (void)snprintf(path, sizeof path, "%s/tasks/../meta/fence", agent_work);
    expect_get(path, 404, NULL);
    hostile_sandbox_end();
    loop_for(50);
    expect_get(V "/stdout", 200, "hello"); /* kept behind the task's end */
    agent_restart();
    expect_get(V "/stdout", 200, "hello");
}

static void files_answer_offsets_listings_and_downloads_as_documented(void **state) {
    (void)state;
    static const struct {
        const char *target;
        int status;
        const char *part;
    } cases[] = {
        {"/files/read?path=" V "/stdout", 200, "\"data\":\"\",\"offset\":6"},
        {"/files/read?offset=-2&path=" V "/stdout", 400, NULL},
        {"/files/read?offset=99999999999999999999&path=" V "/stdout", 400, NULL},
        {"/files/read?offset=9223372036854775807&path=" V "/stdout", 200, "\"data\":\"\""},
        {"/files/read?offset=2&length=2&path=" V "/stdout", 200, "\"data\":\"ll\""},
        {"/files/read", 400, NULL},
        {"/files/browse?path=" V, 200, "\"path\":\"" V "/stdout\""},
        {"/files/browse?path=" V "/dir", 403, NULL},
        {"/files/download?path=" V "/stdout", 200, "hello\n"},
        {"/files/download?offset=4&path=" V "/stdout", 200, "o\n"},
        {"/files/download?offset=6&path=" V "/stdout", 200, NULL},
        {"/files/download?offset=-1&path=" V "/stdout", 400, NULL},
        {"/files/download?path=" V "/link", 403, NULL},
        {"/files/download?path=" V "/nope", 404, NULL},
        {"/state", 200, "\"id\":\"test-1-S1\""},
        {"/version", 200, "\"conclave_version\""},
        {"/health", 200, NULL},
        {"/nope", 404, NULL},
    };
    char body[65536];
    hostile_sandbox_make();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int status = agent_http(cases[i].target, body, sizeof body);
        if (status != cases[i].status || (cases[i].part && !strstr(body, cases[i].part)))
            fail_msg("%s: %d %.200s", cases[i].target, status, body);
    }
    hostile_sandbox_end();
}

static void wrong_flags_and_a_folder_in_use_change_nothing(void **state) {
    (void)state;
    assert_int_equal(agent_wait(agent_start(&master, NULL, "--no-such-flag")), 64);
    assert_int_equal(agent_wait(agent_start(&master, "not an address", NULL)), 64);
    assert_int_equal(agent_wait(agent_start(&master, NULL, "--resources=cpus:x")), 64);
    assert_int_equal(agent_wait(agent_start(&master, NULL, "--attributes=a")), 64);
    assert_int_equal(agent_wait(agent_start(&master, NULL, "--cluster-id=zz")), 64);
    assert_int_equal(agent_wait(agent_start(&master, NULL, NULL)), 1); /* the folder is in use */
    assert_int_equal(agent_metric("registered"), 1);
}

static void a_terminated_agent_leaves_its_tasks_running(void **state) {
    (void)state;
    master_launch(&master, "a", 1, "sleep 60");
    AWAIT(master_count(&master, TASK_RUNNING), 1);
    int status = agent_end(agent, SIGTERM);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(kill((pid_t)master_report(&master, "a", TASK_RUNNING)->pid, 0), 0);
    agent = agent_start(&master, NULL, NULL);
    AWAIT(master.welcomes, 2);
    assert_int_equal(agent_metric("tasks_adopted_total"), 1);
    master_kill(&master, "a", 1, 0);
    AWAIT(master_count(&master, TASK_KILLED), 1);
}

static void starting_a_task_takes_milliseconds(void **state) {
    (void)state;
    uint64_t before = uv_hrtime();
    for (unsigned i = 0; i < 200; i++)
        launch_n(i, "true");
    AWAIT(master_count(&master, TASK_FINISHED), 200);
    uint64_t all_ms = (uv_hrtime() - before) / 1000000u;
    uint64_t worst = 0, sum = 0;
    for (unsigned i = 200; i < 250; i++) {
        uint64_t begin = uv_hrtime();
        size_t running = master_count(&master, TASK_RUNNING);
        launch_n(i, "true");
        AWAIT(master_count(&master, TASK_RUNNING), running + 1);
        uint64_t us = (uv_hrtime() - begin) / 1000u;
        sum += us;
        if (us > worst) worst = us;
        AWAIT(master_count(&master, TASK_FINISHED), i + 1);
    }
    print_message(
        "200 tasks at once: %llu ms; one at a time, order to report: mean %llu us, worst %llu us; syncs %llu\n",
        (unsigned long long)all_ms, (unsigned long long)(sum / 50), (unsigned long long)worst,
        (unsigned long long)agent_metric("journal_syncs_total"));
    assert_true(all_ms < 15000); /* a bound for broken, not an aim: this machine may be busy */
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(int argc, char **argv) {
    (void)uv_loop_init(&test_loop);
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        T(fifty_tasks_finish_and_each_started_once_though_the_agent_is_killed_twice),
        T(a_task_that_ends_while_its_agent_is_dead_is_reported_by_the_next),
        T(updates_are_sent_again_to_a_new_leader_until_acknowledged),
        T(a_launch_that_is_known_is_answered_and_not_started_again),
        T(a_kill_ends_the_tree_after_its_grace),
        T(a_kill_that_was_under_way_is_finished_by_the_next_agent),
        T(a_kill_that_comes_first_keeps_the_launch_from_starting),
        T(a_run_over_its_completion_time_fails),
        T(what_cannot_be_run_fails_with_its_reason),
        T(a_task_whose_shim_is_killed_fails_and_is_not_started_again),
        T(a_reboot_loses_what_ran_and_starts_nothing_again),
        T(a_folder_lost_with_the_power_is_known_from_the_journal),
        T(what_the_leaders_log_has_done_with_is_forgotten),
        T(a_leader_with_a_lower_fence_is_not_obeyed),
        T(another_cluster_is_not_obeyed),
        T(a_new_leader_told_on_the_warm_link_is_taken_at_once),
        T(a_master_that_becomes_leader_gets_another_hello_on_the_same_link),
        T(a_leader_that_dies_is_left_at_once_and_tasks_go_on),
        T(a_silent_leader_is_left_after_five_pings),
        T(the_whole_list_is_told_when_it_is_wanted),
        T(output_is_read_over_http_and_nothing_else_is),
        T(files_answer_offsets_listings_and_downloads_as_documented),
        T(wrong_flags_and_a_folder_in_use_change_nothing),
        T(a_terminated_agent_leaves_its_tasks_running),
        T(starting_a_task_takes_milliseconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
