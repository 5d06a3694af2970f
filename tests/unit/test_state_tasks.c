/* SPDX-License-Identifier: Apache-2.0
 * Tasks: ACCEPT, KILL, reports, acknowledgements, vanishing, the bounded history. */
#include "../lib/cmocka_all.h"

#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "state_world.h"

struct stage { /* a framework and an agent */
    struct world w;
    uint32_t framework, agent;
    const char *id; /* of the framework */
};

static void stage_open(struct stage *s, uint32_t capabilities) {
    world_start(&s->w);
    s->framework = world_framework(&s->w, 0, capabilities);
    s->agent = world_agent(&s->w, 1);
    s->id = state_framework(s->w.state, s->framework)->id;
}

static const struct make_amount one_cpu = {.cpus = 1, .mem = 100};

/* ---- ACCEPT ---- */

static void an_accepted_task_is_staging_and_holds_its_resources(void **unused) {
    (void)unused;
    struct stage s;
    stage_open(&s, 0);
    const struct task *task = world_task(&s.w, s.framework, s.agent, "t");
    assert_int_equal(task->state, TASK_STAGING);
    assert_true(task->holds && !task->confirmed);
    assert_int_equal(task->launch.index, s.w.index);
    assert_int_equal(state_agent(s.w.state, s.agent)->used.cpus, 1000);
    assert_int_equal(state_framework(s.w.state, s.framework)->used.mem, 100000);
    assert_int_equal(world_effects(&s.w, EFFECT_LAUNCH), 1);
    assert_true(task_info(task).len > 0);
    world_close(&s.w);
}

static void tasks_of_one_accept_are_decided_in_order(void **unused) {
    (void)unused;
    struct stage s;
    const struct make_amount big = {.cpus = 5, .mem = 100};
    const struct make_task tasks[] = {{"a", big, NULL}, {"b", big, NULL}, {"c", one_cpu, NULL}, {"a", one_cpu, NULL}};
    stage_open(&s, 0);
    assert_int_equal(world_apply(&s.w, make_accept_many(s.framework, s.agent, true, tasks, 4)), OUTCOME_OK);
    assert_true(s.w.outcome->tasks[0].launched);
    assert_false(s.w.outcome->tasks[1].launched);
    assert_int_equal(s.w.outcome->tasks[1].state, TASK_LOST);
    assert_int_equal(s.w.outcome->tasks[1].mesos_reason, MESOS_REASON_INVALID_OFFERS);
    assert_true(s.w.outcome->tasks[2].launched);
    assert_int_equal(s.w.outcome->tasks[3].state, TASK_ERROR);
    assert_int_equal(state_task_by_id(s.w.state, s.framework, "c")->launch.k, 2);
    world_close(&s.w);
}

static void a_stateless_refusal_is_recorded_as_an_error(void **unused) {
    (void)unused;
    struct stage s;
    const struct make_task refused = {"t", one_cpu, "Task uses too many gpus"};
    stage_open(&s, 0);
    world_apply(&s.w, make_accept_many(s.framework, s.agent, true, &refused, 1));
    const struct task *task = state_task(s.w.state, s.w.outcome->tasks[0].task);
    assert_non_null(task);
    assert_true(task->completed);
    assert_int_equal(task->state, TASK_ERROR);
    assert_int_equal(task->mesos_reason, MESOS_REASON_TASK_INVALID);
    assert_string_equal(task->message, "Task uses too many gpus");
    assert_string_equal(s.w.outcome->tasks[0].reason, "Task uses too many gpus");
    assert_int_equal(state_agent(s.w.state, s.agent)->used.cpus, 0);
    world_task(&s.w, s.framework, s.agent, "t"); /* the id is free */
    world_close(&s.w);
}

static void a_duplicate_id_is_an_error_that_leaves_the_live_task_alone(void **unused) {
    (void)unused;
    struct stage s;
    stage_open(&s, 0);
    const struct task *task = world_running(&s.w, s.framework, s.agent, "t");
    world_apply(&s.w, make_accept(s.framework, s.agent, "t", one_cpu));
    assert_int_equal(s.w.outcome->tasks[0].state, TASK_ERROR);
    assert_int_equal(s.w.outcome->tasks[0].task, 0);
    assert_int_equal(s.w.outcome->tasks[0].mesos_reason, MESOS_REASON_TASK_INVALID);
    assert_ptr_equal(state_task_by_id(s.w.state, s.framework, "t"), task);
    assert_int_equal(task->state, TASK_RUNNING);
    world_close(&s.w);
}

