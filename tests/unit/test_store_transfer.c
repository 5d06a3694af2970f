/* SPDX-License-Identifier: Apache-2.0
 * Snapshots that come and go in pieces: fed bit by bit, received from another node, read for one. Crashes at each step
 * are test_store_crash's; here are ends that are no crash: no space, giving up, a sender that stops or sends damage. */
#include "../lib/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "../lib/store_node.h"
#include "base/check.h"
#include "base/rng.h"

#define SEGMENT (16u * DISK_BLOCK)

static struct node fresh(void) {
    struct node node = {.disk = sim_disk_new(9), .segment_bytes = SEGMENT, .loads = true};
    node_format(node.disk);
    node_bootstrap(&node);
    for (uint64_t i = 2; i <= 60; i++) {
        node_append(&node, 1, 1000 + i, 100, NULL);
        node_settle(&node);
    }
    return node;
}

static void end(struct node *node) {
    struct sim_disk *disk = node->disk;
    node_done(node);
    sim_disk_free(disk);
}

static void snapshot(struct node *node, uint64_t index, size_t len) {
    int status;
    node_snapshot(node, index, 1, 5, index * 7, len, &status);
    node_settle(node);
    assert_int_equal(status, 0);
}

static void a_state_of_many_chunks_comes_back(void **state) {
    (void)state;
    struct node node = fresh();
    snapshot(&node, 50, (5u << 20) + 12345);
    node_stop(&node);
    assert_true(node_start(&node));
    assert_int_equal(node.snapshot_index, 50);
    assert_int_equal(node.snapshot_id, 350);
    end(&node);
}

static void no_space_in_the_middle_ends_it_and_nothing_else(void **state) {
    (void)state;
    struct node node = fresh();
    size_t len;
    int status;
    sim_disk_set_capacity(node.disk, 40u << 20);
    node_snapshot(&node, 50, 1, 5, 4, 60u << 20, &status);
    node_settle(&node);
    assert_int_equal(status, RAFT_NOSPACE);
    assert_false(node.fatal || store_snapshot_wants(node.store));
    assert_null(sim_disk_data(node.disk, SNAPSHOT_TEMP, &len));
    sim_disk_set_capacity(node.disk, 0);
    snapshot(&node, 51, 3u << 20);
    end(&node);
}

struct given_up {
    struct raft_io_snapshot_put req;
    struct raft_snapshot head;
    int status;
};

static void given_up_cb(struct raft_io_snapshot_put *req, int status) {
    ((struct given_up *)req->data)->status = status;
}

static void one_that_is_given_up_leaves_nothing(void **state) {
    (void)state;
    for (int fed = 0; fed < 2; fed++) {
        struct node node = fresh();
        struct given_up g = {.status = -1, .head = {.index = 40, .term = 1, .configuration_index = 1}};
        struct buf bits;
        size_t len;
        raft_configuration_init(&g.head.configuration);
        buf_init(&bits, 8u << 20);
        g.req.data = &g;
        assert_int_equal(store_snapshot_begin(node.store, 5, &g.req, &g.head, given_up_cb), 0);
        assert_true(store_snapshot_wants(node.store) && store_snapshot_room(node.store) == STORE_FEED_BYTES);
        for (int i = 0; i < 5 && fed; i++) {
            memset(buf_reserve(&bits, 1u << 20), i, 1u << 20);
            bits.len += 1u << 20;
            assert_int_equal(store_snapshot_feed(node.store, &bits, false), 0);
        }
        if (fed) assert_int_equal(store_snapshot_room(node.store), 0); /* 1 MiB is the job's, 4 wait */
        store_snapshot_give_up(node.store);
        node_settle(&node);
        assert_int_equal(g.status, RAFT_CANCELED);
        assert_int_equal(store_snapshot_feed(node.store, &bits, true), ERR_CLOSED);
        assert_null(sim_disk_data(node.disk, SNAPSHOT_TEMP, &len));
        buf_done(&bits);
        snapshot(&node, 50, 5000);
        end(&node);
    }
}

