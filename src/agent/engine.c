/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/engine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/engine_internal.h"
#include "agent/shim.h"
#include "agent/status.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "scheduler/obligations.h"

#define RESEND_FIRST_MS  5000
#define RESEND_MAX_MS    60000
#define JOURNAL_LAZY_MAX 65536 /* settled records may wait for the next launch's sync, but not more of them */
#define STATUS_BYTES_MAX 16384

void engine_fatal(struct engine *e, const struct err *err) {
    if (e->fatal_told) return;
    e->fatal_told = true;
    e->options.fatal(e->options.ctx, err);
}

void engine_send_soon(struct engine *e, struct hosted *task) {
    if (updates_head(&task->updates) && queue_empty(&task->in_send)) queue_push(&e->to_send, &task->in_send);
    e->flush_wanted = true;
}

void engine_pump(struct engine *e) {
    while (!queue_empty(&e->to_send)) {
        struct hosted *task = QUEUE_ENTRY(e->to_send.next, struct hosted, in_send);
        const struct update *head = updates_head(&task->updates);
        if (head && e->options.send(e->options.ctx, task, head) != 0) return;
        queue_remove(&task->in_send);
        task->sent_ms = clock_mono_ms();
        task->sends++;
        if (head) e->stats.reports++;
    }
}

void engine_report_all(struct engine *e) {
    for (struct hosted *t = task_table_next(e->tasks, NULL); t; t = task_table_next(e->tasks, t)) {
        t->sends = 0;
        engine_send_soon(e, t);
    }
    engine_pump(e);
}

static void update_count(struct engine_stats *stats, uint32_t state) {
    switch (state) {
    case TASK_RUNNING:
        stats->started++;
        break;
    case TASK_FINISHED:
        stats->finished++;
        break;
    case TASK_KILLED:
        stats->killed++;
        break;
    case TASK_LOST:
        stats->lost++;
        break;
    default:
        stats->failed++;
        break;
    }
}

void engine_update_queue(struct engine *e, struct hosted *task, const struct workload_update *update,
                         const uint8_t uuid[16]) {
    struct buf status;
    struct err err = {0};
    buf_init(&status, STATUS_BYTES_MAX);
    const struct status_facts facts = {.agent_id = e->store->agent_id,
                                       .ip = e->options.ip,
                                       .wall_ms = clock_wall_ms(),
                                       .pid = task->workload.pid,
                                       .by_agent = task->by_agent};
    int rc = status_make(&task->key, update, uuid, &facts, &status);
    if (rc == 0) rc = updates_add(&task->updates, uuid, update->state, status.data, status.len);
    if (rc == 0 && task->path)
        rc = task_dir_update_add(e->store->work_fd, task->path, uuid, update->state, status.data, status.len, &err);
    if (rc) log_event(LOG_ERROR, "update_not_kept", "task=%s code=%s %s", task->key.task_id, err_name(rc), err.text);
    buf_done(&status);
    log_event(LOG_INFO, "task_update", "framework=%s task=%s launch=%" PRIu64 ".%u.%u state=%s %s",
              task->key.framework_id, task->key.task_id, task->key.launch.index, task->key.launch.n, task->key.launch.k,
              task_state_name(update->state), update->text);
    update_count(&e->stats, update->state);
    engine_send_soon(e, task);
}

void engine_event(struct engine *e, struct hosted *task, enum workload_event event,
                  const struct workload_outcome *outcome) {
    struct workload_change change;
    if (!workload_step(&task->workload, event, outcome, &change)) return;
    task->by_agent = event == WORKLOAD_REFUSED || event == WORKLOAD_REBOOTED || event == WORKLOAD_SHIM_LOST ||
                     (event == WORKLOAD_KILL && task->workload.state == WORKLOAD_ENDED);
    for (unsigned i = 0; i < change.update_n; i++) {
        uint8_t uuid[16];
        random_bytes(uuid, sizeof uuid);
        engine_update_queue(e, task, &change.updates[i], uuid);
    }
    if (task->workload.state == WORKLOAD_ENDED) {
        queue_remove(&task->in_start);
        queue_remove(&task->in_due);
    } else {
        engine_supervise(e, task);
    }
}

static void due_timer_cb(uv_timer_t *timer);

