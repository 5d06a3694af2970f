/* SPDX-License-Identifier: Apache-2.0
 * Properties over seeded random messages of the whole interface. A failure prints its seed. */
#include "../lib/cmocka_all.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "mesos/v1/agent.pb-c.h"
#include "mesos/v1/executor.pb-c.h"
#include "mesos/v1/master.pb-c.h"
#include "mesos/v1/scheduler.pb-c.h"
#include "wire/json.h"
#include "wire/protobuf.h"
#include "wire_random.h"

#define ARENA_MAX ((size_t)64 << 20)
#define BYTES_MAX ((size_t)64 << 20)
#define SEEDS     4000

static const ProtobufCMessageDescriptor *const types[] = {
    &mesos__v1__scheduler__call__descriptor, &mesos__v1__scheduler__event__descriptor,
    &mesos__v1__executor__call__descriptor,  &mesos__v1__executor__event__descriptor,
    &mesos__v1__master__call__descriptor,    &mesos__v1__master__response__descriptor,
    &mesos__v1__master__event__descriptor,   &mesos__v1__agent__response__descriptor,
    &mesos__v1__task_info__descriptor,       &mesos__v1__resource__descriptor,
};

struct trip {
    struct arena arena;
    struct buf wire;
    struct buf text;
    struct buf again;
    ProtobufCMessage *m;
};

static void trip_begin(struct trip *t, uint64_t seed) {
    struct rng rng;
    rng_seed(&rng, seed);
    arena_init(&t->arena, ARENA_MAX);
    buf_init(&t->wire, BYTES_MAX);
    buf_init(&t->text, BYTES_MAX);
    buf_init(&t->again, BYTES_MAX);
    t->m = random_message(&rng, types[seed % (sizeof types / sizeof types[0])], &t->arena, 0);
    assert_int_equal(protobuf_print(t->m, &t->wire), 0);
}

static void trip_end(struct trip *t) {
    buf_done(&t->wire);
    buf_done(&t->text);
    buf_done(&t->again);
    arena_done(&t->arena);
}

static void assert_same(uint64_t seed, const struct buf *a, const struct buf *b) {
    if (a->len != b->len || (a->len > 0 && memcmp(a->data, b->data, a->len) != 0))
        fail_msg("seed %" PRIu64 ": %zu bytes became %zu others", seed, a->len, b->len);
}

static void a_message_survives_json_and_back(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct trip t;
        struct err err;
        ProtobufCMessage *back;
        trip_begin(&t, seed);
        assert_int_equal(json_print(t.m, JSON_ONLY_SET, &t.text), 0);
        int rc = json_parse(t.m->descriptor, t.text.data, t.text.len, &t.arena, &back, &err);
        if (rc) fail_msg("seed %" PRIu64 ": %s", seed, err.text);
        assert_int_equal(protobuf_print(back, &t.again), 0);
        assert_same(seed, &t.wire, &t.again);
        trip_end(&t);
    }
}

static void a_message_survives_protobuf_and_back(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct trip t;
        struct err err;
        ProtobufCMessage *back;
        trip_begin(&t, seed);
        int rc =
            protobuf_parse(t.m->descriptor, t.wire.data, t.wire.len, PROTOBUF_REFUSE_UNKNOWN, &t.arena, &back, &err);
        if (rc) fail_msg("seed %" PRIu64 ": %s", seed, err.text);
        assert_false(protobuf_has_unknown(back));
        assert_int_equal(json_print(t.m, 0, &t.text), 0);
        assert_int_equal(json_print(back, 0, &t.again), 0);
        assert_same(seed, &t.text, &t.again);
        trip_end(&t);
    }
}

static void json_is_one_line_of_ascii(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct trip t;
        trip_begin(&t, seed);
        assert_int_equal(json_print(t.m, 0, &t.text), 0);
        for (size_t i = 0; i < t.text.len; i++)
            if (t.text.data[i] < 0x20 || t.text.data[i] > 0x7F) fail_msg("seed %" PRIu64 ", byte %zu", seed, i);
        trip_end(&t);
    }
}

static void printing_into_a_full_buffer_appends_nothing(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct trip t;
        trip_begin(&t, seed);
        assert_int_equal(json_print(t.m, 0, &t.text), 0);
        struct buf small;
        buf_init(&small, t.text.len - 1);
        assert_true(json_print(t.m, 0, &small) < 0);
        assert_int_equal(small.len, 0);
        buf_done(&small);
        trip_end(&t);
    }
}

/* Damage to one byte may be refused or read as something else; it must not crash, and never yields a message that
 * cannot be printed again. */
static void damaged_bytes_are_refused_or_read_but_never_crash(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct trip t;
        struct rng rng;
        ProtobufCMessage *back;
        trip_begin(&t, seed);
        rng_seed(&rng, seed);
        assert_int_equal(json_print(t.m, 0, &t.text), 0);
        for (int i = 0; i < 8; i++) {
            struct buf *b = i % 2 ? &t.wire : &t.text;
            if (b->len == 0) continue;
            uint8_t *byte = &b->data[rng_below(&rng, b->len)], old = *byte;
            *byte = (uint8_t)rng_next(&rng);
            int rc = i % 2 ? protobuf_parse(t.m->descriptor, b->data, b->len, 0, &t.arena, &back, NULL)
                           : json_parse(t.m->descriptor, b->data, b->len, &t.arena, &back, NULL);
            buf_clear(&t.again);
            if (rc == 0) assert_int_equal(protobuf_print(back, &t.again), 0);
            *byte = old;
        }
        trip_end(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_survives_json_and_back),
        cmocka_unit_test(a_message_survives_protobuf_and_back),
        cmocka_unit_test(json_is_one_line_of_ascii),
        cmocka_unit_test(printing_into_a_full_buffer_appends_nothing),
        cmocka_unit_test(damaged_bytes_are_refused_or_read_but_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
