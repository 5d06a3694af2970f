/* SPDX-License-Identifier: Apache-2.0
 * The replicated state: cluster, frameworks, agents and every task, and the one function that changes it.
 *
 * Pure: no clock, randomness, I/O, floating point, hash order or global. The same commands give the same state, the
 * same outcomes and the same hash on every machine. Shells read the records below through const pointers, which stay
 * valid until the next state_apply or state_restore; only state_apply changes them.
 *
 * Invariants (state_check re-derives all of them):
 *  - the resources of an agent's tasks that are not freed never exceed the agent's (P2, I-09);
 *  - a task id names at most one live task of a framework; a task's latest state never leaves a terminal state (I-13);
 *  - at most one unacknowledged update a task;
 *  - indexes (by id, per agent, per framework) and the hash agree with the records (S-6);
 *  - numbers and ids are never used twice.
 *
 * What must be done in the world follows from state (obligations.h); effects are hints for speed and may all be lost.
 */
#ifndef CONCLAVE_SCHEDULER_STATE_H
#define CONCLAVE_SCHEDULER_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/queue.h"
#include "wire/resources.h"

/* The newest feature level of this source; level_max() says what the program that is running can apply. Everything that
 * changes what apply does, and every new field of a snapshot record, is behind a level (level.h).
 *   1  the first release
 *   2  the configuration record has the position of its last change, and is changed by compare-and-set; the removal of
 *      a framework with many tasks touches them in several commands */
/* Of state_hash: another number whenever the same state would get another hash. */
#define STATE_HASH_KIND 1
#define STATE_LEVEL_MAX 2

/* mesos.v1.TaskState, the numbers of the wire. */
enum task_state {
    TASK_STARTING = 0,
    TASK_RUNNING = 1,
    TASK_FINISHED = 2,
    TASK_FAILED = 3,
    TASK_KILLED = 4,
    TASK_LOST = 5,
    TASK_STAGING = 6,
    TASK_ERROR = 7,
    TASK_KILLING = 8,
    TASK_DROPPED = 9,
    TASK_UNREACHABLE = 10,
    TASK_GONE = 11,
    TASK_GONE_BY_OPERATOR = 12,
    TASK_UNKNOWN = 13
};
bool task_state_terminal(uint32_t state);    /* FINISHED FAILED KILLED LOST ERROR DROPPED GONE GONE_BY_OPERATOR */
const char *task_state_name(uint32_t state); /* "TASK_RUNNING"; "TASK_UNKNOWN" for what is none */

/* mesos.v1 FrameworkInfo.Capability.Type as bits of framework.capabilities */
enum {
    CAP_TASK_KILLING_STATE = 1 << 2,
    CAP_GPU_RESOURCES = 1 << 3,
    CAP_PARTITION_AWARE = 1 << 5,
    CAP_MULTI_ROLE = 1 << 6,
    CAP_RESERVATION_REFINEMENT = 1 << 7
};

/* mesos.v1 TaskStatus.Reason, those that apply gives by itself; the numbers of the wire. */
enum mesos_reason {
    MESOS_REASON_NONE = -1,
    MESOS_REASON_FRAMEWORK_REMOVED = 3,
    MESOS_REASON_INVALID_OFFERS = 6,
    MESOS_REASON_RECONCILIATION = 9,
    MESOS_REASON_AGENT_DISCONNECTED = 10,
    MESOS_REASON_AGENT_REMOVED = 11,
    MESOS_REASON_TASK_INVALID = 14,
    MESOS_REASON_TASK_KILLED_DURING_LAUNCH = 30,
    MESOS_REASON_AGENT_REMOVED_BY_OPERATOR = 31,
    MESOS_REASON_AGENT_REREGISTERED = 32
};

/* Limits that apply keeps by itself: what would pass one is refused and changes nothing. */
#define STATE_AGENTS_MAX     100000   /* ever registered */
#define STATE_FRAMEWORKS_MAX 100000   /* not removed */
#define STATE_TASKS_MAX      2000000  /* not completed */
#define STATE_HISTORY_MAX    10000000 /* of config.history_tasks and config.history_frameworks */
#define STATE_ROLES_MAX      32       /* of a framework */
#define STATE_INFO_MAX       1048576  /* bytes of FrameworkInfo, AgentInfo */
#define STATE_TEXT_MAX       4096     /* bytes of a name, user, principal, address, version */
#define STATE_ID_MAX         255      /* bytes of a task, framework or agent id */
#define STATE_TASK_BYTES_MAX 65536    /* TaskInfo + view */
#define STATE_SWEEP_TASKS    500      /* tasks of a removed framework that one command deals with */
#define STATE_SWEEP_PLACES   4000     /* and numbers that it passes to find them */
#define STATE_MEMBERS_MAX    32       /* masters that were added and not removed */
#define STATE_MEMBER_ID_MAX  (UINT64_C(1) << 60)
#define STATE_ADDRESS_MAX    127        /* bytes of a master's address */
#define STATE_GRACE_DEFAULT  UINT64_MAX /* kill_grace_ms: the task's own */

