/* SPDX-License-Identifier: Apache-2.0
 * What is read can be printed unless it holds an infinity, and what was printed reads back as the same. Resources,
 * where the type has them, survive the way into fixed point and back. */
#include "base/check.h"
#include "fuzz_wire_types.h"
#include "wire/json.h"
#include "wire/resources_mesos.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void resources_try(const Mesos__V1__Request *request, struct arena *arena) {
    struct resources r, again;
    struct err err;
    size_t n;
    Mesos__V1__Resource **messages;
    if (resources_from_mesos(request->n_resources, request->resources, &r, &err)) return;
    if (resources_to_mesos(&r, "role", arena, &n, &messages) == 0) {
        CHECK(resources_from_mesos(n, messages, &again, &err) == 0);
        CHECK(resources_equal(&r, &again));
        resources_done(&again);
    }
    resources_done(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    const ProtobufCMessageDescriptor *type = fuzz_wire_type(data[0]);
    struct arena arena;
    struct buf once, twice;
    struct err err;
    ProtobufCMessage *m;
    arena_init(&arena, (size_t)4 << 20);
    buf_init(&once, (size_t)16 << 20);
    buf_init(&twice, (size_t)16 << 20);
    if (json_parse(type, data + 1, size - 1, &arena, &m, &err) == 0 && json_print(m, 0, &once) == 0) {
        if (type == &mesos__v1__request__descriptor) resources_try((const Mesos__V1__Request *)m, &arena);
        CHECK(json_parse(type, once.data, once.len, &arena, &m, &err) == 0);
        CHECK(json_print(m, 0, &twice) == 0);
        CHECK(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
    }
    buf_done(&once);
    buf_done(&twice);
    arena_done(&arena);
    return 0;
}
