/* SPDX-License-Identifier: Apache-2.0
 * Which launches may have started here, and which are over: the one thing that must survive even a loss of power, so
 * that no launch starts twice (P2). One append and one fdatasync serve all launches of a loop turn; everything else an
 * agent writes about a task must survive only the agent's own death, and needs no sync.
 *
 * The file is zero-filled to its size beforehand, so that a sync has no metadata to write. It holds groups, one write
 * each: magic u32, number u32, length u32, CRC-32C u32 over the first 12 bytes and the body, body. A bad last group is
 * a torn write and is cut; a bad group with a valid later one behind it is damage, and is refused. A full file is
 * rewritten with what still matters.
 *
 * Body: records of type u8, key (launch_key.h); a SETTLED record adds state u32 and uuid. Settled entries are bounded:
 * the oldest of more than JOURNAL_SETTLED_MAX is dropped. */
#ifndef CONCLAVE_AGENT_JOURNAL_H
#define CONCLAVE_AGENT_JOURNAL_H

#include "agent/launch_key.h"
#include "base/err.h"
#include "base/queue.h"

#define JOURNAL_SETTLED_MAX 10000
#define JOURNAL_FILE_BYTES  (1u << 20)

struct journal;

struct journal_entry {
    struct queue in_bucket, in_order; /* private */
    struct launch_key key;            /* owned */
    bool settled;                     /* over: `state` is terminal and was acknowledged, or is a tombstone */
    uint32_t state;
    uint8_t uuid[16];
};

/* Opens or makes `name` in `dir_fd` (borrowed, must stay open). ERR_CORRUPT names the offset and the remedy. */
int journal_open(int dir_fd, const char *name, struct journal **ret, struct err *err);
void journal_close(struct journal *j);

/* Note that a launch is about to start; durable after the next journal_sync, and only then may it start. */
int journal_start(struct journal *j, const struct launch_key *key);
/* Note that it is over, or (a tombstone) must never start. */
int journal_settle(struct journal *j, const struct launch_key *key, uint32_t state, const uint8_t uuid[16]);
/* Forget a launch that was noted and for certain never started. */
int journal_drop(struct journal *j, const struct launch_key *key);
/* Writes and syncs everything noted since the last time. On ERR_IO the caller must not go on: what is on disk is
 * unknown. */
int journal_sync(struct journal *j, struct err *err);

/* Bytes noted and not synced. */
size_t journal_pending(const struct journal *j);

/* NULL if there is none. Valid until the journal changes. */
const struct journal_entry *journal_find(const struct journal *j, const struct launch_key *key);
/* The entry of a launch that is noted as started and not settled, repeatedly: `after` NULL begins, NULL ends. */
const struct journal_entry *journal_next_started(const struct journal *j, const struct journal_entry *after);
size_t journal_settled_count(const struct journal *j);

#endif
