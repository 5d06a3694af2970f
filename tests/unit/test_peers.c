/* SPDX-License-Identifier: Apache-2.0
 * The connections between masters, several in one process on loopback: who is let in, what arrives, who is dead. */
#include "../lib/cmocka_all.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "consensus/guard.h"
#include "consensus/peer_codec.h"
#include "consensus/peers.h"
#include "net/address.h"
#include "net/link.h"
#include "tls_files.h"

#define HOSTS 4

struct host {
    struct peers *peers;
    uint64_t id;
    bool closed;
    unsigned messages, deaths, intros, removed;
    uint64_t removed_index;
    bool lets_in; /* makes a member of whoever shows it a configuration */
    uint64_t dead_id;
    struct raft_message last;
    uint8_t *data; /* of a snapshot */
    size_t data_len;
    uint64_t refuse, cannot; /* ids whose folders are refused, or cannot be noted */
    uint64_t accepted_id, disowned_id, told_id;
    struct peer_vitals told;
};

/* `test_peers tls`: the same with TLS under it; by node id, NULL: without. */
static struct tls *certificates[8];

static uv_loop_t loop;
static uv_timer_t pulse;
static struct net *net;
static struct host hosts[HOSTS];

static const char *address_of(uint64_t id) {
    static char text[8][64];
    unsigned pid = (unsigned)getpid();
    (void)snprintf(text[id], sizeof text[id], "127.%u.%u.%u:5060", 128 + pid / 62500 % 30, 1 + pid / 250 % 250,
                   8 * (pid % 30) + (unsigned)id);
    return text[id];
}

static void message_cb(void *ctx, struct raft_message *message) {
    struct host *host = ctx;
    host->messages++;
    host->last = *message;
    if (message->type == RAFT_IO_INSTALL_SNAPSHOT) {
        host->data_len = message->install_snapshot.data.len;
        host->data = malloc(host->data_len);
        memcpy(host->data, message->install_snapshot.data.base, host->data_len);
    }
    peer_message_free(message);
}

static void dead_cb(void *ctx, uint64_t id) {
    struct host *host = ctx;
    host->deaths++;
    host->dead_id = id;
}

static int meet_cb(void *ctx, uint64_t id, uint64_t folder) {
    struct host *host = ctx;
    return id == host->refuse ? ERR_FORBIDDEN : id == host->cannot ? ERR_LIMIT : folder == 100 + id ? 0 : ERR_FORBIDDEN;
}

static void accepted_cb(void *ctx, uint64_t id) {
    ((struct host *)ctx)->accepted_id = id;
}

static void disowned_cb(void *ctx, uint64_t id) {
    ((struct host *)ctx)->disowned_id = id;
}

static void vitals_cb(void *ctx, struct peer_vitals *ret) {
    ret->free_bytes = 1000 + ((struct host *)ctx)->id;
}

static void told_cb(void *ctx, uint64_t id, const struct peer_vitals *vitals) {
    struct host *host = ctx;
    host->told_id = id;
    host->told = *vitals;
}

static void introduced_cb(void *ctx, uint64_t from, const struct peer_members *members) {
    struct host *host = ctx;
    const struct peer_member *member = peer_members_find(members, from);
    struct err err;
    host->intros++;
    if (host->lets_in && member) assert_int_equal(peers_member_set(host->peers, from, member->address, &err), 0);
}

static void removed_cb(void *ctx, uint64_t by, uint64_t index) {
    struct host *host = ctx;
    (void)by;
    host->removed++;
    host->removed_index = index;
}

static struct peers_files files; /* of hosts that are opened from now on */

static struct host *open_host(unsigned i, uint64_t id, const char *cluster) {
    struct host *host = &hosts[i];
    memset(host, 0, sizeof *host);
    host->id = id;
    struct peers_config config = {.net = net,
                                  .node_id = id,
                                  .listen = address_of(id),
                                  .tls = certificates[id],
                                  .election_ms = 300,
                                  .ctx = host,
                                  .message = message_cb,
                                  .dead = dead_cb,
                                  .folder = 100 + id,
                                  .meet = meet_cb,
                                  .accepted = accepted_cb,
                                  .disowned = disowned_cb,
                                  .vitals = vitals_cb,
                                  .told = told_cb,
                                  .introduced = introduced_cb,
                                  .removed = removed_cb,
                                  .files = files};
    memcpy(config.cluster_id, cluster, strlen(cluster));
    struct err err;
    assert_int_equal(peers_open(&config, &host->peers, &err), 0);
    return host;
}