static void a_resent_accept_never_declares_a_known_task_dropped(void **unused) {
    (void)unused;
    struct stage s;
    const struct make_task tasks[] = {{"running", one_cpu, NULL}, {"ended", one_cpu, NULL}, {"new", one_cpu, NULL}};
    stage_open(&s, CAP_PARTITION_AWARE);
    world_running(&s.w, s.framework, s.agent, "running");
    const struct task *ended = world_running(&s.w, s.framework, s.agent, "ended");
    world_report(&s.w, ended, TASK_FINISHED, TASK_FINISHED, 2);
    world_ack(&s.w, ended, 2);
    world_apply(&s.w, make_accept_many(s.framework, 0, false, tasks, 3));
    assert_int_equal(s.w.outcome->tasks[0].state, TASK_RUNNING);
    assert_int_equal(s.w.outcome->tasks[1].state, TASK_FINISHED);
    assert_int_equal(s.w.outcome->tasks[1].task, ended->number);
    assert_int_equal(s.w.outcome->tasks[2].state, TASK_DROPPED);
    assert_int_equal(s.w.outcome->tasks[2].mesos_reason, MESOS_REASON_INVALID_OFFERS);
    assert_null(state_task_by_id(s.w.state, s.framework, "new"));
    world_close(&s.w);
}

static void an_accept_for_an_agent_that_left_loses_its_tasks(void **unused) {
    (void)unused;
    struct stage s;
    stage_open(&s, 0);
    world_apply(&s.w, make_unreachable(s.agent, state_agent(s.w.state, s.agent)->since));
    world_apply(&s.w, make_accept(s.framework, s.agent, "t", one_cpu));
    assert_int_equal(s.w.outcome->tasks[0].state, TASK_LOST);
    assert_int_equal(s.w.outcome->tasks[0].mesos_reason, MESOS_REASON_AGENT_DISCONNECTED);
    world_apply(&s.w, make_gone(s.agent));
    world_apply(&s.w, make_accept(s.framework, s.agent, "t", one_cpu));
    assert_int_equal(s.w.outcome->tasks[0].mesos_reason, MESOS_REASON_AGENT_REMOVED);
    world_close(&s.w);
}

static void an_accept_of_a_removed_framework_is_refused(void **unused) {
    (void)unused;
    struct stage s;
    stage_open(&s, 0);
    world_apply(&s.w, make_teardown(s.framework));
    assert_int_equal(world_apply(&s.w, make_accept(s.framework, s.agent, "t", one_cpu)), OUTCOME_REFUSED);
    assert_int_equal(s.w.outcome->task_count, 0);
    assert_null(state_task_next(s.w.state, 0));
    world_close(&s.w);
}

static void an_agent_is_never_filled_beyond_what_it_has(void **unused) {
    (void)unused;
    struct stage s;
    int launched = 0;
    char id[16];
    stage_open(&s, 0);
    for (int i = 0; i < 20; i++) {
        snprintf(id, sizeof id, "t%d", i);
        world_apply(&s.w, make_accept(s.framework, s.agent, id, one_cpu));
        launched += s.w.outcome->tasks[0].launched;
    }
    assert_int_equal(launched, 8);
    world_close(&s.w);
}

/* ---- KILL ---- */

