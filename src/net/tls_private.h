/* SPDX-License-Identifier: Apache-2.0
 * What the files of tls.h share. */
#ifndef CONCLAVE_NET_TLS_PRIVATE_H
#define CONCLAVE_NET_TLS_PRIVATE_H

#include <openssl/ssl.h>
#include <sys/types.h>

#include "net/tls.h"

struct tls_file { /* one path, and what it was when it was read */
    char *path;
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
};

struct tls {
    struct tls_file ca, cert, key;
    struct tls_identity wanted; /* as tls_open was told */
    struct tls_identity self;
    SSL_CTX *context; /* connections hold their own */
    int64_t expires_wall_s;
    uint64_t polled_ms;
    bool failure_logged; /* since the files last changed */
    struct tls_stats stats;
};

/* The identity in a certificate: exactly one URI of our scheme. 0, or ERR_INVALID with a text. */
int tls_certificate_identity(X509 *certificate, struct tls_identity *ret, struct err *err);
/* The verify callback of every context: after OpenSSL's own checks, identity against what the connection expects
 * (tls_conn.c). */
int tls_conn_verify(int good, X509_STORE_CTX *store);
/* The newest error in OpenSSL's queue as text, which is emptied; "" if there was none. */
const char *tls_error_text(void);

#endif
