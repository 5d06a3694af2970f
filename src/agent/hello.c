/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "agent/agent_internal.h"
#include "mesos/v1/mesos.pb-c.h"
#include "wire/arena.h"
#include "wire/protobuf.h"
#include "wire/resources_mesos.h"

#define ARENA_BYTES_MAX (8u << 20)
#define BUSY_BYTES_MAX  32768      /* of a Hello; a stranger's frame must stay small */
#define LIST_BYTES_MAX  (1u << 20) /* of one TASK_LIST frame */

static char *unconst(const char *text) {
    return (char *)(uintptr_t)text; /* packing reads only, but the generated structs are not const */
}

static int info_make(const struct agent_process *a, struct arena *arena, struct buf *ret) {
    const struct agent_config *c = &a->config;
    Mesos__V1__AgentInfo info = MESOS__V1__AGENT_INFO__INIT;
    Mesos__V1__Attribute attributes[ATTRIBUTES_MAX], *pointers[ATTRIBUTES_MAX];
    Mesos__V1__Value__Text texts[ATTRIBUTES_MAX];
    Mesos__V1__Value__Scalar scalars[ATTRIBUTES_MAX];
    info.hostname = unconst(c->hostname);
    info.has_port = 1;
    info.port = c->listen.port;
    for (size_t i = 0; i < c->attribute_n; i++) {
        char *end;
        double number = strtod(c->attributes[i].value, &end);
        attributes[i] = (Mesos__V1__Attribute)MESOS__V1__ATTRIBUTE__INIT;
        texts[i] = (Mesos__V1__Value__Text)MESOS__V1__VALUE__TEXT__INIT;
        scalars[i] = (Mesos__V1__Value__Scalar)MESOS__V1__VALUE__SCALAR__INIT;
        attributes[i].name = c->attributes[i].name;
        attributes[i].type = *end ? MESOS__V1__VALUE__TYPE__TEXT : MESOS__V1__VALUE__TYPE__SCALAR;
        texts[i].value = c->attributes[i].value;
        scalars[i].value = number;
        if (*end)
            attributes[i].text = &texts[i];
        else
            attributes[i].scalar = &scalars[i];
        pointers[i] = &attributes[i];
    }
    info.n_attributes = c->attribute_n;
    info.attributes = pointers;
    int rc = resources_to_mesos(&c->resources, NULL, arena, &info.n_resources, &info.resources);
    return rc ? rc : protobuf_print(&info.base, ret);
}

/* The agent's resources in the log's form; ranges in the arena. */
static int resources_make(const struct resources *r, struct arena *arena, Conclave__Log__Resources *ret) {
    ret->has_cpus = ret->has_mem = ret->has_disk = ret->has_gpus = 1;
    ret->cpus = r->cpus;
    ret->mem = r->mem;
    ret->disk = r->disk;
    ret->gpus = r->gpus;
    Conclave__Log__Range *ranges = arena_alloc(arena, r->ports.count * sizeof *ranges);
    ret->ports = arena_alloc(arena, r->ports.count * sizeof *ret->ports);
    if (!ranges || !ret->ports) return ERR_NOMEM;
    for (uint32_t i = 0; i < r->ports.count; i++) {
        ranges[i] = (Conclave__Log__Range)CONCLAVE__LOG__RANGE__INIT;
        ranges[i].begin = r->ports.ranges[i].begin;
        ranges[i].end = r->ports.ranges[i].end;
        ret->ports[ret->n_ports++] = &ranges[i];
    }
    return 0;
}

/* A row for a task, in the arena. */
static Conclave__Link__TaskKey *key_make(const struct hosted *task, struct arena *arena) {
    Conclave__Link__TaskKey *key = arena_alloc(arena, sizeof *key);
    Conclave__Log__LaunchId *launch = arena_alloc(arena, sizeof *launch);
    if (!key || !launch) return NULL;
    conclave__link__task_key__init(key);
    conclave__log__launch_id__init(launch);
    launch->index = task->key.launch.index;
    launch->n = task->key.launch.n;
    launch->k = task->key.launch.k;
    key->framework_id = unconst(task->key.framework_id);
    key->task_id = unconst(task->key.task_id);
    key->launch = launch;
    key->state = engine_task_state(task);
    return key;
}