static void a_kill_is_wanted_until_the_task_ends_and_only_gets_shorter(void **unused) {
    (void)unused;
    struct stage s;
    stage_open(&s, 0);
    const struct task *task = world_running(&s.w, s.framework, s.agent, "t");
    assert_int_equal(world_apply(&s.w, make_kill(s.framework, "t", 500)), OUTCOME_OK);
    assert_int_equal(world_effects(&s.w, EFFECT_KILL), 1);
    assert_int_equal(world_apply(&s.w, make_kill(s.framework, "t", 900)), OUTCOME_NO_CHANGE);
    assert_int_equal(task_kill_grace_ms(task), 500);
    assert_int_equal(world_apply(&s.w, make_kill(s.framework, "t", -1)), OUTCOME_NO_CHANGE);
    assert_int_equal(world_apply(&s.w, make_kill(s.framework, "t", 100)), OUTCOME_OK);
    assert_int_equal(task_kill_grace_ms(task), 100);
    world_report(&s.w, task, TASK_KILLED, TASK_KILLED, 2);
    assert_int_equal(world_apply(&s.w, make_kill(s.framework, "t", 0)), OUTCOME_NO_CHANGE);
    world_ack(&s.w, task, 2);
    assert_int_equal(world_apply(&s.w, make_kill(s.framework, "t", 0)), OUTCOME_NO_CHANGE);
    assert_int_equal(world_apply(&s.w, make_kill(s.framework, "unknown", 0)), OUTCOME_NOT_FOUND);
    world_close(&s.w);
}

/* ---- reports ---- */

static void the_first_report_confirms_and_frees_the_task_info(void **unused) {
    (void)unused;
    struct stage s;
    stage_open(&s, 0);
    const struct task *task = world_task(&s.w, s.framework, s.agent, "t");
    assert_int_equal(world_report(&s.w, task, TASK_RUNNING, TASK_RUNNING, 1), OUTCOME_OK);
    assert_true(task->confirmed && task->unacked);
    assert_int_equal(task_info(task).len, 0);
    assert_true(task_view(task).len > 0 && task_has_status(task));
    assert_true(task->started_wall_ms > 0);
    assert_int_equal(world_effects(&s.w, EFFECT_UPDATE), 1);
    world_close(&s.w);
}

static void a_repeated_update_changes_nothing_and_is_shown_or_acknowledged_again(void **unused) {
    (void)unused;
    struct stage s;
    stage_open(&s, 0);
    const struct task *task = world_task(&s.w, s.framework, s.agent, "t");
    world_report(&s.w, task, TASK_RUNNING, TASK_RUNNING, 1);
    assert_int_equal(world_report(&s.w, task, TASK_RUNNING, TASK_RUNNING, 1), OUTCOME_NO_CHANGE);
    assert_int_equal(world_effects(&s.w, EFFECT_UPDATE), 1);
    world_ack(&s.w, task, 1);
    assert_int_equal(world_report(&s.w, task, TASK_RUNNING, TASK_RUNNING, 1), OUTCOME_NO_CHANGE);
    assert_int_equal(world_effects(&s.w, EFFECT_UPDATE), 0);
    assert_int_equal(world_effects(&s.w, EFFECT_ACK), 1);
    assert_false(task->unacked);
    world_close(&s.w);
}

static void while_an_update_is_open_only_the_latest_state_advances(void **unused) {
    (void)unused;
    struct stage s;
    stage_open(&s, 0);
    const struct task *task = world_task(&s.w, s.framework, s.agent, "t");
    world_report(&s.w, task, TASK_RUNNING, TASK_RUNNING, 1);
    assert_int_equal(world_report(&s.w, task, TASK_FINISHED, TASK_FINISHED, 2), OUTCOME_OK);
    assert_int_equal(task->state, TASK_RUNNING);
    assert_int_equal(task->uuid[0], 1);
    assert_int_equal(task->latest_state, TASK_FINISHED);
    assert_false(task->holds);
    assert_int_equal(world_effects(&s.w, EFFECT_RESOURCES_FREED), 1);
    assert_int_equal(world_effects(&s.w, EFFECT_UPDATE), 0);
    assert_int_equal(world_report(&s.w, task, TASK_FINISHED, TASK_FINISHED, 2), OUTCOME_NO_CHANGE);
    world_ack(&s.w, task, 1);
    assert_int_equal(world_report(&s.w, task, TASK_FINISHED, TASK_FINISHED, 2), OUTCOME_OK);
    assert_int_equal(task->state, TASK_FINISHED);
    world_close(&s.w);
}

static void resources_are_free_at_the_terminal_latest_state(void **unused) {
    (void)unused;
    struct stage s;
    stage_open(&s, 0);
    const struct task *task = world_task(&s.w, s.framework, s.agent, "t");
    world_report(&s.w, task, TASK_STARTING, TASK_FAILED, 1);
    assert_int_equal(task->state, TASK_STARTING);
    assert_int_equal(state_agent(s.w.state, s.agent)->used.cpus, 0);
    world_close(&s.w);
}

