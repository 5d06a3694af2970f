/* SPDX-License-Identifier: Apache-2.0
 * Certificates for tests, in a folder of their own below the current one. Include cmocka_all.h first. */
#ifndef CONCLAVE_TESTS_TLS_FILES_H
#define CONCLAVE_TESTS_TLS_FILES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/tls.h"
#include "net/tls_cert.h"

struct tls_folder {
    char dir[64];
};

static const uint8_t tls_cluster[16] = {0xc0, 0x4c, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};

static inline void tls_folder_open(struct tls_folder *f) {
    struct err err;
    (void)snprintf(f->dir, sizeof f->dir, "tls-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    const struct tls_cert_request request = {.dir = f->dir, .name = "ca", .days = 30};
    assert_int_equal(tls_cert_ca(&request, &err), 0);
}

static inline void tls_folder_close(struct tls_folder *f) {
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", f->dir);
    assert_int_equal(system(command), 0);
}

/* Makes DIR/NAME.pem and .key; age_s shifts its time into the past. */
static inline void tls_folder_sign(const struct tls_folder *f, const char *name, const struct tls_identity *identity,
                                   int64_t age_s) {
    struct err err;
    const struct tls_cert_request request = {.dir = f->dir, .name = name, .days = 10, .replace = true, .age_s = age_s};
    assert_int_equal(tls_cert_sign(&request, identity, &err), 0);
}

static inline struct tls_identity tls_who(enum tls_role role, uint64_t node) {
    struct tls_identity who = {.role = role, .node = node};
    memcpy(who.cluster_id, tls_cluster, sizeof who.cluster_id);
    return who;
}

/* Paths of DIR/NAME.pem and .key with the CA of `ca`; good until the next call with the same slot (0..3). */
static inline struct tls_files tls_folder_files(const struct tls_folder *f, const struct tls_folder *ca,
                                                const char *name, unsigned slot) {
    static char paths[4][3][128];
    (void)snprintf(paths[slot][0], sizeof paths[slot][0], "%s/ca.pem", ca->dir);
    (void)snprintf(paths[slot][1], sizeof paths[slot][1], "%s/%s.pem", f->dir, name);
    (void)snprintf(paths[slot][2], sizeof paths[slot][2], "%s/%s.key", f->dir, name);
    return (struct tls_files){.ca = paths[slot][0], .cert = paths[slot][1], .key = paths[slot][2]};
}

/* Opens as whoever the certificate is made for. */
static inline struct tls *tls_folder_load(const struct tls_folder *f, const char *name,
                                          const struct tls_identity *who) {
    struct err err = {0};
    struct tls *tls = NULL;
    struct tls_files files = tls_folder_files(f, f, name, 3);
    if (tls_open(&files, who, &tls, &err)) fail_msg("%s", err.text);
    assert_non_null(tls);
    return tls;
}

#endif
