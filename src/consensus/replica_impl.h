/* SPDX-License-Identifier: Apache-2.0
 * What the files of replica.h share:
 *
 *   replica.c          open, close, the turn
 *   replica_io.c       the inner raft_io: store + peers + the tick
 *   replica_fsm.c      the applier: committed entries wait here and are handed out in slices
 *   replica_snapshot.c snapshots: taking, restoring, and their files between the store and the peers
 *   replica_propose.c  batching of commands, and their tickets
 *   replica_read.c     linearizable reads, and reading the log
 *   replica_gate.c     whether this node may take part: new, wiped and reinstalled folders
 *   replica_members.c  who the members are, and changes of that
 *   replica_space.c    room on the disk, and what is not done without it
 *   replica_vitals.c   what members tell each other of themselves; whether their states agree; alarms
 *   replica_status.c   status and counters
 *
 * The turn. What the core, the store and the network call back with is only noted; once a loop turn, behind the poll
 * (uv_check), the turn hands it on in a fixed order: role changes, committed commands (at most 2 ms of them), a bit of
 * a snapshot (at most half a millisecond), dropped tickets, reads, and last the proposals that came in meanwhile. So
 * the application is never called from inside the core, and all commands of a loop turn share an entry. While something
 * is left to do an idle handle keeps the poll from blocking. */
#ifndef CONCLAVE_CONSENSUS_REPLICA_IMPL_H
#define CONCLAVE_CONSENSUS_REPLICA_IMPL_H

#include <raft.h>
#include <uv.h>

#include "base/queue.h"
#include "base/rng.h"
#include "consensus/agreement.h"
#include "consensus/crash_mark.h"
#include "consensus/disk.h"
#include "consensus/entry.h"
#include "consensus/guard.h"
#include "consensus/peers.h"
#include "consensus/pins.h"
#include "consensus/reinstall.h"
#include "consensus/replica.h"
#include "consensus/store.h"

#define REPLICA_MAGIC 0x5245504cu

#define REPLICA_SLOTS             2u          /* own entries submitted and not yet committed */
#define REPLICA_QUEUE_BYTES       (64u << 20) /* commands waiting for a slot */
#define REPLICA_QUEUE_COMMANDS    200000u
#define REPLICA_SLICE_US          2000u /* of applying, a turn */
#define REPLICA_SNAPSHOT_SLICE_US 500u  /* of writing a snapshot, a turn */
#define REPLICA_SNAPSHOT_TICK_US  1250u /* and a tick: a quarter of the time */
#define REPLICA_SNAPSHOT_BYTES    (64u << 20)
#define REPLICA_ENTRIES_MAX       100000u /* entries between snapshots, whatever their size */
#define REPLICA_TRAILING_MIN      4u
#define REPLICA_BEHIND_MS         10000u /* a peer not heard from for so long needs no log kept */
#define REPLICA_READ_MS           1000u
#define REPLICA_ASK_MS            5u  /* pause before a read is asked for again */
#define REPLICA_READS_OUT_MAX     64u /* probes under way; further reads wait and share the next */
#define REPLICA_INSTALL_MS        5000u
/* Commands on their way into one entry; afterwards, their tickets on the way back. */
struct batch {
    struct queue queue; /* in waiting, in_flight or lost; or alone, held by an item of the applier */
    struct replica *replica;
    struct raft_apply apply;
    struct entry_builder builder;
    void **tickets; /* one a command */
    uint32_t count, capacity;
    uint64_t bytes; /* of the commands */
};

enum item_kind { ITEM_ENTRY, ITEM_RESTORE, ITEM_SNAPSHOT };

/* A committed entry, or what else must come in the order of the log, that the application has not been given yet. */
struct item {
    struct queue queue;
    uint64_t index, term;
    struct batch *batch; /* whose tickets these are, or NULL */
    enum item_kind kind; /* RESTORE: the state in `loader`; SNAPSHOT: begin one here; else `data` is an entry */
    bool begun;          /* `iter` is valid */
    struct entry_iter iter;
    uint32_t next; /* ordinal of the next command */
    void *loader;
    uint64_t state_bytes;
    size_t len;
    uint8_t data[];
};

