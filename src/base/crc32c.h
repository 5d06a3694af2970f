/* SPDX-License-Identifier: Apache-2.0
 * CRC-32C (Castagnoli, reflected polynomial 0x82F63B78), as in RFC 3720 section 12.1. "123456789" gives 0xE3069283.
 * Uses the SSE4.2 instruction where the processor has it. */
#ifndef CONCLAVE_BASE_CRC32C_H
#define CONCLAVE_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continues `crc` (0 to begin) over `len` bytes. crc32c(crc32c(0, a), b) equals the sum over a then b. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

#endif
