/* SPDX-License-Identifier: Apache-2.0
 * Opening, closing and the turn. See replica_impl.h for how the files hang together.
 *
 * Opening builds from the disk upward; whatever fails, the same teardown takes down what is there, from the core
 * downward: core -> (guard) -> peers and store -> disk -> net -> handles. */
#include "consensus/replica_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "consensus/disk_file.h"
#include "consensus/identity.h"
#include "consensus/peer_codec.h"
#include "net/net.h"

static void teardown(struct replica *r);

/* The turn. */

static void idle_cb(uv_idle_t *idle) {
    (void)idle; /* its being there keeps the poll from blocking */
}

void replica_wake(struct replica *r) {
    if (!r->closing) uv_idle_start(&r->idle, idle_cb);
}

void replica_fail(struct replica *r, int exit_status, const char *fmt, ...) {
    if (r->fatal.pending) return;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(r->fatal.why, sizeof r->fatal.why, fmt, ap);
    va_end(ap);
    r->fatal.pending = true;
    r->fatal.exit_status = exit_status;
    log_event(LOG_ERROR, "replica_failed", "exit_status=%d why=\"%s\"", exit_status, r->fatal.why);
    replica_wake(r);
}

uint64_t replica_applied(const struct replica *r) {
    return queue_empty(&r->items) ? r->core.last_applied : r->applied;
}

enum replica_role replica_role_of(const struct guard_view *view) {
    if (view->role == GUARD_LEADER) return REPLICA_LEADER;
    if (view->role == GUARD_CANDIDATE || view->role == GUARD_PRE_CANDIDATE) return REPLICA_CANDIDATE;
    return REPLICA_FOLLOWER;
}

/* Tells the application who it is. It never sees two terms of its own leadership without an end in between. */
static void tell_view(struct replica *r) {
    struct guard_view now = r->view, before = r->told;
    r->told = now;
    if (before.role == GUARD_LEADER && (now.role != GUARD_LEADER || now.term != before.term)) {
        replica_drop_waiting(r);
        if (now.role == GUARD_LEADER) r->app.role_changed(r->app.ctx, REPLICA_FOLLOWER, now.term, 0);
    }
    if (now.leader_id != before.leader_id || now.term != before.term)
        r->leader_since_ms = now.leader_id ? clock_mono_ms() : 0;
    bool same = replica_role_of(&now) == replica_role_of(&before) && now.term == before.term &&
                now.leader_id == before.leader_id;
    if (same) return;
    log_event(LOG_INFO, "role", "role=%s term=%" PRIu64 " leader=%" PRIu64,
              replica_role_of(&now) == REPLICA_LEADER      ? "leader"
              : replica_role_of(&now) == REPLICA_CANDIDATE ? "candidate"
                                                           : "follower",
              now.term, now.leader_id);
    r->app.role_changed(r->app.ctx, replica_role_of(&now), now.term, now.leader_id);
}

static void apply_slice(struct replica *r) {
    replica_apply(r, REPLICA_SLICE_US);
    crash_mark_end();
}

/* How long the thread has worked since the last turn: nothing else can run meanwhile. */
static void measure_slice(struct replica *r) {
    uint64_t now = clock_cpu_us(), slice = now - r->turn_cpu_us;
    bool first = r->turn_cpu_us == 0;
    r->turn_cpu_us = now;
    if (first) return;
    if (slice > r->slice_max_us) r->slice_max_us = slice;
    if (slice > 10000) r->slices_over_10ms++;
    if (r->snapshot_open && slice > r->snapshot_slice_us) r->snapshot_slice_us = slice;
}

