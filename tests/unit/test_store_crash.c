/* SPDX-License-Identifier: Apache-2.0
 * Crashes at every step against a model. The model is the list of everything that was asked of the log, in order
 * (entries, truncations, resets). After a crash the log must be the result of a prefix of that list which contains all
 * that was acknowledged; the vote and the newest snapshot must be the acknowledged or the attempted ones. */
#include "../lib/cmocka_all.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/store_node.h"
#include "base/check.h"
#include "base/rng.h"
#include "consensus/wal_format.h"

#define OPS_MAX 1024u
#define LOG_MAX 8192u
#define SEGMENT (6u * DISK_BLOCK)
#define LIVES   3u

enum op_kind { OP_ENTRY, OP_TRUNCATE, OP_RESET };
struct op {
    enum op_kind kind;
    uint64_t index, term, id;
    size_t len;
};

struct picture { /* a snapshot, as the model sees it */
    uint64_t index, term, id;
};

struct world {
    struct node node;
    struct rng rng;
    struct op ops[OPS_MAX];
    size_t n_ops, acked; /* ops[0..acked-1] are durable */
    uint64_t next;       /* index of the next entry */
    uint64_t floor;      /* nothing at or below is truncated: it is in a snapshot that was begun */
    uint64_t next_id;
    uint64_t term, vote, tried_term, tried_vote;
    struct picture snapshot, tried;
    bool putting, installing;
};

struct request {
    struct raft_io_append req;
    struct world *w;
    size_t upto;
};

static bool down(const struct world *w) {
    return sim_disk_dead(w->node.disk) || w->node.fatal;
}

static void on_appended(struct raft_io_append *req, int status) {
    struct request *r = req->data;
    if (status == 0) {
        CHECK(r->upto >= r->w->acked); /* in order */
        r->w->acked = r->upto;
    }
    free(r);
}

static void op_add(struct world *w, struct op op) {
    CHECK(w->n_ops < OPS_MAX);
    w->ops[w->n_ops++] = op;
}

/* ---- what the node is asked to do ---- */

static void do_append(struct world *w) {
    uint8_t bytes[4][2500];
    struct raft_entry entries[4];
    unsigned n = 1 + (unsigned)rng_below(&w->rng, 4);
    struct request *r = calloc(1, sizeof *r);
    CHECK(r);
    for (unsigned i = 0; i < n; i++) {
        size_t len = 8 + rng_below(&w->rng, rng_below(&w->rng, 3) ? 100 : 2492);
        node_entry_fill(w->next_id, bytes[i], len);
        entries[i] = (struct raft_entry){.term = w->term, .type = RAFT_COMMAND, .buf = {.base = bytes[i], .len = len}};
        op_add(w, (struct op){.kind = OP_ENTRY, .index = w->next++, .term = w->term, .id = w->next_id++, .len = len});
    }
    r->w = w;
    r->upto = w->n_ops;
    r->req.data = r;
    CHECK(store_append(w->node.store, &r->req, entries, n, on_appended) == 0);
}

static void do_vote(struct world *w, uint64_t term, uint64_t vote) {
    w->tried_term = term;
    w->tried_vote = vote;
    int rv = vote ? store_set_vote(w->node.store, vote) : store_set_term(w->node.store, term);
    if (rv != 0) return;
    w->term = term;
    w->vote = vote;
}

static void do_truncate(struct world *w) {
    if (w->next <= w->floor + 2) return;
    uint64_t index = rng_between(&w->rng, w->floor + 1, w->next - 1);
    do_vote(w, w->term + 1, 0);
    if (down(w)) return;
    op_add(w, (struct op){.kind = OP_TRUNCATE, .index = index});
    w->next = index;
    CHECK(store_truncate(w->node.store, index) == 0);
}

