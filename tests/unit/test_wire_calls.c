/* SPDX-License-Identifier: Apache-2.0
 * Scheduler calls as clients in the field send them, and what we make of them. Also prints the codec's speed. */
#include "../lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "mesos/v1/scheduler.pb-c.h"
#include "wire/json.h"
#include "wire/protobuf.h"
#include "wire/resources_mesos.h"

struct call {
    struct arena arena;
    Mesos__V1__Scheduler__Call *m;
};

static Mesos__V1__Scheduler__Call *call_read(struct call *c, const char *text) {
    struct err err;
    arena_init(&c->arena, 1 << 20);
    ProtobufCMessage *m;
    if (json_parse(&mesos__v1__scheduler__call__descriptor, (const uint8_t *)text, strlen(text), &c->arena, &m, &err))
        fail_msg("%s", err.text);
    c->m = (Mesos__V1__Scheduler__Call *)m;
    return c->m;
}

static void assert_prints(const ProtobufCMessage *m, const char *wanted) {
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_int_equal(json_print(m, 0, &b), 0);
    assert_int_equal(buf_append_byte(&b, 0), 0);
    assert_string_equal((char *)b.data, wanted);
    buf_done(&b);
}

static void subscribe_with_nulls_for_all_that_is_unset(void **state) {
    (void)state;
    struct call c;
    call_read(&c, "{\"framework_id\":null,\"type\":\"SUBSCRIBE\",\"subscribe\":{\"framework_info\":{\"user\":\"root\","
                  "\"name\":\"my-framework\",\"id\":null,\"failover_timeout\":604800,\"checkpoint\":true,\"role\":null,"
                  "\"hostname\":null,\"principal\":null,\"webui_url\":null,\"capabilities\":[],\"labels\":null},"
                  "\"force\":null},\"accept\":null,\"decline\":null,\"kill\":null,\"reconcile\":null}");
    assert_int_equal(c.m->type, MESOS__V1__SCHEDULER__CALL__TYPE__SUBSCRIBE);
    assert_null(c.m->framework_id);
    assert_null(c.m->accept);
    assert_null(c.m->subscribe->framework_info->id);
    assert_prints(&c.m->base, "{\"type\":\"SUBSCRIBE\",\"subscribe\":{\"framework_info\":{\"user\":\"root\","
                              "\"name\":\"my-framework\",\"failover_timeout\":604800,\"checkpoint\":true}}}");
    arena_done(&c.arena);
}

static void subscribe_pretty_printed_with_offer_constraints(void **state) {
    (void)state;
    struct call c;
    call_read(&c, "{\n  \"type\":  \"SUBSCRIBE\",\r\n\t\"subscribe\": {\n    \"framework_info\": {\n"
                  "      \"user\": \"root\", \"name\": \"compose\", \"failover_timeout\": 5000, \"checkpoint\": true,\n"
                  "      \"principal\": \"\", \"role\": \"web\", \"webui_url\": \"http:\\/\\/h:10000\",\n"
                  "      \"capabilities\": [ { \"type\": \"GPU_RESOURCES\" }, { \"type\": \"FROM_THE_FUTURE\" } ] },\n"
                  "    \"offer_constraints\": { \"role_constraints\": { \"web\": { \"groups\": [ {\n"
                  "      \"attribute_constraints\": [ { \"selector\": { \"pseudoattribute_type\": \"HOSTNAME\" },\n"
                  "        \"predicate\": { \"text_equals\": { \"value\": \"a1\" } } } ] } ] } } }\n  }\n}\n");
    Mesos__V1__FrameworkInfo *info = c.m->subscribe->framework_info;
    assert_string_equal(info->principal, "");
    assert_string_equal(info->role, "web");
    assert_string_equal(info->webui_url, "http://h:10000");
    assert_int_equal(info->n_capabilities, 2);
    assert_true(info->capabilities[0]->has_type);
    assert_false(info->capabilities[1]->has_type);
    assert_int_equal(c.m->subscribe->offer_constraints->n_role_constraints, 1);
    assert_string_equal(c.m->subscribe->offer_constraints->role_constraints[0]->key, "web");
    assert_prints(&c.m->base,
                  "{\"type\":\"SUBSCRIBE\",\"subscribe\":{\"framework_info\":{\"user\":\"root\",\"name\":\"compose\","
                  "\"failover_timeout\":5000,\"checkpoint\":true,\"role\":\"web\",\"principal\":\"\","
                  "\"webui_url\":\"http://h:10000\",\"capabilities\":[{\"type\":\"GPU_RESOURCES\"},{}]},"
                  "\"offer_constraints\":{\"role_constraints\":{\"web\":{\"groups\":[{\"attribute_constraints\":[{"
                  "\"selector\":{\"pseudoattribute_type\":\"HOSTNAME\"},\"predicate\":{\"text_equals\":{\"value\":"
                  "\"a1\"}}}]}]}}}}}");
    arena_done(&c.arena);
}

