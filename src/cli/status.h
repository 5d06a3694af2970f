/* SPDX-License-Identifier: Apache-2.0
 * One picture of the cluster out of what each master says of itself. */
#ifndef CONCLAVE_CLI_STATUS_H
#define CONCLAVE_CLI_STATUS_H

#include "cli/options.h"
#include "conclave/admin.pb-c.h"
#include "wire/arena.h"

/* Asks every master and merges: the leader's view (else the newest), each member's row from its own answer, health,
 * tolerance and alarms. NULL when nobody answers. Memory is the arena's. */
Conclave__Admin__Status *status_gather(const struct options *o, unsigned timeout_ms, struct arena *arena,
                                       struct err *err);
/* 0 healthy, 2 degraded, 3 no quorum. */
int status_exit(const Conclave__Admin__Status *s);

#endif
