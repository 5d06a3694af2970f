/* SPDX-License-Identifier: Apache-2.0
 * The first byte is how many bytes arrive at a time; the records must not depend on it. */
#include "base/check.h"
#include "base/hash.h"
#include "wire/recordio.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t decode(const uint8_t *data, size_t size, size_t step) {
    struct recordio_decoder d;
    uint64_t sum = 0;
    int rc = 0;
    recordio_decoder_init(&d, 4096);
    for (size_t at = 0; at < size && rc >= 0; at += step) {
        const uint8_t *p = data + at;
        size_t left = size - at < step ? size - at : step;
        struct recordio_record r;
        while ((rc = recordio_decode(&d, &p, &left, &r, NULL)) == 1) {
            CHECK(r.len > 0 && r.len <= 4096);
            sum = sum * 31 + hash64_of(r.data, r.len);
        }
        CHECK(rc != 0 || left == 0);
    }
    if (rc == 0) rc = recordio_decoder_finish(&d, NULL);
    recordio_decoder_done(&d);
    return sum * 31 + (uint64_t)rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    CHECK(decode(data + 1, size - 1, (size_t)data[0] + 1) == decode(data + 1, size - 1, size));
    return 0;
}
