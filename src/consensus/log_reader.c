/* SPDX-License-Identifier: Apache-2.0 */
#include "consensus/log_reader.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "consensus/identity.h"
#include "consensus/wal_scan.h"

#define CUTS_MAX  1000000u  /* of a log: each takes 8 bytes */
#define TRIES     8u        /* what looks damaged while it is being written is read so often */
#define PAUSE_NS  20000000L /* longer than a write and its seal usually take */
#define WALK_STOP ERR_CLOSED

struct log_reader {
    struct disk *disk;
    struct identity identity;
    struct log_span span;
    bool damaged;
    struct err damage;
    uint64_t *cuts; /* of the i-th truncation or reset: entries from this index on are gone; then minima to the end */
    size_t n_cuts, cap_cuts;
    uint64_t begin_seq, begin_offset; /* of the first record that was passed; 0: none */
};

/* ---- the first walk: what is taken back ---- */

struct survey {
    struct log_reader *r;
    bool failed;
    struct err *err;
};

static void cut_note(struct survey *s, uint64_t index) {
    struct log_reader *r = s->r;
    if (r->n_cuts == CUTS_MAX) s->failed = true;
    if (s->failed) return;
    if (r->n_cuts == r->cap_cuts) {
        size_t cap = r->cap_cuts ? 2 * r->cap_cuts : 64;
        uint64_t *grown = realloc(r->cuts, cap * sizeof *grown);
        s->failed = grown == NULL;
        if (s->failed) return;
        r->cuts = grown;
        r->cap_cuts = cap;
    }
    r->cuts[r->n_cuts++] = index;
}

static void survey_truncate(void *ctx, uint64_t index) {
    cut_note(ctx, index);
}

static void survey_reset(void *ctx, uint64_t index, uint64_t term) {
    (void)index;
    (void)term;
    cut_note(ctx, 0);
}

static int survey_entry(void *ctx, uint64_t index, const struct wal_record *record, uint64_t seq, uint64_t offset) {
    struct log_reader *r = ((struct survey *)ctx)->r;
    (void)index;
    (void)record;
    if (r->begin_seq == 0) {
        r->begin_seq = seq;
        r->begin_offset = offset;
    }
    return 0;
}

static int survey_once(struct log_reader *r, struct err *err) {
    struct survey s = {.r = r, .err = err};
    struct wal_visitor v = {.ctx = &s, .entry = survey_entry, .truncate = survey_truncate, .reset = survey_reset};
    struct wal_scan scan;
    r->n_cuts = 0;
    r->begin_seq = r->begin_offset = 0;
    r->damaged = false;
    int rv = wal_scan_run(r->disk, r->identity.cluster_id, r->identity.node_id, &v, &scan, err);
    r->span = (struct log_span){.first = scan.start,
                                .last = scan.next - 1,
                                .first_term = scan.start_term,
                                .last_term = scan.term,
                                .torn_bytes = scan.torn_bytes};
    wal_scan_done(&scan);
    if (rv == ERR_CORRUPT) {
        r->damaged = true;
        r->damage = *err;
    }
    if (s.failed) return err_set(err, ERR_LIMIT, "the log takes entries back too often to be listed");
    for (size_t i = r->n_cuts; i-- > 1;)
        if (r->cuts[i] < r->cuts[i - 1]) r->cuts[i - 1] = r->cuts[i];
    return rv;
}

static void pause_briefly(void) {
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    (void)nanosleep(&pause, NULL);
}

static int survey(struct log_reader *r, struct err *err) {
    int rv = survey_once(r, err);
    for (unsigned i = 1; i < TRIES && (rv == ERR_CORRUPT || rv == ERR_NOT_FOUND); i++) {
        pause_briefly();
        rv = survey_once(r, err);
    }
    return rv;
}

