/* SPDX-License-Identifier: Apache-2.0
 * /conclave/v1/...: what the admin CLI asks. Every master answers for itself; writes need the leader.
 *
 *   GET  status                              how this master sees the cluster
 *   GET  hash[?index=N]                      its state hash at an applied position
 *   GET  log[?from=N&count=M]                committed entries of its log, raw
 *   GET  agents, tasks[?task=&framework=&limit=]
 *   GET  read, snapshots, snapshot           what back-ups need: api_files.c
 *   GET, POST members                        api_members.c
 *   GET, PUT config                          api_config.c */
#include "scheduler/api.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "conclave/admin.pb-c.h"
#include "scheduler/agents.h"
#include "scheduler/events.h"
#include "scheduler/members.h"
#include "scheduler/offers.h"
#include "wire/json.h"

#define LOG_COUNT_MAX       1000
#define LOG_BYTES_MAX       (1u << 20) /* of a page: what the state thread can spare in a millisecond or two */
#define ADMIN_TASKS_DEFAULT 1000

static void reply_message(const struct call *call, const ProtobufCMessage *message) {
    struct buf body;
    buf_init(&body, API_ANSWER_MAX);
    if (json_print(message, 0, &body)) body.failed = true;
    call_reply_json(call, &body);
    buf_done(&body);
}

static char *arena_text(struct arena *arena, const char *text) {
    return arena_strndup(arena, text, strlen(text));
}

/* ---- status ---- */

static const char *role_text(enum replica_role role) {
    return role == REPLICA_LEADER ? "leader" : role == REPLICA_CANDIDATE ? "candidate" : "follower";
}

static Conclave__Admin__Member *status_member(const struct master *m, const struct replica_status *r, unsigned i,
                                              struct arena *arena) {
    const struct replica_peer_status *p = &r->peers[i];
    Conclave__Admin__Member *out = ARENA_MESSAGE(arena, Conclave__Admin__Member, CONCLAVE__ADMIN__MEMBER__INIT);
    if (!out) return NULL;
    bool self = p->id == r->node_id;
    out->version = p->program_level ? arena_text(arena, p->program_version) : NULL;
    out->has_program_level = p->program_level != 0;
    out->program_level = p->program_level;
    out->id = p->id;
    out->peer = arena_text(arena, p->address);
    out->role = (char *)(p->voter ? "voter" : "learner");
    out->has_contact_ms = 1;
    out->contact_ms = self ? 0 : p->contact_ms;
    if (self) {
        out->http = (char *)m->config->http_advertise;
        out->state = (char *)role_text(r->role);
        out->has_fsync_p99_us = out->has_snapshot_index = 1;
        out->fsync_p99_us = r->fsync_p99_us;
        out->snapshot_index = r->snapshot_index;
    }
    if (r->role == REPLICA_LEADER) {
        uint64_t match = self ? r->last_index : p->match_index;
        out->has_lag_entries = 1;
        out->lag_entries = match >= r->last_index ? 0 : (int64_t)(r->last_index - match);
        out->lag_ms = lag_of(&m->lag, match, state_applied_index(m->state), clock_mono_ms());
        out->has_lag_ms = out->lag_ms >= 0;
    }
    return out;
}

static int status_members(const struct master *m, const struct replica_status *r, Conclave__Admin__Status *ret,
                          struct arena *arena) {
    ret->members = arena_alloc(arena, REPLICA_MEMBERS_MAX * sizeof *ret->members);
    if (!ret->members) return ERR_LIMIT;
    struct member_view views[REPLICA_MEMBERS_MAX];
    (void)members_view(m, r, views);
    for (unsigned i = 0; i < r->peer_count && i < REPLICA_MEMBERS_MAX; i++) {
        Conclave__Admin__Member *member = status_member(m, r, i, arena);
        if (!member) return ERR_LIMIT;
        if (!member->http && views[i].http[0]) member->http = arena_text(arena, views[i].http);
        ret->members[ret->n_members++] = member;
    }
    return 0;
}