/* Term of the entry that the model has at `index`. */
static uint64_t model_term(const struct world *w, uint64_t index) {
    uint64_t term = 0;
    for (size_t i = 0; i < w->n_ops; i++) {
        if (w->ops[i].kind == OP_ENTRY && w->ops[i].index == index) term = w->ops[i].term;
        if (w->ops[i].kind == OP_RESET && w->ops[i].index == index) term = w->ops[i].term;
    }
    return term;
}

static struct put_note { int status; } put_note;

static void put_poll(struct world *w) {
    if (!w->putting || put_note.status < 0) return;
    w->putting = false;
    if (put_note.status != 0) return;
    w->snapshot = w->tried;
    if (w->installing) w->acked = w->n_ops;
    w->installing = false;
}

static void do_snapshot(struct world *w) {
    if (w->putting || w->next < 3 || w->floor + 2 > w->next) return;
    uint64_t index = rng_between(&w->rng, w->floor + 1, w->next - 1);
    w->tried = (struct picture){.index = index, .term = model_term(w, index), .id = index * 1000 + 7};
    if (w->tried.term == 0) return;
    w->floor = index;
    w->putting = true;
    node_snapshot(&w->node, index, w->tried.term, 1 + (unsigned)rng_below(&w->rng, 6), w->tried.id,
                  20 + rng_below(&w->rng, 3000), &put_note.status);
}

static void do_install(struct world *w) {
    if (w->putting) return;
    uint64_t index = w->next + 5 + rng_below(&w->rng, 20);
    w->tried = (struct picture){.index = index, .term = w->term, .id = index * 1000 + 9};
    op_add(w, (struct op){.kind = OP_RESET, .index = index, .term = w->term});
    w->floor = index;
    w->next = index + 1;
    w->putting = w->installing = true;
    node_snapshot(&w->node, index, w->term, 0, w->tried.id, 20 + rng_below(&w->rng, 3000), &put_note.status);
    while (w->putting && !down(w) && sim_disk_pending(w->node.disk)) {
        sim_disk_step(w->node.disk, rng_below(&w->rng, sim_disk_pending(w->node.disk)));
        put_poll(w);
    }
}

static void act(struct world *w) {
    uint64_t choice = rng_below(&w->rng, 24);
    size_t pending = sim_disk_pending(w->node.disk);
    if (choice < 8) {
        do_append(w);
    } else if (choice < 13) {
        if (pending) sim_disk_step(w->node.disk, rng_below(&w->rng, pending));
    } else if (choice < 15) {
        (void)sim_disk_pump(w->node.disk, 100);
    } else if (choice < 17) {
        w->node.now_ms += 10;
        store_tick(w->node.store, w->node.now_ms);
    } else if (choice < 19) {
        do_truncate(w);
    } else if (choice == 19) {
        do_vote(w, w->term, 1 + rng_below(&w->rng, 5));
    } else if (choice < 23) {
        do_snapshot(w);
    } else {
        do_install(w);
    }
    put_poll(w);
}

/* ---- what must be found afterwards ---- */

struct log_model {
    uint64_t start, next;
    struct op entries[LOG_MAX]; /* by index */
};

static void model_replay(const struct world *w, size_t n, struct log_model *ret) {
    ret->start = ret->next = 1;
    for (size_t i = 0; i < n; i++) {
        const struct op *op = &w->ops[i];
        CHECK(op->index < LOG_MAX);
        if (op->kind == OP_ENTRY) ret->entries[ret->next++] = *op;
        if (op->kind == OP_TRUNCATE) ret->next = op->index;
        if (op->kind == OP_RESET) ret->start = ret->next = op->index + 1;
    }
}

static bool model_matches(const struct node *node, const struct log_model *m) {
    if (node->start + node->n != m->next || node->start < m->start) return false;
    for (size_t i = 0; i < node->n; i++) {
        const struct op *want = &m->entries[node->start + i];
        const struct node_entry *is = &node->entries[i];
        if (is->term != want->term || is->id != want->id) return false;
        if (want->id && is->len != want->len) return false;
    }
    return true;
}

