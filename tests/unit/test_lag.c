/* SPDX-License-Identifier: Apache-2.0
 * How old what a member lacks is. */
#include "../lib/cmocka_all.h"

#include "scheduler/lag.h"

static void who_has_everything_lacks_nothing(void **state) {
    static struct lag lag;
    (void)state;
    assert_int_equal(lag_of(&lag, 5, 5, 1000), 0);
    assert_int_equal(lag_of(&lag, 7, 5, 1000), 0);
    assert_int_equal(lag_of(&lag, 4, 5, 1000), -1); /* nothing is noted yet */
}

static void what_is_lacking_is_as_old_as_the_last_note_without_it(void **state) {
    static struct lag lag;
    (void)state;
    for (uint64_t i = 0; i <= 50; i++) /* an entry every 50 ms, and every second note is too early */
        lag_note(&lag, 100 + i, 1000 + 50 * i);
    assert_int_equal(lag.count, 26);
    assert_int_equal(lag_of(&lag, 150, 151, 3520), 20);
    assert_int_equal(lag_of(&lag, 149, 150, 3500), 100); /* 148 was noted at 3400: 150 came after it */
    assert_int_equal(lag_of(&lag, 110, 150, 3500), 2000);
    assert_int_equal(lag_of(&lag, 3, 150, 3500), 2500); /* older than all notes: as old as they are */
}

static void only_the_last_minute_is_known(void **state) {
    static struct lag lag;
    (void)state;
    uint64_t now = 0;
    for (uint64_t i = 0; i < 2000; i++, now += LAG_STEP_MS)
        lag_note(&lag, i, now);
    now -= LAG_STEP_MS;
    assert_int_equal(lag_of(&lag, 1990, 1999, now), 9 * LAG_STEP_MS);
    assert_int_equal(lag_of(&lag, 1400, 1999, now), (LAG_NOTES - 1) * LAG_STEP_MS);
    assert_int_equal(lag_of(&lag, 0, 1999, now), (LAG_NOTES - 1) * LAG_STEP_MS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_has_everything_lacks_nothing),
        cmocka_unit_test(what_is_lacking_is_as_old_as_the_last_note_without_it),
        cmocka_unit_test(only_the_last_minute_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
