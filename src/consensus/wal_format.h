/* SPDX-License-Identifier: Apache-2.0
 * The bytes of the log: pure encoding and decoding, little-endian. docs/FORMATS.md has the picture.
 *
 * A segment file is one header block and then groups. A group is what one write puts down: a header of 64 bytes,
 * records, zeros up to the next multiple of 4096. No block is ever written twice in a segment's life, except the place
 * of a torn last group that was cut. Two sums guard a group: one over the header (so that its length can be believed,
 * and so that a header alone proves that the group before it was acknowledged), one over everything after it, padding
 * included: there is no byte in a group that may change unseen. */
#ifndef CONCLAVE_CONSENSUS_WAL_FORMAT_H
#define CONCLAVE_CONSENSUS_WAL_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "consensus/disk.h"

#define WAL_FORMAT        1u
#define WAL_GROUP_HEADER  64u
#define WAL_RECORD_HEADER 16u
#define WAL_GROUP_MAX     (4u << 20) /* bytes of a group, header and padding included */
#define WAL_SEGMENT_MIN   (5u * DISK_BLOCK)
#define WAL_SEGMENT_MAX   (1u << 30)

/* One life of a segment file. */
struct wal_segment_header {
    uint8_t cluster_id[16];
    uint64_t node_id;
    uint64_t nonce;       /* fresh in each life: groups of an earlier life are told by it */
    uint64_t seq;         /* position in the log, from 1; also in the file's name */
    uint64_t first_index; /* of the first record in it, truncations aside */
    uint64_t prev_term;   /* of the entry before first_index, 0 if none */
    uint64_t prev_number; /* of the last group of the segment before, 0 if none */
    uint32_t prev_crc;    /* header sum of that group */
    uint64_t bytes;       /* of the file */
};

enum wal_group_flag {
    WAL_SEAL = 1,  /* no records: proves that the group before it was complete */
    WAL_FINAL = 2, /* the last of its segment: the log goes on in the next file */
};

struct wal_group_header {
    uint32_t crc; /* of the header; the next group repeats it as prev_crc */
    uint64_t nonce;
    uint64_t number; /* counts through all segments, from 1 */
    uint32_t prev_crc;
    uint32_t body_crc;
    uint32_t length; /* bytes of records */
    uint32_t count;  /* of records */
    uint64_t first_index;
    uint64_t vote_version; /* of the vote file when the group was written: proves an older vote file stale */
    uint32_t flags;
};

enum wal_record_type {
    WAL_COMMAND = 1, /* these three are libraft's entry types */
    WAL_BARRIER = 2,
    WAL_CHANGE = 3,
    WAL_TRUNCATE = 16, /* entries from `index` on are gone; `term` is that of the entry before */
    WAL_RESET = 17,    /* the log is empty and goes on behind `index`, whose term is `term` */
};

struct wal_record {
    enum wal_record_type type;
    uint64_t term;
    uint64_t index; /* TRUNCATE and RESET only: entries are counted */
    const uint8_t *data;
    uint32_t len; /* entries only; exact */
};

/* "log-0000000000000001", "spare-...". ret has DISK_NAME_MAX bytes. */
void wal_segment_name(uint64_t seq, char *ret);
void wal_spare_name(uint64_t seq, char *ret);
/* Whether the name is one of those; sets *ret_seq. */
bool wal_segment_name_parse(const char *name, uint64_t *ret_seq);
bool wal_spare_name_parse(const char *name, uint64_t *ret_seq);

/* Fills a whole block. */
void wal_segment_header_encode(const struct wal_segment_header *h, uint8_t block[DISK_BLOCK]);
/* ERR_PARSE: not a header, or damaged. ERR_INCOMPATIBLE: a later format. */
int wal_segment_header_decode(const uint8_t block[DISK_BLOCK], struct wal_segment_header *ret);

/* Bytes on disk of a group with `length` bytes of records. */
static inline size_t wal_group_size(size_t length) {
    return (WAL_GROUP_HEADER + length + DISK_BLOCK - 1) / DISK_BLOCK * DISK_BLOCK;
}
/* Bytes in a group of a record with `len` bytes of data. */
static inline size_t wal_record_size(size_t len) {
    return WAL_RECORD_HEADER + (len + 7) / 8 * 8;
}

/* Writes one record at `p` (wal_record_size(len) bytes; 8 for TRUNCATE and RESET). Returns its size. */
size_t wal_record_encode(const struct wal_record *r, uint8_t *p);
/* Completes the group at `p`: zeroes the padding, computes both sums (into *h too), writes the header. The records, of
 * h->length bytes, are already behind the header. */
void wal_group_finish(struct wal_group_header *h, uint8_t *p);

/* Reads a group header out of at least 64 bytes. False: no header of a group that fits in `room` bytes. */
bool wal_group_header_decode(const uint8_t *p, size_t room, struct wal_group_header *ret);
/* Whether the body of a group with this header is intact. */
bool wal_group_body_ok(const uint8_t *p, const struct wal_group_header *h);

/* Walks the records of an intact body. Begin with offset 0; 1: *ret is the next one; 0: clean end; ERR_PARSE: the
 * records do not fill the body, or are of no known shape. */
int wal_record_next(const uint8_t *group, const struct wal_group_header *h, size_t *offset, struct wal_record *ret);

#endif
