/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MEM_OVERHEAD_BYTES (32ull << 20) /* what Mesos adds for its command executor: tasks are sized for it */
#define CPU_OVERHEAD_MILLI 100
#define PIDS_DEFAULT       32768
#define DEFAULT_PATH       "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static int refuse(struct workload_outcome *r, uint32_t state, int reason, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static int refuse(struct workload_outcome *r, uint32_t state, int reason, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    r->state = state;
    r->reason = reason;
    (void)vsnprintf(r->text, sizeof r->text, fmt, ap);
    va_end(ap);
    return ERR_INVALID;
}

const char *plan_user(const Mesos__V1__TaskInfo *task, const char *framework_user) {
    return task->command && task->command->user && *task->command->user ? task->command->user
           : framework_user                                             ? framework_user
                                                                        : "";
}

static uint64_t duration_ms(const Mesos__V1__DurationInfo *d) {
    return d->nanoseconds <= 0 ? 0 : (uint64_t)d->nanoseconds / 1000000u;
}

uint64_t plan_grace_ms(const Mesos__V1__TaskInfo *task) {
    const Mesos__V1__KillPolicy *policy = task->kill_policy;
    return policy && policy->grace_period ? duration_ms(policy->grace_period) : UINT64_MAX;
}

uint64_t plan_completion_ms(const Mesos__V1__TaskInfo *task) {
    if (!task->max_completion_time) return 0;
    uint64_t ms = duration_ms(task->max_completion_time);
    return ms ? ms : 1; /* 0 would mean no limit */
}

const char *plan_role(const Mesos__V1__TaskInfo *task) {
    for (size_t i = 0; i < task->n_resources; i++)
        if (task->resources[i]->allocation_info && task->resources[i]->allocation_info->role)
            return task->resources[i]->allocation_info->role;
    return "*";
}

static int kind_check(const Mesos__V1__TaskInfo *task, struct workload_outcome *refusal) {
    if (task->executor)
        return refuse(refusal, TASK_ERROR, REASON_TASK_INVALID, "Custom executors are not supported by this agent yet");
    if (task->container && (task->container->docker || task->container->mesos) &&
        (task->container->docker || task->container->mesos->image))
        return refuse(refusal, TASK_ERROR, REASON_TASK_INVALID, "Container images are not supported by this agent yet");
    if (task->container && task->container->n_volumes)
        return refuse(refusal, TASK_ERROR, REASON_TASK_INVALID,
                      "Container volumes are not supported by this agent yet");
    if (!task->command) return refuse(refusal, TASK_ERROR, REASON_TASK_INVALID, "The task has no command");
    return 0;
}