static void turn_cb(uv_check_t *check) {
    struct replica *r = check->data;
    CHECK_MAGIC(r, REPLICA_MAGIC);
    if (r->closing) return;
    measure_slice(r);
    static void (*const steps[])(struct replica * r) = {
        replica_members_follow, tell_view,           apply_slice,        replica_snapshot_turn,
        replica_tell_dropped,   replica_change_turn, replica_reads_turn, replica_flush};
    for (size_t i = 0; i < sizeof steps / sizeof *steps && !r->closing && !r->fatal.pending; i++)
        steps[i](r); /* any of them may have had the application close us */
    if (r->closing) return;
    if (r->fatal.pending && !r->fatal.told) {
        r->fatal.told = true;
        r->app.fatal(r->app.ctx, r->fatal.exit_status, r->fatal.why);
        return;
    }
    if (queue_empty(&r->items) && queue_empty(&r->lost) && !replica_snapshot_goes_on(r)) uv_idle_stop(&r->idle);
    net_flush(r->net); /* entries for the peers, and what the application has answered */
}

/* What the guard and the store call. */

static uint64_t now_cb(void *ctx) {
    (void)ctx;
    return clock_mono_ms();
}

static uint64_t rng_cb(void *ctx) {
    struct replica *r = ctx;
    return rng_next(&r->rng);
}

static int first_entry_cb(void *ctx, uint64_t term, struct raft_buffer *ret) {
    struct replica *r = ctx;
    struct buf command;
    buf_init(&command, ENTRY_COMMAND_MAX);
    r->app.first_command(r->app.ctx, term, &command);
    struct entry_builder builder;
    entry_builder_init(&builder);
    int rv = command.failed ? ERR_NOMEM : entry_builder_add(&builder, command.data, command.len);
    if (rv == 0) {
        ret->len = entry_builder_size(&builder);
        ret->base = raft_malloc(ret->len);
        if (ret->base == NULL) rv = ERR_NOMEM;
    }
    if (rv == 0) entry_builder_encode(&builder, ret->base);
    entry_builder_done(&builder);
    buf_done(&command);
    return rv;
}

static void changed_cb(void *ctx, const struct guard_view *view) {
    struct replica *r = ctx;
    r->view = (struct guard_view){.role = view->role, .term = view->term, .leader_id = view->leader_id};
    replica_wake(r);
}

static void restart_cb(void *ctx) {
    struct replica *r = ctx;
    r->store = NULL;
    replica_fail(r, 1, "an uncommitted change of the membership was taken back");
}

static void guard_fatal_cb(void *ctx, enum guard_fatal kind, const char *why) {
    struct replica *r = ctx;
    switch (kind) {
    case GUARD_FATAL_BREACH:
        /* Going on for one more instruction may damage more; the core file tells what happened. */
        log_event(LOG_ERROR, "guard_breach", "why=\"%s\"", why);
        abort();
    case GUARD_FATAL_RESTART:
        uv_timer_stop(&r->ticker);
        store_close(r->store, restart_cb, r);
        break;
    default:
        replica_fail(r, 1, "%s", why);
    }
}

static void store_fatal_cb(void *data, const struct err *err) {
    replica_fail(data, err->code == ERR_CORRUPT || err->code == ERR_INCOMPATIBLE ? 4 : 1, "%s", err->text);
}

static void message_cb(void *ctx, struct raft_message *message) {
    struct replica *r = ctx;
    if (r->recv == NULL || r->closing || r->fatal.pending)
        peer_message_free(message);
    else if (!replica_gate_passes(r, message) || !replica_space_passes(r, message))
        peer_message_free(message);
    else
        r->recv(&r->inner, message);
}

static void dead_cb(void *ctx, uint64_t id) {
    struct replica *r = ctx;
    if (!r->closing && !r->fatal.pending) guard_peer_dead(r->guard, id);
}

/* Closing. */

static void freed(struct replica *r) {
    void (*closed)(void *ctx) = r->closed;
    void *ctx = r->closed_ctx;
    r->magic = 0;
    free(r);
    if (closed) closed(ctx);
}

static void one_closed(struct replica *r) {
    CHECK(r->pending > 0);
    if (--r->pending == 0) freed(r);
}

static void handle_closed_cb(uv_handle_t *handle) {
    one_closed(handle->data);
}

static void net_closed_cb(void *ctx) {
    one_closed(ctx);
}

