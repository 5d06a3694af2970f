/* SPDX-License-Identifier: Apache-2.0
 * One schedule for each correction of the guard, run twice with the same seed: with the correction off it must end red,
 * with it on green. "Red" names what was observed, and what kind of evidence that is:
 *
 *   A  real damage: replicas diverge            B  real damage: replicas diverge
 *   C  real damage, but only with H off too (H covers it): replicas diverge
 *   D  real damage: the core answers a snapshot install to a garbage address (crash)
 *   E  real damage: two leaders in one term     F  starvation: nothing commits under load
 *   G  a check: the same schedule as A diverges without it, and stops before it applies anything with it
 *   H  the core counts as stored what the disk does not have
 *   I  real damage: the log is shifted (divergence or crash)
 *   J  slowness: one heartbeat for each conflicting entry
 *   K  a message beyond the limit
 *   L  real damage: crash in the roll-back; and an uncommitted configuration in a snapshot
 *   M  a check: what H prevents is noticed by the guard itself
 *   N  real damage: a stale read
 *   P, Q  two of three masters are there and never have a leader */
#include "../lib/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mutant.h"
#include "consensus/guard_private.h"
#include "sim.h"

#define ONLY(bits) ((unsigned)(bits))

/* ---- the verbs of the schedules; nodes are numbered from 0 ---- */

static unsigned wanted; /* argument of the conditions below */

static struct raft *core(struct sim *sim, unsigned n) {
    return &sim->nodes[n].raft;
}

static raft_term wanted_term;

static bool wanted_leads(struct sim *sim) {
    return node_leads(&sim->nodes[wanted]) && core(sim, wanted)->current_term >= wanted_term;
}

static bool wanted_deposed(struct sim *sim) {
    return !node_leads(&sim->nodes[wanted]);
}

static bool wanted_ready(struct sim *sim) {
    return wanted_leads(sim) && leader_ready(sim->nodes[wanted].guard);
}

/* Makes `n` the leader if it can be: only its clock runs, and everybody forgets the leader there was. */
static bool elect(struct sim *sim, unsigned n) {
    wanted_term = 0;
    for (unsigned i = 0; i < sim->cfg.voters; i++) {
        struct sim_node *node = &sim->nodes[i];
        if (node->up && node->raft.current_term > wanted_term) wanted_term = node->raft.current_term;
        node->timers_off = i != n;
        if (!node->up || node->raft.state != RAFT_FOLLOWER) continue;
        node_enter(node);
        guard_peer_dead(node->guard, node->raft.follower_state.current_leader.id);
        node_enter(NULL);
    }
    wanted = n;
    return sim_until(sim, wanted_leads, 3000);
}

/* Lets the clock of a leader that reaches nobody run until it gives up. */
static void depose(struct sim *sim, unsigned n) {
    sim->nodes[n].timers_off = false;
    wanted = n;
    sim_until(sim, wanted_deposed, 3000);
    sim->nodes[n].timers_off = true;
}

static void begin(struct sim *sim, unsigned leader) {
    for (unsigned i = 0; i < sim->cfg.voters && !sim->result.red; i++)
        node_start(&sim->nodes[i]);
    elect(sim, leader);
    sim_until(sim, wanted_ready, 200);
    node_propose(&sim->nodes[leader], 16);
    sim_run(sim, 200); /* everybody has everything */
}

/* Everything is well again: whatever happened must now be one log. */
static void finish(struct sim *sim) {
    sim->filter = NULL;
    net_drop_held(sim);
    for (unsigned i = 0; i < sim->cfg.voters; i++) {
        sim->nodes[i].timers_off = sim->nodes[i].disk_held = false;
        sim->nodes[i].inflight_max = SIM_INFLIGHT_MAX;
    }
    if (!sim->result.red) nemesis_heal_and_wait(sim);
}

static void connect_only(struct sim *sim, unsigned mask) { /* these talk to each other, the others to nobody */
    for (unsigned i = 0; i < sim->cfg.voters; i++)
        for (unsigned j = 0; j < sim->cfg.voters; j++)
            sim->cut[i][j] = (mask >> i & 1) == 0 || (mask >> j & 1) == 0;
}

