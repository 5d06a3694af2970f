/* SPDX-License-Identifier: Apache-2.0
 * Slab tables and hash maps against simple models. */
#include "../lib/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "base/blobs.h"
#include "base/map.h"
#include "base/rng.h"
#include "base/slab.h"

struct item {
    uint64_t number;
    uint8_t filling[200];
};

static void numbers_far_apart_are_found_in_order(void **unused) {
    (void)unused;
    static const uint64_t numbers[] = {1, 2, 300, 70000, UINT64_C(1) << 20, UINT64_C(1) << 40, UINT64_C(1) << 62};
    struct slab_table table;
    slab_init(&table, sizeof(struct item));
    for (int i = 6; i >= 0; i--) {
        struct item *item = slab_put(&table, numbers[i]);
        item->number = numbers[i];
    }
    uint64_t from = 0, found = 0;
    for (int i = 0; i < 7; i++) {
        struct item *item = slab_next(&table, from, &found);
        assert_non_null(item);
        assert_int_equal(found, numbers[i]);
        assert_int_equal(item->number, numbers[i]);
        assert_ptr_equal(slab_get(&table, numbers[i]), item);
        assert_null(slab_get(&table, numbers[i] + 1 + (i == 0)));
        from = found + 1;
    }
    assert_null(slab_next(&table, from, &found));
    slab_done(&table);
}

static void an_empty_slab_gives_its_memory_back(void **unused) {
    (void)unused;
    struct slab_table table;
    slab_init(&table, sizeof(struct item));
    for (uint64_t n = 1; n <= 100000; n++)
        slab_put(&table, n);
    size_t full = slab_memory(&table);
    for (uint64_t n = 1; n <= 100000; n++)
        if (n != 50000) slab_drop(&table, n);
    assert_int_equal(slab_count(&table), 1);
    assert_true(slab_memory(&table) < full / 100);
    slab_drop(&table, 50000);
    assert_int_equal(slab_memory(&table), 0);
    slab_done(&table);
}

static void a_reused_slot_is_zeroed(void **unused) {
    (void)unused;
    struct slab_table table;
    slab_init(&table, sizeof(struct item));
    slab_put(&table, 1);
    memset(slab_put(&table, 2), 0xff, sizeof(struct item));
    slab_drop(&table, 2);
    struct item *item = slab_put(&table, 2);
    assert_int_equal(item->number, 0);
    assert_int_equal(item->filling[199], 0);
    slab_done(&table);
}

static void a_random_table_is_as_its_model(void **unused) {
    (void)unused;
    enum { SPAN = 4000 };
    static bool model[SPAN];
    struct slab_table table;
    struct rng rng;
    rng_seed(&rng, 1);
    slab_init(&table, 1000);
    for (int step = 0; step < 60000; step++) {
        uint64_t n = rng_below(&rng, SPAN);
        assert_int_equal(slab_get(&table, n) != NULL, model[n]);
        if (model[n]) slab_drop(&table, n);
        if (!model[n]) slab_put(&table, n);
        model[n] = !model[n];
        if (step % 500 != 0) continue;
        uint64_t found = 0, from = 0;
        for (uint64_t i = 0; i < SPAN; i++) {
            if (!model[i]) continue;
            assert_non_null(slab_next(&table, from, &found));
            assert_int_equal(found, i);
            from = found + 1;
        }
        assert_null(slab_next(&table, from, &found));
    }
    slab_done(&table);
}

static bool value_is_key(const void *ctx, const void *key, uint64_t value) {
    (void)ctx;
    return *(const uint64_t *)key == value;
}

/* Few hashes for many keys, so that runs of entries are long and wrap around. */
static uint64_t poor_hash(uint64_t key) {
    return key % 7 + (key % 3 == 0 ? UINT64_MAX - 3 : 0);
}

static void a_random_map_is_as_its_model_even_with_a_poor_hash(void **unused) {
    (void)unused;
    enum { SPAN = 300 };
    static bool model[SPAN + 1];
    struct map map = {0};
    struct rng rng;
    size_t count = 0;
    rng_seed(&rng, 2);
    for (int step = 0; step < 40000; step++) {
        uint64_t key = 1 + rng_below(&rng, SPAN);
        assert_int_equal(map_get(&map, poor_hash(key), value_is_key, NULL, &key), model[key] ? key : 0);
        assert_int_equal(map_drop(&map, poor_hash(key), key), model[key]);
        count -= model[key];
        if (!model[key]) {
            map_put(&map, poor_hash(key), key);
            count++;
        }
        model[key] = !model[key];
        assert_int_equal(map_count(&map), count);
        if (step % 1000 != 0) continue;
        for (uint64_t i = 1; i <= SPAN; i++)
            assert_int_equal(map_get(&map, poor_hash(i), value_is_key, NULL, &i), model[i] ? i : 0);
    }
    map_done(&map);
}

static void a_changed_entry_answers_with_its_new_value(void **unused) {
    (void)unused;
    struct map map = {0};
    uint64_t one = 1, two = 2;
    map_put(&map, 5, one);
    map_change(&map, 5, one, two);
    assert_int_equal(map_get(&map, 5, value_is_key, NULL, &one), 0);
    assert_int_equal(map_get(&map, 5, value_is_key, NULL, &two), 2);
    map_done(&map);
}

/* Pieces of random sizes, each filled to its end with a number of its own: none may reach into another. */
static void a_random_set_of_blobs_is_as_its_model(void **unused) {
    (void)unused;
    enum { MOST = 4000 };
    static struct {
        uint8_t *piece;
        size_t len;
        uint8_t fill;
    } model[MOST];
    struct rng rng;
    struct blobs blobs = {0};
    rng_seed(&rng, 7);
    for (unsigned step = 0; step < 200000; step++) {
        size_t i = rng_below(&rng, step % 50000 < 40000 ? MOST : MOST / 40); /* at times most of them go */
        if (model[i].piece) {
            for (size_t k = 0; k < model[i].len; k++)
                if (model[i].piece[k] != model[i].fill) fail_msg("step %u: byte %zu of %zu", step, k, model[i].len);
            blobs_put(&blobs, model[i].piece, model[i].len);
            model[i].piece = NULL;
            continue;
        }
        model[i].len = 1 + rng_below(&rng, rng_below(&rng, 20) == 0 ? 2000 : 200);
        model[i].piece = blobs_get(&blobs, model[i].len);
        model[i].fill = (uint8_t)step;
        assert_int_equal((uintptr_t)model[i].piece % BLOB_UNIT, 0);
        memset(model[i].piece, model[i].fill, model[i].len);
    }
    blobs_put(&blobs, NULL, 5);
    for (size_t i = 0; i < MOST; i++)
        if (model[i].piece) blobs_put(&blobs, model[i].piece, model[i].len);
    blobs_done(&blobs);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_far_apart_are_found_in_order),
        cmocka_unit_test(an_empty_slab_gives_its_memory_back),
        cmocka_unit_test(a_reused_slot_is_zeroed),
        cmocka_unit_test(a_random_table_is_as_its_model),
        cmocka_unit_test(a_random_map_is_as_its_model_even_with_a_poor_hash),
        cmocka_unit_test(a_random_set_of_blobs_is_as_its_model),
        cmocka_unit_test(a_changed_entry_answers_with_its_new_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
