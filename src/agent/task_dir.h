/* SPDX-License-Identifier: Apache-2.0
 * The folder of one launch: <work>/tasks/<framework>/<task>/<INDEX.N.K>/, names encoded (launch_key.h).
 *
 *   launch   the Launch message of the order, sealed         agent, before anything else
 *   spec     what the shim runs                              agent
 *   lock     who runs it                                     agent makes it, shim holds it
 *   started  start marker; then up: it was exec'd            shim (shim.h)
 *   exit     exit record                                     shim
 *   kill     that its end is wanted, since when, with what grace     agent
 *   updates  journal of updates and acknowledgements, a CRC-32C a record, torn tail cut      agent
 *   sandbox/ of the task, with stdout and stderr
 *
 * All of it must survive the death of the agent and of the shim, not a loss of power (journal.h is for that), so
 * nothing here is synced. */
#ifndef CONCLAVE_AGENT_TASK_DIR_H
#define CONCLAVE_AGENT_TASK_DIR_H

#include <stdbool.h>
#include <sys/types.h>

#include "agent/spec.h"
#include "agent/launch_key.h"
#include "agent/updates.h"
#include "agent/workload.h"
#include "base/err.h"

#define TASK_PATH_MAX 1024

/* The folder of `key` relative to the work folder. ERR_LIMIT never: encoded names are bounded. */
void task_dir_path(const struct launch_key *key, char ret[TASK_PATH_MAX]);

/* Makes the folder with launch, lock and sandbox (owned by `uid`, `gid` when `chown_sandbox`). A folder that is there
 * already, unknown to the journal, never started anything and is removed first. */
int task_dir_create(int work_fd, const char *path, const void *launch, size_t launch_len, bool chown_sandbox, uid_t uid,
                    gid_t gid, struct err *err);
int task_dir_spec_write(int work_fd, const char *path, const struct buf *spec, struct err *err);

/* Takes a folder back under its lock, so that a shim which is just coming up cannot start from it. ERR_LOCKED: a shim
 * has it. ERR_EXISTS: it has started. */
int task_dir_discard(int work_fd, const char *path, struct err *err);
/* Removes a folder with all it holds; may take long. Links are removed, not followed. Then its parents, if empty. */
int task_dir_remove(int work_fd, const char *path, struct err *err);

/* The live shim's process id, 0 if no shim holds the lock. */
pid_t task_dir_shim(int work_fd, const char *path);
/* Whether the command was exec'd. */
bool task_dir_up(int work_fd, const char *path);
/* The start marker: false if there is none. A marker that is being written has pid 0. */
bool task_dir_started(int work_fd, const char *path, uint32_t *ret_pid, uint64_t *ret_at_ms);
/* ERR_NOT_FOUND: not there yet; ERR_CORRUPT. */
int task_dir_exit(int work_fd, const char *path, struct exit_record *ret, struct err *err);
/* The body of `launch`; free with buf_done. */
int task_dir_launch(int work_fd, const char *path, struct buf *ret, struct err *err);

struct kill_note {
    enum workload_kill_cause cause;
    uint64_t since_ms, grace_ms;
};
int task_dir_kill_write(int work_fd, const char *path, const struct kill_note *note, struct err *err);
int task_dir_kill_read(int work_fd, const char *path, struct kill_note *ret);

/* Appends one update, or the acknowledgement of `uuid`. */
int task_dir_update_add(int work_fd, const char *path, const uint8_t uuid[16], uint32_t state, const void *status,
                        size_t len, struct err *err);
int task_dir_update_ack(int work_fd, const char *path, const uint8_t uuid[16], struct err *err);
/* Rebuilds `ret` (initialised, empty) and cuts a torn tail. A task without updates has none: 0. */
int task_dir_updates_load(int work_fd, const char *path, struct updates *ret, struct err *err);
/* The pure part: how many bytes of data[0..len) are good; their records go into `ret`. */
size_t updates_replay(const uint8_t *data, size_t len, struct updates *ret);

#endif
