/* SPDX-License-Identifier: Apache-2.0
 * Small files written whole: magic u32, length u32, CRC-32C u32 over the body, body; little endian. A torn or damaged
 * one is refused, never guessed. The functions on bytes are pure; those on files go by directory descriptor. */
#ifndef CONCLAVE_AGENT_SEALED_H
#define CONCLAVE_AGENT_SEALED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define SEALED_HEAD 12

/* Fills in the head of a file whose body is file[SEALED_HEAD..len). */
void sealed_close(uint8_t *file, size_t len, uint32_t magic);
/* ERR_CORRUPT with the reason. */
int sealed_check(const void *file, size_t len, uint32_t magic, struct err *err);

/* Replaces `name` by data[0..len), whole or not at all: a temporary name, then rename. `sync`: and on disk when it
 * returns (file and directory). */
int file_replace(int dir_fd, const char *name, const void *data, size_t len, bool sync, struct err *err);
/* Writes over all of a file of that size, in place, and on disk when it returns: so it works on a full disk too. Whole
 * or not at all for what lies in one sector. ERR_NOT_FOUND, ERR_INVALID: another size. */
int file_overwrite(int dir_fd, const char *name, const void *data, size_t len, struct err *err);
/* Reads the whole of `name` into `ret` (initialised, emptied first). ERR_NOT_FOUND, ERR_LIMIT over the buffer's
 * maximum, ERR_IO (also if it is no regular file). */
int file_load(int dir_fd, const char *name, struct buf *ret, struct err *err);

#endif
