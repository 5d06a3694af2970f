/* SPDX-License-Identifier: Apache-2.0 */
#include "../lib/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "wire/resources.h"

static struct resources parsed(const char *text) {
    struct resources r;
    struct err err;
    if (resources_parse_text(text, &r, &err)) fail_msg("%s: %s", text, err.text);
    return r;
}

static void assert_text(const struct resources *r, const char *wanted) {
    struct buf b;
    buf_init(&b, 1 << 16);
    assert_int_equal(resources_print_text(r, &b), 0);
    assert_int_equal(buf_append_byte(&b, 0), 0);
    assert_string_equal((char *)b.data, wanted);
    buf_done(&b);
}

static void assert_refused(const char *text, const char *reason) {
    struct resources r;
    struct err err = {0};
    assert_true(resources_parse_text(text, &r, &err) < 0);
    if (!strstr(err.text, reason)) fail_msg("'%s' gave '%s', not '%s'", text, err.text, reason);
}

static void text_comes_back_as_it_went_in(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"cpus:4;mem:1024;disk:1000;ports:[31000-32000]", "cpus:4;mem:1024;disk:1000;ports:[31000-32000]"},
        {" mem : 1 ; cpus(*):0.5; ", "cpus:0.5;mem:1"},
        {"cpus:0.0004", ""},
        {"cpus:0.0005", "cpus:0.001"},
        {"cpus:1.9996", "cpus:2"},
        {"cpus:12.3449", "cpus:12.345"},
        {"gpus:2;cpus:0", "gpus:2"},
        {"", ""},
        {"ports:[]", ""},
        {"ports:[5-6, 1-2,3-4]", "ports:[1-6]"},
        {"ports:[0-65535]", "ports:[0-65535]"},
        {"mem:1000000000000000", "mem:1000000000000000"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct resources r = parsed(pairs[i][0]);
        assert_text(&r, pairs[i][1]);
        resources_done(&r);
    }
}

static void hostile_text_is_refused_with_its_reason(void **state) {
    (void)state;
    assert_refused("cpus", "name:value");
    assert_refused("cpus:", "a number");
    assert_refused("cpus:-1", "a number");
    assert_refused("cpus:nan", "a number");
    assert_refused("cpus:1e308", "unexpected text");
    assert_refused("cpus:1.", "a number");
    assert_refused("cpus:1000000000000001", "a number");
    assert_refused("cpus:1000000000000000.001", "a number");
    assert_refused("cpus:99999999999999999999999999", "a number");
    assert_refused("cpus:1;cpus:2", "twice");
    assert_refused("cpus:1 mem:2", "unexpected text");
    assert_refused("bananas:1", "'bananas'");
    assert_refused("mem(web):1", "role");
    assert_refused("gpus:0.5", "whole");
    assert_refused("ports:31000", "[begin-end");
    assert_refused("ports:[2-1]", "begins after");
    assert_refused("ports:[1-5,5-6]", "in two ranges");
    assert_refused("ports:[1-5,1-5]", "in two ranges");
    assert_refused("ports:[0-65536]", "above 65535");
    assert_refused("ports:[0-18446744073709551615]", "above 65535");
    assert_refused("ports:[0-18446744073709551616]", "[begin-end");
    assert_refused("ports:[1-2", "[begin-end");
    assert_refused("ports:[1-2,", "[begin-end");
}

static void too_many_ranges_are_refused(void **state) {
    (void)state;
    static struct wide_range ranges[PORTS_RANGES_MAX + 1];
    for (size_t i = 0; i <= PORTS_RANGES_MAX; i++)
        ranges[i] = (struct wide_range){2 * i, 2 * i};
    struct ports p;
    struct err err;
    assert_int_equal(ports_from_ranges(ranges, PORTS_RANGES_MAX + 1, &p, &err), ERR_LIMIT);
    assert_int_equal(ports_from_ranges(ranges, PORTS_RANGES_MAX, &p, &err), 0);
    assert_int_equal(p.count, PORTS_RANGES_MAX);
    struct ports more;
    assert_int_equal(ports_from_ranges(&ranges[PORTS_RANGES_MAX], 1, &more, &err), 0);
    assert_int_equal(ports_add(&p, &more), ERR_LIMIT);
    assert_int_equal(p.count, PORTS_RANGES_MAX);
    ports_done(&p);
    ports_done(&more);
}

