/* SPDX-License-Identifier: Apache-2.0
 * The master's HTTP face: routes, the leader gate, and small helpers for the handlers in api_*.c.
 *
 * Order of checks on Mesos paths: leader (307, 503), method, content type, body, rules, framework, stream; see the wire
 * reference in docs/API.md. While no leader is known a request is held at most API_HOLD_MS; then 307 or 503.
 * A call whose command was proposed is never answered 307: an unknown outcome is 503. While leadership is handed over
 * calls and writes are held as if no leader were known.
 *
 * A GET of a Mesos path with the header `Conclave-Read: local` is answered by any master as it stands;
 * `Conclave-Read: linearizable` when it has applied everything that was committed before (503 if it cannot know). Both
 * answers carry Conclave-Index, the position they are of. */
#ifndef CONCLAVE_SCHEDULER_API_H
#define CONCLAVE_SCHEDULER_API_H

#include "scheduler/master.h"
#include "scheduler/sessions.h"
#include "wire/arena.h"
#include "wire/json_write.h"

#define API_HOLD_MS    300
#define API_HELD_MAX   4096
#define API_ARENA_MAX  (32u << 20)
#define API_ANSWER_MAX (256u << 20)

int api_open(struct master *m, struct api **ret, struct err *err);
void api_close(struct api *api, void (*closed)(void *ctx), void *ctx);
/* Looks again at held requests: the leader changed, we are current, or time went by. */
void api_retry_held(struct api *api, uint64_t now_ms);
const struct http_stats *api_stats(struct api *api);

/* One request under way in a handler. */
struct call {
    struct master *m;
    const struct http_request *request;
    struct http_exchange *x;
    const char *rest; /* path behind the matched route, "" or "/..." */
    uint64_t index;   /* not 0: told as Conclave-Index, the position that a read with Conclave-Read was served at */
};

struct Conclave__Admin__Status;

void call_reply_text(const struct call *call, int status, const char *text);
void call_reply_json(const struct call *call, const struct buf *body);
/* 503 with Retry-After. */
void call_unavailable(struct http_exchange *x, const char *text);
/* For what only a current leader can do: 307 to the leader, or 503 while none is known. */
void call_reply_elsewhere(const struct call *call);
/* Leaves *ret alone when the query has no `name`; false, answered with 400, when it is not a number. */
bool call_query_u64(const struct call *call, const char *name, uint64_t *ret);
/* Content types of the request's Accept headers: JSON first when acceptable, then protobuf; false: neither. */
bool call_accepts(const struct http_request *request, enum encoding *ret);

/* Handlers. Each answers the exchange, now or later. */
void api_index(struct call *call);     /* api_index.c: GET / */
void api_scheduler(struct call *call); /* api_scheduler.c: POST /api/v1/scheduler */
void api_state(struct call *call);     /* api_legacy.c */
void api_state_summary(struct call *call);
void api_slaves(struct call *call);
void api_frameworks(struct call *call);
void api_tasks(struct call *call);
void api_version(struct call *call);
void api_redirect(struct call *call);
void api_metrics(struct call *call); /* metrics.c: Prometheus text */
void api_metrics_snapshot(struct call *call);
/* Fills in ret->alarms: 0 or ERR_LIMIT (api_alarms.c). */
int api_alarms(const struct master *m, struct Conclave__Admin__Status *ret, struct arena *arena);
void api_admin(struct call *call);                       /* api_admin.c: /conclave/v1/... */
void api_config(struct call *call, struct arena *arena); /* api_config.c: /conclave/v1/config */
void api_read(struct call *call);                        /* api_files.c: of /conclave/v1, what back-ups need */
void api_snapshots(struct call *call);
void api_snapshot(struct call *call);
void api_members(struct call *call, struct arena *arena); /* api_members.c: /conclave/v1/members */

#endif
