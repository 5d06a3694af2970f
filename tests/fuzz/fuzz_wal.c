/* SPDX-License-Identifier: Apache-2.0
 * A segment file of arbitrary groups: the walk ends, reads nothing outside, and its result fits together.
 *
 * The input is a row of groups: flags (1), count (1), jump of the number (1), length of records (2), records. Sums are
 * computed, so that the walk gets past them; flag bit 7 leaves one broken. */
#include <stdlib.h>
#include <string.h>

#include "../lib/sim_disk.h"
#include "base/buf.h"
#include "base/check.h"
#include "consensus/wal_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SEGMENT     (16u * DISK_BLOCK)
#define GROUP_HEAD  5u
#define BROKEN      0x80u
#define ENTRIES_MAX 65536u

static const uint8_t cluster[16] = {1};

static int entry_seen(void *ctx, uint64_t index, const struct wal_record *r, uint64_t seq, uint64_t offset) {
    uint64_t *sum = ctx;
    CHECK(index > 0 && seq == 1 && offset + r->len <= SEGMENT);
    for (uint32_t i = 0; i < r->len; i++)
        *sum += r->data[i]; /* a sanitizer looks whether they are there */
    return 0;
}

static bool fault_seen(void *ctx, const struct fault *fault) {
    uint64_t *sum = ctx;
    CHECK(fault->offset <= SEGMENT && fault->kind && fault->remedy && fault->text[0]);
    (*sum)++;
    return true;
}

/* Puts the groups of the input behind the header. */
static void segment_fill(const uint8_t *data, size_t size, uint8_t *segment) {
    struct wal_segment_header h = {
        .node_id = 1, .nonce = 7, .seq = 1, .first_index = 1 + (size ? data[0] % 3 : 0), .bytes = SEGMENT};
    struct wal_group_header g = {.nonce = 7, .first_index = h.first_index};
    size_t at = DISK_BLOCK;
    memcpy(h.cluster_id, cluster, sizeof cluster);
    wal_segment_header_encode(&h, segment);
    while (size >= GROUP_HEAD) {
        size_t len = load_u16(data + 3) % 9000;
        if (len > size - GROUP_HEAD) len = size - GROUP_HEAD;
        if (at + wal_group_size(len) > SEGMENT) break;
        g.prev_crc = g.crc;
        g.number += 1 + (data[2] & 1);
        g.flags = data[0] & 3;
        g.count = data[1];
        g.length = (uint32_t)len;
        memcpy(segment + at + WAL_GROUP_HEADER, data + GROUP_HEAD, len);
        wal_group_finish(&g, segment + at);
        if (data[0] & BROKEN) segment[at + data[2] % wal_group_size(len)] ^= 1;
        g.first_index += data[1];
        at += wal_group_size(len);
        data += GROUP_HEAD + len;
        size -= GROUP_HEAD + len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t segment[SEGMENT];
    struct sim_disk *disk = sim_disk_new(1);
    struct err err;
    memset(segment, 0, sizeof segment);
    segment_fill(data, size, segment);
    CHECK(disk_replace(sim_disk_face(disk), "log-0000000000000001", segment, sizeof segment, &err) == 0);
    for (unsigned tolerant = 0; tolerant < 2; tolerant++) {
        uint64_t sum = 0;
        struct wal_scan scan;
        struct wal_visitor v = {.ctx = &sum, .entry = entry_seen, .fault = tolerant ? fault_seen : NULL};
        int rv = wal_scan_run(sim_disk_face(disk), cluster, 1, &v, &scan, &err);
        CHECK(rv == 0 || (rv == ERR_CORRUPT && !tolerant));
        CHECK(tolerant || (scan.start <= scan.next && scan.next - scan.start <= ENTRIES_MAX));
        CHECK(scan.offset <= SEGMENT && scan.offset % DISK_BLOCK == 0);
        wal_scan_done(&scan);
    }
    sim_disk_free(disk);
    return 0;
}
