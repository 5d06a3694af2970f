/* SPDX-License-Identifier: Apache-2.0
 * The membership of a replicated log: nodes come, go and lead in turn, in one process, on real disk and connections. */
#define CLUSTER_NODES 7
#include "../lib/cmocka_all.h"

#include "../lib/replica_cluster.h"
#include "consensus/replica_impl.h"

static struct cluster *start(unsigned members) {
    struct cluster *c = malloc(sizeof *c);
    assert_non_null(c);
    cluster_init(c, members);
    for (unsigned i = 0; i < members; i++)
        node_start(c, i);
    assert_true(cluster_wait(c, has_leader, 5000));
    return c;
}

static void stop(struct cluster *c) {
    for (unsigned i = 0; i < CLUSTER_NODES; i++)
        assert_int_equal(c->nodes[i].fatal, 0);
    cluster_done(c);
    free(c);
}

/* Keeps up to `depth` commands out while the loop turns for `ms`, or until the condition holds. */
static bool load_until(struct cluster *c, bool (*condition)(struct cluster *c), uint64_t depth, unsigned ms) {
    uint64_t until = clock_mono_ms() + ms;
    while (!condition(c)) {
        if (clock_mono_ms() >= until) return false;
        while (c->out < depth && cluster_propose(c))
            continue;
        uv_run(&c->loop, UV_RUN_ONCE);
    }
    return true;
}

static bool never(struct cluster *c) {
    (void)c;
    return false;
}

static void push(struct cluster *c, uint64_t n) {
    uint64_t goal = c->acked + n, until = clock_mono_ms() + 10000;
    while (c->acked < goal) {
        assert_true(clock_mono_ms() < until);
        while (c->out < 20 && c->acked + c->out < goal && cluster_propose(c))
            continue;
        uv_run(&c->loop, UV_RUN_ONCE);
    }
}

static void assert_intact(struct cluster *c) {
    assert_true(cluster_wait(c, cluster_level, 10000));
    for (unsigned i = 0; i < CLUSTER_NODES; i++) {
        if (c->nodes[i].replica == NULL) continue;
        assert_int_equal(node_lost(&c->nodes[i]), 0);
        assert_int_equal(c->nodes[i].chain.twice, 0);
    }
}

static struct told {
    int calls, status;
    char why[200];
} told;

static void done_cb(void *ctx, int status, const char *why) {
    (void)ctx;
    told.calls++;
    told.status = status;
    (void)snprintf(told.why, sizeof told.why, "%s", why);
}

static bool was_told(struct cluster *c) {
    (void)c;
    return told.calls > 0;
}

static int ask(struct cluster *c, enum replica_change_type type, uint64_t id, bool force) {
    char address[REPLICA_ADDRESS_MAX];
    struct err err = {0};
    cluster_address(id, address, sizeof address);
    struct replica_change change = {.type = type, .id = id, .address = address, .force = force};
    told = (struct told){0};
    struct node *leader = cluster_leader(c);
    assert_non_null(leader);
    return replica_change(leader->replica, &change, done_cb, NULL, &err);
}

/* Asks until it is taken (a new leader needs a moment) and waits for its end, under load. A voter that was promoted a
 * moment ago may not hear yet that it shall lead: then it is told once more. */
static void change(struct cluster *c, enum replica_change_type type, uint64_t id) {
    uint64_t until = clock_mono_ms() + 10000;
again:
    for (;;) {
        int rv = cluster_leader(c) ? ask(c, type, id, false) : ERR_BUSY;
        if (rv == 0) break;
        if (rv != ERR_BUSY && rv != ERR_FORBIDDEN && rv != ERR_NOT_LEADER) print_error("%s\n", err_name(rv));
        assert_true(rv == ERR_BUSY || rv == ERR_FORBIDDEN || rv == ERR_NOT_LEADER);
        assert_true(clock_mono_ms() < until);
        (void)load_until(c, never, 20, 5);
    }
    assert_true(load_until(c, was_told, 20, 10000));
    if (type == REPLICA_TRANSFER && told.status == ERR_TIMEOUT && clock_mono_ms() < until) goto again;
    if (told.status != 0) print_error("%s: %s\n", err_name(told.status), told.why);
    assert_int_equal(told.status, 0);
    assert_int_equal(told.calls, 1);
}

