/* SPDX-License-Identifier: Apache-2.0
 * What JSON is taken and what is refused, rule by rule. */
#include "../lib/cmocka_all.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mesos/v1/master.pb-c.h"
#include "mesos/v1/scheduler.pb-c.h"
#include "wire/json.h"

#define ARENA_MAX ((size_t)1 << 20)

static const ProtobufCMessageDescriptor *const call = &mesos__v1__scheduler__call__descriptor;

static void assert_refused_bytes(const ProtobufCMessageDescriptor *type, const void *text, size_t len, int code,
                                 const char *reason) {
    struct arena arena;
    struct err err = {0};
    ProtobufCMessage *m = NULL;
    arena_init(&arena, ARENA_MAX);
    int rc = json_parse(type, text, len, &arena, &m, &err);
    if (rc != code || !strstr(err.text, reason)) fail_msg("'%.80s' gave %d '%s'", (const char *)text, rc, err.text);
    assert_null(m); /* outputs are untouched on failure */
    arena_done(&arena);
}

static void assert_refused(const char *text, const char *reason) {
    assert_refused_bytes(call, text, strlen(text), ERR_PARSE, reason);
}

static void assert_read_as(const ProtobufCMessageDescriptor *type, const char *text, const char *wanted) {
    struct arena arena;
    struct err err;
    struct buf b;
    ProtobufCMessage *m;
    arena_init(&arena, ARENA_MAX);
    buf_init(&b, ARENA_MAX);
    if (json_parse(type, (const uint8_t *)text, strlen(text), &arena, &m, &err)) fail_msg("%s: %s", text, err.text);
    assert_int_equal(json_print(m, JSON_ONLY_SET, &b), 0);
    assert_int_equal(buf_append_byte(&b, 0), 0);
    assert_string_equal((char *)b.data, wanted);
    buf_done(&b);
    arena_done(&arena);
}

static void assert_call(const char *text, const char *wanted) {
    assert_read_as(call, text, wanted);
}

static void null_unsets_whatever_was_there(void **state) {
    (void)state;
    assert_call("{\"type\":null,\"kill\":null,\"framework_id\":null}", "{}");
    assert_call("{\"type\":\"KILL\",\"type\":null}", "{}");
    assert_call("{\"revive\":{\"roles\":[null,\"a\",null]}}", "{\"revive\":{\"roles\":[\"a\"]}}");
    assert_call("{\"revive\":{\"roles\":null}}", "{\"revive\":{}}");
    assert_refused("{\"kill\":{\"task_id\":{\"value\":\"t\"},\"task_id\":null}}", "kill.task_id: required");
}

static void the_last_of_repeated_keys_wins(void **state) {
    (void)state;
    assert_call("{\"type\":\"KILL\",\"type\":\"REVIVE\"}", "{\"type\":\"REVIVE\"}");
    assert_call("{\"revive\":{\"roles\":[\"a\",\"b\"],\"roles\":[\"c\"]}}", "{\"revive\":{\"roles\":[\"c\"]}}");
    assert_read_as(&mesos__v1__scheduler__attribute_constraint__selector__descriptor,
                   "{\"attribute_name\":\"a\",\"pseudoattribute_type\":\"ZONE\"}",
                   "{\"pseudoattribute_type\":\"ZONE\"}");
    assert_read_as(&mesos__v1__offer_filters__resource_quantities__descriptor,
                   "{\"quantities\":{\"b\":{\"value\":1},\"a\":{\"value\":2},\"b\":{\"value\":3},\"c\":null}}",
                   "{\"quantities\":{\"a\":{\"value\":2},\"b\":{\"value\":3}}}");
}

static void one_value_stands_for_a_list_of_one(void **state) {
    (void)state;
    assert_call("{\"decline\":{\"offer_ids\":{\"value\":\"o\"}}}", "{\"decline\":{\"offer_ids\":[{\"value\":\"o\"}]}}");
    assert_call("{\"revive\":{\"roles\":\"a\"}}", "{\"revive\":{\"roles\":[\"a\"]}}");
    assert_refused("{\"framework_id\":[{\"value\":\"f\"}]}", "framework_id: wants one value");
    assert_refused("{\"type\":[\"KILL\"]}", "type: wants one value");
}

