/* SPDX-License-Identifier: Apache-2.0
 * One node's store on a simulated disk, for tests: opens and loads it, keeps what was loaded in plain form, makes
 * entries whose content tells which they are. */
#ifndef CONCLAVE_TESTS_STORE_NODE_H
#define CONCLAVE_TESTS_STORE_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "consensus/identity.h"
#include "consensus/store.h"
#include "sim_disk.h"

#define NODE_ID 7u

struct node_entry {
    uint64_t term;
    uint64_t id; /* what node_entry_fill put into it; 0: of length 0 or not one of ours */
    size_t len;
    int type;
};

struct node {
    struct sim_disk *disk; /* the test's */
    struct store *store;   /* NULL while it is down */
    uint64_t segment_bytes, load_trailing;
    bool loads; /* the store has loaders: states come bit by bit, installs as files (see node_snapshot) */
    uint64_t now_ms;
    bool fatal; /* the store gave up */
    struct err err;
    /* of the last load */
    int load_rv;
    uint64_t term, voted_for, snapshot_index, snapshot_term, snapshot_id, start;
    size_t n;
    struct node_entry *entries;
    struct node_put *receiving; /* private: an install whose file arrives */
};

extern const struct identity node_identity;

/* Formats the disk. */
void node_format(struct sim_disk *disk);
/* Opens and loads; false with node->err set (node->load_rv is 0 if already the opening failed). */
bool node_start(struct node *node);
/* Also writes the first configuration. */
void node_bootstrap(struct node *node);
/* Lets everything that is pending happen, then ends the store. */
void node_stop(struct node *node);
/* Power goes; the store is gone. */
void node_crash(struct node *node);
void node_done(struct node *node);
/* Advances time in steps of 5 ms and completes what is pending. */
void node_run(struct node *node, uint64_t ms);
/* Until nothing is pending. */
void node_settle(struct node *node);

/* Appends one entry of `len` bytes (8 or more) and content `id`; *acked is set when it is durable. */
void node_append(struct node *node, uint64_t term, uint64_t id, size_t len, bool *acked);
/* The entry's content, `len` bytes. */
void node_entry_fill(uint64_t id, uint8_t *p, size_t len);
/* Puts a snapshot whose state tells `id`, of `len` bytes; *status is set when it completes (-1 until then). With
 * loaders one of our own is fed in bits, and an install (trailing 0) arrives as a file in pieces, is put, and its state
 * taken from the loader. */
void node_snapshot(struct node *node, uint64_t index, uint64_t term, unsigned trailing, uint64_t id, size_t len,
                   int *status);
/* The state bytes of such a snapshot. */
void node_state_fill(uint64_t id, uint8_t *p, size_t len);

#endif