static void voter(struct cluster *c, uint64_t id) {
    node_start(c, (unsigned)id - 1);
    change(c, REPLICA_ADD, id);
    change(c, REPLICA_PROMOTE, id);
}

static bool member_is(struct cluster *c, uint64_t id, bool vote) {
    struct replica_status status;
    replica_status(cluster_leader(c)->replica, &status);
    for (unsigned i = 0; i < status.peer_count; i++)
        if (status.peers[i].id == id) return status.peers[i].voter == vote;
    return false;
}

static unsigned member_count(struct cluster *c) {
    struct replica_status status;
    replica_status(cluster_leader(c)->replica, &status);
    return status.peer_count;
}

static uint64_t removed_id;
static bool was_removed(struct cluster *c) {
    return c->nodes[removed_id - 1].removed;
}

static void take_out(struct cluster *c, uint64_t id) {
    if (cluster_leader(c) && cluster_leader(c)->id == id) change(c, REPLICA_TRANSFER, 0);
    change(c, REPLICA_REMOVE, id);
    removed_id = id;
    assert_true(load_until(c, was_removed, 20, 5000)); /* it is told, and ends */
    node_stop(c, (unsigned)id - 1);
}

static void three_become_five_and_three_others_under_load(void **state) {
    (void)state;
    struct cluster *c = start(3);
    push(c, 100);
    voter(c, 4);
    voter(c, 5);
    assert_int_equal(member_count(c), 5);
    take_out(c, 1);
    take_out(c, 2);
    assert_int_equal(member_count(c), 3);
    assert_intact(c);
    node_start(c, 0); /* a removed node that is started again disturbs nobody, and is told again */
    uint64_t term = cluster_leader(c)->term;
    c->nodes[0].removed = false;
    removed_id = 1;
    assert_true(load_until(c, was_removed, 20, 5000));
    node_stop(c, 0);
    assert_int_equal(cluster_leader(c)->term, term);
    for (unsigned i = 2; i < 5; i++) { /* the three that are left live through restarts */
        node_stop(c, i);
        assert_true(cluster_wait(c, has_leader, 5000));
        push(c, 50);
        node_start(c, i);
        assert_intact(c);
    }
    stop(c);
}

/* The cluster grows and the new member leads while a member is away: it must be let in all the same. */
static void a_member_that_was_away_lets_in_who_was_added_meanwhile(void **state) {
    (void)state;
    struct cluster *c = start(3);
    unsigned away = (unsigned)cluster_leader(c)->id % 3;
    node_stop(c, away);
    push(c, 20);
    voter(c, 4);
    change(c, REPLICA_TRANSFER, 4);
    assert_true(cluster_wait(c, has_leader, 5000));
    assert_int_equal(cluster_leader(c)->id, 4);
    push(c, 20);
    node_start(c, away);
    assert_intact(c);
    uint64_t term = cluster_leader(c)->term;
    push(c, 20);
    assert_int_equal(cluster_leader(c)->term, term);
    stop(c);
}

/* A node that has just started does not know what is committed; what it has in its log is enough to know better than
 * one that was removed before, while it was cut off, and shows what was committed then. */
static void one_that_was_removed_is_a_stranger_to_one_that_has_just_started(void **state) {
    (void)state;
    struct cluster *c = start(3);
    voter(c, 4);
    assert_intact(c);
    struct peer_members then = c->nodes[0].replica->settled;
    assert_non_null(peer_members_find(&then, 1));
    take_out(c, 1);
    take_out(c, 2);
    node_stop(c, 2);
    node_stop(c, 3);
    node_start(c, 2); /* alone: it elects nobody */
    c->nodes[0].removed = false;
    node_start(c, 0);
    cluster_run(c, 700);
    struct peers_status status;
    assert_true(peers_status(c->nodes[0].replica->peers, 3, &status)); /* it does dial */
    assert_false(status.connected);
    replica_members_introduced(c->nodes[2].replica, 1, &then);
    assert_false(peers_status(c->nodes[2].replica->peers, 1, &status));
    node_stop(c, 0);
    node_start(c, 3);
    assert_true(cluster_wait(c, has_leader, 5000));
    push(c, 20);
    assert_intact(c);
    stop(c);
}

