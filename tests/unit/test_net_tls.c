/* SPDX-License-Identifier: Apache-2.0
 * TLS without sockets: identities, files, handshakes between two engines, and everybody who must not get in. */
#include "../lib/cmocka_all.h"

#include <openssl/ssl.h>
#include <sys/stat.h>

#include "base/rng.h"
#include "net/tls_conn.h"
#include "tls_files.h"

/* ---- identities and files ---- */

static void an_identity_has_one_form(void **state) {
    (void)state;
    static const char *const good[] = {"conclave://c04c0102030405060708090a0b0c0d0e/master/1",
                                       "conclave://c04c0102030405060708090a0b0c0d0e/master/9000000000000000001",
                                       "conclave://c04c0102030405060708090a0b0c0d0e/agent"};
    static const char *const bad[] = {"",
                                      "conclave://",
                                      "conclave://c04c0102030405060708090a0b0c0d0e",
                                      "conclave://c04c0102030405060708090a0b0c0d0e/",
                                      "conclave://c04c0102030405060708090a0b0c0d0e/agent/",
                                      "conclave://c04c0102030405060708090a0b0c0d0e/agent/1",
                                      "conclave://c04c0102030405060708090a0b0c0d0e/master",
                                      "conclave://c04c0102030405060708090a0b0c0d0e/master/",
                                      "conclave://c04c0102030405060708090a0b0c0d0e/master/0",
                                      "conclave://c04c0102030405060708090a0b0c0d0e/master/01",
                                      "conclave://c04c0102030405060708090a0b0c0d0e/master/1x",
                                      "conclave://c04c0102030405060708090a0b0c0d0e/master/90000000000000000001",
                                      "conclave://C04C0102030405060708090A0B0C0D0E/agent",
                                      "conclave://c04c0102030405060708090a0b0c0d0/agent",
                                      "conclave://c04c0102030405060708090a0b0c0d0e0/agent",
                                      "Conclave://c04c0102030405060708090a0b0c0d0e/agent",
                                      "http://c04c0102030405060708090a0b0c0d0e/agent"};
    char text[TLS_URI_MAX];
    struct tls_identity id;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(tls_identity_parse(good[i], strlen(good[i]), &id), 0);
        assert_string_equal(tls_identity_format(&id, text), good[i]);
        assert_memory_equal(id.cluster_id, tls_cluster, 16);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (tls_identity_parse(bad[i], strlen(bad[i]), &id) != ERR_PARSE) fail_msg("taken: %s", bad[i]);
    assert_int_equal(tls_identity_parse(good[2], strlen(good[2]) + 1, &id), ERR_PARSE); /* a NUL inside */
}

static void expect_refused(const struct tls_files *files, const struct tls_identity *self, int code, const char *text) {
    struct tls *tls = NULL;
    struct err err = {0};
    assert_int_equal(tls_open(files, self, &tls, &err), code);
    assert_null(tls);
    if (!strstr(err.text, text)) fail_msg("'%s' does not say '%s'", err.text, text);
}

