/* SPDX-License-Identifier: Apache-2.0
 * conclave members ...: who the masters are, and changes of that. Each change is one request to the leader; replace is
 * a row of them, and may be run again if it was interrupted: it looks what is done already. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/print.h"
#include "conclave/admin.pb-c.h"
#include "net/address.h"
#include "wire/json.h"

#define MEMBERS_POLL_MS  200
#define MEMBERS_RETRY_MS 15000 /* as long as there is no leader, or another change is under way */
#define CAUGHT_UP        100   /* entries: a learner that is so far behind is promoted */

static const char members_path[] = "/conclave/v1/members";

struct member_options {
    struct options o;
    const char *peer, *http, *link;
    uint64_t wait_s;
    bool force;
};

/* The view of the leader, or of whoever answers if `any`. Memory of the arena. */
static Conclave__Admin__Members *members_get(struct options *o, bool any, struct arena *arena, struct err *err) {
    const struct request request = {.method = "GET", .path = members_path, .timeout_ms = 2000};
    Conclave__Admin__Members *best = NULL;
    struct answer answers[MASTERS_MAX];
    client_request_all(o, &request, answers);
    (void)err_set(err, ERR_NO_QUORUM, "no master answers");
    for (size_t i = 0; i < o->master_count; i++) {
        ProtobufCMessage *message = NULL;
        if (answers[i].status &&
            answer_message(&answers[i], &conclave__admin__members__descriptor, arena, &message, err) == 0) {
            Conclave__Admin__Members *m = (Conclave__Admin__Members *)message;
            bool leads = m->has_leader && m->leader == m->node, best_leads = best && best->leader == best->node;
            if (!best || m->term > best->term || (m->term == best->term && leads && !best_leads)) best = m;
        }
        answer_done(&answers[i]);
    }
    if (best && !(best->has_leader && best->leader == best->node)) { /* the leader may be one we were not told of */
        for (size_t i = 0; best->has_leader && i < best->n_members; i++) {
            ProtobufCMessage *message = NULL;
            struct answer answer;
            if (best->members[i]->id != best->leader || !best->members[i]->http) continue;
            if (client_request(best->members[i]->http, &request, &answer) == 0 &&
                answer_message(&answer, &conclave__admin__members__descriptor, arena, &message, err) == 0)
                best = (Conclave__Admin__Members *)message;
            answer_done(&answer);
            break;
        }
    }
    if (best && !any && !(best->has_leader && best->leader == best->node)) {
        (void)err_set(err, ERR_NO_QUORUM, "no leader");
        return NULL;
    }
    return best;
}

static const Conclave__Admin__Member *member_find(const Conclave__Admin__Members *m, uint64_t id) {
    for (size_t i = 0; i < m->n_members; i++)
        if (m->members[i]->id == id) return m->members[i];
    return NULL;
}

static const Conclave__Admin__Member *member_at(const Conclave__Admin__Members *m, const char *peer) {
    for (size_t i = 0; i < m->n_members; i++)
        if (m->members[i]->peer && !strcmp(m->members[i]->peer, peer)) return m->members[i];
    return NULL;
}

/* POSTs to the leader until there is one that takes it. */
static int change_post(struct member_options *p, const Conclave__Admin__MemberChange *change, struct arena *arena,
                       Conclave__Admin__MemberChanged **ret, struct err *err) {
    uint64_t until = clock_mono_ms() + MEMBERS_RETRY_MS;
    struct buf body;
    buf_init(&body, 4096);
    int rc = json_print(&change->base, 0, &body);
    if (rc == 0) rc = buf_append_byte(&body, 0);
    while (rc == 0) {
        struct answer answer;
        ProtobufCMessage *message = NULL;
        const struct request request = {.method = "POST",
                                        .path = members_path,
                                        .body = (const char *)body.data,
                                        .timeout_ms = 60000,
                                        .follow = true};
        (void)err_set(err, ERR_NO_QUORUM, "no master answers");
        bool again = true;
        for (size_t i = 0; i < p->o.master_count && again && !message; i++) {
            rc = client_request(p->o.masters[i], &request, &answer);
            again = rc != 0 || answer.status == 503 || answer.status == 307;
            if (rc == 0 && answer.status == 200)
                rc = answer_message(&answer, &conclave__admin__member_changed__descriptor, arena, &message, err);
            else if (rc == 0)
                (void)err_set(err,
                              again                  ? ERR_NO_QUORUM
                              : answer.status == 404 ? ERR_NOT_FOUND
                                                     : ERR_FORBIDDEN,
                              "%.*s", (int)(answer.body.len < 200 ? answer.body.len : 200),
                              answer.body.data ? (const char *)answer.body.data : "");
            answer_done(&answer);
        }
        *ret = (Conclave__Admin__MemberChanged *)message;
        if (message) rc = 0;
        if (message) break;
        rc = again && clock_mono_ms() < until ? 0 : err->code;
        if (rc == 0) (void)usleep(MEMBERS_POLL_MS * 1000);
    }
    buf_done(&body);
    return rc;
}

