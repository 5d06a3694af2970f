/* SPDX-License-Identifier: Apache-2.0 */
#include "consensus/snapshot_format.h"

#include <string.h>

#include "base/buf.h"
#include "base/crc32c.h"

#define HEADER_MAGIC UINT64_C(0x324e53564c434e43) /* "CNCLVSN2" */
#define CHUNK_MAGIC  UINT32_C(0x4b4e4843)         /* "CHNK" */
#define FOOTER_MAGIC UINT32_C(0x444e4553)         /* "SEND" */
#define HEADER_CRC   12u
#define FOOTER_CRC   60u

static uint32_t header_crc(const uint8_t bytes[SNAPSHOT_HEADER_SIZE], const uint8_t *conf, uint32_t conf_size) {
    uint8_t copy[SNAPSHOT_HEADER_SIZE];
    memcpy(copy, bytes, sizeof copy);
    store_u32(copy + HEADER_CRC, 0);
    return crc32c(crc32c(0, copy, sizeof copy), conf, conf_size);
}

void snapshot_header_encode(const struct snapshot_header *h, const uint8_t *conf, uint8_t bytes[SNAPSHOT_HEADER_SIZE]) {
    memset(bytes, 0, SNAPSHOT_HEADER_SIZE);
    store_u64(bytes, HEADER_MAGIC);
    store_u32(bytes + 8, SNAPSHOT_FORMAT);
    memcpy(bytes + 16, h->cluster_id, 16);
    store_u64(bytes + 32, h->index);
    store_u64(bytes + 40, h->term);
    store_u64(bytes + 48, h->conf_index);
    store_u32(bytes + 56, h->conf_size);
    store_u32(bytes + HEADER_CRC, header_crc(bytes, conf, h->conf_size));
}

bool snapshot_header_decode(const uint8_t bytes[SNAPSHOT_HEADER_SIZE], struct snapshot_header *ret) {
    if (load_u64(bytes) != HEADER_MAGIC || load_u32(bytes + 8) != SNAPSHOT_FORMAT) return false;
    memcpy(ret->cluster_id, bytes + 16, 16);
    ret->index = load_u64(bytes + 32);
    ret->term = load_u64(bytes + 40);
    ret->conf_index = load_u64(bytes + 48);
    ret->conf_size = load_u32(bytes + 56);
    return true;
}

bool snapshot_header_ok(const uint8_t bytes[SNAPSHOT_HEADER_SIZE], const uint8_t *conf, uint32_t conf_size) {
    return header_crc(bytes, conf, conf_size) == load_u32(bytes + HEADER_CRC);
}

void snapshot_chunk_encode(const struct snapshot_chunk *c, uint8_t bytes[SNAPSHOT_CHUNK_HEADER]) {
    store_u32(bytes, CHUNK_MAGIC);
    store_u32(bytes + 4, c->seq);
    store_u32(bytes + 8, c->plain_size);
    store_u32(bytes + 12, c->packed_size);
    store_u32(bytes + 16, c->crc);
    store_u32(bytes + 20, crc32c(0, bytes, 20));
}

bool snapshot_chunk_decode(const uint8_t bytes[SNAPSHOT_CHUNK_HEADER], struct snapshot_chunk *ret) {
    if (load_u32(bytes) != CHUNK_MAGIC || load_u32(bytes + 20) != crc32c(0, bytes, 20)) return false;
    ret->seq = load_u32(bytes + 4);
    ret->plain_size = load_u32(bytes + 8);
    ret->packed_size = load_u32(bytes + 12);
    ret->crc = load_u32(bytes + 16);
    return true;
}

void snapshot_footer_encode(const struct snapshot_footer *f, uint8_t bytes[SNAPSHOT_FOOTER_SIZE]) {
    memset(bytes, 0, SNAPSHOT_FOOTER_SIZE);
    store_u32(bytes, FOOTER_MAGIC);
    store_u32(bytes + 4, f->chunks);
    store_u64(bytes + 8, f->file_size);
    store_u64(bytes + 16, f->state_size);
    store_u64(bytes + 24, f->hash.lo);
    store_u64(bytes + 32, f->hash.hi);
    store_u32(bytes + 40, f->crc);
    store_u32(bytes + FOOTER_CRC, crc32c(0, bytes, FOOTER_CRC));
}

bool snapshot_footer_begins(const uint8_t bytes[4]) {
    return load_u32(bytes) == FOOTER_MAGIC;
}

bool snapshot_footer_decode(const uint8_t bytes[SNAPSHOT_FOOTER_SIZE], struct snapshot_footer *ret) {
    if (load_u32(bytes) != FOOTER_MAGIC || load_u32(bytes + FOOTER_CRC) != crc32c(0, bytes, FOOTER_CRC)) return false;
    ret->chunks = load_u32(bytes + 4);
    ret->file_size = load_u64(bytes + 8);
    ret->state_size = load_u64(bytes + 16);
    ret->hash.lo = load_u64(bytes + 24);
    ret->hash.hi = load_u64(bytes + 32);
    ret->crc = load_u32(bytes + 40);
    return true;
}
