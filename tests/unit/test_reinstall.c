/* SPDX-License-Identifier: Apache-2.0
 * Who stands behind an id (pins), and a node that gives its data up without forgetting what it voted (reinstall): each
 * torn at every step. */
#include "../lib/cmocka_all.h"

#include <string.h>

#include "../lib/store_node.h"
#include "base/check.h"
#include "base/log.h"
#include "consensus/pins.h"
#include "consensus/reinstall.h"
#include "consensus/verify.h"
#include "consensus/vote.h"
#include "consensus/wal_format.h"

#define SEGMENT (8u * DISK_BLOCK)

static struct identity with_folder(uint64_t folder) {
    struct identity id = node_identity;
    id.folder = folder;
    return id;
}

static struct sim_disk *made(uint64_t folder) {
    struct sim_disk *disk = sim_disk_new(3);
    struct identity id = with_folder(folder);
    struct err err;
    assert_int_equal(identity_format(sim_disk_face(disk), &id, &err), 0);
    return disk;
}

static struct pins reopened(struct sim_disk *disk, uint64_t folder, int expect) {
    struct identity id = with_folder(folder);
    struct pins pins;
    struct err err = {0};
    assert_int_equal(pins_open(sim_disk_face(disk), &id, &pins, &err), expect);
    return pins;
}

static void the_folder_number_is_in_the_identity(void **state) {
    (void)state;
    struct sim_disk *a = made(77), *b = sim_disk_new(4);
    struct identity found;
    struct err err;
    assert_int_equal(identity_read(sim_disk_face(a), &found, &err), 0);
    assert_int_equal(identity_folder(&found), 77);
    node_format(b); /* as a version without numbers made it */
    assert_int_equal(identity_read(sim_disk_face(b), &found, &err), 0);
    uint64_t derived = identity_folder(&found);
    assert_true(found.folder == 0 && derived != 0);
    found.created_ms++; /* made anew, a millisecond later */
    assert_true(identity_folder(&found) != derived);
    sim_disk_free(a);
    sim_disk_free(b);
}

static void a_pin_stays_and_another_folder_is_refused(void **state) {
    (void)state;
    struct sim_disk *disk = made(77);
    struct pins pins = reopened(disk, 77, 0);
    struct err err;
    assert_false(pins.admitted);
    assert_int_equal(pins_meet(&pins, 1, 100, NULL, 0, &err), 0);
    assert_int_equal(pins_meet(&pins, 2, 200, NULL, 0, &err), 0);
    assert_int_equal(pins_meet(&pins, 1, 100, NULL, 0, &err), 0);
    assert_int_equal(pins_meet(&pins, 1, 101, NULL, 0, &err), ERR_FORBIDDEN);
    assert_int_equal(pins_admit(&pins, &err), 0);
    sim_disk_crash(disk);
    pins = reopened(disk, 77, 0);
    assert_true(pins.admitted);
    assert_int_equal(pins.count, 2);
    assert_int_equal(pins_meet(&pins, 2, 100, NULL, 0, &err), ERR_FORBIDDEN);
    sim_disk_free(disk);
}

static void a_full_table_forgets_only_who_is_no_member(void **state) {
    (void)state;
    struct sim_disk *disk = made(77);
    struct pins pins = reopened(disk, 77, 0);
    struct err err;
    const uint64_t members[] = {1, 2};
    for (uint64_t id = 1; id <= PINS_MAX; id++)
        assert_int_equal(pins_meet(&pins, id, 1000 + id, members, 2, &err), 0);
    assert_int_equal(pins_meet(&pins, 9999, 5, members, 2, &err), 0);
    assert_int_equal(pins.count, 3);
    pins = reopened(disk, 77, 0);
    assert_int_equal(pins_meet(&pins, 2, 1, members, 2, &err), ERR_FORBIDDEN);
    sim_disk_free(disk);
}

static void pins_survive_a_torn_write_and_one_damaged_slot(void **state) {
    (void)state;
    for (unsigned step = 1; step <= 2; step++) {
        struct sim_disk *disk = made(77);
        struct pins pins = reopened(disk, 77, 0);
        struct err err;
        assert_int_equal(pins_meet(&pins, 1, 100, NULL, 0, &err), 0);
        sim_disk_fault_after(disk, step, SIM_DISK_DIE);
        assert_int_not_equal(pins_meet(&pins, 2, 200, NULL, 0, &err), 0);
        sim_disk_crash(disk);
        pins = reopened(disk, 77, 0);
        assert_true(pins.count == 1 || pins.count == 2);
        assert_int_equal(pins_meet(&pins, 1, 5, NULL, 0, &err), ERR_FORBIDDEN);
        for (unsigned slot = 0; slot < 2; slot++) {
            sim_disk_flip(disk, PINS_FILE, slot * DISK_BLOCK + 70, 3);
            pins = reopened(disk, 77, 0);
            assert_int_equal(pins_meet(&pins, 1, 5, NULL, 0, &err), ERR_FORBIDDEN);
        }
        sim_disk_free(disk);
    }
}