/* One timer for all: at the earliest time that any task asked for. */
static void due_at(struct engine *e, uint64_t at_ms) {
    uint64_t now = clock_mono_ms();
    uint64_t wait = at_ms > now ? at_ms - now : 0;
    if (!uv_is_active((uv_handle_t *)&e->due_timer) || uv_timer_get_due_in(&e->due_timer) > wait)
        (void)uv_timer_start(&e->due_timer, due_timer_cb, wait, 0);
}

static void completion_over(struct engine *e, struct hosted *task, uint64_t now) {
    const struct kill_note note = {KILL_COMPLETION_TIME, now, supervisor_grace(UINT64_MAX, task->grace_ms)};
    struct err err = {0};
    if (task_dir_kill_write(e->store->work_fd, task->path, &note, &err) != 0)
        log_event(LOG_WARN, "kill_not_kept", "task=%s %s", task->key.task_id, err.text);
    struct workload_outcome outcome = {.cause = note.cause, .at_ms = now, .grace_ms = note.grace_ms};
    engine_event(e, task, WORKLOAD_KILL, &outcome);
}

void engine_supervise(struct engine *e, struct hosted *task) {
    uint64_t now = clock_mono_ms(), wake;
    for (;;) {
        switch (supervisor_decide(&task->workload, task->completion_ms, now, &wake)) {
        case SUPERVISOR_START:
            return; /* engine_flush does */
        case SUPERVISOR_TERMINATE:
            log_event(LOG_INFO, "task_terminate", "task=%s grace_ms=%" PRIu64, task->key.task_id,
                      task->workload.kill_grace_ms);
            runner_signal(task, SHIM_TERMINATE);
            task->workload.term_sent_ms = now;
            continue;
        case SUPERVISOR_FORCE:
            log_event(LOG_INFO, "task_force", "task=%s", task->key.task_id);
            runner_signal(task, SHIM_FORCE);
            task->workload.force_sent_ms = now;
            continue;
        case SUPERVISOR_TIME_OUT:
            completion_over(e, task, now); /* comes back here with the kill noted */
            return;
        case SUPERVISOR_WAIT:
            break;
        }
        break;
    }
    queue_remove(&task->in_due);
    if (wake == UINT64_MAX) return;
    queue_push(&e->due, &task->in_due);
    due_at(e, wake);
}

static void due_timer_cb(uv_timer_t *timer) {
    struct engine *e = timer->data;
    struct queue now;
    queue_init(&now);
    while (!queue_empty(&e->due)) { /* supervising puts those that wait on back */
        struct queue *item = e->due.next;
        queue_remove(item);
        queue_push(&now, item);
    }
    while (!queue_empty(&now)) {
        struct hosted *task = QUEUE_ENTRY(now.next, struct hosted, in_due);
        queue_remove(&task->in_due);
        engine_supervise(e, task);
    }
}

/* Once a second: what was sent and not acknowledged is sent again, ever less often. */
static void second_timer_cb(uv_timer_t *timer) {
    struct engine *e = timer->data;
    uint64_t now = clock_mono_ms();
    for (struct hosted *t = task_table_next(e->tasks, NULL); t; t = task_table_next(e->tasks, t)) {
        if (t->sends == 0 || !updates_head(&t->updates)) continue;
        uint64_t wait = t->sends < 5 ? (uint64_t)RESEND_FIRST_MS << (t->sends - 1) : RESEND_MAX_MS;
        if (now - t->sent_ms >= (wait < RESEND_MAX_MS ? wait : RESEND_MAX_MS)) engine_send_soon(e, t);
    }
    engine_pump(e);
    engine_keep_sweep(e);
}

static void task_start(struct engine *e, struct hosted *task) {
    struct err err = {0};
    int rc = runner_spawn(e->runner, task, &err);
    if (rc == 0) {
        engine_event(e, task, WORKLOAD_SPAWNED, NULL);
        return;
    }
    struct workload_outcome outcome = {.state = TASK_FAILED, .reason = REASON_LAUNCH_FAILED};
    (void)snprintf(outcome.text, sizeof outcome.text, "The agent could not start it: %s", err.text);
    engine_event(e, task, WORKLOAD_REFUSED, &outcome);
}

static void flush(struct engine *e) {
    struct err err = {0};
    if (e->fatal_told) return;
    if (!queue_empty(&e->to_start)) {
        if (journal_sync(e->store->journal, &err) != 0) {
            engine_fatal(e, &err);
            return;
        }
        e->stats.flushes++;
        while (!queue_empty(&e->to_start)) {
            struct hosted *task = QUEUE_ENTRY(e->to_start.next, struct hosted, in_start);
            queue_remove(&task->in_start);
            task_start(e, task);
        }
    } else if (journal_pending(e->store->journal) > JOURNAL_LAZY_MAX && journal_sync(e->store->journal, &err) != 0) {
        engine_fatal(e, &err);
        return;
    }
    engine_pump(e);
}

