/* SPDX-License-Identifier: Apache-2.0
 * Agents: registration, silence, return, end. */
#include "../lib/cmocka_all.h"

#include <string.h>

#include "scheduler/obligations.h"
#include "state_world.h"

static void registering_twice_gives_the_same_id(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    uint32_t first = world_agent(&w, 1);
    uint64_t since = state_agent(w.state, first)->since;
    assert_string_equal(state_agent(w.state, first)->id, "30313233-0-S1");
    assert_int_equal(world_agent(&w, 1), first);
    assert_int_equal(world_agent(&w, 2), first + 1);
    assert_true(state_agent(w.state, first)->since > since);
    world_close(&w);
}

static void an_agent_cannot_offer_less_than_its_tasks_use(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    uint32_t agent = world_agent(&w, 1), framework = world_framework(&w, 0, 0);
    world_running(&w, framework, agent, "t1");
    world_running(&w, framework, agent, "t2");
    assert_int_equal(world_apply(&w, make_agent(1, (struct make_amount){.cpus = 1, .mem = 8000})), OUTCOME_REFUSED);
    assert_int_equal(state_agent(w.state, agent)->total.cpus, 8000);
    assert_int_equal(world_apply(&w, make_agent(1, (struct make_amount){.cpus = 2, .mem = 200})), OUTCOME_OK);
    assert_int_equal(state_agent(w.state, agent)->total.cpus, 2000);
    world_close(&w);
}

static void bad_resources_are_refused(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    assert_int_equal(world_apply(&w, make_agent(1, (struct make_amount){.cpus = -1})), OUTCOME_REFUSED);
    assert_int_equal(world_apply(&w, make_agent(1, (struct make_amount){.mem = 2e15})), OUTCOME_REFUSED);
    assert_int_equal(world_apply(&w, make_agent(1, (struct make_amount){.port_begin = 9, .port_end = 8})),
                     OUTCOME_REFUSED);
    assert_int_equal(world_apply(&w, make_agent(1, (struct make_amount){.port_begin = 9, .port_end = 65536})),
                     OUTCOME_REFUSED);
    assert_null(state_agent_next(w.state, 0));
    world_close(&w);
}

static void only_the_present_silence_makes_an_agent_unreachable(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    const struct agent *a = state_agent(w.state, world_agent(&w, 1));
    uint64_t old = a->since;
    world_agent(&w, 1);
    assert_int_equal(world_apply(&w, make_unreachable(a->number, old)), OUTCOME_NO_CHANGE);
    assert_int_equal(world_apply(&w, make_unreachable(a->number, a->since)), OUTCOME_OK);
    assert_int_equal(a->status, AGENT_UNREACHABLE_STATUS);
    assert_int_equal(world_apply(&w, make_unreachable(a->number, a->since)), OUTCOME_NO_CHANGE);
    assert_int_equal(world_apply(&w, make_unreachable(99, 1)), OUTCOME_NOT_FOUND);
    world_close(&w);
}

static void a_partition_aware_task_is_unreachable_and_resumes(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    const struct agent *a = state_agent(w.state, world_agent(&w, 1));
    uint32_t framework = world_framework(&w, 0, CAP_PARTITION_AWARE);
    const struct task *task = world_running(&w, framework, a->number, "t");
    world_apply(&w, make_unreachable(a->number, a->since));
    assert_int_equal(task->state, TASK_UNREACHABLE);
    assert_int_equal(task->mesos_reason, MESOS_REASON_AGENT_REMOVED);
    assert_int_equal(world_effects(&w, EFFECT_UPDATE), 1);
    assert_false(task->unacked || task->kill_wanted);
    assert_true(task->holds);
    assert_int_equal(world_apply(&w, make_returned(a->number)), OUTCOME_OK);
    assert_int_equal(task->state, TASK_RUNNING);
    assert_int_equal(task->mesos_reason, MESOS_REASON_AGENT_REREGISTERED);
    assert_int_equal(world_effects(&w, EFFECT_UPDATE), 1);
    /* The update acknowledged before is not shown again. */
    assert_int_equal(world_report(&w, task, TASK_RUNNING, TASK_RUNNING, 1), OUTCOME_NO_CHANGE);
    assert_int_equal(world_effects(&w, EFFECT_ACK), 1);
    world_close(&w);
}

