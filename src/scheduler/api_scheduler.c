/* SPDX-License-Identifier: Apache-2.0
 * POST /api/v1/scheduler: the calls of frameworks. Each durable call becomes a command and is answered when that is
 * applied; soft ones are answered at once. Status codes and their order: docs/API.md. */
#include "scheduler/api.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "scheduler/events.h"
#include "scheduler/validate.h"
#include "wire/json.h"
#include "wire/protobuf.h"

#define CALL(name)          MESOS__V1__SCHEDULER__CALL__TYPE__##name
#define ACCEPT_TASKS_MAX    OUTCOME_TASKS_MAX
#define ACCEPT_OFFERS_MAX   1000
#define RECONCILE_TASKS_MAX 20000 /* named in one call: their answers fit the backlog of a stream */

/* What a durable call remembers while its command is in the log. */
struct pending {
    struct queue on_list; /* ACCEPT: in master.accepting */
    struct http_exchange *x;
    enum encoding encoding;
    uint32_t framework;
    uint64_t *offers; /* ACCEPT: numbers of the offers it holds */
    size_t offer_count;
    uint64_t refuse_ms;
    uint32_t role, agent;
    struct resources left; /* ACCEPT: of the offers, not taken by its tasks */
    char **task_ids;       /* ACCEPT: in the order of the command; KILL: the one */
    size_t task_count;
    char *agent_id;
};

static void pending_free(struct pending *p) {
    queue_remove(&p->on_list);
    for (size_t i = 0; i < p->task_count; i++)
        free(p->task_ids[i]);
    free(p->task_ids);
    free(p->offers);
    free(p->agent_id);
    resources_done(&p->left);
    free(p);
}

static struct pending *pending_new(struct call *call, uint32_t framework) {
    struct pending *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    queue_init(&p->on_list);
    p->x = call->x;
    p->framework = framework;
    return p;
}

static void reply_accepted(struct http_exchange *x) {
    http_reply(x, 202, NULL, 0, NULL, 0);
}

static void reply_proposal_refused(struct http_exchange *x, int rc) {
    if (rc == ERR_LIMIT)
        http_reply_text(x, 413, "The call is larger than 1 MiB in the log");
    else if (rc == ERR_FULL)
        call_unavailable(x, "The masters' disks are below their reserve: nothing new is taken until there is room");
    else
        call_unavailable(x, rc == ERR_BUSY ? "The master is busy, try again" : "Leadership is changing, try again");
}

/* 202 once applied: what most durable calls answer. */
static void done_accepted(struct master *m, void *ctx, int status, const struct outcome *outcome) {
    struct pending *p = ctx;
    (void)m;
    (void)outcome;
    if (status)
        call_unavailable(p->x, "Leadership was lost: the outcome is unknown");
    else
        reply_accepted(p->x);
    pending_free(p);
}

static void propose_accepted(struct call *call, Conclave__Log__Command *command, uint32_t framework) {
    struct pending *p = pending_new(call, framework);
    int rc = p ? master_propose(call->m, command, done_accepted, p) : ERR_BUSY;
    if (rc == 0) return;
    free(p);
    reply_proposal_refused(call->x, rc);
}

/* ---- SUBSCRIBE ---- */

static void done_subscribe(struct master *m, void *ctx, int status, const struct outcome *outcome) {
    struct pending *p = ctx;
    if (status)
        call_unavailable(p->x, "Leadership was lost: the outcome is unknown");
    else if (outcome->code == OUTCOME_REFUSED)
        sessions_refuse(p->x, p->encoding, outcome->reason);
    else if (!m->current) /* applied after we were deposed: its stream is the new leader's to begin */
        call_unavailable(p->x, "Leadership was lost");
    else
        sessions_subscribed(m->sessions, outcome->framework, p->x, p->encoding);
    pending_free(p);
}

