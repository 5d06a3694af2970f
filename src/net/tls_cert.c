/* SPDX-License-Identifier: Apache-2.0
 * See tls_cert.h. */
#include "net/tls_cert.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/tls_private.h"

#define PATH_BYTES   4096
#define BEGINS_AGO_S 300
#define SERIAL_BYTES 16

static int failed(struct err *err, const char *what) {
    return err_set(err, ERR_IO, "%s: %s", what, tls_error_text());
}

/* ---- files ---- */

static int path_of(const struct tls_cert_request *r, const char *name, const char *suffix, char ret[PATH_BYTES],
                   struct err *err) {
    if (!*name || strchr(name, '/') || strlen(name) > 200)
        return err_set(err, ERR_INVALID, "'%.60s' cannot be the name of a file here", name);
    if (snprintf(ret, PATH_BYTES, "%s/%s%s", r->dir, name, suffix) >= PATH_BYTES)
        return err_set(err, ERR_INVALID, "the folder's name is too long");
    return 0;
}

typedef int (*pem_write)(FILE *file, void *object);

static int write_certificate(FILE *file, void *object) {
    return PEM_write_X509(file, object);
}

static int write_key(FILE *file, void *object) {
    return PEM_write_PKCS8PrivateKey(file, object, NULL, NULL, 0, NULL, NULL);
}

static int file_write(const char *path, mode_t mode, pem_write write, void *object, struct err *err) {
    char next[PATH_BYTES + 8];
    (void)snprintf(next, sizeof next, "%s.next", path);
    (void)unlink(next);
    int fd = open(next, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!file) {
        int sys = errno;
        if (fd >= 0) (void)close(fd);
        return err_sys(err, sys, "%.200s", next);
    }
    bool good = write(file, object) == 1 && fflush(file) == 0 && fsync(fd) == 0;
    good = fclose(file) == 0 && good;
    if (good && rename(next, path) == 0) return 0;
    int sys = errno;
    (void)unlink(next);
    return err_sys(err, sys, "writing %.200s", path);
}

/* Key first: a certificate that is there has its key. */
static int pair_write(const struct tls_cert_request *r, X509 *certificate, EVP_PKEY *key, struct err *err) {
    char cert_path[PATH_BYTES], key_path[PATH_BYTES];
    int rc = path_of(r, r->name, ".pem", cert_path, err);
    if (rc == 0) rc = path_of(r, r->name, ".key", key_path, err);
    if (rc == 0 && !r->replace && (access(cert_path, F_OK) == 0 || access(key_path, F_OK) == 0))
        rc = err_set(err, ERR_EXISTS, "%.200s is there already; --replace makes another one", cert_path);
    if (rc == 0) rc = file_write(key_path, 0600, write_key, key, err);
    if (rc == 0) rc = file_write(cert_path, 0644, write_certificate, certificate, err);
    return rc;
}

static FILE *pem_open(const struct tls_cert_request *r, const char *suffix, char path[PATH_BYTES], struct err *err) {
    if (path_of(r, "ca", suffix, path, err)) return NULL;
    FILE *file = fopen(path, "re");
    if (!file) (void)err_sys(err, errno, "%.200s (conclave cert ca makes a CA)", path);
    return file;
}

static int no_password(char *buf, int size, int writing, void *ctx) {
    (void)buf, (void)size, (void)writing, (void)ctx;
    return -1;
}

/* ---- certificates ---- */

static int name_set(X509_NAME *name, const char *common) {
    return X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const uint8_t *)"Conclave", -1, -1, 0) == 1 &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)common, -1, -1, 0) == 1;
}

static bool extension_add(X509 *certificate, X509V3_CTX *ctx, int nid, const char *value) {
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, ctx, nid, value);
    bool good = extension && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return good;
}

static bool head_fill(X509 *certificate, const struct tls_cert_request *r, EVP_PKEY *key, const char *common) {
    uint8_t serial[SERIAL_BYTES];
    if (RAND_bytes(serial, sizeof serial) != 1) return false;
    serial[0] &= 0x7f; /* positive */
    BIGNUM *number = BN_bin2bn(serial, sizeof serial, NULL);
    bool good = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
    BN_free(number);
    time_t now = (time_t)(clock_wall_ms() / 1000) - (time_t)r->age_s;
    return good && X509_set_version(certificate, 2) == 1 && X509_set_pubkey(certificate, key) == 1 &&
           X509_time_adj_ex(X509_getm_notBefore(certificate), 0, -BEGINS_AGO_S, &now) &&
           X509_time_adj_ex(X509_getm_notAfter(certificate), (int)r->days, 0, &now) &&
           name_set(X509_get_subject_name(certificate), common);
}

static int days_check(const struct tls_cert_request *r, struct err *err) {
    if (r->days >= 1 && r->days <= TLS_CERT_DAYS_MAX) return 0;
    return err_set(err, ERR_INVALID, "a certificate is made for 1 to %u days", TLS_CERT_DAYS_MAX);
}

