/* SPDX-License-Identifier: Apache-2.0
 * The bytes of a whole state (state_snapshot, state_snapshot_begin, state_restore, state_loader_* in state.h).
 *
 *   8 bytes  "CNCLSTA2"
 *   records  {1 byte kind, 4 bytes length little endian, message of snapshot.proto}
 *            globals; agents, frameworks and tasks in any order; end (how many records, state hash)
 *
 * One state gives one set of records. state_snapshot writes them by kind and number, so that one state gives one byte
 * string; a snapshot that was taken bit by bit has them in the order in which they were met. Restoring takes nothing
 * for granted: every length, range, reference and sum is checked on a state made aside, which replaces the old one only
 * when all of it, the hash included, is right. The order of the histories is in the records (completed_seq,
 * removed_seq). */
#ifndef CONCLAVE_SCHEDULER_SNAPSHOT_H
#define CONCLAVE_SCHEDULER_SNAPSHOT_H

#define SNAPSHOT_MAGIC        "CNCLSTA2"
#define SNAPSHOT_MAGIC_BYTES  8
#define SNAPSHOT_RECORD_BYTES 5         /* kind and length */
#define SNAPSHOT_RECORD_MAX   (4 << 20) /* bytes of one message */

#endif
