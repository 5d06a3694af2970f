/* SPDX-License-Identifier: Apache-2.0
 * One node: the core, the guard, a disk, and a state machine that is a hash chain. A crash frees everything that the
 * core and the guard had allocated, so a life leaves nothing behind but its disk. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/hash.h"

/* ---- memory: every allocation of libraft and of the guard is on a list of its node ---- */

struct alloc {
    struct queue link;
    size_t size;
    size_t pad; /* keeps the user's part aligned to 16 */
};

static struct sim_node *current;

void node_enter(struct sim_node *node) {
    current = node;
}

static void *heap_malloc(void *data, size_t size) {
    (void)data;
    CHECK(current != NULL);
    struct alloc *a = malloc(sizeof *a + size);
    CHECK(a != NULL);
    a->size = size;
    queue_push(&current->heap.all, &a->link);
    return a + 1;
}

static void heap_free(void *data, void *ptr) {
    (void)data;
    if (ptr == NULL) return;
    struct alloc *a = (struct alloc *)ptr - 1;
    queue_remove(&a->link);
    free(a);
}

static void *heap_calloc(void *data, size_t n, size_t size) {
    void *ptr = heap_malloc(data, n * size);
    memset(ptr, 0, n * size);
    return ptr;
}

static void *heap_realloc(void *data, void *ptr, size_t size) {
    void *fresh = heap_malloc(data, size);
    if (ptr != NULL) {
        size_t old = ((struct alloc *)ptr - 1)->size;
        memcpy(fresh, ptr, old < size ? old : size);
        heap_free(data, ptr);
    }
    return fresh;
}

static void *heap_aligned(void *data, size_t alignment, size_t size) {
    CHECK(alignment <= 16);
    return heap_malloc(data, size);
}

static void heap_aligned_free(void *data, size_t alignment, void *ptr) {
    (void)alignment;
    heap_free(data, ptr);
}

void sim_heap_install(void) {
    static struct raft_heap heap = {NULL,         heap_malloc,  heap_free,        heap_calloc,
                                    heap_realloc, heap_aligned, heap_aligned_free};
    raft_heap_set(&heap);
}

static void sim_heap_clear(struct sim_alloc *heap) {
    while (!queue_empty(&heap->all)) {
        struct alloc *a = QUEUE_ENTRY(heap->all.next, struct alloc, link);
        queue_remove(&a->link);
        free(a);
    }
}

/* ---- the inner raft_io ---- */

static struct sim_node *node_of(struct raft_io *io) {
    return io->impl;
}

static int io_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv) {
    struct sim_node *node = node_of(io);
    CHECK(msecs == GUARD_TICK_MS);
    node->tick = tick;
    node->recv = recv;
    return 0;
}

static int io_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *m, raft_io_send_cb cb) {
    return net_send(node_of(io), req, m, cb);
}

/* ---- the state machine ---- */

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result) {
    struct sim_node *node = fsm->data;
    uint64_t index = guard_apply_index(node->guard);
    *result = NULL;
    if (index == 0) return RAFT_INVALID;
    uint64_t payload = hash64_of(buf->base, buf->len);
    raft_term term = 0;
    const struct raft_log *log = &node->raft.log;
    if (index > log->offset) term = log->entries[(log->front + (size_t)(index - log->offset - 1)) % log->size].term;
    if (!check_apply(node, index, term, payload)) return RAFT_INVALID;
    const uint64_t words[] = {node->hash, index, payload};
    node->hash = hash64_of(words, sizeof words);
    node->applied = index;
    return 0;
}

static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs) {
    struct sim_node *node = fsm->data;
    if (!guard_snapshot_allowed(node->guard)) return RAFT_BUSY;
    const uint64_t words[] = {node->applied, node->hash};
    *bufs = raft_malloc(sizeof **bufs);
    (*bufs)[0].base = raft_malloc(sizeof words);
    (*bufs)[0].len = sizeof words;
    memcpy((*bufs)[0].base, words, sizeof words);
    *n_bufs = 1;
    return 0;
}

static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf) {
    struct sim_node *node = fsm->data;
    uint64_t words[2];
    CHECK(buf->len == sizeof words);
    memcpy(words, buf->base, sizeof words);
    node->applied = words[0];
    node->hash = words[1];
    raft_free(buf->base);
    return 0;
}

/* ---- what the guard asks of its owner ---- */

