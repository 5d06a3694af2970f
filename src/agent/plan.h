/* SPDX-License-Identifier: Apache-2.0
 * From a TaskInfo to what the shim shall run: command, environment (wire reference C.1, C.5), files, limits. What this
 * agent cannot run is refused here, with the state and the reason that the framework will see. Pure. */
#ifndef CONCLAVE_AGENT_PLAN_H
#define CONCLAVE_AGENT_PLAN_H

#include "agent/spec.h"
#include "agent/launch_key.h"
#include "agent/workload.h"
#include "mesos/v1/mesos.pb-c.h"
#include "wire/arena.h"
#include "wire/resources.h"

struct plan_host { /* facts of the agent; borrowed */
    const char *agent_id;
    const char *endpoint; /* HOST:PORT of its HTTP server */
    const char *sandbox;  /* absolute path of the task's sandbox */
    const char *container_id;
    bool switch_user; /* the agent is root and the task's user is another */
    uint32_t uid, gid;
    const uint32_t *groups;
    size_t group_n;
    unsigned cgroup_version;
    const char *const *cgroups; /* as in struct spec */
    size_t cgroup_n;
};

/* The user who shall run it: CommandInfo.user, else the framework's. Never NULL. */
const char *plan_user(const Mesos__V1__TaskInfo *task, const char *framework_user);

/* 0 with *ret filled (zeroed before by the caller; strings in the arena or borrowed from `task` and `host`); or
 * ERR_INVALID with *refusal set for a WORKLOAD_REFUSED event. */
int plan_make(const Mesos__V1__TaskInfo *task, const struct launch_key *key, const struct resources *resources,
              const struct plan_host *host, struct arena *arena, struct spec *ret, struct workload_outcome *refusal);

/* Milliseconds of TaskInfo.kill_policy, UINT64_MAX if it names none; of max_completion_time, 0 if none. */
uint64_t plan_grace_ms(const Mesos__V1__TaskInfo *task);
uint64_t plan_completion_ms(const Mesos__V1__TaskInfo *task);
/* "role" of the task's resources: their allocation role, else "*". */
const char *plan_role(const Mesos__V1__TaskInfo *task);

#endif
