/* SPDX-License-Identifier: Apache-2.0
 * Judging the bytes of a snapshot file as they come: header -> configuration -> chunks -> footer. Every length is held
 * against the size of the file before anything is allocated by it. */
#include <lz4frame.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "consensus/snapshot_file.h"
#include "consensus/snapshot_format.h"

enum part { PART_HEADER, PART_CONFIGURATION, PART_KIND, PART_CHUNK, PART_FRAME, PART_FOOTER, PART_END };

struct snapshot_decoder {
    uint8_t cluster_id[16];
    struct snapshot_id id;
    char name[DISK_NAME_MAX];
    uint64_t size;
    struct snapshot_sink sink;

    enum part part;
    struct buf have; /* the part that is being filled */
    size_t need;     /* its length */
    uint64_t offset; /* where it begins */
    uint32_t crc;    /* of all parts before */

    uint8_t header_bytes[SNAPSHOT_HEADER_SIZE];
    struct snapshot_header header;
    uint8_t conf[SNAPSHOT_CONF_MAX];
    struct snapshot_chunk chunk;
    struct snapshot_footer footer;
    uint32_t chunks;
    uint64_t state_size;
    struct buf row; /* the chunks' hashes */
    uint8_t *plain;
    LZ4F_dctx *lz4;

    struct fault *fault; /* of the call */
    struct err *err;
};

static int bad(struct snapshot_decoder *d, const char *what) {
    fault_set(d->fault, d->name, d->offset, "snapshot", fault_remedy_replace, "%s", what);
    return fault_err(d->fault, d->err);
}

int snapshot_decoder_new(const uint8_t cluster_id[16], const struct snapshot_id *id, const char *name, uint64_t size,
                         const struct snapshot_sink *sink, struct snapshot_decoder **ret, struct err *err) {
    struct snapshot_decoder *d = calloc(1, sizeof *d);
    uint8_t *plain = malloc(SNAPSHOT_CHUNK);
    if (d && LZ4F_isError(LZ4F_createDecompressionContext(&d->lz4, LZ4F_VERSION))) d->lz4 = NULL;
    if (!d || !plain || !d->lz4) {
        if (d) LZ4F_freeDecompressionContext(d->lz4);
        free(d);
        free(plain);
        return err_set(err, ERR_NOMEM, "no memory to read a snapshot");
    }
    memcpy(d->cluster_id, cluster_id, sizeof d->cluster_id);
    d->id = *id;
    strncpy(d->name, name, sizeof d->name - 1);
    d->size = size;
    if (sink) d->sink = *sink;
    d->plain = plain;
    d->need = SNAPSHOT_HEADER_SIZE;
    buf_init(&d->have, SNAPSHOT_CONF_MAX + LZ4F_compressFrameBound(SNAPSHOT_CHUNK, NULL));
    buf_init(&d->row, SNAPSHOT_STATE_MAX / SNAPSHOT_CHUNK * 16);
    *ret = d;
    return 0;
}

/* ---- the parts: each judges what has been filled and says what comes next ---- */

static void next(struct snapshot_decoder *d, enum part part, size_t need) {
    d->part = part;
    d->need = need;
}

static int header_take(struct snapshot_decoder *d, const uint8_t *bytes) {
    struct snapshot_header *h = &d->header;
    if (!snapshot_header_decode(bytes, h)) return bad(d, "this is no snapshot of a known format");
    if (h->conf_size > SNAPSHOT_CONF_MAX) return bad(d, "the header has impossible sizes");
    memcpy(d->header_bytes, bytes, sizeof d->header_bytes);
    next(d, PART_CONFIGURATION, h->conf_size);
    return 0;
}

static int configuration_take(struct snapshot_decoder *d, const uint8_t *bytes) {
    const struct snapshot_header *h = &d->header;
    if (h->conf_size) memcpy(d->conf, bytes, h->conf_size);
    if (!snapshot_header_ok(d->header_bytes, d->conf, h->conf_size)) return bad(d, "the header is damaged");
    if (memcmp(h->cluster_id, d->cluster_id, 16) != 0) return bad(d, "it belongs to another cluster");
    if (h->index != d->id.index || h->term != d->id.term) return bad(d, "it is another snapshot than its name says");
    next(d, PART_KIND, 4);
    return 0;
}

