/* SPDX-License-Identifier: Apache-2.0 */
#include "base/flags.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FLAGS_MAX 64

union flag_value {
    const char *text;
    uint64_t number;
    bool truth;
};

struct flag_found {
    bool given;
    union flag_value value;
};

static int flag_number(const struct flag *f, const char *text, uint64_t *ret, struct err *err) {
    char *end;
    if (!isdigit((unsigned char)text[0]))
        return err_set(err, ERR_INVALID, "--%s: '%.40s' is not a number", f->name, text);
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (*end != '\0' || errno == ERANGE)
        return err_set(err, ERR_INVALID, "--%s: '%.40s' is not a number", f->name, text);
    if (v < f->min)
        return err_set(err, ERR_INVALID, "--%s: %llu is below %llu", f->name, v, (unsigned long long)f->min);
    if (f->max && v > f->max)
        return err_set(err, ERR_INVALID, "--%s: %llu is above %llu", f->name, v, (unsigned long long)f->max);
    *ret = v;
    return 0;
}

static int flag_read(const struct flag *f, const char *text, union flag_value *ret, struct err *err) {
    size_t len = strlen(text), max = f->max ? (size_t)f->max : 4096;
    switch (f->type) {
    case FLAG_U64:
        return flag_number(f, text, &ret->number, err);
    case FLAG_BOOL:
        if (strcmp(text, "true") && strcmp(text, "false") && strcmp(text, "1") && strcmp(text, "0"))
            return err_set(err, ERR_INVALID, "--%s: '%.40s' is neither true nor false", f->name, text);
        ret->truth = text[0] == 't' || text[0] == '1';
        return 0;
    case FLAG_STRING:
        if (len > max) return err_set(err, ERR_INVALID, "--%s: longer than %zu bytes", f->name, max);
        if (len < f->min || (f->required && len == 0)) return err_set(err, ERR_INVALID, "--%s: too short", f->name);
        ret->text = text;
        return 0;
    }
    return ERR_INVALID;
}

static int flag_find(const struct flag *flags, const char *name, size_t len) {
    for (int i = 0; flags[i].name; i++)
        if (strlen(flags[i].name) == len && memcmp(flags[i].name, name, len) == 0) return i;
    return -1;
}

static int flags_from_environment(const struct flag *flags, struct flag_found *found, struct err *err) {
    for (int i = 0; flags[i].name; i++) {
        char name[80] = "CONCLAVE_";
        size_t n = strlen(name);
        for (const char *p = flags[i].name; *p && n < sizeof name - 1; p++)
            name[n++] = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
        name[n] = '\0';
        const char *text = getenv(name);
        if (!text || !*text) continue;
        int rc = flag_read(&flags[i], text, &found[i].value, err);
        if (rc) return err ? err_wrap(err, "in the environment") : rc;
        found[i].given = true;
    }
    return 0;
}

static int flags_from_arguments(const struct flag *flags, int argc, char **argv, struct flag_found *found,
                                int *ret_rest, struct err *err) {
    int at = 1;
    for (; at < argc; at++) {
        const char *arg = argv[at];
        if (strcmp(arg, "--") == 0) {
            at++;
            break;
        }
        if (arg[0] != '-' || arg[1] == '\0') break;
        if (arg[1] != '-') return err_set(err, ERR_INVALID, "%.40s: flags begin with two dashes", arg);
        const char *name = arg + 2, *equals = strchr(name, '='), *text = equals ? equals + 1 : NULL;
        int i = flag_find(flags, name, equals ? (size_t)(equals - name) : strlen(name));
        if (i < 0) return err_set(err, ERR_INVALID, "%.60s: no such flag", arg);
        if (!text && flags[i].type == FLAG_BOOL) text = "true";
        if (!text && ++at >= argc) return err_set(err, ERR_INVALID, "--%s: a value is missing", flags[i].name);
        if (!text) text = argv[at];
        int rc = flag_read(&flags[i], text, &found[i].value, err);
        if (rc) return rc;
        found[i].given = true;
    }
    *ret_rest = at;
    return 0;
}

int flags_parse(const struct flag *flags, int argc, char **argv, int *ret_rest, struct err *err) {
    struct flag_found found[FLAGS_MAX] = {0};
    int rest = argc, rc = flags_from_environment(flags, found, err);
    if (rc == 0) rc = flags_from_arguments(flags, argc, argv, found, &rest, err);
    if (rc) return rc;
    for (int i = 0; flags[i].name; i++)
        if (flags[i].required && !found[i].given &&
            (!*(const char **)flags[i].target || !**(const char **)flags[i].target))
            return err_set(err, ERR_INVALID, "--%s is required", flags[i].name);
    for (int i = 0; flags[i].name; i++) {
        if (!found[i].given) continue;
        if (flags[i].type == FLAG_STRING) *(const char **)flags[i].target = found[i].value.text;
        if (flags[i].type == FLAG_U64) *(uint64_t *)flags[i].target = found[i].value.number;
        if (flags[i].type == FLAG_BOOL) *(bool *)flags[i].target = found[i].value.truth;
    }
    *ret_rest = rest;
    return 0;
}

bool flags_help_wanted(int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) return true;
    return false;
}

void flags_help(const struct flag *flags, FILE *out) {
    for (int i = 0; flags[i].name; i++) {
        char left[64];
        (void)snprintf(left, sizeof left, "--%s %s", flags[i].name, flags[i].type == FLAG_BOOL ? "" : flags[i].value);
        fprintf(out, "  %-34s %s%s\n", left, flags[i].help, flags[i].required ? " (required)" : "");
    }
}
