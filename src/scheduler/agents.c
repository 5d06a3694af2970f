/* SPDX-License-Identifier: Apache-2.0
 * One struct agent_link a connection:
 *
 *   accepted -> (Hello) -> waiting   until we are current
 *                       -> told      a follower answered Leader; kept warm
 *                       -> registering  AgentRegister or AgentReturned is in the log
 *                       -> welcome   the agent's one link in this term; orders go here
 *
 * A newer Hello of the same agent takes the place of its older link. */
#include "scheduler/agents.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "scheduler/agents_hello.h"
#include "scheduler/members.h"
#include "scheduler/obligations.h"
#include "scheduler/offers.h"
#include "wire/arena.h"
#include "wire/protobuf.h"
#include "wire/report.h"

#define AGENT_LINK_MAGIC      0x41474c4bu
#define AGENTS_ARENA_MAX      (16u << 20)
#define AGENTS_LIST_MAX       100000 /* tasks in one complete list */
#define AGENTS_LIST_ARENA_MAX (128u << 20)
#define AGENTS_SILENT_PINGS   5
#define AGENTS_SPARE_WAITING  4096

#define FRAME(name) CONCLAVE__LINK__FRAME_TYPE__##name

enum link_state { LINK_NEW, LINK_WAITING, LINK_TOLD, LINK_REGISTERING, LINK_WELCOME };

struct agent_link {
    uint32_t magic;
    struct agents *owner;
    struct link *link; /* NULL once it has closed */
    enum link_state state;
    unsigned uses; /* proposals that will come back to us */
    bool watch_only;
    bool merging;   /* its complete list is awaited: no launch or kill goes out before that is merged */
    uint32_t agent; /* number; 0 until known */
    uint64_t term;  /* of its welcome */
    uint64_t last_in_ms, last_ping_ms;
    struct buf hello; /* its Hello, kept while it waits */
    struct buf list;  /* TASK_LIST frames gathered so far */
    struct queue on_list;
};

/* Soft per-agent record, by number. */
struct agent_soft {
    struct agent_link *here; /* welcome in this term */
    uint64_t away_since_ms;  /* monotonic: without a link since; 0 while here */
    bool proposing;          /* AgentUnreachable is in the log */
};

struct agents {
    struct master *m;
    struct link_server *server;
    struct queue links;
    uint32_t link_count;
    struct agent_soft *soft;
    size_t soft_cap;
    uint64_t soft_since_ms; /* this term's watch over absent agents began */
    struct buf out;
    struct report_waiting *spare_waiting; /* kept for re-use */
    unsigned spare_count;
    uint64_t failure_logged_ms; /* of a handshake, at most one line a second */
    void (*closed)(void *ctx);
    void *closed_ctx;
};