/* ---- ls ---- */

static void members_table(const Conclave__Admin__Members *m) {
    static const char *const columns[] = {"ID", "ROLE", "STATE", "PEER", "HTTP", "AGENTS", "BEHIND", "HEARD", NULL};
    struct table *t = table_new(columns);
    for (size_t i = 0; i < m->n_members; i++) {
        const Conclave__Admin__Member *row = m->members[i];
        char id[24], behind[24] = "-", heard[32] = "-";
        (void)snprintf(id, sizeof id, "%" PRIu64, row->id);
        if (row->has_lag_entries) (void)snprintf(behind, sizeof behind, "%" PRId64, row->lag_entries);
        if (row->has_contact_ms && row->contact_ms >= 0) (void)duration_text(row->contact_ms, heard);
        table_row(t, (const char *const[]){id, row->role, row->state, row->peer, row->http, row->link, behind, heard});
    }
    table_print_free(t);
    if (m->change)
        printf("\nunder way for %" PRId64 " ms: %s of member %" PRIu64 "\n", m->change_ms, m->change, m->change_id);
}

int members_ls_main(int argc, char **argv) {
    struct options o = {0};
    const struct flag table[] = {OPTION_FLAGS(o), {0}};
    struct arena arena;
    struct err err = {0};
    int rest, code;
    if (options_parse(table, &o, argc, argv, "conclave members ls [FLAGS]", 0, 0, &rest, &code)) return code;
    arena_init(&arena, CLIENT_ANSWER_MAX);
    Conclave__Admin__Members *m = members_get(&o, true, &arena, &err);
    for (size_t i = 0; m && i < m->n_members; i++)
        if (!m->members[i]->state)
            m->members[i]->state = (char *)(m->members[i]->connected ? "follower" : "not connected");
    if (!m) {
        code = fail(&err);
    } else if (o.output == OUTPUT_TABLE) {
        members_table(m);
    } else if (o.output == OUTPUT_JSON) {
        print_row(&m->base);
    } else {
        for (size_t i = 0; i < m->n_members; i++)
            print_row(&m->members[i]->base);
    }
    if (m) code = m->has_leader ? 0 : EXIT_NO_QUORUM;
    arena_done(&arena);
    return code;
}

/* ---- changes ---- */

static void changed_print(const struct member_options *p, Conclave__Admin__MemberChanged *changed) {
    static const char *const done[][2] = {
        {"add", "is a learner now"},    {"promote", "is a voter now"},
        {"demote", "is a learner now"}, {"remove", "is removed; its process ends by itself"},
        {"replace", "is a voter now"},  {"transfer", "leads now"}};
    if (p->o.output != OUTPUT_TABLE) {
        print_row(&changed->base);
        return;
    }
    for (size_t i = 0; i < sizeof done / sizeof *done; i++) {
        if (strcmp(changed->verb, done[i][0]) != 0) continue;
        if (changed->id)
            printf("master %" PRIu64 " %s", changed->id, done[i][1]);
        else
            printf("another master %s", done[i][1]); /* which one is not known yet */
    }
    if (changed->has_removed) printf(", master %" PRIu64 " is removed", changed->removed);
    printf("\n");
    if (changed->start) printf("start it with:\n  %s\n", changed->start);
}

/* The command line of a new master, except for what only its operator knows. */
static char *start_line(const Conclave__Admin__Members *m, uint64_t id, const char *peer,
                        const struct member_options *p, struct arena *arena) {
    struct buf line;
    struct address address;
    buf_init(&line, 1024);
    (void)buf_printf(&line, "conclave master --join --node %" PRIu64 " --cluster-id %s --peers %" PRIu64 "=%s", id,
                     m->cluster_id, id, peer);
    if (p->http && address_parse(p->http, 0, 0, &address, NULL) == 0 && address.port && address.port != 5050)
        (void)buf_printf(&line, " --http-port %u", address.port);
    if (p->link && address_parse(p->link, 0, 0, &address, NULL) == 0 && address.port && address.port != 5061)
        (void)buf_printf(&line, " --link-port %u", address.port);
    (void)buf_printf(&line, " --data-dir DIR");
    char *out = line.failed ? NULL : arena_strndup(arena, (const char *)line.data, line.len);
    buf_done(&line);
    return out;
}

