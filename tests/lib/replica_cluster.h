/* SPDX-License-Identifier: Apache-2.0
 * Replicas in one process, on one loop, over loopback and a folder on disk, with an application that keeps a hash chain
 * over all commands and remembers which ids it has seen. A command is a u64 id and filler. Header only: each test
 * program is one translation unit. */
#ifndef CONCLAVE_TESTS_REPLICA_CLUSTER_H
#define CONCLAVE_TESTS_REPLICA_CLUSTER_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "consensus/replica.h"

#ifndef CLUSTER_NODES /* those above `members` join */
#define CLUSTER_NODES 3
#endif
#define CLUSTER_HASHES 8192
#define CLUSTER_IDS    400000 /* commands of one test, at most */

/* The replicated state of the test. */
struct chain {
    uint64_t commands; /* applied, first commands included */
    uint64_t twice;    /* ids applied more than once */
    struct hash128 hash;
    uint8_t seen[CLUSTER_IDS];
};

struct cluster;

struct node {
    struct cluster *cluster;
    uint64_t id;
    struct replica *replica; /* NULL while closed */
    bool closing;
    enum replica_role role;
    uint64_t term, leader_id;
    uint64_t applied; /* index of the last entry_applied */
    unsigned snapshots, restores;
    int fatal;         /* exit status asked for, 0 none */
    char why[256];     /* with it */
    bool reinstall;    /* opened with this flag */
    bool removed;      /* it was told that it is no member any more */
    bool stranger;     /* it begins a cluster of its own beside the others, under the same cluster id */
    uint64_t close_at; /* number of commands at which apply closes the replica, 0 never */
    struct chain chain;
    uint64_t hashed[CLUSTER_HASHES]; /* index, and the chain's hash behind it */
    struct hash128 hashes[CLUSTER_HASHES];
};

struct cluster {
    uv_loop_t loop;
    uv_timer_t pulse; /* so that waiting for a condition looks at it now and then */
    char dir[256];
    struct node nodes[CLUSTER_NODES];
    unsigned members;
    uint64_t snapshot_bytes;
    size_t command_bytes;
    uint64_t next_id; /* of the next command */
    uint64_t out;     /* tickets out */
    uint64_t acked, dropped;
    uint8_t ack[CLUSTER_IDS]; /* 1 proposed, 2 acknowledged, 3 dropped */
};

/* Each process has loopback addresses of its own, so that test programs may run side by side. */
static inline void cluster_address(uint64_t id, char *ret, size_t len) {
    unsigned pid = (unsigned)getpid();
    (void)snprintf(ret, len, "127.%u.%u.%u:5060", 64 + (pid >> 12) % 60, pid >> 4 & 255,
                   1 + (pid & 15) * 15 + (unsigned)id);
}

static inline void node_closed_cb(void *ctx) {
    struct node *node = ctx;
    node->replica = NULL;
    node->closing = false;
}

static inline void app_first_command(void *ctx, uint64_t term, struct buf *ret) {
    (void)ctx;
    buf_append_u64(ret, UINT64_MAX);
    buf_append_u64(ret, term);
}

static inline void app_apply(void *ctx, uint64_t term, struct position at, const uint8_t *command, size_t len,
                             void *ticket) {
    struct node *node = ctx;
    struct cluster *c = node->cluster;
    (void)term;
    CHECK(at.index > node->applied);
    struct hash128 both[2] = {node->chain.hash, hash128_of(command, len)};
    node->chain.hash = hash128_of(both, sizeof both);
    node->chain.commands++;
    uint64_t id = load_u64(command);
    if (id < CLUSTER_IDS && node->chain.seen[id]++) node->chain.twice++;
    if (node->close_at != 0 && node->chain.commands >= node->close_at) {
        node->close_at = 0;
        node->closing = true;
        replica_close(node->replica, node_closed_cb, node);
    }
    if (ticket == NULL) return;
    CHECK(ticket == (void *)(uintptr_t)(id + 1));
    CHECK(c->ack[id] == 1);
    c->ack[id] = 2;
    c->acked++;
    c->out--;
}

static inline void app_entry_applied(void *ctx, uint64_t index) {
    struct node *node = ctx;
    CHECK(index > node->applied);
    node->applied = index;
    node->hashed[index % CLUSTER_HASHES] = index;
    node->hashes[index % CLUSTER_HASHES] = node->chain.hash;
}