static void assigned(struct raft_change *req, int status) {
    (void)status;
    raft_free(req);
}

static bool carries(const struct raft_message *m) {
    return m->type == RAFT_IO_APPEND_ENTRIES && m->append_entries.n_entries > 0;
}

/* ---- A, G: figure 8 ---- */

static unsigned entries_only_to; /* mask of receivers of the filter below */

static enum sim_verdict entries_filter(struct sim *sim, unsigned from, unsigned to, const struct raft_message *m) {
    (void)sim;
    (void)from;
    return carries(m) && (entries_only_to >> to & 1) == 0 ? SIM_DROP : SIM_PASS;
}

static bool wanted_commits_own(struct sim *sim) {
    const struct raft *r = core(sim, wanted);
    return r->state != RAFT_LEADER || r->commit_index >= log_last(&r->log);
}

/* Node 0 leads and keeps an entry to itself; node 1 leads and keeps another at the same place to itself; node 0 leads
 * again and brings its old entry to a majority; then node 1 leads with the votes of those who have no newer term. */
static void figure_8(struct sim *sim) {
    begin(sim, 0);
    sim->filter = entries_filter;
    entries_only_to = 0;
    node_propose(&sim->nodes[0], 16);
    sim_run(sim, 5);
    connect_only(sim, 0x1e);
    depose(sim, 0);
    elect(sim, 1);
    node_propose(&sim->nodes[1], 16);
    sim_run(sim, 5);
    connect_only(sim, 0x1d);
    depose(sim, 1);
    entries_only_to = 0x0c;
    elect(sim, 0);
    /* As libraft does it: the old entry alone goes out first. With A the first entry is already behind it. */
    wanted = 0;
    sim_until(sim, wanted_commits_own, 400);
    connect_only(sim, 0x1a); /* 1, 3 and 4 */
    depose(sim, 0);
    entries_only_to = 0x1f;
    if (!sim->result.red && elect(sim, 1)) {
        node_propose(&sim->nodes[1], 16);
        sim_run(sim, 300);
    }
    net_heal(sim);
    finish(sim);
}

/* ---- B: a stale suffix is counted ---- */

static enum sim_verdict stale_suffix_filter(struct sim *sim, unsigned from, unsigned to, const struct raft_message *m) {
    (void)sim;
    if (from == 1 && carries(m)) return SIM_DROP;
    return from == 0 && to == 1 && m->type == RAFT_IO_APPEND_ENTRIES_RESULT ? SIM_HOLD : SIM_PASS;
}

/* Node 0 has three entries that nobody else has. The first, empty heartbeat of leader 1 agrees with it on all before
 * them; its answer is late, and when it comes leader 1 has three entries of its own there. */
static void stale_suffix(struct sim *sim) {
    begin(sim, 0);
    connect_only(sim, 0);
    for (unsigned i = 0; i < 3; i++)
        node_propose(&sim->nodes[0], 16);
    sim_run(sim, 20);
    net_heal(sim);
    sim->filter = stale_suffix_filter;
    elect(sim, 1);
    sim_run(sim, 20);
    for (unsigned i = 0; i < 2; i++)
        node_propose(&sim->nodes[1], 16);
    node_propose(&sim->nodes[1], 16);
    sim_run(sim, 20);
    sim->filter = entries_filter;
    entries_only_to = 0;
    net_release(sim, NULL);
    sim_run(sim, 40);
    node_crash(&sim->nodes[1]);
    sim->filter = NULL;
    elect(sim, 0);
    sim_run(sim, 300);
    finish(sim);
}

/* ---- C: a result of an older term ---- */

static enum sim_verdict late_result_filter(struct sim *sim, unsigned from, unsigned to, const struct raft_message *m) {
    (void)sim;
    if (from == 0 && to != 2 && carries(m)) return SIM_DROP; /* only 2 gets the entry of term 2 */
    if (from == 1 && to != 3 && carries(m)) return SIM_DROP; /* only 3 gets the entry of term 3 */
    return SIM_PASS;
}

/* Node 2 is writing an entry of leader 0 while leader 1 takes over; the completion is reported to leader 1, who has
 * another entry at that place, counts it, commits, and dies. */
