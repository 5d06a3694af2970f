/* SPDX-License-Identifier: Apache-2.0
 * A new life of a cluster: its state, brought back from a back-up or from the survivors of a lost majority, as the
 * snapshot that the logs of its masters begin behind.
 *
 * What the lost life may have handed out must never be taken for something of this one:
 *  - the incarnation grows: agents obey no leader of before, and ids that are counted differ;
 *  - indexes jump by LIFE_INDEX_STEP: launches are named by their place in the log, and places that the lost life may
 *    have used are left out;
 *  - terms jump by LIFE_TERM_STEP: a master that lived on elsewhere can win no election against the new ones.
 *  - the folders are new ones with numbers of their own (consensus/pins.h): a master that lived on elsewhere and meets
 *    them takes no part. If it is no member of the new life it is told so and ends; one that is, but whose folder was
 *    not made anew, refuses those that it knew under other folders, which end with 4 until it is.
 *  - ids of masters that are added later begin STATE_LIFE_MEMBERS higher.
 * A restore of the same file gives the same bytes on every host, so that each master's folder can be made where it is.
 */
#ifndef CONCLAVE_CLI_NEW_LIFE_H
#define CONCLAVE_CLI_NEW_LIFE_H

#include <stdint.h>

#include "base/err.h"
#include "consensus/archive.h"
#include "scheduler/state.h"

#define LIFE_INDEX_STEP UINT64_C(1000000000) /* for each step of the incarnation */
#define LIFE_TERM_STEP  UINT64_C(1000000)
#define LIFE_NUMBER_MAX (UINT64_C(1) << 60) /* of an index or term: far below what the log can hold */

struct life {
    uint32_t incarnation; /* 0: the next one */
    uint64_t index, term; /* set by life_of */
};
/* Where the new life of a state begins that stood at entry `index` in term `term`. ERR_INVALID: the incarnation is not
 * higher than the state's; ERR_LIMIT: index or term are used up. */
int life_of(const struct state *state, uint64_t index, uint64_t term, struct life *life, struct err *err);
/* Changes the state and makes the snapshot; the members become voters. */
int life_begin(struct state *state, const struct life *life, const struct archive_member *members, unsigned count,
               struct archive *ret, struct err *err);

/* "1=10.0.0.1,2=10.0.0.2:5060": ids and peer addresses, as conclave master --peers. */
int members_parse(const char *text, struct archive_member ret[ARCHIVE_MEMBERS_MAX], unsigned *ret_count,
                  struct err *err);

#endif
