/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/export_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "conclave/admin.pb-c.h"
#include "conclave/tools.pb-c.h"
#include "wire/arena.h"
#include "wire/json.h"

#define FORMAT         "conclave-log"
#define VERSION        1u
#define LINE_ARENA_MAX (16u << 20)

void hex16_text(const uint8_t bytes[16], char ret[33]) {
    for (unsigned i = 0; i < 16; i++)
        (void)snprintf(ret + (size_t)2 * i, 3, "%02x", bytes[i]);
}

bool hex16_parse(const char *text, uint8_t ret[16]) {
    static const char digits[] = "0123456789abcdef";
    uint8_t bytes[16];
    if (strlen(text) != 32) return false;
    for (unsigned i = 0; i < 16; i++) {
        const char *hi = strchr(digits, text[2 * i]), *lo = strchr(digits, text[2 * i + 1]);
        if (!hi || !lo) return false;
        bytes[i] = (uint8_t)((hi - digits) << 4 | (lo - digits));
    }
    memcpy(ret, bytes, 16);
    return true;
}

/* ---- writing ---- */

static bool line_put(struct export_writer *w, const ProtobufCMessage *message) {
    buf_clear(&w->line);
    if (json_print(message, 0, &w->line) || buf_append_byte(&w->line, '\n')) return false;
    w->crc = crc32c(w->crc, w->line.data, w->line.len);
    return fwrite(w->line.data, 1, w->line.len, w->out) == w->line.len;
}

void export_begin(struct export_writer *w, FILE *out, const struct export_header *header) {
    char cluster[33];
    Conclave__Tools__ExportHeader h = CONCLAVE__TOOLS__EXPORT_HEADER__INIT;
    *w = (struct export_writer){.out = out};
    buf_init(&w->line, EXPORT_LINE_MAX);
    hex16_text(header->cluster_id, cluster);
    h.format = (char *)FORMAT;
    h.version = VERSION;
    h.cluster_id = cluster;
    h.first = header->first;
    h.last = header->last;
    (void)line_put(w, &h.base); /* a failed stream stays failed */
}

bool export_entry(struct export_writer *w, uint64_t index, uint64_t term, int type, const uint8_t *data, size_t len) {
    Conclave__Admin__LogEntry e = CONCLAVE__ADMIN__LOG_ENTRY__INIT;
    e.index = index;
    e.term = term;
    e.type = (uint32_t)type;
    e.data.data = (uint8_t *)(uintptr_t)data;
    e.data.len = len;
    w->entries++;
    return line_put(w, &e.base);
}

int export_end(struct export_writer *w, struct err *err) {
    Conclave__Tools__ExportEnd e = CONCLAVE__TOOLS__EXPORT_END__INIT;
    e.entries = w->entries;
    e.crc32c = w->crc;
    bool good = line_put(w, &e.base) && fflush(w->out) == 0 && !ferror(w->out);
    buf_done(&w->line);
    return good ? 0 : err_set(err, ERR_IO, "the export could not be written");
}

/* ---- reading ---- */

struct reader {
    FILE *in;
    struct err *err;
    struct buf line; /* without its newline */
    uint64_t number; /* of the line, from 1 */
    uint32_t crc;    /* of the lines before this one */
};

static int bad(struct reader *r, const char *what) {
    return err_set(r->err, ERR_CORRUPT, "line %" PRIu64 " of the export: %s", r->number, what);
}

/* ERR_NOT_FOUND: there is none. */
static int line_next(struct reader *r) {
    r->crc = crc32c(r->crc, r->line.data, r->line.len);
    if (r->number) r->crc = crc32c(r->crc, "\n", 1);
    buf_clear(&r->line);
    int c = getc_unlocked(r->in);
    if (c == EOF) return ERR_NOT_FOUND;
    for (r->number++; c != EOF && c != '\n'; c = getc_unlocked(r->in))
        if (buf_append_byte(&r->line, (uint8_t)c)) return bad(r, "it is too long");
    return c == EOF ? bad(r, "it is cut off") : 0;
}

static int line_parse(struct reader *r, const ProtobufCMessageDescriptor *type, struct arena *arena,
                      ProtobufCMessage **ret) {
    struct err why;
    int rc = json_parse(type, r->line.data ? r->line.data : (const uint8_t *)"", r->line.len, arena, ret, &why);
    return rc ? bad(r, why.text) : 0;
}