static void a_terminal_state_is_never_left(void **unused) {
    (void)unused;
    struct stage s;
    stage_open(&s, 0);
    const struct task *task = world_running(&s.w, s.framework, s.agent, "t");
    world_report(&s.w, task, TASK_FAILED, TASK_FAILED, 2);
    assert_int_equal(world_report(&s.w, task, TASK_RUNNING, TASK_RUNNING, 3), OUTCOME_NO_CHANGE);
    assert_int_equal(task->state, TASK_FAILED);
    assert_int_equal(task->latest_state, TASK_FAILED);
    world_ack(&s.w, task, 2);
    assert_int_equal(world_report(&s.w, task, TASK_RUNNING, TASK_RUNNING, 3), OUTCOME_NO_CHANGE);
    assert_int_equal(world_effects(&s.w, EFFECT_ACK), 1);
    assert_int_equal(task->state, TASK_FAILED);
    world_close(&s.w);
}

static void reports_of_another_launch_or_of_no_task_are_only_acknowledged(void **unused) {
    (void)unused;
    struct stage s;
    stage_open(&s, 0);
    const struct task *task = world_task(&s.w, s.framework, s.agent, "t");
    struct launch_id other = task->launch;
    other.index++;
    assert_int_equal(world_apply(&s.w, make_report(s.agent, s.id, "t", other, TASK_FAILED, TASK_FAILED, 1)),
                     OUTCOME_NO_CHANGE);
    assert_int_equal(world_effects(&s.w, EFFECT_ACK), 1);
    assert_int_equal(task->state, TASK_STAGING);
    assert_false(task->confirmed);
    assert_int_equal(world_apply(&s.w, make_report(s.agent, "nobody", "u", other, TASK_FAILED, TASK_FAILED, 7)),
                     OUTCOME_NO_CHANGE);
    const struct effect *ack = world_effect(&s.w, EFFECT_ACK);
    assert_int_equal(ack->task, 0);
    assert_int_equal(ack->agent, s.agent);
    assert_string_equal(ack->framework_id, "nobody");
    assert_string_equal(ack->task_id, "u");
    assert_int_equal(ack->uuid[15], 7);
    assert_int_equal(ack->launch.index, other.index);
    world_close(&s.w);
}

static void states_that_only_masters_give_are_refused_from_an_agent(void **unused) {
    (void)unused;
    struct stage s;
    stage_open(&s, 0);
    const struct task *task = world_task(&s.w, s.framework, s.agent, "t");
    assert_int_equal(world_report(&s.w, task, TASK_UNREACHABLE, TASK_UNREACHABLE, 1), OUTCOME_REFUSED);
    assert_int_equal(world_report(&s.w, task, TASK_RUNNING, 99, 1), OUTCOME_REFUSED);
    assert_false(task->confirmed);
    world_close(&s.w);
}

/* ---- acknowledgements ---- */

static void only_the_open_update_can_be_acknowledged(void **unused) {
    (void)unused;
    struct stage s;
    stage_open(&s, 0);
    const struct task *task = world_task(&s.w, s.framework, s.agent, "t");
    world_report(&s.w, task, TASK_RUNNING, TASK_RUNNING, 1);
    assert_int_equal(world_ack(&s.w, task, 2), OUTCOME_NO_CHANGE);
    assert_int_equal(world_ack(&s.w, task, 1), OUTCOME_OK);
    assert_int_equal(world_effect(&s.w, EFFECT_ACK)->task, task->number);
    assert_int_equal(world_ack(&s.w, task, 1), OUTCOME_NO_CHANGE);
    assert_int_equal(world_apply(&s.w, make_acknowledge(s.framework, "unknown", 1)), OUTCOME_NOT_FOUND);
    world_close(&s.w);
}

