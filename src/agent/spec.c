/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/sealed.h"

#define HEAD SEALED_HEAD

/* As sealed_check; besides, the body must end with a NUL. */
static int unseal(const char *data, size_t len, uint32_t magic, struct err *err) {
    int rc = sealed_check(data, len, magic, err);
    if (rc == 0 && len > HEAD && data[len - 1] != '\0') rc = err_set(err, ERR_CORRUPT, "last string is not terminated");
    return rc;
}

static void put(struct buf *b, const char *key, const char *value) {
    (void)buf_append_str(b, key);
    (void)buf_append_byte(b, '=');
    (void)buf_append_str(b, value);
    (void)buf_append_byte(b, 0);
}

static void put_u64(struct buf *b, const char *key, uint64_t value) {
    char text[24];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    put(b, key, text);
}

int spec_encode(const struct spec *s, struct buf *ret, struct err *err) {
    size_t start = ret->len;
    static const uint8_t head[HEAD];
    (void)buf_append(ret, head, HEAD);
    put(ret, "file", s->file);
    for (size_t i = 0; i < s->arg_n; i++)
        put(ret, "arg", s->args[i]);
    for (size_t i = 0; i < s->env_n; i++)
        put(ret, "env", s->env[i]);
    for (size_t i = 0; i < s->uri_n; i++) {
        put(ret, "uri", s->uris[i].source);
        put(ret, s->uris[i].executable ? "uri-exec" : "uri-file", s->uris[i].name);
    }
    if (s->switch_user) {
        put_u64(ret, "uid", s->uid);
        put_u64(ret, "gid", s->gid);
        for (size_t i = 0; i < s->group_n; i++)
            put_u64(ret, "group", s->groups[i]);
    }
    put_u64(ret, "cgroup-version", s->cgroup_version);
    for (size_t i = 0; i < s->cgroup_n; i++)
        put(ret, "cgroup", s->cgroups[i]);
    put_u64(ret, "mem", s->mem_bytes);
    put_u64(ret, "cpu", s->cpu_shares);
    put_u64(ret, "pids", s->pids);
    if (ret->failed || ret->len - start > SPEC_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "the command with its environment is over %u bytes", SPEC_BYTES_MAX);
    sealed_close(ret->data + start, ret->len - start, SPEC_MAGIC);
    return 0;
}

static bool number(const char *text, uint64_t *ret) {
    char *end;
    if (*text < '0' || *text > '9') return false;
    *ret = strtoull(text, &end, 10);
    return *end == '\0';
}

static int list_add(const char **list, size_t *n, size_t max, const char *value) {
    if (*n == max) return ERR_LIMIT;
    list[(*n)++] = value;
    list[*n] = NULL;
    return 0;
}

static int uri_take(struct spec *s, const char *key, const char *value) {
    if (strcmp(key, "uri") == 0) {
        if (s->uri_n == SPEC_URIS_MAX) return ERR_LIMIT;
        s->uris[s->uri_n++] = (struct spec_uri){.source = value};
        return 0;
    }
    if (s->uri_n == 0) return ERR_CORRUPT;
    s->uris[s->uri_n - 1].name = value;
    s->uris[s->uri_n - 1].executable = strcmp(key, "uri-exec") == 0;
    return 0;
}

static int number_take(struct spec *s, const char *key, const char *value) {
    uint64_t v;
    if (!number(value, &v)) return ERR_CORRUPT;
    if (strcmp(key, "uid") == 0) return s->switch_user = true, s->uid = (uint32_t)v, 0;
    if (strcmp(key, "gid") == 0) return s->gid = (uint32_t)v, 0;
    if (strcmp(key, "cgroup-version") == 0) return s->cgroup_version = (unsigned)v, v <= 2 ? 0 : ERR_INCOMPATIBLE;
    if (strcmp(key, "mem") == 0) return s->mem_bytes = v, 0;
    if (strcmp(key, "cpu") == 0) return s->cpu_shares = v, 0;
    if (strcmp(key, "pids") == 0) return s->pids = v, 0;
    if (strcmp(key, "group") != 0) return ERR_INCOMPATIBLE;
    if (s->group_n == sizeof s->groups / sizeof s->groups[0]) return ERR_LIMIT;
    s->groups[s->group_n++] = (uint32_t)v;
    return 0;
}

static int pair_take(struct spec *s, const char *key, const char *value) {
    if (strcmp(key, "file") == 0) return s->file = value, 0;
    if (strcmp(key, "arg") == 0) return list_add(s->args, &s->arg_n, SPEC_STRINGS_MAX, value);
    if (strcmp(key, "env") == 0) return list_add(s->env, &s->env_n, SPEC_STRINGS_MAX, value);
    if (strncmp(key, "uri", 3) == 0) return uri_take(s, key, value);
    if (strcmp(key, "cgroup") == 0) {
        if (s->cgroup_n == SPEC_CGROUPS_MAX) return ERR_LIMIT;
        return s->cgroups[s->cgroup_n++] = value, 0;
    }
    return number_take(s, key, value);
}

int spec_decode(char *data, size_t len, struct spec *ret, struct err *err) {
    int rc = unseal(data, len, SPEC_MAGIC, err);
    if (rc) return rc;
    for (char *at = data + HEAD; at < data + len;) {
        char *next = at + strlen(at) + 1;
        char *value = strchr(at, '=');
        if (!value) return err_set(err, ERR_CORRUPT, "a string without a key");
        *value++ = '\0';
        rc = pair_take(ret, at, value);
        if (rc) return err_set(err, rc, "key %.32s: %s", at, err_text(rc));
        at = next;
    }
    if (!ret->file || ret->arg_n == 0) return err_set(err, ERR_CORRUPT, "no command");
    for (size_t i = 0; i < ret->uri_n; i++)
        if (!ret->uris[i].name) return err_set(err, ERR_CORRUPT, "a uri without a name");
    return 0;
}

size_t exit_record_encode(const struct exit_record *r, uint8_t ret[EXIT_RECORD_MAX]) {
    int n = snprintf((char *)ret + HEAD, EXIT_RECORD_MAX - HEAD, "%d %d %d %llu %s", (int)r->kind, r->code, r->oom,
                     (unsigned long long)r->at_ms, r->text);
    size_t len = HEAD + (size_t)n + 1; /* the text is bounded, so nothing was cut */
    sealed_close(ret, len, EXIT_MAGIC);
    return len;
}

int exit_record_decode(char *data, size_t len, struct exit_record *ret, struct err *err) {
    int rc = unseal(data, len, EXIT_MAGIC, err);
    if (rc) return rc;
    struct exit_record r = {0};
    int kind = 0, oom = 0, text_at = 0;
    unsigned long long at = 0;
    if (len == HEAD || sscanf(data + HEAD, "%d %d %d %llu %n", &kind, &r.code, &oom, &at, &text_at) < 4 ||
        kind < EXIT_STATUS || kind > EXIT_NOT_RUN)
        return err_set(err, ERR_CORRUPT, "malformed exit record");
    r.kind = (enum workload_exit)kind;
    r.oom = oom != 0;
    r.at_ms = at;
    (void)snprintf(r.text, sizeof r.text, "%s", text_at ? data + HEAD + text_at : "");
    *ret = r;
    return 0;
}
