/* SPDX-License-Identifier: Apache-2.0
 * The command table: every noun and verb of the binary is one row of command.c. */
#ifndef CONCLAVE_CLI_COMMAND_H
#define CONCLAVE_CLI_COMMAND_H

/* Finds the command that argv names, runs it and returns its exit status:
 * 0 ok, 1 error, 2 degraded, 3 no quorum, 4 corrupt or incompatible, 64 wrong usage. */
int command_main(int argc, char **argv);

#endif
