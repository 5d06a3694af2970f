/* SPDX-License-Identifier: Apache-2.0
 * What names one launch of one task. Two launches are the same only if all of it is equal: after a cluster was restored
 * from a backup, positions of the log are used again for other tasks. Pure. */
#ifndef CONCLAVE_AGENT_LAUNCH_KEY_H
#define CONCLAVE_AGENT_LAUNCH_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "scheduler/state.h"

#define TASK_ID_BYTES_MAX 255

struct launch_key { /* strings are borrowed or owned, as the holder says */
    const char *framework_id;
    const char *task_id;
    struct launch_id launch;
};

bool launch_key_equal(const struct launch_key *a, const struct launch_key *b);
/* Of the ids only: all launches of a task fall together. */
uint64_t launch_key_hash(const struct launch_key *key);
/* One allocation for both strings; free with launch_key_done. ERR_NOMEM. */
int launch_key_copy(struct launch_key *ret, const struct launch_key *key);
void launch_key_done(struct launch_key *key);

/* An id as frameworks may choose it: 1 to 255 bytes without '/', '\', control characters, and neither "." nor "..". */
bool task_id_valid(const char *id);
/* An id as one name of a directory: bytes other than letters, digits, '_', '-' and (not in front) '.' become %XX; what
 * would be longer than 200 bytes is cut and ends with a hash of the whole. */
#define TASK_NAME_MAX 256
void task_id_encode(const char *id, char ret[TASK_NAME_MAX]);

/* Wire form, for the journal: index u64, n u32, k u32, length u8 and bytes of each id. */
void launch_key_encode(const struct launch_key *key, struct buf *ret);
/* Decodes at data[*at..len), advances *at. *ret is owned. ERR_CORRUPT, ERR_NOMEM. */
int launch_key_decode(const uint8_t *data, size_t len, size_t *at, struct launch_key *ret);

#endif
