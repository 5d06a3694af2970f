/* SPDX-License-Identifier: Apache-2.0 */
#include "../lib/cmocka_all.h"

#include <stdio.h>
#include <string.h>

#include "wire/recordio.h"

/* Feeds `text` in pieces of `step` bytes; joins the records with '|' in `ret`. Returns 0 or the error. */
static int decode_all(const char *text, size_t step, size_t max, char *ret, struct err *err) {
    struct recordio_decoder d;
    int rc = 0;
    ret[0] = '\0';
    recordio_decoder_init(&d, max);
    for (size_t at = 0, len = strlen(text); at < len && rc >= 0; at += step) {
        const uint8_t *data = (const uint8_t *)text + at;
        size_t left = len - at < step ? len - at : step;
        struct recordio_record r;
        while ((rc = recordio_decode(&d, &data, &left, &r, err)) == 1) {
            strncat(ret, (const char *)r.data, r.len);
            strcat(ret, "|");
        }
        if (rc == 0) assert_int_equal(left, 0);
    }
    if (rc == 0) rc = recordio_decoder_finish(&d, err);
    recordio_decoder_done(&d);
    return rc;
}

static void records_come_out_whole_however_they_are_cut(void **state) {
    (void)state;
    char got[128];
    for (size_t step = 1; step < 40; step++) {
        assert_int_equal(decode_all("1\na5\nhello12\n{\"type\":\"X\"}3\n1\n2", step, 100, got, NULL), 0);
        assert_string_equal(got, "a|hello|{\"type\":\"X\"}|1\n2|");
    }
}

static void what_is_encoded_is_decoded(void **state) {
    (void)state;
    struct buf b;
    char got[128];
    buf_init(&b, 100);
    assert_int_equal(recordio_append(&b, "hello world", 11), 0);
    assert_int_equal(recordio_append(&b, "x", 1), 0);
    assert_int_equal(recordio_append(&b, "", 0), ERR_INVALID);
    assert_int_equal(buf_append_byte(&b, 0), 0);
    assert_string_equal((char *)b.data, "11\nhello world1\nx");
    assert_int_equal(decode_all((char *)b.data, 3, 11, got, NULL), 0);
    assert_string_equal(got, "hello world|x|");
    buf_done(&b);
}

static void a_full_buffer_takes_no_part_of_a_record(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 5);
    assert_int_equal(recordio_append(&b, "1234", 4), ERR_LIMIT);
    assert_int_equal(b.len, 0);
    buf_done(&b);
}

static void hostile_lengths_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int code;
        const char *reason;
    } rows[] = {
        {"\nabc", ERR_PARSE, "without its length"},
        {"-1\na", ERR_PARSE, "digits"},
        {"+1\na", ERR_PARSE, "digits"},
        {" 1\na", ERR_PARSE, "digits"},
        {"1 \na", ERR_PARSE, "digits"},
        {"1\r\na", ERR_PARSE, "digits"},
        {"01\na", ERR_PARSE, "zero"},
        {"0\n", ERR_PARSE, "zero"},
        {"0x1\na", ERR_PARSE, "zero"},
        {"{\"type\"", ERR_PARSE, "digits"},
        {"101\n", ERR_LIMIT, "at most 100"},
        {"2147483648\n", ERR_LIMIT, "at most 100"},
        {"9223372036854775808\n", ERR_LIMIT, "at most 100"},
        {"5\nabc", ERR_PARSE, "ends inside"},
        {"5", ERR_PARSE, "ends inside"},
        {"5\n", ERR_PARSE, "ends inside"},
        {"2\nabc", ERR_PARSE, "digits"},
        {"3\nabc3abc", ERR_PARSE, "digits"}, /* the newline was lost */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t step = 1; step < 12; step += 5) {
            char got[128];
            struct err err = {0};
            assert_int_equal(decode_all(rows[i].text, step, 100, got, &err), rows[i].code);
            if (!strstr(err.text, rows[i].reason)) fail_msg("'%s' gave '%s'", rows[i].text, err.text);
        }
}

static void endless_digits_end(void **state) {
    (void)state;
    char text[64], got[128];
    struct err err;
    memset(text, '1', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(decode_all(text, 7, SIZE_MAX, got, &err), ERR_PARSE);
    assert_non_null(strstr(err.text, "too many digits"));
    assert_int_equal(decode_all("18446744073709551616\n", 7, SIZE_MAX, got, &err), ERR_PARSE);
}

static void a_broken_stream_stays_broken(void **state) {
    (void)state;
    struct recordio_decoder d;
    struct recordio_record r;
    const uint8_t *data = (const uint8_t *)"x1\na";
    size_t len = 4;
    recordio_decoder_init(&d, 10);
    assert_int_equal(recordio_decode(&d, &data, &len, &r, NULL), ERR_PARSE);
    data++, len--;
    assert_int_equal(recordio_decode(&d, &data, &len, &r, NULL), ERR_PARSE);
    assert_int_equal(recordio_decoder_finish(&d, NULL), ERR_PARSE);
    recordio_decoder_done(&d);
}

static void a_declared_gigabyte_costs_no_memory(void **state) {
    (void)state;
    struct recordio_decoder d;
    struct recordio_record r;
    const uint8_t *data = (const uint8_t *)"1073741824\nabc";
    size_t len = 14;
    recordio_decoder_init(&d, (size_t)2 << 30);
    assert_int_equal(recordio_decode(&d, &data, &len, &r, NULL), 0);
    assert_in_range(d.payload.cap, 3, 4096);
    recordio_decoder_done(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_out_whole_however_they_are_cut),
        cmocka_unit_test(what_is_encoded_is_decoded),
        cmocka_unit_test(a_full_buffer_takes_no_part_of_a_record),
        cmocka_unit_test(hostile_lengths_are_refused),
        cmocka_unit_test(endless_digits_end),
        cmocka_unit_test(a_broken_stream_stays_broken),
        cmocka_unit_test(a_declared_gigabyte_costs_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
