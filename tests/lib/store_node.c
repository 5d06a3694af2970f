/* SPDX-License-Identifier: Apache-2.0 */
#include "store_node.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/rng.h"
#include "consensus/snapshot_file.h"

const struct identity node_identity = {
    .cluster_id = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, .node_id = NODE_ID, .created_ms = 1};

void node_format(struct sim_disk *disk) {
    struct err err;
    CHECK(identity_format(sim_disk_face(disk), &node_identity, &err) == 0);
}

void node_entry_fill(uint64_t id, uint8_t *p, size_t len) {
    struct rng rng;
    rng_seed(&rng, id);
    CHECK(len >= 8);
    store_u64(p, id);
    for (size_t i = 8; i < len; i++)
        p[i] = (uint8_t)rng_next(&rng);
}

static uint64_t content_id(const uint8_t *p, size_t len) {
    if (len < 8) return 0;
    uint64_t id = load_u64(p);
    uint8_t *again = malloc(len);
    CHECK(again);
    node_entry_fill(id, again, len);
    if (memcmp(again, p, len) != 0) id = 0;
    free(again);
    return id;
}

void node_state_fill(uint64_t id, uint8_t *p, size_t len) {
    node_entry_fill(id, p, len);
    for (size_t i = 8; i < len; i += 7) /* something to compress */
        p[i] = 0;
}

static uint64_t state_id(const uint8_t *p, size_t len) {
    if (len < 8) return 0;
    uint64_t id = load_u64(p);
    uint8_t *again = malloc(len);
    CHECK(again);
    node_state_fill(id, again, len);
    if (memcmp(again, p, len) != 0) id = 0;
    free(again);
    return id;
}

static void on_fatal(void *data, const struct err *err) {
    struct node *node = data;
    node->fatal = true;
    node->err = *err;
}

/* ---- loaders that keep the bytes ---- */

static void *loader_open(void *ctx) {
    struct buf *bytes = calloc(1, sizeof *bytes);
    (void)ctx;
    CHECK(bytes);
    buf_init(bytes, 64u << 20);
    return bytes;
}

static int loader_data(void *loader, const uint8_t *data, size_t len, struct err *err) {
    (void)err;
    return buf_append(loader, data, len);
}

static int loader_end(void *loader, struct err *err) {
    (void)loader, (void)err;
    return 0;
}

static void loader_free(void *loader) {
    buf_done(loader);
    free(loader);
}

/* The id in the state of the loader that belongs to this manifest; 0: there is none. */
static uint64_t loader_id(struct node *node, const struct raft_buffer *manifest) {
    struct snapshot_manifest m;
    struct buf *bytes =
        snapshot_manifest_decode(manifest->base, manifest->len, &m) ? store_loader_take(node->store, &m) : NULL;
    if (!bytes) return 0;
    uint64_t id = state_id(bytes->data, bytes->len);
    loader_free(bytes);
    return id;
}

static bool node_open(struct node *node) {
    struct store_config config = {.disk = sim_disk_face(node->disk),
                                  .node_id = NODE_ID,
                                  .segment_bytes = node->segment_bytes,
                                  .load_trailing = node->load_trailing,
                                  .nonce_seed = sim_disk_steps(node->disk) * 2 + 1,
                                  .fatal = on_fatal,
                                  .data = node};
    memcpy(config.cluster_id, node_identity.cluster_id, 16);
    if (node->loads)
        config.loader =
            (struct store_loader_ops){.open = loader_open, .data = loader_data, .end = loader_end, .free = loader_free};
    node->fatal = false;
    node->load_rv = 0;
    return store_open(&config, &node->store, &node->err) == 0;
}

/* Keeps the loaded entries, frees what the core would own. */
static void entries_keep(struct node *node, struct raft_entry *entries, size_t n) {
    free(node->entries);
    node->entries = calloc(n + 1, sizeof *node->entries);
    CHECK(node->entries);
    node->n = n;
    void *batch = NULL;
    for (size_t i = 0; i < n; i++) {
        const struct raft_entry *e = &entries[i];
        CHECK(e->batch && (uintptr_t)e->buf.base % 8 == 0);
        node->entries[i] = (struct node_entry){
            .term = e->term, .id = content_id(e->buf.base, e->buf.len), .len = e->buf.len, .type = e->type};
    }
    for (size_t i = 0; i < n; i++) {
        if (entries[i].batch == batch) continue;
        batch = entries[i].batch;
        raft_free(batch);
    }
    raft_free(entries);
}