struct launch_id { /* position of the ACCEPT and ordinal in it; index 0: none */
    uint64_t index;
    uint32_t n, k;
};

struct bytes { /* owned by the record */
    uint8_t *data;
    size_t len;
};

enum agent_status { AGENT_ACTIVE = 1, AGENT_UNREACHABLE_STATUS = 2, AGENT_GONE_STATUS = 3 };

struct agent {
    uint32_t number; /* dense, from 1, never re-used */
    enum agent_status status;
    char *id; /* <cluster>-<incarnation>-S<number> */
    char *hostname;
    char *http; /* HOST:PORT of its HTTP server */
    char *version;
    char *boot_id;    /* may be "" */
    uint8_t uuid[16]; /* of its work folder */
    struct resources total;
    struct resources used; /* sum over its tasks that hold resources; always contained in total */
    struct bytes info;     /* mesos.v1.AgentInfo */
    uint64_t registered_wall_ms;
    uint64_t since;     /* index of the last registration, return or unreachable mark */
    struct queue tasks; /* struct task.on_agent: not completed, by number */
    uint32_t task_count;
    uint32_t port_ranges; /* sum over its tasks that hold resources; bounds what `used` can be split into */
    /* private */
    struct hash128 hash;
    bool touched;
};

enum framework_status { FRAMEWORK_CONNECTED = 1, FRAMEWORK_DISCONNECTED = 2, FRAMEWORK_REMOVED = 3 };

struct framework {
    uint32_t number; /* dense, from 1, never re-used */
    enum framework_status status;
    char *id; /* <cluster>-<incarnation>-<number, 4 digits> or the id it brought along */
    char *name, *user;
    char *principal; /* may be "" */
    char *roles[STATE_ROLES_MAX];
    uint32_t role_count;
    uint32_t suppressed;   /* bit i: roles[i] is suppressed */
    uint32_t capabilities; /* CAP_* */
    uint64_t failover_timeout_ms;
    struct bytes info;         /* mesos.v1.FrameworkInfo */
    uint64_t subscribed;       /* index of its last subscription */
    uint64_t since;            /* index of the last change of status */
    uint64_t since_cluster_ms; /* cluster time of that */
    uint64_t registered_wall_ms, changed_wall_ms;
    struct resources used;  /* sum over its tasks that hold resources; no ports: they are an agent's own */
    struct queue tasks;     /* struct task.in_framework: not completed, by number */
    uint32_t task_count;    /* of `tasks` */
    struct queue completed; /* struct task.in_framework: in the history, oldest first */
    uint64_t removed_seq;   /* place in the order of removals; 0: not removed */
    /* Its removal has not touched its tasks with these numbers yet (framework_sweep does); 0: none are left. That their
     * kill is wanted follows from the removal: ask task_kill_wanted. */
    uint64_t sweep_next, sweep_last;
    /* private */
    struct queue in_removed;
    struct hash128 hash;
    bool touched;
};

/* Ordered by size, for there may be millions; what a task does not always have is behind a function (task_*). */
struct task {
    uint64_t number;           /* dense, from 1, never re-used */
    uint32_t framework, agent; /* numbers; agent 0: refused before it had one */
    char *id;                  /* in one piece with its resources: task_resources */
    char *name;
    struct launch_id launch;
    uint8_t state;        /* of the last committed update that the framework was or will be told */
    uint8_t latest_state; /* at the agent; terminal frees the resources */
    bool confirmed : 1;   /* the agent has reported it at least once */
    bool holds : 1;       /* its resources count against agent and framework */
    bool kill_wanted : 1;
    bool completed : 1;   /* in the bounded history: nothing is owed for it any more */
    bool unacked : 1;     /* uuid and status await the framework's ACKNOWLEDGE */
    bool has_uuid : 1;    /* uuid is valid: of the unacked or of the last acknowledged update */
    bool touched : 1;     /* private */
    int16_t mesos_reason; /* why apply made the state: enum mesos_reason; MESOS_REASON_NONE if the agent reported it */
    uint8_t uuid[16];
    uint8_t *sent;         /* private: task_info until confirmed, then task_status; NULL: neither */
    char *message;         /* text to a state that apply made; NULL: none */
    uint8_t *view;         /* private: task_view */
    uint64_t grace_or_seq; /* private: task_kill_grace_ms while it is live, then task_completed_seq */
    uint64_t created_wall_ms, changed_wall_ms;
    uint64_t started_wall_ms; /* first RUNNING; 0 not yet */
    union {
        struct queue on_agent;   /* while it is live */
        struct queue in_history; /* once it is completed */
    };
    struct queue in_framework;
    struct hash128 hash; /* private */
};

