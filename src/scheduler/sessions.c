/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/sessions.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/map.h"
#include "base/rng.h"
#include "scheduler/events.h"
#include "wire/json.h"
#include "wire/protobuf.h"
#include "wire/recordio.h"

#define SESSION_MAGIC             0x53455353u
#define SESSION_EVENT_MAX         (4u << 20)  /* bytes of one event: what clients take */
#define SESSION_ARENA_MAX         (16u << 20) /* for building one */
#define SESSION_REDELIVER_BACKLOG (1u << 20)  /* bytes waiting at which re-delivery pauses until the next tick */
#define SESSIONS_MAX              10000
#define SESSIONS_OWED_MS          1000 /* between looks for streams whose end is not in the log */

#define EVENT(name) MESOS__V1__SCHEDULER__EVENT__TYPE__##name

struct session {
    uint32_t magic;
    uint32_t framework;
    struct sessions *owner;
    struct http_exchange *x;
    enum encoding encoding;
    char stream_id[37];
    uint64_t subscribed;    /* index of the subscription this stream belongs to */
    uint64_t last_event_ms; /* monotonic; of the last event that was no heartbeat; 0: none since the last heartbeat */
    uint64_t last_beat_ms;
    bool redelivering;    /* updates that were unacknowledged at the subscription are still being shown */
    uint64_t redelivered; /* number of the last task looked at for that */
    bool reconciling;     /* the same for implicit reconciliation */
    uint64_t reconciled;
};

struct sessions {
    struct master *m;
    struct session **items; /* any order */
    size_t count, cap;
    struct map by_framework;    /* struct session */
    uint64_t owed_ms;           /* monotonic; of the last look for ends that the log does not have */
    struct buf message, record; /* scratch */
    uint64_t events_sent;
};

const char *encoding_content_type(enum encoding encoding) {
    return encoding == ENCODING_JSON ? "application/json" : "application/x-protobuf";
}

int sessions_new(struct master *m, struct sessions **ret) {
    struct sessions *s = calloc(1, sizeof *s);
    if (!s) return ERR_NOMEM;
    s->m = m;
    buf_init(&s->message, SESSION_EVENT_MAX);
    buf_init(&s->record, SESSION_EVENT_MAX + 32);
    *ret = s;
    return 0;
}

void sessions_free(struct sessions *s) {
    if (!s) return;
    CHECK(s->count == 0);
    buf_done(&s->message);
    buf_done(&s->record);
    map_done(&s->by_framework);
    free(s->items);
    free(s);
}

static uint64_t framework_hash(uint32_t framework) {
    return hash64_of(&framework, sizeof framework);
}

static bool framework_equal(const void *ctx, const void *key, uint64_t value) {
    (void)ctx;
    return ((const struct session *)(uintptr_t)value)->framework == *(const uint32_t *)key;
}

struct session *sessions_find(struct sessions *s, uint32_t framework) {
    return (struct session *)(uintptr_t)map_get(&s->by_framework, framework_hash(framework), framework_equal, NULL,
                                                &framework);
}

const char *session_stream_id(const struct session *session) {
    return session->stream_id;
}

uint32_t sessions_count(const struct sessions *s) {
    return (uint32_t)s->count;
}

uint64_t sessions_events_sent(const struct sessions *s) {
    return s->events_sent;
}

static void session_forget(struct session *session) {
    struct sessions *s = session->owner;
    for (size_t i = 0; i < s->count; i++)
        if (s->items[i] == session) {
            s->items[i] = s->items[--s->count];
            CHECK(map_drop(&s->by_framework, framework_hash(session->framework), (uint64_t)(uintptr_t)session));
            free(session);
            return;
        }
    CHECK(false);
}

/* ---- writing ---- */

static int encode_event(const Mesos__V1__Scheduler__Event *event, enum encoding encoding, struct buf *message,
                        struct buf *record) {
    buf_clear(message);
    buf_clear(record);
    int rc = encoding == ENCODING_JSON ? json_print(&event->base, 0, message) : protobuf_print(&event->base, message);
    return rc ? rc : recordio_append(record, message->data, message->len);
}

