/* SPDX-License-Identifier: Apache-2.0
 * The hub: what the replica calls, how a command is proposed, what a committed command sets in motion.
 *
 * Life of a leadership: role_changed(LEADER) -> first_command -> ... commit ... -> apply(leader_started of our term)
 * -> current -> soft state begins -> role_changed(other) -> soft state dropped. */
#include "scheduler/master.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "scheduler/agents.h"
#include "scheduler/api.h"
#include "scheduler/members.h"
#include "scheduler/command.h"
#include "scheduler/level.h"
#include "scheduler/obligations.h"
#include "scheduler/offers.h"
#include "scheduler/sessions.h"

struct ticket {
    master_done done;
    void *ctx;
    struct ticket *next; /* while it is spare */
};

/* ---- proposing ---- */

static struct ticket *ticket_new(struct master *m, master_done done, void *ctx) {
    struct ticket *ticket = m->spare_tickets;
    if (ticket) {
        m->spare_tickets = ticket->next;
        m->spare_count--;
    } else {
        ticket = malloc(sizeof *ticket);
    }
    if (ticket) *ticket = (struct ticket){.done = done, .ctx = ctx};
    return ticket;
}

static void ticket_free(struct master *m, struct ticket *ticket) {
    if (!ticket || m->spare_count == MASTER_SPARE_TICKETS) {
        free(ticket);
        return;
    }
    ticket->next = m->spare_tickets;
    m->spare_tickets = ticket;
    m->spare_count++;
}

uint64_t master_cluster_ms(const struct master *m) {
    uint64_t now = m->cluster_base_ms + (clock_mono_ms() - m->mono_base_ms), state = state_cluster_ms(m->state);
    return now > state ? now : state;
}

static void master_stamp(struct master *m, Conclave__Log__Command *command, uint64_t cluster_ms) {
    command->cluster_ms = cluster_ms;
    command->wall_ms = clock_wall_ms();
    command->has_request_id = 1;
    command->request_id = ++m->request_ids;
}

/* What makes the state grow, and with it the snapshots. Everything else must go on when disks are nearly full: it is
 * what ends tasks. */
static bool command_grows(const Conclave__Log__Command *command) {
    return command->accept || (command->framework_subscribe && !command->framework_subscribe->framework_id);
}

/* Whether the cluster's feature level allows it; if not, m->refusal says why. The command is packed in m->scratch. */
static int command_allowed(struct master *m, const Conclave__Log__Command *command) {
    if (command_codec_bound(command)) return 0; /* of level 1, by its codec's promise */
    struct level_need need;
    struct err err = {0};
    uint32_t level = state_config(m->state)->level;
    if (level_of(m->scratch.data, m->scratch.len, &need, &err)) { /* above what this program itself knows */
        (void)snprintf(m->refusal, sizeof m->refusal, "%.199s", err.text);
        return ERR_LEVEL;
    }
    if (need.level > level) {
        level_refusal(&need, level, m->refusal, sizeof m->refusal);
        return ERR_LEVEL;
    }
    return 0;
}

int master_propose(struct master *m, Conclave__Log__Command *command, master_done done, void *ctx) {
    if (!m->current) return ERR_NOT_LEADER;
    if (command_grows(command) && !replica_may_grow(m->replica)) return ERR_FULL;
    master_stamp(m, command, master_cluster_ms(m));
    buf_clear(&m->scratch);
    int rc = command_encode(command, &m->scratch);
    if (rc) return rc;
    rc = command_allowed(m, command);
    if (rc) return rc;
    struct ticket *ticket = NULL;
    if (done) {
        ticket = ticket_new(m, done, ctx);
        if (!ticket) return ERR_BUSY;
    }
    rc = replica_propose(m->replica, m->scratch.data, m->scratch.len, ticket);
    if (rc)
        ticket_free(m, ticket);
    else
        m->proposals++;
    return rc;
}