static void damage_is_told_and_an_older_folder_gets_its_file(void **state) {
    (void)state;
    struct sim_disk *disk = made(77);
    sim_disk_flip(disk, PINS_FILE, 50, 1);
    sim_disk_flip(disk, PINS_FILE, DISK_BLOCK + 50, 1);
    (void)reopened(disk, 77, ERR_CORRUPT);
    sim_disk_delete(disk, PINS_FILE);
    (void)reopened(disk, 77, ERR_CORRUPT);
    struct pins pins = reopened(disk, 0, 0);
    assert_true(pins.admitted && pins.written);
    sim_disk_delete(disk, PINS_FILE);
    sim_disk_set_capacity(disk, 1);
    pins = reopened(disk, 0, 0);
    assert_true(pins.admitted && !pins.written);
    sim_disk_free(disk);
}

static void a_majority_of_the_others_must_have_accepted(void **state) {
    (void)state;
    static const unsigned needed[] = {0, 1, 2, 2, 3, 3, 4};
    for (unsigned others = 0; others < 7; others++) {
        assert_int_equal(pins_needed(others), needed[others]);
        assert_true(others == 0 || 2 * pins_needed(others) > others); /* two of them share a member */
    }
}

/* A node with 12 entries of term 1, voted for node 3 in term 5. */
static struct node used(void) {
    struct node node = {.disk = sim_disk_new(5), .segment_bytes = SEGMENT};
    bool acked;
    node_format(node.disk);
    node_bootstrap(&node);
    for (unsigned i = 0; i < 12; i++)
        node_append(&node, 1, 100 + i, 9000, &acked);
    node_settle(&node);
    assert_int_equal(store_set_term(node.store, 5), 0);
    assert_int_equal(store_set_vote(node.store, 3), 0);
    node_stop(&node);
    return node;
}

static int check(struct node *node, bool wanted, bool *done) {
    return reinstall_check(sim_disk_face(node->disk), &node_identity, wanted, done, &node->err);
}

static struct vote vote_of(struct node *node) {
    struct vote vote;
    struct fault fault;
    bool repair;
    assert_int_equal(vote_read(sim_disk_face(node->disk), &node_identity, &vote, &repair, &fault, &node->err), 0);
    return vote;
}

static size_t count_names(struct node *node, const char *prefix) {
    char names[128][DISK_NAME_MAX];
    size_t n = sim_disk_names(node->disk, names, 128), found = 0;
    for (size_t i = 0; i < n; i++)
        found += strncmp(names[i], prefix, strlen(prefix)) == 0;
    return found;
}

static void end(struct node *node) {
    struct sim_disk *disk = node->disk;
    node_done(node);
    sim_disk_free(disk);
}

static void damage_middle(struct node *node) {
    sim_disk_flip(node->disk, "log-0000000000000001", 3 * DISK_BLOCK + 100, 2);
}

static void intact_data_is_left_alone(void **state) {
    (void)state;
    struct node node = used();
    bool done;
    assert_int_equal(check(&node, true, &done), 0);
    assert_false(done);
    assert_true(node_start(&node));
    assert_int_equal(node.n, 13);
    assert_int_equal(store_barred(node.store), 0);
    end(&node);
}

static void damaged_data_is_set_aside_and_the_node_is_barred(void **state) {
    (void)state;
    struct node node = used();
    bool done;
    size_t logs = count_names(&node, "log-");
    damage_middle(&node);
    assert_false(node_start(&node));
    assert_int_equal(check(&node, false, &done), 0); /* not asked for: nothing happens, the start refuses as before */
    assert_int_equal(count_names(&node, "aside-"), 0);
    assert_int_equal(check(&node, true, &done), 0);
    assert_true(done);
    assert_true(count_names(&node, "aside-1-log-") == logs && count_names(&node, "log-") == 0);
    assert_true(node_start(&node));
    assert_int_equal(node.term, 6); /* one more: leaders that counted what is lost are refused */
    assert_int_equal(node.voted_for, 0);
    assert_int_equal(node.n, 0);
    assert_int_equal(store_barred(node.store), 5);
    assert_int_equal(store_set_term(node.store, 9), 0);
    assert_int_equal(store_set_vote(node.store, 2), 0);
    node_stop(&node);
    assert_true(node_start(&node));
    assert_int_equal(store_barred(node.store), 5); /* a change of term does not lift it */
    assert_int_equal(store_unbar(node.store), 0);
    node_crash(&node);
    assert_true(node_start(&node));
    assert_int_equal(store_barred(node.store), 0);
    assert_int_equal(node.term, 9);
    end(&node);
}

