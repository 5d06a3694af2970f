/* SPDX-License-Identifier: Apache-2.0
 * Text of resources: what is read prints, reads back the same, and adds and subtracts without a trace. */
#include "base/check.h"
#include "wire/resources.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct resources r, again;
    struct err err;
    char *text = malloc(size + 1);
    CHECK(text);
    if (size > 0) memcpy(text, data, size);
    text[size] = '\0';
    if (resources_parse_text(text, &r, &err) == 0) {
        struct buf b;
        buf_init(&b, 1 << 20);
        CHECK(resources_print_text(&r, &b) == 0 && buf_append_byte(&b, 0) == 0);
        CHECK(resources_parse_text((char *)b.data, &again, &err) == 0);
        CHECK(resources_equal(&r, &again));
        CHECK(resources_sub(&again, &r) == 0 && resources_empty(&again));
        CHECK(resources_add(&again, &r) == 0 && resources_equal(&r, &again));
        resources_done(&again);
        resources_done(&r);
        buf_done(&b);
    }
    free(text);
    return 0;
}
