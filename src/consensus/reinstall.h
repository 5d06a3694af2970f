/* SPDX-License-Identifier: Apache-2.0
 * Giving a node whose data cannot be trusted its data anew, from the leader, under its old id.
 *
 * What is set aside (renamed to aside-N-NAME, never deleted): log, spares, snapshots. What is kept: identity, pins, and
 * the term and vote, so that it cannot vote twice. What the node forgets is entries that it acknowledged. Two things
 * keep an acknowledged entry from being lost by that:
 *
 *  - Its term goes up by one. A leader that has counted what was lost led in an older term; from now on the node
 * refuses it, and every leader that it accepts counts the node from nothing.
 *  - It is *barred*: it grants no vote and does not stand until an entry of a term later than its last one is committed
 *    and in its log. An entry that was committed with its help is, without it, still on one less than a majority of n
 *    nodes, m - 1 of them; whoever is elected without its vote has m votes out of the n - 1 others; (m - 1) + m > n -
 * 1, so one of them has the entry, and so has the leader. The committed entry of the later term proves that such a
 *    leader's log, up to there, is in ours: then our vote is as good as anybody's. The same holds if k nodes do it at
 *    once, for neither side counts any of them: (m - k) + m > n - k.
 *
 * Its acknowledgements in the new terms are true and count at once. While a node is barred the cluster can lose one
 * member less; with three masters, the other two must be there. Of two
 * voters none may be reinstalled: nobody could be elected any more.
 *
 * Without the vote file none of this is possible: such a node must come back under a new id. */
#ifndef CONCLAVE_CONSENSUS_REINSTALL_H
#define CONCLAVE_CONSENSUS_REINSTALL_H

#include <stdbool.h>

#include "consensus/disk.h"
#include "consensus/identity.h"

#define REINSTALL_ASIDE_PREFIX "aside-"

/* Called at each start, before the store is opened, on a folder with an identity.
 *
 * `wanted`: the operator asks for it. Then, if the data is damaged or was given up as diverged, it is set aside; data
 * that is intact stays (so the flag may be left on the command line). Not wanted: a setting aside that a crash has cut
 * short is finished; data that was given up as diverged is refused.
 *
 * Returns 0 and *ret_done (whether anything was set aside); ERR_CORRUPT: diverged and not wanted, or the vote file is
 * damaged, which the text tells apart; ERR_IO, ERR_NOMEM. A crash at any moment leaves a folder in which the next call
 * goes on, with or without the flag. */
int reinstall_check(struct disk *disk, const struct identity *identity, bool wanted, bool *ret_done, struct err *err);

#endif