static void strings_are_taken_for_numbers_and_bools(void **state) {
    (void)state;
    assert_call("{\"decline\":{\"filters\":{\"refuse_seconds\":\"1.5\"}}}",
                "{\"decline\":{\"filters\":{\"refuse_seconds\":1.5}}}");
    assert_read_as(&mesos__v1__value__range__descriptor, "{\"begin\":\"31000\",\"end\":18446744073709551615}",
                   "{\"begin\":31000,\"end\":18446744073709551615}");
    assert_read_as(&mesos__v1__command_info__descriptor, "{\"shell\":\"false\"}", "{\"shell\":false}");
    assert_read_as(&mesos__v1__value__range__descriptor, "{\"begin\":1e3,\"end\":4.0}", "{\"begin\":1000,\"end\":4}");
    assert_read_as(&mesos__v1__duration_info__descriptor, "{\"nanoseconds\":-9223372036854775808}",
                   "{\"nanoseconds\":-9223372036854775808}");
    assert_read_as(&mesos__v1__duration_info__descriptor, "{\"nanoseconds\":9007199254740993}",
                   "{\"nanoseconds\":9007199254740993}");
}

static void numbers_out_of_range_or_not_whole_are_refused(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"-1", "out of range"},
        {"18446744073709551616", "out of range"},
        {"99999999999999999999999999999999", "out of range"},
        {"1e30", "out of range"},
        {"9007199254740994.0", "out of range"},
        {"0.5", "whole"},
        {"\"0x10\"", "wants a number"},
        {"\"\"", "wants a number"},
        {"\" 1\"", "wants a number"},
        {"\"1 \"", "wants a number"},
        {"true", "wants a number"},
        {"{}", "wants a number"},
        {"01", "malformed number"},
        {"1.", "malformed number"},
        {".5", "wants a number"},
        {"+1", "wants a number"},
        {"1e", "malformed number"},
        {"--1", "malformed number"},
        {"NaN", "wants a number"},
        {"\"NaN\"", "wants a number"},
        {"Infinity", "wants a number"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[128];
        (void)snprintf(text, sizeof text, "{\"begin\":%s,\"end\":1}", rows[i][0]);
        assert_refused_bytes(&mesos__v1__value__range__descriptor, text, strlen(text), ERR_PARSE, rows[i][1]);
    }
    const char *text = "{\"ip\":4294967296,\"port\":1,\"id\":\"x\"}";
    assert_refused_bytes(&mesos__v1__master_info__descriptor, text, strlen(text), ERR_PARSE, "ip: number out of range");
    text = "{\"hostname\":\"h\",\"port\":-2147483649}";
    assert_refused_bytes(&mesos__v1__agent_info__descriptor, text, strlen(text), ERR_PARSE,
                         "port: number out of range");
    assert_read_as(&mesos__v1__agent_info__descriptor, "{\"hostname\":\"h\",\"port\":-2147483648}",
                   "{\"hostname\":\"h\",\"port\":-2147483648}");
}

static double double_read(const char *number) {
    char text[2048];
    struct arena arena;
    struct err err;
    ProtobufCMessage *m;
    arena_init(&arena, ARENA_MAX);
    (void)snprintf(text, sizeof text, "{\"value\":%s}", number);
    if (json_parse(&mesos__v1__value__scalar__descriptor, (uint8_t *)text, strlen(text), &arena, &m, &err))
        fail_msg("%s: %s", number, err.text);
    double v = ((Mesos__V1__Value__Scalar *)m)->value;
    arena_done(&arena);
    return v;
}

