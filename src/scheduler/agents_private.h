/* SPDX-License-Identifier: Apache-2.0
 * What the three files of the agents' side share: agents.c (links, their frames, time), agents_welcome.c (a Hello until
 * its agent is welcome and merged), agents_orders.c (what is sent). One struct agent_link a connection:
 *
 *   accepted -> (Hello) -> waiting   until we are current
 *                       -> told      a follower answered Leader; kept warm
 *                       -> registering  AgentRegister or AgentReturned is in the log
 *                       -> welcome   the agent's one link in this term; orders go here
 *
 * A newer Hello of the same agent takes the place of its older link. */
#ifndef CONCLAVE_SCHEDULER_AGENTS_PRIVATE_H
#define CONCLAVE_SCHEDULER_AGENTS_PRIVATE_H

#include "scheduler/agents.h"

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

/* ---- agents.c ---- */

/* The record of an agent's number, made when there is none yet. Valid until the next call. */
struct agent_soft *agents_soft(struct agents *a, uint32_t number);

/* ---- agents_welcome.c ---- */

/* Answers a Hello as far as we can now; it stays in l->hello until the link is welcome or told. `registered`: it is in
 * the log as it stands; what apply made of it (sorted ports, say) must not be taken for a difference, or it would be
 * registered again and again. */
void agents_hello_serve(struct agents *a, struct agent_link *l, bool registered);
/* Follows the verdicts of obligations.h on the agent's complete list of `n` tasks, which are borrowed. */
void agents_merge(struct agents *a, struct agent_link *l, Conclave__Link__TaskKey *const *keys, size_t n);
/* Frees the record when its connection is gone and nothing in the log will come back to it. */
void agents_link_drop(struct agent_link *l);

/* ---- agents_orders.c ---- */

/* The agent's welcomed link while we are current, or NULL. */
struct agent_link *agents_link_of(struct agents *a, uint32_t agent);
/* 0, or what link_send answers. A link whose queue is full is closed: its next Hello settles what was missed. */
int agents_send(struct agents *a, struct link *link, enum link_lane lane, uint16_t type,
                const ProtobufCMessage *message);
/* Says why, then ends the link. `permanent`: the agent need not come again. */
void agents_refuse(struct agents *a, struct agent_link *l, const char *why, bool permanent);
/* Tells who leads, as far as we know. */
void agents_tell_leader(struct agents *a, struct agent_link *l);
/* The fence's cluster id is borrowed from the configuration. */
Conclave__Link__Fence agents_fence(const struct master *m);
Conclave__Log__LaunchId agents_launch_id(struct launch_id id);
/* The same orders on a given link, for tasks that the state need not know. */
void agents_kill_on(struct agents *a, struct agent_link *l, const char *framework_id, const char *task_id,
                    struct launch_id launch, uint64_t grace_ms);
void agents_ack_on(struct agents *a, struct agent_link *l, const char *framework_id, const char *task_id,
                   struct launch_id launch, const uint8_t uuid[16]);

#endif
