/* SPDX-License-Identifier: Apache-2.0
 * A state under test with its log position: each step applies one command at the next index and then checks every
 * invariant. Include cmocka_all.h first. */
#ifndef CONCLAVE_TESTS_STATE_WORLD_H
#define CONCLAVE_TESTS_STATE_WORLD_H

#include "command_make.h"

#define WORLD_CLUSTER "0123456789abcdef" /* its name is 30313233 */

struct world {
    struct state *state;
    struct outcome *outcome;
    struct effects effects;
    uint64_t index; /* of the last command */
    struct err err;
    bool checked; /* state_check after each command; true at first */
};

void world_open(struct world *w);  /* an empty state */
void world_start(struct world *w); /* and a leader of term 1 */
void world_close(struct world *w); /* also ends the makers */
/* Applies; it must be taken. Returns the outcome's code. */
enum outcome_code world_apply(struct world *w, struct made command);
/* Applies; returns what state_apply says. */
int world_try(struct world *w, struct made command);

/* Set-up verbs: each must succeed. */
uint32_t world_framework(struct world *w, uint64_t failover_ms, uint32_t capabilities);
uint32_t world_agent(struct world *w, uint8_t who); /* 8 cpus, 8000 MB, ports 31000-31099 */
const struct task *world_task(struct world *w, uint32_t framework, uint32_t agent, const char *id); /* 1 cpu, 100 MB */
enum outcome_code world_report(struct world *w, const struct task *task, uint32_t state, uint32_t latest, uint8_t uuid);
enum outcome_code world_ack(struct world *w, const struct task *task, uint8_t uuid);
const struct task *world_running(struct world *w, uint32_t framework, uint32_t agent,
                                 const char *id); /* acked, uuid 1 */

/* How many effects of this type the last command had; the first one. */
size_t world_effects(const struct world *w, enum effect_type type);
const struct effect *world_effect(const struct world *w, enum effect_type type);

#endif
