/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/lag.h"

static const struct lag_note *note_back(const struct lag *lag, unsigned back) {
    return &lag->notes[(lag->next + LAG_NOTES - 1 - back) % LAG_NOTES];
}

void lag_note(struct lag *lag, uint64_t index, uint64_t now_ms) {
    if (lag->count && now_ms - note_back(lag, 0)->ms < LAG_STEP_MS) return;
    lag->notes[lag->next] = (struct lag_note){.index = index, .ms = now_ms};
    lag->next = (lag->next + 1) % LAG_NOTES;
    if (lag->count < LAG_NOTES) lag->count++;
}

int64_t lag_of(const struct lag *lag, uint64_t has, uint64_t applied, uint64_t now_ms) {
    if (has >= applied) return 0;
    if (lag->count == 0) return -1;
    unsigned back = 0; /* the newest note at which the member had everything, or the oldest one */
    while (back + 1 < lag->count && note_back(lag, back)->index > has)
        back++;
    return (int64_t)(now_ms - note_back(lag, back)->ms);
}