static inline bool app_hash(void *ctx, uint64_t index, uint8_t ret[16]) {
    const struct node *node = ctx;
    if (index == 0 || node->hashed[index % CLUSTER_HASHES] != index) return false;
    memcpy(ret, &node->hashes[index % CLUSTER_HASHES], 16);
    return true;
}

static inline void app_dropped(void *ctx, void *ticket) {
    struct node *node = ctx;
    uint64_t id = (uint64_t)(uintptr_t)ticket - 1;
    CHECK(node->cluster->ack[id] == 1);
    node->cluster->ack[id] = 3;
    node->cluster->dropped++;
    node->cluster->out--;
}

static inline void app_role_changed(void *ctx, enum replica_role role, uint64_t term, uint64_t leader_id) {
    struct node *node = ctx;
    CHECK(term >= node->term);
    node->role = role;
    node->term = term;
    node->leader_id = leader_id;
}

static inline int app_snapshot(void *ctx, struct buf *ret) {
    struct node *node = ctx;
    node->snapshots++;
    buf_append_u64(ret, node->applied);
    return buf_append(ret, &node->chain, sizeof node->chain);
}

static inline int app_restore(void *ctx, const uint8_t *data, size_t len, struct err *err) {
    struct node *node = ctx;
    if (len != 8 + sizeof node->chain) return err_set(err, ERR_CORRUPT, "%zu bytes of state", len);
    node->restores++;
    node->applied = load_u64(data);
    memcpy(&node->chain, data + 8, sizeof node->chain);
    return 0;
}

static inline void app_fatal(void *ctx, int exit_status, const char *why) {
    struct node *node = ctx;
    (void)fprintf(stderr, "node %" PRIu64 ": fatal %d: %s\n", node->id, exit_status, why);
    node->fatal = exit_status;
    (void)snprintf(node->why, sizeof node->why, "%s", why);
    node->removed = exit_status == 0;
}

static inline void pulse_cb(uv_timer_t *timer) {
    (void)timer;
}

static inline void cluster_init(struct cluster *c, unsigned members) {
    log_setup(getenv("VERBOSE") ? LOG_INFO : LOG_ERROR, NULL);
    memset(c, 0, sizeof *c);
    CHECK(uv_loop_init(&c->loop) == 0);
    CHECK(uv_timer_init(&c->loop, &c->pulse) == 0);
    CHECK(uv_timer_start(&c->pulse, pulse_cb, 5, 5) == 0);
    (void)snprintf(c->dir, sizeof c->dir, "%s/replica-test-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp");
    CHECK(mkdtemp(c->dir) != NULL);
    c->members = members;
    c->command_bytes = 64;
    for (unsigned i = 0; i < CLUSTER_NODES; i++) {
        c->nodes[i].cluster = c;
        c->nodes[i].id = i + 1;
    }
}

static inline void node_config(const struct node *node, struct replica_config *ret, char *dir, char *listen) {
    struct cluster *c = node->cluster;
    *ret = (struct replica_config){.data_dir = dir,
                                   .cluster_id = "a test cluster.",
                                   .node_id = node->id,
                                   .listen = listen,
                                   .member_count = c->members,
                                   .heartbeat_ms = 50,
                                   .election_ms = 300,
                                   .segment_bytes = 4u << 20,
                                   .hash_kind = 1,
                                   .reinstall = node->reinstall,
                                   .snapshot_bytes = c->snapshot_bytes};
    (void)snprintf(dir, 300, "%s/%" PRIu64, c->dir, node->id);
    (void)mkdir(dir, 0700);
    cluster_address(node->id, listen, REPLICA_ADDRESS_MAX);
    if (node->id > c->members) { /* a cluster as made has members 1..n; whoever comes later joins */
        ret->join = !node->stranger;
        ret->member_count = 1;
        ret->members[0].id = node->id;
        cluster_address(node->id, ret->members[0].address, REPLICA_ADDRESS_MAX);
        return;
    }
    for (unsigned i = 0; i < c->members; i++) {
        ret->members[i].id = i + 1;
        cluster_address(i + 1, ret->members[i].address, REPLICA_ADDRESS_MAX);
    }
}

static inline void app_of(struct node *node, struct replica_app *ret) {
    *ret = (struct replica_app){.ctx = node,
                                .first_command = app_first_command,
                                .apply = app_apply,
                                .entry_applied = app_entry_applied,
                                .hash = app_hash,
                                .dropped = app_dropped,
                                .role_changed = app_role_changed,
                                .snapshot = app_snapshot,
                                .restore = app_restore,
                                .fatal = app_fatal};
}

