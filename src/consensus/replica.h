/* SPDX-License-Identifier: Apache-2.0
 * The public face of consensus: all that the rest of the program sees of the replicated log.
 *
 * A replica is one master's copy of the log. The leader's replica accepts commands; every replica hands each committed
 * command to its application exactly once per process life, in log order. Behind this header stand the Raft core, the
 * guard that makes it safe (guard.h), the write-ahead log (store.h) and the connections to the other masters (peers.h);
 * nothing outside src/consensus includes them or raft.h, so the core stays replaceable.
 *
 * Invariants: apply is called in position order and never re-entrantly; a ticket given to replica_propose comes back
 * exactly once, through apply or through dropped; no call of the application happens inside a call into the replica.
 * Everything runs on the thread of `loop`. */
#ifndef CONCLAVE_CONSENSUS_REPLICA_H
#define CONCLAVE_CONSENSUS_REPLICA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "base/err.h"

#define REPLICA_MEMBERS_MAX 7
#define REPLICA_COMMAND_MAX (1u << 20) /* bytes of one command */
#define REPLICA_ADDRESS_MAX 128
#define REPLICA_VERSION_MAX 20 /* bytes of a program's version, terminator included */

struct net;     /* net/net.h */
struct tls;     /* net/tls.h */
struct replica; /* opaque */

/* A place in the log: entry index (from 1) and the command's ordinal in that entry (from 0). Written INDEX.N. */
struct position {
    uint64_t index;
    uint32_t n;
};

enum replica_role { REPLICA_FOLLOWER, REPLICA_CANDIDATE, REPLICA_LEADER };

/* What the application does for the replica. All are called from the loop, `ctx` first. */
struct replica_app {
    void *ctx;
    /* Writes the first command of a term that this node leads; it will be alone in the term's first entry. Must
     * succeed. Comes before role_changed tells of it, and while entries of older terms may still be unapplied. */
    void (*first_command)(void *ctx, uint64_t term, struct buf *ret);
    /* Whether the program can apply the command (borrowed bytes). Asked for all commands of an entry before the first
     * of them is applied; not 0 is fatal with status 4, and nothing of the entry is applied. May be NULL. */
    int (*admit)(void *ctx, const uint8_t *command, size_t len, struct err *err);
    /* One committed command (borrowed bytes). `ticket` is what this node gave to replica_propose for it in this process
     * life, or NULL. There is no error: a bad command is an outcome. The application may stop the process. */
    void (*apply)(void *ctx, uint64_t term, struct position at, const uint8_t *command, size_t len, void *ticket);
    /* The last command of entry `index` has been applied: the place to note the state hash. */
    void (*entry_applied)(void *ctx, uint64_t index);
    /* The hash of the state behind entry `index`, if it is still known: false else, and for a position that was not
     * applied. Replicas compare it (agreement.h). NULL: they do not. */
    bool (*hash)(void *ctx, uint64_t index, uint8_t ret[16]);
    /* Leadership was lost before the outcome was known: the command may or may not commit later. */
    void (*dropped)(void *ctx, void *ticket);
    /* Role, term or known leader changed; leader_id is 0 while none is known. A leader may propose at once, but its
     * state is current only when its own first_command has been applied. */
    void (*role_changed)(void *ctx, enum replica_role role, uint64_t term, uint64_t leader_id);
    /* A snapshot of the state, written while the state goes on changing. begin: the state as it is now (all commands up
     * to some entry are applied, none later) is what more shall write, about `bytes` bytes at each call, appended to
     * `ret`; *ret_end says that these were the last. Each call must take a fraction of a millisecond only. end: the
     * rest is not wanted. One at a time; commands are applied between the calls, a restore never comes between them. */
    void (*snapshot_begin)(void *ctx);
    int (*snapshot_more)(void *ctx, size_t bytes, struct buf *ret, bool *ret_end);
    void (*snapshot_end)(void *ctx);
    /* And back: a loader takes the bytes, in pieces of any size, on another thread (or on this one, at the start), and
     * says at the end whether it can be restored from: ERR_CORRUPT, ERR_INCOMPATIBLE are fatal with status 4. loaded,
     * on the loop, exchanges the state with the loader's and must be quick; the loader is then freed with what it got,
     * on any thread. Several loaders may exist at a time. */
    void *(*loader_open)(void *ctx); /* never NULL */
    int (*loader_data)(void *loader, const uint8_t *data, size_t len, struct err *err);
    int (*loader_end)(void *loader, struct err *err);
    void (*loader_free)(void *loader);
    void (*loaded)(void *ctx, void *loader);
    /* Small applications leave the eight above NULL and give these: the whole state as bytes, at most 1 GiB; and back.
     * A restore that returns non-zero is fatal; its bytes are borrowed. */
    int (*snapshot)(void *ctx, struct buf *ret);
    int (*restore)(void *ctx, const uint8_t *data, size_t len, struct err *err);
    /* The process must end with `exit_status` (1: restart me; 4: corrupt or incompatible; 0: we were removed from the
     * cluster, there is nothing left to do); `why` has been logged.
     * Does not return to the replica's benefit: nothing is promised after it. */
    void (*fatal)(void *ctx, int exit_status, const char *why);
};

