/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/log_source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/client.h"
#include "cli/export_file.h"
#include "cli/interrupt.h"
#include "conclave/admin.pb-c.h"
#include "consensus/archive.h"
#include "consensus/disk_file.h"
#include "consensus/identity.h"

#define PAGE_ENTRIES 500
#define PAGE_MS      10000

struct log_source {
    struct options o;
    struct log_range range;
    struct disk *disk; /* a folder */
    struct log_reader *reader;
    FILE *export; /* an export */
    struct export_header header;
};

/* ---- live ---- */

static int live_page(struct log_source *s, uint64_t from, unsigned count, struct arena *arena,
                     const Conclave__Admin__Log **ret, struct err *err) {
    struct answer answer;
    ProtobufCMessage *message = NULL;
    char path[96];
    int n = snprintf(path, sizeof path, "/conclave/v1/log?count=%u", count);
    if (from) (void)snprintf(path + n, sizeof path - (size_t)n, "&from=%" PRIu64, from);
    const struct request request = {.method = "GET", .path = path, .timeout_ms = PAGE_MS};
    int rc = client_request_any(&s->o, &request, &answer, err);
    if (rc) return rc;
    rc = answer_message(&answer, &conclave__admin__log__descriptor, arena, &message, err);
    answer_done(&answer);
    *ret = (const Conclave__Admin__Log *)message;
    return rc;
}

static int live_range(struct log_source *s, struct err *err) {
    struct arena arena;
    const Conclave__Admin__Log *log = NULL;
    arena_init(&arena, CLIENT_ANSWER_MAX);
    int rc = live_page(s, 0, 0, &arena, &log, err);
    if (rc == 0) s->range = (struct log_range){.first = log->first, .last = log->commit, .committed = true};
    arena_done(&arena);
    return rc;
}

static int live_entries(struct log_source *s, uint64_t from, uint64_t to, log_entry_cb cb, void *ctx, struct err *err) {
    bool go_on = true;
    int rc = 0;
    for (uint64_t at = from; rc == 0 && go_on && at <= to;) {
        struct arena arena;
        const Conclave__Admin__Log *log = NULL;
        uint64_t left = to - at;
        arena_init(&arena, CLIENT_ANSWER_MAX);
        rc = live_page(s, at, left < PAGE_ENTRIES ? (unsigned)left + 1 : PAGE_ENTRIES, &arena, &log, err);
        if (rc == 0 && log->n_entries == 0) rc = err_set(err, ERR_IO, "a master's page of the log is empty");
        for (size_t i = 0; rc == 0 && go_on && at <= to && i < log->n_entries; i++, at++) {
            const Conclave__Admin__LogEntry *e = log->entries[i];
            if (e->index != at) {
                rc = err_set(err, ERR_IO, "a master's page of the log has a gap");
                break;
            }
            go_on = cb(ctx, e->index, e->term, (int)e->type, e->data.data, e->data.len);
        }
        arena_done(&arena);
    }
    return rc;
}

/* ---- a folder, an export ---- */

static int folder_open(struct log_source *s, struct err *err) {
    struct err damage = {0};
    int rc = s->disk ? 0 : disk_file_open_readonly(s->o.data_dir, &s->disk, err);
    if (rc) return rc;
    log_reader_close(s->reader);
    rc = log_reader_open(s->disk, &s->reader, &damage);
    if (rc && !s->reader) {
        *err = damage;
        return err_wrap(err, "%.100s", s->o.data_dir);
    }
    const struct log_span *span = log_reader_span(s->reader);
    struct archive_row rows[ARCHIVE_FOLDER_FILES];
    size_t n = 0;
    rc = archive_list(s->disk, rows, &n, err);
    s->range = (struct log_range){.first = span->first, .last = span->last};
    if (rc == 0 && n && rows[0].index > span->last) /* nothing was written behind it yet */
        s->range = (struct log_range){.first = rows[0].index + 1, .last = rows[0].index};
    return rc;
}

static int export_open(struct log_source *s, struct err *err) {
    s->export = fopen(s->o.export_file, "re");
    if (!s->export) return err_sys(err, errno, "%.160s", s->o.export_file);
    int rc = export_header_read(s->export, &s->header, err);
    s->range = (struct log_range){.first = s->header.first, .last = s->header.last};
    return rc ? err_wrap(err, "%.100s", s->o.export_file) : 0;
}

/* ---- any ---- */