static void a_stranger_cannot_vote_append_or_disturb(void **state) {
    (void)state;
    struct cluster *c = start(3);
    push(c, 100);
    uint64_t term = cluster_leader(c)->term, id = cluster_leader(c)->id;
    c->nodes[5].stranger = true;
    node_start(c, 5); /* alone in a cluster of the same cluster id: it leads itself */
    node_start(c, 6); /* waits to be added */
    (void)load_until(c, never, 20, 1500);
    assert_int_equal(c->nodes[id - 1].term, term);
    assert_int_equal(c->nodes[6].chain.commands, 0);
    assert_int_equal(c->nodes[6].term, 0);
    node_stop(c, 5);
    node_stop(c, 6);
    assert_intact(c);
    stop(c);
}

static void what_cannot_be_done_is_refused_with_a_reason(void **state) {
    (void)state;
    struct cluster *c = start(3);
    push(c, 20);
    struct node *leader = cluster_leader(c);
    struct node *follower = &c->nodes[leader->id % 3];
    struct replica_change remove = {.type = REPLICA_REMOVE, .id = 1}, add = {.type = REPLICA_ADD, .id = 4};
    struct err err;
    assert_int_equal(replica_change(follower->replica, &remove, done_cb, NULL, &err), ERR_NOT_LEADER);
    assert_int_equal(replica_change(leader->replica, &add, done_cb, NULL, &err), ERR_INVALID); /* no address */
    add.address = "not an address";
    assert_int_equal(replica_change(leader->replica, &add, done_cb, NULL, &err), ERR_INVALID);
    assert_int_equal(ask(c, REPLICA_ADD, 0, true), ERR_INVALID);
    assert_int_equal(ask(c, REPLICA_ADD, UINT64_MAX, true), ERR_INVALID);
    assert_int_equal(ask(c, REPLICA_ADD, follower->id, false), ERR_EXISTS);
    add.address = "127.0.0.1:1";
    add.id = follower->id;
    assert_int_equal(replica_change(leader->replica, &add, done_cb, NULL, &err), ERR_EXISTS);
    assert_int_equal(ask(c, REPLICA_PROMOTE, 9, true), ERR_NOT_FOUND);
    assert_int_equal(ask(c, REPLICA_PROMOTE, 0, true), ERR_NOT_FOUND);
    assert_int_equal(ask(c, REPLICA_DEMOTE, UINT64_MAX, true), ERR_NOT_FOUND);
    assert_int_equal(ask(c, REPLICA_REMOVE, 9, true), ERR_NOT_FOUND);
    assert_int_equal(ask(c, REPLICA_TRANSFER, 9, true), ERR_NOT_FOUND);
    assert_int_equal(ask(c, REPLICA_PROMOTE, follower->id, false), ERR_EXISTS);
    assert_int_equal(ask(c, REPLICA_REMOVE, leader->id, true), ERR_FORBIDDEN);
    assert_int_equal(ask(c, REPLICA_DEMOTE, leader->id, true), ERR_FORBIDDEN);
    assert_int_equal(ask(c, REPLICA_TRANSFER, leader->id, false), ERR_EXISTS);
    assert_int_equal(told.calls, 0);

    assert_int_equal(ask(c, REPLICA_ADD, 4, false), 0);
    assert_int_equal(replica_change(leader->replica, &remove, done_cb, NULL, &err), ERR_BUSY);
    assert_true(cluster_wait(c, was_told, 5000));
    assert_int_equal(told.status, 0);
    assert_int_equal(ask(c, REPLICA_ADD, 4, false), ERR_EXISTS);        /* twice */
    assert_int_equal(ask(c, REPLICA_PROMOTE, 4, false), ERR_FORBIDDEN); /* nobody has started it */
    assert_int_equal(ask(c, REPLICA_TRANSFER, 4, false), ERR_FORBIDDEN);
    assert_int_equal(ask(c, REPLICA_DEMOTE, 4, false), ERR_EXISTS);
    change(c, REPLICA_REMOVE, 4);

    unsigned down = (unsigned)follower->id - 1, other = (unsigned)(6 - leader->id - follower->id);
    node_stop(c, down);
    cluster_run(c, 1500);
    assert_ptr_equal(cluster_leader(c), leader);
    assert_int_equal(ask(c, REPLICA_REMOVE, other, false), ERR_NO_QUORUM); /* of the two left one would be down */
    assert_int_equal(ask(c, REPLICA_TRANSFER, down + 1, false), ERR_NO_QUORUM);
    change(c, REPLICA_REMOVE, down + 1); /* the dead one may go */
    change(c, REPLICA_REMOVE, other);
    assert_int_equal(ask(c, REPLICA_REMOVE, leader->id, true), ERR_INVALID); /* the last voter */
    push(c, 10);
    stop(c);
}

