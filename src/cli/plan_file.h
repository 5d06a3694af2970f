/* SPDX-License-Identifier: Apache-2.0
 * The plan of a recovery as a file: one line of JSON (conclave.tools.RecoverPlan) for the reviewer, and one with its
 * CRC-32C, so that a plan that was edited or cut is not taken for the one that was made. */
#ifndef CONCLAVE_CLI_PLAN_FILE_H
#define CONCLAVE_CLI_PLAN_FILE_H

#include "base/buf.h"
#include "base/err.h"
#include "conclave/tools.pb-c.h"
#include "wire/arena.h"

#define PLAN_BYTES_MAX   (1u << 20)
#define PLAN_FORMAT      "conclave-recover"
#define PLAN_VERSION     1u
#define PLAN_FOLDERS_MAX 7

int plan_print(const Conclave__Tools__RecoverPlan *plan, struct buf *ret);
/* Into the arena. ERR_CORRUPT: not a plan, or not as it was made; ERR_INCOMPATIBLE: of a later version. A plan that is
 * returned is sound: 1 to PLAN_FOLDERS_MAX folders, each of a node that is a member and the other way round, the chosen
 * one among them, ids and folders once each, sane positions. */
int plan_parse(const uint8_t *data, size_t len, struct arena *arena, Conclave__Tools__RecoverPlan **ret,
               struct err *err);

#endif