static int status_tasks(const struct master *m, Conclave__Admin__Status *ret, struct arena *arena) {
    struct state_counts counts;
    state_counts(m->state, &counts);
    ret->has_tasks_live = 1;
    ret->tasks_live = counts.tasks_live;
    ret->has_frameworks = 1;
    ret->frameworks = counts.frameworks_connected;
    ret->agents = ARENA_MESSAGE(arena, Conclave__Admin__AgentCounts, CONCLAVE__ADMIN__AGENT_COUNTS__INIT);
    ret->tasks = arena_alloc(arena, 14 * sizeof *ret->tasks);
    if (!ret->agents || !ret->tasks) return ERR_LIMIT;
    ret->agents->active = counts.agents_active;
    ret->agents->unreachable = counts.agents_unreachable;
    ret->agents->gone = counts.agents_gone;
    for (uint32_t s = 0; s < 14; s++) {
        uint64_t n = task_state_terminal(s) ? counts.tasks_ever[s] : counts.tasks_now[s];
        Conclave__Admin__Status__TasksEntry *entry =
            ARENA_MESSAGE(arena, Conclave__Admin__Status__TasksEntry, CONCLAVE__ADMIN__STATUS__TASKS_ENTRY__INIT);
        if (!entry) return ERR_LIMIT;
        if (n == 0) continue;
        entry->key = (char *)task_state_name(s);
        entry->has_value = 1;
        entry->value = n;
        ret->tasks[ret->n_tasks++] = entry;
    }
    return 0;
}

static void status_leader(const struct master *m, const struct replica_status *r, Conclave__Admin__Status *ret,
                          struct arena *arena) {
    const char *http = NULL;
    if (r->leader_id == 0) return;
    ret->leader = ARENA_MESSAGE(arena, Conclave__Admin__Leader, CONCLAVE__ADMIN__LEADER__INIT);
    if (!ret->leader) return;
    ret->leader->has_id = 1;
    ret->leader->id = r->leader_id;
    if (master_leader_known(m, &http, NULL)) ret->leader->http = (char *)http;
    ret->leader->has_since_ms = 1;
    ret->leader->since_ms = r->leader_since_ms;
}

static void admin_status(struct call *call, struct arena *arena) {
    struct master *m = call->m;
    struct replica_status r;
    char cluster[33];
    struct hash128 id = {0};
    replica_status(m->replica, &r);
    for (int i = 0; i < 8; i++) {
        id.hi = id.hi << 8 | m->config->replica.cluster_id[i];
        id.lo = id.lo << 8 | m->config->replica.cluster_id[8 + i];
    }
    hash128_hex(id, cluster);
    Conclave__Admin__Status s = CONCLAVE__ADMIN__STATUS__INIT;
    s.cluster_id = cluster;
    s.has_incarnation = s.has_term = s.has_commit = s.has_applied = s.has_level = s.has_node = 1;
    s.incarnation = state_incarnation(m->state);
    s.term = r.term;
    s.commit = r.commit_index;
    s.applied = r.applied_index;
    s.level = state_config(m->state)->level;
    s.node = r.node_id;
    status_leader(m, &r, &s, arena);
    if (m->current) {
        s.has_agents_back = s.has_offers = s.has_first_commit_ms = 1;
        s.agents_back = agents_here_count(m->agents);
        s.offers = offers_outstanding(m->offers);
        s.first_commit_ms = m->first_commit_ms;
        s.has_first_offer_ms = offers_first_ms(m->offers) >= 0;
        s.first_offer_ms = offers_first_ms(m->offers);
    }
    if (status_members(m, &r, &s, arena) || status_tasks(m, &s, arena) || api_alarms(m, &s, arena))
        call_unavailable(call->x, "Out of memory");
    else
        reply_message(call, &s.base);
}

/* ---- hash, log ---- */

bool call_query_u64(const struct call *call, const char *name, uint64_t *ret) {
    char text[24], *end;
    int rc = http_query_get(call->request->query, name, text, sizeof text);
    if (rc == ERR_NOT_FOUND) return true;
    uint64_t value = rc ? 0 : strtoull(text, &end, 10);
    if (rc || text[0] < '0' || text[0] > '9' || *end) {
        call_reply_text(call, 400, "A query value that should be a number is not");
        return false;
    }
    *ret = value;
    return true;
}

