/* SPDX-License-Identifier: Apache-2.0
 * What an agent must not forget: <work>/meta, and the list of what stands under <work>/tasks.
 *
 *   meta/lock         flock: one agent a work folder
 *   meta/agent.uuid   16 random bytes in hex: makes registering twice give the same agent id
 *   meta/agent.id     as the leader gave it
 *   meta/fence        the highest fence obeyed (fence.h), synced before anything is done on its account
 *   meta/boot         boot id of the host when the agent last ran
 *   meta/launches     the journal (journal.h)
 *   tasks/...         task_dir.h
 *
 * A damaged meta file is refused with its name and what to do; nothing is repaired by guessing. */
#ifndef CONCLAVE_AGENT_STORE_H
#define CONCLAVE_AGENT_STORE_H

#include <stdbool.h>

#include "agent/fence.h"
#include "agent/journal.h"
#include "agent/launch_key.h"
#include "base/err.h"

struct store {
    int work_fd, meta_fd, lock_fd; /* read-only */
    char *work;                    /* absolute path */
    uint8_t uuid[16];
    char uuid_text[33];
    char agent_id[256]; /* "" before the first registration */
    char masters[2048]; /* HOST:PORT,... of the masters as the leader told last; "" never */
    char boot_id[64];
    bool rebooted;   /* the host was restarted since the agent last ran */
    bool boot_saved; /* boot_id is what stands in the file */
    struct fence fence;
    struct journal *journal;
};

/* Makes what is missing. ERR_LOCKED: another agent uses the folder. */
int agent_store_open(const char *work, struct store *ret, struct err *err);
void agent_store_close(struct store *s);

/* Notes this boot as the one the agent ran in: call it once what stands under tasks/ was judged by `rebooted`. */
int store_boot_save(struct store *s, struct err *err);
/* Best kept, but not needed: a disk that refuses it is told and otherwise ignored. */
int store_masters_set(struct store *s, const char *masters, struct err *err);
int store_agent_id_set(struct store *s, const char *agent_id, struct err *err);
/* On disk when it returns 0. */
int store_fence_set(struct store *s, const struct fence *fence, struct err *err);

/* Calls back for each folder under tasks/, in no order; `path` is as task_dir_path gives it. Returns the first negative
 * answer of the callback, else 0. */
int store_scan(struct store *s, int (*cb)(void *ctx, const char *path), void *ctx, struct err *err);

#endif
