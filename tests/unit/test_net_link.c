/* SPDX-License-Identifier: Apache-2.0
 * Links over loopback sockets. */
#include "../lib/cmocka_all.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/link.h"
#include "net/link_frame.h"
#include "tls_files.h"
#include "test_net_loop.h"

/* `test_net_link tls`: the same links with TLS under them, and what only TLS has. */
static struct tls_folder folder;
static struct tls *tls_one, *tls_two; /* master 1 dials, master 2 accepts; NULL: without TLS */

/* One end: what it was told. */
struct end {
    struct link *link; /* NULL once closed */
    unsigned opened, closed, frames, writable;
    enum link_reason reason;
    char reason_text[256];
    struct buf text; /* payloads one after the other, of small frames */
    uint16_t types[64];
    bool echo, close_at_frame, establish;
    size_t bytes;
};

struct rig {
    struct test_loop t;
    struct link_server *server;
    struct link_server_options options;
    struct end accepted[8]; /* in order */
    unsigned accepted_n;
    bool establish; /* accepted links are established at their first frame */
    bool reject;
    bool server_closed;
    unsigned failed; /* handshakes */
    char failed_text[256];
};

static void on_open(void *ctx, struct link *link) {
    struct end *e = ctx;
    assert_ptr_equal(link, e->link);
    e->opened++;
}

static void on_frame(void *ctx, struct link *link, uint16_t type, const uint8_t *payload, size_t len) {
    struct end *e = ctx;
    assert_int_equal(e->closed, 0);
    if (e->frames < 64) e->types[e->frames] = type;
    e->frames++;
    e->bytes += len;
    if (len < 100) (void)buf_append(&e->text, payload, len);
    if (e->establish) link_established(link);
    if (e->echo) assert_int_equal(link_send(link, LINK_BULK, type, payload, len, NULL, 0), 0);
    if (e->close_at_frame) link_close(link);
}

static void on_close(void *ctx, struct link *link, enum link_reason reason, const struct err *err) {
    struct end *e = ctx;
    assert_ptr_equal(link, e->link);
    e->closed++;
    e->reason = reason;
    e->link = NULL;
    (void)memcpy(e->reason_text, err->text, sizeof e->reason_text);
    buf_done(&e->text);
}

static void on_writable(void *ctx, struct link *link) {
    struct end *e = ctx;
    assert_ptr_equal(link, e->link);
    e->writable++;
}

static const struct link_callbacks callbacks = {on_open, on_frame, on_close, on_writable};

static void on_accept(void *ctx, struct link *link) {
    struct rig *rig = ctx;
    assert_true(rig->accepted_n < 8);
    if (rig->reject) {
        link_close(link);
        return;
    }
    struct end *e = &rig->accepted[rig->accepted_n++];
    e->link = link;
    e->establish = rig->establish;
    buf_init(&e->text, 1 << 20);
    link_set_context(link, &callbacks, e);
    assert_ptr_equal(link_context(link), e);
}

static void on_failed(void *ctx, const struct address *peer, const struct err *err) {
    struct rig *rig = ctx;
    assert_string_equal(peer->host, "127.0.0.1");
    rig->failed++;
    (void)memcpy(rig->failed_text, err->text, sizeof rig->failed_text);
}

static void on_server_closed(void *ctx) {
    struct rig *rig = ctx;
    rig->server_closed = true;
}

static void rig_open(struct rig *rig, const struct link_server_options *options) {
    struct address any;
    struct err err;
    memset(rig, 0, sizeof *rig);
    test_loop_open(&rig->t);
    link_server_options_default(&rig->options);
    if (options) rig->options = *options;
    rig->options.link.tls = tls_two;
    rig->options.link.tls_peer = (struct tls_expect){.role = TLS_MASTER};
    rig->options.on_failed = on_failed;
    assert_int_equal(address_parse("127.0.0.1:0", 0, ADDRESS_PORT_ZERO, &any, &err), 0);
    assert_int_equal(link_server_open(rig->t.net, &any, &rig->options, on_accept, rig, &rig->server, &err), 0);
}

