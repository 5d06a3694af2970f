/* SPDX-License-Identifier: Apache-2.0
 * Messages of the Mesos v1 scheduler API built from state: statuses, offers, MasterInfo. All memory is the arena's or
 * borrowed from the state, so a message must be printed before the next apply. */
#ifndef CONCLAVE_SCHEDULER_EVENTS_H
#define CONCLAVE_SCHEDULER_EVENTS_H

#include "mesos/v1/scheduler.pb-c.h"
#include "scheduler/offers.h"
#include "wire/arena.h"

/* A zeroed message from the arena after `init`; NULL when the arena refuses. */
#define ARENA_MESSAGE(arena, type, ...) ((type *)arena_message((arena), sizeof(type), &(type)__VA_ARGS__))
void *arena_message(struct arena *arena, size_t size, const void *init);

/* The TaskStatus of a task as a framework sees it now. With `reconciliation`: source MASTER, reason RECONCILIATION, no
 * uuid, no data or message. NULL when the arena refuses. */
Mesos__V1__TaskStatus *event_status(const struct master *m, const struct task *task, bool reconciliation,
                                    struct arena *arena);
/* A status that the master makes itself. */
Mesos__V1__TaskStatus *event_status_made(const char *task_id, const char *agent_id, uint32_t state, int reason,
                                         const char *message, struct arena *arena);
Mesos__V1__MasterInfo *event_master_info(const struct master *m, struct arena *arena);
Mesos__V1__Offer *event_offer(const struct master *m, const struct offer *offer, struct arena *arena);
/* {"value": text} messages. */
Mesos__V1__TaskID *event_task_id(const char *value, struct arena *arena);
Mesos__V1__AgentID *event_agent_id(const char *value, struct arena *arena);
Mesos__V1__FrameworkID *event_framework_id(const char *value, struct arena *arena);

/* "host:port" split; host is copied to ret (size 256); port 0 if there is none. */
uint16_t address_split(const char *text, char ret_host[256]);
/* IPv4 of a host as MasterInfo.ip wants it; 0 when it is none. */
uint32_t address_ip(const char *host);

#endif