static int chunk_take(struct snapshot_decoder *d, const uint8_t *bytes) {
    struct snapshot_chunk *c = &d->chunk;
    bool last = d->state_size % SNAPSHOT_CHUNK != 0; /* only the last may be shorter */
    if (!snapshot_chunk_decode(bytes, c)) return bad(d, "the header of a chunk is damaged");
    if (c->seq != d->chunks || last || c->plain_size == 0 || c->plain_size > SNAPSHOT_CHUNK || c->packed_size == 0 ||
        c->packed_size > LZ4F_compressFrameBound(SNAPSHOT_CHUNK, NULL) ||
        c->plain_size > SNAPSHOT_STATE_MAX - d->state_size)
        return bad(d, "a chunk is out of place");
    next(d, PART_FRAME, c->packed_size);
    return 0;
}

static int frame_take(struct snapshot_decoder *d, const uint8_t *bytes) {
    const struct snapshot_chunk *c = &d->chunk;
    size_t n = c->plain_size, used = c->packed_size;
    if (crc32c(0, bytes, c->packed_size) != c->crc) return bad(d, "a chunk is damaged");
    LZ4F_resetDecompressionContext(d->lz4);
    size_t rest = LZ4F_decompress(d->lz4, d->plain, &n, bytes, &used, NULL);
    if (LZ4F_isError(rest) || rest != 0 || n != c->plain_size || used != c->packed_size)
        return bad(d, "a chunk does not unpack");
    struct hash128 h = hash128_of(d->plain, n);
    (void)buf_append_u64(&d->row, h.lo);
    (void)buf_append_u64(&d->row, h.hi);
    if (d->row.failed) return err_set(d->err, ERR_NOMEM, "no memory to read a snapshot");
    d->chunks++;
    d->state_size += n;
    next(d, PART_KIND, 4);
    return d->sink.data ? d->sink.data(d->sink.ctx, d->plain, n, d->err) : 0;
}

static int footer_take(struct snapshot_decoder *d, const uint8_t *bytes) {
    struct snapshot_footer *f = &d->footer;
    struct hash128 hash = hash128_of(d->row.data, d->row.len);
    if (!snapshot_footer_decode(bytes, f)) return bad(d, "the footer is damaged");
    if (f->chunks != d->chunks || f->state_size != d->state_size || f->crc != d->crc)
        return bad(d, "the checksum of the file does not fit");
    if (f->file_size != d->size || d->offset + SNAPSHOT_FOOTER_SIZE != d->size)
        return bad(d, "the file has a wrong length");
    if (!hash128_equal(hash, f->hash)) return bad(d, "the hash of the state does not fit");
    next(d, PART_END, SIZE_MAX);
    return 0;
}

static int part_take(struct snapshot_decoder *d, const uint8_t *bytes) {
    static int (*const takes[])(struct snapshot_decoder *, const uint8_t *) = {
        [PART_HEADER] = header_take, [PART_CONFIGURATION] = configuration_take,
        [PART_CHUNK] = chunk_take,   [PART_FRAME] = frame_take,
        [PART_FOOTER] = footer_take,
    };
    if (d->part == PART_KIND) { /* what was read stays: it is the beginning of the part */
        bool footer = snapshot_footer_begins(bytes);
        next(d, footer ? PART_FOOTER : PART_CHUNK, footer ? SNAPSHOT_FOOTER_SIZE : SNAPSHOT_CHUNK_HEADER);
        return 0;
    }
    size_t len = d->need;
    uint32_t crc = crc32c(d->crc, bytes, len); /* the footer itself is judged without */
    int rv = takes[d->part](d, bytes);
    d->crc = crc;
    d->offset += rv == 0 ? len : 0;
    return rv;
}

