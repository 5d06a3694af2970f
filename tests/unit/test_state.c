/* SPDX-License-Identifier: Apache-2.0
 * The life of one task, end to end, through the log's commands. */
#include "../lib/cmocka_all.h"
#include "command_make.h"

#define CLUSTER "0123456789abcdef"

static void a_task_lives_from_accept_to_history(void **unused) {
    (void)unused;
    struct state *state = state_new();
    static struct outcome outcome;
    struct effects effects = {0};
    struct err err;
    uint64_t index = 0;
#define APPLY(cmd)                                                                                                     \
    do {                                                                                                               \
        struct made m = (cmd);                                                                                         \
        assert_int_equal(state_apply(state, 1, ++index, 0, m.data, m.len, &outcome, &effects, &err), 0);               \
    } while (0)
    APPLY(make_leader(1, CLUSTER));
    assert_string_equal(state_cluster_name(state), "30313233");
    APPLY(make_subscribe(NULL, 0, 0));
    assert_int_equal(outcome.framework, 1);
    assert_string_equal(state_framework(state, 1)->id, "30313233-0-0001");
    APPLY(make_agent(1, (struct make_amount){.cpus = 4, .mem = 1000, .port_begin = 31000, .port_end = 31009}));
    assert_string_equal(state_agent(state, 1)->id, "30313233-0-S1");
    APPLY(make_accept(1, 1, "t1", (struct make_amount){.cpus = 1, .mem = 100, .port_begin = 31000, .port_end = 31000}));
    assert_int_equal(outcome.task_count, 1);
    assert_true(outcome.tasks[0].launched);
    assert_int_equal(effects.items[0].type, EFFECT_LAUNCH);
    const struct task *task = state_task_by_id(state, 1, "t1");
    assert_int_equal(state_agent(state, 1)->used.cpus, 1000);
    APPLY(make_report(1, "30313233-0-0001", "t1", task->launch, TASK_RUNNING, TASK_RUNNING, 1));
    assert_int_equal(task->state, TASK_RUNNING);
    assert_true(task->unacked);
    assert_int_equal(task->info.len, 0);
    APPLY(make_acknowledge(1, "t1", 1));
    assert_false(task->unacked);
    APPLY(make_report(1, "30313233-0-0001", "t1", task->launch, TASK_FINISHED, TASK_FINISHED, 2));
    assert_int_equal(state_agent(state, 1)->used.cpus, 0);
    APPLY(make_acknowledge(1, "t1", 2));
    assert_true(task->completed);
    effects_done(&effects);
    make_done();
    state_free(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_task_lives_from_accept_to_history)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
