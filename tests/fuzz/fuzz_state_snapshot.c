/* SPDX-License-Identifier: Apache-2.0
 * Bytes as a snapshot: refused with a reason and without a trace, or a state that keeps every invariant and has exactly
 * one snapshot. The input is read as a list of records whose frame, count and end are made right, so that mutation
 * reaches the checks behind them; the hash in the end record is the only thing left to guess, so what passes all other
 * checks ends there. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "scheduler/state.h"

static void restore(const uint8_t *data, size_t len) {
    struct state *state = state_new();
    struct err err = {.text = ""};
    struct hash128 empty = state_hash(state);
    int rc = state_restore(state, data, len, &err);
    CHECK(rc == 0 || rc == ERR_CORRUPT || rc == ERR_INCOMPATIBLE);
    CHECK(rc == 0 || (err.text[0] && hash128_equal(empty, state_hash(state))));
    if (rc == 0) {
        struct buf again;
        CHECK(state_check(state, &err) == 0);
        buf_init(&again, 64u << 20);
        CHECK(state_snapshot(state, &again) == 0);
        buf_done(&again);
    }
    state_free(state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint8_t end_hash[20] = {0x12, 16}; /* field 2: 16 bytes */
    struct buf framed;
    uint8_t records = 0;
    restore(data, size);
    buf_init(&framed, 1u << 22);
    buf_append_str(&framed, "CNCLSTA2");
    for (size_t at = 0; at + 2 <= size && records < 100;) { /* kind, length, bytes */
        size_t len = data[at + 1] < size - at - 2 ? data[at + 1] : size - at - 2;
        buf_append_byte(&framed, (uint8_t)(data[at] % 4 + 1));
        buf_append_u32(&framed, (uint32_t)len);
        buf_append(&framed, data + at + 2, len);
        at += 2 + len;
        records++;
    }
    buf_append_byte(&framed, 5);
    buf_append_u32(&framed, 20);
    buf_append_byte(&framed, 0x08);
    buf_append_byte(&framed, records);
    buf_append(&framed, end_hash, 18);
    CHECK(!framed.failed);
    restore(framed.data, framed.len);
    buf_done(&framed);
    return 0;
}
