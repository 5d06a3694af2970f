/* SPDX-License-Identifier: Apache-2.0
 * The stateless rules of calls, one by one: a message that is fine, and each way to spoil it. */
#include "../lib/cmocka_all.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "mesos/v1/scheduler.pb-c.h"
#include "scheduler/validate.h"
#include "wire/json.h"

static struct arena arena;

static int arena_setup(void **state) {
    (void)state;
    arena_init(&arena, 4u << 20);
    return 0;
}

static int arena_teardown(void **state) {
    (void)state;
    arena_done(&arena);
    return 0;
}

static void *message(const ProtobufCMessageDescriptor *type, const char *text) {
    ProtobufCMessage *m = NULL;
    struct err err = {0};
    if (json_parse(type, (const uint8_t *)text, strlen(text), &arena, &m, &err)) fail_msg("%s: %s", text, err.text);
    return m;
}

/* "" when the rule holds, else its text. */
static const char *call_said(const char *text) {
    static struct err err;
    err.text[0] = '\0';
    int rc = validate_call(message(&mesos__v1__scheduler__call__descriptor, text), &err);
    assert_true(rc == 0 || (rc == ERR_INVALID && err.text[0]));
    return rc ? err.text : "";
}

static const char *framework_said(const char *info, const char *more) {
    static struct err err;
    char text[4096];
    err.text[0] = '\0';
    (void)snprintf(text, sizeof text, "{\"framework_info\":{\"user\":\"u\",\"name\":\"n\"%s}%s}", info, more);
    int rc = validate_framework(message(&mesos__v1__scheduler__call__subscribe__descriptor, text), &err);
    assert_true(rc == 0 || (rc == ERR_INVALID && err.text[0]));
    return rc ? err.text : "";
}

#define CPU "{\"name\":\"cpus\",\"type\":\"SCALAR\",\"scalar\":{\"value\":0.5}}"

/* A task with this id, these resources and whatever else. */
static const char *task_said(const char *id, const char *resources, const char *more) {
    static struct err err;
    char text[4096];
    struct resources r = {0};
    err.text[0] = '\0';
    (void)snprintf(
        text, sizeof text,
        "{\"name\":\"n\",\"task_id\":{\"value\":\"%s\"},\"agent_id\":{\"value\":\"A\"},\"resources\":[%s]%s}", id,
        resources, more);
    int rc = validate_task(message(&mesos__v1__task_info__descriptor, text), "A", &r, &err);
    assert_true(rc == 0 || err.text[0]);
    if (rc == 0) assert_false(resources_empty(&r));
    if (rc == 0) resources_done(&r);
    return rc ? err.text : "";
}

#define COMMAND ",\"command\":{\"value\":\"true\"}"

#define assert_fine(said)       assert_string_equal(said, "")
#define assert_said(said, what) assert_non_null(strstr(said, what))

