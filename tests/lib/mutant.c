/* SPDX-License-Identifier: Apache-2.0
 * The switches of base/mutant.h, all off. */
#define CONCLAVE_TEST_SWITCHES
#include "base/mutant.h"

uint64_t mutant_test_bits;
unsigned mutant_test_guard_off;