static const char accept_text[] =
    "{\"framework_id\":{\"value\":\"f-0000\"},\"type\":\"ACCEPT\",\"credentials\":{\"principal\":\"x\"},\"accept\":{"
    "\"offer_ids\":{\"value\":\"m-O1\"},\"operations\":[{\"type\":\"LAUNCH\",\"launch\":{\"task_infos\":[{"
    "\"name\":\"web\",\"task_id\":{\"value\":\"web.1\"},\"agent_id\":{\"value\":\"c-1-S0\"},"
    "\"slave_id\":{\"value\":\"c-1-S0\"},\"resources\":["
    "{\"name\":\"cpus\",\"type\":\"SCALAR\",\"scalar\":{\"value\":0.1},\"role\":null},"
    "{\"name\":\"mem\",\"type\":\"SCALAR\",\"scalar\":{\"value\":\"128\"}},"
    "{\"name\":\"gpus\",\"type\":\"SCALAR\",\"scalar\":{\"value\":0.0}},"
    "{\"name\":\"ports\",\"type\":\"RANGES\",\"ranges\":{\"range\":[{\"begin\":\"31000\",\"end\":\"31001\"}]},"
    "\"allocation_info\":{\"role\":\"web\"}}],"
    "\"command\":{\"shell\":\"true\",\"value\":\"sleep 1; echo \\\"\\u00e9\\\"\",\"environment\":{\"variables\":"
    "[{\"name\":\"A\",\"value\":\"b\"}]}},\"labels\":{\"labels\":[{\"key\":\"k\"}]},"
    "\"health_check\":{\"type\":\"COMMAND\",\"command\":{\"value\":\"true\"},\"statuses\":[200]}}]}}],"
    "\"filters\":{\"refuse_seconds\":5.0}}}";

