/* SPDX-License-Identifier: Apache-2.0
 * The folders of ended tasks: kept for people to read, bounded by number and age, removed off the loop. */
#include <stdlib.h>
#include <string.h>

#include "agent/engine_internal.h"
#include "base/clock.h"
#include "base/log.h"

void engine_keep(struct engine *e, const struct launch_key *key, const char *path, uint64_t ended_wall_ms) {
    if (kept_add(e->tasks, key, path, ended_wall_ms) != 0)
        log_event(LOG_WARN, "kept_folder_unlisted", "path=%s", path); /* found again at the next start */
}

static void remove_work(uv_work_t *work) {
    struct engine *e = work->data;
    struct err err = {0};
    for (size_t i = 0; i < e->keep_n; i++)
        if (task_dir_remove(e->store->work_fd, e->keep_paths[i], &err) != 0)
            log_event(LOG_WARN, "sandbox_not_removed", "%s", err.text);
}

static void remove_done(uv_work_t *work, int status) {
    (void)status;
    struct engine *e = work->data;
    for (size_t i = 0; i < e->keep_n; i++)
        free(e->keep_paths[i]);
    e->keep_n = 0;
    e->keep_working = false;
    if (!e->closing) engine_keep_sweep(e);
}

static bool over(const struct engine *e, const struct kept *k, uint64_t now) {
    if (kept_count(e->tasks) > e->options.kept_max) return true;
    return now > k->ended_wall_ms && now - k->ended_wall_ms > e->options.kept_age_ms;
}

void engine_keep_sweep(struct engine *e) {
    struct kept *k;
    uint64_t now = clock_wall_ms();
    if (e->keep_working) return;
    while (e->keep_n < KEEP_BATCH && (k = kept_oldest(e->tasks)) != NULL && over(e, k, now)) {
        e->keep_paths[e->keep_n] = strdup(k->path);
        if (e->keep_paths[e->keep_n]) e->keep_n++;
        kept_drop(e->tasks, k);
    }
    if (e->keep_n == 0) return;
    e->keep_work.data = e;
    e->keep_working = uv_queue_work(e->options.loop, &e->keep_work, remove_work, remove_done) == 0;
}
