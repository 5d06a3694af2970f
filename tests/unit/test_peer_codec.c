/* SPDX-License-Identifier: Apache-2.0
 * Messages between masters: round trips, and hostile bytes. */
#include "../lib/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/rng.h"
#include "consensus/guard.h"
#include "consensus/peer_codec.h"
#include "consensus/peer_members.h"

static void encode(const struct raft_message *message, struct buf *ret) {
    buf_init(ret, PEER_MESSAGE_MAX);
    assert_int_equal(peer_message_encode(message, ret), 0);
}

/* Decodes an exact copy, so that a sanitizer sees a read past its end. */
static int decode(const uint8_t *data, size_t len, struct raft_message *ret) {
    uint8_t *copy = malloc(len ? len : 1);
    memcpy(copy, data, len);
    int rv = peer_message_decode(copy, len, ret);
    free(copy);
    return rv;
}

/* Three entries: a command, a barrier, a configuration. */
static struct raft_message append_entries(struct raft_entry entries[3]) {
    static uint8_t command[24] = "twenty-four bytes of it", barrier[8] = "barrier";
    struct raft_configuration configuration;
    raft_configuration_init(&configuration);
    assert_int_equal(raft_configuration_add(&configuration, 1, "127.0.0.1:5060", RAFT_VOTER), 0);
    assert_int_equal(raft_configuration_add(&configuration, 2, "[::1]:5060", RAFT_STANDBY), 0);
    entries[0] = (struct raft_entry){.term = 3, .type = RAFT_COMMAND, .buf = {command, sizeof command}};
    entries[1] = (struct raft_entry){.term = 4, .type = RAFT_BARRIER, .buf = {barrier, sizeof barrier}};
    entries[2] = (struct raft_entry){.term = 5, .type = RAFT_CHANGE};
    assert_int_equal(raft_configuration_encode(&configuration, &entries[2].buf), 0);
    raft_configuration_close(&configuration);
    struct raft_message m = {.type = RAFT_IO_APPEND_ENTRIES};
    m.append_entries = (struct raft_append_entries){
        .term = 5, .prev_log_index = 10, .prev_log_term = 3, .leader_commit = 9, .entries = entries, .n_entries = 3};
    return m;
}

static void entries_come_back_in_one_batch_of_aligned_buffers(void **state) {
    (void)state;
    struct raft_entry entries[3];
    struct raft_message m = append_entries(entries), back;
    struct buf bytes;
    encode(&m, &bytes);
    assert_int_equal(decode(bytes.data, bytes.len, &back), 0);
    const struct raft_append_entries *a = &back.append_entries;
    assert_int_equal(a->term, 5);
    assert_int_equal(a->prev_log_index, 10);
    assert_int_equal(a->prev_log_term, 3);
    assert_int_equal(a->leader_commit, 9);
    assert_int_equal(a->n_entries, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(a->entries[i].term, entries[i].term);
        assert_int_equal(a->entries[i].type, entries[i].type);
        assert_int_equal(a->entries[i].buf.len, entries[i].buf.len);
        assert_memory_equal(a->entries[i].buf.base, entries[i].buf.base, entries[i].buf.len);
        assert_ptr_equal(a->entries[i].batch, a->entries[0].buf.base);
        assert_int_equal((uintptr_t)a->entries[i].buf.base % 8, 0);
    }
    peer_message_free(&back);
    raft_free(entries[2].buf.base);
    buf_done(&bytes);
}

static void small_messages_come_back(void **state) {
    (void)state;
    struct raft_message m[9] = {{.type = RAFT_IO_APPEND_ENTRIES}, {.type = RAFT_IO_APPEND_ENTRIES_RESULT},
                                {.type = RAFT_IO_REQUEST_VOTE},   {.type = RAFT_IO_REQUEST_VOTE_RESULT},
                                {.type = RAFT_IO_TIMEOUT_NOW},    {.type = GUARD_IO_PROBE},
                                {.type = GUARD_IO_PROBE_RESULT},  {.type = GUARD_IO_READ},
                                {.type = GUARD_IO_READ_RESULT}};
    m[0].append_entries = (struct raft_append_entries){.term = 1, .prev_log_index = 2, .prev_log_term = 3};
    m[1].append_entries_result = (struct raft_append_entries_result){7, 8, 9};
    m[2].request_vote = (struct raft_request_vote){1, 2, 3, 4, true, false};
    m[3].request_vote_result = (struct raft_request_vote_result){5, true, raft_tribool_true};
    for (unsigned i = 4; i < 9; i++)
        m[i].timeout_now = (struct raft_timeout_now){11, 12, 13};
    for (unsigned i = 0; i < 9; i++) {
        struct buf bytes, again;
        struct raft_message back;
        encode(&m[i], &bytes);
        assert_int_equal(decode(bytes.data, bytes.len, &back), 0);
        assert_int_equal(back.type, m[i].type);
        encode(&back, &again);
        assert_int_equal(again.len, bytes.len);
        assert_memory_equal(again.data, bytes.data, bytes.len);
        peer_message_free(&back);
        buf_done(&bytes);
        buf_done(&again);
    }
}

