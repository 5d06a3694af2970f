/* SPDX-License-Identifier: Apache-2.0
 * What the guard offers beyond its corrections: reads, elections, peer death, proposals, trains through a full queue,
 * the fail-stop. The corrections have their own schedules in tests/sim/test_directed.c. */
#include "../lib/cmocka_all.h"

#include <string.h>

#include "../sim/sim.h"
#include "base/check.h"
#include "consensus/guard_private.h"

static struct sim sim; /* large */

static void begin(unsigned voters, uint64_t seed) {
    struct sim_config cfg = {.seed = seed, .voters = voters, .large = true};
    sim_init(&sim, &cfg);
    for (unsigned i = 0; i < voters; i++)
        node_start(&sim.nodes[i]);
}

static int leader(void) {
    for (unsigned i = 0; i < sim.cfg.voters; i++)
        if (node_leads(&sim.nodes[i]) && leader_ready(sim.nodes[i].guard)) return (int)i;
    return -1;
}

static bool has_leader(struct sim *s) {
    (void)s;
    return leader() >= 0;
}

static unsigned begin_led(unsigned voters, uint64_t seed) {
    begin(voters, seed);
    assert_true(sim_until(&sim, has_leader, 2000));
    sim_run(&sim, 200);
    assert_true(leader() >= 0);
    return (unsigned)leader();
}

static void end(void) {
    if (sim.result.red) print_message("red: %s %s\n", sim.result.invariant, sim.result.why);
    assert_false(sim.result.red);
    sim_done(&sim);
}

/* ---- reads ---- */

struct read {
    struct guard_read read;
    int calls, status;
    uint64_t index;
};

static void read_done(struct guard_read *read, int status, uint64_t index) {
    struct read *r = read->data;
    r->calls++;
    r->status = status;
    r->index = index;
}

static int ask(unsigned n, struct read *r) {
    memset(r, 0, sizeof *r);
    r->read.data = r;
    r->read.cb = read_done;
    node_enter(&sim.nodes[n]);
    int rv = guard_read_index(sim.nodes[n].guard, &r->read);
    node_enter(NULL);
    return rv;
}

static void a_leader_reads_its_commit_index_after_one_round_trip(void **state) {
    (void)state;
    unsigned n = begin_led(3, 1);
    struct read a, b;
    uint64_t commit = sim.nodes[n].raft.commit_index;
    assert_int_equal(ask(n, &a), 0);
    assert_int_equal(ask(n, &b), 0); /* shares the next round */
    assert_int_equal(a.calls, 0);
    sim_run(&sim, 10);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.status, 0);
    assert_int_equal(a.index, commit);
    assert_int_equal(b.calls, 1);
    assert_int_equal(b.status, 0);
    end();
}

static void a_follower_does_not_read(void **state) {
    (void)state;
    unsigned n = begin_led(3, 2);
    struct read r;
    assert_int_equal(ask((n + 1) % 3, &r), ERR_NOT_LEADER);
    sim_run(&sim, 1000);
    assert_int_equal(r.calls, 0);
    end();
}

static enum sim_verdict drop_probes(struct sim *s, unsigned from, unsigned to, const struct raft_message *m) {
    (void)s;
    (void)from;
    (void)to;
    return m->type == GUARD_IO_PROBE_RESULT ? SIM_DROP : SIM_PASS;
}

static int ask_leader(unsigned n, struct read *r) {
    memset(r, 0, sizeof *r);
    r->read.data = r;
    r->read.cb = read_done;
    node_enter(&sim.nodes[n]);
    int rv = guard_read_follower(sim.nodes[n].guard, &r->read);
    node_enter(NULL);
    return rv;
}

static void a_follower_reads_through_its_leader(void **state) {
    (void)state;
    unsigned n = begin_led(3, 20), f = (n + 1) % 3;
    struct read r, cut;
    assert_int_equal(ask_leader(n, &r), ERR_NOT_LEADER); /* the leader itself has the other way */
    assert_true(node_propose(&sim.nodes[n], 16));
    sim_run(&sim, 20);
    uint64_t commit = sim.nodes[n].raft.commit_index;
    assert_int_equal(ask_leader(f, &r), 0);
    assert_int_equal(r.calls, 0);
    sim_run(&sim, 20);
    assert_int_equal(r.calls, 1);
    assert_int_equal(r.status, 0);
    assert_true(r.index >= commit);
    sim.filter = drop_probes; /* the leader is never sure that it still leads */
    assert_int_equal(ask_leader(f, &cut), 0);
    sim_run(&sim, 1500);
    assert_int_equal(cut.calls, 1);
    assert_int_not_equal(cut.status, 0);
    sim.filter = NULL;
    end();
}

