/* SPDX-License-Identifier: Apache-2.0
 * What a stranger sends before anybody knows who it is: an identity as text, and the bytes of a handshake in pieces. It
 * never gets ready (it has no certificate of ours), never gives a plain byte, and never makes more output than an
 * answer. First byte: how the rest is cut. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "net/tls_cert.h"
#include "net/tls_conn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[] = "fuzz-tls-XXXXXX";
static struct tls *tls;

static void remove_files(void) {
    static const char *const names[] = {"ca.pem", "ca.key", "m.pem", "m.key"};
    char path[64];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(dir);
}

static void open_once(void) {
    struct err err;
    char ca[64], cert[64], key[64];
    const struct tls_identity self = {.role = TLS_MASTER, .node = 1};
    struct tls_cert_request request = {.dir = dir, .name = "m", .days = 1};
    if (tls) return;
    log_setup(LOG_ERROR + 1, NULL);
    CHECK(mkdtemp(dir));
    CHECK(tls_cert_ca(&request, &err) == 0 && tls_cert_sign(&request, &self, &err) == 0);
    (void)snprintf(ca, sizeof ca, "%s/ca.pem", dir);
    (void)snprintf(cert, sizeof cert, "%s/m.pem", dir);
    (void)snprintf(key, sizeof key, "%s/m.key", dir);
    CHECK(tls_open(&(struct tls_files){ca, cert, key}, &self, &tls, &err) == 0);
    remove_files(); /* it is loaded */
}

static bool on_plain(void *ctx, const uint8_t *data, size_t len) {
    (void)ctx, (void)data, (void)len;
    CHECK(false);
    return false;
}

static void identity(const uint8_t *data, size_t size) {
    struct tls_identity id;
    char text[TLS_URI_MAX];
    if (tls_identity_parse((const char *)data, size, &id)) return;
    CHECK(strlen(tls_identity_format(&id, text)) == size && memcmp(text, data, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    open_once();
    identity(data, size);
    if (size < 2) return 0;
    const struct tls_expect expect = {.role = TLS_MASTER};
    struct tls_conn *c = tls_conn_new(tls, true, &expect);
    CHECK(c);
    struct buf out;
    struct err err;
    buf_init(&out, 1u << 20);
    size_t piece = data[0] ? data[0] : size;
    for (size_t at = 1; at < size; at += piece) {
        size_t len = size - at < piece ? size - at : piece;
        if (tls_conn_in(c, data + at, len, &out, on_plain, NULL, &err)) break;
        CHECK(!tls_conn_ready(c));
        CHECK(out.len <= TLS_OUTPUT_BYTES);
    }
    buf_done(&out);
    tls_conn_free(c);
    return 0;
}
