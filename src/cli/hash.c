/* SPDX-License-Identifier: Apache-2.0
 * conclave hash: the newest position that every answering master has applied, and each one's state hash there. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/print.h"
#include "conclave/admin.pb-c.h"

#define HASH_ROUNDS 5 /* a master may forget or not yet have a position while we ask */

struct hash_query {
    const struct options *o;
    struct arena *arena;
    uint64_t wanted; /* 0: the newest common one */
};

/* Everyone's answer at `index` (0: their newest). Returns how many answered. */
static size_t hash_ask(const struct hash_query *q, uint64_t index, Conclave__Admin__Hash *ret[MASTERS_MAX],
                       char error[MASTERS_MAX][160]) {
    struct answer answers[MASTERS_MAX];
    char path[64] = "/conclave/v1/hash";
    size_t answered = 0;
    if (index) (void)snprintf(path, sizeof path, "/conclave/v1/hash?index=%" PRIu64, index);
    const struct request request = {.method = "GET", .path = path, .timeout_ms = 2000};
    client_request_all(q->o, &request, answers);
    for (size_t i = 0; i < q->o->master_count; i++) {
        ProtobufCMessage *message = NULL;
        struct err err = answers[i].err;
        ret[i] = NULL;
        if (answers[i].status == 200 &&
            answer_message(&answers[i], &conclave__admin__hash__descriptor, q->arena, &message, &err) == 0) {
            ret[i] = (Conclave__Admin__Hash *)message;
            answered++;
        } else if (answers[i].status) {
            (void)err_set(&err, ERR_NOT_FOUND, "%.100s",
                          answers[i].body.len ? (char *)answers[i].body.data : "no answer");
        }
        (void)snprintf(error[i], 160, "%.159s", err.text);
        answer_done(&answers[i]);
    }
    return answered;
}

static uint64_t hash_common(Conclave__Admin__Hash *const answers[], size_t n) {
    uint64_t least = 0;
    for (size_t i = 0; i < n; i++)
        if (answers[i] && (least == 0 || answers[i]->index < least)) least = answers[i]->index;
    return least;
}

static void hash_report(const struct hash_query *q, uint64_t position, Conclave__Admin__Hash *const answers[],
                        char error[MASTERS_MAX][160], Conclave__Admin__HashReport *ret) {
    const char *first = NULL;
    bool differ = false, missing = false;
    ret->has_position = position != 0;
    ret->position = position;
    ret->members = arena_alloc(q->arena, q->o->master_count * sizeof *ret->members);
    CHECK(ret->members);
    for (size_t i = 0; i < q->o->master_count; i++) {
        Conclave__Admin__MemberHash *m = arena_alloc(q->arena, sizeof *m);
        CHECK(m);
        *m = (Conclave__Admin__MemberHash)CONCLAVE__ADMIN__MEMBER_HASH__INIT;
        m->http = (char *)q->o->masters[i];
        if (answers[i]) {
            m->id = answers[i]->node;
            m->hash = answers[i]->hash;
            differ |= first && strcmp(first, m->hash);
            first = first ? first : m->hash;
        } else {
            m->error = error[i];
            missing = true;
        }
        ret->members[ret->n_members++] = m;
    }
    ret->verdict = (char *)(differ ? "DIVERGED" : missing || !first ? "PARTIAL" : "AGREE");
}

static void hash_print(const Conclave__Admin__HashReport *r) {
    static const char *const columns[] = {"MASTER", "HTTP", "STATE HASH", NULL};
    struct table *t = table_new(columns);
    for (size_t i = 0; i < r->n_members; i++) {
        char id[32];
        const Conclave__Admin__MemberHash *m = r->members[i];
        (void)snprintf(id, sizeof id, "%" PRIu64, m->id);
        table_row(t, (const char *const[]){m->hash ? id : "?", m->http, m->hash ? m->hash : m->error});
    }
    table_print_free(t);
    printf("\n%s at position %" PRIu64 "\n", r->verdict, r->position);
}

int hash_main(int argc, char **argv) {
    struct options o = {0};
    struct arena arena;
    struct hash_query q = {.o = &o, .arena = &arena};
    const struct flag table[] = {
        OPTION_FLAGS(o),
        {"index", FLAG_U64, &q.wanted, 1, UINT64_MAX, false, "INDEX", "the position; default: the newest in common"},
        {0}};
    Conclave__Admin__Hash *answers[MASTERS_MAX] = {0};
    char error[MASTERS_MAX][160];
    int rest, code;
    if (options_parse(table, &o, argc, argv, "conclave hash [FLAGS]", 0, 0, &rest, &code)) return code;
    arena_init(&arena, CLIENT_ANSWER_MAX);
    uint64_t position = q.wanted;
    for (int round = 0; round < HASH_ROUNDS; round++) {
        size_t alive = hash_ask(&q, 0, answers, error);
        if (!q.wanted) position = hash_common(answers, o.master_count);
        if (alive == 0 || hash_ask(&q, position, answers, error) == alive) break;
    }
    Conclave__Admin__HashReport report = CONCLAVE__ADMIN__HASH_REPORT__INIT;
    hash_report(&q, position, answers, error, &report);
    if (o.output == OUTPUT_TABLE)
        hash_print(&report);
    else
        print_row(&report.base);
    code = !strcmp(report.verdict, "AGREE") ? 0 : !strcmp(report.verdict, "DIVERGED") ? EXIT_CORRUPT : EXIT_DEGRADED;
    arena_done(&arena);
    return code;
}
