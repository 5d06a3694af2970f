/* SPDX-License-Identifier: Apache-2.0 */
#include "../lib/cmocka_all.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/flags.h"
#include "base/hash.h"
#include "base/rng.h"

static void a_buffer_never_grows_past_its_maximum(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    assert_int_equal(buf_append(&b, "12345678", 8), 0);
    assert_int_equal(buf_append(&b, "abc", 3), ERR_LIMIT);
    assert_int_equal(b.len, 8);
    assert_int_equal(buf_append(&b, "a", 1), ERR_LIMIT); /* stays failed until cleared */
    buf_clear(&b);
    assert_int_equal(buf_append(&b, "abc", 3), 0);
    buf_done(&b);
}

static void a_buffer_formats_text_longer_than_its_scratch(void **state) {
    (void)state;
    struct buf b;
    char text[600];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    buf_init(&b, 1000);
    assert_int_equal(buf_printf(&b, "%s", text), 0);
    assert_int_equal(b.len, 599);
    assert_memory_equal(b.data, text, 599);
    buf_done(&b);
}

static void crc32c_matches_its_check_value_in_any_split(void **state) {
    (void)state;
    assert_int_equal(crc32c(0, "123456789", 9), 0xE3069283u);
    for (size_t k = 0; k <= 9; k++)
        assert_int_equal(crc32c(crc32c(0, "123456789", k), "123456789" + k, 9 - k), 0xE3069283u);
}

static void the_sum_of_hashes_forgets_what_is_taken_out(void **state) {
    (void)state;
    struct hash128 a = hash128_of("a", 1), b = hash128_of("b", 1), sum = hash128_add(a, b);
    assert_false(hash128_equal(a, b));
    assert_true(hash128_equal(hash128_sub(sum, a), b));
    assert_true(hash128_equal(hash128_add(b, a), sum));
}

static void the_same_seed_gives_the_same_numbers(void **state) {
    (void)state;
    struct rng a, b;
    rng_seed(&a, 7);
    rng_seed(&b, 7);
    for (int i = 0; i < 100; i++)
        assert_true(rng_next(&a) == rng_next(&b));
    for (int i = 0; i < 1000; i++)
        assert_in_range(rng_between(&a, 5, 9), 5, 9);
}

static void an_error_gains_context_and_keeps_its_code(void **state) {
    (void)state;
    struct err err;
    assert_int_equal(err_sys(&err, EACCES, "opening %s", "x"), ERR_IO);
    assert_int_equal(err_wrap(&err, "starting task %s", "t9"), ERR_IO);
    assert_string_equal(err.text, "starting task t9: opening x: Permission denied");
    assert_int_equal(err_http_status(ERR_NOT_LEADER), 307);
    assert_string_equal(err_name(-12345), "UNKNOWN");
}

static void flags_change_nothing_unless_all_are_right(void **state) {
    (void)state;
    uint64_t port = 5050;
    const char *dir = NULL;
    bool chaos = false;
    const struct flag table[] = {
        {"port", FLAG_U64, &port, 1, 65535, false, "N", "where to listen"},
        {"dir", FLAG_STRING, &dir, 0, 0, true, "DIR", "where to keep data"},
        {"chaos", FLAG_BOOL, &chaos, 0, 0, false, "", "allow faults"},
        {0},
    };
    struct err err;
    int rest = 0;
    char *good[] = {"x", "--port=7", "--dir", "d", "--chaos", "operand"};
    char *bad_number[] = {"x", "--dir", "e", "--port", "70000"};
    char *unknown[] = {"x", "--dir=e", "--nope"};
    char *missing[] = {"x", "--port", "9"};
    assert_int_equal(flags_parse(table, 3, missing, &rest, &err), ERR_INVALID);
    assert_string_equal(err.text, "--dir is required");
    dir = "";
    assert_int_equal(flags_parse(table, 3, missing, &rest, &err), ERR_INVALID); /* an empty default is none */
    dir = NULL;
    assert_int_equal(flags_parse(table, 5, bad_number, &rest, &err), ERR_INVALID);
    assert_string_equal(err.text, "--port: 70000 is above 65535");
    assert_int_equal(flags_parse(table, 3, unknown, &rest, &err), ERR_INVALID);
    assert_int_equal(port, 5050);
    assert_null(dir);
    assert_int_equal(flags_parse(table, 6, good, &rest, &err), 0);
    assert_int_equal(rest, 5);
    assert_int_equal(port, 7);
    assert_string_equal(dir, "d");
    assert_true(chaos);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_buffer_never_grows_past_its_maximum),
        cmocka_unit_test(a_buffer_formats_text_longer_than_its_scratch),
        cmocka_unit_test(crc32c_matches_its_check_value_in_any_split),
        cmocka_unit_test(the_sum_of_hashes_forgets_what_is_taken_out),
        cmocka_unit_test(the_same_seed_gives_the_same_numbers),
        cmocka_unit_test(an_error_gains_context_and_keeps_its_code),
        cmocka_unit_test(flags_change_nothing_unless_all_are_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
