/* SPDX-License-Identifier: Apache-2.0
 * Decoding of one replicated command, and the table of all of them.
 *
 * Decoding is total: any bytes give a command, ERR_INCOMPATIBLE (a field or command this program does not know: the
 * replica must stop) or ERR_CORRUPT, and never take more than COMMAND_ARENA_MAX bytes of memory.
 *
 * To add a command: its message and field in log.proto, a line in COMMANDS with the feature level it needs, and its
 * apply function in apply_*.c; a build without the function does not link. To add a field to a command that is there: a
 * line in LEVEL_FIELDS. level.h says who checks the levels. */
#ifndef CONCLAVE_SCHEDULER_COMMAND_H
#define CONCLAVE_SCHEDULER_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "conclave/log.pb-c.h"
#include "scheduler/command_codec.h"

#define COMMAND_BYTES_MAX (1u << 20)
#define COMMAND_ARENA_MAX (64u << 20)

/* X(field of Command, message type, feature level) */
#define COMMANDS(X)                                                                                                    \
    X(leader_started, LeaderStarted, 1)                                                                                \
    X(config_set, ConfigSet, 1)                                                                                        \
    X(framework_subscribe, FrameworkSubscribe, 1)                                                                      \
    X(framework_disconnected, FrameworkDisconnected, 1)                                                                \
    X(framework_expire, FrameworkExpire, 1)                                                                            \
    X(framework_teardown, FrameworkTeardown, 1)                                                                        \
    X(framework_suppress, FrameworkSuppress, 1)                                                                        \
    X(accept, Accept, 1)                                                                                               \
    X(task_kill, TaskKill, 1)                                                                                          \
    X(task_report, TaskReport, 1)                                                                                      \
    X(task_acknowledge, TaskAcknowledge, 1)                                                                            \
    X(task_vanished, TaskVanished, 1)                                                                                  \
    X(agent_register, AgentRegister, 1)                                                                                \
    X(agent_returned, AgentReturned, 1)                                                                                \
    X(agent_unreachable, AgentUnreachable, 1)                                                                          \
    X(agent_gone, AgentGone, 1)                                                                                        \
    X(framework_sweep, FrameworkSweep, 2)                                                                              \
    X(member_add, MemberAdd, 2)                                                                                        \
    X(member_remove, MemberRemove, 2)

/* Fields that came later than their message: X(message of conclave.log in lower case, number of the field, level) */
#define LEVEL_FIELDS(X) X(config_set, 2, 2) /* if_changed */

enum command_type {
    COMMAND_NONE,
#define COMMAND_ENUM(field, type, level) COMMAND_##field,
    COMMANDS(COMMAND_ENUM)
#undef COMMAND_ENUM
};
const char *command_name(enum command_type type); /* "task_report"; "none" */

/* Memory of decoded commands: one block is kept between commands, so that the usual one allocates nothing. */
struct command_arena { /* private */
    struct command_block *blocks;
    size_t held;
    ProtobufCAllocator allocator;
    struct command_room room;
};
void command_arena_init(struct command_arena *arena); /* must not be moved afterwards */
void command_arena_done(struct command_arena *arena);
void command_arena_clear(struct command_arena *arena); /* forgets what was decoded, keeps one block */

/* A command of command_codec.h in its canonical form, without asking protobuf-c; false: command_decode decides. *ret
 * lives until the next decoding, or as long as `data`, if that is shorter. */
bool command_decode_known(struct command_arena *arena, const uint8_t *data, size_t len, Conclave__Log__Command **ret,
                          enum command_type *ret_type);
/* Decodes into the arena, which forgets the command decoded before. *ret lives until then, or as long as `data`, if
 * that is shorter. Fields that the schema does not have are ERR_INCOMPATIBLE; the levels are level.h's. */
int command_decode(struct command_arena *arena, const uint8_t *data, size_t len, Conclave__Log__Command **ret,
                   enum command_type *ret_type, struct err *err);

/* Appends the packed command. Returns what buf_append says. */
int command_encode(const Conclave__Log__Command *command, struct buf *ret);

/* ERR_INCOMPATIBLE if the message, at any depth, holds a field that its schema does not have. */
int message_known(const ProtobufCMessage *message, struct err *err);

#endif
