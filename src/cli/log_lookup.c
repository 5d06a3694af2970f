/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/log_lookup.h"

#include <stdio.h>

#include "cli/replay.h"

void log_filter_lookup(struct log_source *source, struct log_filter *filter) {
    struct replay replay = {0};
    struct err err;
    if (!filter->framework || filter->framework_number) return;
    const struct log_position end = {.index = log_source_range(source)->last, .whole = true};
    if (replay_at(source, &end, &replay, &err) == 0) {
        const struct framework *f = state_framework_by_id(replay.state, filter->framework);
        if (f) filter->framework_number = f->number;
    }
    if (filter->framework_number == 0)
        fprintf(stderr,
                "conclave: note: framework %.80s is not in the state at the end of this log: only commands that have "
                "the id itself are found\n",
                filter->framework);
    replay_done(&replay);
}
