/* SPDX-License-Identifier: Apache-2.0
 * Torn last writes, rot, lost and foreign files: what may be cut is cut, everything else is refused, and the verifier
 * says the same as the start. */
#include "../lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/store_node.h"
#include "base/crc32c.h"
#include "base/rng.h"
#include "consensus/snapshot_file.h"
#include "consensus/verify.h"
#include "consensus/vote.h"
#include "consensus/wal_format.h"

#define SEGMENT (6u * DISK_BLOCK)

static struct node fresh(void) {
    struct node node = {.disk = sim_disk_new(1), .segment_bytes = SEGMENT};
    node_format(node.disk);
    node_bootstrap(&node);
    return node;
}

static void end(struct node *node) {
    struct sim_disk *disk = node->disk;
    node_done(node);
    sim_disk_free(disk);
}

/* A node on a copy of the disk, not started. */
static struct node clone(const struct node *of, uint64_t seed) {
    return (struct node){.disk = sim_disk_copy(of->disk, seed), .segment_bytes = of->segment_bytes};
}

static void fill(struct node *node, uint64_t from, uint64_t to, size_t len) {
    for (uint64_t i = from; i <= to; i++) {
        node_append(node, 1, i, len, NULL);
        node_settle(node);
    }
}

static bool same_entries(const struct node *a, const struct node *b, size_t n) {
    return a->start == b->start && a->n >= n && b->n >= n &&
           memcmp(a->entries, b->entries, n * sizeof *a->entries) == 0;
}

static struct verify_report report;

static void verify(struct sim_disk *disk) {
    struct err err;
    assert_int_equal(verify_run(sim_disk_face(disk), false, &report, &err), 0);
}

static bool names_file(const char *file) {
    for (size_t i = 0; i < report.n_faults; i++)
        if (strcmp(report.faults[i].file, file) == 0 && report.faults[i].remedy) return true;
    return false;
}

/* ---- torn writes ---- */

static uint64_t kept_mask;

static bool keep_by_mask(void *data, size_t sector) {
    (void)data;
    return sector < 64 && (kept_mask >> sector & 1);
}

/* Ends the clone's life with exactly the masked sectors of its pending write, and judges what is loaded. */
static void tear_and_judge(const struct node *base, size_t before, size_t len, uint64_t mask) {
    struct node n = clone(base, mask + 1);
    bool acked = false;
    assert_true(node_start(&n));
    assert_int_equal(n.n, before);
    struct node whole = n;
    whole.entries = calloc(n.n + 1, sizeof *n.entries);
    assert_non_null(whole.entries);
    memcpy(whole.entries, n.entries, n.n * sizeof *n.entries);
    node_append(&n, 1, 999, len, &acked);
    kept_mask = mask;
    sim_disk_crash_keep(n.disk, keep_by_mask, NULL);
    store_abandon(n.store);
    n.store = NULL;
    assert_false(acked);
    assert_true(node_start(&n));
    assert_true(n.n == before || n.n == before + 1);
    if (n.n == before + 1) assert_int_equal(n.entries[before].id, 999);
    assert_true(same_entries(&n, &whole, before));
    size_t kept = n.n;
    node_append(&n, 1, 555, 40, &acked); /* the place of the torn group is written again */
    node_settle(&n);
    assert_true(acked);
    node_crash(&n);
    assert_true(node_start(&n));
    assert_int_equal(n.n, kept + 1);
    assert_int_equal(n.entries[kept].id, 555);
    verify(n.disk);
    assert_true(report.ok);
    free(whole.entries);
    end(&n);
}

static void the_sectors_of_the_last_write_may_land_in_any_order(void **state) {
    (void)state;
    struct node base = fresh();
    fill(&base, 2, 3, 100);
    node_crash(&base);
    for (uint64_t mask = 0; mask < 256; mask++) /* every set of the 8 sectors of a one-block group */
        tear_and_judge(&base, 3, 3000, mask);
    struct rng rng;
    rng_seed(&rng, 4);
    for (unsigned i = 0; i < 600; i++) /* 16 sectors */
        tear_and_judge(&base, 3, 7000, rng_below(&rng, 65536));
    end(&base);
}

