/* SPDX-License-Identifier: Apache-2.0
 * Which commands of the log are wanted: positions, types, and what they are about. One filter for every log verb. Pure.
 *
 * A framework or agent is given as an id or as "#N": commands name them by number, and an id that the cluster made ends
 * with its number. An id that a framework brought along is in reports and subscriptions only: log_lookup.h finds its
 * number. */
#ifndef CONCLAVE_CLI_LOG_FILTER_H
#define CONCLAVE_CLI_LOG_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "cli/log_item.h"

/* INDEX or INDEX.N; without N all of the entry is meant. */
struct log_position {
    uint64_t index;
    uint32_t n; /* 0 when `whole` */
    bool whole;
};
/* "12", "12.3". ERR_INVALID: anything else, index 0, or a number that does not fit. */
int log_position_parse(const char *text, struct log_position *ret, struct err *err);
/* Whether INDEX.N is before / behind the position (whose whole entry counts as inside). */
bool log_position_before(uint64_t index, uint32_t n, const struct log_position *p);
bool log_position_behind(uint64_t index, uint32_t n, const struct log_position *p);

struct log_filter {
    const char *from_text, *to_text, *types, *task, *framework, *agent; /* as given; NULL: any */
    struct log_position from, to;
    uint32_t framework_number, agent_number; /* 0: not known */
};

/* Rows for a table of flags. */
#define LOG_FILTER_FLAGS(f)                                                                                            \
    {"from", FLAG_STRING, &(f).from_text, 0, 64, false, "POSITION", "first position: INDEX or INDEX.N"},               \
        {"to", FLAG_STRING, &(f).to_text, 0, 64, false, "POSITION", "last position, inclusive"},                       \
        {"type", FLAG_STRING, &(f).types, 0, 1000, false, "LIST", "only these types: task_report,accept,..."},         \
        {"task", FLAG_STRING, &(f).task, 0, 255, false, "ID", "only what names this task"},                            \
        {"framework", FLAG_STRING, &(f).framework, 0, 255, false, "ID", "only what names this framework (id or #N)"},  \
    {                                                                                                                  \
        "agent", FLAG_STRING, &(f).agent, 0, 255, false, "ID", "only what names this agent (id or #N)"                 \
    }

/* Reads the texts. ERR_INVALID names the flag. */
int log_filter_resolve(struct log_filter *f, struct err *err);
bool log_filter_match(const struct log_filter *f, const struct log_item *item);

/* The number at the end of an id that a cluster made: "1a2b3c4d-1-0007" is framework 7, "1a2b3c4d-1-S3" agent 3, "#7"
 * either. 0: another id. */
uint32_t log_id_number(const char *id, bool agent);

#endif