static uint64_t now_ms(void *ctx) {
    return sim_ms(((struct sim_node *)ctx)->sim);
}

static uint64_t next_random(void *ctx) {
    return rng_next(&((struct sim_node *)ctx)->sim->rng);
}

static void fill(struct sim_node *node, struct raft_buffer *buf, size_t bytes) {
    struct sim *sim = node->sim;
    buf->len = bytes < 16 ? 16 : (bytes + 7) & ~(size_t)7;
    buf->base = raft_malloc(buf->len);
    memset(buf->base, 0, buf->len);
    uint64_t head[2] = {node->id, ++sim->proposals}; /* no two commands are alike */
    memcpy(buf->base, head, sizeof head);
}

static int first_entry(void *ctx, uint64_t term, struct raft_buffer *ret) {
    (void)term;
    fill(ctx, ret, 16);
    return 0;
}

static void fatal(void *ctx, enum guard_fatal kind, const char *why) {
    struct sim_node *node = ctx;
    static const char *const names[] = {"guard-breach", "disk", "unavailable", "restart"};
    if (kind == GUARD_FATAL_RESTART) { /* the disk goes on; by then the truncation is durable */
        node->restart_wanted = true;
        sim_at(node->sim, 20 * SIM_MS, EV_RESTART, node, NULL);
        return;
    }
    node->fatal.kind = kind;
    node->fatal.count++;
    if (node->fatal_expected) return;
    sim_red(node->sim, names[kind], "node %llu: %s", node->id, why);
}

static void bootstrap(struct sim_node *node) {
    struct raft_configuration conf;
    raft_configuration_init(&conf);
    for (unsigned i = 0; i < node->sim->cfg.voters; i++) {
        const struct sim_node *member = &node->sim->nodes[i];
        CHECK(raft_configuration_add(&conf, member->id, member->address, RAFT_VOTER) == 0);
    }
    CHECK(raft_bootstrap(&node->raft, &conf) == 0);
    raft_configuration_close(&conf);
}

void node_start(struct sim_node *node) {
    struct sim *sim = node->sim;
    struct guard_config cfg = {.ctx = node,
                               .election_ms = SIM_ELECTION_MS,
                               .heartbeat_ms = SIM_HEARTBEAT_MS,
                               .install_snapshot_ms = 2000,
                               .now_ms = now_ms,
                               .rng = next_random,
                               .first_entry = first_entry,
                               .fatal = fatal};
    node_enter(node);
    node->life++;
    node->inflight = 0;
    node->restart_wanted = false;
    if (node->inflight_max == 0) node->inflight_max = SIM_INFLIGHT_MAX;
    node->transferring = false;
    node->applied = node->hash = 0;
    node->seen_term = node->seen_commit = 0;
    node->inner = (struct raft_io){.version = 1, .impl = node, .start = io_start, .send = io_send};
    log_open(node->disk, &node->inner);
    node->guard = guard_new(&node->outer, &node->inner, &cfg);
    guard_test_off(node->guard, sim->cfg.off);
    node->fsm = (struct raft_fsm){
        .version = 1, .data = node, .apply = fsm_apply, .snapshot = fsm_snapshot, .restore = fsm_restore};
    CHECK(raft_init(&node->raft, &node->outer, &node->fsm, node->id, node->address) == 0);
    if (node->life == 1) bootstrap(node);
    unsigned threshold = node->snapshot_threshold != 0 ? node->snapshot_threshold : sim->snapshot_threshold;
    raft_set_snapshot_threshold(&node->raft, threshold == 0 ? 1u << 30 : threshold);
    raft_set_snapshot_trailing(&node->raft, sim->snapshot_trailing == 0 ? 64 : sim->snapshot_trailing);
    node->up = true;
    int rv = guard_start(node->guard);
    if (rv != 0)
        sim_red(sim, "load", "node %llu does not start: %s %s", node->id, raft_strerror(rv), node->outer.errmsg);
    sim_at(sim, rng_below(&sim->rng, GUARD_TICK_MS * SIM_MS), EV_TICK, node, NULL);
    if (!sim->result.red) check_node(node);
    node_enter(NULL);
}

static void stop(struct sim_node *node) {
    node->guard = NULL;
    node->up = false;
    sim_heap_clear(&node->heap);
}