struct leader_record { /* the last leader_started */
    uint64_t index, term, node;
    uint64_t cluster_ms, wall_ms;
    char *http, *link, *version; /* never NULL; "" before the first leader */
};

struct config_record { /* see proto/conclave/log.proto, Config */
    bool set;
    uint64_t framework_reregister_timeout_ms, agent_timeout_ms;
    uint32_t history_tasks, history_frameworks, level;
    uint64_t changed_index; /* position of the last change; 0: not known, as while the level is 1 */
    uint32_t changed_n;
};

struct member_record { /* a master that was added; those that the cluster began with have no record */
    uint64_t id;       /* never given twice */
    char *peer, *http, *link;
};

struct state; /* opaque: tables are radix arrays of 64 KiB slabs (base/slab.h) indexed by number */

/* Effects: hints of what a command made due, in order. A leader that is current acts on them at once; all of them can
 * be re-derived from state, so losing them costs time only. */
enum effect_type {
    EFFECT_LAUNCH,            /* task: send its launch to its agent */
    EFFECT_KILL,              /* task: send its kill to its agent */
    EFFECT_UPDATE,            /* task: show its unacked update (or its masterly made one) to the framework */
    EFFECT_ACK,               /* task, uuid: tell the agent to forget this update */
    EFFECT_FRAMEWORK_REMOVED, /* framework */
    EFFECT_FRAMEWORK_CHANGED, /* framework: subscribed, disconnected, suppressed or revived */
    EFFECT_AGENT_CHANGED,     /* agent: registered, returned, unreachable, gone */
    EFFECT_RESOURCES_FREED    /* agent: something of it is free again */
};
struct effect {
    enum effect_type type;
    uint32_t framework, agent; /* 0: none */
    uint64_t task;             /* 0: none */
    uint8_t uuid[16];          /* EFFECT_ACK */
    /* EFFECT_ACK may name a task that is not known (task == 0): then these say whose update it is; owned, else NULL.
     * `launch` is set in every EFFECT_ACK, EFFECT_LAUNCH and EFFECT_KILL. */
    char *framework_id, *task_id;
    struct launch_id launch;
};

enum outcome_code {
    OUTCOME_OK,
    OUTCOME_NO_CHANGE, /* nothing to do: duplicate, or overtaken by a newer command */
    OUTCOME_REFUSED,   /* `reason` says why; nothing changed */
    OUTCOME_CONFLICT,  /* the record is not at the position that the command expects; `reason`; nothing changed */
    OUTCOME_NOT_FOUND
};
#define OUTCOME_TASKS_MAX 1000
struct task_outcome { /* of one task of an Accept */
    bool launched;
    uint64_t task;  /* launched, known already (offers not valid) or in history as TASK_ERROR; else 0 */
    uint32_t state; /* what the framework is to be told when not launched (LOST, DROPPED, ERROR or its present state) */
    const char *reason; /* static text or the command's refusal; valid until the next apply; NULL when launched */
    int mesos_reason;   /* mesos.v1 TaskStatus.Reason, -1 none */
};
struct outcome {
    enum outcome_code code;
    char reason[160];
    uint32_t framework, agent; /* subscribed or registered */
    uint64_t member;           /* id that a MemberAdd gave */
    uint32_t task_count;       /* of an Accept, in its order */
    struct task_outcome tasks[OUTCOME_TASKS_MAX];
};
struct effects { /* cleared by state_apply, owned by the caller; bounded by what one command can touch */
    struct effect *items;
    size_t count, cap;
};
void effects_done(struct effects *effects);

struct state *state_new(void);
void state_free(struct state *state);

/* Whether this program may apply the packed command to this state, told from its bytes: 0; ERR_INCOMPATIBLE (a command,
 * field or feature level that it does not know; the text names who wrote it), ERR_CORRUPT (not a message). A replica
 * asks for every command of an entry before it applies the first; state_apply asks as well. */
