/* SPDX-License-Identifier: Apache-2.0
 * Delta debugging over the numbered faults of a red seed: leaves out halves, quarters, ... single ones, as long as the
 * same invariant is broken. */
#include "cluster.h"

#include <string.h>

#define RUNS_MAX 600u

static bool still_red(const struct cluster_config *cfg, const uint32_t *keep, unsigned n, const char *invariant,
                      struct verdict *ret) {
    struct cluster_config tried = *cfg;
    struct verdict v;
    tried.keep_some = true;
    tried.keep = keep;
    tried.keep_count = n;
    tried.trace = tried.schedule = NULL;
    seed_run(&tried, &v);
    if (!v.red || strcmp(v.invariant, invariant) != 0) return false;
    *ret = v;
    return true;
}

static unsigned without(const uint32_t *from, unsigned n, unsigned at, unsigned len, uint32_t *ret) {
    unsigned kept = 0;
    for (unsigned i = 0; i < n; i++)
        if (i < at || i >= at + len) ret[kept++] = from[i];
    return kept;
}

unsigned seed_shrink(const struct cluster_config *cfg, uint32_t *keep, struct verdict *ret) {
    static uint32_t fewer[FAULTS_KEPT_MAX];
    char invariant[sizeof ret->invariant];
    unsigned n = 0, runs = 0;
    memcpy(invariant, ret->invariant, sizeof invariant);
    uint32_t all = ret->faults < FAULTS_KEPT_MAX ? ret->faults : FAULTS_KEPT_MAX;
    for (uint32_t i = 0; i < all; i++)
        keep[n++] = i;
    for (unsigned chunk = (n + 1) / 2; chunk > 0 && n > 0; chunk /= 2) {
        /* From the end: what came after the fault is the first that can go. */
        for (unsigned end = n; end > 0 && runs < RUNS_MAX;) {
            unsigned at = end > chunk ? end - chunk : 0;
            unsigned kept = without(keep, n, at, end - at, fewer);
            runs++;
            if (still_red(cfg, fewer, kept, invariant, ret)) {
                memcpy(keep, fewer, kept * sizeof *keep);
                n = kept;
            }
            end = at;
        }
    }
    return n;
}