static void the_first_write_of_a_segment_may_land_in_any_order(void **state) {
    (void)state;
    struct node base = fresh();
    fill(&base, 2, 4, 3000); /* blocks 1..4; only the place of FINAL is left */
    node_crash(&base);
    struct rng rng;
    rng_seed(&rng, 5);
    for (unsigned i = 0; i < 600; i++) { /* 8 sectors of header, 8 of the group; FINAL is written before */
        struct node n = clone(&base, i);
        uint64_t mask = i < 17 ? (1u << i) - 1 : i < 33 ? 0xffffu << (i - 17) & 0xffffu : rng_below(&rng, 65536);
        assert_true(node_start(&n));
        node_settle(&n); /* the next segment is made ready */
        node_append(&n, 1, 999, 3000, NULL);
        sim_disk_step(n.disk, 0); /* FINAL */
        assert_int_equal(sim_disk_bytes_at(n.disk, 0), 2 * DISK_BLOCK);
        kept_mask = mask;
        sim_disk_crash_keep(n.disk, keep_by_mask, NULL);
        store_abandon(n.store);
        n.store = NULL;
        assert_true(node_start(&n));
        assert_true(n.n == 4 || (n.n == 5 && n.entries[4].id == 999));
        bool acked = false;
        size_t kept = n.n;
        node_append(&n, 1, 555, 40, &acked);
        node_settle(&n);
        assert_true(acked);
        node_crash(&n);
        assert_true(node_start(&n));
        assert_int_equal(n.n, kept + 1);
        end(&n);
    }
    end(&base);
}

static void a_stale_suffix_behind_the_tail_is_never_read(void **state) {
    (void)state;
    struct node n = fresh();
    fill(&n, 2, 3, 100);
    node_append(&n, 1, 4, 10000, NULL); /* three blocks, of which only the last two land */
    kept_mask = 0xffff00;
    sim_disk_crash_keep(n.disk, keep_by_mask, NULL);
    store_abandon(n.store);
    n.store = NULL;
    assert_true(node_start(&n));
    assert_int_equal(n.n, 3);
    fill(&n, 40, 40, 100); /* one block in front of the stale two */
    node_crash(&n);
    assert_true(node_start(&n));
    assert_int_equal(n.n, 4);
    assert_int_equal(n.entries[3].id, 40);
    end(&n);
}

static void groups_of_a_segments_earlier_life_are_never_read(void **state) {
    (void)state;
    struct node n = fresh();
    int status;
    for (uint64_t round = 0; round < 8; round++) {
        uint64_t last = 1 + (round + 1) * 12;
        fill(&n, last - 11, last, 1000);
        node_snapshot(&n, last, 1, 2, round + 1, 100, &status);
        node_settle(&n);
        node_crash(&n); /* with nothing in flight: the tail is followed by an earlier life */
        assert_true(node_start(&n));
        assert_int_equal(n.start + n.n - 1, last);
        for (size_t i = n.start == 1; i < n.n; i++) /* the configuration is not numbered */
            assert_int_equal(n.entries[i].id, n.start + i);
        verify(n.disk);
        assert_true(report.ok);
    }
    end(&n);
}

/* ---- rot ---- */

/* A log of three segments, sealed, with two snapshots. */
static struct node rich(void) {
    struct node n = fresh();
    int status;
    fill(&n, 2, 8, 2500);
    assert_int_equal(store_set_term(n.store, 3), 0);
    assert_int_equal(store_set_vote(n.store, 2), 0);
    node_snapshot(&n, 5, 1, 10, 50, 700, &status);
    node_settle(&n);
    fill(&n, 9, 14, 900);
    node_snapshot(&n, 9, 1, 10, 90, 700, &status);
    node_settle(&n);
    node_run(&n, 100); /* seals */
    node_stop(&n);
    return n;
}

/* The positions that are tried: all near the start of a block, where headers are, and every seventh elsewhere. */
static bool position_tried(size_t at) {
    return at % DISK_BLOCK < 160 || at % 7 == 0;
}

/* Flips one bit at a time. Up to `dead_from` each must stop the start (or, if `survived`, be mended by it) and be
 * reported with the file's name; from there on nothing may be noticed. */
