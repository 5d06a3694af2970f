/* SPDX-License-Identifier: Apache-2.0 */
#include "consensus/wal_scan.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mutant.h"

#define SEGMENTS_MAX 65536u            /* files of one kind in a folder */
#define INDEX_MAX    (UINT64_MAX >> 2) /* of an entry: so that counting on never wraps */

struct names {
    uint64_t *seqs;
    size_t n;
    bool failed;
};

struct walker {
    struct disk *disk;
    const uint8_t *cluster_id;
    uint64_t node_id;
    const struct wal_visitor *visitor;
    struct wal_scan *scan;
    struct err *err;
    struct names files;
    uint8_t *buf; /* the segment that is being walked */
    size_t len, cap;
    char name[DISK_NAME_MAX]; /* of it */
    bool begun;               /* a segment has been walked */
    uint64_t last_seq;        /* the last file that was begun */
};

/* Reports; 0 means: go on. */
__attribute__((format(printf, 6, 7))) static int damage(struct walker *w, const char *file, uint64_t offset,
                                                        const char *kind, const char *remedy, const char *fmt, ...) {
    struct fault f = {.offset = offset, .kind = kind, .remedy = remedy};
    (void)snprintf(f.file, sizeof f.file, "%s", file);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(f.text, sizeof f.text, fmt, ap);
    va_end(ap);
    if (w->visitor->fault && w->visitor->fault(w->visitor->ctx, &f)) return 0;
    return fault_err(&f, w->err);
}

static void names_add(struct names *names, uint64_t seq) {
    if (names->n == SEGMENTS_MAX) {
        names->failed = true;
        return;
    }
    uint64_t *grown = realloc(names->seqs, (names->n + 1) * sizeof *grown);
    if (!grown) {
        names->failed = true;
        return;
    }
    names->seqs = grown;
    names->seqs[names->n++] = seq;
}

struct listing {
    struct names *segments;
    struct names *spares;
};

static void listed(void *data, const char *name) {
    struct listing *l = data;
    uint64_t seq;
    if (wal_segment_name_parse(name, &seq)) names_add(l->segments, seq);
    if (wal_spare_name_parse(name, &seq)) names_add(l->spares, seq);
}

static int seq_compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static int files_list(struct walker *w) {
    struct names spares = {0};
    struct listing l = {.segments = &w->files, .spares = &spares};
    int rv = disk_list(w->disk, listed, &l, w->err);
    w->scan->spares = spares.seqs;
    w->scan->n_spares = spares.n;
    if (rv != 0) return rv;
    if (w->files.failed || spares.failed) return err_set(w->err, ERR_NOMEM, "too many segment files, or no memory");
    if (w->files.n) qsort(w->files.seqs, w->files.n, sizeof *w->files.seqs, seq_compare);
    return 0;
}

static int segment_read(struct walker *w, uint64_t seq) {
    uint64_t size;
    wal_segment_name(seq, w->name);
    int rv = disk_size(w->disk, w->name, &size, w->err);
    if (rv != 0) return rv;
    w->len = 0;
    w->scan->file_bytes += size;
    if (size < 2 * DISK_BLOCK || size > WAL_SEGMENT_MAX || size % DISK_BLOCK != 0)
        return damage(w, w->name, 0, "segment-size", fault_remedy_replace, "a segment of %" PRIu64 " bytes", size);
    if (w->cap < size) {
        free(w->buf);
        w->cap = 0;
        w->buf = malloc(size);
        if (!w->buf) return err_set(w->err, ERR_NOMEM, "no memory to read %s", w->name);
        w->cap = size;
    }
    size_t n;
    rv = disk_read(w->disk, w->name, 0, w->buf, size, &n, w->err);
    if (rv != 0) return rv;
    if (n != size) return err_set(w->err, ERR_IO, "%s: short read", w->name);
    w->len = size;
    return 0;
}

/* ---- records ---- */

static void live_lower(struct wal_scan *s, uint64_t index) {
    for (size_t i = 0; i < s->n_segments; i++)
        if (s->segments[i].last_live >= index) s->segments[i].last_live = index - 1;
}

static bool index_sane(uint64_t index) {
    return index > 0 && index <= INDEX_MAX;
}