static void late_result(struct sim *sim) {
    begin(sim, 0);
    sim->filter = late_result_filter;
    sim->nodes[2].disk_held = true;
    node_propose(&sim->nodes[0], 16);
    sim_run(sim, 10);
    connect_only(sim, 0x1e);
    depose(sim, 0);
    elect(sim, 1); /* the first heartbeat, empty, reaches 2 */
    sim_run(sim, 20);
    sim->nodes[2].disk_held = false;
    sim->nodes[2].timers_off = false; /* its disk moves with its clock */
    sim_run(sim, 100);
    node_crash(&sim->nodes[1]);
    connect_only(sim, 0x15); /* 0, 2, 4: the majority that never saw term 3's entry */
    sim->filter = NULL;
    elect(sim, 0);
    sim_run(sim, 300);
    net_heal(sim);
    finish(sim);
}

/* ---- D: an election in the middle of a snapshot install ---- */

static void busy_candidate(struct sim *sim) {
    sim->snapshot_threshold = 16;
    sim->snapshot_trailing = 4;
    begin(sim, 0);
    connect_only(sim, 0x3);
    for (unsigned i = 0; i < 60; i++) {
        node_propose(&sim->nodes[0], 16);
        sim_run(sim, 5);
    }
    sim->nodes[2].disk_held = true;
    net_heal(sim);
    sim_run(sim, 300); /* the snapshot arrives and is being written */
    connect_only(sim, 0x3);
    sim->nodes[2].timers_off = false;
    sim_run(sim, 600); /* the leader is silent: node 2 stands, or waits */
    sim->nodes[2].disk_held = false;
    sim_run(sim, 50);
    net_heal(sim);
    finish(sim);
}

/* ---- E: two votes in one term ---- */

static enum sim_verdict election_filter(struct sim *sim, unsigned from, unsigned to, const struct raft_message *m) {
    (void)sim;
    (void)from;
    (void)to;
    bool vote = m->type == RAFT_IO_REQUEST_VOTE || m->type == RAFT_IO_REQUEST_VOTE_RESULT;
    return vote ? SIM_PASS : SIM_DROP;
}

/* Leader 0 begins to hand over to 1, loses its quorum, votes for 2 and then, in the same term, for 1. */
static void second_vote(struct sim *sim) {
    begin(sim, 0);
    connect_only(sim, 0);
    raft_time window = core(sim, 0)->election_timer_start;
    while (core(sim, 0)->election_timer_start == window && !sim->result.red)
        sim_run(sim, 1); /* the flags of the last contacts are cleared */
    while (sim_ms(sim) - core(sim, 0)->election_timer_start < SIM_ELECTION_MS - 10)
        sim_run(sim, 1);
    node_transfer(&sim->nodes[0], 2);
    while (core(sim, 0)->state == RAFT_LEADER && !sim->result.red)
        sim_run(sim, 1);
    sim->filter = election_filter;
    connect_only(sim, 0x5);
    elect(sim, 2);
    connect_only(sim, 0x3);
    elect(sim, 1);
    net_heal(sim);
    finish(sim);
}

/* ---- F: a leader whose disk is always ahead ---- */

static void fast_leader(struct sim *sim) {
    begin(sim, 0);
    sim->nodes[0].inflight_max = 1000;
    sim->nodes[1].slow_us = sim->nodes[2].slow_us = 8 * SIM_MS;
    uint64_t before = sim->acked;
    for (unsigned i = 0; i < 400; i++) {
        node_propose(&sim->nodes[0], 16);
        sim_run(sim, 1);
    }
    if (sim->acked - before < 50)
        sim_red(sim, "starved", "%d commands were committed in 400 ms", (int)(sim->acked - before));
    finish(sim);
}

/* The other of two voters is taken out while it has not got an entry yet: nobody else will ever answer, and the core
 * looks at the entry again only when it learns of a later one. */
