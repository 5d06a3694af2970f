/* SPDX-License-Identifier: Apache-2.0
 * The simulator: a whole cluster of masters in one thread, driven by one seed.
 *
 * What runs is what is shipped, from replica.h down: the replica with its batching, applier, reads and snapshots, the
 * guard, the Raft core, the store with log, vote and snapshot files, the codec of the peers; and above it the
 * scheduler's state machine. What is simulated is what they stand on:
 *
 *   shim.c     the event loop (uv_check, uv_idle, uv_timer), the clocks, randomness, the log and abort()
 *   wire*.c    peers.h: messages that are late, lost, doubled, overtaken, cut off one way or both
 *   medium.c   disk_file.h over simulated sectors (../../lib/sim_disk.h), and a shadow that counts what is durable
 *   host.c     one machine: a disk that outlives its processes, and the process (replica and state) on it
 *   judge.c    the invariants, judged from outside, after every step
 *   nemesis.c  the faults; modes.c the ways to combine them; members.c changes of the membership; harm.c data that is
 *              lost for good
 *   shrink.c   a red seed with as few faults as still make it red
 *
 * The functions of the shims have the names of the real ones: the linker takes them instead. So a function that is
 * added to peers.h and used by the replica must be added to wire.c as well.
 *
 * Same seed, same build: same trace hash. Every fault has a number; a run with a list of faults to keep leaves all
 * others out (the nemesis draws from a stream of its own, so that what is left happens at the same time). */
#ifndef CONCLAVE_TESTS_CLUSTER_H
#define CONCLAVE_TESTS_CLUSTER_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <uv.h>

#include "../../lib/event_queue.h"
#include "base/queue.h"
#include "base/rng.h"
#include "conclave/log.pb-c.h"
#include "consensus/guard_private.h"
#include "consensus/replica_impl.h"
#include "scheduler/state.h"

#define HOSTS_MAX       16u
#define ELECTION_MS     300u
#define HEARTBEAT_MS    50u
#define MS              1000u /* the clock counts microseconds */
#define FAULTS_KEPT_MAX 4096u
#define HANDLES_MAX     8u
#define HASHES          1024u
#define CLUSTER_ID      "0123456789abcdef" /* 16 bytes */

struct cluster;
struct host;
struct shadow;
struct peers;

enum mode { MODE_SCRIPT, MODE_ISLANDS, MODE_MIX, MODE_HAMMER };

/* X(NAME, "name in figures", modes that have it): what a seed was struck by. */
#define IN_A 1u
#define IN_B 2u
#define IN_C 4u
#define STRIKES(X)                                                                                                     \
    X(ISLAND, "island", IN_A | IN_B | IN_C)                                                                            \
    X(ONE_WAY, "one-way", IN_A | IN_B)                                                                                 \
    X(ISOLATED, "isolated", IN_C)                                                                                      \
    X(CRASH, "crash", IN_A | IN_B | IN_C)                                                                              \
    X(CRASH_MAJORITY, "crash-majority", IN_B)                                                                          \
    X(CRASH_ALL, "crash-all", IN_B)                                                                                    \
    X(PAUSE, "pause", IN_A | IN_B)                                                                                     \
    X(LOSS, "loss", IN_B)                                                                                              \
    X(DELAY, "delay", IN_B)                                                                                            \
    X(DUPLICATE, "duplicate", IN_B)                                                                                    \
    X(REORDER, "reorder", IN_A | IN_B | IN_C)                                                                          \
    X(SLOW_DISK, "slow-disk", IN_A | IN_B)                                                                             \
    X(EIO, "eio", IN_A | IN_B | IN_C)                                                                                  \
    X(ENOSPC, "enospc", IN_A | IN_B)                                                                                   \
    X(TORN_TAIL, "torn-tail", IN_B)                                                                                    \
    X(WIPE, "wipe", IN_B)                                                                                              \
    X(REINSTALL, "reinstall", IN_B)                                                                                    \
    X(DRIFT, "drift", IN_A | IN_B | IN_C)                                                                              \
    X(TRANSFER, "transfer", IN_A | IN_B | IN_C)                                                                        \
    X(ADD, "add-learner", IN_A | IN_B | IN_C)                                                                          \
    X(PROMOTE, "promote", IN_A | IN_B | IN_C)                                                                          \
    X(DEMOTE, "demote", IN_B)                                                                                          \
    X(REMOVE, "remove", IN_A | IN_B | IN_C)                                                                            \
    X(REPLACE, "replace", IN_A | IN_B)                                                                                 \
    X(CHANGE_UNDONE, "change-undone", IN_B)                                                                            \
    X(TRAIN, "train", IN_A | IN_B)                                                                                     \
    X(READ, "read", IN_A | IN_B | IN_C)                                                                                \
    X(SNAPSHOT, "snapshot", IN_A | IN_B | IN_C)                                                                        \
    X(INSTALL, "install", IN_A | IN_B | IN_C)                                                                          \
    X(ELECTION_LOST, "election-lost", IN_A | IN_B | IN_C)

