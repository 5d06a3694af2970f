/* SPDX-License-Identifier: Apache-2.0
 * The inside of struct state, for the files of the pure core only: records, their indexes, and the few functions
 * through which every change goes. Nobody else includes this.
 *
 * Each function below keeps the indexes, sums and counters in step and notes the record as touched; state_settle then
 * gives every touched record its new hash, once a command. A record is touched *before* the first of its fields that
 * are encoded changes: a snapshot that is under way takes the record as it was. */
#ifndef CONCLAVE_SCHEDULER_STATE_PRIVATE_H
#define CONCLAVE_SCHEDULER_STATE_PRIVATE_H

#include "base/blobs.h"
#include "base/buf.h"
#include "base/map.h"
#include "base/slab.h"
#include "scheduler/command.h"
#include "scheduler/model.h"
#include "scheduler/state.h"
#include "scheduler/state_pool.h"

enum record_kind { RECORD_GLOBALS = 1, RECORD_AGENT = 2, RECORD_FRAMEWORK = 3, RECORD_TASK = 4, RECORD_END = 5 };

struct touched_record {
    enum record_kind kind;
    void *record;
};

struct scratch { /* for the encoding of one record */
    uint8_t *data;
    size_t cap;
};

/* A snapshot that is under way (state_snapshot_begin). Its records are those with numbers below `end`; each is written
 * once: by the walk, or before its first change or its end, whichever comes first. */
struct epoch {
    bool active;
    uint64_t round;                /* of slab_mark; counts from 1 */
    enum record_kind kind;         /* where the walk is: RECORD_AGENT, .. RECORD_END */
    uint64_t next;                 /* first number of `kind` that it has not passed */
    uint64_t end[RECORD_TASK + 1]; /* by kind */
    uint64_t records, written;     /* that there are, that are written */
    struct hash128 hash;           /* of the state when it began */
    struct buf ready;              /* written and not yet handed out */
};

struct state {
    /* the globals record */
    uint64_t applied_index;
    uint32_t applied_n;
    uint64_t cluster_ms;
    uint32_t incarnation;
    bool cluster_set;
    uint8_t cluster_id[16];
    char cluster_name[9];
    struct leader_record leader;
    struct config_record config;
    uint32_t agent_next, framework_next;
    uint64_t task_next, sequence_next;
    uint32_t completed_last, removed_last; /* records that the last command put into the histories */
    uint64_t tasks_ever[TASK_STATES];
    uint64_t member_last; /* highest id ever given to a master, or known of one that was removed */
    uint32_t member_count;
    struct member_record members[STATE_MEMBERS_MAX]; /* by id */

    /* records */
    struct slab_table agents, frameworks, tasks;
    struct queue history; /* struct task.in_history, oldest first */
    struct queue removed; /* struct framework.in_removed, oldest first */

    /* derived */
    struct map agent_ids, agent_uuids, framework_ids, task_ids;
    uint32_t agents_by_status[4], frameworks_by_status[4];
    uint64_t tasks_now[TASK_STATES];
    uint64_t tasks_live, tasks_completed;
    struct hash128 hash; /* of all records but the globals */

    struct epoch epoch;

    /* memory */
    struct pool pool;
    struct blobs blobs; /* what tasks own: state_task.c */
    struct command_arena arena;
    struct scratch *scratch; /* apart, so that readers of a const state may use it */
    struct scratch *packing; /* likewise, for statuses */
    struct touched_record *touched;
    size_t touched_count, touched_cap;
};

/* What one apply function works with. */
struct apply {
    struct state *state;
    const Conclave__Log__Command *command;
    uint64_t index;
    uint32_t n;
    uint64_t wall_ms;
    struct outcome *outcome;
    struct effects *effects;
};

/* ---- state.c: memory and indexes ---- */
char *text_copy(const char *text); /* CHECKs memory; NULL gives "" */
/* Replaces the content; the same bytes leave it alone. */
void text_set(char **text, const char *value);
void bytes_set(struct bytes *bytes, const uint8_t *data, size_t len);
void bytes_done(struct bytes *bytes);
/* Room for so many bytes; what was there is lost, or the first `len` bytes of it are kept. */
uint8_t *scratch_reserve(struct scratch *scratch, size_t room);
uint8_t *scratch_grow(struct scratch *scratch, size_t len, size_t room);
uint64_t task_key_hash(uint32_t framework, const char *id);
/* Frees what a record owns, not the record. */
void framework_done(struct framework *framework);
void state_init(struct state *state);
void state_done(struct state *state);
/* Each becomes what the other was; a snapshot that is under way in either is given up. */
void state_swap(struct state *a, struct state *b);
void state_name_cluster(struct state *state); /* cluster_name from cluster_id */

struct agent *agent_get(const struct state *state, uint32_t number);
struct framework *framework_get(const struct state *state, uint32_t number);
struct framework *framework_find(const struct state *state, const char *id);
struct task *task_find(const struct state *state, uint32_t framework, const char *id);

