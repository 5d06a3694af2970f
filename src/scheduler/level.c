/* SPDX-License-Identifier: Apache-2.0
 * See level.h. The walk is over the bytes and not over a decoded command: it must find what the schema does not have,
 * it runs over every command of an entry before the first is decoded, and it must not allocate.
 *
 * This is the only file that sees CONCLAVE_LEVEL_MAX, so an old program is this one with another object for it. */
#include "scheduler/level.h"

#include <stdio.h>
#include <string.h>

#include "scheduler/command.h"
#include "scheduler/state.h"

#ifndef CONCLAVE_LEVEL_MAX
#define CONCLAVE_LEVEL_MAX STATE_LEVEL_MAX
#endif
_Static_assert(CONCLAVE_LEVEL_MAX >= 1 && CONCLAVE_LEVEL_MAX <= STATE_LEVEL_MAX, "a level that this source has");

#define DEPTH_MAX 8 /* of messages in messages; the schema has 4 */

/* command_codec.h and level_of rely on it. */
#define COMMAND_ROW_LEVEL(field, message, level) ROW_LEVEL_##field = (level),
enum { COMMANDS(COMMAND_ROW_LEVEL) };
#undef COMMAND_ROW_LEVEL
_Static_assert(ROW_LEVEL_task_report == 1 && ROW_LEVEL_task_acknowledge == 1, "no leader asks for their level");

uint32_t level_max(void) {
    return CONCLAVE_LEVEL_MAX;
}

static const struct field_level {
    const ProtobufCMessageDescriptor *type;
    uint32_t field, level;
} newer[] = {
#define LEVEL_ROW(message, field, level) {&conclave__log__##message##__descriptor, field, level},
    LEVEL_FIELDS(LEVEL_ROW)
#undef LEVEL_ROW
};

/* A command is a field of the envelope; its row in COMMANDS is found by the place in the struct. */
static const struct command_level {
    size_t offset;
    uint32_t level;
} commands[] = {
#define COMMAND_LEVEL(field, message, level) {offsetof(Conclave__Log__Command, field), level},
    COMMANDS(COMMAND_LEVEL)
#undef COMMAND_LEVEL
};

static uint32_t level_of_field(const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *field) {
    if (type == &conclave__log__command__descriptor) {
        for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
            if (commands[i].offset == field->offset) return commands[i].level;
    }
    for (size_t i = 0; i < sizeof newer / sizeof *newer; i++)
        if (newer[i].type == type && newer[i].field == field->id) return newer[i].level;
    return 1;
}

/* One varint from `*at`; false when the bytes end or it is longer than ten. */
static bool varint(const uint8_t **at, const uint8_t *end, uint64_t *ret) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70 && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret = value;
            return true;
        }
    }
    return false;
}

/* Steps over a value of the wire type; a varint's is *ret_value, a length-delimited one's content *ret_body, and its
 * length *ret_value. */
static bool skip(const uint8_t **at, const uint8_t *end, unsigned wire, const uint8_t **ret_body, uint64_t *ret_value) {
    size_t left = (size_t)(end - *at), step;
    *ret_body = NULL;
    switch (wire) {
    case 0:
        return varint(at, end, ret_value);
    case 1:
        step = 8;
        break;
    case 2:
        if (!varint(at, end, ret_value)) return false;
        left = (size_t)(end - *at);
        if (*ret_value > left) return false;
        step = (size_t)*ret_value;
        *ret_body = *at;
        break;
    case 5:
        step = 4;
        break;
    default:
        return false;
    }
    if (step > left) return false;
    *at += step;
    return true;
}

struct walk {
    struct level_need need;
    struct err *err;
};

static int unknown(const struct walk *w, const ProtobufCMessageDescriptor *type, uint64_t field) {
    return err_set(w->err, ERR_INCOMPATIBLE,
                   "field %llu of %s is not known to this program (" CONCLAVE_VERSION ", feature levels up to %u)",
                   (unsigned long long)field, type->name, level_max());
}

static void note(struct walk *w, const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *field,
                 uint64_t value) {
    uint32_t level = level_of_field(type, field);
    if (level > w->need.level) {
        w->need.level = level;
        (void)snprintf(w->need.what, sizeof w->need.what, "%s.%s", type->short_name, field->name);
    }
    if (type == &conclave__log__leader_started__descriptor) w->need.seeds = true;
    if (type == &conclave__log__config__descriptor && field->offset == offsetof(Conclave__Log__Config, level))
        w->need.raises = (uint32_t)value; /* the last one counts and is cut to 32 bits, as in decoding */
}

static int walk_message(struct walk *w, const ProtobufCMessageDescriptor *type, const uint8_t *at, size_t len,
                        unsigned depth) {
    const uint8_t *end = at + len, *body;
    if (depth > DEPTH_MAX) return err_set(w->err, ERR_CORRUPT, "a command nested too deeply");
    while (at < end) {
        uint64_t tag, value = 0;
        if (!varint(&at, end, &tag) || !skip(&at, end, tag & 7, &body, &value))
            return err_set(w->err, ERR_CORRUPT, "bytes that are no message");
        uint64_t number = tag >> 3;
        const ProtobufCFieldDescriptor *field =
            number > 0 && number <= UINT32_MAX ? protobuf_c_message_descriptor_get_field(type, (unsigned)number) : NULL;
        if (!field) return unknown(w, type, number);
        note(w, type, field, value);
        if (field->type != PROTOBUF_C_TYPE_MESSAGE || !body) continue;
        int rc = walk_message(w, field->descriptor, body, (size_t)value, depth + 1);
        if (rc) return rc;
    }
    return 0;
}

int level_of(const uint8_t *command, size_t len, struct level_need *ret, struct err *err) {
    struct walk w = {.need = LEVEL_NEED_NOTHING, .err = err};
    struct command_room room;
    if (command_codec_decode(&room, command, len)) { /* the codec knows nothing newer than level 1 */
        *ret = w.need;
        return 0;
    }
    int rc = walk_message(&w, &conclave__log__command__descriptor, command, len, 0);
    if (rc) return rc;
    if (w.need.level > level_max())
        return err_set(err, ERR_INCOMPATIBLE,
                       "%s needs feature level %u, this program (" CONCLAVE_VERSION ") knows levels up to %u",
                       w.need.what, w.need.level, level_max());
    *ret = w.need;
    return 0;
}

void level_refusal(const struct level_need *need, uint32_t level, char *ret, size_t size) {
    (void)snprintf(ret, size, "%s needs feature level %u, the cluster has %u: conclave config set level %u", need->what,
                   need->level, level, need->level);
}
