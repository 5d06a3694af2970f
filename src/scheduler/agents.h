/* SPDX-License-Identifier: Apache-2.0
 * The masters' side of the agents' link (proto/conclave/link.proto).
 *
 * Every master accepts agents. A follower answers a Hello with the leader's address and keeps the link warm, to push
 * "M leads, term T" the moment it knows. The leader registers or recognises the agent, answers Welcome with its fence,
 * merges the agent's tasks with the log (obligations.h) and from then on sends orders on that link only. A Hello that
 * comes before the leader is current waits on its link. */
#ifndef CONCLAVE_SCHEDULER_AGENTS_H
#define CONCLAVE_SCHEDULER_AGENTS_H

#include "scheduler/master.h"

#define AGENTS_PING_MS   1000
#define AGENTS_LINKS_MAX 20000

int agents_new(struct master *m, const struct address *listen, struct agents **ret, struct err *err);
/* Closes the server and every link; `closed` fires once. */
void agents_close(struct agents *a, void (*closed)(void *ctx), void *ctx);

/* The role or the known leader changed: links of the old term are unwelcome; everyone warm is told who leads. */
void agents_leader_changed(struct agents *a);
/* The masters are others than before: welcomed agents are told. */
void agents_members_changed(struct agents *a);
/* We are current: Hellos that wait are served. */
void agents_current(struct agents *a);
/* Pings, silent links, agents that stay away. */
void agents_tick(struct agents *a, uint64_t now_ms);

/* Orders, dropped when the agent has no welcomed link: the state owes them, the next Hello settles it. */
void agents_send_launch(struct agents *a, const struct task *task);
void agents_send_kill(struct agents *a, const struct task *task);
void agents_send_ack(struct agents *a, uint32_t agent, const char *framework_id, const char *task_id,
                     struct launch_id launch, const uint8_t uuid[16]);
/* The agent was marked gone: it is refused and its link ends. */
void agents_gone(struct agents *a, uint32_t agent);

/* Has said hello to this leader and its link stands: its free resources may be offered. */
bool agents_here(const struct agents *a, uint32_t agent);
uint32_t agents_here_count(const struct agents *a);
uint32_t agents_links_count(const struct agents *a);

#endif
