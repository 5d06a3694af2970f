/* SPDX-License-Identifier: Apache-2.0
 * Making the certificates that tls.h reads: a CA, and what it signs for masters and agents. ECDSA on P-256, SHA-256.
 *
 * Files: NAME.pem (0644) and NAME.key (0600), each written whole under another name and renamed. What is there is
 * replaced only when that is asked for. */
#ifndef CONCLAVE_NET_TLS_CERT_H
#define CONCLAVE_NET_TLS_CERT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "net/tls.h"

#define TLS_CERT_DAYS_MAX 36500u

struct tls_cert_request {
    const char *dir;  /* where the CA is (ca.pem, ca.key) and the files go; exists */
    const char *name; /* of the files: DIR/NAME.pem and DIR/NAME.key; no '/' */
    unsigned days;    /* from now, at most TLS_CERT_DAYS_MAX; it begins five minutes ago, for clocks that differ */
    bool replace;     /* files that are there */
    int64_t age_s;    /* for tests: everything begins and ends so much earlier */
};

/* A new CA as DIR/ca.pem and DIR/ca.key, which can sign for one cluster or for several. ERR_EXISTS, ERR_INVALID,
 * ERR_IO. */
int tls_cert_ca(const struct tls_cert_request *request, struct err *err);
/* A certificate for `identity`, signed by the CA in DIR. ERR_NOT_FOUND without a CA; else as above. */
int tls_cert_sign(const struct tls_cert_request *request, const struct tls_identity *identity, struct err *err);

struct tls_cert_info {
    char identity[TLS_URI_MAX]; /* "" for a CA */
    char subject[128];
    bool ca;
    int64_t begins_wall_s, ends_wall_s;
};
/* Reads the first certificate of a PEM file. ERR_NOT_FOUND, ERR_INVALID, ERR_IO. */
int tls_cert_info(const char *path, struct tls_cert_info *ret, struct err *err);

#endif
