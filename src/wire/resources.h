/* SPDX-License-Identifier: Apache-2.0
 * Amounts of what an agent has and a task takes: cpus, mem, disk and gpus in thousandths (mem and disk: of a MB), and a
 * set of ports. Fixed point, so that sums are exact and equal on every replica: no float enters here.
 *
 * Pure: no I/O, no clock. Invariants: each scalar is in [0, RESOURCES_MILLI_MAX]; the ranges of a port set are sorted,
 * do not touch or overlap, have begin <= end, and are at most PORTS_RANGES_MAX.
 * An all-zero struct is valid and empty. A function that fails changes nothing; each may return ERR_NOMEM. */
#ifndef CONCLAVE_WIRE_RESOURCES_H
#define CONCLAVE_WIRE_RESOURCES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define RESOURCES_MILLI_MAX INT64_C(1000000000000000000) /* 10^15 whole units; two of them still add up in 64 bits */
#define PORTS_RANGES_MAX    1024

struct port_range { /* closed: both ends belong to it */
    uint16_t begin;
    uint16_t end;
};

struct ports {
    struct port_range *ranges; /* owned; NULL when count is 0 */
    uint32_t count;
};

struct resources {
    int64_t cpus; /* thousandths of a cpu */
    int64_t mem;  /* thousandths of a MB */
    int64_t disk; /* thousandths of a MB */
    int64_t gpus; /* thousandths; always whole gpus */
    struct ports ports;
};

void resources_done(struct resources *r); /* frees, and leaves it empty */
/* Makes `ret` (empty or not; its old content is freed) equal to `r`. */
int resources_copy(struct resources *ret, const struct resources *r);
bool resources_empty(const struct resources *r);
bool resources_equal(const struct resources *a, const struct resources *b);
/* True if `part` could be taken out of `whole`. */
bool resources_contains(const struct resources *whole, const struct resources *part);
/* a += b. ERR_INVALID: a port is in both; ERR_LIMIT: a sum over RESOURCES_MILLI_MAX or too many ranges. */
int resources_add(struct resources *a, const struct resources *b);
/* a -= b. ERR_INVALID: b is not contained in a; ERR_LIMIT: the ports would fall into too many ranges. */
int resources_sub(struct resources *a, const struct resources *b);

/* Port sets by themselves. ports_add refuses (ERR_INVALID) ports already present; ports_sub refuses absent ones. */
void ports_done(struct ports *p);
int ports_copy(struct ports *ret, const struct ports *p);
bool ports_equal(const struct ports *a, const struct ports *b);
bool ports_contains(const struct ports *whole, const struct ports *part);
int ports_add(struct ports *a, const struct ports *b);
int ports_sub(struct ports *a, const struct ports *b);
uint32_t ports_total(const struct ports *p); /* how many ports */
/* Builds a set from `count` ranges in any order. ERR_INVALID: begin > end, above 65535, or two overlap;
 * ERR_LIMIT: count > PORTS_RANGES_MAX. `ret` need not be initialised and is owned by the caller afterwards. */
struct wide_range {
    uint64_t begin;
    uint64_t end;
};
int ports_from_ranges(const struct wide_range *ranges, size_t count, struct ports *ret, struct err *err);

/* The text of agent flags: "cpus:4;mem:1024;disk:1000;gpus:1;ports:[31000-32000,33000-33010]". Spaces are allowed
 * around each part, "(*)" after a name; a fourth decimal is rounded half up. Each name at most once. ERR_INVALID with
 * the reason: unknown name, a role other than *, a malformed or negative number, a bad range. `ret` need not be
 * initialised. */
int resources_parse_text(const char *text, struct resources *ret, struct err *err);
/* The same form, zero parts left out, "" for nothing. */
int resources_print_text(const struct resources *r, struct buf *ret);

#endif
