/* SPDX-License-Identifier: Apache-2.0
 * The JSON shapes that the legacy read endpoints share (wire reference, legacy endpoints): ids are plain strings,
 * agents are "slaves", times are seconds. */
#ifndef CONCLAVE_SCHEDULER_LEGACY_H
#define CONCLAVE_SCHEDULER_LEGACY_H

#include "scheduler/master.h"
#include "wire/arena.h"
#include "wire/json_write.h"

/* {"cpus":..,"gpus":..,"mem":..,"disk":..,"ports":"[..]"} */
void legacy_resources(struct json_writer *w, const struct resources *r);
void legacy_task(struct json_writer *w, const struct master *m, const struct task *task);
void legacy_slave(struct json_writer *w, const struct master *m, const struct agent *agent);
void legacy_framework(struct json_writer *w, const struct master *m, const struct framework *f, bool full);
/* "TASK_STAGING":n ... over one framework's or one agent's live tasks (0: any). */
void legacy_counts(struct json_writer *w, const struct master *m, uint32_t framework, uint32_t agent);
void legacy_seconds(struct json_writer *w, const char *key, uint64_t wall_ms);

#endif
