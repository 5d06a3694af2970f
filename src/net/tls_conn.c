/* SPDX-License-Identifier: Apache-2.0
 * See tls_conn.h. OpenSSL reads and writes through a BIO of our own: it reads straight from the bytes that were just
 * received and appends straight to the caller's buffer, so nothing is copied twice and no buffer of OpenSSL's grows. */
#include "net/tls_conn.h"

#include <inttypes.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "net/tls_private.h"

#define PLAIN_BYTES     16384 /* of one record */
#define RECORD_OVERHEAD 32    /* header, type and tag of one: 22 */

struct tls_conn {
    struct tls *tls; /* counts only; the context is held by `ssl` */
    SSL *ssl;
    struct tls_expect expect;
    struct tls_identity peer;
    bool accepted, ready, failed;
    size_t handshake_bytes;
    const uint8_t *in; /* received, not yet read; valid inside tls_conn_in only */
    size_t in_len;
    struct buf *out;    /* of the call under way */
    struct err refusal; /* why the verify callback refused the other certificate */
};

/* ---- the BIO ---- */

static int bio_read(BIO *bio, char *to, int size) {
    struct tls_conn *c = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (c->in_len == 0 || size <= 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t n = c->in_len < (size_t)size ? c->in_len : (size_t)size;
    memcpy(to, c->in, n);
    c->in += n;
    c->in_len -= n;
    return (int)n;
}

static int bio_write(BIO *bio, const char *from, int size) {
    struct tls_conn *c = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (!c->out || size <= 0) return -1;
    return buf_append(c->out, from, (size_t)size) == 0 ? size : -1;
}

static long bio_ctrl(BIO *bio, int what, long number, void *pointer) {
    (void)bio, (void)number, (void)pointer;
    return what == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio) {
    BIO_set_init(bio, 1);
    return 1;
}

static BIO_METHOD *bio_method(void) {
    static BIO_METHOD *method; /* for the life of the process */
    if (method) return method;
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "conclave");
    CHECK(method);
    CHECK(BIO_meth_set_read(method, bio_read) && BIO_meth_set_write(method, bio_write) &&
          BIO_meth_set_ctrl(method, bio_ctrl) && BIO_meth_set_create(method, bio_create));
    return method;
}

/* ---- who it is ---- */

static int identity_check(const struct tls_conn *c, const struct tls_identity *peer, struct err *err) {
    char text[TLS_URI_MAX];
    (void)tls_identity_format(peer, text);
    if (memcmp(peer->cluster_id, c->tls->self.cluster_id, sizeof peer->cluster_id) != 0)
        return err_set(err, ERR_FORBIDDEN, "its certificate is for %s, which is another cluster", text);
    if (peer->role != c->expect.role)
        return err_set(err, ERR_FORBIDDEN, "its certificate is for %s, expected was a %s", text,
                       tls_role_name(c->expect.role));
    if (c->expect.node && peer->node != c->expect.node)
        return err_set(err, ERR_FORBIDDEN, "its certificate is for %s, expected was node %" PRIu64, text,
                       c->expect.node);
    return 0;
}

int tls_conn_verify(int good, X509_STORE_CTX *store) {
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_conn *c = SSL_get_app_data(ssl);
    if (!good) {
        (void)err_set(&c->refusal, ERR_FORBIDDEN, "its certificate is refused: %s",
                      X509_verify_cert_error_string(X509_STORE_CTX_get_error(store)));
        return 0;
    }
    if (X509_STORE_CTX_get_error_depth(store) != 0) return 1;
    struct tls_identity peer;
    int rc = tls_certificate_identity(X509_STORE_CTX_get_current_cert(store), &peer, &c->refusal);
    if (rc == 0) rc = identity_check(c, &peer, &c->refusal);
    if (rc == 0) {
        c->peer = peer;
        return 1;
    }
    X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
    return 0;
}

/* ---- life ---- */

struct tls_conn *tls_conn_new(struct tls *tls, bool accepted, const struct tls_expect *expect) {
    struct tls_conn *c = calloc(1, sizeof *c);
    BIO *bio = c ? BIO_new(bio_method()) : NULL;
    if (bio) c->ssl = SSL_new(tls->context);
    if (!bio || !c->ssl) {
        BIO_free(bio);
        free(c);
        return NULL;
    }
    c->tls = tls;
    c->accepted = accepted;
    c->expect = *expect;
    BIO_set_data(bio, c);
    SSL_set_bio(c->ssl, bio, bio);
    SSL_set_app_data(c->ssl, c);
    if (accepted)
        SSL_set_accept_state(c->ssl);
    else
        SSL_set_connect_state(c->ssl);
    return c;
}

void tls_conn_free(struct tls_conn *c) {
    if (!c) return;
    SSL_free(c->ssl);
    free(c);
}