enum strike {
#define STRIKE_ENUM(name, text, modes) STRIKE_##name,
    STRIKES(STRIKE_ENUM)
#undef STRIKE_ENUM
        STRIKE_COUNT
};
extern const char *const strike_names[STRIKE_COUNT];
extern const unsigned strike_modes[STRIKE_COUNT];

struct cluster_config {
    uint64_t seed;
    unsigned voters;
    enum mode mode;
    unsigned off;     /* enum guard_correction bits */
    uint64_t mutants; /* mutant.h */
    FILE *trace;      /* one line an event, or NULL */
    FILE *schedule;   /* one line a fault, or NULL */
    bool keep_some;   /* only the faults in `keep` happen */
    const uint32_t *keep;
    unsigned keep_count;
};

struct timer {
    uv_timer_t *handle; /* NULL: free */
    uv_timer_cb cb;
    uint64_t repeat_us;
    unsigned generation; /* of its planned event */
    bool active;
};

/* A machine: the disk stays, the process comes and goes. */
struct host {
    struct cluster *c;
    uint64_t id; /* of its node, 1..; a place in c->hosts plus one */
    char address[24];
    bool used;    /* was ever a member or about to be */
    bool retired; /* removed: never starts again */
    bool up;
    bool joiner; /* did not bootstrap */
    bool joined; /* a committed configuration has had it */
    unsigned life;
    /* the process */
    uv_loop_t loop; /* its address is all that is used of it */
    uv_check_t *check;
    uv_check_cb check_cb;
    uv_idle_t *idle;
    bool turn_planned;
    struct timer timers[HANDLES_MAX];
    struct replica *replica;
    struct peers *peers;
    struct state *state;
    uint64_t applied;             /* index of the last entry that was applied whole */
    uint64_t entry_index;         /* the one that is being applied */
    uint32_t entry_count;         /* commands of it so far */
    uint64_t entry_payload;       /* hash over them */
    struct position_hash *hashes; /* behind the last HASHES entries */
    bool die_planned;             /* the process has said that it must end */
    unsigned tickets;             /* given to replica_propose and not back */
    /* its clock */
    uint64_t clock_us, clock_at_us; /* own time as of the cluster's */
    uint64_t rate_ppm;              /* 1,000,000: true */
    uint64_t busy_us, last_us;
    uint64_t paused_until_us;
    /* its disk */
    struct sim_disk *disk;
    struct shadow *shadow;
    uint64_t slow_us; /* added to every operation, at most */
    bool held;        /* scripts: completes nothing */
    bool sick;        /* a fault was planted: the process may end for it */
    /* harm.c: what has become of its data. WIPED: it runs on an empty disk, its own is kept and put back later.
     * DAMAGED: it must not start before it is reinstalled. */
    enum harm { HARM_NONE, HARM_WIPED, HARM_DAMAGED } harm;
    bool refused;     /* wiped, and told so: it has ended */
    bool reinstall;   /* is started with --reinstall */
    bool catching_up; /* reinstalled, and barred or not yet what it was */
    struct sim_disk *own_disk;
    struct shadow *own_shadow;
    uint64_t restart_at_us; /* 0: not planned */
    /* as of the last step of this life */
    uint64_t seen_term, seen_commit;
    uint64_t seen_voters[GUARD_MEMBERS_MAX]; /* of its configuration at the last look */
    unsigned seen_voter_count;
    bool seen_leader, seen_candidate;
    uint64_t candidate_term;
    struct guard_counters counters; /* of finished lives */
};

struct position_hash {
    uint64_t index;
    struct hash128 hash;
};

/* What was applied at an index, by whoever came first. */
struct applied {
    uint64_t payload;
    struct hash128 state;
    uint64_t term;
    uint32_t count;
};

struct vote_cast { /* by (term, voter) */
    uint64_t term, voter, candidate;
};

enum event_kind {
    EVENT_TIMER,
    EVENT_TURN,
    EVENT_DELIVER,
    EVENT_DISK,
    EVENT_FILE,
    EVENT_DIAL,
    EVENT_DEAD,
    EVENT_DIE,
    EVENT_START
};

