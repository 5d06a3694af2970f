/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/task_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define BUCKETS 4096

struct task_table {
    struct queue buckets[BUCKETS], kept_buckets[BUCKETS];
    struct queue all, kept;
    size_t count, kept_n;
};

struct task_table *task_table_new(void) {
    struct task_table *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    for (size_t i = 0; i < BUCKETS; i++) {
        queue_init(&t->buckets[i]);
        queue_init(&t->kept_buckets[i]);
    }
    queue_init(&t->all);
    queue_init(&t->kept);
    return t;
}

void task_table_free(struct task_table *t) {
    if (!t) return;
    while (!queue_empty(&t->all))
        task_table_remove(t, QUEUE_ENTRY(t->all.next, struct hosted, in_all));
    while (!queue_empty(&t->kept))
        kept_drop(t, QUEUE_ENTRY(t->kept.next, struct kept, in_age));
    free(t);
}

struct hosted *task_table_add(struct task_table *t, const struct launch_key *key, const char *path) {
    struct hosted *task = calloc(1, sizeof *task);
    if (!task) return NULL;
    task->path = path ? strdup(path) : NULL;
    if ((path && !task->path) || launch_key_copy(&task->key, key) != 0) {
        free(task->path);
        free(task);
        return NULL;
    }
    task->grace_ms = UINT64_MAX;
    workload_init(&task->workload);
    updates_init(&task->updates);
    queue_init(&task->in_due);
    queue_init(&task->in_start);
    queue_init(&task->in_send);
    queue_push(&t->all, &task->in_all);
    queue_push(&t->buckets[launch_key_hash(key) % BUCKETS], &task->in_bucket);
    t->count++;
    return task;
}

void task_table_remove(struct task_table *t, struct hosted *task) {
    CHECK(!task->watch);
    queue_remove(&task->in_bucket);
    queue_remove(&task->in_all);
    queue_remove(&task->in_due);
    queue_remove(&task->in_start);
    queue_remove(&task->in_send);
    launch_key_done(&task->key);
    updates_done(&task->updates);
    resources_done(&task->resources);
    free(task->path);
    free(task->name);
    free(task->role);
    free(task);
    t->count--;
}

struct hosted *task_table_find(const struct task_table *t, const struct launch_key *key) {
    const struct queue *bucket = &t->buckets[launch_key_hash(key) % BUCKETS];
    for (struct queue *at = bucket->next; at != bucket; at = at->next) {
        struct hosted *task = QUEUE_ENTRY(at, struct hosted, in_bucket);
        if (launch_key_equal(&task->key, key)) return task;
    }
    return NULL;
}

struct hosted *task_table_next(const struct task_table *t, const struct hosted *after) {
    struct queue *next = after ? after->in_all.next : t->all.next;
    return next == &t->all ? NULL : QUEUE_ENTRY(next, struct hosted, in_all);
}

size_t task_table_count(const struct task_table *t) {
    return t->count;
}

static struct kept *kept_find(const struct task_table *t, const struct launch_key *key) {
    const struct queue *bucket = &t->kept_buckets[launch_key_hash(key) % BUCKETS];
    for (struct queue *at = bucket->next; at != bucket; at = at->next) {
        struct kept *k = QUEUE_ENTRY(at, struct kept, in_bucket);
        if (launch_key_equal(&k->key, key)) return k;
    }
    return NULL;
}

int kept_add(struct task_table *t, const struct launch_key *key, const char *path, uint64_t ended_wall_ms) {
    struct kept *old = kept_find(t, key);
    if (old) kept_drop(t, old);
    struct kept *k = calloc(1, sizeof *k);
    if (!k) return ERR_NOMEM;
    k->path = strdup(path);
    if (!k->path || launch_key_copy(&k->key, key) != 0) {
        free(k->path);
        free(k);
        return ERR_NOMEM;
    }
    k->ended_wall_ms = ended_wall_ms;
    queue_push(&t->kept, &k->in_age);
    queue_push(&t->kept_buckets[launch_key_hash(key) % BUCKETS], &k->in_bucket);
    t->kept_n++;
    return 0;
}

struct kept *kept_oldest(const struct task_table *t) {
    return queue_empty(&t->kept) ? NULL : QUEUE_ENTRY(t->kept.next, struct kept, in_age);
}

void kept_drop(struct task_table *t, struct kept *k) {
    queue_remove(&k->in_age);
    queue_remove(&k->in_bucket);
    launch_key_done(&k->key);
    free(k->path);
    free(k);
    t->kept_n--;
}

size_t kept_count(const struct task_table *t) {
    return t->kept_n;
}

struct kept *kept_next(const struct task_table *t, const struct kept *after) {
    struct queue *next = after ? after->in_age.next : t->kept.next;
    return next == &t->kept ? NULL : QUEUE_ENTRY(next, struct kept, in_age);
}

static bool newer(const struct launch_id *a, const struct launch_id *b) {
    if (a->index != b->index) return a->index > b->index;
    if (a->n != b->n) return a->n > b->n;
    return a->k > b->k;
}

const char *task_table_latest_path(const struct task_table *t, const char *framework_id, const char *task_id) {
    const char *path = NULL;
    struct launch_id best = {0};
    uint64_t slot = launch_key_hash(&(struct launch_key){framework_id, task_id, {0}}) % BUCKETS;
    for (struct queue *at = t->buckets[slot].next; at != &t->buckets[slot]; at = at->next) {
        struct hosted *task = QUEUE_ENTRY(at, struct hosted, in_bucket);
        if (!task->path || strcmp(task->key.task_id, task_id) != 0 ||
            strcmp(task->key.framework_id, framework_id) != 0 || !newer(&task->key.launch, &best))
            continue;
        best = task->key.launch;
        path = task->path;
    }
    for (struct queue *at = t->kept_buckets[slot].next; at != &t->kept_buckets[slot]; at = at->next) {
        struct kept *k = QUEUE_ENTRY(at, struct kept, in_bucket);
        if (strcmp(k->key.task_id, task_id) != 0 || strcmp(k->key.framework_id, framework_id) != 0 ||
            !newer(&k->key.launch, &best))
            continue;
        best = k->key.launch;
        path = k->path;
    }
    return path;
}
