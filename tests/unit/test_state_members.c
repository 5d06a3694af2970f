/* SPDX-License-Identifier: Apache-2.0
 * Masters in the state: which ids are given, that none is given twice, and where they are reached. */
#include "../lib/cmocka_all.h"

#include <stdio.h>
#include <string.h>

#include "state_world.h"

static void begin(struct world *w) {
    Conclave__Log__Config seed = CONCLAVE__LOG__CONFIG__INIT;
    world_open(w);
    seed.has_level = 1;
    seed.level = 2;
    assert_int_equal(world_apply(w, make_leader_seeded(1, WORLD_CLUSTER, &seed)), OUTCOME_OK);
}

static uint64_t add(struct world *w, const char *peer, uint64_t highest) {
    assert_int_equal(world_apply(w, make_member_add(peer, highest)), OUTCOME_OK);
    return w->outcome->member;
}

static void an_id_is_above_every_one_that_is_known_and_never_given_twice(void **state) {
    (void)state;
    struct world w;
    begin(&w);
    assert_int_equal(add(&w, "10.0.0.4:5060", 3), 4);
    assert_string_equal(state_member(w.state, 4)->peer, "10.0.0.4:5060");
    assert_int_equal(world_apply(&w, make_member_remove(4)), OUTCOME_OK);
    assert_null(state_member(w.state, 4));
    assert_int_equal(add(&w, "10.0.0.4:5060", 3), 5);
    assert_int_equal(world_apply(&w, make_member_remove(9)), OUTCOME_OK); /* one that the cluster began with */
    assert_int_equal(add(&w, "10.0.0.5:5060", 3), 10);
    assert_int_equal(add(&w, "10.0.0.6:5060", 20), 21);
    assert_int_equal(world_apply(&w, make_member_remove(2)), OUTCOME_NO_CHANGE);
    world_close(&w);
}

static void one_that_never_came_in_makes_room_for_the_next_at_its_address(void **state) {
    (void)state;
    struct world w;
    begin(&w);
    assert_int_equal(add(&w, "10.0.0.4:5060", 3), 4);
    assert_int_equal(add(&w, "10.0.0.4:5060", 3), 5);
    assert_null(state_member(w.state, 4));
    assert_ptr_equal(state_member_nth(w.state, 0), state_member(w.state, 5));
    assert_null(state_member_nth(w.state, 1));
    world_close(&w);
}

static void what_is_over_a_bound_is_refused(void **state) {
    (void)state;
    struct world w;
    char peer[200];
    begin(&w);
    for (int i = 0; i < STATE_MEMBERS_MAX; i++) {
        (void)snprintf(peer, sizeof peer, "10.0.1.%d:5060", i);
        (void)add(&w, peer, 3);
    }
    assert_int_equal(world_apply(&w, make_member_add("10.0.2.1:5060", 3)), OUTCOME_REFUSED);
    assert_int_equal(world_apply(&w, make_member_add("", 3)), OUTCOME_REFUSED);
    memset(peer, 'a', sizeof peer);
    peer[sizeof peer - 1] = '\0';
    assert_int_equal(world_apply(&w, make_member_add(peer, 3)), OUTCOME_REFUSED);
    assert_int_equal(world_apply(&w, make_member_add("10.0.1.1:5060", UINT64_MAX)), OUTCOME_REFUSED);
    assert_int_equal(world_apply(&w, make_member_remove(0)), OUTCOME_REFUSED);
    assert_int_equal(world_apply(&w, make_member_remove(UINT64_MAX)), OUTCOME_REFUSED);
    world_close(&w);
}

static void a_snapshot_keeps_them(void **state) {
    (void)state;
    struct world w;
    begin(&w);
    (void)add(&w, "10.0.0.4:5060", 3);
    (void)add(&w, "10.0.0.5:5060", 3);
    (void)world_apply(&w, make_member_remove(4));
    struct buf bytes;
    buf_init(&bytes, 1u << 20);
    assert_int_equal(state_snapshot(w.state, &bytes), 0);
    struct hash128 before = state_hash(w.state);
    assert_int_equal(state_restore(w.state, bytes.data, bytes.len, &w.err), 0);
    buf_done(&bytes);
    assert_true(hash128_equal(state_hash(w.state), before));
    assert_int_equal(add(&w, "10.0.0.6:5060", 3), 6);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_is_above_every_one_that_is_known_and_never_given_twice),
        cmocka_unit_test(one_that_never_came_in_makes_room_for_the_next_at_its_address),
        cmocka_unit_test(what_is_over_a_bound_is_refused),
        cmocka_unit_test(a_snapshot_keeps_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
