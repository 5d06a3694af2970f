/* SPDX-License-Identifier: Apache-2.0
 * A command drawn at random over small pools of ids, mostly one that means something to this state: so that every rule
 * of apply is met often, by the seeded test and by the fuzzer alike. */
#ifndef CONCLAVE_TESTS_COMMAND_RANDOM_H
#define CONCLAVE_TESTS_COMMAND_RANDOM_H

#include "command_make.h"

struct draw {
    uint32_t (*below)(void *ctx, uint32_t n); /* a number in [0, n) */
    void *ctx;
    uint64_t cluster_ms; /* moved on by command_random */
};

struct made command_random(struct draw *draw, const struct state *state);

#endif
