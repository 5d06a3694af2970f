/* SPDX-License-Identifier: Apache-2.0
 * A snapshot file of arbitrary bytes: it is refused, or read without going outside. Bit 0 of the first byte asks for
 * the sums of header, first chunk and footer to be put right, so that what is behind them is reached. */
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
    if (h.chunks && foot - at >= SNAPSHOT_CHUNK_HEADER) {
        struct snapshot_chunk c = {.plain_size = load_u32(file + at + 8), .packed_size = load_u32(file + at + 12)};
        size_t room = foot - at - SNAPSHOT_CHUNK_HEADER;
        if (c.packed_size <= room) c.crc = crc32c(0, file + at + SNAPSHOT_CHUNK_HEADER, c.packed_size);
        snapshot_chunk_encode(&c, file + at);
    }
    struct snapshot_footer f = {.chunks = h.chunks, .file_size = size, .crc = crc32c(0, file, foot)};
    snapshot_footer_encode(&f, file + foot);
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
    snapshot_free(rv == 0 ? snapshot : NULL);
    free(file);
    sim_disk_free(disk);
    return 0;
}