static struct raft_message install(void) {
    struct raft_message m = {.type = RAFT_IO_INSTALL_SNAPSHOT};
    m.install_snapshot = (struct raft_install_snapshot){.term = 4, .last_index = 100, .last_term = 3, .conf_index = 1};
    raft_configuration_init(&m.install_snapshot.conf);
    assert_int_equal(raft_configuration_add(&m.install_snapshot.conf, 1, "127.0.0.1:5060", RAFT_VOTER), 0);
    assert_int_equal(raft_configuration_add(&m.install_snapshot.conf, 9, "127.0.0.9:5060", RAFT_SPARE), 0);
    m.install_snapshot.data.len = 12345;
    return m;
}

static void the_head_of_a_snapshot_comes_back_without_its_data(void **state) {
    (void)state;
    struct raft_message m = install(), back;
    struct buf bytes;
    encode(&m, &bytes);
    assert_int_equal(decode(bytes.data, bytes.len, &back), 0);
    assert_int_equal(back.install_snapshot.last_index, 100);
    assert_int_equal(back.install_snapshot.data.len, 12345);
    assert_null(back.install_snapshot.data.base);
    assert_int_equal(back.install_snapshot.conf.n, 2);
    assert_string_equal(back.install_snapshot.conf.servers[1].address, "127.0.0.9:5060");
    assert_int_equal(back.install_snapshot.conf.servers[1].role, RAFT_SPARE);
    peer_message_free(&back);
    raft_configuration_close(&m.install_snapshot.conf);
    buf_done(&bytes);
}

static void every_shorter_and_every_longer_message_is_refused(void **state) {
    (void)state;
    struct raft_entry entries[3];
    struct raft_message m[2] = {append_entries(entries), install()}, back;
    for (unsigned k = 0; k < 2; k++) {
        struct buf bytes;
        encode(&m[k], &bytes);
        for (size_t len = 0; len < bytes.len; len++)
            assert_int_equal(decode(bytes.data, len, &back), ERR_PARSE);
        buf_append_byte(&bytes, 0);
        assert_int_equal(decode(bytes.data, bytes.len, &back), ERR_PARSE);
        buf_done(&bytes);
    }
    raft_free(entries[2].buf.base);
    raft_configuration_close(&m[1].install_snapshot.conf);
}

static void lies_about_lengths_and_numbers_are_refused_before_memory_is_taken(void **state) {
    (void)state;
    struct raft_entry entries[3];
    struct raft_message m = append_entries(entries), back;
    struct buf bytes;
    encode(&m, &bytes);
    static const struct {
        size_t at;
        uint32_t value;
    } lies[] = {{33, 0xffffffff}, {33, 4}, {46, 0xfffffff8}, {46, 23}, {46, 0}, {46, 16}, {5, 0xffffffff}, {41, 0}};
    for (unsigned i = 0; i < sizeof lies / sizeof *lies; i++) {
        uint8_t *copy = malloc(bytes.len);
        memcpy(copy, bytes.data, bytes.len);
        store_u32(copy + lies[i].at, lies[i].value); /* 5: term; 33: count; 41: term and type; 46: first length */
        if (lies[i].at == 41) copy[45] = 4;          /* an unknown type of entry */
        assert_int_equal(decode(copy, bytes.len, &back), ERR_PARSE);
        free(copy);
    }
    store_u32(bytes.data + 46, 20); /* two lengths that add up, but are not multiples of 8 */
    store_u32(bytes.data + 59, 12);
    assert_int_equal(decode(bytes.data, bytes.len, &back), ERR_PARSE);
    raft_free(entries[2].buf.base);
    buf_done(&bytes);
}

