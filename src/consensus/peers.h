/* SPDX-License-Identifier: Apache-2.0
 * The connections to the other masters: the network half of the raft_io under the guard.
 *
 * Each master dials each other one; a connection carries messages from the one who dialled, so two masters that see
 * each other have two. A snapshot travels on a third one, dialled for it and closed behind it, so that heartbeats never
 * wait behind bulk. AppendEntries keep their order among themselves (a heartbeat that overtakes entries would be
 * rejected and throw the leader back to probing; every entry message is a heartbeat as well); votes, results and
 * probes go in the priority lane.
 *
 *   dial -> HELLO -> WELCOME -> messages -> closed -> dial at once, then after 1, 2, 4 .. 200 ms
 *
 * A connection is believed only behind a HELLO with our protocol, our cluster id, our node id as its target, a member's
 * id as its source and the folder that we know under that id (pins.h); others are told why, cut, counted and logged.
 * Before its hello a peer may show who the members are (peer_members.h): so one that was away lets those in that were
 * added meanwhile, and a removed one learns from the refusal that it was removed.
 *
 * Who is dead: a closed connection says nothing by itself. We dial again at once; when that is refused and the peer has
 * no connection to us either, or another process (nonce) answers under its id, then the process we knew is gone and
 * `dead` is called, once. The same nonce, or silence, mean nothing: the ordinary election timer decides.
 *
 * Bounds: 16 MiB of messages waiting for a peer, then they are refused (the core sends again); one snapshot at a time
 * to each peer, and one from all of them (the newest term's); a sender is at most PEERS_SNAPSHOT_WINDOW bytes ahead of
 * what its receiver has dealt with; a peer that does not answer a PING for max(2 s, 4 x election timeout) is dialled
 * anew; a snapshot that makes no progress for 10 s has failed.
 *
 * Everything runs on the loop of `net`. */
#ifndef CONCLAVE_CONSENSUS_PEERS_H
#define CONCLAVE_CONSENSUS_PEERS_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "consensus/peer_codec.h"
#include "consensus/peer_members.h"
#include "net/net.h"

#define PEERS_MAX               15u         /* members other than ourselves */
#define PEERS_QUEUE_BYTES       (16u << 20) /* messages waiting for one peer */
#define PEERS_REDIAL_MAX_MS     200u        /* pause between two dials, and the first one after 1 ms */
#define PEERS_CONNECT_MIN_MS    10u         /* patience with a dial: doubled each time, to at least 1 s */
#define PEERS_PING_MS           250u
#define PEERS_SNAPSHOT_STALL_MS 10000u
#define PEERS_SNAPSHOT_WINDOW   (8u << 20)

struct peers; /* opaque */

/* Where the file of a snapshot comes from and goes to, when an InstallSnapshot message carries a manifest in its place
 * (store.h). Without (`open` is NULL) the message's own data travels, from memory to memory. */
struct peers_files {
    /* The file that `message` is about, and its size; RAFT_* if it cannot be sent. */
    int (*open)(void *ctx, const struct raft_message *message, void **ret_source, uint64_t *ret_size);
    /* The next up to `len` bytes for cb, later; status not 0: they cannot be read. One at a time. */
    void (*read)(void *source, size_t len, void (*cb)(void *data, int status, const uint8_t *bytes, size_t len),
                 void *data);
    void (*close)(void *source); /* no cb afterwards */
    /* A file of `size` bytes comes with `message`. cb says how many bytes of it are dealt with; at the end with the
     * data that the message shall have (of raft_malloc, the receiver's); or with a status, and last. ERR_EXISTS: it is
     * not needed, the core may be asked at once and answers that; anything else but 0: not now. */
    int (*receive)(void *ctx, const struct raft_message *message, uint64_t size,
                   void (*cb)(void *data, int status, uint64_t bytes, struct raft_buffer *done), void *data);
    int (*receive_data)(void *ctx, const uint8_t *bytes, size_t len);
    void (*receive_abandon)(void *ctx); /* no cb afterwards */
    void *ctx;
};