int state_admit(const struct state *state, const uint8_t *command, size_t len, struct err *err);

/* Applies one command (a packed conclave.log.Command) at `index`.`n`. Everything that decides an outcome is decided
 * here, from the command's typed fields and the state. Refusals are decided before the first change. Returns 0 and
 * fills *outcome and *effects; or, with nothing changed, ERR_INCOMPATIBLE (unknown command or field, or above the
 * level: the caller stops with exit 4) or ERR_CORRUPT (not a command at all). `outcome` is large: keep one and reuse
 * it. A command at or before the last applied position is ERR_CORRUPT too. The bounded history is trimmed when the
 * next command begins, so every number in *effects and *outcome can still be looked up until then. */
int state_apply(struct state *state, uint64_t term, uint64_t index, uint32_t n, const uint8_t *command, size_t len,
                struct outcome *outcome, struct effects *effects, struct err *err);

/* Canonical bytes of the whole state (proto/conclave/snapshot.proto records), and back. One state, one byte string. */
int state_snapshot(const struct state *state, struct buf *ret);
int state_restore(struct state *state, const uint8_t *data, size_t len, struct err *err);

/* The same bit by bit, while the state goes on changing: what is written is the state as it is at the call of begin.
 * Its records come in the order in which they are met, so the bytes are not canonical; the state restored from them is.
 * One at a time; no command may be half applied. Memory: the encoding of the records that change meanwhile, until the
 * next call of more. A restore ends it. */
void state_snapshot_begin(struct state *state);
/* Appends what waits, and then further records until at least `bytes` bytes were appended or all are written; *ret_end
 * says that these were the last. The time it takes is that of encoding `bytes` and one record. ERR_CLOSED: none is
 * under way; ERR_LIMIT: `ret` is full, and the snapshot is spoilt (end it). */
int state_snapshot_more(struct state *state, size_t bytes, struct buf *ret, bool *ret_end);
/* Gives up what is under way; harmless otherwise. */
void state_snapshot_end(struct state *state);
bool state_snapshot_active(const struct state *state);

/* Restoring bit by bit, aside: any thread may do this, for a loader shares nothing with any other state. */
struct state_loader; /* opaque */
struct state_loader *state_loader_new(void);
/* The next bytes, in pieces of any size. ERR_CORRUPT, ERR_INCOMPATIBLE, ERR_NOMEM; then the loader can only be freed.
 */
int state_loader_data(struct state_loader *loader, const uint8_t *data, size_t len, struct err *err);
/* There are no more bytes. 0: all of it is there and every invariant holds. */
int state_loader_end(struct state_loader *loader, struct err *err);
/* After state_loader_end said 0: `state` becomes what was loaded, in no time; what it was goes with the loader. */
void state_loader_swap(struct state_loader *loader, struct state *state);
void state_loader_free(struct state_loader *loader); /* NULL is harmless */

/* Begins a new life of the cluster, for a state that was brought back by an operator (snapshot restore, recover apply):
 * `incarnation` is higher than before, so that every fence of the lives before is void, and the state stands at entry
 * `index`, at or behind where it was. Not for masters: their state changes by commands only. */
void state_begin_life(struct state *state, uint32_t incarnation, uint64_t index);
/* Part of it: of the records of masters those stay for which keep says so. Ids that the lost life may have given to
 * masters are passed over: the next one is more than STATE_LIFE_MEMBERS above all that are known and `highest`. */
#define STATE_LIFE_MEMBERS 1000
void state_begin_members(struct state *state, bool (*keep)(void *ctx, uint64_t id, const char *peer), void *ctx,
                         uint64_t highest);

/* Every record as its packed message of snapshot.proto: the globals, then agents, frameworks and tasks by number. cb
 * returns false to stop; the bytes are borrowed. */
enum state_record_kind {
    STATE_RECORD_GLOBALS = 1,
    STATE_RECORD_AGENT = 2,
    STATE_RECORD_FRAMEWORK = 3,
    STATE_RECORD_TASK = 4
};
void state_records(const struct state *state,
                   bool (*cb)(void *ctx, enum state_record_kind kind, uint64_t number, const uint8_t *data, size_t len),
                   void *ctx);

/* The record of one task, likewise; valid until the next call of either or a change of the state. */
const uint8_t *state_task_record(const struct state *state, const struct task *task, size_t *ret_len);

/* Order-free sum of the hashes of all records; equal states have equal hashes. O(1). The hash of a record is hash128
 * over its kind byte and its snapshot message in which each Mesos message is replaced by its own hash128. */
