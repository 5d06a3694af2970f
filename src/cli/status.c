/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/command.h"
#include "cli/print.h"

#define ALARMS_MAX        32
#define LAG_ALARM_ENTRIES 10000

struct views {
    Conclave__Admin__Status *items[MASTERS_MAX];
    size_t count;
};

static Conclave__Admin__Member *member_of(Conclave__Admin__Status *s, uint64_t id) {
    for (size_t i = 0; i < s->n_members; i++)
        if (s->members[i]->id == id) return s->members[i];
    return NULL;
}

static bool says_it_leads(const Conclave__Admin__Status *s) {
    return s->leader && s->leader->id == s->node;
}

/* The leader of the highest term; without one, the answer with the highest term. */
static Conclave__Admin__Status *views_best(const struct views *v) {
    Conclave__Admin__Status *best = NULL;
    for (size_t i = 0; i < v->count; i++) {
        Conclave__Admin__Status *s = v->items[i];
        if (!best || s->term > best->term || (s->term == best->term && says_it_leads(s))) best = s;
    }
    return best;
}

static void members_merge(Conclave__Admin__Status *best, const struct views *v) {
    for (size_t i = 0; i < best->n_members; i++) {
        Conclave__Admin__Member *row = best->members[i];
        Conclave__Admin__Member *own = NULL;
        for (size_t k = 0; k < v->count; k++)
            if (v->items[k]->node == row->id) own = member_of(v->items[k], row->id);
        if (!own) {
            row->state = (char *)"down";
            continue;
        }
        row->http = own->http;
        row->state = own->state;
        row->version = own->version;
        row->has_fsync_p99_us = own->has_fsync_p99_us;
        row->fsync_p99_us = own->fsync_p99_us;
        row->has_snapshot_index = own->has_snapshot_index;
        row->snapshot_index = own->snapshot_index;
    }
}

static void alarm_add(Conclave__Admin__Status *s, struct arena *arena, const char *code, const char *text,
                      const char *next) {
    Conclave__Admin__Alarm *a = arena_alloc(arena, sizeof *a);
    if (!s->alarms) s->alarms = arena_alloc(arena, ALARMS_MAX * sizeof *s->alarms);
    if (!a || !s->alarms || s->n_alarms == ALARMS_MAX) return;
    *a = (Conclave__Admin__Alarm)CONCLAVE__ADMIN__ALARM__INIT;
    a->code = (char *)code;
    a->text = arena_strndup(arena, text, strlen(text));
    a->next = (char *)next;
    s->alarms[s->n_alarms++] = a;
}

/* Of the alarm that was added last, if it was. */
static void alarm_since(Conclave__Admin__Status *s, size_t before, int64_t since_ms) {
    if (s->n_alarms > before && since_ms > 0) s->alarms[before]->since_ms = since_ms;
}

/* What each master says of itself; what it says of others, they say themselves. */
static void alarms_merge(Conclave__Admin__Status *s, const struct views *v, struct arena *arena) {
    struct views own = *v;
    size_t counts[MASTERS_MAX];
    Conclave__Admin__Alarm **alarms[MASTERS_MAX];
    for (size_t i = 0; i < own.count; i++) { /* s is one of them */
        counts[i] = own.items[i]->n_alarms;
        alarms[i] = own.items[i]->alarms;
    }
    s->n_alarms = 0;
    s->alarms = NULL;
    for (size_t i = 0; i < own.count; i++)
        for (size_t k = 0; k < counts[i]; k++) {
            char text[320];
            const Conclave__Admin__Alarm *a = alarms[i][k];
            if (!strcmp(a->code, "PEER_DISK")) continue;
            (void)snprintf(text, sizeof text, "master %" PRIu64 ": %s", own.items[i]->node, a->text);
            size_t before = s->n_alarms;
            alarm_add(s, arena, a->code, text, a->next);
            alarm_since(s, before, a->since_ms);
        }
}

/* For how long fewer than a majority of the voters have answered: since the last of the `down - may_die` that are too
 * many went silent; 0 when a majority answers or that is not known. */
