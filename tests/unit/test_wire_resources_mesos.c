/* SPDX-License-Identifier: Apache-2.0 */
#include "../lib/cmocka_all.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/json.h"
#include "wire/resources_mesos.h"

/* Reads `text` (a JSON array of resources) by way of an offer's resources, then converts. */
static int converted(const char *text, struct resources *ret, struct err *err) {
    struct arena arena;
    ProtobufCMessage *m;
    struct buf b;
    arena_init(&arena, (size_t)16 << 20);
    buf_init(&b, 1 << 20);
    assert_int_equal(buf_printf(&b, "{\"resources\":%s}", text), 0);
    if (json_parse(&mesos__v1__request__descriptor, b.data, b.len, &arena, &m, err)) fail_msg("%s", err->text);
    Mesos__V1__Request *request = (Mesos__V1__Request *)m;
    int rc = resources_from_mesos(request->n_resources, request->resources, ret, err);
    buf_done(&b);
    arena_done(&arena);
    return rc;
}

static void assert_refused(const char *text, int code, const char *reason) {
    struct resources r;
    struct err err = {0};
    int rc = converted(text, &r, &err);
    if (rc != code || !strstr(err.text, reason)) fail_msg("%s gave %d '%s'", text, rc, err.text);
}

#define SCALAR(name, value) "{\"name\":\"" name "\",\"type\":\"SCALAR\",\"scalar\":{\"value\":" value "}}"
#define PORTS(ranges)       "{\"name\":\"ports\",\"type\":\"RANGES\",\"ranges\":{\"range\":[" ranges "]}}"
#define RANGE(begin, end)   "{\"begin\":" begin ",\"end\":" end "}"

static void messages_of_one_name_add_up(void **state) {
    (void)state;
    struct resources r;
    struct err err;
    int rc =
        converted("[" SCALAR("cpus", "0.1") "," SCALAR("cpus", "0.2") "," SCALAR("mem", "64.0004") "," SCALAR(
                      "gpus", "0") "," SCALAR("bananas", "0") "," PORTS(RANGE("5", "6")) "," PORTS(RANGE("7", "7")) "]",
                  &r, &err);
    if (rc) fail_msg("%s", err.text);
    assert_int_equal(r.cpus, 300);
    assert_int_equal(r.mem, 64000);
    assert_int_equal(r.gpus, 0);
    assert_int_equal(r.ports.count, 1);
    assert_int_equal(ports_total(&r.ports), 3);
    resources_done(&r);
}

static void hostile_resources_are_refused(void **state) {
    (void)state;
    assert_refused("[" SCALAR("cpus", "-1") "]", ERR_INVALID, "resource cpus is negative");
    assert_refused("[" SCALAR("cpus", "1e308") "]", ERR_INVALID, "resource cpus is over 1e15");
    assert_refused("[" SCALAR("mem", "\"Infinity\"") "]", ERR_INVALID, "resource mem is over 1e15");
    assert_refused("[" SCALAR("mem", "\"-Infinity\"") "]", ERR_INVALID, "resource mem is negative");
    assert_refused("[" SCALAR("mem", "1e15") "," SCALAR("mem", "1") "]", ERR_LIMIT, "over a limit");
    assert_refused("[" SCALAR("gpus", "0.5") "]", ERR_INVALID, "whole");
    assert_refused("[" SCALAR("bananas", "1") "]", ERR_INVALID, "resource bananas: not one of");
    assert_refused("[" SCALAR("", "1") "]", ERR_INVALID, "not one of");
    assert_refused("[" SCALAR("a b\\u0007\\u00e9", "1") "]", ERR_INVALID, "resource a?b???:");
    assert_refused("[" SCALAR("ports", "1") "]", ERR_INVALID, "wants ranges");
    assert_refused("[" PORTS(RANGE("2", "1")) "]", ERR_INVALID, "begins after its end");
    assert_refused("[" PORTS(RANGE("1", "5") "," RANGE("5", "6")) "]", ERR_INVALID, "two ranges");
    assert_refused("[" PORTS(RANGE("1", "5")) "," PORTS(RANGE("5", "6")) "]", ERR_INVALID, "two resources");
    assert_refused("[" PORTS(RANGE("0", "18446744073709551615")) "]", ERR_INVALID, "above 65535");
    assert_refused("[{\"name\":\"cpus\",\"type\":\"SCALAR\"}]", ERR_INVALID, "wants a scalar");
    assert_refused("[{\"name\":\"cpus\",\"type\":\"TEXT\"}]", ERR_INVALID, "wants a scalar");
    assert_refused("[{\"name\":\"gpus\",\"type\":\"SET\",\"set\":{\"item\":[\"\"]}}]", ERR_INVALID, "wants a scalar");
    assert_refused("[{\"name\":\"ports\",\"type\":\"RANGES\"}]", ERR_INVALID, "wants ranges");
}