static struct agent_soft *soft_of(struct agents *a, uint32_t number) {
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

/* ---- sending ---- */

static int agent_send(struct agents *a, struct link *link, enum link_lane lane, uint16_t type,
                      const ProtobufCMessage *message) {
    buf_clear(&a->out);
    int rc = protobuf_print(message, &a->out);
    if (rc == 0) rc = link_send(link, lane, type, a->out.data, a->out.len, NULL, 0);
    if (rc == ERR_BUSY)
        link_close_overflow(link); /* an agent that does not read: its next Hello settles what it missed */
    return rc;
}

/* The fence's cluster id is borrowed from the configuration. */
static Conclave__Link__Fence fence_now(const struct master *m) {
    Conclave__Link__Fence fence = CONCLAVE__LINK__FENCE__INIT;
    fence.cluster_id.data = (uint8_t *)m->config->replica.cluster_id;
    fence.cluster_id.len = sizeof m->config->replica.cluster_id;
    fence.incarnation = state_incarnation(m->state);
    fence.term = m->term;
    return fence;
}

static Conclave__Log__LaunchId launch_message(struct launch_id id) {
    Conclave__Log__LaunchId message = CONCLAVE__LOG__LAUNCH_ID__INIT;
    message.index = id.index;
    message.n = id.n;
    message.k = id.k;
    return message;
}

static void link_refuse(struct agents *a, struct agent_link *l, const char *why, bool permanent) {
    Conclave__Link__Refused refused = CONCLAVE__LINK__REFUSED__INIT;
    refused.reason = (char *)why;
    refused.permanent = permanent;
    log_event(LOG_WARN, "agent_refused", "agent=%" PRIu32 " why=%s", l->agent, why);
    (void)agent_send(a, l->link, LINK_CONTROL, FRAME(REFUSED), &refused.base);
    link_close(l->link);
}

void agents_members_changed(struct agents *a) {
    struct member_view views[REPLICA_MEMBERS_MAX];
    char *masters[REPLICA_MEMBERS_MAX];
    Conclave__Link__Leader leader = CONCLAVE__LINK__LEADER__INIT;
    leader.term = a->m->term;
    leader.link = (char *)a->m->config->link_advertise;
    leader.masters = masters;
    leader.n_masters = members_links(a->m, views, masters);
    for (struct queue *q = a->links.next, *next; q != &a->links; q = next) {
        next = q->next;
        struct agent_link *l = QUEUE_ENTRY(q, struct agent_link, on_list);
        if (l->state == LINK_WELCOME && l->link && l->term == a->m->term)
            (void)agent_send(a, l->link, LINK_CONTROL, FRAME(LEADER), &leader.base);
    }
}

static void link_tell_leader(struct agents *a, struct agent_link *l) {
    Conclave__Link__Leader leader = CONCLAVE__LINK__LEADER__INIT;
    const char *address = NULL;
    leader.term = a->m->term;
    if (master_leader_known(a->m, NULL, &address)) leader.link = (char *)address;
    (void)agent_send(a, l->link, LINK_CONTROL, FRAME(LEADER), &leader.base);
}

static struct agent_link *link_of(struct agents *a, uint32_t agent) {
    return a->m->current && agent < a->soft_cap ? a->soft[agent].here : NULL;
}

void agents_send_launch(struct agents *a, const struct task *task) {
    struct agent_link *l = link_of(a, task->agent);
    const struct framework *f = state_framework(a->m->state, task->framework);
    if (!l || l->merging || !f || obligation_of_task(a->m->state, task) != OWES_LAUNCH) return;
    Conclave__Link__Fence fence = fence_now(a->m);
    Conclave__Log__LaunchId id = launch_message(task->launch);
    Conclave__Log__Resources resources = CONCLAVE__LOG__RESOURCES__INIT;
    Conclave__Log__Range ranges[PORTS_RANGES_MAX], *pointers[PORTS_RANGES_MAX];
    resources.has_cpus = resources.has_mem = resources.has_disk = resources.has_gpus = 1;
    resources.cpus = task->resources.cpus;
    resources.mem = task->resources.mem;
    resources.disk = task->resources.disk;
    resources.gpus = task->resources.gpus;
    resources.ports = pointers;
    for (uint32_t i = 0; i < task->resources.ports.count; i++) {
        ranges[i] = (Conclave__Log__Range)CONCLAVE__LOG__RANGE__INIT;
        ranges[i].begin = task->resources.ports.ranges[i].begin;
        ranges[i].end = task->resources.ports.ranges[i].end;
        pointers[resources.n_ports++] = &ranges[i];
    }
    Conclave__Link__Launch launch = CONCLAVE__LINK__LAUNCH__INIT;
    launch.fence = &fence;
    launch.launch = &id;
    launch.framework_id = f->id;
    launch.task_id = task->id;
    launch.info.data = task->info.data;
    launch.info.len = task->info.len;
    launch.resources = &resources;
    launch.user = f->user;
    (void)agent_send(a, l->link, LINK_BULK, FRAME(LAUNCH), &launch.base);
}

static void send_kill(struct agents *a, struct agent_link *l, const char *framework_id, const char *task_id,
                      struct launch_id launch, uint64_t grace_ms) {
    Conclave__Link__Fence fence = fence_now(a->m);
    Conclave__Log__LaunchId id = launch_message(launch);
    Conclave__Link__Kill kill = CONCLAVE__LINK__KILL__INIT;
    kill.fence = &fence;
    kill.launch = &id;
    kill.framework_id = (char *)framework_id;
    kill.task_id = (char *)task_id;
    kill.has_grace_ms = grace_ms != STATE_GRACE_DEFAULT;
    kill.grace_ms = grace_ms;
    (void)agent_send(a, l->link, LINK_BULK, FRAME(KILL), &kill.base);
}

void agents_send_kill(struct agents *a, const struct task *task) {
    struct agent_link *l = link_of(a, task->agent);
    const struct framework *f = state_framework(a->m->state, task->framework);
    if (!l || l->merging || !f || obligation_of_task(a->m->state, task) != OWES_KILL) return;
    send_kill(a, l, f->id, task->id, task->launch, task->kill_grace_ms);
}

static void send_ack(struct agents *a, struct agent_link *l, const char *framework_id, const char *task_id,
                     struct launch_id launch, const uint8_t uuid[16]) {
    Conclave__Link__Fence fence = fence_now(a->m);
    Conclave__Log__LaunchId id = launch_message(launch);
    Conclave__Link__Ack ack = CONCLAVE__LINK__ACK__INIT;
    ack.fence = &fence;
    ack.framework_id = (char *)framework_id;
    ack.task_id = (char *)task_id;
    ack.launch = &id;
    ack.uuid.data = (uint8_t *)uuid;
    ack.uuid.len = 16;
    (void)agent_send(a, l->link, LINK_BULK, FRAME(ACK), &ack.base);
}

void agents_send_ack(struct agents *a, uint32_t agent, const char *framework_id, const char *task_id,
                     struct launch_id launch, const uint8_t uuid[16]) {
    struct agent_link *l = link_of(a, agent);
    if (l) send_ack(a, l, framework_id, task_id, launch, uuid);
}

/* ---- welcome and merge ---- */

struct merge {
    struct agents *a;
    struct agent_link *l;
};

static void merge_vanished(struct agents *a, const struct task *task) {
    const struct framework *f = state_framework(a->m->state, task->framework);
    Conclave__Log__LaunchId id = launch_message(task->launch);
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
        send_ack(merge->a, merge->l, row->framework_id, row->task_id, row->launch, any);
        break;
    case MERGE_KILL_UNKNOWN:
        send_kill(merge->a, merge->l, row->framework_id, row->task_id, row->launch, STATE_GRACE_DEFAULT);
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

static void link_merge(struct agents *a, struct agent_link *l, Conclave__Link__TaskKey *const *keys, size_t n) {
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
    struct agent_soft *soft = soft_of(a, l->agent);
    if (soft->here && soft->here != l) {
        struct agent_link *old = soft->here;
        soft->here = NULL;
        if (old->link) link_close(old->link);
    }
    Conclave__Link__Fence fence = fence_now(a->m);
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
    (void)agent_send(a, l->link, LINK_BULK, FRAME(WELCOME), &welcome.base);
    l->merging = hello_needs_list(a, agent, hello);
    if (l->merging) {
        Conclave__Link__TaskListWanted wanted = CONCLAVE__LINK__TASK_LIST_WANTED__INIT;
        (void)agent_send(a, l->link, LINK_BULK, FRAME(TASK_LIST_WANTED), &wanted.base);
    }
    for (const struct queue *q = agent->tasks.next; !l->merging && q != &agent->tasks; q = q->next)
        agents_send_kill(a, QUEUE_ENTRY(q, struct task, on_agent));
    offers_wake(a->m->offers);
}

/* ---- hello ---- */

static void hello_serve(struct agents *a, struct agent_link *l, bool registered);

/* Frees the record when its connection is gone and nothing in the log will come back to it. */
static void link_drop(struct agent_link *l) {
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
        link_drop(l);
        return;
    }
    l->state = LINK_WAITING;
    if (status == 0 && outcome->code == OUTCOME_REFUSED) { /* such as having less than its tasks use: that may pass */
        link_refuse(a, l, outcome->reason, false);
        return;
    }
    hello_serve(a, l, status == 0);
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

/* Answers a Hello as far as we can now; it stays in l->hello until the link is welcome or told. `registered`: it is in
 * the log as it stands; what apply made of it (sorted ports, say) must not be taken for a difference, or it would be
 * registered again and again. */
static void hello_serve(struct agents *a, struct agent_link *l, bool registered) {
    struct arena arena;
    ProtobufCMessage *message = NULL;
    struct err err = {0};
    if (l->state == LINK_REGISTERING) return;
    if (!a->m->current || l->watch_only) {
        l->state = l->watch_only || a->m->role != REPLICA_LEADER ? LINK_TOLD : LINK_WAITING;
        link_tell_leader(a, l);
        return;
    }
    arena_init(&arena, AGENTS_ARENA_MAX);
    if (protobuf_parse(&conclave__link__hello__descriptor, l->hello.data, l->hello.len, 0, &arena, &message, &err)) {
        link_refuse(a, l, err.text, false);
        arena_done(&arena);
        return;
    }
    const Conclave__Link__Hello *h = (const Conclave__Link__Hello *)message;
    const char *stranger = hello_stranger(a->m, h);
    const struct agent *agent = stranger ? NULL : state_agent_by_uuid(a->m->state, h->uuid.data);
    if (agent) l->agent = agent->number;
    if (stranger)
        link_refuse(a, l, stranger, true);
    else if (h->fence && h->fence->incarnation == state_incarnation(a->m->state) && h->fence->term > a->m->term)
        link_close(l->link); /* it has seen a later leader than us: we are not it for long */
    else if (agent && agent->status == AGENT_GONE_STATUS)
        link_refuse(a, l, "the agent was marked gone by the operator", true);
    else if (!agent || agent->status != AGENT_ACTIVE || (!registered && !hello_is_known(agent, h)))
        hello_register(a, l, h);
    else
        link_welcome(a, l, h);
    arena_done(&arena);
}

/* ---- frames ---- */

static void frame_hello(struct agents *a, struct agent_link *l, const uint8_t *payload, size_t len,
                        struct arena *arena) {
    ProtobufCMessage *message = NULL;
    struct err err = {0};
    if (l->state == LINK_REGISTERING || l->state == LINK_WELCOME) {
        link_refuse(a, l, "a second Hello on one link", false);
        return;
    }
    if (protobuf_parse(&conclave__link__hello__descriptor, payload, len, 0, arena, &message, &err)) {
        link_refuse(a, l, err.text, false);
        return;
    }
    l->watch_only = ((Conclave__Link__Hello *)message)->watch_only;
    buf_clear(&l->hello);
    if (buf_append(&l->hello, payload, len)) {
        link_refuse(a, l, "the Hello is too large", false);
        return;
    }
    link_established(l->link);
    hello_serve(a, l, false);
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
    link_drop(l);
    waiting_free(m->agents, w);
}

static void frame_report(struct agents *a, struct agent_link *l, const uint8_t *payload, size_t len,
                         struct arena *arena) {
    ProtobufCMessage *message = NULL;
    struct report_room room;
    struct err err = {0};
    const Conclave__Link__Report *r = report_decode(&room, payload, len);
    if (!r && protobuf_parse(&conclave__link__report__descriptor, payload, len, 0, arena, &message, &err)) {
        link_refuse(a, l, err.text, false);
        return;
    }
    if (!r) r = (const Conclave__Link__Report *)message;
    if (r->uuid.len != 16 || r->status.len > STATE_TASK_BYTES_MAX) {
        link_refuse(a, l, "a report with a bad uuid or an oversized status", false);
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
        link_refuse(a, l, err.text, false);
        return;
    }
    bool more = ((Conclave__Link__TaskList *)message)->more;
    /* Parts of one list are concatenated: repeated fields of one message may simply follow each other. */
    if (buf_append(&l->list, payload, len)) {
        link_refuse(a, l, "the task list is too long", false);
        return;
    }
    if (more) return;
    struct arena whole;
    arena_init(&whole, AGENTS_LIST_ARENA_MAX);
    if (protobuf_parse(&conclave__link__task_list__descriptor, l->list.data, l->list.len, 0, &whole, &message, &err)) {
        link_refuse(a, l, err.text, false);
    } else {
        const Conclave__Link__TaskList *list = (const Conclave__Link__TaskList *)message;
        if (list->n_tasks <= AGENTS_LIST_MAX)
            link_merge(a, l, list->tasks, list->n_tasks);
        else
            link_refuse(a, l, "the task list is too long", false);
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
        link_refuse(a, l, "the first frame must be a Hello", false);
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
    link_drop(l);
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
        if (l->state == LINK_TOLD || l->state == LINK_WAITING) link_tell_leader(a, l);
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
        if (l->state == LINK_WAITING) hello_serve(a, l, false);
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
    (void)agent_send(a, l->link, LINK_CONTROL, FRAME(PING), &ping.base);
}

static void unreachable_done(struct master *m, void *ctx, int status, const struct outcome *outcome) {
    uint32_t number = (uint32_t)(uintptr_t)ctx;
    (void)status;
    (void)outcome;
    soft_of(m->agents, number)->proposing = false;
}

/* Silence is counted by the leader, from its own beginning at the earliest; the mark is a command. */
static void tick_absent(struct agents *a, uint64_t now_ms) {
    uint64_t timeout = state_config(a->m->state)->agent_timeout_ms;
    const struct agent *agent = NULL;
    while ((agent = state_agent_next(a->m->state, agent ? agent->number : 0))) {
        struct agent_soft *soft = soft_of(a, agent->number);
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
    struct agent_link *l = link_of(a, agent);
    if (l && l->link) link_refuse(a, l, "the agent was marked gone by the operator", true);
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