static void accept_with_text_for_numbers_and_fields_we_do_not_know(void **state) {
    (void)state;
    struct call c;
    struct err err;
    struct resources r;
    call_read(&c, accept_text);
    assert_int_equal(c.m->accept->n_offer_ids, 1);
    Mesos__V1__TaskInfo *task = c.m->accept->operations[0]->launch->task_infos[0];
    assert_string_equal(task->command->value, "sleep 1; echo \"\xc3\xa9\"");
    assert_true(task->command->shell);
    if (resources_from_mesos(task->n_resources, task->resources, &r, &err)) fail_msg("%s", err.text);
    assert_int_equal(r.cpus, 100);
    assert_int_equal(r.mem, 128000);
    assert_int_equal(r.gpus, 0);
    assert_int_equal(ports_total(&r.ports), 2);
    resources_done(&r);
    assert_prints(
        &c.m->base,
        "{\"framework_id\":{\"value\":\"f-0000\"},\"type\":\"ACCEPT\",\"accept\":{\"offer_ids\":[{\"value\":\"m-O1\"}],"
        "\"operations\":[{\"type\":\"LAUNCH\",\"launch\":{\"task_infos\":[{\"name\":\"web\",\"task_id\":{\"value\":"
        "\"web.1\"},\"agent_id\":{\"value\":\"c-1-S0\"},\"resources\":[{\"name\":\"cpus\",\"type\":\"SCALAR\","
        "\"scalar\":{"
        "\"value\":0.1}},{\"name\":\"mem\",\"type\":\"SCALAR\",\"scalar\":{\"value\":128}},{\"name\":\"gpus\",\"type\":"
        "\"SCALAR\",\"scalar\":{\"value\":0}},{\"name\":\"ports\",\"type\":\"RANGES\",\"ranges\":{\"range\":[{"
        "\"begin\":"
        "31000,\"end\":31001}]},\"allocation_info\":{\"role\":\"web\"}}],\"command\":{\"environment\":{\"variables\":[{"
        "\"name\":\"A\",\"value\":\"b\",\"type\":\"VALUE\"}]},\"value\":\"sleep 1; echo "
        "\\\"\\u00e9\\\"\",\"shell\":true},"
        "\"health_check\":{\"delay_seconds\":15,\"interval_seconds\":10,\"timeout_seconds\":20,"
        "\"consecutive_failures\":3,\"grace_period_seconds\":10,\"command\":{\"value\":\"true\",\"shell\":true},"
        "\"type\":\"COMMAND\"},\"labels\":{\"labels\":[{\"key\":\"k\"}]}}]}}],\"filters\":{\"refuse_seconds\":5}}}");
    arena_done(&c.arena);
}

static void kill_without_an_agent(void **state) {
    (void)state;
    struct call c;
    call_read(&c, "{\"type\":\"KILL\",\"framework_id\":{\"value\":\"f\"},\"kill\":{\"task_id\":{\"value\":\"t\"},"
                  "\"kill_policy\":{\"grace_period\":{\"nanoseconds\":\"3000000000\"}}}}");
    assert_string_equal(c.m->kill->task_id->value, "t");
    assert_null(c.m->kill->agent_id);
    assert_prints(&c.m->base,
                  "{\"framework_id\":{\"value\":\"f\"},\"type\":\"KILL\",\"kill\":{\"task_id\":{\"value\":\"t\"},"
                  "\"kill_policy\":{\"grace_period\":{\"nanoseconds\":3000000000}}}}");
    arena_done(&c.arena);
}

static void acknowledge_with_a_uuid_in_base64(void **state) {
    (void)state;
    static const uint8_t uuid[16] = {0xff, 0xfe, 0xfb, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xfc};
    /* Standard, with escaped slashes, and the URL alphabet without padding. */
    static const char *const forms[] = {
        "//77AwQFBgcICQoLDA0O/A==", "\\/\\/77AwQFBgcICQoLDA0O\\/A==", "__77AwQFBgcICQoLDA0O_A"};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct call c;
        char text[512];
        (void)snprintf(text, sizeof text,
                       "{\"type\":\"ACKNOWLEDGE\",\"framework_id\":{\"value\":\"f\"},\"acknowledge\":{\"agent_id\":{"
                       "\"value\":\"a\"},\"task_id\":{\"value\":\"t\"},\"uuid\":\"%s\"}}",
                       forms[i]);
        call_read(&c, text);
        assert_int_equal(c.m->acknowledge->uuid.len, sizeof uuid);
        assert_memory_equal(c.m->acknowledge->uuid.data, uuid, sizeof uuid);
        assert_prints(&c.m->acknowledge->base, "{\"agent_id\":{\"value\":\"a\"},\"task_id\":{\"value\":\"t\"},"
                                               "\"uuid\":\"//77AwQFBgcICQoLDA0O/A==\"}");
        arena_done(&c.arena);
    }
}

