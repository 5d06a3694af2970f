/* SPDX-License-Identifier: Apache-2.0
 * Frameworks: subscription, failover, expiry, removal, roles, history. */
#include "../lib/cmocka_all.h"

#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "scheduler/obligations.h"
#include "state_world.h"

static void a_new_framework_gets_a_counted_id(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    uint32_t first = world_framework(&w, 0, 0), second = world_framework(&w, 0, CAP_PARTITION_AWARE);
    assert_string_equal(state_framework(w.state, first)->id, "30313233-0-0001");
    assert_string_equal(state_framework(w.state, second)->id, "30313233-0-0002");
    assert_int_equal(state_framework(w.state, second)->subscribed, w.index);
    assert_true(framework_can(state_framework(w.state, second), CAP_PARTITION_AWARE));
    assert_int_equal(world_effects(&w, EFFECT_FRAMEWORK_CHANGED), 1);
    world_close(&w);
}

static struct made subscribe_as(const char *id, const char *name, const char *user, const char *principal, char **roles,
                                size_t role_count, char **suppressed, size_t suppressed_count) {
    Conclave__Log__Command command = CONCLAVE__LOG__COMMAND__INIT;
    Conclave__Log__FrameworkSubscribe c = CONCLAVE__LOG__FRAMEWORK_SUBSCRIBE__INIT;
    c.framework_id = (char *)id;
    c.name = (char *)name;
    c.user = (char *)user;
    c.principal = (char *)principal;
    c.roles = roles;
    c.n_roles = role_count;
    c.suppressed_roles = suppressed;
    c.n_suppressed_roles = suppressed_count;
    c.failover_timeout_ms = 10;
    command.framework_subscribe = &c;
    return make_packed(&command);
}

static void a_known_framework_takes_new_name_and_roles_but_keeps_its_user(void **unused) {
    (void)unused;
    struct world w;
    char *roles[] = {"dev", "prod/web"};
    world_start(&w);
    uint32_t number = world_framework(&w, 0, CAP_PARTITION_AWARE);
    const struct framework *f = state_framework(w.state, number);
    struct made again = subscribe_as(f->id, "renamed", "root", NULL, roles, 2, roles + 1, 1);
    assert_int_equal(world_apply(&w, again), OUTCOME_OK);
    assert_int_equal(w.outcome->framework, number);
    assert_string_equal(f->name, "renamed");
    assert_string_equal(f->user, "nobody");
    assert_int_equal(f->role_count, 2);
    assert_int_equal(f->suppressed, 2);
    assert_int_equal(f->capabilities, 0);
    assert_int_equal(f->failover_timeout_ms, 10);
    assert_int_equal(f->subscribed, w.index);
    world_close(&w);
}

static void a_principal_must_not_change_but_an_empty_one_never_mismatches(void **unused) {
    (void)unused;
    struct world w;
    char *roles[] = {"*"};
    world_start(&w);
    const struct framework *f = state_framework(w.state, world_framework(&w, 0, 0));
    assert_int_equal(world_apply(&w, subscribe_as(f->id, "n", "u", "alice", roles, 1, NULL, 0)), OUTCOME_OK);
    assert_int_equal(world_apply(&w, subscribe_as(f->id, "n", "u", "bob", roles, 1, NULL, 0)), OUTCOME_REFUSED);
    assert_int_equal(world_apply(&w, subscribe_as(f->id, "n", "u", NULL, roles, 1, NULL, 0)), OUTCOME_OK);
    assert_string_equal(f->principal, "alice");
    world_close(&w);
}

