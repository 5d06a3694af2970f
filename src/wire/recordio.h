/* SPDX-License-Identifier: Apache-2.0
 * RecordIO: each record is its length in decimal digits, a newline, and that many bytes; nothing between records.
 * The decoder is incremental and never allocates for bytes that have not come. Pure: no I/O, no clock. */
#ifndef CONCLAVE_WIRE_RECORDIO_H
#define CONCLAVE_WIRE_RECORDIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* Appends one record as one contiguous piece. ERR_INVALID for an empty payload (a record never is
 * empty), ERR_LIMIT if the buffer refused. */
int recordio_append(struct buf *out, const void *payload, size_t len);

struct recordio_decoder {
    size_t max; /* a longer record is refused */
    uint64_t length;
    unsigned digits;    /* of the length, read so far */
    bool in_payload;    /* the length is complete */
    bool failed;        /* an error was returned; it stays */
    bool taken;         /* the record in `payload` was handed out */
    struct buf payload; /* what has come of the present record */
};

struct recordio_record {
    const uint8_t *data; /* into the caller's bytes or the decoder; valid until the next call */
    size_t len;
};

/* `max` in bytes, at least 1. */
void recordio_decoder_init(struct recordio_decoder *d, size_t max);
void recordio_decoder_done(struct recordio_decoder *d);
/* Takes bytes from *data, advancing *data and *len, until a record is whole. 1: *ret is the record, call again with the
 * rest; 0: all bytes were taken, more are needed; ERR_PARSE (a length that is absent, signed, padded, over 20 digits or
 * zero), ERR_LIMIT (over `max`), ERR_NOMEM: the stream is unusable, and every further call says ERR_PARSE. */
int recordio_decode(struct recordio_decoder *d, const uint8_t **data, size_t *len, struct recordio_record *ret,
                    struct err *err);
/* At the end of the stream: ERR_PARSE if it ended inside a record. */
int recordio_decoder_finish(const struct recordio_decoder *d, struct err *err);

#endif