static void master_first_command(void *ctx, uint64_t term, struct buf *ret) {
    struct master *m = ctx;
    const struct master_config *c = m->config;
    Conclave__Log__Config seed = CONCLAVE__LOG__CONFIG__INIT;
    seed.has_framework_reregister_timeout_ms = seed.has_agent_timeout_ms = seed.has_history_tasks = seed.has_level = 1;
    seed.level = c->level ? (uint32_t)c->level : level_max();
    seed.framework_reregister_timeout_ms = c->framework_reregister_timeout_ms;
    seed.agent_timeout_ms = c->agent_timeout_ms;
    seed.history_tasks = (uint32_t)c->history_tasks;
    Conclave__Log__LeaderStarted started = CONCLAVE__LOG__LEADER_STARTED__INIT;
    started.term = term;
    started.node = c->replica.node_id;
    started.http = (char *)c->http_advertise;
    started.link = (char *)c->link_advertise;
    started.version = (char *)CONCLAVE_VERSION;
    started.cluster_id.data = (uint8_t *)c->replica.cluster_id;
    started.cluster_id.len = sizeof c->replica.cluster_id;
    started.seed = state_config(m->state)->set ? NULL : &seed;
    Conclave__Log__Command command = CONCLAVE__LOG__COMMAND__INIT;
    command.leader_started = &started;
    master_stamp(m, &command, state_cluster_ms(m->state)); /* apply takes the larger of this and the state's */
    CHECK(command_encode(&command, ret) == 0);
}

/* ---- leadership ---- */

bool master_leader_known(const struct master *m, const char **ret_http, const char **ret_link) {
    const struct leader_record *leader = state_leader(m->state);
    if (m->leader_id == 0 || leader->index == 0 || leader->node != m->leader_id || leader->term != m->term)
        return false;
    if (m->leader_id == m->config->replica.node_id && !m->current) return false;
    if (ret_http) *ret_http = leader->http;
    if (ret_link) *ret_link = leader->link;
    return true;
}

void master_id(const struct master *m, char *ret, size_t size) {
    (void)snprintf(ret, size, "%s-%" PRIu32 "-%" PRIu64, state_cluster_name(m->state), state_incarnation(m->state),
                   m->term);
}

void launch_id_text(struct launch_id id, char *ret) {
    (void)snprintf(ret, 64, "%" PRIu64 ".%" PRIu32 ".%" PRIu32, id.index, id.n, id.k);
}

static void master_step_down(struct master *m) {
    if (!m->current) return;
    m->current = false;
    log_event(LOG_WARN, "leadership_lost", "term=%" PRIu64, m->term);
    sessions_reset(m->sessions);
    offers_reset(m->offers);
}

static void master_role_changed(void *ctx, enum replica_role role, uint64_t term, uint64_t leader_id) {
    struct master *m = ctx;
    bool was_leader = m->role == REPLICA_LEADER && m->term == term;
    if (role != REPLICA_LEADER || m->term != term) master_step_down(m);
    m->role = role;
    m->term = term;
    m->leader_id = leader_id;
    if (role == REPLICA_LEADER && !was_leader) {
        m->elected_mono_ms = clock_mono_ms();
        m->first_commit_ms = -1;
    }
    log_event(LOG_INFO, "role_changed", "role=%s term=%" PRIu64 " leader=%" PRIu64,
              role == REPLICA_LEADER      ? "leader"
              : role == REPLICA_CANDIDATE ? "candidate"
                                          : "follower",
              term, leader_id);
    agents_leader_changed(m->agents);
    api_retry_held(m->api, clock_mono_ms());
}

static void master_become_current(struct master *m) {
    m->current = true;
    m->cluster_base_ms = state_cluster_ms(m->state);
    m->mono_base_ms = clock_mono_ms();
    m->first_commit_ms = (int64_t)(m->mono_base_ms - m->elected_mono_ms);
    struct state_counts counts;
    state_counts(m->state, &counts);
    log_event(LOG_INFO, "leader_ready", "term=%" PRIu64 " index=%" PRIu64 " first_commit_ms=%" PRId64 " tasks=%" PRIu64,
              m->term, state_applied_index(m->state), m->first_commit_ms, counts.tasks_live);
    offers_reset(m->offers);
    sessions_reset(m->sessions);
    agents_current(m->agents);
}

