/* SPDX-License-Identifier: Apache-2.0
 * A small world driven by what the state owes and by nothing remembered: agents that crash, links that break in the
 * middle of anything, leaders that change and forget every effect. No launch may start twice, no state may leave a
 * terminal one, and after healing every task ends, every agent is empty and every resource is free (I-07, I-08, I-10,
 * I-13, I-14). Seeded: OBLIGATIONS_SEEDS gives the number of worlds. */
#include "../lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "scheduler/obligations.h"
#include "state_world.h"

enum { AGENTS = 3, SLOTS = 64, QUEUE = 4, LAUNCHES = 4096 };

struct update {
    uint8_t uuid[16];
    uint32_t state;
};

struct job { /* a task at its agent */
    bool used, started, kill;
    char framework_id[64], task_id[16];
    struct launch_id launch;
    struct update queue[QUEUE]; /* oldest first */
    uint32_t count, state;      /* state: of the last update made */
};

struct host {
    bool linked; /* has said hello to this leader and nothing was lost since */
    struct job jobs[SLOTS];
};

struct sim {
    struct world w;
    struct rng rng;
    uint64_t term, uuids;
    uint32_t tasks;
    bool endless; /* no task ends by itself */
    int loss;     /* percent of messages that are lost, with their link */
    struct host hosts[AGENTS];
    uint8_t starts[LAUNCHES];    /* by index of the ACCEPT */
    bool acked[1 << 16];         /* by number of the uuid: shown, acknowledged and so never to be shown again */
    uint64_t shown, ended_count; /* coverage */
};

static bool chance(struct sim *s, int percent) {
    return rng_below(&s->rng, 100) < (uint64_t)percent;
}

/* True if a message gets through; otherwise the link is gone. */
static bool passes(struct sim *s, struct host *host) {
    if (host->linked && chance(s, s->loss)) host->linked = false;
    return host->linked;
}

static struct job *job_find(struct host *host, const char *framework_id, const char *task_id, struct launch_id launch) {
    for (int i = 0; i < SLOTS; i++) {
        struct job *j = &host->jobs[i];
        if (j->used && strcmp(j->framework_id, framework_id) == 0 && strcmp(j->task_id, task_id) == 0 &&
            j->launch.index == launch.index && j->launch.n == launch.n && j->launch.k == launch.k)
            return j;
    }
    return NULL;
}

static void job_update(struct sim *s, struct job *j, uint32_t state) {
    struct update *u = &j->queue[j->count];
    assert_true(j->count < QUEUE);
    memset(u->uuid, 0, sizeof u->uuid);
    assert_true(++s->uuids < sizeof s->acked);
    memcpy(u->uuid, &s->uuids, sizeof s->uuids);
    u->state = j->state = state;
    j->count++;
}

/* ---- orders ---- */

static void host_launch(struct sim *s, const struct task *task) {
    struct host *host = &s->hosts[task->agent - 1];
    const char *framework_id = state_framework(s->w.state, task->framework)->id;
    if (!passes(s, host) || job_find(host, framework_id, task->id, task->launch)) return;
    for (int i = 0; i < SLOTS; i++) {
        struct job *j = &host->jobs[i];
        if (j->used) continue;
        *j = (struct job){.used = true, .launch = task->launch, .state = TASK_STAGING};
        snprintf(j->framework_id, sizeof j->framework_id, "%s", framework_id);
        snprintf(j->task_id, sizeof j->task_id, "%s", task->id);
        return;
    }
    fail_msg("no room on the host");
}

static void host_kill(struct sim *s, struct host *host, const char *framework_id, const char *task_id,
                      struct launch_id launch) {
    struct job *j = job_find(host, framework_id, task_id, launch);
    if (passes(s, host) && j) j->kill = true;
}

/* The agent forgets an acknowledged update, and with the last one the task. */
static void host_ack(struct sim *s, uint32_t agent, const char *framework_id, const char *task_id,
                     struct launch_id launch, const uint8_t uuid[16]) {
    struct host *host = &s->hosts[agent - 1];
    struct job *j = job_find(host, framework_id, task_id, launch);
    if (!passes(s, host) || !j || j->count == 0 || memcmp(j->queue[0].uuid, uuid, 16) != 0) return;
    memmove(j->queue, j->queue + 1, sizeof *j->queue * (QUEUE - 1));
    if (--j->count == 0 && task_state_terminal(j->state)) j->used = false;
}

/* The present leader acts on the hints of the command that it has just seen applied. */
static void effects_act(struct sim *s) {
    for (size_t i = 0; i < s->w.effects.count; i++) {
        const struct effect *e = &s->w.effects.items[i];
        const struct task *task = e->task ? state_task(s->w.state, e->task) : NULL;
        const char *framework_id = task ? state_framework(s->w.state, task->framework)->id : e->framework_id;
        const char *task_id = task ? task->id : e->task_id;
        if (e->type == EFFECT_LAUNCH) host_launch(s, task);
        if (e->type == EFFECT_KILL) host_kill(s, &s->hosts[task->agent - 1], framework_id, task->id, task->launch);
        if (e->type == EFFECT_ACK) host_ack(s, e->agent, framework_id, task_id, e->launch, e->uuid);
        if (e->type == EFFECT_UPDATE && task->unacked) {
            uint64_t number = 0;
            memcpy(&number, task->uuid, sizeof number);
            assert_false(s->acked[number]); /* I-14 */
            s->shown++;
        }
    }
}