static void bad_roles_are_refused_and_change_nothing(void **unused) {
    (void)unused;
    struct world w;
    char *twice[] = {"a", "a"}, *bad[] = {"a//b"}, *one[] = {"a"}, *other[] = {"b"}, *many[33];
    for (int i = 0; i < 33; i++)
        many[i] = "a";
    world_start(&w);
    assert_int_equal(world_apply(&w, subscribe_as(NULL, "n", "u", NULL, twice, 2, NULL, 0)), OUTCOME_REFUSED);
    assert_int_equal(world_apply(&w, subscribe_as(NULL, "n", "u", NULL, bad, 1, NULL, 0)), OUTCOME_REFUSED);
    assert_int_equal(world_apply(&w, subscribe_as(NULL, "n", "u", NULL, one, 1, other, 1)), OUTCOME_REFUSED);
    assert_int_equal(world_apply(&w, subscribe_as(NULL, "n", "u", NULL, one, 0, NULL, 0)), OUTCOME_REFUSED);
    assert_int_equal(world_apply(&w, subscribe_as(NULL, "n", "u", NULL, many, 33, NULL, 0)), OUTCOME_REFUSED);
    assert_null(state_framework_next(w.state, 0));
    world_close(&w);
}

static void an_id_never_seen_is_recreated_but_ours_are_never_used_twice(void **unused) {
    (void)unused;
    struct world w;
    Conclave__Log__Config config = CONCLAVE__LOG__CONFIG__INIT;
    world_start(&w);
    assert_int_equal(world_apply(&w, make_subscribe("from-elsewhere-17", 0, 0)), OUTCOME_OK);
    assert_string_equal(state_framework(w.state, w.outcome->framework)->id, "from-elsewhere-17");
    assert_int_equal(world_apply(&w, make_subscribe("a/b", 0, 0)), OUTCOME_REFUSED);
    assert_int_equal(world_apply(&w, make_subscribe("30313233-0-0900", 0, 0)), OUTCOME_REFUSED);
    uint32_t number = world_framework(&w, 0, 0);
    assert_int_equal(world_apply(&w, make_teardown(number)), OUTCOME_OK);
    config.has_history_frameworks = 1; /* forgets it at once */
    assert_int_equal(world_apply(&w, make_config(&config)), OUTCOME_OK);
    assert_null(state_framework(w.state, number));
    assert_int_equal(world_apply(&w, make_subscribe("30313233-0-0002", 0, 0)), OUTCOME_REFUSED);
    assert_string_equal(w.outcome->reason, "Framework has been removed");
    world_close(&w);
}

static void a_removed_framework_cannot_come_back(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    uint32_t number = world_framework(&w, 0, 0);
    assert_int_equal(world_apply(&w, make_teardown(number)), OUTCOME_OK);
    assert_int_equal(world_effects(&w, EFFECT_FRAMEWORK_REMOVED), 1);
    assert_int_equal(world_apply(&w, make_subscribe("30313233-0-0001", 0, 0)), OUTCOME_REFUSED);
    assert_string_equal(w.outcome->reason, "Framework has been removed");
    assert_int_equal(world_apply(&w, make_teardown(number)), OUTCOME_REFUSED);
    assert_int_equal(world_apply(&w, make_teardown(77)), OUTCOME_NOT_FOUND);
    world_close(&w);
}

static void only_the_end_of_the_current_subscription_disconnects(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    const struct framework *f = state_framework(w.state, world_framework(&w, 100, 0));
    uint64_t first = f->subscribed;
    assert_int_equal(world_apply(&w, make_subscribe(f->id, 100, 0)), OUTCOME_OK);
    assert_int_equal(world_apply(&w, make_disconnected(f->number, first)), OUTCOME_NO_CHANGE);
    assert_int_equal(f->status, FRAMEWORK_CONNECTED);
    assert_int_equal(world_apply(&w, make_disconnected(f->number, f->subscribed)), OUTCOME_OK);
    assert_int_equal(f->status, FRAMEWORK_DISCONNECTED);
    assert_int_equal(world_apply(&w, make_disconnected(f->number, f->subscribed)), OUTCOME_NO_CHANGE);
    world_close(&w);
}