bool node_start(struct node *node) {
    raft_term term = 0;
    raft_id voted_for = 0;
    raft_index start = 0;
    struct raft_snapshot *snapshot = NULL;
    struct raft_entry *entries = NULL;
    size_t n = 0;
    if (!node->store && !node_open(node)) return false;
    node->load_rv = store_load(node->store, &term, &voted_for, &snapshot, &start, &entries, &n);
    if (node->load_rv != 0) {
        node->err = *store_error(node->store);
        store_abandon(node->store);
        node->store = NULL;
        return false;
    }
    node->term = term;
    node->voted_for = voted_for;
    node->start = start;
    node->snapshot_index = snapshot ? snapshot->index : 0;
    node->snapshot_term = snapshot ? snapshot->term : 0;
    node->snapshot_id = 0;
    if (snapshot && node->loads) node->snapshot_id = loader_id(node, &snapshot->bufs[0]);
    if (snapshot && !node->loads) node->snapshot_id = state_id(snapshot->bufs[0].base, snapshot->bufs[0].len);
    CHECK(!snapshot || (snapshot->configuration.n == 1 && snapshot->configuration.servers[0].id == NODE_ID));
    snapshot_free(snapshot);
    entries_keep(node, entries, n);
    return true;
}

void node_bootstrap(struct node *node) {
    struct raft_configuration c;
    raft_configuration_init(&c);
    CHECK(raft_configuration_add(&c, NODE_ID, "127.0.0.1:5060", RAFT_VOTER) == 0);
    CHECK(node_open(node));
    CHECK(store_bootstrap(node->store, &c) == 0);
    raft_configuration_close(&c);
    CHECK(node_start(node));
}

void node_settle(struct node *node) {
    (void)sim_disk_pump(node->disk, 100000);
    CHECK(sim_disk_pending(node->disk) == 0 || sim_disk_dead(node->disk));
}

void node_run(struct node *node, uint64_t ms) {
    for (uint64_t t = 0; t < ms; t += 5) {
        node->now_ms += 5;
        store_tick(node->store, node->now_ms);
        node_settle(node);
    }
}

static void stopped(void *data) {
    struct node *node = data;
    node->store = NULL;
}

void node_stop(struct node *node) {
    store_close(node->store, stopped, node);
    if (node->store) node_settle(node);
    CHECK(!node->store);
}

static void put_free(struct node_put *p);

void node_crash(struct node *node) {
    sim_disk_crash(node->disk);
    if (node->store) store_abandon(node->store);
    node->store = NULL;
    if (node->receiving) put_free(node->receiving);
    node->receiving = NULL;
}

void node_done(struct node *node) {
    if (node->store) node_crash(node);
    free(node->entries);
    node->entries = NULL;
}

/* ---- requests ---- */

struct append {
    struct raft_io_append req;
    bool *acked;
};

static void appended(struct raft_io_append *req, int status) {
    struct append *a = req->data;
    if (status == 0 && a->acked) *a->acked = true;
    free(a);
}

void node_append(struct node *node, uint64_t term, uint64_t id, size_t len, bool *acked) {
    struct append *a = calloc(1, sizeof *a);
    uint8_t *bytes = malloc(len);
    CHECK(a && bytes);
    a->req.data = a;
    a->acked = acked;
    node_entry_fill(id, bytes, len);
    struct raft_entry e = {.term = term, .type = RAFT_COMMAND, .buf = {.base = bytes, .len = len}};
    CHECK(store_append(node->store, &a->req, &e, 1, appended) == 0);
    free(bytes);
}

struct node_put {
    struct node *node;
    struct raft_io_snapshot_put req;
    struct raft_snapshot snapshot;
    struct raft_buffer bufs[2];
    uint64_t id;
    int *status;
    uint8_t *file; /* of an install */
    size_t size, sent;
};

static void put_free(struct node_put *p) {
    raft_configuration_close(&p->snapshot.configuration);
    free(p->bufs[0].base);
    free(p->file);
    free(p);
}

