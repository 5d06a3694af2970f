/* SPDX-License-Identifier: Apache-2.0
 * The configuration record: what apply depends on besides the rest of the state. Pure.
 *
 * It lives in the log (ConfigSet; flags only seed it when a cluster begins) and remembers the position of its last
 * change, so that it can be changed by compare-and-set: a linearizable register. */
#ifndef CONCLAVE_SCHEDULER_CONFIG_H
#define CONCLAVE_SCHEDULER_CONFIG_H

#include "base/err.h"
#include "conclave/log.pb-c.h"
#include "scheduler/state.h"

/* X(key, smallest, largest, what it is). `level` is not here: it has rules of its own. */
#define CONFIG_KEYS(X)                                                                                                 \
    X(framework_reregister_timeout_ms, 1000, 604800000, "for frameworks to come back after a change of leader")        \
    X(agent_timeout_ms, 1000, 86400000, "silence before an agent is unreachable")                                      \
    X(history_tasks, 0, STATE_HISTORY_MAX, "completed tasks kept, whole cluster")                                      \
    X(history_frameworks, 0, STATE_HISTORY_MAX, "removed frameworks kept")

/* Every key that is set lies in its range, the level not counted: 0, or ERR_INVALID with the text for whoever asked. */
int config_check(const Conclave__Log__Config *config, struct err *err);

#endif