static void reconcile_with_and_without_tasks(void **state) {
    (void)state;
    struct call c;
    call_read(&c, "{\"type\":\"RECONCILE\",\"framework_id\":{\"value\":\"f\"},\"reconcile\":{}}");
    assert_non_null(c.m->reconcile);
    assert_int_equal(c.m->reconcile->n_tasks, 0);
    assert_prints(&c.m->base, "{\"framework_id\":{\"value\":\"f\"},\"type\":\"RECONCILE\",\"reconcile\":{}}");
    arena_done(&c.arena);
    call_read(&c, "{\"type\":\"RECONCILE\",\"framework_id\":{\"value\":\"f\"},\"reconcile\":{\"tasks\":[null,"
                  "{\"task_id\":{\"value\":\"t\"},\"agent_id\":null}]}}");
    assert_int_equal(c.m->reconcile->n_tasks, 1);
    assert_null(c.m->reconcile->tasks[0]->agent_id);
    arena_done(&c.arena);
}

static void both_encodings_of_a_call_are_one_message(void **state) {
    (void)state;
    struct call c;
    struct buf wire;
    struct err err;
    ProtobufCMessage *again;
    call_read(&c, accept_text);
    buf_init(&wire, 1 << 20);
    assert_int_equal(protobuf_print(&c.m->base, &wire), 0);
    if (protobuf_parse(c.m->base.descriptor, wire.data, wire.len, 0, &c.arena, &again, &err)) fail_msg("%s", err.text);
    struct buf a, b;
    buf_init(&a, 1 << 20);
    buf_init(&b, 1 << 20);
    assert_int_equal(json_print(&c.m->base, 0, &a), 0);
    assert_int_equal(json_print(again, 0, &b), 0);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    buf_done(&a);
    buf_done(&b);
    buf_done(&wire);
    arena_done(&c.arena);
}

/* Not a bench: one line for the log, so that a fall by a factor is seen. */
static void speed_is_printed(void **state) {
    (void)state;
    struct buf out, wire;
    struct call c;
    size_t len = strlen(accept_text), rounds = 5000, printed = 0;
    buf_init(&out, 1 << 20);
    buf_init(&wire, 1 << 20);
    uint64_t t0 = clock_mono_us();
    for (size_t i = 0; i < rounds; i++) {
        call_read(&c, accept_text);
        arena_done(&c.arena);
    }
    uint64_t t1 = clock_mono_us();
    call_read(&c, accept_text);
    for (size_t i = 0; i < rounds; i++) {
        buf_clear(&out);
        assert_int_equal(json_print(&c.m->base, 0, &out), 0);
        printed += out.len;
    }
    uint64_t t2 = clock_mono_us();
    assert_int_equal(protobuf_print(&c.m->base, &wire), 0);
    for (size_t i = 0; i < rounds; i++) {
        struct arena arena;
        ProtobufCMessage *m;
        arena_init(&arena, 1 << 20);
        assert_int_equal(protobuf_parse(c.m->base.descriptor, wire.data, wire.len, 0, &arena, &m, NULL), 0);
        arena_done(&arena);
    }
    uint64_t t3 = clock_mono_us();
    print_message("json parse %.0f MB/s, json print %.0f MB/s, protobuf check and unpack %.0f MB/s\n",
                  (double)(len * rounds) / (double)(t1 - t0 + 1), (double)printed / (double)(t2 - t1 + 1),
                  (double)(wire.len * rounds) / (double)(t3 - t2 + 1));
    arena_done(&c.arena);
    buf_done(&out);
    buf_done(&wire);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(subscribe_with_nulls_for_all_that_is_unset),
        cmocka_unit_test(subscribe_pretty_printed_with_offer_constraints),
        cmocka_unit_test(accept_with_text_for_numbers_and_fields_we_do_not_know),
        cmocka_unit_test(kill_without_an_agent),
        cmocka_unit_test(acknowledge_with_a_uuid_in_base64),
        cmocka_unit_test(reconcile_with_and_without_tasks),
        cmocka_unit_test(both_encodings_of_a_call_are_one_message),
        cmocka_unit_test(speed_is_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
