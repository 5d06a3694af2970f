/* SPDX-License-Identifier: Apache-2.0
 * The real disk: one folder, one writer thread. `write` goes through O_DIRECT and O_DSYNC where the file system can,
 * through the page cache with O_DSYNC where it cannot (tmpfs). Jobs run on libuv's pool. */
#ifndef CONCLAVE_CONSENSUS_DISK_FILE_H
#define CONCLAVE_CONSENSUS_DISK_FILE_H

#include <stdbool.h>
#include <uv.h>

#include "base/err.h"
#include "consensus/disk.h"

/* Opens the folder `path` (made, with mode 0700, if only its last part is missing) for the exclusive use of this
 * process: a lock on the file LOCK in it is held until the disk is closed or the process ends, however it ends. The
 * loop must run once more after disk_close to free the last memory.
 * Errors: ERR_LOCKED (another process has it; the text names its pid), ERR_NOT_FOUND, ERR_IO. */
int disk_file_open(const char *path, uv_loop_t *loop, struct disk **ret, struct err *err);

/* Opens an existing folder for reading, also one that a running process has locked. Everything that changes anything
 * returns ERR_FORBIDDEN; `write` and `run` must not be used. No loop and no threads. */
int disk_file_open_readonly(const char *path, struct disk **ret, struct err *err);

/* Whether a process holds the lock of the folder now. */
bool disk_file_in_use(struct disk *d);

#endif
