/* SPDX-License-Identifier: Apache-2.0
 * One machine: what the replica's application does (the scheduler's state machine), how its process begins and ends,
 * and what its clients do. A crash forgets the process where it stands; its memory is left to the end of the run. */
#include "cluster.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../../lib/command_random.h"
#include "../../lib/sim_disk.h"
#include "base/check.h"

#define TICKETS_MAX 48u /* commands that a host has out, unless bursts are longer */

static struct outcome outcome; /* large; one command is applied at a time */
static struct effects effects;

/* ---- the application ---- */

static void envelope(struct cluster *c) {
    c->cluster_ms++;
    make_time(c->cluster_ms, 1700000000000u + c->cluster_ms);
}

static void first_command(void *ctx, uint64_t term, struct buf *ret) {
    struct host *h = ctx;
    envelope(h->c);
    struct made made = make_leader(term, CLUSTER_ID);
    (void)buf_append(ret, made.data, made.len);
}

static void acked(struct host *h, uint64_t index) {
    struct cluster *c = h->c;
    CHECK(h->tickets > 0);
    h->tickets--;
    c->acked++;
    if (index > c->acked_max) c->acked_max = index;
}

static void apply(void *ctx, uint64_t term, struct position at, const uint8_t *command, size_t len, void *ticket) {
    struct host *h = ctx;
    struct err err = {0};
    judge_command(h, at.index, at.n, command, len);
    int rv = state_apply(h->state, term, at.index, at.n, command, len, &outcome, &effects, &err);
    if (rv != 0) cluster_red(h->c, "apply", "node %" PRIu64 " at %" PRIu64 ".%u: %s", h->id, at.index, at.n, err.text);
    if (ticket != NULL) acked(h, at.index);
}

static void entry_applied(void *ctx, uint64_t index) {
    struct host *h = ctx;
    judge_entry(h, index);
    h->applied = index;
    h->hashes[index % HASHES] = (struct position_hash){index, state_hash(h->state)};
}

static bool hash(void *ctx, uint64_t index, uint8_t ret[16]) {
    const struct host *h = ctx;
    const struct position_hash *known = &h->hashes[index % HASHES];
    if (known->index != index) return false;
    memcpy(ret, &known->hash, sizeof known->hash);
    return true;
}

static void dropped(void *ctx, void *ticket) {
    struct host *h = ctx;
    (void)ticket;
    CHECK(h->tickets > 0);
    h->tickets--;
}

static void role_changed(void *ctx, enum replica_role role, uint64_t term, uint64_t leader_id) {
    struct host *h = ctx;
    cluster_note(h->c, h->id << 8 | 'R', (uint64_t)role, term, leader_id);
}

static int admit(void *ctx, const uint8_t *command, size_t len, struct err *err) {
    return state_admit(((struct host *)ctx)->state, command, len, err);
}

static void snapshot_begin(void *ctx) {
    state_snapshot_begin(((struct host *)ctx)->state);
}

static int snapshot_more(void *ctx, size_t bytes, struct buf *ret, bool *ret_end) {
    return state_snapshot_more(((struct host *)ctx)->state, bytes, ret, ret_end);
}

static void snapshot_end(void *ctx) {
    state_snapshot_end(((struct host *)ctx)->state);
}

static void *loader_open(void *ctx) {
    (void)ctx;
    struct state_loader *loader = state_loader_new();
    CHECK(loader != NULL);
    return loader;
}

static int loader_data(void *loader, const uint8_t *data, size_t len, struct err *err) {
    return state_loader_data(loader, data, len, err);
}

static int loader_end(void *loader, struct err *err) {
    return state_loader_end(loader, err);
}

static void loader_free(void *loader) {
    state_loader_free(loader);
}

static void loaded(void *ctx, void *loader) {
    struct host *h = ctx;
    state_loader_swap(loader, h->state);
    h->applied = state_applied_index(h->state);
    memset(h->hashes, 0, HASHES * sizeof *h->hashes);
    judge_restored(h);
}

static void fatal(void *ctx, int exit_status, const char *why) {
    struct host *h = ctx;
    struct cluster *c = h->c;
    bool undone = strstr(why, "membership was taken back") != NULL;
    if (undone) c->struck[STRIKE_CHANGE_UNDONE] = true;
    if (exit_status == 0) {
        judge_removed(h);
        h->retired = true;
    } else if (h->harm == HARM_WIPED && strstr(why, "knows another folder") != NULL) {
        h->refused = c->struck[STRIKE_WIPE] = true;
    } else if (!undone && (!h->sick || exit_status != 1))
        cluster_red(c, exit_status == 4 ? "corrupt" : "fatal", "node %" PRIu64 " ends with %d: %s", h->id, exit_status,
                    why);
    if (h->die_planned) return;
    h->die_planned = true;
    cluster_at(c, 1, EVENT_DIE, (unsigned)h->id - 1, h->life, NULL);
}

