/* SPDX-License-Identifier: Apache-2.0
 * The cluster itself: leaders, clock, configuration, levels, positions, decoding. */
#include "../lib/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "scheduler/level.h"
#include "state_world.h"

#define LEVEL_1_HASH  "cb3589c9637b4221352ce87c94381611" /* what the last program without a level 2 says */
#define LEVEL_1_BYTES 160

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

/* As a cluster that an older program began. */
static void start_at_level_1(struct world *w) {
    Conclave__Log__Config seed = CONCLAVE__LOG__CONFIG__INIT;
    world_open(w);
    seed.has_level = 1;
    seed.level = 1;
    assert_int_equal(world_apply(w, make_leader_seeded(1, WORLD_CLUSTER, &seed)), OUTCOME_OK);
    assert_int_equal(state_config(w->state)->level, 1);
}

static void a_new_cluster_begins_at_the_level_of_its_first_leader(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    assert_int_equal(state_config(w.state)->level, level_max());
    assert_int_equal(state_config(w.state)->changed_index, 1);
    world_close(&w);
    start_at_level_1(&w);
    /* a seed is nothing to a cluster that has a configuration, whatever level it names */
    Conclave__Log__Config seed = CONCLAVE__LOG__CONFIG__INIT;
    seed.has_level = 1;
    seed.level = level_max() + 1;
    assert_int_equal(world_apply(&w, make_leader_seeded(2, WORLD_CLUSTER, &seed)), OUTCOME_OK);
    assert_int_equal(state_config(w.state)->level, 1);
    world_close(&w);
    world_open(&w);
    assert_int_equal(world_try(&w, make_leader_seeded(1, WORLD_CLUSTER, &seed)), ERR_INCOMPATIBLE);
    world_close(&w);
}

/* What the state hash was before there was a level 2: an older program must come to the same. */
static void at_level_1_records_are_as_an_older_program_makes_them(void **unused) {
    (void)unused;
    struct world w;
    struct buf bytes;
    start_at_level_1(&w);
    Conclave__Log__Config config = CONCLAVE__LOG__CONFIG__INIT;
    config.has_history_tasks = 1;
    config.history_tasks = 7;
    assert_int_equal(world_apply(&w, make_config(&config)), OUTCOME_OK);
    char hex[33];
    hash128_hex(state_hash(w.state), hex);
    assert_string_equal(hex, LEVEL_1_HASH);
    buf_init(&bytes, 1 << 20);
    assert_int_equal(state_snapshot(w.state, &bytes), 0);
    assert_int_equal(bytes.len, LEVEL_1_BYTES);
    buf_done(&bytes);
    world_close(&w);
}

static void a_newer_command_is_refused_while_the_level_is_older(void **unused) {
    (void)unused;
    struct world w;
    Conclave__Log__Config config = CONCLAVE__LOG__CONFIG__INIT;
    Conclave__Log__Position changed = CONCLAVE__LOG__POSITION__INIT;
    start_at_level_1(&w);
    config.has_history_tasks = 1;
    config.history_tasks = 7;
    assert_int_equal(world_apply(&w, make_config_if(&config, &changed)), OUTCOME_REFUSED);
    assert_non_null(strstr(w.outcome->reason, "ConfigSet.if_changed needs feature level 2, the cluster has 1"));
    assert_int_equal(state_config(w.state)->history_tasks, 10000);
    config.has_level = 1;
    config.level = 2;
    assert_int_equal(world_apply(&w, make_config(&config)), OUTCOME_OK);
    assert_int_equal(state_config(w.state)->changed_index, w.index);
    world_close(&w);
}

