/* SPDX-License-Identifier: Apache-2.0
 * Removing a folder that somebody hostile has filled: symbolic links are unlinked and never followed, depth and open
 * files are bounded, other file systems are left alone. */
#ifndef CONCLAVE_AGENT_TREE_H
#define CONCLAVE_AGENT_TREE_H

#include "base/err.h"

#define TREE_DEPTH_MAX 128 /* deeper parts are lifted up to the top and removed from there */

/* Removes `path` below `dir_fd`. Nothing there: 0. */
int tree_remove(int dir_fd, const char *path, struct err *err);

#endif