static void rig_close(struct rig *rig) {
    if (rig->server) link_server_close(rig->server, on_server_closed, rig);
    test_loop_close(&rig->t);
    for (unsigned i = 0; i < rig->accepted_n; i++)
        assert_int_equal(rig->accepted[i].closed, 1);
}

static void end_connect(struct rig *rig, struct end *e, const struct link_options *options) {
    struct err err;
    struct link_options all;
    memset(e, 0, sizeof *e);
    buf_init(&e->text, 1 << 20);
    link_options_default(&all);
    if (options) all = *options;
    if (!all.tls) all.tls = tls_one;
    if (!all.tls_peer.role) all.tls_peer = (struct tls_expect){.role = TLS_MASTER, .node = 2};
    e->link = link_connect(rig->t.net, link_server_address(rig->server), &all, &callbacks, e, &err);
    assert_non_null(e->link);
    assert_int_equal(e->opened + e->closed, 0);
}

static bool is_open(void *ctx) {
    struct end *e = ctx;
    return e->opened > 0;
}
static bool is_closed(void *ctx) {
    struct end *e = ctx;
    return e->closed > 0;
}
static bool has_frames(void *ctx) {
    struct end *e = ctx;
    return e->frames > 0;
}
static bool is_writable(void *ctx) {
    struct end *e = ctx;
    return e->writable > 0;
}

#define UNTIL(rig, so, e) assert_true(test_loop_until(&(rig)->t, so, e, 5000))

static void send_text(struct end *e, enum link_lane lane, uint16_t type, const char *text) {
    assert_int_equal(link_send(e->link, lane, type, text, strlen(text), NULL, 0), 0);
}

static void frames_arrive_whole_and_in_order(void **state) {
    (void)state;
    struct rig rig;
    struct end e;
    struct link_stats stats;
    rig_open(&rig, NULL);
    end_connect(&rig, &e, NULL);
    assert_int_equal(link_send(e.link, LINK_BULK, 1, "x", 1, NULL, 0), ERR_CLOSED); /* not open yet */
    UNTIL(&rig, is_open, &e);
    assert_int_equal(link_send(e.link, LINK_BULK, 1, "a", 1, "b", 1), 0);
    send_text(&e, LINK_BULK, 2, "cd");
    send_text(&e, LINK_BULK, 3, "");
    UNTIL(&rig, has_frames, &rig.accepted[0]);
    assert_int_equal(rig.accepted[0].frames, 3);
    assert_memory_equal(rig.accepted[0].text.data, "abcd", 4);
    assert_string_equal(link_peer(rig.accepted[0].link)->host, "127.0.0.1");
    link_stats(e.link, &stats);
    assert_int_equal(stats.frames_out, 3);
    assert_int_equal(stats.bytes_out, 3 * LINK_HEADER_BYTES + 4);
    link_close(e.link);
    assert_int_equal(e.closed, 0); /* never from inside the call */
    UNTIL(&rig, is_closed, &rig.accepted[0]);
    UNTIL(&rig, is_closed, &e);
    assert_int_equal(e.reason, LINK_LOCAL);
    assert_int_equal(rig.accepted[0].reason, LINK_PEER);
    rig_close(&rig);
}

static struct end *flushed_end;

static void send_and_flush(uv_check_t *check) {
    struct rig *rig = check->data;
    struct link_stats before, after;
    uv_check_stop(check);
    link_stats(flushed_end->link, &before);
    send_text(flushed_end, LINK_BULK, 7, "now");
    link_stats(flushed_end->link, &after);
    assert_int_equal(after.bytes_out, before.bytes_out); /* it waits for the end of a turn */
    net_flush(rig->t.net);
    link_stats(flushed_end->link, &after);
    assert_true(after.bytes_out > before.bytes_out);
}