static uint32_t capability_bits(const Mesos__V1__FrameworkInfo *info) {
    uint32_t bits = 0;
    for (size_t i = 0; i < info->n_capabilities; i++)
        if (info->capabilities[i]->has_type && info->capabilities[i]->type < 32)
            bits |= 1u << info->capabilities[i]->type;
    return bits;
}

static void call_subscribe(struct call *call, const Mesos__V1__Scheduler__Call *c, enum encoding encoding) {
    Mesos__V1__Scheduler__Call__Subscribe *s = c->subscribe;
    Mesos__V1__FrameworkInfo *info = s->framework_info;
    struct err err;
    if (validate_framework(s, &err)) {
        sessions_refuse(call->x, encoding, err.text);
        return;
    }
    static char *any_role[] = {(char *)"*"};
    Conclave__Log__FrameworkSubscribe subscribe = CONCLAVE__LOG__FRAMEWORK_SUBSCRIBE__INIT;
    const char *id = c->framework_id && c->framework_id->value[0] ? c->framework_id->value : NULL;
    info->id = NULL;
    struct buf packed;
    buf_init(&packed, REPLICA_COMMAND_MAX);
    int rc = protobuf_print(&info->base, &packed);
    subscribe.framework_id = (char *)id;
    subscribe.info.data = packed.data;
    subscribe.info.len = packed.len;
    subscribe.name = info->name;
    subscribe.user = info->user;
    subscribe.principal = info->principal;
    subscribe.has_capabilities = 1;
    subscribe.capabilities = capability_bits(info);
    subscribe.n_roles = info->n_roles;
    subscribe.roles = info->roles;
    if (info->n_roles == 0) {
        subscribe.n_roles = 1;
        subscribe.roles = info->role && info->role[0] ? &info->role : any_role;
    }
    subscribe.n_suppressed_roles = s->n_suppressed_roles;
    subscribe.suppressed_roles = s->suppressed_roles;
    subscribe.failover_timeout_ms = validate_failover_ms(info);
    Conclave__Log__Command command = CONCLAVE__LOG__COMMAND__INIT;
    command.framework_subscribe = &subscribe;
    struct pending *p = pending_new(call, 0);
    if (p) p->encoding = encoding;
    if (rc == 0) rc = p ? master_propose(call->m, &command, done_subscribe, p) : ERR_BUSY;
    buf_done(&packed);
    if (rc == 0) return;
    free(p);
    reply_proposal_refused(call->x, rc);
}

/* ---- ACCEPT and DECLINE ---- */

/* The offers that an ACCEPT names: all found, distinct, of one agent and one role; else `valid` is false. */
struct accept {
    struct offer **offers;
    size_t offer_count;
    bool valid;
    uint32_t agent;
    struct resources pool; /* what is left of them while tasks are taken out */
};

static bool accept_gather(struct call *call, const Mesos__V1__Scheduler__Call__Accept *a, uint32_t framework,
                          struct arena *arena, struct accept *ret) {
    struct accept r = {.valid = true};
    r.offers = arena_alloc(arena, a->n_offer_ids * sizeof *r.offers);
    if (!r.offers) return false;
    for (size_t i = 0; i < a->n_offer_ids; i++) {
        struct offer *offer = offers_find(call->m->offers, a->offer_ids[i]->value, framework);
        bool repeated = false;
        for (size_t k = 0; k < r.offer_count; k++)
            repeated |= r.offers[k] == offer;
        if (!offer || repeated) {
            r.valid = false;
            continue;
        }
        if (r.offer_count && (offer->agent != r.offers[0]->agent || offer->role != r.offers[0]->role)) r.valid = false;
        r.offers[r.offer_count++] = offer;
    }
    if (r.offer_count == 0) r.valid = false;
    if (r.offer_count) r.agent = r.offers[0]->agent;
    for (size_t i = 0; r.valid && i < r.offer_count; i++)
        if (resources_add(&r.pool, &r.offers[i]->resources)) r.valid = false;
    *ret = r;
    return true;
}

