/* SPDX-License-Identifier: Apache-2.0
 * What passes the check unpacks, packs, and passes again; it can be printed as JSON unless a double is not finite. */
#include "base/check.h"
#include "fuzz_wire_types.h"
#include "wire/json.h"
#include "wire/protobuf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    const ProtobufCMessageDescriptor *type = fuzz_wire_type(data[0]);
    struct arena arena;
    struct buf wire, text;
    struct err err;
    ProtobufCMessage *m;
    arena_init(&arena, (size_t)64 << 20);
    buf_init(&wire, (size_t)16 << 20);
    buf_init(&text, (size_t)64 << 20);
    int checked = protobuf_check(type, data + 1, size - 1, 0, &err);
    int parsed = protobuf_parse(type, data + 1, size - 1, 0, &arena, &m, &err);
    CHECK(parsed == checked || parsed == ERR_LIMIT);
    if (parsed == 0) {
        CHECK(protobuf_print(m, &wire) == 0);
        CHECK(protobuf_check(type, wire.data, wire.len, 0, &err) == 0);
        int printed = json_print(m, 0, &text);
        CHECK(printed == 0 || printed == ERR_INVALID);
        bool strange = protobuf_check(type, wire.data, wire.len, PROTOBUF_REFUSE_UNKNOWN, &err) != 0;
        CHECK(strange == protobuf_has_unknown(m));
    }
    buf_done(&wire);
    buf_done(&text);
    arena_done(&arena);
    return 0;
}
