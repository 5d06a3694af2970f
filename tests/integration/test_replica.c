/* SPDX-License-Identifier: Apache-2.0
 * Three replicas in one process: real disk, real connections, one loop. */
#include "../lib/cmocka_all.h"

#include <sys/socket.h>

#include "../lib/replica_cluster.h"
#include "consensus/replica_impl.h"
#include "consensus/snapshot_file.h"
#include "consensus/store_private.h"

static struct cluster *start(unsigned nodes, uint64_t snapshot_bytes) {
    struct cluster *c = malloc(sizeof *c);
    assert_non_null(c);
    cluster_init(c, CLUSTER_NODES);
    c->snapshot_bytes = snapshot_bytes;
    for (unsigned i = 0; i < nodes; i++)
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

/* Proposes until `n` more are acknowledged, with at most `depth` out; commands that are dropped are replaced. */
static void push(struct cluster *c, uint64_t n, uint64_t depth, unsigned ms) {
    uint64_t goal = c->acked + n, until = clock_mono_ms() + ms;
    while (c->acked < goal) {
        assert_true(clock_mono_ms() < until);
        while (c->out < depth && c->acked + c->out < goal)
            if (!cluster_propose(c)) break;
        uv_run(&c->loop, UV_RUN_ONCE);
    }
}

static void assert_intact(struct cluster *c) {
    assert_true(cluster_wait(c, cluster_level, 5000));
    for (unsigned i = 0; i < CLUSTER_NODES; i++) {
        if (c->nodes[i].replica == NULL) continue;
        assert_int_equal(node_lost(&c->nodes[i]), 0);
        assert_int_equal(c->nodes[i].chain.twice, 0);
    }
}

static void ten_thousand_commands_give_one_chain_and_a_new_leader_goes_on(void **state) {
    (void)state;
    struct cluster *c = start(3, 0);
    push(c, 10000, 500, 20000);
    assert_intact(c);
    struct node *leader = cluster_leader(c);
    unsigned first = (unsigned)leader->id - 1;
    node_stop(c, first);
    assert_true(cluster_wait(c, has_leader, 3000));
    push(c, 1000, 100, 5000);
    assert_intact(c);
    node_start(c, first); /* from its disk */
    push(c, 100, 100, 5000);
    assert_intact(c);
    assert_int_equal(c->nodes[first].restores, 0);
    stop(c);
}

static void an_empty_follower_catches_up_through_a_snapshot(void **state) {
    (void)state;
    struct cluster *c = start(3, 256 << 10); /* a new cluster begins when all three have met */
    unsigned empty = (unsigned)cluster_leader(c)->id % 3;
    node_stop(c, empty);
    c->command_bytes = 256;
    struct replica_status status = {0};
    for (unsigned rounds = 0; status.first_index <= 1; rounds++) { /* until a snapshot has cut the log */
        assert_true(rounds < 20);
        push(c, 4000, 200, 20000);
        replica_status(cluster_leader(c)->replica, &status);
    }
    node_start(c, empty);
    push(c, 500, 50, 10000);
    assert_intact(c);
    assert_true(c->nodes[empty].restores > 0);
    node_stop(c, empty); /* and starts again from the snapshot on its own disk */
    node_start(c, empty);
    assert_true(c->nodes[empty].chain.commands > 0);
    push(c, 10, 10, 5000);
    assert_intact(c);
    stop(c);
}

static uint64_t arrived_bytes;
static bool arrived_whole;

static void arrived_cb(void *data, int status, uint64_t bytes, struct raft_buffer *done) {
    (void)data;
    assert_int_equal(status, 0);
    arrived_bytes = bytes;
    if (!done) return;
    arrived_whole = true;
    raft_free(done->base); /* the core is not asked: it has caught up by other means, or another term has begun */
}

static bool file_there(const struct cluster *c, unsigned i, const char *name) {
    char path[400];
    (void)snprintf(path, sizeof path, "%s/%u/%s", c->dir, i + 1, name);
    return access(path, F_OK) == 0;
}

static void a_snapshot_that_arrives_and_is_not_wanted_leaves_neither_memory_nor_file(void **state) {
    (void)state;
    struct cluster *c = start(3, 256 << 10);
    struct replica_status status = {0};
    c->command_bytes = 256;
    while (status.snapshot_index == 0) {
        push(c, 1000, 200, 20000);
        replica_status(c->nodes[0].replica, &status);
    }
    struct snapshot_id id = {.index = c->nodes[0].replica->core.log.snapshot.last_index,
                             .term = c->nodes[0].replica->core.log.snapshot.last_term};
    char path[400], name[DISK_NAME_MAX];
    snapshot_name(&id, name);
    (void)snprintf(path, sizeof path, "%s/1/%s", c->dir, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    static uint8_t bytes[4u << 20];
    size_t len = fread(bytes, 1, sizeof bytes, file);
    assert_true(len > 0 && len < sizeof bytes);
    (void)fclose(file);
    for (unsigned i = 1; i < 3; i++)
        node_stop(c, i);
    char command[400]; /* an empty folder that hears from nobody */
    (void)snprintf(command, sizeof command, "rm -rf '%s/2'", c->dir);
    assert_int_equal(system(command), 0);
    node_stop(c, 0);
    node_start(c, 1);
    struct replica *r = c->nodes[1].replica;
    struct peers_files files;
    struct raft_message message = {.type = RAFT_IO_INSTALL_SNAPSHOT};
    message.install_snapshot.last_index = id.index;
    message.install_snapshot.last_term = id.term;
    replica_files(r, &files);
    for (unsigned round = 0; round < 3; round++) {
        arrived_whole = false;
        assert_int_equal(files.receive(files.ctx, &message, len, arrived_cb, NULL), 0);
        assert_int_equal(files.receive_data(files.ctx, bytes, len), 0);
        for (uint64_t until = clock_mono_ms() + 5000; !arrived_whole;) {
            assert_true(clock_mono_ms() < until);
            uv_run(&c->loop, UV_RUN_ONCE);
        }
        assert_int_equal(arrived_bytes, len);
        for (uint64_t until = clock_mono_ms() + 5000; r->store->arrived.loader || r->store->receive.busy;) {
            assert_true(clock_mono_ms() < until);
            uv_run(&c->loop, UV_RUN_ONCE);
        }
        assert_false(file_there(c, 1, SNAPSHOT_ARRIVING));
    }
    stop(c);
}

static void a_follower_far_behind_catches_up_from_the_log_under_load(void **state) {
    (void)state;
    struct cluster *c = start(3, 0);
    unsigned behind = (unsigned)cluster_leader(c)->id % 3;
    node_stop(c, behind);
    c->command_bytes = 1024;
    push(c, 24000, 2000, 30000); /* 24 MiB, six windows of the leader */
    node_start(c, behind);
    uint64_t until = clock_mono_ms() + 15000;
    while (c->nodes[behind].applied + 50 < cluster_leader(c)->applied) {
        assert_true(clock_mono_ms() < until);
        push(c, 20, 20, 5000);
    }
    assert_intact(c);
    assert_int_equal(c->nodes[behind].restores, 0);
    stop(c);
}

static void twenty_failovers_lose_nothing_that_was_acknowledged(void **state) {
    (void)state;
    struct cluster *c = start(3, 128 << 10);
    c->command_bytes = 128;
    for (unsigned round = 0; round < 20; round++) {
        push(c, 300, 100, 5000);
        while (c->out < 50 && cluster_propose(c)) {
        }
        unsigned victim = (unsigned)cluster_leader(c)->id - 1;
        node_stop(c, victim);
        assert_true(cluster_wait(c, has_leader, 3000));
        push(c, 20, 20, 5000);
        node_start(c, victim);
    }
    assert_intact(c);
    stop(c);
}

/* Ends every established TCP connection of this process behind the backs of its owners. */
static unsigned break_connections(void) {
    unsigned broken = 0;
    for (int fd = 3; fd < 1024; fd++) {
        struct sockaddr_storage peer;
        socklen_t len = sizeof peer;
        if (getpeername(fd, (struct sockaddr *)&peer, &len) == 0 && peer.ss_family == AF_INET)
            broken += shutdown(fd, SHUT_RDWR) == 0;
    }
    return broken;
}

static void broken_connections_between_living_processes_cause_no_election(void **state) {
    (void)state;
    struct cluster *c = start(3, 0);
    push(c, 500, 50, 5000);
    cluster_run(c, 200);
    const struct node *leader = cluster_leader(c);
    uint64_t term = leader->term;
    for (unsigned round = 0; round < 20; round++) {
        assert_true(break_connections() >= 6);
        push(c, 100, 50, 5000);
        cluster_run(c, round % 2 == 0 ? 120 : 10);
    }
    assert_ptr_equal(cluster_leader(c), leader);
    assert_int_equal(leader->term, term);
    assert_int_equal(c->dropped, 0);
    assert_intact(c);
    stop(c);
}

static bool nobody_is_closing(struct cluster *c) {
    for (unsigned i = 0; i < CLUSTER_NODES; i++)
        if (c->nodes[i].closing) return false;
    return true;
}

static void the_application_may_close_it_while_it_applies(void **state) {
    (void)state;
    struct cluster *c = start(3, 32 << 10); /* about every second entry takes a snapshot, which applies inside */
    for (unsigned round = 0; round < 12; round++) {
        struct node *node = round % 3 == 0 ? cluster_leader(c) : &c->nodes[round % CLUSTER_NODES];
        node->close_at = node->chain.commands + 100 + 37 * round;
        push(c, 1000, 150, 10000);
        assert_true(cluster_wait(c, nobody_is_closing, 2000));
        assert_null(node->replica);
        node_start(c, (unsigned)node->id - 1);
        assert_true(cluster_wait(c, has_leader, 3000));
    }
    assert_intact(c);
    stop(c);
}

struct read_result {
    int calls, status;
    uint64_t applied;
    struct node *node;
};

static void read_cb(void *ctx, int status) {
    struct read_result *result = ctx;
    result->calls++;
    result->status = status;
    result->applied = result->node->chain.commands;
}

static void a_read_sees_every_command_acknowledged_before_it(void **state) {
    (void)state;
    struct cluster *c = start(3, 0);
    push(c, 100, 10, 5000);
    struct read_result leader = {.node = cluster_leader(c)}, follower = {.node = &c->nodes[cluster_leader(c)->id % 3]};
    replica_read(leader.node->replica, read_cb, &leader);
    replica_read(follower.node->replica, read_cb, &follower);
    assert_int_equal(leader.calls + follower.calls, 0);
    cluster_run(c, 100);
    assert_int_equal(leader.calls, 1);
    assert_int_equal(leader.status, 0);
    assert_true(leader.applied >= c->acked);
    assert_int_equal(follower.calls, 1);
    assert_int_equal(follower.status, 0);
    assert_true(follower.applied >= c->acked);
    unsigned lone = (unsigned)leader.node->id - 1;
    for (unsigned i = 0; i < CLUSTER_NODES; i++)
        if (i != lone) node_stop(c, i);
    struct read_result cut = {.node = leader.node};
    replica_read(leader.node->replica, read_cb, &cut);
    cluster_run(c, 1200);
    assert_int_equal(cut.calls, 1);
    assert_true(cut.status == ERR_NO_QUORUM || cut.status == ERR_NOT_LEADER);
    stop(c);
}

static void without_a_majority_nothing_is_acknowledged_and_every_ticket_comes_back(void **state) {
    (void)state;
    struct cluster *c = start(3, 0);
    push(c, 100, 10, 5000);
    unsigned lone = (unsigned)cluster_leader(c)->id - 1;
    for (unsigned i = 0; i < CLUSTER_NODES; i++)
        if (i != lone) node_stop(c, i);
    uint64_t acked = c->acked;
    for (unsigned i = 0; i < 5000; i++)
        (void)cluster_propose(c);
    assert_true(c->out > 0);
    cluster_run(c, 1000);
    assert_int_equal(c->acked, acked);
    assert_int_equal(c->out, 0);
    assert_int_equal(c->nodes[lone].role == REPLICA_LEADER, 0);
    assert_false(cluster_propose(c));
    stop(c);
}

static void counter_cb(void *ctx, const char *name, uint64_t value) {
    uint64_t *ret = ctx;
    if (strcmp(name, "guard_first_entries") == 0) ret[0] = value;
    if (strcmp(name, "peers_welcomes") == 0) ret[1] = value;
}

static void the_status_tells_who_leads_and_how_far_everybody_is(void **state) {
    (void)state;
    struct cluster *c = start(3, 0);
    push(c, 200, 20, 5000);
    assert_true(cluster_wait(c, cluster_level, 5000));
    struct node *leader = cluster_leader(c);
    struct replica_status status;
    cluster_run(c, 100);
    replica_status(leader->replica, &status);
    assert_int_equal(status.role, REPLICA_LEADER);
    assert_int_equal(status.leader_id, leader->id);
    assert_int_equal(status.applied_index, leader->applied);
    assert_int_equal(status.commit_index, status.last_index);
    assert_int_equal(status.peer_count, 3);
    assert_true(status.leader_since_ms >= 0 && status.writes > 0 && status.fsync_p99_us >= status.fsync_p50_us);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(status.peers[i].connected && status.peers[i].voter);
        assert_int_equal(status.peers[i].match_index, status.last_index);
        assert_true(status.peers[i].contact_ms >= 0 && status.peers[i].contact_ms < 1000);
    }
    uint64_t counters[2] = {0};
    replica_counters(leader->replica, counter_cb, counters);
    assert_int_equal(counters[0], 1);
    assert_int_equal(counters[1], 2);
    node_stop(c, (unsigned)leader->id % 3);
    cluster_run(c, 50);
    replica_status(leader->replica, &status);
    assert_false(status.peers[leader->id % 3].connected);
    stop(c);
}

struct seen {
    uint64_t next;
    unsigned batches;
};

static void log_cb(void *ctx, uint64_t index, uint64_t term, int type, const uint8_t *data, size_t len) {
    struct seen *seen = ctx;
    assert_int_equal(index, seen->next++);
    assert_true(term > 0 && data != NULL && len % 8 == 0);
    seen->batches += type == 1;
}

static void commands_of_one_turn_share_an_entry_and_the_log_can_be_read(void **state) {
    (void)state;
    struct cluster *c = start(3, 0);
    push(c, 1, 1, 5000);
    struct node *leader = cluster_leader(c);
    uint64_t before = leader->applied;
    for (unsigned i = 0; i < 2500; i++)
        assert_true(cluster_propose(c));
    assert_true(cluster_wait(c, cluster_level, 5000));
    assert_int_equal(leader->applied - before, 3); /* 1,000 + 1,000 + 500 */
    struct seen seen = {.next = 1};
    uint64_t first = 0;
    struct err err;
    assert_int_equal(replica_log_read(leader->replica, 1, 100, log_cb, &seen, &first, &err), 0);
    assert_int_equal(seen.next - 1, leader->applied);
    assert_true(seen.batches >= 4);
    assert_int_equal(replica_log_read(leader->replica, leader->applied + 1, 1, log_cb, &seen, &first, &err),
                     ERR_NOT_FOUND);
    assert_int_equal(replica_propose(leader->replica, (const uint8_t *)"", 0, c), ERR_LIMIT);
    stop(c);
}

static void a_folder_is_refused_to_another_process_and_to_another_node(void **state) {
    (void)state;
    struct cluster *c = start(3, 0);
    struct err err = {0};
    struct node *twin = calloc(1, sizeof *twin);
    twin->cluster = c;
    twin->id = 1;
    assert_int_equal(node_open(twin, &err), ERR_LOCKED);
    node_stop(c, 0);
    char from[300], to[300];
    (void)snprintf(from, sizeof from, "%s/1", c->dir);
    (void)snprintf(to, sizeof to, "%s/9", c->dir);
    assert_int_equal(rename(from, to), 0);
    (void)snprintf(from, sizeof from, "%s/2", c->dir);
    node_stop(c, 1);
    (void)snprintf(to, sizeof to, "%s/1", c->dir);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(node_open(twin, &err), ERR_INVALID); /* node 1 in the folder of node 2 */
    cluster_run(c, 20);
    free(twin);
    stop(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_thousand_commands_give_one_chain_and_a_new_leader_goes_on),
        cmocka_unit_test(an_empty_follower_catches_up_through_a_snapshot),
        cmocka_unit_test(a_snapshot_that_arrives_and_is_not_wanted_leaves_neither_memory_nor_file),
        cmocka_unit_test(a_follower_far_behind_catches_up_from_the_log_under_load),
        cmocka_unit_test(twenty_failovers_lose_nothing_that_was_acknowledged),
        cmocka_unit_test(broken_connections_between_living_processes_cause_no_election),
        cmocka_unit_test(the_application_may_close_it_while_it_applies),
        cmocka_unit_test(a_read_sees_every_command_acknowledged_before_it),
        cmocka_unit_test(without_a_majority_nothing_is_acknowledged_and_every_ticket_comes_back),
        cmocka_unit_test(the_status_tells_who_leads_and_how_far_everybody_is),
        cmocka_unit_test(commands_of_one_turn_share_an_entry_and_the_log_can_be_read),
        cmocka_unit_test(a_folder_is_refused_to_another_process_and_to_another_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