/* The Mesos Task without what the state holds in typed fields; empty when there is nothing to say. */
static int view_pack(const Mesos__V1__TaskInfo *t, struct buf *ret) {
    if (!t->labels && !t->discovery && !t->container && !t->health_check && !t->kill_policy &&
        !(t->command && t->command->user))
        return 0;
    Mesos__V1__TaskID id = MESOS__V1__TASK_ID__INIT;
    Mesos__V1__FrameworkID framework = MESOS__V1__FRAMEWORK_ID__INIT;
    Mesos__V1__AgentID agent = MESOS__V1__AGENT_ID__INIT;
    Mesos__V1__Task view = MESOS__V1__TASK__INIT;
    id.value = framework.value = agent.value = view.name = (char *)""; /* required by the schema, kept elsewhere */
    view.task_id = &id;
    view.framework_id = &framework;
    view.agent_id = &agent;
    view.labels = t->labels;
    view.discovery = t->discovery;
    view.container = t->container;
    view.health_check = t->health_check;
    view.kill_policy = t->kill_policy;
    view.user = t->command ? t->command->user : NULL;
    return protobuf_print(&view.base, ret);
}

static Conclave__Log__Resources *log_resources(const struct resources *r, struct arena *arena) {
    Conclave__Log__Resources *out = ARENA_MESSAGE(arena, Conclave__Log__Resources, CONCLAVE__LOG__RESOURCES__INIT);
    if (!out) return NULL;
    out->has_cpus = out->has_mem = out->has_disk = out->has_gpus = 1;
    out->cpus = r->cpus;
    out->mem = r->mem;
    out->disk = r->disk;
    out->gpus = r->gpus;
    out->ports = arena_alloc(arena, (r->ports.count + 1) * sizeof *out->ports);
    if (!out->ports) return NULL;
    for (uint32_t i = 0; i < r->ports.count; i++) {
        Conclave__Log__Range *range = ARENA_MESSAGE(arena, Conclave__Log__Range, CONCLAVE__LOG__RANGE__INIT);
        if (!range) return NULL;
        range->begin = r->ports.ranges[i].begin;
        range->end = r->ports.ranges[i].end;
        out->ports[out->n_ports++] = range;
    }
    return out;
}

static int arena_bytes(const struct buf *b, struct arena *arena, ProtobufCBinaryData *ret) {
    ret->data = arena_alloc(arena, b->len);
    if (!ret->data) return ERR_LIMIT;
    if (b->len) memcpy(ret->data, b->data, b->len);
    ret->len = b->len;
    return 0;
}

/* One TaskLaunch of the command: refused with a text (`refusal` if that is given), or with its resources taken out of
 * the pool. */
static int launch_make(struct accept *accept, Mesos__V1__TaskInfo *t, const char *agent_id, const char *refusal,
                       struct arena *arena, struct buf *scratch, Conclave__Log__TaskLaunch **ret) {
    Conclave__Log__TaskLaunch *l = ARENA_MESSAGE(arena, Conclave__Log__TaskLaunch, CONCLAVE__LOG__TASK_LAUNCH__INIT);
    if (!l) return ERR_LIMIT;
    struct resources r = {0};
    struct err err;
    buf_clear(scratch);
    int rc = protobuf_print(&t->base, scratch);
    if (rc) return rc;
    if (scratch->len > STATE_TASK_BYTES_MAX) {
        refusal = "Task is larger than 64 KiB";
        buf_clear(scratch);
    }
    if (!refusal && validate_task(t, accept->valid ? agent_id : NULL, &r, &err))
        refusal = arena_strndup(arena, err.text, strlen(err.text));
    if (!refusal && accept->valid && resources_sub(&accept->pool, &r))
        refusal = "Task uses more resources than are left of the offers";
    l->task_id = t->task_id->value;
    l->name = t->name;
    l->refusal = (char *)refusal;
    l->resources = log_resources(&r, arena);
    resources_done(&r);
    rc = l->resources ? arena_bytes(scratch, arena, &l->info) : ERR_LIMIT;
    buf_clear(scratch);
    if (rc == 0 && !l->refusal) rc = view_pack(t, scratch);
    if (rc == 0 && scratch->len) {
        l->has_view = 1;
        rc = arena_bytes(scratch, arena, &l->view);
    }
    *ret = l;
    return rc;
}

