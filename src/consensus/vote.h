/* SPDX-License-Identifier: Apache-2.0
 * The file `vote`: current term and vote, in two slots of one block each. A vote that is forgotten is a double vote, so
 * the file may never be read as older than it was.
 *
 * Each change is written to slot A, made durable, then to slot B, made durable, and only then has happened. So B is
 * never newer than A, A is at most one version ahead, and while either is being written the other is whole:
 *
 *   A            B            what happened                               the truth
 *   version v    version v    at rest                                     either
 *   version v    version v-1  stopped between the slots                   A (nobody was told; the newer is the safe
 * one) damaged      version w    A torn while w+1 was written (nobody was    B told), or rotten at rest (then B is w
 * too) version v    damaged      B torn while v was written, or rotten       A (never older than B) anything else two
 * faults, or another folder's file        refuse
 *
 * With one fault of any kind at any moment the truth is known, which alternating slots cannot give: there a damaged
 * slot may have held the newer vote. The price is a second durable write for each change. Two guards against an old
 * copy of the whole file: every group of the log carries the version that was current when it was written, and the
 * slots carry the number of the last durable group, which also betrays a log that has lost its end. */
#ifndef CONCLAVE_CONSENSUS_VOTE_H
#define CONCLAVE_CONSENSUS_VOTE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "consensus/disk.h"
#include "consensus/fault.h"
#include "consensus/identity.h"

#define VOTE_FILE "vote"

struct vote {
    uint64_t version; /* counts changes, from 1 */
    uint64_t term;
    uint64_t voted_for; /* 0: nobody in this term */
    uint64_t log_group; /* number of the last durable group of the log when this was written */
    uint64_t barred;    /* 0, or: no vote and no candidacy before a committed entry of a later term than this is in
                           our log (reinstall.h) */
    uint32_t marks;     /* of enum vote_mark */
};

/* What the node must know of itself even when its disk is full and its log is not to be trusted. */
enum vote_mark {
    VOTE_MARK_ASIDE = 1u << 0,    /* its data is being set aside: the next start goes on with that */
    VOTE_MARK_DIVERGED = 1u << 1, /* its state differed from the majority's: it must not start as it is */
};

/* Makes the file of a new folder (term 0, version 1), durably and atomically. */
int vote_format(struct disk *disk, const struct identity *identity, struct err *err);

/* Reads the truth. *ret_repair: one slot must be repaired before anything else is written. Damage that hides the truth
 * is ERR_CORRUPT with *ret_fault set; one damaged slot is success with *ret_fault set; else ret_fault->file is "". */
int vote_read(struct disk *disk, const struct identity *identity, struct vote *ret, bool *ret_repair,
              struct fault *ret_fault, struct err *err);

/* Copies the good slot over the other; durable on return. */
int vote_repair(struct disk *disk, const struct identity *identity, struct err *err);

/* Writes the next version; durable on return. After an error the file must not be written again in this process. */
int vote_write(struct disk *disk, const struct identity *identity, const struct vote *vote, struct err *err);

#endif