static void knows(struct host *host, uint64_t id) {
    struct err err;
    assert_int_equal(peers_member_set(host->peers, id, address_of(id), &err), 0);
}

static void closed_cb(void *ctx) {
    struct host *host = ctx;
    host->peers = NULL;
}

static void close_host(struct host *host) {
    peers_close(host->peers, closed_cb, host);
    while (host->peers)
        uv_run(&loop, UV_RUN_ONCE);
}

static void pulse_cb(uv_timer_t *timer) {
    (void)timer;
}

static bool connected(struct host *host, uint64_t id) {
    struct peers_status status;
    return peers_status(host->peers, id, &status) && status.connected;
}

static void run_ms(unsigned ms) {
    uint64_t until = clock_mono_ms() + ms;
    while (clock_mono_ms() < until)
        uv_run(&loop, UV_RUN_ONCE);
}

#define WAIT_FOR(condition, ms)                                                                                        \
    do {                                                                                                               \
        uint64_t until_ = clock_mono_ms() + (ms);                                                                      \
        while (!(condition)) {                                                                                         \
            assert_true(clock_mono_ms() < until_);                                                                     \
            uv_run(&loop, UV_RUN_ONCE);                                                                                \
        }                                                                                                              \
    } while (0)

static int setup(void **state) {
    (void)state;
    log_setup(LOG_ERROR + 1, NULL);
    CHECK(uv_loop_init(&loop) == 0);
    CHECK(uv_timer_init(&loop, &pulse) == 0);
    CHECK(uv_timer_start(&pulse, pulse_cb, 2, 2) == 0);
    net = net_open(&loop);
    memset(hosts, 0, sizeof hosts);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    for (unsigned i = 0; i < HOSTS; i++) {
        if (hosts[i].peers) close_host(&hosts[i]);
        free(hosts[i].data);
    }
    net_close(net, NULL, NULL);
    uv_close((uv_handle_t *)&pulse, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK(uv_loop_close(&loop) == 0);
    return 0;
}

static void pair(void) {
    struct host *a = open_host(0, 1, "c"), *b = open_host(1, 2, "c");
    knows(a, 2);
    knows(b, 1);
    WAIT_FOR(connected(a, 2) && connected(b, 1), 2000);
}

static struct raft_message vote(uint64_t to) {
    struct raft_message m = {.type = RAFT_IO_REQUEST_VOTE, .server_id = to};
    m.request_vote = (struct raft_request_vote){.term = 5, .candidate_id = 1, .last_log_index = 6, .last_log_term = 4};
    return m;
}

static void messages_arrive_with_the_name_of_their_sender(void **state) {
    (void)state;
    pair();
    struct raft_message m = vote(2);
    assert_int_equal(peers_send(hosts[0].peers, &m, NULL, NULL), 0);
    WAIT_FOR(hosts[1].messages == 1, 1000);
    assert_int_equal(hosts[1].last.server_id, 1);
    assert_int_equal(hosts[1].last.request_vote.term, 5);
    m.server_id = 3;
    assert_int_equal(peers_send(hosts[0].peers, &m, NULL, NULL), RAFT_NOCONNECTION);
}

static void strangers_and_the_wrongly_addressed_are_refused(void **state) {
    (void)state;
    struct host *a = open_host(0, 1, "c");
    knows(a, 2);
    struct host *foreign = open_host(1, 2, "another");
    struct host *stranger = open_host(2, 3, "c");
    knows(foreign, 1);
    knows(stranger, 1);
    run_ms(300);
    assert_false(connected(a, 2) || connected(foreign, 1) || connected(stranger, 1));
    assert_true(peers_counters(a->peers)->refused >= 2);
    struct peers_status status;
    assert_true(peers_status(a->peers, 2, &status));
    assert_false(status.heard);
    assert_int_equal(a->messages, 0);
    struct host *confused = open_host(3, 4, "c");
    struct err err;
    knows(a, 4);
    assert_int_equal(peers_member_set(confused->peers, 2, address_of(1), &err), 0); /* dials 1 and means 2 */
    run_ms(100);
    assert_false(connected(confused, 2));
}

static void a_folder_that_is_not_the_known_one_is_refused_and_told_so(void **state) {
    (void)state;
    struct host *a = open_host(0, 1, "c"), *b = open_host(1, 2, "c");
    a->refuse = 2;
    knows(a, 2);
    knows(b, 1);
    WAIT_FOR(b->disowned_id == 1, 2000);
    assert_false(connected(b, 1) || connected(a, 2));
    assert_true(a->accepted_id == 0 && b->accepted_id == 0 && a->messages == 0);
    a->refuse = 0;
    a->cannot = 2; /* no room to note it: not accepted, and not told that it is another */
    b->disowned_id = 0;
    run_ms(300);
    assert_true(b->accepted_id == 0 && b->disowned_id == 0);
    a->cannot = 0;
    WAIT_FOR(connected(a, 2) && connected(b, 1), 3000);
    assert_true(a->accepted_id == 2 && b->accepted_id == 1);
}

static void pings_tell_how_the_sender_is(void **state) {
    (void)state;
    pair();
    WAIT_FOR(hosts[0].told_id == 2 && hosts[1].told_id == 1, 2000);
    assert_int_equal(hosts[0].told.free_bytes, 1002);
    assert_int_equal(hosts[1].told.free_bytes, 1001);
    run_ms(3 * PEERS_PING_MS);
    assert_true(connected(&hosts[0], 2) && connected(&hosts[1], 1)); /* and are answered */
}

static void shows(struct host *host, uint64_t index, unsigned n) {
    struct peer_members members = {.index = index, .n = n};
    for (unsigned i = 0; i < n; i++) {
        members.items[i].id = i + 1;
        (void)snprintf(members.items[i].address, sizeof members.items[i].address, "%s", address_of(i + 1));
    }
    peers_members_tell(host->peers, &members);
}

static void a_stranger_that_shows_its_membership_may_be_let_in_and_others_learn_that_they_are_none(void **state) {
    (void)state;
    struct host *a = open_host(0, 1, "c"), *b = open_host(1, 2, "c");
    shows(a, 5, 1);
    knows(b, 1);
    WAIT_FOR(b->removed > 0, 2000); /* a stranger, with the index that says so */
    assert_int_equal(b->removed_index, 5);
    assert_int_equal(a->intros, 0); /* b has nothing to show */
    assert_false(connected(b, 1));
    shows(b, 7, 2);
    a->lets_in = true;
    WAIT_FOR(connected(a, 2) && connected(b, 1), 2000);
    assert_true(a->intros > 0);
    assert_int_equal(peers_counters(a->peers)->malformed, 0);
}

static void a_candidate_cannot_speak_for_another(void **state) {
    (void)state;
    pair();
    struct raft_message m = vote(2);
    m.request_vote.candidate_id = 7;
    assert_int_equal(peers_send(hosts[0].peers, &m, NULL, NULL), 0);
    run_ms(100);
    assert_int_equal(hosts[1].messages, 0);
    assert_int_equal(peers_counters(hosts[1].peers)->malformed, 1);
}

static void a_process_that_ends_is_dead_once_and_at_once(void **state) {
    (void)state;
    pair();
    run_ms(150); /* the connection is an old one */
    uint64_t begun = clock_mono_ms();
    close_host(&hosts[1]);
    WAIT_FOR(hosts[0].deaths == 1, 100);
    assert_true(clock_mono_ms() - begun < 50);
    assert_int_equal(hosts[0].dead_id, 2);
    run_ms(300);
    assert_int_equal(hosts[0].deaths, 1);
    struct host *again = open_host(1, 2, "c");
    knows(again, 1);
    WAIT_FOR(connected(&hosts[0], 2) && connected(again, 1), 500);
    assert_int_equal(hosts[0].deaths, 1);
}

static void another_process_under_the_same_id_means_that_the_first_is_dead(void **state) {
    (void)state;
    pair();
    /* Host 2's process dies without a trace on the wire: its links are cut here, and a new one listens elsewhere. */
    struct err err;
    struct host *b = open_host(2, 3, "c"); /* an address for the new process of id 2 */
    close_host(b);
    struct peers_config config = {.net = net,
                                  .cluster_id = "c",
                                  .node_id = 2,
                                  .listen = address_of(3),
                                  .tls = certificates[2],
                                  .election_ms = 300,
                                  .ctx = &hosts[2],
                                  .message = message_cb,
                                  .dead = dead_cb,
                                  .folder = 102};
    assert_int_equal(peers_open(&config, &hosts[2].peers, &err), 0);
    knows(&hosts[2], 1);
    WAIT_FOR(hosts[0].deaths == 1, 500);
    assert_int_equal(hosts[0].dead_id, 2);
}

static void a_lost_connection_of_a_living_process_is_no_death(void **state) {
    (void)state;
    pair();
    run_ms(150);
    /* The address is set anew, which cuts and dials again: same nonce. */
    struct err err;
    uint64_t ids[] = {1};
    peers_members_keep(hosts[1].peers, ids, 0);
    run_ms(50);
    assert_int_equal(hosts[0].deaths, 0);
    assert_false(connected(&hosts[0], 2));
    assert_int_equal(peers_member_set(hosts[1].peers, 1, address_of(1), &err), 0);
    WAIT_FOR(connected(&hosts[0], 2), 1000);
    assert_int_equal(hosts[0].deaths, 0);
}

struct sent {
    unsigned calls;
    int status;
};

static void sent_cb(struct raft_io_send *req, int status) {
    struct sent *sent = req->data;
    sent->calls++;
    sent->status = status;
}

static struct raft_message snapshot(uint8_t *data, size_t len) {
    struct raft_message m = {.type = RAFT_IO_INSTALL_SNAPSHOT, .server_id = 2};
    m.install_snapshot = (struct raft_install_snapshot){
        .term = 5, .last_index = 9, .last_term = 4, .conf_index = 1, .data = {.base = data, .len = len}};
    raft_configuration_init(&m.install_snapshot.conf);
    assert_int_equal(raft_configuration_add(&m.install_snapshot.conf, 1, "x:1", RAFT_VOTER), 0);
    return m;
}

static void a_snapshot_arrives_whole_beside_messages(void **state) {
    (void)state;
    pair();
    size_t len = (9u << 20) + 5;
    uint8_t *data = malloc(len);
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 7 + (i >> 12));
    struct raft_message m = snapshot(data, len), v = vote(2);
    struct sent sent = {0};
    struct raft_io_send req = {.data = &sent}, second = {.data = &sent};
    assert_int_equal(peers_send(hosts[0].peers, &m, &req, sent_cb), 0);
    assert_int_equal(peers_send(hosts[0].peers, &m, &second, sent_cb), RAFT_BUSY);
    assert_int_equal(peers_send(hosts[0].peers, &v, NULL, NULL), 0);
    assert_int_equal(sent.calls, 0);
    WAIT_FOR(sent.calls == 1, 5000);
    assert_int_equal(sent.status, 0);
    assert_int_equal(hosts[1].messages, 2);
    assert_int_equal(hosts[1].data_len, len);
    assert_memory_equal(hosts[1].data, data, len);
    raft_configuration_close(&m.install_snapshot.conf);
    free(data);
}