/* The tasks of one operation; its type says what it is, whatever other members are set. */
static size_t operation_tasks(const Mesos__V1__Offer__Operation *op, Mesos__V1__TaskInfo ***ret, bool *ret_group) {
    bool group = op->has_type && op->type == MESOS__V1__OFFER__OPERATION__TYPE__LAUNCH_GROUP;
    bool launch = op->has_type && op->type == MESOS__V1__OFFER__OPERATION__TYPE__LAUNCH;
    *ret_group = group;
    *ret = NULL;
    if (launch && op->launch) *ret = op->launch->task_infos;
    if (group && op->launch_group && op->launch_group->task_group) *ret = op->launch_group->task_group->tasks;
    if (!*ret) return 0;
    return group ? op->launch_group->task_group->n_tasks : op->launch->n_task_infos;
}

static size_t accept_task_count(const Mesos__V1__Scheduler__Call__Accept *a) {
    size_t n = 0;
    for (size_t i = 0; i < a->n_operations; i++) {
        Mesos__V1__TaskInfo **tasks;
        bool group;
        n += operation_tasks(a->operations[i], &tasks, &group);
    }
    return n;
}

static int accept_make(struct call *call, const Mesos__V1__Scheduler__Call__Accept *a, struct accept *accept,
                       uint32_t framework, struct arena *arena, Conclave__Log__Accept *ret) {
    const struct agent *agent = accept->agent ? state_agent(call->m->state, accept->agent) : NULL;
    struct buf scratch;
    int rc = 0;
    ret->framework = framework;
    ret->has_agent = accept->agent != 0;
    ret->agent = accept->agent;
    ret->offers_valid = accept->valid;
    ret->tasks = arena_alloc(arena, accept_task_count(a) * sizeof *ret->tasks);
    if (!ret->tasks) return ERR_LIMIT;
    buf_init(&scratch, REPLICA_COMMAND_MAX);
    for (size_t i = 0; rc == 0 && i < a->n_operations; i++) {
        Mesos__V1__TaskInfo **tasks;
        bool group;
        size_t n = operation_tasks(a->operations[i], &tasks, &group);
        for (size_t k = 0; rc == 0 && k < n; k++)
            rc = launch_make(accept, tasks[k], agent ? agent->id : NULL,
                             group ? "Task groups are not supported by this version" : NULL, arena, &scratch,
                             &ret->tasks[ret->n_tasks++]);
    }
    buf_done(&scratch);
    return rc;
}

/* The command is applied: what it used is in the state now, the rest of its offers is free again. */
static void accept_release(struct master *m, const struct pending *p) {
    for (size_t i = 0; i < p->offer_count; i++)
        offers_settle(m->offers, p->offers[i]);
    offers_refuse(m->offers, p->framework, p->role, p->agent, &p->left, p->refuse_ms);
}

static void done_accept(struct master *m, void *ctx, int status, const struct outcome *outcome) {
    struct pending *p = ctx;
    if (status) {
        call_unavailable(p->x, "Leadership was lost: the outcome is unknown");
        pending_free(p);
        return;
    }
    reply_accepted(p->x);
    for (uint32_t i = 0; i < outcome->task_count && i < p->task_count; i++) {
        const struct task_outcome *t = &outcome->tasks[i];
        if (t->launched) continue;
        sessions_update_made(m->sessions, p->framework, p->task_ids[i], p->agent_id, t->state, t->mesos_reason,
                             t->reason);
    }
    accept_release(m, p);
    pending_free(p);
}

