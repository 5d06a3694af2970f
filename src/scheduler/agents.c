/* SPDX-License-Identifier: Apache-2.0
 * The links of agents: their frames, terms and time. See agents_private.h. */
#include "scheduler/agents_private.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "scheduler/offers.h"
#include "wire/arena.h"
#include "wire/protobuf.h"
#include "wire/report.h"

struct agent_soft *agents_soft(struct agents *a, uint32_t number) {
    if (number >= a->soft_cap) {
        size_t cap = a->soft_cap ? a->soft_cap : 64;
        while (cap <= number)
            cap *= 2;
        struct agent_soft *grown = realloc(a->soft, cap * sizeof *grown);
        CHECK(grown);
        memset(grown + a->soft_cap, 0, (cap - a->soft_cap) * sizeof *grown);
        a->soft = grown;
        a->soft_cap = cap;
    }
    return &a->soft[number];
}

bool agents_here(const struct agents *a, uint32_t agent) {
    return agent < a->soft_cap && a->soft[agent].here != NULL;
}

uint32_t agents_here_count(const struct agents *a) {
    uint32_t n = 0;
    for (size_t i = 0; i < a->soft_cap; i++)
        n += a->soft[i].here != NULL;
    return n;
}

uint32_t agents_links_count(const struct agents *a) {
    return a->link_count;
}

/* ---- frames ---- */

static void frame_hello(struct agents *a, struct agent_link *l, const uint8_t *payload, size_t len,
                        struct arena *arena) {
    ProtobufCMessage *message = NULL;
    struct err err = {0};
    if (l->state == LINK_REGISTERING || l->state == LINK_WELCOME) {
        agents_refuse(a, l, "a second Hello on one link", false);
        return;
    }
    if (protobuf_parse(&conclave__link__hello__descriptor, payload, len, 0, arena, &message, &err)) {
        agents_refuse(a, l, err.text, false);
        return;
    }
    l->watch_only = ((Conclave__Link__Hello *)message)->watch_only;
    buf_clear(&l->hello);
    if (buf_append(&l->hello, payload, len)) {
        agents_refuse(a, l, "the Hello is too large", false);
        return;
    }
    link_established(l->link);
    agents_hello_serve(a, l, false);
}

struct report_waiting { /* a bench or a test that wants to know when its report is in the log */
    struct agent_link *l;
    struct report_waiting *next; /* while it is spare */
    uint8_t uuid[16];
};

static struct report_waiting *waiting_new(struct agents *a) {
    struct report_waiting *w = a->spare_waiting;
    if (!w) return malloc(sizeof *w);
    a->spare_waiting = w->next;
    a->spare_count--;
    return w;
}

static void waiting_free(struct agents *a, struct report_waiting *w) {
    if (!w || a->spare_count == AGENTS_SPARE_WAITING) {
        free(w);
        return;
    }
    w->next = a->spare_waiting;
    a->spare_waiting = w;
    a->spare_count++;
}

static void report_done(struct master *m, void *ctx, int status, const struct outcome *outcome) {
    struct report_waiting *w = ctx;
    struct agent_link *l = w->l;
    CHECK_MAGIC(l, AGENT_LINK_MAGIC);
    (void)outcome;
    l->uses--;
    if (l->link && status == 0) {
        uint8_t committed[REPORT_COMMITTED_BYTES];
        report_committed_encode(w->uuid, committed);
        if (link_send(l->link, LINK_BULK, FRAME(COMMITTED), committed, sizeof committed, NULL, 0) == ERR_BUSY)
            link_close_overflow(l->link); /* as agent_send */
    }
    agents_link_drop(l);
    waiting_free(m->agents, w);
}

static void frame_report(struct agents *a, struct agent_link *l, const uint8_t *payload, size_t len,
                         struct arena *arena) {
    ProtobufCMessage *message = NULL;
    struct report_room room;
    struct err err = {0};
    const Conclave__Link__Report *r = report_decode(&room, payload, len);
    if (!r && protobuf_parse(&conclave__link__report__descriptor, payload, len, 0, arena, &message, &err)) {
        agents_refuse(a, l, err.text, false);
        return;
    }
    if (!r) r = (const Conclave__Link__Report *)message;
    if (r->uuid.len != 16 || r->status.len > STATE_TASK_BYTES_MAX) {
        agents_refuse(a, l, "a report with a bad uuid or an oversized status", false);
        return;
    }
    Conclave__Log__TaskReport body = CONCLAVE__LOG__TASK_REPORT__INIT;
    Conclave__Log__Command command = CONCLAVE__LOG__COMMAND__INIT;
    body.agent = l->agent;
    body.framework_id = r->framework_id;
    body.task_id = r->task_id;
    body.launch = r->launch;
    body.state = r->state;
    body.latest_state = r->latest_state;
    body.uuid = r->uuid;
    body.status = r->status;
    command.task_report = &body;
    struct report_waiting *w = r->want_committed ? waiting_new(a) : NULL;
    if (w) {
        w->l = l;
        memcpy(w->uuid, r->uuid.data, 16);
    }
    int rc = master_propose(a->m, &command, w ? report_done : NULL, w); /* refused: the agent sends it again */
    if (rc)
        waiting_free(a, w);
    else if (w)
        l->uses++;
}