/* Goes on at `index` behind damage, where nothing is known of the entries before. */
static void next_jump(struct wal_scan *s, uint64_t index) {
    if (!index_sane(index)) return;
    s->next = index;
    if (index < s->start) s->start = index;
    wal_terms_reset(&s->terms, index - 1, s->term);
}

/* NULL if the record fits what came before, else what is wrong. */
static const char *record_objection(const struct wal_scan *s, const struct wal_record *r) {
    if (r->type == WAL_TRUNCATE) {
        if (!index_sane(r->index) || r->index > s->next) return "a truncation behind the end of the log";
        return r->term > s->term ? "a truncation to a term that never was" : NULL;
    }
    if (r->type == WAL_RESET && !index_sane(r->index)) return "a reset to nowhere";
    if (r->type == WAL_RESET) return r->term < s->start_term ? "a reset to an older term" : NULL;
    if (r->term == 0 || r->term < s->term) return "the term falls";
    return NULL;
}

static int record_take(struct walker *w, const struct wal_record *r, uint64_t offset) {
    struct wal_scan *s = w->scan;
    const struct wal_visitor *v = w->visitor;
    struct wal_segment *segment = &s->segments[s->n_segments - 1];
    switch (r->type) {
    case WAL_TRUNCATE:
        if (MUTANT(TRUNCATE_IGNORED)) return 0;
        live_lower(s, r->index);
        s->next = r->index;
        s->term = r->term;
        wal_terms_truncate(&s->terms, r->index);
        if (s->start >= r->index) {
            s->start = r->index;
            s->start_term = r->term;
        }
        if (s->terms.base_index >= r->index) wal_terms_reset(&s->terms, r->index - 1, r->term);
        if (v->truncate) v->truncate(v->ctx, r->index);
        return 0;
    case WAL_RESET:
        live_lower(s, 1);
        s->start = s->next = r->index + 1;
        s->term = s->start_term = r->term;
        wal_terms_reset(&s->terms, r->index, r->term);
        if (v->reset) v->reset(v->ctx, r->index, r->term);
        return 0;
    default:
        if (wal_terms_append(&s->terms, s->next, r->term) != 0)
            return err_set(w->err, ERR_NOMEM, "no memory for terms");
        segment->last_live = s->next;
        s->term = r->term;
        s->next++;
        return v->entry ? v->entry(v->ctx, s->next - 1, r, segment->seq, offset) : 0;
    }
}

static int group_take(struct walker *w, const struct wal_group_header *g, size_t at) {
    struct wal_scan *s = w->scan;
    int rv = 0;
    if (g->first_index != s->next) {
        rv = damage(w, w->name, at, "group", fault_remedy_replace,
                    "it begins with entry %" PRIu64 " instead of %" PRIu64, g->first_index, s->next);
        if (rv != 0) return rv;
        next_jump(s, g->first_index);
    }
    size_t offset = 0;
    uint32_t count = 0;
    struct wal_record r;
    while ((rv = wal_record_next(w->buf + at, g, &offset, &r)) == 1) {
        size_t from = at + WAL_GROUP_HEADER + offset - wal_record_size(r.data ? r.len : 8);
        const char *objection = record_objection(s, &r);
        if (objection) {
            rv = damage(w, w->name, from, "record", fault_remedy_replace, "%s at entry %" PRIu64, objection, s->next);
            if (rv != 0) return rv;
            count++;
            continue;
        }
        rv = record_take(w, &r, from + WAL_RECORD_HEADER);
        if (rv != 0) return rv;
        count++;
    }
    if (rv != 0 || count != g->count)
        rv = damage(w, w->name, at, "record", fault_remedy_replace, "%s",
                    "records of no known shape in an intact group");
    s->groups++;
    s->number = g->number;
    s->crc = g->crc;
    s->sealed = (g->flags & WAL_SEAL) != 0;
    s->final = (g->flags & WAL_FINAL) != 0;
    if (g->vote_version > s->vote_version) s->vote_version = g->vote_version;
    return rv;
}

/* ---- groups ---- */

/* The first place behind a bad group where a later group was begun; 0 if nowhere. */
static size_t later_group(const struct walker *w, size_t bad, uint64_t nonce, struct wal_group_header *ret) {
    for (size_t at = bad + DISK_BLOCK; at + DISK_BLOCK <= w->len; at += DISK_BLOCK) {
        if (!wal_group_header_decode(w->buf + at, w->len - at, ret)) continue;
        if (ret->nonce == nonce && ret->number > w->scan->number) return at;
    }
    return 0;
}