struct cluster {
    struct cluster_config cfg;
    struct rng rng;     /* the world: delays, losses, clients */
    struct rng nemesis; /* what is done to it */
    uint64_t now_us, seq, steps;
    struct event_queue events;
    struct host hosts[HOSTS_MAX];
    unsigned host_count; /* ids given out */
    jmp_buf escape;      /* out of abort() */
    bool inside;         /* `escape` is valid */

    /* the network */
    bool cut[HOSTS_MAX][HOSTS_MAX]; /* from, to */
    uint64_t delay_min_us, delay_max_us, late_max_us;
    unsigned late_permille, loss_permille, dup_permille;
    uint64_t queue_max; /* bytes on the way between two */
    uint64_t queued[HOSTS_MAX][HOSTS_MAX], arrived[HOSTS_MAX][HOSTS_MAX];

    /* knobs of the seed */
    uint64_t snapshot_bytes, segment_bytes;
    uint64_t call_us; /* what looking at the clock costs, at most */
    uint64_t payload_max;
    unsigned burst_max; /* commands of one client turn */

    /* clients */
    uint64_t proposals, cluster_ms;
    uint64_t acked, acked_max, reads, reads_served, read_max;

    /* judge.c */
    struct applied *applied;
    size_t applied_cap;
    uint64_t applied_max;
    uint64_t *payloads; /* open addressing: payload hash, index */
    size_t payloads_cap, payloads_count;
    uint64_t *committed; /* term of the entry at an index that some node has called committed */
    size_t committed_cap;
    uint64_t *configurations; /* hash of the configuration entry committed at an index, 0 none */
    size_t configurations_cap;
    uint64_t members_index; /* of the newest committed configuration */
    struct raft_configuration members;
    unsigned *leaders; /* node of a term, 0 none */
    size_t leaders_cap;
    struct vote_cast *votes;
    size_t votes_count, votes_cap;
    unsigned leader_changes, crashes;
    uint64_t trace;
    bool red;
    char invariant[32];
    char why[320];
    uint64_t red_step, healed_ms;
    bool struck[STRIKE_COUNT];

    /* nemesis.c */
    uint32_t faults; /* numbers given out */
};