static void last_voter(struct sim *sim) {
    begin(sim, 0);
    connect_only(sim, 0x1);
    node_propose(&sim->nodes[0], 16);
    sim_run(sim, 20);
    node_enter(&sim->nodes[0]);
    struct raft_change *req = raft_calloc(1, sizeof *req);
    CHECK(raft_remove(core(sim, 0), req, 2, assigned) == 0);
    guard_settle(sim->nodes[0].guard);
    node_enter(NULL);
    sim_run(sim, 200);
    const struct raft *r = core(sim, 0);
    if (!sim->result.red && r->commit_index < log_last(&r->log))
        sim_red(sim, "starved", "the only voter has committed %llu of %llu", r->commit_index, log_last(&r->log));
}

/* ---- H, M: counted twice ---- */

static enum sim_verdict twice_filter(struct sim *sim, unsigned from, unsigned to, const struct raft_message *m) {
    (void)sim;
    (void)from;
    return carries(m) && to != 2 ? SIM_DROP : SIM_PASS; /* only node 2 gets entries */
}

/* Node 2 is writing an entry of leader 0; leader 1 makes it truncate that entry; leader 0 comes back and reinstates it,
 * all before the first write is done. */
static void counted_twice(struct sim *sim) {
    begin(sim, 0);
    sim->filter = twice_filter;
    sim->nodes[2].disk_held = true;
    node_propose(&sim->nodes[0], 16);
    sim_run(sim, 10);
    connect_only(sim, 0x1a);
    depose(sim, 0);
    elect(sim, 1);
    connect_only(sim, 0x06);
    sim_run(sim, 120);
    connect_only(sim, 0x19); /* 0, 3, 4 */
    elect(sim, 0);
    connect_only(sim, 0x05);
    sim_run(sim, 200);
    sim->nodes[2].disk_held = false;
    sim->nodes[2].timers_off = false;
    sim_run(sim, 100);
    net_heal(sim);
    finish(sim);
}

/* ---- I: the whole log to one who has compacted it ---- */

static void whole_log(struct sim *sim) {
    sim->nodes[2].snapshot_threshold = 16;
    sim->snapshot_trailing = 4;
    begin(sim, 0);
    for (unsigned i = 0; i < 40; i++) {
        node_propose(&sim->nodes[0], 16);
        sim_run(sim, 5);
    }
    sim_run(sim, 100);
    node_crash(&sim->nodes[2]);
    node_crash(&sim->nodes[0]);
    node_start(&sim->nodes[0]);
    elect(sim, 1); /* its sends to node 2 fail: without K it goes back to the beginning */
    sim_run(sim, 200);
    node_start(&sim->nodes[2]);
    for (unsigned i = 0; i < 20 && !sim->result.red; i++) {
        node_propose(&sim->nodes[1], 16);
        sim_run(sim, 20);
    }
    finish(sim);
}

/* ---- J: backing off entry by entry ---- */

static bool first_caught_up(struct sim *sim) {
    return log_last(&core(sim, 0)->log) == log_last(&core(sim, 2)->log) &&
           core(sim, 0)->commit_index == core(sim, 2)->commit_index;
}

static void long_conflict(struct sim *sim) {
    begin(sim, 0);
    connect_only(sim, 0x6);
    sim->nodes[0].inflight_max = 100;
    for (unsigned i = 0; i < 40; i++)
        node_propose(&sim->nodes[0], 16);
    sim_run(sim, 50);
    depose(sim, 0);
    elect(sim, 1);
    for (unsigned i = 0; i < 60; i++) {
        node_propose(&sim->nodes[1], 16);
        sim_run(sim, 5);
    }
    node_crash(&sim->nodes[1]);
    net_heal(sim);
    elect(sim, 2);
    if (!sim_until(sim, first_caught_up, 500) && !sim->result.red)
        sim_red(sim, "slow", "the deposed leader has not caught up after 500 ms");
    finish(sim);
}

/* ---- K: one message with everything ---- */

static enum sim_verdict size_filter(struct sim *sim, unsigned from, unsigned to, const struct raft_message *m) {
    size_t bytes = 0;
    (void)from;
    (void)to;
    if (!carries(m)) return SIM_PASS;
    for (unsigned i = 0; i < m->append_entries.n_entries; i++)
        bytes += m->append_entries.entries[i].buf.len;
    if (bytes > GUARD_MESSAGE_BYTES && m->append_entries.n_entries > 1)
        sim_red(sim, "oversized", "a message of %zu bytes", bytes);
    return SIM_PASS;
}

