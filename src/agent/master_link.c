/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/master_link.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "wire/arena.h"
#include "wire/protobuf.h"

#define CONN_MAGIC       0x434f4e4eu
#define BACKOFF_FIRST_MS 20
#define BACKOFF_MAX_MS   500
#define ASKED_MS         1000 /* a master that does not answer a Hello is left */
#define TOLD_MS          250  /* a master that does not know the leader is left, after this */
#define CURRENT_MS       5000 /* a leader that is not current yet is waited for */
#define WATCH_RETRY_MS   200
#define SILENT_PINGS     5
#define FRAME_BYTES_MAX  (2u << 20)
#define ARENA_BYTES_MAX  (1u << 20)

#define FRAME(name) CONCLAVE__LINK__FRAME_TYPE__##name

enum conn_state { CONN_DIALING, CONN_ASKED, CONN_TOLD, CONN_WELCOME };

struct conn { /* one connection; lives until its link's on_close, also when it was abandoned */
    uint32_t magic;
    struct master_link *owner;
    struct link *link;
    struct address address;
    enum conn_state state;
    bool watch;
    bool told_self; /* it has named itself as the leader: a Welcome follows once it is current */
    bool abandoned; /* no longer main or watch */
};

struct master_link {
    struct master_link_options options;
    struct address masters[MASTERS_MAX]; /* who may be asked: as the leader told last, then as we were started with */
    size_t master_n;
    struct conn *main, *watch; /* NULL: none now */
    unsigned conns;            /* links not closed yet */
    size_t next_main, next_watch;
    struct address leader; /* as told or found; valid if leader_known */
    bool leader_known;
    uint64_t leader_term; /* of the newest word about leadership */
    uint64_t dead_term;   /* `dead` did not answer, so older words about it are not followed at once */
    struct address dead;
    struct fence fence; /* of the last Welcome */
    uint32_t ping_ms;
    unsigned backoff_ms; /* 0: the next dial is at once */
    struct rng rng;
    uv_timer_t main_timer, watch_timer;
    struct buf out;
    struct master_link_stats stats;
    bool tls_logged; /* a failure of TLS was logged since the last welcome */
    char leader_text[ADDRESS_TEXT_MAX];
    bool closing;
    unsigned timers; /* not closed yet */
    void (*closed)(void *ctx);
    void *closed_ctx;
};

static void main_dial(struct master_link *m);
static void watch_dial(struct master_link *m);
static const struct link_callbacks callbacks;