static int pending_fill(struct pending *p, struct master *m, const struct accept *accept,
                        const Conclave__Log__Accept *command) {
    const struct agent *agent = accept->agent ? state_agent(m->state, accept->agent) : NULL;
    p->offers = calloc(accept->offer_count + 1, sizeof *p->offers);
    p->task_ids = calloc(command->n_tasks + 1, sizeof *p->task_ids);
    if (agent) p->agent_id = strdup(agent->id);
    if (!p->offers || !p->task_ids || (agent && !p->agent_id)) return ERR_NOMEM;
    if (accept->valid && resources_copy(&p->left, &accept->pool)) return ERR_NOMEM;
    p->agent = accept->agent;
    p->role = accept->offer_count ? accept->offers[0]->role : 0;
    for (size_t i = 0; i < accept->offer_count; i++)
        p->offers[p->offer_count++] = accept->offers[i]->number;
    for (size_t i = 0; i < command->n_tasks; i++) {
        p->task_ids[i] = strdup(command->tasks[i]->task_id);
        if (!p->task_ids[i]) return ERR_NOMEM;
        p->task_count++;
    }
    return 0;
}

static void call_accept(struct call *call, const Mesos__V1__Scheduler__Call__Accept *a, uint32_t framework,
                        struct arena *arena) {
    struct accept accept;
    uint64_t refuse_ms = validate_refuse_ms(a->filters);
    if (accept_task_count(a) > ACCEPT_TASKS_MAX) {
        call_reply_text(call, 413, "Too many tasks in one ACCEPT");
        return;
    }
    if (a->n_offer_ids > ACCEPT_OFFERS_MAX) {
        call_reply_text(call, 413, "Too many offers in one ACCEPT");
        return;
    }
    if (!accept_gather(call, a, framework, arena, &accept)) {
        call_reply_text(call, 413, "The call needs too much memory");
        return;
    }
    if (accept_task_count(a) == 0) { /* a decline in other words */
        for (size_t i = 0; i < accept.offer_count; i++)
            offers_return(call->m->offers, accept.offers[i], refuse_ms);
        resources_done(&accept.pool);
        reply_accepted(call->x);
        return;
    }
    Conclave__Log__Accept body = CONCLAVE__LOG__ACCEPT__INIT;
    Conclave__Log__Command command = CONCLAVE__LOG__COMMAND__INIT;
    command.accept = &body;
    struct pending *p = pending_new(call, framework);
    int rc = accept_make(call, a, &accept, framework, arena, &body);
    if (rc == 0) rc = p ? pending_fill(p, call->m, &accept, &body) : ERR_BUSY;
    if (p) p->refuse_ms = accept.valid ? refuse_ms : 0;
    if (rc == 0) rc = master_propose(call->m, &command, done_accept, p);
    resources_done(&accept.pool);
    if (rc == 0) {
        for (size_t i = 0; i < accept.offer_count; i++)
            offers_accept(call->m->offers, accept.offers[i]);
        queue_push(&call->m->accepting, &p->on_list);
        return;
    }
    if (p) pending_free(p);
    reply_proposal_refused(call->x, rc);
}

static void call_decline(struct call *call, const Mesos__V1__Scheduler__Call__Decline *d, uint32_t framework) {
    uint64_t refuse_ms = validate_refuse_ms(d->filters);
    for (size_t i = 0; i < d->n_offer_ids; i++) {
        struct offer *offer = offers_find(call->m->offers, d->offer_ids[i]->value, framework);
        if (offer) offers_return(call->m->offers, offer, refuse_ms);
    }
    reply_accepted(call->x);
}

/* ---- the others ---- */

/* An ACCEPT under way launches it: to call it unknown would be a lie a moment later. */
static bool task_accepting(const struct master *m, uint32_t framework, const char *task_id) {
    for (const struct queue *q = m->accepting.next; q != &m->accepting; q = q->next) {
        const struct pending *p = QUEUE_ENTRY(q, struct pending, on_list);
        for (size_t i = 0; p->framework == framework && i < p->task_count; i++)
            if (!strcmp(p->task_ids[i], task_id)) return true;
    }
    return false;
}

