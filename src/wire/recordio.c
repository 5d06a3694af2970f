/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/recordio.h"

#include <inttypes.h>
#include <string.h>

#include "base/check.h"

#define RECORDIO_DIGITS_MAX 20

int recordio_append(struct buf *out, const void *payload, size_t len) {
    if (len == 0) return ERR_INVALID;
    char digits[RECORDIO_DIGITS_MAX + 1];
    size_t at = sizeof digits;
    digits[--at] = '\n';
    for (size_t rest = len; rest > 0; rest /= 10)
        digits[--at] = (char)('0' + rest % 10);
    size_t head = sizeof digits - at;
    uint8_t *room = len <= SIZE_MAX - head ? buf_reserve(out, head + len) : NULL;
    if (!room) return ERR_LIMIT;
    memcpy(room, digits + at, head);
    memcpy(room + head, payload, len);
    out->len += head + len;
    return 0;
}

void recordio_decoder_init(struct recordio_decoder *d, size_t max) {
    CHECK(max > 0);
    *d = (struct recordio_decoder){.max = max};
    buf_init(&d->payload, max);
}

void recordio_decoder_done(struct recordio_decoder *d) {
    buf_done(&d->payload);
}

static int decoder_fail(struct recordio_decoder *d, struct err *err, int code, const char *text) {
    d->failed = true;
    return err_set(err, code, "recordio: %s", text);
}

static int decoder_length_byte(struct recordio_decoder *d, uint8_t byte, struct err *err) {
    if (byte == '\n') {
        if (d->digits == 0) return decoder_fail(d, err, ERR_PARSE, "a record without its length");
        d->in_payload = true;
        return 0;
    }
    if (byte < '0' || byte > '9') return decoder_fail(d, err, ERR_PARSE, "a length with something else than digits");
    unsigned digit = byte - '0';
    if (d->digits == 0 && digit == 0) return decoder_fail(d, err, ERR_PARSE, "a length that begins with zero");
    if (d->digits == RECORDIO_DIGITS_MAX || d->length > (UINT64_MAX - digit) / 10)
        return decoder_fail(d, err, ERR_PARSE, "a length of too many digits");
    d->length = d->length * 10 + digit;
    d->digits++;
    if (d->length > d->max) {
        d->failed = true;
        return err_set(err, ERR_LIMIT, "recordio: a record of %" PRIu64 " bytes or more, at most %zu are allowed",
                       d->length, d->max);
    }
    return 0;
}

static void decoder_next(struct recordio_decoder *d) {
    d->length = 0;
    d->digits = 0;
    d->in_payload = false;
}

int recordio_decode(struct recordio_decoder *d, const uint8_t **data, size_t *len, struct recordio_record *ret,
                    struct err *err) {
    if (d->failed) return err_set(err, ERR_PARSE, "recordio: the stream is broken already");
    if (d->taken) {
        buf_clear(&d->payload);
        d->taken = false;
    }
    while (*len > 0 && !d->in_payload) {
        int rc = decoder_length_byte(d, **data, err);
        if (rc) return rc;
        (*data)++, (*len)--;
    }
    if (*len == 0) return 0;
    size_t missing = (size_t)d->length - d->payload.len, n = *len < missing ? *len : missing;
    bool whole_here = d->payload.len == 0 && n == missing;
    const uint8_t *here = *data;
    if (!whole_here && buf_append(&d->payload, here, n)) return decoder_fail(d, err, ERR_NOMEM, "out of memory");
    *data += n, *len -= n;
    if (n < missing) return 0;
    *ret = whole_here ? (struct recordio_record){here, n} : (struct recordio_record){d->payload.data, d->payload.len};
    d->taken = !whole_here;
    decoder_next(d);
    return 1;
}

int recordio_decoder_finish(const struct recordio_decoder *d, struct err *err) {
    if (d->failed) return err_set(err, ERR_PARSE, "recordio: the stream is broken already");
    if (d->digits > 0) return err_set(err, ERR_PARSE, "recordio: the stream ends inside a record");
    return 0;
}