static void a_barred_folder_is_not_bootstrapped(void **state) {
    (void)state;
    struct node node = used();
    struct store_config config = {.disk = sim_disk_face(node.disk), .node_id = NODE_ID, .segment_bytes = SEGMENT};
    struct raft_configuration c;
    bool done;
    damage_middle(&node);
    assert_int_equal(check(&node, true, &done), 0);
    memcpy(config.cluster_id, node_identity.cluster_id, 16);
    raft_configuration_init(&c);
    assert_int_equal(raft_configuration_add(&c, NODE_ID, "127.0.0.1:1", RAFT_VOTER), 0);
    assert_int_equal(store_open(&config, &node.store, &node.err), 0);
    assert_int_equal(store_bootstrap(node.store, &c), RAFT_CANTBOOTSTRAP);
    raft_configuration_close(&c);
    end(&node);
}

static void diverged_data_needs_the_operator(void **state) {
    (void)state;
    struct node node = used();
    bool done;
    assert_true(node_start(&node));
    assert_int_equal(store_mark_diverged(node.store), 0);
    node_crash(&node);
    assert_int_equal(check(&node, false, &done), ERR_CORRUPT);
    assert_non_null(strstr(node.err.text, "--reinstall"));
    assert_int_equal(check(&node, true, &done), 0);
    assert_true(done);
    assert_int_equal(check(&node, false, &done), 0);
    assert_false(done);
    assert_int_equal(vote_of(&node).marks, 0);
    end(&node);
}

static void without_its_vote_a_node_is_not_reinstalled(void **state) {
    (void)state;
    for (unsigned lost = 0; lost < 2; lost++) {
        struct node node = used();
        bool done;
        damage_middle(&node);
        if (lost) {
            sim_disk_delete(node.disk, VOTE_FILE);
        } else {
            sim_disk_flip(node.disk, VOTE_FILE, 50, 0);
            sim_disk_flip(node.disk, VOTE_FILE, DISK_BLOCK + 50, 0);
        }
        assert_int_equal(check(&node, true, &done), ERR_CORRUPT);
        assert_non_null(strstr(node.err.text, "new id"));
        assert_true(count_names(&node, "log-") > 0 && count_names(&node, "aside-") == 0);
        end(&node);
    }
}

static bool keep_sector(void *data, size_t sector) {
    (void)sector;
    return *(bool *)data;
}

/* An old copy of the vote file beside a damaged log: the log still tells that there was a later vote. */
static void with_an_old_vote_a_node_is_not_reinstalled(void **state) {
    (void)state;
    struct node node = used();
    bool done;
    size_t len;
    uint8_t old[2 * DISK_BLOCK];
    memcpy(old, sim_disk_data(node.disk, VOTE_FILE, &len), sizeof old);
    assert_true(node_start(&node));
    assert_int_equal(store_set_term(node.store, 8), 0);
    node_append(&node, 8, 500, 100, &done);
    node_settle(&node);
    node_stop(&node);
    sim_disk_poke(node.disk, VOTE_FILE, 0, old, sizeof old);
    damage_middle(&node);
    assert_int_equal(check(&node, true, &done), ERR_CORRUPT);
    assert_non_null(strstr(node.err.text, "new id"));
    assert_int_equal(count_names(&node, "aside-"), 0);
    end(&node);
}

/* The log is gone, and with it what it knew of later votes; a snapshot still tells. */
static void nor_when_only_a_snapshot_tells_of_a_later_vote(void **state) {
    (void)state;
    struct node node = used();
    bool done;
    int status;
    size_t len;
    uint8_t old[2 * DISK_BLOCK];
    char names[128][DISK_NAME_MAX];
    memcpy(old, sim_disk_data(node.disk, VOTE_FILE, &len), sizeof old);
    assert_true(node_start(&node));
    assert_int_equal(store_set_term(node.store, 8), 0);
    node_append(&node, 8, 500, 100, &done);
    node_settle(&node);
    node_snapshot(&node, 14, 8, 1, 5, 500, &status);
    node_settle(&node);
    assert_int_equal(status, 0);
    node_stop(&node);
    sim_disk_poke(node.disk, VOTE_FILE, 0, old, sizeof old);
    size_t n = sim_disk_names(node.disk, names, 128);
    for (size_t i = 0; i < n; i++)
        if (!strncmp(names[i], "log-", 4)) sim_disk_delete(node.disk, names[i]);
    assert_int_equal(check(&node, true, &done), ERR_CORRUPT);
    assert_non_null(strstr(node.err.text, "new id"));
    assert_int_equal(count_names(&node, "aside-"), 0);
    end(&node);
}