/* How much of the bad group at `at` can be told to be one of ours. */
static uint64_t torn_size(const struct walker *w, size_t at, uint64_t nonce) {
    struct wal_group_header g, any = {.nonce = nonce};
    if (wal_group_header_decode(w->buf + at, w->len - at, &g)) return g.nonce == nonce ? wal_group_size(g.length) : 0;
    uint8_t image[DISK_BLOCK];
    wal_group_finish(&any, image);
    return memcmp(w->buf + at, image, 4) == 0 && memcmp(w->buf + at + 8, image + 8, 8) == 0 ? DISK_BLOCK : 0;
}

/* The group at `at` is bad. Sets *ret_at to where to go on, 0: this is the tail. */
static int bad_group(struct walker *w, size_t at, uint64_t nonce, size_t *ret_at) {
    struct wal_scan *s = w->scan;
    struct wal_group_header later;
    *ret_at = later_group(w, at, nonce, &later);
    if (*ret_at == 0) {
        s->torn_bytes = torn_size(w, at, nonce);
        return 0;
    }
    int rv = damage(w, w->name, at, "group", fault_remedy_replace,
                    "a damaged group, and group %" PRIu64 " at offset %zu was written after it", later.number, *ret_at);
    if (rv != 0) return rv;
    s->number = later.number - 1;
    s->crc = later.prev_crc;
    next_jump(s, later.first_index);
    return 0;
}

static int groups_walk(struct walker *w, uint64_t nonce) {
    struct wal_scan *s = w->scan;
    size_t at = DISK_BLOCK;
    s->final = false;
    while (at + DISK_BLOCK <= w->len && !s->final) {
        struct wal_group_header g;
        int rv;
        bool ours = wal_group_header_decode(w->buf + at, w->len - at, &g) && g.nonce == nonce;
        if (!ours || !wal_group_body_ok(w->buf + at, &g)) {
            size_t next;
            rv = bad_group(w, at, nonce, &next);
            if (rv != 0) return rv;
            if (next == 0) break;
            at = next;
            continue;
        }
        if (g.number != s->number + 1 || g.prev_crc != s->crc) {
            rv = damage(w, w->name, at, "group", fault_remedy_replace,
                        "group %" PRIu64 " does not continue group %" PRIu64, g.number, s->number);
            if (rv != 0) return rv;
        }
        rv = group_take(w, &g, at);
        if (rv != 0) return rv;
        at += wal_group_size(g.length);
    }
    s->offset = at;
    if (!s->final && at + DISK_BLOCK > w->len)
        return damage(w, w->name, at, "group", fault_remedy_replace, "%s", "the segment is full but not closed");
    return 0;
}

/* ---- segments ---- */

/* The header of this last file is not that of its present life. Was it ever begun? Header and first group are one
 * write, so a second group proves that the header was once good. */
static bool unused_was_begun(const struct walker *w) {
    const struct wal_scan *s = w->scan;
    struct wal_group_header g, second;
    bool may_begin = !w->begun || s->final;
    size_t at = DISK_BLOCK;
    if (!wal_group_header_decode(w->buf + at, w->len - at, &g) || g.number <= s->number) return false;
    if (!may_begin || g.number != s->number + 1) return true;
    at += wal_group_size(g.length);
    return at + DISK_BLOCK <= w->len && wal_group_header_decode(w->buf + at, w->len - at, &second) &&
           second.nonce == g.nonce && second.number == g.number + 1;
}

static int unused_take(struct walker *w, uint64_t seq, bool last) {
    if (!last || unused_was_begun(w))
        return damage(w, w->name, 0, "segment-header", fault_remedy_replace, "%s",
                      "the header is damaged, and the log goes on behind it");
    if (seq != (w->begun ? w->last_seq : 0) + 1)
        return damage(w, w->name, 0, "gap", fault_remedy_replace, "%s", "the segments before it are missing");
    w->scan->prepared = seq;
    return 0;
}

