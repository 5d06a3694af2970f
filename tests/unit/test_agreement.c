/* SPDX-License-Identifier: Apache-2.0
 * Whose state is wrong (agreement.h), and how full a disk is (replica_space.c). */
#include "../lib/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "consensus/agreement.h"
#include "consensus/replica_impl.h"

#define KIND 1u

/* Our hash at an index is the index, repeated; known from `oldest` to `newest`. */
struct ours {
    uint64_t oldest, newest;
    uint8_t wrong; /* added to every byte */
};

static bool own(void *ctx, uint64_t index, uint8_t ret[16]) {
    const struct ours *o = ctx;
    if (index < o->oldest || index > o->newest) return false;
    memset(ret, (int)(uint8_t)(index + o->wrong), 16);
    return true;
}

static struct agreement_peer peer(uint64_t id, uint64_t applied, uint8_t wrong) {
    struct ours o = {.oldest = 1, .newest = applied, .wrong = wrong};
    struct agreement_peer p = {.id = id, .voter = true, .hash_kind = KIND};
    agreement_marks(applied, own, &o, p.marks);
    return p;
}

static void marks_are_the_newest_position_and_the_newest_multiples(void **state) {
    (void)state;
    struct ours o = {.oldest = 1, .newest = 10000};
    struct peer_mark marks[PEER_MARKS];
    agreement_marks(9000, own, &o, marks);
    assert_true(marks[0].index == 9000 && marks[1].index == 8960 && marks[2].index == 8192);
    o.oldest = 8200;
    agreement_marks(9000, own, &o, marks);
    assert_true(marks[0].index == 9000 && marks[1].index == 8960 && marks[2].index == 0);
    agreement_marks(0, own, &o, marks);
    assert_true(marks[0].index == 0 && marks[1].index == 0 && marks[2].index == 0);
}