static void flip_all(const struct node *base, const struct node *whole, const char *file, size_t dead_from,
                     bool survived) {
    size_t len;
    assert_non_null(sim_disk_data(base->disk, file, &len));
    struct node n = clone(base, 9);
    for (size_t at = 0; at < len; at++) {
        unsigned bit = (unsigned)(at * 5 % 8);
        if (!position_tried(at)) continue;
        sim_disk_flip(n.disk, file, at, bit);
        verify(n.disk);
        struct node trial = clone(&n, at);
        bool started = node_start(&trial);
        if (started != (survived || at >= dead_from) || report.ok != (at >= dead_from) ||
            (!report.ok && !names_file(file)) || (!started && !strstr(trial.err.text, file))) {
            print_message("%s byte %zu bit %u: started %d, verified %d: %s\n", file, at, bit, started, report.ok,
                          trial.err.text);
            fail();
        }
        if (started) {
            assert_true(same_entries(&trial, whole, whole->n));
            assert_int_equal(trial.term, whole->term);
            assert_int_equal(trial.voted_for, whole->voted_for);
        }
        end(&trial);
        sim_disk_flip(n.disk, file, at, bit);
    }
    end(&n);
}

/* Where the groups of a segment end; a seal that nothing follows is not counted: what it tells is not told yet. */
static size_t groups_end(const struct node *n, const char *file, bool last) {
    size_t len, at = DISK_BLOCK;
    struct wal_segment_header h;
    struct wal_group_header g;
    const uint8_t *data = sim_disk_data(n->disk, file, &len);
    assert_int_equal(wal_segment_header_decode(data, &h), 0);
    while (at < len && wal_group_header_decode(data + at, len - at, &g) && g.nonce == h.nonce) {
        if (last && g.flags & WAL_SEAL) break;
        at += wal_group_size(g.length);
    }
    return at;
}

static void a_flipped_bit_anywhere_in_the_log_is_refused_or_in_dead_space(void **state) {
    (void)state;
    struct node base = rich();
    struct node whole = clone(&base, 1);
    assert_true(node_start(&whole));
    verify(base.disk);
    uint64_t segments = report.segments;
    assert_true(report.ok);
    assert_true(segments >= 3);
    for (uint64_t seq = 1; seq <= segments; seq++) {
        char name[DISK_NAME_MAX];
        wal_segment_name(seq, name);
        flip_all(&base, &whole, name, groups_end(&base, name, seq == segments), false);
    }
    end(&whole);
    end(&base);
}

static void a_flipped_bit_in_the_vote_file_is_survived_and_reported(void **state) {
    (void)state;
    struct node base = rich();
    struct node whole = clone(&base, 1);
    assert_true(node_start(&whole));
    flip_all(&base, &whole, VOTE_FILE, 2 * DISK_BLOCK, true);
    sim_disk_flip(base.disk, VOTE_FILE, 100, 1);
    verify(base.disk);
    assert_false(report.ok);
    assert_true(names_file(VOTE_FILE));
    assert_int_equal(report.faults[0].offset, 0);
    end(&whole);
    end(&base);
}

static void a_flipped_bit_in_the_identity_is_refused(void **state) {
    (void)state;
    struct node base = rich();
    struct node whole = clone(&base, 1);
    assert_true(node_start(&whole));
    flip_all(&base, &whole, IDENTITY_FILE, 64, false);
    end(&whole);
    end(&base);
}

static void a_flipped_bit_anywhere_in_a_snapshot_is_found(void **state) {
    (void)state;
    struct node base = rich();
    size_t len;
    const char *newest = "snapshot-0000000000000009-0000000000000001";
    assert_non_null(sim_disk_data(base.disk, newest, &len));
    for (size_t at = 0; at < len; at++) {
        struct node n = clone(&base, at);
        sim_disk_flip(n.disk, newest, at, (unsigned)(at % 8));
        verify(n.disk);
        assert_false(report.ok);
        assert_true(names_file(newest));
        assert_true(node_start(&n)); /* from the one before */
        assert_int_equal(n.snapshot_index, 5);
        assert_int_equal(n.snapshot_id, 50);
        assert_int_equal(n.start + n.n - 1, 14);
        end(&n);
    }
    end(&base);
}

static void a_zeroed_block_or_sector_in_the_middle_is_refused(void **state) {
    (void)state;
    static const uint8_t zeros[DISK_BLOCK];
    struct node base = rich();
    for (uint64_t offset = 0; offset < 3 * DISK_BLOCK; offset += SIM_SECTOR)
        for (size_t len = SIM_SECTOR; len <= DISK_BLOCK; len *= 8) {
            struct node n = clone(&base, offset);
            size_t size;
            const uint8_t *data = sim_disk_data(n.disk, "log-0000000000000002", &size);
            bool changes = memcmp(data + offset, zeros, len) != 0;
            sim_disk_poke(n.disk, "log-0000000000000002", offset, zeros, len);
            assert_int_equal(node_start(&n), !changes);
            end(&n);
        }
    end(&base);
}

