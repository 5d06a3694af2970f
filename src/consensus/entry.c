/* SPDX-License-Identifier: Apache-2.0
 * See entry.h. */
#include "consensus/entry.h"

#include <string.h>

#include "base/check.h"
#include "base/err.h"

#define ENTRY_MAGIC 0x31454343u /* "CCE1" as little-endian bytes */

static size_t padded(size_t len) {
    return (len + 7) & ~(size_t)7;
}

void entry_builder_init(struct entry_builder *b) {
    b->count = 0;
    buf_init(&b->bytes, ENTRY_ENCODED_MAX);
}

void entry_builder_done(struct entry_builder *b) {
    buf_done(&b->bytes);
    b->count = 0;
}

int entry_builder_add(struct entry_builder *b, const void *command, size_t len) {
    if (len == 0) return ERR_INVALID;
    if (len > ENTRY_COMMAND_MAX) return ERR_LIMIT;
    bool over = ENTRY_HEADER_BYTES + b->bytes.len + 4 + len > ENTRY_BATCH_BYTES;
    if (b->count > 0 && (over || b->count == ENTRY_COMMANDS_MAX)) return ERR_BUSY;
    uint8_t *to = buf_reserve(&b->bytes, 4 + len);
    if (to == NULL) {
        b->bytes.failed = false; /* the content is as before, so the builder goes on */
        return ERR_NOMEM;
    }
    store_u32(to, (uint32_t)len);
    memcpy(to + 4, command, len);
    b->bytes.len += 4 + len;
    b->count++;
    return 0;
}

size_t entry_builder_size(const struct entry_builder *b) {
    return b->count == 0 ? 0 : padded(ENTRY_HEADER_BYTES + b->bytes.len);
}

void entry_builder_encode(struct entry_builder *b, uint8_t *dst) {
    CHECK(b->count > 0);
    size_t used = ENTRY_HEADER_BYTES + b->bytes.len;
    store_u32(dst, ENTRY_MAGIC);
    store_u32(dst + 4, b->count);
    memcpy(dst + ENTRY_HEADER_BYTES, b->bytes.data, b->bytes.len);
    memset(dst + used, 0, padded(used) - used);
    buf_clear(&b->bytes);
    b->count = 0;
}

int entry_iter_init(struct entry_iter *it, const void *data, size_t len) {
    const uint8_t *bytes = data;
    if (len < ENTRY_HEADER_BYTES || len > ENTRY_ENCODED_MAX || len % 8 != 0) return ERR_PARSE;
    if (load_u32(bytes) != ENTRY_MAGIC) return ERR_PARSE;
    uint32_t count = load_u32(bytes + 4);
    if (count == 0 || count > ENTRY_COMMANDS_MAX) return ERR_PARSE;
    size_t at = ENTRY_HEADER_BYTES;
    for (uint32_t i = 0; i < count; i++) {
        if (len - at < 4) return ERR_PARSE;
        size_t command = load_u32(bytes + at);
        at += 4;
        if (command == 0 || command > ENTRY_COMMAND_MAX || command > len - at) return ERR_PARSE;
        at += command;
    }
    if (padded(at) != len) return ERR_PARSE;
    for (; at < len; at++)
        if (bytes[at] != 0) return ERR_PARSE;
    it->next = bytes + ENTRY_HEADER_BYTES;
    it->left = it->count = count;
    return 0;
}

bool entry_iter_next(struct entry_iter *it, const uint8_t **ret_command, size_t *ret_len) {
    if (it->left == 0) return false;
    size_t len = load_u32(it->next);
    *ret_command = it->next + 4;
    *ret_len = len;
    it->next += 4 + len;
    it->left--;
    return true;
}