/* Without its list an agent would stay in the merge for ever, with no order sent: the link ends, a new Hello follows.
 */
static void frame_task_list(struct agents *a, struct agent_link *l, const uint8_t *payload, size_t len,
                            struct arena *arena) {
    ProtobufCMessage *message = NULL;
    struct err err = {0};
    if (!l->merging) return; /* not asked for */
    if (protobuf_parse(&conclave__link__task_list__descriptor, payload, len, 0, arena, &message, &err)) {
        agents_refuse(a, l, err.text, false);
        return;
    }
    bool more = ((Conclave__Link__TaskList *)message)->more;
    /* Parts of one list are concatenated: repeated fields of one message may simply follow each other. */
    if (buf_append(&l->list, payload, len)) {
        agents_refuse(a, l, "the task list is too long", false);
        return;
    }
    if (more) return;
    struct arena whole;
    arena_init(&whole, AGENTS_LIST_ARENA_MAX);
    if (protobuf_parse(&conclave__link__task_list__descriptor, l->list.data, l->list.len, 0, &whole, &message, &err)) {
        agents_refuse(a, l, err.text, false);
    } else {
        const Conclave__Link__TaskList *list = (const Conclave__Link__TaskList *)message;
        if (list->n_tasks <= AGENTS_LIST_MAX)
            agents_merge(a, l, list->tasks, list->n_tasks);
        else
            agents_refuse(a, l, "the task list is too long", false);
    }
    arena_done(&whole);
    buf_done(&l->list); /* it may be large, and is rare */
}

static void on_frame(void *ctx, struct link *link, uint16_t type, const uint8_t *payload, size_t len) {
    struct agent_link *l = ctx;
    CHECK_MAGIC(l, AGENT_LINK_MAGIC);
    struct agents *a = l->owner;
    struct arena arena;
    (void)link;
    l->last_in_ms = clock_mono_ms();
    arena_init(&arena, AGENTS_ARENA_MAX);
    bool ours = l->state == LINK_WELCOME && a->m->current && l->term == a->m->term;
    if (type == FRAME(HELLO))
        frame_hello(a, l, payload, len, &arena);
    else if (type == FRAME(REPORT) && ours)
        frame_report(a, l, payload, len, &arena);
    else if (type == FRAME(TASK_LIST) && ours)
        frame_task_list(a, l, payload, len, &arena);
    else if (type != FRAME(PONG) && l->state == LINK_NEW)
        agents_refuse(a, l, "the first frame must be a Hello", false);
    arena_done(&arena);
}

static void on_close(void *ctx, struct link *link, enum link_reason reason, const struct err *err) {
    struct agent_link *l = ctx;
    CHECK_MAGIC(l, AGENT_LINK_MAGIC);
    struct agents *a = l->owner;
    (void)link;
    l->link = NULL;
    queue_remove(&l->on_list);
    a->link_count--;
    buf_done(&l->list);
    if (l->agent && l->agent < a->soft_cap && a->soft[l->agent].here == l) {
        a->soft[l->agent].here = NULL;
        a->soft[l->agent].away_since_ms = clock_mono_ms();
        log_event(LOG_INFO, "agent_away", "agent=%" PRIu32 " reason=%s why=%s", l->agent, link_reason_name(reason),
                  err ? err->text : "");
        if (a->m->current) offers_drop_agent(a->m->offers, l->agent);
    }
    agents_link_drop(l);
}

static void on_accept(void *ctx, struct link *link) {
    struct agents *a = ctx;
    static const struct link_callbacks callbacks = {.on_frame = on_frame, .on_close = on_close};
    struct agent_link *l = calloc(1, sizeof *l);
    if (!l) {
        link_close(link);
        return;
    }
    l->magic = AGENT_LINK_MAGIC;
    l->owner = a;
    l->link = link;
    l->last_in_ms = clock_mono_ms();
    buf_init(&l->hello, 2u << 20);
    buf_init(&l->list, 32u << 20);
    queue_push(&a->links, &l->on_list);
    a->link_count++;
    link_set_context(link, &callbacks, l);
}

/* ---- terms and time ---- */

void agents_leader_changed(struct agents *a) {
    struct queue *q = a->links.next;
    while (q != &a->links) {
        struct agent_link *l = QUEUE_ENTRY(q, struct agent_link, on_list);
        q = q->next;
        if (l->state == LINK_WELCOME && (!a->m->current || l->term != a->m->term)) {
            if (l->agent < a->soft_cap && a->soft[l->agent].here == l) a->soft[l->agent].here = NULL;
            l->state = LINK_TOLD;
        }
        /* A Hello that waited for us grows old when another leads: the agent says it anew when we call it. */
        if (l->state == LINK_WAITING && a->m->role != REPLICA_LEADER) l->state = LINK_TOLD;
        if (l->state == LINK_TOLD || l->state == LINK_WAITING) agents_tell_leader(a, l);
    }
}