static void a_disconnected_framework_expires_at_its_deadline_and_not_before(void **unused) {
    (void)unused;
    struct world w;
    uint64_t since = 0;
    world_start(&w);
    const struct framework *f = state_framework(w.state, world_framework(&w, 500, 0));
    assert_true(framework_deadline(w.state, f, &since) == UINT64_MAX);
    world_apply(&w, make_disconnected(f->number, f->subscribed));
    assert_int_equal(framework_deadline(w.state, f, &since), 1500);
    make_time(1499, 1);
    assert_int_equal(world_apply(&w, make_expire(f->number, since)), OUTCOME_NO_CHANGE);
    make_time(1500, 1);
    assert_int_equal(world_apply(&w, make_expire(f->number, since + 1)), OUTCOME_NO_CHANGE);
    assert_int_equal(world_apply(&w, make_expire(f->number, since)), OUTCOME_OK);
    assert_int_equal(f->status, FRAMEWORK_REMOVED);
    world_close(&w);
}

static void a_framework_that_came_back_in_time_does_not_expire(void **unused) {
    (void)unused;
    struct world w;
    uint64_t since = 0;
    world_start(&w);
    const struct framework *f = state_framework(w.state, world_framework(&w, 500, 0));
    world_apply(&w, make_disconnected(f->number, f->subscribed));
    framework_deadline(w.state, f, &since);
    world_apply(&w, make_subscribe(f->id, 500, 0));
    make_time(9000, 1);
    assert_int_equal(world_apply(&w, make_expire(f->number, since)), OUTCOME_NO_CHANGE);
    assert_int_equal(f->status, FRAMEWORK_CONNECTED);
    world_close(&w);
}

static void a_change_of_leader_ends_no_framework_before_the_reregister_timeout(void **unused) {
    (void)unused;
    struct world w;
    uint64_t since = 0;
    world_start(&w);
    const struct framework *f = state_framework(w.state, world_framework(&w, 0, 0));
    make_time(20000, 1);
    world_apply(&w, make_leader(2, WORLD_CLUSTER));
    assert_int_equal(framework_deadline(w.state, f, &since), 620000);
    assert_int_equal(since, w.index);
    make_time(619999, 1);
    assert_int_equal(world_apply(&w, make_expire(f->number, since)), OUTCOME_NO_CHANGE);
    make_time(620000, 1);
    assert_int_equal(world_apply(&w, make_expire(f->number, since)), OUTCOME_OK);
    world_close(&w);
}

static void a_longer_failover_timeout_holds_after_a_change_of_leader(void **unused) {
    (void)unused;
    struct world w;
    uint64_t since = 0;
    world_start(&w);
    const struct framework *f = state_framework(w.state, world_framework(&w, 7000000, 0));
    make_time(20000, 1);
    world_apply(&w, make_leader(2, WORLD_CLUSTER));
    assert_int_equal(framework_deadline(w.state, f, &since), 7020000);
    world_close(&w);
}

static void deadlines_of_hostile_length_do_not_wrap(void **unused) {
    (void)unused;
    struct world w;
    uint64_t since = 0;
    world_start(&w);
    const struct framework *f = state_framework(w.state, world_framework(&w, UINT64_MAX, 0));
    world_apply(&w, make_disconnected(f->number, f->subscribed));
    assert_true(framework_deadline(w.state, f, &since) == UINT64_MAX);
    assert_int_equal(world_apply(&w, make_expire(f->number, since)), OUTCOME_NO_CHANGE);
    world_close(&w);
}

static void removal_wants_every_task_killed_and_frees_nothing_that_still_runs(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    uint32_t number = world_framework(&w, 0, 0);
    const struct agent *a = state_agent(w.state, world_agent(&w, 1));
    const struct task *staging = world_task(&w, number, a->number, "staging");
    const struct task *running = world_running(&w, number, a->number, "running");
    const struct task *ended = world_running(&w, number, a->number, "ended");
    world_report(&w, ended, TASK_FINISHED, TASK_FINISHED, 9);
    assert_int_equal(world_apply(&w, make_teardown(number)), OUTCOME_OK);
    assert_true(staging->kill_wanted && running->kill_wanted);
    assert_int_equal(a->used.cpus, 2000);
    assert_true(ended->completed); /* nobody is left to acknowledge */
    assert_int_equal(ended->state, TASK_FINISHED);
    assert_int_equal(world_effects(&w, EFFECT_KILL), 2);
    assert_int_equal(world_effects(&w, EFFECT_ACK), 1);
    world_close(&w);
}

