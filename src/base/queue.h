/* SPDX-License-Identifier: Apache-2.0
 * An intrusive doubly linked list: a head and links are the same struct; an empty list points at itself. */
#ifndef CONCLAVE_BASE_QUEUE_H
#define CONCLAVE_BASE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

struct queue {
    struct queue *next;
    struct queue *prev;
};

static inline void queue_init(struct queue *q) {
    q->next = q->prev = q;
}
static inline bool queue_empty(const struct queue *q) {
    return q->next == q;
}
static inline void queue_push(struct queue *q, struct queue *item) { /* at the tail */
    item->next = q;
    item->prev = q->prev;
    q->prev->next = item;
    q->prev = item;
}
/* Takes `item` out and makes it a list of its own, so that removing twice is harmless. */
static inline void queue_remove(struct queue *item) {
    item->prev->next = item->next;
    item->next->prev = item->prev;
    queue_init(item);
}
#define QUEUE_ENTRY(item, type, field) ((type *)((char *)(item)-offsetof(type, field)))

#endif