/* After a leader_started was applied: ours makes us current; another's tells us where its leader listens. */
static void master_leader_applied(struct master *m) {
    const struct leader_record *leader = state_leader(m->state);
    if (leader->node == m->config->replica.node_id && leader->term == m->term && m->role == REPLICA_LEADER)
        master_become_current(m);
    agents_leader_changed(m->agents);
    api_retry_held(m->api, clock_mono_ms());
}

/* ---- applying ---- */

static void master_sweep(struct master *m, uint32_t framework);

static void master_swept(struct master *m, void *ctx, int status, const struct outcome *outcome) {
    (void)outcome;
    m->sweeping = false;
    if (status == 0) master_sweep(m, (uint32_t)(uintptr_t)ctx);
}

/* The next of the tasks that a removed framework had, as long as there are any; one command at a time. */
static void master_sweep(struct master *m, uint32_t number) {
    const struct framework *f = state_framework(m->state, number);
    if (!f || f->sweep_last == 0 || m->sweeping) return;
    Conclave__Log__FrameworkSweep sweep = CONCLAVE__LOG__FRAMEWORK_SWEEP__INIT;
    sweep.framework = number;
    sweep.from = f->sweep_next;
    Conclave__Log__Command command = CONCLAVE__LOG__COMMAND__INIT;
    command.framework_sweep = &sweep;
    m->sweeping = master_propose(m, &command, master_swept, (void *)(uintptr_t)number) == 0; /* or at the next tick */
}

static void effect_follow(struct master *m, const struct effect *e) {
    const struct task *task = e->task ? state_task(m->state, e->task) : NULL;
    switch (e->type) {
    case EFFECT_LAUNCH:
        if (task) agents_send_launch(m->agents, task);
        break;
    case EFFECT_KILL:
        if (task) agents_send_kill(m->agents, task);
        break;
    case EFFECT_UPDATE:
        if (task) sessions_update(m->sessions, task, false);
        break;
    case EFFECT_ACK:
        if (e->framework_id) {
            agents_send_ack(m->agents, e->agent, e->framework_id, e->task_id, e->launch, e->uuid);
        } else if (task) {
            const struct framework *f = state_framework(m->state, task->framework);
            if (f) agents_send_ack(m->agents, task->agent, f->id, task->id, task->launch, e->uuid);
        }
        break;
    case EFFECT_FRAMEWORK_REMOVED:
        sessions_end(m->sessions, e->framework, NULL);
        offers_drop_framework(m->offers, e->framework);
        master_sweep(m, e->framework);
        break;
    case EFFECT_AGENT_CHANGED: {
        const struct agent *agent = state_agent(m->state, e->agent);
        offers_drop_agent(m->offers, e->agent); /* what it has may be another amount now */
        if (agent && agent->status == AGENT_GONE_STATUS) agents_gone(m->agents, e->agent);
        break;
    }
    case EFFECT_FRAMEWORK_CHANGED:
    case EFFECT_RESOURCES_FREED:
        break;
    }
}

static void master_follow_effects(struct master *m) {
    if (!m->current) return;
    for (size_t i = 0; i < m->effects.count; i++)
        effect_follow(m, &m->effects.items[i]);
    if (m->effects.count) offers_wake(m->offers);
}

static void master_fatal(void *ctx, int exit_status, const char *why) {
    (void)ctx;
    log_event(LOG_ERROR, "fatal", "exit=%d why=%s", exit_status, why);
    _exit(exit_status); /* fail-stop: nothing may be written, answered or voted after this */
}

static int master_admit(void *ctx, const uint8_t *command, size_t len, struct err *err) {
    return state_admit(((struct master *)ctx)->state, command, len, err);
}

static void master_apply(void *ctx, uint64_t term, struct position at, const uint8_t *command, size_t len,
                         void *ticket) {
    struct master *m = ctx;
    struct ticket *waiting = ticket;
    struct err err = {0};
    uint64_t leader_before = state_leader(m->state)->index;
    int rc = state_apply(m->state, term, at.index, at.n, command, len, &m->outcome, &m->effects, &err);
    if (rc) {
        log_event(LOG_ERROR, "apply_refused", "index=%" PRIu64 ".%" PRIu32 " why=%s", at.index, at.n, err.text);
        master_fatal(m, 4, err.text);
    }
    m->commands_applied++;
    if (state_leader(m->state)->index != leader_before) master_leader_applied(m);
    master_follow_effects(m);
    if (waiting) {
        waiting->done(m, waiting->ctx, 0, &m->outcome);
        ticket_free(m, waiting);
    }
}