static bool third_caught_up(struct sim *sim) {
    return log_last(&core(sim, 2)->log) == log_last(&core(sim, 0)->log);
}

static void far_behind(struct sim *sim) {
    begin(sim, 0);
    connect_only(sim, 0x3);
    sim->filter = size_filter;
    for (unsigned i = 0; i < 120; i++) { /* 12 MiB: three windows */
        node_propose(&sim->nodes[0], 100 << 10);
        sim_run(sim, 4);
    }
    net_heal(sim);
    if (!sim_until(sim, third_caught_up, 2000) && !sim->result.red) sim_red(sim, "slow", "not caught up after 2 s");
    finish(sim);
}

/* ---- L: an uncommitted configuration ---- */

static void truncated_change(struct sim *sim) {
    sim->snapshot_threshold = 16;
    sim->snapshot_trailing = 16;
    begin(sim, 0);
    for (unsigned i = 0; i < 40; i++) {
        node_propose(&sim->nodes[0], 16);
        sim_run(sim, 5);
    }
    raft_set_snapshot_threshold(core(sim, 0), 1u << 30); /* this is not about its snapshots */
    connect_only(sim, 0x6);
    CHECK(node_add_spare(&sim->nodes[0]));
    sim_run(sim, 20);
    depose(sim, 0);
    elect(sim, 1);
    for (unsigned i = 0; i < 5; i++)
        node_propose(&sim->nodes[1], 16);
    sim_run(sim, 50);
    net_heal(sim);
    sim_run(sim, 300);
    finish(sim);
}

static enum sim_verdict change_filter(struct sim *sim, unsigned from, unsigned to, const struct raft_message *m) {
    (void)sim;
    (void)from;
    (void)to;
    if (!carries(m)) return SIM_PASS;
    return m->append_entries.entries[m->append_entries.n_entries - 1].type == RAFT_CHANGE ? SIM_DROP : SIM_PASS;
}

static void change_in_snapshot(struct sim *sim) {
    begin(sim, 0);
    raft_set_snapshot_threshold(core(sim, 0), 1);
    sim->filter = change_filter;
    node_propose(&sim->nodes[0], 16);
    CHECK(node_add_spare(&sim->nodes[0])); /* the command commits while the change is in the log and not committed */
    sim_run(sim, 20);
    connect_only(sim, 0x6);
    sim->filter = NULL;
    depose(sim, 0);
    elect(sim, 1);
    sim_run(sim, 50);
    net_heal(sim);
    finish(sim);
}

/* ---- N: a leader that does not know it is deposed ---- */

static void deposed_reader(struct sim *sim) {
    begin(sim, 0);
    connect_only(sim, 0x6);
    elect(sim, 1);
    sim_until(sim, wanted_ready, 200);
    node_propose(&sim->nodes[1], 16);
    sim_run(sim, 20);
    CHECK(node_read(&sim->nodes[0])); /* still believes it leads: its clock stands */
    sim_run(sim, 20);
    net_heal(sim);
    finish(sim);
}

/* ---- P: the longer log in an older term, the shorter log in a later one ---- */

static enum sim_verdict nothing_to_third(struct sim *sim, unsigned from, unsigned to, const struct raft_message *m) {
    (void)sim;
    (void)from;
    return carries(m) && to == 2 ? SIM_DROP : SIM_PASS;
}

static void log_against_term(struct sim *sim) {
    begin(sim, 0);
    connect_only(sim, 0x3);
    node_propose(&sim->nodes[0], 16);
    sim_run(sim, 100); /* nodes 0 and 1 have it */
    node_crash(&sim->nodes[1]);
    net_heal(sim);
    sim->filter = nothing_to_third;
    for (unsigned i = 0; i < 2; i++) { /* twice elected by node 2, which gets a term each time, and no entry */
        node_crash(&sim->nodes[0]);
        node_start(&sim->nodes[0]);
        elect(sim, 0);
        sim_run(sim, 50);
    }
    node_crash(&sim->nodes[0]); /* for good */
    node_start(&sim->nodes[1]);
    sim->filter = NULL;
    sim->nodes[1].timers_off = sim->nodes[2].timers_off = false;
    wanted = 1;
    if (!sim_until(sim, wanted_leads, 5000) && !sim->result.red)
        sim_red(sim, "liveness", "two of three masters, in terms %llu and %llu, have no leader after 5 s",
                core(sim, 1)->current_term, core(sim, 2)->current_term);
    finish(sim);
}