static void trouble(const struct world *w, uint64_t seed, uint64_t step, const char *what) {
    print_message("seed %" PRIu64 " step %" PRIu64 ": %s; loaded start %" PRIu64 " n %zu snapshot %" PRIu64
                  " term %" PRIu64 "; model acked %zu of %zu; %s\n",
                  seed, step, what, w->node.start, w->node.n, w->node.snapshot_index, w->node.term, w->acked, w->n_ops,
                  w->node.err.text);
    fail();
}

static void judge_log(struct world *w, uint64_t seed, uint64_t step) {
    static struct log_model m;
    for (size_t n = w->acked; n <= w->n_ops; n++) {
        model_replay(w, n, &m);
        if (!model_matches(&w->node, &m)) continue;
        w->n_ops = w->acked = n;
        w->next = m.next;
        return;
    }
    trouble(w, seed, step, "the log is not a prefix that contains what was acknowledged");
}

static void judge(struct world *w, uint64_t seed, uint64_t step) {
    const struct node *n = &w->node;
    bool old_vote = n->term == w->term && n->voted_for == w->vote;
    bool new_vote = n->term == w->tried_term && n->voted_for == w->tried_vote;
    if (!old_vote && !new_vote) trouble(w, seed, step, "the vote is neither the old nor the new one");
    bool old_snapshot = n->snapshot_index == w->snapshot.index && n->snapshot_id == w->snapshot.id;
    bool new_snapshot = n->snapshot_index == w->tried.index && n->snapshot_id == w->tried.id;
    if (!old_snapshot && !new_snapshot) trouble(w, seed, step, "the snapshot is neither the old nor the new one");
    if (n->start + n->n < n->snapshot_index + 1) trouble(w, seed, step, "the log ends before the snapshot");
    if (n->start > n->snapshot_index + 1) trouble(w, seed, step, "a gap between snapshot and log");
    judge_log(w, seed, step);
    w->term = w->tried_term = n->term;
    w->vote = w->tried_vote = n->voted_for;
    w->snapshot.index = n->snapshot_index;
    w->snapshot.term = n->snapshot_term;
    w->snapshot.id = n->snapshot_id;
    w->tried = w->snapshot;
    w->floor = n->snapshot_index ? n->snapshot_index : 1; /* the first configuration is never taken back */
    w->putting = w->installing = false;
}

static struct world *world_new(uint64_t seed) {
    struct world *w = calloc(1, sizeof *w);
    CHECK(w);
    w->node = (struct node){.disk = sim_disk_new(seed), .segment_bytes = SEGMENT, .loads = seed % 2 == 1};
    rng_seed(&w->rng, seed);
    node_format(w->node.disk);
    node_bootstrap(&w->node);
    w->term = w->tried_term = 1;
    w->next = 2;
    w->next_id = 1;
    op_add(w, (struct op){.kind = OP_ENTRY, .index = 1, .term = 1});
    w->acked = 1;
    w->floor = 1;
    return w;
}

static void world_free(struct world *w) {
    struct sim_disk *disk = w->node.disk;
    node_done(&w->node);
    sim_disk_free(disk);
    free(w);
}

/* Runs a life until the fault or `actions` are over, crashes, loads, judges. */
static void life(struct world *w, uint64_t seed, uint64_t step, unsigned actions) {
    for (unsigned i = 0; i < actions && !down(w); i++)
        act(w);
    node_crash(&w->node);
    if (!node_start(&w->node)) trouble(w, seed, step, "it does not start");
    judge(w, seed, step);
}

static bool sweep_one(uint64_t seed, uint64_t step, enum sim_disk_fault fault) {
    struct world *w = world_new(seed);
    sim_disk_fault_after(w->node.disk, step, fault);
    uint64_t before = sim_disk_steps(w->node.disk);
    unsigned actions = 60;
    for (unsigned i = 0; i < LIVES; i++) {
        life(w, seed, step, actions);
        actions = 25;
    }
    bool met = sim_disk_steps(w->node.disk) - before >= step;
    world_free(w);
    return met;
}