/* Everything that could call back is gone. */
static void teardown_last(struct replica *r) {
    replica_drop_waiting(r);
    replica_items_free(r);
    CHECK(queue_empty(&r->in_flight));
    replica_tell_dropped(r);
    replica_reads_fail(r, ERR_CLOSED);
    replica_change_close(r);
    if (r->guard) guard_free(r->guard);
    crash_mark_close(r->crash_mark);
    if (r->disk) disk_close(r->disk);
    r->pending = 3 + (r->net_ours && r->net != NULL);
    if (r->net_ours && r->net) net_close(r->net, net_closed_cb, r);
    uv_close((uv_handle_t *)&r->check, handle_closed_cb);
    uv_close((uv_handle_t *)&r->idle, handle_closed_cb);
    uv_close((uv_handle_t *)&r->ticker, handle_closed_cb);
}

static void core_closed_cb(struct raft *core) {
    teardown_last(core->data);
}

static void io_closed_cb(struct raft_io *io) {
    teardown_last(io->impl);
}

static void store_alone_closed_cb(void *ctx) {
    struct replica *r = ctx;
    r->store = NULL;
    teardown_last(r);
}

static void teardown(struct replica *r) {
    r->closing = true;
    uv_idle_stop(&r->idle);
    replica_snapshot_abandon(r);
    if (r->core_ready)
        raft_close(&r->core, core_closed_cb);
    else if (r->peers)
        replica_io_close(&r->inner, io_closed_cb);
    else if (r->store)
        store_close(r->store, store_alone_closed_cb, r);
    else
        teardown_last(r);
}

void replica_close(struct replica *r, void (*closed)(void *ctx), void *ctx) {
    CHECK_MAGIC(r, REPLICA_MAGIC);
    CHECK(!r->closing);
    r->closed = closed;
    r->closed_ctx = ctx;
    teardown(r);
}

/* Opening. */

static int check_config(const struct replica_config *config, struct err *err) {
    if (config->node_id == 0 || config->heartbeat_ms == 0 || config->election_ms < 2 * config->heartbeat_ms)
        return err_set(err, ERR_INVALID, "node id 0, or an election timeout below two heartbeats");
    if (config->member_count > REPLICA_MEMBERS_MAX)
        return err_set(err, ERR_INVALID, "%u members, at most %u", config->member_count, REPLICA_MEMBERS_MAX);
    bool found = config->member_count == 0;
    for (unsigned i = 0; i < config->member_count; i++)
        found = found || config->members[i].id == config->node_id;
    return found ? 0 : err_set(err, ERR_INVALID, "node %" PRIu64 " is not among the members", config->node_id);
}

/* The second crash at the same command: rather than crash again at every start, do nothing and say so. */
static int open_hold(struct replica *r, const struct replica_config *config, struct err *err) {
    int rv = crash_mark_open(config->data_dir, r->disk, &r->pins.identity, config->program_version, config->skip_hold,
                             &r->crash_mark, &r->crashed, err);
    if (rv != 0 || r->crashed.count < CRASH_HOLD_COUNT) return rv;
    log_event(LOG_ERROR, "hold",
              "position=%" PRIu64 ".%u crashes=%u text=\"this command has ended the program each time it was applied; "
              "start another version, or --skip-hold to try it again\"",
              r->crashed.index, r->crashed.n, r->crashed.count);
    if (config->hold_ends)
        return err_set(err, ERR_CORRUPT,
                       "applying %" PRIu64 ".%u has ended this program %u times: start another version, "
                       "or with --skip-hold to try it again",
                       r->crashed.index, r->crashed.n, r->crashed.count);
    r->hold = true;
    r->hold_since_ms = clock_mono_ms();
    return 0;
}

