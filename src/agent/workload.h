/* SPDX-License-Identifier: Apache-2.0
 * One task's life on its agent as a declared state machine: what happens to it goes in, the status updates that follow
 * come out. Pure: no clock, no I/O; times are values of the host's monotonic clock.
 *
 *             SPAWNED             UP
 *   ACCEPTED ---------> STARTING ------> RUNNING
 *      |                   |                |
 *      | REFUSED, KILL     | EXITED, SHIM_LOST, REBOOTED
 *      +-------------------+----------------+-------> ENDED
 *
 * Updates that come out: RUNNING once, when the command has been exec'd, then exactly one terminal state. There is no
 * TASK_STARTING: it would cost a commit a task and tells a framework nothing that RUNNING does not. */
#ifndef CONCLAVE_AGENT_WORKLOAD_H
#define CONCLAVE_AGENT_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

enum workload_state {
    WORKLOAD_ACCEPTED, /* on disk, not started */
    WORKLOAD_STARTING, /* a shim was spawned; whether the command runs is not known yet */
    WORKLOAD_RUNNING,  /* the command was exec'd */
    WORKLOAD_ENDED,    /* a terminal update was made */
    WORKLOAD_STATES
};

enum workload_event {
    WORKLOAD_SPAWNED,
    WORKLOAD_REFUSED,   /* cannot be run; outcome.state, reason and text say why */
    WORKLOAD_UP,        /* exec'd; outcome.pid, at_ms */
    WORKLOAD_EXITED,    /* outcome is the shim's exit record */
    WORKLOAD_SHIM_LOST, /* no live shim and no exit record on the host that started it */
    WORKLOAD_REBOOTED,  /* the same after a reboot of the host */
    WORKLOAD_KILL,      /* outcome.cause, at_ms, grace_ms */
    WORKLOAD_EVENTS
};

/* mesos.v1.TaskStatus.Reason, the numbers of the wire; status.c checks them against the generated ones. */
enum workload_reason {
    REASON_NONE = -1,
    REASON_COMMAND_FAILED = 0,
    REASON_SHIM_LOST = 1, /* EXECUTOR_TERMINATED */
    REASON_MEMORY_LIMIT = 8,
    REASON_AGENT_RESTARTED = 12,
    REASON_TASK_INVALID = 14,
    REASON_LAUNCH_FAILED = 21,
    REASON_KILLED_DURING_LAUNCH = 30,
    REASON_COMPLETION_TIME = 33
};

enum workload_kill_cause {
    KILL_NONE,
    KILL_ORDER,          /* the framework, or the master for it */
    KILL_COMPLETION_TIME /* max_completion_time has passed */
};

/* How the command ended, as the shim saw it. */
enum workload_exit {
    EXIT_STATUS = 1, /* code: exit status */
    EXIT_SIGNAL,     /* code: signal number */
    EXIT_NOT_RUN     /* never exec'd; text says why */
};

#define WORKLOAD_TEXT_MAX 512

struct workload_outcome { /* fields that the event does not name are ignored */
    uint32_t state;       /* REFUSED: mesos.v1.TaskState */
    int reason;           /* REFUSED: enum workload_reason */
    uint32_t pid;
    uint64_t at_ms;
    uint64_t grace_ms;
    enum workload_kill_cause cause;
    enum workload_exit exit;
    int code;
    bool oom;
    char text[WORKLOAD_TEXT_MAX];
};

struct workload {
    enum workload_state state;
    enum workload_kill_cause kill; /* the first cause stays */
    uint64_t kill_since_ms;
    uint64_t kill_grace_ms; /* repeated kills may only shorten it */
    uint64_t term_sent_ms;  /* 0: no SIGTERM yet */
    uint64_t force_sent_ms; /* 0: no SIGKILL yet */
    uint64_t up_ms;         /* when it was exec'd; 0: not yet */
    uint32_t pid;           /* of the command; 0: not yet */
};

struct workload_update {
    uint32_t state; /* mesos.v1.TaskState */
    int reason;     /* enum workload_reason */
    char text[WORKLOAD_TEXT_MAX];
};

struct workload_change {
    unsigned update_n; /* updates to queue, in this order */
    struct workload_update updates[2];
};

void workload_init(struct workload *w);
/* Takes one event. Returns false, and changes nothing, if the event has no meaning in this state (a late or repeated
 * signal); *ret is then empty. */
bool workload_step(struct workload *w, enum workload_event event, const struct workload_outcome *outcome,
                   struct workload_change *ret);
const char *workload_state_name(enum workload_state state);
const char *workload_event_name(enum workload_event event);

#endif
