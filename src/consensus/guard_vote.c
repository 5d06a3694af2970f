/* SPDX-License-Identifier: Apache-2.0
 * Elections: the timeout by rank, vote requests repeated, the dead leader forgotten, and the first entry of our term.
 */
#include "consensus/guard_private.h"

#include "base/check.h"
#include "base/mutant.h"

/* Our place by id among the voters other than the last known leader. When that was ourselves we come last: we have just
 * failed to lead. */
static unsigned rank(const struct guard *g) {
    const struct raft *r = g->r;
    unsigned below = 0, others = 0;
    for (unsigned i = 0; i < r->configuration.n; i++) {
        const struct raft_server *server = &r->configuration.servers[i];
        if (server->role != RAFT_VOTER || server->id == g->last_leader || server->id == r->id) continue;
        others++;
        if (server->id < r->id) below++;
    }
    return g->last_leader == r->id ? others : below;
}

static unsigned spread(const struct guard *g) {
    return rank(g) * GUARD_RANK_MS + (unsigned)(g->cfg.rng(g->cfg.ctx) % (GUARD_JITTER_MS + 1));
}

/* The core asks for random numbers only to set its election timer, so that is what it gets, whatever its range. */
int guard_random(struct raft_io *io, int min, int max) {
    struct guard *g = io->impl;
    (void)min;
    (void)max;
    return (int)(g->cfg.election_ms + spread(g));
}

/* The running timer of a follower was set when the state began, perhaps before this leader was known. */
static void refresh_timer(struct guard *g) {
    struct raft *r = g->r;
    if (r->state != RAFT_FOLLOWER) return;
    if (g->hurry && r->follower_state.current_leader.id != 0) {
        g->hurry = false;
        g->timer_leader = 0;
    }
    bool same = g->timer_leader == g->last_leader && g->timer_members == r->configuration.n &&
                g->timer_config == r->configuration_index;
    if (same || g->hurry) return;
    g->timer_leader = g->last_leader;
    g->timer_members = r->configuration.n;
    g->timer_config = r->configuration_index;
    r->follower_state.randomized_election_timeout = g->cfg.election_ms + spread(g);
}

/* Two that stand at the same time would both win the pre-vote and then split the votes, which costs a timeout. So one
 * that stands does not answer one of a higher rank whose log is no better; and who grants a pre-vote gives way for a
 * moment. All of it ends GUARD_DEFER_MAX_MS after the first time, so that nobody gives way for ever to one that cannot
 * win. None of it is about safety: a request or an answer that is dropped could have been lost. */
static bool may_defer(struct guard *g) {
    uint64_t now = guard_now(g);
    if (!g->deferring) {
        g->deferring = true;
        g->defer_since_ms = now;
    }
    return now - g->defer_since_ms < GUARD_DEFER_MAX_MS;
}

static void forget_leader(struct raft *r) {
    raft_free(r->follower_state.current_leader.address);
    r->follower_state.current_leader.address = NULL;
    r->follower_state.current_leader.id = 0;
}

/* The core denies every vote while it knows a leader, and it knows one until its own timer runs out, which by rank is
 * later than the timer of the one that asks: the first round of requests would always be in vain. What a vote must be
 * denied for is a leader heard from within the election timeout itself (Raft, 4.2.3), so one that has been silent for
 * longer is forgotten when somebody asks. */
static void doubt_leader(struct guard *g) {
    struct raft *r = g->r;
    if (r->state != RAFT_FOLLOWER || r->follower_state.current_leader.id == 0) return;
    if (guard_now(g) - r->election_timer_start < g->cfg.election_ms) return;
    forget_leader(r);
    g->count.leaders_doubted++;
}

bool vote_request(struct guard *g, const struct raft_request_vote *args) {
    const struct raft *r = g->r;
    doubt_leader(g);
    if (!args->pre_vote || r->state != RAFT_CANDIDATE || args->candidate_id < r->id) return true;
    raft_index last = log_last(&r->log);
    raft_term term = log_term(&r->log, last);
    bool better = args->last_log_term > term || (args->last_log_term == term && args->last_log_index > last);
    if (better || args->term > r->current_term + 1 || !may_defer(g)) return true;
    g->count.votes_deferred++;
    return false;
}