/* ---- Q: a voter that does not know it yet ---- */

static void assign(struct sim *sim, unsigned leader, raft_id id, int role) {
    node_enter(&sim->nodes[leader]);
    struct raft_change *req = raft_calloc(1, sizeof *req);
    CHECK(raft_assign(core(sim, leader), req, id, role, assigned) == 0);
    guard_settle(sim->nodes[leader].guard);
    node_enter(NULL);
}

static void needed_learner(struct sim *sim) {
    begin(sim, 0);
    assign(sim, 0, 3, RAFT_STANDBY);
    sim_run(sim, 200);
    sim->filter = nothing_to_third;
    assign(sim, 0, 3, RAFT_VOTER); /* nodes 0 and 1 have it, node 2 does not */
    sim_run(sim, 100);
    node_crash(&sim->nodes[1]); /* for good */
    node_crash(&sim->nodes[0]);
    node_start(&sim->nodes[0]);
    sim->filter = NULL;
    sim->nodes[0].timers_off = sim->nodes[2].timers_off = false;
    wanted = 0;
    if (!sim_until(sim, wanted_leads, 5000) && !sim->result.red)
        sim_red(sim, "liveness", "two of three masters have no leader after 5 s");
    finish(sim);
}

/* ---- not the guard's: a vote that a crash forgets ---- */

static void crash_after_vote(struct sim *sim) {
    begin(sim, 0);
    node_crash(&sim->nodes[0]);
    node_start(&sim->nodes[0]);
    sim->filter = election_filter;
    connect_only(sim, 0x6);
    elect(sim, 1);
    node_crash(&sim->nodes[2]);
    node_start(&sim->nodes[2]);
    connect_only(sim, 0x5);
    elect(sim, 0);
    net_heal(sim);
    finish(sim);
}

/* ---- a disk that fails when a new term is to be written, in the middle of the core's own election ---- */

static void failed_term(struct sim *sim) {
    begin(sim, 0);
    sim->nodes[1].disk_fails = sim->nodes[1].fatal_expected = true;
    node_transfer(&sim->nodes[0], 2);
    sim_run(sim, 50);
    if (sim->nodes[1].fatal.count != 1 || sim->nodes[1].fatal.kind != GUARD_FATAL_DISK)
        sim_red(sim, "not-told", "%u fatal errors, the last of kind %d", sim->nodes[1].fatal.count,
                sim->nodes[1].fatal.kind);
    node_crash(&sim->nodes[1]);
    sim->nodes[1].disk_fails = false;
    finish(sim);
}

/* ---- B: a snapshot of what is still being written ---- */

static bool claims_too_much(struct sim *sim) {
    raft_index match = core(sim, 0)->leader_state.progress[2].match_index;
    return core(sim, 0)->state == RAFT_LEADER && match > sim->nodes[2].raft.last_stored;
}

/* Node 2 is writing entries when the leader, which has lost its place, sends a snapshot up to one of them. */
static void snapshot_of_unwritten(struct sim *sim) {
    sim->nodes[0].snapshot_threshold = 16;
    sim->snapshot_trailing = 1;
    begin(sim, 0);
    sim->nodes[2].disk_held = true;
    for (unsigned i = 0; i < 30; i++) {
        node_propose(&sim->nodes[0], 16);
        sim_run(sim, 5);
    }
    struct raft_progress *progress = &core(sim, 0)->leader_state.progress[2];
    progress->state = PROGRESS_PROBE;
    progress->next_index = core(sim, 0)->log.offset; /* a place that the log does not have any more */
    if (sim_until(sim, claims_too_much, 400) && !sim->result.red)
        sim_red(sim, "claim", "the leader believes %llu, the disk has %llu", progress->match_index,
                sim->nodes[2].raft.last_stored);
    finish(sim);
}

