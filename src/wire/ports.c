/* SPDX-License-Identifier: Apache-2.0
 * Set algebra on sorted, separated, closed ranges of ports. Results are built aside and swapped in at the end, so that
 * a failure leaves the operand alone. */
#include "wire/resources.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define PORT_MAX 65535

void ports_done(struct ports *p) {
    free(p->ranges);
    *p = (struct ports){0};
}

static int ports_make(struct ports *ret, const struct port_range *ranges, uint32_t count) {
    struct ports made = {0};
    if (count > 0) {
        made.ranges = malloc(count * sizeof *ranges);
        if (!made.ranges) return ERR_NOMEM;
        memcpy(made.ranges, ranges, count * sizeof *ranges);
        made.count = count;
    }
    *ret = made;
    return 0;
}

static int ports_replace(struct ports *p, const struct port_range *ranges, uint32_t count) {
    struct ports made;
    int rc = ports_make(&made, ranges, count);
    if (rc) return rc;
    ports_done(p);
    *p = made;
    return 0;
}

int ports_copy(struct ports *ret, const struct ports *p) {
    return ret == p ? 0 : ports_replace(ret, p->ranges, p->count);
}

bool ports_equal(const struct ports *a, const struct ports *b) {
    return a->count == b->count && (a->count == 0 || memcmp(a->ranges, b->ranges, a->count * sizeof *a->ranges) == 0);
}

bool ports_contains(const struct ports *whole, const struct ports *part) {
    uint32_t w = 0;
    for (uint32_t i = 0; i < part->count; i++) {
        while (w < whole->count && whole->ranges[w].end < part->ranges[i].begin)
            w++;
        if (w == whole->count) return false;
        if (whole->ranges[w].begin > part->ranges[i].begin || whole->ranges[w].end < part->ranges[i].end) return false;
    }
    return true;
}

/* Appends `next` to sorted ranges, joining it to the last one if they touch. False if it overlaps the last one. */
static bool range_push(struct port_range *out, uint32_t *count, struct port_range next) {
    if (*count > 0) {
        struct port_range *last = &out[*count - 1];
        CHECK(last->begin <= next.begin);
        if (next.begin <= last->end) return false;
        if (next.begin == last->end + 1) {
            last->end = next.end;
            return true;
        }
    }
    out[(*count)++] = next;
    return true;
}

int ports_add(struct ports *a, const struct ports *b) {
    if (b->count == 0) return 0;
    CHECK(a->count <= PORTS_RANGES_MAX && b->count <= PORTS_RANGES_MAX);
    struct port_range out[2 * PORTS_RANGES_MAX];
    uint32_t n = 0, i = 0, k = 0;
    while (i < a->count || k < b->count) {
        bool from_a = k == b->count || (i < a->count && a->ranges[i].begin <= b->ranges[k].begin);
        if (!range_push(out, &n, from_a ? a->ranges[i++] : b->ranges[k++])) return ERR_INVALID;
    }
    return n > PORTS_RANGES_MAX ? ERR_LIMIT : ports_replace(a, out, n);
}

int ports_sub(struct ports *a, const struct ports *b) {
    if (b->count == 0) return 0;
    if (!ports_contains(a, b)) return ERR_INVALID;
    struct port_range out[2 * PORTS_RANGES_MAX];
    uint32_t n = 0, k = 0;
    for (uint32_t i = 0; i < a->count; i++) {
        uint32_t begin = a->ranges[i].begin; /* wider than a port: one past 65535 must not wrap */
        for (; k < b->count && b->ranges[k].begin <= a->ranges[i].end; k++) {
            if (b->ranges[k].begin > begin)
                out[n++] = (struct port_range){(uint16_t)begin, (uint16_t)(b->ranges[k].begin - 1)};
            begin = b->ranges[k].end + 1u;
        }
        if (begin <= a->ranges[i].end) out[n++] = (struct port_range){(uint16_t)begin, a->ranges[i].end};
    }
    return n > PORTS_RANGES_MAX ? ERR_LIMIT : ports_replace(a, out, n);
}

uint32_t ports_total(const struct ports *p) {
    uint32_t total = 0;
    for (uint32_t i = 0; i < p->count; i++)
        total += (uint32_t)(p->ranges[i].end - p->ranges[i].begin) + 1;
    return total;
}

static int range_compare(const void *a, const void *b) {
    const struct port_range *x = a, *y = b;
    return x->begin != y->begin ? (x->begin < y->begin ? -1 : 1) : (x->end > y->end) - (x->end < y->end);
}

int ports_from_ranges(const struct wide_range *ranges, size_t count, struct ports *ret, struct err *err) {
    if (count > PORTS_RANGES_MAX)
        return err_set(err, ERR_LIMIT, "ports: %zu ranges, at most %d are allowed", count, PORTS_RANGES_MAX);
    struct port_range sorted[PORTS_RANGES_MAX], out[PORTS_RANGES_MAX];
    for (size_t i = 0; i < count; i++) {
        if (ranges[i].begin > ranges[i].end)
            return err_set(err, ERR_INVALID, "ports: range %zu begins after its end", i);
        if (ranges[i].end > PORT_MAX) return err_set(err, ERR_INVALID, "ports: range %zu ends above %d", i, PORT_MAX);
        sorted[i] = (struct port_range){(uint16_t)ranges[i].begin, (uint16_t)ranges[i].end};
    }
    qsort(sorted, count, sizeof sorted[0], range_compare);
    uint32_t n = 0;
    for (size_t i = 0; i < count; i++)
        if (!range_push(out, &n, sorted[i]))
            return err_set(err, ERR_INVALID, "ports: port %u is in two ranges", sorted[i].begin);
    int rc = ports_make(ret, out, n);
    return rc ? err_set(err, rc, "ports: out of memory") : 0;
}