static int segment_continues(struct walker *w, const struct wal_segment_header *h) {
    struct wal_scan *s = w->scan;
    if (!w->begun) return 0;
    if (h->seq != w->last_seq + 1)
        return damage(w, w->name, 0, "gap", fault_remedy_replace, "segment %" PRIu64 " before it is missing",
                      h->seq - 1);
    if (!s->final) {
        char before[DISK_NAME_MAX];
        wal_segment_name(w->last_seq, before);
        s->torn_bytes = 0;
        return damage(w, before, s->offset, "group", fault_remedy_replace,
                      "a damaged group, and %s was written after it", w->name);
    }
    if (h->prev_number != s->number || h->prev_crc != s->crc || h->first_index != s->next || h->prev_term != s->term)
        return damage(w, w->name, 0, "segment-header", fault_remedy_replace, "%s",
                      "it does not continue the segment before it");
    return 0;
}

static int segment_begin(struct walker *w, const struct wal_segment_header *h) {
    struct wal_scan *s = w->scan;
    if (!index_sane(h->first_index))
        return damage(w, w->name, 0, "segment-header", fault_remedy_replace, "%s", "it begins with no possible entry");
    int rv = segment_continues(w, h);
    if (rv != 0) return rv;
    struct wal_segment *grown = realloc(s->segments, (s->n_segments + 1) * sizeof *grown);
    if (!grown) return err_set(w->err, ERR_NOMEM, "no memory for the list of segments");
    s->segments = grown;
    s->segments[s->n_segments++] =
        (struct wal_segment){.seq = h->seq, .bytes = w->len, .nonce = h->nonce, .first_index = h->first_index};
    if (!w->begun) {
        s->start = h->first_index;
        s->start_term = h->prev_term;
    }
    s->term = h->prev_term;
    if (!w->begun || s->next != h->first_index) next_jump(s, h->first_index);
    s->number = h->prev_number;
    s->crc = h->prev_crc;
    w->begun = true;
    w->last_seq = h->seq;
    return groups_walk(w, h->nonce);
}

static int segment_take(struct walker *w, uint64_t seq, bool last) {
    struct wal_segment_header h;
    int rv = segment_read(w, seq);
    if (rv != 0 || w->len == 0) return rv;
    rv = wal_segment_header_decode(w->buf, &h);
    if (rv == ERR_INCOMPATIBLE)
        return err_set(w->err, ERR_INCOMPATIBLE, "%s was written by a later version; start that version", w->name);
    if (rv != 0 || h.seq < seq) return unused_take(w, seq, last);
    if (h.node_id != w->node_id || memcmp(h.cluster_id, w->cluster_id, sizeof h.cluster_id) != 0)
        return damage(w, w->name, 0, "segment-header", fault_remedy_foreign, "%s",
                      "the segment belongs to another node or cluster");
    if (h.seq != seq || h.bytes != w->len)
        return damage(w, w->name, 0, "segment-header", fault_remedy_foreign, "%s",
                      "the header is that of another segment or of another size");
    return segment_begin(w, &h);
}

static int walk(struct walker *w) {
    struct wal_scan *s = w->scan;
    int rv = files_list(w);
    if (rv != 0) return rv;
    for (size_t i = 0; i < w->files.n; i++) {
        rv = segment_take(w, w->files.seqs[i], i + 1 == w->files.n);
        if (rv != 0) return rv;
    }
    char name[DISK_NAME_MAX];
    if (w->begun && s->final && s->prepared == 0) {
        wal_segment_name(w->last_seq + 1, name);
        return damage(w, name, 0, "gap", fault_remedy_replace, "%s", "the file is missing");
    }
    if (w->files.n == 0 && s->n_spares > 0) {
        wal_spare_name(s->spares[0], name);
        return damage(w, name, 0, "gap", fault_remedy_replace, "%s", "there are spare segments but no log");
    }
    return 0;
}

int wal_scan_run(struct disk *disk, const uint8_t cluster_id[16], uint64_t node_id, const struct wal_visitor *visitor,
                 struct wal_scan *ret, struct err *err) {
    *ret = (struct wal_scan){.start = 1, .next = 1};
    struct walker w = {
        .disk = disk, .cluster_id = cluster_id, .node_id = node_id, .visitor = visitor, .scan = ret, .err = err};
    int rv = walk(&w);
    free(w.buf);
    free(w.files.seqs);
    return rv;
}

void wal_scan_done(struct wal_scan *scan) {
    free(scan->segments);
    free(scan->spares);
    wal_terms_done(&scan->terms);
    scan->segments = NULL;
    scan->spares = NULL;
}
