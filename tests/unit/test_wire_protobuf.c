/* SPDX-License-Identifier: Apache-2.0 */
#include "../lib/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "mesos/v1/scheduler.pb-c.h"
#include "wire/protobuf.h"
#include "wire_random.h"

static const ProtobufCMessageDescriptor *const call = &mesos__v1__scheduler__call__descriptor;
static const ProtobufCMessageDescriptor *const container = &mesos__v1__container_id__descriptor;

static void assert_refused(const ProtobufCMessageDescriptor *type, const char *bytes, size_t len, int code,
                           const char *reason) {
    struct arena arena;
    struct err err = {0};
    ProtobufCMessage *m = NULL;
    arena_init(&arena, 1 << 20);
    int rc = protobuf_parse(type, (const uint8_t *)bytes, len, 0, &arena, &m, &err);
    if (rc != code || !strstr(err.text, reason)) fail_msg("wanted '%s', got %d '%s'", reason, rc, err.text);
    assert_null(m);
    arena_done(&arena);
}

#define REFUSED(type, bytes, reason) assert_refused(type, bytes, sizeof(bytes) - 1, ERR_PARSE, reason)

static void malformed_bytes_are_refused(void **state) {
    (void)state;
    REFUSED(call, "\x0a", "cut off");
    REFUSED(call, "\x0a\x05", "length beyond the end");
    REFUSED(call, "\x0a\x80\x80\x80\x80\x04", "length beyond the end");                     /* 1 GB */
    REFUSED(call, "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "length beyond the end"); /* 2^64 - 1 */
    REFUSED(call, "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "more than 64 bits");
    REFUSED(call, "\x10\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "more than 64 bits");
    REFUSED(call, "\x10\x80", "type: cut off");
    REFUSED(call, "\xc0\xc0\xc0\xc0\x80\x00\x01", "more than five bytes");
    REFUSED(call, "\x00\x00", "field number out of range");
    REFUSED(call, "\xf8\xff\xff\xff\x7f\x00", "field number out of range");
    REFUSED(call, "\x0b\x0c", "groups are not supported");
    REFUSED(call, "\x0c", "groups are not supported");
    REFUSED(call, "\x0e", "unknown wire type");
    REFUSED(call, "\x08\x01", "framework_id: wrong wire type");
    REFUSED(call, "\x12\x01\x01", "type: wrong wire type");
    REFUSED(call, "\x0d\x00\x00\x00\x00", "framework_id: wrong wire type");
    REFUSED(call, "\xfa\x01\x05", "length beyond the end"); /* of an unknown field */
    REFUSED(call, "\xf9\x01\x05", "cut off");
    REFUSED(call, "\xfd\x01\x05", "cut off");
}

static void strings_must_be_text(void **state) {
    (void)state;
    REFUSED(call, "\x0a\x04\x0a\x02\xc0\x80", "framework_id.value: string is not UTF-8");
    REFUSED(call, "\x0a\x05\x0a\x03\xed\xa0\x80", "framework_id.value: string is not UTF-8");
    REFUSED(call,
            "\x0a\x05\x0a\x03"
            "a\0b",
            "holds a NUL");
    REFUSED(call,
            "\x0a\x0d\x0a\x0b"
            "12345678\0ab",
            "holds a NUL");
}

static void required_fields_are_named_when_missing(void **state) {
    (void)state;
    REFUSED(call, "\x0a\x00", "framework_id.value: required field is missing");
    REFUSED(call,
            "\x22\x06\x0a\x03\x0a\x01"
            "a\x0a",
            "accept.offer_ids[1]: cut off");
    REFUSED(call,
            "\x22\x07\x0a\x03\x0a\x01"
            "a\x0a\x00",
            "accept.offer_ids[1].value: required field is missing");
    assert_refused(&mesos__v1__resource__descriptor,
                   "\x0a\x01"
                   "a",
                   3, ERR_PARSE, "type: required");
    assert_refused(&mesos__v1__resource__descriptor,
                   "\x0a\x01"
                   "a\x10\x63",
                   5, ERR_PARSE, "type: unknown value");
}

static void a_message_given_twice_is_refused_a_number_is_not(void **state) {
    (void)state;
    REFUSED(call,
            "\x0a\x03\x0a\x01"
            "a\x0a\x03\x0a\x01"
            "b",
            "framework_id: given twice");
    assert_int_equal(protobuf_check(call, (const uint8_t *)"\x10\x01\x10\x02", 4, 0, NULL), 0);
    assert_int_equal(protobuf_check(call, NULL, 0, 0, NULL), 0);
}

/* ContainerID.parent inside itself `n` times, built from the inside out. */
static uint8_t *nested(size_t n, size_t *ret_len) {
    size_t room = 16 + n * 12, at = room;
    uint8_t *bytes = malloc(room);
    assert_non_null(bytes);
    bytes[--at] = 'x', bytes[--at] = 1, bytes[--at] = 0x0a;
    for (size_t i = 0; i < n; i++) {
        size_t len = room - at;
        uint8_t head[10];
        size_t k = 0;
        do {
            head[k++] = (uint8_t)((len & 0x7f) | (len > 0x7f ? 0x80 : 0));
            len >>= 7;
        } while (len);
        at -= k;
        memcpy(bytes + at, head, k);
        bytes[--at] = 0x12;
        bytes[--at] = 'x', bytes[--at] = 1, bytes[--at] = 0x0a;
    }
    memmove(bytes, bytes + at, room - at);
    *ret_len = room - at;
    return bytes;
}

static void depth_is_bounded(void **state) {
    (void)state;
    size_t len;
    uint8_t *bytes = nested(200000, &len);
    assert_refused(container, (char *)bytes, len, ERR_PARSE, "nested too deep");
    free(bytes);
    for (size_t n = 60; n < 70; n++) {
        bytes = nested(n, &len);
        assert_int_equal(protobuf_check(container, bytes, len, 0, NULL), n < PROTOBUF_DEPTH_MAX ? 0 : ERR_PARSE);
        free(bytes);
    }
}

static void memory_is_bounded(void **state) {
    (void)state;
    static const uint8_t head[] = {0x0a, 1, 'u', 0x12, 1, 'n'}, piece[] = {0x52, 0}; /* user, name, a capability */
    struct buf b;
    buf_init(&b, 1 << 20);
    (void)buf_append(&b, head, sizeof head);
    for (size_t i = 0; i < 200000; i++)
        (void)buf_append(&b, piece, sizeof piece);
    assert_false(b.failed);
    const ProtobufCMessageDescriptor *type = &mesos__v1__framework_info__descriptor;
    assert_refused(type, (const char *)b.data, b.len, ERR_LIMIT, "more memory than 1048576");
    assert_refused(type, (const char *)b.data + 3, b.len - 3, ERR_PARSE, "user: required");
    buf_done(&b);
}

static void unknown_enum_values_leave_fields_unset(void **state) {
    (void)state;
    struct arena arena;
    ProtobufCMessage *m;
    arena_init(&arena, 1 << 20);
    assert_int_equal(protobuf_parse(call, (const uint8_t *)"\x10\x63", 2, 0, &arena, &m, NULL), 0);
    assert_false(((Mesos__V1__Scheduler__Call *)m)->has_type);
    /* CapabilityInfo.capabilities: CHOWN, 99, KILL; the middle one goes. */
    assert_int_equal(protobuf_parse(&mesos__v1__capability_info__descriptor,
                                    (const uint8_t *)"\x0a\x05\xe8\x07\x63\xed\x07", 7, 0, &arena, &m, NULL),
                     0);
    assert_int_equal(((Mesos__V1__CapabilityInfo *)m)->n_capabilities, 2);
    assert_int_equal(((Mesos__V1__CapabilityInfo *)m)->capabilities[1], MESOS__V1__CAPABILITY_INFO__CAPABILITY__KILL);
    arena_done(&arena);
}

static void a_replica_stops_at_what_it_does_not_know(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } rows[] = {{"\xf8\x01\x01", 3},
                {"\x10\x63", 2},
                {"\x0a\x06\x0a\x01"
                 "a\xf8\x01\x01",
                 8}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arena arena;
        ProtobufCMessage *m;
        const uint8_t *bytes = (const uint8_t *)rows[i].bytes;
        arena_init(&arena, 1 << 20);
        assert_int_equal(protobuf_check(call, bytes, rows[i].len, PROTOBUF_REFUSE_UNKNOWN, NULL), ERR_INCOMPATIBLE);
        assert_int_equal(protobuf_parse(call, bytes, rows[i].len, 0, &arena, &m, NULL), 0);
        assert_int_equal(protobuf_has_unknown(m), i != 1); /* an unknown enum value was unset */
        m = protobuf_c_message_unpack(call, &arena.allocator, rows[i].len, bytes);
        assert_true(protobuf_has_unknown(m));
        arena_done(&arena);
    }
}

static void every_cut_of_a_message_is_refused_or_read(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct arena arena;
        struct rng rng;
        struct buf wire;
        arena_init(&arena, (size_t)16 << 20);
        buf_init(&wire, (size_t)16 << 20);
        rng_seed(&rng, seed);
        ProtobufCMessage *m = random_message(&rng, call, &arena, 4);
        assert_int_equal(protobuf_print(m, &wire), 0);
        for (size_t len = 0; len < wire.len && len < 3000; len++) {
            struct arena part;
            uint8_t *copy = malloc(len ? len : 1); /* its end is where a sanitizer looks */
            assert_non_null(copy);
            if (len > 0) memcpy(copy, wire.data, len);
            arena_init(&part, 1 << 20);
            (void)protobuf_parse(call, copy, len, 0, &part, &m, NULL);
            arena_done(&part);
            free(copy);
        }
        buf_done(&wire);
        arena_done(&arena);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_bytes_are_refused),
        cmocka_unit_test(strings_must_be_text),
        cmocka_unit_test(required_fields_are_named_when_missing),
        cmocka_unit_test(a_message_given_twice_is_refused_a_number_is_not),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(unknown_enum_values_leave_fields_unset),
        cmocka_unit_test(a_replica_stops_at_what_it_does_not_know),
        cmocka_unit_test(every_cut_of_a_message_is_refused_or_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