static void flush_check_cb(uv_check_t *check) {
    struct engine *e = check->data;
    if (!e->flush_wanted) return;
    e->flush_wanted = false;
    flush(e);
}

static void up_cb(void *ctx, struct hosted *task) {
    struct engine *e = ctx;
    struct workload_outcome outcome = {0};
    if (!task_dir_started(e->store->work_fd, task->path, &outcome.pid, &outcome.at_ms)) return;
    if (task->ordered_us) {
        uint64_t us = clock_mono_us() - task->ordered_us;
        e->stats.start_us_total += us;
        e->stats.start_n++;
        if (us > e->stats.start_us_max) e->stats.start_us_max = us;
    }
    engine_event(e, task, WORKLOAD_UP, &outcome);
}

void engine_shim_gone(struct engine *e, struct hosted *task) {
    struct exit_record record;
    struct err err = {0};
    struct workload_outcome outcome = {0};
    if (task_dir_exit(e->store->work_fd, task->path, &record, &err) == 0) {
        outcome.exit = record.kind;
        outcome.code = record.code;
        outcome.oom = record.oom;
        memcpy(outcome.text, record.text, sizeof outcome.text);
        if (task->workload.pid == 0) {
            uint64_t at_ms;
            (void)task_dir_started(e->store->work_fd, task->path, &task->workload.pid, &at_ms);
        }
        engine_event(e, task, WORKLOAD_EXITED, &outcome);
        return;
    }
    log_event(LOG_ERROR, "shim_lost", "task=%s %s", task->key.task_id, err.text);
    engine_event(e, task, WORKLOAD_SHIM_LOST, &outcome);
}

static void gone_cb(void *ctx, struct hosted *task) {
    struct engine *e = ctx;
    struct err err = {0};
    /* Another shim may have won the folder (spawned by an agent that died): then that one is the task's. */
    if (task->workload.state == WORKLOAD_STARTING && runner_adopt(e->runner, task, false, &err) == 0) return;
    engine_shim_gone(e, task);
}

void engine_kill(struct engine *e, const struct launch_key *key, uint64_t grace_ms) {
    struct hosted *task = task_table_find(e->tasks, key);
    struct err err = {0};
    if (!task) {
        /* Not known: whatever brought this order here, that launch must never start, not even if its own order comes
         * later. Known as over: the leader has not heard; it is told again. */
        const struct journal_entry *entry = journal_find(e->store->journal, key);
        if (entry && entry->settled) {
            (void)engine_task_ended(e, key, entry->state, REASON_NONE, entry->uuid, "This launch has ended before");
            return;
        }
        uint8_t uuid[16];
        random_bytes(uuid, sizeof uuid);
        if (journal_settle(e->store->journal, key, TASK_KILLED, uuid) || journal_sync(e->store->journal, &err)) {
            engine_fatal(e, &err);
            return;
        }
        (void)engine_task_ended(e, key, TASK_KILLED, REASON_KILLED_DURING_LAUNCH, uuid, "Killed before it was started");
        return;
    }
    const struct workload *w = &task->workload;
    if (w->state == WORKLOAD_ENDED) {
        engine_send_soon(e, task);
        return;
    }
    struct workload_outcome outcome = {
        .cause = KILL_ORDER, .at_ms = clock_mono_ms(), .grace_ms = supervisor_grace(grace_ms, task->grace_ms)};
    if (w->kill == KILL_NONE && task->path) {
        const struct kill_note note = {KILL_ORDER, outcome.at_ms, outcome.grace_ms};
        if (task_dir_kill_write(e->store->work_fd, task->path, &note, &err) != 0)
            log_event(LOG_WARN, "kill_not_kept", "task=%s %s", key->task_id, err.text);
    }
    engine_event(e, task, WORKLOAD_KILL, &outcome);
}

void engine_forget(struct engine *e, struct hosted *task) {
    const struct update *last = &task->updates.acked;
    if (journal_settle(e->store->journal, &task->key, last->state, last->uuid) != 0)
        log_event(LOG_WARN, "journal_full", "task=%s", task->key.task_id);
    e->flush_wanted = true;
    if (task->path) engine_keep(e, &task->key, task->path, clock_wall_ms());
    task_table_remove(e->tasks, task);
}

