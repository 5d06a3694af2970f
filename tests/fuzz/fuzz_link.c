/* SPDX-License-Identifier: Apache-2.0
 * Bytes from strangers into the frame decoder, whole and byte by byte: both must deliver the same frames and end alike.
 * So that the checksum does not keep everything out, the input is also read as a list of frames to be made and then
 * damaged. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "net/link_frame.h"

#define PAYLOAD_MAX 512

static bool on_frame(void *ctx, uint16_t type, const uint8_t *payload, size_t len) {
    struct buf *seen = ctx;
    CHECK(len <= PAYLOAD_MAX);
    (void)buf_append_u16(seen, type);
    (void)buf_append_u32(seen, (uint32_t)len);
    (void)buf_append(seen, payload, len);
    return true;
}

static int run(const uint8_t *data, size_t len, size_t piece, struct buf *seen) {
    struct link_decoder d;
    struct err err = {.text = ""};
    int rc = 0;
    buf_init(seen, 64 << 20);
    link_decoder_init(&d, PAYLOAD_MAX);
    for (size_t at = 0; at < len && rc == 0;) {
        size_t n = len - at < piece ? len - at : piece;
        uint8_t *copy = malloc(n);
        memcpy(copy, data + at, n);
        rc = link_decoder_feed(&d, copy, n, on_frame, seen, &err);
        free(copy);
        at += n;
        CHECK(d.partial.len <= LINK_HEADER_BYTES + PAYLOAD_MAX);
    }
    CHECK(rc == 0 || err.text[0]);
    link_decoder_done(&d);
    return rc;
}

static void both_ways(const uint8_t *data, size_t len) {
    struct buf whole, bytes;
    int rc = run(data, len, SIZE_MAX, &whole);
    CHECK(run(data, len, 1, &bytes) == rc);
    CHECK(whole.len == bytes.len && (whole.len == 0 || memcmp(whole.data, bytes.data, whole.len) == 0));
    buf_done(&whole);
    buf_done(&bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct buf made;
    both_ways(data, len);
    buf_init(&made, 64 << 20);
    for (size_t at = 0; at + 6 <= len;) { /* length, flags, type, position and mask of the damage, payload */
        uint8_t header[LINK_HEADER_BYTES];
        size_t payload = data[at] < len - at - 6 ? data[at] : len - at - 6, begin = made.len;
        link_frame_header(header, data[at + 1] & 1, load_u16(data + at + 2), data + at + 6, payload, NULL, 0);
        (void)buf_append(&made, header, sizeof header);
        (void)buf_append(&made, data + at + 6, payload);
        made.data[begin + data[at + 4] % (made.len - begin)] ^= data[at + 5];
        at += 6 + payload;
    }
    both_ways(made.data, made.len);
    buf_done(&made);
    return 0;
}
