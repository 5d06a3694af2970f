/* SPDX-License-Identifier: Apache-2.0
 * Folders that have forgotten: wiped ones under their old id, damaged ones that are reinstalled, new ones that begin.
 */
#include "../lib/cmocka_all.h"

#include <dirent.h>
#include <fcntl.h>

#include "../lib/replica_cluster.h"

static struct cluster *begin(void) {
    struct cluster *c = malloc(sizeof *c);
    assert_non_null(c);
    cluster_init(c, CLUSTER_NODES);
    return c;
}

static struct cluster *start(void) {
    struct cluster *c = begin();
    for (unsigned i = 0; i < CLUSTER_NODES; i++)
        node_start(c, i);
    assert_true(cluster_wait(c, has_leader, 5000));
    return c;
}

static void stop(struct cluster *c) {
    cluster_done(c);
    free(c);
}

static void push(struct cluster *c, uint64_t n) {
    uint64_t goal = c->acked + n, until = clock_mono_ms() + 10000;
    while (c->acked < goal) {
        assert_true(clock_mono_ms() < until);
        while (c->out < 20 && c->acked + c->out < goal)
            if (!cluster_propose(c)) break;
        uv_run(&c->loop, UV_RUN_ONCE);
    }
}

static void wipe(struct cluster *c, unsigned i) {
    char command[400];
    (void)snprintf(command, sizeof command, "rm -rf '%s/%u'", c->dir, i + 1);
    assert_int_equal(system(command), 0);
}

static void assert_intact(struct cluster *c) {
    assert_true(cluster_wait(c, cluster_level, 10000));
    for (unsigned i = 0; i < CLUSTER_NODES; i++)
        if (c->nodes[i].replica) assert_int_equal(node_lost(&c->nodes[i]), 0);
}

static unsigned waiting_for; /* of the two conditions below */

static bool ended(struct cluster *c) {
    return c->nodes[waiting_for].fatal != 0;
}

static bool wait_end(struct cluster *c, unsigned i, unsigned ms) {
    waiting_for = i;
    return cluster_wait(c, ended, ms);
}

static void a_wiped_node_is_refused_under_its_old_id(void **state) {
    (void)state;
    struct cluster *c = start();
    push(c, 100);
    assert_true(cluster_wait(c, cluster_level, 5000));
    for (unsigned i = 0; i < CLUSTER_NODES; i++) { /* each in turn, the leader too */
        node_stop(c, i);
        char keep[300], dir[300];
        (void)snprintf(dir, sizeof dir, "%s/%u", c->dir, i + 1);
        (void)snprintf(keep, sizeof keep, "%s/%u-kept", c->dir, i + 1);
        assert_int_equal(rename(dir, keep), 0);
        node_start(c, i);
        assert_true(wait_end(c, i, 5000));
        assert_int_equal(c->nodes[i].fatal, 4);
        assert_non_null(strstr(c->nodes[i].why, "new id"));
        assert_int_equal(c->nodes[i].chain.commands, 0);
        node_stop(c, i);
        wipe(c, i);
        assert_int_equal(rename(keep, dir), 0); /* its own folder is welcome as before */
        c->nodes[i].fatal = 0;
        node_start(c, i);
        assert_true(cluster_wait(c, has_leader, 5000));
        push(c, 20);
        assert_intact(c);
    }
    stop(c);
}

/* Two of three are wiped and the third has everything: no new cluster may begin beside it, neither while it is away
 * nor when it is back. */
static void a_wiped_majority_does_not_begin_anew(void **state) {
    (void)state;
    struct cluster *c = start();
    push(c, 100);
    assert_true(cluster_wait(c, cluster_level, 5000));
    for (unsigned i = 0; i < CLUSTER_NODES; i++)
        node_stop(c, i);
    wipe(c, 0);
    wipe(c, 1);
    node_start(c, 0);
    node_start(c, 1);
    cluster_run(c, 2000);
    assert_null(cluster_leader(c));
    assert_true(c->nodes[0].term <= 1 && c->nodes[1].term <= 1);
    assert_int_equal(c->nodes[0].fatal + c->nodes[1].fatal, 0); /* they may be new: they wait */
    node_start(c, 2);
    assert_true(wait_end(c, 0, 5000) && wait_end(c, 1, 5000));
    assert_int_equal(c->nodes[0].fatal, 4);
    assert_int_equal(c->nodes[1].fatal, 4);
    assert_null(cluster_leader(c));
    stop(c);
}