static void equal_states_agree_however_far_each_is(void **state) {
    (void)state;
    struct ours o = {.oldest = 5000, .newest = 9050};
    struct agreement_peer peers[] = {peer(2, 9000, 0), peer(3, 9100, 0), peer(4, 100, 0), peer(5, 9050, 0)};
    assert_int_equal(agreement_judge(peers, 4, 5, KIND, own, &o), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(peers[i].differs_index, 0);
}

static void the_one_that_differs_from_a_majority_is_outvoted(void **state) {
    (void)state;
    struct ours wrong = {.oldest = 1, .newest = 9050, .wrong = 3}, right = {.oldest = 1, .newest = 9050};
    struct agreement_peer all[] = {peer(2, 9050, 0), peer(3, 9100, 0)}; /* common: 8,192 */
    assert_true(agreement_judge(all, 2, 3, KIND, own, &wrong) != 0);
    struct agreement_peer one[] = {peer(2, 9050, 3), peer(3, 9100, 0)}; /* we are among the majority */
    assert_int_equal(agreement_judge(one, 2, 3, KIND, own, &right), 0);
    assert_int_not_equal(one[0].differs_index, 0);
    assert_int_equal(one[1].differs_index, 0);
    struct agreement_peer five[] = {peer(2, 9050, 0), peer(3, 9050, 0), peer(4, 9050, 3)};
    assert_int_equal(agreement_judge(five, 3, 5, KIND, own, &wrong), 0); /* two of five are no majority */
}

static void without_a_majority_nobody_is_outvoted_but_it_is_told(void **state) {
    (void)state;
    struct ours o = {.oldest = 1, .newest = 500};
    struct agreement_peer two[] = {peer(2, 500, 7)};
    assert_int_equal(agreement_judge(two, 1, 3, KIND, own, &o), 0);
    assert_int_equal(two[0].differs_index, 500);
    struct agreement_peer each[] = {peer(2, 500, 7), peer(3, 500, 9)}; /* three opinions */
    assert_int_equal(agreement_judge(each, 2, 3, KIND, own, &o), 0);
    struct agreement_peer learners[] = {peer(2, 500, 7), peer(3, 500, 7)};
    learners[0].voter = learners[1].voter = false;
    assert_int_equal(agreement_judge(learners, 2, 1, KIND, own, &o), 0);
    /* It is forgotten when they agree at a later position, and only then. */
    assert_int_equal(agreement_judge(two, 1, 3, KIND, own, &(struct ours){.oldest = 900, .newest = 900}), 0);
    assert_int_equal(two[0].differs_index, 500);
    two[0] = (struct agreement_peer){.id = 2, .voter = true, .hash_kind = KIND, .differs_index = 500};
    struct agreement_peer later = peer(2, 600, 0);
    memcpy(two[0].marks, later.marks, sizeof later.marks);
    assert_int_equal(agreement_judge(two, 1, 3, KIND, own, &(struct ours){.oldest = 1, .newest = 600}), 0);
    assert_int_equal(two[0].differs_index, 0);
}

static void hashes_of_another_kind_are_not_compared(void **state) {
    (void)state;
    struct ours o = {.oldest = 1, .newest = 500};
    struct agreement_peer peers[] = {peer(2, 500, 7), peer(3, 500, 7)};
    peers[0].hash_kind = peers[1].hash_kind = KIND + 1;
    assert_int_equal(agreement_judge(peers, 2, 3, KIND, own, &o), 0);
    assert_int_equal(peers[0].differs_index, 0);
}

static void a_space_level_is_left_only_with_an_eighth_to_spare(void **state) {
    (void)state;
    struct store_space s = {.soft_bytes = 800, .hard_bytes = 400, .log_room = 100, .segment_bytes = 100};
    static const struct {
        uint64_t free_bytes;
        enum replica_space level;
    } steps[] = {{1000, REPLICA_SPACE_OK},  {800, REPLICA_SPACE_OK},   {799, REPLICA_SPACE_SOFT},
                 {899, REPLICA_SPACE_SOFT}, {400, REPLICA_SPACE_SOFT}, {399, REPLICA_SPACE_HARD},
                 {449, REPLICA_SPACE_HARD}, {450, REPLICA_SPACE_SOFT}, {899, REPLICA_SPACE_SOFT},
                 {900, REPLICA_SPACE_OK},   {0, REPLICA_SPACE_HARD},   {2000, REPLICA_SPACE_OK}};
    enum replica_space level = REPLICA_SPACE_OK;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        s.free_bytes = steps[i].free_bytes;
        level = replica_space_judge(level, &s);
        assert_int_equal(level, steps[i].level);
    }
    s.log_room = 99; /* which does not matter while there is room to make a segment */
    assert_int_equal(replica_space_judge(REPLICA_SPACE_OK, &s), REPLICA_SPACE_OK);
    s.free_bytes = 449;
    assert_int_equal(replica_space_judge(REPLICA_SPACE_SOFT, &s), REPLICA_SPACE_SOFT);
    assert_int_equal(replica_space_judge(REPLICA_SPACE_FULL, &s), REPLICA_SPACE_FULL);
    s.log_room = 100;
    assert_int_equal(replica_space_judge(REPLICA_SPACE_FULL, &s), REPLICA_SPACE_HARD);
}

/* What a snapshot takes may be what brings the disk below the mark. */
static void a_snapshot_that_has_arrived_is_installed_at_any_level(void **state) {
    (void)state;
    struct replica *r = calloc(1, sizeof *r);
    assert_non_null(r);
    for (int level = REPLICA_SPACE_OK; level <= REPLICA_SPACE_FULL; level++) {
        struct raft_message install = {.type = RAFT_IO_INSTALL_SNAPSHOT};
        r->space_level = (enum replica_space)level;
        assert_true(replica_space_passes(r, &install));
    }
    free(r);
}

static void a_snapshot_arrives_if_a_segment_fits_besides(void **state) {
    (void)state;
    struct store_space s = {.segment_bytes = 100, .free_bytes = 300};
    assert_true(replica_space_receives(&s, 200));
    assert_false(replica_space_receives(&s, 201));
    assert_false(replica_space_receives(&s, UINT64_MAX));
    s.free_bytes = 99;
    assert_false(replica_space_receives(&s, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(marks_are_the_newest_position_and_the_newest_multiples),
        cmocka_unit_test(equal_states_agree_however_far_each_is),
        cmocka_unit_test(the_one_that_differs_from_a_majority_is_outvoted),
        cmocka_unit_test(without_a_majority_nobody_is_outvoted_but_it_is_told),
        cmocka_unit_test(hashes_of_another_kind_are_not_compared),
        cmocka_unit_test(a_space_level_is_left_only_with_an_eighth_to_spare),
        cmocka_unit_test(a_snapshot_that_has_arrived_is_installed_at_any_level),
        cmocka_unit_test(a_snapshot_arrives_if_a_segment_fits_besides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
