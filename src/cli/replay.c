/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/replay.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/interrupt.h"
#include "cli/snapshot_fetch.h"

/* ---- where to begin ---- */

int replay_snapshots(struct log_source *source, struct archive_row ret[ARCHIVE_FOLDER_FILES], size_t *ret_n,
                     size_t *ret_master, struct err *err) {
    *ret_n = 0;
    *ret_master = 0;
    if (log_source_disk(source)) return archive_list(log_source_disk(source), ret, ret_n, err);
    if (!log_source_live(source)) return 0;
    return snapshots_fetch(log_source_options(source), ret, ret_n, ret_master, err);
}

static int base_read(struct log_source *source, size_t master, const struct archive_row *row, struct archive *ret,
                     struct fault *ret_fault, struct err *err) {
    uint8_t cluster[16];
    *ret_fault = (struct fault){0};
    if (log_source_live(source)) return snapshot_fetch(log_source_options(source), master, row, ret, err);
    int rc = log_source_cluster_id(source, cluster, err);
    return rc ? rc : archive_read(log_source_disk(source), cluster, row, ret, ret_fault, err);
}

static int base_restore(struct replay *r, struct archive *base, struct err *err) {
    int rc = state_restore(r->state, base->state, base->state_len, err);
    if (rc) return err_wrap(err, "the snapshot at entry %" PRIu64, base->index);
    free(base->state);
    base->state = NULL;
    base->state_len = 0;
    r->before = *base;
    r->index = base->index;
    r->term = base->term;
    *base = (struct archive){0};
    return 0;
}

/* Whether the log goes on right behind the snapshot. */
static bool reaches(const struct log_range *range, const struct archive_row *row) {
    return row->index + 1 >= range->first;
}

static int unreachable(const struct log_source *source, uint64_t oldest, uint64_t at, struct err *err) {
    const struct log_range *range = log_source_range(source);
    int rc = log_source_damage(source, err);
    if (rc && at > range->last) return rc;
    if (oldest == UINT64_MAX) /* a folder always has one, and verify calls its absence damage */
        return err_set(err, log_source_disk(source) ? ERR_CORRUPT : ERR_NOT_FOUND,
                       "no state can be rebuilt here: the log begins at entry %" PRIu64
                       ", and no snapshot reaches it%s",
                       range->first, log_source_disk(source) ? "; conclave log verify tells more" : "");
    return err_set(err, ERR_NOT_FOUND, "entry %" PRIu64 " cannot be rebuilt here: %" PRIu64 " to %" PRIu64 " can", at,
                   oldest ? oldest : 1, range->last);
}

/* Tries the snapshots in the order wanted; a damaged one is passed over. 1: none could be used. */
static int base_choose(struct replay *r, uint64_t at, bool oldest, uint64_t *ret_oldest, struct err *err) {
    struct archive_row rows[ARCHIVE_FOLDER_FILES];
    const struct log_range *range = log_source_range(r->source);
    size_t n = 0, master = 0;
    int rc = replay_snapshots(r->source, rows, &n, &master, err), last = 0;
    struct err why = {0};
    if (rc) return rc;
    for (size_t i = 0; i < n; i++)
        if (range->first > 1 && reaches(range, &rows[i])) *ret_oldest = rows[i].index;
    for (size_t k = 0; k < n; k++) {
        const struct archive_row *row = &rows[oldest ? n - 1 - k : k];
        struct archive base = {0};
        struct fault fault;
        if (row->index > at || !reaches(range, row)) continue;
        rc = base_read(r->source, master, row, &base, &fault, &why);
        if (rc == 0) rc = base_restore(r, &base, &why);
        archive_done(&base);
        if (rc == 0 || (rc != ERR_CORRUPT && rc != ERR_NOT_FOUND)) {
            if (rc) *err = why;
            return rc;
        }
        last = rc;
        if (fault.kind) /* its remedy is for a node that has nothing else */
            fprintf(stderr, "conclave: note: %s is damaged at offset %" PRIu64 " (%s) and left out\n", fault.file,
                    fault.offset, fault.text);
        else
            fprintf(stderr, "conclave: note: %s\n", why.text);
    }
    if (last == 0) return 1;
    *err = why;
    return last;
}