static void a_new_cluster_waits_for_all_three_and_survives_restarts_meanwhile(void **state) {
    (void)state;
    struct cluster *c = begin();
    node_start(c, 0);
    node_start(c, 1);
    cluster_run(c, 1000);
    assert_null(cluster_leader(c));
    for (unsigned round = 0; round < 3; round++) { /* stopped at any moment of their beginning */
        node_stop(c, round % 2);
        cluster_run(c, 20 * round);
        node_start(c, round % 2);
    }
    node_start(c, 2);
    cluster_run(c, 3);
    node_stop(c, 2);
    node_start(c, 2);
    assert_true(cluster_wait(c, has_leader, 5000));
    push(c, 50);
    node_stop(c, 2); /* from now on two are enough, also from the beginning */
    node_stop(c, 0);
    node_stop(c, 1);
    node_start(c, 0);
    node_start(c, 1);
    assert_true(cluster_wait(c, has_leader, 5000));
    push(c, 50);
    assert_int_equal(c->nodes[0].fatal + c->nodes[1].fatal + c->nodes[2].fatal, 0);
    stop(c);
}

/* Turns a bit in the middle of the log, with good groups behind it. */
static void damage(struct cluster *c, unsigned i) {
    char path[400];
    uint8_t byte;
    (void)snprintf(path, sizeof path, "%s/%u/log-0000000000000001", c->dir, i + 1);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, 4096 * 3 + 80), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, 4096 * 3 + 80), 1);
    assert_int_equal(fsync(fd), 0);
    (void)close(fd);
}

static unsigned files(struct cluster *c, unsigned i, const char *prefix) {
    char path[300];
    unsigned n = 0;
    (void)snprintf(path, sizeof path, "%s/%u", c->dir, i + 1);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (const struct dirent *e; (e = readdir(dir)) != NULL;)
        n += strncmp(e->d_name, prefix, strlen(prefix)) == 0;
    (void)closedir(dir);
    return n;
}

static void a_damaged_node_is_reinstalled_by_the_leader(void **state) {
    (void)state;
    struct cluster *c = start();
    push(c, 200);
    assert_true(cluster_wait(c, cluster_level, 5000));
    for (unsigned i = 0; i < CLUSTER_NODES; i++) {
        node_stop(c, i);
        damage(c, i);
        struct err err = {0};
        assert_int_equal(node_open(&c->nodes[i], &err), ERR_CORRUPT);
        assert_non_null(strstr(err.text, "--reinstall"));
        cluster_run(c, 50);
        c->nodes[i].reinstall = true;
        node_start(c, i);
        assert_true(cluster_wait(c, has_leader, 5000));
        push(c, 50);
        assert_intact(c);
        assert_true(files(c, i, "aside-") > 0);
        node_stop(c, i);
        unsigned aside = files(c, i, "aside-");
        node_start(c, i); /* the flag is still there: its data is intact now and stays */
        assert_true(cluster_wait(c, has_leader, 5000));
        push(c, 20);
        assert_intact(c);
        assert_int_equal(files(c, i, "aside-"), aside);
        assert_int_equal(c->nodes[i].fatal, 0);
    }
    /* It is a full member again: with one of the others gone it elects and commits. */
    node_stop(c, 0);
    assert_true(cluster_wait(c, has_leader, 5000));
    push(c, 50);
    stop(c);
}

/* Of three masters one holds everything, one was away when it was acknowledged, one has lost it: the two that do not
 * have it must not elect each other. */
static void a_reinstalled_node_does_not_vote_for_one_that_lacks_what_it_lost(void **state) {
    (void)state;
    struct cluster *c = start();
    push(c, 20);
    assert_true(cluster_wait(c, cluster_level, 5000));
    unsigned keeper = (unsigned)cluster_leader(c)->id - 1, loser = (keeper + 1) % 3, away = (keeper + 2) % 3;
    node_stop(c, away);
    push(c, 100); /* on keeper and loser only */
    node_stop(c, loser);
    node_stop(c, keeper);
    damage(c, loser);
    c->nodes[loser].reinstall = true;
    node_start(c, loser);
    node_start(c, away);
    cluster_run(c, 2500);
    assert_null(cluster_leader(c));
    node_stop(c, loser); /* and a restart changes nothing */
    node_start(c, loser);
    cluster_run(c, 1500);
    assert_null(cluster_leader(c));
    node_start(c, keeper);
    assert_true(cluster_wait(c, has_leader, 5000));
    push(c, 20); /* behind everything of before */
    assert_intact(c);
    stop(c);
}

static bool differs(struct node *node, uint64_t of) {
    struct replica_alarm alarms[REPLICA_ALARMS_MAX];
    char name[64];
    (void)snprintf(name, sizeof name, "master %" PRIu64 " ", of);
    unsigned n = replica_alarms(node->replica, alarms, REPLICA_ALARMS_MAX);
    for (unsigned i = 0; i < n; i++)
        if (strcmp(alarms[i].code, "STATE_DIFFERS") == 0 && strstr(alarms[i].text, name) != NULL) return true;
    return false;
}

/* One bit of one state turns: that master is outvoted, ends, does not start as it is, and is whole after a reinstall.
 */
