/* SPDX-License-Identifier: Apache-2.0
 * The fence: who may give orders. Ordered by (incarnation, term) within one cluster id; an agent obeys the highest it
 * has seen and nothing below it, so a deposed, paused or restored-from-old leader can start nothing (I-12). Pure. */
#ifndef CONCLAVE_AGENT_FENCE_H
#define CONCLAVE_AGENT_FENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct fence {
    bool set; /* false: no leader was ever obeyed; the rest is 0 */
    uint8_t cluster_id[16];
    uint32_t incarnation;
    uint64_t term;
};

enum fence_verdict {
    FENCE_SAME,    /* as high as ours: obey */
    FENCE_NEWER,   /* write it to disk, then obey */
    FENCE_OLDER,   /* a deposed leader: refuse */
    FENCE_STRANGER /* another cluster: refuse */
};

/* What to do about an order that carries `offered` while `highest` is on disk. While `highest` is not set everything is
 * newer, unless `pinned` (16 bytes, the configured cluster id, or NULL) says otherwise. */
enum fence_verdict fence_judge(const struct fence *highest, const uint8_t *pinned, const struct fence *offered);

#define FENCE_BYTES 40 /* magic, version, cluster id, incarnation, term, CRC-32C */
void fence_encode(const struct fence *fence, uint8_t ret[FENCE_BYTES]);
/* ERR_CORRUPT with the reason. */
int fence_decode(const uint8_t *data, size_t len, struct fence *ret, struct err *err);

#endif