/* One record, one chunk. A stream that cannot take it is being cut by the server: its `closed` does the rest. */
static int session_send(struct session *session, const Mesos__V1__Scheduler__Event *event) {
    struct sessions *s = session->owner;
    int rc = encode_event(event, session->encoding, &s->message, &s->record);
    if (rc) {
        log_event(LOG_ERROR, "event_not_sent", "framework=%" PRIu32 " type=%d why=%s", session->framework,
                  (int)event->type, err_text(rc));
        return rc;
    }
    (void)http_stream_chunk(session->x, s->record.data, s->record.len);
    s->events_sent++;
    if (event->type == EVENT(HEARTBEAT)) {
        session->last_beat_ms = clock_mono_ms();
        session->last_event_ms = 0;
    } else {
        session->last_event_ms = clock_mono_ms();
    }
    return 0;
}

static void session_heartbeat(struct session *session) {
    Mesos__V1__Scheduler__Event event = MESOS__V1__SCHEDULER__EVENT__INIT;
    event.has_type = 1;
    event.type = EVENT(HEARTBEAT);
    (void)session_send(session, &event);
}

void sessions_event(struct sessions *s, uint32_t framework, const Mesos__V1__Scheduler__Event *event) {
    struct session *session = sessions_find(s, framework);
    if (session) (void)session_send(session, event);
}

/* ---- events about tasks and offers ---- */

static void sessions_send_status(struct sessions *s, uint32_t framework, Mesos__V1__TaskStatus *status) {
    Mesos__V1__Scheduler__Event__Update update = MESOS__V1__SCHEDULER__EVENT__UPDATE__INIT;
    Mesos__V1__Scheduler__Event event = MESOS__V1__SCHEDULER__EVENT__INIT;
    update.status = status;
    event.has_type = 1;
    event.type = EVENT(UPDATE);
    event.update = &update;
    sessions_event(s, framework, &event);
}

void sessions_update(struct sessions *s, const struct task *task, bool reconciliation) {
    if (!sessions_find(s, task->framework)) return;
    struct arena arena;
    arena_init(&arena, SESSION_ARENA_MAX);
    Mesos__V1__TaskStatus *status = event_status(s->m, task, reconciliation, &arena);
    if (status) sessions_send_status(s, task->framework, status);
    arena_done(&arena);
}

void sessions_update_made(struct sessions *s, uint32_t framework, const char *task_id, const char *agent_id,
                          uint32_t state, int reason, const char *message) {
    if (!sessions_find(s, framework)) return;
    struct arena arena;
    arena_init(&arena, SESSION_ARENA_MAX);
    Mesos__V1__TaskStatus *status = event_status_made(task_id, agent_id, state, reason, message, &arena);
    if (status) sessions_send_status(s, framework, status);
    arena_done(&arena);
}

int sessions_offers(struct sessions *s, uint32_t framework, struct offer *const *offers, size_t count) {
    struct session *session = sessions_find(s, framework);
    if (!session) return ERR_CLOSED;
    struct arena arena;
    arena_init(&arena, SESSION_ARENA_MAX);
    Mesos__V1__Scheduler__Event__Offers body = MESOS__V1__SCHEDULER__EVENT__OFFERS__INIT;
    Mesos__V1__Scheduler__Event event = MESOS__V1__SCHEDULER__EVENT__INIT;
    body.offers = arena_alloc(&arena, count * sizeof *body.offers);
    int rc = body.offers ? 0 : ERR_LIMIT;
    while (rc == 0 && body.n_offers < count) {
        Mesos__V1__Offer *offer = event_offer(s->m, offers[body.n_offers], &arena);
        if (offer)
            body.offers[body.n_offers++] = offer;
        else
            rc = ERR_LIMIT;
    }
    event.has_type = 1;
    event.type = EVENT(OFFERS);
    event.offers = &body;
    if (rc == 0) rc = session_send(session, &event);
    arena_done(&arena);
    return rc;
}

void sessions_rescind(struct sessions *s, const struct offer *offer) {
    char id[128], master[96];
    master_id(s->m, master, sizeof master);
    (void)snprintf(id, sizeof id, "%s-O%" PRIu64, master, offer->number);
    Mesos__V1__OfferID offer_id = MESOS__V1__OFFER_ID__INIT;
    Mesos__V1__Scheduler__Event__Rescind rescind = MESOS__V1__SCHEDULER__EVENT__RESCIND__INIT;
    Mesos__V1__Scheduler__Event event = MESOS__V1__SCHEDULER__EVENT__INIT;
    offer_id.value = id;
    rescind.offer_id = &offer_id;
    event.has_type = 1;
    event.type = EVENT(RESCIND);
    event.rescind = &rescind;
    sessions_event(s, offer->framework, &event);
}