struct replica_member {
    uint64_t id;                       /* never 0, never re-used */
    char address[REPLICA_ADDRESS_MAX]; /* HOST:PORT of its peer port */
};

struct replica_config {
    const char *data_dir;                               /* exists, ours alone (locked) */
    uint8_t cluster_id[16];                             /* all masters of a cluster are given the same */
    uint64_t node_id;                                   /* ours, one of members */
    const char *listen;                                 /* HOST:PORT of our peer port */
    struct replica_member members[REPLICA_MEMBERS_MAX]; /* the voters a pristine folder is bootstrapped with */
    unsigned member_count;
    /* A pristine folder is not bootstrapped: the node waits until the cluster has added it (replica_change) and its
     * leader calls. `members` may then be just ourselves. The folder remembers it. */
    bool join;
    unsigned heartbeat_ms;   /* 50 */
    unsigned election_ms;    /* 300 */
    uint64_t segment_bytes;  /* of a log segment; 0 = 64 MiB */
    uint64_t snapshot_bytes; /* log bytes between snapshots; 0 = 64 MiB */
    /* What our program can apply, as told to the other masters: a number that means something to the application only,
     * 0 = does not say; and its version, for people. */
    uint32_t program_level;
    char program_version[REPLICA_VERSION_MAX];
    uint32_t hash_kind; /* hashes of different kinds are not compared: another number whenever the hash of the same
                           state becomes another; 0: never compared */
    bool skip_hold;     /* forget that an entry ended the program (crash_mark.h), and try it again */
    bool hold_ends;     /* rather than stay in hold, fail to open with ERR_CORRUPT */
    bool reinstall;     /* set damaged data aside and get it anew from the leader (reinstall.h) */
    struct tls *tls;    /* of the links between masters, borrowed until closed; NULL = none */
    struct net *net;    /* of the same loop, borrowed until closed; NULL = the replica makes its own */
};

/* Hold: when the same command has twice ended the program while it was applied, the replica opens without reading its
 * log. It applies, votes and acknowledges nothing; replica_alarms says HOLD and names the position.
 *
 * Opens the data folder (verifying all of it), listens for peers and starts. On error nothing is left open (the last
 * memory is freed when the loop runs). The only calls of the application from inside are those of a loader and
 * loaded, when there is a snapshot, and first_command and role_changed, in a cluster of one.
 * Errors: ERR_LOCKED, ERR_CORRUPT (text names file, offset and remedy), ERR_INCOMPATIBLE, ERR_INVALID (wrong cluster or
 * node id), ERR_IO. `app` is copied. */
int replica_open(uv_loop_t *loop, const struct replica_config *config, const struct replica_app *app,
                 struct replica **ret, struct err *err);
/* Stops everything; tickets that are still out come back through dropped; then closed(ctx), once, and the memory is
 * gone. */
void replica_close(struct replica *replica, void (*closed)(void *ctx), void *ctx);

/* Queues one command (bytes are copied, 1..REPLICA_COMMAND_MAX). Commands of one loop turn share an entry.
 * Returns 0 and the ticket comes back once (a NULL ticket does not); or ERR_NOT_LEADER (also while leadership is handed
 * over), ERR_BUSY (queue of 64 MiB or
 * 200,000 commands is full), ERR_FULL (the disks of half of the voters have no room for another entry), ERR_LIMIT, and
 * the ticket does not come back. */
int replica_propose(struct replica *replica, const uint8_t *command, size_t len, void *ticket);

/* Whether commands that make the state grow may be proposed: neither we nor half of the voters are below the soft
 * reserve of their disks. The owner knows which commands those are; all others must go on, for they are what makes the
 * state smaller. */
bool replica_may_grow(const struct replica *replica);

/* Linearizable read: cb(ctx, 0) once this node has applied everything that was committed anywhere before the call; or
 * cb(ctx, ERR_NO_QUORUM | ERR_CLOSED). Called exactly once, at most 1 s later, never inside the call. The leader asks a
 * majority, a follower asks its leader; without a leader it waits for one. */
void replica_read(struct replica *replica, void (*cb)(void *ctx, int status), void *ctx);

/* ---- membership: replica_members.c ---- */

enum replica_change_type {
    REPLICA_ADD,     /* a new node, as a learner: it gets the log and has no vote */
    REPLICA_PROMOTE, /* a learner becomes a voter, once it has caught up */
    REPLICA_DEMOTE,  /* a voter becomes a learner */
    REPLICA_REMOVE,
    REPLICA_TRANSFER /* another voter becomes the leader */
};

struct replica_change {
    enum replica_change_type type;
    uint64_t id;         /* ADD: never used before. TRANSFER: 0 = the voter that is furthest, of those that answer */
    const char *address; /* ADD: HOST:PORT of its peer port */
    bool force;          /* also if fewer than a majority of the voters would be alive afterwards */
};

