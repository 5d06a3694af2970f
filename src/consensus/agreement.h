/* SPDX-License-Identifier: Apache-2.0
 * Whether replicas that applied the same entries have the same state. Every member tells the others, with each PING,
 * the hash of its state at a few applied positions: the newest, and the newest multiples of 64 and of 4,096, so that at
 * any load some positions are common to all. Pure.
 *
 * A replica that is wrong cannot know it by itself; a majority that agrees on another hash than ours at the same
 * position is taken to be right. Without such a majority nobody is: then it is an operator's question. */
#ifndef CONCLAVE_CONSENSUS_AGREEMENT_H
#define CONCLAVE_CONSENSUS_AGREEMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "consensus/peer_codec.h"

#define AGREEMENT_GRAINS                                                                                               \
    { 1u, 64u, 4096u } /* PEER_MARKS of them */

struct agreement_peer {
    uint64_t id;
    bool voter;
    uint32_t hash_kind; /* as in struct peer_vitals */
    struct peer_mark marks[PEER_MARKS];
    uint64_t differs_index; /* kept by agreement_judge: where it differed from us last; 0: not, or agreed since */
};

/* Our hash at an applied position; false when we do not know it (any more). */
typedef bool (*agreement_own)(void *ctx, uint64_t index, uint8_t ret[16]);

/* Fills in what we tell: `applied` is the newest position. Positions without a hash are left out. */
void agreement_marks(uint64_t applied, agreement_own own, void *ctx, struct peer_mark ret[PEER_MARKS]);

/* Compares all marks with ours and keeps each peer's differs_index. Returns the position at which a majority of
 * `voters` (all of the configuration, ourselves included if we are one) has one hash and we have another; 0: none. */
uint64_t agreement_judge(struct agreement_peer *peers, unsigned n, unsigned voters, uint32_t hash_kind,
                         agreement_own own, void *ctx);

#endif