bool tls_conn_ready(const struct tls_conn *c) {
    return c->ready;
}

const struct tls_identity *tls_conn_peer(const struct tls_conn *c) {
    return &c->peer;
}

bool tls_bytes_are_tls(const uint8_t *data, size_t len) {
    return len > 0 && data[0] >= 20 && data[0] <= 23 && (len < 2 || data[1] == 3);
}

/* ---- bytes ---- */

/* Why OpenSSL gave up, as an error of ours. */
static int failure(struct tls_conn *c, struct err *err) {
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_REASON(code);
    bool told = code && reason > SSL_AD_REASON_OFFSET; /* an alert: the other side gave up */
    const char *text = code ? ERR_reason_error_string(code) : NULL;
    if (!c->failed && !c->ready) c->tls->stats.handshake_errors++;
    c->failed = true;
    ERR_clear_error();
    if (c->refusal.code) return err_set(err, ERR_FORBIDDEN, "TLS: %s", c->refusal.text);
    if (told)
        return err_set(err, ERR_FORBIDDEN, "TLS: the other side ended it (%s); its log says why", text ? text : "?");
    return err_set(err, ERR_PARSE, "TLS: %s", text ? text : "broken");
}

static int handshake(struct tls_conn *c, struct err *err) {
    ERR_clear_error();
    int rc = SSL_do_handshake(c->ssl);
    if (rc == 1) {
        c->ready = true;
        c->tls->stats.handshakes++;
        return 0;
    }
    return SSL_get_error(c->ssl, rc) == SSL_ERROR_WANT_READ ? 0 : failure(c, err);
}

int tls_conn_start(struct tls_conn *c, struct buf *out, struct err *err) {
    c->out = out;
    int rc = handshake(c, err);
    c->out = NULL;
    return rc;
}

static int decrypt(struct tls_conn *c, bool (*plain)(void *ctx, const uint8_t *data, size_t len), void *ctx,
                   struct err *err) {
    uint8_t bytes[PLAIN_BYTES];
    for (;;) {
        size_t n = 0;
        ERR_clear_error();
        int rc = SSL_read_ex(c->ssl, bytes, sizeof bytes, &n);
        if (rc != 1) {
            int why = SSL_get_error(c->ssl, rc);
            if (why == SSL_ERROR_WANT_READ) return 0;
            if (why == SSL_ERROR_ZERO_RETURN) return err_set(err, ERR_CLOSED, "TLS: the other side ended it");
            return failure(c, err);
        }
        if (!plain(ctx, bytes, n)) return 0;
    }
}

int tls_conn_in(struct tls_conn *c, const uint8_t *data, size_t len, struct buf *out,
                bool (*plain)(void *ctx, const uint8_t *data, size_t len), void *ctx, struct err *err) {
    if (c->failed) return err_set(err, ERR_CLOSED, "TLS: over");
    size_t before = out->len;
    int rc = 0;
    c->in = data;
    c->in_len = len;
    c->out = out;
    if (!c->ready) {
        c->handshake_bytes += len;
        rc = handshake(c, err);
        if (rc == 0 && !c->ready && c->handshake_bytes > TLS_HANDSHAKE_BYTES)
            rc = err_set(err, ERR_LIMIT, "TLS: a handshake of more than %u bytes", TLS_HANDSHAKE_BYTES);
    }
    if (rc == 0 && c->ready) rc = decrypt(c, plain, ctx, err);
    if (rc == 0 && out->len > before && out->len > TLS_OUTPUT_BYTES)
        rc = err_set(err, ERR_LIMIT, "TLS: the other side makes us answer without reading");
    c->in = NULL;
    c->in_len = 0;
    c->out = NULL;
    if (rc) c->failed = true;
    return rc;
}

int tls_conn_out(struct tls_conn *c, const uint8_t *data, size_t len, struct buf *out, struct err *err) {
    CHECK(c->ready);
    if (c->failed) return err_set(err, ERR_CLOSED, "TLS: over");
    struct buf *before = c->out; /* of a tls_conn_in that is under way around us */
    c->out = out;
    int rc = 0;
    size_t records = len / PLAIN_BYTES + 1;
    if (!buf_reserve(out, len + records * RECORD_OVERHEAD)) rc = err_set(err, ERR_NOMEM, "out of memory");
    while (len > 0 && rc == 0) {
        size_t n = 0;
        ERR_clear_error();
        if (SSL_write_ex(c->ssl, data, len, &n) != 1)
            rc = out->failed ? err_set(err, ERR_NOMEM, "out of memory") : failure(c, err);
        data += n;
        len -= n;
    }
    c->out = before;
    if (rc) c->failed = true;
    return rc;
}
