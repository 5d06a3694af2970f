/* SPDX-License-Identifier: Apache-2.0
 * A part of the log as a file of JSON lines: a header, one line an entry with its exact bytes, a closing line with a
 * checksum over everything before it. Lossless: whoever reads it can apply every command as a master does.
 * docs/FORMATS.md has an example. Both directions take constant memory. */
#ifndef CONCLAVE_CLI_EXPORT_FILE_H
#define CONCLAVE_CLI_EXPORT_FILE_H

#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"
#include "consensus/log_reader.h"

#define EXPORT_LINE_MAX (3u << 20) /* bytes: the largest entry in base64 takes half of it */

struct export_header {
    uint8_t cluster_id[16];
    uint64_t first, last;
};

/* ---- writing ---- */

struct export_writer {
    FILE *out; /* borrowed */
    uint32_t crc;
    uint64_t entries;
    struct buf line;
};
void export_begin(struct export_writer *w, FILE *out, const struct export_header *header);
/* False: the output failed (see export_end). */
bool export_entry(struct export_writer *w, uint64_t index, uint64_t term, int type, const uint8_t *data, size_t len);
/* Writes the closing line. ERR_IO if anything was not written. */
int export_end(struct export_writer *w, struct err *err);

/* ---- reading ---- */

/* Only the first line. ERR_CORRUPT: not an export; ERR_INCOMPATIBLE: of a later version. */
int export_header_read(FILE *in, struct export_header *ret, struct err *err);
/* All of it from the beginning of `in`: calls cb for the entries from..to, in order. The whole file is checked even
 * when only a part is wanted, unless cb stops. ERR_CORRUPT names the line; entries before it have been shown. */
int export_read(FILE *in, uint64_t from, uint64_t to, log_entry_cb cb, void *ctx, struct err *err);

/* Sixteen bytes as 32 hexadecimal digits, and back (false: not that). */
void hex16_text(const uint8_t bytes[16], char ret[33]);
bool hex16_parse(const char *text, uint8_t ret[16]);

#endif
