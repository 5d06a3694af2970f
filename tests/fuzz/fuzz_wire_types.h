/* SPDX-License-Identifier: Apache-2.0
 * The first byte of an input chooses the message type of the codecs' fuzzers. */
#ifndef CONCLAVE_TESTS_FUZZ_WIRE_TYPES_H
#define CONCLAVE_TESTS_FUZZ_WIRE_TYPES_H

#include "mesos/v1/agent.pb-c.h"
#include "mesos/v1/executor.pb-c.h"
#include "mesos/v1/master.pb-c.h"
#include "mesos/v1/scheduler.pb-c.h"

static inline const ProtobufCMessageDescriptor *fuzz_wire_type(uint8_t choice) {
    switch (choice) {
    case '1':
        return &mesos__v1__scheduler__event__descriptor;
    case '2':
        return &mesos__v1__executor__call__descriptor;
    case '3':
        return &mesos__v1__master__call__descriptor;
    case '4':
        return &mesos__v1__agent__call__descriptor;
    case '5':
        return &mesos__v1__request__descriptor;
    default:
        return &mesos__v1__scheduler__call__descriptor;
    }
}

#endif