/* Changes the membership, one change at a time, on the leader. Returns 0 and done(ctx, status, why) comes once, later:
 *   0                    committed (TRANSFER: another one leads)
 *   ERR_UNKNOWN_OUTCOME  leadership was lost meanwhile: look who the members are
 *   ERR_TIMEOUT          the learner did not catch up; or the other did not take over, and we lead on
 *   ERR_CLOSED
 * or an error whose text says what to do, and done never comes: ERR_NOT_LEADER, ERR_BUSY (a change is under way, or the
 * leader has not committed anything yet, or, unless `force`, a learner to be promoted has not been accepted by more
 * than half of the voters, so that it could not take part), ERR_NOT_FOUND (no such member), ERR_EXISTS (the id or the
 * address is taken, or the role is already so), ERR_LIMIT (REPLICA_MEMBERS_MAX), ERR_INVALID (address; the last voter),
 * ERR_NO_QUORUM (too few voters would be alive; `force` overrides), ERR_FORBIDDEN (the leader itself: hand over first;
 * a target that is no voter; and, unless `force`, a learner to be promoted or a voter to lead that is too far behind).
 * While leadership is handed over nothing is proposed: what is under way is committed first, and
 * replica_status.handing_over is true. It takes an election timeout at most, plus REPLICA_DRAIN_MS. */
#define REPLICA_DRAIN_MS         100u
#define REPLICA_PROMOTE_LAG_MAX  2000u /* entries that a learner may be behind when it is to be promoted */
#define REPLICA_TRANSFER_LAG_MAX 500u  /* and that a voter may be behind when it is to lead */
int replica_change(struct replica *replica, const struct replica_change *change,
                   void (*done)(void *ctx, int status, const char *why), void *ctx, struct err *err);
/* What replica_change would refuse now: 0 or that error. */
int replica_change_check(const struct replica *replica, const struct replica_change *change, struct err *err);
const char *replica_change_name(enum replica_change_type type); /* "add" */
/* Nothing new may be proposed: leadership is being handed over. */
bool replica_handing_over(const struct replica *replica);
/* The highest id among the members, as far as this node knows. */
uint64_t replica_highest_id(const struct replica *replica);

/* How much room the disk of a data folder has (store.h); higher is worse. FULL: below the hard mark, and the log has
 * less than a segment of the space that it has set aside, so that it takes no entries of others. */
enum replica_space { REPLICA_SPACE_OK, REPLICA_SPACE_SOFT, REPLICA_SPACE_HARD, REPLICA_SPACE_FULL };

struct replica_peer_status {
    uint64_t id;
    char address[REPLICA_ADDRESS_MAX];
    bool voter;
    bool connected;         /* an open connection from us to it */
    uint64_t match_index;   /* leader only */
    int64_t contact_ms;     /* since we last heard from it; -1 never */
    uint32_t program_level; /* of the process that last spoke to us under this id; 0 not known */
    char program_version[REPLICA_VERSION_MAX];
};

struct replica_status {
    enum replica_role role;
    uint64_t node_id, term, leader_id;
    uint64_t first_index, last_index, commit_index, applied_index, snapshot_index;
    int64_t leader_since_ms; /* how long this leader has been known here; -1 while none is */
    uint64_t log_bytes, disk_free_bytes;
    enum replica_space space;
    uint64_t writes, fsync_p50_us, fsync_p99_us; /* durable writes since start, and their latency */
    uint64_t pending_commands, pending_bytes;
    uint64_t configuration_index; /* of the entry that says who the members are */
    int64_t change_ms;            /* since a change of the membership is under way; -1 none is */
    enum replica_change_type change;
    uint64_t change_id;
    unsigned peer_count; /* ourselves included */
    struct replica_peer_status peers[REPLICA_MEMBERS_MAX];
};
void replica_status(struct replica *replica, struct replica_status *ret);
/* What an operator should know and do something about. */
#define REPLICA_ALARMS_MAX 24
struct replica_alarm {
    const char
        *code; /* static, stable: HOLD, DISK_SOFT, DISK_HARD, PEER_DISK, STATE_DIFFERS, NOT_ADMITTED, CATCHING_UP */
    int64_t since_ms; /* how long; 0 where that is not known */
    char text[192];
    const char *next; /* static: what to do */
};
/* Fills in at most `max`; returns how many. */
unsigned replica_alarms(struct replica *replica, struct replica_alarm *ret, unsigned max);
/* Everything that is counted since the start, for /metrics: cb for each, with a stable name such as "peers_dials". */
void replica_counters(struct replica *replica, void (*cb)(void *ctx, const char *name, uint64_t value), void *ctx);

/* Reads committed entries of the local log for inspection: cb for each of at most `count` entries from `from` on.
 * `type` is 1 command batch, 2 barrier, 3 configuration. Returns 0, or ERR_NOT_FOUND when `from` is below first_index
 * (then *ret_first is set) or above the commit index. Bytes are borrowed. */
int replica_log_read(struct replica *replica, uint64_t from, unsigned count,
                     void (*cb)(void *ctx, uint64_t index, uint64_t term, int type, const uint8_t *data, size_t len),
                     void *ctx, uint64_t *ret_first, struct err *err);

#endif
