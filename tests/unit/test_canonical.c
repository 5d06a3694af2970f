/* SPDX-License-Identifier: Apache-2.0
 * The codecs written by hand: the same bytes as protobuf-c where it matters, and no byte more is taken. The fuzz target
 * fuzz_canonical compares them on every other input. */
#include "../lib/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "scheduler/command.h"
#include "wire/report.h"

static char texts[4][400];
static uint8_t status[70000];
static const uint8_t uuid[16] = "0123456789abcdef";

/* Numbers around every change of a varint's length, and the largest. */
static uint64_t number(struct rng *rng, unsigned bits) {
    unsigned shift = (unsigned)rng_below(rng, bits + 1);
    uint64_t value = shift >= 64 ? 0 : UINT64_C(1) << shift;
    value = value - 1 + rng_below(rng, 3);
    return bits == 32 ? (uint32_t)value : value;
}

static char *text(struct rng *rng, char room[400]) {
    static const size_t lengths[] = {0, 1, 15, 38, 127, 128, 254, 255};
    size_t len = lengths[rng_below(rng, 8)];
    memset(room, 'a' + (int)rng_below(rng, 26), len);
    room[len] = '\0';
    return room;
}

static size_t blob_length(struct rng *rng) {
    static const size_t lengths[] = {0, 1, 100, 127, 128, 256, 16383, 16384, 65536};
    return lengths[rng_below(rng, 9)];
}

static Conclave__Link__Report report_random(struct rng *rng, Conclave__Log__LaunchId *launch) {
    Conclave__Link__Report r = CONCLAVE__LINK__REPORT__INIT;
    *launch = (Conclave__Log__LaunchId)CONCLAVE__LOG__LAUNCH_ID__INIT;
    launch->index = number(rng, 64);
    launch->n = (uint32_t)number(rng, 32);
    launch->k = (uint32_t)number(rng, 32);
    r.framework_id = text(rng, texts[0]);
    r.task_id = text(rng, texts[1]);
    r.launch = launch;
    r.state = (uint32_t)number(rng, 32);
    r.latest_state = (uint32_t)number(rng, 32);
    r.uuid = (ProtobufCBinaryData){.data = (uint8_t *)uuid, .len = 16 * rng_below(rng, 2)};
    r.status = (ProtobufCBinaryData){.data = status, .len = blob_length(rng)};
    r.has_want_committed = (protobuf_c_boolean)rng_below(rng, 2);
    r.want_committed = (protobuf_c_boolean)rng_below(rng, 2);
    return r;
}

static void a_report_is_written_as_protobuf_writes_it_and_read_back(void **state) {
    (void)state;
    struct rng rng;
    struct buf ours, theirs;
    static struct report_room room;
    rng_seed(&rng, 1);
    buf_init(&ours, 1 << 20);
    buf_init(&theirs, 1 << 20);
    for (int i = 0; i < 2000; i++) {
        Conclave__Log__LaunchId launch;
        Conclave__Link__Report r = report_random(&rng, &launch);
        buf_clear(&ours);
        buf_clear(&theirs);
        assert_int_equal(report_encode(&r, &ours), 0);
        theirs.len = conclave__link__report__pack(&r, buf_reserve(&theirs, 80000));
        assert_int_equal(ours.len, theirs.len);
        assert_memory_equal(ours.data, theirs.data, ours.len);
        const Conclave__Link__Report *back = report_decode(&room, ours.data, ours.len);
        assert_non_null(back);
        assert_string_equal(back->framework_id, r.framework_id);
        assert_string_equal(back->task_id, r.task_id);
        assert_int_equal(back->launch->index, launch.index);
        assert_int_equal(back->launch->n, launch.n);
        assert_int_equal(back->launch->k, launch.k);
        assert_int_equal(back->state, r.state);
        assert_int_equal(back->latest_state, r.latest_state);
        assert_int_equal(back->status.len, r.status.len);
        assert_int_equal(back->uuid.len, r.uuid.len);
        assert_int_equal(back->has_want_committed, r.has_want_committed);
        if (r.has_want_committed) assert_int_equal(back->want_committed, r.want_committed);
    }
    buf_done(&ours);
    buf_done(&theirs);
}

