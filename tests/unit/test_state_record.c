/* SPDX-License-Identifier: Apache-2.0
 * The record of a task is written by hand; here protobuf-c writes the same one, field by field, for every task of many
 * random states, and the bytes must agree: they are what is hashed and what stands in a snapshot. */
#include "../lib/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "command_random.h"
#include "conclave/snapshot.pb-c.h"
#include "scheduler/state_private.h"
#include "state_world.h"

static ProtobufCBinaryData whole(const struct bytes *bytes) {
    return (ProtobufCBinaryData){.len = bytes->len, .data = bytes->data};
}

static ProtobufCBinaryData digest(const struct bytes *bytes, uint8_t room[16]) {
    if (bytes->len == 0) return whole(bytes);
    struct hash128 hash = hash128_of(bytes->data, bytes->len);
    store_u64(room, hash.lo);
    store_u64(room + 8, hash.hi);
    return (ProtobufCBinaryData){.len = 16, .data = room};
}

static size_t reference(const struct state *state, const struct task *t, bool hashed, uint8_t *ret, size_t size) {
    Conclave__Snapshot__Task r = CONCLAVE__SNAPSHOT__TASK__INIT;
    uint32_t ends[2 * PORTS_RANGES_MAX];
    uint8_t rooms[3][16];
    r.number = t->number;
    r.framework = t->framework;
    r.agent = t->agent;
    r.id = t->id;
    r.name = t->name;
    r.launch_index = t->launch.index;
    r.launch_n = t->launch.n;
    r.launch_k = t->launch.k;
    r.state = t->state;
    r.latest_state = t->latest_state;
    r.flags = (t->confirmed ? 1 : 0) + (t->holds ? 2 : 0) + (t->kill_wanted ? 4 : 0) + (t->unacked ? 8 : 0);
    r.has_kill_grace_ms = task_kill_grace_ms(t) != STATE_GRACE_DEFAULT;
    r.kill_grace_ms = task_kill_grace_ms(t);
    r.has_uuid = t->has_uuid;
    r.uuid = (ProtobufCBinaryData){.len = 16, .data = (uint8_t *)t->uuid};
    r.has_mesos_reason = t->mesos_reason != MESOS_REASON_NONE;
    r.mesos_reason = (uint32_t)t->mesos_reason;
    r.message = t->message;
    struct bytes sent = task_status(state, t), info = task_info(t), view = task_view(t);
    struct resources taken = task_resources(t);
    r.status = hashed ? digest(&sent, rooms[0]) : whole(&sent);
    r.info = hashed ? digest(&info, rooms[1]) : whole(&info);
    r.view = hashed ? digest(&view, rooms[2]) : whole(&view);
    r.cpus = (uint64_t)taken.cpus;
    r.mem = (uint64_t)taken.mem;
    r.disk = (uint64_t)taken.disk;
    r.gpus = (uint64_t)taken.gpus;
    r.ports = ends;
    for (uint32_t i = 0; i < taken.ports.count; i++) {
        ends[r.n_ports++] = taken.ports.ranges[i].begin;
        ends[r.n_ports++] = taken.ports.ranges[i].end;
    }
    r.created_wall_ms = t->created_wall_ms;
    r.changed_wall_ms = t->changed_wall_ms;
    r.started_wall_ms = t->started_wall_ms;
    r.completed_seq = task_completed_seq(t);
    assert_true(conclave__snapshot__task__get_packed_size(&r) <= size);
    return conclave__snapshot__task__pack(&r, ret);
}

static struct { unsigned tasks, message, reason, uuid, grace, ports, view, info, status; } met;

static void compare(const struct state *state, const struct task *t) {
    static uint8_t theirs[300000];
    for (int hashed = 0; hashed < 2; hashed++) {
        size_t expected = reference(state, t, hashed, theirs, sizeof theirs);
        assert_int_equal(record_of_task(state, t, hashed), expected);
        assert_memory_equal(state->scratch->data, theirs, expected);
    }
    met.tasks++;
    met.message += t->message != NULL;
    met.reason += t->mesos_reason != MESOS_REASON_NONE;
    met.uuid += t->has_uuid;
    met.grace += task_kill_grace_ms(t) != STATE_GRACE_DEFAULT;
    met.ports += task_resources(t).ports.count > 0;
    met.view += task_view(t).len > 0;
    met.info += task_info(t).len > 0;
    met.status += task_has_status(t);
}

static uint32_t below(void *ctx, uint32_t n) {
    return (uint32_t)rng_below(ctx, n);
}

static void the_record_of_a_task_is_what_protobuf_writes(void **unused) {
    (void)unused;
    struct rng rng;
    struct world w;
    struct draw draw = {.below = below, .ctx = &rng, .cluster_ms = 1000};
    rng_seed(&rng, 7);
    world_open(&w);
    w.checked = false;
    for (int step = 0; step < 20000; step++) {
        assert_int_equal(world_try(&w, command_random(&draw, w.state)), 0);
        const struct task *t = NULL;
        while (step % 20 == 0 && (t = state_task_next(w.state, t ? t->number : 0)))
            compare(w.state, t);
    }
    print_message("    %u tasks; with message %u reason %u uuid %u grace %u ports %u view %u info %u status %u\n",
                  met.tasks, met.message, met.reason, met.uuid, met.grace, met.ports, met.view, met.info, met.status);
    assert_true(met.tasks > 1000); /* and each optional field was there and was not, but for the view: below */
    const unsigned *fields = &met.message;
    for (size_t i = 0; i < sizeof met / sizeof met.tasks - 1; i++)
        assert_true(fields[i] > 0 && (fields[i] < met.tasks || &fields[i] == &met.view));
    world_close(&w);
}

static void the_longest_numbers_fit(void **unused) {
    (void)unused;
    struct world w;
    world_start(&w);
    uint32_t framework = world_framework(&w, 0, 0), agent = world_agent(&w, 1);
    struct task t = *world_running(&w, framework, agent, "t");
    t.number = t.launch.index = t.grace_or_seq = t.created_wall_ms = t.changed_wall_ms = UINT64_MAX - 1;
    t.started_wall_ms = UINT64_MAX;
    t.framework = t.agent = t.launch.n = t.launch.k = UINT32_MAX;
    t.state = t.latest_state = UINT8_MAX;
    t.mesos_reason = -5;
    struct port_range ranges[PORTS_RANGES_MAX];
    struct resources most = {.cpus = -1, .mem = -1, .disk = -1, .gpus = -1};
    most.ports = (struct ports){.ranges = ranges, .count = PORTS_RANGES_MAX};
    for (uint32_t i = 0; i < PORTS_RANGES_MAX; i++)
        ranges[i].begin = ranges[i].end = (uint16_t)(65535 - i);
    t.id = NULL;
    task_launch_set(w.state, &t, "t", &most);
    struct resources back = task_resources(&t);
    assert_true(resources_equal(&back, &most));
    compare(w.state, &t);
    t.view = NULL;
    compare(w.state, &t);
    t.completed = true;
    t.grace_or_seq = UINT64_MAX;
    compare(w.state, &t);
    struct task owned = {.id = t.id};
    task_done(w.state, &owned);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_record_of_a_task_is_what_protobuf_writes),
        cmocka_unit_test(the_longest_numbers_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