int snapshot_decoder_data(struct snapshot_decoder *d, const uint8_t *data, size_t len, struct fault *ret_fault,
                          struct err *err) {
    d->fault = ret_fault;
    d->err = err;
    for (;;) {
        if (d->part == PART_END) return len == 0 ? 0 : bad(d, "the file has a wrong length");
        if (d->have.len == 0 && d->part != PART_KIND && len >= d->need) { /* a whole part: no need to copy it */
            size_t n = d->need;
            int rv = part_take(d, data);
            if (rv != 0) return rv;
            data += n;
            len -= n;
            continue;
        }
        size_t missing = d->need - d->have.len, n = missing < len ? missing : len;
        if (buf_append(&d->have, data, n)) return err_set(err, ERR_NOMEM, "no memory to read a snapshot");
        data += n;
        len -= n;
        if (n < missing) return 0;
        bool kind = d->part == PART_KIND;
        int rv = part_take(d, d->have.data);
        if (rv != 0) return rv;
        if (!kind) buf_clear(&d->have);
    }
}

/* ---- what it was ---- */

static int configuration_decode(struct snapshot_decoder *d, struct raft_configuration *ret) {
    const uint8_t *p = d->conf, *end = d->conf + d->header.conf_size;
    if (end - p < 4) return bad(d, "the configuration is malformed");
    uint32_t n = load_u32(p);
    p += 4;
    while (n--) {
        char address[UINT16_MAX + 1];
        if (end - p < 11) return bad(d, "the configuration is malformed");
        uint64_t id = load_u64(p);
        uint8_t role = p[8];
        uint16_t len = load_u16(p + 9);
        p += 11;
        if (end - p < len) return bad(d, "the configuration is malformed");
        memcpy(address, p, len);
        address[len] = '\0';
        p += len;
        int rv = raft_configuration_add(ret, id, address, role);
        if (rv == RAFT_NOMEM) return err_set(d->err, ERR_NOMEM, "no memory to read a snapshot");
        if (rv != 0) return bad(d, "the configuration is malformed");
    }
    return p == end ? 0 : bad(d, "the configuration is malformed");
}

static int result_make(struct snapshot_decoder *d, struct raft_snapshot **ret) {
    struct raft_snapshot *s = raft_calloc(1, sizeof *s);
    if (!s) return err_set(d->err, ERR_NOMEM, "no memory to read a snapshot");
    raft_configuration_init(&s->configuration);
    s->index = d->header.index;
    s->term = d->header.term;
    s->configuration_index = d->header.conf_index;
    int rv = configuration_decode(d, &s->configuration);
    s->bufs = raft_malloc(sizeof *s->bufs);
    if (s->bufs) {
        s->bufs[0] = (struct raft_buffer){.base = raft_malloc(SNAPSHOT_MANIFEST_BYTES), .len = SNAPSHOT_MANIFEST_BYTES};
        s->n_bufs = 1;
    }
    if (rv == 0 && (!s->bufs || !s->bufs[0].base)) rv = err_set(d->err, ERR_NOMEM, "no memory to read a snapshot");
    if (rv != 0) {
        snapshot_free(s);
        return rv;
    }
    struct snapshot_manifest m = {
        .id = d->id, .file_size = d->size, .state_size = d->footer.state_size, .hash = d->footer.hash};
    snapshot_manifest_encode(&m, s->bufs[0].base);
    *ret = s;
    return 0;
}

int snapshot_decoder_end(struct snapshot_decoder *d, struct raft_snapshot **ret, struct fault *ret_fault,
                         struct err *err) {
    struct raft_snapshot *made = NULL;
    d->fault = ret_fault;
    d->err = err;
    if (d->part != PART_END) return bad(d, "the file ends too early");
    int rv = result_make(d, &made); /* also judges the configuration */
    if (rv != 0) return rv;
    if (ret)
        *ret = made;
    else
        snapshot_free(made);
    return 0;
}

int snapshot_decoder_result(struct snapshot_decoder *d, const struct snapshot_footer *footer,
                            struct raft_snapshot **ret, struct fault *ret_fault, struct err *err) {
    d->fault = ret_fault;
    d->err = err;
    if (d->part != PART_KIND) return bad(d, "the file ends too early");
    d->footer = *footer;
    return result_make(d, ret);
}

size_t snapshot_decoder_need(const struct snapshot_decoder *d) {
    return d->part <= PART_CONFIGURATION ? d->need : 0;
}

void snapshot_decoder_free(struct snapshot_decoder *d) {
    if (!d) return;
    LZ4F_freeDecompressionContext(d->lz4);
    buf_done(&d->have);
    buf_done(&d->row);
    free(d->plain);
    free(d);
}