static void a_hand_over_loses_no_command_and_no_ticket(void **state) {
    (void)state;
    struct cluster *c = start(3);
    for (unsigned round = 0; round < 10; round++) {
        uint64_t before = cluster_leader(c)->id, target = round % 2 ? 0 : before % 3 + 1;
        push(c, 200);
        while (c->out < 100 && cluster_propose(c))
            continue;
        int rv = ERR_BUSY;
        for (unsigned i = 0; rv == ERR_BUSY && i < 1000; i++) {
            rv = ask(c, REPLICA_TRANSFER, target, false);
            uv_run(&c->loop, UV_RUN_ONCE);
        }
        assert_int_equal(rv, 0);
        assert_true(replica_handing_over(c->nodes[before - 1].replica) || told.calls > 0);
        assert_true(cluster_wait(c, was_told, 5000));
        assert_int_equal(told.status, 0);
        assert_true(cluster_wait(c, has_leader, 5000));
        assert_true(cluster_leader(c)->id != before);
        if (target) assert_int_equal(cluster_leader(c)->id, target);
    }
    assert_intact(c);
    assert_int_equal(c->dropped, 0); /* what was under way was committed first */
    stop(c);
}

static void a_learner_gets_the_log_and_has_no_vote(void **state) {
    (void)state;
    struct cluster *c = start(3);
    node_start(c, 3);
    change(c, REPLICA_ADD, 4);
    assert_true(member_is(c, 4, false));
    assert_intact(c); /* level with the others */
    unsigned lone = (unsigned)cluster_leader(c)->id - 1;
    for (unsigned i = 0; i < 3; i++)
        if (i != lone) node_stop(c, i);
    uint64_t acked = c->acked;
    for (unsigned i = 0; i < 50; i++)
        (void)cluster_propose(c);
    cluster_run(c, 1500);
    assert_int_equal(c->acked, acked); /* leader and learner are no majority */
    for (unsigned i = 0; i < 3; i++)
        if (i != lone) node_start(c, i);
    assert_true(cluster_wait(c, has_leader, 5000));
    change(c, REPLICA_PROMOTE, 4);
    change(c, REPLICA_DEMOTE, 4);
    assert_true(member_is(c, 4, false));
    assert_intact(c);
    stop(c);
}

/* Asks the leader until the answer is `want`, with `text` in its reason: on a busy machine a learner may be behind, or
 * be out of reach, for a moment, and then that is the answer. Meanwhile the learner is as if only one voter had
 * accepted its folder, whatever it has heard in truth, if `unknown`. */
static bool answered(struct cluster *c, const struct replica_change *change, int want, const char *text, bool unknown) {
    struct replica *learner = c->nodes[3].replica;
    uint64_t until = clock_mono_ms() + 10000;
    do {
        if (unknown) learner->pins.admitted = false;
        if (unknown) learner->accepted_count = 1;
        struct err err = {0};
        const struct node *leader = cluster_leader(c);
        if (leader && replica_change_check(leader->replica, change, &err) == want && strstr(err.text, text))
            return true;
        (void)load_until(c, never, 20, 50);
    } while (clock_mono_ms() < until);
    return false;
}