static void a_stranger_gets_no_vote(void **state) {
    (void)state;
    unsigned n = begin_led(3, 21), f = (n + 1) % 3;
    struct sim_node *node = &sim.nodes[f];
    net_isolate(&sim, f);
    sim_run(&sim, 1000); /* it knows no leader any more: the core would grant a vote now */
    uint64_t term = node->raft.current_term;
    struct raft_message m = {.type = RAFT_IO_REQUEST_VOTE, .server_id = 99, .server_address = "stranger"};
    m.request_vote = (struct raft_request_vote){.term = term + 5,
                                                .candidate_id = 99,
                                                .last_log_index = log_last(&node->raft.log) + 9,
                                                .last_log_term = term + 4};
    node_enter(node);
    node->recv(&node->inner, &m);
    m.type = RAFT_IO_TIMEOUT_NOW;
    m.timeout_now = (struct raft_timeout_now){term, log_last(&node->raft.log), term};
    node->recv(&node->inner, &m);
    node_enter(NULL);
    assert_int_not_equal(node->raft.voted_for, 99);
    assert_int_equal(node->raft.current_term, term);
    assert_int_equal(guard_counters(node->guard)->strangers, 2);
    end();
}

static enum sim_verdict hold_results(struct sim *s, unsigned from, unsigned to, const struct raft_message *m) {
    (void)s;
    (void)from;
    (void)to;
    return m->type == RAFT_IO_APPEND_ENTRIES_RESULT || m->type == GUARD_IO_PROBE_RESULT ? SIM_HOLD : SIM_PASS;
}

/* Answers that were given before another leader was elected arrive after the read began: they prove nothing. */
static void late_answers_do_not_let_a_deposed_leader_read(void **state) {
    (void)state;
    unsigned old = begin_led(3, 3);
    struct read early, late;
    sim.filter = hold_results;
    assert_int_equal(ask(old, &early), 0);
    sim_run(&sim, 60);
    assert_int_equal(early.calls, 0);
    net_isolate(&sim, old);
    sim.nodes[old].timers_off = true; /* it is paused, and so does not step down */
    sim.filter = NULL;
    sim_run(&sim, 700);
    unsigned fresh = (unsigned)leader();
    for (unsigned i = 0; i < 3; i++)
        if (i != old && node_leads(&sim.nodes[i])) fresh = i;
    assert_int_not_equal(fresh, old);
    assert_true(node_propose(&sim.nodes[fresh], 16));
    sim_run(&sim, 20);
    assert_true(node_leads(&sim.nodes[old]));
    assert_int_equal(ask(old, &late), 0);
    net_heal(&sim);
    for (unsigned i = 0; i < 3; i++)
        if (i != old) sim.cut[i][old] = sim.cut[old][i] = false;
    net_release(&sim, NULL);
    sim_run(&sim, 3); /* only what was held can have arrived */
    assert_true(late.calls == 0 || late.status != 0);
    sim.nodes[old].timers_off = false;
    sim_run(&sim, 1000);
    assert_int_equal(late.calls, 1);
    assert_int_not_equal(late.status, 0);
    assert_int_equal(early.calls, 1);
    end();
}

static void a_read_without_a_majority_times_out(void **state) {
    (void)state;
    unsigned n = begin_led(3, 4);
    struct read r;
    net_isolate(&sim, n);
    assert_int_equal(ask(n, &r), 0);
    sim_run(&sim, SIM_ELECTION_MS + 2 * GUARD_TICK_MS);
    assert_int_equal(r.calls, 1);
    assert_true(r.status == ERR_TIMEOUT || r.status == ERR_NOT_LEADER);
    end();
}

/* ---- elections ---- */

static uint64_t failover(unsigned voters, uint64_t seed, bool hint, int *ret_winner, unsigned *ret_dead) {
    unsigned old = begin_led(voters, seed);
    sim_run(&sim, rng_below(&sim.rng, 100));
    node_crash(&sim.nodes[old]);
    uint64_t at = sim_ms(&sim);
    sim_run(&sim, 1);
    for (unsigned i = 0; i < voters && hint; i++) {
        if (i == old) continue;
        node_enter(&sim.nodes[i]);
        guard_peer_dead(sim.nodes[i].guard, sim.nodes[old].id);
        node_enter(NULL);
        sim_run(&sim, 1);
    }
    assert_true(sim_until(&sim, has_leader, 5000));
    *ret_winner = leader();
    *ret_dead = old;
    uint64_t took = sim_ms(&sim) - at;
    end();
    return took;
}

