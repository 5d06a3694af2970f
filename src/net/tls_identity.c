/* SPDX-License-Identifier: Apache-2.0
 * The identity in a certificate, as text and back. */
#include <inttypes.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "net/tls_private.h"

#define SCHEME     "conclave://"
#define SCHEME_LEN (sizeof SCHEME - 1)

const char *tls_role_name(enum tls_role role) {
    return role == TLS_MASTER ? "master" : role == TLS_AGENT ? "agent" : "nobody";
}

static int digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool node_parse(const char *text, size_t len, uint64_t *ret) {
    uint64_t node = 0;
    if (len == 0 || len > 19 || text[0] == '0') return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        node = node * 10 + (uint64_t)(text[i] - '0');
    }
    *ret = node;
    return true;
}

int tls_identity_parse(const char *text, size_t len, struct tls_identity *ret) {
    static const char master[] = "/master/", agent[] = "/agent";
    struct tls_identity id = {0};
    if (len < SCHEME_LEN + 32 || memcmp(text, SCHEME, SCHEME_LEN) != 0) return ERR_PARSE;
    for (size_t i = 0; i < 16; i++) {
        int high = digit(text[SCHEME_LEN + 2 * i]), low = digit(text[SCHEME_LEN + 2 * i + 1]);
        if (high < 0 || low < 0) return ERR_PARSE;
        id.cluster_id[i] = (uint8_t)(high << 4 | low);
    }
    const char *rest = text + SCHEME_LEN + 32;
    size_t left = len - SCHEME_LEN - 32;
    if (left == sizeof agent - 1 && memcmp(rest, agent, left) == 0) {
        id.role = TLS_AGENT;
    } else if (left > sizeof master - 1 && memcmp(rest, master, sizeof master - 1) == 0 &&
               node_parse(rest + sizeof master - 1, left - (sizeof master - 1), &id.node)) {
        id.role = TLS_MASTER;
    } else {
        return ERR_PARSE;
    }
    *ret = id;
    return 0;
}

const char *tls_identity_format(const struct tls_identity *identity, char ret[TLS_URI_MAX]) {
    char cluster[33];
    for (int i = 0; i < 16; i++)
        (void)snprintf(cluster + 2 * i, 3, "%02x", identity->cluster_id[i]);
    if (identity->role == TLS_MASTER)
        (void)snprintf(ret, TLS_URI_MAX, SCHEME "%s/master/%" PRIu64, cluster, identity->node);
    else
        (void)snprintf(ret, TLS_URI_MAX, SCHEME "%s/%s", cluster, tls_role_name(identity->role));
    return ret;
}

int tls_certificate_identity(X509 *certificate, struct tls_identity *ret, struct err *err) {
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    int found = 0, rc = 0;
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_URI) continue;
        const char *text = (const char *)ASN1_STRING_get0_data(name->d.uniformResourceIdentifier);
        size_t len = (size_t)ASN1_STRING_length(name->d.uniformResourceIdentifier);
        if (len < SCHEME_LEN || memcmp(text, SCHEME, SCHEME_LEN) != 0) continue;
        found++;
        if (tls_identity_parse(text, len, ret)) rc = ERR_PARSE;
    }
    GENERAL_NAMES_free(names);
    if (found == 1 && rc == 0) return 0;
    return err_set(err, ERR_INVALID,
                   found == 0   ? "the certificate carries no conclave:// identity (make it with conclave cert)"
                   : found == 1 ? "the certificate's conclave:// identity cannot be read"
                                : "the certificate carries more than one conclave:// identity");
}