static bool address_same(const struct address *a, const struct address *b) {
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* ---- whom to ask ---- */

static void masters_put(struct master_link *m, const struct address *address) {
    if (m->master_n == MASTERS_MAX) return;
    for (size_t i = 0; i < m->master_n; i++)
        if (address_same(&m->masters[i], address)) return;
    m->masters[m->master_n++] = *address;
}

/* What the leader told last comes first, so that masters which all were replaced since our start strand nobody. */
static void masters_load(struct master_link *m) {
    struct address told[MASTERS_MAX];
    size_t n = 0;
    m->master_n = 0;
    if (m->options.store->masters[0] == '\0' ||
        address_list_parse(m->options.store->masters, 0, 0, told, MASTERS_MAX, &n, NULL) != 0)
        n = 0;
    for (size_t i = 0; i < n; i++)
        masters_put(m, &told[i]);
    for (size_t i = 0; i < m->options.master_n; i++)
        masters_put(m, &m->options.masters[i]);
}

/* The leader we are welcome at says who the masters are. What cannot be read is left out. */
static void masters_told(struct master_link *m, char *const *masters, size_t n) {
    struct buf list;
    struct err err;
    size_t taken = 0;
    buf_init(&list, sizeof m->options.store->masters - 1);
    for (size_t i = 0; i < n && taken < MASTERS_MAX; i++) {
        struct address address;
        if (address_parse(masters[i], 0, 0, &address, NULL) != 0 || address.port == 0) continue;
        (void)buf_printf(&list, taken++ ? ",%s" : "%s", masters[i]);
    }
    (void)buf_append_byte(&list, 0);
    if (taken > 0 && !list.failed && strcmp((char *)list.data, m->options.store->masters) != 0) {
        if (store_masters_set(m->options.store, (char *)list.data, &err) != 0)
            log_event(LOG_WARN, "masters_not_kept", "%s", err.text);
        else
            log_event(LOG_INFO, "masters", "masters=%s", m->options.store->masters);
        masters_load(m);
    }
    buf_done(&list);
}

/* ---- timers ---- */

static void main_timer_cb(uv_timer_t *timer);
static void watch_timer_cb(uv_timer_t *timer);

static void main_after(struct master_link *m, uint64_t ms) {
    if (!m->closing) (void)uv_timer_start(&m->main_timer, main_timer_cb, ms, 0);
}

static void main_retry(struct master_link *m) {
    uint64_t wait = m->backoff_ms ? m->backoff_ms / 2 + rng_below(&m->rng, m->backoff_ms) : 0;
    m->backoff_ms = m->backoff_ms == 0                   ? BACKOFF_FIRST_MS
                    : m->backoff_ms * 2 < BACKOFF_MAX_MS ? m->backoff_ms * 2
                                                         : BACKOFF_MAX_MS;
    main_after(m, wait);
}

/* ---- connections ---- */

static struct conn *conn_open(struct master_link *m, const struct address *address, bool watch) {
    struct link_options options;
    struct err err = {0};
    char text[ADDRESS_TEXT_MAX];
    struct conn *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->magic = CONN_MAGIC;
    c->owner = m;
    c->address = *address;
    c->watch = watch;
    link_options_default(&options);
    options.frame_bytes_max = options.frame_bytes_max_new = FRAME_BYTES_MAX; /* a leader's orders, from the first */
    options.connect_timeout_ms = ASKED_MS;
    options.establish_timeout_ms = 0; /* our own timers watch over the answer */
    options.handshake_timeout_ms = ASKED_MS;
    options.bind_host = m->options.bind_host;
    options.tls = m->options.tls;
    options.tls_peer.role = TLS_MASTER;
    c->link = link_connect(m->options.net, address, &options, &callbacks, c, &err);
    if (!c->link) {
        log_event(LOG_WARN, "master_dial", "master=%s %s", address_format(address, text), err.text);
        free(c);
        return NULL;
    }
    m->conns++;
    m->stats.dials++;
    return c;
}

static void conn_abandon(struct conn *c) {
    if (!c) return;
    c->abandoned = true;
    link_close(c->link);
}

static void main_lost(struct master_link *m) {
    m->leader_text[0] = '\0';
    m->stats.losses++;
    m->options.lost(m->options.ctx);
}

/* Gives main up, whatever it was, without choosing what comes next. */
static void main_end(struct master_link *m) {
    struct conn *c = m->main;
    if (!c) return;
    m->main = NULL;
    conn_abandon(c);
    if (c->state == CONN_WELCOME) main_lost(m);
}

static void main_restart(struct master_link *m) {
    main_end(m);
    main_retry(m);
}

static void main_dial(struct master_link *m) {
    const struct address *target;
    if (m->closing || m->main) return;
    if (m->leader_known)
        target = &m->leader;
    else
        target = &m->masters[m->next_main++ % m->master_n];
    m->main = conn_open(m, target, false);
    if (!m->main) main_retry(m);
}

static void watch_dial(struct master_link *m) {
    if (m->closing || m->watch || m->master_n < 2) return;
    for (size_t i = 0; i < m->master_n; i++) {
        const struct address *target = &m->masters[m->next_watch++ % m->master_n];
        if (m->main && address_same(&m->main->address, target)) continue;
        m->watch = conn_open(m, target, true);
        break;
    }
    if (!m->watch) (void)uv_timer_start(&m->watch_timer, watch_timer_cb, WATCH_RETRY_MS, 0);
}

static void main_timer_cb(uv_timer_t *timer) {
    struct master_link *m = timer->data;
    char text[ADDRESS_TEXT_MAX];
    struct conn *c = m->main;
    if (!c) {
        main_dial(m);
        return;
    }
    if (c->state == CONN_WELCOME) {
        struct link_stats stats;
        link_stats(c->link, &stats);
        uint64_t quiet = clock_mono_ms() - stats.last_in_ms, limit = (uint64_t)m->ping_ms * SILENT_PINGS;
        if (quiet < limit) {
            main_after(m, limit - quiet);
            return;
        }
        log_event(LOG_WARN, "leader_silent", "leader=%s ms=%" PRIu64, address_format(&c->address, text), quiet);
        m->leader_known = false;
    } else if (c->state != CONN_DIALING && m->leader_known && address_same(&c->address, &m->leader)) {
        m->leader_known = false; /* it does not answer as a leader: ask the others */
    }
    main_restart(m);
}

static void watch_timer_cb(uv_timer_t *timer) {
    watch_dial(timer->data);
}

/* ---- frames ---- */

static int conn_send(struct conn *c, enum link_lane lane, uint16_t type, const ProtobufCMessage *message) {
    struct buf *out = &c->owner->out;
    buf_clear(out);
    int rc = protobuf_print(message, out);
    return rc ? rc : link_send(c->link, lane, type, out->data, out->len, NULL, 0);
}

static void hello_send(struct conn *c) {
    struct master_link *m = c->owner;
    buf_clear(&m->out);
    int rc = m->options.hello(m->options.ctx, c->watch, &m->out);
    if (rc == 0) rc = link_send(c->link, LINK_BULK, FRAME(HELLO), m->out.data, m->out.len, NULL, 0);
    if (rc) {
        log_event(LOG_ERROR, "hello", "%s", err_text(rc));
        link_close(c->link);
        return;
    }
    c->state = CONN_ASKED;
    if (!c->watch) main_after(m, ASKED_MS);
}

/* The master that main waits at leads, or will in a moment. If our Hello came to it as a follower it was done with it,
 * so it gets another one, once. */
static void self_told(struct conn *c) {
    if (!c->told_self) {
        c->told_self = true;
        hello_send(c);
        return;
    }
    c->told_self = true;
    main_after(c->owner, CURRENT_MS);
}

/* Somebody says who leads. */
static void leader_told(struct master_link *m, const Conclave__Link__Leader *leader) {
    struct address address;
    struct conn *c = m->main;
    m->stats.leader_frames++;
    if (leader->term < m->leader_term) return;
    bool newer = leader->term > m->leader_term;
    m->leader_term = leader->term;
    if (!leader->link || address_parse(leader->link, 0, 0, &address, NULL) != 0) {
        if (!newer) return;
        m->leader_known = false;
        if (c && c->state == CONN_WELCOME) { /* it is deposed, and its successor not known yet */
            c->state = CONN_TOLD;
            main_lost(m);
            main_after(m, TOLD_MS);
        }
        return;
    }
    if (!newer && leader->term == m->dead_term && address_same(&address, &m->dead)) return;
    m->leader = address;
    m->leader_known = true;
    if (c && address_same(&c->address, &address)) {
        if (newer && c->state == CONN_WELCOME) { /* elected again: its next Welcome needs a new Hello */
            m->backoff_ms = 0;
            main_restart(m);
        } else if (c->state == CONN_TOLD) {
            self_told(c);
        }
        return;
    }
    if (c && c->state == CONN_WELCOME && !newer) return; /* we know better */
    main_end(m);
    m->backoff_ms = 0;
    main_dial(m);
}

static bool fence_from(const Conclave__Link__Fence *in, struct fence *ret) {
    if (in->cluster_id.len != sizeof ret->cluster_id) return false;
    *ret = (struct fence){.set = true, .incarnation = in->incarnation, .term = in->term};
    memcpy(ret->cluster_id, in->cluster_id.data, sizeof ret->cluster_id);
    return true;
}

/* Judges a fence; a newer one is on disk when this returns true. */
static bool fence_take(struct master_link *m, const Conclave__Link__Fence *in, const char *what) {
    struct fence fence;
    struct err err = {0};
    struct store *store = m->options.store;
    enum fence_verdict verdict =
        fence_from(in, &fence) ? fence_judge(&store->fence, m->options.cluster_id, &fence) : FENCE_STRANGER;
    switch (verdict) {
    case FENCE_SAME:
        return true;
    case FENCE_NEWER:
        if (store_fence_set(store, &fence, &err) == 0) return true;
        m->options.fatal(m->options.ctx, ERR_IO, err.text);
        return false;
    case FENCE_OLDER:
        m->stats.fence_refused++;
        log_event(LOG_WARN, "fence_refused", "what=%s term=%" PRIu64 " incarnation=%" PRIu32 " ours=%" PRIu64, what,
                  fence.term, fence.incarnation, store->fence.term);
        return false;
    case FENCE_STRANGER:
        m->stats.stranger_refused++;
        log_event(LOG_ERROR, "stranger_refused", "what=%s: it belongs to another cluster", what);
        return false;
    }
    return false;
}

static void welcome_take(struct conn *c, const Conclave__Link__Welcome *w) {
    struct master_link *m = c->owner;
    struct err err = {0};
    if (c->state == CONN_WELCOME || !fence_take(m, w->fence, "welcome")) {
        m->leader_known = false;
        m->leader_term = 0; /* whoever sent us here may have been a stranger too */
        main_restart(m);
        return;
    }
    if (store_agent_id_set(m->options.store, w->agent_id, &err) != 0) {
        m->options.fatal(m->options.ctx, err.code, err.text);
        return;
    }
    link_established(c->link);
    c->state = CONN_WELCOME;
    m->fence = m->options.store->fence;
    m->ping_ms = w->ping_ms >= 10 && w->ping_ms <= 60000 ? w->ping_ms : 1000;
    m->leader = c->address;
    m->leader_known = true;
    m->leader_term = m->fence.term;
    m->backoff_ms = 0;
    m->stats.welcomes++;
    m->tls_logged = false;
    (void)address_format(&c->address, m->leader_text);
    log_event(LOG_INFO, "welcome", "leader=%s term=%" PRIu64 " agent=%s", m->leader_text, m->fence.term,
              m->options.store->agent_id);
    main_after(m, (uint64_t)m->ping_ms * SILENT_PINGS);
    if (m->watch && address_same(&m->watch->address, &c->address)) { /* two eyes on one master see no more than one */
        conn_abandon(m->watch);
        m->watch = NULL;
    }
    watch_dial(m);
    masters_told(m, w->masters, w->n_masters);
    m->options.welcome(m->options.ctx);
}

static void leader_frame(struct conn *c, const Conclave__Link__Leader *leader) {
    struct address address;
    if (!c->watch && c->state == CONN_ASKED) { /* the answer to our Hello */
        bool self = leader->link && address_parse(leader->link, 0, 0, &address, NULL) == 0 &&
                    address_same(&address, &c->address);
        c->told_self = self;
        c->state = CONN_TOLD;
        main_after(c->owner, TOLD_MS);
    }
    if (!c->watch && c->state == CONN_WELCOME && leader->n_masters > 0)
        masters_told(c->owner, leader->masters, leader->n_masters);
    leader_told(c->owner, leader);
}

static void refused_take(struct conn *c, const Conclave__Link__Refused *refused) {
    struct master_link *m = c->owner;
    char text[ADDRESS_TEXT_MAX];
    log_event(LOG_ERROR, "refused", "master=%s permanent=%d %s", address_format(&c->address, text), refused->permanent,
              refused->reason);
    if (c->watch) return; /* the link closes; the other one matters */
    if (refused->permanent) {
        m->options.fatal(m->options.ctx, ERR_FORBIDDEN, refused->reason);
        return;
    }
    m->leader_known = false;
    main_restart(m);
}

static const ProtobufCMessageDescriptor *frame_descriptor(uint16_t type) {
    switch (type) {
    case FRAME(WELCOME):
        return &conclave__link__welcome__descriptor;
    case FRAME(LEADER):
        return &conclave__link__leader__descriptor;
    case FRAME(REFUSED):
        return &conclave__link__refused__descriptor;
    case FRAME(PING):
        return &conclave__link__ping__descriptor;
    default:
        return NULL;
    }
}

static void own_frame(struct conn *c, uint16_t type, const ProtobufCMessage *message) {
    if (type == FRAME(LEADER)) {
        leader_frame(c, (const Conclave__Link__Leader *)message);
    } else if (type == FRAME(REFUSED)) {
        refused_take(c, (const Conclave__Link__Refused *)message);
    } else if (type == FRAME(WELCOME)) {
        if (!c->watch) welcome_take(c, (const Conclave__Link__Welcome *)message);
    } else {
        Conclave__Link__Pong pong = CONCLAVE__LINK__PONG__INIT;
        pong.sent_ms = ((const Conclave__Link__Ping *)message)->sent_ms;
        (void)conn_send(c, LINK_CONTROL, FRAME(PONG), &pong.base);
    }
}

static void on_frame(void *ctx, struct link *link, uint16_t type, const uint8_t *payload, size_t len) {
    struct conn *c = ctx;
    CHECK_MAGIC(c, CONN_MAGIC);
    struct master_link *m = c->owner;
    (void)link;
    if (c->abandoned) return;
    const ProtobufCMessageDescriptor *descriptor = frame_descriptor(type);
    if (!descriptor) {
        if (!c->watch && c->state == CONN_WELCOME) m->options.order(m->options.ctx, type, payload, len);
        return; /* an order from anyone else is not obeyed */
    }
    struct arena arena;
    struct err err = {0};
    ProtobufCMessage *message;
    arena_init(&arena, ARENA_BYTES_MAX);
    if (protobuf_parse(descriptor, payload, len, 0, &arena, &message, &err) == 0) {
        own_frame(c, type, message);
    } else {
        log_event(LOG_ERROR, "master_frame_malformed", "type=%u %s", type, err.text);
        link_close(c->link);
    }
    arena_done(&arena);
}

static void on_open(void *ctx, struct link *link) {
    struct conn *c = ctx;
    CHECK_MAGIC(c, CONN_MAGIC);
    (void)link;
    if (!c->abandoned) hello_send(c);
}

static void closed_check(struct master_link *m) {
    if (!m->closing || m->conns || m->timers) return;
    void (*closed)(void *) = m->closed;
    void *ctx = m->closed_ctx;
    buf_done(&m->out);
    free(m);
    if (closed) closed(ctx);
}

static void on_close(void *ctx, struct link *link, enum link_reason reason, const struct err *err) {
    struct conn *c = ctx;
    CHECK_MAGIC(c, CONN_MAGIC);
    struct master_link *m = c->owner;
    char text[ADDRESS_TEXT_MAX];
    (void)link;
    m->conns--;
    if (!c->abandoned && reason == LINK_TLS && !m->tls_logged) {
        m->tls_logged = true;
        log_event(LOG_ERROR, "master_tls", "master=%s %s", address_format(&c->address, text), err->text);
    }
    if (!c->abandoned && c->watch) {
        m->watch = NULL;
        (void)uv_timer_start(&m->watch_timer, watch_timer_cb, WATCH_RETRY_MS, 0);
    } else if (!c->abandoned) {
        m->main = NULL;
        if (c->state == CONN_WELCOME || c->state == CONN_DIALING)
            log_event(c->state == CONN_WELCOME ? LOG_WARN : LOG_DEBUG, "leader_gone", "leader=%s reason=%s %s",
                      address_format(&c->address, text), link_reason_name(reason), err ? err->text : "");
        if (m->leader_known && address_same(&m->leader, &c->address)) {
            m->leader_known = false;
            m->dead = c->address;
            m->dead_term = m->leader_term;
        }
        if (c->state == CONN_WELCOME) main_lost(m);
        main_retry(m);
    }
    free(c);
    closed_check(m);
}

static void on_writable(void *ctx, struct link *link) {
    struct conn *c = ctx;
    (void)link;
    if (!c->abandoned && c->state == CONN_WELCOME) c->owner->options.writable(c->owner->options.ctx);
}

static const struct link_callbacks callbacks = {on_open, on_frame, on_close, on_writable};

/* ---- face ---- */

int master_link_open(const struct master_link_options *options, struct master_link **ret, struct err *err) {
    if (options->master_n == 0 || options->master_n > MASTERS_MAX)
        return err_set(err, ERR_INVALID, "between 1 and %d masters", MASTERS_MAX);
    struct master_link *m = calloc(1, sizeof *m);
    if (!m) return err_set(err, ERR_NOMEM, "no memory");
    m->options = *options;
    m->leader_term = options->store->fence.set ? options->store->fence.term : 0;
    rng_seed_system(&m->rng);
    masters_load(m);
    m->next_main = (size_t)rng_below(&m->rng, m->master_n);
    m->next_watch = m->next_main + 1;
    buf_init(&m->out, FRAME_BYTES_MAX);
    (void)uv_timer_init(net_loop(options->net), &m->main_timer);
    (void)uv_timer_init(net_loop(options->net), &m->watch_timer);
    m->main_timer.data = m->watch_timer.data = m;
    m->timers = 2;
    main_after(m, 0);
    (void)uv_timer_start(&m->watch_timer, watch_timer_cb, 0, 0);
    *ret = m;
    return 0;
}

static void timer_closed_cb(uv_handle_t *handle) {
    struct master_link *m = handle->data;
    m->timers--;
    closed_check(m);
}

void master_link_close(struct master_link *m, void (*closed)(void *ctx), void *ctx) {
    CHECK(!m->closing);
    m->closing = true;
    m->closed = closed;
    m->closed_ctx = ctx;
    conn_abandon(m->main);
    conn_abandon(m->watch);
    m->main = m->watch = NULL;
    uv_close((uv_handle_t *)&m->main_timer, timer_closed_cb);
    uv_close((uv_handle_t *)&m->watch_timer, timer_closed_cb);
}

bool master_link_is_welcome(const struct master_link *m) {
    return m->main && m->main->state == CONN_WELCOME;
}

const char *master_link_leader(const struct master_link *m) {
    return m->leader_text;
}

int master_link_send(struct master_link *m, enum link_lane lane, uint16_t type, const ProtobufCMessage *message) {
    return master_link_is_welcome(m) ? conn_send(m->main, lane, type, message) : ERR_CLOSED;
}

bool master_link_obeys(struct master_link *m, const Conclave__Link__Fence *fence) {
    return fence_take(m, fence, "order");
}

void master_link_drop(struct master_link *m, const char *why) {
    log_event(LOG_WARN, "leader_dropped", "%s", why);
    main_restart(m);
}

const struct master_link_stats *master_link_stats(const struct master_link *m) {
    return &m->stats;
}
