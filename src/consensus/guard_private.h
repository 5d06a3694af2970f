/* SPDX-License-Identifier: Apache-2.0
 * What the guard's own files share. The life of one entry into the core:
 *
 *   guard_enter -> (core runs; it calls back through the outer raft_io) -> guard_leave -> guard_settle
 *
 * `ctx` says which request the core is answering while it runs; it is set by whoever enters. Everything that would call
 * back into the core (send callbacks, held messages, withheld completions, the first entry) waits for guard_settle. */
#ifndef CONCLAVE_CONSENSUS_GUARD_PRIVATE_H
#define CONCLAVE_CONSENSUS_GUARD_PRIVATE_H

#include "consensus/guard.h"

/* A correction is one bit in the test build and a constant in every other. */
#ifdef CONCLAVE_TEST_SWITCHES
#define GUARD_ON(g, bit) (((g)->off & (bit)) == 0)
#else
#define GUARD_ON(g, bit) true
#endif

#define GUARD_MAGIC       0x47554152u
#define GUARD_PEERS_MAX   (GUARD_MEMBERS_MAX + 1u)
#define GUARD_PARTS_MAX   64u                       /* messages sent to one peer and not yet answered */
#define GUARD_REFILL      (GUARD_WINDOW_BYTES / 2u) /* a waiting train goes on when less than this is unanswered */
#define PROGRESS_PROBE    0                         /* values of raft_progress.state in libraft 0.15 */
#define PROGRESS_PIPELINE 1
#define PROGRESS_SNAPSHOT 2

/* Which request the core is answering. */
struct guard_ctx {
    enum { CTX_NONE, CTX_ENTRIES, CTX_INSTALL } kind;
    bool late;             /* answered at the completion of a write, not at once */
    raft_term term;        /* of the request */
    raft_index prev;       /* prev_log_index of AppendEntries */
    raft_index verified;   /* the log up to here equals the sender's: prev + n, or the snapshot's index */
    raft_index commit_max; /* highest commit index this request may lead to */
};

/* An append that the core still waits for, in order of submission. */
struct guard_write {
    struct queue link;
    struct guard *g;
    struct raft_io_append req;       /* what the inner raft_io has */
    struct raft_io_append *core_req; /* what the core gave */
    raft_io_append_cb cb;
    struct guard_ctx ctx;
    raft_term term;         /* under which it was submitted */
    raft_index first, last; /* entries */
    raft_index kept;        /* last of them that was not truncated since */
    bool own;               /* submitted as leader */
    bool done;              /* durable; the core does not know yet */
    bool early;             /* MUTANT(EARLY_COMPLETION): it has only been said to be */
};

/* The one snapshot_put the core can have under way. */
struct guard_put {
    bool active;
    struct guard_ctx ctx;            /* CTX_INSTALL when it is an install */
    struct raft_io_snapshot_put req; /* what the inner raft_io has */
    struct raft_io_snapshot_put *core_req;
    raft_io_snapshot_put_cb cb;
};

/* A received message that waits. */
struct guard_held {
    struct queue link;
    struct raft_message message; /* owns its payload and the address */
    size_t bytes;
};

/* A callback the core is owed. */
struct guard_owed {
    struct raft_io_send *req;
    raft_io_send_cb cb;
    int status;
};

struct guard_part {
    raft_index end; /* last entry of the message */
    size_t bytes;
};

struct guard_peer {
    raft_id id;          /* 0: free */
    bool heard;          /* contact_ms is valid */
    uint64_t contact_ms; /* last message from it */
    uint64_t round;      /* highest probe round it confirmed in probe_term */
    raft_term term;      /* the train below belongs to this term of ours */
    bool waiting;        /* the core believes more was sent than was: everything after `end` waits for answers */
    raft_index end;      /* last entry sent */
    uint64_t empty_ms;   /* last empty one while entries were unanswered */
    uint64_t sent_ms;    /* last AppendEntries to it */
    struct guard_part parts[GUARD_PARTS_MAX];
    unsigned part_first, part_count; /* ring */
    size_t window;                   /* sum of the parts' bytes */
};

struct guard {
    uint32_t magic;
    struct guard_config cfg;
    struct raft_io *outer;
    struct raft_io *inner;
    struct raft *r; /* known from init on */
    raft_io_tick_cb core_tick;
    raft_io_recv_cb core_recv;
    raft_io_close_cb core_close;
    bool started, closing, dead;
    unsigned depth;       /* > 0: the core runs */
    bool settling, again; /* guard_settle runs; it was asked for once more */
    struct guard_ctx ctx;
#ifdef CONCLAVE_TEST_SWITCHES
    unsigned off; /* corrections switched off */
#endif

    /* the disk as we know it */
    raft_term disk_term;
    raft_id disk_vote;
    raft_index durable;      /* last entry known durable */
    raft_index change_index; /* last configuration entry in the log, 0 if none is known */
    struct queue writes;     /* guard_write */
    unsigned write_count;
    struct guard_put put;

    /* the core as it was when it last returned */
    raft_term seen_term;
    raft_index seen_commit, seen_applied;
    struct guard_view view;
    raft_term leader_term; /* in which leader_id led */
    raft_id leader_id;