static void what_is_sent_at_the_end_of_a_turn_need_not_wait_for_the_next(void **state) {
    (void)state;
    struct rig rig;
    struct end e;
    uv_check_t check;
    rig_open(&rig, NULL);
    end_connect(&rig, &e, NULL);
    UNTIL(&rig, is_open, &e);
    flushed_end = &e;
    assert_int_equal(uv_check_init(&rig.t.loop, &check), 0);
    check.data = &rig;
    assert_int_equal(uv_check_start(&check, send_and_flush), 0);
    UNTIL(&rig, has_frames, &rig.accepted[0]);
    assert_memory_equal(rig.accepted[0].text.data, "now", 3);
    uv_close((uv_handle_t *)&check, NULL);
    link_close(e.link);
    UNTIL(&rig, is_closed, &e);
    rig_close(&rig);
}

static void a_last_frame_before_closing_arrives(void **state) {
    (void)state;
    struct rig rig;
    struct end e;
    rig_open(&rig, NULL);
    end_connect(&rig, &e, NULL);
    UNTIL(&rig, is_open, &e);
    send_text(&e, LINK_CONTROL, 9, "you are not one of us");
    link_close(e.link);
    UNTIL(&rig, is_closed, &rig.accepted[0]);
    assert_int_equal(rig.accepted[0].frames, 1);
    rig_close(&rig);
}

static void control_overtakes_bulk_that_waits(void **state) {
    (void)state;
    struct rig rig;
    struct end e;
    struct link_server_options options;
    link_server_options_default(&options);
    options.link.frame_bytes_max_new = 1 << 20;
    rig_open(&rig, &options);
    end_connect(&rig, &e, NULL);
    UNTIL(&rig, is_open, &e);
    char *bulk = calloc(1, 60000);
    for (int i = 0; i < 4; i++)
        assert_int_equal(link_send(e.link, LINK_BULK, 1, bulk, 60000, NULL, 0), 0);
    send_text(&e, LINK_CONTROL, 2, "beat");
    assert_true(link_backlog(e.link) > 240000);
    test_loop_run_ms(&rig.t, 100);
    assert_int_equal(rig.accepted[0].frames, 5);
    assert_int_equal(rig.accepted[0].types[0], 2);
    assert_int_equal(link_backlog(e.link), 0);
    link_close(e.link);
    free(bulk);
    rig_close(&rig);
}

static void a_full_lane_is_busy_and_tells_when_it_has_room(void **state) {
    (void)state;
    struct rig rig;
    struct end e;
    struct link_options options;
    link_options_default(&options);
    options.bulk_bytes_max = 1 << 20;
    options.control_bytes_max = 1000;
    rig_open(&rig, NULL);
    rig.establish = true;
    end_connect(&rig, &e, &options);
    UNTIL(&rig, is_open, &e);
    link_cut(e.link, NET_CUT_OUT);
    char *bulk = calloc(1, 60000);
    int rc = 0, n = 0;
    while (rc == 0 && n++ < 1000)
        rc = link_send(e.link, LINK_BULK, 1, bulk, 60000, NULL, 0);
    assert_int_equal(rc, ERR_BUSY);
    assert_int_equal(n, 18);                /* 17 of 60,016 bytes fit into 1 MiB */
    send_text(&e, LINK_CONTROL, 2, "beat"); /* a lane of its own */
    assert_int_equal(link_send(e.link, LINK_CONTROL, 2, bulk, 1000, NULL, 0), ERR_BUSY);
    assert_int_equal(link_send(e.link, LINK_BULK, 1, bulk, options.frame_bytes_max + 1, NULL, 0), ERR_LIMIT);
    test_loop_run_ms(&rig.t, 20);
    assert_int_equal(e.writable, 0);
    link_cut(e.link, 0);
    UNTIL(&rig, is_writable, &e);
    test_loop_run_ms(&rig.t, 50);
    assert_int_equal(rig.accepted[0].frames, 18);
    assert_int_equal(e.writable, 1);
    link_close_overflow(e.link);
    UNTIL(&rig, is_closed, &e);
    assert_int_equal(e.reason, LINK_OVERFLOW);
    free(bulk);
    rig_close(&rig);
}