/* The one change of the membership that may be under way. */
struct change {
    bool busy;
    enum { CHANGE_BEGIN, CHANGE_DRAIN, CHANGE_CORE } step; /* to be begun; waiting for proposals; the core has it */
    bool learner_next;                                     /* ADD: in the configuration, to be made a learner next */
    bool answered;                                         /* by the core: `status` is its RAFT_* code */
    int status;
    enum replica_change_type type;
    uint64_t id;
    char address[REPLICA_ADDRESS_MAX];
    uint64_t since_ms;
    struct raft_change request;
    struct raft_transfer transfer;
    void (*done)(void *ctx, int status, const char *why);
    void *ctx;
};

struct fatal {
    bool pending, told;
    int exit_status;
    char why[256];
};

/* What another member has told of itself. */
struct member_vitals {
    uint64_t id;
    struct peer_vitals told;
    uint64_t differs_index, differs_ms; /* where its state differed from ours, and since when; 0 it does not */
};

struct replica {
    uint32_t magic;
    uv_loop_t *loop;
    struct replica_app app;
    struct replica_config config; /* pointers in it are NULL but net */
    struct rng rng;

    /* the layers, from the disk upward */
    struct disk *disk;
    struct store *store;
    struct net *net;
    bool net_ours;
    struct peers *peers;
    struct raft_io inner, outer;
    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    struct guard *guard;
    struct raft_fsm fsm;
    struct raft core;
    bool core_ready; /* raft_init has succeeded */

    /* the turn */
    uv_check_t check;
    uv_idle_t idle;
    uv_timer_t ticker;
    uint64_t ticked_ms;   /* last tick, for the watchdog */
    uint64_t turn_cpu_us; /* CPU time of the thread when the last turn began */
    uint64_t slice_max_us,
        slices_over_10ms; /* CPU time from one turn to the next: the longest, and how often over 10 ms */
    uint64_t gap_logged_ms;
    struct fatal fatal;
    struct guard_view view, told; /* what is, and what the application knows */
    uint64_t leader_since_ms;     /* 0 while none is known */
    uint64_t configuration_seen;  /* index of the configuration that peers knows */
    uint64_t configuration_uncommitted_seen;

    /* replica_members.c */
    bool joined;                 /* the folder was made to join: never bootstrapped */
    bool members_followed;       /* once, at least */
    uint64_t told_members;       /* index of the committed configuration that peers shows */
    struct peer_members vouched; /* a newer configuration than ours, shown by a peer; index 0: none */
    struct peer_members settled; /* the newest configuration of our log that is committed for certain; index 0: none */
    struct change change;

    /* replica_propose.c */
    struct queue waiting, in_flight, lost; /* of struct batch */
    unsigned in_flight_count;
    uint64_t waiting_commands, waiting_bytes;

    /* replica_fsm.c */
    struct queue items; /* of struct item, in log order */
    uint64_t items_bytes;
    uint64_t applied;                /* index of the last item that was handed out */
    uint64_t log_bytes, log_entries; /* since the last snapshot */

    /* replica_snapshot.c */
    bool snapshotting;  /* the core waits for one of ours */
    bool snapshot_open; /* and it is being written */
    struct buf bits;    /* of it, on their way to the store */
    uint64_t snapshot_index, snapshot_bytes, snapshot_begun_us, snapshot_busy_us, snapshot_slice_us; /* for the log */
    uint64_t snapshot_credit_us; /* what is left of REPLICA_SNAPSHOT_TICK_US */
    void (*received)(void *data, int status, uint64_t bytes, struct raft_buffer *done);
    void *received_data;