void node_crash(struct sim_node *node) {
    struct sim *sim = node->sim;
    sim_trace(sim, node->id << 16 | 'X' << 8 | 'X', node->raft.current_term, node->raft.commit_index, 0);
    node_enter(node);
    log_crash(node->disk);
    node_enter(NULL);
    stop(node);
}

void node_restart(struct sim_node *node) {
    node_crash(node);
    node_start(node);
}

void node_init(struct sim *sim, unsigned i) {
    struct sim_node *node = &sim->nodes[i];
    node->sim = sim;
    node->id = i + 1;
    snprintf(node->address, sizeof node->address, "n%u", i + 1);
    queue_init(&node->heap.all);
    node->disk = log_new(node);
}

void node_done(struct sim_node *node) {
    node_enter(node);
    if (node->up) log_crash(node->disk);
    node_enter(NULL);
    stop(node);
    log_free(node->disk);
}

void node_tick(struct sim_node *node) {
    struct sim *sim = node->sim;
    sim_at(sim, GUARD_TICK_MS * SIM_MS, EV_TICK, node, NULL);
    log_tick(node->disk);
    if (!node->timers_off) node->tick(&node->inner);
}

bool node_leads(const struct sim_node *node) {
    return node->up && node->raft.state == RAFT_LEADER;
}

static void proposed(struct raft_apply *req, int status, void *result) {
    struct sim_node *node = req->data;
    struct sim *sim = node->sim;
    (void)result;
    node->inflight--;
    if (status == 0) {
        sim->acked++;
        if (req->index > sim->acked_max) sim->acked_max = req->index;
        sim_trace(sim, node->id << 16 | 'A' << 8 | 'A', req->index, node->raft.current_term, 0);
    }
    raft_free(req);
}

bool node_propose(struct sim_node *node, size_t bytes) {
    if (!node_leads(node) || node->inflight >= node->inflight_max || node->sim->result.red) return false;
    node_enter(node);
    struct raft_apply *req = raft_malloc(sizeof *req);
    struct raft_buffer buf;
    fill(node, &buf, bytes);
    req->data = node;
    node->inflight++;
    int rv = guard_propose(node->guard, req, &buf, proposed);
    if (rv != 0) {
        node->inflight--;
        raft_free(buf.base);
        raft_free(req);
    }
    check_node(node);
    node_enter(NULL);
    return rv == 0;
}

struct read {
    struct guard_read read;
    struct sim_node *node;
    uint64_t acked_max; /* when it was asked */
};

static void read_done(struct guard_read *read, int status, uint64_t index) {
    struct read *r = read->data;
    struct sim *sim = r->node->sim;
    if (status == 0) {
        sim_trace(sim, r->node->id << 16 | 'R' << 8 | 'R', index, r->acked_max, 0);
        if (index < r->acked_max)
            sim_red(sim, "stale-read", "node %llu reads at %llu, but entry %llu was acknowledged before", r->node->id,
                    (unsigned long long)index, (unsigned long long)r->acked_max);
    }
    raft_free(r);
}

bool node_read(struct sim_node *node) {
    if (!node_leads(node) || node->sim->result.red) return false;
    node_enter(node);
    struct read *r = raft_malloc(sizeof *r);
    *r = (struct read){.node = node, .acked_max = node->sim->acked_max};
    r->read.data = r;
    r->read.cb = read_done;
    int rv = guard_read_index(node->guard, &r->read);
    if (rv != 0) raft_free(r);
    check_node(node);
    node_enter(NULL);
    return rv == 0;
}

static void added(struct raft_change *req, int status) {
    (void)req;
    (void)status;
}

bool node_add_spare(struct sim_node *node) {
    node_enter(node);
    struct raft_change *req = raft_calloc(1, sizeof *req);
    int rv = raft_add(&node->raft, req, SIM_NODES_MAX + 1, "spare", added);
    guard_settle(node->guard);
    node_enter(NULL);
    return rv == 0;
}

static void transferred(struct raft_transfer *req) {
    ((struct sim_node *)req->data)->transferring = false;
}

bool node_transfer(struct sim_node *node, raft_id to) {
    if (!node_leads(node) || node->transferring || to == node->id) return false;
    node_enter(node);
    node->transfer.data = node;
    node->transferring = raft_transfer(&node->raft, &node->transfer, to, transferred) == 0;
    guard_settle(node->guard);
    check_node(node);
    node_enter(NULL);
    return node->transferring;
}