static int open_store(struct replica *r, const struct replica_config *config, struct err *err) {
    int rv = disk_file_open(config->data_dir, r->loop, &r->disk, err);
    if (rv != 0) return rv;
    struct identity identity = {.node_id = config->node_id, .created_ms = clock_wall_ms(), .joined = config->join},
                    found;
    do
        identity.folder = rng_next(&r->rng);
    while (identity.folder == 0);
    memcpy(identity.cluster_id, config->cluster_id, sizeof identity.cluster_id);
    rv = identity_read(r->disk, &found, err);
    if (rv == ERR_NOT_FOUND) {
        found = identity;
        rv = identity_format(r->disk, &identity, err);
    }
    if (rv == 0) rv = identity_check(r->disk, &identity, err);
    if (rv == 0) rv = replica_gate_open(r, config->reinstall, err);
    if (rv == 0) rv = open_hold(r, config, err);
    if (rv != 0) return rv;
    r->joined = found.joined;
    struct store_config store = {.disk = r->disk,
                                 .node_id = config->node_id,
                                 .segment_bytes = config->segment_bytes,
                                 .fatal = store_fatal_cb,
                                 .data = r};
    memcpy(store.cluster_id, config->cluster_id, sizeof store.cluster_id);
    replica_loader_ops(r, &store.loader);
    return store_open(&store, &r->store, err);
}

static int open_peers(struct replica *r, const struct replica_config *config, struct err *err) {
    r->net = config->net ? config->net : net_open(r->loop);
    r->net_ours = config->net == NULL;
    if (r->net == NULL) return err_set(err, ERR_NOMEM, "out of memory");
    struct peers_config peers = {.net = r->net,
                                 .node_id = config->node_id,
                                 .program_level = config->program_level,
                                 .listen = config->listen,
                                 .tls = config->tls,
                                 .election_ms = config->election_ms,
                                 .ctx = r,
                                 .message = message_cb,
                                 .dead = dead_cb,
                                 .folder = identity_folder(&r->pins.identity),
                                 .meet = replica_gate_meet,
                                 .accepted = replica_gate_accepted,
                                 .disowned = replica_gate_disowned,
                                 .introduced = replica_members_introduced,
                                 .removed = replica_members_removed,
                                 .vitals = replica_vitals_fill,
                                 .told = replica_vitals_told};
    memcpy(peers.cluster_id, config->cluster_id, sizeof peers.cluster_id);
    replica_files(r, &peers.files);
    _Static_assert(sizeof peers.program_version == REPLICA_VERSION_MAX, "one length of a version");
    memcpy(peers.program_version, config->program_version, sizeof peers.program_version);
    return peers_open(&peers, &r->peers, err);
}

/* What the core or the store said, as ours. */
static int open_error(struct replica *r, int raft_rv, const char *doing, struct err *err) {
    const struct err *why = store_error(r->store);
    if (why && why->code != 0) {
        err_set(err, why->code, "%s", why->text);
        return err_wrap(err, "%s", doing);
    }
    return err_set(err, raft_rv == RAFT_CORRUPT ? ERR_CORRUPT : ERR_IO, "%s: %s", doing, raft_strerror(raft_rv));
}

static int bootstrap(struct replica *r, const struct replica_config *config, struct err *err) {
    struct raft_configuration configuration;
    raft_configuration_init(&configuration);
    int rv = 0;
    for (unsigned i = 0; i < config->member_count && rv == 0; i++)
        rv = raft_configuration_add(&configuration, config->members[i].id, config->members[i].address, RAFT_VOTER);
    if (rv != 0) rv = err_set(err, ERR_INVALID, "member %u: %s", config->member_count, raft_strerror(rv));
    if (rv == 0 && config->member_count > 0 && !r->joined) {
        rv = raft_bootstrap(&r->core, &configuration);
        if (rv == RAFT_CANTBOOTSTRAP)
            rv = 0;
        else if (rv != 0)
            rv = open_error(r, rv, "making the log", err);
    }
    raft_configuration_close(&configuration);
    return rv;
}

