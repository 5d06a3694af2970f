/* SPDX-License-Identifier: Apache-2.0
 * A snapshot holds every field of every record: compared one by one, since a field left out of the encoding is left out
 * of the hash too and no hash would show it. */
#include "../lib/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "command_random.h"
#include "conclave/snapshot.pb-c.h"
#include "scheduler/snapshot.h"
#include "state_world.h"

static uint32_t below(void *ctx, uint32_t n) {
    return (uint32_t)rng_below(ctx, n);
}

static void bytes_equal(struct bytes a, struct bytes b) {
    assert_int_equal(a.len, b.len);
    if (a.len > 0) assert_memory_equal(a.data, b.data, a.len);
}

static void agent_equal(const struct agent *a, const struct agent *b) {
    assert_int_equal(a->number, b->number);
    assert_int_equal(a->status, b->status);
    assert_string_equal(a->id, b->id);
    assert_string_equal(a->hostname, b->hostname);
    assert_string_equal(a->http, b->http);
    assert_string_equal(a->version, b->version);
    assert_string_equal(a->boot_id, b->boot_id);
    assert_memory_equal(a->uuid, b->uuid, 16);
    assert_true(resources_equal(&a->total, &b->total));
    assert_true(resources_equal(&a->used, &b->used));
    bytes_equal(a->info, b->info);
    assert_int_equal(a->registered_wall_ms, b->registered_wall_ms);
    assert_int_equal(a->since, b->since);
    assert_int_equal(a->task_count, b->task_count);
    assert_int_equal(a->port_ranges, b->port_ranges);
}

static void framework_equal(const struct framework *a, const struct framework *b) {
    assert_int_equal(a->number, b->number);
    assert_int_equal(a->status, b->status);
    assert_string_equal(a->id, b->id);
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->user, b->user);
    assert_string_equal(a->principal, b->principal);
    assert_int_equal(a->role_count, b->role_count);
    for (uint32_t i = 0; i < a->role_count; i++)
        assert_string_equal(a->roles[i], b->roles[i]);
    assert_int_equal(a->suppressed, b->suppressed);
    assert_int_equal(a->capabilities, b->capabilities);
    assert_int_equal(a->failover_timeout_ms, b->failover_timeout_ms);
    bytes_equal(a->info, b->info);
    assert_int_equal(a->subscribed, b->subscribed);
    assert_int_equal(a->since, b->since);
    assert_int_equal(a->since_cluster_ms, b->since_cluster_ms);
    assert_int_equal(a->registered_wall_ms, b->registered_wall_ms);
    assert_int_equal(a->changed_wall_ms, b->changed_wall_ms);
    assert_int_equal(a->removed_seq, b->removed_seq);
    assert_true(resources_equal(&a->used, &b->used));
    assert_int_equal(a->task_count, b->task_count);
}

static void task_equal(const struct state *of_a, const struct task *a, const struct state *of_b, const struct task *b) {
    struct resources taken_a = task_resources(a), taken_b = task_resources(b);
    assert_int_equal(a->number, b->number);
    assert_int_equal(a->framework, b->framework);
    assert_int_equal(a->agent, b->agent);
    assert_string_equal(a->id, b->id);
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->launch.index, b->launch.index);
    assert_int_equal(a->launch.n, b->launch.n);
    assert_int_equal(a->launch.k, b->launch.k);
    assert_int_equal(a->state, b->state);
    assert_int_equal(a->latest_state, b->latest_state);
    assert_int_equal(a->confirmed, b->confirmed);
    assert_int_equal(a->holds, b->holds);
    assert_int_equal(a->kill_wanted, b->kill_wanted);
    assert_int_equal(a->completed, b->completed);
    assert_true(task_kill_grace_ms(a) == task_kill_grace_ms(b));
    assert_int_equal(a->unacked, b->unacked);
    assert_int_equal(a->has_uuid, b->has_uuid);
    assert_memory_equal(a->uuid, b->uuid, 16);
    assert_int_equal(task_has_status(a), task_has_status(b));
    bytes_equal(task_status(of_a, a), task_status(of_b, b));
    assert_int_equal(a->mesos_reason, b->mesos_reason);
    assert_int_equal(a->message != NULL, b->message != NULL);
    if (a->message) assert_string_equal(a->message, b->message);
    bytes_equal(task_info(a), task_info(b));
    bytes_equal(task_view(a), task_view(b));
    assert_true(resources_equal(&taken_a, &taken_b));
    assert_int_equal(a->created_wall_ms, b->created_wall_ms);
    assert_int_equal(a->changed_wall_ms, b->changed_wall_ms);
    assert_int_equal(a->started_wall_ms, b->started_wall_ms);
    assert_int_equal(task_completed_seq(a), task_completed_seq(b));
}