static void master_entry_applied(void *ctx, uint64_t index) {
    struct master *m = ctx;
    m->hashes[index % MASTER_HASHES] = (struct master_hash){.index = index, .hash = state_hash(m->state)};
}

static bool master_hash_at(void *ctx, uint64_t index, uint8_t ret[16]) {
    const struct master *m = ctx;
    const struct master_hash *h = &m->hashes[index % MASTER_HASHES];
    if (index == 0 || h->index != index) return false;
    store_u64(ret, h->hash.lo);
    store_u64(ret + 8, h->hash.hi);
    return true;
}

static void master_dropped(void *ctx, void *ticket) {
    struct master *m = ctx;
    struct ticket *waiting = ticket;
    m->proposals_dropped++;
    waiting->done(m, waiting->ctx, ERR_UNKNOWN_OUTCOME, NULL);
    ticket_free(m, waiting);
}

static void master_snapshot_begin(void *ctx) {
    state_snapshot_begin(((struct master *)ctx)->state);
}

static int master_snapshot_more(void *ctx, size_t bytes, struct buf *ret, bool *ret_end) {
    return state_snapshot_more(((struct master *)ctx)->state, bytes, ret, ret_end);
}

static void master_snapshot_end(void *ctx) {
    state_snapshot_end(((struct master *)ctx)->state);
}

static void *master_loader_open(void *ctx) {
    (void)ctx;
    return state_loader_new();
}

static int master_loader_data(void *loader, const uint8_t *data, size_t len, struct err *err) {
    return state_loader_data(loader, data, len, err);
}

static int master_loader_end(void *loader, struct err *err) {
    return state_loader_end(loader, err);
}

static void master_loader_free(void *loader) {
    state_loader_free(loader);
}

static void master_loaded(void *ctx, void *loader) {
    struct master *m = ctx;
    state_loader_swap(loader, m->state);
    memset(m->hashes, 0, MASTER_HASHES * sizeof *m->hashes);
    master_entry_applied(m, state_applied_index(m->state));
    agents_leader_changed(m->agents); /* the snapshot may be the first to say where the leader listens */
    api_retry_held(m->api, clock_mono_ms());
}

/* ---- time ---- */

/* Frameworks whose time is up: the expiry is a command that apply re-checks. One proposal in flight a framework is not
 * tracked: a repeated expiry is a no-op. */
static void master_expire_frameworks(struct master *m) {
    uint64_t now = master_cluster_ms(m);
    const struct framework *f = NULL;
    while ((f = state_framework_next(m->state, f ? f->number : 0))) {
        uint64_t since = 0;
        master_sweep(m, f->number);
        if (f->status == FRAMEWORK_REMOVED || framework_deadline(m->state, f, &since) > now) continue;
        Conclave__Log__FrameworkExpire expire = CONCLAVE__LOG__FRAMEWORK_EXPIRE__INIT;
        expire.framework = f->number;
        expire.since = since;
        Conclave__Log__Command command = CONCLAVE__LOG__COMMAND__INIT;
        command.framework_expire = &expire;
        (void)master_propose(m, &command, NULL, NULL); /* tried again at the next tick */
    }
}

/* ---- stopping ---- */

static void hand_over_done(void *ctx, int status, const char *why) {
    struct master *m = ctx;
    log_event(status == 0 ? LOG_INFO : LOG_WARN, "handed_over", "ms=%" PRIu64 " status=%s why=\"%s\"",
              clock_mono_ms() - m->stop_ms, status == 0 ? "ok" : err_name(status), why);
    m->handed_over = true;
    m->stop_ms = clock_mono_ms();
    api_retry_held(m->api, m->stop_ms);
}

/* A leader that is told to stop hands over first; then it stays until it can say who leads, so that what it held is
 * redirected. Each of the two takes an election timeout at most. */
