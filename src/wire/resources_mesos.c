/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/resources_mesos.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SCALAR_MAX 1e15

int scalar_to_milli(double value, const char *what, int64_t *ret, struct err *err) {
    if (isnan(value)) return err_set(err, ERR_INVALID, "%s is not a number", what);
    if (value < 0) return err_set(err, ERR_INVALID, "%s is negative", what);
    if (value > SCALAR_MAX) return err_set(err, ERR_INVALID, "%s is over 1e15", what);
    *ret = llround(value * 1000);
    return 0;
}

double scalar_from_milli(int64_t milli) {
    int64_t whole = milli / 1000;
    return (double)whole + (double)(milli % 1000) / 1000.0;
}

/* What the message carries beyond an amount, or NULL. */
static const char *unsupported(const Mesos__V1__Resource *m) {
    if (m->n_reservations > 0 || m->reservation) return "reservations are not supported";
    if (m->role && strcmp(m->role, "*") != 0) return "only the role * is supported";
    if (m->disk) return "volumes and disk sources are not supported";
    if (m->revocable) return "revocable resources are not supported";
    if (m->shared) return "shared resources are not supported";
    if (m->provider_id) return "resource providers are not supported";
    return NULL;
}

static int ports_from_mesos(const Mesos__V1__Resource *m, struct ports *ret, struct err *err) {
    struct wide_range ranges[PORTS_RANGES_MAX];
    if (m->type != MESOS__V1__VALUE__TYPE__RANGES || !m->ranges)
        return err_set(err, ERR_INVALID, "resource ports: wants ranges");
    size_t n = m->ranges->n_range;
    for (size_t i = 0; i < n && i < PORTS_RANGES_MAX; i++)
        ranges[i] = (struct wide_range){m->ranges->range[i]->begin, m->ranges->range[i]->end};
    int rc = ports_from_ranges(ranges, n, ret, err);
    return rc ? err_wrap(err, "resource") : 0;
}

/* Room for the amount called `name` in `r`, or NULL. */
static int64_t *scalar_find(struct resources *r, const char *name) {
    if (strcmp(name, "cpus") == 0) return &r->cpus;
    if (strcmp(name, "mem") == 0) return &r->mem;
    if (strcmp(name, "disk") == 0) return &r->disk;
    return strcmp(name, "gpus") == 0 ? &r->gpus : NULL;
}

/* `name` is for texts: at most 64 bytes of it, and only what is harmless to show. */
static void name_shown(const char *name, char ret[65]) {
    size_t n = 0;
    for (; n < 64 && name[n]; n++)
        ret[n] = name[n] > ' ' && name[n] < 0x7F ? name[n] : '?';
    ret[n] = '\0';
}

static int part_from_mesos(const Mesos__V1__Resource *m, struct resources *ret, struct err *err) {
    char shown[65], what[80];
    const char *wrong = unsupported(m);
    name_shown(m->name, shown);
    if (wrong) return err_set(err, ERR_INVALID, "resource %s: %s", shown, wrong);
    if (strcmp(m->name, "ports") == 0) return ports_from_mesos(m, &ret->ports, err);
    int64_t *place = scalar_find(ret, m->name), milli = 0;
    if (m->type != MESOS__V1__VALUE__TYPE__SCALAR || !m->scalar)
        return err_set(err, ERR_INVALID, "resource %s: wants a scalar", shown);
    (void)snprintf(what, sizeof what, "resource %s", shown);
    int rc = scalar_to_milli(m->scalar->value, what, &milli, err);
    if (rc) return rc;
    if (milli == 0) return 0;
    if (!place) return err_set(err, ERR_INVALID, "resource %s: not one of cpus, mem, disk, gpus, ports", shown);
    if (place == &ret->gpus && milli % 1000 != 0)
        return err_set(err, ERR_INVALID, "resource gpus: wants a whole number");
    *place = milli;
    return 0;
}

