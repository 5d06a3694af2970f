/* SPDX-License-Identifier: Apache-2.0
 * The payload of log entries: limits, round trip, and hostile bytes. */
#include "../lib/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/rng.h"
#include "consensus/entry.h"

static uint8_t *encode(struct entry_builder *b, size_t *ret_len) {
    *ret_len = entry_builder_size(b);
    uint8_t *data = malloc(*ret_len);
    assert_non_null(data);
    entry_builder_encode(b, data);
    return data;
}

static void commands_come_back_as_they_were_put_in(void **state) {
    (void)state;
    struct entry_builder b;
    entry_builder_init(&b);
    for (unsigned round = 0; round < 2; round++) { /* the second round uses the emptied builder */
        for (size_t len = 1; len <= 33; len++) {
            uint8_t command[33];
            memset(command, (int)(len + round), sizeof command);
            assert_int_equal(entry_builder_add(&b, command, len), 0);
        }
        size_t len;
        uint8_t *data = encode(&b, &len);
        assert_int_equal(len % 8, 0);
        struct entry_iter it;
        assert_int_equal(entry_iter_init(&it, data, len), 0);
        assert_int_equal(it.count, 33);
        const uint8_t *command;
        size_t n, want = 1;
        while (entry_iter_next(&it, &command, &n)) {
            assert_int_equal(n, want);
            for (size_t i = 0; i < n; i++)
                assert_int_equal(command[i], want + round);
            want++;
        }
        assert_int_equal(want, 34);
        free(data);
    }
    entry_builder_done(&b);
}

static void a_full_batch_refuses_and_an_empty_one_takes_the_largest_command(void **state) {
    (void)state;
    struct entry_builder b;
    entry_builder_init(&b);
    uint8_t *big = calloc(1, ENTRY_COMMAND_MAX + 1);
    assert_int_equal(entry_builder_add(&b, big, 0), ERR_INVALID);
    assert_int_equal(entry_builder_add(&b, big, ENTRY_COMMAND_MAX + 1), ERR_LIMIT);
    assert_int_equal(entry_builder_add(&b, big, ENTRY_COMMAND_MAX), 0);
    assert_int_equal(entry_builder_add(&b, big, 1), ERR_BUSY);
    size_t len;
    uint8_t *data = encode(&b, &len);
    assert_true(len <= ENTRY_ENCODED_MAX);
    struct entry_iter it;
    assert_int_equal(entry_iter_init(&it, data, len), 0);
    free(data);
    for (unsigned i = 0; i < ENTRY_COMMANDS_MAX; i++)
        assert_int_equal(entry_builder_add(&b, big, 3), 0);
    assert_int_equal(entry_builder_add(&b, big, 3), ERR_BUSY);
    free(encode(&b, &len));
    assert_int_equal(entry_builder_add(&b, big, ENTRY_BATCH_BYTES - ENTRY_HEADER_BYTES - 4 - 5), 0);
    assert_int_equal(entry_builder_add(&b, big, 2), ERR_BUSY);
    assert_int_equal(entry_builder_add(&b, big, 1), 0);
    free(big);
    entry_builder_done(&b);
}

static uint8_t *two_commands(size_t *ret_len) {
    struct entry_builder b;
    entry_builder_init(&b);
    assert_int_equal(entry_builder_add(&b, "hello", 5), 0);
    assert_int_equal(entry_builder_add(&b, "yo", 2), 0);
    uint8_t *data = encode(&b, ret_len);
    entry_builder_done(&b);
    return data;
}

static void every_truncation_and_every_changed_length_is_refused(void **state) {
    (void)state;
    size_t len;
    uint8_t *data = two_commands(&len);
    struct entry_iter it;
    for (size_t n = 0; n < len; n++) {
        uint8_t *copy = malloc(n + 1);
        memcpy(copy, data, n);
        assert_int_equal(entry_iter_init(&it, copy, n), ERR_PARSE);
        free(copy);
    }
    const size_t fields[] = {0, 4, 8, 17};
    const uint32_t values[] = {0, 1, 2, 9, 0x7fffffff, 0xffffffff};
    for (size_t f = 0; f < 4; f++)
        for (size_t v = 0; v < 6; v++) {
            uint8_t *copy = malloc(len);
            memcpy(copy, data, len);
            bool same = load_u32(copy + fields[f]) == values[v];
            store_u32(copy + fields[f], values[v]);
            assert_int_equal(entry_iter_init(&it, copy, len), same ? 0 : ERR_PARSE);
            free(copy);
        }
    data[len - 1] = 1; /* padding */
    assert_int_equal(entry_iter_init(&it, data, len), ERR_PARSE);
    free(data);
}

static void random_damage_never_reads_outside(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 42);
    size_t len;
    uint8_t *data = two_commands(&len);
    for (unsigned round = 0; round < 20000; round++) {
        size_t n = (size_t)rng_below(&rng, len + 1);
        uint8_t *copy = malloc(n + 1);
        memcpy(copy, data, n);
        for (uint64_t flips = rng_below(&rng, 4); flips > 0 && n > 0; flips--)
            copy[rng_below(&rng, n)] = (uint8_t)rng_next(&rng);
        struct entry_iter it;
        if (entry_iter_init(&it, copy, n) == 0) {
            const uint8_t *command;
            size_t size, total = 0;
            while (entry_iter_next(&it, &command, &size)) {
                assert_true(command >= copy && command + size <= copy + n);
                total += size;
            }
            assert_true(total < n);
        }
        free(copy);
    }
    free(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_come_back_as_they_were_put_in),
        cmocka_unit_test(a_full_batch_refuses_and_an_empty_one_takes_the_largest_command),
        cmocka_unit_test(every_truncation_and_every_changed_length_is_refused),
        cmocka_unit_test(random_damage_never_reads_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