/* One answer of explicit reconciliation. */
static void reconcile_task(struct master *m, uint32_t framework, const char *task_id, const char *agent_id) {
    const struct framework *f = state_framework(m->state, framework);
    const struct task *task = state_task_by_id(m->state, framework, task_id);
    if (!f) return;
    if (task) {
        sessions_update(m->sessions, task, true);
        return;
    }
    const struct agent *agent = agent_id ? state_agent_by_id(m->state, agent_id) : NULL;
    uint32_t state = f->capabilities & CAP_PARTITION_AWARE ? TASK_UNKNOWN : TASK_LOST;
    const char *text = "Reconciliation: Task is unknown";
    if (task_accepting(m, framework, task_id)) {
        state = TASK_STAGING;
        text = "Reconciliation: Task is being launched";
    } else if (agent && state == TASK_UNKNOWN) {
        state = agent->status == AGENT_ACTIVE        ? TASK_GONE
                : agent->status == AGENT_GONE_STATUS ? TASK_GONE_BY_OPERATOR
                                                     : TASK_UNREACHABLE;
    }
    sessions_update_made(m->sessions, framework, task_id, agent_id, state,
                         MESOS__V1__TASK_STATUS__REASON__REASON_RECONCILIATION, text);
}

static void call_reconcile(struct call *call, const Mesos__V1__Scheduler__Call__Reconcile *r,
                           const struct framework *f) {
    if (r->n_tasks > RECONCILE_TASKS_MAX) {
        call_reply_text(call, 413, "Too many tasks in one RECONCILE");
        return;
    }
    for (size_t i = 0; i < r->n_tasks; i++)
        reconcile_task(call->m, f->number, r->tasks[i]->task_id->value,
                       r->tasks[i]->agent_id ? r->tasks[i]->agent_id->value : NULL);
    if (r->n_tasks == 0) sessions_reconcile(call->m->sessions, f->number);
    reply_accepted(call->x);
}

/* Whether there is such a task is known when the command is applied, behind any ACCEPT before it. If there is none, or
 * it has ended, the answer is that of an explicit RECONCILE. */
static void done_kill(struct master *m, void *ctx, int status, const struct outcome *outcome) {
    struct pending *p = ctx;
    if (status == 0 && m->current) {
        const struct task *task = state_task_by_id(m->state, p->framework, p->task_ids[0]);
        if (outcome->code != OUTCOME_REFUSED && (!task || task->completed))
            reconcile_task(m, p->framework, p->task_ids[0], p->agent_id);
    }
    done_accepted(m, p, status, outcome);
}

static void call_kill(struct call *call, const Mesos__V1__Scheduler__Call__Kill *k, const struct framework *f) {
    Conclave__Log__TaskKill kill = CONCLAVE__LOG__TASK_KILL__INIT;
    Conclave__Log__Command command = CONCLAVE__LOG__COMMAND__INIT;
    const struct agent *agent = k->agent_id ? state_agent_by_id(call->m->state, k->agent_id->value) : NULL;
    kill.framework = f->number;
    kill.task_id = k->task_id->value;
    kill.has_agent = k->agent_id != NULL; /* a task of another agent is left alone; 0 is nobody's number */
    kill.agent = agent ? agent->number : 0;
    if (k->kill_policy && k->kill_policy->grace_period && k->kill_policy->grace_period->nanoseconds >= 0) {
        kill.has_grace_ms = 1;
        kill.grace_ms = (uint64_t)k->kill_policy->grace_period->nanoseconds / 1000000;
    }
    command.task_kill = &kill;
    struct pending *p = pending_new(call, f->number);
    bool ok = p && (p->task_ids = calloc(1, sizeof *p->task_ids)) && (p->task_ids[0] = strdup(kill.task_id)) &&
              ++p->task_count && (!k->agent_id || (p->agent_id = strdup(k->agent_id->value)));
    int rc = ok ? master_propose(call->m, &command, done_kill, p) : ERR_BUSY;
    if (rc == 0) return;
    if (p) pending_free(p);
    reply_proposal_refused(call->x, rc);
}