static void a_snapshot_to_a_process_that_dies_fails_once(void **state) {
    (void)state;
    pair();
    size_t len = 64u << 20;
    uint8_t *data = calloc(1, len);
    struct raft_message m = snapshot(data, len);
    struct sent sent = {0};
    struct raft_io_send req = {.data = &sent};
    assert_int_equal(peers_send(hosts[0].peers, &m, &req, sent_cb), 0);
    run_ms(5);
    close_host(&hosts[1]);
    WAIT_FOR(sent.calls == 1, 2000);
    assert_int_equal(sent.status, RAFT_NOCONNECTION);
    struct host *again = open_host(1, 2, "c");
    knows(again, 1);
    WAIT_FOR(connected(&hosts[0], 2), 1000);
    assert_int_equal(peers_send(hosts[0].peers, &m, &req, sent_cb), 0);
    close_host(&hosts[0]); /* and a cancelled one completes as well */
    assert_int_equal(sent.calls, 2);
    assert_int_equal(sent.status, RAFT_CANCELED);
    raft_configuration_close(&m.install_snapshot.conf);
    free(data);
}

static int known_already(void *ctx, const struct raft_message *message, uint64_t size,
                         void (*cb)(void *data, int status, uint64_t bytes, struct raft_buffer *done), void *data) {
    (void)ctx, (void)message, (void)size, (void)cb, (void)data;
    return ERR_EXISTS;
}

