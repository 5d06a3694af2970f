/* SPDX-License-Identifier: Apache-2.0
 * The two commands that most of a busy log consists of, TaskReport and TaskAcknowledge, written and read by hand
 * (wire/canonical.h). All that it takes is of feature level 1. command_encode and whoever decodes use this. */
#ifndef CONCLAVE_SCHEDULER_COMMAND_CODEC_H
#define CONCLAVE_SCHEDULER_COMMAND_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conclave/log.pb-c.h"
#include "wire/canonical.h"

/* What a decoded command stands in. */
struct command_room {
    Conclave__Log__Command command;
    Conclave__Log__TaskReport report;
    Conclave__Log__TaskAcknowledge acknowledge;
    Conclave__Log__LaunchId launch;
    char framework_id[CANONICAL_TEXT_MAX + 1], task_id[CANONICAL_TEXT_MAX + 1];
};

/* The command, in *room and pointing into `data`; or NULL: another command, or not canonical: protobuf-c decides. */
Conclave__Log__Command *command_codec_decode(struct command_room *room, const uint8_t *data, size_t len);

/* Most that command_codec_encode writes of it; 0: it does not know this command. */
size_t command_codec_bound(const Conclave__Log__Command *command);
/* Writes what protobuf-c's pack would; returns its length. */
size_t command_codec_encode(const Conclave__Log__Command *command, uint8_t *ret);

#endif
