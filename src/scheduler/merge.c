/* SPDX-License-Identifier: Apache-2.0
 * What an agent has against what the log says it should have (obligations.h). */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "scheduler/obligations.h"

/* The live task that this row is, or NULL. */
static const struct task *row_task(const struct state *state, const struct agent *agent, const struct agent_task *row) {
    const struct framework *framework = state_framework_by_id(state, row->framework_id);
    const struct task *task = framework ? state_task_by_id(state, framework->number, row->task_id) : NULL;
    if (!task || task->completed || task->agent != agent->number) return NULL;
    bool same =
        task->launch.index == row->launch.index && task->launch.n == row->launch.n && task->launch.k == row->launch.k;
    return same ? task : NULL;
}

static int number_compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* What a task that the agent does not have needs; false: nothing. */
static bool absent_verdict(const struct state *state, const struct task *task, enum merge_verdict *ret) {
    bool told_lost = task->state == TASK_LOST && !task->unacked;
    if (task_state_terminal(task->state) && !told_lost) return false; /* only the acknowledgement is missing */
    bool never_there = !task->confirmed && !task_kill_wanted(state, task) && !told_lost;
    *ret = never_there ? MERGE_SEND_LAUNCH : MERGE_VANISHED;
    return true;
}

void merge_agent_tasks(const struct state *state, const struct agent *agent, const struct agent_task *list,
                       size_t count,
                       void (*cb)(void *ctx, enum merge_verdict verdict, const struct task *task,
                                  const struct agent_task *row),
                       void *ctx) {
    uint64_t *present = count > 0 ? malloc(count * sizeof *present) : NULL;
    CHECK(present || count == 0);
    size_t present_count = 0;
    for (size_t i = 0; i < count; i++) {
        const struct task *task = row_task(state, agent, &list[i]);
        bool ended = task_state_terminal(list[i].state);
        if (!task) {
            cb(ctx, ended ? MERGE_FORGET : MERGE_KILL_UNKNOWN, NULL, &list[i]);
            continue;
        }
        present[present_count++] = task->number;
        if (task_kill_wanted(state, task) && !ended) cb(ctx, MERGE_SEND_KILL, task, &list[i]);
    }
    if (present_count > 0) qsort(present, present_count, sizeof *present, number_compare);
    size_t next = 0;
    for (const struct task *task = agent_task_first(agent); task; task = agent_task_after(agent, task)) {
        enum merge_verdict verdict;
        while (next < present_count && present[next] < task->number)
            next++;
        if (next < present_count && present[next] == task->number) continue;
        if (absent_verdict(state, task, &verdict)) cb(ctx, verdict, task, NULL);
    }
    free(present);
}