/* ---- the tests ---- */

static uint64_t mutants; /* mutant.h */

static struct sim_result run(void (*schedule)(struct sim *sim), unsigned voters, unsigned off) {
    struct sim_config cfg = {
        .seed = 7, .voters = voters, .off = off, .mutants = mutants, .large = schedule == far_behind};
    cfg.trace = getenv("SIM_TRACE") != NULL;
    struct sim_result r;
    sim_fork(&cfg, schedule, &r);
    print_message("    off %#06x: %s %s %s\n", off, r.red ? "red" : "green", r.invariant, r.why);
    return r;
}

static void expect_green(void (*schedule)(struct sim *sim), unsigned voters, unsigned off) {
    assert_false(run(schedule, voters, off).red);
}

static void expect_red(void (*schedule)(struct sim *sim), unsigned voters, unsigned off, const char *a, const char *b) {
    struct sim_result r = run(schedule, voters, off);
    assert_true(r.red);
    assert_true(strcmp(r.invariant, a) == 0 || (b != NULL && strcmp(r.invariant, b) == 0));
}

static void a_own_first_entry_keeps_old_entries_from_being_committed_by_counting(void **state) {
    (void)state;
    expect_red(figure_8, 5, ONLY(GUARD_A | GUARD_G), "commit-diverged", "diverged");
    expect_green(figure_8, 5, 0);
}

static void b_a_stale_suffix_is_not_claimed(void **state) {
    (void)state;
    expect_red(stale_suffix, 3, ONLY(GUARD_B), "commit-diverged", "diverged");
    expect_green(stale_suffix, 3, 0);
}

static void b_nothing_is_claimed_that_is_still_being_written(void **state) {
    (void)state;
    expect_red(snapshot_of_unwritten, 3, ONLY(GUARD_B), "claim", NULL);
    expect_green(snapshot_of_unwritten, 3, 0);
}

static void a_failed_write_of_a_term_ends_the_process_and_not_the_core(void **state) {
    (void)state;
    assert_false(run(failed_term, 3, 0).red);
}

static void c_a_result_of_an_older_term_is_dropped(void **state) {
    (void)state;
    expect_red(late_result, 5, ONLY(GUARD_C | GUARD_H), "commit-diverged", "diverged");
    expect_green(late_result, 5, ONLY(GUARD_H));
    expect_green(late_result, 5, ONLY(GUARD_C)); /* H alone covers it */
    expect_green(late_result, 5, 0);
}

static void d_nobody_stands_with_unfinished_writes(void **state) {
    (void)state;
    expect_red(busy_candidate, 3, ONLY(GUARD_D), "crash", NULL);
    expect_green(busy_candidate, 3, 0);
}

static void e_nobody_votes_twice_in_a_term(void **state) {
    (void)state;
    expect_red(second_vote, 3, ONLY(GUARD_E), "two-leaders", NULL);
    expect_green(second_vote, 3, 0);
}

static void f_a_leader_with_a_fast_disk_commits_under_load(void **state) {
    (void)state;
    expect_red(fast_leader, 3, ONLY(GUARD_F), "starved", NULL);
    expect_green(fast_leader, 3, 0);
}

static void f_a_leader_that_is_left_alone_waits_for_nobody(void **state) {
    (void)state;
    expect_green(last_voter, 2, 0);
}

static void g_an_unjustified_commit_is_stopped_before_it_is_applied(void **state) {
    (void)state;
    expect_red(figure_8, 5, ONLY(GUARD_A | GUARD_G), "commit-diverged", "diverged");
    expect_red(figure_8, 5, ONLY(GUARD_A), "guard-breach", NULL);
}

static void h_requests_wait_for_older_writes(void **state) {
    (void)state;
    expect_red(counted_twice, 5, ONLY(GUARD_H | GUARD_M), "stored", NULL);
    expect_green(counted_twice, 5, 0);
}

static void i_requests_below_our_snapshot_are_trimmed(void **state) {
    (void)state;
    struct sim_result r = run(whole_log, 3, ONLY(GUARD_I | GUARD_K | GUARD_G | GUARD_M));
    assert_true(r.red);
    expect_green(whole_log, 3, ONLY(GUARD_K));
    expect_green(whole_log, 3, 0);
}

