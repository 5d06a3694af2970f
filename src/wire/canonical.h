/* SPDX-License-Identifier: Apache-2.0
 * Protobuf by hand, for the few messages that a busy cluster is made of.
 *
 * Canonical is the one encoding that protobuf-c's own pack gives a message: fields in the order of their numbers, each
 * at most once, numbers as short as they can be, nothing unknown. The reader takes that and nothing else. What it does
 * not take may still be sound: its caller gives those bytes to protobuf-c, which stays the definition of every message.
 * So the two need not agree about strange bytes; that they agree about all that the reader takes is what fuzz_canonical
 * holds them to.
 *
 * A key is field number * 8 + wire type: 0 for numbers, 2 for bytes, text and messages. The reader's are below 128, so
 * that each is one byte. Nothing allocates; nothing is read behind `end`. */
#ifndef CONCLAVE_WIRE_CANONICAL_H
#define CONCLAVE_WIRE_CANONICAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define CANONICAL_TEXT_MAX   255u /* bytes of a text; longer ones are for protobuf-c */
#define CANONICAL_VARINT_MAX 10u
#define CANONICAL_FIELD_MAX  12u /* of a field with a number, its own up to 2,047; or of the head of one with bytes */

/* ---- reading ---- */

/* A place in a message; once `bad`, everything reads as 0 and empty. */
struct canonical {
    const uint8_t *p, *end;
    bool bad;
};

static inline uint64_t canonical_varint(struct canonical *c) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && c->p < c->end && !c->bad; shift += 7) {
        uint8_t byte = *c->p++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte >= 0x80) continue;
        if ((byte == 0 && shift > 0) || (shift == 63 && byte > 1)) break; /* could be shorter; more than 64 bits */
        return value;
    }
    c->bad = true;
    return 0;
}

/* Takes the key if it is the next. */
static inline bool canonical_has(struct canonical *c, uint8_t key) {
    if (c->bad || c->p == c->end || *c->p != key) return false;
    c->p++;
    return true;
}

static inline void canonical_key(struct canonical *c, uint8_t key) {
    if (!canonical_has(c, key)) c->bad = true;
}

static inline uint64_t canonical_u64(struct canonical *c, uint8_t key) {
    canonical_key(c, key);
    return canonical_varint(c);
}

static inline uint32_t canonical_u32(struct canonical *c, uint8_t key) {
    uint64_t value = canonical_u64(c, key);
    if (value > UINT32_MAX) c->bad = true;
    return (uint32_t)value;
}

/* The content of a field of bytes: a part of the message's own; NULL with length 0 when it is bad. */
static inline const uint8_t *canonical_bytes(struct canonical *c, uint8_t key, size_t *ret_len) {
    canonical_key(c, key);
    uint64_t len = canonical_varint(c);
    if (len > (size_t)(c->end - c->p)) c->bad = true;
    *ret_len = c->bad ? 0 : (size_t)len;
    const uint8_t *at = c->bad ? NULL : c->p;
    c->p += *ret_len;
    return at;
}

/* ASCII without NUL: eight bytes at a time, each without its highest bit and not zero. */
static inline bool canonical_plain(const uint8_t *p, size_t len) {
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
    uint64_t wrong = 0;
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        wrong |= (word | (word - ones)) & tops;
    }
    for (; len > 0; p++, len--)
        wrong |= (uint64_t)(*p == 0) | (uint64_t)(*p & 0x80);
    return wrong == 0;
}

/* Copies a text and ends it with a NUL. Only ASCII without NUL, which needs no further test. */
static inline void canonical_text(struct canonical *c, uint8_t key, char ret[CANONICAL_TEXT_MAX + 1]) {
    size_t len;
    const uint8_t *at = canonical_bytes(c, key, &len);
    if (len > CANONICAL_TEXT_MAX || (!c->bad && !canonical_plain(at, len))) c->bad = true;
    ret[0] = '\0';
    if (c->bad) return;
    memcpy(ret, at, len);
    ret[len] = '\0';
}

/* A message inside: its bytes are a place of their own. */
static inline struct canonical canonical_inside(struct canonical *c, uint8_t key) {
    size_t len;
    const uint8_t *at = canonical_bytes(c, key, &len);
    return (struct canonical){.p = at, .end = at ? at + len : NULL, .bad = c->bad};
}

/* Whether all of it was read and good. */
static inline bool canonical_done(const struct canonical *c) {
    return !c->bad && c->p == c->end;
}

/* ---- writing: each returns where the next goes; the caller has made room ---- */

static inline size_t canonical_varint_size(uint64_t value) {
    size_t n = 1;
    for (; value >= 0x80; value >>= 7)
        n++;
    return n;
}

static inline uint8_t *canonical_put_varint(uint8_t *p, uint64_t value) {
    for (; value >= 0x80; value >>= 7)
        *p++ = (uint8_t)(value | 0x80);
    *p++ = (uint8_t)value;
    return p;
}

static inline uint8_t *canonical_put_number(uint8_t *p, uint32_t key, uint64_t value) {
    return canonical_put_varint(canonical_put_varint(p, key), value);
}

static inline uint8_t *canonical_put_bytes(uint8_t *p, uint32_t key, const void *data, size_t len) {
    p = canonical_put_number(p, key, len);
    if (len > 0) memcpy(p, data, len);
    return p + len;
}

#endif