static enum outcome_code act(struct sim *s, struct made command) {
    enum outcome_code code = world_apply(&s->w, command);
    effects_act(s);
    return code;
}

/* ---- what happens ---- */

static void do_accept(struct sim *s) {
    uint32_t frameworks = 0, agent = 1 + (uint32_t)rng_below(&s->rng, AGENTS);
    char id[16];
    for (const struct framework *f = state_framework_next(s->w.state, 0); f;
         f = state_framework_next(s->w.state, f->number))
        frameworks = f->number;
    if (s->tasks >= 120) return;
    snprintf(id, sizeof id, "t%u", s->tasks++);
    act(s, make_accept(frameworks - (uint32_t)rng_below(&s->rng, 2), agent, id,
                       (struct make_amount){.cpus = 0.5, .mem = 10}));
}

static const struct task *any_live(struct sim *s) {
    const struct task *chosen = NULL;
    uint64_t seen = 0;
    for (const struct task *t = state_task_next(s->w.state, 0); t; t = state_task_next(s->w.state, t->number))
        if (!t->completed && rng_below(&s->rng, ++seen) == 0) chosen = t;
    return chosen;
}

static void do_leader(struct sim *s) {
    for (int i = 0; i < AGENTS; i++)
        s->hosts[i].linked = false;
    world_apply(&s->w, make_leader(++s->term, WORLD_CLUSTER)); /* its effects, and all before, are forgotten */
}

struct verdicts {
    struct sim *s;
    struct host *host;
    struct {
        enum merge_verdict verdict;
        uint64_t task;
        struct agent_task row;
    } items[SLOTS + 128];
    size_t count;
};

static void verdict_note(void *ctx, enum merge_verdict verdict, const struct task *task, const struct agent_task *row) {
    struct verdicts *v = ctx;
    v->items[v->count].verdict = verdict;
    v->items[v->count].task = task ? task->number : 0;
    if (row) v->items[v->count].row = *row;
    v->count++;
}

static void do_hello(struct sim *s, uint32_t number) {
    struct host *host = &s->hosts[number - 1];
    struct agent_task list[SLOTS];
    size_t count = 0;
    struct verdicts v = {.s = s, .host = host};
    host->linked = true;
    act(s, make_returned(number));
    for (int i = 0; i < SLOTS; i++) {
        const struct job *j = &host->jobs[i];
        if (j->used) list[count++] = (struct agent_task){j->framework_id, j->task_id, j->launch, j->state};
    }
    merge_agent_tasks(s->w.state, state_agent(s->w.state, number), list, count, verdict_note, &v);
    for (size_t i = 0; i < v.count; i++) {
        const struct task *task = v.items[i].task ? state_task(s->w.state, v.items[i].task) : NULL;
        const char *framework_id = task ? state_framework(s->w.state, task->framework)->id : NULL;
        const struct agent_task *row = &v.items[i].row;
        if (v.items[i].verdict == MERGE_SEND_LAUNCH) host_launch(s, task);
        if (v.items[i].verdict == MERGE_SEND_KILL) host_kill(s, host, framework_id, task->id, task->launch);
        if (v.items[i].verdict == MERGE_KILL_UNKNOWN) host_kill(s, host, row->framework_id, row->task_id, row->launch);
        if (v.items[i].verdict == MERGE_VANISHED) act(s, make_vanished(number, framework_id, task->id, task->launch));
        if (v.items[i].verdict != MERGE_FORGET) continue;
        struct job *j = job_find(host, row->framework_id, row->task_id, row->launch);
        if (passes(s, host) && j) j->used = false;
    }
}

/* One job goes on: starts, ends by itself, or is killed. */
static void job_progress(struct sim *s, struct job *j) {
    if (!j->used || task_state_terminal(j->state)) return;
    if (j->kill) {
        job_update(s, j, TASK_KILLED);
        s->ended_count++;
    } else if (!j->started) {
        j->started = true;
        assert_true(j->launch.index < LAUNCHES);
        assert_int_equal(++s->starts[j->launch.index], 1); /* I-08 */
        job_update(s, j, TASK_RUNNING);
    } else if (!s->endless) {
        job_update(s, j, chance(s, 50) ? TASK_FINISHED : TASK_FAILED);
        s->ended_count++;
    }
}

static void do_reports(struct sim *s, uint32_t number) {
    struct host *host = &s->hosts[number - 1];
    for (int i = 0; i < SLOTS && host->linked; i++) {
        struct job *j = &host->jobs[i];
        if (!j->used || j->count == 0 || !passes(s, host)) continue;
        act(s, make_report_uuid(number, j->framework_id, j->task_id, j->launch, j->queue[0].state, j->state,
                                j->queue[0].uuid));
    }
}

