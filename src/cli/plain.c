/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/plain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "wire/utf8.h"

/* Length of a character that may be shown, 0 if it may not. */
static size_t plain_length(const uint8_t *p, const uint8_t *end) {
    uint32_t c = 0;
    size_t n = utf8_decode(p, end, &c);
    bool turns = (c >= 0x200e && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || turns ? 0 : n;
}

void text_plain(char *text) {
    uint8_t *out = (uint8_t *)text;
    const uint8_t *p = out, *end = p + strlen(text);
    while (p < end) {
        size_t n = plain_length(p, end);
        if (n) {
            memmove(out, p, n);
            out += n;
            p += n;
            continue;
        }
        *out++ = '?';
        for (p++; p < end && (*p & 0xc0) == 0x80;) /* one mark a character */
            p++;
    }
    *out = 0;
}

void print_plain(const char *text) {
    char *copy = strdup(text);
    CHECK(copy);
    text_plain(copy);
    (void)fputs(copy, stdout);
    free(copy);
}