static int open_core(struct replica *r, const struct replica_config *config, struct err *err) {
    struct guard_config guard = {.ctx = r,
                                 .election_ms = config->election_ms,
                                 .heartbeat_ms = config->heartbeat_ms,
                                 .install_snapshot_ms = REPLICA_INSTALL_MS,
                                 .now_ms = now_cb,
                                 .rng = rng_cb,
                                 .first_entry = first_entry_cb,
                                 .changed = changed_cb,
                                 .fatal = guard_fatal_cb};
    r->guard = guard_new(&r->outer, &r->inner, &guard);
    if (r->guard == NULL) return err_set(err, ERR_NOMEM, "out of memory");
    const char *address = config->listen;
    for (unsigned i = 0; i < config->member_count; i++)
        if (config->members[i].id == config->node_id) address = config->members[i].address;
    replica_fsm_init(r);
    int rv = raft_init(&r->core, &r->outer, &r->fsm, config->node_id, address);
    if (rv != 0) return err_set(err, ERR_NOMEM, "starting the core: %s", raft_strerror(rv));
    r->core_ready = true;
    r->core.data = r;
    raft_set_snapshot_threshold(&r->core, 0xffffffffu);
    if (r->hold) return 0; /* the core stays as it is made: without log, term and members */
    rv = bootstrap(r, config, err);
    if (rv != 0) return rv;
    rv = guard_start(r->guard);
    if (rv != 0) return open_error(r, rv, "loading the log", err);
    replica_gate_start(r);
    return replica_restore_first(r, err);
}

static void init(struct replica *r, uv_loop_t *loop, const struct replica_config *config,
                 const struct replica_app *app) {
    r->magic = REPLICA_MAGIC;
    r->loop = loop;
    r->app = *app;
    r->config = *config;
    r->config.data_dir = r->config.listen = NULL;
    rng_seed_system(&r->rng);
    queue_init(&r->waiting);
    queue_init(&r->in_flight);
    queue_init(&r->lost);
    queue_init(&r->items);
    queue_init(&r->reads);
    queue_init(&r->probes);
    CHECK(uv_check_init(loop, &r->check) == 0);
    CHECK(uv_idle_init(loop, &r->idle) == 0);
    CHECK(uv_timer_init(loop, &r->ticker) == 0);
    r->check.data = r->idle.data = r->ticker.data = r;
    replica_io_init(r);
}

/* Who the members are is written in the log; what we were started with counts only while there is none. */
static void compare_members(const struct replica *r, const struct replica_config *config) {
    for (unsigned i = 0; i < config->member_count; i++) {
        const struct replica_member *member = &config->members[i];
        for (unsigned k = 0; k < r->core.configuration.n; k++) {
            const struct raft_server *server = &r->core.configuration.servers[k];
            if (server->id == member->id && strcmp(server->address, member->address) != 0)
                log_event(LOG_WARN, "member_address_ignored", "node=%" PRIu64 " given=%s in_log=%s", member->id,
                          member->address, server->address);
        }
    }
}

int replica_open(uv_loop_t *loop, const struct replica_config *config, const struct replica_app *app,
                 struct replica **ret, struct err *err) {
    int rv = check_config(config, err);
    if (rv != 0) return rv;
    struct replica *r = calloc(1, sizeof *r);
    if (r == NULL) return err_set(err, ERR_NOMEM, "out of memory");
    init(r, loop, config, app);
    rv = open_store(r, config, err);
    if (rv == 0) rv = open_peers(r, config, err);
    if (rv == 0) rv = open_core(r, config, err);
    if (rv != 0) {
        teardown(r);
        return rv;
    }
    replica_members_follow(r);
    compare_members(r, config);
    CHECK(uv_check_start(&r->check, turn_cb) == 0);
    replica_wake(r);
    if (r->core.configuration.n == 0)
        log_event(LOG_INFO, "waiting_to_be_added", "node=%" PRIu64 " listen=%s", config->node_id, config->listen);
    log_event(LOG_INFO, "replica_open", "node=%" PRIu64 " listen=%s term=%llu last=%llu snapshot=%llu", config->node_id,
              config->listen, r->core.current_term, raft_last_index(&r->core), r->core.log.snapshot.last_index);
    *ret = r;
    return 0;
}
