/* SPDX-License-Identifier: Apache-2.0
 * A snapshot file of arbitrary bytes: it is refused, or read without going outside. Bit 0 of the first byte asks for
 * the sums of header, first chunk and footer to be put right, so that what is behind them is reached. Then the same
 * file arrives in pieces, as from another node, with the same end. */
#include <stdlib.h>
#include <string.h>

#include "../lib/sim_disk.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "consensus/snapshot_file.h"
#include "consensus/snapshot_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t cluster[16] = {1};
static const struct snapshot_id id = {.index = 5, .term = 2};

static void sums_mend(uint8_t *file, size_t size) {
    struct snapshot_header h;
    if (size < SNAPSHOT_HEADER_SIZE + SNAPSHOT_FOOTER_SIZE || !snapshot_header_decode(file, &h)) return;
    if (h.conf_size > size - SNAPSHOT_HEADER_SIZE - SNAPSHOT_FOOTER_SIZE) return;
    memcpy(h.cluster_id, cluster, sizeof cluster);
    h.index = id.index;
    h.term = id.term;
    snapshot_header_encode(&h, file + SNAPSHOT_HEADER_SIZE, file);
    size_t at = SNAPSHOT_HEADER_SIZE + h.conf_size, foot = size - SNAPSHOT_FOOTER_SIZE;
    if (foot - at >= SNAPSHOT_CHUNK_HEADER) {
        struct snapshot_chunk c = {.plain_size = load_u32(file + at + 8), .packed_size = load_u32(file + at + 12)};
        size_t room = foot - at - SNAPSHOT_CHUNK_HEADER;
        if (c.packed_size <= room) c.crc = crc32c(0, file + at + SNAPSHOT_CHUNK_HEADER, c.packed_size);
        snapshot_chunk_encode(&c, file + at);
    }
    struct snapshot_footer f = {.chunks = load_u32(file + foot + 4),
                                .file_size = size,
                                .state_size = load_u64(file + foot + 16),
                                .hash = {.lo = load_u64(file + foot + 24), .hi = load_u64(file + foot + 32)},
                                .crc = crc32c(0, file, foot)};
    snapshot_footer_encode(&f, file + foot);
}

struct plain {
    size_t len;
    struct hash128 hash; /* of the row of what came */
};

static int plain_take(void *ctx, const uint8_t *data, size_t len, struct err *err) {
    struct plain *p = ctx;
    struct hash128 row[2] = {p->hash, hash128_of(data, len)};
    (void)err;
    p->len += len;
    p->hash = hash128_of(row, sizeof row);
    return 0;
}

/* Returns what the decoder says of the bytes in pieces of `piece` (0: all at once). */
static int decode(const uint8_t *file, size_t size, size_t piece, struct plain *ret) {
    struct snapshot_sink sink = {.data = plain_take, .ctx = ret};
    struct snapshot_decoder *d = NULL;
    struct fault fault;
    struct err err;
    CHECK(snapshot_decoder_new(cluster, &id, "x", size, &sink, &d, &err) == 0);
    int rv = 0;
    for (size_t at = 0, n = 0; rv == 0 && at < size; at += n) {
        n = piece && piece < size - at ? piece : size - at;
        rv = snapshot_decoder_data(d, file + at, n, &fault, &err);
    }
    if (rv == 0) rv = snapshot_decoder_end(d, NULL, &fault, &err);
    snapshot_decoder_free(d);
    return rv;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    struct sim_disk *disk = sim_disk_new(1);
    struct raft_snapshot *snapshot = NULL;
    struct fault fault;
    struct err err;
    char name[DISK_NAME_MAX];
    uint8_t *file = malloc(size);
    CHECK(file);
    memcpy(file, data + 1, size - 1);
    if (data[0] & 1) sums_mend(file, size - 1);
    snapshot_name(&id, name);
    CHECK(disk_replace(sim_disk_face(disk), name, file, size - 1, &err) == 0);
    int rv = snapshot_read(sim_disk_face(disk), cluster, &id, &snapshot, &fault, &err);
    CHECK(rv == 0 || (rv == ERR_CORRUPT && fault.text[0]));
    if (rv == 0) CHECK(snapshot->index == id.index && snapshot->n_bufs == 1);
    struct plain whole = {0}, pieces = {0};
    CHECK(decode(file, size - 1, 0, &whole) == rv);
    CHECK(decode(file, size - 1, 1 + data[0] / 2, &pieces) == rv);
    CHECK(whole.len == pieces.len && hash128_equal(whole.hash, pieces.hash));
    CHECK(rv != 0 || whole.len == snapshot->bufs[0].len);
    snapshot_free(rv == 0 ? snapshot : NULL);
    snapshot = NULL;
    rv = snapshot_head(sim_disk_face(disk), cluster, &id, &snapshot, &fault, &err); /* sees less, breaks nothing */
    CHECK(rv == 0 || rv == ERR_CORRUPT);
    snapshot_free(rv == 0 ? snapshot : NULL);
    free(file);
    sim_disk_free(disk);
    return 0;
}