/* ---- arriving ---- */

struct arrival {
    int status;
    uint64_t bytes;
    struct snapshot_manifest manifest;
    bool whole;
};

static void arrival_cb(void *data, int status, uint64_t bytes, const struct snapshot_manifest *manifest) {
    struct arrival *a = data;
    a->status = status;
    a->bytes = bytes;
    a->whole = manifest != NULL;
    if (manifest) a->manifest = *manifest;
}

/* The file of a snapshot as another node has it. */
static uint8_t *other_file(const struct snapshot_id *id, size_t state_len, size_t *ret_len) {
    struct sim_disk *other = sim_disk_new(2);
    uint8_t *bytes = malloc(state_len);
    struct raft_buffer buf = {.base = bytes, .len = state_len};
    struct raft_snapshot s = {
        .index = id->index, .term = id->term, .configuration_index = 1, .bufs = &buf, .n_bufs = 1};
    struct err err;
    char name[DISK_NAME_MAX];
    CHECK(bytes);
    node_state_fill(77, bytes, state_len);
    raft_configuration_init(&s.configuration);
    CHECK(raft_configuration_add(&s.configuration, 1, "127.0.0.1:5060", RAFT_VOTER) == 0);
    CHECK(snapshot_write(sim_disk_face(other), node_identity.cluster_id, &s, &err) == 0);
    snapshot_name(id, name);
    const uint8_t *file = sim_disk_data(other, name, ret_len);
    uint8_t *copy = malloc(*ret_len);
    CHECK(copy);
    memcpy(copy, file, *ret_len);
    raft_configuration_close(&s.configuration);
    sim_disk_free(other);
    free(bytes);
    return copy;
}

static const struct snapshot_id theirs = {.index = 500, .term = 1};

/* Sends the first `len` bytes in pieces; stops when the other side has said no. */
static void send_pieces(struct node *node, const uint8_t *file, size_t len, size_t piece, struct arrival *a) {
    for (size_t at = 0, n = 0; at < len && a->status == 0; at += n) {
        n = piece < len - at ? piece : len - at;
        assert_int_equal(store_receive_data(node->store, file + at, n), 0);
        node_settle(node);
        if (a->status == 0) assert_int_equal(a->bytes, at + n);
    }
}

static void arrives(struct node *node, const uint8_t *file, size_t len, struct arrival *a) {
    *a = (struct arrival){0};
    assert_int_equal(store_receive_begin(node->store, &theirs, len, arrival_cb, a), 0);
    send_pieces(node, file, len, len / 5 + 1, a);
}

static void a_sender_that_stops_anywhere_or_sends_damage_changes_nothing(void **state) {
    (void)state;
    struct node node = fresh();
    struct arrival a;
    struct rng rng;
    size_t len, left;
    uint8_t *file = other_file(&theirs, 9000, &len);
    rng_seed(&rng, 1);
    for (size_t cut = 0; cut < len; cut += 1 + cut / 10) {
        a = (struct arrival){0};
        assert_int_equal(store_receive_begin(node.store, &theirs, len, arrival_cb, &a), 0);
        assert_int_equal(store_receive_begin(node.store, &theirs, len, arrival_cb, &a), ERR_BUSY);
        send_pieces(&node, file, cut, 1 + rng_below(&rng, 2000), &a);
        store_receive_abandon(node.store);
        node_settle(&node);
        assert_true(a.status == 0 && !a.whole);
        assert_null(sim_disk_data(node.disk, SNAPSHOT_ARRIVING, &left));
    }
    for (unsigned round = 0; round < 400; round++) {
        size_t at = rng_below(&rng, len);
        file[at] ^= (uint8_t)(1u << rng_below(&rng, 8));
        struct arrival bad;
        arrives(&node, file, len, &bad);
        assert_int_equal(bad.status, ERR_CORRUPT);
        assert_false(node.fatal);
        assert_null(sim_disk_data(node.disk, SNAPSHOT_ARRIVING, &left));
        node_settle(&node);
        arrives(&node, file, len, &bad); /* the same again, not mended */
        assert_int_equal(bad.status, ERR_CORRUPT);
        free(file);
        file = other_file(&theirs, 9000, &len);
    }
    assert_int_equal(store_receive_data(node.store, file, 1), ERR_CLOSED);
    arrives(&node, file, len, &a);
    assert_true(a.whole && a.manifest.id.index == 500 && a.manifest.file_size == len);
    void *loader = store_loader_take(node.store, &a.manifest);
    assert_non_null(loader);
    assert_null(store_loader_take(node.store, &a.manifest)); /* once */
    store_loader_drop(node.store, loader);
    node_settle(&node);
    free(file);
    end(&node);
}

