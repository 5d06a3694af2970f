/* SPDX-License-Identifier: Apache-2.0
 * Appending and writing. Happy path: wal_append copies records into the last group of the queue; wal_pump hands the
 * first group to the disk; group_written takes it off, starts the next and then tells the waiters. Failure: wal_die. */
#include "consensus/wal.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mutant.h"
#include "consensus/wal_private.h"

#define GROUP_CAP_FIRST (16u << 10)
#define FIRST_BYTES     (4u << 20) /* of the very first segment; see wal_bootstrap */

static size_t group_max(const struct wal *w) {
    uint64_t fits = w->config.segment_bytes - 2 * DISK_BLOCK; /* the header before it, a FINAL behind it */
    return fits < WAL_GROUP_MAX ? (size_t)fits : WAL_GROUP_MAX;
}

size_t wal_record_max(const struct wal *w) {
    return group_max(w) - WAL_GROUP_HEADER - WAL_RECORD_HEADER;
}

void wal_die(struct wal *w, const struct err *err) {
    if (w->dead) return;
    w->dead = true;
    w->config.fatal(w->config.data, err);
}

static void die_nomem(struct wal *w) {
    struct err err;
    (void)err_set(&err, ERR_NOMEM, "no memory for the log's buffers");
    wal_die(w, &err);
}

/* ---- groups ---- */

static void group_free(struct wal_group *g) {
    free(g->buf);
    free(g->waiters);
    free(g);
}

static void group_release(struct wal *w, struct wal_group *g) {
    if (w->n_kept == WAL_KEPT_MAX) {
        group_free(g);
        return;
    }
    g->next = w->kept;
    w->kept = g;
    w->n_kept++;
}

static bool group_grow(struct wal *w, struct wal_group *g, size_t size) {
    if (size <= g->cap) return true;
    size_t cap = g->cap ? g->cap : GROUP_CAP_FIRST;
    while (cap < size)
        cap *= 2;
    if (cap > group_max(w)) cap = group_max(w);
    uint8_t *buf = aligned_alloc(DISK_BLOCK, DISK_BLOCK + cap);
    if (!buf) return false;
    if (g->length) memcpy(buf + DISK_BLOCK, g->buf + DISK_BLOCK, WAL_GROUP_HEADER + g->length);
    free(g->buf);
    g->buf = buf;
    g->cap = cap;
    return true;
}

static struct wal_group *group_new(struct wal *w) {
    struct wal_group *g = w->kept;
    if (g) {
        w->kept = g->next;
        w->n_kept--;
    } else {
        g = calloc(1, sizeof *g);
        if (!g) return NULL;
    }
    struct wal_group fresh = {.buf = g->buf, .cap = g->cap, .waiters = g->waiters, .cap_waiters = g->cap_waiters};
    *g = fresh;
    g->first_index = g->next_index = w->next;
    g->prev_term = wal_terms_at(&w->terms, w->next - 1);
    g->lowest = WAL_NONE;
    if (w->tail) {
        w->tail->next = g;
    } else {
        w->head = g;
    }
    w->tail = g;
    return g;
}

/* The group that takes a record of `size` bytes; NULL: no memory. */
static struct wal_group *group_for(struct wal *w, size_t size) {
    struct wal_group *g = w->tail;
    bool open = g && g != w->in_flight && wal_group_size(g->length + size) <= group_max(w);
    if (!open) g = group_new(w);
    return g && group_grow(w, g, wal_group_size(g->length + size)) ? g : NULL;
}

static void group_note(struct wal *w, struct wal_group *g, const struct wal_record *r) {
    switch (r->type) {
    case WAL_TRUNCATE:
        CHECK(r->index > 0 && r->index <= w->next);
        wal_terms_truncate(&w->terms, r->index);
        w->next = r->index;
        if (r->index <= w->terms.base_index) {
            wal_terms_reset(&w->terms, r->index - 1, r->term);
            g->start = r->index;
        }
        if (r->index < g->lowest) g->lowest = r->index;
        if (g->last_live >= r->index) g->last_live = r->index - 1; /* or less: then a segment is kept longer */
        break;
    case WAL_RESET:
        wal_terms_reset(&w->terms, r->index, r->term);
        w->next = r->index + 1;
        g->start = r->index + 1;
        g->lowest = 1;
        g->last_live = 0;
        break;
    default:
        if (wal_terms_append(&w->terms, w->next, r->term) != 0) {
            die_nomem(w);
            return;
        }
        g->last_live = w->next++;
        g->entries++;
        break;
    }
    g->next_index = w->next;
}