int log_reader_open(struct disk *disk, struct log_reader **ret, struct err *err) {
    *ret = NULL;
    struct log_reader *r = calloc(1, sizeof *r);
    if (!r) return err_set(err, ERR_NOMEM, "no memory to read the log");
    r->disk = disk;
    int rv = identity_read(disk, &r->identity, err);
    if (rv == 0) rv = survey(r, err);
    if (rv != 0 && !r->damaged) {
        log_reader_close(r);
        return rv;
    }
    *ret = r;
    return rv;
}

const struct log_span *log_reader_span(const struct log_reader *r) {
    return &r->span;
}

const struct err *log_reader_damage(const struct log_reader *r) {
    return r->damaged ? &r->damage : NULL;
}

void log_reader_close(struct log_reader *r) {
    if (!r) return;
    free(r->cuts);
    free(r);
}

/* ---- the second walk: what is left ---- */

struct walk {
    const struct log_reader *r;
    uint64_t next, to; /* the entry that is due */
    size_t cuts;       /* passed */
    bool passed;       /* the first record has been compared with the survey's */
    bool moved;        /* it is another: the log was cut at its beginning meanwhile */
    bool stopped;      /* by the caller */
    log_entry_cb cb;
    void *ctx;
};

static int walk_entry(void *ctx, uint64_t index, const struct wal_record *record, uint64_t seq, uint64_t offset) {
    struct walk *w = ctx;
    const struct log_reader *r = w->r;
    if (!w->passed && (seq != r->begin_seq || offset != r->begin_offset)) {
        w->moved = true;
        return WALK_STOP;
    }
    w->passed = true;
    uint64_t gone_from = w->cuts < r->n_cuts ? r->cuts[w->cuts] : UINT64_MAX;
    if (index >= gone_from || index < w->next) return 0;
    if (index > w->to) return WALK_STOP;
    w->next = index + 1;
    w->stopped = !w->cb(w->ctx, index, record->term, (int)record->type, record->data, record->len);
    return w->stopped || w->next > w->to ? WALK_STOP : 0;
}

static void walk_truncate(void *ctx, uint64_t index) {
    struct walk *w = ctx;
    (void)index;
    w->cuts++;
}

static void walk_reset(void *ctx, uint64_t index, uint64_t term) {
    struct walk *w = ctx;
    (void)index;
    (void)term;
    w->cuts++;
}

static int walk_once(struct walk *w, struct err *err) {
    const struct log_reader *r = w->r;
    struct wal_visitor v = {.ctx = w, .entry = walk_entry, .truncate = walk_truncate, .reset = walk_reset};
    struct wal_scan scan;
    w->cuts = 0;
    w->passed = w->moved = false;
    int rv = wal_scan_run(r->disk, r->identity.cluster_id, r->identity.node_id, &v, &scan, err);
    wal_scan_done(&scan);
    return rv;
}

/* Reads on at the entry that is due, from a new survey if the files moved on. */
int log_reader_walk(struct log_reader *r, uint64_t from, uint64_t to, log_entry_cb cb, void *ctx, struct err *err) {
    struct walk w = {.r = r, .next = from > r->span.first ? from : r->span.first, .cb = cb, .ctx = ctx};
    w.to = to < r->span.last ? to : r->span.last;
    for (unsigned i = 0; i < TRIES && w.next <= w.to; i++) {
        int rv = walk_once(&w, err);
        if (w.stopped || w.next > w.to || rv == 0) break;
        if (rv != WALK_STOP && rv != ERR_CORRUPT && rv != ERR_NOT_FOUND) return rv;
        if (rv == ERR_CORRUPT && r->damaged) return rv;
        pause_briefly();
        uint64_t last = w.to;
        rv = survey(r, err);
        if (rv != 0) return rv;
        w.to = last < r->span.last ? last : r->span.last;
        if (w.next < r->span.first) break;
    }
    if (w.stopped) return 0;
    if (w.next <= w.to) return err_set(err, ERR_BUSY, "entry %" PRIu64 " was recycled meanwhile: ask again", w.next);
    if (!r->damaged || to <= r->span.last) return 0;
    *err = r->damage;
    return err->code;
}
