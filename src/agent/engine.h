/* SPDX-License-Identifier: Apache-2.0
 * The agent without its network: takes orders, starts and ends tasks, keeps their updates until they are acknowledged,
 * and finds everything again after its own death. Orders reach it only after the fence was judged (master_link.h).
 *
 * Orders of one loop turn are made durable together: engine_flush, called by itself at the end of each turn, syncs the
 * journal once and only then spawns the shims. */
#ifndef CONCLAVE_AGENT_ENGINE_H
#define CONCLAVE_AGENT_ENGINE_H

#include <uv.h>

#include "agent/cgroup.h"
#include "agent/store.h"
#include "agent/task_table.h"
#include "base/err.h"
#include "base/hash.h"

struct engine;

struct engine_options {
    uv_loop_t *loop;
    struct store *store;               /* borrowed */
    const struct cgroup_host *cgroups; /* borrowed */
    const char *endpoint;              /* HOST:PORT told to tasks; borrowed */
    const char *ip;                    /* told in container_status; NULL: none; borrowed */
    size_t tasks_max;                  /* live or unacknowledged; more are refused with TASK_FAILED */
    size_t kept_max;                   /* folders of ended tasks */
    uint64_t kept_age_ms;
    /* Sends the head of the task's updates to the leader. 0: queued; ERR_BUSY: call engine_pump when it can go on;
     * ERR_CLOSED: no leader, engine_report_all will be called when there is one. */
    int (*send)(void *ctx, const struct hosted *task, const struct update *update);
    /* The disk failed: the process must end (with its tasks running). Called once. */
    void (*fatal)(void *ctx, const struct err *err);
    void *ctx;
};

struct engine_order { /* a launch; all borrowed */
    struct launch_key key;
    const uint8_t *message; /* the Launch frame's payload, kept in the task's folder */
    size_t message_len;
};

struct engine_stats {
    uint64_t launches, launches_again; /* orders; those for a launch that was known */
    uint64_t started, finished, failed, killed, lost;
    uint64_t reports, acks;
    uint64_t adopted, recovered_ended;     /* at the start: live shims; ends that happened without an agent */
    uint64_t start_us_total, start_us_max; /* from the order to exec, of those seen by this agent */
    uint64_t start_n;
    uint64_t flushes;
};

/* Opens and takes back what is in the store: live tasks are adopted, ends are noticed, nothing is started. On failure
 * *ret may be an engine that is closed already: end what else is on the loop, drain it, then engine_free. */
int engine_open(const struct engine_options *options, struct engine **ret, struct err *err);
/* Stops watching; tasks go on. Then run the loop until idle and call engine_free. */
void engine_close(struct engine *e);
void engine_free(struct engine *e);

void engine_launch(struct engine *e, const struct engine_order *order);
/* `grace_ms` UINT64_MAX: the task's own. */
void engine_kill(struct engine *e, const struct launch_key *key, uint64_t grace_ms);
/* Sixteen zero bytes for a uuid acknowledge all there is of a task that has ended: the leader's log has done with it.
 */
void engine_ack(struct engine *e, const struct launch_key *key, const uint8_t uuid[16]);

/* Sends what waits, as far as it is taken. */
void engine_pump(struct engine *e);
/* A new leader has said welcome: the head of every task is due again. */
void engine_report_all(struct engine *e);

/* Tasks without an unacknowledged update: their digest (link.proto). The others are told one by one. */
struct hash128 engine_digest(const struct engine *e);
bool engine_task_busy(const struct hosted *task);
/* State to name for a task in lists: its latest. */
uint32_t engine_task_state(const struct hosted *task);

const struct task_table *engine_tasks(const struct engine *e);
const struct engine_stats *engine_stats(const struct engine *e);

#endif
