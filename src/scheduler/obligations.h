/* SPDX-License-Identifier: Apache-2.0
 * What the state says must be done in the world. A new leader walks these after its first entry and owes nothing to
 * what an earlier leader had in memory. Pure.
 *
 * Towards an agent, per task on it:            when
 *   LAUNCH   send the launch                   not confirmed, no kill wanted, agent active, framework not removed
 *   KILL     send the kill                     kill wanted (by framework, by its removal, or told LOST while away), not
 *                                              ended, agent active
 * A task that is neither confirmed nor at the agent, and whose kill is wanted, is never sent: the leader commits
 * TaskVanished and apply ends it as KILLED.
 * Towards a framework, per task:
 *   UPDATE   show the unacknowledged update    task.unacked
 * Towards the log:
 *   framework_sweep, while a removed framework has tasks that its removal has not touched (framework.sweep_next)
 * Towards time:
 *   the earliest cluster time at which a framework may have to expire. */
#ifndef CONCLAVE_SCHEDULER_OBLIGATIONS_H
#define CONCLAVE_SCHEDULER_OBLIGATIONS_H

#include "scheduler/state.h"

enum obligation { OWES_NOTHING = 0, OWES_LAUNCH, OWES_KILL };

/* What is owed to the agent of this task. */
enum obligation obligation_of_task(const struct state *state, const struct task *task);

/* The digest of link.proto's Hello over the agent's tasks that are confirmed, not completed, have no unacked update and
 * are not among `skip` (task numbers, ascending). */
struct hash128 obligation_digest(const struct state *state, const struct agent *agent, const uint64_t *skip,
                                 size_t skip_count);
/* One task's share of that digest; also used by the agent. */
struct hash128 task_digest(const char *framework_id, const char *task_id, struct launch_id launch, uint32_t state);

/* Merge of an agent's complete list with the log (architecture section 7). Calls `cb` for each row and task about which
 * something is to be done: rows first, in the order of the list (`task` is NULL unless the verdict is SEND_KILL), then
 * tasks that no row names, by number (`row` is NULL). A task whose last update only lacks its acknowledgement needs
 * nothing. `cb` must not apply commands. */
enum merge_verdict {
    MERGE_SEND_LAUNCH, /* log yes, agent no, never confirmed */
    MERGE_VANISHED,    /* log yes, agent no, confirmed or kill wanted, not ended: propose TaskVanished */
    MERGE_SEND_KILL,   /* both, and a kill is wanted */
    MERGE_FORGET,      /* agent yes, log no or completed, terminal there: tell the agent to forget it */
    MERGE_KILL_UNKNOWN /* agent yes, log no or completed, alive there: kill it */
};
struct agent_task { /* one row of the agent's list, borrowed */
    const char *framework_id, *task_id;
    struct launch_id launch;
    uint32_t state;
};
void merge_agent_tasks(const struct state *state, const struct agent *agent, const struct agent_task *list,
                       size_t count,
                       void (*cb)(void *ctx, enum merge_verdict verdict, const struct task *task,
                                  const struct agent_task *row),
                       void *ctx);

/* Cluster time at which this framework expires if nothing happens, UINT64_MAX for never; and the `since` that its
 * FrameworkExpire must carry. A framework connected under an earlier term and not seen since gets
 * max(failover_timeout, framework_reregister_timeout) from the leader's first entry. */
uint64_t framework_deadline(const struct state *state, const struct framework *framework, uint64_t *ret_since);

#endif
