/* SPDX-License-Identifier: Apache-2.0 */
#include "consensus/wal_format.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/mutant.h"

#define SEGMENT_MAGIC UINT64_C(0x314753564c434e43) /* "CNCLVSG1" */
#define GROUP_MAGIC   UINT32_C(0x50524743)         /* "CGRP" */
#define CRC_AT        12u                          /* of the sum in a segment header */
#define SUM_FROM      8u                           /* the header sum of a group covers 8..63 */

void wal_segment_name(uint64_t seq, char *ret) {
    (void)snprintf(ret, DISK_NAME_MAX, "log-%016" PRIx64, seq);
}

void wal_spare_name(uint64_t seq, char *ret) {
    (void)snprintf(ret, DISK_NAME_MAX, "spare-%016" PRIx64, seq);
}

static bool name_parse(const char *name, const char *prefix, uint64_t *ret_seq) {
    size_t n = strlen(prefix);
    if (strncmp(name, prefix, n) != 0 || strlen(name) != n + 16) return false;
    uint64_t seq = 0;
    for (const char *p = name + n; *p; p++) {
        unsigned digit;
        if (*p >= '0' && *p <= '9') {
            digit = (unsigned)(*p - '0');
        } else if (*p >= 'a' && *p <= 'f') {
            digit = (unsigned)(*p - 'a') + 10;
        } else {
            return false;
        }
        seq = seq << 4 | digit;
    }
    if (seq == 0) return false;
    *ret_seq = seq;
    return true;
}

bool wal_segment_name_parse(const char *name, uint64_t *ret_seq) {
    return name_parse(name, "log-", ret_seq);
}

bool wal_spare_name_parse(const char *name, uint64_t *ret_seq) {
    return name_parse(name, "spare-", ret_seq);
}

void wal_segment_header_encode(const struct wal_segment_header *h, uint8_t block[DISK_BLOCK]) {
    memset(block, 0, DISK_BLOCK);
    store_u64(block, SEGMENT_MAGIC);
    store_u32(block + 8, WAL_FORMAT);
    memcpy(block + 16, h->cluster_id, 16);
    store_u64(block + 32, h->node_id);
    store_u64(block + 40, h->nonce);
    store_u64(block + 48, h->seq);
    store_u64(block + 56, h->first_index);
    store_u64(block + 64, h->prev_term);
    store_u64(block + 72, h->prev_number);
    store_u32(block + 80, h->prev_crc);
    store_u64(block + 88, h->bytes);
    store_u32(block + CRC_AT, crc32c(0, block, DISK_BLOCK)); /* over the block with a zero sum */
}

int wal_segment_header_decode(const uint8_t block[DISK_BLOCK], struct wal_segment_header *ret) {
    if (load_u64(block) != SEGMENT_MAGIC) return ERR_PARSE;
    static const uint8_t zero[4];
    uint32_t crc = crc32c(0, block, CRC_AT);
    crc = crc32c(crc, zero, sizeof zero);
    crc = crc32c(crc, block + CRC_AT + 4, DISK_BLOCK - CRC_AT - 4);
    if (crc != load_u32(block + CRC_AT)) return ERR_PARSE;
    if (load_u32(block + 8) != WAL_FORMAT) return ERR_INCOMPATIBLE;
    memcpy(ret->cluster_id, block + 16, 16);
    ret->node_id = load_u64(block + 32);
    ret->nonce = load_u64(block + 40);
    ret->seq = load_u64(block + 48);
    ret->first_index = load_u64(block + 56);
    ret->prev_term = load_u64(block + 64);
    ret->prev_number = load_u64(block + 72);
    ret->prev_crc = load_u32(block + 80);
    ret->bytes = load_u64(block + 88);
    return 0;
}