static void acknowledging_the_end_moves_the_task_to_the_history(void **unused) {
    (void)unused;
    struct stage s;
    struct state_counts counts;
    stage_open(&s, 0);
    const struct task *task = world_running(&s.w, s.framework, s.agent, "t");
    world_report(&s.w, task, TASK_FINISHED, TASK_FINISHED, 2);
    assert_int_equal(world_ack(&s.w, task, 2), OUTCOME_OK);
    assert_true(task->completed);
    state_counts(s.w.state, &counts);
    assert_int_equal(counts.tasks_live, 0);
    assert_int_equal(counts.tasks_completed, 1);
    assert_int_equal(counts.tasks_ever[TASK_FINISHED], 1);
    assert_int_equal(counts.tasks_now[TASK_FINISHED], 0);
    assert_ptr_equal(framework_completed_first(state_framework(s.w.state, s.framework)), task);
    world_close(&s.w);
}

static void an_id_can_be_used_again_after_its_task_ended(void **unused) {
    (void)unused;
    struct stage s;
    stage_open(&s, 0);
    const struct task *old = world_running(&s.w, s.framework, s.agent, "t");
    struct launch_id old_launch = old->launch;
    world_report(&s.w, old, TASK_FINISHED, TASK_FINISHED, 2);
    world_ack(&s.w, old, 2);
    const struct task *fresh = world_task(&s.w, s.framework, s.agent, "t");
    assert_ptr_equal(state_task_by_id(s.w.state, s.framework, "t"), fresh);
    assert_int_equal(world_apply(&s.w, make_report(s.agent, s.id, "t", old_launch, TASK_FINISHED, TASK_FINISHED, 2)),
                     OUTCOME_NO_CHANGE);
    assert_int_equal(fresh->state, TASK_STAGING);
    world_close(&s.w);
}

/* ---- vanishing ---- */

static void a_killed_task_that_never_reached_its_agent_is_killed(void **unused) {
    (void)unused;
    struct stage s;
    stage_open(&s, 0);
    const struct task *task = world_task(&s.w, s.framework, s.agent, "t");
    assert_int_equal(world_apply(&s.w, make_vanished(s.agent, s.id, "t", task->launch)), OUTCOME_NO_CHANGE);
    world_apply(&s.w, make_kill(s.framework, "t", -1));
    assert_int_equal(world_apply(&s.w, make_vanished(s.agent, s.id, "t", task->launch)), OUTCOME_OK);
    assert_int_equal(task->state, TASK_KILLED);
    assert_int_equal(task->mesos_reason, MESOS_REASON_TASK_KILLED_DURING_LAUNCH);
    assert_true(task->completed && !task->unacked && !task->holds);
    assert_int_equal(world_effects(&s.w, EFFECT_UPDATE), 1);
    assert_int_equal(world_effects(&s.w, EFFECT_RESOURCES_FREED), 1);
    world_close(&s.w);
}

static void a_confirmed_task_that_its_agent_does_not_have_is_gone_or_lost(void **unused) {
    (void)unused;
    for (int aware = 0; aware < 2; aware++) {
        struct stage s;
        stage_open(&s, aware ? CAP_PARTITION_AWARE : 0);
        const struct task *task = world_running(&s.w, s.framework, s.agent, "t");
        struct launch_id other = task->launch;
        other.k++;
        assert_int_equal(world_apply(&s.w, make_vanished(s.agent, s.id, "t", other)), OUTCOME_NO_CHANGE);
        assert_int_equal(world_apply(&s.w, make_vanished(s.agent, s.id, "t", task->launch)), OUTCOME_OK);
        assert_int_equal(task->state, aware ? TASK_GONE : TASK_LOST);
        assert_true(task->completed);
        world_close(&s.w);
    }
}

static void a_last_update_still_open_survives_the_vanishing(void **unused) {
    (void)unused;
    struct stage s;
    stage_open(&s, 0);
    const struct task *task = world_running(&s.w, s.framework, s.agent, "t");
    world_report(&s.w, task, TASK_FINISHED, TASK_FINISHED, 2);
    assert_int_equal(world_apply(&s.w, make_vanished(s.agent, s.id, "t", task->launch)), OUTCOME_NO_CHANGE);
    assert_true(task->unacked);
    world_close(&s.w);
}

/* ---- history ---- */

