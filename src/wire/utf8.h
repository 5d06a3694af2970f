/* SPDX-License-Identifier: Apache-2.0
 * UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef CONCLAVE_WIRE_UTF8_H
#define CONCLAVE_WIRE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* True if none of the 8 bytes at `p` is a control character, '"', '\\', or above 0x7F. */
static inline bool bytes8_plain(const uint8_t *p) {
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones * 0x80;
    uint64_t v;
    memcpy(&v, p, sizeof v);
    uint64_t quote = v ^ (ones * '"'), backslash = v ^ (ones * '\\');
    return ((v | (v - ones * 0x20) | (quote - ones) | (backslash - ones)) & highs) == 0;
}

/* Length (1 to 4) of the sequence at `p` (p < end) and its code point, or 0 if it is broken or cut. */
static inline size_t utf8_decode(const uint8_t *p, const uint8_t *end, uint32_t *ret) {
    uint32_t c = p[0];
    if (c < 0x80) {
        *ret = c;
        return 1;
    }
    size_t len = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
    uint32_t least = len == 4 ? 0x10000 : len == 3 ? 0x800 : 0x80;
    if (c < 0xC2 || c > 0xF4 || (size_t)(end - p) < len) return 0;
    c &= 0x7Fu >> len;
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xC0) != 0x80) return 0;
        c = c << 6 | (p[i] & 0x3Fu);
    }
    if (c < least || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) return 0;
    *ret = c;
    return len;
}

/* True if all of it is UTF-8 without a NUL. */
static inline bool utf8_text_valid(const uint8_t *p, size_t len) {
    for (const uint8_t *end = p + len; p < end;) {
        if (end - p >= 8 && bytes8_plain(p)) {
            p += 8;
            continue;
        }
        uint32_t c;
        size_t n = utf8_decode(p, end, &c);
        if (n == 0 || c == 0) return false;
        p += n;
    }
    return true;
}

#endif
