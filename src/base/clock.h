/* SPDX-License-Identifier: Apache-2.0
 * The clocks of the shells. Pure modules never call these: time reaches them as a value. */
#ifndef CONCLAVE_BASE_CLOCK_H
#define CONCLAVE_BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_mono_ms(void); /* milliseconds since boot, never goes back */
uint64_t clock_mono_us(void); /* the same in microseconds */
uint64_t clock_cpu_us(void);  /* CPU time of the calling thread */
uint64_t clock_wall_ms(void); /* milliseconds since 1970, display only: it may jump */

#endif
