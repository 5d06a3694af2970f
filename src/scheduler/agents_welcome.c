/* SPDX-License-Identifier: Apache-2.0
 * From an agent's Hello to its welcome: registered or recognised, and its tasks merged with the log. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "scheduler/agents_hello.h"
#include "scheduler/agents_private.h"
#include "scheduler/members.h"
#include "scheduler/obligations.h"
#include "scheduler/offers.h"
#include "wire/arena.h"
#include "wire/protobuf.h"

/* ---- welcome and merge ---- */

struct merge {
    struct agents *a;
    struct agent_link *l;
};

static void merge_vanished(struct agents *a, const struct task *task) {
    const struct framework *f = state_framework(a->m->state, task->framework);
    Conclave__Log__LaunchId id = agents_launch_id(task->launch);
    Conclave__Log__TaskVanished vanished = CONCLAVE__LOG__TASK_VANISHED__INIT;
    Conclave__Log__Command command = CONCLAVE__LOG__COMMAND__INIT;
    vanished.agent = task->agent;
    vanished.framework_id = f ? f->id : (char *)"";
    vanished.task_id = task->id;
    vanished.launch = &id;
    command.task_vanished = &vanished;
    if (f) (void)master_propose(a->m, &command, NULL, NULL); /* if refused, the next Hello finds it again */
}

static void merge_verdict_follow(void *ctx, enum merge_verdict verdict, const struct task *task,
                                 const struct agent_task *row) {
    struct merge *merge = ctx;
    static const uint8_t any[16]; /* "forget it": no uuid is asked for */
    switch (verdict) {
    case MERGE_SEND_LAUNCH:
        agents_send_launch(merge->a, task);
        break;
    case MERGE_VANISHED:
        merge_vanished(merge->a, task);
        break;
    case MERGE_SEND_KILL:
        agents_send_kill(merge->a, task);
        break;
    case MERGE_FORGET:
        agents_ack_on(merge->a, merge->l, row->framework_id, row->task_id, row->launch, any);
        break;
    case MERGE_KILL_UNKNOWN:
        agents_kill_on(merge->a, merge->l, row->framework_id, row->task_id, row->launch, STATE_GRACE_DEFAULT);
        break;
    }
}

static size_t rows_from_keys(Conclave__Link__TaskKey *const *keys, size_t n, struct agent_task *rows) {
    for (size_t i = 0; i < n; i++)
        rows[i] = (struct agent_task){.framework_id = keys[i]->framework_id,
                                      .task_id = keys[i]->task_id,
                                      .state = keys[i]->state,
                                      .launch = {keys[i]->launch->index, keys[i]->launch->n, keys[i]->launch->k}};
    return n;
}

void agents_merge(struct agents *a, struct agent_link *l, Conclave__Link__TaskKey *const *keys, size_t n) {
    const struct agent *agent = state_agent(a->m->state, l->agent);
    struct agent_task *rows = calloc(n + 1, sizeof *rows);
    struct merge merge = {.a = a, .l = l};
    l->merging = false;
    if (agent && rows)
        merge_agent_tasks(a->m->state, agent, rows, rows_from_keys(keys, n, rows), merge_verdict_follow, &merge);
    free(rows);
}