static void a_configuration_entry_that_runs_over_its_end_is_refused(void **state) {
    (void)state;
    struct raft_entry entries[3];
    struct raft_message m = append_entries(entries), back;
    uint8_t *change = entries[2].buf.base;
    static const struct {
        size_t at;
        uint8_t value;
    } damage[] = {{0, 2}, {1, 3}, {1, 0}, {1, 255}, {8, 1}, {17, 0}, {32, 9}};
    for (unsigned i = 0; i < sizeof damage / sizeof *damage; i++) {
        uint8_t old = change[damage[i].at];
        change[damage[i].at] = damage[i].value;
        struct buf bytes;
        encode(&m, &bytes);
        assert_int_equal(decode(bytes.data, bytes.len, &back), ERR_PARSE);
        buf_done(&bytes);
        change[damage[i].at] = old;
    }
    raft_free(change);
}

/* From an exact copy, so that a sanitizer sees a read past its end. */
static bool members_of(const uint8_t *data, size_t len, struct peer_members *ret) {
    uint8_t *copy = malloc(len ? len : 1);
    memcpy(copy, data, len);
    bool good = peer_members_from_entry(copy, len, 7, ret);
    free(copy);
    return good;
}

static void the_members_are_read_from_an_entry_and_from_nothing_else(void **state) {
    (void)state;
    struct raft_entry entries[3];
    (void)append_entries(entries);
    uint8_t *change = entries[2].buf.base;
    size_t len = entries[2].buf.len, used = 9 + 8 + 15 + 1 + 8 + 11 + 1;
    struct peer_members members, untouched = {.index = 99};
    assert_true(members_of(change, len, &members));
    assert_int_equal(members.index, 7);
    assert_int_equal(members.n, 2);
    assert_string_equal(members.items[0].address, "127.0.0.1:5060");
    assert_int_equal(members.items[0].role, RAFT_VOTER);
    assert_int_equal(members.items[1].id, 2);
    assert_string_equal(members.items[1].address, "[::1]:5060");
    assert_int_equal(members.items[1].role, RAFT_STANDBY);
    members = untouched;
    for (size_t shorter = 0; shorter < used; shorter++)
        assert_false(members_of(change, shorter, &members));
    static const struct {
        size_t at;
        uint8_t value;
    } damage[] = {{0, 2}, {1, 3}, {1, 1},    {1, 0},  {1, 17}, {8, 1},
                  {9, 0}, {9, 2}, {16, 255}, {17, 0}, {32, 9}, {32, 3}};
    for (unsigned i = 0; i < sizeof damage / sizeof *damage; i++) {
        uint8_t old = change[damage[i].at];
        change[damage[i].at] = damage[i].value;
        assert_false(members_of(change, len, &members));
        change[damage[i].at] = old;
    }
    assert_int_equal(members.index, 99);
    raft_free(change);
}

static void what_is_over_the_limits_is_not_written(void **state) {
    (void)state;
    struct buf bytes;
    buf_init(&bytes, PEER_MESSAGE_MAX);
    buf_append_str(&bytes, "kept");
    uint8_t *big = calloc(1, PEER_MESSAGE_MAX);
    struct raft_entry entry = {.term = 1, .type = RAFT_COMMAND, .buf = {big, PEER_MESSAGE_MAX}};
    struct raft_message m = {.type = RAFT_IO_APPEND_ENTRIES};
    m.append_entries = (struct raft_append_entries){.term = 1, .entries = &entry, .n_entries = 1};
    assert_int_equal(peer_message_encode(&m, &bytes), ERR_LIMIT);
    struct raft_message unknown = {.type = 77};
    assert_int_equal(peer_message_encode(&unknown, &bytes), ERR_INVALID);
    struct raft_message huge = install();
    huge.install_snapshot.data.len = PEER_SNAPSHOT_MAX + 1ul;
    assert_int_equal(peer_message_encode(&huge, &bytes), ERR_INVALID);
    assert_int_equal(bytes.len, 4);
    assert_int_equal(buf_append_byte(&bytes, 1), 0);
    raft_configuration_close(&huge.install_snapshot.conf);
    free(big);
    buf_done(&bytes);
}

