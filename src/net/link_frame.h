/* SPDX-License-Identifier: Apache-2.0
 * The framing of link.h as a pure codec: bytes in, checked frames out, and the header of a frame to be sent. A decoder
 * never holds more than one frame, and its memory grows with what has arrived, not with what a header announces. */
#ifndef CONCLAVE_NET_LINK_FRAME_H
#define CONCLAVE_NET_LINK_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define LINK_MAGIC        0x4b4c4e43u /* "CNLK" */
#define LINK_VERSION      1
#define LINK_FLAG_CONTROL 1
#define LINK_HEADER_BYTES 16

/* Writes the header of the frame whose payload is a, then b. The lengths together fit 32 bits. */
void link_frame_header(uint8_t header[LINK_HEADER_BYTES], uint8_t flags, uint16_t type, const void *a, size_t a_len,
                       const void *b, size_t b_len);

/* Whole length of the frame whose (good) header is at `header`. */
size_t link_frame_bytes(const uint8_t *header);

struct link_decoder {
    struct buf partial;       /* the frame that has begun, from its header on */
    size_t payload_bytes_max; /* may be changed between frames, from the callback too */
    uint64_t frame_n;         /* frames delivered */
};

void link_decoder_init(struct link_decoder *d, size_t payload_bytes_max);
void link_decoder_done(struct link_decoder *d);

/* Reads on, and calls `frame` for each whole frame; its payload is borrowed until it returns, and it may return false
 * to stop (the decoder must not be fed again then). Returns 0, or on a breach ERR_PARSE (magic, flags),
 * ERR_INCOMPATIBLE (version), ERR_LIMIT (length), ERR_CORRUPT (checksum), ERR_NOMEM: the decoder must not be fed again
 * then. */
int link_decoder_feed(struct link_decoder *d, const uint8_t *data, size_t len,
                      bool (*frame)(void *ctx, uint16_t type, const uint8_t *payload, size_t len), void *ctx,
                      struct err *err);

#endif