/* Fills in digest and busy, or neither if busy would be too long. */
static int tasks_make(const struct agent_process *a, struct arena *arena, Conclave__Link__Hello *hello,
                      uint8_t digest[16]) {
    const struct task_table *tasks = engine_tasks(a->engine);
    size_t bytes = 0, n = 0;
    for (const struct hosted *t = task_table_next(tasks, NULL); t; t = task_table_next(tasks, t))
        if (engine_task_busy(t)) bytes += strlen(t->key.framework_id) + strlen(t->key.task_id) + 32, n++;
    if (bytes > BUSY_BYTES_MAX) return 0;
    hello->busy = arena_alloc(arena, (n + 1) * sizeof *hello->busy);
    if (!hello->busy) return ERR_NOMEM;
    for (const struct hosted *t = task_table_next(tasks, NULL); t; t = task_table_next(tasks, t)) {
        if (!engine_task_busy(t)) continue;
        hello->busy[hello->n_busy] = key_make(t, arena);
        if (!hello->busy[hello->n_busy]) return ERR_NOMEM;
        hello->n_busy++;
    }
    struct hash128 sum = engine_digest(a->engine);
    store_u64(digest, sum.lo);
    store_u64(digest + 8, sum.hi);
    hello->has_digest = 1;
    hello->digest.data = digest;
    hello->digest.len = 16;
    return 0;
}

int hello_make(const struct agent_process *a, bool watch_only, struct buf *ret) {
    struct arena arena;
    struct buf info;
    uint8_t digest[16];
    Conclave__Link__Hello hello = CONCLAVE__LINK__HELLO__INIT;
    Conclave__Link__Fence fence = CONCLAVE__LINK__FENCE__INIT;
    Conclave__Log__Resources resources = CONCLAVE__LOG__RESOURCES__INIT;
    const struct store *s = &a->store;
    arena_init(&arena, ARENA_BYTES_MAX);
    buf_init(&info, 65536);
    hello.uuid.data = (uint8_t *)(uintptr_t)s->uuid;
    hello.uuid.len = sizeof s->uuid;
    if (*s->agent_id) hello.agent_id = unconst(s->agent_id);
    if (s->fence.set) {
        fence.cluster_id.data = (uint8_t *)(uintptr_t)s->fence.cluster_id;
        fence.cluster_id.len = sizeof s->fence.cluster_id;
        fence.incarnation = s->fence.incarnation;
        fence.term = s->fence.term;
        hello.fence = &fence;
    }
    hello.hostname = unconst(a->config.hostname);
    hello.http = unconst(a->config.endpoint);
    hello.resources = &resources;
    hello.version = unconst(CONCLAVE_VERSION);
    hello.boot_id = unconst(s->boot_id);
    hello.has_watch_only = watch_only;
    hello.watch_only = watch_only;
    int rc = resources_make(&a->config.resources, &arena, &resources);
    if (rc == 0) rc = info_make(a, &arena, &info);
    hello.info.data = info.data;
    hello.info.len = info.len;
    if (rc == 0 && !watch_only) rc = tasks_make(a, &arena, &hello, digest);
    if (rc == 0) rc = protobuf_print(&hello.base, ret);
    buf_done(&info);
    arena_done(&arena);
    return rc;
}

static int list_part_send(struct agent_process *a, Conclave__Link__TaskList *list, bool more) {
    list->has_more = more;
    list->more = more;
    int rc = master_link_send(a->masters, LINK_BULK, CONCLAVE__LINK__FRAME_TYPE__TASK_LIST, &list->base);
    list->n_tasks = 0;
    return rc;
}

void task_list_send(struct agent_process *a) {
    struct arena arena;
    const struct task_table *tasks = engine_tasks(a->engine);
    Conclave__Link__TaskList list = CONCLAVE__LINK__TASK_LIST__INIT;
    arena_init(&arena, 64u << 20);
    list.tasks = arena_alloc(&arena, (task_table_count(tasks) + 1) * sizeof *list.tasks);
    size_t bytes = 0;
    int rc = list.tasks ? 0 : ERR_NOMEM;
    for (const struct hosted *t = task_table_next(tasks, NULL); rc == 0 && t; t = task_table_next(tasks, t)) {
        if (bytes > LIST_BYTES_MAX) {
            rc = list_part_send(a, &list, true);
            bytes = 0;
        }
        bytes += strlen(t->key.framework_id) + strlen(t->key.task_id) + 32;
        list.tasks[list.n_tasks] = key_make(t, &arena);
        if (!list.tasks[list.n_tasks]) rc = ERR_NOMEM;
        list.n_tasks++;
    }
    if (rc == 0) rc = list_part_send(a, &list, false);
    arena_done(&arena);
    if (rc) master_link_drop(a->masters, "the task list could not be sent");
}