static int opens_nothing(void *ctx, const struct raft_message *message, void **ret_source, uint64_t *ret_size) {
    (void)ctx, (void)message, (void)ret_source, (void)ret_size;
    return RAFT_CORRUPT;
}

static void a_snapshot_that_is_not_needed_is_told_to_the_core_without_its_bytes(void **state) {
    (void)state;
    open_host(0, 1, "c");
    files = (struct peers_files){.open = opens_nothing, .receive = known_already};
    open_host(1, 2, "c");
    files = (struct peers_files){0};
    knows(&hosts[0], 2);
    knows(&hosts[1], 1);
    WAIT_FOR(connected(&hosts[0], 2) && connected(&hosts[1], 1), 2000);
    size_t len = 64u << 20;
    uint8_t *data = calloc(1, len);
    struct raft_message m = snapshot(data, len);
    struct sent sent = {0};
    struct raft_io_send req = {.data = &sent};
    assert_int_equal(peers_send(hosts[0].peers, &m, &req, sent_cb), 0);
    WAIT_FOR(sent.calls == 1 && hosts[1].messages == 1, 5000);
    assert_int_equal(hosts[1].last.type, RAFT_IO_INSTALL_SNAPSHOT);
    assert_int_equal(hosts[1].data_len, 8);
    assert_int_equal(peers_counters(hosts[1].peers)->malformed, 0);
    free(hosts[1].data);
    hosts[1].data = NULL;
    raft_configuration_close(&m.install_snapshot.conf);
    free(data);
}

