/* SPDX-License-Identifier: Apache-2.0
 * The guard: what makes the Raft core of Debian's libraft 0.15 safe. It sits on both sides of `struct raft_io`:
 *
 *     core (struct raft)  <->  outer raft_io = the guard  <->  inner raft_io = store + peers, or the simulator
 *
 * and corrects what crosses that border, because every known safety fault of the core shows itself there:
 *
 *   A  own first entry on election; results of followers are held until it is on our own disk, so that nothing of an
 *      older term is committed by counting (Raft, figure 8)
 *   B  a result claims no more than its request verified: clamped to prev + n, and to what is on our disk
 *   C  the result of a write that was submitted under an older term is dropped
 *   D  no candidacy while own writes or a snapshot install are unfinished
 *   E  one vote a term, also towards the target of a leadership transfer
 *   F  the leader's own completion of entry n+1 is withheld until n is committed (the core tests commit only at its
 *      last stored index)
 *   G  the commit index is checked before anything is applied
 *   H  requests of a newer term wait until writes of older terms are done
 *   I  requests that begin below our snapshot are trimmed
 *   J  a rejection carries the index before the whole conflicting term
 *   K  a long AppendEntries becomes a train of messages of at most 1 MiB with a window of 4 MiB, and no request lets
 * its receiver commit more than it verified L  a snapshot is refused while a configuration change is uncommitted;
 * truncating such a change restarts the process M  invariants are checked again after every entry into the core; a
 * breach ends the process
 *   O  votes, their answers and the order to stand are heard from members only (guard_vouch names those that our own
 * log does not know yet)
 *   P  who refuses a pre-vote and is in a later term says so: the core answers with the term of the request, so of two
 *      of which one has the longer log and the other the later term neither would ever be elected
 *   Q  a vote is given whatever role our own log gives us: a learner that is being promoted may be needed for the
 *      majority before it has the entry that says so (Raft, 4.1: requests are answered without regard to one's own
 *      configuration; the candidate counts the voters of its own)
 *
 * It also owns the core's tick, time and random numbers: election timeout = election_ms + rank x 15 ms + U(0,5) ms,
 * where rank is our place by id among the voters other than the last known leader; a voter that has not heard from its
 * leader for election_ms believes in it no more when somebody asks for its vote; candidates repeat their requests every
 * tick for the first 20 ms and every 20 ms afterwards; of two that stand at the same time the lower rank goes first,
 * and a split vote is repeated after half an election timeout; guard_peer_dead ends the wait at once. And it answers
 * linearizable reads by asking a majority.
 *
 * Invariants it keeps: one entry is one buffer of a multiple of 8 bytes; the core never sees a failed write; nothing is
 * called back into the core from inside the core. Everything runs on one thread. Time and random numbers come from the
 * configuration only. */
#ifndef CONCLAVE_CONSENSUS_GUARD_H
#define CONCLAVE_CONSENSUS_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <raft.h>

#include "base/err.h"
#include "base/queue.h"

#define GUARD_MEMBERS_MAX    7u
#define GUARD_TICK_MS        5u         /* what the guard asks of inner->start, whatever the core wants */
#define GUARD_RANK_MS        15u        /* step between the election timeouts of two voters */
#define GUARD_JITTER_MS      5u         /* added at random, 0..5 inclusive */
#define GUARD_YIELD_MS       40u        /* how long one that stands gives way to another */
#define GUARD_DEFER_MAX_MS   100u       /* and how long in all, for one loss of a leader */
#define GUARD_VOTE_REPEAT_MS 20u        /* between two rounds of a vote request, and of a read's probes */
#define GUARD_MESSAGE_BYTES  (1u << 20) /* entry bytes of one AppendEntries; a longer entry travels alone */
#define GUARD_WINDOW_BYTES   (4u << 20) /* entry bytes sent to one peer and not yet answered */
#define GUARD_FIRST_PATIENCE 4u   /* election timeouts that a leader's first write may take, see result_must_wait */
#define GUARD_HELD_MAX       256u /* held messages of each kind; more are dropped and sent again by the peer */
#define GUARD_HELD_BYTES     (16u << 20) /* entry bytes of held requests */
#define GUARD_WRITES_MAX     1024u       /* unfinished appends; more are a breach */
#define GUARD_READS_MAX      4096u       /* waiting reads */
#define GUARD_FORWARDED_MAX  256u        /* reads of followers that a leader answers at a time */
#define GUARD_VOUCHED_MAX    32u

