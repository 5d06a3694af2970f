/* SPDX-License-Identifier: Apache-2.0
 * Sessions: the live event streams of frameworks (wire reference: the scheduler's SUBSCRIBE).
 *
 * A session is one framework's current stream: id, encoding, heartbeat. It exists only on a current leader, begins when
 * a FrameworkSubscribe is applied, and ends with the stream, the term, or a newer subscription. A framework whose
 * stream is cut is told so in the log (FrameworkDisconnected); one whose leader died is not. Events are one RecordIO
 * record in one chunk. A heartbeat follows SUBSCRIBED, every SESSIONS_HEARTBEAT_MS, and SESSIONS_BURST_MS after the
 * last event of a burst (some clients see an event only when the next one begins). */
#ifndef CONCLAVE_SCHEDULER_SESSIONS_H
#define CONCLAVE_SCHEDULER_SESSIONS_H

#include "mesos/v1/scheduler.pb-c.h"
#include "scheduler/master.h"
#include "scheduler/offers.h"

#define SESSIONS_HEARTBEAT_MS 5000
#define SESSIONS_BURST_MS     50

enum encoding { ENCODING_JSON, ENCODING_PROTOBUF };
const char *encoding_content_type(enum encoding encoding);

struct session; /* opaque */

int sessions_new(struct master *m, struct sessions **ret);
void sessions_free(struct sessions *s);
/* The term is over: every stream is cut without an event; nothing is proposed. */
void sessions_reset(struct sessions *s);
/* Heartbeats, what waits for slow readers, and ends of streams that the log does not have yet. */
void sessions_tick(struct sessions *s, uint64_t now_ms);

/* The FrameworkSubscribe for this framework was applied: replaces an older session ("Framework failed over"), begins
 * the stream on `x` (taken), sends SUBSCRIBED and a heartbeat, then every unacknowledged update. */
void sessions_subscribed(struct sessions *s, uint32_t framework, struct http_exchange *x, enum encoding encoding);
/* A SUBSCRIBE that is refused on the stream: 200, one ERROR event, end. */
void sessions_refuse(struct http_exchange *x, enum encoding encoding, const char *why);

/* The session of a framework, or NULL; and its stream id (36 characters). */
struct session *sessions_find(struct sessions *s, uint32_t framework);
const char *session_stream_id(const struct session *session);

/* Sends one event to the framework's stream; dropped when it has none. */
void sessions_event(struct sessions *s, uint32_t framework, const Mesos__V1__Scheduler__Event *event);
/* The task's latest update, as the state has it: with its uuid while unacknowledged; without one for reconciliation. */
void sessions_update(struct sessions *s, const struct task *task, bool reconciliation);
/* An update about something that is not a task of the state: answers of ACCEPT and RECONCILE. */
void sessions_update_made(struct sessions *s, uint32_t framework, const char *task_id, const char *agent_id,
                          uint32_t state, int reason, const char *message);
/* One OFFERS event; an error when it cannot be built or is too large for one event. */
int sessions_offers(struct sessions *s, uint32_t framework, struct offer *const *offers, size_t count);
/* Shows the state of every live task of the framework, as fast as its client reads: implicit reconciliation. */
void sessions_reconcile(struct sessions *s, uint32_t framework);
void sessions_rescind(struct sessions *s, const struct offer *offer);
/* ERROR (may be NULL: none) and the end of the stream. */
void sessions_end(struct sessions *s, uint32_t framework, const char *error);

uint32_t sessions_count(const struct sessions *s);
uint64_t sessions_events_sent(const struct sessions *s);

#endif
