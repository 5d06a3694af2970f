/* SPDX-License-Identifier: Apache-2.0
 * Numbers between text and binary. The C library's conversions depend on the locale, so they run in the C locale, and
 * only for the rare numbers that the exact short ways below do not cover. */
#include "wire/json_lex.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "wire/json_write.h"

#define DOUBLE_WHOLE_MAX 9007199254740992.0 /* 2^53: up to here each whole number is a double */
#define NUMBER_LEN_MAX   512

static const char *const not_a_number = "wants a number";
static const char *const not_whole = "wants a whole number";
static const char *const out_of_range = "number out of range";

/* A number cut into its parts: (-1)^negative * mantissa * 10^exponent, `exact` if the mantissa lost no digit. */
struct decimal {
    bool negative;
    bool whole_form; /* neither fraction nor exponent was written */
    bool exact;
    uint64_t mantissa;
    int exponent;
};

static const char *decimal_read(const struct json_text *text, struct decimal *ret) {
    struct json_lexer lex = {text->data, text->data + text->len};
    struct json_text token;
    if (text->escaped || json_lex_number(&lex, &token) || lex.p != lex.end) return not_a_number;
    if (token.len >= NUMBER_LEN_MAX) return "number of too many digits";
    struct decimal d = {.exact = true, .whole_form = true};
    const uint8_t *p = token.data, *end = p + token.len;
    if (*p == '-') d.negative = true, p++;
    bool fraction = false;
    for (; p < end && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.') {
            fraction = true;
            d.whole_form = false;
            continue;
        }
        uint64_t digit = (uint64_t)(*p - '0');
        if (d.mantissa > (UINT64_MAX - digit) / 10) {
            d.exact = false;
            continue;
        }
        d.mantissa = d.mantissa * 10 + digit;
        d.exponent -= fraction;
    }
    if (p < end) {
        d.whole_form = false;
        bool negative = p[1] == '-';
        int exponent = 0;
        for (p += p[1] == '-' || p[1] == '+' ? 2 : 1; p < end; p++)
            exponent = exponent > 9999 ? exponent : exponent * 10 + (*p - '0');
        d.exponent += negative ? -exponent : exponent;
    }
    *ret = d;
    return NULL;
}

static const char *double_by_library(const struct json_text *text, double *ret) {
    char copy[NUMBER_LEN_MAX];
    memcpy(copy, text->data, text->len);
    copy[text->len] = '\0';
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c_locale) return "out of memory";
    double v = strtod_l(copy, NULL, c_locale);
    freelocale(c_locale);
    if (!isfinite(v)) return out_of_range;
    *ret = v;
    return NULL;
}

static const char *double_from_decimal(const struct json_text *text, const struct decimal *d, double *ret) {
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    /* Both operands are exact doubles here, so one rounding gives the nearest result. */
    if (!d->exact || d->mantissa > (uint64_t)DOUBLE_WHOLE_MAX || d->exponent < -22 || d->exponent > 22)
        return double_by_library(text, ret);
    double m = (double)d->mantissa;
    m = d->exponent < 0 ? m / powers[-d->exponent] : m * powers[d->exponent];
    *ret = d->negative ? -m : m;
    return NULL;
}

/* The size of a whole number. Forms like 1e3 and 4.0 are taken up to 2^53, where a double is still exact. */
static const char *whole_read(const struct json_text *text, bool *ret_negative, uint64_t *ret) {
    struct decimal d;
    const char *wrong = decimal_read(text, &d);
    if (wrong) return wrong;
    if (d.whole_form) {
        if (!d.exact) return out_of_range;
        *ret = d.mantissa;
    } else {
        double v;
        wrong = double_from_decimal(text, &d, &v);
        if (wrong) return wrong;
        v = fabs(v);
        if (v != floor(v)) return not_whole;
        if (v > DOUBLE_WHOLE_MAX) return out_of_range;
        *ret = (uint64_t)v;
    }
    *ret_negative = d.negative && *ret > 0;
    return NULL;
}

const char *json_to_u64(const struct json_text *text, uint64_t *ret) {
    bool negative;
    uint64_t v;
    const char *wrong = whole_read(text, &negative, &v);
    if (wrong) return wrong;
    if (negative) return out_of_range;
    *ret = v;
    return NULL;
}

const char *json_to_i64(const struct json_text *text, int64_t *ret) {
    bool negative;
    uint64_t v;
    const char *wrong = whole_read(text, &negative, &v);
    if (wrong) return wrong;
    if (v > (uint64_t)INT64_MAX + negative) return out_of_range;
    *ret = negative ? -(int64_t)(v - 1) - 1 : (int64_t)v;
    return NULL;
}

const char *json_to_double(const struct json_text *text, double *ret) {
    struct decimal d;
    const char *wrong = decimal_read(text, &d);
    return wrong ? wrong : double_from_decimal(text, &d, ret);
}

static bool text_is(const struct json_text *text, const char *word) {
    return text->len == strlen(word) && memcmp(text->data, word, text->len) == 0;
}

const char *json_string_to_double(const struct json_text *text, double *ret) {
    if (text_is(text, "NaN")) return "NaN is not allowed";
    if (text_is(text, "Infinity"))
        *ret = HUGE_VAL;
    else if (text_is(text, "-Infinity"))
        *ret = -HUGE_VAL;
    else
        return json_to_double(text, ret);
    return NULL;
}

int json_append_u64(struct buf *out, uint64_t v) {
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + v % 10);
    while (v /= 10);
    return buf_append(out, digits + at, sizeof digits - at);
}

int json_append_i64(struct buf *out, int64_t v) {
    if (v >= 0) return json_append_u64(out, (uint64_t)v);
    (void)buf_append_byte(out, '-');
    return json_append_u64(out, (uint64_t)(-(v + 1)) + 1);
}

/* v = whole / 10^places, exactly as the text would read back; true if it was written. */
static bool append_short_fraction(struct buf *out, double v) {
    static const struct {
        double scale;
        double max;
        int places;
    } tries[] = {{1e3, 1e12, 3}, {1e6, 1e9, 6}};
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++) {
        double size = fabs(v), scaled = round(size * tries[i].scale);
        if (size >= tries[i].max || scaled / tries[i].scale != size) continue;
        uint64_t whole = (uint64_t)scaled, scale = (uint64_t)tries[i].scale;
        char digits[8] = ".";
        int len = tries[i].places;
        for (uint64_t rest = whole % scale, k = (uint64_t)len; k > 0; k--, rest /= 10)
            digits[k] = (char)('0' + rest % 10);
        while (len > 0 && digits[len] == '0')
            len--;
        if (v < 0) (void)buf_append_byte(out, '-');
        (void)json_append_u64(out, whole / scale);
        if (len > 0) (void)buf_append(out, digits, (size_t)len + 1);
        return true;
    }
    return false;
}

int json_append_double(struct buf *out, double v) {
    if (!isfinite(v)) return ERR_INVALID;
    if (v == floor(v) && fabs(v) < 1e15) return json_append_i64(out, (int64_t)v);
    if (append_short_fraction(out, v)) return out->failed ? ERR_LIMIT : 0;
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c_locale) return ERR_NOMEM;
    locale_t before = uselocale(c_locale);
    char text[32];
    for (int precision = 15; precision <= 17; precision++) {
        (void)snprintf(text, sizeof text, "%.*g", precision, v);
        if (strtod(text, NULL) == v) break;
    }
    (void)uselocale(before);
    freelocale(c_locale);
    return buf_append_str(out, text);
}