static void call_acknowledge(struct call *call, const Mesos__V1__Scheduler__Call__Acknowledge *a,
                             const struct framework *f) {
    Conclave__Log__TaskAcknowledge ack = CONCLAVE__LOG__TASK_ACKNOWLEDGE__INIT;
    Conclave__Log__Command command = CONCLAVE__LOG__COMMAND__INIT;
    ack.framework = f->number;
    ack.task_id = a->task_id->value;
    ack.uuid = a->uuid;
    command.task_acknowledge = &ack;
    propose_accepted(call, &command, f->number);
}

/* Bits of the named roles; all of them for none. False if one is not the framework's. */
static bool role_bits(const struct framework *f, size_t n, char *const *roles, uint32_t *ret) {
    uint32_t bits = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t at = 0;
        while (at < f->role_count && strcmp(f->roles[at], roles[i]))
            at++;
        if (at == f->role_count) return false;
        bits |= 1u << at;
    }
    *ret = n ? bits : f->role_count >= 32 ? UINT32_MAX : (1u << f->role_count) - 1;
    return true;
}

static void call_suppress(struct call *call, const struct framework *f, size_t n, char **roles, bool suppressed) {
    uint32_t bits = 0;
    if (!role_bits(f, n, roles, &bits)) { /* a foreign role makes the call a silent no-op, as in Mesos */
        reply_accepted(call->x);
        return;
    }
    if (!suppressed) offers_revive(call->m->offers, f->number, bits);
    if (!suppressed && !(f->suppressed & bits)) { /* only filters were to be forgotten */
        reply_accepted(call->x);
        return;
    }
    Conclave__Log__FrameworkSuppress body = CONCLAVE__LOG__FRAMEWORK_SUPPRESS__INIT;
    Conclave__Log__Command command = CONCLAVE__LOG__COMMAND__INIT;
    body.framework = f->number;
    body.n_roles = n;
    body.roles = roles;
    body.suppressed = suppressed;
    command.framework_suppress = &body;
    propose_accepted(call, &command, f->number);
}

static void call_teardown(struct call *call, const struct framework *f) {
    Conclave__Log__FrameworkTeardown body = CONCLAVE__LOG__FRAMEWORK_TEARDOWN__INIT;
    Conclave__Log__Command command = CONCLAVE__LOG__COMMAND__INIT;
    body.framework = f->number;
    command.framework_teardown = &body;
    propose_accepted(call, &command, f->number);
}

static void call_dispatch(struct call *call, Mesos__V1__Scheduler__Call *c, const struct framework *f,
                          struct arena *arena) {
    switch (c->type) {
    case CALL(ACCEPT):
        call_accept(call, c->accept, f->number, arena);
        return;
    case CALL(DECLINE):
        call_decline(call, c->decline, f->number);
        return;
    case CALL(ACKNOWLEDGE):
        call_acknowledge(call, c->acknowledge, f);
        return;
    case CALL(KILL):
        call_kill(call, c->kill, f);
        return;
    case CALL(RECONCILE):
        call_reconcile(call, c->reconcile, f);
        return;
    case CALL(REVIVE):
        call_suppress(call, f, c->revive ? c->revive->n_roles : 0, c->revive ? c->revive->roles : NULL, false);
        return;
    case CALL(SUPPRESS):
        call_suppress(call, f, c->suppress ? c->suppress->n_roles : 0, c->suppress ? c->suppress->roles : NULL, true);
        return;
    case CALL(TEARDOWN):
        call_teardown(call, f);
        return;
    case CALL(
        REQUEST): /* ignored by the allocator, as in Mesos; inverse offers are never made, so their answers name none */
    case CALL(ACCEPT_INVERSE_OFFERS):
    case CALL(DECLINE_INVERSE_OFFERS):
        reply_accepted(call->x);
        return;
    default:
        call_reply_text(call, 501, "This call is not supported by this version");
    }
}