static void files_that_do_not_fit_are_refused_by_name(void **state) {
    (void)state;
    struct tls_folder f, other;
    struct tls_identity m1 = tls_who(TLS_MASTER, 1), m2 = tls_who(TLS_MASTER, 2), agent = tls_who(TLS_AGENT, 0);
    struct tls_identity foreign = m1;
    struct tls *tls = NULL;
    struct err err = {0};
    foreign.cluster_id[0] = 1;
    tls_folder_open(&f);
    tls_folder_open(&other);
    tls_folder_sign(&f, "m1", &m1, 0);
    tls_folder_sign(&f, "agent", &agent, 0);
    tls_folder_sign(&f, "old", &m1, 11 * 86400);
    tls_folder_sign(&f, "early", &m1, -86400);

    struct tls_files files = {0};
    assert_int_equal(tls_open(&files, &m1, &tls, &err), 0); /* none: no TLS */
    assert_null(tls);
    files = tls_folder_files(&f, &f, "m1", 0);
    assert_int_equal(tls_open(&files, &m1, &tls, &err), 0);
    assert_int_equal(tls_self(tls)->node, 1);
    struct tls_stats stats;
    tls_stats(tls, &stats);
    assert_in_range(stats.expires_s, 9 * 86400, 10 * 86400);
    tls_close(tls);
    expect_refused(&(struct tls_files){.ca = files.ca, .key = files.key}, &m1, ERR_INVALID, "go together");
    expect_refused(&files, &m2, ERR_INVALID, "/master/1, this is node 2");
    expect_refused(&files, &agent, ERR_INVALID, "this is a agent");
    expect_refused(&files, &foreign, ERR_INVALID, "which is another cluster");
    files = tls_folder_files(&f, &f, "old", 0);
    expect_refused(&files, &m1, ERR_INVALID, "certificate has expired");
    files = tls_folder_files(&f, &f, "early", 0);
    expect_refused(&files, &m1, ERR_INVALID, "certificate is not yet valid");
    files = tls_folder_files(&f, &other, "m1", 0);
    expect_refused(&files, &m1, ERR_INVALID, "unable to get local issuer certificate");
    files = tls_folder_files(&f, &f, "nobody", 0);
    expect_refused(&files, &m1, ERR_NOT_FOUND, "nobody.pem");
    struct tls_files a = tls_folder_files(&f, &f, "m1", 0), b = tls_folder_files(&f, &f, "agent", 1);
    expect_refused(&(struct tls_files){a.ca, a.cert, b.key}, &m1, ERR_INVALID, "is not the key of");
    expect_refused(&(struct tls_files){a.cert, a.cert, a.key}, &m1, ERR_INVALID, "is not a CA's");
    expect_refused(&(struct tls_files){a.key, a.cert, a.key}, &m1, ERR_INVALID, "no PEM certificate");
    expect_refused(&(struct tls_files){a.ca, a.ca, b.key}, &m1, ERR_INVALID, "is not the key of");
    expect_refused(&(struct tls_files){f.dir, a.cert, a.key}, &m1, ERR_INVALID, "is not a file");
    assert_int_equal(chmod(a.key, 0644), 0);
    expect_refused(&a, &m1, ERR_INVALID, "chmod 600");
    assert_int_equal(chmod(a.key, 0640), 0); /* a group of its owner's choice may read */
    assert_int_equal(tls_open(&a, &m1, &tls, &err), 0);
    tls_close(tls);
    tls_folder_close(&f);
    tls_folder_close(&other);
}