static void one_that_finds_no_room_gives_back_what_it_took(void **state) {
    (void)state;
    struct node node = fresh();
    struct store_space before, after;
    struct arrival a;
    size_t len;
    uint8_t *file = other_file(&theirs, 9u << 20, &len);
    sim_disk_set_capacity(node.disk, 8u << 20);
    assert_int_equal(store_space(node.store, &before, NULL), 0);
    arrives(&node, file, len, &a);
    node_settle(&node);
    assert_int_equal(a.status, ERR_LIMIT);
    assert_false(node.fatal);
    assert_int_equal(store_space(node.store, &after, NULL), 0);
    assert_int_equal(after.free_bytes, before.free_bytes);
    sim_disk_set_capacity(node.disk, 0);
    arrives(&node, file, len, &a);
    assert_true(a.whole);
    free(file);
    end(&node);
}

static void what_has_not_arrived_is_not_installed(void **state) {
    (void)state;
    struct node node = fresh();
    uint8_t bytes[SNAPSHOT_MANIFEST_BYTES];
    struct snapshot_manifest m = {.id = theirs, .file_size = 1000};
    struct raft_buffer buf = {.base = bytes, .len = sizeof bytes};
    struct raft_snapshot s = {.index = 500, .term = 1, .bufs = &buf, .n_bufs = 1};
    struct given_up g = {.status = -1};
    snapshot_manifest_encode(&m, bytes);
    g.req.data = &g;
    assert_int_equal(store_snapshot_put(node.store, 0, &g.req, &s, given_up_cb), RAFT_NOTFOUND);
    bool acked = false;
    node_append(&node, 1, 5, 64, &acked);
    node_settle(&node);
    assert_true(acked);
    end(&node);
}

/* ---- leaving ---- */

struct got {
    int status;
    struct raft_snapshot *snapshot;
};

static void got_cb(struct raft_io_snapshot_get *req, struct raft_snapshot *s, int status) {
    struct got *g = req->data;
    g->snapshot = s;
    g->status = status;
}

static int head(struct node *node, struct snapshot_manifest *ret) {
    struct got g = {.status = -1};
    struct raft_io_snapshot_get req = {.data = &g};
    assert_int_equal(store_snapshot_get(node->store, &req, got_cb), 0);
    node_settle(node);
    if (g.status == 0) assert_true(snapshot_manifest_decode(g.snapshot->bufs[0].base, g.snapshot->bufs[0].len, ret));
    snapshot_free(g.snapshot);
    return g.status;
}

struct reading {
    struct buf bytes;
    int status;
    size_t last;
};

static void read_cb(void *data, int status, const uint8_t *bytes, size_t len) {
    struct reading *r = data;
    r->status = status;
    r->last = len;
    if (status == 0) (void)buf_append(&r->bytes, bytes, len);
}

