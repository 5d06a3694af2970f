/* SPDX-License-Identifier: Apache-2.0
 * The entries of a node's log as a stream, for inspection: reads only, in constant memory, also beside the running
 * process (open the folder with disk_file_open_readonly).
 *
 * The log is walked twice. Opening notes where entries were taken back (a TRUNCATE or RESET comes after what it takes
 * back); walking then hands out each entry that nothing behind it takes back, in order of their indexes, as it passes.
 * The end of the log is where it was when the reader was opened: what is written meanwhile is not shown, and a tail
 * that is torn, or being written, is left out. Entries at the end may be uncommitted: a folder does not say. */
#ifndef CONCLAVE_CONSENSUS_LOG_READER_H
#define CONCLAVE_CONSENSUS_LOG_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "consensus/disk.h"

struct log_reader; /* opaque */

struct log_span {
    uint64_t first, last; /* entries; first > last when the log is empty */
    uint64_t first_term;  /* of the entry before `first`, as far as known */
    uint64_t last_term;   /* of `last`, or of the entry before an empty log */
    uint64_t torn_bytes;  /* of an unfinished write at the end, left out */
};

/* The disk is borrowed until the reader is closed. ERR_CORRUPT: the log is damaged (the text names file, offset and
 * remedy); *ret is set all the same and hands out what stands before the damage. Other errors: *ret is NULL.
 * ERR_NOT_FOUND: the folder is empty; ERR_LIMIT: over a million truncations. What looks damaged while it is being
 * written is read again a few times before it is believed. */
int log_reader_open(struct disk *disk, struct log_reader **ret, struct err *err);
const struct log_span *log_reader_span(const struct log_reader *r);
/* NULL, or what ends the readable part: as at opening. */
const struct err *log_reader_damage(const struct log_reader *r);
void log_reader_close(struct log_reader *r); /* NULL is fine */

/* One entry. `data` is borrowed for the call. `type`: 1 command batch, 2 barrier, 3 configuration. Return false to
 * stop. */
typedef bool (*log_entry_cb)(void *ctx, uint64_t index, uint64_t term, int type, const uint8_t *data, size_t len);

/* Calls cb for the entries from..to (inclusive, in order; clipped to the span). ERR_CORRUPT: as at opening; entries
 * before the damage have been shown. ERR_BUSY: files were recycled meanwhile faster than they could be read. */
int log_reader_walk(struct log_reader *r, uint64_t from, uint64_t to, log_entry_cb cb, void *ctx, struct err *err);

#endif