static void making_does_not_replace_and_wants_a_ca(void **state) {
    (void)state;
    struct tls_folder f;
    struct err err;
    struct stat st;
    char path[128];
    struct tls_cert_info info;
    struct tls_identity m1 = tls_who(TLS_MASTER, 1);
    tls_folder_open(&f);
    struct tls_cert_request r = {.dir = f.dir, .name = "m1", .days = 10};
    assert_int_equal(tls_cert_ca(&r, &err), ERR_EXISTS);
    assert_int_equal(tls_cert_sign(&r, &m1, &err), 0);
    assert_int_equal(tls_cert_sign(&r, &m1, &err), ERR_EXISTS);
    (void)snprintf(path, sizeof path, "%s/m1.key", f.dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    (void)snprintf(path, sizeof path, "%s/m1.pem", f.dir);
    assert_int_equal(tls_cert_info(path, &info, &err), 0);
    assert_string_equal(info.identity, "conclave://c04c0102030405060708090a0b0c0d0e/master/1");
    assert_false(info.ca);
    assert_int_equal(tls_cert_sign(&(struct tls_cert_request){.dir = f.dir, .name = "../x", .days = 1}, &m1, &err),
                     ERR_INVALID);
    assert_int_equal(tls_cert_sign(&(struct tls_cert_request){.dir = f.dir, .name = "x", .days = 0}, &m1, &err),
                     ERR_INVALID);
    assert_int_equal(tls_cert_sign(&(struct tls_cert_request){.dir = "/nowhere", .name = "x", .days = 1}, &m1, &err),
                     ERR_NOT_FOUND);
    tls_folder_close(&f);
}

/* ---- two engines ---- */

struct side {
    struct tls_conn *conn;
    struct buf out, got;
    int rc;
    struct err err;
};

static bool on_plain(void *ctx, const uint8_t *data, size_t len) {
    struct side *s = ctx;
    assert_int_equal(buf_append(&s->got, data, len), 0);
    return true;
}

static void side_open(struct side *s, struct tls *tls, bool accepted, enum tls_role role, uint64_t node) {
    const struct tls_expect expect = {.role = role, .node = node};
    *s = (struct side){.conn = tls_conn_new(tls, accepted, &expect)};
    assert_non_null(s->conn);
    buf_init(&s->out, 16u << 20);
    buf_init(&s->got, 16u << 20);
}

static void side_close(struct side *s) {
    tls_conn_free(s->conn);
    buf_done(&s->out);
    buf_done(&s->got);
}

/* Carries what `from` wants to send to `to`, in pieces of at most `piece` bytes. */
static void carry(struct side *from, struct side *to, size_t piece) {
    struct buf moving = from->out;
    buf_init(&from->out, 16u << 20);
    for (size_t at = 0; at < moving.len && to->rc == 0; at += piece) {
        size_t len = moving.len - at < piece ? moving.len - at : piece;
        to->rc = tls_conn_in(to->conn, moving.data + at, len, &to->out, on_plain, to, &to->err);
    }
    buf_done(&moving);
}

static void shake(struct side *client, struct side *server, size_t piece) {
    assert_int_equal(tls_conn_start(client->conn, &client->out, &client->err), 0);
    for (int i = 0; i < 4; i++) {
        carry(client, server, piece);
        carry(server, client, piece);
    }
}

static void two_masters_know_each_other_and_exchange_bytes(void **state) {
    (void)state;
    struct tls_folder f;
    struct side client, server;
    struct tls_identity m1 = tls_who(TLS_MASTER, 1), m2 = tls_who(TLS_MASTER, 2);
    tls_folder_open(&f);
    tls_folder_sign(&f, "m1", &m1, 0);
    tls_folder_sign(&f, "m2", &m2, 0);
    struct tls *a = tls_folder_load(&f, "m1", &m1), *b = tls_folder_load(&f, "m2", &m2);
    static const size_t pieces[] = {1, 7, 4096, SIZE_MAX / 2};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        side_open(&client, a, false, TLS_MASTER, 2);
        side_open(&server, b, true, TLS_MASTER, 0);
        shake(&client, &server, pieces[i]);
        assert_int_equal(client.rc, 0);
        assert_int_equal(server.rc, 0);
        assert_true(tls_conn_ready(client.conn) && tls_conn_ready(server.conn));
        assert_int_equal(tls_conn_peer(server.conn)->node, 1);
        assert_int_equal(tls_conn_peer(client.conn)->node, 2);
        size_t len = pieces[i] == 1 ? 70000 : 1000003;
        uint8_t *text = malloc(len);
        random_bytes(text, len);
        assert_int_equal(tls_conn_out(client.conn, text, len, &client.out, &client.err), 0);
        assert_int_equal(tls_conn_out(server.conn, text, 1, &server.out, &server.err), 0);
        assert_null(memmem(client.out.data, client.out.len, text, 64));
        carry(&client, &server, pieces[i]);
        carry(&server, &client, pieces[i]);
        assert_int_equal(server.got.len, len);
        assert_memory_equal(server.got.data, text, len);
        assert_int_equal(client.got.len, 1);
        free(text);
        side_close(&client);
        side_close(&server);
    }
    struct tls_stats stats;
    tls_stats(b, &stats);
    assert_int_equal(stats.handshakes, 4);
    assert_int_equal(stats.handshake_errors, 0);
    tls_close(a);
    tls_close(b);
    tls_folder_close(&f);
}

/* A client with `name` of `from`, which believes `from`'s CA, at a master of `f` that expects a role; and the texts. */
struct stranger {
    const struct tls_folder *from;
    const char *name;
    struct tls_identity who;
    enum tls_role server_wants, client_wants;
    uint64_t client_wants_node;
    const char *server_says, *client_says; /* NULL: nothing is wrong for it */
};

static void try_stranger(struct tls *master, const struct stranger *s) {
    struct side client, server;
    struct tls *tls = tls_folder_load(s->from, s->name, &s->who);
    side_open(&client, tls, false, s->client_wants, s->client_wants_node);
    side_open(&server, master, true, s->server_wants, 0);
    shake(&client, &server, SIZE_MAX / 2);
    if (s->server_says) {
        assert_int_equal(server.rc, ERR_FORBIDDEN);
        assert_false(tls_conn_ready(server.conn));
        if (!strstr(server.err.text, s->server_says)) fail_msg("%s: server: %s", s->name, server.err.text);
    }
    if (s->client_says) {
        assert_int_equal(client.rc, ERR_FORBIDDEN);
        if (!strstr(client.err.text, s->client_says)) fail_msg("%s: client: %s", s->name, client.err.text);
    }
    assert_int_equal(server.got.len, 0);
    side_close(&client);
    side_close(&server);
    tls_close(tls);
}