static bool waiter_add(struct wal_group *g, wal_done_cb done, void *data) {
    if (g->n_waiters == g->cap_waiters) {
        size_t cap = g->cap_waiters ? 2 * g->cap_waiters : 8;
        struct wal_waiter *grown = realloc(g->waiters, cap * sizeof *grown);
        if (!grown) return false;
        g->waiters = grown;
        g->cap_waiters = cap;
    }
    g->waiters[g->n_waiters++] = (struct wal_waiter){.done = done, .data = data};
    return true;
}

int wal_append(struct wal *w, const struct wal_record *records, size_t n, wal_done_cb done, void *data) {
    CHECK(n > 0 && !w->stopped);
    for (size_t i = 0; i < n; i++)
        if (records[i].len > wal_record_max(w)) return ERR_LIMIT;
    struct wal_group *g = NULL;
    for (size_t i = 0; i < n && !w->dead; i++) {
        size_t size = wal_record_size(records[i].data ? records[i].len : 8);
        if (records[i].type < WAL_TRUNCATE) size = wal_record_size(records[i].len);
        g = group_for(w, size);
        if (!g) {
            die_nomem(w);
            break;
        }
        wal_record_encode(&records[i], g->buf + DISK_BLOCK + WAL_GROUP_HEADER + g->length);
        g->length += size;
        g->count++;
        w->pending_bytes += size;
        group_note(w, g, &records[i]);
    }
    if (!g) g = w->tail ? w->tail : group_new(w); /* dead: only to be told of the end */
    if (done && !(g && waiter_add(g, done, data))) die_nomem(w);
    if (w->dead) return 0;
    if (w->pending_bytes > WAL_PENDING_MAX) {
        struct err err;
        (void)err_set(&err, ERR_LIMIT, "over %u bytes wait for the disk", WAL_PENDING_MAX);
        wal_die(w, &err);
    }
    wal_pump(w);
    return 0;
}

/* ---- writing ---- */

void wal_segment_begin(struct wal *w, const struct wal_group *g, struct wal_segment_header *ret) {
    *ret = (struct wal_segment_header){.node_id = w->config.node_id,
                                       .nonce = rng_next(&w->rng),
                                       .seq = w->seq + 1,
                                       .first_index = g->first_index,
                                       .prev_term = g->prev_term,
                                       .prev_number = w->number,
                                       .prev_crc = w->crc,
                                       .bytes = w->config.segment_bytes};
    memcpy(ret->cluster_id, w->config.cluster_id, sizeof ret->cluster_id);
}

static struct wal_segment *segment_last(struct wal *w) {
    CHECK(w->n_segments > 0);
    return &w->segments[w->n_segments - 1];
}

static void group_written(void *data, int status, uint64_t took_us);

static void header_fill(struct wal *w, uint64_t nonce, const struct wal_group *g, uint32_t flags) {
    w->header = (struct wal_group_header){.nonce = nonce,
                                          .number = w->number + 1,
                                          .prev_crc = w->crc,
                                          .length = g ? (uint32_t)g->length : 0,
                                          .count = g ? g->count : 0,
                                          .first_index = g ? g->first_index : w->durable_next,
                                          .vote_version = w->vote_version,
                                          .flags = flags};
}

/* MUTANT: the completion of a write that nobody has waited for. */
static void unsynced_work(void *data) {
    (void)data;
}

static void unsynced_done(void *data) {
    group_written(data, 0, 0);
}

/* Every write of the log goes through here. */
static void log_write(struct wal *w, const char *name, uint64_t offset, const uint8_t *buf, size_t len) {
    if (MUTANT(LOG_UNSYNCED)) {
        struct err err;
        (void)disk_write_at(w->config.disk, name, offset, buf, len, &err);
        w->unsynced = (struct disk_job){.work = unsynced_work, .done = unsynced_done, .data = w};
        disk_run(w->config.disk, &w->unsynced);
        return;
    }
    disk_write(w->config.disk, name, offset, buf, len, group_written, w);
}

