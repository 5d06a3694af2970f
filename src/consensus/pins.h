/* SPDX-License-Identifier: Apache-2.0
 * Which folder stands behind each member's id: the file `pins`.
 *
 * A member whose folder was wiped has forgotten what it voted and what it acknowledged. Under its old id it could vote
 * a second time in a term, or help to elect a leader that lacks an acknowledged entry. So every folder has a random
 * number (identity.h), every member writes down the number that it first met under each id, durably and before it
 * answers, and refuses another one for ever. And a folder that was never admitted takes no part in anything until more
 * than half of the other voters have written down its number. Two such majorities share a member, so of two folders
 * under one id at most one is ever admitted, unless the members that the two majorities share were wiped as well.
 *
 * (The numbers stand in each member's folder and not in the replicated log: they must be there before the first entry
 * is, they must bind a member that has not heard of the newest entries, and they need no feature level.)
 *
 * The file has two slots of one block, both written at each change, in place: a full disk does not matter. A change
 * that was cut short has not been answered to anybody, so either slot is the truth then. */
#ifndef CONCLAVE_CONSENSUS_PINS_H
#define CONCLAVE_CONSENSUS_PINS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "consensus/disk.h"
#include "consensus/fault.h"
#include "consensus/identity.h"

#define PINS_FILE "pins"
#define PINS_MAX  128u /* ids remembered; beyond it those that are no members any more are forgotten */

struct pin {
    uint64_t id, folder;
};

struct pins {
    struct disk *disk; /* borrowed */
    struct identity identity;
    uint64_t version;
    bool written;  /* there is a file; false only in an older folder on a full disk */
    bool admitted; /* this folder has been accepted by a majority of the others, once */
    uint32_t count;
    struct pin pins[PINS_MAX];
};

/* Makes the file of a new folder: nobody met, not admitted. Durable and atomic. */
int pins_format(struct disk *disk, const struct identity *identity, struct err *err);

/* Only reads. 0, with ret_fault->file set when one slot is damaged, and *ret_repair when the other must be written
 * anew; ERR_NOT_FOUND: an older folder that has none; ERR_CORRUPT, with *ret_fault. */
int pins_read(struct disk *disk, const struct identity *identity, struct pins *ret, bool *ret_repair,
              struct fault *ret_fault, struct err *err);

/* Reads the file. An older folder (identity->folder 0) has none and is given one, admitted. Otherwise a missing file,
 * two damaged slots or another folder's are ERR_CORRUPT; one damaged slot is written anew. */
int pins_open(struct disk *disk, const struct identity *identity, struct pins *ret, struct err *err);

/* 0: `folder` is the one we know under `id`, durably from now on if we had not met it. ERR_FORBIDDEN: we know another.
 * ERR_LIMIT: no room (PINS_MAX members). Else the disk's error: nothing may be believed of the file then. `members`
 * are those that must not be forgotten. */
int pins_meet(struct pins *pins, uint64_t id, uint64_t folder, const uint64_t *members, unsigned n_members,
              struct err *err);

/* Notes, durably, that this folder is admitted. */
int pins_admit(struct pins *pins, struct err *err);

/* How many of the others must have accepted a folder before it is admitted: more than half of them; 0 of 0. */
unsigned pins_needed(unsigned others);

#endif