/* As a voter it would be one that does not take part, and could be one too many. */
static void a_learner_that_the_voters_do_not_know_is_not_promoted(void **state) {
    (void)state;
    struct cluster *c = start(3);
    node_start(c, 3);
    change(c, REPLICA_ADD, 4);
    assert_intact(c);
    struct replica *learner = c->nodes[3].replica;
    unsigned accepted = learner->accepted_count;
    assert_int_equal(accepted, 3);
    struct replica_change promote = {.type = REPLICA_PROMOTE, .id = 4};
    assert_true(answered(c, &promote, ERR_BUSY, "too few of the voters", true));
    promote.force = true;
    assert_true(answered(c, &promote, 0, "", true));
    learner->accepted_count = accepted; /* the list itself is still there */
    learner->barred = 1000;             /* as if it were reinstalled */
    promote.force = false;
    assert_true(answered(c, &promote, ERR_BUSY, "reinstalled", false));
    learner->barred = 0;
    change(c, REPLICA_PROMOTE, 4);
    assert_true(learner->pins.admitted); /* and takes part at once: with one of the others gone it is needed */
    unsigned gone = (unsigned)cluster_leader(c)->id % 3;
    node_stop(c, gone);
    push(c, 20);
    assert_intact(c);
    stop(c);
}

/* What it joined with is on its disk: without the word `join` it does not make a cluster of its own. */
static void a_node_that_waits_is_still_waiting_after_a_restart(void **state) {
    (void)state;
    struct cluster *c = start(3);
    node_start(c, 3);
    cluster_run(c, 100);
    node_stop(c, 3);
    c->nodes[3].stranger = true;
    node_start(c, 3);
    cluster_run(c, 700);
    assert_int_equal(c->nodes[3].term, 0);
    change(c, REPLICA_ADD, 4);
    change(c, REPLICA_PROMOTE, 4);
    assert_intact(c);
    stop(c);
}

struct reading {
    int calls, status;
    uint64_t seen;
    struct node *node;
};

static void read_cb(void *ctx, int status) {
    struct reading *r = ctx;
    r->calls++;
    r->status = status;
    r->seen = r->node->chain.commands;
}

static struct reading reads[4];
static bool all_read(struct cluster *c) {
    (void)c;
    return reads[0].calls && reads[1].calls && reads[2].calls && reads[3].calls;
}

static void a_follower_reads_all_that_was_acknowledged_before(void **state) {
    (void)state;
    struct cluster *c = start(3);
    node_start(c, 3);
    change(c, REPLICA_ADD, 4);
    for (unsigned round = 0; round < 50; round++) {
        push(c, 20);
        struct node *leader = cluster_leader(c);
        uint64_t acked = leader->chain.commands;
        for (unsigned i = 0; i < 4; i++) { /* the learner too */
            reads[i] = (struct reading){.node = &c->nodes[i]};
            replica_read(c->nodes[i].replica, read_cb, &reads[i]);
        }
        assert_true(cluster_wait(c, all_read, 2000));
        for (unsigned i = 0; i < 4; i++) {
            assert_int_equal(reads[i].calls, 1);
            assert_int_equal(reads[i].status, 0);
            assert_true(reads[i].seen >= acked);
        }
    }
    unsigned lone = (unsigned)cluster_leader(c)->id % 3;
    for (unsigned i = 0; i < 3; i++)
        if (i != lone) node_stop(c, i);
    struct reading cut = {.node = &c->nodes[lone]};
    replica_read(cut.node->replica, read_cb, &cut);
    cluster_run(c, 1300);
    assert_int_equal(cut.calls, 1);
    assert_int_equal(cut.status, ERR_NO_QUORUM);
    stop(c);
}

/* Its disk is full: it hears heartbeats and takes no entries. */
static void fill_up(struct node *node) {
    node->replica->space_level = REPLICA_SPACE_FULL;
    node->replica->space_ms = clock_mono_ms(); /* not looked at again for a moment */
}

