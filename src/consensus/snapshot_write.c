/* SPDX-License-Identifier: Apache-2.0 */
#include <lz4frame.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "consensus/snapshot_file.h"
#include "consensus/snapshot_format.h"

struct writer {
    struct disk *disk;
    struct err *err;
    const struct raft_snapshot *snapshot;
    unsigned buf; /* where the next plain byte is */
    size_t at;
    uint8_t *plain;  /* a chunk that spans buffers is put together here */
    uint8_t *packed; /* chunk header and frame */
    size_t packed_cap;
    uint64_t offset;
    uint32_t crc; /* of all written */
};

/* The next chunk's plain bytes; *ret_len 0 at the end. */
static const uint8_t *chunk_next(struct writer *w, size_t *ret_len) {
    const struct raft_snapshot *s = w->snapshot;
    size_t got = 0;
    while (w->buf < s->n_bufs && got < SNAPSHOT_CHUNK) {
        const struct raft_buffer *b = &s->bufs[w->buf];
        size_t n = b->len - w->at, room = SNAPSHOT_CHUNK - got;
        const uint8_t *from = (const uint8_t *)b->base + w->at;
        if (n >= room && got == 0) {
            w->at += room;
            *ret_len = room;
            return from;
        }
        if (n > room) n = room;
        if (n) memcpy(w->plain + got, from, n);
        got += n;
        w->at += n;
        if (w->at == b->len) {
            w->buf++;
            w->at = 0;
        }
    }
    *ret_len = got;
    return w->plain;
}

static int put(struct writer *w, const void *bytes, size_t len) {
    int rv = disk_write_at(w->disk, SNAPSHOT_TEMP, w->offset, bytes, len, w->err);
    w->offset += len;
    w->crc = crc32c(w->crc, bytes, len);
    return rv;
}

static int chunks_hash(struct writer *w, uint32_t chunks, struct hash128 *ret) {
    struct buf row;
    buf_init(&row, (size_t)chunks * 16);
    for (uint32_t i = 0; i < chunks; i++) {
        size_t len;
        const uint8_t *plain = chunk_next(w, &len);
        struct hash128 h = hash128_of(plain, len);
        (void)buf_append_u64(&row, h.lo);
        (void)buf_append_u64(&row, h.hi);
    }
    w->buf = 0;
    w->at = 0;
    *ret = hash128_of(row.data, row.len);
    int rv = row.failed ? err_set(w->err, ERR_NOMEM, "no memory to write a snapshot") : 0;
    buf_done(&row);
    return rv;
}

static int chunk_write(struct writer *w, uint32_t seq) {
    size_t len;
    const uint8_t *plain = chunk_next(w, &len);
    size_t n = LZ4F_compressFrame(w->packed + SNAPSHOT_CHUNK_HEADER, w->packed_cap, plain, len, NULL);
    if (LZ4F_isError(n)) return err_set(w->err, ERR_IO, "compressing a snapshot: %s", LZ4F_getErrorName(n));
    struct snapshot_chunk c = {.seq = seq,
                               .plain_size = (uint32_t)len,
                               .packed_size = (uint32_t)n,
                               .crc = crc32c(0, w->packed + SNAPSHOT_CHUNK_HEADER, n)};
    snapshot_chunk_encode(&c, w->packed);
    return put(w, w->packed, SNAPSHOT_CHUNK_HEADER + n);
}

/* Count, then for each server: id, role, length of the address, address. */
static int configuration_encode(const struct raft_configuration *c, struct buf *ret) {
    (void)buf_append_u32(ret, c->n);
    for (unsigned i = 0; i < c->n; i++) {
        const struct raft_server *s = &c->servers[i];
        size_t len = strlen(s->address);
        if (len > UINT16_MAX) return ERR_LIMIT;
        (void)buf_append_u64(ret, s->id);
        (void)buf_append_byte(ret, (uint8_t)s->role);
        (void)buf_append_u16(ret, (uint16_t)len);
        (void)buf_append(ret, s->address, len);
    }
    return ret->failed ? ERR_LIMIT : 0;
}

static int body_write(struct writer *w, const uint8_t cluster_id[16], uint64_t size) {
    uint8_t bytes[SNAPSHOT_HEADER_SIZE], foot[SNAPSHOT_FOOTER_SIZE];
    struct snapshot_header h = {.index = w->snapshot->index,
                                .term = w->snapshot->term,
                                .conf_index = w->snapshot->configuration_index,
                                .state_size = size,
                                .chunks = (uint32_t)((size + SNAPSHOT_CHUNK - 1) / SNAPSHOT_CHUNK)};
    struct buf conf;
    memcpy(h.cluster_id, cluster_id, sizeof h.cluster_id);
    buf_init(&conf, SNAPSHOT_CONF_MAX);
    int rv = configuration_encode(&w->snapshot->configuration, &conf);
    if (rv != 0) rv = err_set(w->err, rv, "the configuration is too large for a snapshot");
    h.conf_size = (uint32_t)conf.len;
    if (rv == 0) rv = chunks_hash(w, h.chunks, &h.hash);
    if (rv == 0) {
        snapshot_header_encode(&h, conf.data, bytes);
        rv = put(w, bytes, sizeof bytes);
    }
    if (rv == 0) rv = put(w, conf.data, conf.len);
    for (uint32_t i = 0; rv == 0 && i < h.chunks; i++)
        rv = chunk_write(w, i);
    buf_done(&conf);
    if (rv != 0) return rv;
    struct snapshot_footer f = {.chunks = h.chunks, .file_size = w->offset + sizeof foot, .crc = w->crc};
    snapshot_footer_encode(&f, foot);
    return put(w, foot, sizeof foot);
}

static uint64_t state_size(const struct raft_snapshot *s) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < s->n_bufs; i++)
        sum += s->bufs[i].len;
    return sum;
}

int snapshot_write(struct disk *disk, const uint8_t cluster_id[16], const struct raft_snapshot *snapshot,
                   struct err *err) {
    struct writer w = {.disk = disk, .err = err, .snapshot = snapshot};
    struct snapshot_id id = {.index = snapshot->index, .term = snapshot->term};
    struct err ignored;
    char name[DISK_NAME_MAX];
    uint64_t size = state_size(snapshot);
    if (size > SNAPSHOT_STATE_MAX) return err_set(err, ERR_LIMIT, "a state of over %u bytes", SNAPSHOT_STATE_MAX);
    size_t chunk = size < SNAPSHOT_CHUNK ? (size_t)size + 1 : SNAPSHOT_CHUNK;
    w.packed_cap = LZ4F_compressFrameBound(chunk, NULL);
    w.plain = malloc(chunk);
    w.packed = malloc(SNAPSHOT_CHUNK_HEADER + w.packed_cap);
    int rv = w.plain && w.packed ? 0 : err_set(err, ERR_NOMEM, "no memory to write a snapshot");
    if (rv == 0) rv = disk_remove(disk, SNAPSHOT_TEMP, err); /* of an earlier life */
    if (rv == 0) rv = body_write(&w, cluster_id, size);
    if (rv == 0) rv = disk_sync(disk, SNAPSHOT_TEMP, err);
    snapshot_name(&id, name);
    if (rv == 0) rv = disk_rename(disk, SNAPSHOT_TEMP, name, err);
    if (rv == 0) rv = disk_sync_dir(disk, err);
    if (rv != 0) (void)disk_remove(disk, SNAPSHOT_TEMP, &ignored);
    free(w.plain);
    free(w.packed);
    return rv;
}
