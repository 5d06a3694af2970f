/* SPDX-License-Identifier: Apache-2.0
 * Which term has each entry of a log, kept as runs: a log has few terms and many entries. Pure. */
#ifndef CONCLAVE_CONSENSUS_WAL_TERMS_H
#define CONCLAVE_CONSENSUS_WAL_TERMS_H

#include <stddef.h>
#include <stdint.h>

struct wal_terms_run {
    uint64_t first; /* index of its first entry; it lasts to the next run's */
    uint64_t term;
};

struct wal_terms {
    uint64_t base_index, base_term; /* the entry before the first */
    struct wal_terms_run *runs;
    size_t n, cap;
};

void wal_terms_done(struct wal_terms *t);
/* Empties it: the next entry is base_index + 1. */
void wal_terms_reset(struct wal_terms *t, uint64_t base_index, uint64_t base_term);
/* Entry `index` (behind all others) has `term`, not below that of any before. ERR_NOMEM. */
int wal_terms_append(struct wal_terms *t, uint64_t index, uint64_t term);
/* Forgets entries from `index` on. */
void wal_terms_truncate(struct wal_terms *t, uint64_t index);
/* Forgets entries up to `index`, which becomes the base. */
void wal_terms_cut(struct wal_terms *t, uint64_t index);
/* Term of an entry that is there, or of the base; below it 0. */
uint64_t wal_terms_at(const struct wal_terms *t, uint64_t index);

#endif
