/* SPDX-License-Identifier: Apache-2.0
 * What the state owes to agents, the digest of a hello, and the merge of an agent's list with the log. */
#include "../lib/cmocka_all.h"

#include <string.h>

#include "scheduler/obligations.h"
#include "state_world.h"

struct call {
    enum merge_verdict verdict;
    const struct task *task;
    const struct agent_task *row;
};
struct calls {
    struct call items[16];
    size_t count;
};

static void call_note(void *ctx, enum merge_verdict verdict, const struct task *task, const struct agent_task *row) {
    struct calls *calls = ctx;
    assert_true(calls->count < 16);
    calls->items[calls->count++] = (struct call){verdict, task, row};
}

static struct calls merge(const struct world *w, uint32_t agent, const struct agent_task *list, size_t count) {
    struct calls calls = {.count = 0};
    merge_agent_tasks(w->state, state_agent(w->state, agent), list, count, call_note, &calls);
    return calls;
}

static struct agent_task row_of(const struct world *w, const struct task *task, uint32_t state) {
    return (struct agent_task){state_framework(w->state, task->framework)->id, task->id, task->launch, state};
}

static void a_launch_is_owed_until_the_first_report_and_a_kill_until_the_end(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    uint32_t framework = world_framework(&w, 0, 0), agent = world_agent(&w, 1);
    const struct task *task = world_task(&w, framework, agent, "t");
    assert_int_equal(obligation_of_task(w.state, task), OWES_LAUNCH);
    world_report(&w, task, TASK_RUNNING, TASK_RUNNING, 1);
    assert_int_equal(obligation_of_task(w.state, task), OWES_NOTHING);
    world_apply(&w, make_kill(framework, "t", -1));
    assert_int_equal(obligation_of_task(w.state, task), OWES_KILL);
    world_report(&w, task, TASK_RUNNING, TASK_KILLED, 1);
    assert_int_equal(obligation_of_task(w.state, task), OWES_NOTHING);
    world_close(&w);
}

static void a_kill_before_the_launch_was_seen_is_owed_instead_of_it(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    uint32_t framework = world_framework(&w, 0, 0), agent = world_agent(&w, 1);
    const struct task *task = world_task(&w, framework, agent, "t");
    world_apply(&w, make_kill(framework, "t", -1));
    assert_int_equal(obligation_of_task(w.state, task), OWES_KILL);
    world_close(&w);
}

static void the_digest_covers_settled_tasks_only(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    uint32_t framework = world_framework(&w, 0, 0);
    const struct agent *agent = state_agent(w.state, world_agent(&w, 1));
    const char *id = state_framework(w.state, framework)->id;
    const struct task *a = world_running(&w, framework, agent->number, "a");
    const struct task *b = world_running(&w, framework, agent->number, "b");
    const struct task *open = world_task(&w, framework, agent->number, "open");
    world_task(&w, framework, agent->number, "unsent");
    world_report(&w, open, TASK_RUNNING, TASK_RUNNING, 1);
    struct hash128 share_a = task_digest(id, "a", a->launch, TASK_RUNNING);
    struct hash128 share_b = task_digest(id, "b", b->launch, TASK_RUNNING);
    struct hash128 both = hash128_add(share_a, share_b);
    assert_true(hash128_equal(obligation_digest(w.state, agent, NULL, 0), both));
    uint64_t skip[] = {0, a->number, 99};
    assert_true(hash128_equal(obligation_digest(w.state, agent, skip, 3), share_b));
    assert_false(hash128_equal(share_a, task_digest(id, "a", a->launch, TASK_STARTING)));
    world_close(&w);
}

static void the_digest_is_over_the_documented_bytes(void **unused) {
    (void)unused;
    static const char bytes[] = "fw\0t1\0"
                                "12.3.4\0"
                                "1";
    struct hash128 expected = hash128_of(bytes, sizeof bytes - 1);
    assert_true(hash128_equal(task_digest("fw", "t1", (struct launch_id){12, 3, 4}, TASK_RUNNING), expected));
}

static void a_task_the_agent_never_had_is_sent_again(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    uint32_t framework = world_framework(&w, 0, 0), agent = world_agent(&w, 1);
    const struct task *task = world_task(&w, framework, agent, "t");
    struct calls calls = merge(&w, agent, NULL, 0);
    assert_int_equal(calls.count, 1);
    assert_int_equal(calls.items[0].verdict, MERGE_SEND_LAUNCH);
    assert_ptr_equal(calls.items[0].task, task);
    world_close(&w);
}

static void a_wanted_kill_wins_over_sending_again(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    uint32_t framework = world_framework(&w, 0, 0), agent = world_agent(&w, 1);
    world_task(&w, framework, agent, "t");
    world_apply(&w, make_kill(framework, "t", -1));
    struct calls calls = merge(&w, agent, NULL, 0);
    assert_int_equal(calls.count, 1);
    assert_int_equal(calls.items[0].verdict, MERGE_VANISHED);
    world_close(&w);
}