static void rot_in_the_unsealed_last_group_is_the_one_thing_that_is_taken_for_torn(void **state) {
    (void)state;
    struct node n = fresh();
    fill(&n, 2, 3, 100);
    node_crash(&n); /* before the seal */
    sim_disk_flip(n.disk, "log-0000000000000001", 3 * DISK_BLOCK + 80, 0);
    struct node sealed = clone(&n, 2);
    assert_true(node_start(&n));
    assert_int_equal(n.n, 2);
    end(&n);
    sim_disk_flip(sealed.disk, "log-0000000000000001", 3 * DISK_BLOCK + 80, 0); /* mend, seal, damage again */
    assert_true(node_start(&sealed));
    node_run(&sealed, 50);
    node_crash(&sealed);
    sim_disk_flip(sealed.disk, "log-0000000000000001", 3 * DISK_BLOCK + 80, 0);
    assert_false(node_start(&sealed));
    assert_non_null(strstr(sealed.err.text, "log-0000000000000001 at offset 12288"));
    assert_non_null(strstr(sealed.err.text, "join under a new id"));
    end(&sealed);
}

/* Completes writes but no jobs: the next segment is not made ready. */
static void writes_only(struct node *node) {
    for (size_t i = 0; i < sim_disk_pending(node->disk);)
        if (sim_disk_kind_at(node->disk, i) == SIM_DISK_WRITE) {
            sim_disk_step(node->disk, i);
        } else {
            i++;
        }
}

static void a_rotten_header_of_the_last_file_is_told_from_one_that_never_landed(void **state) {
    (void)state;
    struct node n = fresh();
    fill(&n, 2, 4, 3000);
    node_settle(&n);
    node_append(&n, 1, 5, 3000, NULL); /* begins segment 2 */
    writes_only(&n);
    node_append(&n, 1, 6, 3000, NULL); /* its second group */
    writes_only(&n);
    size_t len;
    assert_null(sim_disk_data(n.disk, "log-0000000000000003", &len));
    node_crash(&n);
    for (uint64_t at = 0; at < DISK_BLOCK; at += 61) {
        struct node trial = clone(&n, at);
        sim_disk_flip(trial.disk, "log-0000000000000002", at, 1);
        assert_false(node_start(&trial));
        assert_non_null(strstr(trial.err.text, "log-0000000000000002 at offset 0"));
        end(&trial);
    }
    assert_true(node_start(&n));
    assert_int_equal(n.n, 6);
    end(&n);
}

static void a_segment_is_not_closed_before_the_next_is_ready(void **state) {
    (void)state;
    struct node n = fresh();
    for (uint64_t i = 2; i <= 4; i++) {
        node_append(&n, 1, i, 3000, NULL);
        writes_only(&n);
    }
    for (unsigned i = 0; i < 20; i++) { /* idle, one block left: the seal would be FINAL */
        n.now_ms += 20;
        store_tick(n.store, n.now_ms);
        writes_only(&n);
    }
    node_crash(&n);
    assert_true(node_start(&n));
    assert_int_equal(n.n, 4);
    end(&n);
}

static void a_group_that_continues_another_past_is_refused(void **state) {
    (void)state;
    struct node base = fresh();
    node_run(&base, 50);
    struct node a = clone(&base, 1), b = clone(&base, 1);
    size_t len;
    node_crash(&base);
    assert_true(node_start(&a) && node_start(&b));
    fill(&a, 2, 3, 64);
    fill(&b, 12, 13, 64); /* the same numbers in the same places, other content */
    node_crash(&a);
    node_crash(&b);
    const uint8_t *data = sim_disk_data(b.disk, "log-0000000000000001", &len);
    sim_disk_poke(a.disk, "log-0000000000000001", 4 * DISK_BLOCK, data + 4 * DISK_BLOCK, DISK_BLOCK);
    assert_false(node_start(&a));
    assert_non_null(strstr(a.err.text, "does not continue"));
    end(&a);
    end(&b);
    end(&base);
}

/* ---- lost, old and foreign files ---- */

static void refused_without(const struct node *base, const char *file) {
    struct node n = clone(base, 3);
    sim_disk_delete(n.disk, file);
    verify(n.disk);
    assert_false(report.ok);
    assert_false(node_start(&n));
    end(&n);
}

static void a_lost_file_is_refused(void **state) {
    (void)state;
    struct node base = rich();
    refused_without(&base, "log-0000000000000002"); /* the first one is no more needed: the snapshot covers it */
    refused_without(&base, "log-0000000000000003");
    refused_without(&base, VOTE_FILE);
    refused_without(&base, IDENTITY_FILE);
    end(&base);
}

