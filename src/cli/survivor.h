/* SPDX-License-Identifier: Apache-2.0
 * The folder of a master that survived the loss of a majority: what is in it, read only. */
#ifndef CONCLAVE_CLI_SURVIVOR_H
#define CONCLAVE_CLI_SURVIVOR_H

#include "cli/replay.h"
#include "consensus/identity.h"

struct survivor {
    char dir[4096]; /* absolute */
    struct identity identity;
    uint64_t term; /* of its vote file */
    uint64_t first, last, last_term;
    uint64_t snapshot; /* newest, 0 none */
    char fingerprint[33];
};
/* ERR_BUSY: a master runs on it; ERR_CORRUPT: any of its files is damaged (the text names one); ERR_NOT_FOUND. */
int survivor_read(const char *dir, struct survivor *ret, struct err *err);

/* 32 hexadecimal digits over name, size and content of every file but LOCK; folders inside are left out. */
int folder_fingerprint(struct disk *disk, char ret[33], struct err *err);

/* The state after the whole log of a folder: every entry of it counts from now on. replay_done frees it; the source is
 * the caller's to close. */
int survivor_replay(const char *dir, struct log_source **ret_source, struct replay *ret, struct err *err);

#endif
