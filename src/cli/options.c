/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/address.h"

int fail(const struct err *err) {
    fprintf(stderr, "conclave: %s\n", err->text);
    return err_exit_status(err->code);
}

static int masters_read(struct options *o, struct err *err) {
    struct address list[MASTERS_MAX];
    const char *text = o->masters_text;
    if (!text || !*text) text = getenv("CONCLAVE_MASTERS");
    if (!text || !*text) text = "127.0.0.11:5050,127.0.0.12:5050,127.0.0.13:5050"; /* conclave dev */
    int rc = address_list_parse(text, 5050, 0, list, MASTERS_MAX, &o->master_count, err);
    if (rc) return err_wrap(err, "--master");
    for (size_t i = 0; i < o->master_count; i++) {
        char out[ADDRESS_TEXT_MAX];
        (void)snprintf(o->masters[i], sizeof o->masters[i], "%.127s", address_format(&list[i], out));
    }
    return 0;
}

static int output_read(struct options *o, struct err *err) {
    static const char *const names[] = {"table", "json", "jsonl"};
    if (!o->output_text) return 0;
    for (int i = 0; i < 3; i++)
        if (!strcmp(o->output_text, names[i])) {
            o->output = (enum output)i;
            return 0;
        }
    return err_set(err, ERR_INVALID, "--output: '%.20s' is none of table, json, jsonl", o->output_text);
}

/* Flags may stand behind operands too ("conclave log show 5 -o json"): they are moved to the front. -o is --output. */
static void arguments_order(const struct flag *table, int argc, char **argv) {
    char *flags[128], *operands[128];
    int flag_count = 0, operand_count = 0, at = 1;
    if (argc >= 128) return;
    for (; at < argc && strcmp(argv[at], "--"); at++) {
        if (!strcmp(argv[at], "-o")) argv[at] = (char *)"--output";
        if (argv[at][0] != '-' || argv[at][1] == '\0') {
            operands[operand_count++] = argv[at];
            continue;
        }
        flags[flag_count++] = argv[at];
        bool takes_value = strncmp(argv[at], "--", 2) == 0 && !strchr(argv[at], '=');
        for (const struct flag *f = table; takes_value && f->name; f++)
            if (!strcmp(f->name, argv[at] + 2) && f->type == FLAG_BOOL) takes_value = false;
        if (takes_value && at + 1 < argc) flags[flag_count++] = argv[++at];
    }
    int n = 1;
    for (int i = 0; i < flag_count; i++)
        argv[n++] = flags[i];
    for (int i = 0; i < operand_count; i++)
        argv[n++] = operands[i];
}

int options_parse(const struct flag *table, struct options *o, int argc, char **argv, const char *usage,
                  int operands_min, int operands_max, int *ret_rest, int *ret_exit) {
    struct err err = {0};
    *ret_exit = 0;
    if (flags_help_wanted(argc, argv)) {
        printf("usage: %s\n\n", usage);
        flags_help(table, stdout);
        return 1;
    }
    arguments_order(table, argc, argv);
    int rc = flags_parse(table, argc, argv, ret_rest, &err);
    if (rc == 0) rc = output_read(o, &err);
    if (rc == 0) rc = masters_read(o, &err);
    if (rc == 0 && (argc - *ret_rest < operands_min || argc - *ret_rest > operands_max))
        rc =
            err_set(&err, ERR_INVALID, argc - *ret_rest < operands_min ? "an operand is missing" : "too many operands");
    if (rc == 0) return 0;
    fprintf(stderr, "conclave: %s\nusage: %s\n", err.text, usage);
    *ret_exit = EXIT_USAGE;
    return rc;
}
