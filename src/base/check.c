/* SPDX-License-Identifier: Apache-2.0 */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *expr, const char *file, int line, const char *function) {
    fprintf(stderr, "CHECK failed: %s at %s:%d in %s\n", expr, file, line, function);
    fflush(stderr);
    abort();
}
