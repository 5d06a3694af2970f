/* SPDX-License-Identifier: Apache-2.0
 * The store as a whole, on a simulated disk: what is loaded after what was done. */
#include "../lib/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "../lib/store_node.h"
#include "base/check.h"
#include "consensus/wal_format.h"

#define SEGMENT (8u * DISK_BLOCK)

static struct node fresh(void) {
    struct node node = {.disk = sim_disk_new(1), .segment_bytes = SEGMENT};
    node_format(node.disk);
    return node;
}

static void end(struct node *node) {
    struct sim_disk *disk = node->disk;
    node_done(node);
    sim_disk_free(disk);
}

static void expect_ids(const struct node *node, uint64_t start, uint64_t first_id, size_t n) {
    assert_int_equal(node->start, start);
    assert_int_equal(node->n, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(node->entries[i].id, first_id + i);
}

static void an_empty_node_loads_as_empty(void **state) {
    (void)state;
    struct node node = fresh();
    assert_true(node_start(&node));
    assert_int_equal(node.term, 0);
    assert_int_equal(node.voted_for, 0);
    assert_int_equal(node.start, 1);
    assert_int_equal(node.n, 0);
    end(&node);
}

static void a_bootstrapped_node_has_the_configuration_as_entry_one(void **state) {
    (void)state;
    struct node node = fresh();
    node_bootstrap(&node);
    assert_int_equal(node.term, 1);
    assert_int_equal(node.start, 1);
    assert_int_equal(node.n, 1);
    assert_int_equal(node.entries[0].type, RAFT_CHANGE);
    assert_int_equal(node.entries[0].term, 1);
    end(&node);
}

static void *dirty_malloc(void *data, size_t size) {
    (void)data;
    void *p = malloc(size);
    if (p) memset(p, 0xa5, size);
    return p;
}

static void dirty_free(void *data, void *p) {
    (void)data;
    free(p);
}

/* The same on every master, byte for byte: nothing of the heap may be in it. */
static void the_first_configuration_is_padded_with_zeros(void **state) {
    (void)state;
    struct raft_heap dirty = {.malloc = dirty_malloc, .free = dirty_free};
    struct node node = fresh();
    struct store_config config = {.disk = sim_disk_face(node.disk), .node_id = NODE_ID, .segment_bytes = SEGMENT};
    struct raft_configuration c;
    uint8_t record[16 + 32]; /* type, length, term; version, count, id, "127.0.0.1:1", role, 2 bytes of padding */
    size_t n = 0;
    memcpy(config.cluster_id, node_identity.cluster_id, 16);
    raft_configuration_init(&c);
    assert_int_equal(raft_configuration_add(&c, NODE_ID, "127.0.0.1:1", RAFT_VOTER), 0);
    assert_int_equal(store_open(&config, &node.store, &node.err), 0);
    raft_heap_set(&dirty);
    int rv = store_bootstrap(node.store, &c);
    raft_heap_set_default();
    assert_int_equal(rv, 0);
    raft_configuration_close(&c);
    assert_int_equal(disk_read(sim_disk_face(node.disk), "log-0000000000000001", DISK_BLOCK + 64, record, sizeof record,
                               &n, &node.err),
                     0);
    assert_int_equal(record[0], RAFT_CHANGE);
    assert_int_equal(record[4], 32);
    assert_memory_equal(record + 16 + 17, "127.0.0.1:1", 12);
    assert_int_equal(record[sizeof record - 2] | record[sizeof record - 1], 0);
    end(&node);
}

static void a_second_bootstrap_is_refused(void **state) {
    (void)state;
    struct node node = fresh();
    node_bootstrap(&node);
    node_stop(&node);
    struct store_config config = {.disk = sim_disk_face(node.disk), .node_id = NODE_ID, .segment_bytes = SEGMENT};
    struct raft_configuration c;
    memcpy(config.cluster_id, node_identity.cluster_id, 16);
    raft_configuration_init(&c);
    assert_int_equal(raft_configuration_add(&c, NODE_ID, "127.0.0.1:1", RAFT_VOTER), 0);
    assert_int_equal(store_open(&config, &node.store, &node.err), 0);
    assert_int_equal(store_bootstrap(node.store, &c), RAFT_CANTBOOTSTRAP);
    raft_configuration_close(&c);
    end(&node);
}

static void acknowledged_entries_of_every_length_come_back(void **state) {
    (void)state;
    struct node node = fresh();
    bool acked[400] = {false};
    node_bootstrap(&node);
    for (unsigned i = 0; i < 400; i++) {
        node_append(&node, 1, 100 + i, 8 + i * 7 % 3000, &acked[i]);
        if (i % 3 == 0) node_settle(&node);
    }
    node_settle(&node);
    node_stop(&node);
    assert_true(node_start(&node));
    assert_int_equal(node.n, 401);
    for (unsigned i = 0; i < 400; i++) {
        assert_true(acked[i]);
        assert_int_equal(node.entries[i + 1].id, 100 + i);
        assert_int_equal(node.entries[i + 1].len, 8 + i * 7 % 3000);
    }
    end(&node);
}

static void one_write_is_in_flight_and_the_rest_share_the_next(void **state) {
    (void)state;
    struct node node = fresh();
    struct store_stats before, after;
    node_bootstrap(&node);
    node_settle(&node);
    store_stats(node.store, &before);
    for (unsigned i = 0; i < 50; i++)
        node_append(&node, 1, 1 + i, 64, NULL);
    assert_int_equal(sim_disk_pending(node.disk), 1);
    node_settle(&node);
    store_stats(node.store, &after);
    assert_int_equal(after.groups - before.groups, 2);
    assert_int_equal(after.entries - before.entries, 50);
    end(&node);
}

static unsigned order[8], order_n;

struct ordered {
    struct raft_io_append req;
    unsigned number;
    struct node *node;
};

static void note_order(struct raft_io_append *req, int status) {
    struct ordered *o = req->data;
    assert_int_equal(status, 0);
    order[order_n++] = o->number;
}

static void completions_come_in_order_and_never_inside_the_call(void **state) {
    (void)state;
    struct node node = fresh();
    struct ordered o[8];
    uint64_t word = 5;
    struct raft_entry e = {.term = 1, .type = RAFT_COMMAND, .buf = {.base = &word, .len = sizeof word}};
    node_bootstrap(&node);
    order_n = 0;
    for (unsigned i = 0; i < 8; i++) {
        o[i] = (struct ordered){.number = i, .node = &node};
        o[i].req.data = &o[i];
        assert_int_equal(store_append(node.store, &o[i].req, &e, 1, note_order), 0);
        assert_int_equal(order_n, 0);
    }
    node_settle(&node);
    assert_int_equal(order_n, 8);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(order[i], i);
    end(&node);
}

static void an_entry_that_is_too_large_is_refused_and_changes_nothing(void **state) {
    (void)state;
    struct node node = fresh();
    static uint8_t big[SEGMENT];
    struct raft_io_append req;
    node_bootstrap(&node);
    node_settle(&node);
    struct raft_entry e = {
        .term = 1, .type = RAFT_COMMAND, .buf = {.base = big, .len = store_entry_max(node.store) + 1}};
    assert_int_equal(store_append(node.store, &req, &e, 1, note_order), RAFT_TOOBIG);
    assert_int_equal(sim_disk_pending(node.disk), 0);
    node_append(&node, 1, 9, store_entry_max(node.store), NULL);
    node_settle(&node);
    node_stop(&node);
    assert_true(node_start(&node));
    assert_int_equal(node.n, 2);
    assert_int_equal(node.entries[1].id, 9);
    end(&node);
}

static void a_truncation_is_ordered_between_the_appends_around_it(void **state) {
    (void)state;
    struct node node = fresh();
    node_bootstrap(&node);
    for (unsigned i = 2; i <= 10; i++)
        node_append(&node, 1, 100 + i, 500, NULL);
    assert_int_equal(store_truncate(node.store, 6), 0);
    assert_int_equal(store_set_term(node.store, 2), 0);
    for (unsigned i = 6; i <= 8; i++)
        node_append(&node, 2, 200 + i, 500, NULL);
    node_settle(&node);
    node_stop(&node);
    assert_true(node_start(&node));
    assert_int_equal(node.n, 8);
    assert_int_equal(node.entries[4].id, 105);
    assert_int_equal(node.entries[5].id, 206);
    assert_int_equal(node.entries[5].term, 2);
    assert_int_equal(node.entries[7].id, 208);
    end(&node);
}

static void term_and_vote_survive_a_crash_at_once(void **state) {
    (void)state;
    struct node node = fresh();
    node_bootstrap(&node);
    assert_int_equal(store_set_term(node.store, 9), 0);
    node_crash(&node);
    assert_true(node_start(&node));
    assert_int_equal(node.term, 9);
    assert_int_equal(node.voted_for, 0);
    assert_int_equal(store_set_vote(node.store, 3), 0);
    node_crash(&node);
    assert_true(node_start(&node));
    assert_int_equal(node.term, 9);
    assert_int_equal(node.voted_for, 3);
    assert_int_equal(store_set_term(node.store, 10), 0);
    node_crash(&node);
    assert_true(node_start(&node));
    assert_int_equal(node.voted_for, 0);
    end(&node);
}

static void fill(struct node *node, uint64_t from, uint64_t to, size_t len) {
    for (uint64_t i = from; i <= to; i++) {
        node_append(node, 1, 1000 + i, len, NULL);
        node_settle(node);
    }
}

static void a_snapshot_lets_old_segments_go_and_keeps_what_it_must(void **state) {
    (void)state;
    struct node node = fresh();
    int status;
    struct store_stats stats;
    node_bootstrap(&node);
    fill(&node, 2, 100, 2000);
    node_snapshot(&node, 60, 1, 10, 1, 5000, &status);
    node_settle(&node);
    assert_int_equal(status, 0);
    store_stats(node.store, &stats);
    assert_int_equal(stats.first_index, 1); /* the state before the first snapshot is the empty one */
    node_snapshot(&node, 90, 1, 10, 2, 5000, &status);
    node_settle(&node);
    assert_int_equal(status, 0);
    store_stats(node.store, &stats);
    assert_in_range(stats.first_index, 50, 61); /* back to the first snapshot */
    node_stop(&node);
    assert_true(node_start(&node));
    assert_int_equal(node.snapshot_index, 90);
    assert_int_equal(node.snapshot_id, 2);
    expect_ids(&node, node.start, 1000 + node.start, 100 - node.start + 1);
    assert_in_range(node.start, 50, 61);
    end(&node);
}

static void recycled_segments_are_written_again_and_their_old_groups_are_ignored(void **state) {
    (void)state;
    struct node node = fresh();
    int status;
    struct store_stats stats;
    node_bootstrap(&node);
    for (uint64_t round = 0; round < 12; round++) {
        uint64_t from = 2 + round * 20, to = from + 19;
        fill(&node, from, to, 1500);
        node_snapshot(&node, to, 1, 5, round + 1, 3000, &status);
        node_settle(&node);
        assert_int_equal(status, 0);
        if (round % 3 == 2) {
            node_crash(&node);
            assert_true(node_start(&node));
            assert_int_equal(node.snapshot_index, to);
            expect_ids(&node, node.start, 1000 + node.start, to - node.start + 1);
        }
    }
    store_stats(node.store, &stats);
    assert_in_range(stats.log_bytes, SEGMENT, 12 * SEGMENT);
    end(&node);
}

static void an_install_drops_the_whole_log(void **state) {
    (void)state;
    struct node node = fresh();
    int status;
    node_bootstrap(&node);
    fill(&node, 2, 40, 1500);
    assert_int_equal(store_set_term(node.store, 4), 0);
    node_snapshot(&node, 500, 4, 0, 77, 9000, &status);
    node_settle(&node);
    assert_int_equal(status, 0);
    node_append(&node, 4, 501, 64, NULL);
    node_settle(&node);
    node_crash(&node);
    assert_true(node_start(&node));
    assert_int_equal(node.snapshot_index, 500);
    assert_int_equal(node.snapshot_id, 77);
    expect_ids(&node, 501, 501, 1);
    end(&node);
}

static void the_damaged_newest_snapshot_falls_back_to_the_one_before(void **state) {
    (void)state;
    struct node node = fresh();
    int status;
    struct store_stats stats;
    node_bootstrap(&node);
    fill(&node, 2, 50, 1500);
    node_snapshot(&node, 30, 1, 5, 1, 3000, &status);
    node_settle(&node);
    node_snapshot(&node, 45, 1, 5, 2, 3000, &status);
    node_settle(&node);
    node_stop(&node);
    sim_disk_flip(node.disk, "snapshot-000000000000002d-0000000000000001", 200, 3);
    assert_true(node_start(&node));
    assert_int_equal(node.snapshot_index, 30);
    assert_int_equal(node.snapshot_id, 1);
    assert_true(node.start <= 31);
    assert_int_equal(node.start + node.n - 1, 50);
    store_stats(node.store, &stats);
    assert_true(stats.snapshot_fallback);
    node_snapshot(&node, 50, 1, 5, 3, 3000, &status); /* takes the damaged one away */
    node_settle(&node);
    node_stop(&node);
    assert_true(node_start(&node));
    assert_int_equal(node.snapshot_index, 50);
    end(&node);
}

static void a_damaged_only_snapshot_that_the_log_does_not_reach_is_refused(void **state) {
    (void)state;
    struct node node = fresh();
    int status;
    node_bootstrap(&node);
    assert_int_equal(store_set_term(node.store, 4), 0);
    node_snapshot(&node, 500, 4, 0, 77, 9000, &status);
    node_settle(&node);
    node_stop(&node);
    sim_disk_flip(node.disk, "snapshot-00000000000001f4-0000000000000004", 300, 0);
    assert_false(node_start(&node));
    assert_int_equal(node.load_rv, RAFT_CORRUPT);
    assert_non_null(strstr(node.err.text, "snapshot-00000000000001f4-0000000000000004"));
    assert_non_null(strstr(node.err.text, "offset"));
    end(&node);
}

static struct raft_snapshot *got;
static int got_status;

static void note_get(struct raft_io_snapshot_get *req, struct raft_snapshot *snapshot, int status) {
    (void)req;
    got = snapshot;
    got_status = status;
}

static void snapshot_get_reads_what_was_put(void **state) {
    (void)state;
    struct node node = fresh();
    struct raft_io_snapshot_get req;
    int status;
    size_t len = 3 * 1024 * 1024 + 17; /* several chunks */
    uint8_t *expected = test_malloc(len);
    node_bootstrap(&node);
    got_status = -1;
    assert_int_equal(store_snapshot_get(node.store, &req, note_get), 0);
    assert_int_equal(got_status, -1);
    node_settle(&node);
    assert_int_equal(got_status, RAFT_NOTFOUND);
    node_snapshot(&node, 1, 1, 5, 42, len, &status);
    node_settle(&node);
    assert_int_equal(store_snapshot_get(node.store, &req, note_get), 0);
    node_settle(&node);
    assert_int_equal(got_status, 0);
    assert_int_equal(got->bufs[0].len, len);
    node_state_fill(42, expected, len);
    assert_memory_equal(got->bufs[0].base, expected, len);
    assert_string_equal(got->configuration.servers[0].address, "127.0.0.1:5060");
    raft_configuration_close(&got->configuration);
    raft_free(got->bufs[0].base);
    raft_free(got->bufs);
    raft_free(got);
    test_free(expected);
    end(&node);
}

static void a_failed_write_ends_the_store_and_completes_nothing(void **state) {
    (void)state;
    struct node node = fresh();
    bool acked = false;
    node_bootstrap(&node);
    node_settle(&node);
    sim_disk_fault_after(node.disk, 1, SIM_DISK_FAIL);
    node_append(&node, 1, 5, 64, &acked);
    node_settle(&node);
    assert_true(node.fatal);
    assert_false(acked);
    node_append(&node, 1, 6, 64, &acked);
    node_settle(&node);
    assert_false(acked);
    end(&node);
}

static void a_full_disk_delays_appends_and_loses_none(void **state) {
    (void)state;
    struct node node = fresh();
    bool acked[60] = {false};
    struct store_stats stats;
    node_bootstrap(&node);
    node_run(&node, 50);
    sim_disk_set_capacity(node.disk, 1); /* nothing more fits */
    for (unsigned i = 0; i < 60; i++)
        node_append(&node, 1, 300 + i, 2000, &acked[i]);
    node_run(&node, 2000);
    assert_false(node.fatal);
    assert_false(acked[59]);
    store_stats(node.store, &stats);
    assert_true(stats.stalled_ms > 1000);
    sim_disk_set_capacity(node.disk, 0);
    node_run(&node, 2000);
    for (unsigned i = 0; i < 60; i++)
        assert_true(acked[i]);
    end(&node);
}

static void a_snapshot_that_finds_no_space_says_so_and_changes_nothing(void **state) {
    (void)state;
    struct node node = fresh();
    int status;
    node_bootstrap(&node);
    fill(&node, 2, 10, 100);
    sim_disk_set_capacity(node.disk, 1);
    node_snapshot(&node, 8, 1, 2, 5, 5000, &status);
    node_settle(&node);
    assert_int_equal(status, RAFT_NOSPACE);
    assert_false(node.fatal);
    sim_disk_set_capacity(node.disk, 0);
    node_snapshot(&node, 8, 1, 2, 5, 5000, &status);
    node_settle(&node);
    assert_int_equal(status, 0);
    end(&node);
}

static void the_room_of_an_idle_log_counts_the_rest_of_its_segment(void **state) {
    (void)state;
    struct node node = fresh();
    struct store_space before, after;
    node_bootstrap(&node);
    fill(&node, 2, 10, 100);
    node_settle(&node);
    assert_int_equal(store_space(node.store, &before, NULL), 0);
    assert_true(before.log_room % before.segment_bytes > 0);
    node_append(&node, 1, 11, 100, NULL);
    assert_int_equal(store_space(node.store, &after, NULL), 0);
    assert_true(after.log_room < before.log_room); /* what waits for the disk takes its place already */
    node_settle(&node);
    assert_int_equal(store_space(node.store, &after, NULL), 0);
    assert_int_equal(after.log_room, before.log_room - DISK_BLOCK);
    end(&node);
}

static void an_idle_log_is_sealed_once(void **state) {
    (void)state;
    struct node node = fresh();
    struct store_stats stats;
    node_bootstrap(&node);
    node_append(&node, 1, 5, 64, NULL);
    node_run(&node, 15);
    store_stats(node.store, &stats);
    assert_int_equal(stats.seals, 0);
    node_run(&node, 20);
    store_stats(node.store, &stats);
    assert_int_equal(stats.seals, 1);
    node_run(&node, 1000);
    store_stats(node.store, &stats);
    assert_int_equal(stats.seals, 1);
    end(&node);
}

static void closing_completes_what_is_out_as_canceled_or_done(void **state) {
    (void)state;
    struct node node = fresh();
    bool acked = false;
    int status;
    node_bootstrap(&node);
    node_append(&node, 1, 5, 64, &acked);
    node_append(&node, 1, 6, 64, NULL);
    node_snapshot(&node, 1, 1, 5, 42, 100, &status);
    node_stop(&node); /* the harness frees each request in its completion: a leak or a double free shows under ASan */
    assert_true(acked);
    assert_int_equal(status, RAFT_CANCELED);
    end(&node);
}

static void another_cluster_or_node_is_refused(void **state) {
    (void)state;
    struct node node = fresh();
    struct store_config config = {.disk = sim_disk_face(node.disk), .node_id = NODE_ID + 1};
    struct store *store;
    struct err err;
    memcpy(config.cluster_id, node_identity.cluster_id, 16);
    assert_int_equal(store_open(&config, &store, &err), ERR_INVALID);
    config.node_id = NODE_ID;
    config.cluster_id[3] ^= 1;
    assert_int_equal(store_open(&config, &store, &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "belongs to cluster"));
    end(&node);
}

static void a_missing_identity_beside_data_is_refused(void **state) {
    (void)state;
    struct node node = fresh();
    struct identity found;
    node_bootstrap(&node);
    node_stop(&node);
    sim_disk_delete(node.disk, IDENTITY_FILE);
    assert_int_equal(identity_read(sim_disk_face(node.disk), &found, &node.err), ERR_CORRUPT);
    end(&node);
}

static void an_empty_folder_is_pristine_and_a_formatted_one_is_not_formatted_again(void **state) {
    (void)state;
    struct sim_disk *disk = sim_disk_new(3);
    struct identity found;
    struct err err;
    assert_int_equal(identity_read(sim_disk_face(disk), &found, &err), ERR_NOT_FOUND);
    node_format(disk);
    assert_int_equal(identity_read(sim_disk_face(disk), &found, &err), 0);
    assert_int_equal(found.node_id, NODE_ID);
    assert_int_equal(identity_format(sim_disk_face(disk), &node_identity, &err), ERR_EXISTS);
    sim_disk_free(disk);
}

static void load_returns_no_more_than_the_wanted_trailing(void **state) {
    (void)state;
    struct node node = fresh();
    int status;
    node_bootstrap(&node);
    fill(&node, 2, 60, 200);
    node_snapshot(&node, 50, 1, 5, 1, 100, &status);
    node_settle(&node);
    node_stop(&node);
    node.load_trailing = 8;
    assert_true(node_start(&node));
    assert_int_equal(node.start, 43);
    assert_int_equal(node.n, 18);
    end(&node);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_node_loads_as_empty),
        cmocka_unit_test(a_bootstrapped_node_has_the_configuration_as_entry_one),
        cmocka_unit_test(the_first_configuration_is_padded_with_zeros),
        cmocka_unit_test(a_second_bootstrap_is_refused),
        cmocka_unit_test(acknowledged_entries_of_every_length_come_back),
        cmocka_unit_test(one_write_is_in_flight_and_the_rest_share_the_next),
        cmocka_unit_test(completions_come_in_order_and_never_inside_the_call),
        cmocka_unit_test(an_entry_that_is_too_large_is_refused_and_changes_nothing),
        cmocka_unit_test(a_truncation_is_ordered_between_the_appends_around_it),
        cmocka_unit_test(term_and_vote_survive_a_crash_at_once),
        cmocka_unit_test(a_snapshot_lets_old_segments_go_and_keeps_what_it_must),
        cmocka_unit_test(recycled_segments_are_written_again_and_their_old_groups_are_ignored),
        cmocka_unit_test(an_install_drops_the_whole_log),
        cmocka_unit_test(the_damaged_newest_snapshot_falls_back_to_the_one_before),
        cmocka_unit_test(a_damaged_only_snapshot_that_the_log_does_not_reach_is_refused),
        cmocka_unit_test(snapshot_get_reads_what_was_put),
        cmocka_unit_test(a_failed_write_ends_the_store_and_completes_nothing),
        cmocka_unit_test(a_full_disk_delays_appends_and_loses_none),
        cmocka_unit_test(a_snapshot_that_finds_no_space_says_so_and_changes_nothing),
        cmocka_unit_test(the_room_of_an_idle_log_counts_the_rest_of_its_segment),
        cmocka_unit_test(an_idle_log_is_sealed_once),
        cmocka_unit_test(closing_completes_what_is_out_as_canceled_or_done),
        cmocka_unit_test(another_cluster_or_node_is_refused),
        cmocka_unit_test(a_missing_identity_beside_data_is_refused),
        cmocka_unit_test(an_empty_folder_is_pristine_and_a_formatted_one_is_not_formatted_again),
        cmocka_unit_test(load_returns_no_more_than_the_wanted_trailing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