static void a_cut_is_silent_and_loses_nothing_when_healed(void **state) {
    (void)state;
    struct rig rig;
    struct end e;
    rig_open(&rig, NULL);
    rig.establish = true;
    end_connect(&rig, &e, NULL);
    UNTIL(&rig, is_open, &e);
    send_text(&e, LINK_BULK, 1, "a");
    UNTIL(&rig, has_frames, &rig.accepted[0]);
    link_cut(rig.accepted[0].link, NET_CUT_IN);
    send_text(&e, LINK_BULK, 1, "b");
    test_loop_run_ms(&rig.t, 50);
    assert_int_equal(rig.accepted[0].frames, 1);
    send_text(&rig.accepted[0], LINK_BULK, 1, "c"); /* the other direction lives */
    UNTIL(&rig, has_frames, &e);
    link_cut(rig.accepted[0].link, 0);
    test_loop_run_ms(&rig.t, 50);
    assert_int_equal(rig.accepted[0].frames, 2);
    link_close(e.link);
    rig_close(&rig);
}

struct filter {
    unsigned cut;
    unsigned asked;
};

static unsigned filter_ask(void *ctx, const char *host) {
    struct filter *f = ctx;
    assert_string_equal(host, "127.0.0.1");
    f->asked++;
    return f->cut;
}

static void a_filter_holds_connections_back_until_it_is_healed(void **state) {
    (void)state;
    struct rig rig;
    struct end e;
    struct filter f = {.cut = NET_CUT_IN | NET_CUT_OUT};
    struct link_options options;
    link_options_default(&options);
    options.connect_timeout_ms = 100;
    rig_open(&rig, NULL);
    net_filter_set(rig.t.net, filter_ask, &f);
    end_connect(&rig, &e, &options);
    UNTIL(&rig, is_closed, &e);
    assert_int_equal(e.reason, LINK_TIMEOUT); /* not refused: a cut cable says nothing */
    assert_int_equal(rig.accepted_n, 0);
    options.connect_timeout_ms = 5000;
    end_connect(&rig, &e, &options);
    test_loop_run_ms(&rig.t, 30);
    f.cut = 0;
    net_filter_apply(rig.t.net);
    UNTIL(&rig, is_open, &e);
    link_close(e.link);
    rig_close(&rig);
}

/* Listens with a plain socket nobody accepts from, or only binds. */
static int plain_socket(struct address *ret, bool listening) {
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    if (listening) assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    address_from_sockaddr((struct sockaddr *)&sa, ret);
    return fd;
}

static void reasons_tell_refused_from_silent_from_unknown(void **state) {
    (void)state;
    struct rig rig;
    struct end e;
    struct err err;
    struct address to;
    struct link_options options;
    rig_open(&rig, NULL);
    int fd = plain_socket(&to, false);
    memset(&e, 0, sizeof e);
    e.link = link_connect(rig.t.net, &to, NULL, &callbacks, &e, &err);
    UNTIL(&rig, is_closed, &e);
    assert_int_equal(e.reason, LINK_REFUSED);
    assert_int_equal(e.opened, 0);
    assert_non_null(strstr(e.reason_text, "connection refused"));
    (void)close(fd);

    fd = plain_socket(&to, true); /* opens, but says nothing */
    link_options_default(&options);
    options.establish_timeout_ms = 50;
    memset(&e, 0, sizeof e);
    e.link = link_connect(rig.t.net, &to, &options, &callbacks, &e, &err);
    UNTIL(&rig, is_closed, &e);
    assert_int_equal(e.opened, 1);
    assert_int_equal(e.reason, LINK_TIMEOUT);
    (void)close(fd);

    memset(&e, 0, sizeof e);
    assert_int_equal(address_parse("no-such-host.invalid:1", 0, 0, &to, &err), 0);
    options.connect_timeout_ms = 0;
    e.link = link_connect(rig.t.net, &to, &options, &callbacks, &e, &err);
    assert_true(test_loop_until(&rig.t, is_closed, &e, 20000));
    assert_int_equal(e.reason, LINK_UNREACHABLE);

    memset(&e, 0, sizeof e); /* closed while resolving: no callback but one */
    e.link = link_connect(rig.t.net, &to, &options, &callbacks, &e, &err);
    link_close(e.link);
    assert_true(test_loop_until(&rig.t, is_closed, &e, 20000));
    assert_int_equal(e.reason, LINK_LOCAL);

    options.bind_host = "not-a-number";
    assert_null(link_connect(rig.t.net, &to, &options, &callbacks, &e, &err));
    rig_close(&rig);
}