static void globals_equal(const struct state *a, const struct state *b) {
    struct state_counts x, y;
    const struct leader_record *l = state_leader(a), *m = state_leader(b);
    assert_int_equal(state_applied_index(a), state_applied_index(b));
    assert_int_equal(state_cluster_ms(a), state_cluster_ms(b));
    assert_int_equal(state_incarnation(a), state_incarnation(b));
    assert_memory_equal(state_cluster_id(a), state_cluster_id(b), 16);
    assert_string_equal(state_cluster_name(a), state_cluster_name(b));
    assert_true(l->index == m->index && l->term == m->term && l->node == m->node);
    assert_true(l->cluster_ms == m->cluster_ms && l->wall_ms == m->wall_ms);
    assert_string_equal(l->http, m->http);
    assert_string_equal(l->link, m->link);
    assert_string_equal(l->version, m->version);
    const struct config_record *c = state_config(a), *d = state_config(b);
    assert_true(c->set == d->set && c->level == d->level && c->agent_timeout_ms == d->agent_timeout_ms);
    assert_true(c->framework_reregister_timeout_ms == d->framework_reregister_timeout_ms);
    assert_true(c->history_tasks == d->history_tasks && c->history_frameworks == d->history_frameworks);
    state_counts(a, &x);
    state_counts(b, &y);
    assert_true(x.agents_active == y.agents_active && x.agents_unreachable == y.agents_unreachable);
    assert_true(x.agents_gone == y.agents_gone && x.tasks_live == y.tasks_live);
    assert_true(x.frameworks_connected == y.frameworks_connected && x.tasks_completed == y.tasks_completed);
    assert_true(x.frameworks_disconnected == y.frameworks_disconnected);
    assert_memory_equal(x.tasks_ever, y.tasks_ever, sizeof x.tasks_ever);
    assert_memory_equal(x.tasks_now, y.tasks_now, sizeof x.tasks_now);
}

static void states_equal(const struct state *a, const struct state *b) {
    globals_equal(a, b);
    const struct agent *p = state_agent_next(a, 0), *q = state_agent_next(b, 0);
    for (; p && q; p = state_agent_next(a, p->number), q = state_agent_next(b, q->number))
        agent_equal(p, q);
    assert_true(!p && !q);
    const struct framework *f = state_framework_next(a, 0), *g = state_framework_next(b, 0);
    for (; f && g; f = state_framework_next(a, f->number), g = state_framework_next(b, g->number))
        framework_equal(f, g);
    assert_true(!f && !g);
    const struct task *t = state_task_next(a, 0), *u = state_task_next(b, 0);
    for (; t && u; t = state_task_next(a, t->number), u = state_task_next(b, u->number))
        task_equal(a, t, b, u);
    assert_true(!t && !u);
}

static void copy_equal(const struct state *state) {
    struct buf bytes;
    struct err err = {0};
    struct state *copy = state_new();
    buf_init(&bytes, 16u << 20);
    assert_int_equal(state_snapshot(state, &bytes), 0);
    if (state_restore(copy, bytes.data, bytes.len, &err)) fail_msg("%s", err.text);
    states_equal(state, copy);
    buf_done(&bytes);
    state_free(copy);
}

static void every_field_of_every_record_comes_back(void **unused) {
    (void)unused;
    struct rng rng;
    struct world w;
    struct draw draw = {.below = below, .ctx = &rng, .cluster_ms = 1000};
    rng_seed(&rng, 11);
    world_open(&w);
    w.checked = false;
    copy_equal(w.state); /* also of nothing at all */
    for (int step = 0; step < 20000; step++) {
        world_apply(&w, command_random(&draw, w.state));
        if (step % 50 == 0) copy_equal(w.state);
    }
    world_close(&w);
}

static void a_restore_replaces_what_was_there(void **unused) {
    (void)unused;
    struct world w;
    struct buf empty;
    world_start(&w);
    buf_init(&empty, 4096);
    struct state *fresh = state_new();
    struct hash128 hash = state_hash(fresh);
    assert_int_equal(state_snapshot(fresh, &empty), 0);
    world_running(&w, world_framework(&w, 0, 0), world_agent(&w, 1), "t");
    assert_int_equal(state_restore(w.state, empty.data, empty.len, &w.err), 0);
    assert_true(hash128_equal(state_hash(w.state), hash));
    assert_null(state_task_next(w.state, 0));
    assert_int_equal(world_apply(&w, make_leader(1, WORLD_CLUSTER)), OUTCOME_OK); /* and it goes on */
    state_free(fresh);
    buf_done(&empty);
    world_close(&w);
}