static void one_that_is_far_behind_is_not_asked_to_lead(void **state) {
    (void)state;
    struct cluster *c = start(3);
    struct node *leader = cluster_leader(c), *full = &c->nodes[leader->id % 3];
    uint64_t goal = c->acked + REPLICA_TRANSFER_LAG_MAX + 50, until = clock_mono_ms() + 20000;
    while (c->acked < goal) { /* an entry each */
        assert_true(clock_mono_ms() < until);
        assert_ptr_equal(cluster_leader(c), leader);
        fill_up(full);
        if (c->out == 0) (void)cluster_propose(c);
        uv_run(&c->loop, UV_RUN_ONCE);
    }
    fill_up(full);
    assert_int_equal(ask(c, REPLICA_TRANSFER, full->id, false), ERR_FORBIDDEN);
    assert_false(replica_may_take_over(leader->replica, full->id));
    change(c, REPLICA_TRANSFER, full->id); /* when it has room again, and everything */
    assert_int_equal(cluster_leader(c)->id, full->id);
    assert_intact(c);
    stop(c);
}

/* The leader takes a member out and falls before anybody else has heard of it; then the one that it took out leads, of
 * the members that the cluster was made with. They must hear each other: the others alone are no majority. */
static void a_removal_that_never_commits_leaves_the_member_as_it_was(void **state) {
    (void)state;
    struct cluster *c = start(3);
    push(c, 50);
    unsigned lone = (unsigned)cluster_leader(c)->id - 1, out = (lone + 1) % 3, third = (lone + 2) % 3;
    struct replica_status before, after;
    replica_status(c->nodes[lone].replica, &before);
    node_stop(c, out);
    node_stop(c, third);
    assert_int_equal(ask(c, REPLICA_REMOVE, out + 1, true), 0);
    cluster_run(c, 100); /* appended, and on the disk of the leader alone */
    replica_status(c->nodes[lone].replica, &after);
    assert_true(after.last_index > before.last_index);
    node_stop(c, lone);
    assert_int_equal(told.status, ERR_CLOSED);
    node_start(c, lone); /* alone: it believes that it was removed itself, behind what it knows to be committed */
    struct replica *r = c->nodes[lone].replica;
    assert_int_equal(r->settled.index, 1);
    replica_members_removed(r, third + 1, 1);
    cluster_run(c, 20);
    assert_false(c->nodes[lone].removed);
    replica_members_removed(r, third + 1, 2);
    cluster_run(c, 20);
    assert_true(c->nodes[lone].removed);
    c->nodes[lone].removed = false;
    node_stop(c, lone);
    node_start(c, out);
    node_start(c, third);
    assert_true(cluster_wait(c, has_leader, 5000));
    if (cluster_leader(c)->id != out + 1) change(c, REPLICA_TRANSFER, out + 1);
    push(c, 20);
    node_start(c, lone); /* it still has the removal in its log, and finds out that it never was */
    uint64_t until = clock_mono_ms() + 10000;
    while (!cluster_level(c)) {
        assert_true(clock_mono_ms() < until);
        cluster_run(c, 5);
        if (c->nodes[lone].fatal != 1) continue; /* "entries were truncated": it is started again */
        node_stop(c, lone);
        c->nodes[lone].fatal = 0;
        node_start(c, lone);
    }
    assert_int_equal(cluster_leader(c)->id, out + 1);
    node_stop(c, third); /* the two of them are a majority */
    push(c, 20);
    assert_intact(c);
    stop(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_is_far_behind_is_not_asked_to_lead),
        cmocka_unit_test(three_become_five_and_three_others_under_load),
        cmocka_unit_test(a_member_that_was_away_lets_in_who_was_added_meanwhile),
        cmocka_unit_test(a_removal_that_never_commits_leaves_the_member_as_it_was),
        cmocka_unit_test(one_that_was_removed_is_a_stranger_to_one_that_has_just_started),
        cmocka_unit_test(a_stranger_cannot_vote_append_or_disturb),
        cmocka_unit_test(what_cannot_be_done_is_refused_with_a_reason),
        cmocka_unit_test(a_hand_over_loses_no_command_and_no_ticket),
        cmocka_unit_test(a_learner_gets_the_log_and_has_no_vote),
        cmocka_unit_test(a_learner_that_the_voters_do_not_know_is_not_promoted),
        cmocka_unit_test(a_node_that_waits_is_still_waiting_after_a_restart),
        cmocka_unit_test(a_follower_reads_all_that_was_acknowledged_before),
    };
    if (getenv("TESTS")) cmocka_set_test_filter(getenv("TESTS"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