/* Many tasks: launched in calls of a hundred, on four agents; a third of them run, a third have ended and wait for
 * their acknowledgement. */
static void many_tasks(struct world *w, uint32_t framework, const uint32_t agents[4], unsigned count) {
    static char ids[100][32];
    for (unsigned i = 0; i < count; i += 100) {
        Conclave__Log__Command command = CONCLAVE__LOG__COMMAND__INIT;
        Conclave__Log__Accept accept = CONCLAVE__LOG__ACCEPT__INIT;
        Conclave__Log__Resources resources = CONCLAVE__LOG__RESOURCES__INIT;
        Conclave__Log__TaskLaunch launches[100], *rows[100];
        resources.has_cpus = 1;
        resources.cpus = 1;
        for (unsigned k = 0; k < 100; k++) {
            conclave__log__task_launch__init(&launches[k]);
            (void)snprintf(ids[k], sizeof ids[k], "t%u", i + k);
            launches[k].task_id = launches[k].name = ids[k];
            launches[k].resources = &resources;
            rows[k] = &launches[k];
        }
        accept.framework = framework;
        accept.has_agent = 1;
        accept.agent = agents[i / 100 % 4];
        accept.offers_valid = 1;
        accept.n_tasks = 100;
        accept.tasks = rows;
        command.accept = &accept;
        assert_int_equal(world_apply(w, make_packed(&command)), OUTCOME_OK);
    }
    for (const struct task *t = state_task_next(w->state, 0); t; t = state_task_next(w->state, t->number)) {
        if (t->framework != framework || t->number % 3 == 0) continue;
        world_report(w, t, TASK_RUNNING, TASK_RUNNING, 1);
        if (t->number % 3 == 1) continue;
        world_ack(w, t, 1);
        world_report(w, t, TASK_FINISHED, TASK_FINISHED, 2);
    }
}

static const struct task *nth_task(const struct world *w, uint32_t framework, uint32_t n) {
    const struct task *t = framework_task_first(state_framework(w->state, framework));
    while (t && n-- > 0)
        t = framework_task_after(state_framework(w->state, framework), t);
    return t;
}

/* What may happen to the tasks of a removed framework before its sweep has come to them. */
static void something(struct world *w, struct rng *rng, uint32_t framework, const uint32_t agents[4]) {
    const struct framework *f = state_framework(w->state, framework);
    const struct task *t = f && f->task_count ? nth_task(w, framework, (uint32_t)rng_below(rng, f->task_count)) : NULL;
    uint32_t agent = agents[rng_below(rng, 4)];
    switch (rng_below(rng, 7)) {
    case 0:
    case 1:
        if (t) world_report(w, t, TASK_RUNNING, TASK_RUNNING, 7);
        break;
    case 2:
    case 3:
        if (t) world_report(w, t, TASK_KILLED, TASK_KILLED, 8);
        break;
    case 4:
        if (t) world_apply(w, make_vanished(t->agent, f->id, t->id, t->launch));
        break;
    case 5:
        world_apply(w, make_unreachable(agent, state_agent(w->state, agent)->since));
        break;
    default:
        world_apply(w, make_returned(agent));
    }
}

static void comes_back(const struct state *state) {
    struct buf bytes;
    struct err err = {0};
    struct state *copy = state_new();
    buf_init(&bytes, 16u << 20);
    assert_int_equal(state_snapshot(state, &bytes), 0);
    if (state_restore(copy, bytes.data, bytes.len, &err)) fail_msg("%s", err.text);
    assert_true(hash128_equal(state_hash(state), state_hash(copy)));
    if (state_check(copy, &err)) fail_msg("%s", err.text);
    buf_done(&bytes);
    state_free(copy);
}

