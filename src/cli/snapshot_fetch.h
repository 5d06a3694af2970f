/* SPDX-License-Identifier: Apache-2.0
 * Snapshot files of a master, over its API. They travel as they are, page by page, into a file without a name, and are
 * verified like any other file. */
#ifndef CONCLAVE_CLI_SNAPSHOT_FETCH_H
#define CONCLAVE_CLI_SNAPSHOT_FETCH_H

#include "cli/options.h"
#include "consensus/archive.h"

/* Of the first master that answers: *ret_master is its number. */
int snapshots_fetch(const struct options *o, struct archive_row ret[ARCHIVE_FOLDER_FILES], size_t *ret_n,
                    size_t *ret_master, struct err *err);
/* ERR_NOT_FOUND: pruned meanwhile; ERR_CORRUPT: damaged there. */
int snapshot_fetch(const struct options *o, size_t master, const struct archive_row *row, struct archive *ret,
                   struct err *err);

/* A linearizable position of the cluster, from the leader. */
int read_index_fetch(const struct options *o, uint64_t *ret_index, uint64_t *ret_node, struct err *err);

#endif