static void the_configuration_is_changed_by_compare_and_set(void **unused) {
    (void)unused;
    struct world w;
    Conclave__Log__Config config = CONCLAVE__LOG__CONFIG__INIT;
    Conclave__Log__Position changed = CONCLAVE__LOG__POSITION__INIT;
    world_start(&w);
    config.has_history_tasks = 1;
    config.history_tasks = 7;
    changed.index = 1;
    assert_int_equal(world_apply(&w, make_config_if(&config, &changed)), OUTCOME_OK);
    uint64_t at = w.index;
    config.history_tasks = 8;
    assert_int_equal(world_apply(&w, make_config_if(&config, &changed)), OUTCOME_CONFLICT);
    assert_non_null(strstr(w.outcome->reason, "changed at 2.0, not at 1.0"));
    assert_int_equal(state_config(w.state)->history_tasks, 7);
    assert_int_equal(state_config(w.state)->changed_index, at);
    changed.index = at;
    changed.n = 1;
    assert_int_equal(world_apply(&w, make_config_if(&config, &changed)), OUTCOME_CONFLICT);
    changed.n = 0;
    config.has_agent_timeout_ms = 1;
    config.agent_timeout_ms = 999;
    assert_int_equal(world_apply(&w, make_config_if(&config, &changed)), OUTCOME_REFUSED);
    assert_string_equal(w.outcome->reason, "agent_timeout_ms must be 1000 to 86400000, not 999");
    config.agent_timeout_ms = 1000;
    assert_int_equal(world_apply(&w, make_config_if(&config, &changed)), OUTCOME_OK);
    assert_int_equal(state_config(w.state)->changed_index, w.index);
    world_close(&w);
}

static void what_this_program_does_not_know_is_seen_before_anything_is_applied(void **unused) {
    (void)unused;
    struct world w;
    struct level_need need;
    Conclave__Log__Config config = CONCLAVE__LOG__CONFIG__INIT;
    world_start(&w);
    config.has_level = 1;
    config.level = level_max() + 1;
    struct made m = make_config(&config);
    assert_int_equal(state_admit(w.state, m.data, m.len, &w.err), ERR_INCOMPATIBLE);
    assert_non_null(strstr(w.err.text, "feature level 3"));
    assert_non_null(strstr(w.err.text, "the leader runs 0.1.0, start that"));
    const char unknown[] = "\x08\x01\x10\x01\x7a\x04\x08\x01\x78\x01"; /* teardown with a field 15 */
    assert_int_equal(state_admit(w.state, (const uint8_t *)unknown, 10, &w.err), ERR_INCOMPATIBLE);
    const char command[] = "\x08\x01\x10\x01\xfa\x07\x00"; /* command 127 */
    assert_int_equal(state_admit(w.state, (const uint8_t *)command, 7, &w.err), ERR_INCOMPATIBLE);
    assert_non_null(strstr(w.err.text, "field 127 of conclave.log.Command"));
    /* bytes that are cut anywhere are never read over their end */
    m = make_subscribe("framework", 1, 2);
    for (size_t len = 0; len < m.len; len++) {
        uint8_t *cut = malloc(len + 1);
        CHECK(cut);
        memcpy(cut, m.data, len);
        int rc = level_of(cut, len, &need, &w.err);
        assert_true(rc == 0 || rc == ERR_CORRUPT);
        free(cut);
    }
    const char group[] = "\x0b"; /* a wire type that we never write */
    assert_int_equal(level_of((const uint8_t *)group, 1, &need, &w.err), ERR_CORRUPT);
    const char endless[] = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    assert_int_equal(level_of((const uint8_t *)endless, 12, &need, &w.err), ERR_CORRUPT);
    world_close(&w);
}

static void the_level_only_grows_and_never_past_this_program(void **unused) {
    (void)unused;
    struct world w;
    Conclave__Log__Config config = CONCLAVE__LOG__CONFIG__INIT;
    start_at_level_1(&w);
    config.has_level = 1;
    config.level = 0;
    assert_int_equal(world_apply(&w, make_config(&config)), OUTCOME_REFUSED);
    config.level = level_max() + 1;
    assert_int_equal(world_try(&w, make_config(&config)), ERR_INCOMPATIBLE);
    config.level = level_max();
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
        cmocka_unit_test(a_new_cluster_begins_at_the_level_of_its_first_leader),
        cmocka_unit_test(at_level_1_records_are_as_an_older_program_makes_them),
        cmocka_unit_test(a_newer_command_is_refused_while_the_level_is_older),
        cmocka_unit_test(the_configuration_is_changed_by_compare_and_set),
        cmocka_unit_test(what_this_program_does_not_know_is_seen_before_anything_is_applied),
        cmocka_unit_test(the_level_only_grows_and_never_past_this_program),
        cmocka_unit_test(unset_fields_of_a_configuration_stay),
        cmocka_unit_test(an_unknown_field_stops_the_replica_and_changes_nothing),
        cmocka_unit_test(two_commands_in_one_envelope_or_none_are_no_command),
        cmocka_unit_test(a_command_over_its_limit_is_no_command),
        cmocka_unit_test(equal_states_have_equal_hashes_and_a_change_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
