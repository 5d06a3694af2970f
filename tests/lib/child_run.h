/* SPDX-License-Identifier: Apache-2.0
 * Runs something in a process of its own, so that a crash of what is tested is a result and not the end. */
#ifndef CONCLAVE_TESTS_CHILD_RUN_H
#define CONCLAVE_TESTS_CHILD_RUN_H

#include <stdbool.h>
#include <stddef.h>

#define CHILD_CPU_S 120 /* one that computes longer is stuck. CPU time, for a machine may pause us */

/* Calls run(ctx, ret) in a child; `ret` has `size` bytes, which come back through a pipe. False: the child ended
 * without them, *ret_why is "stuck" or "crash" and *ret_signal says how (0: it left by itself). */
bool child_run(void (*run)(const void *ctx, void *ret), const void *ctx, void *ret, size_t size, const char **ret_why,
               int *ret_signal);

#endif