static void strangers_do_not_get_in_and_are_told(void **state) {
    (void)state;
    struct tls_folder f, other;
    struct tls_identity m1 = tls_who(TLS_MASTER, 1), m2 = tls_who(TLS_MASTER, 2), agent = tls_who(TLS_AGENT, 0);
    struct tls_identity foreign = m2;
    foreign.cluster_id[15] ^= 1;
    tls_folder_open(&f);
    tls_folder_open(&other);
    tls_folder_sign(&f, "m1", &m1, 0);
    tls_folder_sign(&f, "m2", &m2, 0);
    tls_folder_sign(&f, "agent", &agent, 0);
    tls_folder_sign(&f, "foreign", &foreign, 0);
    tls_folder_sign(&other, "m2", &m2, 0);
    struct tls *master = tls_folder_load(&f, "m1", &m1);
    static const char told[] = "the other side ended it";
    const struct stranger strangers[] = {
        {&other, "m2", m2, TLS_MASTER, TLS_MASTER, 1, "ended it", "unable to get local issuer certificate"},
        {&f, "foreign", foreign, TLS_MASTER, TLS_MASTER, 1, told, "which is another cluster"},
        {&f, "agent", agent, TLS_MASTER, TLS_MASTER, 0, "expected was a master", told},
        {&f, "m2", m2, TLS_AGENT, TLS_MASTER, 0, "expected was a agent", told},
        {&f, "m2", m2, TLS_MASTER, TLS_MASTER, 3, told, "expected was node 3"},
        {&f, "m2", m2, TLS_MASTER, TLS_AGENT, 0, told, "expected was a agent"},
    };
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++)
        try_stranger(master, &strangers[i]);
    struct tls_stats stats;
    tls_stats(master, &stats);
    assert_int_equal(stats.handshakes, 0);
    assert_int_equal(stats.handshake_errors, 6);
    tls_close(master);
    tls_folder_close(&f);
    tls_folder_close(&other);
}

/* What only a foreign program would do: our contexts refuse to be opened so. */
struct foreign {
    const char *what;
    int version; /* greatest */
    const char *cert, *key;
    const char *says;
};

static void try_foreign(struct tls *master, const struct foreign *fo) {
    struct side server;
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    assert_non_null(context);
    assert_int_equal(SSL_CTX_set_max_proto_version(context, fo->version), 1);
    if (fo->cert) {
        assert_int_equal(SSL_CTX_use_certificate_file(context, fo->cert, SSL_FILETYPE_PEM), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey_file(context, fo->key, SSL_FILETYPE_PEM), 1);
    }
    SSL *ssl = SSL_new(context);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, out);
    SSL_set_connect_state(ssl);
    side_open(&server, master, true, TLS_MASTER, 0);
    for (int i = 0; i < 4 && server.rc == 0; i++) {
        uint8_t bytes[65536];
        (void)SSL_do_handshake(ssl);
        int n = BIO_read(out, bytes, sizeof bytes);
        if (n > 0) server.rc = tls_conn_in(server.conn, bytes, (size_t)n, &server.out, on_plain, &server, &server.err);
        (void)BIO_write(in, server.out.data, (int)server.out.len);
        buf_clear(&server.out);
    }
    if (server.rc == 0 || tls_conn_ready(server.conn) || !strstr(server.err.text, fo->says))
        fail_msg("%s: %s", fo->what, server.err.text);
    SSL_free(ssl);
    SSL_CTX_free(context);
    side_close(&server);
}