static unsigned seeds_wanted(unsigned usual) {
    const char *text = getenv("CONCLAVE_STORE_SEEDS");
    return text ? (unsigned)strtoul(text, NULL, 10) : usual;
}

static void a_crash_at_any_step_loses_nothing_acknowledged(void **state) {
    (void)state;
    unsigned seeds = seeds_wanted(12), runs = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++)
        for (uint64_t step = 1; step < 200 && sweep_one(seed, step, SIM_DISK_DIE); step++)
            runs++;
    print_message("%u crashes\n", runs);
    assert_true(runs >= seeds);
}

static void a_failed_operation_at_any_step_loses_nothing_acknowledged(void **state) {
    (void)state;
    unsigned seeds = seeds_wanted(6), runs = 0;
    for (uint64_t seed = 1001; seed <= 1000 + seeds; seed++)
        for (uint64_t step = 1; step < 200 && sweep_one(seed, step, SIM_DISK_FAIL); step++)
            runs++;
    print_message("%u failures\n", runs);
    assert_true(runs >= seeds);
}

static void long_lives_with_random_crashes_lose_nothing_acknowledged(void **state) {
    (void)state;
    unsigned seeds = seeds_wanted(40);
    for (uint64_t seed = 5000; seed < 5000 + seeds; seed++) {
        struct world *w = world_new(seed);
        for (unsigned i = 0; i < 12; i++)
            life(w, seed, i, 20 + (unsigned)rng_below(&w->rng, 60));
        world_free(w);
    }
}

static void on_fatal(void *data, const struct err *err) {
    (void)data;
    (void)err;
}

/* Formatting and bootstrapping have no acknowledged past: the folder is pristine, formatted, or done. */
static void a_crash_in_format_or_bootstrap_can_be_repeated(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++)
        for (uint64_t step = 1; step < 20; step++) {
            struct node node = {.disk = sim_disk_new(seed), .segment_bytes = SEGMENT};
            struct identity found;
            struct store *store = NULL;
            struct store_config config = {
                .disk = sim_disk_face(node.disk), .node_id = NODE_ID, .segment_bytes = SEGMENT, .fatal = on_fatal};
            struct raft_configuration c;
            memcpy(config.cluster_id, node_identity.cluster_id, 16);
            raft_configuration_init(&c);
            assert_int_equal(raft_configuration_add(&c, NODE_ID, "127.0.0.1:1", RAFT_VOTER), 0);
            sim_disk_fault_after(node.disk, step, SIM_DISK_DIE);
            for (unsigned i = 0; i < 2; i++) {
                int rv = identity_read(config.disk, &found, &node.err);
                if (rv == ERR_NOT_FOUND) rv = identity_format(config.disk, &node_identity, &node.err);
                if (rv == 0) rv = store_open(&config, &store, &node.err);
                if (rv == 0) rv = store_bootstrap(store, &c);
                if (store) store_abandon(store);
                store = NULL;
                if (i == 0) sim_disk_crash(node.disk);
                if (i == 1 && rv != 0) assert_int_equal(rv, RAFT_CANTBOOTSTRAP);
            }
            raft_configuration_close(&c);
            assert_true(node_start(&node));
            assert_int_equal(node.n, 1);
            assert_int_equal(node.term, 1);
            struct sim_disk *disk = node.disk;
            node_done(&node);
            sim_disk_free(disk);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crash_in_format_or_bootstrap_can_be_repeated),
        cmocka_unit_test(a_crash_at_any_step_loses_nothing_acknowledged),
        cmocka_unit_test(a_failed_operation_at_any_step_loses_nothing_acknowledged),
        cmocka_unit_test(long_lives_with_random_crashes_lose_nothing_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
