/* SPDX-License-Identifier: Apache-2.0
 * The certificates of a cluster on this machine. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/dev.h"
#include "net/tls_cert.h"

#define DEV_DAYS 3650

void dev_tls_paths(const struct dev_cluster *c, const struct dev_node *node, struct dev_tls_paths *ret) {
    (void)snprintf(ret->ca, sizeof ret->ca, "%s/tls/ca.pem", c->dir);
    (void)snprintf(ret->cert, sizeof ret->cert, "%s/tls/%s.pem", c->dir, node->name);
    (void)snprintf(ret->key, sizeof ret->key, "%s/tls/%s.key", c->dir, node->name);
}

/* What an interrupted first try has left is made anew. */
int dev_tls_make(const struct dev_cluster *c, struct err *err) {
    char dir[500];
    struct tls_cert_request request = {.dir = dir, .days = DEV_DAYS, .replace = true};
    struct tls_identity identity = {0};
    (void)snprintf(dir, sizeof dir, "%s/tls", c->dir);
    if (mkdir(dir, 0700) && errno != EEXIST) return err_sys(err, errno, "making %s", dir);
    for (int i = 0; i < 16; i++) {
        char two[3] = {c->cluster_id[2 * i], c->cluster_id[2 * i + 1], '\0'};
        identity.cluster_id[i] = (uint8_t)strtoul(two, NULL, 16);
    }
    int rc = tls_cert_ca(&request, err);
    for (unsigned i = 0; rc == 0 && i < DEV_NODES; i++) {
        const struct dev_node *n = &c->nodes[i];
        request.name = n->name;
        identity.role = n->master ? TLS_MASTER : TLS_AGENT;
        identity.node = n->master ? n->id : 0;
        rc = tls_cert_sign(&request, &identity, err);
    }
    return rc;
}
