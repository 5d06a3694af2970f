/* SPDX-License-Identifier: Apache-2.0
 * What an agent finds when it starts: folders of its past life. Live shims are adopted, ends that nobody saw become
 * updates, what certainly never started is taken back (its leader, to whom it was never confirmed, sends it again), and
 * what may have started is never started again. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/engine_internal.h"
#include "agent/sealed.h"
#include "base/log.h"
#include "wire/protobuf.h"

#define ARENA_BYTES_MAX (8u << 20)

struct found { /* the folder of an ended task */
    struct launch_key key;
    char *path;
    uint64_t ended_wall_ms;
};

struct recovery {
    struct engine *e;
    struct found *found;
    size_t found_n, found_cap;
    size_t discarded, damaged;
};

static int found_add(struct recovery *r, const struct launch_key *key, const char *path) {
    if (r->found_n == r->found_cap) {
        size_t cap = r->found_cap ? r->found_cap * 2 : 256;
        struct found *more = realloc(r->found, cap * sizeof *more);
        if (!more) return ERR_NOMEM;
        r->found = more;
        r->found_cap = cap;
    }
    struct stat st;
    struct found *f = &r->found[r->found_n];
    f->ended_wall_ms = 0;
    if (fstatat(r->e->store->work_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
        f->ended_wall_ms = (uint64_t)st.st_mtim.tv_sec * 1000u + (uint64_t)st.st_mtim.tv_nsec / 1000000u;
    f->path = strdup(path);
    if (!f->path) return ERR_NOMEM;
    int rc = launch_key_copy(&f->key, key);
    if (rc)
        free(f->path);
    else
        r->found_n++;
    return rc;
}

/* The shim is dead without a record: whatever it left in its group is ended, so that nothing runs that was told dead.
 */
static void rest_kill(struct engine *e, const char *path) {
    struct spec *spec = calloc(1, sizeof *spec);
    struct buf b;
    struct err err;
    buf_init(&b, SPEC_BYTES_MAX);
    int fd = openat(e->store->work_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (spec && fd >= 0 && file_load(fd, "spec", &b, &err) == 0 &&
        spec_decode((char *)b.data, b.len, spec, &err) == 0 && spec->cgroup_n) {
        struct cgroup group;
        cgroup_open(&group, spec);
        if (group.version) {
            group.ops->signal(&group, 0, SIGKILL);
            group.ops->remove(&group);
        }
    }
    if (fd >= 0) (void)close(fd);
    buf_done(&b);
    free(spec);
}

static void life_resume(struct engine *e, struct hosted *task) {
    struct workload *w = &task->workload;
    struct err err = {0};
    struct kill_note note;
    struct exit_record record;
    int work_fd = e->store->work_fd;
    if (task_state_terminal(task->updates.latest)) {
        w->state = WORKLOAD_ENDED;
        return;
    }
    bool up = task->updates.latest == TASK_RUNNING;
    w->state = up ? WORKLOAD_RUNNING : WORKLOAD_STARTING;
    uint64_t at_ms = 0;
    (void)task_dir_started(work_fd, task->path, &w->pid, &at_ms);
    w->up_ms = up ? at_ms : 0;
    if (task_dir_kill_read(work_fd, task->path, &note) == 0) {
        w->kill = note.cause;
        w->kill_since_ms = note.since_ms;
        w->kill_grace_ms = note.grace_ms;
    }
    if (!e->store->rebooted && runner_adopt(e->runner, task, up, &err) == 0) {
        e->stats.adopted++;
        engine_supervise(e, task);
        return;
    }
    e->stats.recovered_ended++;
    if (task_dir_exit(work_fd, task->path, &record, &err) != 0 && e->store->rebooted) {
        struct workload_outcome outcome = {0};
        engine_event(e, task, WORKLOAD_REBOOTED, &outcome);
        return;
    }
    if (err.code) rest_kill(e, task->path);
    engine_shim_gone(e, task);
}

/* True if nothing of this folder can have run or can still run. */
static bool never_started(struct engine *e, const char *path, const struct journal_entry *entry) {
    struct exit_record record;
    uint32_t pid;
    uint64_t at_ms;
    if (task_dir_started(e->store->work_fd, path, &pid, &at_ms)) return false;
    if (task_dir_exit(e->store->work_fd, path, &record, NULL) != ERR_NOT_FOUND) return false;
    if (task_dir_shim(e->store->work_fd, path) != 0) return false;
    return !entry || !e->store->rebooted; /* after a reboot the marker itself may be what was lost */
}

static int task_take(struct recovery *r, const char *path, const struct launch_key *key,
                     const Conclave__Link__Launch *launch, const Mesos__V1__TaskInfo *info) {
    struct engine *e = r->e;
    struct err err = {0};
    struct updates updates;
    updates_init(&updates);
    if (task_dir_updates_load(e->store->work_fd, path, &updates, &err) != 0)
        log_event(LOG_ERROR, "updates_damaged", "path=%s %s", path, err.text);
    const struct journal_entry *entry = journal_find(e->store->journal, key);
    int rc = 0;
    if (updates_settled(&updates) || (entry && entry->settled)) {
        if (!entry || !entry->settled)
            rc = journal_settle(e->store->journal, key, updates.acked.state, updates.acked.uuid);
        if (rc == 0) rc = found_add(r, key, path);
        updates_done(&updates);
        return rc;
    }
    if (never_started(e, path, entry)) {
        updates_done(&updates);
        rc = journal_drop(e->store->journal, key);
        if (rc == 0) rc = journal_sync(e->store->journal, &err);
        if (rc == 0) rc = task_dir_discard(e->store->work_fd, path, &err);
        if (rc == 0) r->discarded++;
        if (rc != ERR_LOCKED && rc != ERR_EXISTS) return rc;
        /* A shim came up just now: the launch goes on, so it is noted again. */
    }
    if (!journal_find(e->store->journal, key)) rc = journal_start(e->store->journal, key);
    struct hosted *task = rc == 0 ? task_table_add(e->tasks, key, path) : NULL;
    if (!task) {
        updates_done(&updates);
        return ERR_NOMEM;
    }
    task->updates = updates;
    if (engine_task_describe(task, launch, info, &err) != 0)
        log_event(LOG_ERROR, "launch_damaged", "path=%s %s", path, err.text); /* its life goes on all the same */
    life_resume(e, task);
    return 0;
}

static int folder_take(void *ctx, const char *path) {
    struct recovery *r = ctx;
    struct err err = {0};
    struct buf message;
    struct arena arena;
    char expected[TASK_PATH_MAX];
    Conclave__Link__Launch *launch;
    Mesos__V1__TaskInfo *info;
    int rc = task_dir_launch(r->e->store->work_fd, path, &message, &err);
    if (rc == 0) {
        arena_init(&arena, ARENA_BYTES_MAX);
        rc = engine_launch_parse(message.data, message.len, &arena, &launch, &info, &err);
        if (rc == 0) {
            struct launch_key key = {
                launch->framework_id, launch->task_id, {launch->launch->index, launch->launch->n, launch->launch->k}};
            task_dir_path(&key, expected);
            if (strcmp(path, expected) != 0)
                rc = err_set(&err, ERR_CORRUPT, "it is the launch of %.200s", expected);
            else if ((rc = task_take(r, path, &key, launch, info)) != 0)
                (void)err_set(&err, rc, "%s", err_text(rc));
        }
        arena_done(&arena);
        buf_done(&message);
    }
    if (rc == 0) return 0;
    /* One bad folder must not keep the others from their agent. If its launch may have started, the journal knows it.
     */
    r->damaged++;
    log_event(LOG_ERROR, "task_folder_damaged", "path=%s %s; look at it and remove it by hand", path, err.text);
    return 0;
}

static int found_order(const void *a, const void *b) {
    const struct found *x = a, *y = b;
    return x->ended_wall_ms < y->ended_wall_ms ? -1 : x->ended_wall_ms > y->ended_wall_ms;
}

int engine_recover(struct engine *e, struct err *err) {
    struct recovery r = {.e = e};
    int rc = store_scan(e->store, folder_take, &r, err);
    if (r.found_n) qsort(r.found, r.found_n, sizeof *r.found, found_order);
    for (size_t i = 0; i < r.found_n; i++) {
        engine_keep(e, &r.found[i].key, r.found[i].path, r.found[i].ended_wall_ms);
        launch_key_done(&r.found[i].key);
        free(r.found[i].path);
    }
    free(r.found);
    size_t missing = 0;
    const struct journal_entry *at = NULL;
    while (rc == 0 && (at = journal_next_started(e->store->journal, at)) != NULL) {
        if (task_table_find(e->tasks, &at->key)) continue;
        missing++;
        (void)engine_task_ended(e, &at->key, TASK_LOST, REASON_AGENT_RESTARTED, NULL,
                                "It may have been started before its folder was lost on this host");
    }
    if (rc == 0) rc = journal_sync(e->store->journal, err);
    if (rc == 0) rc = store_boot_save(e->store, err);
    if (rc == 0)
        log_event(LOG_INFO, "recovered",
                  "adopted=%" PRIu64 " ended=%" PRIu64 " kept=%zu taken_back=%zu missing=%zu damaged=%zu rebooted=%d",
                  e->stats.adopted, e->stats.recovered_ended, kept_count(e->tasks), r.discarded, missing, r.damaged,
                  e->store->rebooted);
    return rc;
}