/* Takes the head off, also on disk. A note that is lost costs one more report. */
static bool ack_take(struct engine *e, struct hosted *task, const uint8_t uuid[16]) {
    struct err err = {0};
    if (!updates_ack(&task->updates, uuid)) return false;
    e->stats.acks++;
    task->sends = 0;
    if (task->path && task_dir_update_ack(e->store->work_fd, task->path, uuid, &err) != 0)
        log_event(LOG_WARN, "ack_not_kept", "task=%s %s", task->key.task_id, err.text);
    return true;
}

void engine_ack(struct engine *e, const struct launch_key *key, const uint8_t uuid[16]) {
    static const uint8_t everything[16];
    struct hosted *task = task_table_find(e->tasks, key);
    const struct update *head;
    if (!task) return;
    if (task->workload.state == WORKLOAD_ENDED && memcmp(uuid, everything, sizeof everything) == 0) {
        while ((head = updates_head(&task->updates)) != NULL) {
            uint8_t each[16];
            memcpy(each, head->uuid, sizeof each);
            (void)ack_take(e, task, each);
        }
    } else if (!ack_take(e, task, uuid)) {
        return; /* an old answer */
    }
    if (updates_settled(&task->updates))
        engine_forget(e, task);
    else
        engine_send_soon(e, task);
}

bool engine_task_busy(const struct hosted *task) {
    return updates_head(&task->updates) || !task->updates.has_acked;
}

uint32_t engine_task_state(const struct hosted *task) {
    return task->updates.latest;
}

struct hash128 engine_digest(const struct engine *e) {
    struct hash128 sum = {0, 0};
    for (const struct hosted *t = task_table_next(e->tasks, NULL); t; t = task_table_next(e->tasks, t))
        if (!engine_task_busy(t))
            sum = hash128_add(sum,
                              task_digest(t->key.framework_id, t->key.task_id, t->key.launch, t->updates.acked.state));
    return sum;
}

const struct task_table *engine_tasks(const struct engine *e) {
    return e->tasks;
}

const struct engine_stats *engine_stats(const struct engine *e) {
    return &e->stats;
}

int engine_open(const struct engine_options *options, struct engine **ret, struct err *err) {
    struct engine *e = calloc(1, sizeof *e);
    if (!e) return err_set(err, ERR_NOMEM, "no memory");
    e->options = *options;
    e->store = options->store;
    queue_init(&e->to_start);
    queue_init(&e->to_send);
    queue_init(&e->due);
    e->tasks = task_table_new();
    const struct runner_callbacks callbacks = {up_cb, gone_cb};
    int rc = e->tasks ? runner_open(options->loop, e->store->work_fd, e->store->work, &callbacks, e, &e->runner, err)
                      : err_set(err, ERR_NOMEM, "no memory");
    if (rc) {
        task_table_free(e->tasks);
        free(e);
        return rc;
    }
    (void)uv_check_init(options->loop, &e->flush_check);
    (void)uv_timer_init(options->loop, &e->due_timer);
    (void)uv_timer_init(options->loop, &e->second_timer);
    e->flush_check.data = e->due_timer.data = e->second_timer.data = e;
    (void)uv_check_start(&e->flush_check, flush_check_cb);
    (void)uv_timer_start(&e->second_timer, second_timer_cb, 1000, 1000);
    rc = engine_recover(e, err);
    if (rc == 0 && e->fatal_told) rc = err_set(err, ERR_IO, "the disk failed while tasks were taken back");
    if (rc) engine_close(e);
    *ret = e;
    return rc;
}

void engine_close(struct engine *e) {
    struct err err = {0};
    CHECK(!e->closing);
    e->closing = true;
    if (!e->fatal_told && journal_sync(e->store->journal, &err) != 0)
        log_event(LOG_WARN, "journal_sync", "%s", err.text); /* settled records only: they are found again */
    runner_close(e->runner);
    uv_close((uv_handle_t *)&e->flush_check, NULL);
    uv_close((uv_handle_t *)&e->due_timer, NULL);
    uv_close((uv_handle_t *)&e->second_timer, NULL);
}

void engine_free(struct engine *e) {
    CHECK(e->closing && !e->keep_working);
    runner_free(e->runner);
    task_table_free(e->tasks);
    free(e);
}