static void doubles_are_read_exactly(void **state) {
    (void)state;
    static const char *const texts[] = {"0",
                                        "1",
                                        "0.1",
                                        "1e308",
                                        "1e-308",
                                        "5e-324",
                                        "123456789012345678",
                                        "1e22",
                                        "1e23",
                                        "1e-22",
                                        "1e-23",
                                        "0.30000000000000004",
                                        "2.2250738585072011e-308",
                                        "9007199254740993",
                                        "1e-999",
                                        "0.000000000000000000000000000000000000000000001e45"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char negative[80];
        (void)snprintf(negative, sizeof negative, "-%s", texts[i]);
        assert_true(double_read(texts[i]) == strtod(texts[i], NULL));
        assert_true(double_read(negative) == -strtod(texts[i], NULL));
    }
    assert_true(double_read("\"Infinity\"") == INFINITY);
    assert_true(double_read("\"-Infinity\"") == -INFINITY);
    char text[700] = "{\"value\":1";
    memset(text + strlen(text), '0', 600);
    strcat(text, "}");
    assert_refused_bytes(&mesos__v1__value__scalar__descriptor, text, strlen(text), ERR_PARSE, "too many digits");
    assert_refused_bytes(&mesos__v1__value__scalar__descriptor, "{\"value\":1e309}", 15, ERR_PARSE, "out of range");
    assert_refused_bytes(&mesos__v1__value__scalar__descriptor, "{\"value\":\"NaN\"}", 15, ERR_PARSE, "NaN");
}

static void enums_go_by_name_only(void **state) {
    (void)state;
    assert_call("{\"type\":\"FROM_THE_FUTURE\"}", "{}");
    assert_call("{\"type\":\"\"}", "{}");
    assert_call("{\"type\":\"\\u004bILL\"}", "{\"type\":\"KILL\"}");
    assert_refused("{\"type\":6}", "type: wants the name");
    const char *text = "{\"name\":\"cpus\",\"type\":\"FUTURE\"}";
    assert_refused_bytes(&mesos__v1__resource__descriptor, text, strlen(text), ERR_PARSE, "type: unknown value");
}

static void unknown_fields_are_skipped_but_must_be_json(void **state) {
    (void)state;
    assert_call("{\"x\":{\"a\":[1,-2.5e3,\"s\",true,false,null,{}]},\"\":1,\"typ\":2,\"type2\":3,\"frameworkId\":{}}",
                "{}");
    assert_refused("{\"x\":[1,]}", "expected a value");
    assert_refused("{\"x\":{\"a\":1,}}", "expected a field name");
    assert_refused("{\"x\":tru}", "unknown word");
    assert_refused("{\"x\":\"\\ud800\"}", "lone surrogate");
    assert_refused("{\"x\":\"\xff\"}", "UTF-8");
}

static void wrong_kinds_are_refused_with_their_path(void **state) {
    (void)state;
    assert_refused("{\"kill\":5}", "kill: wants an object");
    assert_refused("{\"kill\":\"t\"}", "kill: wants an object");
    assert_refused("{\"kill\":{\"task_id\":{\"value\":5}}}", "kill.task_id.value: wants a string");
    assert_refused("{\"kill\":{\"task_id\":{\"value\":{}}}}", "kill.task_id.value: wants a string");
    assert_refused("{\"kill\":{\"task_id\":{}}}", "kill.task_id.value: required field is missing");
    assert_refused("{\"accept\":{\"offer_ids\":[{\"value\":\"a\"},{}]}}", "accept.offer_ids[1].value: required");
    assert_refused("{\"accept\":{\"operations\":[{\"type\":\"LAUNCH\",\"launch\":{\"task_infos\":[{\"name\":1}]}}]}}",
                   "accept.operations[0].launch.task_infos[0].name: wants a string");
    assert_refused("{\"subscribe\":{\"framework_info\":{\"user\":\"a\",\"name\":\"b\",\"checkpoint\":1}}}",
                   "subscribe.framework_info.checkpoint: wants true or false");
    assert_refused("{\"subscribe\":{\"framework_info\":{\"offer_filters\":[]}}}", "offer_filters: wants an object");
    assert_refused("{\"message\":{\"data\":\"a\"}}", "message.data: bytes want base64");
    assert_refused("{\"message\":{\"data\":\"!!!!\"}}", "message.data: bytes want base64");
    assert_refused("{\"message\":{\"data\":\"QUI=QUI=\"}}", "message.data: bytes want base64");
}

