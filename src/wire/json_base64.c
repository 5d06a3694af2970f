/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/json_lex.h"
#include "wire/json_write.h"

#include "base/err.h"

/* The value of a character in the standard or the URL alphabet, or -1. */
static int sextet(uint8_t c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+' || c == '-') return 62;
    return c == '/' || c == '_' ? 63 : -1;
}

const char *json_base64_decode(const uint8_t *text, size_t len, uint8_t *ret, size_t *ret_len) {
    const char *wrong = "bytes want base64";
    size_t padding = 0, n = 0;
    while (padding < 2 && len > 0 && text[len - 1] == '=')
        len--, padding++;
    if (len % 4 == 1 || (padding > 0 && (len + padding) % 4 != 0)) return wrong;
    uint32_t bits = 0;
    unsigned held = 0;
    for (size_t i = 0; i < len; i++) {
        int v = sextet(text[i]);
        if (v < 0) return wrong;
        bits = (bits << 6 | (uint32_t)v) & 0xFFFFFF;
        held += 6;
        if (held >= 8) {
            held -= 8;
            ret[n++] = (uint8_t)(bits >> held);
        }
    }
    *ret_len = n;
    return NULL;
}

int json_append_base64(struct buf *out, const uint8_t *data, size_t len) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (len > SIZE_MAX / 4) return ERR_LIMIT;
    size_t need = (len + 2) / 3 * 4 + 2;
    uint8_t *p = buf_reserve(out, need);
    if (!p) return ERR_LIMIT;
    *p++ = '"';
    for (size_t i = 0; i < len; i += 3) {
        size_t n = len - i < 3 ? len - i : 3;
        uint32_t bits = (uint32_t)data[i] << 16 | (n > 1 ? (uint32_t)data[i + 1] << 8 : 0) | (n > 2 ? data[i + 2] : 0);
        *p++ = (uint8_t)alphabet[bits >> 18];
        *p++ = (uint8_t)alphabet[bits >> 12 & 63];
        *p++ = n > 1 ? (uint8_t)alphabet[bits >> 6 & 63] : '=';
        *p++ = n > 2 ? (uint8_t)alphabet[bits & 63] : '=';
    }
    *p = '"';
    out->len += need;
    return 0;
}