/* Four message types of our own, beside those of raft_io: a read's probe and its answer (the leader asks the others), a
 * follower's read and its answer (it asks the leader). inner->send must carry them and inner's recv must deliver them
 * like the others; their payload is `timeout_now` (three integers: term, a round or a read's number in last_log_index,
 * and in last_log_term 1 for yes, or the index to read at, 0 for no). */
enum { GUARD_IO_PROBE = 100, GUARD_IO_PROBE_RESULT = 101, GUARD_IO_READ = 102, GUARD_IO_READ_RESULT = 103 };

struct guard; /* opaque */

enum guard_role { GUARD_UNAVAILABLE, GUARD_FOLLOWER, GUARD_PRE_CANDIDATE, GUARD_CANDIDATE, GUARD_LEADER };

enum guard_fatal {
    GUARD_FATAL_BREACH,      /* an invariant is broken: abort, keep the core file */
    GUARD_FATAL_DISK,        /* a write failed: durability unknown, stop; a restart is the only way on */
    GUARD_FATAL_UNAVAILABLE, /* the core gave up (out of memory, impossible log): stop */
    GUARD_FATAL_RESTART      /* entries were truncated on disk that the core still has (L): close the store so that the
                                truncation is durable, then restart the process */
};

/* Who we are in the cluster at this moment. */
struct guard_view {
    enum guard_role role;
    uint64_t term;
    uint64_t leader_id; /* 0 while none is known; ourselves while leading */
};

struct guard_config {
    void *ctx;                    /* first argument of all callbacks */
    unsigned election_ms;         /* 300; at least 2 x heartbeat_ms */
    unsigned heartbeat_ms;        /* 50 */
    unsigned install_snapshot_ms; /* 2,000: until an unanswered snapshot is sent again */
    /* Monotonic milliseconds, and 64 uniformly random bits. */
    uint64_t (*now_ms)(void *ctx);
    uint64_t (*rng)(void *ctx);
    /* Writes the first entry of a term that we lead: memory of raft_malloc, a multiple of 8 bytes. It becomes the
     * core's. Returns 0; anything else is fatal (GUARD_FATAL_UNAVAILABLE). Called outside the core. */
    int (*first_entry)(void *ctx, uint64_t term, struct raft_buffer *ret);
    /* Role, term or known leader changed. Called after the core has returned; may call guard_propose. May be NULL. */
    void (*changed)(void *ctx, const struct guard_view *view);
    /* The process must end. Need not return; if it returns, the guard is dead: it does and answers nothing any more. */
    void (*fatal)(void *ctx, enum guard_fatal kind, const char *why);
};

