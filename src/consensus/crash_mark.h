/* SPDX-License-Identifier: Apache-2.0
 * Which command ended the program while it was applied: the file `crash`, and the signal handler that writes it.
 *
 * A command that ends every program that applies it would end it again at each start, for ever. So the position that is
 * being applied is noted in memory (two stores a command), and a handler for the signals of a crash writes it into the
 * file, which was made beforehand: nothing is written while nothing crashes, and a full disk does not matter. The
 * second crash at the same position, by the same version of the program, puts the node in hold at its next start.
 *
 * Not seen: a process that is killed from outside (out of memory), and a crash outside of apply. A file that cannot be
 * read is none. */
#ifndef CONCLAVE_CONSENSUS_CRASH_MARK_H
#define CONCLAVE_CONSENSUS_CRASH_MARK_H

#include <stdint.h>

#include "base/err.h"
#include "consensus/disk.h"
#include "consensus/identity.h"

#define CRASH_FILE          "crash"
#define CRASH_HOLD_COUNT    2u
#define CRASH_VERSION_BYTES 20u

struct crash_found {
    uint64_t index; /* of the entry, 0: none */
    uint32_t n;     /* command in it */
    uint32_t count; /* crashes there in a row */
};

struct crash_mark; /* opaque */

/* Reads the file and keeps it open for the handler; makes it if it is missing (on a full disk: goes without). `clear`
 * forgets what it says, durably; so does another `version` than the one that crashed. ERR_IO, ERR_NOMEM. */
int crash_mark_open(const char *dir, struct disk *disk, const struct identity *identity, const char *version,
                    bool clear, struct crash_mark **ret, struct crash_found *ret_found, struct err *err);
void crash_mark_close(struct crash_mark *mark); /* NULL: nothing */

/* From now on this command is being applied, on this thread; and: none is. */
void crash_mark_begin(struct crash_mark *mark, uint64_t index, uint32_t n);
void crash_mark_end(void);

/* Installs the handlers, once a process: SEGV, BUS, FPE, ILL, ABRT. They write the mark and then do what was done
 * before. */
void crash_mark_catch(void);

#endif
