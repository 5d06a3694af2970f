/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/obligations.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "scheduler/model.h"

enum obligation obligation_of_task(const struct state *state, const struct task *task) {
    if (task->completed || task_state_terminal(task->latest_state)) return OWES_NOTHING;
    const struct agent *agent = state_agent(state, task->agent);
    if (agent->status != AGENT_ACTIVE) return OWES_NOTHING;
    if (task_kill_wanted(state, task)) return OWES_KILL;
    return task->confirmed ? OWES_NOTHING : OWES_LAUNCH;
}

struct hash128 task_digest(const char *framework_id, const char *task_id, struct launch_id launch, uint32_t state) {
    char text[2 * (STATE_ID_MAX + 1) + 80];
    size_t framework_len = strnlen(framework_id, STATE_ID_MAX), task_len = strnlen(task_id, STATE_ID_MAX);
    size_t len = 0;
    memcpy(text, framework_id, framework_len);
    len += framework_len;
    text[len++] = '\0';
    memcpy(text + len, task_id, task_len);
    len += task_len;
    text[len++] = '\0';
    int tail = snprintf(text + len, sizeof text - len, "%" PRIu64 ".%" PRIu32 ".%" PRIu32 "%c%" PRIu32, launch.index,
                        launch.n, launch.k, '\0', state);
    CHECK(tail > 0 && (size_t)tail < sizeof text - len);
    return hash128_of(text, len + (size_t)tail);
}

struct hash128 obligation_digest(const struct state *state, const struct agent *agent, const uint64_t *skip,
                                 size_t skip_count) {
    struct hash128 sum = {0, 0};
    size_t next_skip = 0;
    for (const struct task *task = agent_task_first(agent); task; task = agent_task_after(agent, task)) {
        while (next_skip < skip_count && skip[next_skip] < task->number)
            next_skip++;
        if (next_skip < skip_count && skip[next_skip] == task->number) continue;
        if (!task->confirmed || task->unacked) continue;
        const struct framework *framework = state_framework(state, task->framework);
        sum = hash128_add(sum, task_digest(framework->id, task->id, task->launch, task->state));
    }
    return sum;
}

uint64_t framework_deadline(const struct state *state, const struct framework *framework, uint64_t *ret_since) {
    if (framework->status == FRAMEWORK_DISCONNECTED) {
        *ret_since = framework->since;
        return time_add(framework->since_cluster_ms, framework->failover_timeout_ms);
    }
    const struct leader_record *leader = state_leader(state);
    if (framework->status != FRAMEWORK_CONNECTED || framework->subscribed >= leader->index) return UINT64_MAX;
    /* Connected under an earlier term: a change of leader is no disconnect, but it must show up in this term. */
    uint64_t grace = state_config(state)->framework_reregister_timeout_ms;
    if (framework->failover_timeout_ms > grace) grace = framework->failover_timeout_ms;
    *ret_since = leader->index;
    return time_add(leader->cluster_ms, grace);
}