static void do_acknowledge(struct sim *s, const struct task *task) {
    uint64_t number = 0;
    if (!task->unacked) return;
    memcpy(&number, task->uuid, sizeof number);
    uint8_t uuid[16];
    memcpy(uuid, task->uuid, sizeof uuid);
    if (act(s, make_acknowledge_uuid(task->framework, task->id, uuid)) == OUTCOME_OK) s->acked[number] = true;
}

/* The agent's process dies: what it had not yet written down is gone with it. */
static void do_crash(struct sim *s, struct host *host) {
    host->linked = false;
    for (int i = 0; i < SLOTS; i++)
        if (host->jobs[i].used && !host->jobs[i].started && host->jobs[i].count == 0 && chance(s, 50))
            host->jobs[i].used = false;
}

static void do_something(struct sim *s) {
    uint32_t number = 1 + (uint32_t)rng_below(&s->rng, AGENTS);
    struct host *host = &s->hosts[number - 1];
    const struct task *task = any_live(s);
    switch (rng_below(&s->rng, 24)) {
    case 0:
        do_leader(s);
        break;
    case 1:
        if (task) act(s, make_kill(task->framework, task->id, -1));
        break;
    case 2:
        do_crash(s, host);
        break;
    case 3:
        host->linked = false;
        act(s, make_unreachable(number, state_agent(s->w.state, number)->since));
        break;
    case 4:
        if (chance(s, 10)) {
            uint32_t fresh = world_framework(&s->w, 1000, chance(s, 50) ? CAP_PARTITION_AWARE : 0);
            if (fresh > 2) act(s, make_teardown(fresh - 2));
        }
        break;
    case 5:
    case 6:
    case 7:
    case 8:
        do_accept(s);
        break;
    case 9:
    case 10:
    case 11:
        if (!host->linked) do_hello(s, number);
        break;
    case 12:
    case 13:
    case 14:
    case 15:
        job_progress(s, &host->jobs[rng_below(&s->rng, 24)]);
        break;
    case 16:
    case 17:
    case 18:
    case 19:
        do_reports(s, number);
        break;
    default:
        if (task) do_acknowledge(s, task);
    }
}

static bool at_rest(const struct sim *s) {
    struct state_counts counts;
    state_counts(s->w.state, &counts);
    for (int i = 0; i < AGENTS; i++)
        for (int k = 0; k < SLOTS; k++)
            if (s->hosts[i].jobs[k].used) return false;
    return counts.tasks_live == 0;
}

/* Every kill is wanted and every hint of it lost. Then nothing is lost any more and everybody does what they should: is
 * all done within a few rounds, though no task ends by itself? */
static void heal(struct sim *s) {
    for (const struct task *t = state_task_next(s->w.state, 0); t; t = state_task_next(s->w.state, t->number))
        if (!t->completed) world_apply(&s->w, make_kill(t->framework, t->id, -1));
    s->endless = true;
    s->loss = 0;
    do_leader(s); /* and this one starts from the state alone */
    for (int round = 0; round < 20 && !at_rest(s); round++) {
        for (uint32_t number = 1; number <= AGENTS; number++) {
            if (!s->hosts[number - 1].linked) do_hello(s, number);
            for (int i = 0; i < SLOTS; i++)
                job_progress(s, &s->hosts[number - 1].jobs[i]);
            do_reports(s, number);
        }
        for (const struct task *t = state_task_next(s->w.state, 0); t; t = state_task_next(s->w.state, t->number))
            do_acknowledge(s, t);
    }
    for (const struct task *t = state_task_next(s->w.state, 0); t; t = state_task_next(s->w.state, t->number))
        if (!t->completed) fail_msg("task %s is still %s", t->id, task_state_name(t->state));
    assert_true(at_rest(s));
    for (uint32_t number = 1; number <= AGENTS; number++)
        assert_true(resources_empty(&state_agent(s->w.state, number)->used));
}

static void after_healing_every_task_has_ended_and_none_started_twice(void **unused) {
    (void)unused;
    const char *text = getenv("OBLIGATIONS_SEEDS");
    uint64_t seeds = text ? strtoull(text, NULL, 10) : 150, shown = 0, ended = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct sim *s = calloc(1, sizeof *s);
        assert_non_null(s);
        rng_seed(&s->rng, seed);
        world_start(&s->w);
        s->term = 1;
        s->loss = (int)rng_below(&s->rng, 20);
        world_framework(&s->w, 1000, CAP_PARTITION_AWARE);
        world_framework(&s->w, 1000, 0);
        for (int i = 1; i <= AGENTS; i++)
            world_agent(&s->w, (uint8_t)i);
        print_message("%s", seed == 1 ? "seeds from 1 on\n" : "");
        for (int step = 0; step < 1200; step++)
            do_something(s);
        heal(s);
        shown += s->shown;
        ended += s->ended_count;
        world_close(&s->w);
        free(s);
    }
    assert_true(shown > seeds * 20 && ended > seeds * 10); /* the worlds were lively */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(after_healing_every_task_has_ended_and_none_started_twice)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
