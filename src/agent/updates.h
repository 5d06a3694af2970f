/* SPDX-License-Identifier: Apache-2.0
 * The status updates of one task, in order. The head is sent again and again until it is acknowledged; then the next
 * one becomes the head. Nothing is ever sent out of order, and an acknowledged update is never the head again. Pure. */
#ifndef CONCLAVE_AGENT_UPDATES_H
#define CONCLAVE_AGENT_UPDATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UPDATES_MAX 8 /* waiting updates of one task; a workload makes two */

struct update {
    uint8_t uuid[16];
    uint32_t state;  /* mesos.v1.TaskState */
    uint8_t *status; /* mesos.v1.TaskStatus, owned; may be NULL with len 0 */
    size_t len;
};

struct updates {
    struct update items[UPDATES_MAX];
    unsigned count;
    uint32_t latest; /* state of the newest update ever added; TASK_STAGING before the first */
    bool has_acked;
    struct update acked; /* the last acknowledged one: its state is the task's in the digest */
};

void updates_init(struct updates *u);
void updates_done(struct updates *u);
/* Appends; copies `status`. ERR_LIMIT when UPDATES_MAX wait, ERR_EXISTS for a uuid that is there, ERR_INVALID behind a
 * terminal state (nothing follows it), ERR_NOMEM. */
int updates_add(struct updates *u, const uint8_t uuid[16], uint32_t state, const void *status, size_t len);
/* The one to send; NULL when all are acknowledged. Valid until the next call that changes `u`. */
const struct update *updates_head(const struct updates *u);
/* Takes the head off if `uuid` is its. False for any other uuid: an old answer, which changes nothing. */
bool updates_ack(struct updates *u, const uint8_t uuid[16]);
/* True once a terminal update has been acknowledged: the task may be forgotten. */
bool updates_settled(const struct updates *u);

#endif