static void master_stop_step(struct master *m, uint64_t now_ms) {
    const struct replica_change change = {.type = REPLICA_TRANSFER};
    struct err err;
    bool late = now_ms - m->stop_ms > m->config->replica.election_ms + REPLICA_DRAIN_MS;
    if (m->role != REPLICA_LEADER && !m->handed_over) {
        m->handed_over = true; /* we never led, or do no longer */
        m->stop_ms = now_ms;
    }
    if (!m->handed_over) {
        int rc = replica_handing_over(m->replica)
                     ? 0
                     : replica_change(m->replica, &change, hand_over_done, m, &err); /* ERR_BUSY: again in a moment */
        if (rc == 0 || (rc == ERR_BUSY && !late)) return;
        log_event(LOG_WARN, "stopping_as_leader", "why=\"%s\"", err.text);
        uv_stop(m->loop);
    } else if (late || (now_ms - m->stop_ms >= MASTER_LINGER_MS && master_leader_known(m, NULL, NULL))) {
        uv_stop(m->loop);
    }
}

static void master_tick(uv_timer_t *timer) {
    struct master *m = timer->data;
    CHECK_MAGIC(m, MASTER_MAGIC);
    uint64_t now = clock_mono_ms();
    lag_note(&m->lag, state_applied_index(m->state), now);
    api_retry_held(m->api, now);
    agents_tick(m->agents, now);
    tls_poll(m->tls, now, false);
    if (m->stopping) master_stop_step(m, now);
    if (!m->current) return;
    sessions_tick(m->sessions, now);
    offers_tick(m->offers, now);
    members_tick(m, now);
    master_expire_frameworks(m);
}

/* ---- life ---- */

struct master_stop {
    struct master *m;
    int pending;
};

static void master_closed_one(void *ctx) {
    struct master_stop *stop = ctx;
    if (--stop->pending == 0) net_close(stop->m->net, NULL, NULL);
}

static void master_replica_closed(void *ctx) {
    struct master_stop *stop = ctx;
    api_close(stop->m->api, master_closed_one, stop);
    agents_close(stop->m->agents, master_closed_one, stop);
}

/* The replica goes first: its last calls, tickets that come back dropped, still find everybody they are for. */
static void master_close_all(struct master *m, struct master_stop *stop) {
    *stop = (struct master_stop){.m = m, .pending = 2};
    uv_timer_stop(&m->timer);
    uv_close((uv_handle_t *)&m->timer, NULL);
    master_step_down(m);
    offers_close(m->offers);
    replica_close(m->replica, master_replica_closed, stop);
}

struct master_signals {
    uv_signal_t term, interrupt, hangup;
    struct master_stop stop;
};

static void master_on_signal(uv_signal_t *handle, int number) {
    struct master *m = handle->data;
    CHECK_MAGIC(m, MASTER_MAGIC);
    log_event(LOG_INFO, "stopping", "signal=%d", number);
    if (m->stopping || m->role != REPLICA_LEADER) { /* a second signal does not wait */
        m->stopping = true;
        uv_stop(m->loop);
        return;
    }
    m->stopping = true;
    m->stop_ms = clock_mono_ms();
    master_stop_step(m, m->stop_ms);
}

static void master_on_hangup(uv_signal_t *handle, int number) {
    struct master *m = handle->data;
    CHECK_MAGIC(m, MASTER_MAGIC);
    (void)number;
    tls_poll(m->tls, clock_mono_ms(), true);
}