bool vote_answer(const struct guard *g, const struct raft_request_vote_result *args) {
    bool ours = g->r->state == RAFT_CANDIDATE && g->r->candidate_state.in_pre_vote;
    return !ours || args->pre_vote != raft_tribool_true || guard_now(g) >= g->yield_until_ms;
}

void vote_granted(struct guard *g) {
    struct raft *r = g->r;
    uint64_t now = guard_now(g);
    if (r->state == RAFT_LEADER || !may_defer(g)) return;
    g->count.votes_deferred++;
    g->yield_until_ms = now + GUARD_YIELD_MS;
    if (r->state != RAFT_FOLLOWER) return;
    unsigned timeout = r->follower_state.randomized_election_timeout;
    if (r->election_timer_start + timeout >= now + GUARD_YIELD_MS) return;
    r->follower_state.randomized_election_timeout = (unsigned)(now - r->election_timer_start) + GUARD_YIELD_MS;
}

static struct guard_view view_of(const struct guard *g) {
    const struct raft *r = g->r;
    struct guard_view view = {.role = GUARD_UNAVAILABLE, .term = r->current_term};
    if (r->state == RAFT_FOLLOWER) {
        view.role = GUARD_FOLLOWER;
        /* The core keeps the leader of an older term when it only learns of a newer term. */
        if (r->follower_state.current_leader.id != 0 && g->leader_term == r->current_term)
            view.leader_id = r->follower_state.current_leader.id;
    } else if (r->state == RAFT_CANDIDATE) {
        view.role = r->candidate_state.in_pre_vote ? GUARD_PRE_CANDIDATE : GUARD_CANDIDATE;
    } else if (r->state == RAFT_LEADER) {
        view.role = GUARD_LEADER;
        view.leader_id = r->id;
    }
    return view;
}

void vote_settle(struct guard *g) {
    struct raft *r = g->r;
    if (r->state == RAFT_LEADER) {
        g->leader_term = r->current_term;
        g->leader_id = r->id;
    }
    struct guard_view view = view_of(g);
    if (view.leader_id != 0) {
        g->last_leader = view.leader_id;
        g->deferring = false;
        g->yield_until_ms = 0;
    }
    if (r->state != RAFT_FOLLOWER) g->hurry = false;
    /* A split vote: the core would wait a whole election timeout before the next round. */
    if (view.role == GUARD_CANDIDATE && (g->view.role != GUARD_CANDIDATE || g->view.term != view.term))
        r->candidate_state.randomized_election_timeout = g->cfg.election_ms / 2 + spread(g);
    refresh_timer(g);
    bool same = view.role == g->view.role && view.term == g->view.term && view.leader_id == g->view.leader_id;
    if (same) return;
    if (view.role != GUARD_LEADER || view.term != g->view.term) read_fail(g, ERR_NOT_LEADER);
    if (view.role != g->view.role || view.term != g->view.term) g->vote_since_ms = guard_now(g);
    g->view = view;
    if (g->cfg.changed != NULL) g->cfg.changed(g->cfg.ctx, &view);
}

/* The same request once more to every voter that has not granted: a lost message, or a voter that still believed in
 * the leader, costs a moment instead of an election timeout. Answering a request twice changes nothing. */