/* Checks 8 to 11: the framework, its stream, the stream's id. */
static const struct framework *call_framework(struct call *call, const Mesos__V1__Scheduler__Call *c) {
    const struct framework *f = state_framework_by_id(call->m->state, c->framework_id->value);
    if (!f || f->status == FRAMEWORK_REMOVED) {
        call_reply_text(call, 400, "Framework cannot be found");
        return NULL;
    }
    struct session *session = sessions_find(call->m->sessions, f->number);
    if (!session) {
        call_reply_text(call, 403, "Framework is not subscribed");
        return NULL;
    }
    const char *id = http_request_header(call->request, "Mesos-Stream-Id");
    if (!id || strcmp(id, session_stream_id(session))) {
        call_reply_text(
            call, 400,
            id ? "The stream id included in this request didn't match the stream id currently associated with framework"
               : "All non-subscribe calls should include the 'Mesos-Stream-Id' header");
        return NULL;
    }
    return f;
}

static int call_parse(struct call *call, enum encoding body, struct arena *arena, Mesos__V1__Scheduler__Call **ret,
                      struct err *err) {
    const struct http_request *r = call->request;
    ProtobufCMessage *message = NULL;
    int rc =
        body == ENCODING_JSON
            ? json_parse(&mesos__v1__scheduler__call__descriptor, r->body, r->body_len, arena, &message, err)
            : protobuf_parse(&mesos__v1__scheduler__call__descriptor, r->body, r->body_len, 0, arena, &message, err);
    if (rc) return rc;
    *ret = (Mesos__V1__Scheduler__Call *)message;
    return validate_call(*ret, err);
}

static void scheduler_parsed(struct call *call, Mesos__V1__Scheduler__Call *c, struct arena *arena) {
    if (c->type == CALL(SUBSCRIBE)) {
        enum encoding answer;
        if (!call_accepts(call->request, &answer))
            call_reply_text(call, 406, "Expecting 'Accept' to allow application/json or application/x-protobuf");
        else if (http_request_header(call->request, "Mesos-Stream-Id"))
            call_reply_text(call, 400, "Subscribe calls should not include the 'Mesos-Stream-Id' header");
        else
            call_subscribe(call, c, answer);
        return;
    }
    const struct framework *f = call_framework(call, c);
    if (f) call_dispatch(call, c, f, arena);
}

void api_scheduler(struct call *call) {
    const struct http_request *r = call->request;
    if (strcmp(r->method, "POST")) {
        const struct http_field allow = {"Allow", "POST"};
        http_reply(call->x, 405, &allow, 1, NULL, 0);
        return;
    }
    const char *type = http_request_header(r, "Content-Type");
    if (!type) {
        call_reply_text(call, 400, "Expecting 'Content-Type' to be present");
        return;
    }
    bool json = !strcmp(type, "application/json");
    if (!json && strcmp(type, "application/x-protobuf")) {
        call_reply_text(call, 415, "Expecting 'Content-Type' of application/json or application/x-protobuf");
        return;
    }
    struct arena arena;
    struct err err = {0};
    Mesos__V1__Scheduler__Call *c = NULL;
    arena_init(&arena, API_ARENA_MAX);
    int rc = call_parse(call, json ? ENCODING_JSON : ENCODING_PROTOBUF, &arena, &c, &err);
    if (rc)
        call_reply_text(call, rc == ERR_LIMIT ? 413 : rc == ERR_NOMEM ? 503 : 400, err.text);
    else
        scheduler_parsed(call, c, &arena);
    arena_done(&arena);
}
