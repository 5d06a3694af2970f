/* SPDX-License-Identifier: Apache-2.0 */
#include "consensus/vote.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/crc32c.h"
#include "base/mutant.h"

#define VOTE_MAGIC  UINT64_C(0x3154564c434e4f43) /* "CONCLVT1" */
#define VOTE_FORMAT 1u
#define VOTE_BARRED 2u /* format of a slot with a bar or marks, which format 1 does not have */
#define CRC_AT      12u
#define SLOTS       2u

static void slot_encode(const struct identity *identity, const struct vote *v, uint8_t block[DISK_BLOCK]) {
    memset(block, 0, DISK_BLOCK);
    store_u64(block, VOTE_MAGIC);
    store_u32(block + 8, v->barred || v->marks ? VOTE_BARRED : VOTE_FORMAT);
    memcpy(block + 16, identity->cluster_id, 16);
    store_u64(block + 32, identity->node_id);
    store_u64(block + 40, v->version);
    store_u64(block + 48, v->term);
    store_u64(block + 56, v->voted_for);
    store_u64(block + 64, v->log_group);
    store_u64(block + 72, v->barred);
    store_u32(block + 80, v->marks);
    store_u32(block + CRC_AT, crc32c(0, block, DISK_BLOCK));
}

static bool slot_decode(const uint8_t block[DISK_BLOCK], struct vote *ret) {
    uint8_t copy[DISK_BLOCK];
    memcpy(copy, block, sizeof copy);
    store_u32(copy + CRC_AT, 0);
    uint32_t format = load_u32(block + 8);
    if (load_u64(block) != VOTE_MAGIC || (format != VOTE_FORMAT && format != VOTE_BARRED)) return false;
    if (crc32c(0, copy, sizeof copy) != load_u32(block + CRC_AT)) return false;
    ret->version = load_u64(block + 40);
    ret->term = load_u64(block + 48);
    ret->voted_for = load_u64(block + 56);
    ret->log_group = load_u64(block + 64);
    ret->barred = load_u64(block + 72);
    ret->marks = load_u32(block + 80);
    return true;
}

static bool slot_ours(const struct identity *identity, const uint8_t block[DISK_BLOCK]) {
    return memcmp(block + 16, identity->cluster_id, 16) == 0 && load_u64(block + 32) == identity->node_id;
}

int vote_format(struct disk *disk, const struct identity *identity, struct err *err) {
    uint8_t both[SLOTS * DISK_BLOCK];
    struct vote v = {.version = 1};
    slot_encode(identity, &v, both);
    slot_encode(identity, &v, both + DISK_BLOCK);
    return disk_replace(disk, VOTE_FILE, both, sizeof both, err);
}

static int file_read(struct disk *disk, uint8_t both[SLOTS * DISK_BLOCK], struct fault *ret_fault, struct err *err) {
    uint64_t size;
    size_t n = 0;
    int rv = disk_size(disk, VOTE_FILE, &size, err);
    if (rv == 0) rv = disk_read(disk, VOTE_FILE, 0, both, SLOTS * DISK_BLOCK, &n, err);
    if (rv == ERR_NOT_FOUND) {
        fault_set(ret_fault, VOTE_FILE, 0, "vote", fault_remedy_newid, "the file is missing");
        return fault_err(ret_fault, err);
    }
    if (rv == 0 && (size != SLOTS * DISK_BLOCK || n != size)) {
        fault_set(ret_fault, VOTE_FILE, n, "vote", fault_remedy_newid, "the file has %" PRIu64 " bytes", size);
        return fault_err(ret_fault, err);
    }
    return rv;
}

/* Reads both slots; *ret_good is the index of the one that holds the truth. */
static int slots_judge(const uint8_t both[SLOTS * DISK_BLOCK], const struct identity *identity, struct vote *ret,
                       unsigned *ret_good, bool *ret_repair, struct fault *ret_fault) {
    struct vote a, b;
    bool a_ok = slot_decode(both, &a), b_ok = slot_decode(both + DISK_BLOCK, &b);
    if (!a_ok && !b_ok) {
        fault_set(ret_fault, VOTE_FILE, 0, "vote", fault_remedy_newid, "both slots are damaged");
        return ERR_CORRUPT;
    }
    if ((a_ok && !slot_ours(identity, both)) || (b_ok && !slot_ours(identity, both + DISK_BLOCK))) {
        fault_set(ret_fault, VOTE_FILE, 0, "vote", fault_remedy_foreign, "it belongs to another node or cluster");
        return ERR_CORRUPT;
    }
    bool same = a_ok && b_ok && memcmp(both, both + DISK_BLOCK, DISK_BLOCK) == 0;
    if (a_ok && b_ok && !same && a.version != b.version + 1) {
        fault_set(ret_fault, VOTE_FILE, DISK_BLOCK, "vote", fault_remedy_newid,
                  "slots of versions %" PRIu64 " and %" PRIu64 " do not belong together", a.version, b.version);
        return ERR_CORRUPT;
    }
    ret_fault->file[0] = '\0';
    if (!a_ok || !b_ok)
        fault_set(ret_fault, VOTE_FILE, a_ok ? DISK_BLOCK : 0, "vote", fault_remedy_repair, "%s",
                  "one slot is damaged, the other is whole");
    *ret_good = a_ok ? 0 : 1;
    *ret_repair = !same;
    *ret = a_ok ? a : b;
    return 0;
}

int vote_read(struct disk *disk, const struct identity *identity, struct vote *ret, bool *ret_repair,
              struct fault *ret_fault, struct err *err) {
    uint8_t both[SLOTS * DISK_BLOCK];
    unsigned good;
    int rv = file_read(disk, both, ret_fault, err);
    if (rv != 0) return rv;
    rv = slots_judge(both, identity, ret, &good, ret_repair, ret_fault);
    return rv == 0 ? 0 : fault_err(ret_fault, err);
}

static int slot_write(struct disk *disk, unsigned slot, const uint8_t block[DISK_BLOCK], struct err *err) {
    _Alignas(DISK_BLOCK) uint8_t aligned[DISK_BLOCK];
    memcpy(aligned, block, sizeof aligned);
    if (MUTANT(VOTE_UNSYNCED))
        return disk_write_at(disk, VOTE_FILE, (uint64_t)slot * DISK_BLOCK, aligned, sizeof aligned, err);
    return disk_write_sync(disk, VOTE_FILE, (uint64_t)slot * DISK_BLOCK, aligned, sizeof aligned, err);
}

int vote_repair(struct disk *disk, const struct identity *identity, struct err *err) {
    uint8_t both[SLOTS * DISK_BLOCK];
    struct vote v;
    struct fault fault;
    unsigned good;
    bool repair;
    int rv = file_read(disk, both, &fault, err);
    if (rv != 0) return rv;
    rv = slots_judge(both, identity, &v, &good, &repair, &fault);
    if (rv != 0) return fault_err(&fault, err);
    return slot_write(disk, 1 - good, both + good * DISK_BLOCK, err);
}

int vote_write(struct disk *disk, const struct identity *identity, const struct vote *vote, struct err *err) {
    uint8_t block[DISK_BLOCK];
    slot_encode(identity, vote, block);
    int rv = slot_write(disk, 0, block, err);
    return rv == 0 ? slot_write(disk, 1, block, err) : rv;
}
