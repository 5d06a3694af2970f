/* SPDX-License-Identifier: Apache-2.0
 * What happens next in a simulated world: a binary heap of events by time, and by the order in which they were planned
 * among those of the same time. */
#ifndef CONCLAVE_TESTS_EVENT_QUEUE_H
#define CONCLAVE_TESTS_EVENT_QUEUE_H

#include <stddef.h>
#include <stdint.h>

struct event {
    uint64_t at, seq; /* microseconds; the order of planning */
    int kind;         /* the user's */
    unsigned host, life;
    void *data;
};

struct event_queue { /* all zero: empty */
    struct event *heap;
    size_t count, cap;
};

void event_push(struct event_queue *q, struct event ev);
struct event event_pop(struct event_queue *q); /* of one that is not empty; the first is q->heap[0] */

#endif
