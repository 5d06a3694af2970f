/* SPDX-License-Identifier: Apache-2.0
 * Orders to launch: from the message to a folder that a shim can run. */
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/engine_internal.h"
#include "agent/status.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/rng.h"
#include "wire/protobuf.h"

#define ARENA_BYTES_MAX (8u << 20)

struct hosted *engine_task_ended(struct engine *e, const struct launch_key *key, uint32_t state, int reason,
                                 const uint8_t *uuid, const char *text) {
    struct hosted *task = task_table_add(e->tasks, key, NULL);
    if (!task) return NULL;
    uint8_t fresh[16];
    if (!uuid) random_bytes(fresh, sizeof fresh);
    struct workload_update update = {.state = state, .reason = reason};
    (void)snprintf(update.text, sizeof update.text, "%s", text);
    task->workload.state = WORKLOAD_ENDED;
    task->by_agent = true;
    engine_update_queue(e, task, &update, uuid ? uuid : fresh);
    return task;
}

int engine_launch_parse(const uint8_t *message, size_t len, struct arena *arena, Conclave__Link__Launch **ret_launch,
                        Mesos__V1__TaskInfo **ret_info, struct err *err) {
    ProtobufCMessage *launch, *info;
    int rc = protobuf_parse(&conclave__link__launch__descriptor, message, len, 0, arena, &launch, err);
    if (rc) return rc;
    const ProtobufCBinaryData *bytes = &((Conclave__Link__Launch *)launch)->info;
    rc = protobuf_parse(&mesos__v1__task_info__descriptor, bytes->data, bytes->len, 0, arena, &info, err);
    if (rc) return rc;
    *ret_launch = (Conclave__Link__Launch *)launch;
    *ret_info = (Mesos__V1__TaskInfo *)info;
    return 0;
}

static int resources_take(const Conclave__Log__Resources *in, struct resources *ret, struct err *err) {
    struct wide_range ranges[PORTS_RANGES_MAX];
    if (in->n_ports > PORTS_RANGES_MAX) return err_set(err, ERR_LIMIT, "%zu port ranges", in->n_ports);
    for (size_t i = 0; i < in->n_ports; i++)
        ranges[i] = (struct wide_range){in->ports[i]->begin, in->ports[i]->end};
    struct resources r = {.cpus = in->cpus, .mem = in->mem, .disk = in->disk, .gpus = in->gpus};
    int rc = ports_from_ranges(ranges, in->n_ports, &r.ports, err);
    if (rc == 0) *ret = r;
    return rc;
}

int engine_task_describe(struct hosted *task, const Conclave__Link__Launch *launch, const Mesos__V1__TaskInfo *info,
                         struct err *err) {
    int rc = resources_take(launch->resources, &task->resources, err);
    if (rc) return rc;
    task->name = strdup(info->name);
    task->role = strdup(plan_role(info));
    task->grace_ms = plan_grace_ms(info);
    task->completion_ms = plan_completion_ms(info);
    return task->name && task->role ? 0 : err_set(err, ERR_NOMEM, "no memory");
}

/* Who runs it, in numbers. An agent that is not root cannot change the user, and runs all tasks as its own. */
static int user_find(const char *name, struct plan_host *host, uint32_t *groups, size_t groups_max, struct err *err) {
    if (geteuid() != 0 || !*name || strcmp(name, "root") == 0) return 0;
    char text[16384];
    struct passwd entry, *found = NULL;
    int sys = getpwnam_r(name, &entry, text, sizeof text, &found);
    if (!found)
        return err_set(err, ERR_NOT_FOUND, "The user '%.100s' is not known on this agent%s%s", name, sys ? ": " : "",
                       sys ? strerror(sys) : "");
    gid_t list[64];
    int n = (int)(groups_max < 64 ? groups_max : 64);
    (void)getgrouplist(name, entry.pw_gid, list, &n); /* more than that are cut */
    for (int i = 0; i < n && (size_t)i < groups_max; i++)
        groups[host->group_n++] = list[i];
    host->switch_user = true;
    host->uid = entry.pw_uid;
    host->gid = entry.pw_gid;
    host->groups = groups;
    return 0;
}

struct making { /* one launch on its way into its folder */
    struct engine *e;
    const struct engine_order *order;
    struct arena arena;
    struct spec spec;
    struct plan_host host;
    uint32_t groups[64];
    const char *cgroups[SPEC_CGROUPS_MAX];
    char cgroup_text[SPEC_CGROUPS_MAX][CGROUP_PATH_MAX + 128];
    char container_id[CONTAINER_ID_TEXT];
    char path[TASK_PATH_MAX];
    char sandbox[TASK_PATH_MAX + 4096];
    struct workload_outcome refusal;
};

static void cgroups_name(struct making *m) {
    const struct cgroup_host *host = m->e->options.cgroups;
    m->host.cgroup_version = host->version;
    for (size_t i = 0; i < host->n; i++) {
        (void)snprintf(m->cgroup_text[i], sizeof m->cgroup_text[i], "%s:%s/%s", host->base[i].controller,
                       host->base[i].dir, m->container_id);
        m->cgroups[i] = m->cgroup_text[i];
    }
    m->host.cgroups = m->cgroups;
    m->host.cgroup_n = host->n;
}

