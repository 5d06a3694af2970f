/* SPDX-License-Identifier: Apache-2.0 */
#include "../lib/cmocka_all.h"

#include <math.h>
#include <string.h>

#include "base/err.h"
#include "mesos/v1/mesos.pb-c.h"
#include "wire/json.h"
#include "wire/json_write.h"

static void assert_written(struct buf *b, const char *wanted) {
    assert_int_equal(buf_append_byte(b, 0), 0);
    assert_string_equal((char *)b->data, wanted);
    buf_clear(b);
}

static void commas_stand_where_they_belong(void **state) {
    (void)state;
    struct buf b;
    struct json_writer w;
    Mesos__V1__TaskID id = MESOS__V1__TASK_ID__INIT;
    char text[] = "t";
    id.value = text;
    buf_init(&b, 4096);
    json_writer_init(&w, &b);
    json_begin_object(&w);
    json_key(&w, "a"), json_begin_array(&w);
    json_u64(&w, UINT64_MAX), json_i64(&w, INT64_MIN), json_bool(&w, true), json_null(&w);
    json_begin_object(&w), json_end_object(&w);
    json_end_array(&w);
    json_key(&w, "b\n"), json_string(&w, "x\"y");
    json_key(&w, "c"), json_string(&w, NULL);
    json_key(&w, "d"), json_message(&w, &id.base, 0);
    json_key(&w, "e"), json_raw(&w, "[1]", 3);
    json_end_object(&w);
    assert_int_equal(json_writer_finish(&w), 0);
    assert_written(&b, "{\"a\":[18446744073709551615,-9223372036854775808,true,null,{}],\"b\\n\":\"x\\\"y\",\"c\":null,"
                       "\"d\":{\"value\":\"t\"},\"e\":[1]}");
    buf_done(&b);
}

static void numbers_are_short_and_exact(void **state) {
    (void)state;
    static const struct {
        double v;
        const char *text;
    } rows[] = {{0, "0"},           {-0.0, "0"},
                {4, "4"},           {0.1, "0.1"},
                {-2.5, "-2.5"},     {0.001, "0.001"},
                {1e-6, "0.000001"}, {1e15, "1e+15"},
                {1e308, "1e+308"},  {1.0 / 3, "0.3333333333333333"},
                {1e-308, "1e-308"}, {123456.789, "123456.789"}};
    struct buf b;
    buf_init(&b, 4096);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(json_append_double(&b, rows[i].v), 0);
        assert_written(&b, rows[i].text);
    }
    assert_int_equal(json_append_double(&b, NAN), ERR_INVALID);
    assert_int_equal(json_append_double(&b, INFINITY), ERR_INVALID);
    assert_int_equal(b.len, 0);
    buf_done(&b);
}

static void thousandths_and_non_numbers(void **state) {
    (void)state;
    struct buf b;
    struct json_writer w;
    buf_init(&b, 4096);
    json_writer_init(&w, &b);
    json_begin_array(&w);
    json_milli(&w, 1500), json_milli(&w, 2000), json_milli(&w, 1), json_milli(&w, -10), json_milli(&w, INT64_MIN);
    json_double(&w, NAN);
    json_end_array(&w);
    assert_written(&b, "[1.5,2,0.001,-0.01,-9223372036854775.808,null]");
    buf_done(&b);
}

static void broken_text_becomes_replacement_characters(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 4096);
    assert_int_equal(json_append_string(&b, "a\xff\xc3(\xed\xa0\x80\xf0\x9f\x98\x80\x7f\0z", 14), 0);
    assert_written(&b, "\"a\\ufffd\\ufffd(\\ufffd\\ufffd\\ufffd\\ud83d\\ude00\x7f\\u0000z\"");
    buf_done(&b);
}

static void a_full_buffer_is_reported_at_the_end(void **state) {
    (void)state;
    struct buf b;
    struct json_writer w;
    buf_init(&b, 10);
    json_writer_init(&w, &b);
    json_begin_array(&w);
    for (int i = 0; i < 100; i++)
        json_string(&w, "xxxx");
    json_end_array(&w);
    assert_int_equal(json_writer_finish(&w), ERR_LIMIT);
    assert_true(b.len <= 10);
    buf_done(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commas_stand_where_they_belong),
        cmocka_unit_test(numbers_are_short_and_exact),
        cmocka_unit_test(thousandths_and_non_numbers),
        cmocka_unit_test(broken_text_becomes_replacement_characters),
        cmocka_unit_test(a_full_buffer_is_reported_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
