/* SPDX-License-Identifier: Apache-2.0
 * The cluster itself: leaders, clock, configuration, levels, positions, decoding. */
#include "../lib/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "state_world.h"

static void nothing_is_taken_before_the_first_leader(void **unused) {
    (void)unused;
    struct world w;
    world_open(&w);
    assert_int_equal(world_apply(&w, make_subscribe(NULL, 0, 0)), OUTCOME_REFUSED);
    assert_null(state_framework_next(w.state, 0));
    world_close(&w);
}

static void the_first_leader_names_the_cluster_and_seeds_the_configuration(void **unused) {
    (void)unused;
    struct world w;
    Conclave__Log__Config seed = CONCLAVE__LOG__CONFIG__INIT;
    world_open(&w);
    seed.has_agent_timeout_ms = 1;
    seed.agent_timeout_ms = 5000;
    assert_int_equal(world_apply(&w, make_leader_seeded(3, WORLD_CLUSTER, &seed)), OUTCOME_OK);
    assert_string_equal(state_cluster_name(w.state), "30313233");
    assert_memory_equal(state_cluster_id(w.state), WORLD_CLUSTER, 16);
    assert_int_equal(state_config(w.state)->agent_timeout_ms, 5000);
    assert_int_equal(state_config(w.state)->history_tasks, 10000);
    assert_int_equal(state_leader(w.state)->term, 3);
    assert_int_equal(state_leader(w.state)->index, 1);
    world_close(&w);
}

static void an_unsound_seed_gives_way_to_the_defaults(void **unused) {
    (void)unused;
    struct world w;
    Conclave__Log__Config seed = CONCLAVE__LOG__CONFIG__INIT;
    world_open(&w);
    seed.has_agent_timeout_ms = seed.has_history_tasks = 1;
    seed.agent_timeout_ms = 0;
    seed.history_tasks = 7;
    assert_int_equal(world_apply(&w, make_leader_seeded(1, WORLD_CLUSTER, &seed)), OUTCOME_OK);
    assert_int_equal(state_config(w.state)->agent_timeout_ms, 75000);
    assert_int_equal(state_config(w.state)->history_tasks, 10000);
    world_close(&w);
}

static void a_later_leader_changes_no_configuration(void **unused) {
    (void)unused;
    struct world w;
    Conclave__Log__Config seed = CONCLAVE__LOG__CONFIG__INIT;
    world_start(&w);
    seed.has_agent_timeout_ms = 1;
    seed.agent_timeout_ms = 5000;
    assert_int_equal(world_apply(&w, make_leader_seeded(2, WORLD_CLUSTER, &seed)), OUTCOME_OK);
    assert_int_equal(state_config(w.state)->agent_timeout_ms, 75000);
    assert_int_equal(state_leader(w.state)->term, 2);
    world_close(&w);
}

static void a_leader_of_another_cluster_stops_the_replica(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    struct hash128 before = state_hash(w.state);
    assert_int_equal(world_try(&w, make_leader(2, "fedcba9876543210")), ERR_INCOMPATIBLE);
    assert_true(hash128_equal(state_hash(w.state), before));
    world_close(&w);
}

static void cluster_time_never_goes_back(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    make_time(5000, 1);
    world_framework(&w, 0, 0);
    make_time(4000, 1);
    uint32_t second = world_framework(&w, 0, 0);
    assert_int_equal(state_cluster_ms(w.state), 5000);
    assert_int_equal(state_framework(w.state, second)->since_cluster_ms, 5000);
    world_close(&w);
}

static void a_position_is_applied_once(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    struct made m = make_subscribe(NULL, 0, 0);
    int rc = state_apply(w.state, 1, 1, 0, m.data, m.len, w.outcome, &w.effects, &w.err);
    assert_int_equal(rc, ERR_CORRUPT);
    rc = state_apply(w.state, 1, 1, 1, m.data, m.len, w.outcome, &w.effects, &w.err);
    assert_int_equal(rc, 0);
    rc = state_apply(w.state, 1, 1, 1, m.data, m.len, w.outcome, &w.effects, &w.err);
    assert_int_equal(rc, ERR_CORRUPT);
    assert_int_equal(state_applied_index(w.state), 1);
    world_close(&w);
}

static void the_level_only_grows_and_never_past_this_program(void **unused) {
    (void)unused;
    struct world w;
    Conclave__Log__Config config = CONCLAVE__LOG__CONFIG__INIT;
    world_start(&w);
    config.has_level = 1;
    config.level = 0;
    assert_int_equal(world_apply(&w, make_config(&config)), OUTCOME_REFUSED);
    config.level = STATE_LEVEL_MAX + 1;
    assert_int_equal(world_try(&w, make_config(&config)), ERR_INCOMPATIBLE);
    config.level = STATE_LEVEL_MAX;
    assert_int_equal(world_apply(&w, make_config(&config)), OUTCOME_OK);
    world_close(&w);
}