/* Makes a guard between `inner` (borrowed until guard_free; the guard sets inner->data and owns it) and `outer`, whose
 * functions it fills in; give `outer` to raft_init. Config is copied. Returns NULL without memory.
 *
 * What the guard needs of `inner`, beyond the contract in raft.h:
 *  - init, close, load, start, bootstrap, recover, set_term, set_vote: as in raft.h. Set_term and set_vote are durable
 * on return. start is asked for a tick every GUARD_TICK_MS.
 *  - send(inner, req, message, cb): takes its own copy (encodes) before it returns; nothing of `message` is valid
 * after. `req` and `cb` are NULL, except for RAFT_IO_INSTALL_SNAPSHOT: there the data stays valid until cb(req,
 * status), called later exactly once if send returned 0. Any non-zero return means "not sent" and is taken as a lost
 * message; it must be given when the peer's queue is full, so that a train ends there instead of getting a hole.
 *    server_id may be one that is not connected, or unknown.
 *  - recv(inner, message): entries of one AppendEntries share one batch (raft_malloc), which is non-NULL if there are
 *    entries; every length is bounded and every entry's length a multiple of 8 before. Never called inside send.
 *    Messages of ids that are not in the configuration may be delivered.
 *  - append: completes in the order of submission, never inside append; a failed write is not reported: call the
 *    process's own fail-stop, or complete with a status and the guard does (GUARD_FATAL_DISK).
 *  - truncate: ordered before every later append and after every earlier one.
 *  - snapshot_put, snapshot_get: as in raft.h; a failed install (trailing 0) is fatal as well.
 *  - close: completes outstanding appends, sends and snapshot requests first.
 *  - time, random: never called; may be NULL. async_work: passed on if version is 2. */
struct guard *guard_new(struct raft_io *outer, struct raft_io *inner, const struct guard_config *config);
/* After raft_close's callback, or instead of it if the process ends. */
void guard_free(struct guard *g);

/* Sets the core's timing and pre-vote, calls raft_start and settles (a single voter leads on return). Call after
 * raft_init. Returns what raft_start does (a RAFT_* code, text in raft_errmsg). */
int guard_start(struct guard *g);

/* Call this after every call into the core that does not go through the guard (raft_add, raft_assign, raft_remove,
 * raft_transfer): flushes deferred callbacks, retries the first entry, checks the invariants. */
void guard_settle(struct guard *g);

/* raft_apply with one buffer (raft_malloc, a positive multiple of 8 bytes). 0: the buffer is the core's and `cb` fires
 * once. ERR_NOT_LEADER: not leading, our first entry is not yet appended, or a transfer is pending. ERR_BUSY: called
 * inside a callback of the core (do it after it). ERR_INVALID: the length. ERR_NOMEM. On error the buffer is still the
 * caller's. */
int guard_propose(struct guard *g, struct raft_apply *req, const struct raft_buffer *buf, raft_apply_cb cb);

/* True when the membership may be changed: leading, and an entry of our own term is committed. */
bool guard_can_change(const struct guard *g);

/* First thing in fsm.apply: returns the index being applied, after checking that it may be (correction G). A breach
 * goes to fatal and returns 0: then apply must not change anything. */
uint64_t guard_apply_index(struct guard *g);
/* First thing in fsm.snapshot: when false, return RAFT_BUSY (correction L). */
bool guard_snapshot_allowed(const struct guard *g);

/* A snapshot that was received is being installed, or its request still waits for its turn. */
bool guard_installs(const struct guard *g);

/* A hint of the transport: the process of `id` is gone (connection refused, or another process answered). If it is the
 * leader we follow, it is forgotten and the election timer runs out after rank x 15 ms + U(0,5). Safety does not depend
 * on it. */
void guard_peer_dead(struct guard *g, uint64_t id);

/* Replaces the ids that count as members besides those of our configuration: a committed configuration names them, a
 * newer one that our log does not have yet, or the last one before ours while ours may never commit. At most
 * GUARD_VOUCHED_MAX. Without it a member that was away could not vote for one that was added meanwhile, nor one whose
 * log has a removal that never was for the one that it takes out. */
void guard_vouch(struct guard *g, const uint64_t *ids, unsigned n);

/* One linearizable read. The caller owns the memory until the callback. */
struct guard_read {
    void *data; /* the caller's */
    /* status 0: apply up to `index`, then answer. Else ERR_NOT_LEADER (also: leadership lost), ERR_TIMEOUT (no majority
     * answered within election_ms) or ERR_CLOSED. Called outside the core, possibly before guard_read_index returns. */
    void (*cb)(struct guard_read *read, int status, uint64_t index);
    struct queue link;    /* private, as all below */
    uint64_t round;       /* first probe round that counts; a follower's: its number at the leader */
    uint64_t index;       /* commit index when the read was accepted */
    uint64_t deadline_ms; /* */
};
/* On a leader: notes the commit index and asks a majority whether our term is still the newest. Returns 0 and cb fires
 * once; or ERR_NOT_LEADER (not leading, or no entry of our own term is committed yet), ERR_BUSY (GUARD_READS_MAX are
 * waiting), and cb does not fire. Results of AppendEntries are not used as proof: they do not tell which request they
 * answer. */