static void seal_write(struct wal *w, uint32_t flags) {
    char name[DISK_NAME_MAX];
    wal_segment_name(w->seq, name);
    header_fill(w, segment_last(w)->nonce, NULL, flags);
    wal_group_finish(&w->header, w->seal);
    w->writing = true;
    w->in_flight = NULL;
    log_write(w, name, w->offset, w->seal, DISK_BLOCK);
}

static void group_write(struct wal *w, struct wal_group *g) {
    char name[DISK_NAME_MAX];
    w->writing = true;
    w->in_flight = g;
    w->opening = w->seq == 0 || w->final;
    if (w->opening) wal_segment_begin(w, g, &w->segment_header);
    header_fill(w, w->opening ? w->segment_header.nonce : segment_last(w)->nonce, g, 0);
    wal_group_finish(&w->header, g->buf + DISK_BLOCK);
    size_t size = wal_group_size(g->length);
    if (w->opening) {
        wal_segment_header_encode(&w->segment_header, g->buf);
        wal_segment_name(w->seq + 1, name);
        log_write(w, name, 0, g->buf, DISK_BLOCK + size);
    } else {
        wal_segment_name(w->seq, name);
        log_write(w, name, w->offset, g->buf + DISK_BLOCK, size);
    }
}

void wal_pump(struct wal *w) {
    struct wal_group *g = w->head;
    if (w->writing || w->dead || w->stopped || !g) return;
    bool full = w->seq && !w->final && w->offset + wal_group_size(g->length) + DISK_BLOCK > segment_last(w)->bytes;
    bool roll = w->seq == 0 || w->final || full;
    if (roll && !w->next_ready) {
        if (!w->stalled) w->stalled_since_ms = w->now_ms;
        w->stalled = true;
        wal_pool_run(w);
        return;
    }
    w->stalled = false;
    if (full) {
        seal_write(w, WAL_SEAL | WAL_FINAL);
    } else {
        group_write(w, g);
    }
}

static bool segment_opened(struct wal *w) {
    if (w->n_segments == w->cap_segments) {
        size_t cap = w->cap_segments ? 2 * w->cap_segments : 8;
        struct wal_segment *grown = realloc(w->segments, cap * sizeof *grown);
        if (!grown) return false;
        w->segments = grown;
        w->cap_segments = cap;
    }
    const struct wal_segment_header *h = &w->segment_header;
    w->segments[w->n_segments++] =
        (struct wal_segment){.seq = h->seq, .bytes = h->bytes, .nonce = h->nonce, .first_index = h->first_index};
    w->seq = h->seq;
    w->offset = DISK_BLOCK;
    w->final = false;
    w->next_ready = false;
    w->opening = false;
    return true;
}

static void group_durable(struct wal *w, const struct wal_group *g) {
    for (size_t i = 0; i < w->n_segments; i++)
        if (w->segments[i].last_live >= g->lowest) w->segments[i].last_live = g->lowest - 1;
    if (g->last_live) segment_last(w)->last_live = g->last_live;
    if (g->start) w->start = g->start;
    w->durable_next = g->next_index;
    w->pending_bytes -= g->length;
    w->entries += g->entries;
    CHECK(w->head == g);
    w->head = g->next;
    if (!w->head) w->tail = NULL;
}

static void group_tell(struct wal_group *g, bool canceled) {
    for (size_t i = 0; i < g->n_waiters; i++)
        g->waiters[i].done(g->waiters[i].data, canceled);
    g->n_waiters = 0;
}

/* May free the log. */
static void idle_tell(struct wal *w) {
    if (w->stopped && w->config.idle && wal_idle(w)) w->config.idle(w->config.data);
}