static void a_confirmed_task_that_is_not_there_has_vanished(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    uint32_t framework = world_framework(&w, 0, 0), agent = world_agent(&w, 1);
    const struct task *running = world_running(&w, framework, agent, "running");
    const struct task *ended = world_running(&w, framework, agent, "ended");
    world_report(&w, ended, TASK_FINISHED, TASK_FINISHED, 2);
    struct calls calls = merge(&w, agent, NULL, 0);
    assert_int_equal(calls.count, 1); /* the ended one only lacks its acknowledgement */
    assert_int_equal(calls.items[0].verdict, MERGE_VANISHED);
    assert_ptr_equal(calls.items[0].task, running);
    world_close(&w);
}

static void what_the_log_does_not_know_is_killed_or_forgotten(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    uint32_t framework = world_framework(&w, 0, 0), agent = world_agent(&w, 1);
    const struct task *task = world_running(&w, framework, agent, "t");
    struct agent_task list[] = {row_of(&w, task, TASK_RUNNING),
                                {"unknown", "t", task->launch, TASK_RUNNING},
                                {"unknown", "t", task->launch, TASK_FAILED},
                                row_of(&w, task, TASK_RUNNING)};
    list[3].launch.k++; /* another launch of the same id */
    struct calls calls = merge(&w, agent, list, 4);
    assert_int_equal(calls.count, 3);
    assert_int_equal(calls.items[0].verdict, MERGE_KILL_UNKNOWN);
    assert_ptr_equal(calls.items[0].row, &list[1]);
    assert_int_equal(calls.items[1].verdict, MERGE_FORGET);
    assert_int_equal(calls.items[2].verdict, MERGE_KILL_UNKNOWN);
    assert_ptr_equal(calls.items[2].row, &list[3]);
    world_close(&w);
}

static void a_kill_is_sent_for_what_both_have_and_is_wanted_gone(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    uint32_t framework = world_framework(&w, 0, 0), agent = world_agent(&w, 1);
    const struct task *a = world_running(&w, framework, agent, "a"), *b = world_running(&w, framework, agent, "b");
    world_apply(&w, make_kill(framework, "b", -1));
    struct agent_task list[] = {row_of(&w, b, TASK_RUNNING), row_of(&w, a, TASK_RUNNING)};
    struct calls calls = merge(&w, agent, list, 2);
    assert_int_equal(calls.count, 1);
    assert_int_equal(calls.items[0].verdict, MERGE_SEND_KILL);
    assert_ptr_equal(calls.items[0].task, b);
    list[0].state = TASK_KILLED; /* ended there: its report is on its way */
    assert_int_equal(merge(&w, agent, list, 2).count, 0);
    world_close(&w);
}

static void a_task_told_lost_that_is_not_there_has_vanished_and_then_ends(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    uint32_t framework = world_framework(&w, 0, 0);
    const struct agent *agent = state_agent(w.state, world_agent(&w, 1));
    const struct task *task = world_task(&w, framework, agent->number, "t");
    world_apply(&w, make_unreachable(agent->number, agent->since));
    world_apply(&w, make_returned(agent->number));
    struct calls calls = merge(&w, agent->number, NULL, 0);
    assert_int_equal(calls.count, 1);
    assert_int_equal(calls.items[0].verdict, MERGE_VANISHED);
    const char *id = state_framework(w.state, framework)->id;
    assert_int_equal(world_apply(&w, make_vanished(agent->number, id, "t", task->launch)), OUTCOME_OK);
    assert_true(task->completed);
    assert_int_equal(task->state, TASK_LOST);
    assert_int_equal(world_effects(&w, EFFECT_UPDATE), 0); /* it has been told */
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_launch_is_owed_until_the_first_report_and_a_kill_until_the_end),
        cmocka_unit_test(a_kill_before_the_launch_was_seen_is_owed_instead_of_it),
        cmocka_unit_test(the_digest_covers_settled_tasks_only),
        cmocka_unit_test(the_digest_is_over_the_documented_bytes),
        cmocka_unit_test(a_task_the_agent_never_had_is_sent_again),
        cmocka_unit_test(a_wanted_kill_wins_over_sending_again),
        cmocka_unit_test(a_confirmed_task_that_is_not_there_has_vanished),
        cmocka_unit_test(what_the_log_does_not_know_is_killed_or_forgotten),
        cmocka_unit_test(a_kill_is_sent_for_what_both_have_and_is_wanted_gone),
        cmocka_unit_test(a_task_told_lost_that_is_not_there_has_vanished_and_then_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
