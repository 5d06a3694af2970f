/* SPDX-License-Identifier: Apache-2.0
 * Where log entries come from: live masters' API, a data folder (also beside a running master), or an export. All are
 * read-only, and all are read as a stream, page by page: memory does not grow with the log.
 *
 * Live, what is shown is committed, and pages are asked of whichever master answers, the leader first. A folder or an
 * export does not say what is committed: its last entries may never have been acknowledged. */
#ifndef CONCLAVE_CLI_LOG_SOURCE_H
#define CONCLAVE_CLI_LOG_SOURCE_H

#include "cli/log_filter.h"
#include "cli/log_item.h"
#include "cli/options.h"
#include "consensus/log_reader.h"

struct disk;
struct log_source; /* opaque */

struct log_range {
    uint64_t first, last; /* entries; first > last when there are none */
    bool committed;       /* all of them are known to be */
};

/* By o->data_dir, o->export_file, else live. Says on stderr what is left out (a torn tail) or missing. A damaged folder
 * opens all the same: the walk ends with ERR_CORRUPT behind what is intact. */
int log_source_open(const struct options *o, struct log_source **ret, struct err *err);
void log_source_close(struct log_source *s); /* NULL is fine */

const struct log_range *log_source_range(const struct log_source *s);
/* 0, or ERR_CORRUPT: the folder is damaged, and the range ends before the damage. Whoever means "to the end of the log"
 * must ask. */
int log_source_damage(const struct log_source *s, struct err *err);
/* Looks again how far the log goes (a follower of the log polls with this). */
int log_source_refresh(struct log_source *s, struct err *err);
bool log_source_live(const struct log_source *s);
/* 16 bytes. Live: asked of a master. */
int log_source_cluster_id(struct log_source *s, uint8_t ret[16], struct err *err);
struct disk *log_source_disk(const struct log_source *s); /* of a folder, else NULL */
const struct options *log_source_options(const struct log_source *s);

/* The entries from..to, clipped to the range, in order. */
int log_source_entries(struct log_source *s, uint64_t from, uint64_t to, log_entry_cb cb, void *ctx, struct err *err);
/* Their commands that match the filter (NULL: all). Says on stderr if the filter begins before the log does. */
int log_source_walk(struct log_source *s, const struct log_filter *filter, log_item_cb cb, void *ctx, struct err *err);

/* Rows for a table of flags. */
#define LOG_SOURCE_FLAGS(o)                                                                                            \
    {"data-dir", FLAG_STRING, &(o).data_dir, 0, 0, false, "DIR", "a master's data folder instead of live masters"}, {  \
        "export", FLAG_STRING, &(o).export_file, 0, 0, false, "FILE", "a file of conclave log export instead"          \
    }

#endif
