/* SPDX-License-Identifier: Apache-2.0
 * The one binary. Everything it can do is a row of the command table in cli/command.c. */
#include "cli/command.h"

int main(int argc, char **argv) {
    return command_main(argc, argv);
}
