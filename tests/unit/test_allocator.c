/* SPDX-License-Identifier: Apache-2.0
 * Dominant-resource fairness as claims. */
#include "../lib/cmocka_all.h"

#include "base/rng.h"
#include "scheduler/allocator.h"

#define CPUS(n) ((int64_t)(n)*1000)
#define MB(n)   ((int64_t)(n)*1000)

static struct resources amount(int64_t cpus, int64_t mem) {
    return (struct resources){.cpus = cpus, .mem = mem};
}

static struct allocator_framework framework(uint32_t number) {
    return (struct allocator_framework){.number = number, .roles = 1};
}

static size_t run(struct allocator_agent *agents, size_t agent_count, struct allocator_framework *frameworks,
                  size_t framework_count, const struct resources *total, struct allocation *ret, size_t max) {
    size_t count = 0;
    allocator_run(agents, agent_count, frameworks, framework_count, total, NULL, NULL, ret, max, &count);
    return count;
}

static void an_agent_goes_whole_to_the_framework_with_the_smallest_share(void **state) {
    (void)state;
    struct allocator_agent agents[] = {{7, amount(CPUS(4), MB(1000))}};
    struct allocator_framework frameworks[] = {framework(1), framework(2)};
    struct resources total = amount(CPUS(8), MB(2000));
    struct allocation got[4];
    frameworks[0].held = amount(CPUS(1), MB(0));
    assert_int_equal(run(agents, 1, frameworks, 2, &total, got, 4), 1);
    assert_int_equal(got[0].framework, 2);
    assert_int_equal(got[0].agent, 7);
    assert_int_equal(frameworks[1].held.cpus, CPUS(4));
    assert_int_equal(frameworks[1].held.mem, MB(1000));
}

static void the_dominant_resource_decides_not_the_sum(void **state) {
    (void)state;
    struct allocator_agent agents[] = {{1, amount(CPUS(1), MB(100))}};
    struct allocator_framework frameworks[] = {framework(1), framework(2)};
    struct resources total = amount(CPUS(100), MB(1000));
    struct allocation got[1];
    frameworks[0].held = amount(CPUS(20), MB(0));  /* 20 % of the cpus */
    frameworks[1].held = amount(CPUS(1), MB(300)); /* 30 % of the memory */
    assert_int_equal(run(agents, 1, frameworks, 2, &total, got, 1), 1);
    assert_int_equal(got[0].framework, 1);
}

static void equal_shares_go_to_the_smaller_number_whatever_the_order_of_the_list(void **state) {
    (void)state;
    struct allocator_agent agents[] = {{1, amount(CPUS(1), MB(100))}};
    struct allocator_framework frameworks[] = {framework(9), framework(3), framework(5)};
    struct resources total = amount(CPUS(10), MB(1000));
    struct allocation got[1];
    assert_int_equal(run(agents, 1, frameworks, 3, &total, got, 1), 1);
    assert_int_equal(got[0].framework, 3);
}

static void scraps_are_passed_over(void **state) {
    (void)state;
    struct allocator_agent agents[] = {
        {1, amount(9, MB(100))}, {2, amount(CPUS(1), MB(32) - 1)}, {3, amount(10, MB(32))}};
    struct allocator_framework frameworks[] = {framework(1)};
    struct resources total = amount(CPUS(10), MB(1000));
    struct allocation got[3];
    assert_int_equal(run(agents, 3, frameworks, 1, &total, got, 3), 1);
    assert_int_equal(got[0].agent, 3);
}

static void an_agent_with_gpus_is_kept_for_frameworks_that_want_them(void **state) {
    (void)state;
    struct allocator_agent agents[] = {{1, {.cpus = CPUS(1), .mem = MB(100), .gpus = 1000}}};
    struct allocator_framework frameworks[] = {framework(1), framework(2)};
    struct resources total = {.cpus = CPUS(1), .mem = MB(100), .gpus = 1000};
    struct allocation got[1];
    assert_int_equal(run(agents, 1, frameworks, 1, &total, got, 1), 0);
    frameworks[1].gpus_wanted = true;
    assert_int_equal(run(agents, 1, frameworks, 2, &total, got, 1), 1);
    assert_int_equal(got[0].framework, 2);
}