static bool ends_with(const char *text, const char *end) {
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

static bool is_archive(const char *name) {
    static const char *const ends[] = {".tar", ".tgz",    ".tar.gz", ".tbz2", ".tar.bz2",
                                       ".txz", ".tar.xz", ".gz",     ".zip"};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (ends_with(name, ends[i])) return true;
    return false;
}

static int uri_plan(const Mesos__V1__CommandInfo__URI *uri, struct spec *ret, struct workload_outcome *refusal) {
    const char *path = strncmp(uri->value, "file://", 7) == 0 ? uri->value + 7 : uri->value;
    if (path[0] != '/')
        return refuse(refusal, TASK_FAILED, REASON_LAUNCH_FAILED,
                      "Cannot fetch %.300s: this agent fetches absolute paths of its own host only", uri->value);
    const char *slash = strrchr(path, '/');
    const char *name = uri->output_file ? uri->output_file : slash + 1;
    bool executable = uri->has_executable && uri->executable;
    if (!task_id_valid(name) || strcmp(name, "stdout") == 0 || strcmp(name, "stderr") == 0)
        return refuse(refusal, TASK_FAILED, REASON_LAUNCH_FAILED, "Cannot fetch %.300s: not a file name", uri->value);
    if (!executable && uri->extract && is_archive(path))
        return refuse(refusal, TASK_FAILED, REASON_LAUNCH_FAILED,
                      "Cannot fetch %.300s: this agent does not extract archives yet", uri->value);
    if (ret->uri_n == SPEC_URIS_MAX)
        return refuse(refusal, TASK_FAILED, REASON_LAUNCH_FAILED, "More than %d URIs", SPEC_URIS_MAX);
    ret->uris[ret->uri_n++] = (struct spec_uri){path, name, executable};
    return 0;
}

static int arg_add(struct spec *s, const char *arg, struct workload_outcome *refusal) {
    if (s->arg_n == SPEC_STRINGS_MAX)
        return refuse(refusal, TASK_FAILED, REASON_LAUNCH_FAILED, "More than %d arguments", SPEC_STRINGS_MAX);
    s->args[s->arg_n++] = arg;
    return 0;
}

static int command_plan(const Mesos__V1__CommandInfo *c, struct spec *ret, struct workload_outcome *refusal) {
    if (!c->value || !*c->value) return refuse(refusal, TASK_ERROR, REASON_TASK_INVALID, "The command has no value");
    int rc = 0;
    if (c->shell) {
        ret->file = "/bin/sh";
        rc = arg_add(ret, "sh", refusal);
        if (rc == 0) rc = arg_add(ret, "-c", refusal);
        return rc ? rc : arg_add(ret, c->value, refusal);
    }
    ret->file = c->value;
    for (size_t i = 0; rc == 0 && i < c->n_arguments; i++)
        rc = arg_add(ret, c->arguments[i], refusal);
    return rc == 0 && ret->arg_n == 0 ? arg_add(ret, c->value, refusal) : rc;
}

/* Replaces a variable of the same name: the later one wins, as in Mesos. */
static bool env_set(struct spec *s, struct arena *arena, const char *name, const char *value) {
    size_t len = strlen(name), value_len = strlen(value);
    char *text = arena_alloc(arena, len + value_len + 2);
    if (!text) return false;
    memcpy(text, name, len);
    text[len] = '=';
    memcpy(text + len + 1, value, value_len + 1);
    for (size_t i = 0; i < s->env_n; i++)
        if (strncmp(s->env[i], text, len + 1) == 0) {
            s->env[i] = text;
            return true;
        }
    if (s->env_n == SPEC_STRINGS_MAX) return false;
    s->env[s->env_n++] = text;
    return true;
}

static int env_plan(const Mesos__V1__TaskInfo *task, const struct launch_key *key, const struct plan_host *host,
                    struct arena *arena, struct spec *ret, struct workload_outcome *refusal) {
    const char *const own[][2] = {
        {"PATH", DEFAULT_PATH},
        {"MESOS_FRAMEWORK_ID", key->framework_id},
        {"MESOS_EXECUTOR_ID", key->task_id},
        {"MESOS_TASK_ID", key->task_id},
        {"MESOS_SLAVE_ID", host->agent_id},
        {"MESOS_AGENT_ENDPOINT", host->endpoint},
        {"MESOS_DIRECTORY", host->sandbox},
        {"MESOS_SANDBOX", host->sandbox},
        {"MESOS_CONTAINER_ID", host->container_id},
        {"MESOS_CHECKPOINT", "1"},
        {"MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", "5secs"},
        {"MESOS_HTTP_COMMAND_EXECUTOR", "0"},
        {"MESOS_ALLOCATION_ROLE", plan_role(task)},
    };
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof own / sizeof own[0]; i++)
        ok = env_set(ret, arena, own[i][0], own[i][1]);
    const Mesos__V1__Environment *env = task->command->environment;
    for (size_t i = 0; ok && env && i < env->n_variables; i++) {
        const Mesos__V1__Environment__Variable *v = env->variables[i];
        if (!*v->name || strchr(v->name, '='))
            return refuse(refusal, TASK_ERROR, REASON_TASK_INVALID, "An environment variable has no proper name");
        if (v->secret || !v->value)
            return refuse(refusal, TASK_ERROR, REASON_TASK_INVALID,
                          "Environment variable %.100s has no value (secrets are not supported by this agent yet)",
                          v->name);
        ok = env_set(ret, arena, v->name, v->value);
    }
    return ok ? 0
              : refuse(refusal, TASK_FAILED, REASON_LAUNCH_FAILED, "The environment is over %d variables",
                       SPEC_STRINGS_MAX);
}

static void limits_plan(const struct resources *r, const struct plan_host *host, struct spec *ret) {
    ret->cgroup_version = host->cgroup_version;
    for (size_t i = 0; i < host->cgroup_n && i < SPEC_CGROUPS_MAX; i++)
        ret->cgroups[ret->cgroup_n++] = host->cgroups[i];
    if (r->mem > 0) ret->mem_bytes = (uint64_t)r->mem / 1000u * 1048576u + MEM_OVERHEAD_BYTES;
    ret->cpu_shares = ((uint64_t)r->cpus + CPU_OVERHEAD_MILLI) * 1024u / 1000u;
    ret->pids = PIDS_DEFAULT;
}

int plan_make(const Mesos__V1__TaskInfo *task, const struct launch_key *key, const struct resources *resources,
              const struct plan_host *host, struct arena *arena, struct spec *ret, struct workload_outcome *refusal) {
    int rc = kind_check(task, refusal);
    if (rc == 0) rc = command_plan(task->command, ret, refusal);
    for (size_t i = 0; rc == 0 && i < task->command->n_uris; i++)
        rc = uri_plan(task->command->uris[i], ret, refusal);
    if (rc == 0) rc = env_plan(task, key, host, arena, ret, refusal);
    if (rc) return rc;
    limits_plan(resources, host, ret);
    ret->switch_user = host->switch_user;
    ret->uid = host->uid;
    ret->gid = host->gid;
    for (size_t i = 0; i < host->group_n && i < sizeof ret->groups / sizeof ret->groups[0]; i++)
        ret->groups[ret->group_n++] = host->groups[i];
    return 0;
}
