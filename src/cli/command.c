/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include <stdio.h>
#include <string.h>

int command_main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        printf("conclave %s\n", CONCLAVE_VERSION);
        return 0;
    }
    fprintf(stderr, "conclave: no such command\n");
    return 64;
}
