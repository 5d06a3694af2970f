/* SPDX-License-Identifier: Apache-2.0
 * Control groups of tasks. The agent finds out once what this host permits (cgroup_host_find) and logs it; the shim
 * makes, uses and removes the group of its task. Where nothing is permitted tasks run without limits, and the tree is
 * found through /proc instead.
 *
 *   v1: one directory each under memory, cpu, pids and freezer, where mounted and writable
 *   v2: one directory under the unified mount, with cgroup.kill and memory.events
 *
 * Limits: memory is hard (the task's mem, with swap); cpu is a weight, as Mesos does without quota: an idle host's cpu
 * is not withheld; pids stops fork bombs. */
#ifndef CONCLAVE_AGENT_CGROUP_H
#define CONCLAVE_AGENT_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/spec.h"

#define CGROUP_PATH_MAX 512

/* What the host permits: the directories under which a task's own are made. */
struct cgroup_host {
    unsigned version; /* 0: nothing */
    size_t n;
    struct {
        char controller[16]; /* "" for v2 */
        char dir[CGROUP_PATH_MAX];
    } base[SPEC_CGROUPS_MAX];
    char notice[256]; /* what is missing and what follows from it; "" when all is there */
};

/* Looks at `root` ("/sys/fs/cgroup") and at the text of /proc/self/cgroup, and makes the agent's own parent directory
 * `name` in each. v2: moves the processes in the own group to a leaf first, or no controller could be enabled. */
void cgroup_host_find(const char *root, const char *self, const char *name, struct cgroup_host *ret);

/* Removes the agent's own parent directories, where no task is left in them. */
void cgroup_host_leave(const struct cgroup_host *h);

struct cgroup { /* of one task, in the shim; the fields are private */
    const struct cgroup_ops *ops;
    unsigned version;
    size_t n;
    struct {
        char controller[16];
        char dir[CGROUP_PATH_MAX];
    } part[SPEC_CGROUPS_MAX];
};

/* v1, v2 and none behind one face. */
struct cgroup_ops {
    const char *name;
    int (*attach)(struct cgroup *c, pid_t pid);           /* 0 or -errno */
    void (*signal)(struct cgroup *c, pid_t top, int sig); /* to every process of the tree; SIGKILL leaves none */
    bool (*oom)(struct cgroup *c);                        /* was a process killed for memory */
    void (*remove)(struct cgroup *c);
};

/* Makes the directories named in `spec` and sets the limits. What cannot be made is left out: never fails. */
void cgroup_open(struct cgroup *c, const struct spec *spec);

/* Signals `top`, its process group and all its descendants, by /proc. */
void tree_signal(pid_t top, int sig);

#endif
