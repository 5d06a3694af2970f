/* SPDX-License-Identifier: Apache-2.0
 * The bare simulator, for directed tests: the real Raft core, the real guard and the real store, and nothing of the
 * replica, over a simulated clock, network and disk; every node applies to a hash chain. A schedule drives the nodes by
 * hand: it holds messages and disks, crashes nodes, and chooses who is elected; the checks of sim_check.c run after
 * every step.
 *
 * The simulator that looks for what nobody thought of, with whole replicas, is in cluster/. */
#ifndef CONCLAVE_TESTS_SIM_H
#define CONCLAVE_TESTS_SIM_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "../lib/event_queue.h"
#include "base/queue.h"
#include "base/rng.h"
#include "consensus/guard.h"

#define SIM_NODES_MAX    5u
#define SIM_ELECTION_MS  300u
#define SIM_HEARTBEAT_MS 50u
#define SIM_MS           1000u /* the clock counts microseconds */
#define SIM_INFLIGHT_MAX 4u    /* proposals a node has out, unless a script says otherwise */

struct sim;
struct sim_node;
struct sim_log; /* the disk and the store of a node, sim_log.c */

struct sim_result {
    bool red;
    char invariant[32];
    char why[320];
};

struct sim_config {
    uint64_t seed;
    unsigned voters;
    unsigned off;     /* enum guard_correction bits */
    uint64_t mutants; /* mutant.h */
    bool large;       /* entries of up to 1 MiB, where it is 64 KiB */
    bool trace;       /* one line an event, on stderr */
};

struct sim_alloc { /* list of what a node's core and guard have allocated */
    struct queue all;
};

struct sim_node {
    struct sim *sim;
    raft_id id; /* 1.. */
    char address[16];
    bool up;
    unsigned life; /* counts restarts; events of earlier lives are void */
    struct raft raft;
    struct raft_io outer, inner;
    struct raft_fsm fsm;
    struct guard *guard;
    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    struct sim_alloc heap;
    struct sim_log *disk;
    bool timers_off;  /* scripts: no ticks */
    bool disk_fails;  /* scripts: appends complete with an error */
    bool disk_held;   /* scripts: the disk completes nothing */
    uint64_t slow_us; /* scripts: added to every disk operation, half of it at random */
    struct raft_transfer transfer;
    bool transferring;
    unsigned inflight, inflight_max;
    struct {
        int kind;
        unsigned count;
    } fatal; /* scripts: what the guard said, instead of red */
    bool fatal_expected;
    bool restart_wanted;         /* the guard asked for it */
    unsigned snapshot_threshold; /* scripts: this node's own; 0 the cluster's */
    /* state machine */
    uint64_t applied, hash;
    /* checks: as of the last step of this life */
    raft_term seen_term;
    raft_index seen_commit;
};

struct sim_applied { /* what was applied at an index, by whoever came first */
    uint64_t payload, chain;
    raft_term term;
};

enum { EV_TICK, EV_DELIVER, EV_DISK, EV_SENT, EV_RESTART }; /* DELIVER: host is the receiver, of any life */

/* A callback that the core is owed for a snapshot message. */
struct sim_sent {
    struct raft_io_send *req;
    raft_io_send_cb cb;
};

struct sim_held { /* a message in flight; all pointers lead into `bytes` */
    struct queue link;
    struct raft_message message;
    unsigned from, to;
    uint8_t *bytes;
    size_t size;
};

enum sim_verdict { SIM_PASS, SIM_DROP, SIM_HOLD };