/* ---- beginning and ending ---- */

static void stream_error(struct http_exchange *x, enum encoding encoding, struct buf *message, struct buf *record,
                         const char *why) {
    Mesos__V1__Scheduler__Event__Error error = MESOS__V1__SCHEDULER__EVENT__ERROR__INIT;
    Mesos__V1__Scheduler__Event event = MESOS__V1__SCHEDULER__EVENT__INIT;
    error.message = (char *)why;
    event.has_type = 1;
    event.type = EVENT(ERROR);
    event.error = &error;
    if (encode_event(&event, encoding, message, record) == 0) (void)http_stream_chunk(x, record->data, record->len);
}

static void stream_begin(struct http_exchange *x, enum encoding encoding, const char *stream_id) {
    const struct http_field fields[] = {
        {"Content-Type", encoding_content_type(encoding)},
        {"Mesos-Stream-Id", stream_id},
        {"Cache-Control", "no-cache"},
    };
    http_stream_begin(x, 200, fields, sizeof fields / sizeof fields[0]);
}

void sessions_refuse(struct http_exchange *x, enum encoding encoding, const char *why) {
    struct buf message, record;
    char stream_id[37];
    random_uuid(stream_id);
    buf_init(&message, SESSION_EVENT_MAX);
    buf_init(&record, SESSION_EVENT_MAX);
    stream_begin(x, encoding, stream_id);
    stream_error(x, encoding, &message, &record, why);
    http_stream_end(x);
    buf_done(&message);
    buf_done(&record);
}

static void session_disconnected(struct master *m, uint32_t framework, uint64_t subscribed) {
    Conclave__Log__FrameworkDisconnected gone = CONCLAVE__LOG__FRAMEWORK_DISCONNECTED__INIT;
    Conclave__Log__Command command = CONCLAVE__LOG__COMMAND__INIT;
    gone.framework = framework;
    gone.subscribed = subscribed;
    command.framework_disconnected = &gone;
    int rc = master_propose(m, &command, NULL, NULL);
    if (rc) log_event(LOG_WARN, "disconnect_not_logged", "framework=%" PRIu32 " why=%s", framework, err_text(rc));
}

/* The peer went away, or did not read: the stream is gone before we ended it. */
static void session_on_closed(void *ctx) {
    struct session *session = ctx;
    CHECK_MAGIC(session, SESSION_MAGIC);
    struct master *m = session->owner->m;
    uint32_t framework = session->framework;
    uint64_t subscribed = session->subscribed;
    log_event(LOG_INFO, "framework_disconnected", "framework=%" PRIu32, framework);
    session_forget(session);
    offers_drop_framework(m->offers, framework);
    session_disconnected(m, framework, subscribed);
}

/* Ends a stream from our side. The `closed` callback must not see it any more. */
static void session_close(struct session *session, const char *error) {
    struct sessions *s = session->owner;
    struct http_exchange *x = session->x;
    http_exchange_on_closed(x, NULL, NULL);
    if (error) stream_error(x, session->encoding, &s->message, &s->record, error);
    http_stream_end(x);
    session_forget(session);
}

void sessions_end(struct sessions *s, uint32_t framework, const char *error) {
    struct session *session = sessions_find(s, framework);
    if (session) session_close(session, error);
}

void sessions_reset(struct sessions *s) {
    while (s->count > 0) {
        struct session *session = s->items[s->count - 1];
        struct http_exchange *x = session->x;
        http_exchange_on_closed(x, NULL, NULL);
        session_forget(session);
        http_abort(x);
    }
}

static struct session *session_new(struct sessions *s, uint32_t framework, struct http_exchange *x,
                                   enum encoding encoding) {
    if (s->count >= SESSIONS_MAX) return NULL;
    if (s->count == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 16;
        struct session **grown = realloc(s->items, cap * sizeof *grown);
        if (!grown) return NULL;
        s->items = grown;
        s->cap = cap;
    }
    struct session *session = calloc(1, sizeof *session);
    if (!session) return NULL;
    *session =
        (struct session){.magic = SESSION_MAGIC, .framework = framework, .owner = s, .x = x, .encoding = encoding};
    random_uuid(session->stream_id);
    s->items[s->count++] = session;
    map_put(&s->by_framework, framework_hash(framework), (uint64_t)(uintptr_t)session);
    return session;
}

