/* SPDX-License-Identifier: Apache-2.0
 * The tasks of this agent in memory: those that live or whose updates are not all acknowledged, and, bounded, the
 * folders of ended ones, kept so that people can read their output. */
#ifndef CONCLAVE_AGENT_TASK_TABLE_H
#define CONCLAVE_AGENT_TASK_TABLE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/task_dir.h"
#include "agent/launch_key.h"
#include "agent/updates.h"
#include "agent/workload.h"
#include "base/queue.h"
#include "wire/resources.h"

struct watch; /* runner.c */

struct hosted {
    struct queue in_bucket, in_all;
    struct queue in_due;   /* has something to do at a time: kill, completion time; empty otherwise */
    struct queue in_start; /* waits for the journal before its shim is spawned; empty otherwise */
    struct queue in_send;  /* its head shall be sent as soon as the link takes it; empty otherwise */
    struct launch_key key; /* owned */
    char *path;            /* of its folder, relative to the work folder; NULL: it has none */
    char *name;            /* owned */
    char *role;            /* owned */
    struct resources resources;
    struct workload workload;
    struct updates updates;
    uint64_t grace_ms;      /* the task's own kill grace; UINT64_MAX: none */
    uint64_t completion_ms; /* 0: no limit */
    uint64_t sent_ms;       /* when the head was last sent; 0: never */
    unsigned sends;         /* how often it was sent since it became the head */
    uint64_t ordered_us;    /* when its order came, by this agent; 0: an earlier one */
    bool by_agent;          /* its end was decided here, not by its command */
    struct watch *watch;    /* owned by the runner while a shim lives */
};

struct kept { /* the folder of an ended, forgotten task */
    struct queue in_bucket, in_age;
    struct launch_key key;
    char *path;
    uint64_t ended_wall_ms;
};

struct task_table; /* opaque */

struct task_table *task_table_new(void);
/* Frees everything; watches must be gone. */
void task_table_free(struct task_table *t);

/* Adds a task in state ACCEPTED. NULL without memory. `path` is copied, may be NULL. */
struct hosted *task_table_add(struct task_table *t, const struct launch_key *key, const char *path);
void task_table_remove(struct task_table *t, struct hosted *task);
struct hosted *task_table_find(const struct task_table *t, const struct launch_key *key);
/* The next in order of age; `after` NULL begins, NULL ends. */
struct hosted *task_table_next(const struct task_table *t, const struct hosted *after);
size_t task_table_count(const struct task_table *t);

/* Adds at the young end; the oldest go by kept_oldest and kept_drop. Replaces an entry of the same key. */
int kept_add(struct task_table *t, const struct launch_key *key, const char *path, uint64_t ended_wall_ms);
struct kept *kept_oldest(const struct task_table *t);
void kept_drop(struct task_table *t, struct kept *kept);
size_t kept_count(const struct task_table *t);
/* The next in order of age; `after` NULL begins, NULL ends. */
struct kept *kept_next(const struct task_table *t, const struct kept *after);

/* The folder of a task's newest launch with a folder, live or kept; NULL if there is none. */
const char *task_table_latest_path(const struct task_table *t, const char *framework_id, const char *task_id);

#endif