static void what_is_not_supported_is_named(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"\"role\":\"web\"", "only the role *"},
        {"\"reservations\":[{}]", "reservations"},
        {"\"reservation\":{}", "reservations"},
        {"\"disk\":{}", "volumes"},
        {"\"revocable\":{}", "revocable"},
        {"\"shared\":{}", "shared"},
        {"\"provider_id\":{\"value\":\"p\"}", "providers"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[256];
        (void)snprintf(text, sizeof text, "[{\"name\":\"cpus\",\"type\":\"SCALAR\",\"scalar\":{\"value\":1},%s}]",
                       rows[i][0]);
        assert_refused(text, ERR_INVALID, rows[i][1]);
    }
}

static void too_many_ranges_are_refused(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, (size_t)1 << 20);
    (void)buf_append_str(&b, "[{\"name\":\"ports\",\"type\":\"RANGES\",\"ranges\":{\"range\":[{\"begin\":0,\"end\":0}");
    for (int i = 1; i < 30000; i++)
        (void)buf_printf(&b, ",{\"begin\":%d,\"end\":%d}", 2 * i, 2 * i);
    (void)buf_append_str(&b, "]}}]");
    assert_int_equal(buf_append_byte(&b, 0), 0);
    assert_refused((const char *)b.data, ERR_LIMIT, "30000 ranges");
    buf_done(&b);
}

static void scalars_round_as_the_interface_says(void **state) {
    (void)state;
    static const struct {
        double value;
        int64_t milli;
    } rows[] = {{0, 0},
                {-0.0, 0},
                {0.0004, 0},
                {0.0005, 1},
                {0.1, 100},
                {1.9996, 2000},
                {1e15, RESOURCES_MILLI_MAX},
                {1e-308, 0},
                {4503599627370.5, INT64_C(4503599627370500)}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t milli = -1;
        assert_int_equal(scalar_to_milli(rows[i].value, "x", &milli, NULL), 0);
        assert_int_equal(milli, rows[i].milli);
    }
    int64_t milli = -1;
    assert_int_equal(scalar_to_milli(NAN, "x", &milli, NULL), ERR_INVALID);
    assert_int_equal(milli, -1);
    for (int64_t k = 0; k < 100000; k++) {
        assert_int_equal(scalar_to_milli(scalar_from_milli(k * 37), "x", &milli, NULL), 0);
        assert_int_equal(milli, k * 37);
    }
}

static void an_offer_shows_role_type_and_allocation(void **state) {
    (void)state;
    struct resources r;
    struct arena arena;
    struct buf b;
    Mesos__V1__Request request = MESOS__V1__REQUEST__INIT;
    arena_init(&arena, 1 << 20);
    buf_init(&b, 1 << 16);
    assert_int_equal(resources_parse_text("cpus:0.5;mem:64;ports:[5-6,9-9]", &r, NULL), 0);
    assert_int_equal(resources_to_mesos(&r, "web", &arena, &request.n_resources, &request.resources), 0);
    assert_int_equal(json_print(&request.base, 0, &b), 0);
    assert_int_equal(buf_append_byte(&b, 0), 0);
    assert_string_equal(
        (char *)b.data,
        "{\"resources\":[{\"name\":\"cpus\",\"type\":\"SCALAR\",\"scalar\":{\"value\":0.5},\"role\":\"*\","
        "\"allocation_info\":{\"role\":\"web\"}},{\"name\":\"mem\",\"type\":\"SCALAR\",\"scalar\":{"
        "\"value\":64},\"role\":\"*\",\"allocation_info\":{\"role\":\"web\"}},{\"name\":\"ports\",\"type\":"
        "\"RANGES\",\"ranges\":{\"range\":[{\"begin\":5,\"end\":6},{\"begin\":9,\"end\":9}]},\"role\":"
        "\"*\",\"allocation_info\":{\"role\":\"web\"}}]}");
    struct resources back;
    assert_int_equal(resources_from_mesos(request.n_resources, request.resources, &back, NULL), 0);
    assert_true(resources_equal(&r, &back));
    resources_done(&r);
    resources_done(&back);
    arena_done(&arena);
    arena_init(&arena, 100);
    assert_int_equal(resources_parse_text("cpus:1", &r, NULL), 0);
    assert_int_equal(resources_to_mesos(&r, NULL, &arena, &request.n_resources, &request.resources), ERR_LIMIT);
    arena_done(&arena);
    buf_done(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_of_one_name_add_up),
        cmocka_unit_test(hostile_resources_are_refused),
        cmocka_unit_test(what_is_not_supported_is_named),
        cmocka_unit_test(too_many_ranges_are_refused),
        cmocka_unit_test(scalars_round_as_the_interface_says),
        cmocka_unit_test(an_offer_shows_role_type_and_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
