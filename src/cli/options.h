/* SPDX-License-Identifier: Apache-2.0
 * What every admin command shares: where the masters are, how to print, and the wrong-usage exit. */
#ifndef CONCLAVE_CLI_OPTIONS_H
#define CONCLAVE_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/flags.h"

#define MASTERS_MAX    16
#define EXIT_DEGRADED  2
#define EXIT_NO_QUORUM 3
#define EXIT_CORRUPT   4
#define EXIT_USAGE     64

enum output { OUTPUT_TABLE, OUTPUT_JSON, OUTPUT_JSONL };

struct options {
    const char *output_text; /* of --output */
    enum output output;
    const char *masters_text; /* of --master, else the environment's CONCLAVE_MASTERS, else the local dev cluster */
    char masters[MASTERS_MAX][128]; /* HOST:PORT */
    size_t master_count;
    const char *data_dir;    /* NULL: live */
    const char *export_file; /* instead of either; NULL: none */
};

/* The rows of the table that a command with `options` begins with; OPTION_FLAGS(o), then its own, then {0}. */
#define OPTION_FLAGS(o)                                                                                                \
    {"output", FLAG_STRING, &(o).output_text, 0, 8, false, "FORMAT", "table, json or jsonl; also -o"}, {               \
        "master", FLAG_STRING, &(o).masters_text, 0, 2000, false, "LIST", "masters' HOST:PORT,... (CONCLAVE_MASTERS)"  \
    }

/* Parses argv by the table and resolves the options. Returns 0 with the operands in argv[*ret_rest..argc); or prints
 * help (then *ret_exit is 0) or the mistake (64) and returns non-zero. `usage` is "conclave status [FLAGS]". At most
 * `operands_max`. */
int options_parse(const struct flag *table, struct options *o, int argc, char **argv, const char *usage,
                  int operands_min, int operands_max, int *ret_rest, int *ret_exit);

/* Prints "conclave: text" and returns the exit status that belongs to the error. */
int fail(const struct err *err);

#endif
