/* SPDX-License-Identifier: Apache-2.0
 * The simulator itself: it repeats itself, and it can see. */
#include "../lib/cmocka_all.h"

#include <string.h>

#include "sim.h"

static struct sim_result seed(uint64_t number, unsigned voters, enum sim_mode mode, unsigned off) {
    struct sim_config cfg = {.seed = number, .voters = voters, .mode = mode, .store = SIM_STORE_WAL, .off = off};
    struct sim_result r;
    sim_seed(&cfg, &r);
    return r;
}

static void the_same_seed_gives_the_same_trace(void **state) {
    (void)state;
    for (uint64_t number = 1000; number < 1025; number++)
        for (unsigned voters = 3; voters <= 5; voters += 2) {
            struct sim_result a = seed(number, voters, SIM_MIX, 0), b = seed(number, voters, SIM_MIX, 0);
            assert_int_equal(a.trace, b.trace);
            assert_int_equal(a.step, b.step);
            assert_int_not_equal(a.trace, seed(number + 100, voters, SIM_MIX, 0).trace);
        }
}

static unsigned red_seeds(unsigned voters, enum sim_mode mode, unsigned off, const char *kind) {
    unsigned red = 0;
    for (uint64_t number = 1; number <= 30; number++) {
        struct sim_result r = seed(number, voters, mode, off);
        if (r.red && (kind == NULL || strcmp(r.invariant, kind) == 0)) red++;
    }
    return red;
}

static void the_core_without_the_guard_turns_red(void **state) {
    (void)state;
    assert_true(red_seeds(5, SIM_HAMMER, GUARD_ALL, NULL) > 0);
}

static void committing_old_terms_by_counting_is_noticed_by_the_check_before_apply(void **state) {
    (void)state;
    assert_true(red_seeds(5, SIM_HAMMER, GUARD_A, "guard-breach") > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_gives_the_same_trace),
        cmocka_unit_test(the_core_without_the_guard_turns_red),
        cmocka_unit_test(committing_old_terms_by_counting_is_noticed_by_the_check_before_apply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
