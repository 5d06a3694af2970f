/* SPDX-License-Identifier: Apache-2.0
 * What the load programs have in common: how an agent that they play presents itself. */
#ifndef CONCLAVE_BENCH_LOAD_HELLO_H
#define CONCLAVE_BENCH_LOAD_HELLO_H

#include <stdint.h>

#include "base/buf.h"

/* Appends the Hello frame's payload of an agent with room for a billion tasks, none of which it has. */
void load_hello(const uint8_t uuid[16], const char *host, struct buf *ret);
/* Appends a TaskStatus of TASK_RUNNING for "t" with a message, `bytes` long or the longest below that. */
void load_status(size_t bytes, struct buf *ret);

#endif