    /* replica_read.c */
    struct queue reads;  /* new ones */
    struct queue probes; /* of struct probe: asked, or waiting to be applied */
    unsigned probes_out;
    uint64_t ask_ms; /* not before: the last question was answered with no */

    /* replica_gate.c */
    struct pins pins;
    uint64_t accepted[PEERS_MAX]; /* members that have answered our hello in this process life */
    unsigned accepted_count;
    uint64_t waiting_since_ms, waiting_told_ms; /* to be admitted; 0 not waiting */
    uint64_t barred;                            /* up to this term (reinstall.h); 0: not */
    uint64_t barred_seen;                       /* commit index at which it was last looked at */
    uint64_t leaderless_since_ms;               /* barred, and no leader is known; 0 else */
    uint64_t leaderless_told_ms;

    /* hold */
    struct crash_mark *crash_mark;
    struct crash_found crashed; /* of earlier lives */
    bool hold;
    uint64_t hold_since_ms;

    /* replica_space.c */
    uint64_t space_ms; /* when it was last looked at */
    struct store_space space;
    enum replica_space space_level;
    uint64_t space_since_ms;    /* of the level */
    bool space_handover;        /* to a voter with more room */
    uint64_t space_handover_ms; /* when it was last tried, 0 never */
    uint64_t space_told_ms;     /* when it was last logged that a snapshot finds no room, 0 never */
    uint64_t entries_declined;  /* requests whose entries were left out */

    /* replica_vitals.c */
    struct member_vitals vitals[PEERS_MAX];
    unsigned vitals_count;

    /* the end */
    bool closing;
    unsigned pending; /* handles and parts still to be closed */
    void (*closed)(void *ctx);
    void *closed_ctx;
    raft_io_close_cb io_closed;
};