static void command_random(struct rng *rng, Conclave__Log__Command *c, struct command_room *room) {
    *c = (Conclave__Log__Command)CONCLAVE__LOG__COMMAND__INIT;
    c->cluster_ms = number(rng, 64);
    c->wall_ms = number(rng, 64);
    c->has_request_id = (protobuf_c_boolean)rng_below(rng, 2);
    c->request_id = number(rng, 64);
    if (rng_below(rng, 2)) {
        Conclave__Link__Report r = report_random(rng, &room->launch);
        room->report = (Conclave__Log__TaskReport)CONCLAVE__LOG__TASK_REPORT__INIT;
        room->report.agent = (uint32_t)number(rng, 32);
        room->report.framework_id = r.framework_id;
        room->report.task_id = r.task_id;
        room->report.launch = &room->launch;
        room->report.state = r.state;
        room->report.latest_state = r.latest_state;
        room->report.uuid = r.uuid;
        room->report.status = r.status;
        c->task_report = &room->report;
    } else {
        room->acknowledge = (Conclave__Log__TaskAcknowledge)CONCLAVE__LOG__TASK_ACKNOWLEDGE__INIT;
        room->acknowledge.framework = (uint32_t)number(rng, 32);
        room->acknowledge.task_id = text(rng, texts[2]);
        room->acknowledge.has_agent = (protobuf_c_boolean)rng_below(rng, 2);
        room->acknowledge.agent = (uint32_t)number(rng, 32);
        room->acknowledge.uuid = (ProtobufCBinaryData){.data = (uint8_t *)uuid, .len = 16};
        c->task_acknowledge = &room->acknowledge;
    }
}

static void commands_are_written_as_protobuf_writes_them_and_read_back(void **state) {
    (void)state;
    struct rng rng;
    static struct command_room made, room;
    Conclave__Log__Command c;
    uint8_t *theirs = malloc(80000), *again = malloc(80000);
    struct buf ours;
    rng_seed(&rng, 2);
    buf_init(&ours, 1 << 20);
    for (int i = 0; i < 2000; i++) {
        command_random(&rng, &c, &made);
        if (i % 5 == 0) c.principal = texts[0]; /* written by hand, read by protobuf-c */
        size_t len = conclave__log__command__pack(&c, theirs);
        buf_clear(&ours);
        assert_int_equal(command_encode(&c, &ours), 0);
        assert_int_equal(ours.len, len);
        assert_memory_equal(ours.data, theirs, len);
        const Conclave__Log__Command *back = command_codec_decode(&room, ours.data, ours.len);
        if (c.principal) {
            assert_null(back);
            continue;
        }
        assert_non_null(back);
        assert_int_equal(conclave__log__command__pack(back, again), len); /* so every field is as it was */
        assert_memory_equal(again, theirs, len);
    }
    buf_done(&ours);
    free(theirs);
    free(again);
}

/* A report of a few bytes, to be damaged. */
static size_t small(uint8_t *ret) {
    static struct command_room room;
    Conclave__Log__Command c = CONCLAVE__LOG__COMMAND__INIT;
    c.cluster_ms = 300;
    c.wall_ms = 5;
    room.launch = (Conclave__Log__LaunchId)CONCLAVE__LOG__LAUNCH_ID__INIT;
    room.launch.index = 7;
    room.report = (Conclave__Log__TaskReport)CONCLAVE__LOG__TASK_REPORT__INIT;
    room.report.agent = 1;
    room.report.framework_id = (char *)"f";
    room.report.task_id = (char *)"t";
    room.report.launch = &room.launch;
    room.report.uuid = (ProtobufCBinaryData){.data = (uint8_t *)uuid, .len = 16};
    room.report.status = (ProtobufCBinaryData){.data = status, .len = 3};
    c.task_report = &room.report;
    return conclave__log__command__pack(&c, ret);
}

static bool taken(const uint8_t *data, size_t len) {
    static struct command_room room;
    uint8_t *exact = malloc(len ? len : 1); /* so that a sanitizer sees one byte too far */
    assert_non_null(exact);
    memcpy(exact, data, len);
    bool yes = command_codec_decode(&room, exact, len) != NULL;
    free(exact);
    return yes;
}