static void percentiles(const char *what, uint64_t *ms, size_t n) {
    for (size_t i = 1; i < n; i++) /* sorted by insertion */
        for (size_t j = i; j > 0 && ms[j - 1] > ms[j]; j--) {
            uint64_t t = ms[j];
            ms[j] = ms[j - 1];
            ms[j - 1] = t;
        }
    print_message("    %s: p50 %llu p99 %llu max %llu ms\n", what, (unsigned long long)ms[n / 2],
                  (unsigned long long)ms[n * 99 / 100], (unsigned long long)ms[n - 1]);
}

#define FAILOVERS 100u

/* From the death of the leader to the first entry of its successor being committed. */
static void a_dead_process_costs_less_than_a_hundred_milliseconds(void **state) {
    (void)state;
    uint64_t ms[FAILOVERS];
    unsigned lowest = 0, dead;
    int winner;
    for (unsigned i = 0; i < FAILOVERS; i++) {
        ms[i] = failover(3 + 2 * (i % 2), 100 + i, true, &winner, &dead);
        if (winner == (dead == 0 ? 1 : 0)) lowest++;
    }
    percentiles("process death to first commit", ms, FAILOVERS);
    assert_true(ms[FAILOVERS - 1] < 100);
    assert_true(lowest > FAILOVERS * 8 / 10); /* the rank decides, not chance */
}

static void silence_costs_one_election_timeout_and_the_ranks(void **state) {
    (void)state;
    uint64_t ms[FAILOVERS];
    unsigned dead;
    int winner;
    for (unsigned i = 0; i < FAILOVERS; i++)
        ms[i] = failover(3 + 2 * (i % 2), 300 + i, false, &winner, &dead);
    percentiles("silence to first commit", ms, FAILOVERS);
    assert_true(ms[FAILOVERS - 1] < 2 * SIM_ELECTION_MS);
}

/* What passes on the network while the followers of a silent leader look for another. */
static struct {
    unsigned old;
    uint64_t heard_ms; /* the leader's last message */
    unsigned asked, denied;
} silence;

static enum sim_verdict silence_filter(struct sim *s, unsigned from, unsigned to, const struct raft_message *m) {
    (void)to;
    if (from == silence.old) silence.heard_ms = sim_ms(s);
    if (m->type == RAFT_IO_REQUEST_VOTE && m->request_vote.pre_vote) silence.asked++;
    if (m->type == RAFT_IO_REQUEST_VOTE_RESULT && m->request_vote_result.pre_vote == raft_tribool_true &&
        !m->request_vote_result.vote_granted)
        silence.denied++;
    return SIM_PASS;
}

/* The first that stands is granted at once or a tick later, when its voters last heard from the leader a moment after
 * it did; it does not wait for their own timers. */
static void silence_is_over_when_the_first_asks(void **state) {
    (void)state;
    uint64_t ms[FAILOVERS];
    unsigned denied = 0;
    for (unsigned i = 0; i < FAILOVERS; i++) {
        unsigned voters = 3 + 2 * (i % 2);
        memset(&silence, 0, sizeof silence);
        silence.old = begin_led(voters, 500 + i);
        sim.filter = silence_filter;
        sim_run(&sim, 100 + rng_below(&sim.rng, 100));
        node_crash(&sim.nodes[silence.old]);
        assert_true(sim_until(&sim, has_leader, 5000));
        ms[i] = sim_ms(&sim) - silence.heard_ms;
        assert_true(ms[i] >= SIM_ELECTION_MS);
        denied += silence.denied;
        end();
    }
    percentiles("last word of the leader to first commit", ms, FAILOVERS);
    print_message("    pre-votes denied: %u in %u elections\n", denied, FAILOVERS);
    assert_true(ms[FAILOVERS / 2] <= SIM_ELECTION_MS + GUARD_JITTER_MS + 2 * GUARD_TICK_MS);
    assert_true(ms[FAILOVERS * 9 / 10] < SIM_ELECTION_MS + GUARD_RANK_MS + GUARD_JITTER_MS);
}

