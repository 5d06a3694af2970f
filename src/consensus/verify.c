/* SPDX-License-Identifier: Apache-2.0 */
#include "consensus/verify.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "consensus/cross_check.h"
#include "consensus/snapshot_file.h"
#include "consensus/vote.h"
#include "consensus/wal_scan.h"

#define LIVE_TRIES    8u        /* what looks damaged while it is being written is read so often */
#define LIVE_PAUSE_NS 20000000L /* longer than a write and its seal usually take */

static void pause_briefly(void) {
    const struct timespec pause = {.tv_nsec = LIVE_PAUSE_NS};
    (void)nanosleep(&pause, NULL);
}

/* ---- report ---- */

static void fault_add(struct verify_report *r, const struct fault *fault) {
    r->faults_total++;
    if (r->n_faults < VERIFY_FAULTS_MAX) r->faults[r->n_faults++] = *fault;
}

static bool scan_fault(void *ctx, const struct fault *fault) {
    fault_add(ctx, fault);
    return true;
}

/* Damage that is known only as an error text. */
static void fault_of_err(struct verify_report *r, const char *file, const char *kind, const struct err *err) {
    struct fault fault;
    fault_set(&fault, file, 0, kind, fault_remedy_replace, "%s", err->text);
    fault_add(r, &fault);
}

static int vote_verify(struct disk *disk, struct verify_report *r, struct vote *ret, struct err *err) {
    struct fault fault;
    bool repair;
    int rv = vote_read(disk, &r->identity, ret, &repair, &fault, err);
    if (rv != 0 && rv != ERR_CORRUPT) return rv;
    if (fault.file[0]) fault_add(r, &fault);
    r->term = ret->term;
    r->voted_for = ret->voted_for;
    return 0;
}

static int log_verify(struct disk *disk, struct verify_report *r, struct wal_scan *scan, struct err *err) {
    struct wal_visitor v = {.ctx = r, .fault = scan_fault};
    int rv = wal_scan_run(disk, r->identity.cluster_id, r->identity.node_id, &v, scan, err);
    r->first = scan->start;
    r->last = scan->next - 1;
    r->last_term = scan->term;
    r->groups = scan->groups;
    r->segments = scan->n_segments;
    r->torn_bytes = scan->torn_bytes;
    if (rv != ERR_INCOMPATIBLE) return rv;
    fault_of_err(r, "log", "segment-header", err);
    return 0;
}

/* Sets *ret_newest to the newest good one, its index 0 if there is none. */
static int snapshots_verify(struct disk *disk, struct verify_report *r, const struct wal_scan *scan,
                            struct snapshot_id *ret_newest, struct err *err) {
    struct snapshot_id ids[SNAPSHOT_FILES_MAX] = {{0}};
    struct fault faults[SNAPSHOT_FILES_MAX];
    size_t n, n_faults = 0;
    int rv = snapshot_list(disk, ids, &n, err);
    if (rv != 0) return rv;
    *ret_newest = (struct snapshot_id){0};
    for (size_t i = 0; i < n; i++) {
        rv = snapshot_read(disk, r->identity.cluster_id, &ids[i], NULL, &faults[n_faults], err);
        if (rv == ERR_CORRUPT) {
            n_faults++;
        } else if (rv != 0) {
            return rv;
        } else if (ret_newest->index == 0) {
            *ret_newest = ids[i];
        }
    }
    r->snapshots = n;
    r->snapshot_index = ret_newest->index;
    r->snapshot_term = ret_newest->term;
    bool reached = scan->start <= ret_newest->index + 1;
    for (size_t i = 0; i < n_faults; i++) {
        faults[i].remedy = reached ? fault_remedy_snapshot : fault_remedy_replace;
        fault_add(r, &faults[i]);
    }
    return 0;
}

static int verify_once(struct disk *disk, struct verify_report *r, struct err *err) {
    struct vote vote = {0};
    struct wal_scan scan;
    struct snapshot_id newest = {0};
    struct fault fault;
    *r = (struct verify_report){.first = 1};
    int rv = identity_read(disk, &r->identity, err);
    if (rv == ERR_NOT_FOUND) {
        r->pristine = true;
        return 0;
    }
    if (rv == ERR_CORRUPT || rv == ERR_INCOMPATIBLE) {
        fault_of_err(r, IDENTITY_FILE, "identity", err);
        return 0; /* whose files these should be is not known */
    }
    if (rv == 0) rv = vote_verify(disk, r, &vote, err);
    if (rv != 0) return rv;
    rv = log_verify(disk, r, &scan, err);
    if (rv == 0) rv = snapshots_verify(disk, r, &scan, &newest, err);
    if (rv == 0 && vote.version && r->faults_total == 0 && !cross_check_vote(&vote, &scan, &fault))
        fault_add(r, &fault);
    if (rv == 0 && vote.version && r->faults_total == 0 &&
        !cross_check_snapshot(&vote, &scan, newest.index ? &newest : NULL, &fault))
        fault_add(r, &fault);
    wal_scan_done(&scan);
    return rv;
}

int verify_run(struct disk *disk, bool live, struct verify_report *ret, struct err *err) {
    int rv = verify_once(disk, ret, err);
    for (unsigned i = 1; live && i < LIVE_TRIES && (rv == ERR_NOT_FOUND || (rv == 0 && ret->faults_total)); i++) {
        pause_briefly();
        rv = verify_once(disk, ret, err);
    }
    ret->ok = rv == 0 && ret->faults_total == 0;
    return rv;
}

