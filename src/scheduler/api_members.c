/* SPDX-License-Identifier: Apache-2.0
 * /conclave/v1/members: who the masters are, and changes of that.
 *
 *   GET                    Members; every master answers for itself, and only the leader knows how far the others are
 *   POST a MemberChange    add, promote, demote, remove, transfer (leader; answered when it is done)
 *
 * Adding: the id is given by the log (MemberAdd) before the node becomes a learner. Removing: of one that has a record,
 * so that its id was given by the log, the record goes when the node has left the configuration, for a removal that
 * fails must leave its addresses; of one that the cluster was made with, the log notes the id before, or it could be
 * given again. If the leader dies in between, an id is wasted or a record is left, and members_tick clears it away;
 * neither does harm. One call at a time. */
#include "scheduler/api.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "conclave/admin.pb-c.h"
#include "scheduler/events.h"
#include "scheduler/members.h"
#include "wire/json.h"

#define MEMBERS_ANSWER_MAX 65536

/* A change under way. */
struct member_call {
    struct master *m;
    struct http_exchange *x; /* outlives its connection */
    struct replica_change change;
    char address[REPLICA_ADDRESS_MAX];
};

static void answer(struct http_exchange *x, int code, const char *text) {
    if (code == ERR_NOT_LEADER || code == ERR_UNKNOWN_OUTCOME || code == ERR_BUSY || code == ERR_CLOSED)
        call_unavailable(x, text);
    else
        http_reply_text(
            x, code == ERR_NO_QUORUM || code == ERR_FORBIDDEN || code == ERR_LIMIT ? 409 : err_http_status(code), text);
}

static void call_end(struct member_call *c, int code, const char *text) {
    c->m->member_call = false;
    if (code == 0) {
        char body[160];
        struct replica_status r;
        replica_status(c->m->replica, &r);
        if (c->change.type == REPLICA_TRANSFER && c->change.id == 0) c->change.id = r.leader_id; /* whoever it was */
        const struct http_field type = {"Content-Type", "application/json"};
        int n = snprintf(body, sizeof body, "{\"verb\":\"%s\",\"id\":%" PRIu64 ",\"index\":%" PRIu64 "}",
                         replica_change_name(c->change.type), c->change.id, state_applied_index(c->m->state));
        http_reply(c->x, 200, &type, 1, body, (size_t)n);
    } else {
        answer(c->x, code, text);
    }
    free(c);
}

static int note(struct member_call *c, const Conclave__Admin__MemberChange *asked, master_done done);

/* The node is out, whatever becomes of its record. */
static void forgotten(struct master *m, void *ctx, int status, const struct outcome *outcome) {
    (void)m, (void)status, (void)outcome;
    call_end(ctx, 0, "");
}

static void change_done(void *ctx, int status, const char *why) {
    struct member_call *c = ctx;
    bool left = status == 0 && c->change.type == REPLICA_REMOVE && state_member(c->m->state, c->change.id);
    if (!left || note(c, NULL, forgotten) != 0) call_end(c, status, why);
}

static void change_begin(struct member_call *c) {
    struct err err = {0};
    int rc = replica_change(c->m->replica, &c->change, change_done, c, &err);
    if (rc) call_end(c, rc, err.text);
}

/* What the log says about the id is applied: now the configuration. */
static void noted(struct master *m, void *ctx, int status, const struct outcome *outcome) {
    struct member_call *c = ctx;
    (void)m;
    if (status) {
        call_end(c, ERR_UNKNOWN_OUTCOME, "Leadership was lost: look who the members are, then try again");
    } else if (outcome->code == OUTCOME_REFUSED) {
        call_end(c, ERR_FORBIDDEN, outcome->reason);
    } else {
        if (c->change.type == REPLICA_ADD) c->change.id = outcome->member;
        change_begin(c);
    }
}