/* A bare connection that speaks whatever the test wants. */
struct raw {
    struct link *link;
    unsigned frames;
    uint16_t type;
    bool open, closed;
};

static void raw_open_cb(void *ctx, struct link *link) {
    struct raw *raw = ctx;
    (void)link;
    raw->open = true;
}

static void raw_frame_cb(void *ctx, struct link *link, uint16_t type, const uint8_t *payload, size_t len) {
    struct raw *raw = ctx;
    (void)link, (void)payload, (void)len;
    raw->frames++;
    raw->type = type;
}

static void raw_close_cb(void *ctx, struct link *link, enum link_reason reason, const struct err *err) {
    struct raw *raw = ctx;
    (void)link, (void)reason, (void)err;
    raw->closed = true;
}

static void dial_raw(struct raw *raw) {
    static const struct link_callbacks callbacks = {
        .on_open = raw_open_cb, .on_frame = raw_frame_cb, .on_close = raw_close_cb};
    struct address address;
    struct err err;
    memset(raw, 0, sizeof *raw);
    assert_int_equal(address_parse(address_of(1), 0, 0, &address, &err), 0);
    raw->link = link_connect(net, &address, NULL, &callbacks, raw, &err);
    assert_non_null(raw->link);
    WAIT_FOR(raw->open, 1000);
}

static void frames_without_a_hello_and_damaged_ones_cut_the_connection(void **state) {
    (void)state;
    struct host *a = open_host(0, 1, "c");
    knows(a, 2);
    struct raw raw;
    dial_raw(&raw);
    uint8_t bytes[64] = {1, 2, 3};
    assert_int_equal(link_send(raw.link, LINK_CONTROL, PEER_FRAME_MESSAGE, bytes, sizeof bytes, NULL, 0), 0);
    WAIT_FOR(raw.closed, 1000);
    assert_int_equal(peers_counters(a->peers)->malformed, 1);
    static const uint16_t types[] = {PEER_FRAME_MESSAGE, PEER_FRAME_FILE, PEER_FRAME_PIECE, PEER_FRAME_HELLO, 999};
    for (unsigned stream = 1; stream <= 2; stream++) {
        for (unsigned i = 0; i < sizeof types / sizeof *types; i++) {
            struct peer_hello hello = {
                .protocol = PEER_PROTOCOL, .stream = stream, .from = 2, .to = 1, .nonce = 77, .folder = 102};
            hello.cluster_id[0] = 'c';
            uint8_t hi[PEER_HELLO_BYTES];
            peer_hello_encode(&hello, hi);
            dial_raw(&raw);
            assert_int_equal(link_send(raw.link, LINK_CONTROL, PEER_FRAME_HELLO, hi, sizeof hi, NULL, 0), 0);
            WAIT_FOR(raw.frames == 1, 1000);
            assert_int_equal(raw.type, PEER_FRAME_WELCOME);
            assert_int_equal(link_send(raw.link, LINK_CONTROL, types[i], bytes, sizeof bytes, NULL, 0), 0);
            WAIT_FOR(raw.closed, 1000);
        }
    }
    assert_int_equal(peers_counters(a->peers)->malformed, 11);
    assert_int_equal(a->messages, 0);
}

/* ---- TLS only ---- */

