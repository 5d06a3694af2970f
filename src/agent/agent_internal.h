/* SPDX-License-Identifier: Apache-2.0
 * What the parts of the running agent share: agent.c (wiring), hello.c (what it says of itself), orders.c (what it is
 * told), api.c and files.c (HTTP). */
#ifndef CONCLAVE_AGENT_AGENT_INTERNAL_H
#define CONCLAVE_AGENT_AGENT_INTERNAL_H

#include <uv.h>

#include "agent/cgroup.h"
#include "agent/config.h"
#include "agent/engine.h"
#include "agent/master_link.h"
#include "agent/store.h"
#include "net/http.h"
#include "net/net.h"

struct agent_process {
    struct agent_config config;
    struct store store;
    struct cgroup_host cgroups;
    uv_loop_t loop;
    struct net *net;
    struct engine *engine;
    struct master_link *masters;
    struct http_server *http;
    struct tls *tls; /* NULL: none */
    uv_signal_t term_signal, int_signal, hup_signal;
    uv_timer_t tls_timer; /* looks for new certificates */
    uint64_t started_wall_ms;
    int status; /* exit status */
    bool stopping;
    unsigned parts; /* still closing */
};

/* Appends a packed Hello. */
int hello_make(const struct agent_process *a, bool watch_only, struct buf *ret);
/* Sends everything it has, in as many frames as it takes. */
void task_list_send(struct agent_process *a);
/* A frame of the leader. */
void order_take(struct agent_process *a, uint16_t type, const uint8_t *payload, size_t len);
/* One update to the leader: see engine_options.send. */
int report_send(struct agent_process *a, const struct hosted *task, const struct update *update);

void api_handle(void *ctx, const struct http_request *request);
/* Answers /files/...; true if the path was one of these. */
bool files_handle(struct agent_process *a, const struct http_request *request);
void http_error_reply(struct http_exchange *x, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