static void admin_hash(struct call *call) {
    struct master *m = call->m;
    uint64_t applied = state_applied_index(m->state), index = applied, oldest = applied;
    while (oldest > 1 && applied - (oldest - 1) < MASTER_HASHES &&
           m->hashes[(oldest - 1) % MASTER_HASHES].index == oldest - 1)
        oldest--;
    if (!call_query_u64(call, "index", &index)) return;
    const struct master_hash *h = &m->hashes[index % MASTER_HASHES];
    if (index == 0 || h->index != index) {
        call_reply_text(call, 404, index > applied ? "Not applied here yet" : "No longer remembered here");
        return;
    }
    char hex[33];
    hash128_hex(h->hash, hex);
    Conclave__Admin__Hash out = CONCLAVE__ADMIN__HASH__INIT;
    out.node = m->config->replica.node_id;
    out.index = index;
    out.hash = hex;
    out.oldest = oldest;
    reply_message(call, &out.base);
}

struct log_gather {
    Conclave__Admin__Log *log;
    struct arena *arena;
    size_t bytes;
    bool full;
};

static void log_entry(void *ctx, uint64_t index, uint64_t term, int type, const uint8_t *data, size_t len) {
    struct log_gather *g = ctx;
    if (g->full || (g->log->n_entries && g->bytes + len > LOG_BYTES_MAX)) {
        g->full = true;
        return;
    }
    Conclave__Admin__LogEntry *e = ARENA_MESSAGE(g->arena, Conclave__Admin__LogEntry, CONCLAVE__ADMIN__LOG_ENTRY__INIT);
    uint8_t *copy = e ? arena_alloc(g->arena, len) : NULL;
    if (!copy) {
        g->full = true;
        return;
    }
    if (len) memcpy(copy, data, len);
    g->bytes += len;
    e->index = index;
    e->term = term;
    e->type = (uint32_t)type;
    e->data.data = copy;
    e->data.len = len;
    g->log->entries[g->log->n_entries++] = e;
}

static void admin_log(struct call *call, struct arena *arena) {
    struct master *m = call->m;
    struct replica_status r;
    uint64_t count = 100, first = 0;
    struct err err = {0};
    replica_status(m->replica, &r);
    uint64_t from = r.first_index;
    if (!call_query_u64(call, "from", &from) || !call_query_u64(call, "count", &count)) return;
    if (count > LOG_COUNT_MAX) count = LOG_COUNT_MAX;
    Conclave__Admin__Log out = CONCLAVE__ADMIN__LOG__INIT;
    out.first = r.first_index;
    out.commit = r.commit_index;
    out.entries = arena_alloc(arena, (count + 1) * sizeof *out.entries);
    struct log_gather g = {.log = &out, .arena = arena};
    int rc = out.entries ? 0 : ERR_NOMEM;
    if (rc == 0 && count > 0) rc = replica_log_read(m->replica, from, (unsigned)count, log_entry, &g, &first, &err);
    if (rc)
        call_reply_text(call, err_http_status(rc), err.text);
    else
        reply_message(call, &out.base);
}

/* ---- agents, tasks ---- */

static char *resources_text(const struct resources *r, struct arena *arena) {
    struct buf text;
    buf_init(&text, 64u << 10);
    char *out = resources_print_text(r, &text) == 0 ? arena_strndup(arena, (const char *)text.data, text.len) : NULL;
    buf_done(&text);
    return out;
}

static void admin_agents(struct call *call, struct arena *arena) {
    struct master *m = call->m;
    static const char *const names[] = {"", "active", "unreachable", "gone"};
    Conclave__Admin__Agents out = CONCLAVE__ADMIN__AGENTS__INIT;
    struct state_counts counts;
    state_counts(m->state, &counts);
    size_t max = counts.agents_active + counts.agents_unreachable + counts.agents_gone;
    out.agents = arena_alloc(arena, (max + 1) * sizeof *out.agents);
    for (const struct agent *a = NULL;
         out.agents && (a = state_agent_next(m->state, a ? a->number : 0)) && out.n_agents < max;) {
        Conclave__Admin__Agent *row = ARENA_MESSAGE(arena, Conclave__Admin__Agent, CONCLAVE__ADMIN__AGENT__INIT);
        struct resources offered = {0};
        if (!row) break;
        row->id = a->id;
        row->hostname = a->hostname;
        row->http = a->http;
        row->status = (char *)names[a->status];
        row->version = a->version;
        row->has_tasks = 1;
        row->tasks = a->task_count;
        row->resources = resources_text(&a->total, arena);
        row->used = resources_text(&a->used, arena);
        if (m->current) {
            row->has_connected = 1;
            row->connected = agents_here(m->agents, a->number);
            if (offers_of_agent(m->offers, a->number, &offered) == 0) row->offered = resources_text(&offered, arena);
            resources_done(&offered);
        }
        out.agents[out.n_agents++] = row;
    }
    reply_message(call, &out.base);
}