static void repeat_requests(struct guard *g) {
    struct raft *r = g->r;
    bool pre_vote = r->candidate_state.in_pre_vote;
    struct raft_message m = {.type = RAFT_IO_REQUEST_VOTE};
    m.request_vote = (struct raft_request_vote){
        .term = r->current_term + (pre_vote ? 1 : 0),
        .candidate_id = r->id,
        .last_log_index = log_last(&r->log),
        .last_log_term = log_term(&r->log, log_last(&r->log)),
        .disrupt_leader = r->candidate_state.disrupt_leader,
        .pre_vote = pre_vote,
    };
    unsigned voter = 0; /* place in the votes array */
    for (unsigned i = 0; i < r->configuration.n; i++) {
        const struct raft_server *server = &r->configuration.servers[i];
        if (MUTANT(LEARNER_VOTES) && server->role == RAFT_STANDBY) {
            m.server_id = server->id;
            m.server_address = server->address;
            g->inner->send(g->inner, NULL, &m, NULL);
        }
        if (server->role != RAFT_VOTER) continue;
        if (server->id != r->id && !r->candidate_state.votes[voter]) {
            m.server_id = server->id;
            m.server_address = server->address;
            g->inner->send(g->inner, NULL, &m, NULL);
            g->count.votes_repeated++;
        }
        voter++;
    }
    g->vote_sent_ms = guard_now(g);
}

void vote_tick(struct guard *g) {
    if (g->r->state != RAFT_CANDIDATE || g->r->candidate_state.votes == NULL) return;
    uint64_t now = guard_now(g);
    /* Two followers last heard from their leader a moment apart, so the first rounds come close after one another. */
    bool fresh = now - g->vote_since_ms <= GUARD_VOTE_REPEAT_MS;
    if (now - g->vote_sent_ms >= (fresh ? GUARD_TICK_MS : GUARD_VOTE_REPEAT_MS)) repeat_requests(g);
}

void guard_peer_dead(struct guard *g, uint64_t id) {
    struct raft *r = g->r;
    CHECK(g->depth == 0);
    if (g->dead || g->closing || !g->started || id == 0) return;
    if (r->state != RAFT_FOLLOWER || r->follower_state.current_leader.id != id) return;
    forget_leader(r);
    r->follower_state.randomized_election_timeout = spread(g);
    r->election_timer_start = guard_now(g);
    g->hurry = true;
    g->count.leaders_forgotten++;
    guard_settle(g);
}

/* Nothing to do: the first entry is an entry like any other, and its fate shows in the commit index. */
static void first_applied(struct raft_apply *req, int status, void *result) {
    (void)req;
    (void)status;
    (void)result;
}

/* A. Refused by the core while a transfer is pending, so it is tried again after every entry; results stay held. */
void vote_first_entry(struct guard *g) {
    struct raft *r = g->r;
    if (!GUARD_ON(g, GUARD_A) || r->state != RAFT_LEADER || g->first_term == r->current_term) return;
    if (r->transfer != NULL) return;
    struct raft_buffer buf = {0};
    if (g->cfg.first_entry(g->cfg.ctx, r->current_term, &buf) != 0 || buf.len == 0 || buf.len % 8 != 0) {
        guard_die(g, GUARD_FATAL_UNAVAILABLE, "no first entry for term %llu", r->current_term);
        return;
    }
    g->first_term = r->current_term;
    g->first_index = log_last(&r->log) + 1;
    g->first_durable = false;
    g->first_ms = guard_now(g);
    /* The heartbeat that announced us went out a moment ago; do not wait for the next to send the entry with it. */
    for (unsigned i = 0; i < r->configuration.n; i++)
        r->leader_state.progress[i].last_send = 0;
    guard_enter(g, NULL);
    int rv = raft_apply(r, &g->first_req, &buf, 1, first_applied);
    guard_leave(g);
    if (rv == 0) {
        g->count.first_entries++;
        return;
    }
    raft_free(buf.base);
    g->first_term = 0;
    if (rv != RAFT_NOTLEADER) guard_die(g, GUARD_FATAL_UNAVAILABLE, "first entry refused: %s", raft_strerror(rv));
}

void vote_first_committed(struct guard *g) {
    struct raft *r = g->r;
    if (g->told_term == r->current_term || !leader_ready(g)) return;
    g->told_term = r->current_term;
    for (unsigned i = 0; i < r->configuration.n; i++)
        r->leader_state.progress[i].last_send = 0;
}
