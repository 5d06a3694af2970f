/* SPDX-License-Identifier: Apache-2.0
 * The fixed parts of a snapshot file, shared by its writer and its reader. Little-endian; docs/FORMATS.md has the
 * picture. File = header, configuration, chunks (header and LZ4 frame each), footer. Nothing in it depends on what
 * comes later, so it can be written while the state is still being encoded, and judged while it still arrives. */
#ifndef CONCLAVE_CONSENSUS_SNAPSHOT_FORMAT_H
#define CONCLAVE_CONSENSUS_SNAPSHOT_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"

#define SNAPSHOT_FORMAT       2u
#define SNAPSHOT_HEADER_SIZE  64u
#define SNAPSHOT_CHUNK_HEADER 24u
#define SNAPSHOT_FOOTER_SIZE  64u

struct snapshot_header {
    uint8_t cluster_id[16];
    uint64_t index, term, conf_index;
    uint32_t conf_size;
};

struct snapshot_chunk {
    uint32_t seq; /* from 0 */
    uint32_t plain_size, packed_size;
    uint32_t crc; /* of the packed bytes */
};

struct snapshot_footer { /* what is known only at the end */
    uint32_t chunks;
    uint64_t file_size;
    uint64_t state_size;
    struct hash128 hash; /* of the row of the chunks' hashes (each of the chunk's plain bytes) */
    uint32_t crc;        /* of everything before the footer */
};

/* `conf` is covered by the header's checksum. */
void snapshot_header_encode(const struct snapshot_header *h, const uint8_t *conf, uint8_t bytes[SNAPSHOT_HEADER_SIZE]);
/* Reads the fields; the checksum can be tested only when the configuration has been read. False: not a header. */
bool snapshot_header_decode(const uint8_t bytes[SNAPSHOT_HEADER_SIZE], struct snapshot_header *ret);
bool snapshot_header_ok(const uint8_t bytes[SNAPSHOT_HEADER_SIZE], const uint8_t *conf, uint32_t conf_size);
void snapshot_chunk_encode(const struct snapshot_chunk *c, uint8_t bytes[SNAPSHOT_CHUNK_HEADER]);
bool snapshot_chunk_decode(const uint8_t bytes[SNAPSHOT_CHUNK_HEADER], struct snapshot_chunk *ret);
void snapshot_footer_encode(const struct snapshot_footer *f, uint8_t bytes[SNAPSHOT_FOOTER_SIZE]);
bool snapshot_footer_decode(const uint8_t bytes[SNAPSHOT_FOOTER_SIZE], struct snapshot_footer *ret);
/* Whether these four bytes begin a footer, and not a chunk. */
bool snapshot_footer_begins(const uint8_t bytes[4]);

/* snapshot_decode.c, for snapshot_head: how many bytes the header and configuration still need (0: none); and what they
 * say, together with the footer. */
struct snapshot_decoder;
struct raft_snapshot;
struct fault;
struct err;
size_t snapshot_decoder_need(const struct snapshot_decoder *d);
int snapshot_decoder_result(struct snapshot_decoder *d, const struct snapshot_footer *footer,
                            struct raft_snapshot **ret, struct fault *ret_fault, struct err *err);

#endif
