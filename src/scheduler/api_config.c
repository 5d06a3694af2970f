/* SPDX-License-Identifier: Apache-2.0
 * /conclave/v1/config: the configuration record, read and changed.
 *
 *   GET [header Conclave-Read: linearizable]   ClusterConfig; without the header as this master has it
 *   PUT [?if=INDEX.N][&force=true]             a Config in JSON: set keys replace, the others stay
 *
 * A change is answered once it is committed and applied here: 200 with its position, 412 when `if` is not the position
 * of the last change, 409 when it is refused. With `if` the record is a linearizable register. An empty Config changes
 * nothing and is committed like any other: the cheapest proof that the leader can commit.
 *
 * The feature level is raised only when every member's program is known to have it: an older one would stop. */
#include "scheduler/api.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "conclave/admin.pb-c.h"
#include "scheduler/config.h"
#include "scheduler/level.h"
#include "wire/json.h"

#define CONFIG_ANSWER_MAX 4096

/* ---- reading ---- */

static void reply_config(struct master *m, struct http_exchange *x) {
    const struct config_record *c = state_config(m->state);
    Conclave__Admin__ClusterConfig out = CONCLAVE__ADMIN__CLUSTER_CONFIG__INIT;
    char changed[40];
#define CONFIG_PUT(key, smallest, largest, what)                                                                       \
    out.has_##key = 1;                                                                                                 \
    out.key = c->key;
    CONFIG_KEYS(CONFIG_PUT)
#undef CONFIG_PUT
    out.has_level = out.has_applied = out.has_program_level = 1;
    out.level = c->level;
    out.applied = state_applied_index(m->state);
    out.program_level = level_max();
    if (c->changed_index) {
        (void)snprintf(changed, sizeof changed, "%" PRIu64 ".%" PRIu32, c->changed_index, c->changed_n);
        out.changed = changed;
    }
    struct buf body;
    buf_init(&body, CONFIG_ANSWER_MAX);
    const struct http_field type = {"Content-Type", "application/json"};
    if (json_print(&out.base, 0, &body) || body.failed)
        call_unavailable(x, "Out of memory");
    else
        http_reply(x, 200, &type, 1, body.data, body.len);
    buf_done(&body);
}

struct config_read {
    struct master *m;
    struct http_exchange *x;
};

static void read_done(void *ctx, int status) {
    struct config_read read = *(struct config_read *)ctx;
    free(ctx);
    if (status == 0)
        reply_config(read.m, read.x);
    else
        call_unavailable(read.x, err_text(status));
}

/* The exchange outlives its connection until it is answered, so the read may hold on to it. */
static void read_linearizable(struct call *call) {
    struct config_read *read = malloc(sizeof *read);
    if (!read) {
        call_unavailable(call->x, "Out of memory");
        return;
    }
    *read = (struct config_read){.m = call->m, .x = call->x};
    replica_read(call->m->replica, read_done, read);
}

static void config_get(struct call *call) {
    const char *want = http_request_header(call->request, "Conclave-Read");
    if (!want || !strcmp(want, "local"))
        reply_config(call->m, call->x);
    else if (strcmp(want, "linearizable"))
        call_reply_text(call, 400, "Conclave-Read: wants linearizable or local");
    else if (call->m->current)
        read_linearizable(call);
    else
        call_reply_elsewhere(call);
}

/* ---- changing ---- */

static void change_done(struct master *m, void *ctx, int status, const struct outcome *outcome) {
    struct http_exchange *x = ctx;
    const struct http_field type = {"Content-Type", "application/json"};
    char text[128];
    if (status) {
        call_unavailable(x, "Leadership was lost: the outcome is unknown");
    } else if (outcome->code == OUTCOME_OK) {
        const struct config_record *c = state_config(m->state);
        int n = c->changed_index
                    ? snprintf(text, sizeof text, "{\"applied\":%" PRIu64 ",\"changed\":\"%" PRIu64 ".%" PRIu32 "\"}",
                               state_applied_index(m->state), c->changed_index, c->changed_n)
                    : snprintf(text, sizeof text, "{\"applied\":%" PRIu64 "}", state_applied_index(m->state));
        http_reply(x, 200, &type, 1, text, (size_t)n);
    } else {
        http_reply_text(x, outcome->code == OUTCOME_CONFLICT ? 412 : 409, outcome->reason);
    }
}

/* Whom a raised level would stop. True, with a text for the operator, when there is somebody. */
static bool level_stops_somebody(const struct master *m, uint32_t level, char *ret, size_t size) {
    struct replica_status r;
    size_t at = 0;
    replica_status(m->replica, &r);
    for (unsigned i = 0; i < r.peer_count; i++) {
        const struct replica_peer_status *p = &r.peers[i];
        if (p->program_level >= level || at >= size) continue;
        int n = p->program_level ? snprintf(ret + at, size - at, "%smaster %" PRIu64 " runs %s, which knows up to %u",
                                            at ? "; " : "", p->id, p->program_version, p->program_level)
                                 : snprintf(ret + at, size - at, "%swhat master %" PRIu64 " runs is not known",
                                            at ? "; " : "", p->id);
        at += n > 0 ? (size_t)n : 0;
    }
    return at > 0;
}

