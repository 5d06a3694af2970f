/* SPDX-License-Identifier: Apache-2.0 */
#include "../lib/cmocka_all.h"

#include <string.h>

#include "net/address.h"

static void an_address_reads_back_as_it_was_written(void **state) {
    (void)state;
    static const char *const text[] = {"127.0.0.1:5050", "[::1]:5050", "master-1.example:1", "localhost:65535"};
    for (size_t i = 0; i < sizeof text / sizeof text[0]; i++) {
        struct address a;
        struct err err;
        char out[ADDRESS_TEXT_MAX];
        assert_int_equal(address_parse(text[i], 0, 0, &a, &err), 0);
        assert_string_equal(address_format(&a, out), text[i]);
    }
}

static void a_missing_port_is_the_default_or_an_error(void **state) {
    (void)state;
    struct address a = {.host = "untouched"};
    struct err err;
    assert_int_equal(address_parse("10.0.0.1", 0, 0, &a, &err), ERR_INVALID);
    assert_string_equal(err.text, "address '10.0.0.1' has no port (HOST:PORT)");
    assert_string_equal(a.host, "untouched");
    assert_int_equal(address_parse("10.0.0.1", 5050, 0, &a, &err), 0);
    assert_int_equal(a.port, 5050);
    assert_int_equal(address_parse("[fe80::1]", 5060, 0, &a, &err), 0);
    assert_string_equal(a.host, "fe80::1");
    assert_int_equal(a.port, 5060);
}

static void malformed_addresses_are_refused_with_a_text(void **state) {
    (void)state;
    static const char *const bad[] = {"",     ":5050",       "a:",       "a:0",      "a:65536",     "a:-1",
                                      "a:1x", "a:+1",        "a:1:2",    "::1",      "[::1:5050",   "[::1]5050",
                                      "[]:1", "[1.2.3.4]:1", "a b:1",    "a/b:1",    "1.2.3.999:1", "10.0.0:1",
                                      "-a:1", "a..b:1",      "[::1]x:1", "a:000001", "http://a:1",  "a,b:1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct address a;
        struct err err = {.text = ""};
        if (address_parse(bad[i], 5050, 0, &a, &err) != ERR_INVALID) fail_msg("'%s' was accepted", bad[i]);
        assert_true(strlen(err.text) > 10);
    }
    char host[400];
    memset(host, 'a', sizeof host - 1);
    host[sizeof host - 1] = '\0';
    struct address a;
    struct err err;
    assert_int_equal(address_parse(host, 1, 0, &a, &err), ERR_INVALID);
}

static void flags_allow_port_zero_and_refuse_names(void **state) {
    (void)state;
    struct address a;
    struct err err;
    assert_int_equal(address_parse("127.0.0.1:0", 0, ADDRESS_PORT_ZERO, &a, &err), 0);
    assert_int_equal(address_parse("localhost:1", 0, ADDRESS_NUMERIC, &a, &err), ERR_INVALID);
    assert_int_equal(address_parse("[::1]:1", 0, ADDRESS_NUMERIC, &a, &err), 0);
}

static void lists_keep_their_order_and_refuse_holes_and_repeats(void **state) {
    (void)state;
    struct address a[3];
    size_t n = 99;
    struct err err;
    assert_int_equal(address_list_parse("m1:1, m2:2 ,m3", 5, 0, a, 3, &n, &err), 0);
    assert_int_equal(n, 3);
    assert_string_equal(a[1].host, "m2");
    assert_int_equal(a[2].port, 5);
    static const char *const bad[] = {"",         "m1:1,", ",m1:1", "m1:1,,m2:2", "m1:1,M1:1", "m1:1,m2:2,m3:3,m4:4",
                                      "m1:1;m2:2"};
    n = 99;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (address_list_parse(bad[i], 5, 0, a, 3, &n, &err) != ERR_INVALID) fail_msg("'%s' was accepted", bad[i]);
    assert_int_equal(n, 99);
}

static void socket_addresses_convert_both_ways(void **state) {
    (void)state;
    static const char *const text[] = {"127.0.0.1:5050", "[::1]:5050"};
    for (size_t i = 0; i < 2; i++) {
        struct address a, b;
        struct sockaddr_storage sa;
        struct err err;
        char out[ADDRESS_TEXT_MAX];
        assert_int_equal(address_parse(text[i], 0, 0, &a, &err), 0);
        assert_int_equal(address_to_sockaddr(&a, &sa, &err), 0);
        address_from_sockaddr((const struct sockaddr *)&sa, &b);
        assert_string_equal(address_format(&b, out), text[i]);
    }
    struct address name = {.host = "localhost", .port = 1};
    struct sockaddr_storage sa;
    struct err err;
    assert_int_equal(address_to_sockaddr(&name, &sa, &err), ERR_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_reads_back_as_it_was_written),
        cmocka_unit_test(a_missing_port_is_the_default_or_an_error),
        cmocka_unit_test(malformed_addresses_are_refused_with_a_text),
        cmocka_unit_test(flags_allow_port_zero_and_refuse_names),
        cmocka_unit_test(lists_keep_their_order_and_refuse_holes_and_repeats),
        cmocka_unit_test(socket_addresses_convert_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
