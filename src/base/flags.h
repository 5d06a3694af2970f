/* SPDX-License-Identifier: Apache-2.0
 * Command-line flags from one table: name, type, bounds, default and help stand once, and parser and --help come from
 * it.
 *
 * Every flag may be given as --name VALUE, --name=VALUE, or in the environment as CONCLAVE_NAME (upper case, '-' as
 * '_'); the command line wins. Switches (FLAG_BOOL) take no value, or =true / =false. "--" ends the flags. A flag given
 * twice takes the last. Nothing is changed unless everything is right. */
#ifndef CONCLAVE_BASE_FLAGS_H
#define CONCLAVE_BASE_FLAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

enum flag_type {
    FLAG_STRING, /* target: const char *; borrowed from argv or the environment */
    FLAG_U64,    /* target: uint64_t; min..max */
    FLAG_BOOL    /* target: bool */
};

struct flag {
    const char *name; /* without dashes; NULL ends the table */
    enum flag_type type;
    void *target;      /* holds the default beforehand */
    uint64_t min, max; /* FLAG_U64; max 0 means no bound. FLAG_STRING: length in bytes, max 0 means 4,096 */
    bool required;     /* FLAG_STRING: must be given and not be empty */
    const char *value; /* what to call the value in the help: "HOST:PORT" */
    const char *help;  /* one line */
};

/* Reads argv[1..argc) by the table. *ret_rest is the index of the first argument that is no flag (argc when there is
 * none); operands may stand only behind the flags. Returns 0, or ERR_INVALID with a text such as "--port: 70000 is
 * above 65535". */
int flags_parse(const struct flag *flags, int argc, char **argv, int *ret_rest, struct err *err);

/* True if argv holds --help or -h before "--". */
bool flags_help_wanted(int argc, char **argv);
/* Prints one aligned line a flag. */
void flags_help(const struct flag *flags, FILE *out);

#endif
