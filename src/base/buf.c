/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/err.h"

void buf_init(struct buf *b, size_t max) {
    *b = (struct buf){.max = max};
}

void buf_done(struct buf *b) {
    free(b->data);
    *b = (struct buf){.max = b->max};
}

void buf_clear(struct buf *b) {
    b->len = 0;
    b->failed = false;
}

static int buf_fail(struct buf *b, int code) {
    b->failed = true;
    return code;
}

static int buf_grow(struct buf *b, size_t more) {
    if (b->failed || more > b->max || b->len > b->max - more) return buf_fail(b, ERR_LIMIT);
    size_t need = b->len + more;
    if (need <= b->cap) return 0;
    size_t cap = b->cap < 64 ? 64 : b->cap;
    while (cap < need)
        cap = cap > b->max / 2 ? b->max : cap * 2;
    uint8_t *data = realloc(b->data, cap);
    if (!data) return buf_fail(b, ERR_NOMEM);
    b->data = data;
    b->cap = cap;
    return 0;
}

int buf_append(struct buf *b, const void *data, size_t len) {
    if (len == 0) return b->failed ? ERR_LIMIT : 0;
    int rc = buf_grow(b, len);
    if (rc) return rc;
    memcpy(b->data + b->len, data, len);
    b->len += len;
    return 0;
}

int buf_append_str(struct buf *b, const char *text) {
    return buf_append(b, text, strlen(text));
}

int buf_append_byte(struct buf *b, uint8_t byte) {
    return buf_append(b, &byte, 1);
}

int buf_vprintf(struct buf *b, const char *fmt, va_list ap) {
    va_list again;
    va_copy(again, ap);
    char small[256];
    int n = vsnprintf(small, sizeof small, fmt, ap);
    int rc = 0;
    if (n < 0) {
        rc = buf_fail(b, ERR_INVALID);
    } else if ((size_t)n < sizeof small) {
        rc = buf_append(b, small, (size_t)n);
    } else {
        rc = buf_grow(b, (size_t)n + 1);
        if (rc == 0) {
            (void)vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, again);
            b->len += (size_t)n;
        }
    }
    va_end(again);
    return rc;
}

int buf_printf(struct buf *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int rc = buf_vprintf(b, fmt, ap);
    va_end(ap);
    return rc;
}

int buf_append_u16(struct buf *b, uint16_t v) {
    uint8_t raw[2];
    store_u16(raw, v);
    return buf_append(b, raw, sizeof raw);
}

int buf_append_u32(struct buf *b, uint32_t v) {
    uint8_t raw[4];
    store_u32(raw, v);
    return buf_append(b, raw, sizeof raw);
}

int buf_append_u64(struct buf *b, uint64_t v) {
    uint8_t raw[8];
    store_u64(raw, v);
    return buf_append(b, raw, sizeof raw);
}

uint8_t *buf_reserve(struct buf *b, size_t len) {
    return buf_grow(b, len) == 0 ? b->data + b->len : NULL;
}

void buf_consume(struct buf *b, size_t len) {
    CHECK(len <= b->len);
    if (len == 0) return;
    memmove(b->data, b->data + len, b->len - len);
    b->len -= len;
}

uint8_t *buf_take(struct buf *b, size_t *ret_len) {
    uint8_t *data = b->data;
    *ret_len = b->len;
    *b = (struct buf){.max = b->max};
    return data;
}