    /* election */
    raft_id last_leader;  /* last known one, ourselves included; survives terms */
    raft_id timer_leader; /* the running timer was set for these three */
    unsigned timer_members;
    raft_index timer_config;
    bool hurry;             /* guard_peer_dead ended the wait */
    uint64_t vote_since_ms; /* when the present role and term began */
    uint64_t vote_sent_ms;
    bool deferring;          /* we have given way since the last leader was known */
    uint64_t defer_since_ms; /* when first */
    uint64_t yield_until_ms; /* until then answers to our own pre-vote are dropped */

    /* own first entry */
    raft_term first_term;   /* term it was appended in */
    raft_index first_index; /* its index */
    bool first_durable;
    uint64_t first_ms; /* when it was appended */
    struct raft_apply first_req;
    raft_term told_term; /* of the last first entry whose commit the followers were told at once */

    struct queue results;  /* guard_held: results that wait for the first entry */
    struct queue requests; /* guard_held: requests that wait for older writes */
    unsigned result_count, request_count;
    size_t request_bytes;
    bool has_timeout_now; /* a TimeoutNow that waits for our writes */
    struct guard_held *timeout_now;

    struct guard_owed *owed; /* send callbacks, grown as needed, emptied by every settle */
    size_t owed_count, owed_cap;

    /* reads */
    struct queue reads; /* guard_read */
    unsigned read_count;
    uint64_t round;       /* last probe round begun */
    uint64_t confirmed;   /* highest round a majority confirmed */
    uint64_t probe_ms;    /* when the last probes went out */
    struct queue asked;   /* guard_read: those of a follower, which its leader answers */
    uint64_t read_number; /* of the last of them; begins at random, so that no answer to an earlier life fits */
    unsigned forwarded;   /* reads of followers among `reads` */
    raft_id vouched[GUARD_VOUCHED_MAX];
    unsigned vouched_count;

    struct guard_peer peers[GUARD_PEERS_MAX];
    struct guard_counters count;
};

/* guard.c */
void guard_enter(struct guard *g, const struct guard_ctx *ctx);
void guard_leave(struct guard *g);
void guard_die(struct guard *g, enum guard_fatal kind, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* M: checks everything that must hold between two entries into the core. */
void guard_check(struct guard *g);
/* G: whether the core may have its present commit index. */
bool guard_commit_allowed(const struct guard *g);
uint64_t guard_now(const struct guard *g);

/* guard_log.c: reading the core's public structs */
raft_index log_last(const struct raft_log *log);
const struct raft_entry *log_entry(const struct raft_log *log, raft_index index);
raft_term log_term(const struct raft_log *log, raft_index index); /* 0: not there */
unsigned voters(const struct raft *r);
struct raft_progress *progress_of(struct raft *r, raft_id id); /* NULL: not leading, or not a member */
bool leader_ready(const struct guard *g);
const struct raft_server *member_of(const struct raft *r, raft_id id); /* or NULL */
struct guard_peer *peer_of(struct guard *g, raft_id id);               /* NULL: not a member */

/* guard_disk.c */
void disk_bind(struct guard *g);
bool writes_unfinished(const struct guard *g);
/* The oldest term under which an unfinished write was submitted; 0 when there is none. */
raft_term writes_term(const struct guard *g);
/* Hands done completions to the core. `all`: also those that F withholds. Returns whether any was. */
bool writes_release(struct guard *g, bool all);
void disk_free(struct guard *g);

/* guard_send.c */
int guard_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *message, raft_io_send_cb cb);
void guard_flush_owed(struct guard *g);
/* Leader, every tick: asks for a sign of life from peers that are busy writing. */
void train_tick(struct guard *g);
/* A result of the current term arrived from `peer`: the window opens, a waiting train goes on. */
void train_answered(struct guard *g, struct guard_peer *peer, const struct raft_append_entries_result *result);

/* guard_recv.c */
void guard_recv(struct raft_io *io, struct raft_message *message);
/* Delivers what no longer has to wait. Returns whether anything was. */
bool held_deliver(struct guard *g);
void held_free(struct guard *g);

/* guard_vote.c */
int guard_random(struct raft_io *io, int min, int max);
void vote_settle(struct guard *g); /* after the core has returned: leader, role and timer */
void vote_tick(struct guard *g);
/* A request for a vote or a pre-vote arrived: whether the core shall see it. */
bool vote_request(struct guard *g, const struct raft_request_vote *args);
/* An answer to our pre-vote arrived: whether the core shall see it. */
bool vote_answer(const struct guard *g, const struct raft_request_vote_result *args);
/* We are about to grant a pre-vote. */
void vote_granted(struct guard *g);
void vote_first_entry(struct guard *g);
/* Our first entry is committed: a heartbeat at the next tick says so, for followers redirect only when they know it. */
void vote_first_committed(struct guard *g);

/* guard_read.c */
void read_tick(struct guard *g);
void read_settle(struct guard *g);
void read_message(struct guard *g, const struct raft_message *message);
void read_fail(struct guard *g, int status);
void read_free(struct guard *g); /* without a word to anybody */

#endif