static void an_update_not_yet_acknowledged_survives_the_silence(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    const struct agent *a = state_agent(w.state, world_agent(&w, 1));
    uint32_t framework = world_framework(&w, 0, CAP_PARTITION_AWARE);
    const struct task *task = world_task(&w, framework, a->number, "t");
    world_report(&w, task, TASK_RUNNING, TASK_RUNNING, 4);
    world_apply(&w, make_unreachable(a->number, a->since));
    assert_false(task->unacked);
    assert_int_equal(world_ack(&w, task, 4), OUTCOME_NO_CHANGE);
    world_apply(&w, make_returned(a->number));
    assert_int_equal(world_report(&w, task, TASK_RUNNING, TASK_RUNNING, 4), OUTCOME_OK);
    assert_true(task->unacked);
    world_close(&w);
}

static void a_task_told_lost_is_killed_on_return_and_stays_lost(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    const struct agent *a = state_agent(w.state, world_agent(&w, 1));
    uint32_t framework = world_framework(&w, 0, 0);
    const struct task *task = world_running(&w, framework, a->number, "t");
    world_apply(&w, make_unreachable(a->number, a->since));
    assert_int_equal(task->state, TASK_LOST);
    assert_true(task->holds && task->kill_wanted && !task->completed);
    assert_int_equal(obligation_of_task(w.state, task), OWES_NOTHING);
    world_apply(&w, make_returned(a->number));
    assert_int_equal(world_effects(&w, EFFECT_KILL), 1);
    assert_int_equal(obligation_of_task(w.state, task), OWES_KILL);
    assert_int_equal(world_report(&w, task, TASK_KILLING, TASK_KILLING, 2), OUTCOME_OK);
    assert_int_equal(world_effects(&w, EFFECT_ACK), 1);
    assert_int_equal(world_effects(&w, EFFECT_UPDATE), 0);
    assert_int_equal(task->state, TASK_LOST);
    world_report(&w, task, TASK_KILLED, TASK_KILLED, 3);
    assert_true(task->completed);
    assert_int_equal(task->state, TASK_LOST);
    assert_int_equal(a->used.cpus, 0);
    world_close(&w);
}

static void a_task_that_ended_before_the_silence_keeps_its_last_update(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    const struct agent *a = state_agent(w.state, world_agent(&w, 1));
    uint32_t framework = world_framework(&w, 0, 0);
    const struct task *task = world_running(&w, framework, a->number, "t");
    world_report(&w, task, TASK_FINISHED, TASK_FINISHED, 2);
    world_apply(&w, make_unreachable(a->number, a->since));
    assert_int_equal(task->state, TASK_FINISHED);
    assert_true(task->unacked);
    assert_int_equal(world_ack(&w, task, 2), OUTCOME_OK);
    assert_true(task->completed);
    world_close(&w);
}

static void an_unsent_launch_is_owed_again_after_the_return(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    const struct agent *a = state_agent(w.state, world_agent(&w, 1));
    const struct task *task = world_task(&w, world_framework(&w, 0, CAP_PARTITION_AWARE), a->number, "t");
    world_apply(&w, make_unreachable(a->number, a->since));
    assert_int_equal(task->state, TASK_UNREACHABLE);
    assert_int_equal(obligation_of_task(w.state, task), OWES_NOTHING);
    world_agent(&w, 1);
    assert_int_equal(task->state, TASK_STAGING);
    assert_int_equal(obligation_of_task(w.state, task), OWES_LAUNCH);
    world_close(&w);
}

