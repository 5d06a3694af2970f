/* SPDX-License-Identifier: Apache-2.0 */
#include <lz4frame.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "consensus/snapshot_file.h"
#include "consensus/snapshot_format.h"

struct snapshot_writer {
    struct disk *disk;
    struct snapshot_id id;
    bool ended;
    uint8_t *plain; /* the chunk that is being filled */
    size_t filled;
    uint8_t *packed; /* chunk header and frame */
    size_t packed_cap;
    uint32_t chunks;
    struct buf row; /* the chunks' hashes */
    uint64_t state_size, offset, unsynced;
    uint32_t crc; /* of all written */
};

static int put(struct snapshot_writer *w, const void *bytes, size_t len, struct err *err) {
    int rv = disk_write_at(w->disk, SNAPSHOT_TEMP, w->offset, bytes, len, err);
    w->offset += len;
    w->unsynced += len;
    w->crc = crc32c(w->crc, bytes, len);
    if (rv != 0 || w->unsynced < SNAPSHOT_SYNC) return rv;
    w->unsynced = 0;
    return disk_sync(w->disk, SNAPSHOT_TEMP, err);
}

static int chunk_write(struct snapshot_writer *w, const uint8_t *plain, size_t len, struct err *err) {
    struct hash128 hash = hash128_of(plain, len);
    size_t n = LZ4F_compressFrame(w->packed + SNAPSHOT_CHUNK_HEADER, w->packed_cap, plain, len, NULL);
    if (LZ4F_isError(n)) return err_set(err, ERR_IO, "compressing a snapshot: %s", LZ4F_getErrorName(n));
    struct snapshot_chunk c = {.seq = w->chunks++,
                               .plain_size = (uint32_t)len,
                               .packed_size = (uint32_t)n,
                               .crc = crc32c(0, w->packed + SNAPSHOT_CHUNK_HEADER, n)};
    snapshot_chunk_encode(&c, w->packed);
    (void)buf_append_u64(&w->row, hash.lo);
    (void)buf_append_u64(&w->row, hash.hi);
    if (w->row.failed) return err_set(err, ERR_NOMEM, "no memory to write a snapshot");
    return put(w, w->packed, SNAPSHOT_CHUNK_HEADER + n, err);
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

static int head_write(struct snapshot_writer *w, const uint8_t cluster_id[16], const struct raft_snapshot *head,
                      struct err *err) {
    uint8_t bytes[SNAPSHOT_HEADER_SIZE];
    struct snapshot_header h = {.index = head->index, .term = head->term, .conf_index = head->configuration_index};
    struct buf conf;
    memcpy(h.cluster_id, cluster_id, sizeof h.cluster_id);
    buf_init(&conf, SNAPSHOT_CONF_MAX);
    int rv = configuration_encode(&head->configuration, &conf);
    if (rv != 0) rv = err_set(err, rv, "the configuration is too large for a snapshot");
    h.conf_size = (uint32_t)conf.len;
    if (rv == 0) {
        snapshot_header_encode(&h, conf.data, bytes);
        rv = put(w, bytes, sizeof bytes, err);
    }
    if (rv == 0) rv = put(w, conf.data, conf.len, err);
    buf_done(&conf);
    return rv;
}

int snapshot_writer_new(struct disk *disk, const uint8_t cluster_id[16], const struct raft_snapshot *head,
                        struct snapshot_writer **ret, struct err *err) {
    struct snapshot_writer *w = calloc(1, sizeof *w);
    if (!w) return err_set(err, ERR_NOMEM, "no memory to write a snapshot");
    w->disk = disk;
    w->id = (struct snapshot_id){.index = head->index, .term = head->term};
    w->packed_cap = LZ4F_compressFrameBound(SNAPSHOT_CHUNK, NULL);
    w->plain = malloc(SNAPSHOT_CHUNK);
    w->packed = malloc(SNAPSHOT_CHUNK_HEADER + w->packed_cap);
    buf_init(&w->row, SNAPSHOT_STATE_MAX / SNAPSHOT_CHUNK * 16);
    int rv = w->plain && w->packed ? 0 : err_set(err, ERR_NOMEM, "no memory to write a snapshot");
    if (rv == 0) rv = disk_remove(disk, SNAPSHOT_TEMP, err); /* of an earlier life */
    if (rv == 0) rv = head_write(w, cluster_id, head, err);
    if (rv != 0) {
        snapshot_writer_undo(w);
        snapshot_writer_free(w);
    } else {
        *ret = w;
    }
    return rv;
}

int snapshot_writer_data(struct snapshot_writer *w, const void *data, size_t len, struct err *err) {
    const uint8_t *from = data;
    if (len > SNAPSHOT_STATE_MAX - w->state_size)
        return err_set(err, ERR_LIMIT, "a state of over %llu bytes", (unsigned long long)SNAPSHOT_STATE_MAX);
    w->state_size += len;
    while (len > 0) {
        int rv = 0;
        if (w->filled == 0 && len >= SNAPSHOT_CHUNK) {
            rv = chunk_write(w, from, SNAPSHOT_CHUNK, err);
            from += SNAPSHOT_CHUNK;
            len -= SNAPSHOT_CHUNK;
        } else {
            size_t n = SNAPSHOT_CHUNK - w->filled < len ? SNAPSHOT_CHUNK - w->filled : len;
            memcpy(w->plain + w->filled, from, n);
            w->filled += n;
            from += n;
            len -= n;
            if (w->filled < SNAPSHOT_CHUNK) break;
            w->filled = 0;
            rv = chunk_write(w, w->plain, SNAPSHOT_CHUNK, err);
        }
        if (rv != 0) return rv;
    }
    return 0;
}

int snapshot_writer_end(struct snapshot_writer *w, struct err *err) {
    uint8_t bytes[SNAPSHOT_FOOTER_SIZE];
    char name[DISK_NAME_MAX];
    int rv = w->filled > 0 ? chunk_write(w, w->plain, w->filled, err) : 0;
    if (rv != 0) return rv;
    struct snapshot_footer f = {.chunks = w->chunks,
                                .file_size = w->offset + sizeof bytes,
                                .state_size = w->state_size,
                                .hash = hash128_of(w->row.data, w->row.len),
                                .crc = w->crc};
    snapshot_footer_encode(&f, bytes);
    rv = put(w, bytes, sizeof bytes, err);
    if (rv == 0) rv = disk_sync(w->disk, SNAPSHOT_TEMP, err);
    snapshot_name(&w->id, name);
    if (rv == 0) rv = disk_rename(w->disk, SNAPSHOT_TEMP, name, err);
    if (rv == 0) rv = disk_sync_dir(w->disk, err);
    w->ended = rv == 0;
    return rv;
}

void snapshot_writer_undo(struct snapshot_writer *w) {
    struct err ignored;
    if (w && !w->ended) (void)disk_remove(w->disk, SNAPSHOT_TEMP, &ignored);
}

void snapshot_writer_free(struct snapshot_writer *w) {
    if (!w) return;
    free(w->plain);
    free(w->packed);
    buf_done(&w->row);
    free(w);
}

int snapshot_write(struct disk *disk, const uint8_t cluster_id[16], const struct raft_snapshot *snapshot,
                   struct err *err) {
    struct snapshot_writer *w = NULL;
    int rv = snapshot_writer_new(disk, cluster_id, snapshot, &w, err);
    for (unsigned i = 0; rv == 0 && i < snapshot->n_bufs; i++)
        rv = snapshot_writer_data(w, snapshot->bufs[i].base, snapshot->bufs[i].len, err);
    if (rv == 0) rv = snapshot_writer_end(w, err);
    if (rv != 0) snapshot_writer_undo(w);
    snapshot_writer_free(w);
    return rv;
}