static int note(struct member_call *c, const Conclave__Admin__MemberChange *asked, master_done done) {
    Conclave__Log__MemberAdd add = CONCLAVE__LOG__MEMBER_ADD__INIT;
    Conclave__Log__MemberRemove remove = CONCLAVE__LOG__MEMBER_REMOVE__INIT;
    Conclave__Log__Command command = CONCLAVE__LOG__COMMAND__INIT;
    if (c->change.type == REPLICA_ADD) {
        add.peer = c->address;
        add.http = asked->http;
        add.link = asked->link;
        add.highest = replica_highest_id(c->m->replica);
        command.member_add = &add;
    } else {
        remove.id = c->change.id;
        command.member_remove = &remove;
    }
    return master_propose(c->m, &command, done, c);
}

/* "10.0.0.4:5060" of what was asked, with the port that is usual. Answers 400 itself. */
static bool address_take(struct call *call, const char *what, const char *given, const char *host, uint16_t port,
                         struct arena *arena, char **ret) {
    struct address address;
    struct err err = {0};
    char text[ADDRESS_TEXT_MAX];
    int rc = address_parse(given && *given ? given : host, port, 0, &address, &err);
    if (rc == 0 && !(given && *given)) address.port = port;
    const char *out = rc == 0 ? address_format(&address, text) : "";
    if (rc == 0 && (strlen(out) >= REPLICA_ADDRESS_MAX || address.port == 0))
        rc = err_set(&err, ERR_INVALID, "no address of a port");
    if (rc == 0) *ret = arena_strndup(arena, out, strlen(out));
    if (rc == 0 && *ret) return true;
    (void)err_wrap(&err, "%s", what);
    call_reply_text(call, 400, err.text);
    return false;
}

static bool addresses_take(struct call *call, Conclave__Admin__MemberChange *asked, struct arena *arena) {
    const struct master_config *c = call->m->config;
    if (!asked->peer || !*asked->peer) {
        call_reply_text(call, 400, "peer: wants HOST:PORT of the new master's peer port");
        return false;
    }
    return address_take(call, "peer", asked->peer, "", 5060, arena, &asked->peer) &&
           address_take(call, "http", asked->http, asked->peer, c->http_listen.port, arena, &asked->http) &&
           address_take(call, "link", asked->link, asked->peer, c->link_listen.port, arena, &asked->link);
}

static bool type_take(const char *verb, enum replica_change_type *ret) {
    for (int i = REPLICA_ADD; i <= REPLICA_TRANSFER; i++)
        if (!strcmp(verb, replica_change_name((enum replica_change_type)i))) {
            *ret = (enum replica_change_type)i;
            return true;
        }
    return false;
}

static void members_post(struct call *call, struct arena *arena) {
    ProtobufCMessage *message = NULL;
    struct err err = {0};
    struct master *m = call->m;
    if (json_parse(&conclave__admin__member_change__descriptor, call->request->body, call->request->body_len, arena,
                   &message, &err)) {
        call_reply_text(call, 400, err.text);
        return;
    }
    Conclave__Admin__MemberChange *asked = (Conclave__Admin__MemberChange *)message;
    struct replica_change change = {.id = asked->id, .force = asked->force};
    if (!type_take(asked->verb, &change.type)) {
        call_reply_text(call, 400, "verb: is none of add, promote, demote, remove, transfer");
        return;
    }
    bool add = change.type == REPLICA_ADD, transfer = change.type == REPLICA_TRANSFER;
    if (add == (asked->has_id != 0) && !transfer) {
        call_reply_text(call, 400, add ? "id: the cluster gives it" : "id: which member?");
        return;
    }
    if (add && !addresses_take(call, asked, arena)) return;
    if (add) change.id = replica_highest_id(m->replica) + 1; /* of the right kind; the log gives the true one */
    change.address = asked->peer;
    int rc = m->member_call ? err_set(&err, ERR_BUSY, "Another change is under way: wait for its end")
                            : replica_change_check(m->replica, &change, &err);
    struct member_call *c = rc ? NULL : malloc(sizeof *c);
    if (!c) {
        answer(call->x, rc ? rc : ERR_BUSY, rc ? err.text : "Out of memory");
        return;
    }
    *c = (struct member_call){.m = m, .x = call->x, .change = change};
    if (add) (void)snprintf(c->address, sizeof c->address, "%s", asked->peer);
    c->change.address = add ? c->address : NULL;
    m->member_call = true;
    if (!add && (change.type != REPLICA_REMOVE || state_member(m->state, change.id))) {
        change_begin(c);
        return;
    }
    rc = note(c, asked, noted);
    if (rc) call_end(c, rc == ERR_LEVEL ? ERR_FORBIDDEN : rc, rc == ERR_LEVEL ? m->refusal : err_text(rc));
}