static void unset_fields_of_a_configuration_stay(void **unused) {
    (void)unused;
    struct world w;
    Conclave__Log__Config config = CONCLAVE__LOG__CONFIG__INIT;
    world_start(&w);
    config.has_history_tasks = 1;
    config.history_tasks = 7;
    assert_int_equal(world_apply(&w, make_config(&config)), OUTCOME_OK);
    assert_int_equal(state_config(w.state)->history_tasks, 7);
    assert_int_equal(state_config(w.state)->history_frameworks, 50);
    config.has_agent_timeout_ms = 1;
    config.agent_timeout_ms = 0;
    assert_int_equal(world_apply(&w, make_config(&config)), OUTCOME_REFUSED);
    assert_int_equal(state_config(w.state)->agent_timeout_ms, 75000);
    world_close(&w);
}

/* A copy of the command with `extra` appended to its bytes. */
static int try_with(struct world *w, struct made m, const char *extra, size_t extra_len) {
    uint8_t *longer = malloc(m.len + extra_len);
    CHECK(longer);
    memcpy(longer, m.data, m.len);
    memcpy(longer + m.len, extra, extra_len);
    int rc = world_try(w, (struct made){longer, m.len + extra_len});
    free(longer);
    return rc;
}

static void an_unknown_field_stops_the_replica_and_changes_nothing(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    struct hash128 before = state_hash(w.state);
    assert_int_equal(try_with(&w, make_subscribe(NULL, 0, 0), "\xf8\x07\x01", 3), ERR_INCOMPATIBLE); /* field 127 */
    /* teardown{framework 1, unknown field 15}: inside a message */
    assert_int_equal(world_try(&w, (struct made){(uint8_t *)"\x08\x01\x10\x01\x7a\x04\x08\x01\x78\x01", 10}),
                     ERR_INCOMPATIBLE);
    assert_true(hash128_equal(state_hash(w.state), before));
    world_close(&w);
}

static void two_commands_in_one_envelope_or_none_are_no_command(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    assert_int_equal(try_with(&w, make_teardown(1), "\x62\x07\x08\x01\x10\x00", 6), ERR_CORRUPT); /* cut off */
    assert_int_equal(try_with(&w, make_teardown(1), "\xb2\x01\x02\x08\x01", 5), ERR_CORRUPT);     /* and agent 22 */
    assert_int_equal(world_try(&w, (struct made){(uint8_t *)"\x08\x01\x10\x01", 4}), ERR_CORRUPT);
    assert_int_equal(world_try(&w, (struct made){(uint8_t *)"", 0}), ERR_CORRUPT);
    world_close(&w);
}

static void a_command_over_its_limit_is_no_command(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    uint8_t *big = calloc(1, (1u << 20) + 1);
    assert_non_null(big);
    assert_int_equal(world_try(&w, (struct made){big, (1u << 20) + 1}), ERR_CORRUPT);
    free(big);
    world_close(&w);
}

static void equal_states_have_equal_hashes_and_a_change_is_seen(void **unused) {
    (void)unused;
    struct world a, b;
    world_start(&a);
    world_start(&b);
    world_framework(&a, 0, 0);
    assert_false(hash128_equal(state_hash(a.state), state_hash(b.state)));
    world_framework(&b, 0, 0);
    assert_true(hash128_equal(state_hash(a.state), state_hash(b.state)));
    world_framework(&a, 1, 0);
    world_framework(&b, 2, 0);
    assert_false(hash128_equal(state_hash(a.state), state_hash(b.state)));
    world_close(&a);
    world_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_taken_before_the_first_leader),
        cmocka_unit_test(the_first_leader_names_the_cluster_and_seeds_the_configuration),
        cmocka_unit_test(an_unsound_seed_gives_way_to_the_defaults),
        cmocka_unit_test(a_later_leader_changes_no_configuration),
        cmocka_unit_test(a_leader_of_another_cluster_stops_the_replica),
        cmocka_unit_test(cluster_time_never_goes_back),
        cmocka_unit_test(a_position_is_applied_once),
        cmocka_unit_test(the_level_only_grows_and_never_past_this_program),
        cmocka_unit_test(unset_fields_of_a_configuration_stay),
        cmocka_unit_test(an_unknown_field_stops_the_replica_and_changes_nothing),
        cmocka_unit_test(two_commands_in_one_envelope_or_none_are_no_command),
        cmocka_unit_test(a_command_over_its_limit_is_no_command),
        cmocka_unit_test(equal_states_have_equal_hashes_and_a_change_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
