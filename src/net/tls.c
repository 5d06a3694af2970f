/* SPDX-License-Identifier: Apache-2.0
 * Certificates from files into contexts, and again when they change. See tls.h. */
#include "net/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "net/tls_private.h"

/* The fastest that is strong first: links carry gigabytes when a master catches up. */
#define CIPHERS "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS  "X25519:P-256"

#define CERT_LIST_BYTES_MAX 16384 /* of the other side's certificates */

const char *tls_error_text(void) {
    unsigned long code = ERR_peek_last_error();
    const char *text = code ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return text ? text : "";
}

/* ---- files ---- */

struct content {
    uint8_t bytes[TLS_FILE_BYTES_MAX];
    int len;
};

/* Keys are not for others: a mode that lets anybody else read is a mistake that is cheaper to hear of now. */
static int file_read(struct tls_file *file, bool secret, struct content *ret, struct err *err) {
    struct stat st;
    int fd = open(file->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return err_sys(err, errno, "%.160s", file->path);
    ssize_t n = -1;
    int rc = 0;
    if (fstat(fd, &st) != 0)
        rc = err_sys(err, errno, "%.160s", file->path);
    else if (!S_ISREG(st.st_mode))
        rc = err_set(err, ERR_INVALID, "%.160s is not a file", file->path);
    else if (secret && (st.st_mode & (S_IRWXO | S_IWGRP)))
        rc = err_set(err, ERR_INVALID, "%.160s can be read or changed by others (mode %03o): chmod 600 it", file->path,
                     (unsigned)st.st_mode & 0777);
    else if (st.st_size > TLS_FILE_BYTES_MAX)
        rc = err_set(err, ERR_INVALID, "%.160s has more than %d bytes", file->path, TLS_FILE_BYTES_MAX);
    if (rc == 0) n = read(fd, ret->bytes, sizeof ret->bytes);
    if (rc == 0 && n < 0) rc = err_sys(err, errno, "%.160s", file->path);
    (void)close(fd);
    if (rc) return rc;
    ret->len = (int)n;
    file->device = st.st_dev;
    file->inode = st.st_ino;
    file->size = st.st_size;
    file->changed = st.st_ctim;
    return 0;
}

static bool file_changed(const struct tls_file *file) {
    struct stat st;
    if (stat(file->path, &st) != 0) return true;
    return st.st_dev != file->device || st.st_ino != file->inode || st.st_size != file->size ||
           st.st_ctim.tv_sec != file->changed.tv_sec || st.st_ctim.tv_nsec != file->changed.tv_nsec;
}

/* ---- one context ---- */

static int no_password(char *buf, int size, int writing, void *ctx) {
    (void)buf, (void)size, (void)writing, (void)ctx;
    return -1; /* and nobody is asked at a terminal */
}

static int load_ca(SSL_CTX *context, const struct tls_file *file, const struct content *content, struct err *err) {
    BIO *bio = BIO_new_mem_buf(content->bytes, content->len);
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    X509 *one;
    int count = 0, rc = 0;
    while (rc == 0 && bio && (one = PEM_read_bio_X509(bio, NULL, no_password, NULL))) {
        if (X509_check_ca(one) < 1)
            rc = err_set(err, ERR_INVALID, "%.160s holds a certificate that is not a CA's", file->path);
        else if (X509_STORE_add_cert(store, one) != 1)
            rc = err_set(err, ERR_NOMEM, "%.160s: %s", file->path, tls_error_text());
        X509_free(one);
        count++;
    }
    BIO_free(bio);
    ERR_clear_error(); /* reading ends with "no start line" */
    return rc == 0 && count == 0 ? err_set(err, ERR_INVALID, "%.160s holds no PEM certificate", file->path) : rc;
}

static int load_cert(SSL_CTX *context, const struct tls_file *file, const struct content *content, struct err *err) {
    BIO *bio = BIO_new_mem_buf(content->bytes, content->len);
    X509 *leaf = bio ? PEM_read_bio_X509(bio, NULL, no_password, NULL) : NULL, *above;
    int rc = 0;
    if (!leaf)
        rc = err_set(err, ERR_INVALID, "%.160s holds no PEM certificate", file->path);
    else if (SSL_CTX_use_certificate(context, leaf) != 1)
        rc = err_set(err, ERR_INVALID, "%.160s: %s", file->path, tls_error_text());
    while (rc == 0 && (above = PEM_read_bio_X509(bio, NULL, no_password, NULL)))
        if (SSL_CTX_add0_chain_cert(context, above) != 1) {
            X509_free(above);
            rc = err_set(err, ERR_INVALID, "%.160s: %s", file->path, tls_error_text());
        }
    X509_free(leaf);
    BIO_free(bio);
    ERR_clear_error();
    return rc;
}

static int load_key(SSL_CTX *context, const struct tls_file *file, const struct tls_file *cert,
                    const struct content *content, struct err *err) {
    BIO *bio = BIO_new_mem_buf(content->bytes, content->len);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
    int rc = 0;
    if (!key)
        rc = err_set(err, ERR_INVALID, "%.160s holds no PEM key without a password", file->path);
    else if (SSL_CTX_use_PrivateKey(context, key) != 1 || SSL_CTX_check_private_key(context) != 1)
        rc = err_set(err, ERR_INVALID, "%.120s is not the key of %.120s", file->path, cert->path);
    EVP_PKEY_free(key);
    BIO_free(bio);
    ERR_clear_error();
    return rc;
}

static int64_t ends_wall_s(const X509 *certificate) {
    int days = 0, seconds = 0;
    if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(certificate)) != 1) return 0;
    return (int64_t)(clock_wall_ms() / 1000) + (int64_t)days * 86400 + seconds;
}