int tls_cert_ca(const struct tls_cert_request *request, struct err *err) {
    struct tls_cert_request r = *request;
    r.name = "ca";
    if (days_check(&r, err)) return ERR_INVALID;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, certificate, certificate, NULL, NULL, 0);
    bool good = key && certificate && head_fill(certificate, &r, key, "Conclave CA") &&
                X509_set_issuer_name(certificate, X509_get_subject_name(certificate)) == 1 &&
                extension_add(certificate, &ctx, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
                extension_add(certificate, &ctx, NID_key_usage, "critical,keyCertSign,cRLSign") &&
                extension_add(certificate, &ctx, NID_subject_key_identifier, "hash") &&
                X509_sign(certificate, key, EVP_sha256()) > 0;
    int rc = good ? pair_write(&r, certificate, key, err) : failed(err, "making a CA");
    X509_free(certificate);
    EVP_PKEY_free(key);
    return rc;
}

static int ca_read(const struct tls_cert_request *r, X509 **ret_certificate, EVP_PKEY **ret_key, struct err *err) {
    char path[PATH_BYTES];
    X509 *certificate = NULL;
    EVP_PKEY *key = NULL;
    FILE *file = pem_open(r, ".pem", path, err);
    if (!file) return err->code;
    certificate = PEM_read_X509(file, NULL, no_password, NULL);
    (void)fclose(file);
    if (!certificate) return err_set(err, ERR_INVALID, "%.200s holds no PEM certificate", path);
    file = pem_open(r, ".key", path, err);
    if (file) {
        key = PEM_read_PrivateKey(file, NULL, no_password, NULL);
        (void)fclose(file);
        if (!key || X509_check_private_key(certificate, key) != 1)
            (void)err_set(err, ERR_INVALID, "%.200s is not the CA's key", path);
        else {
            *ret_certificate = certificate;
            *ret_key = key;
            return 0;
        }
    }
    EVP_PKEY_free(key);
    X509_free(certificate);
    ERR_clear_error();
    return err->code;
}

int tls_cert_sign(const struct tls_cert_request *r, const struct tls_identity *identity, struct err *err) {
    char uri[TLS_URI_MAX], name[TLS_URI_MAX + 8];
    X509 *ca = NULL;
    EVP_PKEY *ca_key = NULL;
    int rc = days_check(r, err);
    if (rc == 0) rc = ca_read(r, &ca, &ca_key, err);
    if (rc) return rc;
    (void)snprintf(name, sizeof name, "URI:%s", tls_identity_format(identity, uri));
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, ca, certificate, NULL, NULL, 0);
    const char *usage = identity->role == TLS_MASTER ? "serverAuth,clientAuth" : "clientAuth";
    bool good = key && certificate && head_fill(certificate, r, key, r->name) &&
                X509_set_issuer_name(certificate, X509_get_subject_name(ca)) == 1 &&
                extension_add(certificate, &ctx, NID_basic_constraints, "critical,CA:FALSE") &&
                extension_add(certificate, &ctx, NID_key_usage, "critical,digitalSignature") &&
                extension_add(certificate, &ctx, NID_ext_key_usage, usage) &&
                extension_add(certificate, &ctx, NID_subject_key_identifier, "hash") &&
                extension_add(certificate, &ctx, NID_authority_key_identifier, "keyid") &&
                extension_add(certificate, &ctx, NID_subject_alt_name, name) &&
                X509_sign(certificate, ca_key, EVP_sha256()) > 0;
    rc = good ? pair_write(r, certificate, key, err) : failed(err, "making a certificate");
    X509_free(certificate);
    EVP_PKEY_free(key);
    X509_free(ca);
    EVP_PKEY_free(ca_key);
    return rc;
}

static int64_t wall_of(const ASN1_TIME *time) {
    int days = 0, seconds = 0;
    if (ASN1_TIME_diff(&days, &seconds, NULL, time) != 1) return 0;
    return (int64_t)(clock_wall_ms() / 1000) + (int64_t)days * 86400 + seconds;
}

int tls_cert_info(const char *path, struct tls_cert_info *ret, struct err *err) {
    FILE *file = fopen(path, "re");
    if (!file) return err_sys(err, errno, "%.200s", path);
    X509 *certificate = PEM_read_X509(file, NULL, no_password, NULL);
    (void)fclose(file);
    ERR_clear_error();
    if (!certificate) return err_set(err, ERR_INVALID, "%.200s holds no PEM certificate", path);
    struct tls_identity identity;
    struct err none;
    *ret = (struct tls_cert_info){.ca = X509_check_ca(certificate) >= 1};
    if (tls_certificate_identity(certificate, &identity, &none) == 0)
        (void)tls_identity_format(&identity, ret->identity);
    (void)X509_NAME_oneline(X509_get_subject_name(certificate), ret->subject, sizeof ret->subject);
    ret->begins_wall_s = wall_of(X509_get0_notBefore(certificate));
    ret->ends_wall_s = wall_of(X509_get0_notAfter(certificate));
    X509_free(certificate);
    return 0;
}
