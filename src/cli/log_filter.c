/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/log_filter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "scheduler/command.h"

/* Digits only, all of [text, end), at most `max`. */
static bool number_read(const char *text, const char *end, uint64_t max, uint64_t *ret) {
    uint64_t value = 0;
    if (text == end) return false;
    for (; text < end; text++) {
        unsigned digit = (unsigned)(*text - '0');
        if (digit > 9 || value > (max - digit) / 10) return false;
        value = value * 10 + digit;
    }
    *ret = value;
    return true;
}

int log_position_parse(const char *text, struct log_position *ret, struct err *err) {
    const char *dot = strchr(text, '.'), *end = text + strlen(text);
    uint64_t index = 0, n = 0;
    bool right = number_read(text, dot ? dot : end, UINT64_MAX - 1, &index) && index > 0;
    if (right && dot) right = number_read(dot + 1, end, UINT32_MAX - 1, &n);
    if (!right) return err_set(err, ERR_INVALID, "'%.40s' is no position (INDEX or INDEX.N)", text);
    *ret = (struct log_position){.index = index, .n = (uint32_t)n, .whole = !dot};
    return 0;
}

bool log_position_before(uint64_t index, uint32_t n, const struct log_position *p) {
    return index < p->index || (index == p->index && !p->whole && n < p->n);
}

bool log_position_behind(uint64_t index, uint32_t n, const struct log_position *p) {
    return index > p->index || (index == p->index && !p->whole && n > p->n);
}

uint32_t log_id_number(const char *id, bool agent) {
    uint64_t number = 0, incarnation;
    if (*id == '#') return number_read(id + 1, id + strlen(id), UINT32_MAX, &number) ? (uint32_t)number : 0;
    const char *dash = strchr(id, '-'), *last = dash ? strchr(dash + 1, '-') : NULL;
    if (!last || dash - id != 8 || strspn(id, "0123456789abcdef") != 8) return 0;
    if (!number_read(dash + 1, last, UINT32_MAX, &incarnation)) return 0;
    const char *digits = last + 1;
    if (agent && *digits++ != 'S') return 0;
    return number_read(digits, digits + strlen(digits), UINT32_MAX, &number) ? (uint32_t)number : 0;
}

/* Whether `name` stands in the comma-separated list. */
static bool list_has(const char *list, const char *name) {
    size_t len = strlen(name);
    for (const char *at = list; *at; at += strcspn(at, ",")) {
        if (*at == ',') at++;
        if (strcspn(at, ",") == len && !strncmp(at, name, len)) return true;
    }
    return false;
}

static bool type_known(const char *name, size_t len) {
    static const char *const names[] = {
#define TYPE_NAME(field, type, level) #field,
        COMMANDS(TYPE_NAME)
#undef TYPE_NAME
            "barrier",
        "configuration", "unknown"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i]) == len && !strncmp(names[i], name, len)) return true;
    return false;
}

static int types_check(const char *list, struct err *err) {
    for (const char *at = list;; at++) {
        size_t len = strcspn(at, ",");
        if (!type_known(at, len))
            return err_set(
                err, ERR_INVALID,
                "--type: '%.*s' is none of accept, agent_gone, agent_register, agent_returned, "
                "agent_unreachable, config_set, framework_*, leader_started, member_*, task_*, barrier, configuration",
                (int)(len < 30 ? len : 30), at);
        at += len;
        if (!*at) return 0;
    }
}

int log_filter_resolve(struct log_filter *f, struct err *err) {
    int rc = 0;
    f->from = (struct log_position){.whole = true};
    f->to = (struct log_position){.index = UINT64_MAX, .whole = true};
    if (f->from_text) rc = log_position_parse(f->from_text, &f->from, err);
    if (rc) return err_wrap(err, "--from");
    if (f->to_text) rc = log_position_parse(f->to_text, &f->to, err);
    if (rc) return err_wrap(err, "--to");
    if (f->from.index > f->to.index || (f->from.index == f->to.index && !f->to.whole && f->from.n > f->to.n))
        return err_set(err, ERR_INVALID, "--from is behind --to");
    if (f->types) rc = types_check(f->types, err);
    if (f->framework) f->framework_number = log_id_number(f->framework, false);
    if (f->agent) f->agent_number = log_id_number(f->agent, true);
    if (rc == 0 && f->agent && f->agent_number == 0)
        rc = err_set(err, ERR_INVALID, "--agent: '%.60s' is no agent id (as in conclave agent ls) and no #N", f->agent);
    return rc;
}

static bool framework_match(const struct log_filter *f, const struct log_subject *s) {
    if (f->framework_number && s->framework_number == f->framework_number) return true;
    if (!s->framework) return false;
    if (!strcmp(s->framework, f->framework)) return true;
    return *f->framework == '#' && log_id_number(s->framework, false) == f->framework_number;
}

bool log_filter_match(const struct log_filter *f, const struct log_item *item) {
    struct log_subject s;
    if (log_position_before(item->index, item->n, &f->from) || log_position_behind(item->index, item->n, &f->to))
        return false;
    log_subject(item, &s);
    if (f->types && !list_has(f->types, s.type)) return false;
    if (f->task && !log_item_names_task(item, f->task)) return false;
    if (f->framework && !framework_match(f, &s)) return false;
    return !f->agent || s.agent_number == f->agent_number;
}