/* replica.c */
/* Something is left for the turn. */
void replica_wake(struct replica *r);
/* Notes that the process must end; the application is told in the turn. The first reason stays. */
void replica_fail(struct replica *r, int exit_status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
enum replica_role replica_role_of(const struct guard_view *view);
/* Everything up to here is applied. */
uint64_t replica_applied(const struct replica *r);

/* replica_io.c */
void replica_io_init(struct replica *r);
/* Closes store and peers, as far as there are any; then closed(inner), never inside. */
void replica_io_close(struct raft_io *io, raft_io_close_cb closed);

/* replica_fsm.c */
void replica_fsm_init(struct replica *r);
/* Hands out items for at most `slice_us` (0: until none is left). */
void replica_apply(struct replica *r, uint64_t slice_us);
/* Hands out the snapshot that raft_start has left, if it did. Returns 0 or what restore said. */
int replica_restore_first(struct replica *r, struct err *err);
/* Frees all items; their tickets go to `lost`. */
void replica_items_free(struct replica *r);

struct item *replica_item_new(struct replica *r, uint64_t index, const struct raft_buffer *data); /* NULL: failed */
void replica_item_push(struct replica *r, struct item *item);

/* replica_snapshot.c */
int replica_snapshot_cb(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs);
int replica_restore_cb(struct raft_fsm *fsm, struct raft_buffer *buf);
/* One more entry of so many bytes. */
void replica_snapshot_count(struct replica *r, size_t len);
/* The state is that of entry `index`: the snapshot that was asked for there begins. */
void replica_snapshot_open(struct replica *r, uint64_t index);
/* Writes on for a slice, while credit is left; a tick gives REPLICA_SNAPSHOT_TICK_US of it. */
void replica_snapshot_turn(struct replica *r);
void replica_snapshot_tick(struct replica *r);
/* Whether the next turn has something to do for it. */
bool replica_snapshot_goes_on(const struct replica *r);
void replica_snapshot_abandon(struct replica *r); /* at the end of the replica */
/* Frees a snapshot that has arrived and that the core did not want, as it had all of it meanwhile. */
void replica_arrived_tick(struct replica *r);
/* Gives the item's state to the application; what it had is freed with the item. */
int replica_restore(struct replica *r, struct item *item, struct err *err);
void replica_loader_ops(const struct replica *r, struct store_loader_ops *ret);
void replica_loader_drop(struct replica *r, void *loader);
void replica_files(struct replica *r, struct peers_files *ret);

/* replica_propose.c */
void replica_flush(struct replica *r); /* waiting commands into free slots */
void replica_drop_waiting(struct replica *r);
void replica_tell_dropped(struct replica *r);
void batch_free(struct batch *batch);

/* replica_gate.c */
/* What a reinstalled node that finds no leader tells its operator. */
#define REPLICA_LEADERLESS_NEXT                                                                                        \
    "start the other masters: a majority must be there without this one. If they are lost, or there never was "        \
    "another, "                                                                                                        \
    "it waits for ever: docs/OPERATING.md, 'The last copy is damaged'"
/* Reads who we are and whom we know; sets damaged data aside if that is wanted. Before the store is opened. */
int replica_gate_open(struct replica *r, bool reinstall, struct err *err);
/* Behind load, before anything is received: a lone voter needs nobody's acceptance. */
void replica_gate_start(struct replica *r);
/* Whether the core may have this message, and whether it may be ticked. */
bool replica_gate_passes(const struct replica *r, const struct raft_message *message);
bool replica_gate_ticks(const struct replica *r);
void replica_gate_tick(struct replica *r);
/* How we stand, PEER_STANDING_*; of a learner ADMITTED says that as a voter it could take part at once. */
uint32_t replica_gate_standing(const struct replica *r);
/* What peers call. */
int replica_gate_meet(void *ctx, uint64_t id, uint64_t folder);
void replica_gate_accepted(void *ctx, uint64_t id);
void replica_gate_disowned(void *ctx, uint64_t id);
/* replica_members.c */
/* Peers are who the configuration in the log says they are, and whom a newer one names that a peer has shown. */
void replica_members_follow(struct replica *r);
/* What the disk had, before the core is given it: here are configurations that the core does not remember. */
void replica_members_loaded(struct replica *r, const struct raft_snapshot *snapshot, uint64_t first,
                            const struct raft_entry *entries, size_t n);
void replica_members_introduced(void *ctx, uint64_t from, const struct peer_members *members);
void replica_members_removed(void *ctx, uint64_t by, uint64_t index);
/* Goes on with a change, or ends it. */
void replica_change_turn(struct replica *r);
/* Leader: whether `id` hears us and has nearly all that we have, so that a hand-over to it is short. */
bool replica_may_take_over(const struct replica *r, uint64_t id);
/* Ends it with ERR_CLOSED. */
void replica_change_close(struct replica *r);

/* replica_space.c */
enum replica_space replica_space_judge(enum replica_space before, const struct store_space *space);
void replica_space_tick(struct replica *r, uint64_t now_ms);
/* Not even what ends tasks fits into the log. */
bool replica_log_full(const struct replica *r);
/* Whether the file of a snapshot of so many bytes may begin to arrive. */
bool replica_space_receives(const struct store_space *space, uint64_t bytes);
/* Whether the core may have the message; takes entries out of one that would be too much for the disk. */
bool replica_space_passes(struct replica *r, struct raft_message *message);

/* replica_vitals.c: what peers call, `ctx` is the replica */
void replica_vitals_fill(void *ctx, struct peer_vitals *ret);
void replica_vitals_told(void *ctx, uint64_t id, const struct peer_vitals *told);
/* NULL: it has not told anything. */
const struct member_vitals *replica_vitals_of(const struct replica *r, uint64_t id);

/* replica_read.c */
void replica_reads_turn(struct replica *r);
void replica_reads_fail(struct replica *r, int status);
/* The entry of the core's log in memory, or NULL. */
const struct raft_entry *replica_entry(const struct raft *core, uint64_t index);

#endif
