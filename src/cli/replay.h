/* SPDX-License-Identifier: Apache-2.0
 * The state of the cluster at a position of its log: a snapshot, and the commands behind it, applied by the code that
 * the masters run. Works on a data folder, an export, or live (a snapshot file and pages of the log are fetched from a
 * master; its state thread copies a page at a time, and nothing else). */
#ifndef CONCLAVE_CLI_REPLAY_H
#define CONCLAVE_CLI_REPLAY_H

#include "cli/log_source.h"
#include "consensus/archive.h"
#include "scheduler/state.h"

struct replay {
    struct log_source *source; /* borrowed */
    struct state *state;
    uint64_t index, term;  /* of the last entry that is in the state; 0: none */
    struct archive before; /* its members and conf_index are those at `index`; it holds no state */
    /* private */
    struct outcome *outcome;
    struct effects effects;
};

/* What the caller sees of each command, around its application; either may be NULL. `outcome` is borrowed. Returning
 * false stops. */
struct replay_watch {
    void *ctx;
    bool (*before)(void *ctx, const struct replay *r, const struct log_item *item);
    bool (*after)(void *ctx, const struct replay *r, const struct log_item *item, const struct outcome *outcome);
};

/* Begins at the newest snapshot that is not behind entry `at`, or with an empty state where the log begins with entry 1
 * and no snapshot helps; `oldest`: as far back as possible instead. *ret is empty on failure.
 * ERR_NOT_FOUND: `at` cannot be rebuilt; the text says what can be. ERR_CORRUPT: a folder without any state, or the log
 * is damaged before `at`. */
int replay_open(struct log_source *source, uint64_t at, bool oldest, struct replay *ret, struct err *err);
/* Applies everything behind r->index up to the position. ERR_CORRUPT, ERR_INCOMPATIBLE name the position at which the
 * state cannot follow. */
int replay_to(struct replay *r, const struct log_position *to, const struct replay_watch *watch, struct err *err);
void replay_done(struct replay *r);

/* The usual way: opens and goes to `at` (NULL: the end of the log). */
int replay_at(struct log_source *source, const struct log_position *at, struct replay *ret, struct err *err);

/* The snapshots of the source, newest first: of the folder, or of the master that answers (*ret_master: its number
 * among the options' masters). None for an export. */
int replay_snapshots(struct log_source *source, struct archive_row ret[ARCHIVE_FOLDER_FILES], size_t *ret_n,
                     size_t *ret_master, struct err *err);

#endif