static const struct replica_app application = {.first_command = first_command,
                                               .apply = apply,
                                               .entry_applied = entry_applied,
                                               .dropped = dropped,
                                               .role_changed = role_changed,
                                               .admit = admit,
                                               .hash = hash,
                                               .snapshot_begin = snapshot_begin,
                                               .snapshot_more = snapshot_more,
                                               .snapshot_end = snapshot_end,
                                               .loader_open = loader_open,
                                               .loader_data = loader_data,
                                               .loader_end = loader_end,
                                               .loader_free = loader_free,
                                               .loaded = loaded,
                                               .fatal = fatal};

/* ---- life ---- */

struct host *host_new(struct cluster *c, bool joiner) {
    if (c->host_count == HOSTS_MAX) return NULL;
    struct host *h = &c->hosts[c->host_count++];
    h->c = c;
    h->id = c->host_count;
    snprintf(h->address, sizeof h->address, "10.0.0.%u:5060", (unsigned)h->id);
    h->used = true;
    h->joiner = joiner;
    h->rate_ppm = 1000000;
    h->clock_us = rng_below(&c->rng, 1000000000u);
    h->clock_at_us = c->now_us;
    h->hashes = calloc(HASHES, sizeof *h->hashes);
    CHECK(h->hashes != NULL);
    medium_new(h);
    return h;
}

static void configure(const struct host *h, struct replica_config *ret) {
    const struct cluster *c = h->c;
    *ret = (struct replica_config){.data_dir = "/",
                                   .node_id = h->id,
                                   .listen = h->address,
                                   .heartbeat_ms = HEARTBEAT_MS,
                                   .election_ms = ELECTION_MS,
                                   .segment_bytes = c->segment_bytes,
                                   .snapshot_bytes = c->snapshot_bytes,
                                   .hash_kind = 1};
    memcpy(ret->cluster_id, CLUSTER_ID, sizeof ret->cluster_id);
    ret->join = h->joiner;
    ret->reinstall = h->reinstall;
    for (unsigned i = 0; i < HOSTS_MAX; i++) {
        const struct host *other = &c->hosts[i];
        if (h->joiner ? other != h : i >= c->cfg.voters) continue;
        struct replica_member *member = &ret->members[ret->member_count++];
        member->id = other->id;
        memcpy(member->address, other->address, sizeof other->address);
    }
}

static void process_forget(struct host *h) {
    if (h->replica != NULL) {
        const uint64_t *from = (const uint64_t *)guard_counters(h->replica->guard);
        uint64_t *to = (uint64_t *)&h->counters;
        for (size_t i = 0; i < sizeof h->counters / sizeof *to; i++)
            to[i] += from[i];
    }
    h->up = false;
    h->replica = NULL;
    shim_forget(h);
    if (h->peers != NULL) wire_forget(h);
    state_free(h->state);
    h->state = NULL;
}

static void start_again(struct host *h, uint64_t us) {
    cluster_at(h->c, us, EVENT_START, (unsigned)h->id - 1, h->life, NULL);
}

void host_start(struct host *h) {
    struct cluster *c = h->c;
    struct replica_config config;
    struct replica_app app = application;
    struct err err = {0};
    struct host *before = shim_enter(h);
    h->life++;
    h->up = true;
    h->die_planned = h->seen_leader = h->seen_candidate = false;
    h->tickets = 0;
    h->applied = h->seen_term = h->seen_commit = 0;
    h->entry_index = h->entry_count = 0;
    memset(h->hashes, 0, HASHES * sizeof *h->hashes);
    h->paused_until_us = 0;
    h->state = state_new();
    CHECK(h->state != NULL);
    app.ctx = h;
    configure(h, &config);
    cluster_say(c, h, "starts");
    int rv = replica_open(&h->loop, &config, &app, &h->replica, &err);
    bool damaged = h->harm == HARM_DAMAGED && !h->reinstall;
    if (damaged && rv == 0) cluster_red(c, "damage", "node %" PRIu64 " starts on what must be refused", h->id);
    if (damaged && rv == ERR_CORRUPT) {
        cluster_say(c, h, "is refused, and will be reinstalled: %s", err.text);
        h->reinstall = true;
    } else if (rv != 0 && !h->sick) {
        cluster_red(c, "open", "node %" PRIu64 " does not start: %s", h->id, err.text);
    }
    if (rv != 0) {
        medium_crash(h);
        process_forget(h);
        start_again(h, rng_between(&c->rng, 100, 900) * MS);
    } else if (!c->red) {
        judge_host(h);
    }
    shim_enter(before);
}

