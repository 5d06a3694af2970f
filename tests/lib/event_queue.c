/* SPDX-License-Identifier: Apache-2.0 */
#include "event_queue.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/check.h"

static bool before(const struct event *a, const struct event *b) {
    return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

void event_push(struct event_queue *q, struct event ev) {
    if (q->count == q->cap) {
        q->cap = q->cap == 0 ? 256 : 2 * q->cap;
        q->heap = realloc(q->heap, q->cap * sizeof *q->heap);
        CHECK(q->heap != NULL);
    }
    size_t i = q->count++;
    for (; i > 0 && before(&ev, &q->heap[(i - 1) / 2]); i = (i - 1) / 2)
        q->heap[i] = q->heap[(i - 1) / 2];
    q->heap[i] = ev;
}

struct event event_pop(struct event_queue *q) {
    struct event top = q->heap[0], last = q->heap[--q->count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= q->count) break;
        if (child + 1 < q->count && before(&q->heap[child + 1], &q->heap[child])) child++;
        if (!before(&q->heap[child], &last)) break;
        q->heap[i] = q->heap[child];
        i = child;
    }
    q->heap[i] = last;
    return top;
}
