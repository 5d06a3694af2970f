/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/fence.h"

#include <string.h>

#include "base/buf.h"
#include "base/crc32c.h"

#define FENCE_MAGIC 0x464c4e43u /* "CNLF" */

enum fence_verdict fence_judge(const struct fence *highest, const uint8_t *pinned, const struct fence *offered) {
    if (pinned && memcmp(pinned, offered->cluster_id, sizeof offered->cluster_id) != 0) return FENCE_STRANGER;
    if (!highest->set) return FENCE_NEWER;
    if (memcmp(highest->cluster_id, offered->cluster_id, sizeof offered->cluster_id) != 0) return FENCE_STRANGER;
    if (offered->incarnation != highest->incarnation)
        return offered->incarnation > highest->incarnation ? FENCE_NEWER : FENCE_OLDER;
    if (offered->term != highest->term) return offered->term > highest->term ? FENCE_NEWER : FENCE_OLDER;
    return FENCE_SAME;
}

void fence_encode(const struct fence *fence, uint8_t ret[FENCE_BYTES]) {
    store_u32(ret, FENCE_MAGIC);
    store_u32(ret + 4, 1);
    memcpy(ret + 8, fence->cluster_id, 16);
    store_u32(ret + 24, fence->incarnation);
    store_u64(ret + 28, fence->term);
    store_u32(ret + 36, crc32c(0, ret, 36));
}

int fence_decode(const uint8_t *data, size_t len, struct fence *ret, struct err *err) {
    if (len != FENCE_BYTES) return err_set(err, ERR_CORRUPT, "%zu bytes instead of %d", len, FENCE_BYTES);
    if (load_u32(data) != FENCE_MAGIC) return err_set(err, ERR_CORRUPT, "not a fence file");
    if (load_u32(data + 36) != crc32c(0, data, 36)) return err_set(err, ERR_CORRUPT, "checksum differs");
    if (load_u32(data + 4) != 1) return err_set(err, ERR_INCOMPATIBLE, "version %u", load_u32(data + 4));
    struct fence fence = {.set = true, .incarnation = load_u32(data + 24), .term = load_u64(data + 28)};
    memcpy(fence.cluster_id, data + 8, 16);
    *ret = fence;
    return 0;
}