/* ---- reading ---- */

static Conclave__Admin__Member *member_row(const struct replica_status *r, unsigned i, const struct member_view *view,
                                           struct arena *arena) {
    const struct replica_peer_status *p = &r->peers[i];
    Conclave__Admin__Member *out = ARENA_MESSAGE(arena, Conclave__Admin__Member, CONCLAVE__ADMIN__MEMBER__INIT);
    if (!out) return NULL;
    bool self = p->id == r->node_id;
    out->id = p->id;
    out->peer = arena_strndup(arena, p->address, strlen(p->address));
    out->http = view->http[0] ? arena_strndup(arena, view->http, strlen(view->http)) : NULL;
    out->link = view->link[0] ? arena_strndup(arena, view->link, strlen(view->link)) : NULL;
    out->role = (char *)(p->voter ? "voter" : "learner");
    out->has_contact_ms = 1;
    out->contact_ms = self ? 0 : p->contact_ms;
    out->has_connected = 1;
    out->connected = self || p->connected;
    if (p->id == r->leader_id) out->state = (char *)"leader";
    if (r->role == REPLICA_LEADER) {
        uint64_t match = self ? r->last_index : p->match_index;
        out->has_lag_entries = 1;
        out->lag_entries = match >= r->last_index ? 0 : (int64_t)(r->last_index - match);
    }
    return out;
}

static void members_get(struct call *call, struct arena *arena) {
    struct master *m = call->m;
    struct replica_status r;
    struct member_view views[REPLICA_MEMBERS_MAX];
    char cluster[33];
    replica_status(m->replica, &r);
    unsigned n = members_view(m, &r, views);
    Conclave__Admin__Members out = CONCLAVE__ADMIN__MEMBERS__INIT;
    for (int i = 0; i < 16; i++)
        (void)snprintf(cluster + (size_t)2 * i, 3, "%02x", m->config->replica.cluster_id[i]);
    out.cluster_id = cluster;
    out.has_term = out.has_configuration = 1;
    out.term = r.term;
    out.configuration = r.configuration_index;
    out.has_leader = r.leader_id != 0;
    out.leader = r.leader_id;
    out.has_node = 1;
    out.node = r.node_id;
    if (r.change_ms >= 0) {
        out.has_change_id = out.has_change_ms = 1;
        out.change = (char *)replica_change_name(r.change);
        out.change_id = r.change_id;
        out.change_ms = r.change_ms;
    }
    out.members = arena_alloc(arena, REPLICA_MEMBERS_MAX * sizeof *out.members);
    for (unsigned i = 0; out.members && i < n; i++) {
        Conclave__Admin__Member *row = member_row(&r, i, &views[i], arena);
        if (row) out.members[out.n_members++] = row;
    }
    struct buf body;
    buf_init(&body, MEMBERS_ANSWER_MAX);
    if (json_print(&out.base, 0, &body)) body.failed = true;
    call_reply_json(call, &body);
    buf_done(&body);
}

void api_members(struct call *call, struct arena *arena) {
    if (!strcmp(call->request->method, "GET"))
        members_get(call, arena);
    else if (strcmp(call->request->method, "POST"))
        call_reply_text(call, 405, "GET, or POST a MemberChange in JSON");
    else if (!call->m->current)
        call_reply_elsewhere(call);
    else
        members_post(call, arena);
}