static void the_history_is_bounded_and_forgets_the_oldest(void **unused) {
    (void)unused;
    struct stage s;
    Conclave__Log__Config config = CONCLAVE__LOG__CONFIG__INIT;
    char id[16];
    stage_open(&s, 0);
    config.has_history_tasks = 1;
    config.history_tasks = 3;
    world_apply(&s.w, make_config(&config));
    for (int i = 0; i < 6; i++) {
        snprintf(id, sizeof id, "t%d", i);
        const struct task *task = world_running(&s.w, s.framework, s.agent, id);
        world_report(&s.w, task, TASK_FINISHED, TASK_FINISHED, 2);
        world_ack(&s.w, task, 2);
    }
    world_agent(&s.w, 2); /* any command: the trim comes with the next one */
    assert_null(state_task_by_id(s.w.state, s.framework, "t2"));
    assert_non_null(state_task_by_id(s.w.state, s.framework, "t3"));
    config.history_tasks = 1;
    world_apply(&s.w, make_config(&config));
    assert_null(state_task_by_id(s.w.state, s.framework, "t4"));
    assert_non_null(state_task_by_id(s.w.state, s.framework, "t5"));
    world_close(&s.w);
}

static void numbers_of_forgotten_tasks_are_not_used_again(void **unused) {
    (void)unused;
    struct stage s;
    Conclave__Log__Config config = CONCLAVE__LOG__CONFIG__INIT;
    stage_open(&s, 0);
    config.has_history_tasks = 1;
    world_apply(&s.w, make_config(&config));
    const struct task *task = world_running(&s.w, s.framework, s.agent, "t");
    world_report(&s.w, task, TASK_FINISHED, TASK_FINISHED, 2);
    world_ack(&s.w, task, 2);
    assert_int_equal(world_task(&s.w, s.framework, s.agent, "t")->number, 2);
    assert_null(state_task(s.w.state, 1));
    world_close(&s.w);
}

static void status_is_kept(struct world *w, const struct task *task, const uint8_t *status, size_t len) {
    static uint8_t uuid[16];
    Conclave__Log__Command command = CONCLAVE__LOG__COMMAND__INIT;
    Conclave__Log__TaskReport report = CONCLAVE__LOG__TASK_REPORT__INIT;
    Conclave__Log__LaunchId launch = CONCLAVE__LOG__LAUNCH_ID__INIT;
    if (task->unacked) world_apply(w, make_acknowledge_uuid(task->framework, task->id, task->uuid));
    uuid[0]++;
    uuid[15] = (uint8_t)(uuid[15] + (uuid[0] == 0));
    launch.index = task->launch.index;
    launch.n = task->launch.n;
    launch.k = task->launch.k;
    report.agent = task->agent;
    report.framework_id = state_framework(w->state, task->framework)->id;
    report.task_id = task->id;
    report.launch = &launch;
    report.state = report.latest_state = TASK_RUNNING;
    report.uuid = (ProtobufCBinaryData){.len = sizeof uuid, .data = uuid};
    report.status = (ProtobufCBinaryData){.len = len, .data = (uint8_t *)(uintptr_t)status};
    command.task_report = &report;
    assert_int_equal(world_apply(w, make_packed(&command)), OUTCOME_OK);
    struct bytes kept = task_status(w->state, task);
    assert_int_equal(kept.len, len);
    if (len > 0) assert_memory_equal(kept.data, status, len);
}

/* One field as an agent sends it, or nearly: the ids and the uuid that stand in the record, others, and rubbish. */
static size_t some_field(struct rng *rng, const struct world *w, const struct task *task, uint8_t *p) {
    static const uint8_t keys[] = {0x0a, 0x2a, 0x3a, 0x5a, 0x12, 0x6a};
    const char *id = rng_below(rng, 2) ? task->id : state_agent(w->state, task->agent)->id;
    uint8_t len = (uint8_t)strlen(id), key = keys[rng_below(rng, sizeof keys)], *begin = p;
    switch (rng_below(rng, 6)) {
    case 0: /* a number */
        *p++ = 0x10;
        *p++ = (uint8_t)rng_below(rng, 128);
        break;
    case 1: /* 8 bytes */
        *p++ = 0x31;
        memset(p, (int)rng_below(rng, 256), 8);
        p += 8;
        break;
    case 2: /* rubbish */
        for (uint64_t n = rng_below(rng, 6); n > 0; n--)
            *p++ = (uint8_t)rng_below(rng, 256);
        break;
    case 3: /* uuid, perhaps of another key */
        *p++ = rng_below(rng, 4) ? 0x5a : key;
        *p++ = 16;
        memcpy(p, task->uuid, 16);
        p[0] = (uint8_t)(p[0] + rng_below(rng, 3));
        p += 16;
        break;
    default:
        *p++ = key;
        *p++ = (uint8_t)(len + 2 + (rng_below(rng, 8) == 0));
        *p++ = 0x0a;
        *p++ = len;
        memcpy(p, id, len);
        p += len;
    }
    return (size_t)(p - begin);
}

