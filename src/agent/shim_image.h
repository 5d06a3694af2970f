/* SPDX-License-Identifier: Apache-2.0
 * The bytes of the shim's small static program, so that the binary stays one file. */
#ifndef CONCLAVE_AGENT_SHIM_IMAGE_H
#define CONCLAVE_AGENT_SHIM_IMAGE_H

#include <stdint.h>

extern const unsigned char shim_image[];
extern const uint64_t shim_image_size;

/* Puts the program into an anonymous file in memory, ready to exec as /proc/self/fd/N. Returns the descriptor
 * (close-on-exec) or -1 with errno, where the host forbids such files. */
int shim_image_open(void);

#endif