static void j_a_conflicting_term_costs_one_step(void **state) {
    (void)state;
    expect_red(long_conflict, 3, ONLY(GUARD_J), "slow", NULL);
    expect_green(long_conflict, 3, 0);
}

static void k_a_long_request_becomes_a_train(void **state) {
    (void)state;
    expect_red(far_behind, 3, ONLY(GUARD_K), "oversized", NULL);
    expect_green(far_behind, 3, 0);
}

static void l_a_truncated_configuration_restarts_the_node(void **state) {
    (void)state;
    expect_red(truncated_change, 3, ONLY(GUARD_L), "crash", NULL);
    expect_green(truncated_change, 3, 0);
}

static void l_no_snapshot_with_an_uncommitted_configuration(void **state) {
    (void)state;
    expect_red(change_in_snapshot, 3, ONLY(GUARD_L), "snapshot-config", NULL);
    expect_green(change_in_snapshot, 3, 0);
}

static void m_the_guard_notices_what_the_disk_does_not_have(void **state) {
    (void)state;
    expect_red(counted_twice, 5, ONLY(GUARD_H | GUARD_M), "stored", NULL);
    expect_red(counted_twice, 5, ONLY(GUARD_H), "guard-breach", NULL);
}

static void n_a_deposed_leader_does_not_read(void **state) {
    (void)state;
    expect_red(deposed_reader, 3, ONLY(GUARD_N), "stale-read", NULL);
    expect_green(deposed_reader, 3, 0);
}

static void p_the_longer_log_learns_the_later_term(void **state) {
    (void)state;
    expect_red(log_against_term, 3, ONLY(GUARD_P), "liveness", NULL);
    expect_green(log_against_term, 3, 0);
}

static void q_a_learner_votes_for_who_counts_it_as_a_voter(void **state) {
    (void)state;
    expect_red(needed_learner, 3, ONLY(GUARD_Q), "liveness", NULL);
    expect_green(needed_learner, 3, 0);
}

static void a_vote_survives_a_crash(void **state) {
    (void)state;
    mutants = UINT64_C(1) << MUTANT_VOTE_FORGOTTEN;
    struct sim_result r = run(crash_after_vote, 3, 0);
    mutants = 0;
    assert_string_equal(r.invariant, "two-leaders");
    expect_green(crash_after_vote, 3, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_own_first_entry_keeps_old_entries_from_being_committed_by_counting),
        cmocka_unit_test(b_a_stale_suffix_is_not_claimed),
        cmocka_unit_test(b_nothing_is_claimed_that_is_still_being_written),
        cmocka_unit_test(a_failed_write_of_a_term_ends_the_process_and_not_the_core),
        cmocka_unit_test(c_a_result_of_an_older_term_is_dropped),
        cmocka_unit_test(d_nobody_stands_with_unfinished_writes),
        cmocka_unit_test(e_nobody_votes_twice_in_a_term),
        cmocka_unit_test(f_a_leader_with_a_fast_disk_commits_under_load),
        cmocka_unit_test(f_a_leader_that_is_left_alone_waits_for_nobody),
        cmocka_unit_test(g_an_unjustified_commit_is_stopped_before_it_is_applied),
        cmocka_unit_test(h_requests_wait_for_older_writes),
        cmocka_unit_test(i_requests_below_our_snapshot_are_trimmed),
        cmocka_unit_test(j_a_conflicting_term_costs_one_step),
        cmocka_unit_test(k_a_long_request_becomes_a_train),
        cmocka_unit_test(l_a_truncated_configuration_restarts_the_node),
        cmocka_unit_test(l_no_snapshot_with_an_uncommitted_configuration),
        cmocka_unit_test(m_the_guard_notices_what_the_disk_does_not_have),
        cmocka_unit_test(a_vote_survives_a_crash),
        cmocka_unit_test(n_a_deposed_leader_does_not_read),
        cmocka_unit_test(q_a_learner_votes_for_who_counts_it_as_a_voter),
        cmocka_unit_test(p_the_longer_log_learns_the_later_term),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