static void file_put(struct node *n, const char *name, const struct node *from) {
    size_t len;
    struct err err;
    const uint8_t *data = sim_disk_data(from->disk, name, &len);
    assert_non_null(data);
    assert_int_equal(disk_replace(sim_disk_face(n->disk), name, data, len, &err), 0);
}

static void an_old_copy_of_the_vote_file_is_refused(void **state) {
    (void)state;
    struct node n = fresh();
    struct node old = clone(&n, 1);
    assert_int_equal(store_set_vote(n.store, 3), 0); /* same term: only the version tells */
    fill(&n, 2, 3, 100);
    node_stop(&n);
    file_put(&n, VOTE_FILE, &old);
    verify(n.disk);
    assert_false(report.ok);
    assert_true(names_file(VOTE_FILE));
    assert_false(node_start(&n));
    assert_non_null(strstr(n.err.text, "old copy"));
    end(&old);
    end(&n);
}

static void a_log_that_has_lost_its_end_is_refused(void **state) {
    (void)state;
    struct node n = fresh();
    fill(&n, 2, 3, 100);
    struct node old = clone(&n, 1);
    fill(&n, 4, 4, 100);
    assert_int_equal(store_set_term(n.store, 2), 0);
    node_stop(&n);
    file_put(&n, "log-0000000000000001", &old);
    assert_false(node_start(&n));
    assert_non_null(strstr(n.err.text, "lost its end"));
    end(&old);
    end(&n);
}

static void a_segment_of_another_node_is_refused(void **state) {
    (void)state;
    struct node n = fresh();
    size_t len;
    uint8_t block[DISK_BLOCK];
    struct wal_segment_header h;
    node_stop(&n);
    memcpy(block, sim_disk_data(n.disk, "log-0000000000000001", &len), sizeof block);
    assert_int_equal(wal_segment_header_decode(block, &h), 0);
    h.node_id++;
    wal_segment_header_encode(&h, block);
    sim_disk_poke(n.disk, "log-0000000000000001", 0, block, sizeof block);
    assert_false(node_start(&n));
    assert_non_null(strstr(n.err.text, "another node or cluster"));
    end(&n);
}

static void later_formats_are_refused_by_name(void **state) {
    (void)state;
    struct node n = fresh();
    size_t len;
    struct identity found;
    uint8_t block[DISK_BLOCK];
    node_stop(&n);
    memcpy(block, sim_disk_data(n.disk, "log-0000000000000001", &len), sizeof block);
    block[8] = 2;
    memset(block + 12, 0, 4);
    uint32_t crc = crc32c(0, block, sizeof block);
    memcpy(block + 12, &crc, 4);
    sim_disk_poke(n.disk, "log-0000000000000001", 0, block, sizeof block);
    assert_false(node_start(&n));
    assert_non_null(strstr(n.err.text, "later version"));
    memcpy(block, sim_disk_data(n.disk, IDENTITY_FILE, &len), 64);
    block[8] = 9;
    crc = crc32c(0, block, 60);
    memcpy(block + 60, &crc, 4);
    sim_disk_poke(n.disk, IDENTITY_FILE, 0, block, 64);
    assert_int_equal(identity_read(sim_disk_face(n.disk), &found, &n.err), ERR_INCOMPATIBLE);
    end(&n);
}

/* ---- the vote file, every state a crash can leave ---- */

static uint64_t vote_of(struct sim_disk *disk, bool *ret_repair) {
    struct vote v;
    struct fault fault;
    struct err err;
    assert_int_equal(vote_read(sim_disk_face(disk), &node_identity, &v, ret_repair, &fault, &err), 0);
    return v.term;
}

static void sectors_mix(struct sim_disk *disk, const struct sim_disk *from, size_t slot, unsigned mask) {
    size_t len;
    const uint8_t *data = sim_disk_data(from, VOTE_FILE, &len);
    for (unsigned s = 0; s < 8; s++)
        if (mask >> s & 1)
            sim_disk_poke(disk, VOTE_FILE, slot * DISK_BLOCK + s * SIM_SECTOR,
                          data + slot * DISK_BLOCK + s * SIM_SECTOR, SIM_SECTOR);
}