/* So much of the log is damaged that not all of it is listed: the old vote must not be lost among it. */
static void nor_when_the_damage_is_too_much_to_list(void **state) {
    (void)state;
    struct node node = used();
    bool done;
    size_t len;
    uint8_t old[2 * DISK_BLOCK];
    char names[128][DISK_NAME_MAX];
    struct verify_report report;
    memcpy(old, sim_disk_data(node.disk, VOTE_FILE, &len), sizeof old);
    assert_true(node_start(&node));
    assert_int_equal(store_set_term(node.store, 8), 0);
    for (unsigned i = 0; i < 120; i++) {
        node_append(&node, 8, 500 + i, 100, &done);
        node_settle(&node);
    }
    node_stop(&node);
    sim_disk_poke(node.disk, VOTE_FILE, 0, old, sizeof old);
    size_t n = sim_disk_names(node.disk, names, 128);
    for (size_t i = 0; i < n; i++) {
        uint64_t seq;
        if (!wal_segment_name_parse(names[i], &seq) || seq > 18) continue;
        for (unsigned block = 1; block < 8; block++)
            sim_disk_flip(node.disk, names[i], block * DISK_BLOCK + 100, 2);
    }
    assert_int_equal(verify_run(sim_disk_face(node.disk), false, &report, &node.err), 0);
    assert_true(report.faults_total > VERIFY_FAULTS_MAX);
    assert_int_equal(check(&node, true, &done), ERR_CORRUPT);
    assert_non_null(strstr(node.err.text, "new id"));
    assert_int_equal(count_names(&node, "aside-"), 0);
    end(&node);
}

/* Whatever the step at which it stops: afterwards the node is whole with its old vote, or barred in a higher term; a
 * start without the flag goes on; nothing is deleted. */
static void a_crash_at_any_step_is_gone_on_with(void **state) {
    (void)state;
    unsigned cut = 0, before = 0;
    for (unsigned at = 2; at < 80; at++) {
        struct node node = used();
        bool done = false, land = at % 2; /* the write under way reaches the disk, or not */
        unsigned step = at / 2;
        damage_middle(&node);
        size_t files = count_names(&node, "log-") + count_names(&node, "spare-");
        sim_disk_fault_after(node.disk, step, SIM_DISK_DIE);
        bool died = check(&node, true, &done) != 0;
        sim_disk_crash_keep(node.disk, keep_sector, &land);
        struct vote vote = vote_of(&node);
        assert_true((vote.term == 5 && vote.voted_for == 3 && vote.barred == 0) ||
                    (vote.term == 6 && vote.voted_for == 0 && vote.barred == 5));
        assert_int_equal(check(&node, false, &done), 0);
        vote = vote_of(&node);
        if (vote.term == 6) {
            assert_int_equal(count_names(&node, "log-") + count_names(&node, "spare-"), 0);
            assert_true(node_start(&node));
            assert_true(node.n == 0 && store_barred(node.store) == 5);
            cut += died;
        } else {
            assert_false(node_start(&node));
            before += died;
        }
        size_t kept = 0;
        char names[128][DISK_NAME_MAX];
        size_t n = sim_disk_names(node.disk, names, 128);
        for (size_t i = 0; i < n; i++)
            kept += strstr(names[i], "log-") != NULL || (strstr(names[i], "spare-") != NULL);
        assert_true(kept >= files);
        end(&node);
        if (!died) break;
        assert_true(at < 79);
    }
    assert_true(cut >= 3 && before >= 1);
}

int main(void) {
    log_setup(LOG_ERROR, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_folder_number_is_in_the_identity),
        cmocka_unit_test(a_pin_stays_and_another_folder_is_refused),
        cmocka_unit_test(a_full_table_forgets_only_who_is_no_member),
        cmocka_unit_test(pins_survive_a_torn_write_and_one_damaged_slot),
        cmocka_unit_test(damage_is_told_and_an_older_folder_gets_its_file),
        cmocka_unit_test(a_majority_of_the_others_must_have_accepted),
        cmocka_unit_test(intact_data_is_left_alone),
        cmocka_unit_test(damaged_data_is_set_aside_and_the_node_is_barred),
        cmocka_unit_test(a_barred_folder_is_not_bootstrapped),
        cmocka_unit_test(diverged_data_needs_the_operator),
        cmocka_unit_test(without_its_vote_a_node_is_not_reinstalled),
        cmocka_unit_test(with_an_old_vote_a_node_is_not_reinstalled),
        cmocka_unit_test(nor_when_only_a_snapshot_tells_of_a_later_vote),
        cmocka_unit_test(nor_when_the_damage_is_too_much_to_list),
        cmocka_unit_test(a_crash_at_any_step_is_gone_on_with),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
