/* SPDX-License-Identifier: Apache-2.0 */
#include "consensus/wal_terms.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/err.h"

void wal_terms_done(struct wal_terms *t) {
    free(t->runs);
    *t = (struct wal_terms){0};
}

void wal_terms_reset(struct wal_terms *t, uint64_t base_index, uint64_t base_term) {
    t->n = 0;
    t->base_index = base_index;
    t->base_term = base_term;
}

int wal_terms_append(struct wal_terms *t, uint64_t index, uint64_t term) {
    CHECK(index > t->base_index);
    if (t->n && t->runs[t->n - 1].term == term) return 0;
    CHECK(t->n == 0 || t->runs[t->n - 1].first < index);
    if (t->n == t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 16;
        struct wal_terms_run *grown = realloc(t->runs, cap * sizeof *grown);
        if (!grown) return ERR_NOMEM;
        t->runs = grown;
        t->cap = cap;
    }
    t->runs[t->n++] = (struct wal_terms_run){.first = index, .term = term};
    return 0;
}

void wal_terms_truncate(struct wal_terms *t, uint64_t index) {
    while (t->n && t->runs[t->n - 1].first >= index)
        t->n--;
}

uint64_t wal_terms_at(const struct wal_terms *t, uint64_t index) {
    for (size_t i = t->n; i > 0; i--)
        if (t->runs[i - 1].first <= index) return t->runs[i - 1].term;
    return index == t->base_index ? t->base_term : 0;
}

void wal_terms_cut(struct wal_terms *t, uint64_t index) {
    if (index <= t->base_index) return;
    uint64_t term = wal_terms_at(t, index);
    size_t drop = 0;
    while (drop + 1 < t->n && t->runs[drop + 1].first <= index + 1)
        drop++;
    if (drop) memmove(t->runs, t->runs + drop, (t->n - drop) * sizeof *t->runs);
    t->n -= drop;
    if (t->n && t->runs[0].first <= index) t->runs[0].first = index + 1;
    t->base_index = index;
    t->base_term = term;
}
