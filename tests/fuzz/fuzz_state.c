/* SPDX-License-Identifier: Apache-2.0
 * Bytes -> a sequence of commands -> the state; every invariant is checked after each of the first commands, then after
 * each eighth. Most steps draw a command that means something to the state (command_random.h); some give bytes of the
 * input as a command, raw. At the end the snapshot must give the same state back. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "command_random.h"

#define STEPS_MAX   150
#define CHECKED_ALL 30

struct input {
    const uint8_t *data;
    size_t len;
};

static uint32_t input_below(void *ctx, uint32_t n) {
    struct input *in = ctx;
    if (in->len == 0) return 0;
    uint32_t byte = *in->data;
    in->data++, in->len--;
    return byte % n;
}

struct run {
    struct state *state;
    struct outcome *outcome;
    struct effects effects;
    uint64_t index;
};

static void step(struct run *r, const uint8_t *command, size_t len) {
    struct err err = {.text = ""};
    struct hash128 before = state_hash(r->state);
    int rc = state_apply(r->state, 1, ++r->index, 0, command, len, r->outcome, &r->effects, &err);
    CHECK(rc == 0 || rc == ERR_INCOMPATIBLE || rc == ERR_CORRUPT);
    CHECK(rc == 0 || (err.text[0] && hash128_equal(before, state_hash(r->state))));
    if (r->index <= CHECKED_ALL || r->index % 8 == 0) CHECK(state_check(r->state, &err) == 0);
    for (size_t i = 0; i < r->effects.count; i++)
        CHECK(!r->effects.items[i].task || state_task(r->state, r->effects.items[i].task));
}

static void snapshot_roundtrip(const struct state *state) {
    struct buf once, again;
    struct err err;
    struct state *copy = state_new();
    buf_init(&once, 64u << 20);
    buf_init(&again, 64u << 20);
    CHECK(state_snapshot(state, &once) == 0);
    CHECK(state_restore(copy, once.data, once.len, &err) == 0);
    CHECK(state_snapshot(copy, &again) == 0);
    CHECK(once.len == again.len && memcmp(once.data, again.data, once.len) == 0);
    buf_done(&once);
    buf_done(&again);
    state_free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = {data, size};
    struct draw draw = {.below = input_below, .ctx = &in, .cluster_ms = 1000};
    struct run r = {.state = state_new(), .outcome = malloc(sizeof *r.outcome)};
    CHECK(r.outcome);
    for (int i = 0; i < STEPS_MAX && in.len > 0; i++) {
        if (input_below(&in, 16) != 15) {
            struct made made = command_random(&draw, r.state);
            step(&r, made.data, made.len);
            continue;
        }
        size_t len = input_below(&in, 256);
        if (len > in.len) len = in.len;
        uint8_t *exact = malloc(len ? len : 1);
        CHECK(exact);
        memcpy(exact, in.data, len);
        in.data += len, in.len -= len;
        step(&r, exact, len);
        free(exact);
    }
    snapshot_roundtrip(r.state); /* restoring checks everything once more */
    effects_done(&r.effects);
    free(r.outcome);
    state_free(r.state);
    make_done();
    return 0;
}