int resources_from_mesos(size_t n, Mesos__V1__Resource *const *messages, struct resources *ret, struct err *err) {
    struct resources sum = {0};
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        struct resources part = {0};
        rc = part_from_mesos(messages[i], &part, err);
        if (rc) break;
        rc = resources_add(&sum, &part);
        if (rc == ERR_INVALID) (void)err_set(err, rc, "resource ports: a port is in two resources");
        if (rc == ERR_LIMIT) (void)err_set(err, rc, "resources: the sum is over a limit");
        if (rc == ERR_NOMEM) (void)err_set(err, rc, "resources: out of memory");
        resources_done(&part);
    }
    if (rc) {
        resources_done(&sum);
        return rc;
    }
    *ret = sum;
    return 0;
}

struct emitter {
    struct arena *arena;
    const char *role;
    Mesos__V1__Resource **items;
    size_t n;
};

static void *message_new(struct arena *arena, const ProtobufCMessageDescriptor *type) {
    ProtobufCMessage *m = arena_alloc(arena, type->sizeof_message);
    if (m) protobuf_c_message_init(type, m);
    return m;
}

/* A new element named `name` (borrowed: a literal), or NULL. */
static Mesos__V1__Resource *part_new(struct emitter *e, const char *name, Mesos__V1__Value__Type type) {
    Mesos__V1__Resource *m = message_new(e->arena, &mesos__v1__resource__descriptor);
    if (!m) return NULL;
    m->name = arena_strndup(e->arena, name, strlen(name));
    m->role = arena_strndup(e->arena, "*", 1);
    m->type = type;
    if (e->role) {
        m->allocation_info = message_new(e->arena, &mesos__v1__resource__allocation_info__descriptor);
        if (!m->allocation_info) return NULL;
        m->allocation_info->role = arena_strndup(e->arena, e->role, strlen(e->role));
        if (!m->allocation_info->role) return NULL;
    }
    if (!m->name || !m->role) return NULL;
    e->items[e->n++] = m;
    return m;
}

static bool scalar_emit(struct emitter *e, const char *name, int64_t milli) {
    if (milli == 0) return true;
    Mesos__V1__Resource *m = part_new(e, name, MESOS__V1__VALUE__TYPE__SCALAR);
    if (!m) return false;
    m->scalar = message_new(e->arena, &mesos__v1__value__scalar__descriptor);
    if (!m->scalar) return false;
    m->scalar->value = scalar_from_milli(milli);
    return true;
}

static bool ports_emit(struct emitter *e, const struct ports *ports) {
    if (ports->count == 0) return true;
    Mesos__V1__Resource *m = part_new(e, "ports", MESOS__V1__VALUE__TYPE__RANGES);
    if (!m) return false;
    m->ranges = message_new(e->arena, &mesos__v1__value__ranges__descriptor);
    if (!m->ranges) return false;
    m->ranges->range = arena_alloc(e->arena, ports->count * sizeof(void *));
    if (!m->ranges->range) return false;
    for (uint32_t i = 0; i < ports->count; i++) {
        Mesos__V1__Value__Range *range = message_new(e->arena, &mesos__v1__value__range__descriptor);
        if (!range) return false;
        range->begin = ports->ranges[i].begin;
        range->end = ports->ranges[i].end;
        m->ranges->range[m->ranges->n_range++] = range;
    }
    return true;
}

int resources_to_mesos(const struct resources *r, const char *allocation_role, struct arena *arena, size_t *ret_n,
                       Mesos__V1__Resource ***ret) {
    struct emitter e = {.arena = arena, .role = allocation_role, .items = arena_alloc(arena, 5 * sizeof(void *))};
    bool ok = e.items && scalar_emit(&e, "cpus", r->cpus) && scalar_emit(&e, "mem", r->mem) &&
              scalar_emit(&e, "disk", r->disk) && scalar_emit(&e, "gpus", r->gpus) && ports_emit(&e, &r->ports);
    if (!ok) return arena->error ? arena->error : ERR_NOMEM;
    *ret_n = e.n;
    *ret = e.n ? e.items : NULL;
    return 0;
}