struct hash128 state_hash(const struct state *state);
/* Re-derives every invariant and the hash from the records. 0, or ERR_CORRUPT with what is broken. For tests and the
 * simulator. */
int state_check(const struct state *state, struct err *err);

/* ---- reading ---- */
uint64_t state_applied_index(const struct state *state);
uint64_t state_cluster_ms(const struct state *state); /* of the last command */
uint32_t state_incarnation(const struct state *state);
const uint8_t *state_cluster_id(const struct state *state); /* 16 bytes, zero before the first leader */
const char *state_cluster_name(const struct state *state);  /* first 8 hexadecimal digits of it; ids begin with it */
const struct leader_record *state_leader(const struct state *state);
const struct config_record *state_config(const struct state *state);
/* By id, or the one with the place `i` in the order of ids; NULL when there is none. */
const struct member_record *state_member(const struct state *state, uint64_t id);
const struct member_record *state_member_nth(const struct state *state, uint32_t i);

/* By number or id; NULL when there is none (or no longer in the bounded history). */
const struct agent *state_agent(const struct state *state, uint32_t number);
const struct agent *state_agent_by_id(const struct state *state, const char *id);
const struct agent *state_agent_by_uuid(const struct state *state, const uint8_t uuid[16]);
const struct framework *state_framework(const struct state *state, uint32_t number);
const struct framework *state_framework_by_id(const struct state *state, const char *id);
const struct task *state_task(const struct state *state, uint64_t number);
/* The live task of that id, else the newest completed one still in history. */
const struct task *state_task_by_id(const struct state *state, uint32_t framework, const char *task_id);

/* Next record after `number` (0 to begin) in number order; NULL at the end. Tasks: live and completed ones. */
const struct agent *state_agent_next(const struct state *state, uint32_t number);
const struct framework *state_framework_next(const struct state *state, uint32_t number);
const struct task *state_task_next(const struct state *state, uint64_t number);

struct state_counts {
    uint32_t agents_active, agents_unreachable, agents_gone;
    uint32_t frameworks_connected, frameworks_disconnected;
    uint64_t tasks_live;      /* not completed */
    uint64_t tasks_completed; /* in history */
    uint64_t tasks_ever[14];  /* committed transitions into each mesos.v1.TaskState since the cluster began */
    uint64_t tasks_now[14];   /* live tasks by state */
};
void state_counts(const struct state *state, struct state_counts *ret);

/* Records of a queue: the tasks of an agent or framework in the queue's order. NULL at the end.
 *   for (t = agent_task_first(a); t; t = agent_task_after(a, t)) */
const struct task *agent_task_first(const struct agent *agent);
const struct task *agent_task_after(const struct agent *agent, const struct task *task);
const struct task *framework_task_first(const struct framework *framework);
const struct task *framework_task_after(const struct framework *framework, const struct task *task);
const struct task *framework_completed_first(const struct framework *framework);
const struct task *framework_completed_after(const struct framework *framework, const struct task *task);
/* What it takes; its ports are borrowed from the task, for as long as it lives, and not to be changed or freed. */
struct resources task_resources(const struct task *task);
/* The mesos.v1.TaskInfo, until it is confirmed; empty afterwards. Borrowed until the next command. */
struct bytes task_info(const struct task *task);
/* The mesos.v1.Task with what readers want besides; may be empty. Borrowed likewise. */
struct bytes task_view(const struct task *task);
uint64_t task_kill_grace_ms(const struct task *task); /* STATE_GRACE_DEFAULT: the task's own; once completed always */
uint64_t task_completed_seq(const struct task *task); /* place in the order of completions; 0: not completed */
bool task_has_status(const struct task *task);        /* false while STAGING and when apply made the state */
/* The mesos.v1.TaskStatus of `state`, as the agent sent it: borrowed until the next call that asks this state for one,
 * or its next command. */
struct bytes task_status(const struct state *state, const struct task *task);
/* Its kill is wanted: by its framework, because it was told LOST, or because its framework was removed. */
bool task_kill_wanted(const struct state *state, const struct task *task);
/* True if the framework has this capability (CAP_*). */
bool framework_can(const struct framework *framework, uint32_t capability);
/* Index of a role, or -1. */
int framework_role(const struct framework *framework, const char *role);
/* total - used, into `ret` (initialised; its old content is freed). Never fails for want of ranges: see
 * agent.port_ranges. ERR_NOMEM. */
int agent_free_resources(const struct agent *agent, struct resources *ret);

#endif