static void foreign_programs_do_not_get_in(void **state) {
    (void)state;
    struct tls_folder f;
    struct tls_identity m1 = tls_who(TLS_MASTER, 1), m2 = tls_who(TLS_MASTER, 2);
    tls_folder_open(&f);
    tls_folder_sign(&f, "m1", &m1, 0);
    tls_folder_sign(&f, "m2", &m2, 0);
    tls_folder_sign(&f, "old", &m2, 11 * 86400);
    struct tls *master = tls_folder_load(&f, "m1", &m1);
    struct tls_files good = tls_folder_files(&f, &f, "m2", 0), old = tls_folder_files(&f, &f, "old", 1);
    char ca_key[128];
    (void)snprintf(ca_key, sizeof ca_key, "%s/ca.key", f.dir);
    const struct foreign all[] = {
        {"TLS 1.2", TLS1_2_VERSION, good.cert, good.key, "unsupported protocol"},
        {"no certificate", TLS1_3_VERSION, NULL, NULL, "did not return a certificate"},
        {"an expired one", TLS1_3_VERSION, old.cert, old.key, "certificate has expired"},
        {"one without an identity", TLS1_3_VERSION, good.ca, ca_key, "refused"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        try_foreign(master, &all[i]);
    tls_close(master);
    tls_folder_close(&f);
}

static int feed(struct tls *tls, const uint8_t *data, size_t len, struct err *err) {
    struct side server;
    side_open(&server, tls, true, TLS_MASTER, 0);
    int rc = tls_conn_in(server.conn, data, len, &server.out, on_plain, &server, &server.err);
    *err = server.err;
    assert_false(tls_conn_ready(server.conn));
    assert_int_equal(server.got.len, 0);
    assert_true(server.out.len < 1024); /* an alert at most */
    side_close(&server);
    return rc;
}

static void garbage_ends_it_without_memory_or_patience(void **state) {
    (void)state;
    struct tls_folder f;
    struct err err;
    struct side server;
    struct tls_identity m1 = tls_who(TLS_MASTER, 1);
    tls_folder_open(&f);
    tls_folder_sign(&f, "m1", &m1, 0);
    struct tls *tls = tls_folder_load(&f, "m1", &m1);
    static const char http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_int_equal(feed(tls, (const uint8_t *)http, sizeof http - 1, &err), ERR_PARSE);
    static const uint8_t oversized[] = {22, 3, 1, 0xff, 0xff, 1}, plain_data[] = {23, 3, 3, 0, 1, 'x'};
    static const uint8_t alert[] = {21, 3, 3, 0, 2, 2, 40}, empty[] = {22, 3, 1, 0, 0};
    assert_int_equal(feed(tls, oversized, sizeof oversized, &err), ERR_PARSE);
    assert_int_equal(feed(tls, plain_data, sizeof plain_data, &err), ERR_PARSE);
    assert_int_equal(feed(tls, alert, sizeof alert, &err), ERR_PARSE);
    assert_int_equal(feed(tls, empty, sizeof empty, &err),
                     0); /* says nothing yet; the time and the bytes are counted */
    /* a hello that goes on and on: 16 KiB records of one handshake message of 16 MiB - 1 */
    uint8_t *record = calloc(1, 5 + 16384);
    memcpy(record, "\x16\x03\x01\x40\x00\x01\xff\xff\xff", 9);
    side_open(&server, tls, true, TLS_MASTER, 0);
    int n = 0;
    while (server.rc == 0 && n++ < 100)
        server.rc = tls_conn_in(server.conn, record, 5 + 16384, &server.out, on_plain, &server, &server.err);
    assert_true(server.rc != 0 && n < 8);
    side_close(&server);
    free(record);
    struct rng rng;
    rng_seed(&rng, 20261128);
    for (int i = 0; i < 300; i++) {
        uint8_t bytes[512];
        size_t len = 1 + rng_below(&rng, sizeof bytes);
        for (size_t k = 0; k < len; k++)
            bytes[k] = (uint8_t)rng_next(&rng);
        if (i % 2) memcpy(bytes, "\x16\x03\x01", len < 3 ? len : 3);
        (void)feed(tls, bytes, len, &err);
    }
    tls_close(tls);
    tls_folder_close(&f);
}

/* Any flipped bit of what travels after the handshake is noticed before a byte of that record is believed. */
static void changed_bytes_are_noticed(void **state) {
    (void)state;
    struct tls_folder f;
    struct side client, server;
    struct tls_identity m1 = tls_who(TLS_MASTER, 1), m2 = tls_who(TLS_MASTER, 2);
    tls_folder_open(&f);
    tls_folder_sign(&f, "m1", &m1, 0);
    tls_folder_sign(&f, "m2", &m2, 0);
    struct tls *a = tls_folder_load(&f, "m1", &m1), *b = tls_folder_load(&f, "m2", &m2);
    for (size_t at = 0; at < 40; at++) {
        side_open(&client, a, false, TLS_MASTER, 2);
        side_open(&server, b, true, TLS_MASTER, 0);
        shake(&client, &server, SIZE_MAX / 2);
        assert_int_equal(tls_conn_out(client.conn, (const uint8_t *)"sixteen letters!", 16, &client.out, &client.err),
                         0);
        assert_true(client.out.len < 40 || at < client.out.len);
        if (at >= client.out.len) at = 39;
        client.out.data[at < client.out.len ? at : 0] ^= 0x10;
        carry(&client, &server, SIZE_MAX / 2);
        assert_int_equal(server.got.len, 0);
        if (at >= 5 || at == 0) assert_int_equal(server.rc, ERR_PARSE); /* in a length it may wait for more */
        side_close(&client);
        side_close(&server);
    }
    tls_close(a);
    tls_close(b);
    tls_folder_close(&f);
}

static void new_files_are_noticed_and_bad_ones_change_nothing(void **state) {
    (void)state;
    struct tls_folder f;
    struct side client, server;
    struct tls_stats stats;
    struct tls_identity m1 = tls_who(TLS_MASTER, 1), m2 = tls_who(TLS_MASTER, 2);
    tls_folder_open(&f);
    tls_folder_sign(&f, "m1", &m1, 9 * 86400); /* one day left */
    tls_folder_sign(&f, "m2", &m2, 0);
    struct tls *a = tls_folder_load(&f, "m1", &m1), *b = tls_folder_load(&f, "m2", &m2);
    tls_stats(a, &stats);
    assert_true(stats.expires_s < 86500);
    side_open(&client, a, false, TLS_MASTER, 2);
    side_open(&server, b, true, TLS_MASTER, 0);
    shake(&client, &server, SIZE_MAX / 2);

    tls_poll(a, 1000000, false); /* nothing has changed */
    tls_folder_sign(&f, "m1", &m1, 0);
    tls_poll(a, 1000000 + TLS_POLL_MS - 1, false); /* too early to look */
    tls_stats(a, &stats);
    assert_int_equal(stats.reloads, 0);
    tls_poll(a, 1000000 + TLS_POLL_MS, false);
    tls_stats(a, &stats);
    assert_int_equal(stats.reloads, 1);
    assert_true(stats.expires_s > 9 * 86400);

    struct tls_files files = tls_folder_files(&f, &f, "m1", 0);
    FILE *bad = fopen(files.cert, "w"); /* a slip of the hand */
    assert_non_null(bad);
    (void)fclose(bad);
    tls_poll(a, 2000000, true);
    tls_folder_sign(&f, "m1", &m2, 0); /* somebody else's */
    tls_poll(a, 2000000, true);
    tls_stats(a, &stats);
    assert_int_equal(stats.reloads, 1);
    assert_int_equal(stats.reload_errors, 2);
    assert_int_equal(tls_self(a)->node, 1);

    /* a connection that stands goes on, and new ones have the certificate before */
    assert_int_equal(tls_conn_out(client.conn, (const uint8_t *)"x", 1, &client.out, &client.err), 0);
    carry(&client, &server, SIZE_MAX / 2);
    assert_int_equal(server.got.len, 1);
    side_close(&client);
    side_close(&server);
    side_open(&client, a, false, TLS_MASTER, 2);
    side_open(&server, b, true, TLS_MASTER, 0);
    shake(&client, &server, SIZE_MAX / 2);
    assert_true(tls_conn_ready(server.conn));
    side_close(&client);
    side_close(&server);
    tls_poll(NULL, 0, true);
    tls_close(NULL);
    tls_close(a);
    tls_close(b);
    tls_folder_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_identity_has_one_form),
        cmocka_unit_test(files_that_do_not_fit_are_refused_by_name),
        cmocka_unit_test(making_does_not_replace_and_wants_a_ca),
        cmocka_unit_test(two_masters_know_each_other_and_exchange_bytes),
        cmocka_unit_test(strangers_do_not_get_in_and_are_told),
        cmocka_unit_test(foreign_programs_do_not_get_in),
        cmocka_unit_test(garbage_ends_it_without_memory_or_patience),
        cmocka_unit_test(changed_bytes_are_noticed),
        cmocka_unit_test(new_files_are_noticed_and_bad_ones_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