struct peers_config {
    struct net *net; /* borrowed until closed */
    uint8_t cluster_id[16];
    uint64_t node_id;
    uint32_t program_level; /* told in our hellos; see replica.h */
    char program_version[PEER_VERSION_BYTES];
    const char *listen; /* HOST:PORT, numeric; read by peers_open only */
    struct tls *tls;    /* of both directions; NULL: none. A hello's `from` must be the node of its certificate */
    unsigned election_ms;
    void *ctx; /* first argument of the callbacks */
    /* A message arrived; what it points to (entries, their batch, snapshot data, configuration) becomes the receiver's,
     * the struct and the address do not. Never called inside a function of this header. */
    void (*message)(void *ctx, struct raft_message *message);
    /* The process of `id` that we knew is gone. */
    void (*dead)(void *ctx, uint64_t id);
    uint64_t folder; /* the number of our own folder (identity.h), told in hellos; not 0 */
    /* Somebody with the folder `folder` speaks for the member `id`: 0, and it is noted durably; ERR_FORBIDDEN: another
     * folder is known, so it is refused; anything else cuts the connection. */
    int (*meet)(void *ctx, uint64_t id, uint64_t folder);
    /* `id` has answered our hello: it has noted our folder. */
    void (*accepted)(void *ctx, uint64_t id);
    /* `id` refuses us, because it knows another folder under our id. */
    void (*disowned)(void *ctx, uint64_t id);
    /* Fills in what our next PING says, and what a PING of `id` has said. Each may be NULL. */
    void (*vitals)(void *ctx, struct peer_vitals *ret);
    void (*told)(void *ctx, uint64_t id, const struct peer_vitals *vitals);
    struct peers_files files;
    /* `from`, perhaps a stranger, shows the newest committed configuration that it has, before its hello is judged:
     * here peers_member_set may make it a member. May be NULL. */
    void (*introduced)(void *ctx, uint64_t from, const struct peer_members *members);
    /* `by` refuses us: we are not in the committed configuration of entry `index`. May be NULL. */
    void (*removed)(void *ctx, uint64_t by, uint64_t index);
};

/* Listens. Nobody is dialled, and everybody is a stranger, until peers_member_set. Errors: ERR_INVALID (address),
 * ERR_IO (in use). On error nothing is left. */
int peers_open(const struct peers_config *config, struct peers **ret, struct err *err);

/* Makes `id` a member to be dialled at `address` (HOST:PORT), or gives it another address. Our own id is ignored.
 * ERR_INVALID for an address that cannot be read, ERR_LIMIT beyond PEERS_MAX, ERR_NOMEM. */
int peers_member_set(struct peers *peers, uint64_t id, const char *address, struct err *err);
/* Forgets every member that is not among `ids`, and cuts its connections. */
void peers_members_keep(struct peers *peers, const uint64_t *ids, unsigned n);

/* The newest committed configuration that we have: shown to whoever we dial, and its index told to strangers that we
 * refuse. The one that a cluster was made with (index 1) need not be shown: whoever has a log has it. */
void peers_members_tell(struct peers *peers, const struct peer_members *members);

/* Sends one message to message->server_id, encoded before the call returns. Returns 0, or RAFT_NOCONNECTION (unknown,
 * not connected) or RAFT_BUSY (its queue is full), RAFT_NOMEM. A snapshot's data must stay valid until `cb`, which then
 * is called exactly once, in a later loop turn: 0 when the peer's core has it, RAFT_NOCONNECTION or RAFT_CANCELED
 * otherwise. For other types `cb` is not used. */
int peers_send(struct peers *peers, const struct raft_message *message, struct raft_io_send *req, raft_io_send_cb cb);

struct peers_status {
    bool connected;         /* our messages reach it: welcomed, and not closed since */
    bool heard;             /* its messages reach us */
    int64_t contact_ms;     /* since it last sent anything; -1 never */
    uint64_t queued;        /* bytes waiting for it */
    uint32_t program_level; /* of the process that last said hello or welcome; 0 none yet */
    char program_version[PEER_VERSION_BYTES];
};
/* false: not a member. */
bool peers_status(const struct peers *peers, uint64_t id, struct peers_status *ret);

struct peers_counters {
    uint64_t sent, received;  /* messages */
    uint64_t unsent;          /* messages refused: not connected or queue full */
    uint64_t malformed;       /* frames that could not be read; their connection was cut */
    uint64_t refused;         /* hellos that were refused, and TLS handshakes with us */
    uint64_t dials, welcomes; /* connections tried and made by us */
    uint64_t deaths;          /* calls of `dead` */
    uint64_t snapshots_sent, snapshots_received, snapshots_failed;
    uint64_t silent; /* connections given up because a peer did not answer */
};
const struct peers_counters *peers_counters(const struct peers *peers);

/* Cuts everything; snapshots that are out complete with RAFT_CANCELED; then closed(ctx) once, from the loop, and the
 * memory is gone. No other callback comes after this call has returned, except those completions. */
void peers_close(struct peers *peers, void (*closed)(void *ctx), void *ctx);

#endif
