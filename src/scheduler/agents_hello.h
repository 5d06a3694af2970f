/* SPDX-License-Identifier: Apache-2.0
 * What an agent's Hello says, beside what the log knows. */
#ifndef CONCLAVE_SCHEDULER_AGENTS_HELLO_H
#define CONCLAVE_SCHEDULER_AGENTS_HELLO_H

#include "scheduler/master.h"

/* Whether the log's record says the same as the Hello, so that nothing need be committed. */
bool hello_is_known(const struct agent *agent, const Conclave__Link__Hello *hello);
/* NULL, or why this agent is none of ours, for good. */
const char *hello_stranger(const struct master *m, const Conclave__Link__Hello *hello);

#endif