/* What pre-vote is for: one that does not hear the leader asks again and again, and nobody who hears it agrees. */
static void one_deaf_follower_does_not_depose_the_leader(void **state) {
    (void)state;
    for (unsigned voters = 3; voters <= 5; voters += 2) {
        unsigned n = begin_led(voters, 20 + voters), deaf = (n + 1) % voters;
        raft_term term = sim.nodes[n].raft.current_term;
        memset(&silence, 0, sizeof silence);
        silence.old = n;
        sim.filter = silence_filter;
        sim.cut[n][deaf] = true;
        sim_run(&sim, 20 * SIM_ELECTION_MS);
        assert_true(node_leads(&sim.nodes[n]));
        assert_int_equal(sim.nodes[n].raft.current_term, term);
        assert_true(silence.asked > 100); /* it did ask */
        assert_true(silence.denied > 100);
        for (unsigned i = 0; i < voters; i++)
            assert_int_equal(guard_counters(sim.nodes[i].guard)->leaders_doubted, 0);
        end();
    }
}

static void the_hint_about_a_living_leader_does_no_harm(void **state) {
    (void)state;
    unsigned n = begin_led(3, 5);
    raft_term term = sim.nodes[n].raft.current_term;
    for (unsigned round = 0; round < 5; round++) {
        unsigned follower = (n + 1) % 3;
        node_enter(&sim.nodes[follower]);
        guard_peer_dead(sim.nodes[follower].guard, sim.nodes[n].id);
        node_enter(NULL);
        sim_run(&sim, 100);
    }
    assert_true(node_leads(&sim.nodes[n])); /* the others still hear it, and pre-vote asks them */
    assert_int_equal(sim.nodes[n].raft.current_term, term);
    end();
}

static void a_single_voter_leads_when_start_returns(void **state) {
    (void)state;
    begin(1, 6);
    assert_true(node_leads(&sim.nodes[0]));
    assert_true(node_propose(&sim.nodes[0], 16));
    sim_run(&sim, 20);
    assert_int_equal(sim.acked, 1);
    struct read r;
    assert_int_equal(ask(0, &r), 0);
    assert_int_equal(r.calls, 1);
    assert_int_equal(r.status, 0);
    end();
}

/* ---- proposals, disk, trains ---- */

static void a_buffer_of_a_wrong_length_is_refused(void **state) {
    (void)state;
    unsigned n = begin_led(3, 7);
    struct raft_apply req;
    uint64_t words[2] = {0};
    const size_t lengths[] = {0, 1, 7, 9, 15};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct raft_buffer buf = {words, lengths[i]};
        assert_int_equal(guard_propose(sim.nodes[n].guard, &req, &buf, NULL), ERR_INVALID);
    }
    struct raft_buffer buf = {words, 16};
    assert_int_equal(guard_propose(sim.nodes[(n + 1) % 3].guard, &req, &buf, NULL), ERR_NOT_LEADER);
    end();
}

static void a_failed_write_ends_the_process(void **state) {
    (void)state;
    unsigned n = begin_led(3, 8);
    struct sim_node *node = &sim.nodes[n];
    uint64_t acked = sim.acked;
    node->fatal_expected = node->disk_fails = true;
    assert_true(node_propose(node, 16));
    sim_run(&sim, 20);
    assert_int_equal(node->fatal.count, 1);
    assert_int_equal(node->fatal.kind, GUARD_FATAL_DISK);
    sim_run(&sim, 2000); /* it is as good as dead: another leads, and it says nothing */
    assert_int_equal(node->fatal.count, 1);
    assert_int_equal(sim.acked, acked);
    assert_true(leader() >= 0);
    end();
}

/* All followers need longer than an election timeout for each write, under load. */
static void slow_disks_do_not_depose_a_leader(void **state) {
    (void)state;
    unsigned n = begin_led(3, 10);
    raft_term term = sim.nodes[n].raft.current_term;
    sim.nodes[n].inflight_max = 1000;
    for (unsigned i = 0; i < 3; i++)
        if (i != n) sim.nodes[i].disk_held = true;
    for (unsigned i = 0; i < 60; i++) { /* often enough that the core has no reason for a heartbeat */
        node_propose(&sim.nodes[n], 16);
        sim_run(&sim, 20);
    }
    assert_true(node_leads(&sim.nodes[n]));
    assert_int_equal(sim.nodes[n].raft.current_term, term);
    for (unsigned i = 0; i < 3; i++)
        sim.nodes[i].disk_held = false;
    sim_run(&sim, 100);
    assert_true(sim.acked > 0);
    end();
}