static void a_name_is_resolved_and_the_source_address_is_chosen(void **state) {
    (void)state;
    struct rig rig;
    struct end e;
    struct err err;
    struct address to = {.host = "localhost"};
    struct link_options options;
    link_options_default(&options);
    options.bind_host = "127.0.0.77";
    rig_open(&rig, NULL);
    to.port = link_server_address(rig.server)->port;
    memset(&e, 0, sizeof e);
    e.link = link_connect(rig.t.net, &to, NULL, &callbacks, &e, &err);
    UNTIL(&rig, is_open, &e); /* even where ::1 comes first and refuses */
    assert_string_equal(link_peer(e.link)->host, "127.0.0.1");
    link_close(e.link);
    struct end f;
    end_connect(&rig, &f, &options);
    UNTIL(&rig, is_open, &f);
    test_loop_run_ms(&rig.t, 20);
    assert_string_equal(link_peer(rig.accepted[1].link)->host, "127.0.0.77");
    link_close(f.link);
    rig_close(&rig);
}

/* A plain client of the rig's server. */
static int stranger_connect(struct rig *rig) {
    struct sockaddr_storage sa;
    struct err err;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(address_to_sockaddr(link_server_address(rig->server), &sa, &err), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(struct sockaddr_in)), 0);
    return fd;
}