/* "INDEX.N" */
static bool position_parse(const char *text, Conclave__Log__Position *ret) {
    char *end;
    errno = 0;
    if (*text < '0' || *text > '9') return false;
    ret->index = strtoull(text, &end, 10);
    if (errno || *end != '.' || end[1] < '0' || end[1] > '9') return false;
    unsigned long long n = strtoull(end + 1, &end, 10);
    ret->n = (uint32_t)n;
    return !errno && !*end && n <= UINT32_MAX;
}

/* Members of the outermost object of a text that json_parse has accepted. */
static unsigned keys_named(const uint8_t *json, size_t len) {
    unsigned keys = 0, depth = 0;
    bool text = false;
    for (size_t i = 0; i < len; i++) {
        char c = (char)json[i];
        if (text) {
            if (c == '\\') i++;
            text = c != '"';
            continue;
        }
        text = c == '"';
        depth += c == '{' || c == '[';
        depth -= c == '}' || c == ']';
        keys += c == ':' && depth == 1;
    }
    return keys;
}

static unsigned keys_set(const Conclave__Log__Config *config) {
    unsigned keys = config->has_level != 0;
#define CONFIG_COUNT(key, smallest, largest, what) keys += config->has_##key != 0;
    CONFIG_KEYS(CONFIG_COUNT)
#undef CONFIG_COUNT
    return keys;
}

/* What can be said before the log is asked. False when it was answered. */
static bool change_allowed(struct call *call, const Conclave__Log__Config *config, bool force) {
    struct err err;
    char who[512], text[640];
    /* The parser passes over what it does not know, which here would be a slip of the hand that looks like a success.
     */
    if (keys_set(config) != keys_named(call->request->body, call->request->body_len)) {
        call_reply_text(call, 400, "The body names a key that does not exist, or one twice");
        return false;
    }
    if (config_check(config, &err)) {
        call_reply_text(call, 400, err.text);
        return false;
    }
    if (!config->has_level || config->level <= state_config(call->m->state)->level) return true;
    if (config->level > level_max()) {
        (void)snprintf(text, sizeof text, "The leader's program (%s) knows feature levels up to %u", CONCLAVE_VERSION,
                       level_max());
        call_reply_text(call, 409, text);
        return false;
    }
    if (force || !level_stops_somebody(call->m, config->level, who, sizeof who)) return true;
    (void)snprintf(text, sizeof text,
                   "Feature level %u would stop older programs: %s. Start newer ones there first, or force it",
                   config->level, who);
    call_reply_text(call, 409, text);
    return false;
}

static void config_put(struct call *call, struct arena *arena) {
    ProtobufCMessage *message = NULL;
    struct err err = {0};
    char expected[48], force[8] = "";
    Conclave__Log__Position position = CONCLAVE__LOG__POSITION__INIT;
    int has_if = http_query_get(call->request->query, "if", expected, sizeof expected);
    if (has_if != ERR_NOT_FOUND && (has_if || !position_parse(expected, &position))) {
        call_reply_text(call, 400, "if: wants INDEX.N, the position of the last change");
        return;
    }
    int has_force = http_query_get(call->request->query, "force", force, sizeof force);
    if (has_force != ERR_NOT_FOUND && (has_force || (strcmp(force, "true") && strcmp(force, "false")))) {
        call_reply_text(call, 400, "force: wants true or false");
        return;
    }
    if (json_parse(&conclave__log__config__descriptor, call->request->body, call->request->body_len, arena, &message,
                   &err)) {
        call_reply_text(call, 400, err.text);
        return;
    }
    Conclave__Log__ConfigSet body = CONCLAVE__LOG__CONFIG_SET__INIT;
    Conclave__Log__Command command = CONCLAVE__LOG__COMMAND__INIT;
    body.config = (Conclave__Log__Config *)message;
    body.if_changed = has_if == 0 ? &position : NULL;
    command.config_set = &body;
    if (!change_allowed(call, body.config, !strcmp(force, "true"))) return;
    int rc = master_propose(call->m, &command, change_done, call->x);
    if (rc == ERR_LEVEL)
        call_reply_text(call, 409, call->m->refusal);
    else if (rc)
        call_unavailable(call->x, err_text(rc));
}

void api_config(struct call *call, struct arena *arena) {
    const char *method = call->request->method;
    if (!strcmp(method, "GET"))
        config_get(call);
    else if (strcmp(method, "PUT") && strcmp(method, "POST"))
        call_reply_text(call, 405, "GET, or PUT a Config in JSON");
    else if (!call->m->current)
        call_reply_elsewhere(call);
    else
        config_put(call, arena);
}
