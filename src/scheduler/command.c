/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/command.h"

#include <stdalign.h>
#include <stdlib.h>

#include "base/check.h"

#define BLOCK_BYTES 131072

struct command_block {
    struct command_block *next;
    size_t size, used; /* of bytes */
    alignas(max_align_t) uint8_t bytes[];
};

static const char *const names[] = {[COMMAND_NONE] = "none",
#define COMMAND_ROW(field, type, level) [COMMAND_##field] = #field,
                                    COMMANDS(COMMAND_ROW)
#undef COMMAND_ROW
};

const char *command_name(enum command_type type) {
    return names[type];
}

static void *arena_take(void *data, size_t size) {
    struct command_arena *arena = data;
    size_t align = alignof(max_align_t);
    if (size > COMMAND_ARENA_MAX) return NULL;
    size = size == 0 ? align : (size + align - 1) / align * align;
    struct command_block *block = arena->blocks;
    if (!block || block->size - block->used < size) {
        size_t bytes = size > BLOCK_BYTES ? size : BLOCK_BYTES;
        if (arena->held + bytes > COMMAND_ARENA_MAX) return NULL;
        block = malloc(sizeof *block + bytes);
        CHECK(block);
        *block = (struct command_block){.next = arena->blocks, .size = bytes};
        arena->blocks = block;
        arena->held += bytes;
    }
    void *taken = block->bytes + block->used;
    block->used += size;
    return taken;
}

static void arena_give_back(void *data, void *pointer) {
    (void)data;
    (void)pointer; /* all at once, when the next command is decoded */
}

void command_arena_init(struct command_arena *arena) {
    *arena = (struct command_arena){0};
    arena->allocator = (ProtobufCAllocator){.alloc = arena_take, .free = arena_give_back, .allocator_data = arena};
}

void command_arena_done(struct command_arena *arena) {
    while (arena->blocks) {
        struct command_block *block = arena->blocks;
        arena->blocks = block->next;
        free(block);
    }
    arena->held = 0;
}

/* The first block is kept, unless a giant made it. */
void command_arena_clear(struct command_arena *arena) {
    while (arena->blocks && arena->blocks->next) {
        struct command_block *block = arena->blocks;
        arena->blocks = block->next;
        arena->held -= block->size;
        free(block);
    }
    if (arena->blocks && arena->blocks->size > BLOCK_BYTES) command_arena_done(arena);
    if (arena->blocks) arena->blocks->used = 0;
}

int message_known(const ProtobufCMessage *message, struct err *err) {
    const ProtobufCMessageDescriptor *type = message->descriptor;
    if (message->n_unknown_fields > 0)
        return err_set(err, ERR_INCOMPATIBLE, "field %u of %s is not known to this version",
                       message->unknown_fields[0].tag, type->name);
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        if (field->type != PROTOBUF_C_TYPE_MESSAGE) continue;
        const uint8_t *at = (const uint8_t *)message + field->offset;
        size_t count = 1;
        ProtobufCMessage *const *items = (ProtobufCMessage *const *)(const void *)at;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            count = *(const size_t *)(const void *)((const uint8_t *)message + field->quantifier_offset);
            items = *(ProtobufCMessage *const *const *)(const void *)at;
        }
        for (size_t k = 0; k < count; k++) {
            int rc = items[k] ? message_known(items[k], err) : 0;
            if (rc) return rc;
        }
    }
    return 0;
}

int command_encode(const Conclave__Log__Command *command, struct buf *ret) {
    size_t known = command_codec_bound(command);
    size_t len = known ? known : conclave__log__command__get_packed_size(command);
    uint8_t *at = buf_reserve(ret, len);
    if (!at) return ret->max - ret->len < len ? ERR_LIMIT : ERR_NOMEM;
    ret->len += known ? command_codec_encode(command, at) : conclave__log__command__pack(command, at);
    return 0;
}

bool command_decode_known(struct command_arena *arena, const uint8_t *data, size_t len, Conclave__Log__Command **ret,
                          enum command_type *ret_type) {
    Conclave__Log__Command *command = command_codec_decode(&arena->room, data, len);
    if (!command) return false;
    *ret = command;
    *ret_type = command->task_report ? COMMAND_task_report : COMMAND_task_acknowledge;
    return true;
}

int command_decode(struct command_arena *arena, const uint8_t *data, size_t len, Conclave__Log__Command **ret,
                   enum command_type *ret_type, struct err *err) {
    command_arena_clear(arena);
    if (len > COMMAND_BYTES_MAX) return err_set(err, ERR_CORRUPT, "command of %zu bytes", len);
    if (command_decode_known(arena, data, len, ret, ret_type)) return 0;
    Conclave__Log__Command *command = conclave__log__command__unpack(&arena->allocator, len, data);
    if (!command) return err_set(err, ERR_CORRUPT, "%zu bytes are no command", len);
    int rc = message_known(&command->base, err);
    if (rc) return rc;
    enum command_type type = COMMAND_NONE;
    unsigned count = 0;
#define COMMAND_FIND(field, message, level)                                                                            \
    if (command->field) {                                                                                              \
        type = COMMAND_##field;                                                                                        \
        count++;                                                                                                       \
    }
    COMMANDS(COMMAND_FIND)
#undef COMMAND_FIND
    if (count != 1) return err_set(err, ERR_CORRUPT, "%u commands in one envelope", count);
    *ret = command;
    *ret_type = type;
    return 0;
}