static void a_snapshot_that_does_not_fit_its_buffer_says_so(void **unused) {
    (void)unused;
    struct world w;
    struct buf small;
    world_start(&w);
    buf_init(&small, 40);
    assert_int_equal(state_snapshot(w.state, &small), ERR_LIMIT);
    buf_done(&small);
    world_close(&w);
}

/* ---- records that are messages and no tasks ---- */

static const char *confirmed_and_launching(Conclave__Snapshot__Task *m) {
    m->info = m->view;
    return "yet launching";
}

static const char *status_without_report(Conclave__Snapshot__Task *m) {
    m->flags &= ~1u;
    return "a status without";
}

static const char *completed_with_grace(Conclave__Snapshot__Task *m) {
    m->completed_seq = 1;
    m->has_kill_grace_ms = 1;
    m->kill_grace_ms = 5;
    return "grace";
}

static const char *grace_that_is_none(Conclave__Snapshot__Task *m) {
    m->has_kill_grace_ms = 1;
    m->kill_grace_ms = STATE_GRACE_DEFAULT;
    return "grace";
}

static const char *short_uuid(Conclave__Snapshot__Task *m) {
    m->uuid.len = 15;
    return "uuid";
}

static const char *flag_that_is_none(Conclave__Snapshot__Task *m) {
    m->flags |= 16;
    return "flags";
}

static const char *state_that_is_none(Conclave__Snapshot__Task *m) {
    m->latest_state = 256 + TASK_RUNNING;
    return "state";
}

static const char *reason_that_is_none(Conclave__Snapshot__Task *m) {
    m->has_mesos_reason = 1;
    m->mesos_reason = 65536;
    return "reason";
}

static const char *too_much(Conclave__Snapshot__Task *m) {
    m->mem = (uint64_t)RESOURCES_MILLI_MAX + 1;
    return "resources";
}

static const char *sound(Conclave__Snapshot__Task *m) {
    (void)m;
    return NULL;
}

/* The snapshot with its one task changed; returns what the error has to say, NULL: none. */
static const char *change_task(const struct buf *from, const char *(*change)(Conclave__Snapshot__Task *),
                               struct buf *ret) {
    const char *says = NULL;
    size_t at = SNAPSHOT_MAGIC_BYTES, n;
    buf_append(ret, from->data, at);
    for (; at < from->len; at += n) {
        size_t len = load_u32(from->data + at + 1);
        n = SNAPSHOT_RECORD_BYTES + len;
        if (from->data[at] != STATE_RECORD_TASK) {
            buf_append(ret, from->data + at, n);
            continue;
        }
        Conclave__Snapshot__Task *m =
            conclave__snapshot__task__unpack(NULL, len, from->data + at + SNAPSHOT_RECORD_BYTES);
        Conclave__Snapshot__Task changed = *m;
        uint8_t packed[4096];
        says = change(&changed);
        size_t made = conclave__snapshot__task__pack(&changed, packed);
        buf_append_byte(ret, STATE_RECORD_TASK);
        buf_append_u32(ret, (uint32_t)made);
        buf_append(ret, packed, made);
        conclave__snapshot__task__free_unpacked(m, NULL);
    }
    return says;
}

static void a_record_that_no_task_can_be_is_refused(void **unused) {
    (void)unused;
    const char *(*const changes[])(Conclave__Snapshot__Task *) = {
        sound,      confirmed_and_launching, status_without_report, completed_with_grace, grace_that_is_none,
        short_uuid, flag_that_is_none,       state_that_is_none,    reason_that_is_none,  too_much};
    struct world w;
    struct buf bytes, changed;
    world_start(&w);
    world_running(&w, world_framework(&w, 0, 0), world_agent(&w, 1), "t");
    buf_init(&bytes, 1u << 20);
    buf_init(&changed, 1u << 20);
    assert_int_equal(state_snapshot(w.state, &bytes), 0);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct state *copy = state_new();
        buf_clear(&changed);
        const char *says = change_task(&bytes, changes[i], &changed);
        int rc = state_restore(copy, changed.data, changed.len, &w.err);
        assert_int_equal(rc, says ? ERR_CORRUPT : 0);
        if (says && !strstr(w.err.text, says)) fail_msg("%s: not about %s", w.err.text, says);
        assert_int_equal(state_task_next(copy, 0) != NULL, !says);
        state_free(copy);
    }
    buf_done(&changed);
    buf_done(&bytes);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_that_no_task_can_be_is_refused),
        cmocka_unit_test(every_field_of_every_record_comes_back),
        cmocka_unit_test(a_restore_replaces_what_was_there),
        cmocka_unit_test(a_snapshot_that_does_not_fit_its_buffer_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
