/* SPDX-License-Identifier: Apache-2.0
 * The tokens of JSON (RFC 8259) over borrowed bytes. Strings are checked in full when they are met (UTF-8, escapes,
 * surrogate pairs, no NUL), so that taking their text out afterwards cannot fail. Private to src/wire.
 * A function that returns text returns NULL for success, else what is wrong with the bytes at `p`. */
#ifndef CONCLAVE_WIRE_JSON_LEX_H
#define CONCLAVE_WIRE_JSON_LEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_lexer {
    const uint8_t *p;
    const uint8_t *end;
};

struct json_text { /* what stands between two quotes, or the characters of a number */
    const uint8_t *data;
    size_t len;
    bool escaped; /* has a backslash: use json_unescape */
};

/* Skips white space; the byte at hand, or -1 at the end. */
int json_peek(struct json_lexer *lex);
/* Steps over `wanted` if it is next after white space. */
bool json_take(struct json_lexer *lex, char wanted);
/* Steps over "true", "null"... if the bytes at hand are these. */
bool json_take_word(struct json_lexer *lex, const char *word);
/* The string that begins at `p`. */
const char *json_lex_string(struct json_lexer *lex, struct json_text *ret);
/* The number that begins at `p`. */
const char *json_lex_number(struct json_lexer *lex, struct json_text *ret);
/* Writes the text of a checked string, at most `text->len` bytes; returns how many. */
size_t json_unescape(const struct json_text *text, char *ret);
/* Steps over any value; `depth` levels are left. */
const char *json_skip(struct json_lexer *lex, unsigned depth);

/* Numbers, from the characters of a number token or of a string that should hold one. */
const char *json_to_i64(const struct json_text *text, int64_t *ret);
const char *json_to_u64(const struct json_text *text, uint64_t *ret);
const char *json_to_double(const struct json_text *text, double *ret);
/* As above, also "Infinity" and "-Infinity". For strings only. */
const char *json_string_to_double(const struct json_text *text, double *ret);
/* Both alphabets, padded or not; `ret` has room for len / 4 * 3 + 3 bytes. */
const char *json_base64_decode(const uint8_t *text, size_t len, uint8_t *ret, size_t *ret_len);

#endif
