/* SPDX-License-Identifier: Apache-2.0
 * A growable byte buffer that is told its maximum when it is made and never grows past it.
 * Once an append has failed the buffer is `failed` and refuses everything until buf_clear: so a caller may append many
 * times and test once at the end. Allocation failure and overflow are both reported that way. */
#ifndef CONCLAVE_BASE_BUF_H
#define CONCLAVE_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data; /* read-only for callers; NULL while empty */
    size_t len;    /* bytes in use */
    size_t cap;    /* bytes allocated */
    size_t max;    /* len never exceeds this */
    bool failed;   /* an append was refused since the last clear */
};

void buf_init(struct buf *b, size_t max);
/* Frees the memory; the buffer may be used again afterwards. */
void buf_done(struct buf *b);
/* Forgets the content, keeps the memory. */
void buf_clear(struct buf *b);

/* Each returns 0, or ERR_LIMIT / ERR_NOMEM with `failed` set and the content unchanged. */
int buf_append(struct buf *b, const void *data, size_t len);
int buf_append_str(struct buf *b, const char *text);
int buf_append_byte(struct buf *b, uint8_t byte);
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int buf_vprintf(struct buf *b, const char *fmt, va_list ap);
/* Little-endian integers. */
int buf_append_u16(struct buf *b, uint16_t v);
int buf_append_u32(struct buf *b, uint32_t v);
int buf_append_u64(struct buf *b, uint64_t v);

/* Makes room for `len` more bytes and returns where they go (add to ->len after filling), or NULL as append fails. */
uint8_t *buf_reserve(struct buf *b, size_t len);
/* Drops the first `len` bytes (len <= b->len). */
void buf_consume(struct buf *b, size_t len);
/* Hands the memory to the caller, who frees it with free(); the buffer is empty afterwards. */
uint8_t *buf_take(struct buf *b, size_t *ret_len);

/* Little-endian reads from any address. */
static inline uint16_t load_u16(const void *p) {
    const uint8_t *b = p;
    return (uint16_t)(b[0] | b[1] << 8);
}
static inline uint32_t load_u32(const void *p) {
    const uint8_t *b = p;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}
static inline uint64_t load_u64(const void *p) {
    return (uint64_t)load_u32(p) | (uint64_t)load_u32((const uint8_t *)p + 4) << 32;
}
static inline void store_u16(void *p, uint16_t v) {
    uint8_t *b = p;
    b[0] = (uint8_t)v, b[1] = (uint8_t)(v >> 8);
}
static inline void store_u32(void *p, uint32_t v) {
    uint8_t *b = p;
    b[0] = (uint8_t)v, b[1] = (uint8_t)(v >> 8), b[2] = (uint8_t)(v >> 16), b[3] = (uint8_t)(v >> 24);
}
static inline void store_u64(void *p, uint64_t v) {
    store_u32(p, (uint32_t)v);
    store_u32((uint8_t *)p + 4, (uint32_t)(v >> 32));
}

#endif