static void a_removal_with_many_tasks_touches_them_in_several_commands(void **unused) {
    (void)unused;
    struct rng rng;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct world w;
        world_start(&w);
        w.checked = false;
        rng_seed(&rng, seed);
        uint32_t number = world_framework(&w, 0, seed % 2 ? CAP_PARTITION_AWARE : 0), agents[4], sweeps = 0;
        for (uint8_t i = 0; i < 4; i++)
            agents[i] = world_agent(&w, (uint8_t)(i + 1));
        many_tasks(&w, number, agents, 1800);
        w.checked = true;
        assert_int_equal(world_apply(&w, make_teardown(number)), OUTCOME_OK);
        const struct framework *f = state_framework(w.state, number);
        assert_true(f->sweep_next > 0 && f->task_count == 1800);
        assert_int_equal(world_effects(&w, EFFECT_KILL), 0);
        for (const struct task *t = framework_task_first(f); t; t = framework_task_after(f, t)) {
            assert_false(t->kill_wanted);
            assert_true(task_kill_wanted(w.state, t)); /* it follows */
        }
        while (f->sweep_last > 0) {
            for (uint64_t n = rng_below(&rng, 12); n > 0; n--)
                something(&w, &rng, number, agents);
            assert_int_equal(world_apply(&w, make_sweep(number, f->sweep_next + 1)), OUTCOME_NO_CHANGE);
            assert_int_equal(world_apply(&w, make_sweep(number, f->sweep_next)), OUTCOME_OK);
            assert_in_range(w.effects.count, 1, 3 * STATE_SWEEP_TASKS);
            comes_back(w.state);
            sweeps++;
        }
        assert_in_range(sweeps, 3, 5);
        for (const struct task *t = framework_task_first(f); t; t = framework_task_after(f, t))
            assert_true(t->kill_wanted && !t->unacked && !task_state_terminal(t->latest_state));
        assert_int_equal(world_apply(&w, make_sweep(number, 0)), OUTCOME_NO_CHANGE);
        world_close(&w);
    }
}

static void at_level_1_a_removal_touches_all_its_tasks(void **unused) {
    (void)unused;
    struct world w;
    Conclave__Log__Config seed = CONCLAVE__LOG__CONFIG__INIT;
    seed.has_level = 1;
    seed.level = 1;
    world_open(&w);
    world_apply(&w, make_leader_seeded(1, WORLD_CLUSTER, &seed));
    w.checked = false;
    uint32_t number = world_framework(&w, 0, 0), agents[4];
    for (uint8_t i = 0; i < 4; i++)
        agents[i] = world_agent(&w, (uint8_t)(i + 1));
    many_tasks(&w, number, agents, 900);
    w.checked = true;
    assert_int_equal(world_apply(&w, make_teardown(number)), OUTCOME_OK);
    assert_int_equal(world_effects(&w, EFFECT_KILL), 600);
    assert_true(state_framework(w.state, number)->sweep_last == 0);
    world_close(&w);
}

static void updates_for_a_removed_framework_are_acknowledged_by_themselves(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    uint32_t number = world_framework(&w, 0, 0);
    const struct agent *a = state_agent(w.state, world_agent(&w, 1));
    const struct task *task = world_running(&w, number, a->number, "t");
    world_apply(&w, make_teardown(number));
    assert_int_equal(world_report(&w, task, TASK_KILLING, TASK_KILLING, 2), OUTCOME_OK);
    assert_int_equal(world_effects(&w, EFFECT_ACK), 1);
    assert_int_equal(world_effects(&w, EFFECT_UPDATE), 0);
    assert_int_equal(world_report(&w, task, TASK_KILLED, TASK_KILLED, 3), OUTCOME_OK);
    assert_int_equal(world_effects(&w, EFFECT_ACK), 1);
    assert_true(task->completed);
    assert_int_equal(task->state, TASK_KILLED);
    assert_int_equal(a->used.cpus, 0);
    world_close(&w);
}