size_t wal_record_encode(const struct wal_record *r, uint8_t *p) {
    bool mark = r->type == WAL_TRUNCATE || r->type == WAL_RESET;
    uint32_t len = mark ? 8 : r->len;
    size_t size = wal_record_size(len);
    memset(p, 0, WAL_RECORD_HEADER);
    p[0] = (uint8_t)r->type;
    store_u32(p + 4, len);
    store_u64(p + 8, r->term);
    if (mark) {
        store_u64(p + WAL_RECORD_HEADER, r->index);
        return size;
    }
    if (len) memcpy(p + WAL_RECORD_HEADER, r->data, len);
    memset(p + WAL_RECORD_HEADER + len, 0, size - WAL_RECORD_HEADER - len);
    return size;
}

void wal_group_finish(struct wal_group_header *h, uint8_t *p) {
    size_t size = wal_group_size(h->length);
    memset(p + WAL_GROUP_HEADER + h->length, 0, size - WAL_GROUP_HEADER - h->length);
    h->body_crc = crc32c(0, p + WAL_GROUP_HEADER, size - WAL_GROUP_HEADER);
    memset(p, 0, WAL_GROUP_HEADER);
    store_u32(p, GROUP_MAGIC);
    store_u64(p + 8, h->nonce);
    store_u64(p + 16, h->number);
    store_u32(p + 24, h->prev_crc);
    store_u32(p + 28, h->body_crc);
    store_u32(p + 32, h->length);
    store_u32(p + 36, h->count);
    store_u64(p + 40, h->first_index);
    store_u64(p + 48, h->vote_version);
    store_u32(p + 56, h->flags);
    h->crc = crc32c(0, p + SUM_FROM, WAL_GROUP_HEADER - SUM_FROM);
    store_u32(p + 4, h->crc);
}

bool wal_group_header_decode(const uint8_t *p, size_t room, struct wal_group_header *ret) {
    if (room < DISK_BLOCK || load_u32(p) != GROUP_MAGIC) return false;
    if (load_u32(p + 4) != crc32c(0, p + SUM_FROM, WAL_GROUP_HEADER - SUM_FROM)) return false;
    ret->crc = load_u32(p + 4);
    ret->nonce = load_u64(p + 8);
    ret->number = load_u64(p + 16);
    ret->prev_crc = load_u32(p + 24);
    ret->body_crc = load_u32(p + 28);
    ret->length = load_u32(p + 32);
    ret->count = load_u32(p + 36);
    ret->first_index = load_u64(p + 40);
    ret->vote_version = load_u64(p + 48);
    ret->flags = load_u32(p + 56);
    return ret->length <= WAL_GROUP_MAX - WAL_GROUP_HEADER && wal_group_size(ret->length) <= room;
}

bool wal_group_body_ok(const uint8_t *p, const struct wal_group_header *h) {
    size_t size = wal_group_size(h->length);
    if (MUTANT(CRC_OFF)) return true;
    return crc32c(0, p + WAL_GROUP_HEADER, size - WAL_GROUP_HEADER) == h->body_crc;
}

static bool entry_type(uint8_t type) {
    return type >= WAL_COMMAND && type <= WAL_CHANGE;
}

static bool mark_type(uint8_t type) {
    return type == WAL_TRUNCATE || type == WAL_RESET;
}

int wal_record_next(const uint8_t *group, const struct wal_group_header *h, size_t *offset, struct wal_record *ret) {
    CHECK(*offset <= h->length);
    size_t room = h->length - *offset;
    if (room == 0) return 0;
    const uint8_t *p = group + WAL_GROUP_HEADER + *offset;
    if (room < WAL_RECORD_HEADER) return ERR_PARSE;
    uint8_t type = p[0];
    uint32_t len = load_u32(p + 4);
    if (!entry_type(type) && !(mark_type(type) && len == 8)) return ERR_PARSE;
    if (len > h->length || wal_record_size(len) > room) return ERR_PARSE;
    ret->type = (enum wal_record_type)type;
    ret->term = load_u64(p + 8);
    ret->index = mark_type(type) ? load_u64(p + WAL_RECORD_HEADER) : 0;
    ret->data = entry_type(type) ? p + WAL_RECORD_HEADER : NULL;
    ret->len = entry_type(type) ? len : 0;
    *offset += wal_record_size(len);
    return 1;
}
