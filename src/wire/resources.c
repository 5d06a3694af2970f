/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/resources.h"

#include "base/check.h"

void resources_done(struct resources *r) {
    ports_done(&r->ports);
    *r = (struct resources){0};
}

int resources_copy(struct resources *ret, const struct resources *r) {
    if (ret == r) return 0;
    int rc = ports_copy(&ret->ports, &r->ports);
    if (rc) return rc;
    ret->cpus = r->cpus;
    ret->mem = r->mem;
    ret->disk = r->disk;
    ret->gpus = r->gpus;
    return 0;
}

bool resources_empty(const struct resources *r) {
    return r->cpus == 0 && r->mem == 0 && r->disk == 0 && r->gpus == 0 && r->ports.count == 0;
}

bool resources_equal(const struct resources *a, const struct resources *b) {
    return a->cpus == b->cpus && a->mem == b->mem && a->disk == b->disk && a->gpus == b->gpus &&
           ports_equal(&a->ports, &b->ports);
}

bool resources_contains(const struct resources *whole, const struct resources *part) {
    return whole->cpus >= part->cpus && whole->mem >= part->mem && whole->disk >= part->disk &&
           whole->gpus >= part->gpus && ports_contains(&whole->ports, &part->ports);
}

static void scalars_check(const struct resources *r) {
    CHECK(r->cpus >= 0 && r->cpus <= RESOURCES_MILLI_MAX);
    CHECK(r->mem >= 0 && r->mem <= RESOURCES_MILLI_MAX);
    CHECK(r->disk >= 0 && r->disk <= RESOURCES_MILLI_MAX);
    CHECK(r->gpus >= 0 && r->gpus <= RESOURCES_MILLI_MAX);
}

int resources_add(struct resources *a, const struct resources *b) {
    scalars_check(a);
    scalars_check(b);
    if (a->cpus + b->cpus > RESOURCES_MILLI_MAX || a->mem + b->mem > RESOURCES_MILLI_MAX ||
        a->disk + b->disk > RESOURCES_MILLI_MAX || a->gpus + b->gpus > RESOURCES_MILLI_MAX)
        return ERR_LIMIT;
    int rc = ports_add(&a->ports, &b->ports);
    if (rc) return rc;
    a->cpus += b->cpus;
    a->mem += b->mem;
    a->disk += b->disk;
    a->gpus += b->gpus;
    return 0;
}

int resources_sub(struct resources *a, const struct resources *b) {
    scalars_check(a);
    scalars_check(b);
    if (!resources_contains(a, b)) return ERR_INVALID;
    int64_t cpus = a->cpus - b->cpus, mem = a->mem - b->mem, disk = a->disk - b->disk, gpus = a->gpus - b->gpus;
    int rc = ports_sub(&a->ports, &b->ports);
    if (rc) return rc;
    a->cpus = cpus;
    a->mem = mem;
    a->disk = disk;
    a->gpus = gpus;
    return 0;
}