/* ---- entries ---- */

struct place {
    uint64_t seq, offset, term;
    uint32_t len;
    uint16_t type;
};

struct collector {
    uint64_t from, to;
    uint64_t first; /* index of places[0] */
    struct place *places;
    size_t n, cap;
    struct err *err;
};

static int collect_entry(void *ctx, uint64_t index, const struct wal_record *r, uint64_t seq, uint64_t offset) {
    struct collector *c = ctx;
    if (index < c->from || index > c->to) return 0;
    if (c->n == 0) c->first = index;
    if (c->n == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 256;
        struct place *grown = realloc(c->places, cap * sizeof *grown);
        if (!grown) return err_set(c->err, ERR_NOMEM, "no memory to list entries");
        c->places = grown;
        c->cap = cap;
    }
    c->places[c->n++] =
        (struct place){.seq = seq, .offset = offset, .term = r->term, .len = r->len, .type = (uint16_t)r->type};
    return 0;
}

static void collect_truncate(void *ctx, uint64_t index) {
    struct collector *c = ctx;
    if (c->n == 0) return;
    if (index <= c->first) {
        c->n = 0;
    } else if (index - c->first < c->n) {
        c->n = index - c->first;
    }
}

static void collect_reset(void *ctx, uint64_t index, uint64_t term) {
    struct collector *c = ctx;
    (void)index;
    (void)term;
    c->n = 0;
}

static int segment_load(struct disk *disk, const struct wal_scan *scan, uint64_t seq, uint8_t **buf, size_t *ret_len,
                        struct err *err) {
    char name[DISK_NAME_MAX];
    uint64_t size, nonce = 0;
    struct wal_segment_header h;
    wal_segment_name(seq, name);
    int rv = disk_size(disk, name, &size, err);
    if (rv != 0) return rv;
    uint8_t *grown = realloc(*buf, size);
    if (!grown) return err_set(err, ERR_NOMEM, "no memory to list entries");
    *buf = grown;
    rv = disk_read(disk, name, 0, grown, size, ret_len, err);
    if (rv != 0) return rv;
    for (size_t i = 0; i < scan->n_segments; i++)
        if (scan->segments[i].seq == seq) nonce = scan->segments[i].nonce;
    if (*ret_len < DISK_BLOCK || wal_segment_header_decode(grown, &h) != 0 || h.nonce != nonce)
        return err_set(err, ERR_NOT_FOUND, "%s was recycled meanwhile: ask again", name);
    return 0;
}

static int show(struct disk *disk, const struct wal_scan *scan, const struct collector *c, verify_entry_cb cb,
                void *ctx, struct err *err) {
    uint8_t *buf = NULL;
    size_t len = 0;
    uint64_t seq = 0;
    int rv = 0;
    for (size_t i = 0; i < c->n; i++) {
        const struct place *p = &c->places[i];
        if (p->seq != seq) rv = segment_load(disk, scan, p->seq, &buf, &len, err);
        if (rv == 0 && p->offset + p->len > len) rv = err_set(err, ERR_IO, "a segment became shorter");
        if (rv != 0) break;
        seq = p->seq;
        if (!cb(ctx, c->first + i, p->term, p->type, buf + p->offset, p->len)) break;
    }
    free(buf);
    return rv;
}

static int entries_once(struct disk *disk, struct collector *c, struct wal_scan *scan, struct err *err) {
    struct identity identity;
    struct wal_visitor v = {.ctx = c, .entry = collect_entry, .truncate = collect_truncate, .reset = collect_reset};
    c->n = 0;
    *scan = (struct wal_scan){.start = 1, .next = 1};
    int rv = identity_read(disk, &identity, err);
    return rv == 0 ? wal_scan_run(disk, identity.cluster_id, identity.node_id, &v, scan, err) : rv;
}

int verify_entries(struct disk *disk, bool live, uint64_t from, uint64_t to, verify_entry_cb cb, void *ctx,
                   uint64_t *ret_first, uint64_t *ret_last, struct err *err) {
    struct collector c = {.from = from, .to = to, .err = err};
    struct wal_scan scan;
    int rv = entries_once(disk, &c, &scan, err);
    for (unsigned i = 1; live && i < LIVE_TRIES && (rv == ERR_CORRUPT || rv == ERR_NOT_FOUND); i++) {
        wal_scan_done(&scan);
        pause_briefly();
        rv = entries_once(disk, &c, &scan, err);
    }
    if (ret_first) *ret_first = scan.start;
    if (ret_last) *ret_last = scan.next - 1;
    struct err of_show;
    int shown = rv == 0 || rv == ERR_CORRUPT ? show(disk, &scan, &c, cb, ctx, &of_show) : 0;
    if (rv == 0 && shown != 0) {
        rv = shown;
        *err = of_show;
    }
    if (rv == 0 && c.n == 0)
        rv = err_set(err, ERR_NOT_FOUND, "no entries there: the log has %" PRIu64 " to %" PRIu64, scan.start,
                     scan.next - 1);
    wal_scan_done(&scan);
    free(c.places);
    return rv;
}
