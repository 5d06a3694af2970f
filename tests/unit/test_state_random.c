/* SPDX-License-Identifier: Apache-2.0
 * Long random histories: every invariant after each command (later: each hundredth), replicas that agree byte for byte,
 * snapshots that lose nothing. The seed is printed; STATE_RANDOM_SEED and STATE_RANDOM_STEPS give others. */
#include "../lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "command_random.h"
#include "state_world.h"

static uint32_t below(void *ctx, uint32_t n) {
    return (uint32_t)rng_below(ctx, n);
}

static uint64_t number_of(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

/* What every history must have met, or the test tests nothing. */
struct coverage {
    uint64_t codes[OUTCOME_NOT_FOUND + 1], effects[8], states[14], refused_tasks, trimmed;
};

static void coverage_note(struct coverage *c, const struct world *w) {
    c->codes[w->outcome->code]++;
    for (size_t i = 0; i < w->effects.count; i++)
        c->effects[w->effects.items[i].type]++;
    for (uint32_t i = 0; i < w->outcome->task_count; i++)
        c->refused_tasks += !w->outcome->tasks[i].launched;
    /* Every number in the effects can be looked up. */
    for (size_t i = 0; i < w->effects.count; i++) {
        const struct effect *e = &w->effects.items[i];
        if (e->task) assert_non_null(state_task(w->state, e->task));
        if (e->framework) assert_non_null(state_framework(w->state, e->framework));
    }
}

static void coverage_check(const struct world *w, const struct coverage *c) {
    struct state_counts counts;
    state_counts(w->state, &counts);
    for (int i = 0; i <= OUTCOME_NOT_FOUND; i++)
        assert_true(c->codes[i] > 0);
    for (int i = 0; i < 8; i++)
        assert_true(c->effects[i] > 0);
    for (uint32_t i = 0; i < 14; i++)
        if (i != TASK_UNKNOWN && i != TASK_DROPPED && counts.tasks_ever[i] == 0)
            fail_msg("never %s", task_state_name(i));
    assert_true(c->refused_tasks > 0);
}

static void snapshot_same(const struct state *a, const struct state *b) {
    struct buf x, y;
    buf_init(&x, 64u << 20);
    buf_init(&y, 64u << 20);
    assert_int_equal(state_snapshot(a, &x), 0);
    assert_int_equal(state_snapshot(b, &y), 0);
    assert_int_equal(x.len, y.len);
    assert_memory_equal(x.data, y.data, x.len);
    buf_done(&x);
    buf_done(&y);
}

static struct state *restored(const struct state *state) {
    struct buf bytes;
    struct err err = {0};
    struct state *made = state_new();
    buf_init(&bytes, 64u << 20);
    assert_int_equal(state_snapshot(state, &bytes), 0);
    if (state_restore(made, bytes.data, bytes.len, &err)) fail_msg("restore: %s", err.text);
    buf_done(&bytes);
    assert_true(hash128_equal(state_hash(made), state_hash(state)));
    return made;
}

/* A snapshot that is taken while commands go on, and what the state was when it began. */
struct sliced {
    bool active;
    struct buf whole, bits;
    uint64_t taken, abandoned, with_changes;
    struct hash128 hash;
};

static void sliced_begin(struct sliced *s, struct state *state) {
    buf_init(&s->whole, 64u << 20);
    buf_init(&s->bits, 64u << 20);
    assert_int_equal(state_snapshot(state, &s->whole), 0);
    s->hash = state_hash(state);
    state_snapshot_begin(state);
    s->active = true;
}

/* Restores in pieces of random sizes: the state that was, byte for byte. */
static void sliced_check(struct sliced *s, struct rng *rng) {
    struct state *made = state_new();
    struct state_loader *loader = state_loader_new();
    struct err err = {0};
    struct buf again;
    for (size_t at = 0, n = 0; at < s->bits.len; at += n) {
        n = 1 + rng_below(rng, rng_below(rng, 3) == 0 ? 16 : 5000);
        if (n > s->bits.len - at) n = s->bits.len - at;
        if (state_loader_data(loader, s->bits.data + at, n, &err)) fail_msg("byte %zu: %s", at, err.text);
    }
    if (state_loader_end(loader, &err)) fail_msg("%s", err.text);
    state_loader_swap(loader, made);
    state_loader_free(loader);
    buf_init(&again, 64u << 20);
    assert_int_equal(state_snapshot(made, &again), 0);
    assert_int_equal(again.len, s->whole.len);
    assert_memory_equal(again.data, s->whole.data, again.len);
    if (state_check(made, &err)) fail_msg("%s", err.text);
    buf_done(&again);
    state_free(made);
}

static void sliced_done(struct sliced *s) {
    buf_done(&s->whole);
    buf_done(&s->bits);
    s->active = false;
}

static void sliced_step(struct sliced *s, struct state *state, struct rng *rng) {
    bool end = false;
    if (!s->active) {
        if (rng_below(rng, 20) == 0) sliced_begin(s, state);
        return;
    }
    if (rng_below(rng, 150) == 0) {
        state_snapshot_end(state);
        sliced_done(s);
        s->abandoned++;
        return;
    }
    if (rng_below(rng, 3) != 0) return;
    assert_int_equal(state_snapshot_more(state, rng_below(rng, 4000), &s->bits, &end), 0);
    if (!end) return;
    assert_int_equal(state_snapshot_more(state, 1, &s->bits, &end), ERR_CLOSED);
    sliced_check(s, rng);
    s->taken++;
    if (!hash128_equal(s->hash, state_hash(state))) s->with_changes++;
    sliced_done(s);
}

static void a_snapshot_in_slices_is_the_state_when_it_began(void **unused) {
    (void)unused;
    uint64_t seed = number_of("STATE_RANDOM_SEED", 20261128), steps = number_of("STATE_RANDOM_STEPS", 60000);
    print_message("seed %llu, %llu commands\n", (unsigned long long)seed, (unsigned long long)steps);
    struct rng rng;
    struct world w;
    struct sliced sliced = {0};
    struct draw draw = {.below = below, .ctx = &rng, .cluster_ms = 1000};
    rng_seed(&rng, seed);
    world_open(&w);
    w.checked = false;
    for (uint64_t step = 0; step < steps; step++) {
        sliced_step(&sliced, w.state, &rng);
        world_try(&w, command_random(&draw, w.state));
    }
    print_message("%llu taken, %llu of them while the state changed, %llu given up\n", (unsigned long long)sliced.taken,
                  (unsigned long long)sliced.with_changes, (unsigned long long)sliced.abandoned);
    assert_true(sliced.taken > steps / 500 && sliced.with_changes > sliced.taken / 2 && sliced.abandoned > 0);
    sliced_done(&sliced);
    world_close(&w);
}

static void a_random_history_keeps_every_invariant_and_replicas_agree(void **unused) {
    (void)unused;
    uint64_t seed = number_of("STATE_RANDOM_SEED", 20261123), steps = number_of("STATE_RANDOM_STEPS", 100000);
    print_message("seed %llu, %llu commands\n", (unsigned long long)seed, (unsigned long long)steps);
    struct rng rng;
    struct world w, follower;
    struct coverage coverage = {0};
    struct draw draw = {.below = below, .ctx = &rng, .cluster_ms = 1000};
    rng_seed(&rng, seed);
    world_open(&w);
    world_open(&follower);
    for (uint64_t step = 0; step < steps; step++) {
        struct made command = command_random(&draw, w.state);
        w.checked = step < 20000 || step % 100 == 0;
        assert_int_equal(world_try(&w, command), 0);
        coverage_note(&coverage, &w);
        follower.index++;
        assert_int_equal(state_apply(follower.state, 1, follower.index, 0, command.data, command.len, follower.outcome,
                                     &follower.effects, &follower.err),
                         0);
        assert_int_equal(follower.outcome->code, w.outcome->code);
        assert_int_equal(follower.effects.count, w.effects.count);
        assert_true(hash128_equal(state_hash(follower.state), state_hash(w.state)));
        if (step % 977 == 0) { /* the follower goes on from a snapshot of itself */
            struct state *next = restored(follower.state);
            snapshot_same(next, w.state);
            state_free(follower.state);
            follower.state = next;
        }
    }
    coverage_check(&w, &coverage);
    world_close(&follower);
    world_close(&w);
}

static void a_damaged_snapshot_is_refused_and_changes_nothing(void **unused) {
    (void)unused;
    struct rng rng;
    struct world w;
    struct draw draw = {.below = below, .ctx = &rng, .cluster_ms = 1000};
    struct err err = {0};
    struct buf bytes;
    rng_seed(&rng, 5);
    world_open(&w);
    for (int step = 0; step < 600; step++)
        world_apply(&w, command_random(&draw, w.state));
    buf_init(&bytes, 1u << 20);
    assert_int_equal(state_snapshot(w.state, &bytes), 0);
    struct state *victim = state_new();
    struct hash128 empty = state_hash(victim);
    for (size_t len = 0; len < bytes.len; len += 1 + len / 50) { /* cut off */
        int rc = state_restore(victim, bytes.data, len, &err);
        assert_true(rc == ERR_CORRUPT || rc == ERR_INCOMPATIBLE);
    }
    for (int round = 0; round < 4000; round++) { /* one bit */
        size_t at = rng_below(&rng, bytes.len);
        uint8_t bit = (uint8_t)(1u << rng_below(&rng, 8));
        bytes.data[at] ^= bit;
        int rc = state_restore(victim, bytes.data, bytes.len, &err);
        if (rc != ERR_CORRUPT && rc != ERR_INCOMPATIBLE) fail_msg("byte %zu bit %u: %d", at, bit, rc);
        bytes.data[at] ^= bit;
    }
    assert_true(hash128_equal(state_hash(victim), empty));
    assert_int_equal(state_restore(victim, bytes.data, bytes.len, &err), 0);
    assert_true(hash128_equal(state_hash(victim), state_hash(w.state)));
    state_free(victim);
    buf_done(&bytes);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_random_history_keeps_every_invariant_and_replicas_agree),
        cmocka_unit_test(a_snapshot_in_slices_is_the_state_when_it_began),
        cmocka_unit_test(a_damaged_snapshot_is_refused_and_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