static void a_status_comes_back_as_it_was_sent(void **unused) {
    (void)unused;
    struct world w;
    struct rng rng;
    static uint8_t status[70000];
    world_start(&w);
    rng_seed(&rng, 3);
    uint32_t framework = world_framework(&w, 0, 0);
    const struct agent *agent = state_agent(w.state, world_agent(&w, 1));
    const struct task *task = world_running(&w, framework, agent->number, "a-task-with-a-name");
    w.checked = false;
    for (unsigned round = 0; round < 20000; round++) {
        size_t len = 0;
        for (uint64_t n = rng_below(&rng, 9); n > 0; n--)
            len += some_field(&rng, &w, task, status + len);
        if (len > 0 && rng_below(&rng, 8) == 0) len -= rng_below(&rng, len); /* cut off */
        status_is_kept(&w, task, status, len);
    }
    size_t most = 0; /* as many fields that are left out as there can be */
    while (most + 64 < STATE_TASK_BYTES_MAX) {
        uint8_t len = (uint8_t)strlen(task->id);
        status[most++] = 0x0a;
        status[most++] = (uint8_t)(len + 2);
        status[most++] = 0x0a;
        status[most++] = len;
        memcpy(status + most, task->id, len);
        most += len;
    }
    status_is_kept(&w, task, status, most);
    w.checked = true;
    status_is_kept(&w, task, status, 20);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_status_comes_back_as_it_was_sent),
        cmocka_unit_test(an_accepted_task_is_staging_and_holds_its_resources),
        cmocka_unit_test(tasks_of_one_accept_are_decided_in_order),
        cmocka_unit_test(a_stateless_refusal_is_recorded_as_an_error),
        cmocka_unit_test(a_duplicate_id_is_an_error_that_leaves_the_live_task_alone),
        cmocka_unit_test(a_resent_accept_never_declares_a_known_task_dropped),
        cmocka_unit_test(an_accept_for_an_agent_that_left_loses_its_tasks),
        cmocka_unit_test(an_accept_of_a_removed_framework_is_refused),
        cmocka_unit_test(an_agent_is_never_filled_beyond_what_it_has),
        cmocka_unit_test(a_kill_is_wanted_until_the_task_ends_and_only_gets_shorter),
        cmocka_unit_test(the_first_report_confirms_and_frees_the_task_info),
        cmocka_unit_test(a_repeated_update_changes_nothing_and_is_shown_or_acknowledged_again),
        cmocka_unit_test(while_an_update_is_open_only_the_latest_state_advances),
        cmocka_unit_test(resources_are_free_at_the_terminal_latest_state),
        cmocka_unit_test(a_terminal_state_is_never_left),
        cmocka_unit_test(reports_of_another_launch_or_of_no_task_are_only_acknowledged),
        cmocka_unit_test(states_that_only_masters_give_are_refused_from_an_agent),
        cmocka_unit_test(only_the_open_update_can_be_acknowledged),
        cmocka_unit_test(acknowledging_the_end_moves_the_task_to_the_history),
        cmocka_unit_test(an_id_can_be_used_again_after_its_task_ended),
        cmocka_unit_test(a_killed_task_that_never_reached_its_agent_is_killed),
        cmocka_unit_test(a_confirmed_task_that_its_agent_does_not_have_is_gone_or_lost),
        cmocka_unit_test(a_last_update_still_open_survives_the_vanishing),
        cmocka_unit_test(the_history_is_bounded_and_forgets_the_oldest),
        cmocka_unit_test(numbers_of_forgotten_tasks_are_not_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
