/* SPDX-License-Identifier: Apache-2.0
 * The text form of resources, as given to an agent. Decimal digits go straight into thousandths: no float. */
#include "wire/resources.h"

#include <inttypes.h>
#include <string.h>

#include "base/check.h"

#define NUMBER_LEN_MAX 32

struct cursor {
    const char *p;
    const char *end;
};

static void cursor_skip_spaces(struct cursor *c) {
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\t'))
        c->p++;
}

static bool cursor_take(struct cursor *c, char wanted) {
    cursor_skip_spaces(c);
    if (c->p == c->end || *c->p != wanted) return false;
    c->p++;
    return true;
}

/* Reads an unsigned whole number; false on no digit or more than `max`. */
static bool cursor_take_whole(struct cursor *c, uint64_t max, uint64_t *ret) {
    const char *begin = c->p;
    uint64_t value = 0;
    for (; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++) {
        uint64_t digit = (uint64_t)(*c->p - '0');
        if (value > (max - digit) / 10) return false;
        value = value * 10 + digit;
    }
    if (c->p == begin) return false;
    *ret = value;
    return true;
}

/* Reads "12", "0.5" or "12.3456" into thousandths. */
static bool cursor_take_milli(struct cursor *c, int64_t *ret) {
    uint64_t whole;
    cursor_skip_spaces(c);
    if (!cursor_take_whole(c, RESOURCES_MILLI_MAX / 1000, &whole)) return false;
    uint64_t milli = whole * 1000;
    if (c->p < c->end && *c->p == '.') {
        c->p++;
        const char *begin = c->p;
        uint64_t weight = 100;
        for (; c->p < c->end && *c->p >= '0' && *c->p <= '9' && c->p - begin < NUMBER_LEN_MAX; c->p++) {
            uint64_t digit = (uint64_t)(*c->p - '0');
            if (c->p - begin == 3 && digit >= 5) milli++;
            milli += digit * weight;
            weight /= 10;
        }
        if (c->p == begin) return false;
    }
    if (milli > RESOURCES_MILLI_MAX) return false;
    *ret = (int64_t)milli;
    return true;
}

static int ports_parse(struct cursor *c, struct ports *ret, struct err *err) {
    struct wide_range ranges[PORTS_RANGES_MAX];
    size_t n = 0;
    if (!cursor_take(c, '[')) return err_set(err, ERR_INVALID, "resources: ports wants [begin-end,...]");
    while (!cursor_take(c, ']')) {
        if (n == PORTS_RANGES_MAX)
            return err_set(err, ERR_LIMIT, "resources: more than %d ranges of ports", PORTS_RANGES_MAX);
        if (n > 0 && !cursor_take(c, ',')) return err_set(err, ERR_INVALID, "resources: ports wants [begin-end,...]");
        cursor_skip_spaces(c);
        if (!cursor_take_whole(c, UINT64_MAX, &ranges[n].begin) || !cursor_take(c, '-'))
            return err_set(err, ERR_INVALID, "resources: ports wants [begin-end,...]");
        cursor_skip_spaces(c);
        if (!cursor_take_whole(c, UINT64_MAX, &ranges[n].end))
            return err_set(err, ERR_INVALID, "resources: ports wants [begin-end,...]");
        n++;
    }
    int rc = ports_from_ranges(ranges, n, ret, err);
    return rc ? err_wrap(err, "resources") : 0;
}

static int64_t *scalar_find(struct resources *r, const char *name, size_t len) {
    if (len == 4 && memcmp(name, "cpus", 4) == 0) return &r->cpus;
    if (len == 3 && memcmp(name, "mem", 3) == 0) return &r->mem;
    if (len == 4 && memcmp(name, "disk", 4) == 0) return &r->disk;
    if (len == 4 && memcmp(name, "gpus", 4) == 0) return &r->gpus;
    return NULL;
}

/* One "name:value" up to but not including the next ';'. `seen` has a bit for each name met. */
static int part_parse(struct cursor *c, struct resources *r, unsigned *seen, struct err *err) {
    const char *name = c->p;
    while (c->p < c->end && *c->p >= 'a' && *c->p <= 'z')
        c->p++;
    size_t len = (size_t)(c->p - name);
    int shown = (int)(len > 64 ? 64 : len);
    if (cursor_take(c, '(') && (!cursor_take(c, '*') || !cursor_take(c, ')')))
        return err_set(err, ERR_INVALID, "resources: %.*s: only the role * is supported", shown, name);
    if (len == 0 || !cursor_take(c, ':')) return err_set(err, ERR_INVALID, "resources: wants name:value;name:value");
    int64_t *scalar = scalar_find(r, name, len);
    bool is_ports = len == 5 && memcmp(name, "ports", 5) == 0;
    if (!scalar && !is_ports)
        return err_set(err, ERR_INVALID, "resources: '%.*s' is not one of cpus, mem, disk, gpus, ports", shown, name);
    unsigned bit = is_ports ? 1u << 31 : 1u << (unsigned)(scalar - &r->cpus);
    if (*seen & bit) return err_set(err, ERR_INVALID, "resources: %.*s is given twice", shown, name);
    *seen |= bit;
    if (is_ports) return ports_parse(c, &r->ports, err);
    if (!cursor_take_milli(c, scalar))
        return err_set(err, ERR_INVALID, "resources: %.*s wants a number from 0 to 1e15", shown, name);
    if (scalar == &r->gpus && r->gpus % 1000 != 0)
        return err_set(err, ERR_INVALID, "resources: gpus wants a whole number");
    return 0;
}

int resources_parse_text(const char *text, struct resources *ret, struct err *err) {
    struct cursor c = {text, text + strlen(text)};
    struct resources made = {0};
    unsigned seen = 0;
    int rc = 0;
    for (cursor_skip_spaces(&c); c.p < c.end && rc == 0; cursor_skip_spaces(&c)) {
        rc = part_parse(&c, &made, &seen, err);
        cursor_skip_spaces(&c);
        if (rc == 0 && c.p < c.end && !cursor_take(&c, ';'))
            rc = err_set(err, ERR_INVALID, "resources: unexpected text at byte %zu", (size_t)(c.p - text));
    }
    if (rc) {
        resources_done(&made);
        return rc;
    }
    *ret = made;
    return 0;
}

static void scalar_print(struct buf *out, size_t start, const char *name, int64_t milli) {
    if (milli == 0) return;
    (void)buf_printf(out, "%s%s:%" PRId64, out->len > start ? ";" : "", name, milli / 1000);
    if (milli % 1000 == 0) return;
    char fraction[5] = {'.', (char)('0' + milli / 100 % 10), (char)('0' + milli / 10 % 10), (char)('0' + milli % 10)};
    for (size_t len = 4; fraction[len - 1] == '0'; len--)
        fraction[len - 1] = '\0';
    (void)buf_append_str(out, fraction);
}

int resources_print_text(const struct resources *r, struct buf *ret) {
    size_t start = ret->len;
    scalar_print(ret, start, "cpus", r->cpus);
    scalar_print(ret, start, "mem", r->mem);
    scalar_print(ret, start, "disk", r->disk);
    scalar_print(ret, start, "gpus", r->gpus);
    if (r->ports.count > 0) {
        (void)buf_printf(ret, "%sports:[", ret->len > start ? ";" : "");
        for (uint32_t i = 0; i < r->ports.count; i++)
            (void)buf_printf(ret, "%s%u-%u", i ? "," : "", r->ports.ranges[i].begin, r->ports.ranges[i].end);
        (void)buf_append_str(ret, "]");
    }
    return ret->failed ? ERR_LIMIT : 0;
}
