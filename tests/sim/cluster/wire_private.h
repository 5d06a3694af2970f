/* SPDX-License-Identifier: Apache-2.0
 * What wire.c (messages), wire_link.c (who hears whom) and wire_file.c (snapshots) share. */
#ifndef CONCLAVE_TESTS_CLUSTER_WIRE_PRIVATE_H
#define CONCLAVE_TESTS_CLUSTER_WIRE_PRIVATE_H

#include "cluster.h"

/* A process that another one may talk to. */
struct wire_member {
    uint64_t id;
    unsigned life;     /* of its process that has answered our hello; 0: none has */
    bool dialling;     /* an EVENT_DIAL is on its way */
    unsigned attempts; /* since the last answer */
};

struct peers {
    struct host *h;
    struct peers_config config;
    struct wire_member members[PEERS_MAX + 1];
    unsigned count;
    bool closing;
    struct peer_members members_told; /* by the replica: shown in hellos */
    struct transfer *receiving;       /* the snapshot that arrives here */
    struct peers_counters counters;
};

enum {
    WIRE_HELLO = -1,
    WIRE_WELCOME = -2,
    WIRE_DISOWNED = -3,
    WIRE_STRANGER = -4,
    WIRE_PING = -5
}; /* beside the types of raft_message */

struct wire_message {
    unsigned from, from_life, to;
    uint64_t order; /* of the messages between these two */
    int type;
    uint64_t number; /* HELLO, WELCOME: the folder; STRANGER: the entry that says who the members are */
    uint64_t life;   /* of the process that is answered */
    size_t size;
    uint8_t bytes[];
};

struct wire_member *wire_member(struct peers *p, uint64_t id); /* NULL: a stranger */
/* Whether messages get through from one process to the other now. */
bool wire_linked(const struct peers *from, const struct host *to);
uint64_t wire_delay(struct cluster *c);
/* Hands the message to the network, which may lose it; returns false then. */
bool wire_launch(struct cluster *c, struct wire_message *w);
void wire_greet(struct host *h, const struct wire_message *w); /* a HELLO and its answers */
void wire_dial(struct peers *p, struct wire_member *m, uint64_t us);

/* wire_file.c */
int file_send(struct peers *p, const struct raft_message *m, struct raft_io_send *req, raft_io_send_cb cb);
void file_forget(struct host *h); /* its process is gone */

#endif