static int master_open(struct master *m, struct err *err) {
    const struct master_config *c = m->config;
    const struct replica_app app = {.ctx = m,
                                    .first_command = master_first_command,
                                    .admit = master_admit,
                                    .apply = master_apply,
                                    .entry_applied = master_entry_applied,
                                    .hash = master_hash_at,
                                    .dropped = master_dropped,
                                    .role_changed = master_role_changed,
                                    .snapshot_begin = master_snapshot_begin,
                                    .snapshot_more = master_snapshot_more,
                                    .snapshot_end = master_snapshot_end,
                                    .loader_open = master_loader_open,
                                    .loader_data = master_loader_data,
                                    .loader_end = master_loader_end,
                                    .loader_free = master_loader_free,
                                    .loaded = master_loaded,
                                    .fatal = master_fatal};
    m->hashes = calloc(MASTER_HASHES, sizeof *m->hashes);
    m->state = state_new();
    m->net = net_open(m->loop);
    if (!m->hashes || !m->state || !m->net) return err_set(err, ERR_NOMEM, "out of memory");
    struct tls_identity self = {.role = TLS_MASTER, .node = c->replica.node_id};
    memcpy(self.cluster_id, c->replica.cluster_id, sizeof self.cluster_id);
    int rc = tls_open(&c->tls, &self, &m->tls, err);
    if (rc) return rc;
    if (!m->tls)
        log_event(LOG_WARN, "no_tls",
                  "links are plain, anybody may pretend to be a master or an agent: keep them in a "
                  "trusted network, or give --tls-ca, --tls-cert and --tls-key");
    rc = sessions_new(m, &m->sessions);
    if (rc == 0) rc = offers_new(m, &m->offers);
    if (rc) return err_set(err, rc, "out of memory");
    rc = agents_new(m, &c->link_listen, &m->agents, err);
    if (rc == 0) rc = api_open(m, &m->api, err);
    struct replica_config replica = c->replica;
    replica.net = m->net;
    replica.hash_kind = STATE_HASH_KIND;
    replica.tls = m->tls;
    replica.program_level = level_max();
    (void)snprintf(replica.program_version, sizeof replica.program_version, "%s", CONCLAVE_VERSION);
    if (rc == 0) rc = replica_open(m->loop, &replica, &app, &m->replica, err);
    return rc;
}

int master_run(const struct master_config *config) {
    static struct master master; /* one a process; too large for the stack */
    struct master *m = &master;
    struct err err = {0};
    uv_loop_t loop;
    struct master_signals signals;
    CHECK(uv_loop_init(&loop) == 0);
    *m = (struct master){.magic = MASTER_MAGIC, .config = config, .loop = &loop, .first_commit_ms = -1};
    m->started_wall_ms = clock_wall_ms();
    queue_init(&m->accepting);
    buf_init(&m->scratch, REPLICA_COMMAND_MAX);
    crash_mark_catch();
    int rc = master_open(m, &err);
    if (rc) {
        log_event(LOG_ERROR, "start_failed", "code=%s why=%s", err_name(rc), err.text);
        return err_exit_status(rc); /* the process ends: what was opened goes with it */
    }
    CHECK(uv_signal_init(&loop, &signals.term) == 0 && uv_signal_init(&loop, &signals.interrupt) == 0);
    signals.term.data = signals.interrupt.data = m;
    CHECK(uv_signal_start(&signals.term, master_on_signal, SIGTERM) == 0);
    CHECK(uv_signal_start(&signals.interrupt, master_on_signal, SIGINT) == 0);
    CHECK(uv_signal_init(&loop, &signals.hangup) == 0);
    signals.hangup.data = m;
    CHECK(uv_signal_start(&signals.hangup, master_on_hangup, SIGHUP) == 0);
    CHECK(uv_timer_init(&loop, &m->timer) == 0);
    m->timer.data = m;
    CHECK(uv_timer_start(&m->timer, master_tick, MASTER_TICK_MS, MASTER_TICK_MS) == 0);
    log_event(LOG_INFO, "started", "node=%" PRIu64 " http=%s link=%s version=%s", config->replica.node_id,
              config->http_advertise, config->link_advertise, CONCLAVE_VERSION);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&signals.term, NULL);
    uv_close((uv_handle_t *)&signals.interrupt, NULL);
    uv_close((uv_handle_t *)&signals.hangup, NULL);
    master_close_all(m, &signals.stop);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    sessions_free(m->sessions);
    offers_free(m->offers);
    effects_done(&m->effects);
    buf_done(&m->scratch);
    tls_close(m->tls);
    state_free(m->state);
    free(m->hashes);
    while (m->spare_tickets) {
        struct ticket *ticket = m->spare_tickets;
        m->spare_tickets = ticket->next;
        free(ticket);
    }
    CHECK(uv_loop_close(&loop) == 0);
    return m->exit_status;
}
