/* SPDX-License-Identifier: Apache-2.0
 * The simulator itself: it repeats itself, it can see, and what it has found stays mended. */
#include "../../lib/cmocka_all.h"

#include <string.h>

#include "base/mutant.h"
#include "cluster.h"

static struct verdict seed(uint64_t number, unsigned voters, enum mode mode, unsigned off, uint64_t mutants) {
    struct cluster_config cfg = {.seed = number, .voters = voters, .mode = mode, .off = off, .mutants = mutants};
    struct verdict v;
    seed_run(&cfg, &v);
    return v;
}

static void the_same_seed_gives_the_same_trace(void **state) {
    (void)state;
    static const enum mode modes[] = {MODE_ISLANDS, MODE_MIX, MODE_HAMMER};
    for (uint64_t number = 1000; number < 1050; number++) {
        unsigned voters = number % 5 == 0 ? 5 : 3;
        struct verdict a = seed(number, voters, modes[number % 3], 0, 0);
        struct verdict b = seed(number, voters, modes[number % 3], 0, 0);
        assert_int_equal(a.trace, b.trace);
        assert_int_equal(a.step, b.step);
        assert_false(a.red);
    }
    assert_int_not_equal(seed(1000, 3, MODE_MIX, 0, 0).trace, seed(1001, 3, MODE_MIX, 0, 0).trace);
}

/* The first red seed of a planted bug must be found, whatever the sequence of random numbers has become. */
static struct verdict first_red(enum mode mode, unsigned voters, unsigned off, uint64_t mutants) {
    struct verdict v = {0};
    for (uint64_t number = 1; number <= 60 && !v.red; number++)
        v = seed(number, voters, mode, off, mutants);
    return v;
}

static void the_core_without_the_guard_turns_red(void **state) {
    (void)state;
    assert_true(first_red(MODE_HAMMER, 5, GUARD_ALL, 0).red);
}

static void planted_bugs_are_found_by_the_invariant_that_is_meant_for_them(void **state) {
    (void)state;
    static const struct {
        enum mutant mutant;
        const char *invariant;
    } bugs[] = {
        {MUTANT_VOTE_FORGOTTEN, "vote-lost"}, {MUTANT_EARLY_COMPLETION, "stored"},
        {MUTANT_BATCH_HALF, "diverged"},      {MUTANT_LEARNER_COMMITS, "commit-quorum"},
        {MUTANT_RESTORE_SKIPPED, "diverged"},
    };
    for (size_t i = 0; i < sizeof bugs / sizeof bugs[0]; i++) {
        struct verdict v = first_red(MODE_MIX, 3, 0, UINT64_C(1) << bugs[i].mutant);
        assert_true(v.red);
        assert_string_equal(v.invariant, bugs[i].invariant);
    }
}

static void a_red_seed_is_shrunk_to_what_it_needs(void **state) {
    (void)state;
    static uint32_t keep[FAULTS_KEPT_MAX];
    struct cluster_config cfg = {.voters = 3, .mode = MODE_MIX, .off = GUARD_N};
    struct verdict v = first_red(MODE_MIX, 3, GUARD_N, 0);
    assert_string_equal(v.invariant, "stale-read");
    cfg.seed = v.seed;
    unsigned n = seed_shrink(&cfg, keep, &v);
    assert_true(n < v.faults || v.faults == 0);
    cfg.keep_some = true;
    cfg.keep = keep;
    cfg.keep_count = n;
    struct verdict again;
    seed_run(&cfg, &again);
    assert_string_equal(again.invariant, "stale-read");
    cfg.off = 0;
    seed_run(&cfg, &again);
    assert_false(again.red);
}

/* Schedules that once were red, shrunk: `./dev sim --seed N --shrink` prints them. What they found has a test of its
 * own as well (named behind), because a schedule means something else once the code draws other random numbers. */
static const struct {
    uint64_t seed;
    unsigned voters;
    enum mode mode;
    uint32_t keep[40];
    unsigned count;
} once_red[] = {
    /* test_directed: b_nothing_is_claimed_that_is_still_being_written */
    {18, 5, MODE_MIX, {0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 20, 21, 22, 24, 25, 26, 27}, 21},
    /* test_state_agents: a_task_that_ended_behind_a_known_update_waits_for_its_last_one */
    {31, 3, MODE_MIX, {0}, 0},
    /* a leader that took another out, uncommitted, did not hear it any more when that one led (replica_members.c) */
    {1638,
     3,
     MODE_ISLANDS,
     {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 13, 14, 15, 16, 17, 18, 19, 20, 22,
      24, 25, 26, 28, 30, 31, 33, 36, 37, 38, 39, 40, 42, 43, 45, 49, 50, 54},
     37},
};

static void what_was_red_is_green(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof once_red / sizeof once_red[0]; i++) {
        struct cluster_config cfg = {.seed = once_red[i].seed,
                                     .voters = once_red[i].voters,
                                     .mode = once_red[i].mode,
                                     .keep_some = true,
                                     .keep = once_red[i].keep,
                                     .keep_count = once_red[i].count};
        struct verdict v;
        seed_run(&cfg, &v);
        if (v.red) fail_msg("seed %d: %s: %s", (int)v.seed, v.invariant, v.why);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_gives_the_same_trace),
        cmocka_unit_test(the_core_without_the_guard_turns_red),
        cmocka_unit_test(planted_bugs_are_found_by_the_invariant_that_is_meant_for_them),
        cmocka_unit_test(a_red_seed_is_shrunk_to_what_it_needs),
        cmocka_unit_test(what_was_red_is_green),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
