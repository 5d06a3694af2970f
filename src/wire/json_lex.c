/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/json_lex.h"

#include <string.h>

#include "base/check.h"
#include "wire/utf8.h"

int json_peek(struct json_lexer *lex) {
    while (lex->p < lex->end && (*lex->p == ' ' || *lex->p == '\n' || *lex->p == '\r' || *lex->p == '\t'))
        lex->p++;
    return lex->p < lex->end ? *lex->p : -1;
}

bool json_take(struct json_lexer *lex, char wanted) {
    if (json_peek(lex) != wanted) return false;
    lex->p++;
    return true;
}

bool json_take_word(struct json_lexer *lex, const char *word) {
    size_t len = strlen(word);
    if ((size_t)(lex->end - lex->p) < len || memcmp(lex->p, word, len) != 0) return false;
    lex->p += len;
    return true;
}

static int hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* The four digits after "\u", or -1. */
static int32_t hex4(const uint8_t *p, const uint8_t *end) {
    if (end - p < 4) return -1;
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

static bool is_high_surrogate(int32_t c) {
    return c >= 0xD800 && c <= 0xDBFF;
}

static bool is_low_surrogate(int32_t c) {
    return c >= 0xDC00 && c <= 0xDFFF;
}

/* Steps over the escape whose backslash is at `p`. */
static const char *lex_escape(struct json_lexer *lex) {
    const uint8_t *p = lex->p + 1;
    if (p >= lex->end) return "string without an end";
    if (*p != 'u') {
        if (*p == '\0' || !strchr("\"\\/bfnrt", *p)) return "unknown escape in a string";
        lex->p = p + 1;
        return NULL;
    }
    int32_t unit = hex4(p + 1, lex->end);
    if (unit < 0) return "\\u wants four hexadecimal digits";
    if (unit == 0) return "NUL in a string";
    if (is_low_surrogate(unit)) return "lone surrogate in a string";
    p += 5;
    if (is_high_surrogate(unit)) {
        bool pair = lex->end - p >= 6 && p[0] == '\\' && p[1] == 'u' && is_low_surrogate(hex4(p + 2, lex->end));
        if (!pair) return "lone surrogate in a string";
        p += 6;
    }
    lex->p = p;
    return NULL;
}

const char *json_lex_string(struct json_lexer *lex, struct json_text *ret) {
    CHECK(lex->p < lex->end && *lex->p == '"');
    const uint8_t *begin = ++lex->p;
    bool escaped = false;
    while (lex->p < lex->end) {
        uint8_t c = *lex->p;
        if (c == '"') {
            *ret = (struct json_text){begin, (size_t)(lex->p - begin), escaped};
            lex->p++;
            return NULL;
        }
        if (c == '\\') {
            const char *wrong = lex_escape(lex);
            if (wrong) return wrong;
            escaped = true;
        } else if (c < 0x20) {
            return "control character in a string";
        } else if (c < 0x80) {
            if (lex->end - lex->p >= 8 && bytes8_plain(lex->p))
                lex->p += 8;
            else
                lex->p++;
        } else {
            uint32_t code;
            size_t len = utf8_decode(lex->p, lex->end, &code);
            if (len == 0) return "string is not UTF-8";
            lex->p += len;
        }
    }
    return "string without an end";
}

static size_t utf8_encode(uint32_t c, char *ret) {
    if (c < 0x80) {
        ret[0] = (char)c;
        return 1;
    }
    size_t len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = len - 1; i > 0; i--, c >>= 6)
        ret[i] = (char)(0x80 | (c & 0x3F));
    static const uint8_t leads[] = {0, 0, 0xC0, 0xE0, 0xF0};
    ret[0] = (char)(leads[len] | c);
    return len;
}

static size_t unescape_one(const uint8_t **p, const uint8_t *end, char *ret) {
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    uint8_t c = (*p)[1];
    if (c != 'u') {
        *p += 2;
        ret[0] = values[strchr(names, c) - names];
        return 1;
    }
    int32_t unit = hex4(*p + 2, end);
    *p += 6;
    if (is_high_surrogate(unit)) {
        int32_t low = hex4(*p + 2, end);
        *p += 6;
        unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
    }
    return utf8_encode((uint32_t)unit, ret);
}

size_t json_unescape(const struct json_text *text, char *ret) {
    if (!text->escaped) {
        if (text->len > 0) memcpy(ret, text->data, text->len);
        return text->len;
    }
    const uint8_t *p = text->data, *end = p + text->len;
    size_t n = 0;
    while (p < end) {
        if (*p == '\\')
            n += unescape_one(&p, end, ret + n);
        else
            ret[n++] = (char)*p++;
    }
    return n;
}

static bool is_digit(int c) {
    return c >= '0' && c <= '9';
}

const char *json_lex_number(struct json_lexer *lex, struct json_text *ret) {
    const char *wrong = "malformed number";
    const uint8_t *begin = lex->p, *p = begin, *end = lex->end;
    if (p < end && *p == '-') p++;
    if (p == end || !is_digit(*p)) return wrong;
    if (*p == '0')
        p++;
    else
        while (p < end && is_digit(*p))
            p++;
    if (p < end && is_digit(*p)) return wrong;
    if (p < end && *p == '.') {
        if (++p == end || !is_digit(*p)) return wrong;
        while (p < end && is_digit(*p))
            p++;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        if (++p < end && (*p == '+' || *p == '-')) p++;
        if (p == end || !is_digit(*p)) return wrong;
        while (p < end && is_digit(*p))
            p++;
    }
    *ret = (struct json_text){begin, (size_t)(p - begin), false};
    lex->p = p;
    return NULL;
}

static const char *skip_object(struct json_lexer *lex, unsigned depth) {
    struct json_text text;
    lex->p++;
    if (json_take(lex, '}')) return NULL;
    do {
        if (json_peek(lex) != '"') return "expected a field name";
        const char *wrong = json_lex_string(lex, &text);
        if (wrong) return wrong;
        if (!json_take(lex, ':')) return "expected ':'";
        wrong = json_skip(lex, depth);
        if (wrong) return wrong;
    } while (json_take(lex, ','));
    return json_take(lex, '}') ? NULL : "expected ',' or '}'";
}

static const char *skip_array(struct json_lexer *lex, unsigned depth) {
    lex->p++;
    if (json_take(lex, ']')) return NULL;
    do {
        const char *wrong = json_skip(lex, depth);
        if (wrong) return wrong;
    } while (json_take(lex, ','));
    return json_take(lex, ']') ? NULL : "expected ',' or ']'";
}

const char *json_skip(struct json_lexer *lex, unsigned depth) {
    struct json_text text;
    int c = json_peek(lex);
    switch (c) {
    case -1:
        return "unexpected end";
    case '{':
    case '[':
        if (depth == 0) return "nested too deep";
        return c == '{' ? skip_object(lex, depth - 1) : skip_array(lex, depth - 1);
    case '"':
        return json_lex_string(lex, &text);
    case 't':
        return json_take_word(lex, "true") ? NULL : "unknown word";
    case 'f':
        return json_take_word(lex, "false") ? NULL : "unknown word";
    case 'n':
        return json_take_word(lex, "null") ? NULL : "unknown word";
    default:
        return c == '-' || is_digit(c) ? json_lex_number(lex, &text) : "expected a value";
    }
}
