/* SPDX-License-Identifier: Apache-2.0
 * HTTP from the CLI to masters and agents: one-shot requests through libcurl, all bounded in time and size. */
#ifndef CONCLAVE_CLI_CLIENT_H
#define CONCLAVE_CLI_CLIENT_H

#include <protobuf-c/protobuf-c.h>

#include "base/buf.h"
#include "cli/options.h"
#include "wire/arena.h"

#define CLIENT_ANSWER_MAX (256u << 20)

struct answer {
    int status; /* HTTP; 0: no answer, see `err` */
    bool sent;  /* there was a connection: without an answer the request may have been taken all the same */
    struct err err;
    struct buf body;
    char location[128];  /* authority of a redirect that was not followed; "" */
    uint64_t elapsed_us; /* from sending to the end of the answer */
};

void answer_done(struct answer *a);

struct request {
    const char *method;     /* "GET" */
    const char *path;       /* "/conclave/v1/status" */
    const char *body;       /* JSON or NULL */
    const char *headers[4]; /* extra ones, NULL-terminated */
    unsigned timeout_ms;
    bool follow; /* 307, at most 5 times */
};

/* Sends the request to one HOST:PORT. Returns 0 when there was any HTTP answer; else the error, which is in ret->err
 * too. */
int client_request(const char *host_port, const struct request *request, struct answer *ret);
/* To all masters of the options at once; ret[0..master_count). */
void client_request_all(const struct options *o, const struct request *request, struct answer *ret);
/* The first master that answers 2xx, the leader by redirect where the path wants it. */
int client_request_any(const struct options *o, const struct request *request, struct answer *ret, struct err *err);

/* Puts the leader in front of the options' masters; false: none of them names one, nothing has changed. */
bool client_leader_first(struct options *o);

/* The body as a message in the arena; ERR_PARSE. */
int answer_message(const struct answer *a, const ProtobufCMessageDescriptor *type, struct arena *arena,
                   ProtobufCMessage **ret, struct err *err);

/* Percent-encodes one component. */
void url_component(const char *text, struct buf *ret);

#endif
