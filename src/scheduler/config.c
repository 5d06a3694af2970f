/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/config.h"

#include <inttypes.h>

static int key_check(const char *key, bool set, uint64_t value, uint64_t smallest, uint64_t largest, struct err *err) {
    if (!set || (value >= smallest && value <= largest)) return 0;
    return err_set(err, ERR_INVALID, "%s must be %" PRIu64 " to %" PRIu64 ", not %" PRIu64, key, smallest, largest,
                   value);
}

int config_check(const Conclave__Log__Config *config, struct err *err) {
    int rc = 0;
#define CONFIG_CHECK(key, smallest, largest, what)                                                                     \
    if (rc == 0) rc = key_check(#key, config->has_##key, config->key, smallest, largest, err);
    CONFIG_KEYS(CONFIG_CHECK)
#undef CONFIG_CHECK
    return rc;
}