struct sim {
    struct sim_config cfg;
    struct rng rng;
    uint64_t now_us, seq;
    struct event_queue events;
    struct sim_node nodes[SIM_NODES_MAX];
    /* network */
    bool cut[SIM_NODES_MAX][SIM_NODES_MAX]; /* from, to */
    enum sim_verdict (*filter)(struct sim *sim, unsigned from, unsigned to, const struct raft_message *m);
    struct queue held; /* sim_held, by SIM_HOLD */
    size_t queue_max;  /* entry bytes on one link; more is refused; 0 = no bound */
    size_t queued[SIM_NODES_MAX][SIM_NODES_MAX];
    /* checks */
    struct sim_applied *applied;
    size_t applied_cap;
    uint64_t applied_max;
    raft_term *committed; /* term of the entry at an index that some node has called committed */
    size_t committed_cap;
    unsigned *leaders; /* node of a term, 0 none */
    size_t leaders_cap;
    uint64_t acked, acked_max; /* commands, highest index */
    uint64_t proposals;
    struct sim_result result;
    unsigned snapshot_threshold, snapshot_trailing;
};

/* sim.c */
void sim_init(struct sim *sim, const struct sim_config *cfg);
void sim_done(struct sim *sim);
/* Runs until `ms` have passed or something is red. */
void sim_run(struct sim *sim, uint64_t ms);
/* Runs until `done` says so; false if that did not happen within `ms` or something is red. */
bool sim_until(struct sim *sim, bool (*done)(struct sim *sim), uint64_t ms);
void sim_at(struct sim *sim, uint64_t delay_us, int kind, const struct sim_node *node, void *data);
uint64_t sim_ms(const struct sim *sim);
void sim_trace(struct sim *sim, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
void sim_red(struct sim *sim, const char *invariant, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* sim_node.c */
void node_init(struct sim *sim, unsigned i);
void node_done(struct sim_node *node);
void node_start(struct sim_node *node);
void node_crash(struct sim_node *node);
void node_tick(struct sim_node *node);
void node_restart(struct sim_node *node); /* the orderly kind, by request of the guard */
/* raft_add of a spare server that nobody else is. */
bool node_add_spare(struct sim_node *node);
/* Proposes one command; false if the node does not lead or is full. */
bool node_propose(struct sim_node *node, size_t bytes);
/* One linearizable read, if the node believes it leads: its index must not be below what was acknowledged before. */
bool node_read(struct sim_node *node);
bool node_transfer(struct sim_node *node, raft_id to);
bool node_leads(const struct sim_node *node);
/* Everything the core and the guard allocate from here on belongs to this node (NULL: to nobody; a mistake). */
void node_enter(struct sim_node *node);
void sim_heap_install(void);

/* sim_log.c: the store with its write-ahead log, vote and snapshot files, over simulated sectors */
struct sim_log *log_new(struct sim_node *node);
void log_free(struct sim_log *d);
/* Opens the store, before load, and fills in what of `inner` is about the disk. */
void log_open(struct sim_log *d, struct raft_io *inner);
void log_tick(struct sim_log *d);                /* every 5 ms */
void log_step(struct sim_log *d, void *data);    /* EV_DISK */
void log_crash(struct sim_log *d);               /* forgets what was not durable, at random */
raft_index log_durable(const struct sim_log *d); /* last entry that a crash now would keep */

/* sim_net.c */
int net_send(struct sim_node *node, struct raft_io_send *req, const struct raft_message *m, raft_io_send_cb cb);
void net_deliver(struct sim *sim, unsigned to, struct sim_held *held);
void net_free(struct sim_held *held);
/* Delivers the held messages that `pick` wants (NULL: all) soon; returns how many. */
unsigned net_release(struct sim *sim, bool (*pick)(const struct sim_held *held));
void net_drop_held(struct sim *sim);
void net_isolate(struct sim *sim, unsigned node); /* both ways from everybody */
void net_heal(struct sim *sim);

/* sim_check.c */
void check_node(struct sim_node *node); /* after every step of a node */
/* Before an apply: false when this index was applied with something else. */
bool check_apply(struct sim_node *node, uint64_t index, raft_term term, uint64_t payload);

/* sim_run.c
 * Heals everything and demands that a new entry is applied everywhere within 60 election timeouts. */
void nemesis_heal_and_wait(struct sim *sim);

/* Runs `run` with a fresh cluster in a child process: a crash inside the core is a red result ("crash"). */
void sim_fork(const struct sim_config *cfg, void (*run)(struct sim *sim), struct sim_result *ret);

#endif
