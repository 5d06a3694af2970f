/* SPDX-License-Identifier: Apache-2.0
 * Who the masters are, for those who ask: the configuration of the replicated log says who is a member and where its
 * peers reach it; the state says where frameworks and agents reach those that were added later (they were told with the
 * member) and the leader. Of the others, which the cluster began with, the host of the peer address and our own ports
 * are taken: agents and operators were given the true ones at their start. */
#ifndef CONCLAVE_SCHEDULER_MEMBERS_H
#define CONCLAVE_SCHEDULER_MEMBERS_H

#include "scheduler/master.h"

struct member_view {
    uint64_t id;
    char http[REPLICA_ADDRESS_MAX], link[REPLICA_ADDRESS_MAX]; /* HOST:PORT; "" if it cannot be said */
};

/* The members, by their order in `status`; returns how many. */
unsigned members_view(const struct master *m, const struct replica_status *status,
                      struct member_view ret[REPLICA_MEMBERS_MAX]);

/* Where every master listens for agents; the texts are in `views`. Returns how many. */
size_t members_links(const struct master *m, struct member_view views[REPLICA_MEMBERS_MAX],
                     char *ret[REPLICA_MEMBERS_MAX]);

/* On a current leader, every tick: tells agents when the members have changed, and takes records of masters that never
 * came in out of the state. */
void members_tick(struct master *m, uint64_t now_ms);

#endif
