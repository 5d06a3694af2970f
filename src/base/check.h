/* SPDX-License-Identifier: Apache-2.0
 * Assertions that stay on in release builds. CHECK is for what cannot happen unless the program is wrong; never for
 * input. */
#ifndef CONCLAVE_BASE_CHECK_H
#define CONCLAVE_BASE_CHECK_H

#include <stdint.h>

/* Prints the failed expression with its place to stderr and aborts. */
_Noreturn void check_failed(const char *expr, const char *file, int line, const char *function);

#define CHECK(expr) ((expr) ? (void)0 : check_failed(#expr, __FILE__, __LINE__, __func__))

/* Objects that travel through `void *` begin with `uint32_t magic`; the cast back checks it. */
#define CHECK_MAGIC(object, value) (CHECK((object) != 0), CHECK((object)->magic == (value)))

#endif
