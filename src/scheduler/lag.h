/* SPDX-License-Identifier: Apache-2.0
 * How old what a member lacks is: `lag_ms` of the status. The master notes now and then how far its state is; an index
 * is looked up among these notes. Pure. */
#ifndef CONCLAVE_SCHEDULER_LAG_H
#define CONCLAVE_SCHEDULER_LAG_H

#include <stdint.h>

#define LAG_STEP_MS 100 /* between two notes */
#define LAG_NOTES   600 /* so the last minute is known; what is older is told as a minute */

struct lag_note {
    uint64_t index, ms;
};

struct lag { /* all zeros: nothing is noted */
    struct lag_note notes[LAG_NOTES];
    unsigned next, count;
};

/* That everything to `index` is applied at `now_ms` (monotonic). More often than every LAG_STEP_MS is no harm. */
void lag_note(struct lag *lag, uint64_t index, uint64_t now_ms);
/* For how long something behind `has` has been applied, to LAG_STEP_MS and never too little: 0 when `applied` is all
 * that there is and the member has it; at most the age of the oldest note; -1 when nothing is noted. */
int64_t lag_of(const struct lag *lag, uint64_t has, uint64_t applied, uint64_t now_ms);

#endif
