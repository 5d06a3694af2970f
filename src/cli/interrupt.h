/* SPDX-License-Identifier: Apache-2.0
 * Ctrl-C for commands that stream: the first SIGINT or SIGTERM asks them to end at the next row, so that what is
 * printed is whole; the second one ends the process. */
#ifndef CONCLAVE_CLI_INTERRUPT_H
#define CONCLAVE_CLI_INTERRUPT_H

#include <stdbool.h>

#define EXIT_INTERRUPTED 130

void interrupt_catch(void);
bool interrupted(void);
/* Sleeps, less long when interrupted. */
void interrupt_sleep_ms(unsigned ms);

#endif