static void the_state_that_differs_from_the_majoritys_stops(void **state) {
    (void)state;
    struct cluster *c = start();
    push(c, 300);
    assert_true(cluster_wait(c, cluster_level, 5000));
    cluster_run(c, 600);
    for (unsigned i = 0; i < CLUSTER_NODES; i++)
        assert_int_equal(c->nodes[i].fatal, 0);
    for (unsigned leads = 0; leads < 2; leads++) {
        unsigned bad = (unsigned)cluster_leader(c)->id - 1;
        if (!leads) bad = (bad + 1) % 3;
        c->nodes[bad].chain.hash.lo ^= 1;
        push(c, 1);
        assert_true(wait_end(c, bad, 5000));
        assert_int_equal(c->nodes[bad].fatal, 4);
        assert_non_null(strstr(c->nodes[bad].why, "--reinstall"));
        for (unsigned i = 0; i < CLUSTER_NODES; i++)
            if (i != bad) assert_true(c->nodes[i].fatal == 0 && differs(&c->nodes[i], bad + 1));
        node_stop(c, bad);
        struct err err = {0};
        assert_int_equal(node_open(&c->nodes[bad], &err), ERR_CORRUPT);
        cluster_run(c, 50);
        c->nodes[bad].fatal = 0;
        c->nodes[bad].reinstall = true;
        assert_true(cluster_wait(c, has_leader, 5000));
        node_start(c, bad);
        assert_true(cluster_wait(c, has_leader, 5000));
        push(c, 20);
        assert_intact(c);
        cluster_run(c, 600);
        for (unsigned i = 0; i < CLUSTER_NODES; i++)
            assert_true(c->nodes[i].fatal == 0 && (i == bad || !differs(&c->nodes[i], bad + 1)));
    }
    stop(c);
}

static void of_two_that_differ_nobody_stops_and_both_tell(void **state) {
    (void)state;
    struct cluster *c = start();
    push(c, 50);
    assert_true(cluster_wait(c, cluster_level, 5000));
    unsigned leader = (unsigned)cluster_leader(c)->id - 1, away = (leader + 1) % 3, other = (leader + 2) % 3;
    node_stop(c, away);
    c->nodes[other].chain.hash.hi ^= 1;
    push(c, 1);
    cluster_run(c, 1000);
    assert_int_equal(c->nodes[leader].fatal + c->nodes[other].fatal, 0);
    assert_true(differs(&c->nodes[leader], other + 1) && differs(&c->nodes[other], leader + 1));
    node_start(c, away); /* which brings the majority */
    assert_true(wait_end(c, other, 5000));
    assert_int_equal(c->nodes[other].fatal, 4);
    assert_int_equal(c->nodes[leader].fatal + c->nodes[away].fatal, 0);
    stop(c);
}

static uint64_t last_index(struct cluster *c, unsigned i) {
    struct replica_status status;
    replica_status(c->nodes[i].replica, &status);
    return status.last_index;
}

/* The same, but the leader goes away again when the reinstalled node knows who the members are and has a part of the
 * log: it could be talked into a vote now, and must not be. */
static void a_node_that_is_catching_up_does_not_vote(void **state) {
    (void)state;
    struct cluster *c = start();
    c->command_bytes = 4096;
    push(c, 20);
    assert_true(cluster_wait(c, cluster_level, 5000));
    unsigned keeper = (unsigned)cluster_leader(c)->id - 1, loser = (keeper + 1) % 3, away = (keeper + 2) % 3;
    node_stop(c, away);
    push(c, 6000);
    uint64_t all = last_index(c, keeper);
    node_stop(c, loser);
    node_stop(c, keeper);
    damage(c, loser);
    c->nodes[loser].reinstall = true;
    node_start(c, loser);
    node_start(c, away);
    node_start(c, keeper);
    uint64_t until = clock_mono_ms() + 5000;
    while (last_index(c, loser) == 0) {
        assert_true(clock_mono_ms() < until);
        uv_run(&c->loop, UV_RUN_ONCE);
    }
    node_stop(c, keeper);
    assert_true(last_index(c, loser) < all && last_index(c, away) < all);
    cluster_run(c, 2000);
    assert_null(cluster_leader(c));
    node_start(c, keeper);
    assert_true(cluster_wait(c, has_leader, 5000));
    push(c, 20);
    assert_intact(c);
    node_stop(c, keeper); /* caught up, it votes again */
    assert_true(cluster_wait(c, has_leader, 5000));
    push(c, 20);
    assert_intact(c);
    stop(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wiped_node_is_refused_under_its_old_id),
        cmocka_unit_test(a_wiped_majority_does_not_begin_anew),
        cmocka_unit_test(a_new_cluster_waits_for_all_three_and_survives_restarts_meanwhile),
        cmocka_unit_test(a_damaged_node_is_reinstalled_by_the_leader),
        cmocka_unit_test(the_state_that_differs_from_the_majoritys_stops),
        cmocka_unit_test(of_two_that_differ_nobody_stops_and_both_tell),
        cmocka_unit_test(a_node_that_is_catching_up_does_not_vote),
        cmocka_unit_test(a_reinstalled_node_does_not_vote_for_one_that_lacks_what_it_lost),
    };
    if (getenv("TESTS")) cmocka_set_test_filter(getenv("TESTS"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