static void a_framework_without_an_open_role_gets_nothing(void **state) {
    (void)state;
    struct allocator_agent agents[] = {{1, amount(CPUS(1), MB(100))}};
    struct allocator_framework frameworks[] = {framework(1)};
    struct resources total = amount(CPUS(1), MB(100));
    struct allocation got[1];
    frameworks[0].roles = 0;
    assert_int_equal(run(agents, 1, frameworks, 1, &total, got, 1), 0);
    frameworks[0].roles = 1u << 31;
    assert_int_equal(run(agents, 1, frameworks, 1, &total, got, 1), 1);
    assert_int_equal(got[0].role, 31);
}

static void each_offer_moves_its_framework_back_in_the_queue(void **state) {
    (void)state;
    struct allocator_agent agents[6];
    struct allocator_framework frameworks[] = {framework(1), framework(2), framework(3)};
    struct resources total = amount(CPUS(10), MB(1000));
    static const uint32_t expected[] = {1, 2, 1, 2, 3, 1};
    struct allocation got[6];
    for (uint32_t i = 0; i < 6; i++)
        agents[i] = (struct allocator_agent){i, amount(CPUS(1), MB(100))};
    frameworks[2].held = amount(CPUS(2) - 1, 0);
    assert_int_equal(run(agents, 6, frameworks, 3, &total, got, 6), 6);
    for (int i = 0; i < 6; i++)
        assert_int_equal(got[i].framework, expected[i]);
}

static bool filter_first_role_of_1(void *ctx, uint32_t who, uint32_t role, uint32_t agent,
                                   const struct resources *free) {
    (void)agent, (void)free;
    ++*(int *)ctx;
    return who == 1 && role == 0;
}

static void a_filter_hides_a_role_and_the_next_one_is_tried(void **state) {
    (void)state;
    struct allocator_agent agents[] = {{1, amount(CPUS(1), MB(100))}, {2, amount(CPUS(1), MB(100))}};
    struct allocator_framework frameworks[] = {framework(1), framework(2)};
    struct resources total = amount(CPUS(2), MB(200));
    struct allocation got[2];
    size_t count = 0;
    int asked = 0;
    allocator_run(agents, 1, frameworks, 2, &total, filter_first_role_of_1, &asked, got, 2, &count);
    assert_int_equal(count, 1);
    assert_int_equal(got[0].framework, 2);
    assert_int_equal(asked, 2);
    frameworks[0].roles = 3;
    allocator_run(agents, 2, frameworks, 1, &total, filter_first_role_of_1, &asked, got, 2, &count);
    assert_int_equal(count, 2);
    assert_int_equal(got[0].role, 1);
}

static void offers_stop_at_the_given_maximum(void **state) {
    (void)state;
    struct allocator_agent agents[] = {{1, amount(CPUS(1), MB(100))}, {2, amount(CPUS(1), MB(100))}};
    struct allocator_framework frameworks[] = {framework(1)};
    struct resources total = amount(CPUS(2), MB(200));
    struct allocation got[1];
    assert_int_equal(run(agents, 2, frameworks, 1, &total, got, 1), 1);
    assert_int_equal(run(agents, 2, frameworks, 1, &total, got, 0), 0);
    assert_int_equal(run(agents, 2, frameworks, 0, &total, got, 1), 0);
}

/* The example of the paper: <9 cpus, 18 GB>, A's tasks take <1, 4>, B's <3, 1>: A ends with 3 tasks, B with 2. */
static void the_example_of_the_paper_ends_as_in_the_paper(void **state) {
    (void)state;
    const struct resources task[] = {amount(CPUS(1), MB(4000)), amount(CPUS(3), MB(1000))};
    struct resources total = amount(CPUS(9), MB(18000)), left = total;
    struct allocator_framework frameworks[] = {framework(1), framework(2)};
    int launched[2] = {0, 0};
    for (;;) {
        struct allocator_agent agent = {1, left};
        struct allocation got[1];
        struct resources before[2] = {frameworks[0].held, frameworks[1].held};
        if (run(&agent, 1, frameworks, 2, &total, got, 1) == 0) break;
        uint32_t who = got[0].framework - 1;
        frameworks[0].held = before[0], frameworks[1].held = before[1];
        if (!resources_contains(&left, &task[who])) break;
        assert_int_equal(resources_sub(&left, &task[who]), 0);
        assert_int_equal(resources_add(&frameworks[who].held, &task[who]), 0);
        launched[who]++;
    }
    assert_int_equal(launched[0], 3);
    assert_int_equal(launched[1], 2);
}

