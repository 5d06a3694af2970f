/* SPDX-License-Identifier: Apache-2.0
 * Logging for the shells: one line an event on stderr: time, level, stable event name, key=value pairs.
 * Pure modules never log: they return reasons, and the shell that handles them logs once. */
#ifndef CONCLAVE_BASE_LOG_H
#define CONCLAVE_BASE_LOG_H

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* Lines below `level` are not written. `who` (borrowed, kept; may be NULL) is printed in each line, e.g. "m1". */
void log_setup(enum log_level level, const char *who);

/* log_event(LOG_INFO, "leader_elected", "term=%" PRIu64 " node=%u", term, node). Control characters become '?'. */
void log_event(enum log_level level, const char *event, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
