/* SPDX-License-Identifier: Apache-2.0
 * conclave config get|set: the configuration record of the cluster. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/print.h"
#include "conclave/admin.pb-c.h"
#include "scheduler/config.h"

/* X(key, smallest, largest, what) of CONFIG_KEYS, and the level. */
static const struct key {
    const char *name, *what;
} keys[] = {
#define KEY_ROW(key, smallest, largest, what) {#key, what},
    CONFIG_KEYS(KEY_ROW)
#undef KEY_ROW
        {"level", "feature level: what every master's program must know; only grows"},
};
#define KEY_COUNT (sizeof keys / sizeof *keys)

/* "agent-timeout-ms" is "agent_timeout_ms"; NULL: no such key, and it was said. */
static const char *key_find(const char *text) {
    char name[64];
    (void)snprintf(name, sizeof name, "%.63s", text);
    for (char *p = name; *p; p++)
        if (*p == '-') *p = '_';
    for (size_t i = 0; i < KEY_COUNT; i++)
        if (!strcmp(keys[i].name, name)) return keys[i].name;
    fprintf(stderr, "conclave: config: no key '%.60s'; there are", text);
    for (size_t i = 0; i < KEY_COUNT; i++)
        fprintf(stderr, "%s %s", i ? "," : "", keys[i].name);
    fprintf(stderr, "\n");
    return NULL;
}

static uint64_t key_value(const Conclave__Admin__ClusterConfig *c, const char *key) {
    if (!strcmp(key, "level")) return c->level;
#define KEY_VALUE(name, smallest, largest, what)                                                                       \
    if (!strcmp(key, #name)) return c->name;
    CONFIG_KEYS(KEY_VALUE)
#undef KEY_VALUE
    CHECK(false); /* key_find knows the same keys */
    return 0;
}

static void config_print(const Conclave__Admin__ClusterConfig *c) {
    static const char *const columns[] = {"KEY", "VALUE", "WHAT", NULL};
    struct table *t = table_new(columns);
    for (size_t i = 0; i < KEY_COUNT; i++) {
        char value[32];
        (void)snprintf(value, sizeof value, "%" PRIu64, key_value(c, keys[i].name));
        table_row(t, (const char *const[]){keys[i].name, value, keys[i].what});
    }
    table_print_free(t);
    if (c->changed) printf("\nlast changed at %s\n", c->changed);
}

int config_get_main(int argc, char **argv) {
    struct options o = {0};
    const struct flag table[] = {OPTION_FLAGS(o), {0}};
    struct err err = {0};
    struct arena arena;
    struct answer answer;
    ProtobufCMessage *message = NULL;
    int rest, code;
    if (options_parse(table, &o, argc, argv, "conclave config get [KEY] [FLAGS]", 0, 1, &rest, &code)) return code;
    const char *key = rest < argc ? key_find(argv[rest]) : NULL;
    if (rest < argc && !key) return EXIT_USAGE;
    arena_init(&arena, CLIENT_ANSWER_MAX);
    const struct request request = {.method = "GET",
                                    .path = "/conclave/v1/config",
                                    .headers = {"Conclave-Read: linearizable"},
                                    .timeout_ms = 5000,
                                    .follow = true};
    int rc = client_request_any(&o, &request, &answer, &err);
    if (rc == 0) {
        rc = answer_message(&answer, &conclave__admin__cluster_config__descriptor, &arena, &message, &err);
        answer_done(&answer);
    }
    if (rc == 0) {
        const Conclave__Admin__ClusterConfig *c = (const Conclave__Admin__ClusterConfig *)message;
        if (key)
            printf("%" PRIu64 "\n", key_value(c, key));
        else if (o.output == OUTPUT_TABLE)
            config_print(c);
        else
            print_row(message);
    }
    arena_done(&arena);
    return rc ? fail(&err) : 0;
}

/* Asks master after master; 409 and 412 are the cluster's answer and end the search. */
static int change_send(const struct options *o, const struct request *request, struct answer *ret, struct err *err) {
    bool answered = false; /* what a living master says tells more than that another one is down */
    (void)err_set(err, ERR_NO_QUORUM, "no master answers");
    for (size_t i = 0; i < o->master_count; i++) {
        int rc = client_request(o->masters[i], request, ret);
        int len = (int)(ret->body.len < 240 ? ret->body.len : 240);
        const char *text = len ? (const char *)ret->body.data : "";
        if (rc == 0 && ret->status == 200) return 0;
        if (rc && ret->sent) /* if it was under way, asking again could change it twice */
            (void)err_set(err, ERR_UNKNOWN_OUTCOME, "%s: whether it was changed is not known, look at config get",
                          ret->err.text);
        else if (rc && !answered)
            (void)err_set(err, ERR_NO_QUORUM, "%s", ret->err.text);
        else if (rc)
            ;
        else if (ret->status == 503)
            (void)err_set(err, strstr(text, "unknown") ? ERR_UNKNOWN_OUTCOME : ERR_NO_QUORUM, "%.*s", len, text);
        else
            (void)err_set(err, ret->status == 412 ? ERR_EXISTS : ERR_INVALID, "%.*s", len, text);
        answered |= rc == 0;
        answer_done(ret);
        if (err->code != ERR_NO_QUORUM || rc == ERR_TIMEOUT) break;
    }
    return err->code;
}

int config_set_main(int argc, char **argv) {
    struct options o = {0};
    const char *expected = NULL;
    bool force = false;
    const struct flag table[] = {
        OPTION_FLAGS(o),
        {"if", FLAG_STRING, &expected, 0, 40, false, "INDEX.N", "only if the last change was there (config get)"},
        {"force", FLAG_BOOL, &force, 0, 0, false, "", "raise the level though a master's program may not know it"},
        {0}};
    struct err err = {0};
    struct answer answer;
    struct buf path;
    char body[128];
    int rest, code;
    if (options_parse(table, &o, argc, argv, "conclave config set KEY VALUE [FLAGS]", 2, 2, &rest, &code)) return code;
    const char *key = key_find(argv[rest]), *value = argv[rest + 1];
    if (!key) return EXIT_USAGE;
    if (!*value || strspn(value, "0123456789") != strlen(value) || strlen(value) > 19) {
        fprintf(stderr, "conclave: config: %s wants a whole number, not '%.40s'\n", key, value);
        return EXIT_USAGE;
    }
    (void)snprintf(body, sizeof body, "{\"%s\":%s}", key, value);
    buf_init(&path, 1024);
    (void)buf_printf(&path, "/conclave/v1/config?force=%s", force ? "true" : "false");
    if (expected) {
        (void)buf_append_str(&path, "&if=");
        url_component(expected, &path);
    }
    (void)buf_append_byte(&path, '\0');
    const struct request request = {
        .method = "PUT", .path = (const char *)path.data, .body = body, .timeout_ms = 10000, .follow = true};
    int rc = change_send(&o, &request, &answer, &err);
    buf_done(&path);
    if (rc) return fail(&err);
    if (o.output == OUTPUT_TABLE)
        printf("%s is %s now\n", key, value);
    else
        printf("%.*s\n", (int)answer.body.len, answer.body.data ? (const char *)answer.body.data : "");
    answer_done(&answer);
    return 0;
}