void agents_current(struct agents *a) {
    for (size_t i = 0; i < a->soft_cap; i++)
        a->soft[i] = (struct agent_soft){0};
    a->soft_since_ms = clock_mono_ms();
    struct queue *q = a->links.next;
    while (q != &a->links) {
        struct agent_link *l = QUEUE_ENTRY(q, struct agent_link, on_list);
        q = q->next;
        if (l->state == LINK_WAITING) agents_hello_serve(a, l, false);
    }
}

static void tick_link(struct agents *a, struct agent_link *l, uint64_t now_ms) {
    if (l->state != LINK_WELCOME || !l->link || now_ms < l->last_ping_ms + AGENTS_PING_MS) return;
    if (now_ms > l->last_in_ms + AGENTS_SILENT_PINGS * AGENTS_PING_MS && l->last_ping_ms > l->last_in_ms) {
        link_close(l->link);
        return;
    }
    Conclave__Link__Ping ping = CONCLAVE__LINK__PING__INIT;
    ping.sent_ms = l->last_ping_ms = now_ms;
    (void)agents_send(a, l->link, LINK_CONTROL, FRAME(PING), &ping.base);
}

static void unreachable_done(struct master *m, void *ctx, int status, const struct outcome *outcome) {
    uint32_t number = (uint32_t)(uintptr_t)ctx;
    (void)status;
    (void)outcome;
    agents_soft(m->agents, number)->proposing = false;
}

/* Silence is counted by the leader, from its own beginning at the earliest; the mark is a command. */
static void tick_absent(struct agents *a, uint64_t now_ms) {
    uint64_t timeout = state_config(a->m->state)->agent_timeout_ms;
    const struct agent *agent = NULL;
    while ((agent = state_agent_next(a->m->state, agent ? agent->number : 0))) {
        struct agent_soft *soft = agents_soft(a, agent->number);
        uint64_t since = soft->away_since_ms > a->soft_since_ms ? soft->away_since_ms : a->soft_since_ms;
        if (agent->status != AGENT_ACTIVE || soft->here || soft->proposing || now_ms < since + timeout) continue;
        Conclave__Log__AgentUnreachable body = CONCLAVE__LOG__AGENT_UNREACHABLE__INIT;
        Conclave__Log__Command command = CONCLAVE__LOG__COMMAND__INIT;
        body.agent = agent->number;
        body.since = agent->since;
        command.agent_unreachable = &body;
        soft->proposing = master_propose(a->m, &command, unreachable_done, (void *)(uintptr_t)agent->number) == 0;
    }
}

void agents_tick(struct agents *a, uint64_t now_ms) {
    if (!a->m->current) return;
    struct queue *q = a->links.next;
    while (q != &a->links) {
        struct agent_link *l = QUEUE_ENTRY(q, struct agent_link, on_list);
        q = q->next;
        tick_link(a, l, now_ms);
    }
    tick_absent(a, now_ms);
}

void agents_gone(struct agents *a, uint32_t agent) {
    struct agent_link *l = agents_link_of(a, agent);
    if (l && l->link) agents_refuse(a, l, "the agent was marked gone by the operator", true);
}

/* ---- life ---- */

static void on_failed(void *ctx, const struct address *from, const struct err *err) {
    struct agents *a = ctx;
    uint64_t now = clock_mono_ms();
    (void)from;                          /* the text has it */
    if (err->code == ERR_CLOSED) return; /* it just went */
    if (a->failure_logged_ms && now < a->failure_logged_ms + 1000) return;
    a->failure_logged_ms = now;
    log_event(LOG_WARN, "agent_refused", "why=\"%s\"", err->text);
}

int agents_new(struct master *m, const struct address *listen, struct agents **ret, struct err *err) {
    struct agents *a = calloc(1, sizeof *a);
    if (!a) return err_set(err, ERR_NOMEM, "out of memory");
    a->m = m;
    queue_init(&a->links);
    buf_init(&a->out, 4u << 20);
    struct link_server_options options;
    link_server_options_default(&options);
    options.links_max = AGENTS_LINKS_MAX;
    options.link.frame_bytes_max_new = 1u << 20; /* a Hello lists the busy tasks */
    options.link.tls = m->tls;
    options.link.tls_peer.role = TLS_AGENT;
    options.on_failed = on_failed;
    int rc = link_server_open(m->net, listen, &options, on_accept, a, &a->server, err);
    if (rc) {
        free(a);
        return err_wrap(err, "agents' link");
    }
    *ret = a;
    return 0;
}

static void agents_closed(void *ctx) {
    struct agents *a = ctx;
    void (*closed)(void *) = a->closed;
    void *closed_ctx = a->closed_ctx;
    buf_done(&a->out);
    while (a->spare_waiting)
        free(waiting_new(a));
    free(a->soft);
    free(a);
    closed(closed_ctx);
}

void agents_close(struct agents *a, void (*closed)(void *ctx), void *ctx) {
    a->closed = closed;
    a->closed_ctx = ctx;
    link_server_close(a->server, agents_closed, a);
}