static void group_written(void *data, int status, uint64_t took_us) {
    struct wal *w = data;
    struct wal_group *g = w->in_flight;
    w->writing = false;
    w->in_flight = NULL;
    if (w->dead) { /* of something else */
        idle_tell(w);
        return;
    }
    if (status != 0) {
        struct err err;
        (void)err_set(&err, status, "a write to the log failed: %s", err_text(status));
        wal_die(w, &err);
        return;
    }
    if (w->opening && !segment_opened(w)) {
        die_nomem(w);
        return;
    }
    latency_add(&w->latency, took_us);
    w->offset += wal_group_size(w->header.length);
    w->number = w->header.number;
    w->crc = w->header.crc;
    w->final = (w->header.flags & WAL_FINAL) != 0;
    w->sealed = !g;
    w->groups++;
    w->seals += !g;
    w->bytes += wal_group_size(w->header.length);
    w->idle_since_ms = w->now_ms;
    if (g) group_durable(w, g);
    wal_pump(w);
    wal_pool_run(w);
    if (g) {
        w->telling = true;
        group_tell(g, false);
        w->telling = false;
        group_release(w, g);
    }
    idle_tell(w);
}

void wal_tick(struct wal *w, uint64_t now_ms) {
    w->now_ms = now_ms;
    if (w->dead || w->stopped) return;
    wal_pool_run(w);
    wal_pump(w);
    if (w->writing || w->head || w->sealed || w->final || w->seq == 0) return;
    if (now_ms - w->idle_since_ms < w->config.seal_after_ms) return;
    bool last_block = w->offset + DISK_BLOCK == segment_last(w)->bytes;
    if (last_block && !w->next_ready) return;
    seal_write(w, last_block ? WAL_SEAL | WAL_FINAL : WAL_SEAL);
}

/* ---- life ---- */

static void config_check(const struct wal_config *c) {
    CHECK(c->segment_bytes >= WAL_SEGMENT_MIN && c->segment_bytes <= WAL_SEGMENT_MAX);
    CHECK(c->segment_bytes % DISK_BLOCK == 0 && c->fatal);
}

static struct wal *wal_new(const struct wal_config *config) {
    config_check(config);
    struct wal *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    w->config = *config;
    w->start = w->next = w->durable_next = 1;
    w->seal = aligned_alloc(DISK_BLOCK, DISK_BLOCK);
    if (!w->seal) {
        free(w);
        return NULL;
    }
    if (config->nonce_seed) {
        rng_seed(&w->rng, config->nonce_seed);
    } else {
        rng_seed_system(&w->rng);
    }
    return w;
}

static void list_free(struct wal_group *g) {
    while (g) {
        struct wal_group *next = g->next;
        group_tell(g, true);
        group_free(g);
        g = next;
    }
}

void wal_free(struct wal *w) {
    list_free(w->head);
    list_free(w->kept);
    wal_terms_done(&w->terms);
    free(w->segments);
    free(w->seal);
    free(w);
}

/* Zeros are written out, because a write into blocks that a file system has only set aside costs it a second write, of
 * its own books. So that a first start does not wait for a whole segment of them the first is a short one; the next is
 * made in the background. */
int wal_bootstrap(const struct wal_config *config, const struct wal_record *first, struct err *err) {
    char name[DISK_NAME_MAX];
    struct wal *w = wal_new(config);
    if (!w) return err_set(err, ERR_NOMEM, "no memory for the log");
    struct wal_group *g = NULL;
    int rv = err_set(err, ERR_LIMIT, "the first entry is too large");
    if (first->len > wal_record_max(w)) goto free_wal;
    rv = err_set(err, ERR_NOMEM, "no memory for the log");
    size_t size = wal_record_size(first->len);
    g = group_for(w, size);
    if (!g) goto free_wal;
    wal_record_encode(first, g->buf + DISK_BLOCK + WAL_GROUP_HEADER);
    g->length = size;
    g->count = 1;
    wal_segment_begin(w, g, &w->segment_header);
    if (w->segment_header.bytes > FIRST_BYTES) w->segment_header.bytes = FIRST_BYTES;
    wal_segment_header_encode(&w->segment_header, g->buf);
    header_fill(w, w->segment_header.nonce, g, 0);
    wal_group_finish(&w->header, g->buf + DISK_BLOCK);
    wal_segment_name(1, name);
    rv = disk_create(config->disk, name, w->segment_header.bytes, 1, err);
    if (rv == 0) rv = disk_write_at(config->disk, name, 0, g->buf, DISK_BLOCK + wal_group_size(size), err);
    if (rv == 0) rv = disk_sync(config->disk, name, err);
free_wal:
    wal_free(w);
    return rv;
}

