/* SPDX-License-Identifier: Apache-2.0
 * Something to be done at the end of the loop turn. Inside src/net only. */
#ifndef CONCLAVE_NET_NET_TASK_H
#define CONCLAVE_NET_NET_TASK_H

#include "base/queue.h"

struct net_task {
    struct queue queue; /* in the list of its net, or alone */
    void (*run)(struct net_task *task);
};

static inline void net_task_init(struct net_task *task, void (*run)(struct net_task *task)) {
    queue_init(&task->queue);
    task->run = run;
}

/* Whoever frees what the task is embedded in cancels it first; harmless when it does not wait. */
static inline void net_task_cancel(struct net_task *task) {
    queue_remove(&task->queue);
}

#endif