static bool peer_normal(const char *text, char ret[ADDRESS_TEXT_MAX], struct err *err) {
    struct address address;
    if (!text) return err_set(err, ERR_INVALID, "--peer: the HOST[:PORT] of the new master is missing") == 0;
    if (address_parse(text, 5060, 0, &address, err)) return err_wrap(err, "--peer") == 0;
    (void)address_format(&address, ret);
    return true;
}

static int member_add(struct member_options *p, const char *peer, struct arena *arena,
                      Conclave__Admin__MemberChanged **ret, struct err *err) {
    Conclave__Admin__MemberChange change = CONCLAVE__ADMIN__MEMBER_CHANGE__INIT;
    Conclave__Admin__Members *m = NULL;
    change.verb = (char *)"add";
    change.peer = (char *)peer;
    change.http = (char *)p->http;
    change.link = (char *)p->link;
    int rc = change_post(p, &change, arena, ret, err);
    if (rc == 0) m = members_get(&p->o, true, arena, err);
    if (m) (*ret)->start = start_line(m, (*ret)->id, peer, p, arena);
    return rc;
}

static int change_simple(struct member_options *p, const char *verb, uint64_t id, struct arena *arena,
                         Conclave__Admin__MemberChanged **ret, struct err *err) {
    Conclave__Admin__MemberChange change = CONCLAVE__ADMIN__MEMBER_CHANGE__INIT;
    change.verb = (char *)verb;
    change.has_id = id != 0;
    change.id = id;
    change.has_force = p->force;
    change.force = p->force;
    return change_post(p, &change, arena, ret, err);
}

/* A leader hands over before it leaves. */
static int member_leave(struct member_options *p, const char *verb, uint64_t id, struct arena *arena,
                        Conclave__Admin__MemberChanged **ret, struct err *err) {
    Conclave__Admin__Members *m = members_get(&p->o, false, arena, err);
    int rc = 0;
    if (m && m->leader == id && m->n_members > 1) {
        fprintf(stderr, "master %" PRIu64 " leads: it hands over first\n", id);
        rc = change_simple(p, "transfer", 0, arena, ret, err);
    }
    return rc ? rc : change_simple(p, verb, id, arena, ret, err);
}

/* Waits until the learner answers and is level with the leader, but for what arrives meanwhile. */
static int learner_wait(struct member_options *p, uint64_t id, struct err *err) {
    uint64_t until = clock_mono_ms() + p->wait_s * 1000;
    bool told = false;
    for (;;) {
        struct arena arena;
        arena_init(&arena, CLIENT_ANSWER_MAX);
        const Conclave__Admin__Members *m = members_get(&p->o, false, &arena, err);
        const Conclave__Admin__Member *row = m ? member_find(m, id) : NULL;
        bool removed = m && !row;
        bool level = row && row->connected && row->has_lag_entries && row->lag_entries <= CAUGHT_UP;
        arena_done(&arena);
        if (removed) return err_set(err, ERR_NOT_FOUND, "master %" PRIu64 " is no member any more", id);
        if (level) return 0;
        if (!told) fprintf(stderr, "waiting for master %" PRIu64 " to answer and to catch up\n", id);
        told = true;
        if (clock_mono_ms() >= until)
            return err_set(err, ERR_TIMEOUT,
                           "master %" PRIu64 " did not catch up within %" PRIu64
                           " s: look at its log; the same command goes on from here",
                           id, p->wait_s);
        (void)usleep(MEMBERS_POLL_MS * 1000);
    }
}

/* Whether a voter at the address of the new master can be what an interrupted replace has promoted: it is younger than
 * the one that leaves, and between the two steps there is one voter too many. Else the address is that of another
 * voter, and removing `old` would only make the cluster smaller. */
static bool promoted_for(const Conclave__Admin__Members *m, uint64_t old, const Conclave__Admin__Member *fresh) {
    size_t voters = 0;
    for (size_t i = 0; i < m->n_members; i++)
        voters += !strcmp(m->members[i]->role, "voter");
    return fresh->id > old && voters % 2 == 0;
}