/* Its own disk needs three election timeouts for the first entry. */
static void a_slow_first_write_does_not_depose_a_leader(void **state) {
    (void)state;
    begin(3, 11);
    for (unsigned i = 0; i < 3; i++)
        sim.nodes[i].disk_held = true;
    sim_run(&sim, 400);
    unsigned n = 3;
    for (unsigned i = 0; i < 3; i++)
        if (node_leads(&sim.nodes[i])) n = i;
    assert_true(n < 3);
    raft_term term = sim.nodes[n].raft.current_term;
    for (unsigned i = 0; i < 3; i++)
        sim.nodes[i].disk_held = i == n;
    sim_run(&sim, 3 * SIM_ELECTION_MS);
    assert_true(node_leads(&sim.nodes[n]));
    sim.nodes[n].disk_held = false;
    sim_run(&sim, 50);
    assert_int_equal(sim.nodes[n].raft.current_term, term);
    assert_int_equal(leader(), n);
    end();
}

/* A follower with entries of a later leader that never committed, and the snapshot of one whose last entry is older. */
static void a_log_that_contradicts_a_snapshot_is_cut_by_a_restart(void **state) {
    (void)state;
    unsigned n = begin_led(3, 12), f = (n + 1) % 3;
    struct sim_node *node = &sim.nodes[f];
    net_isolate(&sim, n); /* another leads in a later term */
    assert_true(sim_until(&sim, has_leader, 10));
    sim_run(&sim, 1500);
    for (unsigned i = 0; i < 3; i++)
        if (i != n && node_leads(&sim.nodes[i])) f = i;
    node = &sim.nodes[f];
    assert_true(node_leads(node));
    net_isolate(&sim, f);
    for (unsigned i = 0; i < 3; i++)
        node_propose(node, 16);
    sim_run(&sim, 20);
    raft_index last = log_last(&node->raft.log);
    assert_true(last > node->raft.commit_index);
    node_enter(node);
    struct raft_message m = {.type = RAFT_IO_INSTALL_SNAPSHOT, .server_id = sim.nodes[n].id, .server_address = "n"};
    m.install_snapshot = (struct raft_install_snapshot){.term = node->raft.current_term + 5,
                                                        .last_index = last - 1,
                                                        .last_term = node->raft.current_term - 1,
                                                        .conf_index = 1};
    raft_configuration_init(&m.install_snapshot.conf);
    m.install_snapshot.data = (struct raft_buffer){raft_malloc(16), 16};
    unsigned life = node->life;
    node->recv(&node->inner, &m);
    node_enter(NULL);
    assert_true(node->restart_wanted);
    sim_run(&sim, 40);
    assert_int_equal(node->life, life + 1);
    assert_int_equal(log_last(&node->raft.log), last - 2);
    end();
}

static bool third_caught_up(struct sim *s) {
    return log_last(&s->nodes[2].raft.log) == log_last(&s->nodes[(unsigned)leader()].raft.log);
}

static void a_full_queue_ends_a_train_and_the_follower_still_catches_up(void **state) {
    (void)state;
    begin(3, 9);
    sim.nodes[2].timers_off = true; /* it shall follow */
    assert_true(sim_until(&sim, has_leader, 2000));
    net_isolate(&sim, 2);
    for (unsigned i = 0; i < 150; i++) {
        node_propose(&sim.nodes[(unsigned)leader()], 100 << 10);
        sim_run(&sim, 4);
    }
    sim.queue_max = 1200 << 10; /* one message of a train, and a little */
    net_heal(&sim);
    assert_true(sim_until(&sim, third_caught_up, 3000));
    end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_leader_reads_its_commit_index_after_one_round_trip),
        cmocka_unit_test(a_follower_reads_through_its_leader),
        cmocka_unit_test(a_stranger_gets_no_vote),
        cmocka_unit_test(a_follower_does_not_read),
        cmocka_unit_test(late_answers_do_not_let_a_deposed_leader_read),
        cmocka_unit_test(a_read_without_a_majority_times_out),
        cmocka_unit_test(a_dead_process_costs_less_than_a_hundred_milliseconds),
        cmocka_unit_test(silence_costs_one_election_timeout_and_the_ranks),
        cmocka_unit_test(silence_is_over_when_the_first_asks),
        cmocka_unit_test(one_deaf_follower_does_not_depose_the_leader),
        cmocka_unit_test(the_hint_about_a_living_leader_does_no_harm),
        cmocka_unit_test(a_single_voter_leads_when_start_returns),
        cmocka_unit_test(a_buffer_of_a_wrong_length_is_refused),
        cmocka_unit_test(a_failed_write_ends_the_process),
        cmocka_unit_test(slow_disks_do_not_depose_a_leader),
        cmocka_unit_test(a_slow_first_write_does_not_depose_a_leader),
        cmocka_unit_test(a_log_that_contradicts_a_snapshot_is_cut_by_a_restart),
        cmocka_unit_test(a_full_queue_ends_a_train_and_the_follower_still_catches_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
