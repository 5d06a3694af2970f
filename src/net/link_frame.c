/* SPDX-License-Identifier: Apache-2.0 */
#include "net/link_frame.h"

#include "base/check.h"
#include "base/crc32c.h"

#define KEEP_BYTES 65536 /* memory for a partial frame up to this is kept for the next one */

void link_frame_header(uint8_t header[LINK_HEADER_BYTES], uint8_t flags, uint16_t type, const void *a, size_t a_len,
                       const void *b, size_t b_len) {
    CHECK(a_len <= UINT32_MAX && b_len <= UINT32_MAX - a_len);
    store_u32(header, LINK_MAGIC);
    header[4] = LINK_VERSION;
    header[5] = flags;
    store_u16(header + 6, type);
    store_u32(header + 8, (uint32_t)(a_len + b_len));
    uint32_t crc = crc32c(0, header, 12);
    if (a_len) crc = crc32c(crc, a, a_len);
    if (b_len) crc = crc32c(crc, b, b_len);
    store_u32(header + 12, crc);
}

size_t link_frame_bytes(const uint8_t *header) {
    return LINK_HEADER_BYTES + (size_t)load_u32(header + 8);
}

void link_decoder_init(struct link_decoder *d, size_t payload_bytes_max) {
    *d = (struct link_decoder){.payload_bytes_max = payload_bytes_max};
    buf_init(&d->partial, SIZE_MAX / 2); /* bounded by payload_bytes_max at every header */
}

void link_decoder_done(struct link_decoder *d) {
    buf_done(&d->partial);
}

static int header_check(const struct link_decoder *d, const uint8_t *header, struct err *err) {
    if (load_u32(header) != LINK_MAGIC)
        return err_set(err, ERR_PARSE, "frame does not begin with CNLK but with %02x %02x %02x %02x", header[0],
                       header[1], header[2], header[3]);
    if (header[4] != LINK_VERSION)
        return err_set(err, ERR_INCOMPATIBLE, "peer speaks link version %u, we speak %u", header[4], LINK_VERSION);
    if (header[5] & ~LINK_FLAG_CONTROL) return err_set(err, ERR_PARSE, "frame with unknown flags %#x", header[5]);
    uint32_t length = load_u32(header + 8);
    if (length > d->payload_bytes_max)
        return err_set(err, ERR_LIMIT, "frame of %u bytes, over the limit of %zu", length, d->payload_bytes_max);
    return 0;
}

/* One whole frame at `at`. *ret_go is what the callback said. */
static int deliver(struct link_decoder *d, const uint8_t *at,
                   bool (*frame)(void *ctx, uint16_t type, const uint8_t *payload, size_t len), void *ctx, bool *ret_go,
                   struct err *err) {
    size_t len = link_frame_bytes(at) - LINK_HEADER_BYTES;
    uint32_t crc = crc32c(crc32c(0, at, 12), at + LINK_HEADER_BYTES, len);
    if (crc != load_u32(at + 12)) return err_set(err, ERR_CORRUPT, "frame of %zu bytes with a wrong checksum", len);
    d->frame_n++;
    *ret_go = frame(ctx, load_u16(at + 6), at + LINK_HEADER_BYTES, len);
    return 0;
}

/* How many bytes the partial frame still needs, as far as is known: to the end of its header, or of the frame. */
static size_t partial_wants(const struct link_decoder *d) {
    if (d->partial.len < LINK_HEADER_BYTES) return LINK_HEADER_BYTES - d->partial.len;
    return link_frame_bytes(d->partial.data) - d->partial.len;
}

static void partial_drop(struct link_decoder *d) {
    if (d->partial.cap > KEEP_BYTES)
        buf_done(&d->partial);
    else
        buf_clear(&d->partial);
}

int link_decoder_feed(struct link_decoder *d, const uint8_t *data, size_t len,
                      bool (*frame)(void *ctx, uint16_t type, const uint8_t *payload, size_t len), void *ctx,
                      struct err *err) {
    bool go = true;
    int rc = 0;
    while (len > 0 && go && rc == 0) {
        if (d->partial.len == 0 && len >= LINK_HEADER_BYTES) {
            rc = header_check(d, data, err);
            if (rc) return rc;
            size_t whole = link_frame_bytes(data);
            if (whole <= len) { /* the usual case: nothing is copied */
                rc = deliver(d, data, frame, ctx, &go, err);
                data += whole, len -= whole;
                continue;
            }
        }
        bool had_header = d->partial.len >= LINK_HEADER_BYTES;
        size_t part = partial_wants(d);
        if (part > len) part = len;
        if (buf_append(&d->partial, data, part)) return err_set(err, ERR_NOMEM, "out of memory for a frame");
        data += part, len -= part;
        if (d->partial.len < LINK_HEADER_BYTES) continue;
        if (!had_header) rc = header_check(d, d->partial.data, err);
        if (rc == 0 && partial_wants(d) == 0) {
            rc = deliver(d, d->partial.data, frame, ctx, &go, err);
            partial_drop(d);
        }
    }
    return rc;
}