static void text_that_is_not_json_is_refused(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"", "wants an object"},
        {" ", "wants an object"},
        {"[]", "wants an object"},
        {"null", "wants an object"},
        {"{", "expected a field name"},
        {"{\"type\"", "expected ':'"},
        {"{\"type\":", "wants"},
        {"{\"type\":\"KILL\"", "expected ',' or '}'"},
        {"{\"type\":\"KI", "string without an end"},
        {"{}x", "bytes after the end"},
        {"{}{}", "bytes after"},
        {"\xef\xbb\xbf{}", "wants an object"},
        {"{type:1}", "expected a field name"},
        {"{'type':1}", "expected a field name"},
        {"{\"type\":\"KILL\",}", "expected a field name"},
        {"{\"kill\":nul}", "unknown word"},
        {"{\"type\":\"a\nb\"}", "control character"},
        {"{\"type\":\"\\x41\"}", "unknown escape"},
        {"{\"type\":\"\\u12g4\"}", "four hexadecimal"},
        {"{\"type\":\"\\", "string without an end"},
        {"{\"type\":\"\\u00", "four hexadecimal"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_refused(rows[i][0], rows[i][1]);
    assert_refused_bytes(call, "{}\0", 3, ERR_PARSE, "bytes after the end");
    assert_refused_bytes(call, "{\"type\":\"a\0b\"}", 14, ERR_PARSE, "control character");
    assert_refused_bytes(call, NULL, 0, ERR_PARSE, "wants an object");
}

static void hostile_text_in_strings_is_refused(void **state) {
    (void)state;
    static const char *const values[] = {
        "\\u0000",      "\\ud800",      "\\udc00",          "\\ud800\\u0041", "\\ud800\\ud800", "\\udfff\\ud800",
        "\xc0\x80",     "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80",           "\xc3",           "\xe2\x82",
        "\xf0\x9f\x98", "\xfe",         "\xc1\xbf",
    };
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char text[128];
        (void)snprintf(text, sizeof text, "{\"framework_id\":{\"value\":\"%s\"}}", values[i]);
        assert_refused(text, "framework_id.value: ");
    }
    assert_call(
        "{\"framework_id\":{\"value\":\"\\ud83d\\ude00\\u00e9\\u20AC\\b\\f\\n\\r\\t\\/\\\\\\\"\xf4\x8f\xbf\xbf\"}}",
        "{\"framework_id\":{\"value\":\"\\ud83d\\ude00\\u00e9\\u20ac\\b\\f\\n\\r\\t/\\\\\\\"\\udbff\\udfff\"}}");
}

static char *nested(const char *head, const char *piece, size_t n, const char *tail, size_t *ret_len) {
    size_t len = strlen(head) + strlen(piece) * n + strlen(tail);
    char *text = malloc(len + 1), *at = text;
    assert_non_null(text);
    at = stpcpy(at, head);
    for (size_t i = 0; i < n; i++)
        at = stpcpy(at, piece);
    (void)stpcpy(at, tail);
    *ret_len = len;
    return text;
}

static void depth_is_bounded_everywhere(void **state) {
    (void)state;
    static const char *const shapes[][2] = {
        {"{\"x\":", "["}, {"{\"x\":", "{\"x\":"}, {"{\"container_id\":", "{\"parent\":"}, {"", "{\"kill\":"}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        size_t len;
        char *text = nested(shapes[i][0], shapes[i][1], 200000, "", &len);
        assert_refused_bytes(i == 2 ? &mesos__v1__container_status__descriptor : call, text, len, ERR_PARSE,
                             "nested too deep");
        free(text);
    }
    for (size_t n = 60; n < 70; n++) { /* the object outside and n arrays */
        struct arena arena;
        size_t len;
        char ends[80] = "";
        memset(ends, ']', n);
        ends[n] = '}', ends[n + 1] = '\0';
        char *text = nested("{\"x\":", "[", n, ends, &len);
        ProtobufCMessage *m;
        arena_init(&arena, ARENA_MAX);
        assert_int_equal(json_parse(call, (uint8_t *)text, len, &arena, &m, NULL), n < JSON_DEPTH_MAX ? 0 : ERR_PARSE);
        arena_done(&arena);
        free(text);
    }
}

static void memory_is_bounded(void **state) {
    (void)state;
    size_t len;
    char *text = nested("{\"revive\":{\"roles\":[\"\"", ",\"\"", 100000, "]}}", &len);
    assert_refused_bytes(call, text, len, ERR_LIMIT, "more memory than 1048576");
    free(text);
    text = nested("{\"framework_id\":{\"value\":\"", "x", 2000000, "\"}}", &len);
    assert_refused_bytes(call, text, len, ERR_LIMIT, "more memory");
    free(text);
}