int replay_open(struct log_source *source, uint64_t at, bool oldest, struct replay *ret, struct err *err) {
    struct replay r = {.source = source};
    const struct log_range *range = log_source_range(source);
    uint64_t begins = range->first == 1 ? 0 : UINT64_MAX; /* the oldest state that can be rebuilt, UINT64_MAX: none */
    *ret = (struct replay){0};
    r.state = state_new();
    r.outcome = malloc(sizeof *r.outcome);
    int rc = r.state && r.outcome ? 0 : err_set(err, ERR_NOMEM, "out of memory");
    if (rc == 0 && oldest && range->first == 1)
        rc = 1; /* from the very beginning, whatever snapshots there are */
    else if (rc == 0)
        rc = base_choose(&r, at, oldest, &begins, err);
    uint64_t end = range->last > r.index ? range->last : r.index; /* right behind a snapshot the log may be empty */
    bool helpless = rc == 1 || rc == ERR_CORRUPT || rc == ERR_NOT_FOUND;
    if (helpless && range->first == 1) rc = 0; /* the log has it all */
    if (rc == 1 || (rc == 0 && (at > end || at < begins))) rc = unreachable(source, begins, at, err);
    if (rc) {
        replay_done(&r);
        return rc;
    }
    *ret = r;
    return 0;
}

void replay_done(struct replay *r) {
    if (r->state) state_free(r->state);
    effects_done(&r->effects);
    free(r->outcome);
    archive_done(&r->before);
    *r = (struct replay){0};
}

/* ---- going on ---- */

struct going {
    struct replay *r;
    const struct log_position *to;
    const struct replay_watch *watch;
    struct err *err;
    int rc;
};

static bool command_apply(void *ctx, const struct log_item *item) {
    struct going *g = ctx;
    struct replay *r = g->r;
    const struct replay_watch *w = g->watch;
    if (!item->command || log_position_behind(item->index, item->n, g->to)) return true;
    if (w && w->before && !w->before(w->ctx, r, item)) return false;
    g->rc = state_apply(r->state, item->term, item->index, item->n, item->data, item->bytes, r->outcome, &r->effects,
                        g->err);
    if (g->rc) {
        (void)err_wrap(g->err, "position %" PRIu64 ".%" PRIu32, item->index, item->n);
        return false;
    }
    return !w || !w->after || w->after(w->ctx, r, item, r->outcome);
}

static bool entry_apply(void *ctx, uint64_t index, uint64_t term, int type, const uint8_t *data, size_t len) {
    struct going *g = ctx;
    struct replay *r = g->r;
    bool go_on = true;
    if (interrupted()) return false;
    int rc = type == LOG_ENTRY_CONFIGURATION
                 ? archive_members_decode(data, len, &r->before, g->err)
                 : log_entry_items(index, term, type, data, len, command_apply, g, &go_on, g->err);
    if (rc && g->rc == 0) g->rc = rc;
    if (g->rc || !go_on) return false;
    if (type == LOG_ENTRY_CONFIGURATION) r->before.conf_index = index;
    r->index = index;
    r->term = term;
    return true;
}

int replay_to(struct replay *r, const struct log_position *to, const struct replay_watch *watch, struct err *err) {
    struct going g = {.r = r, .to = to, .watch = watch, .err = err};
    if (to->index <= r->index) return 0;
    int rc = log_source_entries(r->source, r->index + 1, to->index, entry_apply, &g, err);
    if (g.rc) return g.rc;
    if (rc == 0 && interrupted()) rc = err_set(err, ERR_CLOSED, "interrupted at entry %" PRIu64, r->index);
    return rc;
}

int replay_at(struct log_source *source, const struct log_position *at, struct replay *ret, struct err *err) {
    const struct log_range *range = log_source_range(source);
    const struct log_position end = {.index = range->last, .whole = true};
    const struct log_position *to = at ? at : &end;
    int rc = at ? 0 : log_source_damage(source, err);
    if (rc) return rc;
    /* a position inside an entry needs a snapshot before that entry */
    rc = replay_open(source, to->whole ? to->index : to->index - 1, false, ret, err);
    if (rc == 0) rc = replay_to(ret, to, NULL, err);
    if (rc == 0 && ret->index < to->index)
        rc = err_set(err, ERR_NOT_FOUND, "entry %" PRIu64 " is not there: the log ends with %" PRIu64, to->index,
                     ret->index);
    if (rc) replay_done(ret);
    return rc;
}