static int number_order(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The tasks that are not busy agree with the log if the digests agree. */
static bool hello_agrees(struct agents *a, const struct agent *agent, const Conclave__Link__Hello *hello) {
    if (!hello->has_digest || hello->digest.len != 16) return false;
    uint64_t *skip = calloc(hello->n_busy + 1, sizeof *skip);
    size_t n = 0;
    if (!skip) return false;
    for (size_t i = 0; i < hello->n_busy; i++) {
        const struct framework *f = state_framework_by_id(a->m->state, hello->busy[i]->framework_id);
        const struct task *task = f ? state_task_by_id(a->m->state, f->number, hello->busy[i]->task_id) : NULL;
        if (task) skip[n++] = task->number;
    }
    qsort(skip, n, sizeof *skip, number_order);
    struct hash128 ours = obligation_digest(a->m->state, agent, skip, n);
    struct hash128 theirs = {.lo = load_u64(hello->digest.data), .hi = load_u64(hello->digest.data + 8)};
    free(skip);
    return hash128_equal(ours, theirs);
}

/* Anything that the digest does not settle: then the whole list is asked for, and no order goes out before it is
 * merged, so that "the agent does not have it" also means "no launch of it is on its way". */
static bool hello_needs_list(struct agents *a, const struct agent *agent, const Conclave__Link__Hello *hello) {
    if (hello->n_busy || !hello_agrees(a, agent, hello)) return true;
    for (const struct queue *q = agent->tasks.next; q != &agent->tasks; q = q->next)
        if (!QUEUE_ENTRY(q, struct task, on_agent)->confirmed) return true;
    return false;
}

static void link_welcome(struct agents *a, struct agent_link *l, const Conclave__Link__Hello *hello) {
    const struct agent *agent = state_agent(a->m->state, l->agent);
    struct agent_soft *soft = agents_soft(a, l->agent);
    if (soft->here && soft->here != l) {
        struct agent_link *old = soft->here;
        soft->here = NULL;
        if (old->link) link_close(old->link);
    }
    Conclave__Link__Fence fence = agents_fence(a->m);
    Conclave__Link__Welcome welcome = CONCLAVE__LINK__WELCOME__INIT;
    welcome.agent_id = agent->id;
    welcome.fence = &fence;
    welcome.ping_ms = AGENTS_PING_MS;
    welcome.agent_timeout_ms = state_config(a->m->state)->agent_timeout_ms;
    struct member_view views[REPLICA_MEMBERS_MAX];
    char *masters[REPLICA_MEMBERS_MAX];
    welcome.masters = masters;
    welcome.n_masters = members_links(a->m, views, masters);
    l->state = LINK_WELCOME;
    l->term = a->m->term;
    soft->here = l;
    soft->away_since_ms = 0;
    log_event(LOG_INFO, "agent_here", "agent=%s tasks=%" PRIu32 " ms=%" PRIu64, agent->id, agent->task_count,
              clock_mono_ms() - a->m->mono_base_ms);
    (void)agents_send(a, l->link, LINK_BULK, FRAME(WELCOME), &welcome.base);
    l->merging = hello_needs_list(a, agent, hello);
    if (l->merging) {
        Conclave__Link__TaskListWanted wanted = CONCLAVE__LINK__TASK_LIST_WANTED__INIT;
        (void)agents_send(a, l->link, LINK_BULK, FRAME(TASK_LIST_WANTED), &wanted.base);
    }
    for (const struct queue *q = agent->tasks.next; !l->merging && q != &agent->tasks; q = q->next)
        agents_send_kill(a, QUEUE_ENTRY(q, struct task, on_agent));
    offers_wake(a->m->offers);
}

/* ---- hello ---- */

void agents_link_drop(struct agent_link *l) {
    if (l->link || l->uses) return;
    buf_done(&l->hello);
    l->magic = 0;
    free(l);
}

static void agent_registered(struct master *m, void *ctx, int status, const struct outcome *outcome) {
    struct agent_link *l = ctx;
    CHECK_MAGIC(l, AGENT_LINK_MAGIC);
    struct agents *a = m->agents;
    l->uses--;
    if (!l->link) {
        agents_link_drop(l);
        return;
    }
    l->state = LINK_WAITING;
    if (status == 0 && outcome->code == OUTCOME_REFUSED) { /* such as having less than its tasks use: that may pass */
        agents_refuse(a, l, outcome->reason, false);
        return;
    }
    agents_hello_serve(a, l, status == 0);
}

static void propose_for(struct agents *a, struct agent_link *l, Conclave__Log__Command *command) {
    int rc = master_propose(a->m, command, agent_registered, l);
    if (rc) {
        link_close(l->link); /* it comes again */
        return;
    }
    l->uses++;
    l->state = LINK_REGISTERING;
}

static void hello_register(struct agents *a, struct agent_link *l, const Conclave__Link__Hello *hello) {
    Conclave__Log__AgentRegister body = CONCLAVE__LOG__AGENT_REGISTER__INIT;
    Conclave__Log__Command command = CONCLAVE__LOG__COMMAND__INIT;
    body.uuid = hello->uuid;
    body.hostname = hello->hostname;
    body.http = hello->http;
    body.resources = hello->resources;
    body.info = hello->info;
    body.version = hello->version;
    body.boot_id = hello->boot_id;
    command.agent_register = &body;
    propose_for(a, l, &command);
}

void agents_hello_serve(struct agents *a, struct agent_link *l, bool registered) {
    struct arena arena;
    ProtobufCMessage *message = NULL;
    struct err err = {0};
    if (l->state == LINK_REGISTERING) return;
    if (!a->m->current || l->watch_only) {
        l->state = l->watch_only || a->m->role != REPLICA_LEADER ? LINK_TOLD : LINK_WAITING;
        agents_tell_leader(a, l);
        return;
    }
    arena_init(&arena, AGENTS_ARENA_MAX);
    if (protobuf_parse(&conclave__link__hello__descriptor, l->hello.data, l->hello.len, 0, &arena, &message, &err)) {
        agents_refuse(a, l, err.text, false);
        arena_done(&arena);
        return;
    }
    const Conclave__Link__Hello *h = (const Conclave__Link__Hello *)message;
    const char *stranger = hello_stranger(a->m, h);
    const struct agent *agent = stranger ? NULL : state_agent_by_uuid(a->m->state, h->uuid.data);
    if (agent) l->agent = agent->number;
    if (stranger)
        agents_refuse(a, l, stranger, true);
    else if (h->fence && h->fence->incarnation == state_incarnation(a->m->state) && h->fence->term > a->m->term)
        link_close(l->link); /* it has seen a later leader than us: we are not it for long */
    else if (agent && agent->status == AGENT_GONE_STATUS)
        agents_refuse(a, l, "the agent was marked gone by the operator", true);
    else if (!agent || agent->status != AGENT_ACTIVE || (!registered && !hello_is_known(agent, h)))
        hello_register(a, l, h);
    else
        link_welcome(a, l, h);
    arena_done(&arena);
}