static void ids_have_1_to_255_bytes_and_no_path(void **state) {
    (void)state;
    char longest[257];
    memset(longest, 'x', 256);
    longest[255] = '\0';
    assert_true(validate_id(longest));
    longest[255] = 'x';
    longest[256] = '\0';
    assert_false(validate_id(longest));
    static const char *const good[] = {"a", "a.b", "...", " ", "\xc3\xa9", "a:b"};
    static const char *const bad[] = {"", ".", "..", "a/b", "a\\b", "a\nb", "a\x7f", "\x01"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(validate_id(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(validate_id(bad[i]));
    assert_false(validate_id(NULL));
}

static void roles_are_a_star_or_a_path_of_names(void **state) {
    (void)state;
    static const char *const good[] = {"*", "a", "a/b", "a/b/c", "a-", "...", "a*b"};
    static const char *const bad[] = {"",     "/",   "a/", "/a",   "a//b", ".",    "..",  "a/.",
                                      "a/..", "a/*", "-a", "a/-b", "a b",  "a\tb", "a\\b"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(validate_role(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(validate_role(bad[i]));
    char longer[300];
    memset(longer, 'r', 256);
    longer[256] = '\0';
    assert_false(validate_role(longer));
}

static void a_call_needs_its_type_its_body_and_a_framework(void **state) {
    (void)state;
    static const char *const types[] = {"accept",
                                        "decline",
                                        "kill",
                                        "shutdown",
                                        "acknowledge",
                                        "reconcile",
                                        "message",
                                        "request",
                                        "accept_inverse_offers",
                                        "decline_inverse_offers"};
    assert_said(call_said("{}"), "'type'");
    assert_said(call_said("{\"type\":\"SUBSCRIBE\"}"), "'subscribe'");
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        char text[128], upper[32] = "", wanted[64];
        for (size_t k = 0; types[i][k]; k++)
            upper[k] = (char)(types[i][k] == '_' ? '_' : types[i][k] - 32);
        (void)snprintf(text, sizeof text, "{\"type\":\"%s\",\"framework_id\":{\"value\":\"f\"}}", upper);
        (void)snprintf(wanted, sizeof wanted, "'%s'", types[i]);
        assert_said(call_said(text), wanted);
    }
    assert_said(call_said("{\"type\":\"TEARDOWN\"}"), "'framework_id'");
    assert_fine(call_said("{\"type\":\"TEARDOWN\",\"framework_id\":{\"value\":\"f\"}}"));
    assert_fine(call_said("{\"type\":\"REVIVE\",\"framework_id\":{\"value\":\"f\"}}"));
    assert_fine(call_said("{\"type\":\"RECONCILE\",\"framework_id\":{\"value\":\"f\"},\"reconcile\":{}}"));
}

static void subscribe_names_one_framework_id(void **state) {
    (void)state;
#define SUBSCRIBE(outer, inner)                                                                                        \
    "{\"type\":\"SUBSCRIBE\"" outer ",\"subscribe\":{\"framework_info\":{\"user\":\"u\",\"name\":\"n\"" inner "}}}"
    assert_fine(call_said(SUBSCRIBE("", "")));
    assert_fine(call_said(SUBSCRIBE("", ",\"id\":{\"value\":\"\"}")));
    assert_fine(call_said(SUBSCRIBE(",\"framework_id\":{\"value\":\"a\"}", ",\"id\":{\"value\":\"a\"}")));
    assert_said(call_said(SUBSCRIBE(",\"framework_id\":{\"value\":\"a\"}", ",\"id\":{\"value\":\"b\"}")), "differs");
    assert_said(call_said(SUBSCRIBE("", ",\"id\":{\"value\":\"b\"}")), "must be set");
}

static void accept_needs_an_offer_kill_an_id_acknowledge_16_bytes(void **state) {
    (void)state;
#define F "\"framework_id\":{\"value\":\"f\"}"
    assert_said(call_said("{\"type\":\"ACCEPT\"," F ",\"accept\":{}}"), "offer id");
    assert_fine(call_said("{\"type\":\"ACCEPT\"," F ",\"accept\":{\"offer_ids\":[{\"value\":\"o\"}]}}"));
    assert_said(call_said("{\"type\":\"KILL\"," F ",\"kill\":{\"task_id\":{\"value\":\"a/b\"}}}"), "kill.task_id");
    assert_fine(call_said("{\"type\":\"KILL\"," F ",\"kill\":{\"task_id\":{\"value\":\"a\"}}}"));
#define ACK(uuid)                                                                                                      \
    "{\"type\":\"ACKNOWLEDGE\"," F ",\"acknowledge\":{\"agent_id\":{\"value\":\"a\"},\"task_id\":{\"value\":\"t\"},"   \
    "\"uuid\":\"" uuid "\"}}"
    assert_said(call_said(ACK("")), "uuid");
    assert_said(call_said(ACK("AAAAAAAAAAAAAAAAAAAA")), "16 bytes"); /* 15 */
    assert_fine(call_said(ACK("AAAAAAAAAAAAAAAAAAAAAA==")));
}

static void a_framework_has_a_sound_timeout_and_bounded_texts(void **state) {
    (void)state;
    char name[1200] = ",\"principal\":\"p\",\"name\":\"";
    assert_fine(framework_said("", ""));
    assert_fine(framework_said(",\"failover_timeout\":9223372036", ""));
    assert_said(framework_said(",\"failover_timeout\":-0.001", ""), "failover_timeout");
    assert_said(framework_said(",\"failover_timeout\":\"Infinity\"", ""), "failover_timeout");
    assert_said(framework_said(",\"failover_timeout\":1e300", ""), "failover_timeout");
    assert_said(framework_said(",\"id\":{\"value\":\"a/b\"}", ""), "id");
    size_t n = strlen(name);
    memset(name + n, 'n', 1025);
    memcpy(name + n + 1025, "\"", 2);
    assert_said(framework_said(name, ""), "too long");
    Mesos__V1__FrameworkInfo info = MESOS__V1__FRAMEWORK_INFO__INIT;
    assert_int_equal(validate_failover_ms(&info), 0);
    info.has_failover_timeout = 1;
    info.failover_timeout = 1.5;
    assert_int_equal(validate_failover_ms(&info), 1500);
}

static void roles_and_suppressed_roles_agree_with_multi_role(void **state) {
    (void)state;
#define MULTI ",\"capabilities\":[{\"type\":\"MULTI_ROLE\"}]"
    assert_fine(framework_said(",\"role\":\"a/b\"", ""));
    assert_fine(framework_said(",\"role\":\"\"", ""));
    assert_said(framework_said(",\"role\":\"a//b\"", ""), "invalid");
    assert_said(framework_said(",\"roles\":[\"a\"]", ""), "MULTI_ROLE");
    assert_said(framework_said(MULTI ",\"role\":\"a\"", ""), "MULTI_ROLE");
    assert_fine(framework_said(MULTI ",\"role\":\"*\"", ""));
    assert_fine(framework_said(MULTI ",\"roles\":[\"a\",\"b\"]", ",\"suppressed_roles\":[\"b\"]"));
    assert_said(framework_said(MULTI ",\"roles\":[\"a\",\"a\"]", ""), "twice");
    assert_said(framework_said(MULTI ",\"roles\":[\"..\"]", ""), "invalid");
    assert_said(framework_said(MULTI ",\"roles\":[\"a\"]", ",\"suppressed_roles\":[\"b\"]"), "suppressed");
    assert_fine(framework_said(",\"role\":\"a\"", ",\"suppressed_roles\":[\"a\"]"));
    assert_said(framework_said(",\"role\":\"a\"", ",\"suppressed_roles\":[\"*\"]"), "suppressed");
    assert_fine(framework_said("", ",\"suppressed_roles\":[\"*\"]"));
    char many[1024] = MULTI ",\"roles\":[\"r0\"";
    for (int i = 1; i <= 32; i++) {
        size_t n = strlen(many);
        (void)snprintf(many + n, sizeof many - n, ",\"r%d\"", i);
    }
    memcpy(many + strlen(many), "]", 2);
    assert_said(framework_said(many, ""), "more than");
}

static void a_task_has_an_id_its_agent_and_one_workload(void **state) {
    (void)state;
    struct resources r;
    struct err err;
    assert_fine(task_said("t", CPU, COMMAND));
    assert_said(task_said("a/b", CPU, COMMAND), "id");
    assert_said(task_said("", CPU, COMMAND), "id");
    assert_said(task_said("t", CPU, ""), "neither");
    assert_said(task_said("t", CPU, COMMAND ",\"executor\":{\"executor_id\":{\"value\":\"e\"}}"), "both");
    assert_said(task_said("t", CPU, ",\"executor\":{\"executor_id\":{\"value\":\"e\"}}"), "executors");
    assert_said(task_said("t", CPU, COMMAND ",\"container\":{\"type\":\"DOCKER\",\"docker\":{\"image\":\"i\"}}"),
                "images");
    assert_said(
        task_said("t", CPU, COMMAND ",\"container\":{\"type\":\"MESOS\",\"mesos\":{\"image\":{\"type\":\"DOCKER\"}}}"),
        "images");
    assert_fine(task_said("t", CPU, COMMAND ",\"container\":{\"type\":\"MESOS\"}"));
    assert_said(task_said("t", CPU, ",\"command\":{}"), "value");
    assert_said(task_said("t", CPU, ",\"command\":{\"shell\":false}"), "arguments");
    assert_fine(task_said("t", CPU, ",\"command\":{\"shell\":false,\"arguments\":[\"ls\"]}"));
    assert_said(
        task_said("t", CPU, ",\"command\":{\"value\":\"x\",\"environment\":{\"variables\":[{\"name\":\"V\"}]}}"),
        "'V'");
    Mesos__V1__TaskInfo *t = message(&mesos__v1__task_info__descriptor,
                                     "{\"name\":\"n\",\"task_id\":{\"value\":\"t\"},\"agent_id\":{\"value\":\"A\"},"
                                     "\"resources\":[" CPU "]" COMMAND "}");
    assert_int_equal(validate_task(t, "B", &r, &err), ERR_INVALID);
    assert_said(err.text, "invalid agent A");
    assert_int_equal(validate_task(t, NULL, &r, &err), 0); /* offers are not valid: no agent is expected */
    assert_int_equal(r.cpus, 500);
    resources_done(&r);
}

static void a_task_uses_something_that_can_be_counted(void **state) {
    (void)state;
#define MEM(value) CPU ",{\"name\":\"mem\",\"type\":\"SCALAR\",\"scalar\":{\"value\":" value "}}"
    assert_said(task_said("t", "", COMMAND), "no resources");
    assert_said(task_said("t", "{\"name\":\"cpus\",\"type\":\"SCALAR\",\"scalar\":{\"value\":0}}", COMMAND),
                "no resources");
    assert_fine(task_said("t", MEM("0"), COMMAND));
    assert_said(task_said("t", MEM("-1"), COMMAND), "resources");
    assert_said(task_said("t", MEM("1e308"), COMMAND), "resources");
    Mesos__V1__TaskInfo *t = message(&mesos__v1__task_info__descriptor,
                                     "{\"name\":\"n\",\"task_id\":{\"value\":\"t\"},\"agent_id\":{\"value\":\"A\"},"
                                     "\"resources\":[" CPU "]" COMMAND "}");
    struct resources r;
    struct err err;
    t->resources[0]->scalar->value = NAN; /* protobuf can say it */
    assert_int_equal(validate_task(t, "A", &r, &err), ERR_INVALID);
    assert_said(task_said("t", MEM("\"Infinity\""), COMMAND), "resources");
    assert_fine(task_said("t", CPU ",{\"name\":\"gpus\",\"type\":\"SCALAR\",\"scalar\":{\"value\":0}}", COMMAND));
}

static void times_and_health_checks_of_a_task_are_sound(void **state) {
    (void)state;
    assert_said(task_said("t", CPU, COMMAND ",\"kill_policy\":{\"grace_period\":{\"nanoseconds\":-1}}"),
                "grace_period");
    assert_fine(task_said("t", CPU, COMMAND ",\"kill_policy\":{\"grace_period\":{\"nanoseconds\":0}}"));
    assert_said(task_said("t", CPU, COMMAND ",\"max_completion_time\":{\"nanoseconds\":-1}"), "max_completion_time");
#define HEALTH(body) COMMAND ",\"health_check\":{" body "}"
    assert_said(task_said("t", CPU, HEALTH("")), "no type");
    assert_said(task_said("t", CPU, HEALTH("\"type\":\"HTTP\",\"http\":{\"port\":1},\"delay_seconds\":-1")),
                "negative");
    assert_said(task_said("t", CPU, HEALTH("\"type\":\"HTTP\",\"http\":{\"port\":1,\"path\":\"x\"}")), "path");
    assert_said(task_said("t", CPU, HEALTH("\"type\":\"HTTP\",\"http\":{\"port\":1,\"scheme\":\"ftp\"}")), "scheme");
    assert_fine(task_said("t", CPU, HEALTH("\"http\":{\"port\":1,\"path\":\"/x\",\"scheme\":\"https\"}")));
}

static void a_refusal_is_5_seconds_unless_told_and_a_year_at_most(void **state) {
    (void)state;
    Mesos__V1__Filters f = MESOS__V1__FILTERS__INIT;
    assert_int_equal(validate_refuse_ms(NULL), 5000);
    assert_int_equal(validate_refuse_ms(&f), 5000);
    f.has_refuse_seconds = 1;
    const struct {
        double seconds;
        uint64_t ms;
    } cases[] = {{0, 0},
                 {0.25, 250},
                 {-1, 5000},
                 {NAN, 5000},
                 {-INFINITY, 5000},
                 {INFINITY, VALIDATE_REFUSE_MS_MAX},
                 {1e308, VALIDATE_REFUSE_MS_MAX},
                 {3600, 3600000},
                 {365.0 * 86400, VALIDATE_REFUSE_MS_MAX}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        f.refuse_seconds = cases[i].seconds;
        assert_int_equal(validate_refuse_ms(&f), cases[i].ms);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, arena_setup, arena_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(ids_have_1_to_255_bytes_and_no_path),
        TEST(roles_are_a_star_or_a_path_of_names),
        TEST(a_call_needs_its_type_its_body_and_a_framework),
        TEST(subscribe_names_one_framework_id),
        TEST(accept_needs_an_offer_kill_an_id_acknowledge_16_bytes),
        TEST(a_framework_has_a_sound_timeout_and_bounded_texts),
        TEST(roles_and_suppressed_roles_agree_with_multi_role),
        TEST(a_task_has_an_id_its_agent_and_one_workload),
        TEST(a_task_uses_something_that_can_be_counted),
        TEST(times_and_health_checks_of_a_task_are_sound),
        TEST(a_refusal_is_5_seconds_unless_told_and_a_year_at_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