static void strangers_are_shown_the_door(void **state) {
    (void)state;
    struct rig rig;
    uint8_t huge[LINK_HEADER_BYTES], bad[LINK_HEADER_BYTES];
    link_frame_header(huge, 0, 1, NULL, 0, NULL, 0);
    store_u32(huge + 8, 64 * 1024 + 1);
    link_frame_header(bad, 0, 1, NULL, 0, NULL, 0);
    bad[12] ^= 1;
    const void *const words[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", huge, bad};
    static const char *const text[] = {"does not begin with CNLK", "over the limit", "wrong checksum"};
    rig_open(&rig, NULL);
    for (unsigned i = 0; i < 3; i++) {
        int fd = stranger_connect(&rig);
        assert_int_equal(write(fd, words[i], 16), 16);
        UNTIL(&rig, is_closed, &rig.accepted[i]);
        assert_int_equal(rig.accepted[i].reason, LINK_PROTOCOL);
        assert_non_null(strstr(rig.accepted[i].reason_text, text[i]));
        assert_int_equal(rig.accepted[i].frames, 0);
        (void)close(fd);
    }
    rig_close(&rig);
}

static void silent_strangers_are_cut_and_counted(void **state) {
    (void)state;
    struct rig rig;
    struct link_server_options options;
    struct link_server_stats stats;
    link_server_options_default(&options);
    options.link.establish_timeout_ms = 300;
    options.strangers_max = 2;
    rig_open(&rig, &options);
    int fd[4];
    for (int i = 0; i < 4; i++)
        fd[i] = stranger_connect(&rig);
    test_loop_run_ms(&rig.t, 20);
    link_server_stats(rig.server, &stats);
    assert_int_equal(stats.accepted, 2);
    assert_int_equal(stats.refused, 2);
    assert_int_equal(stats.strangers, 2);
    test_loop_run_ms(&rig.t, 400);
    link_server_stats(rig.server, &stats);
    assert_int_equal(stats.strangers, 0);
    assert_int_equal(stats.links, 0);
    assert_int_equal(rig.accepted[0].reason, LINK_TIMEOUT);
    for (int i = 0; i < 4; i++)
        (void)close(fd[i]);

    struct end e; /* who says hello stays, and may send larger frames */
    rig.establish = true;
    end_connect(&rig, &e, NULL);
    UNTIL(&rig, is_open, &e);
    link_established(e.link);
    send_text(&e, LINK_BULK, 1, "hello");
    char *big = calloc(1, 1 << 20);
    test_loop_run_ms(&rig.t, 100);
    assert_int_equal(link_send(e.link, LINK_BULK, 2, big, 1 << 20, NULL, 0), 0);
    test_loop_run_ms(&rig.t, 100);
    assert_int_equal(rig.accepted[2].closed, 0);
    assert_int_equal(rig.accepted[2].bytes, (1 << 20) + 5);
    link_server_stats(rig.server, &stats);
    assert_int_equal(stats.links, 1);
    assert_int_equal(stats.strangers, 0);
    link_close(e.link);
    free(big);
    rig_close(&rig);
}

static void a_link_may_be_closed_from_its_own_callbacks(void **state) {
    (void)state;
    struct rig rig;
    struct end e;
    rig_open(&rig, NULL);
    end_connect(&rig, &e, NULL);
    UNTIL(&rig, is_open, &e);
    test_loop_run_ms(&rig.t, 20);
    rig.accepted[0].close_at_frame = true;
    for (int i = 0; i < 5; i++)
        send_text(&e, LINK_BULK, 1, "x");
    UNTIL(&rig, is_closed, &rig.accepted[0]);
    assert_int_equal(rig.accepted[0].frames, 1);
    UNTIL(&rig, is_closed, &e);
    rig.reject = true; /* and from on_accept, then without on_close */
    end_connect(&rig, &e, NULL);
    UNTIL(&rig, is_closed, &e);
    assert_int_equal(rig.accepted_n, 1);
    rig_close(&rig);
}

static void closing_the_server_closes_its_links(void **state) {
    (void)state;
    struct rig rig;
    struct end e, f;
    rig_open(&rig, NULL);
    end_connect(&rig, &e, NULL);
    end_connect(&rig, &f, NULL);
    UNTIL(&rig, is_open, &e);
    UNTIL(&rig, is_open, &f);
    link_server_close(rig.server, on_server_closed, &rig);
    rig.server = NULL;
    UNTIL(&rig, is_closed, &e);
    UNTIL(&rig, is_closed, &f);
    assert_int_equal(e.reason, LINK_PEER);
    test_loop_run_ms(&rig.t, 10);
    assert_true(rig.server_closed);
    rig_close(&rig);
}

static void a_taken_address_is_a_clear_error(void **state) {
    (void)state;
    struct rig rig;
    struct link_server *server = NULL;
    struct err err;
    rig_open(&rig, NULL);
    assert_int_equal(link_server_open(rig.t.net, link_server_address(rig.server), NULL, on_accept, &rig, &server, &err),
                     ERR_IO);
    assert_null(server);
    assert_non_null(strstr(err.text, "listening on 127.0.0.1:"));
    assert_non_null(strstr(err.text, "address already in use"));
    rig_close(&rig);
}

/* ---- TLS only ---- */

static void accepted_links_are_known_by_certificate(void **state) {
    (void)state;
    struct rig rig;
    struct end e;
    rig_open(&rig, NULL);
    end_connect(&rig, &e, NULL);
    assert_null(link_identity(e.link));
    UNTIL(&rig, is_open, &e);
    assert_int_equal(link_identity(e.link)->node, 2);
    send_text(&e, LINK_BULK, 1, "a");
    UNTIL(&rig, has_frames, &rig.accepted[0]);
    assert_int_equal(link_identity(rig.accepted[0].link)->node, 1);
    assert_int_equal(link_identity(rig.accepted[0].link)->role, TLS_MASTER);
    link_close(e.link);
    rig_close(&rig);
}

static bool has_failed(void *ctx) {
    return ((struct rig *)ctx)->failed > 0;
}

static void a_wrong_certificate_ends_both_sides_with_a_word(void **state) {
    (void)state;
    struct rig rig;
    struct end e;
    struct link_options options;
    link_options_default(&options);
    options.tls_peer = (struct tls_expect){.role = TLS_MASTER, .node = 3};
    rig_open(&rig, NULL);
    end_connect(&rig, &e, &options); /* it is not the one that we mean */
    UNTIL(&rig, is_closed, &e);
    assert_int_equal(e.opened, 0);
    assert_int_equal(e.reason, LINK_TLS);
    assert_non_null(strstr(e.reason_text, "expected was node 3"));
    UNTIL(&rig, has_failed, &rig);
    assert_non_null(strstr(rig.failed_text, "the other side ended it"));
    assert_int_equal(rig.accepted_n, 0);
    rig.failed = 0;
    struct tls_identity agent = tls_who(TLS_AGENT, 0);
    tls_folder_sign(&folder, "agent", &agent, 0);
    link_options_default(&options);
    options.tls = tls_folder_load(&folder, "agent", &agent);
    end_connect(&rig, &e, &options); /* and we are not who may come here */
    UNTIL(&rig, is_closed, &e);
    assert_int_equal(e.reason, LINK_TLS);
    assert_non_null(strstr(e.reason_text, "its log says why"));
    UNTIL(&rig, has_failed, &rig);
    assert_non_null(strstr(rig.failed_text, "expected was a master"));
    assert_int_equal(rig.accepted_n, 0);
    rig_close(&rig);
    tls_close(options.tls);
}

static void tls_and_none_tell_each_other(void **state) {
    (void)state;
    struct rig rig;
    struct end e;
    struct err err;
    rig_open(&rig, NULL);
    memset(&e, 0, sizeof e);
    e.link = link_connect(rig.t.net, link_server_address(rig.server), NULL, &callbacks, &e, &err);
    UNTIL(&rig, is_open, &e); /* without TLS nothing is known before the first frame */
    send_text(&e, LINK_CONTROL, 1, "hello");
    UNTIL(&rig, is_closed, &e);
    assert_int_equal(e.reason, LINK_TLS);
    assert_non_null(strstr(e.reason_text, "the other side speaks TLS, this one does not"));
    UNTIL(&rig, has_failed, &rig);
    assert_non_null(strstr(rig.failed_text, "the other side speaks no TLS"));
    rig_close(&rig);

    struct tls *two = tls_two;
    tls_two = NULL; /* now the server has none */
    rig_open(&rig, NULL);
    tls_two = two;
    end_connect(&rig, &e, NULL);
    UNTIL(&rig, is_closed, &e);
    assert_int_equal(e.reason, LINK_TLS);
    assert_non_null(strstr(e.reason_text, "the other side speaks no TLS"));
    UNTIL(&rig, is_closed, &rig.accepted[0]);
    assert_non_null(strstr(rig.accepted[0].reason_text, "the other side speaks TLS, this one does not"));
    rig_close(&rig);
}

static void handshakes_that_do_not_end_are_cut_and_counted(void **state) {
    (void)state;
    struct rig rig;
    struct end e;
    struct address to;
    struct err err;
    struct link_options options;
    struct link_server_options server;
    struct link_server_stats stats;
    link_server_options_default(&server);
    server.link.establish_timeout_ms = 300;
    server.strangers_max = 2;
    rig_open(&rig, &server);
    int fd[4];
    for (int i = 0; i < 4; i++) {
        fd[i] = stranger_connect(&rig);
        if (i % 2) assert_int_equal(write(fd[i], "\x16\x03\x01\x01", 4), 4); /* the beginning of a hello */
    }
    test_loop_run_ms(&rig.t, 30);
    link_server_stats(rig.server, &stats);
    assert_int_equal(stats.strangers, 2);
    assert_int_equal(stats.refused, 2);
    assert_int_equal(stats.accepted, 0);
    test_loop_run_ms(&rig.t, 400);
    link_server_stats(rig.server, &stats);
    assert_int_equal(stats.strangers + stats.links, 0);
    assert_int_equal(stats.failed, 2);
    assert_non_null(strstr(rig.failed_text, "no TLS handshake in time"));
    for (int i = 0; i < 4; i++)
        (void)close(fd[i]);

    int silent = plain_socket(&to, true); /* takes connections and says nothing */
    link_options_default(&options);
    options.handshake_timeout_ms = 50;
    options.establish_timeout_ms = 0;
    options.tls = tls_one;
    options.tls_peer.role = TLS_MASTER;
    memset(&e, 0, sizeof e);
    e.link = link_connect(rig.t.net, &to, &options, &callbacks, &e, &err);
    UNTIL(&rig, is_closed, &e);
    assert_int_equal(e.reason, LINK_TIMEOUT);
    assert_int_equal(e.opened, 0);
    (void)close(silent);

    end_connect(&rig, &e, NULL); /* shook hands, and then no hello: the rest of the same time */
    UNTIL(&rig, is_open, &e);
    UNTIL(&rig, is_closed, &rig.accepted[0]);
    assert_int_equal(rig.accepted[0].reason, LINK_TIMEOUT);
    rig_close(&rig);
}

static int plain_tests(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_arrive_whole_and_in_order),
        cmocka_unit_test(what_is_sent_at_the_end_of_a_turn_need_not_wait_for_the_next),
        cmocka_unit_test(a_last_frame_before_closing_arrives),
        cmocka_unit_test(control_overtakes_bulk_that_waits),
        cmocka_unit_test(a_full_lane_is_busy_and_tells_when_it_has_room),
        cmocka_unit_test(a_cut_is_silent_and_loses_nothing_when_healed),
        cmocka_unit_test(a_filter_holds_connections_back_until_it_is_healed),
        cmocka_unit_test(reasons_tell_refused_from_silent_from_unknown),
        cmocka_unit_test(a_name_is_resolved_and_the_source_address_is_chosen),
        cmocka_unit_test(strangers_are_shown_the_door),
        cmocka_unit_test(silent_strangers_are_cut_and_counted),
        cmocka_unit_test(a_link_may_be_closed_from_its_own_callbacks),
        cmocka_unit_test(closing_the_server_closes_its_links),
        cmocka_unit_test(a_taken_address_is_a_clear_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

static int tls_tests(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_arrive_whole_and_in_order),
        cmocka_unit_test(what_is_sent_at_the_end_of_a_turn_need_not_wait_for_the_next),
        cmocka_unit_test(a_last_frame_before_closing_arrives),
        cmocka_unit_test(control_overtakes_bulk_that_waits),
        cmocka_unit_test(a_full_lane_is_busy_and_tells_when_it_has_room),
        cmocka_unit_test(a_cut_is_silent_and_loses_nothing_when_healed),
        cmocka_unit_test(a_filter_holds_connections_back_until_it_is_healed),
        cmocka_unit_test(a_link_may_be_closed_from_its_own_callbacks),
        cmocka_unit_test(closing_the_server_closes_its_links),
        cmocka_unit_test(accepted_links_are_known_by_certificate),
        cmocka_unit_test(a_wrong_certificate_ends_both_sides_with_a_word),
        cmocka_unit_test(tls_and_none_tell_each_other),
        cmocka_unit_test(handshakes_that_do_not_end_are_cut_and_counted),
    };
    struct tls_identity one = tls_who(TLS_MASTER, 1), two = tls_who(TLS_MASTER, 2);
    tls_folder_open(&folder);
    tls_folder_sign(&folder, "one", &one, 0);
    tls_folder_sign(&folder, "two", &two, 0);
    tls_one = tls_folder_load(&folder, "one", &one);
    tls_two = tls_folder_load(&folder, "two", &two);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    tls_close(tls_one);
    tls_close(tls_two);
    tls_folder_close(&folder);
    return rc;
}

int main(int argc, char **argv) {
    return argc > 1 && !strcmp(argv[1], "tls") ? tls_tests() : plain_tests();
}