static int64_t majority_lost_ms(const Conclave__Admin__Status *s, uint32_t may_die) {
    int64_t silent[64];
    size_t n = 0;
    for (size_t i = 0; i < s->n_members && n < sizeof silent / sizeof *silent; i++) {
        const Conclave__Admin__Member *m = s->members[i];
        if (strcmp(m->state, "down") != 0 || strcmp(m->role, "voter") != 0) continue;
        size_t at = n++; /* the longest silence first */
        for (; at > 0 && silent[at - 1] < m->contact_ms; at--)
            silent[at] = silent[at - 1];
        silent[at] = m->contact_ms;
    }
    return n > may_die ? silent[may_die] : 0;
}

static void health_judge(Conclave__Admin__Status *s, const struct views *v, struct arena *arena) {
    uint32_t voters = 0, down = 0;
    char text[160];
    alarms_merge(s, v, arena);
    for (size_t i = 0; i < s->n_members; i++) {
        const Conclave__Admin__Member *m = s->members[i];
        size_t before = s->n_alarms;
        bool is_down = !strcmp(m->state, "down");
        voters += !strcmp(m->role, "voter");
        down += is_down && !strcmp(m->role, "voter");
        if (is_down) {
            (void)snprintf(text, sizeof text, "master %" PRIu64 " (%s) does not answer", m->id,
                           m->peer ? m->peer : "?");
            alarm_add(s, arena, "MASTER_DOWN", text, "start it again; it catches up by itself");
            alarm_since(s, before, m->contact_ms);
        } else if (m->has_lag_entries && m->lag_entries > LAG_ALARM_ENTRIES) {
            (void)snprintf(text, sizeof text, "master %" PRIu64 " is %" PRId64 " entries behind", m->id,
                           m->lag_entries);
            alarm_add(s, arena, "MASTER_LAGS", text, "look at its disk and its link to the leader");
            alarm_since(s, before, m->lag_ms);
        }
    }
    uint32_t may_die = voters ? (voters - 1) / 2 : 0;
    bool led = false;
    for (size_t i = 0; i < s->n_members; i++)
        led |= !strcmp(s->members[i]->state, "leader");
    s->has_tolerance = 1;
    s->tolerance = down < may_die ? may_die - down : 0;
    if (s->agents && s->agents->unreachable) {
        (void)snprintf(text, sizeof text, "%u agents are unreachable", s->agents->unreachable);
        alarm_add(s, arena, "AGENTS_UNREACHABLE", text, "conclave agent ls names them");
    }
    if (!led || down > may_die) {
        size_t before = s->n_alarms;
        alarm_add(s, arena, "NO_QUORUM", "no leader that a majority follows",
                  "start masters until more than half of them run");
        alarm_since(s, before, majority_lost_ms(s, may_die));
        s->health = (char *)"no-quorum";
    } else {
        s->health = (char *)(s->n_alarms ? "degraded" : "healthy");
    }
}

static bool is_asked(const struct options *o, const char *http) {
    for (size_t i = 0; i < o->master_count; i++)
        if (!strcmp(o->masters[i], http)) return true;
    return false;
}

/* Members that came after the list of masters was written. */
static void others_ask(const struct options *o, struct views *v, const Conclave__Admin__Status *best,
                       const struct request *request, struct arena *arena) {
    for (size_t i = 0; i < best->n_members && v->count < MASTERS_MAX; i++) {
        const char *http = best->members[i]->http;
        ProtobufCMessage *message = NULL;
        struct answer answer;
        struct err err;
        if (!http || is_asked(o, http)) continue;
        if (client_request(http, request, &answer) == 0 &&
            answer_message(&answer, &conclave__admin__status__descriptor, arena, &message, &err) == 0)
            v->items[v->count++] = (Conclave__Admin__Status *)message;
        answer_done(&answer);
    }
}

Conclave__Admin__Status *status_gather(const struct options *o, unsigned timeout_ms, struct arena *arena,
                                       struct err *err) {
    struct answer answers[MASTERS_MAX];
    struct views v = {.count = 0};
    const struct request request = {.method = "GET", .path = "/conclave/v1/status", .timeout_ms = timeout_ms};
    client_request_all(o, &request, answers);
    (void)err_set(err, ERR_NO_QUORUM, "no master answers");
    for (size_t i = 0; i < o->master_count; i++) {
        ProtobufCMessage *message = NULL;
        if (answers[i].status &&
            answer_message(&answers[i], &conclave__admin__status__descriptor, arena, &message, err) == 0)
            v.items[v.count++] = (Conclave__Admin__Status *)message;
        answer_done(&answers[i]);
    }
    Conclave__Admin__Status *best = views_best(&v);
    if (!best) return NULL;
    others_ask(o, &v, best, &request, arena);
    best = views_best(&v);
    members_merge(best, &v);
    health_judge(best, &v, arena);
    return best;
}