static void a_file_that_is_sent_stays_until_it_was(void **state) {
    (void)state;
    struct node node = fresh();
    struct snapshot_manifest m;
    struct store_source *source;
    struct reading r = {0};
    char name[DISK_NAME_MAX];
    size_t len;
    buf_init(&r.bytes, 16u << 20);
    snapshot(&node, 20, 3u << 20);
    assert_int_equal(head(&node, &m), 0);
    assert_int_equal(store_source_open(node.store, &m, &source), 0);
    snapshot(&node, 30, 100);
    snapshot(&node, 40, 100);
    snapshot(&node, 50, 100);
    snapshot_name(&m.id, name);
    const uint8_t *file = sim_disk_data(node.disk, name, &len);
    assert_non_null(file);
    for (r.last = 1; r.bytes.len < len && r.status == 0 && r.last > 0;) {
        store_source_read(source, 300000, read_cb, &r);
        node_settle(&node);
    }
    assert_int_equal(r.bytes.len, len);
    assert_memory_equal(r.bytes.data, file, len);
    store_source_close(source);
    assert_int_equal(store_source_open(node.store, &m, &source), ERR_NOT_FOUND); /* not one of the newest two */
    snapshot(&node, 55, 100);
    assert_null(sim_disk_data(node.disk, name, &len));
    buf_done(&r.bytes);
    end(&node);
}

static void a_file_that_has_rotted_is_not_sent(void **state) {
    (void)state;
    struct node node = fresh();
    struct snapshot_manifest m;
    struct store_source *source;
    struct reading r = {0};
    char name[DISK_NAME_MAX];
    buf_init(&r.bytes, 16u << 20);
    snapshot(&node, 20, 3u << 20);
    assert_int_equal(head(&node, &m), 0);
    snapshot_name(&m.id, name);
    sim_disk_flip(node.disk, name, m.file_size / 2, 3);
    assert_int_equal(store_source_open(node.store, &m, &source), 0);
    while (r.status == 0) {
        store_source_read(source, 300000, read_cb, &r);
        node_settle(&node);
    }
    assert_int_equal(r.status, ERR_CORRUPT);
    store_source_close(source);
    assert_int_equal(head(&node, &m), RAFT_CORRUPT); /* and not again */
    snapshot(&node, 30, 100);
    assert_int_equal(head(&node, &m), 0);
    assert_int_equal(m.id.index, 30);
    buf_done(&r.bytes);
    end(&node);
}

static void an_end_in_the_middle_of_everything_frees_everything(void **state) {
    (void)state;
    for (int crash = 0; crash < 2; crash++) {
        struct node node = fresh();
        struct snapshot_manifest m;
        struct store_source *source;
        struct reading r = {0};
        struct arrival a = {0};
        size_t len;
        uint8_t *file = other_file(&theirs, 9000, &len);
        snapshot(&node, 20, 3u << 20);
        assert_int_equal(head(&node, &m), 0);
        assert_int_equal(store_source_open(node.store, &m, &source), 0);
        store_source_read(source, 1000, read_cb, &r);
        assert_int_equal(store_receive_begin(node.store, &theirs, len, arrival_cb, &a), 0);
        assert_int_equal(store_receive_data(node.store, file, len), 0);
        if (crash)
            node_crash(&node);
        else
            node_stop(&node);
        assert_true(node_start(&node));
        assert_int_equal(node.snapshot_index, 20);
        free(file);
        end(&node);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_state_of_many_chunks_comes_back),
        cmocka_unit_test(no_space_in_the_middle_ends_it_and_nothing_else),
        cmocka_unit_test(one_that_is_given_up_leaves_nothing),
        cmocka_unit_test(a_sender_that_stops_anywhere_or_sends_damage_changes_nothing),
        cmocka_unit_test(one_that_finds_no_room_gives_back_what_it_took),
        cmocka_unit_test(what_has_not_arrived_is_not_installed),
        cmocka_unit_test(a_file_that_is_sent_stays_until_it_was),
        cmocka_unit_test(a_file_that_has_rotted_is_not_sent),
        cmocka_unit_test(an_end_in_the_middle_of_everything_frees_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