static int refuse(struct making *m, uint32_t state, int reason, const char *text) {
    m->refusal.state = state;
    m->refusal.reason = reason;
    (void)snprintf(m->refusal.text, sizeof m->refusal.text, "%s", text);
    return ERR_INVALID;
}

static int folder_make(struct making *m) {
    struct err err = {0};
    struct buf spec;
    int fd = m->e->store->work_fd;
    buf_init(&spec, SPEC_BYTES_MAX * 2);
    int rc = spec_encode(&m->spec, &spec, &err);
    if (rc == 0)
        rc = task_dir_create(fd, m->path, m->order->message, m->order->message_len, m->host.switch_user, m->host.uid,
                             m->host.gid, &err);
    if (rc == 0) rc = task_dir_spec_write(fd, m->path, &spec, &err);
    buf_done(&spec);
    if (rc) (void)task_dir_discard(fd, m->path, NULL); /* what was made of it is of no use, and takes room */
    return rc ? refuse(m, TASK_FAILED, REASON_LAUNCH_FAILED, err.text) : 0;
}

/* Everything up to a folder that is ready to run; on failure the refusal says why. */
static int make(struct making *m, struct hosted **ret) {
    struct err err = {0};
    Conclave__Link__Launch *launch;
    Mesos__V1__TaskInfo *info;
    struct engine *e = m->e;
    const struct launch_key *key = &m->order->key;
    if (task_table_count(e->tasks) >= e->options.tasks_max)
        return refuse(m, TASK_FAILED, REASON_LAUNCH_FAILED, "The agent has as many tasks as it may hold");
    if (engine_launch_parse(m->order->message, m->order->message_len, &m->arena, &launch, &info, &err) != 0)
        return refuse(m, TASK_ERROR, REASON_TASK_INVALID, err.text);
    container_id_make(key, m->container_id);
    task_dir_path(key, m->path);
    (void)snprintf(m->sandbox, sizeof m->sandbox, "%s/%s/sandbox", e->store->work, m->path);
    m->host.agent_id = e->store->agent_id;
    m->host.endpoint = e->options.endpoint;
    m->host.sandbox = m->sandbox;
    m->host.container_id = m->container_id;
    cgroups_name(m);
    if (user_find(plan_user(info, launch->user), &m->host, m->groups, sizeof m->groups / sizeof m->groups[0], &err))
        return refuse(m, TASK_FAILED, REASON_LAUNCH_FAILED, err.text);
    struct hosted *task = task_table_add(e->tasks, key, m->path);
    if (!task) return refuse(m, TASK_FAILED, REASON_LAUNCH_FAILED, "The agent is out of memory");
    int rc = 0;
    if (engine_task_describe(task, launch, info, &err) != 0) rc = refuse(m, TASK_ERROR, REASON_TASK_INVALID, err.text);
    if (rc == 0) rc = plan_make(info, key, &task->resources, &m->host, &m->arena, &m->spec, &m->refusal);
    if (rc == 0) rc = folder_make(m);
    if (rc == 0 && journal_start(e->store->journal, key) != 0)
        rc = refuse(m, TASK_FAILED, REASON_LAUNCH_FAILED, "The agent's journal is full");
    if (rc) {
        task_table_remove(e->tasks, task);
        return rc;
    }
    *ret = task;
    return 0;
}

/* True if the launch is known, and its leader has been told what is known. */
static bool known(struct engine *e, const struct launch_key *key) {
    struct hosted *task = task_table_find(e->tasks, key);
    if (task) {
        if (updates_head(&task->updates))
            engine_send_soon(e, task);
        else if (task->updates.has_acked)
            (void)e->options.send(e->options.ctx, task, &task->updates.acked);
        return true;
    }
    const struct journal_entry *entry = journal_find(e->store->journal, key);
    if (!entry) return false;
    if (entry->settled)
        (void)engine_task_ended(e, key, entry->state,
                                entry->state == TASK_KILLED ? REASON_KILLED_DURING_LAUNCH : REASON_NONE, entry->uuid,
                                "This launch has ended before");
    return true;
}

void engine_launch(struct engine *e, const struct engine_order *order) {
    const struct launch_key *key = &order->key;
    if (!task_id_valid(key->framework_id) || !task_id_valid(key->task_id)) {
        log_event(LOG_ERROR, "launch_malformed", "launch=%" PRIu64 ".%u.%u: bad ids", key->launch.index, key->launch.n,
                  key->launch.k);
        return;
    }
    e->stats.launches++;
    if (known(e, key)) {
        e->stats.launches_again++;
        return;
    }
    struct making *m = calloc(1, sizeof *m);
    struct hosted *task = NULL;
    if (!m) return; /* never confirmed, so the leader sends it again */
    m->e = e;
    m->order = order;
    arena_init(&m->arena, ARENA_BYTES_MAX);
    if (make(m, &task) == 0) {
        task->ordered_us = clock_mono_us();
        queue_push(&e->to_start, &task->in_start);
        e->flush_wanted = true;
    } else {
        log_event(LOG_WARN, "launch_refused", "framework=%s task=%s %s", key->framework_id, key->task_id,
                  m->refusal.text);
        (void)engine_task_ended(e, key, m->refusal.state, m->refusal.reason, NULL, m->refusal.text);
    }
    arena_done(&m->arena);
    free(m);
}