static void gone_ends_every_task_and_is_for_good(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    const struct agent *a = state_agent(w.state, world_agent(&w, 1));
    uint32_t aware = world_framework(&w, 0, CAP_PARTITION_AWARE), plain = world_framework(&w, 0, 0);
    const struct task *t1 = world_running(&w, aware, a->number, "t"), *t2 = world_running(&w, plain, a->number, "t");
    const struct task *t3 = world_running(&w, plain, a->number, "ended");
    world_report(&w, t3, TASK_FAILED, TASK_FAILED, 2);
    assert_int_equal(world_apply(&w, make_gone(a->number)), OUTCOME_OK);
    assert_int_equal(t1->state, TASK_GONE_BY_OPERATOR);
    assert_int_equal(t2->state, TASK_LOST);
    assert_true(t1->completed && t2->completed);
    assert_int_equal(world_effects(&w, EFFECT_UPDATE), 2);
    assert_int_equal(t3->state, TASK_FAILED); /* the framework is still to acknowledge what really happened */
    assert_false(t3->completed);
    assert_int_equal(world_ack(&w, t3, 2), OUTCOME_OK);
    assert_int_equal(a->used.cpus, 0);
    assert_int_equal(world_apply(&w, make_agent(1, (struct make_amount){.cpus = 1})), OUTCOME_REFUSED);
    assert_int_equal(world_apply(&w, make_returned(a->number)), OUTCOME_REFUSED);
    assert_int_equal(world_apply(&w, make_gone(a->number)), OUTCOME_REFUSED);
    world_close(&w);
}

static void ports_of_two_tasks_never_overlap_and_come_back(void **unused) {
    (void)unused;
    struct world w;
    struct resources free = {0};
    world_start(&w);
    const struct agent *a = state_agent(w.state, world_agent(&w, 1));
    uint32_t framework = world_framework(&w, 0, 0);
    struct make_amount ports = {.cpus = 1, .port_begin = 31010, .port_end = 31019};
    world_apply(&w, make_accept(framework, a->number, "t1", ports));
    assert_true(w.outcome->tasks[0].launched);
    world_apply(&w, make_accept(framework, a->number, "t2", ports));
    assert_false(w.outcome->tasks[0].launched);
    assert_int_equal(agent_free_resources(a, &free), 0);
    assert_int_equal(ports_total(&free.ports), 90);
    const struct task *task = state_task_by_id(w.state, framework, "t1");
    world_report(&w, task, TASK_FINISHED, TASK_FINISHED, 1);
    assert_int_equal(agent_free_resources(a, &free), 0);
    assert_int_equal(ports_total(&free.ports), 100);
    resources_done(&free);
    world_close(&w);
}

/* Found by the simulator: the agent was marked unreachable while a report that had been proposed before was still on
 * its way, with an update that was acknowledged long ago and the news that the task has ended since. */
static void a_task_that_ended_behind_a_known_update_waits_for_its_last_one(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    uint32_t f = world_framework(&w, 1000, CAP_PARTITION_AWARE);
    const struct agent *a = state_agent(w.state, world_agent(&w, 1));
    const struct task *task = world_running(&w, f, a->number, "t");
    world_apply(&w, make_unreachable(a->number, a->since));
    assert_int_equal(world_report(&w, task, TASK_RUNNING, TASK_FINISHED, 1), OUTCOME_OK);
    assert_int_equal(task->state, TASK_UNREACHABLE);
    assert_false(task->unacked || task->holds);
    assert_int_equal(world_apply(&w, make_returned(a->number)), OUTCOME_OK);
    assert_int_equal(task->state, TASK_UNREACHABLE);
    assert_int_equal(world_report(&w, task, TASK_FINISHED, TASK_FINISHED, 2), OUTCOME_OK);
    assert_int_equal(task->state, TASK_FINISHED);
    assert_true(task->unacked);
    assert_int_equal(world_ack(&w, task, 2), OUTCOME_OK);
    assert_true(task->completed);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registering_twice_gives_the_same_id),
        cmocka_unit_test(an_agent_cannot_offer_less_than_its_tasks_use),
        cmocka_unit_test(bad_resources_are_refused),
        cmocka_unit_test(only_the_present_silence_makes_an_agent_unreachable),
        cmocka_unit_test(a_partition_aware_task_is_unreachable_and_resumes),
        cmocka_unit_test(a_task_that_ended_behind_a_known_update_waits_for_its_last_one),
        cmocka_unit_test(an_update_not_yet_acknowledged_survives_the_silence),
        cmocka_unit_test(a_task_told_lost_is_killed_on_return_and_stays_lost),
        cmocka_unit_test(a_task_that_ended_before_the_silence_keeps_its_last_update),
        cmocka_unit_test(an_unsent_launch_is_owed_again_after_the_return),
        cmocka_unit_test(gone_ends_every_task_and_is_for_good),
        cmocka_unit_test(ports_of_two_tasks_never_overlap_and_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