/* What the other side will see is looked at first: our own chain, with the same rules, for each side of a handshake
 * that our role takes. */
static int own_chain_check(SSL_CTX *context, enum tls_role role, const char *path, int64_t *ret_ends, struct err *err) {
    const int purposes[] = {X509_PURPOSE_SSL_CLIENT, X509_PURPOSE_SSL_SERVER};
    STACK_OF(X509) *above = NULL;
    X509 *leaf = SSL_CTX_get0_certificate(context);
    int rc = 0;
    (void)SSL_CTX_get0_chain_certs(context, &above);
    for (int i = 0; rc == 0 && i < (role == TLS_MASTER ? 2 : 1); i++) {
        X509_STORE_CTX *check = X509_STORE_CTX_new();
        if (!check || X509_STORE_CTX_init(check, SSL_CTX_get_cert_store(context), leaf, above) != 1) {
            rc = err_set(err, ERR_NOMEM, "out of memory");
        } else {
            (void)X509_STORE_CTX_set_purpose(check, purposes[i]);
            if (X509_verify_cert(check) != 1)
                rc = err_set(err, ERR_INVALID, "%.160s: %s", path,
                             X509_verify_cert_error_string(X509_STORE_CTX_get_error(check)));
        }
        STACK_OF(X509) *chain = rc == 0 ? X509_STORE_CTX_get0_chain(check) : NULL;
        for (int k = 0; chain && k < sk_X509_num(chain); k++) {
            int64_t ends = ends_wall_s(sk_X509_value(chain, k));
            if (*ret_ends == 0 || ends < *ret_ends) *ret_ends = ends;
        }
        X509_STORE_CTX_free(check);
    }
    ERR_clear_error();
    return rc;
}

static int own_identity_check(const struct tls *tls, const struct tls_identity *self, struct err *err) {
    static const uint8_t any[16];
    const struct tls_identity *wanted = &tls->wanted;
    char text[TLS_URI_MAX];
    (void)tls_identity_format(self, text);
    if (self->role != wanted->role)
        return err_set(err, ERR_INVALID, "%.120s is for %s, this is a %s", tls->cert.path, text,
                       tls_role_name(wanted->role));
    if (memcmp(wanted->cluster_id, any, sizeof any) != 0 && memcmp(wanted->cluster_id, self->cluster_id, 16) != 0)
        return err_set(err, ERR_INVALID, "%.120s is for %s, which is another cluster", tls->cert.path, text);
    if (wanted->node && wanted->node != self->node)
        return err_set(err, ERR_INVALID, "%.120s is for %s, this is node %" PRIu64, tls->cert.path, text, wanted->node);
    return 0;
}

static SSL_CTX *context_new(void) {
    SSL_CTX *context = SSL_CTX_new(TLS_method());
    if (!context) return NULL;
    bool good = SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
                SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
                SSL_CTX_set_ciphersuites(context, CIPHERS) == 1 && SSL_CTX_set1_groups_list(context, GROUPS) == 1 &&
                SSL_CTX_set_num_tickets(context, 0) == 1;
    if (!good) {
        SSL_CTX_free(context);
        return NULL;
    }
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    (void)SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_max_cert_list(context, CERT_LIST_BYTES_MAX);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, tls_conn_verify);
    return context;
}