static int header_line(struct reader *r, struct export_header *ret) {
    struct arena arena;
    ProtobufCMessage *message = NULL;
    struct export_header header = {0};
    int rc = line_next(r);
    if (rc == ERR_NOT_FOUND) return bad(r, "the file is empty");
    if (rc) return rc;
    arena_init(&arena, LINE_ARENA_MAX);
    rc = line_parse(r, &conclave__tools__export_header__descriptor, &arena, &message);
    const Conclave__Tools__ExportHeader *h = (const Conclave__Tools__ExportHeader *)message;
    if (rc == 0 && strcmp(h->format, FORMAT) != 0) rc = bad(r, "this is no export of a log");
    if (rc == 0 && h->version != VERSION)
        rc = err_set(r->err, ERR_INCOMPATIBLE, "the export has version %" PRIu32 ", this program knows %u", h->version,
                     VERSION);
    if (rc == 0 && (!hex16_parse(h->cluster_id, header.cluster_id) || h->first == 0 || h->last < h->first - 1))
        rc = bad(r, "the header makes no sense");
    if (rc == 0) {
        header.first = h->first;
        header.last = h->last;
        *ret = header;
    }
    arena_done(&arena);
    return rc;
}

struct progress {
    uint64_t next, term; /* the entry that is due; the term of the one before */
    uint64_t from, to;
    log_entry_cb cb;
    void *ctx;
    bool stopped;
};

static int entry_line(struct reader *r, struct progress *p) {
    struct arena arena;
    ProtobufCMessage *message = NULL;
    arena_init(&arena, LINE_ARENA_MAX);
    int rc = line_parse(r, &conclave__admin__log_entry__descriptor, &arena, &message);
    const Conclave__Admin__LogEntry *e = (const Conclave__Admin__LogEntry *)message;
    if (rc == 0 && e->index != p->next) rc = bad(r, "an entry is missing or stands twice");
    if (rc == 0 && (e->type < 1 || e->type > 3 || e->term < p->term)) rc = bad(r, "no possible entry");
    if (rc == 0) {
        p->next++;
        p->term = e->term;
        if (e->index >= p->from && e->index <= p->to)
            p->stopped = !p->cb(p->ctx, e->index, e->term, (int)e->type, e->data.data, e->data.len);
    }
    arena_done(&arena);
    return rc;
}

static int end_line(struct reader *r, uint64_t entries) {
    struct arena arena;
    ProtobufCMessage *message = NULL;
    int rc = line_next(r);
    if (rc == ERR_NOT_FOUND) return bad(r, "the closing line is missing behind it");
    if (rc) return rc;
    arena_init(&arena, LINE_ARENA_MAX);
    rc = line_parse(r, &conclave__tools__export_end__descriptor, &arena, &message);
    const Conclave__Tools__ExportEnd *e = (const Conclave__Tools__ExportEnd *)message;
    if (rc == 0 && (e->entries != entries || e->crc32c != r->crc)) rc = bad(r, "the checksum does not fit");
    arena_done(&arena);
    if (rc) return rc;
    return line_next(r) == ERR_NOT_FOUND ? 0 : bad(r, "something stands behind the closing line");
}

int export_header_read(FILE *in, struct export_header *ret, struct err *err) {
    struct reader r = {.in = in, .err = err};
    buf_init(&r.line, EXPORT_LINE_MAX);
    rewind(in);
    int rc = header_line(&r, ret);
    buf_done(&r.line);
    return rc;
}

int export_read(FILE *in, uint64_t from, uint64_t to, log_entry_cb cb, void *ctx, struct err *err) {
    struct reader r = {.in = in, .err = err};
    struct export_header header = {0};
    buf_init(&r.line, EXPORT_LINE_MAX);
    rewind(in);
    int rc = header_line(&r, &header);
    struct progress p = {.next = header.first, .from = from, .to = to, .cb = cb, .ctx = ctx};
    while (rc == 0 && !p.stopped && p.next <= header.last) {
        rc = line_next(&r);
        if (rc == ERR_NOT_FOUND)
            rc = bad(&r, "the file is cut off behind it");
        else if (rc == 0)
            rc = entry_line(&r, &p);
    }
    if (rc == 0 && !p.stopped) rc = end_line(&r, header.last - header.first + 1);
    buf_done(&r.line);
    return rc;
}