static void whatever_is_not_canonical_is_left_to_protobuf(void **state) {
    (void)state;
    uint8_t good[256], bad[300];
    size_t len = small(good);
    assert_true(taken(good, len));
    for (size_t cut = 0; cut < len; cut++)
        assert_false(taken(good, cut));
    memcpy(bad, good, len);
    memcpy(bad + len, "\x20\x01", 2); /* a known field, but behind the body */
    assert_false(taken(bad, len + 2));
    memcpy(bad + len, "\xf8\x7f\x01", 3); /* a field that nobody knows */
    assert_false(taken(bad, len + 3));
    /* 300 with one byte too many; what stands behind it moves. */
    assert_memory_equal(good, "\x08\xac\x02", 3);
    memcpy(bad, "\x08\xac\x82\x00", 4);
    memcpy(bad + 4, good + 3, len - 3);
    assert_false(taken(bad, len + 1));
    /* A number of more than 64 bits. */
    memcpy(bad, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11);
    memcpy(bad + 11, good + 3, len - 3);
    assert_false(taken(bad, len + 8));
    bad[10] = 1;
    assert_true(taken(bad, len + 8));
    /* NUL and other than ASCII in a text. */
    memcpy(bad, good, len);
    uint8_t *id = memchr(bad, 't', len);
    assert_non_null(id);
    *id = 0;
    assert_false(taken(bad, len));
    *id = 0xc3;
    assert_false(taken(bad, len));
    *id = 'u';
    assert_true(taken(bad, len));
}

/* Each byte value at each place of texts of each length around the eight that are looked at together. */
static void a_text_is_plain_or_not_by_each_of_its_bytes(void **state) {
    (void)state;
    for (size_t len = 1; len <= 20; len++) {
        for (size_t at = 0; at < len; at++) {
            for (unsigned byte = 0; byte < 256; byte++) {
                uint8_t text[20];
                memset(text, 1, sizeof text); /* the one that is nearest to wrong */
                text[at] = (uint8_t)byte;
                assert_int_equal(canonical_plain(text, len), byte > 0 && byte < 128);
            }
        }
    }
}

/* What the hand leaves is decided as before: an unknown field stops the replica, other orders of fields do not. */
static void command_decode_gives_the_rest_to_protobuf(void **state) {
    (void)state;
    struct command_arena arena;
    Conclave__Log__Command *command;
    enum command_type type;
    struct err err;
    uint8_t good[256], bad[300];
    size_t len = small(good);
    command_arena_init(&arena);
    assert_int_equal(command_decode(&arena, good, len, &command, &type, &err), 0);
    assert_int_equal(type, COMMAND_task_report);
    memcpy(bad, good, len);
    memcpy(bad + len, "\x20\x09", 2);
    assert_int_equal(command_decode(&arena, bad, len + 2, &command, &type, &err), 0);
    assert_int_equal(type, COMMAND_task_report);
    assert_int_equal(command->request_id, 9);
    memcpy(bad + len, "\xf8\x7f\x01", 3);
    assert_int_equal(command_decode(&arena, bad, len + 3, &command, &type, &err), ERR_INCOMPATIBLE);
    memcpy(bad + len, "\xff", 1);
    assert_int_equal(command_decode(&arena, bad, len + 1, &command, &type, &err), ERR_CORRUPT);
    command_arena_done(&arena);
}

/* A field that the schema has and the hand does not write would be lost. */
static void the_codecs_know_every_field_of_their_messages(void **state) {
    (void)state;
    unsigned commands = 0;
#define COMMAND_COUNT(field, message, level) commands++;
    COMMANDS(COMMAND_COUNT)
#undef COMMAND_COUNT
    assert_int_equal(conclave__log__command__descriptor.n_fields, 4 + commands);
    assert_int_equal(conclave__log__task_report__descriptor.n_fields, 8);
    assert_int_equal(conclave__log__task_acknowledge__descriptor.n_fields, 4);
    assert_int_equal(conclave__log__launch_id__descriptor.n_fields, 3);
    assert_int_equal(conclave__link__report__descriptor.n_fields, 8);
    assert_int_equal(conclave__link__committed__descriptor.n_fields, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_report_is_written_as_protobuf_writes_it_and_read_back),
        cmocka_unit_test(commands_are_written_as_protobuf_writes_them_and_read_back),
        cmocka_unit_test(whatever_is_not_canonical_is_left_to_protobuf),
        cmocka_unit_test(a_text_is_plain_or_not_by_each_of_its_bytes),
        cmocka_unit_test(command_decode_gives_the_rest_to_protobuf),
        cmocka_unit_test(the_codecs_know_every_field_of_their_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