static void put_done(struct raft_io_snapshot_put *req, int status) {
    struct node_put *p = req->data;
    if (status == 0 && p->file) CHECK(loader_id(p->node, &p->bufs[0]) == p->id);
    if (p->status) *p->status = status;
    put_free(p);
}

/* The file as another node would have it. */
static void file_make(struct node_put *p) {
    struct sim_disk *other = sim_disk_new(1);
    struct snapshot_id id = {.index = p->snapshot.index, .term = p->snapshot.term};
    struct err err;
    char name[DISK_NAME_MAX];
    CHECK(snapshot_write(sim_disk_face(other), node_identity.cluster_id, &p->snapshot, &err) == 0);
    snapshot_name(&id, name);
    const uint8_t *bytes = sim_disk_data(other, name, &p->size);
    p->file = malloc(p->size);
    CHECK(p->file);
    memcpy(p->file, bytes, p->size);
    sim_disk_free(other);
}

static void piece_send(struct node_put *p) {
    size_t n = p->size / 3 + 1 < p->size - p->sent ? p->size / 3 + 1 : p->size - p->sent;
    CHECK(store_receive_data(p->node->store, p->file + p->sent, n) == 0);
    p->sent += n;
}

static void received(void *data, int status, uint64_t bytes, const struct snapshot_manifest *manifest) {
    struct node_put *p = data;
    CHECK(status != 0 || bytes == p->sent);
    if (status == 0 && !manifest) {
        piece_send(p);
        return;
    }
    p->node->receiving = NULL;
    if (status != 0) {
        if (p->status) *p->status = RAFT_IOERR;
        put_free(p);
        return;
    }
    free(p->bufs[0].base);
    p->bufs[0] = (struct raft_buffer){.base = malloc(SNAPSHOT_MANIFEST_BYTES), .len = SNAPSHOT_MANIFEST_BYTES};
    CHECK(p->bufs[0].base);
    snapshot_manifest_encode(manifest, p->bufs[0].base);
    p->snapshot.n_bufs = 1;
    CHECK(store_snapshot_put(p->node->store, 0, &p->req, &p->snapshot, put_done) == 0);
}

static void bits_feed(struct node_put *p) {
    struct buf bits;
    buf_init(&bits, 64u << 20);
    CHECK(buf_append(&bits, p->bufs[0].base, p->bufs[0].len) == 0);
    CHECK(store_snapshot_feed(p->node->store, &bits, false) == 0 && bits.len == 0);
    CHECK(buf_append(&bits, p->bufs[1].base, p->bufs[1].len) == 0);
    CHECK(store_snapshot_feed(p->node->store, &bits, true) == 0);
    buf_done(&bits);
}

void node_snapshot(struct node *node, uint64_t index, uint64_t term, unsigned trailing, uint64_t id, size_t len,
                   int *status) {
    struct node_put *p = calloc(1, sizeof *p);
    uint8_t *bytes = malloc(len);
    CHECK(p && bytes);
    node_state_fill(id, bytes, len);
    p->node = node;
    p->id = id;
    p->req.data = p;
    p->status = status;
    if (status) *status = -1;
    p->bufs[0] = (struct raft_buffer){.base = bytes, .len = len / 3};
    p->bufs[1] = (struct raft_buffer){.base = bytes + len / 3, .len = len - len / 3};
    p->snapshot = (struct raft_snapshot){.index = index, .term = term, .configuration_index = 1, .n_bufs = 2};
    p->snapshot.bufs = p->bufs;
    raft_configuration_init(&p->snapshot.configuration);
    CHECK(raft_configuration_add(&p->snapshot.configuration, NODE_ID, "127.0.0.1:5060", RAFT_VOTER) == 0);
    if (node->loads && trailing == 0) {
        struct snapshot_id file = {.index = index, .term = term};
        file_make(p);
        CHECK(store_receive_begin(node->store, &file, p->size, received, p) == 0);
        node->receiving = p;
        piece_send(p);
    } else if (node->loads) {
        CHECK(store_snapshot_begin(node->store, trailing, &p->req, &p->snapshot, put_done) == 0);
        bits_feed(p);
    } else {
        CHECK(store_snapshot_put(node->store, trailing, &p->req, &p->snapshot, put_done) == 0);
    }
}