static void a_vote_torn_in_any_way_reads_as_the_old_or_the_new_one(void **state) {
    (void)state;
    struct sim_disk *old = sim_disk_new(1);
    struct err err;
    struct vote v = {.version = 2, .term = 5, .voted_for = 1};
    node_format(old);
    assert_int_equal(vote_write(sim_disk_face(old), &node_identity, &v, &err), 0);
    struct sim_disk *new = sim_disk_copy(old, 2);
    v = (struct vote){.version = 3, .term = 6, .voted_for = 2};
    assert_int_equal(vote_write(sim_disk_face(new), &node_identity, &v, &err), 0);
    for (unsigned mask = 0; mask < 256; mask++) {
        bool repair;
        struct sim_disk *d = sim_disk_copy(old, mask); /* slot A half written */
        sectors_mix(d, new, 0, mask);
        uint64_t term = vote_of(d, &repair);
        assert_true(term == 5 || term == 6);
        assert_int_equal(term, mask & 1 ? 6 : 5);
        if (repair) assert_int_equal(vote_repair(sim_disk_face(d), &node_identity, &err), 0);
        assert_int_equal(vote_of(d, &repair), term);
        assert_false(repair);
        sim_disk_free(d);
        d = sim_disk_copy(old, mask); /* slot A done, slot B half written */
        sectors_mix(d, new, 0, 255);
        sectors_mix(d, new, 1, mask);
        assert_int_equal(vote_of(d, &repair), 6);
        sim_disk_free(d);
    }
    sim_disk_free(old);
    sim_disk_free(new);
}

static void two_damaged_slots_or_slots_that_do_not_fit_are_refused(void **state) {
    (void)state;
    struct sim_disk *d = sim_disk_new(1);
    struct err err;
    struct vote v = {.version = 2, .term = 5};
    struct fault fault;
    bool repair;
    node_format(d);
    struct sim_disk *first = sim_disk_copy(d, 1);
    assert_int_equal(vote_write(sim_disk_face(d), &node_identity, &v, &err), 0);
    v.version = 3;
    assert_int_equal(vote_write(sim_disk_face(d), &node_identity, &v, &err), 0);
    struct sim_disk *both = sim_disk_copy(d, 1);
    sim_disk_flip(both, VOTE_FILE, 50, 1);
    sim_disk_flip(both, VOTE_FILE, DISK_BLOCK + 50, 1);
    assert_int_equal(vote_read(sim_disk_face(both), &node_identity, &v, &repair, &fault, &err), ERR_CORRUPT);
    sectors_mix(d, first, 1, 255); /* versions 3 and 1: slot B was put back from an old copy */
    assert_int_equal(vote_read(sim_disk_face(d), &node_identity, &v, &repair, &fault, &err), ERR_CORRUPT);
    sim_disk_free(d);
    sim_disk_free(both);
    sim_disk_free(first);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sectors_of_the_last_write_may_land_in_any_order),
        cmocka_unit_test(the_first_write_of_a_segment_may_land_in_any_order),
        cmocka_unit_test(a_stale_suffix_behind_the_tail_is_never_read),
        cmocka_unit_test(groups_of_a_segments_earlier_life_are_never_read),
        cmocka_unit_test(a_flipped_bit_anywhere_in_the_log_is_refused_or_in_dead_space),
        cmocka_unit_test(a_flipped_bit_in_the_vote_file_is_survived_and_reported),
        cmocka_unit_test(a_flipped_bit_in_the_identity_is_refused),
        cmocka_unit_test(a_flipped_bit_anywhere_in_a_snapshot_is_found),
        cmocka_unit_test(a_zeroed_block_or_sector_in_the_middle_is_refused),
        cmocka_unit_test(rot_in_the_unsealed_last_group_is_the_one_thing_that_is_taken_for_torn),
        cmocka_unit_test(a_rotten_header_of_the_last_file_is_told_from_one_that_never_landed),
        cmocka_unit_test(a_segment_is_not_closed_before_the_next_is_ready),
        cmocka_unit_test(a_group_that_continues_another_past_is_refused),
        cmocka_unit_test(a_lost_file_is_refused),
        cmocka_unit_test(an_old_copy_of_the_vote_file_is_refused),
        cmocka_unit_test(a_log_that_has_lost_its_end_is_refused),
        cmocka_unit_test(a_segment_of_another_node_is_refused),
        cmocka_unit_test(later_formats_are_refused_by_name),
        cmocka_unit_test(a_vote_torn_in_any_way_reads_as_the_old_or_the_new_one),
        cmocka_unit_test(two_damaged_slots_or_slots_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
