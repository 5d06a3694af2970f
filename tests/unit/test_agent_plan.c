/* SPDX-License-Identifier: Apache-2.0
 * From a TaskInfo to what the shim runs, and the TaskStatus that comes back. */
#include "../lib/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "agent/plan.h"
#include "agent/status.h"
#include "wire/json.h"
#include "wire/protobuf.h"

static struct arena arena;
static struct spec spec;
static struct workload_outcome refusal;

static int plan(const char *json) {
    ProtobufCMessage *message;
    struct err err = {0};
    arena_done(&arena);
    memset(&spec, 0, sizeof spec);
    memset(&refusal, 0, sizeof refusal);
    if (json_parse(&mesos__v1__task_info__descriptor, (const uint8_t *)json, strlen(json), &arena, &message, &err))
        fail_msg("%s", err.text);
    const struct launch_key key = {"fw-1", "t-1", {5, 0, 2}};
    const struct resources resources = {.cpus = 1500, .mem = 64000};
    const struct plan_host host = {
        .agent_id = "S1", .endpoint = "127.0.0.1:5051", .sandbox = "/w/sandbox", .container_id = "c"};
    return plan_make((Mesos__V1__TaskInfo *)message, &key, &resources, &host, &arena, &spec, &refusal);
}

#define TASK(rest) "{\"name\":\"n\",\"task_id\":{\"value\":\"t-1\"},\"agent_id\":{\"value\":\"S1\"}," rest "}"

static const char *env(const char *name) {
    for (size_t i = 0; i < spec.env_n; i++)
        if (strncmp(spec.env[i], name, strlen(name)) == 0 && spec.env[i][strlen(name)] == '=')
            return spec.env[i] + strlen(name) + 1;
    return NULL;
}

static void a_shell_command_runs_under_sh_with_the_mesos_environment(void **state) {
    (void)state;
    assert_int_equal(plan(TASK("\"command\":{\"value\":\"echo $A\",\"environment\":{\"variables\":["
                               "{\"name\":\"A\",\"value\":\"1\"},{\"name\":\"PATH\",\"value\":\"/x\"}]}}")),
                     0);
    assert_string_equal(spec.file, "/bin/sh");
    assert_string_equal(spec.args[2], "echo $A");
    assert_string_equal(env("A"), "1");
    assert_string_equal(env("PATH"), "/x");
    assert_string_equal(env("MESOS_EXECUTOR_ID"), "t-1");
    assert_string_equal(env("MESOS_SANDBOX"), "/w/sandbox");
    assert_int_equal(spec.mem_bytes, (64u + 32u) << 20);
    assert_int_equal(spec.cpu_shares, 1600u * 1024u / 1000u);
}

static void a_plain_command_runs_its_own_argv(void **state) {
    (void)state;
    assert_int_equal(
        plan(TASK("\"command\":{\"shell\":false,\"value\":\"/bin/echo\",\"arguments\":[\"echo\",\"x y\"]}")), 0);
    assert_string_equal(spec.file, "/bin/echo");
    assert_int_equal(spec.arg_n, 2);
    assert_string_equal(spec.args[1], "x y");
    assert_int_equal(plan(TASK("\"command\":{\"shell\":false,\"value\":\"ls\"}")), 0);
    assert_string_equal(spec.args[0], "ls");
}

static void what_cannot_be_run_is_refused_with_a_reason(void **state) {
    (void)state;
    static const struct {
        const char *json;
        uint32_t state;
    } cases[] = {
        {TASK("\"command\":{\"value\":\"x\"},\"container\":{\"type\":\"DOCKER\",\"docker\":{\"image\":\"i\"}}"),
         TASK_ERROR},
        {TASK("\"executor\":{\"executor_id\":{\"value\":\"e\"},\"command\":{\"value\":\"x\"}}"), TASK_ERROR},
        {TASK("\"data\":\"\""), TASK_ERROR},
        {TASK("\"command\":{\"value\":\"\"}"), TASK_ERROR},
        {TASK("\"command\":{\"value\":\"x\",\"uris\":[{\"value\":\"http://h/x\"}]}"), TASK_FAILED},
        {TASK("\"command\":{\"value\":\"x\",\"uris\":[{\"value\":\"/a/b.tar.gz\"}]}"), TASK_FAILED},
        {TASK("\"command\":{\"value\":\"x\",\"uris\":[{\"value\":\"/a/b\",\"output_file\":\"../b\"}]}"), TASK_FAILED},
        {TASK("\"command\":{\"value\":\"x\",\"uris\":[{\"value\":\"/a/stdout\"}]}"), TASK_FAILED},
        {TASK("\"command\":{\"value\":\"x\",\"environment\":{\"variables\":[{\"name\":\"a=b\",\"value\":\"\"}]}}"),
         TASK_ERROR},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(plan(cases[i].json), ERR_INVALID);
        assert_int_equal(refusal.state, cases[i].state);
        assert_true(strlen(refusal.text) > 10);
    }
}

