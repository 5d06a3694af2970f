/* SPDX-License-Identifier: Apache-2.0 */
#include "consensus/agreement.h"

#include <string.h>

void agreement_marks(uint64_t applied, agreement_own own, void *ctx, struct peer_mark ret[PEER_MARKS]) {
    static const uint64_t grains[PEER_MARKS] = AGREEMENT_GRAINS;
    for (unsigned i = 0; i < PEER_MARKS; i++) {
        uint64_t index = applied - applied % grains[i];
        ret[i] = (struct peer_mark){0};
        if (index != 0 && own(ctx, index, ret[i].hash)) ret[i].index = index;
    }
}

static bool same(const struct peer_mark *a, const struct peer_mark *b) {
    return a->index == b->index && memcmp(a->hash, b->hash, sizeof a->hash) == 0;
}

/* Voters whose mark this is, too. */
static unsigned supporters(const struct agreement_peer *peers, unsigned n, uint32_t kind,
                           const struct peer_mark *mark) {
    unsigned count = 0;
    for (unsigned p = 0; p < n; p++) {
        bool found = false;
        for (unsigned i = 0; i < PEER_MARKS && peers[p].voter && peers[p].hash_kind == kind; i++)
            found = found || same(&peers[p].marks[i], mark);
        count += found;
    }
    return count;
}

uint64_t agreement_judge(struct agreement_peer *peers, unsigned n, unsigned voters, uint32_t hash_kind,
                         agreement_own own, void *ctx) {
    uint64_t outvoted = 0;
    for (unsigned p = 0; p < n; p++) {
        uint64_t agreed = 0, differs = 0;
        for (unsigned i = 0; i < PEER_MARKS && peers[p].hash_kind == hash_kind; i++) {
            const struct peer_mark *mark = &peers[p].marks[i];
            struct peer_mark ours = {.index = mark->index};
            if (mark->index == 0 || !own(ctx, mark->index, ours.hash)) continue;
            uint64_t *furthest = same(mark, &ours) ? &agreed : &differs;
            if (mark->index > *furthest) *furthest = mark->index;
            if (furthest == &differs && 2 * supporters(peers, n, hash_kind, mark) > voters) outvoted = mark->index;
        }
        if (differs > agreed)
            peers[p].differs_index = differs;
        else if (agreed > peers[p].differs_index)
            peers[p].differs_index = 0;
    }
    return outvoted;
}
