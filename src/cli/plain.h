/* SPDX-License-Identifier: Apache-2.0
 * Text that came from elsewhere, made harmless for a terminal. Pure. */
#ifndef CONCLAVE_CLI_PLAIN_H
#define CONCLAVE_CLI_PLAIN_H

/* Replaces, in place, everything that could command a terminal: control characters (C0, DEL, C1), marks that turn the
 * direction of writing, and broken UTF-8. The text becomes no longer. */
void text_plain(char *text);
/* Writes a text to stdout that way. */
void print_plain(const char *text);

#endif