/* Loads everything anew; on an error what was there stays. */
static int load(struct tls *tls, struct err *err) {
    struct content *content = malloc(sizeof *content);
    SSL_CTX *context = content ? context_new() : NULL;
    struct tls_identity self = {0};
    int64_t ends = 0;
    int rc = context ? 0 : err_set(err, ERR_NOMEM, "out of memory");
    if (rc == 0) rc = file_read(&tls->ca, false, content, err);
    if (rc == 0) rc = load_ca(context, &tls->ca, content, err);
    if (rc == 0) rc = file_read(&tls->cert, false, content, err);
    if (rc == 0) rc = load_cert(context, &tls->cert, content, err);
    if (rc == 0) rc = file_read(&tls->key, true, content, err);
    if (rc == 0) rc = load_key(context, &tls->key, &tls->cert, content, err);
    if (content) OPENSSL_cleanse(content, sizeof *content);
    free(content);
    if (rc == 0 && tls_certificate_identity(SSL_CTX_get0_certificate(context), &self, err))
        rc = err_wrap(err, "%.120s", tls->cert.path);
    if (rc == 0) rc = own_identity_check(tls, &self, err);
    if (rc == 0) rc = own_chain_check(context, self.role, tls->cert.path, &ends, err);
    if (rc) {
        SSL_CTX_free(context);
        return rc;
    }
    SSL_CTX_free(tls->context);
    tls->context = context;
    tls->self = self;
    tls->expires_wall_s = ends;
    return 0;
}

/* ---- face ---- */

static bool given(const char *path) {
    return path && *path;
}

int tls_open(const struct tls_files *files, const struct tls_identity *self, struct tls **ret, struct err *err) {
    if (!given(files->ca) && !given(files->cert) && !given(files->key)) {
        *ret = NULL;
        return 0;
    }
    if (!given(files->ca) || !given(files->cert) || !given(files->key))
        return err_set(err, ERR_INVALID, "--tls-ca, --tls-cert and --tls-key go together");
    struct tls *tls = calloc(1, sizeof *tls);
    if (!tls) return err_set(err, ERR_NOMEM, "out of memory");
    tls->ca.path = strdup(files->ca);
    tls->cert.path = strdup(files->cert);
    tls->key.path = strdup(files->key);
    CHECK(tls->ca.path && tls->cert.path && tls->key.path);
    tls->wanted = *self;
    int rc = load(tls, err);
    if (rc) {
        tls_close(tls);
        return err_wrap(err, "TLS");
    }
    *ret = tls;
    return 0;
}

void tls_close(struct tls *tls) {
    if (!tls) return;
    SSL_CTX_free(tls->context);
    free(tls->ca.path);
    free(tls->cert.path);
    free(tls->key.path);
    free(tls);
}

const struct tls_identity *tls_self(const struct tls *tls) {
    return &tls->self;
}

void tls_poll(struct tls *tls, uint64_t mono_ms, bool now) {
    if (!tls || (!now && mono_ms < tls->polled_ms + TLS_POLL_MS)) return;
    tls->polled_ms = mono_ms;
    bool changed = file_changed(&tls->ca) || file_changed(&tls->cert) || file_changed(&tls->key);
    if (!now && !changed && !tls->failure_logged) return;
    struct err err = {0};
    if (load(tls, &err) == 0) {
        tls->stats.reloads++;
        tls->failure_logged = false;
        log_event(LOG_INFO, "tls_reloaded", "cert=%s days=%" PRId64, tls->cert.path,
                  (tls->expires_wall_s - (int64_t)(clock_wall_ms() / 1000)) / 86400);
        return;
    }
    tls->stats.reload_errors++;
    if (changed || now || !tls->failure_logged)
        log_event(LOG_ERROR, "tls_reload_failed", "the certificates before stay in use: %s", err.text);
    tls->failure_logged = true;
}

void tls_stats(const struct tls *tls, struct tls_stats *ret) {
    *ret = tls->stats;
    ret->expires_s = tls->expires_wall_s - (int64_t)(clock_wall_ms() / 1000);
}