static int member_replace(struct member_options *p, uint64_t old, const char *peer, struct arena *arena,
                          Conclave__Admin__MemberChanged **ret, struct err *err) {
    Conclave__Admin__Members *m = members_get(&p->o, false, arena, err);
    if (!m) return err->code;
    const Conclave__Admin__Member *fresh = member_at(m, peer), *gone = member_find(m, old);
    if (fresh && fresh->id == old)
        return err_set(err, ERR_INVALID,
                       "master %" PRIu64 " is at %s itself: if its disk is lost, conclave members remove %" PRIu64
                       ", then conclave members add --peer %s",
                       old, peer, old, peer);
    uint64_t id = fresh ? fresh->id : 0;
    bool voter = fresh && !strcmp(fresh->role, "voter");
    if (!gone && !(voter && id > old)) return err_set(err, ERR_NOT_FOUND, "there is no master %" PRIu64, old);
    if (gone && voter && !promoted_for(m, old, fresh))
        return err_set(err, ERR_INVALID,
                       "master %" PRIu64 " at %s has a vote already: a new master needs an address of its own (members "
                       "remove %" PRIu64 " takes that one out without another in its place)",
                       id, peer, old);
    int rc = 0;
    if (!fresh) {
        rc = member_add(p, peer, arena, ret, err);
        if (rc) return rc;
        id = (*ret)->id;
    }
    if (!voter)
        fprintf(stderr, "master %" PRIu64 " is a learner; start it, if it does not run:\n  %s\n", id,
                start_line(m, id, peer, p, arena));
    if (!voter) rc = learner_wait(p, id, err);
    if (rc == 0 && !voter) rc = change_simple(p, "promote", id, arena, ret, err);
    if (rc == 0 && gone) rc = member_leave(p, "remove", old, arena, ret, err);
    if (rc) return rc;
    Conclave__Admin__MemberChanged *out = arena_alloc(arena, sizeof *out);
    if (!out) return err_set(err, ERR_NOMEM, "out of memory");
    *out = (Conclave__Admin__MemberChanged)CONCLAVE__ADMIN__MEMBER_CHANGED__INIT;
    out->verb = (char *)"replace";
    out->id = id;
    out->has_removed = 1;
    out->removed = old;
    *ret = out;
    return 0;
}

static bool id_parse(const char *text, uint64_t *ret, struct err *err) {
    char *end = NULL;
    errno = 0;
    *ret = text[0] >= '0' && text[0] <= '9' ? strtoull(text, &end, 10) : 0;
    if (*ret != 0 && *end == '\0' && errno == 0) return true;
    return err_set(err, ERR_INVALID, "'%.40s' is no id of a master", text) == 0;
}

static int change_main(int argc, char **argv, const char *verb, const char *usage) {
    struct member_options p = {.wait_s = 300};
    bool add = !strcmp(verb, "add"), replace = !strcmp(verb, "replace"), transfer = !strcmp(verb, "transfer");
    bool fresh = add || replace;
    const struct flag rows[] = {
        OPTION_FLAGS(p.o),
        {"force", FLAG_BOOL, &p.force, 0, 0, false, "", "also if fewer than a majority of the voters would be alive"},
        {"peer", FLAG_STRING, &p.peer, 0, 120, false, "HOST[:PORT]", "where the other masters reach it (5060)"},
        {"http", FLAG_STRING, &p.http, 0, 120, false, "HOST:PORT",
         "for frameworks; default: the same host, the usual port"},
        {"link", FLAG_STRING, &p.link, 0, 120, false, "HOST:PORT",
         "for agents; default: the same host, the usual port"},
        {"wait", FLAG_U64, &p.wait_s, 1, 86400, false, "S",
         "replace: how long the new master may take to catch up (300)"},
        {0}};
    char peer[ADDRESS_TEXT_MAX] = "";
    struct arena arena;
    struct err err = {0};
    Conclave__Admin__MemberChanged *changed = NULL;
    uint64_t id = 0;
    int rest, code, least = add || transfer ? 0 : 1, most = add ? 0 : 1;
    if (options_parse(rows, &p.o, argc, argv, usage, least, most, &rest, &code)) return code;
    bool good = (!fresh || peer_normal(p.peer, peer, &err)) && (rest >= argc || id_parse(argv[rest], &id, &err));
    if (!good) {
        fprintf(stderr, "conclave: %s\nusage: %s\n", err.text, usage);
        return EXIT_USAGE;
    }
    arena_init(&arena, CLIENT_ANSWER_MAX);
    if (add)
        code = member_add(&p, peer, &arena, &changed, &err);
    else if (replace)
        code = member_replace(&p, id, peer, &arena, &changed, &err);
    else if (!strcmp(verb, "remove") || !strcmp(verb, "demote"))
        code = member_leave(&p, verb, id, &arena, &changed, &err);
    else
        code = change_simple(&p, verb, id, &arena, &changed, &err);
    if (code || !changed)
        code = fail(&err);
    else
        changed_print(&p, changed);
    arena_done(&arena);
    return code;
}

#define CHANGE_MAIN(verb, operands)                                                                                    \
    int members_##verb##_main(int argc, char **argv) {                                                                 \
        return change_main(argc, argv, #verb, "conclave members " #verb " " operands "[FLAGS]");                       \
    }
CHANGE_MAIN(add, "--peer HOST[:PORT] ")
CHANGE_MAIN(promote, "ID ")
CHANGE_MAIN(demote, "ID ")
CHANGE_MAIN(remove, "ID ")
CHANGE_MAIN(transfer, "[ID] ")
CHANGE_MAIN(replace, "ID --peer HOST[:PORT] ")