int log_source_open(const struct options *o, struct log_source **ret, struct err *err) {
    struct log_source *s = calloc(1, sizeof *s);
    if (!s) return err_set(err, ERR_NOMEM, "out of memory");
    s->o = *o;
    int rc = o->data_dir && o->export_file ? err_set(err, ERR_INVALID, "--data-dir and --export exclude each other")
             : o->data_dir                 ? folder_open(s, err)
             : o->export_file              ? export_open(s, err)
                                           : 0;
    if (rc == 0 && log_source_live(s)) {
        (void)client_leader_first(&s->o);
        rc = live_range(s, err);
    }
    if (rc) {
        log_source_close(s);
        return rc;
    }
    uint64_t torn = s->reader ? log_reader_span(s->reader)->torn_bytes : 0;
    if (torn)
        fprintf(stderr,
                "conclave: note: %" PRIu64 " bytes of an unfinished write at the end of the log are left out; the next "
                "start cuts them\n",
                torn);
    *ret = s;
    return 0;
}

void log_source_close(struct log_source *s) {
    if (!s) return;
    log_reader_close(s->reader);
    if (s->disk) disk_close(s->disk);
    if (s->export) (void)fclose(s->export);
    free(s);
}

const struct log_range *log_source_range(const struct log_source *s) {
    return &s->range;
}

int log_source_damage(const struct log_source *s, struct err *err) {
    const struct err *damage = s->reader ? log_reader_damage(s->reader) : NULL;
    return damage ? err_set(err, damage->code, "%s", damage->text) : 0;
}

int log_source_refresh(struct log_source *s, struct err *err) {
    if (log_source_live(s)) return live_range(s, err);
    return s->disk ? folder_open(s, err) : 0;
}

bool log_source_live(const struct log_source *s) {
    return !s->o.data_dir && !s->o.export_file;
}

struct disk *log_source_disk(const struct log_source *s) {
    return s->disk;
}

const struct options *log_source_options(const struct log_source *s) {
    return &s->o;
}

static int live_cluster_id(struct log_source *s, uint8_t ret[16], struct err *err) {
    struct answer answer;
    struct arena arena;
    ProtobufCMessage *message = NULL;
    const struct request request = {.method = "GET", .path = "/conclave/v1/status", .timeout_ms = PAGE_MS};
    int rc = client_request_any(&s->o, &request, &answer, err);
    if (rc) return rc;
    arena_init(&arena, CLIENT_ANSWER_MAX);
    rc = answer_message(&answer, &conclave__admin__status__descriptor, &arena, &message, err);
    const char *text = rc ? NULL : ((const Conclave__Admin__Status *)message)->cluster_id;
    if (rc == 0 && (!text || !hex16_parse(text, ret))) rc = err_set(err, ERR_IO, "a master does not tell its cluster");
    arena_done(&arena);
    answer_done(&answer);
    return rc;
}

int log_source_cluster_id(struct log_source *s, uint8_t ret[16], struct err *err) {
    struct identity identity;
    if (log_source_live(s)) return live_cluster_id(s, ret, err);
    if (s->export) {
        memcpy(ret, s->header.cluster_id, 16);
        return 0;
    }
    int rc = identity_read(s->disk, &identity, err);
    if (rc == 0) memcpy(ret, identity.cluster_id, 16);
    return rc;
}

int log_source_entries(struct log_source *s, uint64_t from, uint64_t to, log_entry_cb cb, void *ctx, struct err *err) {
    if (from < s->range.first) from = s->range.first;
    if (s->disk) return log_reader_walk(s->reader, from, to, cb, ctx, err); /* clips, and tells damage behind its end */
    if (to > s->range.last) to = s->range.last;
    if (from > to) return 0;
    return s->export ? export_read(s->export, from, to, cb, ctx, err) : live_entries(s, from, to, cb, ctx, err);
}

/* ---- commands ---- */

struct walk {
    const struct log_filter *filter;
    log_item_cb cb;
    void *ctx;
    int rc;
    struct err *err;
};

static bool walk_item(void *ctx, const struct log_item *item) {
    struct walk *w = ctx;
    if (interrupted()) return false;
    if (w->filter && !log_filter_match(w->filter, item)) return true;
    return w->cb(w->ctx, item);
}

static bool walk_entry(void *ctx, uint64_t index, uint64_t term, int type, const uint8_t *data, size_t len) {
    struct walk *w = ctx;
    bool go_on = true;
    w->rc = log_entry_items(index, term, type, data, len, walk_item, w, &go_on, w->err);
    return w->rc == 0 && go_on;
}

int log_source_walk(struct log_source *s, const struct log_filter *filter, log_item_cb cb, void *ctx, struct err *err) {
    struct walk w = {.filter = filter, .cb = cb, .ctx = ctx, .err = err};
    uint64_t from = filter ? filter->from.index : 0, to = filter ? filter->to.index : UINT64_MAX;
    if ((from && from < s->range.first) || to < s->range.first)
        fprintf(stderr, "conclave: note: the log begins at entry %" PRIu64 " here\n", s->range.first);
    int rc = log_source_entries(s, from, to, walk_entry, &w, err);
    return w.rc ? w.rc : rc;
}