static void random_damage_never_reads_outside_and_never_leaks(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 20);
    struct raft_entry entries[3];
    struct raft_message m[2] = {append_entries(entries), install()}, back;
    for (unsigned round = 0; round < 20000; round++) {
        struct buf bytes;
        encode(&m[round % 2], &bytes);
        for (uint64_t hits = rng_between(&rng, 1, 4); hits > 0; hits--)
            bytes.data[rng_below(&rng, bytes.len)] = (uint8_t)rng_next(&rng);
        size_t len = rng_below(&rng, 4) == 0 ? rng_below(&rng, bytes.len) : bytes.len;
        if (decode(bytes.data, len, &back) == 0) peer_message_free(&back);
        buf_done(&bytes);
    }
    raft_free(entries[2].buf.base);
    raft_configuration_close(&m[1].install_snapshot.conf);
}

static void a_hello_comes_back_and_may_say_more(void **state) {
    (void)state;
    struct peer_hello hello = {.protocol = 1,
                               .folder = 99,
                               .stream = 2,
                               .cluster_id = "fifteen letters",
                               .from = 3,
                               .to = 4,
                               .nonce = 5,
                               .program_level = 6,
                               .program_version = "1.2.3-rc4"};
    struct peer_hello back;
    uint8_t bytes[PEER_HELLO_MAX + 1] = {0};
    memset(&back, 0, sizeof back);
    peer_hello_encode(&hello, bytes);
    assert_int_equal(peer_hello_decode(bytes, PEER_HELLO_BYTES, &back), 0);
    assert_memory_equal(&back, &hello, sizeof hello);
    assert_int_equal(peer_hello_decode(bytes, PEER_HELLO_BYTES - 1, &back), ERR_PARSE);
    assert_int_equal(peer_hello_decode(bytes, PEER_HELLO_MAX, &back), 0); /* a later program's */
    assert_int_equal(back.program_level, 6);
    assert_int_equal(peer_hello_decode(bytes, PEER_HELLO_MAX + 1, &back), ERR_PARSE);
    bytes[52 + PEER_VERSION_BYTES - 1] = 'x';
    assert_int_equal(peer_hello_decode(bytes, PEER_HELLO_BYTES, &back), ERR_PARSE);
    bytes[52 + PEER_VERSION_BYTES - 1] = '\0';
    bytes[52] = '\n';
    assert_int_equal(peer_hello_decode(bytes, PEER_HELLO_BYTES, &back), ERR_PARSE);
    memset(bytes + 52, 'x', PEER_VERSION_BYTES);
    assert_int_equal(peer_hello_decode(bytes, PEER_HELLO_BYTES, &back), ERR_PARSE); /* it does not end */
}

static void a_ping_comes_back_and_may_say_more(void **state) {
    (void)state;
    struct peer_vitals vitals = {.space = 2, .hash_kind = 3, .free_bytes = 4, .standing = 5}, back = {0};
    uint8_t bytes[PEER_PING_MAX + 1] = {0};
    uint64_t number;
    for (unsigned i = 0; i < PEER_MARKS; i++) {
        vitals.marks[i].index = 10 + i;
        memset(vitals.marks[i].hash, (int)(20 + i), sizeof vitals.marks[i].hash);
    }
    peer_ping_encode(77, &vitals, bytes);
    for (size_t len = 0; len <= PEER_PING_MAX + 1; len++) {
        bool good = len >= PEER_PING_LEAST && len <= PEER_PING_MAX;
        assert_int_equal(peer_ping_decode(bytes, len, &number, &back), good ? 0 : ERR_PARSE);
        assert_int_equal(back.standing, len < PEER_PING_BYTES ? 0 : 5); /* an earlier program does not say */
    }
    assert_int_equal(number, 77);
    assert_memory_equal(&back, &vitals, sizeof vitals);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_come_back_in_one_batch_of_aligned_buffers),
        cmocka_unit_test(small_messages_come_back),
        cmocka_unit_test(the_head_of_a_snapshot_comes_back_without_its_data),
        cmocka_unit_test(every_shorter_and_every_longer_message_is_refused),
        cmocka_unit_test(lies_about_lengths_and_numbers_are_refused_before_memory_is_taken),
        cmocka_unit_test(a_configuration_entry_that_runs_over_its_end_is_refused),
        cmocka_unit_test(the_members_are_read_from_an_entry_and_from_nothing_else),
        cmocka_unit_test(what_is_over_the_limits_is_not_written),
        cmocka_unit_test(random_damage_never_reads_outside_and_never_leaks),
        cmocka_unit_test(a_hello_comes_back_and_may_say_more),
        cmocka_unit_test(a_ping_comes_back_and_may_say_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