/* Two frameworks take one task from each offer; the order of agents turns, as the master's does. 0.8 is the optimum. */
static void different_dominant_resources_converge_to_equal_shares(void **state) {
    (void)state;
    enum { AGENTS = 40, ROUNDS = 400 };
    const struct resources task[] = {amount(CPUS(2), MB(500)), amount(500, MB(4000))};
    struct resources total = amount(CPUS(16 * AGENTS), MB(32000 * AGENTS)), free_on[AGENTS];
    struct allocator_framework frameworks[] = {framework(1), framework(2)};
    for (int i = 0; i < AGENTS; i++)
        free_on[i] = amount(CPUS(16), MB(32000));
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct allocator_agent agents[AGENTS];
        struct allocation got[AGENTS];
        struct resources held[2] = {frameworks[0].held, frameworks[1].held};
        for (uint32_t i = 0; i < AGENTS; i++)
            agents[i] = (struct allocator_agent){(i + round) % AGENTS, free_on[(i + round) % AGENTS]};
        size_t count = run(agents, AGENTS, frameworks, 2, &total, got, AGENTS);
        frameworks[0].held = held[0], frameworks[1].held = held[1];
        for (size_t i = 0; i < count; i++) {
            uint32_t who = got[i].framework - 1;
            if (!resources_contains(&free_on[got[i].agent], &task[who])) continue;
            assert_int_equal(resources_sub(&free_on[got[i].agent], &task[who]), 0);
            assert_int_equal(resources_add(&frameworks[who].held, &task[who]), 0);
        }
    }
    double cpus = (double)frameworks[0].held.cpus / (double)total.cpus;
    double mem = (double)frameworks[1].held.mem / (double)total.mem;
    assert_true(cpus > 0.7 && mem > 0.7); /* both beyond half: each has what the other does not want */
    assert_true(cpus - mem < 0.1 && mem - cpus < 0.1);
}

static void the_same_view_gives_the_same_offers_in_any_order_of_frameworks(void **state) {
    (void)state;
    enum { AGENTS = 30, FRAMEWORKS = 12 };
    struct rng rng;
    rng_seed(&rng, 4);
    for (int round = 0; round < 200; round++) {
        struct allocator_agent agents[AGENTS];
        struct allocator_framework a[FRAMEWORKS], b[FRAMEWORKS];
        struct allocation got_a[AGENTS], got_b[AGENTS];
        struct resources total = amount(CPUS(1000), MB(100000));
        for (uint32_t i = 0; i < AGENTS; i++)
            agents[i] = (struct allocator_agent){i, amount((int64_t)rng_below(&rng, 4000), MB(rng_below(&rng, 200)))};
        for (uint32_t i = 0; i < FRAMEWORKS; i++) {
            a[i] = framework(i + 1);
            a[i].held = amount(CPUS(rng_below(&rng, 4)), MB(rng_below(&rng, 4) * 100));
            b[FRAMEWORKS - 1 - i] = a[i];
        }
        size_t count = run(agents, AGENTS, a, FRAMEWORKS, &total, got_a, AGENTS);
        assert_int_equal(run(agents, AGENTS, b, FRAMEWORKS, &total, got_b, AGENTS), count);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(got_a[i].agent, got_b[i].agent);
            assert_int_equal(got_a[i].framework, got_b[i].framework);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_agent_goes_whole_to_the_framework_with_the_smallest_share),
        cmocka_unit_test(the_dominant_resource_decides_not_the_sum),
        cmocka_unit_test(equal_shares_go_to_the_smaller_number_whatever_the_order_of_the_list),
        cmocka_unit_test(scraps_are_passed_over),
        cmocka_unit_test(an_agent_with_gpus_is_kept_for_frameworks_that_want_them),
        cmocka_unit_test(a_framework_without_an_open_role_gets_nothing),
        cmocka_unit_test(each_offer_moves_its_framework_back_in_the_queue),
        cmocka_unit_test(a_filter_hides_a_role_and_the_next_one_is_tried),
        cmocka_unit_test(offers_stop_at_the_given_maximum),
        cmocka_unit_test(the_example_of_the_paper_ends_as_in_the_paper),
        cmocka_unit_test(different_dominant_resources_converge_to_equal_shares),
        cmocka_unit_test(the_same_view_gives_the_same_offers_in_any_order_of_frameworks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