static Conclave__Admin__Task *task_row(const struct master *m, const struct task *t, struct arena *arena) {
    Conclave__Admin__Task *row = ARENA_MESSAGE(arena, Conclave__Admin__Task, CONCLAVE__ADMIN__TASK__INIT);
    const struct framework *f = state_framework(m->state, t->framework);
    const struct agent *a = state_agent(m->state, t->agent);
    struct resources taken = task_resources(t);
    char launch[64];
    if (!row) return NULL;
    launch_id_text(t->launch, launch);
    row->id = t->id;
    row->name = t->name;
    row->framework = f ? f->id : (char *)"";
    row->agent = a ? a->id : (char *)"";
    row->agent_http = a ? a->http : NULL;
    row->state = (char *)task_state_name(t->state);
    row->resources = resources_text(&taken, arena);
    row->launch = arena_text(arena, launch);
    row->has_unacknowledged = row->has_kill_wanted = row->has_completed = row->has_created_wall_ms =
        row->has_changed_wall_ms = 1;
    row->unacknowledged = t->unacked;
    row->kill_wanted = task_kill_wanted(m->state, t);
    row->completed = t->completed;
    row->created_wall_ms = t->created_wall_ms;
    row->changed_wall_ms = t->changed_wall_ms;
    return row;
}

static void admin_tasks(struct call *call, struct arena *arena) {
    struct master *m = call->m;
    char task[STATE_ID_MAX + 1], framework[STATE_ID_MAX + 1];
    uint64_t limit = ADMIN_TASKS_DEFAULT;
    bool by_task = http_query_get(call->request->query, "task", task, sizeof task) == 0;
    bool by_framework = http_query_get(call->request->query, "framework", framework, sizeof framework) == 0;
    if (!call_query_u64(call, "limit", &limit)) return;
    const struct framework *f = by_framework ? state_framework_by_id(m->state, framework) : NULL;
    struct state_counts counts;
    state_counts(m->state, &counts);
    uint64_t max = counts.tasks_live + counts.tasks_completed;
    if (limit > max) limit = max;
    Conclave__Admin__Tasks out = CONCLAVE__ADMIN__TASKS__INIT;
    out.tasks = arena_alloc(arena, (limit + 1) * sizeof *out.tasks);
    if (out.tasks && !(by_framework && !f))
        for (const struct task *t = NULL; (t = state_task_next(m->state, t ? t->number : 0)) && out.n_tasks < limit;) {
            if ((by_task && strcmp(t->id, task)) || (f && t->framework != f->number)) continue;
            Conclave__Admin__Task *row = task_row(m, t, arena);
            if (!row) break;
            out.tasks[out.n_tasks++] = row;
        }
    reply_message(call, &out.base);
}

void api_admin(struct call *call) {
    struct arena arena;
    char name[32];
    size_t n = strlen(call->rest);
    while (n > 0 && call->rest[n - 1] == '/')
        n--;
    (void)snprintf(name, sizeof name, "%.*s", (int)n, call->rest);
    arena_init(&arena, API_ANSWER_MAX);
    if (!strcmp(name, "/status"))
        admin_status(call, &arena);
    else if (!strcmp(name, "/hash"))
        admin_hash(call);
    else if (!strcmp(name, "/log"))
        admin_log(call, &arena);
    else if (!strcmp(name, "/agents"))
        admin_agents(call, &arena);
    else if (!strcmp(name, "/tasks"))
        admin_tasks(call, &arena);
    else if (!strcmp(name, "/members"))
        api_members(call, &arena);
    else if (!strcmp(name, "/config"))
        api_config(call, &arena);
    else if (!strcmp(name, "/read"))
        api_read(call);
    else if (!strcmp(name, "/snapshots"))
        api_snapshots(call);
    else if (!strcmp(name, "/snapshot"))
        api_snapshot(call);
    else
        call_reply_text(call, 404, "Not found");
    arena_done(&arena);
}