static void suppress_and_revive_are_bits_and_a_foreign_role_is_silent(void **unused) {
    (void)unused;
    struct world w;
    char *roles[] = {"a", "b"};
    world_start(&w);
    world_apply(&w, subscribe_as(NULL, "n", "u", NULL, roles, 2, NULL, 0));
    const struct framework *f = state_framework(w.state, w.outcome->framework);
    assert_int_equal(world_apply(&w, make_suppress(f->number, "b", true)), OUTCOME_OK);
    assert_int_equal(f->suppressed, 2);
    assert_int_equal(world_apply(&w, make_suppress(f->number, "c", true)), OUTCOME_NO_CHANGE);
    assert_int_equal(world_apply(&w, make_suppress(f->number, NULL, true)), OUTCOME_OK);
    assert_int_equal(f->suppressed, 3);
    assert_int_equal(world_apply(&w, make_suppress(f->number, NULL, true)), OUTCOME_NO_CHANGE);
    assert_int_equal(world_apply(&w, make_suppress(f->number, "a", false)), OUTCOME_OK);
    assert_int_equal(f->suppressed, 2);
    world_close(&w);
}

static void removed_frameworks_are_forgotten_oldest_first_but_not_before_their_tasks_ended(void **unused) {
    (void)unused;
    struct world w;
    Conclave__Log__Config config = CONCLAVE__LOG__CONFIG__INIT;
    world_start(&w);
    config.has_history_frameworks = 1;
    config.history_frameworks = 1;
    world_apply(&w, make_config(&config));
    uint32_t agent = world_agent(&w, 1);
    uint32_t busy = world_framework(&w, 0, 0), second = world_framework(&w, 0, 0), third = world_framework(&w, 0, 0);
    const struct task *task = world_running(&w, busy, agent, "t");
    world_apply(&w, make_teardown(busy));
    world_apply(&w, make_teardown(second));
    world_apply(&w, make_teardown(third));
    world_agent(&w, 2); /* any command: the trim comes with the next one */
    assert_non_null(state_framework(w.state, busy));
    assert_null(state_framework(w.state, second));
    assert_null(state_framework(w.state, third));
    assert_int_equal(world_report(&w, task, TASK_KILLED, TASK_KILLED, 5), OUTCOME_OK);
    uint32_t fourth = world_framework(&w, 0, 0);
    world_apply(&w, make_teardown(fourth));
    world_agent(&w, 3);
    assert_null(state_framework(w.state, busy));
    assert_non_null(state_framework(w.state, fourth));
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_framework_gets_a_counted_id),
        cmocka_unit_test(a_known_framework_takes_new_name_and_roles_but_keeps_its_user),
        cmocka_unit_test(a_principal_must_not_change_but_an_empty_one_never_mismatches),
        cmocka_unit_test(bad_roles_are_refused_and_change_nothing),
        cmocka_unit_test(an_id_never_seen_is_recreated_but_ours_are_never_used_twice),
        cmocka_unit_test(a_removed_framework_cannot_come_back),
        cmocka_unit_test(only_the_end_of_the_current_subscription_disconnects),
        cmocka_unit_test(a_disconnected_framework_expires_at_its_deadline_and_not_before),
        cmocka_unit_test(a_framework_that_came_back_in_time_does_not_expire),
        cmocka_unit_test(a_change_of_leader_ends_no_framework_before_the_reregister_timeout),
        cmocka_unit_test(a_longer_failover_timeout_holds_after_a_change_of_leader),
        cmocka_unit_test(deadlines_of_hostile_length_do_not_wrap),
        cmocka_unit_test(removal_wants_every_task_killed_and_frees_nothing_that_still_runs),
        cmocka_unit_test(a_removal_with_many_tasks_touches_them_in_several_commands),
        cmocka_unit_test(at_level_1_a_removal_touches_all_its_tasks),
        cmocka_unit_test(updates_for_a_removed_framework_are_acknowledged_by_themselves),
        cmocka_unit_test(suppress_and_revive_are_bits_and_a_foreign_role_is_silent),
        cmocka_unit_test(removed_frameworks_are_forgotten_oldest_first_but_not_before_their_tasks_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
