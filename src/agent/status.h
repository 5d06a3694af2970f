/* SPDX-License-Identifier: Apache-2.0
 * The TaskStatus that a framework will see for one update of a workload (wire reference B.6). Pure. */
#ifndef CONCLAVE_AGENT_STATUS_H
#define CONCLAVE_AGENT_STATUS_H

#include "agent/launch_key.h"
#include "agent/workload.h"
#include "base/buf.h"

#define CONTAINER_ID_TEXT 37

/* The container id of a launch: always the same for the same key, in the form of a UUID. */
void container_id_make(const struct launch_key *key, char ret[CONTAINER_ID_TEXT]);

struct status_facts {
    const char *agent_id; /* may be "" before the first registration: then it is left out */
    const char *ip;       /* of the agent; NULL: no network_infos */
    uint64_t wall_ms;
    uint32_t pid;  /* of the command; 0: not known */
    bool by_agent; /* source is the agent, not the (built-in) executor: launch refused, task lost */
};

/* Appends the packed message. ERR_LIMIT or ERR_NOMEM as buf_append. */
int status_make(const struct launch_key *key, const struct workload_update *update, const uint8_t uuid[16],
                const struct status_facts *facts, struct buf *ret);

#endif