static void spares_take(struct wal *w, const struct wal_scan *scan) {
    for (size_t i = 0; i < scan->n_spares; i++) {
        char name[DISK_NAME_MAX];
        uint64_t size;
        struct err err;
        wal_spare_name(scan->spares[i], name);
        if (w->pool.n_spares < WAL_SPARES_MAX && disk_size(w->config.disk, name, &size, &err) == 0 &&
            size == w->config.segment_bytes) {
            w->pool.spares[w->pool.n_spares++] = scan->spares[i];
        } else {
            (void)disk_remove(w->config.disk, name, &err); /* if it stays, the next start tries again */
        }
    }
}

static int next_segment_take(struct wal *w, const struct wal_scan *scan, struct err *err) {
    char name[DISK_NAME_MAX];
    uint64_t size = 0;
    wal_segment_name(w->seq + 1, name);
    if (scan->prepared) {
        int rv = disk_size(w->config.disk, name, &size, err);
        if (rv != 0) return rv;
    }
    w->next_ready = size == w->config.segment_bytes;
    if (w->next_ready || w->seq) return 0; /* otherwise the pool makes it */
    w->next_ready = true;
    return disk_create(w->config.disk, name, w->config.segment_bytes, 1, err);
}

int wal_open(const struct wal_config *config, struct wal_scan *scan, struct wal **ret, struct err *err) {
    struct wal *w = wal_new(config);
    if (!w) return err_set(err, ERR_NOMEM, "no memory for the log");
    spares_take(w, scan);
    w->n_spares = w->pool.n_spares;
    w->seq = scan->n_segments ? scan->segments[scan->n_segments - 1].seq : 0;
    int rv = next_segment_take(w, scan, err);
    if (rv != 0) {
        wal_free(w);
        return rv;
    }
    w->segments = scan->segments;
    w->n_segments = w->cap_segments = scan->n_segments;
    w->terms = scan->terms;
    scan->segments = NULL;
    scan->n_segments = 0;
    scan->terms = (struct wal_terms){0};
    w->offset = scan->offset;
    w->final = scan->final;
    w->sealed = scan->sealed;
    w->number = scan->number;
    w->crc = scan->crc;
    w->start = scan->start;
    w->next = w->durable_next = scan->next;
    *ret = w;
    return 0;
}

bool wal_idle(const struct wal *w) {
    return !w->writing && !w->pool.busy && !w->telling;
}

void wal_stop(struct wal *w) {
    w->stopped = true;
}

void wal_cut(struct wal *w, uint64_t index) {
    if (index > w->cut) w->cut = index;
    wal_pool_run(w);
}

void wal_set_vote_version(struct wal *w, uint64_t version) {
    w->vote_version = version;
}

uint64_t wal_first(const struct wal *w) {
    return w->start;
}

uint64_t wal_last(const struct wal *w) {
    return w->next - 1;
}

uint64_t wal_last_durable(const struct wal *w) {
    return w->durable_next - 1;
}

uint64_t wal_group_number(const struct wal *w) {
    return w->number;
}

uint64_t wal_term_at(const struct wal *w, uint64_t index) {
    return index < w->next ? wal_terms_at(&w->terms, index) : 0;
}

uint64_t wal_room(const struct wal *w) {
    uint64_t files = w->n_spares + (w->next_ready ? 1 : 0);
    uint64_t rest = w->n_segments && !w->final ? w->segments[w->n_segments - 1].bytes - w->offset : 0;
    if (rest > w->pending_bytes)
        rest -= w->pending_bytes;
    else
        rest = 0;
    return rest + files * w->config.segment_bytes;
}

void wal_stats(const struct wal *w, struct wal_stats *ret) {
    uint64_t files = w->n_spares + (w->next_ready ? 1 : 0);
    *ret = (struct wal_stats){.groups = w->groups,
                              .seals = w->seals,
                              .entries = w->entries,
                              .bytes = w->bytes,
                              .pending_bytes = w->pending_bytes,
                              .file_bytes = files * w->config.segment_bytes,
                              .stalled_ms = w->stalled ? w->now_ms - w->stalled_since_ms : 0,
                              .p50_us = latency_at(&w->latency, 500),
                              .p99_us = latency_at(&w->latency, 990),
                              .max_us = w->latency.max_us};
    for (size_t i = 0; i < w->n_segments; i++)
        ret->file_bytes += w->segments[i].bytes;
}