/* cluster.c */
void cluster_init(struct cluster *c, const struct cluster_config *cfg);
void cluster_done(struct cluster *c);
/* Runs until `ms` have passed or something is red. */
void cluster_run(struct cluster *c, uint64_t ms);
void cluster_run_us(struct cluster *c, uint64_t us);
/* Runs until `done` says so; false if that did not happen within `ms` or something is red. */
bool cluster_until(struct cluster *c, bool (*done)(struct cluster *c), uint64_t ms);
void cluster_at(struct cluster *c, uint64_t delay_us, enum event_kind kind, unsigned host, unsigned life, void *data);
uint64_t cluster_ms(const struct cluster *c);
bool cluster_chance(struct cluster *c, unsigned permille);
/* Folds four words into the trace hash. */
void cluster_note(struct cluster *c, uint64_t a, uint64_t b, uint64_t d, uint64_t e);
/* A line of the readable trace. */
void cluster_say(struct cluster *c, const struct host *h, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void cluster_red(struct cluster *c, const char *invariant, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* shim.c: whose code runs */
extern struct host *shim_host;
struct host *shim_enter(struct host *h); /* returns who ran before */
uint64_t shim_now_us(struct host *h);    /* by its own clock */
void shim_rate(struct host *h, uint64_t ppm);
void shim_forget(struct host *h);            /* the process is gone */
void shim_timer(struct host *h, void *data); /* EVENT_TIMER */
void shim_turn(struct host *h);              /* end of a loop turn */

/* medium.c */
void medium_new(struct host *h);
void medium_free(struct host *h);
void medium_event(struct host *h, void *data);
void medium_crash(struct host *h); /* before the process is forgotten */
/* Last entry of which the disk has every byte, in this life's log. */
uint64_t medium_durable(const struct host *h);
/* Whether the disk of `h` has entry `index` with this term, or a snapshot that covers it. */
bool medium_has(const struct host *h, uint64_t index, uint64_t term);
/* The same of the data that it has lost, as far as a leader of `leader_term` may have counted it. */
bool medium_had(const struct host *h, uint64_t index, uint64_t term, uint64_t leader_term);
/* The last entry that it has lost and that was committed (terms[index], 0: not, as far as is known) and that its disk
 * does not have again; 0: none. */
uint64_t medium_lacks(const struct host *h, const uint64_t *terms, size_t n);
/* An empty disk in place of its own, and back. The process is down. */
void medium_wipe(struct host *h);
void medium_put_back(struct host *h);
/* The folder must be refused from now on, as damaged or as given up. The process is down. */
void medium_damage(struct host *h, uint64_t how);

/* wire.c, wire_link.c, wire_file.c: the ends of messages, of dials, of snapshots, of processes */
struct wire_message;
void wire_deliver(struct cluster *c, unsigned to, struct wire_message *m);
void wire_dialled(struct host *h, void *data);
void wire_file(struct host *h, void *data);
void wire_dead(struct host *h, void *data);
void wire_gone(struct host *h);   /* its process died: the others may notice */
void wire_forget(struct host *h); /* nothing of the process is left */
void wire_heal(struct cluster *c);
void wire_isolate(struct cluster *c, unsigned host);

/* host.c */
struct host *host_new(struct cluster *c, bool joiner); /* NULL: no id is left */
void host_start(struct host *h);
void host_crash(struct host *h);
void host_die(struct host *h); /* EVENT_DIE */
void host_done(struct host *h);
bool host_leads(const struct host *h);
/* A client: commands and reads at a host that believes it leads. */
void host_propose(struct host *h, unsigned count, uint64_t bytes);
void host_read(struct host *h);

/* members.c */
/* The configuration in an entry of the log; to be closed. */
void members_decode(const struct raft_buffer *buf, struct raft_configuration *ret);
/* Asks for a change or a transfer; false: it is refused. */
bool members_change(struct host *leader, enum replica_change_type type, const struct host *who, bool force);
/* One step of what the nemesis wants of the membership; keeps the voters around cfg.voters. */
void members_step(struct cluster *c);
/* Removed hosts are switched off, as an operator does. */
void members_retire(struct cluster *c, bool all);
/* Of the configuration that `h` goes by. */
unsigned members_voters(const struct host *h);
bool members_is_voter(const struct host *h, uint64_t id);

/* judge.c */
void judge_host(struct host *h); /* after every step of a host */
void judge_command(struct host *h, uint64_t index, uint32_t n, const uint8_t *command, size_t len);
void judge_entry(struct host *h, uint64_t index);
void judge_vote(struct host *h, uint64_t term, uint64_t candidate);
/* A process has ended because it was told that it is no member. */
void judge_removed(struct host *h);
void judge_restored(struct host *h);
void judge_snapshot(struct host *h, const struct raft_snapshot *s);
void judge_read(struct host *h, uint64_t at_least);
void judge_sent(struct host *h, const struct raft_message *m);
void judge_end(struct cluster *c);
void judge_done(struct cluster *c);

/* harm.c: at most as many masters as a majority can spare lose their data at a time. */
void harm_step(struct cluster *c);              /* one is wiped, or damaged and reinstalled */
void harm_mend(struct cluster *c);              /* wiped ones that were refused may get their own folder back */
void harm_heal(struct cluster *c, uint64_t ms); /* all of them, and those that run must have been refused by `ms` */
bool harm_may_lose_voter(const struct cluster *c, unsigned voters);
bool harm_wiped(const struct cluster *c); /* one of them is */

/* nemesis.c */
/* Gives the next fault its number and says whether it is to happen; `fmt` tells it in words. */
bool nemesis_may(struct cluster *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
uint64_t nemesis_pick(struct cluster *c, uint64_t lo, uint64_t hi);
bool nemesis_one_in(struct cluster *c, unsigned n);
struct host *nemesis_leader(const struct cluster *c); /* of the highest term, NULL none */
void nemesis_traffic(struct cluster *c, uint64_t ms);
void nemesis_island(struct cluster *c);
void nemesis_one_way(struct cluster *c);
void nemesis_crash(struct cluster *c);
void nemesis_restart(struct cluster *c, bool all);
void nemesis_weather(struct cluster *c);
void nemesis_disks(struct cluster *c);
void nemesis_clocks(struct cluster *c);
void nemesis_pause(struct cluster *c);
void nemesis_transfer(struct cluster *c);
/* Heals everything and demands that a new entry is applied everywhere within 60 election timeouts. */
void nemesis_heal(struct cluster *c);

/* A finished run, small enough for a pipe. */
struct verdict {
    uint64_t seed, trace, sim_ms, acked, reads, step, settle_ms;
    unsigned voters, leaders, crashes;
    uint32_t faults;
    bool valid, red, struck[STRIKE_COUNT];
    char invariant[32];
    char why[320];
    struct guard_counters counters;
};

/* modes.c: one seed: nemesis, healing, liveness; in a child process, so that a crash is a red result. */
void seed_run(const struct cluster_config *cfg, struct verdict *ret);

/* shrink.c: leaves out faults as long as the seed stays red by the same invariant. `keep` has room for FAULTS_KEPT_MAX
 * numbers. Returns how many are left; *ret is the verdict with them. */
unsigned seed_shrink(const struct cluster_config *cfg, uint32_t *keep, struct verdict *ret);

#endif