static void maps_with_many_equal_keys_are_settled_fast(void **state) {
    (void)state;
    struct arena arena;
    ProtobufCMessage *m;
    struct err err;
    size_t len;
    char *text = nested("{\"quantities\":{\"a\":{\"value\":1}", ",\"b\":{\"value\":2}", 100000, "}}", &len);
    arena_init(&arena, (size_t)64 << 20);
    if (json_parse(&mesos__v1__offer_filters__resource_quantities__descriptor, (uint8_t *)text, len, &arena, &m, &err))
        fail_msg("%s", err.text);
    assert_int_equal(((Mesos__V1__OfferFilters__ResourceQuantities *)m)->n_quantities, 2);
    arena_done(&arena);
    free(text);
}

static void what_cannot_be_printed_is_refused(void **state) {
    (void)state;
    Mesos__V1__Filters filters = MESOS__V1__FILTERS__INIT;
    Mesos__V1__Scheduler__Call__Kill kill = MESOS__V1__SCHEDULER__CALL__KILL__INIT;
    struct buf b;
    buf_init(&b, 1000);
    filters.has_refuse_seconds = 1;
    filters.refuse_seconds = NAN;
    assert_int_equal(json_print(&filters.base, 0, &b), ERR_INVALID);
    filters.refuse_seconds = -INFINITY;
    assert_int_equal(json_print(&filters.base, 0, &b), ERR_INVALID);
    assert_int_equal(json_print(&kill.base, 0, &b), ERR_INVALID);
    assert_int_equal(b.len, 0);
    buf_done(&b);
}

static void enum_numbers_nobody_knows_are_left_out(void **state) {
    (void)state;
    Mesos__V1__Scheduler__Call c = MESOS__V1__SCHEDULER__CALL__INIT;
    struct buf b;
    buf_init(&b, 1000);
    c.has_type = 1;
    c.type = (Mesos__V1__Scheduler__Call__Type)77;
    assert_int_equal(json_print(&c.base, 0, &b), 0);
    assert_int_equal(b.len, 2);
    buf_done(&b);
}

static void empty_lists_are_printed_when_asked_for(void **state) {
    (void)state;
    Mesos__V1__Scheduler__Call__Revive revive = MESOS__V1__SCHEDULER__CALL__REVIVE__INIT;
    Mesos__V1__OfferFilters__ResourceQuantities map = MESOS__V1__OFFER_FILTERS__RESOURCE_QUANTITIES__INIT;
    struct buf b;
    buf_init(&b, 1000);
    assert_int_equal(json_print(&revive.base, 0, &b), 0);
    assert_int_equal(json_print(&revive.base, JSON_LISTS, &b), 0);
    assert_int_equal(json_print(&map.base, JSON_LISTS, &b), 0);
    assert_int_equal(buf_append_byte(&b, 0), 0);
    assert_string_equal((char *)b.data, "{}{\"roles\":[]}{\"quantities\":{}}");
    buf_done(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(null_unsets_whatever_was_there),
        cmocka_unit_test(the_last_of_repeated_keys_wins),
        cmocka_unit_test(one_value_stands_for_a_list_of_one),
        cmocka_unit_test(strings_are_taken_for_numbers_and_bools),
        cmocka_unit_test(numbers_out_of_range_or_not_whole_are_refused),
        cmocka_unit_test(doubles_are_read_exactly),
        cmocka_unit_test(enums_go_by_name_only),
        cmocka_unit_test(unknown_fields_are_skipped_but_must_be_json),
        cmocka_unit_test(wrong_kinds_are_refused_with_their_path),
        cmocka_unit_test(text_that_is_not_json_is_refused),
        cmocka_unit_test(hostile_text_in_strings_is_refused),
        cmocka_unit_test(depth_is_bounded_everywhere),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(maps_with_many_equal_keys_are_settled_fast),
        cmocka_unit_test(what_cannot_be_printed_is_refused),
        cmocka_unit_test(enum_numbers_nobody_knows_are_left_out),
        cmocka_unit_test(empty_lists_are_printed_when_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