/* ---- state_task.c: what a task owns outside its record ---- */
/* Once in its life: id and resources, which are copied. */
void task_launch_set(struct state *state, struct task *task, const char *id, const struct resources *resources);
/* Its TaskInfo, or its status as state_status.c keeps it; no bytes: nothing. */
void task_sent_set(struct state *state, struct task *task, const uint8_t *data, size_t len);
void task_sent_done(struct state *state, struct task *task);
struct bytes task_sent(const struct task *task);
void task_done(struct state *state, struct task *task); /* frees it all */

/* ---- state_status.c ---- */
/* Takes the status of an update whose uuid the task has already; it is confirmed. */
void task_status_set(struct state *state, struct task *task, const uint8_t *data, size_t len);

/* ---- state_change.c: changes ---- */
/* Puts the zeroed record of `number` into its table with empty queues; the caller fills it and then calls *_index. */
struct agent *agent_put(struct state *state, uint32_t number);
void agent_index(struct state *state, struct agent *agent);
struct framework *framework_put(struct state *state, uint32_t number);
void framework_index(struct state *state, struct framework *framework);
struct task *task_put(struct state *state, uint64_t number);
/* Counts a filled task in: queues, sums if it holds, history if completed_seq is set. Its framework (and its agent,
 * unless completed) exist; its resources fit. */
void task_index(struct state *state, struct task *task);
/* Of that all but its id, and without touching it. */
void task_join(struct state *state, struct task *task);

void agent_set_status(struct state *state, struct agent *agent, enum agent_status status);
void framework_set_status(struct state *state, struct framework *framework, enum framework_status status);

/* State that apply gives by itself: no uuid, no status. `reason_text` may be NULL. What was unacknowledged is so no
 * more: the agent reports it again, and then it counts as new. */
void task_set_made(struct state *state, struct task *task, uint32_t new_state, int mesos_reason,
                   const char *reason_text, uint64_t wall_ms);
/* State that the agent reported; clears reason and message, leaves uuid and status to the caller. */
void task_set_state(struct state *state, struct task *task, uint32_t new_state, uint64_t wall_ms);
/* Stops counting its resources; true if it did hold any until now. */
bool task_release(struct state *state, struct task *task);
/* Its launch is known to have reached the agent: TaskInfo is needed no more. */
void task_confirm(struct state *state, struct task *task);
/* Into the history; its state is terminal, its resources have been released. */
void task_complete(struct state *state, struct task *task);
/* The removal of its framework has still to touch it. */
bool task_unswept(const struct state *state, const struct task *task);
void task_forget(struct state *state, struct task *task); /* completed: out of the history and the state */
void framework_remove(struct state *state, struct framework *framework);
/* Drops the oldest records over the bounds of the configuration; does nothing if the last command ended nothing and the
 * bounds are the same. */
void history_trim(struct state *state, bool bounds_changed);

/* Before the record changes. */
void agent_touch(struct state *state, struct agent *agent);
void framework_touch(struct state *state, struct framework *framework);
void task_touch(struct state *state, struct task *task);
void state_settle(struct state *state);
/* Would the agent's free resources, and its room for port ranges, take this? */
bool agent_fits(const struct agent *agent, const struct resources *wanted);
bool framework_fits(const struct framework *framework, const struct resources *wanted);

/* ---- snapshot.c ---- */
/* The record changes or goes: a snapshot that is under way and has not written it yet does so now. */
void epoch_save(struct state *state, enum record_kind kind, uint64_t number);

/* ---- state_member.c: masters ---- */
/* Appends a record; its id is above all others, and there is room. */
void member_put(struct state *state, uint64_t id, const char *peer, const char *http, const char *link);
void member_drop(struct state *state, uint32_t i);
void members_done(struct state *state);
/* NULL, or what is wrong. */
const char *members_fault(const struct state *state);

/* ---- state_check.c: what a record must be by itself and beside the records it names ---- */
/* NULL, or what is wrong (static text). */
const char *globals_fault(const struct state *state);
const char *agent_fault(const struct state *state, const struct agent *agent);
const char *framework_fault(const struct state *state, const struct framework *framework);
/* By itself; beside its agent and framework; both. */
const char *task_own_fault(const struct state *state, const struct task *task);
const char *task_place_fault(const struct state *state, const struct task *task);
const char *task_fault(const struct state *state, const struct task *task);
/* The part of state_check about the histories and the totals of all tasks. */
int state_check_orders(const struct state *state, struct err *err);

/* ---- state_record.c: canonical encoding ---- */
/* `hashed`: each Mesos message replaced by its hash. Returns the packed length; bytes are in state->scratch->data. */
size_t record_of_agent(const struct state *state, const struct agent *agent, bool hashed);
size_t record_of_framework(const struct state *state, const struct framework *framework, bool hashed);
size_t record_of_task(const struct state *state, const struct task *task, bool hashed);
size_t record_of_globals(const struct state *state);
struct hash128 record_hash(const struct state *state, enum record_kind kind, const void *record);

#endif
