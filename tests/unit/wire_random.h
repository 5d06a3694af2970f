/* SPDX-License-Identifier: Apache-2.0
 * Seeded random messages of any schema, made by walking its descriptor. */
#ifndef CONCLAVE_TESTS_WIRE_RANDOM_H
#define CONCLAVE_TESTS_WIRE_RANDOM_H

#include <protobuf-c/protobuf-c.h>

#include "base/rng.h"
#include "wire/arena.h"

/* Never NULL; required fields are always set, others by chance and less often the deeper they lie. */
ProtobufCMessage *random_message(struct rng *rng, const ProtobufCMessageDescriptor *type, struct arena *arena,
                                 unsigned depth);

#endif
