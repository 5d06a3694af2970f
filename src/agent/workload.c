/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/workload.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "scheduler/state.h"

/* The transition table: 0 = the event has no meaning there, otherwise the next state + 1. */
#define TO(state) (WORKLOAD_##state + 1)
static const uint8_t table[WORKLOAD_STATES][WORKLOAD_EVENTS] = {
    [WORKLOAD_ACCEPTED] = {[WORKLOAD_SPAWNED] = TO(STARTING),
                           [WORKLOAD_REFUSED] = TO(ENDED),
                           [WORKLOAD_REBOOTED] = TO(ENDED),
                           [WORKLOAD_KILL] = TO(ENDED)},
    [WORKLOAD_STARTING] = {[WORKLOAD_UP] = TO(RUNNING),
                           [WORKLOAD_REFUSED] = TO(ENDED), /* the spawn itself failed */
                           [WORKLOAD_EXITED] = TO(ENDED),
                           [WORKLOAD_SHIM_LOST] = TO(ENDED),
                           [WORKLOAD_REBOOTED] = TO(ENDED),
                           [WORKLOAD_KILL] = TO(STARTING)},
    [WORKLOAD_RUNNING] = {[WORKLOAD_EXITED] = TO(ENDED),
                          [WORKLOAD_SHIM_LOST] = TO(ENDED),
                          [WORKLOAD_REBOOTED] = TO(ENDED),
                          [WORKLOAD_KILL] = TO(RUNNING)},
};

void workload_init(struct workload *w) {
    *w = (struct workload){.state = WORKLOAD_ACCEPTED};
}

static struct workload_update *update_add(struct workload_change *change, uint32_t state, int reason) {
    CHECK(change->update_n < sizeof change->updates / sizeof change->updates[0]);
    struct workload_update *u = &change->updates[change->update_n++];
    u->state = state;
    u->reason = reason;
    u->text[0] = '\0';
    return u;
}

static void kill_note(struct workload *w, const struct workload_outcome *o) {
    if (w->kill == KILL_NONE) {
        w->kill = o->cause;
        w->kill_since_ms = o->at_ms;
        w->kill_grace_ms = o->grace_ms;
        return;
    }
    /* A later kill may only bring the end forward: it ends at its own time plus its own grace, or as before. */
    uint64_t end_before = w->kill_since_ms + w->kill_grace_ms;
    uint64_t end_now = o->at_ms + o->grace_ms;
    if (end_now >= o->at_ms && end_now < end_before)
        w->kill_grace_ms = end_now > w->kill_since_ms ? end_now - w->kill_since_ms : 0;
}

static void exit_text(const struct workload_outcome *o, char *ret, size_t size) {
    if (o->exit == EXIT_STATUS) {
        (void)snprintf(ret, size, "Command exited with status %d", o->code);
        return;
    }
    const char *name = strsignal(o->code);
    (void)snprintf(ret, size, "Command terminated with signal %s", name ? name : "unknown");
}

static void exit_update(struct workload *w, const struct workload_outcome *o, struct workload_change *ret) {
    if (o->exit == EXIT_NOT_RUN) {
        bool killed = w->kill == KILL_ORDER;
        struct workload_update *u = update_add(ret, killed ? TASK_KILLED : TASK_FAILED,
                                               killed ? REASON_KILLED_DURING_LAUNCH : REASON_LAUNCH_FAILED);
        (void)snprintf(u->text, sizeof u->text, "%s", o->text);
        return;
    }
    if (w->state == WORKLOAD_STARTING) (void)update_add(ret, TASK_RUNNING, REASON_NONE); /* it was up, unseen */
    uint32_t state = TASK_FAILED;
    int reason = REASON_COMMAND_FAILED;
    if (w->kill == KILL_ORDER) {
        state = TASK_KILLED, reason = REASON_NONE;
    } else if (w->kill == KILL_COMPLETION_TIME) {
        reason = REASON_COMPLETION_TIME;
    } else if (o->oom && !(o->exit == EXIT_STATUS && o->code == 0)) {
        reason = REASON_MEMORY_LIMIT;
    } else if (o->exit == EXIT_STATUS && o->code == 0) {
        state = TASK_FINISHED, reason = REASON_NONE;
    }
    struct workload_update *u = update_add(ret, state, reason);
    exit_text(o, u->text, sizeof u->text);
    if (reason == REASON_MEMORY_LIMIT || reason == REASON_COMPLETION_TIME) {
        char text[WORKLOAD_TEXT_MAX];
        (void)snprintf(text, sizeof text, "%.400s: %s", u->text,
                       reason == REASON_MEMORY_LIMIT ? "memory limit exceeded" : "max_completion_time reached");
        memcpy(u->text, text, sizeof text);
    }
}

static void text_set(struct workload_update *u, const char *text) {
    (void)snprintf(u->text, sizeof u->text, "%s", text);
}

bool workload_step(struct workload *w, enum workload_event event, const struct workload_outcome *o,
                   struct workload_change *ret) {
    CHECK(w->state < WORKLOAD_STATES && event < WORKLOAD_EVENTS);
    ret->update_n = 0;
    uint8_t next = table[w->state][event];
    if (next == 0) return false;
    switch (event) {
    case WORKLOAD_SPAWNED:
        break;
    case WORKLOAD_REFUSED:
        CHECK(task_state_terminal(o->state));
        text_set(update_add(ret, o->state, o->reason), o->text);
        break;
    case WORKLOAD_UP:
        w->up_ms = o->at_ms;
        w->pid = o->pid;
        (void)update_add(ret, TASK_RUNNING, REASON_NONE);
        break;
    case WORKLOAD_EXITED:
        exit_update(w, o, ret);
        break;
    case WORKLOAD_SHIM_LOST:
        text_set(update_add(ret, TASK_FAILED, REASON_SHIM_LOST),
                 "The process that supervised the command is gone and left no record of its end");
        break;
    case WORKLOAD_REBOOTED:
        text_set(update_add(ret, TASK_LOST, REASON_AGENT_RESTARTED), "The host was restarted");
        break;
    case WORKLOAD_KILL:
        kill_note(w, o);
        if (w->state == WORKLOAD_ACCEPTED)
            text_set(update_add(ret, TASK_KILLED, REASON_KILLED_DURING_LAUNCH), "Killed before it was started");
        break;
    case WORKLOAD_EVENTS:
        CHECK(false);
    }
    w->state = (enum workload_state)(next - 1);
    return true;
}

const char *workload_state_name(enum workload_state state) {
    static const char *const names[WORKLOAD_STATES] = {"accepted", "starting", "running", "ended"};
    CHECK(state < WORKLOAD_STATES);
    return names[state];
}

const char *workload_event_name(enum workload_event event) {
    static const char *const names[WORKLOAD_EVENTS] = {"spawned",   "refused",  "up",  "exited",
                                                       "shim_lost", "rebooted", "kill"};
    CHECK(event < WORKLOAD_EVENTS);
    return names[event];
}
