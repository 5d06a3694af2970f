/* SPDX-License-Identifier: Apache-2.0
 * A disk in memory for tests: deterministic, seeded, and as nasty as a real one when the power goes.
 *
 * Nothing happens by itself: a write or job that was asked for waits in a queue until sim_disk_step completes it. A
 * crash keeps what was durable and, of everything that was not, a set of 512-byte sectors (and a prefix of the name
 * changes) drawn from the seed, or chosen by the test. Many disks may live in one process. */
#ifndef CONCLAVE_TESTS_SIM_DISK_H
#define CONCLAVE_TESTS_SIM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consensus/disk.h"

#define SIM_SECTOR 512u

struct sim_disk;

struct sim_disk *sim_disk_new(uint64_t seed);
void sim_disk_free(struct sim_disk *d);
/* What the store is given. disk_close of it does nothing: the content outlives its user. */
struct disk *sim_disk_face(struct sim_disk *d);
/* A copy of the content (not of what is pending): take before an experiment, use for the next. */
struct sim_disk *sim_disk_copy(const struct sim_disk *d, uint64_t seed);

/* Pending writes and jobs, oldest first. */
enum sim_disk_kind { SIM_DISK_WRITE = 1, SIM_DISK_JOB = 2 };
size_t sim_disk_pending(const struct sim_disk *d);
enum sim_disk_kind sim_disk_kind_at(const struct sim_disk *d, size_t i);
size_t sim_disk_bytes_at(const struct sim_disk *d, size_t i); /* length of a pending write, 0 for a job */
/* Completes the i-th pending item: makes the write durable (or runs the job), then calls back. */
void sim_disk_step(struct sim_disk *d, size_t i);
/* Steps the oldest until nothing is pending or `max` steps were made; returns the number of steps. */
size_t sim_disk_pump(struct sim_disk *d, size_t max);
/* Called (inside disk_write or disk_run) whenever an item becomes pending, so that a simulation can schedule its
 * completion. `id` grows by one each time; sim_disk_step_id completes by it and returns false if a crash dropped it. */
void sim_disk_set_notify(struct sim_disk *d,
                         void (*notify)(void *data, uint64_t id, enum sim_disk_kind kind, size_t len), void *data);
bool sim_disk_step_id(struct sim_disk *d, uint64_t id);

/* Power goes: pending items are dropped without callback, what was not durable is torn as the seed says, name changes
 * since the last sync_dir survive in a prefix. A dead disk is alive again afterwards. */
void sim_disk_crash(struct sim_disk *d);
/* The same, but sector k (of the pending write) lands if keep(data, k) and everything else undurable is lost. */
void sim_disk_crash_keep(struct sim_disk *d, bool (*keep)(void *data, size_t sector), void *data);

/* Faults. Steps are the changing operations: write (when it completes), write_sync, write_at, sync, create, replace,
 * rename, remove, sync_dir. The n-th from now (1 = the next) meets the fault. */
enum sim_disk_fault {
    SIM_DISK_NONE,
    SIM_DISK_FAIL,    /* that one step fails with ERR_IO and does nothing */
    SIM_DISK_NOSPACE, /* that one step fails with ERR_LIMIT */
    SIM_DISK_TEAR,    /* that one step fails with ERR_IO; of a pending write some sectors land, as at a crash */
    SIM_DISK_DIE,     /* the machine stops there: that step is torn at the coming crash, all later ones fail with
                         ERR_CLOSED, nothing completes any more */
};
void sim_disk_fault_after(struct sim_disk *d, uint64_t n, enum sim_disk_fault fault);
uint64_t sim_disk_steps(const struct sim_disk *d); /* made so far */
bool sim_disk_dead(const struct sim_disk *d);
/* How often a FAIL or TEAR has struck, and how often something did not fit. */
uint64_t sim_disk_failures(const struct sim_disk *d);
uint64_t sim_disk_refusals(const struct sim_disk *d);
uint64_t sim_disk_used(const struct sim_disk *d); /* bytes */
/* Total bytes that fit (default: no bound). */
void sim_disk_set_capacity(struct sim_disk *d, uint64_t bytes);

/* Direct access for tests: damage and inspection. Each CHECKs that the file exists. */
void sim_disk_flip(struct sim_disk *d, const char *name, uint64_t offset, unsigned bit);
void sim_disk_poke(struct sim_disk *d, const char *name, uint64_t offset, const void *data, size_t len);
const uint8_t *sim_disk_data(const struct sim_disk *d, const char *name, size_t *ret_len); /* NULL: no such file */
void sim_disk_delete(struct sim_disk *d, const char *name); /* durably; of a missing file: nothing */
/* Names, sorted; returns how many there are; fills at most `max`. */
size_t sim_disk_names(const struct sim_disk *d, char (*ret)[DISK_NAME_MAX], size_t max);

#endif