static void end(struct host *h) {
    struct cluster *c = h->c;
    struct host *before = shim_enter(h);
    cluster_note(c, h->id << 8 | 'X', h->seen_term, h->seen_commit, 0);
    c->crashes++;
    medium_crash(h);
    process_forget(h);
    wire_gone(h);
    shim_enter(before);
}

void host_crash(struct host *h) {
    if (!h->up) return;
    cluster_say(h->c, h, "crashes");
    end(h);
}

void host_die(struct host *h) {
    cluster_say(h->c, h, "ends by itself");
    end(h);
    if (!h->retired && !h->refused) start_again(h, rng_between(&h->c->rng, 20, 1200) * MS); /* its supervisor */
}

void host_done(struct host *h) {
    struct host *before = shim_enter(h);
    if (h->up) process_forget(h);
    medium_free(h);
    free(h->hashes);
    shim_enter(before);
}

bool host_leads(const struct host *h) {
    return h->up && h->replica != NULL && h->replica->core.state == RAFT_LEADER;
}

/* ---- clients ---- */

static bool reachable(const struct host *h) {
    return h->up && !h->die_planned && h->paused_until_us <= h->c->now_us && !h->c->red;
}

static uint32_t draw_below(void *ctx, uint32_t n) {
    return (uint32_t)rng_below(&((struct cluster *)ctx)->rng, n);
}

/* A command that weighs a lot in the log and nothing in the state: its framework does not exist. */
static struct made heavy(struct cluster *c, uint64_t bytes) {
    static uint8_t filling[1u << 20];
    CHECK(bytes < sizeof filling);
    Conclave__Log__Command command = CONCLAVE__LOG__COMMAND__INIT;
    Conclave__Log__Accept accept = CONCLAVE__LOG__ACCEPT__INIT;
    Conclave__Log__TaskLaunch task = CONCLAVE__LOG__TASK_LAUNCH__INIT, *tasks[] = {&task};
    Conclave__Log__Resources resources = CONCLAVE__LOG__RESOURCES__INIT;
    accept.framework = 4000000000u;
    accept.n_tasks = 1;
    accept.tasks = tasks;
    task.task_id = task.name = "heavy";
    task.resources = &resources;
    task.info = (ProtobufCBinaryData){.len = bytes, .data = filling};
    command.accept = &accept;
    envelope(c);
    return make_packed(&command);
}

void host_propose(struct host *h, unsigned count, uint64_t bytes) {
    struct cluster *c = h->c;
    if (!reachable(h) || !host_leads(h)) return;
    struct host *before = shim_enter(h);
    unsigned most = c->burst_max > TICKETS_MAX ? c->burst_max : TICKETS_MAX;
    for (unsigned i = 0; i < count && h->tickets < most; i++) {
        struct draw draw = {.below = draw_below, .ctx = c, .cluster_ms = ++c->cluster_ms};
        struct made made = bytes > 0 ? heavy(c, bytes) : command_random(&draw, h->state);
        if (bytes == 0) c->cluster_ms = draw.cluster_ms;
        if (replica_propose(h->replica, made.data, made.len, (void *)(uintptr_t)++c->proposals) != 0) break;
        h->tickets++;
    }
    shim_enter(before);
}

struct client_read {
    struct host *h;
    uint64_t at_least; /* what had been seen when it was asked */
};

static void read_done(void *ctx, int status) {
    struct client_read *read = ctx;
    if (status == 0) judge_read(read->h, read->at_least);
    free(read);
}

void host_read(struct host *h) {
    struct cluster *c = h->c;
    if (!reachable(h)) return;
    struct host *before = shim_enter(h);
    struct client_read *read = malloc(sizeof *read);
    CHECK(read != NULL);
    *read = (struct client_read){h, c->acked_max > c->read_max ? c->acked_max : c->read_max};
    c->reads++;
    replica_read(h->replica, read_done, read);
    shim_enter(before);
}
