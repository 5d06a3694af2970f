/* SPDX-License-Identifier: Apache-2.0
 * Between Mesos Resource messages and struct resources, at the edge: doubles become thousandths here and nowhere else.
 * Pure: no I/O, no clock. */
#ifndef CONCLAVE_WIRE_RESOURCES_MESOS_H
#define CONCLAVE_WIRE_RESOURCES_MESOS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "mesos/v1/mesos.pb-c.h"
#include "wire/arena.h"
#include "wire/resources.h"

/* llround(value * 1000): the fixed point of the Mesos interface. ERR_INVALID for NaN, infinities, negative numbers and
 * more than 10^15; minus zero is zero. `what` names the value in the error. */
int scalar_to_milli(double value, const char *what, int64_t *ret, struct err *err);
/* The double that Mesos clients expect for a fixed-point value: whole part plus thousandths. */
double scalar_from_milli(int64_t milli);

/* Adds up `n` messages. Scalars of one name are summed, zero scalars of any name are ignored, port ranges are joined.
 * ERR_INVALID or ERR_LIMIT with the resource named: unknown name, wrong or missing value, TEXT type, a fraction of a
 * gpu, overlapping ports, or what is not supported yet (reservations, a role other than *, volumes and disk sources,
 * revocable, shared, provided by a provider). An allocation_info is accepted and dropped.
 * `ret` need not be initialised; it is the caller's to free (resources_done) after success only. */
int resources_from_mesos(size_t n, Mesos__V1__Resource *const *messages, struct resources *ret, struct err *err);

/* The parts that are not zero, as messages in the arena, in the order cpus, mem, disk, gpus, ports: role "*" and type
 * are always set; allocation_info holds `allocation_role` unless that is NULL. ERR_LIMIT or ERR_NOMEM if the arena
 * refuses. *ret is NULL when *ret_n is 0. */
int resources_to_mesos(const struct resources *r, const char *allocation_role, struct arena *arena, size_t *ret_n,
                       Mesos__V1__Resource ***ret);

#endif
