/* SPDX-License-Identifier: Apache-2.0
 * What a filter needs from the state: the number of a framework that brought its own id along. */
#ifndef CONCLAVE_CLI_LOG_LOOKUP_H
#define CONCLAVE_CLI_LOG_LOOKUP_H

#include "cli/log_source.h"

/* Fills filter->framework_number if the id does not tell it, from the state at the end of the log. An id that is not in
 * the state (any more) stays without a number, and the filter finds only commands that have the id itself. */
void log_filter_lookup(struct log_source *source, struct log_filter *filter);

#endif
