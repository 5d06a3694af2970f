/* SPDX-License-Identifier: Apache-2.0
 * The agent's flags and what it finds out about its host. */
#ifndef CONCLAVE_AGENT_CONFIG_H
#define CONCLAVE_AGENT_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/master_link.h"
#include "base/err.h"
#include "net/address.h"
#include "wire/resources.h"

#define ATTRIBUTES_MAX 64

struct attribute { /* text only; a value that is a number is told as a scalar */
    char *name, *value;
};

struct agent_config {
    struct address masters[MASTERS_MAX];
    size_t master_n;
    struct address listen;           /* of the HTTP server */
    char endpoint[ADDRESS_TEXT_MAX]; /* HOST:PORT where others reach it */
    char ip[64];                     /* numeric host of `endpoint`, or "" when that is a name */
    char bind_host[64];              /* local address of outgoing links, or "" */
    char hostname[256];
    const char *work_dir; /* borrowed */
    struct resources resources;
    struct attribute attributes[ATTRIBUTES_MAX];
    size_t attribute_n;
    bool cluster_id_set;
    uint8_t cluster_id[16];
    struct tls_files tls; /* none: links without TLS */
    bool cgroups;         /* use control groups where the host permits */
    uint64_t tasks_max, kept_max, kept_age_s;
    bool help; /* only help was asked for, and printed */
};

/* Reads flags and environment, and asks the host for what they leave out; changes nothing. ERR_INVALID with the flag
 * named. */
int agent_config_read(int argc, char **argv, struct agent_config *ret, struct err *err);
void agent_config_done(struct agent_config *c);

/* The pure part of --attributes: "rack:r1;zone:z". ERR_INVALID. */
int attributes_parse(const char *text, struct attribute ret[ATTRIBUTES_MAX], size_t *ret_n, struct err *err);

#endif