static void what_is_taken_can_be_given_back(void **state) {
    (void)state;
    struct resources all = parsed("cpus:4;mem:100;ports:[0-9,20-29,65535-65535]"), had = {0};
    struct resources part = parsed("cpus:1.5;ports:[3-4,20-20,65535-65535]");
    assert_int_equal(resources_copy(&had, &all), 0);
    assert_int_equal(resources_sub(&all, &part), 0);
    assert_text(&all, "cpus:2.5;mem:100;ports:[0-2,5-9,21-29]");
    assert_int_equal(resources_sub(&all, &part), ERR_INVALID);
    assert_text(&all, "cpus:2.5;mem:100;ports:[0-2,5-9,21-29]");
    assert_int_equal(resources_add(&all, &part), 0);
    assert_true(resources_equal(&all, &had));
    assert_int_equal(resources_add(&all, &part), ERR_INVALID); /* the ports are there already */
    assert_true(resources_equal(&all, &had));
    assert_int_equal(resources_sub(&all, &all), 0);
    assert_true(resources_empty(&all));
    resources_done(&all);
    resources_done(&had);
    resources_done(&part);
}

static void no_amount_falls_below_zero(void **state) {
    (void)state;
    static const char *const more[] = {"cpus:1.001", "mem:2.001", "disk:3.001", "gpus:2", "ports:[5-6]"};
    struct resources all = parsed("cpus:1;mem:2;disk:3;gpus:1;ports:[5-5]");
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        struct resources part = parsed(more[i]);
        assert_false(resources_contains(&all, &part));
        assert_int_equal(resources_sub(&all, &part), ERR_INVALID);
        assert_text(&all, "cpus:1;mem:2;disk:3;gpus:1;ports:[5-5]");
        resources_done(&part);
    }
    resources_done(&all);
}

static void a_sum_over_the_limit_changes_nothing(void **state) {
    (void)state;
    struct resources a = parsed("cpus:1;mem:1000000000000000"), b = parsed("cpus:1;mem:0.001");
    assert_int_equal(resources_add(&a, &b), ERR_LIMIT);
    assert_int_equal(a.cpus, 1000);
    assert_int_equal(a.mem, RESOURCES_MILLI_MAX);
    resources_done(&a);
    resources_done(&b);
}

/* The sets against a plain array of bits, over seeded random operations on a small universe. */
static void sets_behave_like_arrays_of_bits(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct rng rng;
        rng_seed(&rng, seed);
        struct ports set = {0};
        bool bits[64] = {0};
        for (int step = 0; step < 60; step++) {
            uint64_t begin = rng_below(&rng, 64), end = rng_between(&rng, begin, begin + 6 > 63 ? 63 : begin + 6);
            struct ports part;
            assert_int_equal(ports_from_ranges(&(struct wide_range){begin, end}, 1, &part, NULL), 0);
            bool add = rng_below(&rng, 2), possible = true;
            for (uint64_t i = begin; i <= end; i++)
                possible = possible && bits[i] != add;
            assert_int_equal(add ? ports_add(&set, &part) : ports_sub(&set, &part), possible ? 0 : ERR_INVALID);
            for (uint64_t i = begin; possible && i <= end; i++)
                bits[i] = add;
            uint32_t total = 0;
            for (uint64_t i = 0; i < 64; i++) {
                struct port_range one = {(uint16_t)i, (uint16_t)i};
                assert_int_equal(ports_contains(&set, &(struct ports){&one, 1}), bits[i]);
                total += bits[i];
            }
            assert_int_equal(ports_total(&set), total);
            ports_done(&part);
        }
        ports_done(&set);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_comes_back_as_it_went_in),   cmocka_unit_test(hostile_text_is_refused_with_its_reason),
        cmocka_unit_test(too_many_ranges_are_refused),     cmocka_unit_test(what_is_taken_can_be_given_back),
        cmocka_unit_test(no_amount_falls_below_zero),      cmocka_unit_test(a_sum_over_the_limit_changes_nothing),
        cmocka_unit_test(sets_behave_like_arrays_of_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