int status_exit(const Conclave__Admin__Status *s) {
    return !strcmp(s->health, "healthy") ? 0 : !strcmp(s->health, "degraded") ? EXIT_DEGRADED : EXIT_NO_QUORUM;
}

static void number_cell(char cell[32], bool has, int64_t value) {
    if (has)
        (void)snprintf(cell, 32, "%" PRId64, value);
    else
        (void)snprintf(cell, 32, "-");
}

static void status_print_members(const Conclave__Admin__Status *s) {
    static const char *const columns[] = {"MASTER",  "HTTP",      "ROLE",     "STATE",   "LAG",
                                          "CONTACT", "FSYNC P99", "SNAPSHOT", "VERSION", NULL};
    struct table *t = table_new(columns);
    for (size_t i = 0; i < s->n_members; i++) {
        const Conclave__Admin__Member *m = s->members[i];
        char id[32], lag[32], contact[32], fsync[32], snapshot[32];
        number_cell(id, true, (int64_t)m->id);
        number_cell(lag, m->has_lag_entries, m->lag_entries);
        number_cell(snapshot, m->has_snapshot_index, (int64_t)m->snapshot_index);
        (void)duration_text(m->has_contact_ms ? m->contact_ms : -1, contact);
        if (m->has_fsync_p99_us)
            (void)snprintf(fsync, sizeof fsync, "%.2f ms", (double)m->fsync_p99_us / 1000);
        else
            (void)snprintf(fsync, sizeof fsync, "-");
        table_row(t, (const char *const[]){id, m->http ? m->http : m->peer, m->role, m->state, lag, contact, fsync,
                                           snapshot, m->version});
    }
    table_print_free(t);
}

static void status_print(const Conclave__Admin__Status *s) {
    char since[32];
    printf("health      %s: %u more master%s may die\n", s->health, s->tolerance, s->tolerance == 1 ? "" : "s");
    if (s->leader && s->leader->id)
        printf("leader      master %" PRIu64 " (%s), term %" PRIu64 ", for %s\n", s->leader->id,
               s->leader->http ? s->leader->http : "?", s->term, duration_text(s->leader->since_ms, since));
    else
        printf("leader      none, term %" PRIu64 "\n", s->term);
    printf("log         committed %" PRIu64 ", applied %" PRIu64 "\n", s->commit, s->applied);
    if (s->agents)
        printf("agents      %u active (%" PRIu64 " connected), %u unreachable, %u gone\n", s->agents->active,
               s->agents_back, s->agents->unreachable, s->agents->gone);
    printf("frameworks  %" PRIu64 " connected\ntasks       %" PRIu64 " live", s->frameworks, s->tasks_live);
    for (size_t i = 0; i < s->n_tasks; i++)
        printf("%s %" PRIu64 " %s", i ? "," : ":", s->tasks[i]->value, s->tasks[i]->key);
    printf("\n\n");
    status_print_members(s);
    for (size_t i = 0; i < s->n_alarms; i++)
        printf("%s%s: %s\n  next: %s\n", i ? "" : "\n", s->alarms[i]->code, s->alarms[i]->text, s->alarms[i]->next);
}

int status_main(int argc, char **argv) {
    struct options o = {0};
    const struct flag table[] = {OPTION_FLAGS(o), {0}};
    struct arena arena;
    struct err err = {0};
    int rest, code;
    if (options_parse(table, &o, argc, argv, "conclave status [FLAGS]", 0, 0, &rest, &code)) return code;
    arena_init(&arena, CLIENT_ANSWER_MAX);
    Conclave__Admin__Status *s = status_gather(&o, 1500, &arena, &err);
    if (!s) {
        code = fail(&err);
    } else {
        if (o.output == OUTPUT_TABLE)
            status_print(s);
        else
            print_row(&s->base);
        code = status_exit(s);
    }
    arena_done(&arena);
    return code == 1 ? EXIT_NO_QUORUM : code;
}
