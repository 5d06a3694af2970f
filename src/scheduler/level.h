/* SPDX-License-Identifier: Apache-2.0
 * Feature levels: which program may apply which command. Pure.
 *
 * The state carries a feature level that only grows (Config.level). A command, and a field that came into a command
 * later, belongs to a level; the tables COMMANDS and LEVEL_FIELDS in command.h are the one place that says which.
 * Everything else that apply would decide differently from an older program asks state_config()->level, and so do new
 * fields of a snapshot: at a level, every program that knows it makes the same bytes. So programs of two versions can
 * stand in one cluster, with equal hashes, until the operator raises the level.
 *
 * Who checks:
 *  - the leader before it proposes: what is above the state's level is refused with ERR_LEVEL and never gets into the
 *    log (master_propose);
 *  - every replica before it applies anything of an entry (state_admit): what is above the program's own level, or not
 *    known to it at all, is ERR_INCOMPATIBLE, and the process ends with status 4;
 *  - apply: what the program knows but the state's level does not allow is an OUTCOME_REFUSED, the same everywhere.
 *
 * To add something at a new level: raise STATE_LEVEL_MAX (state.h) once a release, add the rows in command.h, and ask
 * the level in apply. */
#ifndef CONCLAVE_SCHEDULER_LEVEL_H
#define CONCLAVE_SCHEDULER_LEVEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* The newest level this program can apply: STATE_LEVEL_MAX, or less in a build that plays an old program for the tests
 * (CMake: CONCLAVE_LEVEL_MAX). */
uint32_t level_max(void);

struct level_need {
    uint32_t level;  /* the least feature level at which the command may be applied */
    char what[96];   /* what needs it: "Command.config_set", "ConfigSet.if_changed" */
    uint32_t raises; /* the level that its Config names; 0: none */
    bool seeds;      /* and that Config is only the seed of a leader_started */
};

/* Of a command that every program can apply. */
#define LEVEL_NEED_NOTHING ((struct level_need){.level = 1, .what = "this command"})

/* What the packed command needs, from its bytes alone, without allocating. 0; ERR_INCOMPATIBLE: a field or command
 * that the schema does not have, or above level_max(); ERR_CORRUPT: not the bytes of a message (what is no command in
 * other ways is left to command_decode). *ret is set only on 0. */
int level_of(const uint8_t *command, size_t len, struct level_need *ret, struct err *err);

/* The text of a refusal for the operator: "X needs feature level 2, the cluster has 1: conclave config set level 2". */
void level_refusal(const struct level_need *need, uint32_t level, char *ret, size_t size);

#endif