int guard_read_index(struct guard *g, struct guard_read *read);
/* The same on a follower that knows its leader: the leader does the above for us and tells the index. ERR_NOT_LEADER:
 * no leader is known. Every leader that hears of it must know the two messages (they came with feature level 2). */
int guard_read_follower(struct guard *g, struct guard_read *read);

/* How often each correction changed something, in the order of the list above; for /metrics and for tests. */
struct guard_counters {
    uint64_t first_entries, results_held; /* A */
    uint64_t results_clamped;             /* B */
    uint64_t results_stale;               /* C */
    uint64_t ticks_withheld;              /* D */
    uint64_t votes_refused;               /* E */
    uint64_t completions_withheld;        /* F */
    uint64_t applies_checked;             /* G */
    uint64_t requests_held;               /* H */
    uint64_t requests_trimmed;            /* I */
    uint64_t rejections_hinted;           /* J */
    uint64_t trains, commits_clamped;     /* K: messages beyond the first of a request; leader_commit lowered */
    uint64_t snapshots_refused;           /* L */
    uint64_t checks;                      /* M: entries into the core that were checked */
    uint64_t strangers;                   /* O: messages of nodes that are no members */
    uint64_t terms_told;                  /* P */
    uint64_t learners_asked;              /* Q: requests for a vote that came to a learner */
    uint64_t held_dropped;                /* a held queue was full */
    uint64_t votes_repeated, votes_deferred, probes, leaders_forgotten, leaders_doubted;
    uint64_t reads_forwarded; /* reads of followers that we answered as leader */
};

struct guard_peer_status {
    uint64_t id;
    bool voter;
    uint64_t match_index; /* leader only, as the next three */
    uint64_t next_index;
    bool snapshot_in_flight;
    uint64_t window_bytes;   /* entry bytes sent and not yet answered */
    int64_t last_contact_ms; /* since its last message; -1 never in this process life */
};

struct guard_status {
    struct guard_view view;
    uint64_t commit_index, applied_index, last_index, stored_index, snapshot_index;
    uint64_t first_index; /* lowest entry still in the log; last_index + 1 when there is none */
    bool leader_ready;    /* leading, and an entry of our own term is committed */
    unsigned unfinished_writes;
    unsigned peer_count; /* members of the configuration other than ourselves, at most GUARD_MEMBERS_MAX */
    struct guard_peer_status peers[GUARD_MEMBERS_MAX];
};
void guard_status(const struct guard *g, struct guard_status *ret);
const struct guard_counters *guard_counters(const struct guard *g);

#ifdef CONCLAVE_TEST_SWITCHES
/* Only in the test build of this library: turns corrections off (bits of enum guard_correction), which gives back
 * libraft's own behaviour. */
enum guard_correction {
    GUARD_A = 1u << 0,
    GUARD_B = 1u << 1,
    GUARD_C = 1u << 2,
    GUARD_D = 1u << 3,
    GUARD_E = 1u << 4,
    GUARD_F = 1u << 5,
    GUARD_G = 1u << 6,
    GUARD_H = 1u << 7,
    GUARD_I = 1u << 8,
    GUARD_J = 1u << 9,
    GUARD_K = 1u << 10,
    GUARD_L = 1u << 11,
    GUARD_M = 1u << 12,
    GUARD_N = 1u << 13,
    GUARD_O = 1u << 14,
    GUARD_P = 1u << 15,
    GUARD_Q = 1u << 16,
    GUARD_ALL = (1u << 17) - 1
};
void guard_test_off(struct guard *g, unsigned corrections);
#endif

#endif