static void nobody_speaks_for_another_node_than_its_certificates(void **state) {
    (void)state;
    struct tls *two = certificates[2];
    struct host *a = open_host(0, 1, "c");
    knows(a, 2);
    knows(a, 3);
    certificates[2] = certificates[3]; /* node 3 says that it is 2 */
    struct host *liar = open_host(1, 2, "c");
    certificates[2] = two;
    liar->lets_in = true;
    knows(liar, 1);
    shows(liar, 5, 2); /* nor is its introduction heard */
    WAIT_FOR(peers_counters(a->peers)->refused >= 1, 3000);
    run_ms(200);
    assert_false(connected(a, 2) || connected(liar, 1));
    struct peers_status status;
    assert_true(peers_status(a->peers, 2, &status));
    assert_false(status.heard);
    assert_int_equal(a->intros, 0);
    assert_int_equal(a->messages, 0);
    struct host *honest = open_host(2, 3, "c");
    knows(honest, 1);
    WAIT_FOR(connected(a, 3) && connected(honest, 1), 3000);
}

static void without_tls_nobody_gets_to_a_member_that_has_it(void **state) {
    (void)state;
    struct tls *two = certificates[2];
    struct host *a = open_host(0, 1, "c");
    certificates[2] = NULL;
    struct host *plain = open_host(1, 2, "c");
    certificates[2] = two;
    knows(a, 2);
    knows(plain, 1);
    WAIT_FOR(peers_counters(a->peers)->refused >= 1, 3000);
    assert_false(connected(a, 2) || connected(plain, 1));
    assert_int_equal(a->messages + plain->messages, 0);
}

static int tls_tests(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(messages_arrive_with_the_name_of_their_sender, setup, teardown),
        cmocka_unit_test_setup_teardown(strangers_and_the_wrongly_addressed_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_folder_that_is_not_the_known_one_is_refused_and_told_so, setup, teardown),
        cmocka_unit_test_setup_teardown(pings_tell_how_the_sender_is, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_stranger_that_shows_its_membership_may_be_let_in_and_others_learn_that_they_are_none, setup, teardown),
        cmocka_unit_test_setup_teardown(a_candidate_cannot_speak_for_another, setup, teardown),
        cmocka_unit_test_setup_teardown(a_process_that_ends_is_dead_once_and_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(another_process_under_the_same_id_means_that_the_first_is_dead, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_lost_connection_of_a_living_process_is_no_death, setup, teardown),
        cmocka_unit_test_setup_teardown(a_snapshot_arrives_whole_beside_messages, setup, teardown),
        cmocka_unit_test_setup_teardown(a_snapshot_to_a_process_that_dies_fails_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_snapshot_that_is_not_needed_is_told_to_the_core_without_its_bytes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(nobody_speaks_for_another_node_than_its_certificates, setup, teardown),
        cmocka_unit_test_setup_teardown(without_tls_nobody_gets_to_a_member_that_has_it, setup, teardown),
    };
    struct tls_folder folder;
    tls_folder_open(&folder);
    for (uint64_t id = 1; id < 8; id++) {
        struct tls_identity who = tls_who(TLS_MASTER, id);
        tls_folder_sign(&folder, "master", &who, 0);
        certificates[id] = tls_folder_load(&folder, "master", &who);
    }
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    for (unsigned id = 0; id < 8; id++)
        tls_close(certificates[id]);
    tls_folder_close(&folder);
    return rc;
}

static int plain_tests(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(messages_arrive_with_the_name_of_their_sender, setup, teardown),
        cmocka_unit_test_setup_teardown(strangers_and_the_wrongly_addressed_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_folder_that_is_not_the_known_one_is_refused_and_told_so, setup, teardown),
        cmocka_unit_test_setup_teardown(pings_tell_how_the_sender_is, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_stranger_that_shows_its_membership_may_be_let_in_and_others_learn_that_they_are_none, setup, teardown),
        cmocka_unit_test_setup_teardown(a_candidate_cannot_speak_for_another, setup, teardown),
        cmocka_unit_test_setup_teardown(a_process_that_ends_is_dead_once_and_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(another_process_under_the_same_id_means_that_the_first_is_dead, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_lost_connection_of_a_living_process_is_no_death, setup, teardown),
        cmocka_unit_test_setup_teardown(a_snapshot_arrives_whole_beside_messages, setup, teardown),
        cmocka_unit_test_setup_teardown(a_snapshot_to_a_process_that_dies_fails_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_snapshot_that_is_not_needed_is_told_to_the_core_without_its_bytes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(frames_without_a_hello_and_damaged_ones_cut_the_connection, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv) {
    return argc > 1 && !strcmp(argv[1], "tls") ? tls_tests() : plain_tests();
}