static inline int node_open(struct node *node, struct err *err) {
    struct replica_config config;
    struct replica_app app;
    app_of(node, &app);
    char dir[300], listen[REPLICA_ADDRESS_MAX];
    node_config(node, &config, dir, listen);
    memset(&node->chain, 0, sizeof node->chain);
    memset(node->hashed, 0, sizeof node->hashed);
    node->applied = 0;
    node->role = REPLICA_FOLLOWER;
    node->leader_id = 0;
    node->term = 0;
    return replica_open(&node->cluster->loop, &config, &app, &node->replica, err);
}

static inline void node_start(struct cluster *c, unsigned i) {
    struct err err = {0};
    int rv = node_open(&c->nodes[i], &err);
    if (rv != 0) (void)fprintf(stderr, "node %u: %s: %s\n", i + 1, err_name(rv), err.text);
    CHECK(rv == 0);
}

/* Runs the loop until condition(c) or `ms` have passed; returns whether it held. */
static inline bool cluster_wait(struct cluster *c, bool (*condition)(struct cluster *c), unsigned ms) {
    uint64_t until = clock_mono_ms() + ms;
    while (!condition(c)) {
        if (clock_mono_ms() >= until) return false;
        uv_run(&c->loop, UV_RUN_ONCE);
    }
    return true;
}

static inline void cluster_run(struct cluster *c, unsigned ms) {
    uint64_t until = clock_mono_ms() + ms;
    while (clock_mono_ms() < until)
        uv_run(&c->loop, UV_RUN_ONCE);
}

static inline void node_stop(struct cluster *c, unsigned i) {
    struct node *node = &c->nodes[i];
    node->closing = true;
    replica_close(node->replica, node_closed_cb, node);
    for (unsigned turns = 0; node->closing; turns++) {
        CHECK(turns < 100000);
        uv_run(&c->loop, UV_RUN_ONCE);
    }
}

static inline struct node *cluster_leader(struct cluster *c) {
    struct node *found = NULL;
    for (unsigned i = 0; i < CLUSTER_NODES; i++) {
        struct node *node = &c->nodes[i];
        if (node->replica == NULL || node->role != REPLICA_LEADER) continue;
        if (found == NULL || node->term > found->term) found = node;
    }
    return found;
}

static inline bool has_leader(struct cluster *c) {
    return cluster_leader(c) != NULL;
}

/* Proposes one command on the leader; false when it was refused. */
static inline bool cluster_propose(struct cluster *c) {
    struct node *leader = cluster_leader(c);
    uint8_t command[4096] = {0};
    uint64_t id = c->next_id;
    CHECK(id < CLUSTER_IDS && c->command_bytes >= 8 && c->command_bytes <= sizeof command);
    if (leader == NULL) return false;
    store_u64(command, id);
    if (replica_propose(leader->replica, command, c->command_bytes, (void *)(uintptr_t)(id + 1)) != 0) return false;
    c->ack[id] = 1;
    c->next_id++;
    c->out++;
    return true;
}

/* Every running node has applied all that the furthest has, and the chains are one. */
static inline bool cluster_level(struct cluster *c) {
    uint64_t most = 0;
    for (unsigned i = 0; i < CLUSTER_NODES; i++)
        if (c->nodes[i].replica && c->nodes[i].applied > most) most = c->nodes[i].applied;
    const struct node *first = NULL;
    for (unsigned i = 0; i < CLUSTER_NODES; i++) {
        const struct node *node = &c->nodes[i];
        if (node->replica == NULL) continue;
        if (node->applied != most) return false;
        if (first == NULL) first = node;
        if (!hash128_equal(node->chain.hash, first->chain.hash) || node->chain.commands != first->chain.commands)
            return false;
    }
    return c->out == 0;
}

/* Acknowledged commands that the node has not applied. */
static inline uint64_t node_lost(const struct node *node) {
    uint64_t lost = 0;
    for (uint64_t id = 0; id < node->cluster->next_id; id++)
        if (node->cluster->ack[id] == 2 && node->chain.seen[id] == 0) lost++;
    return lost;
}

static inline void cluster_done(struct cluster *c) {
    for (unsigned i = 0; i < CLUSTER_NODES; i++)
        if (c->nodes[i].replica) node_stop(c, i);
    uv_close((uv_handle_t *)&c->pulse, NULL);
    uv_run(&c->loop, UV_RUN_DEFAULT);
    CHECK(uv_loop_close(&c->loop) == 0);
    char command[400];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", c->dir);
    CHECK(system(command) == 0);
}

#endif