static void session_greet(struct session *session, const struct framework *f) {
    struct arena arena;
    arena_init(&arena, SESSION_ARENA_MAX);
    Mesos__V1__Scheduler__Event__Subscribed subscribed = MESOS__V1__SCHEDULER__EVENT__SUBSCRIBED__INIT;
    Mesos__V1__Scheduler__Event event = MESOS__V1__SCHEDULER__EVENT__INIT;
    subscribed.framework_id = event_framework_id(f->id, &arena);
    subscribed.has_heartbeat_interval_seconds = 1;
    subscribed.heartbeat_interval_seconds = SESSIONS_HEARTBEAT_MS / 1000.0;
    subscribed.master_info = event_master_info(session->owner->m, &arena);
    event.has_type = 1;
    event.type = EVENT(SUBSCRIBED);
    event.subscribed = &subscribed;
    if (subscribed.framework_id && subscribed.master_info) (void)session_send(session, &event);
    session_heartbeat(session);
    arena_done(&arena);
}

/* Shows tasks in order of their number, as fast as the client reads: a framework with a hundred thousand of them must
 * not be cut for being behind. True when all were shown. */
static bool session_walk(struct session *session, const struct framework *f, uint64_t *cursor, bool reconciliation) {
    for (const struct queue *q = f->tasks.next; q != &f->tasks; q = q->next) {
        const struct task *task = QUEUE_ENTRY(q, struct task, in_framework);
        if (task->number <= *cursor) continue;
        if (http_stream_backlog(session->x) > SESSION_REDELIVER_BACKLOG) return false;
        *cursor = task->number;
        if (reconciliation || task->unacked) sessions_update(session->owner, task, reconciliation);
    }
    return true;
}

static void session_walks(struct session *session) {
    if (!session->redelivering && !session->reconciling) return;
    const struct framework *f = state_framework(session->owner->m->state, session->framework);
    CHECK(f);
    if (session->redelivering) session->redelivering = !session_walk(session, f, &session->redelivered, false);
    if (session->reconciling) session->reconciling = !session_walk(session, f, &session->reconciled, true);
}

void sessions_reconcile(struct sessions *s, uint32_t framework) {
    struct session *session = sessions_find(s, framework);
    if (!session) return;
    session->reconciling = true;
    session->reconciled = 0;
    session_walks(session);
}

/* A stream that was cut while the log took no command: the framework counts as connected, subscribed in this term, and
 * has no session. It would never expire. */
static void sessions_owed(struct sessions *s) {
    const struct master *m = s->m;
    for (const struct framework *f = NULL; (f = state_framework_next(m->state, f ? f->number : 0));)
        if (f->status == FRAMEWORK_CONNECTED && f->subscribed >= state_leader(m->state)->index &&
            !sessions_find(s, f->number))
            session_disconnected(s->m, f->number, f->subscribed);
}

void sessions_tick(struct sessions *s, uint64_t now_ms) {
    for (size_t i = 0; i < s->count; i++) {
        struct session *session = s->items[i];
        bool burst_over = session->last_event_ms && now_ms >= session->last_event_ms + SESSIONS_BURST_MS;
        session_walks(session);
        if (burst_over || now_ms >= session->last_beat_ms + SESSIONS_HEARTBEAT_MS) session_heartbeat(session);
    }
    if (now_ms < s->owed_ms + SESSIONS_OWED_MS) return;
    s->owed_ms = now_ms;
    sessions_owed(s);
}

void sessions_subscribed(struct sessions *s, uint32_t framework, struct http_exchange *x, enum encoding encoding) {
    const struct framework *f = state_framework(s->m->state, framework);
    CHECK(f);
    struct session *old = sessions_find(s, framework);
    if (old) {
        session_close(old, "Framework failed over");
        offers_drop_framework(s->m->offers, framework);
    }
    struct session *session = session_new(s, framework, x, encoding);
    if (!session) {
        http_reply_text(x, 503, "Too many frameworks");
        session_disconnected(s->m, framework, f->subscribed);
        return;
    }
    session->subscribed = f->subscribed;
    stream_begin(x, encoding, session->stream_id);
    http_exchange_on_closed(x, session_on_closed, session);
    log_event(LOG_INFO, "framework_subscribed", "framework=%s number=%" PRIu32, f->id, framework);
    session_greet(session, f);
    session->redelivering = true;
    session_walks(session);
    offers_wake(s->m->offers);
}