static void a_local_file_is_copied_and_an_executable_archive_too(void **state) {
    (void)state;
    assert_int_equal(plan(TASK("\"command\":{\"value\":\"x\",\"uris\":[{\"value\":\"file:///a/b\"},"
                               "{\"value\":\"/a/c.gz\",\"executable\":true,\"output_file\":\"d\"}]}")),
                     0);
    assert_int_equal(spec.uri_n, 2);
    assert_string_equal(spec.uris[0].source, "/a/b");
    assert_string_equal(spec.uris[0].name, "b");
    assert_string_equal(spec.uris[1].name, "d");
    assert_true(spec.uris[1].executable);
}

static void kill_policy_and_completion_time_are_read(void **state) {
    (void)state;
    Mesos__V1__TaskInfo task = MESOS__V1__TASK_INFO__INIT;
    assert_true(plan_grace_ms(&task) == UINT64_MAX);
    assert_int_equal(plan_completion_ms(&task), 0);
    Mesos__V1__DurationInfo d = MESOS__V1__DURATION_INFO__INIT;
    Mesos__V1__KillPolicy policy = MESOS__V1__KILL_POLICY__INIT;
    policy.grace_period = &d;
    task.kill_policy = &policy;
    task.max_completion_time = &d;
    d.nanoseconds = 1500000000;
    assert_int_equal(plan_grace_ms(&task), 1500);
    assert_int_equal(plan_completion_ms(&task), 1500);
    d.nanoseconds = -1;
    assert_int_equal(plan_grace_ms(&task), 0);
    assert_int_equal(plan_completion_ms(&task), 1);
}

static void a_status_has_what_clients_read(void **state) {
    (void)state;
    const struct launch_key key = {"fw-1", "t-1", {5, 0, 2}};
    const struct workload_update update = {TASK_FAILED, REASON_COMMAND_FAILED, "Command exited with status 3"};
    const uint8_t uuid[16] = "0123456789abcde";
    const struct status_facts facts = {.agent_id = "S1", .ip = "127.0.0.21", .wall_ms = 1500, .pid = 42};
    struct buf b;
    struct err err = {0};
    ProtobufCMessage *message;
    buf_init(&b, 65536);
    assert_int_equal(status_make(&key, &update, uuid, &facts, &b), 0);
    arena_done(&arena);
    assert_int_equal(protobuf_parse(&mesos__v1__task_status__descriptor, b.data, b.len, PROTOBUF_REFUSE_UNKNOWN, &arena,
                                    &message, &err),
                     0);
    const Mesos__V1__TaskStatus *s = (Mesos__V1__TaskStatus *)message;
    assert_int_equal(s->state, MESOS__V1__TASK_STATE__TASK_FAILED);
    assert_string_equal(s->executor_id->value, "t-1");
    assert_string_equal(s->container_status->network_infos[0]->ip_addresses[0]->ip_address, "127.0.0.21");
    assert_true(s->timestamp > 1.4 && s->timestamp < 1.6 && s->uuid.len == 16 && !s->has_healthy);
    assert_string_equal(s->message, update.text);
    assert_int_equal(strlen(s->container_status->container_id->value), 36);
    buf_done(&b);
}

int main(void) {
    arena_init(&arena, 1u << 20);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shell_command_runs_under_sh_with_the_mesos_environment),
        cmocka_unit_test(a_plain_command_runs_its_own_argv),
        cmocka_unit_test(what_cannot_be_run_is_refused_with_a_reason),
        cmocka_unit_test(a_local_file_is_copied_and_an_executable_archive_too),
        cmocka_unit_test(kill_policy_and_completion_time_are_read),
        cmocka_unit_test(a_status_has_what_clients_read),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    arena_done(&arena);
    return rc;
}
